package gcp

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/url"
	"strings"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

const (
	atOnce = 10              // messages being handled
	extend = 5 * time.Minute // how long one is kept from others while it is handled
)

// Listen pulls the subscription until ctx ends (nil) or it cannot be read
// (Unavailable: listen again). A message is acknowledged after handle returned nil and comes
// again otherwise; it may come twice and in any order. It returns after the last
// handle did.
func (a *Adapter) Listen(ctx context.Context, handle func(context.Context, marketplace.Delivery) error) error {
	if a.c.PullSubscription == "" {
		<-ctx.Done()
		return nil
	}
	client, err := a.pubsub(ctx)
	if err != nil {
		return fault.Wrap(fault.Unavailable, fmt.Errorf("open the subscription: %w", err), "")
	}
	defer func() { _ = client.Close() }()
	s := client.Subscriber(a.c.PullSubscription)
	s.ReceiveSettings.NumGoroutines = 1
	s.ReceiveSettings.MaxOutstandingMessages = atOnce
	s.ReceiveSettings.MaxExtension = extend
	err = s.Receive(ctx, func(ctx context.Context, m *pubsub.Message) {
		d := marketplace.Delivery{
			Marketplace: marketplace.GCP, Channel: marketplace.Pull, Body: m.Data, ReceivedAt: a.now(), Source: a.c.PullSubscription,
			Header: map[string]string{publishTime: m.PublishTime.UTC().Format(time.RFC3339Nano)},
		}
		if err := handle(ctx, d); err != nil {
			a.log.WarnContext(ctx, "pulled message not taken", "error", err)
			m.Nack()
			return
		}
		m.Ack()
	})
	if err != nil && ctx.Err() == nil {
		return fault.Wrap(fault.Unavailable, fmt.Errorf("receive from the subscription: %w", err), "")
	}
	return nil
}

// pubsub is a client for one listening.
func (a *Adapter) pubsub(ctx context.Context) (*pubsub.Client, error) {
	options := []option.ClientOption{option.WithGRPCConnectionPool(1), option.WithoutAuthentication()}
	if !a.c.Anonymous {
		options[1] = option.WithAuthCredentials(a.auth)
	}
	hidden := credentials.NewTLS(&tls.Config{RootCAs: a.c.Roots, MinVersion: tls.VersionTLS12})
	if a.c.Endpoint != "" {
		to, err := url.Parse(a.c.Endpoint)
		if err != nil {
			return nil, err
		}
		if to.Scheme == "http" {
			hidden = insecure.NewCredentials()
		}
		options = append(options, option.WithEndpoint(to.Host))
	}
	options = append(options, option.WithGRPCDialOption(grpc.WithTransportCredentials(hidden)))
	return pubsub.NewClient(ctx, strings.Split(a.c.PullSubscription, "/")[1], options...)
}
