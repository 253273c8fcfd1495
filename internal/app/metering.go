package app

import (
	"context"
	"log/slog"
	"time"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/catalog"
	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/due"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/provisioning"
	"github.com/tailmarket/tailmarket/internal/subscription"
	"github.com/tailmarket/tailmarket/internal/telemetry"
)

// openBilling builds the metering pipeline over the marketplaces that are set up.
func (b *Base) openBilling(c *catalog.Catalog, adapters map[marketplace.ID]marketplace.Adapter, seen billing.Observer) *billing.Service {
	vendors := map[marketplace.ID]billing.Submitter{}
	for m, a := range adapters {
		vendors[m] = a
	}
	return billing.New(billing.Options{
		Store: b.Store, Catalog: c, Vendors: vendors, Now: b.Clock.Now, Wall: time.Now, Log: b.Log, Observer: seen,
	})
}

// lifecycle joins what becomes of one purchase over time: its tailnet, what is
// collected there, what is billed, and its end.
type lifecycle struct {
	subs  *subscription.Service
	nets  *tailnets
	bill  *billing.Service
	clock clock.Clock
	log   *slog.Logger
}

func (l *lifecycle) work() map[due.Kind]due.Work {
	of := func(do func(context.Context, id.Subscription) (time.Time, error)) due.Work {
		return func(ctx context.Context, subject string) (time.Time, error) { return do(ctx, id.Subscription(subject)) }
	}
	return map[due.Kind]due.Work{
		due.Provision: of(l.provision),
		due.Collect:   of(l.collect),
		due.Seal:      of(l.bill.Seal),
		due.Submit:    l.bill.Submit,
		due.Close:     of(l.close),
	}
}

// provision leaves ended purchases to close: a tailnet is not taken away before
// its last use was collected.
func (l *lifecycle) provision(ctx context.Context, sub id.Subscription) (again time.Time, err error) {
	s, err := l.subs.Get(ctx, sub)
	if err != nil || s.Access(l.clock.Now()) == subscription.AccessRevoked {
		return again, err
	}
	return l.nets.Run(ctx, sub)
}

// collect looks at the purchase's tailnet once and stores what it saw. Once an end
// has passed, close does the rest.
func (l *lifecycle) collect(ctx context.Context, sub id.Subscription) (again time.Time, err error) {
	s, err := l.subs.Get(ctx, sub)
	if err != nil {
		return again, err
	}
	now := l.clock.Now()
	if end := s.EndsAt(); !end.IsZero() && !now.Before(end) {
		return again, nil
	}
	return provisioning.NextSample(now), l.look(ctx, sub, provisioning.LastSample(now))
}

// look collects what was used until at.
func (l *lifecycle) look(ctx context.Context, sub id.Subscription, at time.Time) error {
	covered, err := l.bill.Covered(ctx, sub)
	if err != nil {
		return err
	}
	sample, err := l.nets.Collect(ctx, sub, covered, at)
	if err != nil {
		return err
	}
	if !sample.To.After(sample.From) {
		return nil
	}
	events := make([]billing.UsageEvent, len(sample.Events))
	for i, e := range sample.Events {
		events[i] = billing.UsageEvent{Source: e.Source, ID: e.ID, Subject: string(sub), UsedAt: e.UsedAt, Meter: e.Meter, Quantity: e.Quantity, Of: e.Of}
	}
	return l.bill.Collect(ctx, sub, sample.From, sample.To, events)
}

// close ends a purchase: the last look, the final seal, the tailnet taken away,
// and, when the marketplace has answered for every record, closed.
func (l *lifecycle) close(ctx context.Context, sub id.Subscription) (again time.Time, err error) {
	s, err := l.subs.Get(ctx, sub)
	if err != nil {
		return again, err
	}
	now, end := l.clock.Now(), s.EndsAt()
	switch {
	case end.IsZero() || !s.Facts.ClosedAt.IsZero():
		return again, nil // it goes on, or is over
	case now.Before(end):
		return end, nil
	}
	// Billing knows how long it may wait for a collector that fails.
	lookErr := l.look(ctx, sub, end)
	settled, err := l.bill.Close(ctx, sub)
	switch {
	case fault.Is(err, fault.Unavailable) && lookErr != nil: // business time must go on, or the wait never ends
		l.log.WarnContext(ctx, "last look failed", "subscription", string(sub), telemetry.Error, lookErr)
		return now.Add(askAgain), nil
	case err != nil:
		return again, err
	}
	if subscription.AwaitsSuccessor(s.Facts, now) {
		return now.Add(askAgain), nil
	}
	if s.Access(now) == subscription.AccessRevoked && s.Facts.RevokedAt.IsZero() {
		if again, err = l.nets.Run(ctx, sub); err != nil || !again.IsZero() {
			return again, err
		}
	}
	if !settled {
		return now.Add(askAgain), nil
	}
	return again, l.subs.Record(ctx, sub, subscription.Fact{Kind: subscription.FactClosed, At: now})
}

// askAgain is how soon an end that waits for somebody is looked at again, in
// business time.
const askAgain = time.Minute

// stations counts what passes billing's stations.
type stations map[billing.Station]*telemetry.Station

func (s stations) Passed(at billing.Station, in, out int) {
	s[at].In(in)
	s[at].Out(out)
}

// watch makes the stations' metrics; ages are asked of billing when they are read.
func (s stations) watch(m *telemetry.Metrics, bill *billing.Service) {
	for _, name := range []billing.Station{billing.StationIngest, billing.StationSeal, billing.StationSubmit, billing.StationAcknowledge} {
		s[name] = m.Station(string(name), func(ctx context.Context) (time.Duration, error) {
			ages, err := bill.Ages(ctx)
			return ages[name].Oldest, err
		})
	}
}
