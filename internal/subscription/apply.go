package subscription

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// Applied says what became of an event.
type Applied struct {
	Subscription id.Subscription // empty: its purchase is not known yet, a refresh will tell
	Customer     id.Customer
	Changed      bool
	// Refused is why a change that must be answered now is refused; empty: it is not.
	Refused string
}

// Apply applies one event of a marketplace inside the caller's transaction:
// finds or makes the subscription, merges the facts, keeps terms and agreement,
// links what continues what, and marks the work that follows. An event whose
// purchase cannot be found waits and is refreshed, not guessed. An event about an
// account is one about all its purchases.
// Unreadable: it names a product or account that cannot be; an operator must look.
func (s *Service) Apply(ctx context.Context, t Tx, m marketplace.ID, e marketplace.Event, delivery id.Delivery) (Applied, error) {
	now := s.now()
	if e.Ref.Purchase == "" && e.Ref.Agreement == "" && e.Ref.Account != "" && rulesOf(m).AccountFirst {
		return s.applyAccount(ctx, t, m, e, delivery, now)
	}
	sub, err := s.locate(ctx, t, m, e, now)
	if err != nil {
		return Applied{}, fmt.Errorf("apply %s: %w", e.Kind, err)
	}
	if sub == nil {
		if err := s.park(ctx, t, m, e, delivery, now); err != nil {
			return Applied{}, fmt.Errorf("keep %s until its purchase is known: %w", e.Kind, err)
		}
		refused, err := s.judgeUnknown(ctx, t, m, e)
		return Applied{Refused: refused}, err
	}
	stored := *sub
	changed, err := s.merge(ctx, t, sub, e, now)
	if err != nil {
		return Applied{}, fmt.Errorf("apply %s to %s: %w", e.Kind, sub.ID, err)
	}
	// An answer to our own question that tells nothing new is no line of the story.
	if changed || delivery != "" {
		line, err := lineOf(m, e, delivery, now)
		if err != nil {
			return Applied{}, err
		}
		line.Subscription, line.Changed = sub.ID, changed
		if err := t.AddLine(ctx, line); err != nil {
			return Applied{}, err
		}
	}
	adopted, err := s.adopt(ctx, t, sub, sub.Purchase, now)
	if err != nil {
		return Applied{}, err
	}
	linked, err := s.linkAgreement(ctx, t, sub, e.Ref.Agreement, now)
	if err != nil {
		return Applied{}, err
	}
	adopted = adopted || linked
	if err := s.link(ctx, t, sub, now); err != nil {
		return Applied{}, err
	}
	if changed = changed || adopted || sub.Predecessor != stored.Predecessor; changed {
		if err := s.save(ctx, t, sub, stored.Facts, now); err != nil {
			return Applied{}, err
		}
	}
	refused, err := s.judge(ctx, t, sub, e, now)
	if err != nil {
		return Applied{}, fmt.Errorf("judge a change of %s: %w", sub.ID, err)
	}
	return Applied{Subscription: sub.ID, Customer: sub.Customer, Changed: changed, Refused: refused}, nil
}

// Ensure finds or makes the subscription that ref names completely, locked.
func (s *Service) Ensure(ctx context.Context, t Tx, m marketplace.ID, ref marketplace.Ref) (Subscription, error) {
	sub, err := s.locate(ctx, t, m, marketplace.Event{Kind: marketplace.PurchaseSeen, Ref: ref}, s.now())
	if err != nil {
		return Subscription{}, err
	}
	if sub == nil {
		return Subscription{}, fault.New(fault.Unreadable, "the marketplace did not say enough about the purchase: account, product and purchase are needed")
	}
	return *sub, nil
}

// locate returns the subscription an event is about, locked, or nil when only
// the marketplace can tell.
func (s *Service) locate(ctx context.Context, t Tx, m marketplace.ID, e marketplace.Event, now time.Time) (*Subscription, error) {
	ref := e.Ref
	if ref.Product != "" {
		if _, ok := s.product(ref.Product); !ok {
			return nil, fault.New(fault.Unreadable, "product %q is not in the catalog: add it, then replay", ref.Product)
		}
	}
	var found id.Subscription
	var err error
	switch {
	case ref.Purchase != "":
		found, err = t.SubscriptionByPurchase(ctx, m, ref.Purchase)
	case ref.Agreement != "":
		found, err = t.SubscriptionByAgreement(ctx, m, ref.Agreement)
	default:
		return nil, fault.New(fault.Unreadable, "the message names neither purchase nor agreement")
	}
	if err != nil {
		return nil, err
	}
	var sub Subscription
	switch {
	case found != "":
		sub, err = t.LockSubscription(ctx, found)
	case ref.Purchase != "" && ref.Account != "" && ref.Product != "":
		sub, err = s.make(ctx, t, m, ref, now)
	default:
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if ref.Account != "" && ref.Account != sub.Account || ref.Product != "" && ref.Product != sub.Product {
		return nil, fault.New(fault.Unreadable, "the message names another account or product than the one its purchase has had so far; ask the marketplace which is right")
	}
	return &sub, s.enliven(ctx, t, &sub, now)
}

// make inserts a purchase seen for the first time. The product's state is locked
// first, so that a go-live either sees this row or is seen by it.
func (s *Service) make(ctx context.Context, t Tx, m marketplace.ID, ref marketplace.Ref, now time.Time) (Subscription, error) {
	if _, err := t.LockProductState(ctx, ref.Product, now); err != nil {
		return Subscription{}, err
	}
	customer, err := t.EnsureCustomer(ctx, Customer{ID: id.NewCustomer(), Marketplace: m, Account: ref.Account, CreatedAt: now})
	if err != nil {
		return Subscription{}, err
	}
	name, err := s.suggest(ctx, t, customer)
	if err != nil {
		return Subscription{}, err
	}
	sub := id.NewSubscription()
	got, made, err := t.EnsureSubscription(ctx, Subscription{
		ID: sub, Marketplace: m, Purchase: ref.Purchase, Account: ref.Account, Product: ref.Product, Listing: s.listing(m, ref.Product), Plan: s.plan(m, ref.Product, ""),
		Customer: customer.ID, Lineage: sub, TailnetOf: sub, TailnetName: name, Facts: Facts{Marketplace: m}, CreatedAt: now,
	})
	if err != nil || !made || !rulesOf(m).AccountFirst {
		return got, err
	}
	return got, s.inherit(ctx, t, &got, now)
}

// enliven gives a subscription its product's cut-over.
func (s *Service) enliven(ctx context.Context, t Tx, sub *Subscription, now time.Time) error {
	if !sub.CutOver.IsZero() {
		return nil
	}
	p, err := t.ProductState(ctx, sub.Product)
	if err != nil || p.Mode != ModeLive {
		return err
	}
	sub.CutOver = p.CutOver
	return s.note(ctx, t, sub, Fact{Kind: FactLive, At: p.CutOver.Start()}, now)
}

// merge merges facts, terms and what the event says it continues, and keeps what
// it says about the sale.
func (s *Service) merge(ctx context.Context, t Tx, sub *Subscription, e marketplace.Event, now time.Time) (bool, error) {
	if sale, ok := saleOf(sub.Marketplace, sub.ID, e, now); ok {
		if err := t.NoteSale(ctx, sale); err != nil {
			return false, err
		}
	}
	before := sub.Facts
	sub.Facts = Apply(before, e)
	changed := !equal(before, sub.Facts)
	if e.Replaces != "" && sub.Replaces == "" {
		sub.Replaces, changed = e.Replaces, true
	}
	if l := s.listing(sub.Marketplace, sub.Product); l != "" && sub.Listing != l {
		sub.Listing, changed = l, true // the catalog learnt it later
	}
	said, err := s.mergeTerms(ctx, t, sub, e, before.Seen.Version, now)
	return changed || said, err
}

// mergeTerms merges what an event says of terms and of changes to them.
func (s *Service) mergeTerms(ctx context.Context, t Tx, sub *Subscription, e marketplace.Event, seen, now time.Time) (bool, error) {
	rules := rulesOf(sub.Marketplace)
	if e.Terms == nil && e.Kind != marketplace.ChangeWithdrawn && (e.Kind != marketplace.Observed || !rules.ShowsChanges) {
		return false, nil
	}
	rows, err := t.SubscriptionTerms(ctx, sub.ID)
	if err != nil {
		return false, err
	}
	known := agreed{rows: rows, changed: map[string]bool{}, rules: rules}
	known.merge(*sub, e, seen, func(named string) string { return s.plan(sub.Marketplace, sub.Product, named) })
	changes := known.changes()
	for _, c := range changes {
		if err := t.SaveTerms(ctx, c); err != nil {
			return false, err
		}
	}
	if in, ok := InForce(known.rows, now); ok {
		sub.Plan = in.Plan
	}
	return len(changes) > 0, nil
}

// park keeps an event until its purchase is known or its agreement linked, and
// asks the marketplace.
func (s *Service) park(ctx context.Context, t Tx, m marketplace.ID, e marketplace.Event, delivery id.Delivery, now time.Time) error {
	if waitsFor := cmp.Or(e.Ref.Purchase, e.Ref.Agreement); waitsFor != "" && delivery != "" {
		line, err := lineOf(m, e, delivery, now)
		if err != nil {
			return err
		}
		line.Agreement = waitsFor
		if err := t.AddLine(ctx, line); err != nil {
			return err
		}
	}
	if delivery == "" {
		return nil // the answer to our question did not know either; the sweep asks again
	}
	return t.Mark(ctx, DueRefresh, RefreshSubject(m, e.Ref), now)
}

// linkAgreement links the agreement and applies the events that waited for it.
func (s *Service) linkAgreement(ctx context.Context, t Tx, sub *Subscription, agreement string, now time.Time) (bool, error) {
	if agreement == "" {
		return false, nil
	}
	owner, err := t.LinkAgreement(ctx, Agreement{Marketplace: sub.Marketplace, Agreement: agreement, Subscription: sub.ID, LinkedAt: now})
	if err != nil || owner != sub.ID {
		return false, err // one agreement over several purchases: the first link stands, the others are known by their purchase
	}
	changed, err := s.adopt(ctx, t, sub, agreement, now)
	if err != nil {
		return false, err
	}
	return changed, s.linkSuccessors(ctx, t, sub, agreement, now)
}

// adopt applies the events that waited for a purchase or agreement to be known.
func (s *Service) adopt(ctx context.Context, t Tx, sub *Subscription, waitedFor string, now time.Time) (bool, error) {
	lines, err := t.WaitingLines(ctx, sub.Marketplace, waitedFor)
	if err != nil {
		return false, err
	}
	changedAny := false
	for _, line := range lines {
		var e marketplace.Event
		if err := json.Unmarshal(line.Body, &e); err != nil {
			return false, fmt.Errorf("read the waiting event %s: %w", line.ID, err)
		}
		changed, err := s.merge(ctx, t, sub, e, now)
		if err != nil {
			return false, err
		}
		if err := t.AdoptLine(ctx, line.ID, sub.ID, changed); err != nil {
			return false, err
		}
		changedAny = changedAny || changed
	}
	return changedAny, nil
}

func lineOf(m marketplace.ID, e marketplace.Event, delivery id.Delivery, now time.Time) (Line, error) {
	body, err := json.Marshal(e)
	if err != nil {
		return Line{}, fmt.Errorf("write event: %w", err)
	}
	return Line{
		ID: id.NewEvent(), Marketplace: m, Agreement: e.Ref.Agreement, Kind: string(e.Kind), Delivery: delivery,
		RecordedAt: now, HappenedAt: e.At, Version: e.Version, Body: body,
	}, nil
}

// Rebuild merges a subscription's story anew. It must equal the stored facts:
// the story is what happened, the row is only its sum.
func Rebuild(m marketplace.ID, story []Line) (Facts, error) {
	f := Facts{Marketplace: m}
	for _, l := range story {
		if strings.HasPrefix(l.Kind, factPrefix) {
			var n Fact
			if err := json.Unmarshal(l.Body, &n); err != nil {
				return Facts{}, fmt.Errorf("read the fact %s: %w", l.ID, err)
			}
			f = Note(f, n)
			continue
		}
		var e marketplace.Event
		if err := json.Unmarshal(l.Body, &e); err != nil {
			return Facts{}, fmt.Errorf("read the event %s: %w", l.ID, err)
		}
		f = Apply(f, e)
	}
	return f, nil
}
