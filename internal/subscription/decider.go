package subscription

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// Decider tells a marketplace a decision, which is harmless to repeat. Every
// adapter is one.
type Decider interface {
	Decide(ctx context.Context, d marketplace.Decision) (marketplace.Outcome, error)
}

// Decide is the worker of decide rows: tells a purchase's marketplace what is due,
// and keeps what it answered. What the marketplace took and has not done yet is
// looked at again, and the reader tells when it is done. A change to a plan that
// nobody here knows stops with a text for the operator, until the catalog has it or
// DecideChange was called. Killed at any line, it tells again.
func (s *Service) Decide(ctx context.Context, sub id.Subscription) (again time.Time, err error) {
	tried := map[string]bool{}
	var errs []error
	for {
		got, err := s.Get(ctx, sub)
		if err != nil {
			return time.Time{}, err
		}
		w, ok := s.next(got, tried)
		if !ok {
			break
		}
		tried[w.Key] = true
		if w.Held {
			errs = append(errs, fault.New(fault.Refused, "The buyer wants to change to plan %q, which the catalog does not have. Add it to the catalog, or decide this change; until then the marketplace waits.", w.Subject))
			continue
		}
		outcome, err := s.tell(ctx, got, w)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if outcome != marketplace.Pending {
			continue
		}
		if got, err = s.Get(ctx, sub); err != nil {
			return time.Time{}, err
		}
		if at := askAfter(got.Facts.Decided[w.Key], s.now()); again.IsZero() || at.Before(again) {
			again = at
		}
	}
	if err := worst(errs); err != nil && (again.IsZero() || !fault.ClassOf(err).Final()) {
		return time.Time{}, fmt.Errorf("decide about %s: %w", sub, err)
	}
	return again, nil
}

// worst is the error that decides what happens next: one that passes is tried again.
func worst(errs []error) error {
	for _, err := range errs {
		if !fault.ClassOf(err).Final() {
			return err
		}
	}
	return errors.Join(errs...)
}

// next is the first decision that is due and was not tried in this run.
func (s *Service) next(sub Subscription, tried map[string]bool) (Wish, bool) {
	for _, w := range s.Due(sub) {
		if !tried[w.Key] {
			w.Ref = sub.Ref()
			return w, true
		}
	}
	return Wish{}, false
}

// Due are the decisions about a purchase that are due now.
func (s *Service) Due(sub Subscription) []Wish {
	return Wishes(sub.Facts, s.now(), func(plan string) bool { return s.knows(sub.Marketplace, sub.Product, plan) })
}

func (s *Service) knows(m marketplace.ID, product, plan string) bool {
	p, ok := s.product(product)
	if ok {
		_, ok = p.PlanNamed(string(m), plan)
	}
	return ok
}

// tell makes one call and keeps its answer.
func (s *Service) tell(ctx context.Context, sub Subscription, w Wish) (marketplace.Outcome, error) {
	d, ok := s.deciders[sub.Marketplace]
	if !ok {
		return "", fault.New(fault.Unavailable, "marketplace %q is not set up here; the operator must fill its section of the settings", sub.Marketplace)
	}
	outcome, err := d.Decide(ctx, w.Decision)
	if fault.Is(err, fault.NotFound) && (w.Kind == marketplace.ApproveChange || w.Kind == marketplace.RejectChange) {
		outcome, err = marketplace.TooLate, nil // an operation that is not there any more waits for nobody
	}
	if err != nil && !fault.Is(err, fault.Conflict) {
		return "", fmt.Errorf("%s: %w", w.Kind, err)
	}
	conflict := err
	err = s.store.SubscriptionTx(ctx, func(ctx context.Context, t Tx) error {
		now := s.now()
		got, err := t.LockSubscription(ctx, sub.ID)
		if err != nil {
			return err
		}
		// Whatever the answer, the marketplace's state may be another one now.
		if err := t.Mark(ctx, DueRefresh, RefreshSubject(got.Marketplace, got.Ref()), now); err != nil || conflict != nil {
			return err
		}
		return s.told(ctx, t, &got, w, outcome, now)
	})
	if err != nil {
		return "", fmt.Errorf("keep the answer to %s: %w", w.Kind, err)
	}
	if conflict != nil {
		return "", fmt.Errorf("%s: %w", w.Kind, conflict)
	}
	return outcome, nil
}

// told merges an answer into a locked subscription.
func (s *Service) told(ctx context.Context, t Tx, sub *Subscription, w Wish, outcome marketplace.Outcome, now time.Time) error {
	if err := s.note(ctx, t, sub, Fact{Kind: FactTold, At: now, Decision: w.Key, Outcome: outcome}, now); err != nil {
		return err
	}
	switch {
	case w.Kind == marketplace.Activate && outcome == marketplace.Done:
		return s.note(ctx, t, sub, Fact{Kind: FactConfirmed, At: now}, now)
	case w.Kind == marketplace.RejectChange && outcome == marketplace.Done:
		return s.settle(ctx, t, sub, w.Key, TermsRefused)
	case w.Kind == marketplace.ApproveChange && outcome == marketplace.TooLate:
		return s.settle(ctx, t, sub, w.Key, TermsWithdrawn)
	}
	return nil
}

// settle gives a new status to the change of terms that a decision is about.
func (s *Service) settle(ctx context.Context, t Tx, sub *Subscription, key string, to TermsStatus) error {
	rows, err := t.SubscriptionTerms(ctx, sub.ID)
	if err != nil {
		return err
	}
	known := agreed{rows: rows, changed: map[string]bool{}, rules: rulesOf(sub.Marketplace)}
	if content := sub.Facts.Decided[key].Terms; content != "" {
		known.settleOne(to, content)
	} else {
		known.settle(to, sub.Facts.Seen.Version, "")
	}
	for _, c := range known.changes() {
		if err := t.SaveTerms(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// DecideChange is a person's decision about the change that waits: agree, or refuse
// for a reason that the buyer reads. Conflict: no change waits for a decision.
func (s *Service) DecideChange(ctx context.Context, sub id.Subscription, actor string, agree bool, reason string) error {
	if actor == "" || agree == (reason != "") {
		return fault.New(fault.Invalid, "a decision needs who makes it, and a refusal, and only that, a reason")
	}
	err := s.store.SubscriptionTx(ctx, func(ctx context.Context, t Tx) error {
		got, err := t.LockSubscription(ctx, sub)
		if err != nil {
			return err
		}
		if got.Facts.Seen.Awaits != marketplace.ApproveChange || got.Facts.Seen.Plan == "" {
			return fault.New(fault.Conflict, "no change of this purchase waits for a decision")
		}
		now, key := s.now(), keyOf(marketplace.ApproveChange, got.Facts.Seen.Plan, got.Facts.Seen)
		if err := s.note(ctx, t, &got, Fact{Kind: FactVerdict, At: now, Decision: key, Reason: reason, By: actor}, now); err != nil {
			return err
		}
		if err := t.AddAudit(ctx, AuditEntry{At: now, Actor: actor, Action: "change.decide", Subject: string(sub), Detail: got.Facts.Seen.Plan + " " + reason}); err != nil {
			return err
		}
		return t.Mark(ctx, DueDecide, string(sub), now)
	})
	if err != nil {
		return fmt.Errorf("decide a change of %s: %w", sub, err)
	}
	return nil
}

// judge decides about a change that must be answered with its message: Microsoft
// takes silence for consent after ten seconds, so nothing is asked of anybody. It
// returns why the change is refused. What was decided once stays decided.
func (s *Service) judge(ctx context.Context, t Tx, sub *Subscription, e marketplace.Event, now time.Time) (refused string, err error) {
	if e.Kind != marketplace.ChangeRequested || e.Terms == nil || e.MessageID == "" || !rulesOf(sub.Marketplace).AnswersChanges {
		return "", nil
	}
	if sub.Facts.LiveFrom.IsZero() || sub.Facts.LiveFrom.After(now) {
		return "", nil // the product observes
	}
	key := keyOperation + e.MessageID
	if d := sub.Facts.Decided[key]; !d.At.IsZero() {
		return d.Refused, nil
	}
	end := sub.EndsAt()
	if !end.IsZero() && !end.After(now) || !sub.Facts.ClosedAt.IsZero() {
		refused = "the purchase has ended"
	} else {
		refused = s.unfit(sub.Marketplace, sub.Product, *e.Terms)
	}
	verdict := Fact{Kind: FactVerdict, At: now, Decision: key, Reason: refused, By: "catalog", Terms: termsOf(sub.ID, "", e, *e.Terms).Fingerprint}
	if err := s.note(ctx, t, sub, verdict, now); err != nil || refused == "" {
		return refused, err
	}
	return refused, s.settle(ctx, t, sub, key, TermsRefused)
}

// judgeUnknown is judge for a purchase that is not known yet, as far as the
// message and the catalog tell.
func (s *Service) judgeUnknown(ctx context.Context, t Tx, m marketplace.ID, e marketplace.Event) (refused string, err error) {
	if e.Kind != marketplace.ChangeRequested || e.Terms == nil || e.Ref.Product == "" || !rulesOf(m).AnswersChanges {
		return "", nil
	}
	p, err := t.ProductState(ctx, e.Ref.Product)
	if err != nil || p.Mode != ModeLive || p.CutOver.Start().After(s.now()) {
		return "", err
	}
	return s.unfit(m, e.Ref.Product, *e.Terms), nil
}

// unfit says why we could not serve such terms; empty: we can.
func (s *Service) unfit(m marketplace.ID, product string, terms marketplace.Terms) string {
	if terms.Plan != "" && !s.knows(m, product, terms.Plan) {
		return fmt.Sprintf("plan %.80q is not in the catalog", terms.Plan)
	}
	p, _ := s.product(product)
	for name, n := range terms.Quantities {
		if !p.Contracts(string(m), terms.Plan, name, n) {
			return fmt.Sprintf("%d is not a number of %.40s that is sold", n, name)
		}
	}
	return ""
}

// Refusal is why the change that a message asked for was refused; empty: it was
// not, or never decided.
func (s *Service) Refusal(ctx context.Context, t Tx, m marketplace.ID, e marketplace.Event) (string, error) {
	if e.Kind != marketplace.ChangeRequested || e.Terms == nil || !rulesOf(m).AnswersChanges {
		return "", nil
	}
	found, err := t.SubscriptionByPurchase(ctx, m, e.Ref.Purchase)
	if err != nil {
		return "", err
	}
	if found == "" {
		return s.judgeUnknown(ctx, t, m, e)
	}
	sub, err := t.LockSubscription(ctx, found)
	return sub.Facts.Decided[keyOperation+e.MessageID].Refused, err
}
