package subscription

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/tailmarket/tailmarket/internal/catalog"
	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// Service keeps subscriptions. Safe for concurrent use.
type Service struct {
	store   Store
	catalog catalog.Catalog
	now     func() time.Time // business time
	log     *slog.Logger

	deciders map[marketplace.ID]Decider
}

// Option is something a Service can do without.
type Option func(*Service)

// WithDeciders gives it marketplaces that take decisions.
func WithDeciders(d map[marketplace.ID]Decider) Option {
	return func(s *Service) { s.deciders = d }
}

// New makes a Service.
func New(store Store, cat catalog.Catalog, now func() time.Time, log *slog.Logger, options ...Option) *Service {
	s := &Service{store: store, catalog: cat, now: now, log: log}
	for _, o := range options {
		o(s)
	}
	return s
}

// RefreshSubject is the subject of a refresh due row: what to ask the
// marketplace about. The purchase is preferred, then the agreement; an account where
// messages may be about it alone; "" when ref names none of them.
func RefreshSubject(m marketplace.ID, ref marketplace.Ref) string {
	switch {
	case ref.Purchase != "":
		return string(m) + "|licence|" + ref.Purchase
	case ref.Agreement != "":
		return string(m) + "|agreement|" + ref.Agreement
	case ref.Account != "" && rulesOf(m).AccountFirst:
		return string(m) + "|account|" + ref.Account
	}
	return ""
}

// Get returns one subscription; NotFound when there is none.
func (s *Service) Get(ctx context.Context, sub id.Subscription) (Subscription, error) {
	got, err := s.store.GetSubscription(ctx, sub)
	if err != nil {
		return Subscription{}, fmt.Errorf("get subscription %s: %w", sub, err)
	}
	return got, nil
}

// Find returns the subscription of a purchase, if there is one.
func (s *Service) Find(ctx context.Context, m marketplace.ID, purchase string) (Subscription, bool, error) {
	return s.store.FindSubscription(ctx, m, purchase)
}

// List returns subscriptions oldest first.
func (s *Service) List(ctx context.Context, f Filter) ([]Subscription, error) {
	return s.store.ListSubscriptions(ctx, f)
}

// Story is everything that was applied to a subscription, in the order it was
// learnt; each line names the delivery it came from.
func (s *Service) Story(ctx context.Context, sub id.Subscription) ([]Line, error) {
	return s.store.ListLines(ctx, sub)
}

// Agreements are the contracts a subscription ran under, oldest first.
func (s *Service) Agreements(ctx context.Context, sub id.Subscription) ([]Agreement, error) {
	return s.store.ListAgreements(ctx, sub)
}

// TermsAt returns what was agreed for an instant, and false when nothing was.
func (s *Service) TermsAt(ctx context.Context, sub id.Subscription, at time.Time) (Terms, bool, error) {
	rows, err := s.store.ListTerms(ctx, sub)
	if err != nil {
		return Terms{}, false, fmt.Errorf("terms of %s: %w", sub, err)
	}
	t, ok := InForce(rows, at)
	return t, ok, nil
}

// Record adds one of our own facts. Harmless to repeat: the first time counts.
func (s *Service) Record(ctx context.Context, sub id.Subscription, n Fact) error {
	err := s.store.SubscriptionTx(ctx, func(ctx context.Context, t Tx) error {
		now := s.now()
		if n.At.IsZero() {
			n.At = now
		}
		got, err := t.LockSubscription(ctx, sub)
		if err != nil {
			return err
		}
		return s.note(ctx, t, &got, n, now)
	})
	if err != nil {
		return fmt.Errorf("record %s of %s: %w", n.Kind, sub, err)
	}
	return nil
}

// factPrefix tells lines of our own facts from the marketplace's events, which
// may have equal names.
const factPrefix = "fact:"

// note merges a fact of ours into a locked subscription and stores what follows.
func (s *Service) note(ctx context.Context, t Tx, sub *Subscription, n Fact, now time.Time) error {
	before := sub.Facts
	sub.Facts = Note(before, n)
	if equal(before, sub.Facts) {
		return nil
	}
	body, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("write fact: %w", err)
	}
	if err := t.AddLine(ctx, Line{
		ID: id.NewEvent(), Subscription: sub.ID, Marketplace: sub.Marketplace, Kind: factPrefix + string(n.Kind),
		RecordedAt: now, HappenedAt: n.At, Version: n.At, Changed: true, Body: body,
	}); err != nil {
		return err
	}
	return s.save(ctx, t, sub, before, now)
}

// save stores a locked subscription and marks the work its change asks for.
func (s *Service) save(ctx context.Context, t Tx, sub *Subscription, before Facts, now time.Time) error {
	if err := t.SaveSubscription(ctx, *sub); err != nil {
		return err
	}
	for _, e := range Effects(before, sub.Facts, now) {
		subject := string(sub.ID)
		if e.Kind == DueRefresh {
			subject = RefreshSubject(sub.Marketplace, sub.Ref())
		}
		if err := t.Mark(ctx, e.Kind, subject, e.At); err != nil {
			return err
		}
	}
	return s.succeed(ctx, t, sub, now)
}

// Product returns a product's mode; a product nobody touched observes.
func (s *Service) Product(ctx context.Context, product string) (ProductState, error) {
	return s.store.GetProductState(ctx, product)
}

const goLiveBatch = 200

// GoLive ends a product's observe mode: from the hour on, we provision and meter
// its purchases, and nobody else reports to the listing. It cannot be taken back
// or moved. Harmless to repeat; a second run finishes what a killed one left.
func (s *Service) GoLive(ctx context.Context, product string, from clock.Hour, actor string) error {
	if _, ok := s.product(product); !ok {
		return fault.New(fault.NotFound, "the catalog has no product %q", product)
	}
	if from.IsZero() || actor == "" {
		return fault.New(fault.Invalid, "go-live needs the first hour we meter, such as 2026-11-03T07Z, and who decides it")
	}
	err := s.store.SubscriptionTx(ctx, func(ctx context.Context, t Tx) error {
		now := s.now()
		p, err := t.LockProductState(ctx, product, now)
		switch {
		case err != nil:
			return err
		case p.Mode == ModeLive && !p.CutOver.Equal(from):
			return fault.New(fault.Refused, "%s is live since %s; its first metered hour cannot move, because hours may have been reported", product, p.CutOver)
		case p.Mode == ModeLive:
			return nil
		}
		p = ProductState{Product: product, Mode: ModeLive, CutOver: from, Actor: actor, ChangedAt: now}
		if err := t.SaveProductState(ctx, p); err != nil {
			return err
		}
		return t.AddAudit(ctx, AuditEntry{At: now, Actor: actor, Action: "product.go_live", Subject: product, Detail: from.String()})
	})
	for after, more := id.Subscription(""), err == nil; more && err == nil; {
		err = s.store.SubscriptionTx(ctx, func(ctx context.Context, t Tx) error {
			next := after // the function may run again
			subs, err := t.SubscriptionsWhere(ctx, Filter{Product: product, After: next, Limit: goLiveBatch})
			if err != nil {
				return err
			}
			for _, listed := range subs {
				sub, err := t.LockSubscription(ctx, listed.ID)
				if err != nil {
					return err
				}
				sub.CutOver = from
				if err := s.note(ctx, t, &sub, Fact{Kind: FactLive, At: from.Start()}, s.now()); err != nil {
					return err
				}
				next = sub.ID
			}
			after, more = next, len(subs) == goLiveBatch
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("go live with %s: %w", product, err)
	}
	s.log.InfoContext(ctx, "product went live", "product", product, "from", from.String(), "actor", actor)
	return nil
}

// Audit lists the audit trail after a place, oldest first.
func (s *Service) Audit(ctx context.Context, after int64, limit int) ([]AuditEntry, error) {
	return s.store.ListAudit(ctx, after, limit)
}

func (s *Service) product(product string) (catalog.Product, bool) {
	for _, p := range s.catalog.Products {
		if p.ID == product {
			return p, true
		}
	}
	return catalog.Product{}, false
}

// plan is our plan for what a marketplace named. A name we do not know is a
// derived plan: it is served as the product's default, so the buyer never waits.
func (s *Service) plan(m marketplace.ID, product, named string) string {
	p, _ := s.product(product)
	if plan, ok := p.PlanNamed(string(m), named); ok {
		return plan.ID
	}
	plan, _ := p.PlanNamed(string(m), "")
	return plan.ID
}

// listing is the marketplace's name of a product, where metering says it.
func (s *Service) listing(m marketplace.ID, product string) string {
	if p, ok := s.product(product); ok && m == marketplace.GCP && p.GCP != nil {
		return p.GCP.Service
	}
	return ""
}
