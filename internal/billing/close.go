package billing

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/tailmarket/tailmarket/internal/billing/ledger"
	"github.com/tailmarket/tailmarket/internal/catalog"
	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/money"
)

// patience is how long the final seal waits for a collector when the vendor's
// rules do not say how long the window after an end is.
const patience = 30 * time.Minute

// Close makes the final seal of a subscription that has ended: every hour up to
// the end including the part hour, leftovers into the latest free slot, and what
// is then left written off with a finding. It answers whether everything is
// settled: nothing queued, sent or unsure. Not settled and no error: ask again
// when answers may have come. Harmless to repeat.
func (s *Service) Close(ctx context.Context, sub id.Subscription) (settled bool, err error) {
	for {
		var more bool
		err := s.Store.BillingTx(ctx, func(ctx context.Context, tx Tx) (err error) {
			more, settled, err = s.closeSome(ctx, tx, sub)
			return err
		})
		if err != nil {
			return false, fmt.Errorf("close %s: %w", sub, err)
		}
		if !more {
			return settled, nil
		}
	}
}

func (s *Service) closeSome(ctx context.Context, tx Tx, sub id.Subscription) (more, settled bool, err error) {
	now := s.Now()
	t, ok, err := terms(ctx, tx, sub, now)
	if err != nil {
		return false, false, err
	}
	if !ok || t.EndsAt.IsZero() {
		return false, false, fault.New(fault.Conflict, "subscription %s has no end yet", sub)
	}
	if now.Before(t.EndsAt) {
		return false, false, nil
	}
	acct, err := s.account(ctx, tx, t)
	if err != nil {
		return false, false, err
	}
	if acct.FinalAt.IsZero() {
		ready, err := s.readyToEnd(ctx, tx, t, acct, now)
		if err != nil || !ready {
			return false, false, err
		}
		if _, more, _, err = s.sealPast(ctx, tx, sub, true); err != nil || more {
			return more, false, err
		}
		if err := s.finalSeal(ctx, tx, t, acct, now); err != nil {
			return false, false, err
		}
	}
	n, err := tx.Unsettled(ctx, sub)
	return false, n == 0, err
}

// readyToEnd reports whether the usage before the end is known, or cannot be
// waited for any longer.
func (s *Service) readyToEnd(ctx context.Context, tx Tx, t Terms, acct Account, now time.Time) (bool, error) {
	p, _, rules, err := s.product(t)
	if err != nil {
		return false, err
	}
	if now.Before(t.EndsAt.Add(rules.FinalAccept)) {
		return false, nil
	}
	collected := false
	for _, m := range meters(p, t.Marketplace) {
		collected = collected || m.Source == catalog.Collected
	}
	first, live := t.firstHour()
	if !collected || !live || !acct.CoveredTo.Before(t.EndsAt) || !first.Start().Before(t.EndsAt) {
		return true, nil
	}
	wait := rules.AfterEnd.Target
	if wait <= 0 {
		wait = patience
	}
	if now.Before(t.EndsAt.Add(wait)) {
		return false, fault.New(fault.Unavailable, "the last hours of %s are not collected yet", t.Subscription)
	}
	return true, s.raise(ctx, tx, Finding{
		Class: FindCoverageGap, Cause: fmt.Sprintf("%s before its end", t.Subscription), Subscription: t.Subscription, Owner: "operator",
		Detail: fmt.Sprintf("no collector saw %s to the end %s; nothing was filled in", acct.CoveredTo.Format(time.RFC3339), t.EndsAt.Format(time.RFC3339)),
	})
}

// finalSeal seals the last hour and leaves nothing open.
func (s *Service) finalSeal(ctx context.Context, tx Tx, t Terms, acct Account, now time.Time) error {
	p, _, rules, err := s.product(t)
	if err != nil {
		return err
	}
	ms := meters(p, t.Marketplace)
	if err := s.lockMeters(ctx, tx, t, ms); err != nil {
		return err
	}
	why := ledger.NoSlot
	if len(rules.Identity(t.Identity)) > 0 {
		why = ledger.MissingIdentity
	}
	acct.FinalAt = now
	if first, err := tx.FinishBilling(ctx, acct.Subscription, now); err != nil {
		return err
	} else if !first {
		return fault.New(fault.Conflict, "another process made the final seal of %s", acct.Subscription)
	}
	first, live := t.firstHour()
	for _, m := range ms {
		if live && first.Start().Before(t.EndsAt) {
			if err := s.lastSlots(ctx, tx, seal{t: t, acct: acct, m: m, rules: rules, upTo: t.lastHour(), zero: m.ID == heartbeat(ms, rules), final: true, now: now}, first); err != nil {
				return err
			}
			if err := tx.SaveSealedTo(ctx, t.Subscription, m.ID, t.lastHour().Next()); err != nil {
				return err
			}
		}
		buckets, err := tx.OpenBuckets(ctx, t.Subscription, m.ID, true)
		if err != nil {
			return err
		}
		for _, b := range buckets {
			if err := s.finish(ctx, tx, acct, m, b, why, now); err != nil {
				return err
			}
		}
	}
	if err := s.resume(ctx, tx, t, acct, true, now); err != nil {
		return err
	}
	if rules.AfterEnd.Limit > 0 {
		if err := tx.HastenRecords(ctx, t.Subscription, t.EndsAt.Add(rules.AfterEnd.Limit)); err != nil {
			return err
		}
	}
	held, err := tx.RecordsInState(ctx, t.Subscription, ledger.RecordHeld)
	if err != nil {
		return err
	}
	if len(held) > 0 {
		if err := tx.Mark(ctx, "seal", string(t.Subscription), now); err != nil {
			return err
		}
	}
	return tx.Mark(ctx, "submit", string(t.Marketplace), now)
}

// lastSlots seals the last hour, and puts what is left into the latest free slots
// of the window, inside the subscription.
func (s *Service) lastSlots(ctx context.Context, tx Tx, x seal, first clock.Hour) error {
	for h := x.upTo; !h.Before(first); h = h.Prev() {
		var err error
		if x, err = s.under(ctx, tx, x, h, h.Start()); err != nil {
			return err
		}
		if h != x.upTo {
			left, err := s.postable(ctx, tx, x)
			if err != nil || !left || x.now.After(x.deadline()) {
				return err
			}
			x.zero = false // the window is asked for leftovers only
		}
		if _, err := s.sealHour(ctx, tx, x); err != nil {
			return err
		}
	}
	return nil
}

// postable reports whether whole units are still open.
func (s *Service) postable(ctx context.Context, tx Tx, x seal) (bool, error) {
	buckets, err := tx.OpenBuckets(ctx, x.t.Subscription, x.m.ID, false)
	if err != nil {
		return false, err
	}
	for _, b := range buckets {
		bal, err := tx.Balances(ctx, x.t.Subscription, x.m.ID, b)
		if err != nil {
			return false, err
		}
		if bal[ledger.Open] > 0 {
			return true, nil
		}
	}
	return false, nil
}

// finish leaves nothing open in a bucket after the final seal: what can no longer
// be billed is written off for why, a fraction as a fraction.
func (s *Service) finish(ctx context.Context, tx Tx, acct Account, m catalog.Meter, b Bucket, why ledger.Reason, now time.Time) error {
	bal, net, included, err := s.position(ctx, tx, acct, m, b, noHour)
	if err != nil {
		return err
	}
	var entries []ledger.Entry
	lost := int64(0)
	for _, e := range ledger.Finish(bal, net, included, why, func(from, to ledger.Place, q int64, why ledger.Reason) ledger.Entry {
		return ledger.Entry{Subscription: acct.Subscription, Meter: m.ID, Period: b.Period, Plan: b.Plan, Hour: clock.HourOf(now), From: from, To: to, Quantity: q, Reason: why, At: now}
	}) {
		if e.To != ledger.WrittenOff {
			entries = append(entries, e)
			continue
		}
		// Less than a whole unit was never billable.
		if part := e.Quantity % int64(s.unit(acct, m)); (why == ledger.NoSlot || why == ledger.MissingIdentity) && part > 0 {
			f := e
			f.Quantity, f.Reason = part, ledger.Fraction
			entries, e.Quantity = append(entries, f), e.Quantity-part
		}
		if e.Quantity > 0 {
			entries, lost = append(entries, e), lost+e.Quantity
		}
	}
	if err := s.post(ctx, tx, entries); err != nil {
		return err
	}
	if lost > 0 {
		if err := s.writtenOff(ctx, tx, acct, m, b.Period, lost, why, ""); err != nil {
			return err
		}
	}
	after, err := tx.Balances(ctx, acct.Subscription, m.ID, b)
	if err != nil || after[ledger.CreditLeft] == 0 {
		return err
	}
	return s.raise(ctx, tx, Finding{
		Class: FindCreditLeft, Cause: fmt.Sprintf("%s %s %s %s at %d", acct.Subscription, m.ID, b.Period, b.Plan, after[ledger.CreditLeft]), Subscription: acct.Subscription, Meter: m.ID,
		Quantity: m.Format(after[ledger.CreditLeft]), Owner: "finance",
		Detail: "billed and then corrected away, and no usage follows: refund the buyer through the marketplace's refund request",
	})
}

// unit is the smallest quantity the account's marketplace takes of a meter.
func (s *Service) unit(acct Account, m catalog.Meter) ledger.Scale {
	v, ok := s.Vendors[acct.Marketplace]
	if !ok {
		return ledger.Scale(m.Whole())
	}
	return scale(m, v.Rules(acct.Product))
}

// writtenOff raises the finding of a loss. Each loss is one of its own.
func (s *Service) writtenOff(ctx context.Context, tx Tx, acct Account, m catalog.Meter, period string, q int64, why ledger.Reason, rec id.Record) error {
	f := Finding{
		Class: FindWrittenOff, Subscription: acct.Subscription, Meter: m.ID, Record: rec, Quantity: m.Format(q), Owner: "finance",
		Detail: fmt.Sprintf("%s of %s will not be billed: %s", m.Format(q), m.ID, why),
	}
	f.Cause = string(rec)
	if rec == "" {
		f.Cause = string(id.NewEntry()) // no two losses are the same one
	}
	f.Cause += " " + period
	return s.raise(ctx, tx, f)
}

// meterOf finds a record's meter, also when the catalog has lost it.
func (s *Service) meterOf(product, meter string, scale int) catalog.Meter {
	if p, ok := s.Catalog.Product(product); ok {
		if m, ok := p.Meter(meter); ok {
			return m
		}
	}
	return catalog.Meter{ID: meter, Scale: scale, Kind: catalog.Sum}
}

// refreshSubject names the purchase behind an identity for a refresh.
func refreshSubject(m marketplace.ID, i marketplace.VendorIdentity) string {
	return string(m) + "|licence|" + cmp.Or(i.License, i.Resource)
}

func text(q int64, scale int) string { return money.Format(q, scale) }
