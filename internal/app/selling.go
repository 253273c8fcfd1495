package app

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/tailmarket/tailmarket/internal/catalog"
	"github.com/tailmarket/tailmarket/internal/due"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/intake"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

// Selling is the way in: the marketplaces that are set up, the door for their
// messages, and the subscriptions they become.
type Selling struct {
	Catalog       *catalog.Catalog
	Subscriptions *subscription.Service
	Intake        *intake.Service
	Adapters      map[marketplace.ID]marketplace.Adapter

	base    *Base
	applied catalog.Applied
}

// OpenSelling builds the way in from the settings and the catalog in force.
func (b *Base) OpenSelling(ctx context.Context) (*Selling, error) {
	s := &Selling{base: b, Adapters: map[marketplace.ID]marketplace.Adapter{}}
	var err error
	if s.Catalog, s.applied, err = b.Catalogs().Current(ctx); err != nil {
		return nil, err
	}
	if err := b.openAdapters(ctx, s); err != nil {
		return nil, err
	}
	deciders := map[marketplace.ID]subscription.Decider{}
	for m, a := range s.Adapters {
		deciders[m] = a
	}
	s.Subscriptions = subscription.New(b.Store, *s.Catalog, b.Clock.Now, b.Log, subscription.WithDeciders(deciders))
	s.Intake = intake.New(b.Store, s.Subscriptions, s.Adapters, s, b.Clock.Now, b.Log)
	return s, nil
}

// Markets are the marketplaces that are set up, in one order.
func (s *Selling) Markets() []marketplace.ID { return slices.Sorted(maps.Keys(s.Adapters)) }

// DeliveryForged says what failed its check; nothing of it is kept but the count of
// answers (telemetry).
func (s *Selling) DeliveryForged(m marketplace.ID, c marketplace.Channel) {
	s.base.Log.Warn("delivery forged", slog.String("marketplace", string(m)), slog.String("channel", string(c)))
}

// Work is what this part does for due rows.
func (s *Selling) Work() map[due.Kind]due.Work {
	return map[due.Kind]due.Work{
		due.Refresh: s.Intake.Refresh,
		due.Decide: func(ctx context.Context, subject string) (time.Time, error) {
			return s.Subscriptions.Decide(ctx, id.Subscription(subject))
		},
		due.Sweep: func(ctx context.Context, subject string) (time.Time, error) {
			return s.Intake.Sweep(ctx, marketplace.ID(subject), s.base.Config.Metering.SweepEvery)
		},
	}
}

// Start marks the sweeps, which then keep themselves going.
func (s *Selling) Start(ctx context.Context) error {
	for m := range s.Adapters {
		if err := s.base.Store.MarkDue(ctx, due.Sweep, string(m), s.base.Clock.Now()); err != nil {
			return fmt.Errorf("start the sweep of %s: %w", m, err)
		}
	}
	return nil
}

// Listen pulls deliveries of every marketplace that has a queue until ctx ends.
// A source that fails is asked again; nothing is acknowledged before it is kept.
func (s *Selling) Listen(ctx context.Context, m marketplace.ID) error {
	l, ok := s.Adapters[m].(marketplace.Listener)
	if !ok {
		return nil
	}
	for ctx.Err() == nil {
		if err := l.Listen(ctx, s.Intake.Accept); err != nil && ctx.Err() == nil {
			s.base.Log.Warn("queue could not be read", "marketplace", string(m), "error", err)
			rest(ctx, s.base.Config.Metering.BackoffBase)
		}
	}
	return nil
}
