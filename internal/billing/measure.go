package billing

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tailmarket/tailmarket/internal/billing/ledger"
	"github.com/tailmarket/tailmarket/internal/catalog"
	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
)

// measure posts a rise or fall and sees to it that it is sealed. A fall is taken
// from where there is something: the meter function is the purchase's, and what
// rose under one plan may fall with usage of another.
func (s *Service) measure(ctx context.Context, tx Tx, acct Account, t Terms, m catalog.Meter, use HourUse, event id.UsageEvent, why ledger.Reason, now time.Time) error {
	use.Subscription, use.Meter = acct.Subscription, m.ID
	if use.Measured > 0 || use.Corrected == 0 || m.Kind == catalog.Sum {
		return s.measureIn(ctx, tx, acct, t, m, use, event, why, now)
	}
	uses, err := tx.LineageUses(ctx, acct.Lineage, m.ID, use.Period, noHour)
	if err != nil {
		return err
	}
	net, latest := map[string]int64{}, map[string]clock.Hour{}
	plans := []string{use.Plan}
	for _, u := range slices.Backward(uses) {
		if u.Subscription != acct.Subscription {
			continue
		}
		if net[u.Plan] += u.Net; !slices.Contains(plans, u.Plan) {
			plans = append(plans, u.Plan)
		}
		if _, seen := latest[u.Plan]; !seen {
			latest[u.Plan] = hourOfUse(u)
		}
	}
	left := use.Corrected
	for _, plan := range plans[1:] { // what its own plan does not hold
		if left <= max(net[use.Plan], 0) {
			break
		}
		other := use
		other.Plan, other.Hour, other.Corrected = plan, latest[plan], min(left-max(net[use.Plan], 0), max(net[plan], 0))
		if other.Corrected == 0 {
			continue
		}
		other.Since = t.sinceOf(plan, other.Hour)
		if err := s.measureIn(ctx, tx, acct, t, m, other, event, why, now); err != nil {
			return err
		}
		left -= other.Corrected
	}
	use.Corrected = left
	return s.measureIn(ctx, tx, acct, t, m, use, event, why, now)
}

// measureIn posts a rise or fall to one bucket.
func (s *Service) measureIn(ctx context.Context, tx Tx, acct Account, t Terms, m catalog.Meter, use HourUse, event id.UsageEvent, why ledger.Reason, now time.Time) error {
	var err error
	if use.Allowance, use.PerHour, err = s.allowance(t, use.Plan, m); err != nil {
		return err
	}
	if err := tx.AddHourUse(ctx, use); err != nil {
		return err
	}
	e := ledger.Entry{Subscription: acct.Subscription, Meter: m.ID, Period: use.Period, Plan: use.Plan, Hour: use.Hour, Reason: why, Event: event, At: now}
	var entries []ledger.Entry
	if use.Measured > 0 {
		e.From, e.To, e.Quantity = ledger.Measured, ledger.Open, use.Measured
		entries = append(entries, e)
	}
	if use.Corrected > 0 {
		e.From, e.To, e.Quantity = ledger.Open, ledger.Corrected, use.Corrected
		entries = append(entries, e)
	}
	if entries == nil {
		return nil
	}
	if err := s.post(ctx, tx, entries); err != nil {
		return err
	}
	if !acct.FinalAt.IsZero() {
		return s.finish(ctx, tx, acct, m, Bucket{use.Period, use.Plan}, ledger.AfterFinalSeal, now)
	}
	return tx.Mark(ctx, "seal", string(acct.Subscription), clock.HourOf(now).End())
}

// allowance is what a plan includes of a meter, with the quantities of the terms.
// Usage of a plan that is no longer known is judged by the plan in force. What the
// marketplace takes off itself is not ours to include: it would be taken off twice.
func (s *Service) allowance(t Terms, of string, m catalog.Meter) (int64, bool, error) {
	p, ok := s.Catalog.Product(t.Product)
	if !ok {
		return 0, false, fault.New(fault.Invalid, "the catalog has no product %s", t.Product)
	}
	plan, ok := p.Plan(of)
	if !ok {
		plan, ok = p.Plan(t.Plan)
	}
	if !ok {
		return 0, false, fault.New(fault.Invalid, "product %s has no plan %s; add it to the catalog", t.Product, t.Plan)
	}
	if p.NettedBy(string(t.Marketplace), t.Offer, plan.ID, m) == catalog.Marketplace {
		return 0, false, nil
	}
	return plan.Allowance(m, t.Quantities)
}

// post checks entries, gives them ids and stores them.
func (s *Service) post(ctx context.Context, tx Tx, entries []ledger.Entry) error {
	for i := range entries {
		if err := entries[i].Check(); err != nil {
			return fmt.Errorf("ledger of %s, %s: %w", entries[i].Subscription, entries[i].Meter, err)
		}
		entries[i].ID = id.NewEntry()
	}
	if len(entries) == 0 {
		return nil
	}
	return tx.Post(ctx, entries)
}
