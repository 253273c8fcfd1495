package aws_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/marketplace/aws"
	"github.com/tailmarket/tailmarket/internal/marketplace/marketplacetest"
	"github.com/tailmarket/tailmarket/internal/simulator"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	t.Parallel()
	marketplacetest.Run(t, harness)
}

func TestTheSuiteNoticesABrokenAdapter(t *testing.T) {
	t.Parallel()
	marketplacetest.RunBroken(t, harness)
}

func harness(t testing.TB) marketplacetest.Harness {
	v := open(t, simulator.Options{Seed: 1, Weather: simulator.WeatherGood, Channel: simulator.ChannelHTTPS})
	return marketplacetest.Harness{
		Adapter: v.adapter, Reader: v.adapter, Vendor: v,
		Traits: marketplacetest.Traits{
			Batch: 25, WholeUnits: true, SignedBodies: false, BadRefusesBatch: true,
			Partial: marketplace.OutcomeUnprocessed, Stopped: marketplace.OutcomeNotSubscribed,
			EntitledBy: marketplace.Entitled, EndsBy: marketplace.Ending,
		},
	}
}

const product = "tailnet"

// vendor is the simulator, and an app in front of it that takes every message
// and is always idle.
type vendor struct {
	t       testing.TB
	sim     *simulator.Simulator
	http    *http.Client // trusts the simulator
	config  aws.Config
	adapter *aws.Adapter

	mu         sync.Mutex
	deliveries []marketplace.Delivery
	calls      map[string]int
}

func open(t testing.TB, o simulator.Options) *vendor {
	t.Helper()
	v := &vendor{t: t, calls: map[string]int{}}
	o.OnAnswer = func(op, phase string) {
		if phase == "received" {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.calls[op]++
		}
	}
	o.Credentials = simulator.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "secret"}
	var err error
	if v.sim, err = simulator.New(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.sim.Close)
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(v.sim.CAPEM()) {
		t.Fatal("the simulator's certificate is not PEM")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	v.http = &http.Client{Transport: transport, Timeout: 30 * time.Second}

	opts := v.sim.Options()
	header, key := v.sim.EventKey()
	v.config = aws.Config{
		Region: opts.Region, SellerAccount: opts.SellerAccount, Endpoint: v.sim.AWSURL(), QueueURL: v.sim.QueueURL(),
		EventKeyHeader: header, EventKey: key, AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "secret",
	}
	for i, p := range opts.Products {
		name := product
		if i > 0 {
			name += strconv.Itoa(i + 1)
		}
		v.config.Listings = append(v.config.Listings, aws.Listing{Product: name, ProductCode: p.Code, ProductID: p.ID, Dimensions: p.Dimensions})
	}
	v.adapter = v.reopen(v.config)

	app := httptest.NewServer(http.HandlerFunc(v.take))
	t.Cleanup(app.Close)
	v.sim.SetApp(app.URL)
	ctx, cancel := context.WithCancel(context.Background())
	var idle sync.WaitGroup
	t.Cleanup(func() { cancel(); idle.Wait() })
	idle.Go(func() {
		for now := v.sim.Now(); ctx.Err() == nil; {
			now = v.sim.Idle(ctx, "test", now)
		}
	})
	return v
}

func (v *vendor) reopen(c aws.Config) *aws.Adapter {
	v.t.Helper()
	a, err := c.Open(v.t.Context(), v.http, slog.New(slog.DiscardHandler), v.sim.Now)
	if err != nil {
		v.t.Fatal(err)
	}
	return a
}

func (v *vendor) take(_ http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.deliveries = append(v.deliveries, marketplace.Delivery{
		Marketplace: marketplace.AWS, Channel: marketplace.HTTPS, Body: body, ReceivedAt: v.sim.Now(), Source: r.URL.Path,
		Header: map[string]string{v.config.EventKeyHeader: r.Header.Get(v.config.EventKeyHeader)},
	})
}

func (v *vendor) Now() time.Time { return v.sim.Now() }

func (v *vendor) Advance(d time.Duration) {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.t.Context(), 30*time.Second)
	defer cancel()
	if err := v.sim.Advance(ctx, v.sim.Now().Add(d)); err != nil {
		v.t.Fatal(err)
	}
}

func (v *vendor) Buy() marketplacetest.Purchase {
	v.t.Helper()
	p, _ := v.buy(simulator.Purchase{})
	return p
}

// buy returns the simulator's buyer too, for what only AWS has.
func (v *vendor) buy(p simulator.Purchase) (marketplacetest.Purchase, simulator.Buyer) {
	v.t.Helper()
	p.Habits = &simulator.Habits{Absent: true}
	b, err := v.sim.Buy(v.t.Context(), p)
	if err != nil {
		v.t.Fatal(err)
	}
	v.Advance(2 * time.Minute)
	return v.purchase(b), b
}

func (v *vendor) purchase(b simulator.Buyer) marketplacetest.Purchase {
	return marketplacetest.Purchase{
		Ref:        marketplace.Ref{Purchase: b.LicenseArn, Agreement: b.AgreementID, Account: b.Account, Product: product},
		Identity:   marketplace.VendorIdentity{Account: b.Account, License: b.LicenseArn},
		Dimensions: v.sim.Options().Products[0].Dimensions,
	}
}

func (v *vendor) Cancel(p marketplacetest.Purchase) {
	v.t.Helper()
	if _, err := v.sim.Cancel(v.t.Context(), p.Ref.Purchase, ""); err != nil {
		v.t.Fatal(err)
	}
	v.Advance(time.Minute)
}

func (v *vendor) Deliveries() []marketplace.Delivery {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]marketplace.Delivery(nil), v.deliveries...)
}

func (v *vendor) Forged(d marketplace.Delivery) []marketplace.Delivery {
	header := v.config.EventKeyHeader
	var out []marketplace.Delivery
	for _, h := range []map[string]string{
		nil,
		{},
		{header: ""},
		{header: "wrong"},
		{header: v.config.EventKey + "x"},
		{header: v.config.EventKey[1:]},
		{"authorization": v.config.EventKey},
	} {
		f := d
		f.Header = h
		out = append(out, f)
	}
	pull := d
	pull.Channel = marketplace.Pull
	return append(out, pull)
}

func (v *vendor) Foreign() []marketplace.Delivery {
	v.t.Helper()
	genuine := v.Deliveries()[0]
	var out []marketplace.Delivery
	for _, channel := range []marketplace.Channel{marketplace.HTTPS, marketplace.SQS} {
		for _, change := range []map[string]any{
			{"source": "aws.s3"},
			{"account": "999988887777"},
			{"time": "yesterday"},
			{"id": ""},
			{"detail-type": ""},
			{"account": nil},
			{"detail": map[string]any{"agreement": map[string]any{}}},
		} {
			d := v.edit(genuine, change)
			d.Channel = channel
			out = append(out, d)
		}
		for _, body := range []string{"", "null", "[]", "{", `"text"`, `{"id":7}`} {
			d := genuine
			d.Channel, d.Body = channel, []byte(body)
			out = append(out, d)
		}
	}
	return out
}

func (v *vendor) Strange() (marketplace.Delivery, string) {
	v.t.Helper()
	word := "Purchase Agreement Enchanted"
	return v.edit(v.Deliveries()[0], map[string]any{"id": "strange-1", "detail-type": word + " - Proposer"}), word
}

// edit changes the top level of an event.
func (v *vendor) edit(d marketplace.Delivery, change map[string]any) marketplace.Delivery {
	v.t.Helper()
	var event map[string]any
	err := json.Unmarshal(d.Body, &event)
	if err == nil {
		maps.Copy(event, change)
		d.Body, err = json.Marshal(event)
	}
	if err != nil {
		v.t.Fatal(err)
	}
	return d
}

func (v *vendor) Token(p marketplacetest.Purchase) marketplace.Token {
	v.t.Helper()
	token, err := v.sim.Token(p.Ref.Purchase)
	if err != nil {
		v.t.Fatal(err)
	}
	return marketplace.Token{Value: token}
}

func (v *vendor) ExpiredToken(p marketplacetest.Purchase) marketplace.Token {
	v.t.Helper()
	token := v.Token(p)
	v.Advance(4*time.Hour + time.Minute)
	return token
}

func (v *vendor) BadToken() marketplace.Token { return marketplace.Token{Value: "no%2Bsuch/token=="} }

func (v *vendor) Claims(p marketplacetest.Purchase) map[string]string {
	return map[string]string{
		"x-amzn-marketplace-agreement-id": p.Ref.Agreement, "x-amzn-marketplace-product-id": "prod-another",
		"x-amzn-marketplace-offer-type": "free-trial", "x-amzn-marketplace-fulfillment-url": "https://elsewhere.example", "CustomerAWSAccountId": p.Ref.Account,
	}
}

func (v *vendor) Spoil(r marketplace.Record) marketplace.Record {
	r.Dimension = "no_such_dimension"
	return r
}

func (v *vendor) Unknown() []marketplace.Ref {
	return []marketplace.Ref{
		{Purchase: "arn:aws:license-manager::294406891311:license:l-00000000000000000000000000000000"}, {Agreement: "agmt-0000000000000000000000000"},
	}
}

var faults = map[marketplacetest.FaultKind]simulator.Kind{
	marketplacetest.AcceptThenClose: simulator.KindAcceptThenClose, marketplacetest.Throttle: simulator.KindThrottle,
	marketplacetest.ServerError: simulator.Kind5xx, marketplacetest.Partial: simulator.KindUnprocessed,
	marketplacetest.DuplicateAnswer: simulator.KindDuplicateAnswer, marketplacetest.TokenTrouble: simulator.KindTokenFault,
	marketplacetest.ReadTrouble: simulator.KindReadFault, marketplacetest.EmptyPage: simulator.KindEmptyPage,
}

func (v *vendor) Befall(f marketplacetest.Fault) {
	v.t.Helper()
	kind, ok := faults[f.Kind]
	if !ok {
		v.t.Fatalf("the simulator has no %q", f.Kind)
	}
	subject := ""
	if r := f.About; r.Dimension != "" {
		subject = fmt.Sprintf("%s|%s|%s|%s", r.Identity.Account, r.Identity.License, r.Dimension, r.Hour.Start().Format(time.RFC3339))
	}
	v.sim.Force(simulator.Force{Kind: kind, Subject: subject, Times: f.Times})
}

func (v *vendor) Calls(c marketplacetest.Call) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch c {
	case marketplacetest.CallSubmit:
		return v.calls["BatchMeterUsage"]
	case marketplacetest.CallResolve:
		return v.calls["ResolveCustomer"]
	}
	n := 0
	for _, k := range v.calls {
		n += k
	}
	return n
}

func (v *vendor) Bill() []marketplacetest.Charge {
	var out []marketplacetest.Charge
	for _, line := range v.sim.Bill().Lines {
		for _, s := range line.Slots {
			out = append(out, marketplacetest.Charge{
				Purchase: line.LicenseArn, Dimension: line.Dimension, Hour: clock.HourOf(s.Hour).String(), Quantity: strconv.FormatInt(s.Quantity, 10),
			})
		}
	}
	return out
}

// trimmed is a licence as AWS's event samples write it.
func trimmed(arn string) string {
	return "aws:license-manager:us-east-1:294406891311:" + arn[strings.LastIndexByte(arn, ':')+1:]
}
