package app

import (
	"context"
	"fmt"
	"time"

	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/provisioning"
	"github.com/tailmarket/tailmarket/internal/provisioning/embedded"
	"github.com/tailmarket/tailmarket/internal/provisioning/tailscale"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

// tailnets is the room of networks with the control plane inside this process.
type tailnets struct {
	*provisioning.Service
	at   string       // where the embedded control plane answers
	wait func() error // returns when it has stopped
}

// openTailnets starts the embedded control plane, which serves until ctx ends,
// and the room that makes tailnets there.
func (b *Base) openTailnets(ctx context.Context, subs *subscription.Service) (*tailnets, error) {
	server := embedded.New(embedded.Options{Store: b.Store.Embedded(), Now: b.Clock.Now, Wall: time.Now, Log: b.Log})
	parent, err := server.Parent(ctx)
	if err != nil {
		return nil, err
	}
	can := embedded.Capabilities()
	url, wait, err := server.Listen(ctx, b.Config.Embedded.Listen)
	if err != nil {
		return nil, err
	}
	const name = "embedded"
	driver, err := tailscale.Config{Name: name, BaseURL: url, ClientID: parent.ClientID, ClientSecret: parent.Secret, Capabilities: &can}.Open(b.HTTP, time.Now)
	if err != nil {
		return nil, fmt.Errorf("open the driver of the embedded control plane: %w", err)
	}
	note := func(kind subscription.FactKind) func(context.Context, id.Subscription) error {
		return func(ctx context.Context, sub id.Subscription) error {
			return subs.Record(ctx, sub, subscription.Fact{Kind: kind, At: b.Clock.Now()})
		}
	}
	return &tailnets{at: url, wait: wait, Service: provisioning.New(provisioning.Options{
		Store: b.Store.Provisioning(), Drivers: map[string]provisioning.Driver{name: driver}, Default: name,
		Subscriptions: wanted{subs, b.Clock.Now}, Ready: note(subscription.FactReady), Revoked: note(subscription.FactRevoked),
		Now: b.Clock.Now, Log: b.Log,
	})}, nil
}

// wanted tells provisioning what the subscription room says.
type wanted struct {
	subs *subscription.Service
	now  func() time.Time
}

func (w wanted) Wanted(ctx context.Context, sub id.Subscription) (provisioning.Wanted, error) {
	s, err := w.subs.Get(ctx, sub)
	if err != nil {
		return provisioning.Wanted{}, err
	}
	return provisioning.Wanted{Do: provisioning.Do(s.Access(w.now())), Name: s.TailnetName, TailnetOf: s.TailnetOf}, nil
}
