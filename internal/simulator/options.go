package simulator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"
)

// Weather says whether the simulator misbehaves.
type Weather string

const (
	WeatherHostile Weather = "hostile" // faults by seed
	WeatherGood    Weather = "good"    // none; forced faults still happen
)

// Channel says how events travel to the app.
type Channel string

const (
	ChannelBoth  Channel = "both"  // by seed: HTTPS, the queue or both
	ChannelHTTPS Channel = "https" // AWS: API destination; Google: push
	ChannelSQS   Channel = "sqs"   // AWS: queue; Google: pull
)

// Product is one listing of the seller on AWS.
type Product struct {
	Code       string   `json:"code"`
	ID         string   `json:"id"`
	Title      string   `json:"title"`
	Dimensions []string `json:"dimensions"`
}

// Listen holds the addresses to listen on; all must be loopback, empty means 127.0.0.1:0.
type Listen struct {
	Control string
	AWS     string
	GCP     string
	Azure   string
}

// Credentials are what AWS calls must be signed with.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey string
}

// Options configures a Simulator; the zero value is hostile and complete but for the app's URL.
type Options struct {
	Seed    uint64
	Weather Weather
	Start   time.Time // virtual; default 2026-11-03T00:00Z
	App     string    // base URL of the app; may be set later with SetApp
	// Replicas is how many processes the app is, default 1. The clock moves when each of them has reported idle, so that
	// none lives in the past.
	Replicas int

	EventKeyHeader string // API destination header; default x-api-key
	EventKey       string // default: a value made from the seed
	Channel        Channel
	// QueueByClock makes messages that the app hands back to the queue come again by the virtual clock, which then goes on
	// meanwhile: outages of days. Otherwise the clock waits until the queue is empty.
	QueueByClock bool

	Products      []Product // on AWS; default: one with the four dimensions of the shipped catalog
	SellerAccount string
	Region        string
	// Credentials, when set, makes the AWS endpoint verify signatures; otherwise only their shape is checked.
	Credentials Credentials
	GCP         GCPOptions
	Azure       AzureOptions

	// Mail is how the scripted buyer reads mail: the link of the newest message to email, or "" while there is none.
	// The default is the mailbox filled over POST /mail.
	Mail func(ctx context.Context, email string) (link string, err error)
	// OnAnswer is called when a marketplace's call was received ("received", nothing answered yet) and when its answer has left
	// ("answered"). It runs on the call's goroutine and may take its time: the clock waits.
	OnAnswer func(op, phase string)

	Log    *slog.Logger
	Listen Listen
}

func (o *Options) complete() error {
	var errs []error
	switch o.Weather {
	case "":
		o.Weather = WeatherHostile
	case WeatherHostile, WeatherGood:
	default:
		errs = append(errs, fmt.Errorf("weather %q: want hostile or good", o.Weather))
	}
	switch o.Channel {
	case "":
		o.Channel = ChannelBoth
	case ChannelBoth, ChannelHTTPS, ChannelSQS:
	default:
		errs = append(errs, fmt.Errorf("channel %q: want both, https or sqs", o.Channel))
	}
	if o.Start.IsZero() {
		o.Start = time.Date(2026, 11, 3, 0, 0, 0, 0, time.UTC)
	}
	o.Start = o.Start.UTC()
	o.Replicas = max(o.Replicas, 1)
	if o.EventKeyHeader == "" {
		o.EventKeyHeader = "x-api-key"
	}
	if o.SellerAccount == "" {
		o.SellerAccount = "111122223333"
	}
	if o.Region == "" {
		o.Region = "us-east-1"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if err := o.Azure.complete(); err != nil {
		errs = append(errs, err)
	}
	if len(o.Products) == 0 {
		o.Products = []Product{{
			Code: "7exampl0code1exampl0code", ID: "prod-0example0exam", Title: "Example Tailnets",
			Dimensions: []string{"active_user", "tagged_resource", "ephemeral_minute", "api_request"},
		}}
	}
	for i, p := range o.Products {
		if p.Code == "" || p.ID == "" || len(p.Dimensions) == 0 {
			errs = append(errs, fmt.Errorf("product %d: want a code, an id and at least one dimension", i))
		}
	}
	for _, a := range []*string{&o.Listen.Control, &o.Listen.AWS, &o.Listen.GCP, &o.Listen.Azure} {
		if *a == "" {
			*a = "127.0.0.1:0"
		}
		host, _, err := net.SplitHostPort(*a)
		if err != nil {
			errs = append(errs, fmt.Errorf("listen address %q: %w", *a, err))
			continue
		}
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			errs = append(errs, fmt.Errorf("listen address %q: the simulator listens on loopback only", *a))
		}
	}
	if err := o.GCP.complete(o.Channel); err != nil {
		errs = append(errs, err)
	}
	o.App = strings.TrimRight(o.App, "/")
	return errors.Join(errs...)
}
