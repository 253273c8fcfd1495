package billing

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tailmarket/tailmarket/internal/billing/ledger"
	"github.com/tailmarket/tailmarket/internal/catalog"
	"github.com/tailmarket/tailmarket/internal/clock"
)

// Stretch is a time during which one plan is in force; it ends where the next begins.
type Stretch struct {
	Plan  string
	Since time.Time
}

// segment is the part of an hour in which one plan is in force.
type segment struct {
	plan     string
	from, to time.Time
}

// planAt is the plan in force at an instant; before the first began, the first.
func (t Terms) planAt(at time.Time) string {
	plan := t.Plan
	for i, s := range t.Plans {
		if i == 0 || !s.Since.After(at) {
			plan = s.Plan
		}
	}
	return plan
}

// sinceOf is when a plan began inside an hour, or the hour.
func (t Terms) sinceOf(plan string, h clock.Hour) time.Time {
	for _, s := range t.Plans {
		if s.Plan == plan && h.Contains(s.Since) {
			return s.Since
		}
	}
	return h.Start()
}

// within lists the segments of an hour that lie in the subscription, in order; at
// least one.
func (t Terms) within(h clock.Hour) []segment {
	from, to := later(h.Start(), t.StartsAt), h.End()
	if !t.EndsAt.IsZero() && t.EndsAt.Before(to) {
		to = t.EndsAt
	}
	out := []segment{{t.planAt(from), from, to}}
	for _, s := range t.Plans {
		if last := &out[len(out)-1]; s.Since.After(from) && s.Since.Before(to) && s.Plan != last.plan {
			last.to = s.Since
			out = append(out, segment{s.Plan, s.Since, to})
		}
	}
	return out
}

// dimension is what the marketplace calls the meter under a plan.
func (s *Service) dimension(t Terms, m catalog.Meter, plan string) string {
	if p, ok := s.Catalog.Product(t.Product); ok {
		return p.Dimension(plan, m, string(t.Marketplace))
	}
	return m.Dimensions[string(t.Marketplace)]
}

// line is one record that an hour's seal may freeze: who and what it is about, and
// the plans whose units go into it.
type line struct {
	seal
	segment
	dimension string
	plans     []string
}

// lines says which records the hour of x may get, and which of the plans with open
// units must wait for a later hour.
//
// The plan in force when the hour begins takes the hour's slot of its dimension. A
// plan that begins inside the hour has a record of its own where the marketplace
// can tell the two apart: another dimension, or any number of records in an hour
// (Parts). Otherwise its units wait for the next hour. Units that an earlier plan
// left go forward under their dimension, unless the marketplace's records name the
// plan in force and that plan does not have the dimension, or have a window of
// time that is another plan's: those go back into the latest free slot of their own plan.
func (s *Service) lines(ctx context.Context, tx Tx, x seal, open []string) (out []line, waiting []string, err error) {
	segments := x.t.within(x.slot)
	in := func(plan string) bool {
		return slices.ContainsFunc(segments, func(g segment) bool { return g.plan == plan })
	}
	of := func(dimension string) int {
		return slices.IndexFunc(out, func(l line) bool { return l.dimension == dimension })
	}
	for i, g := range segments {
		d := s.dimension(x.t, x.m, g.plan)
		switch {
		case slices.ContainsFunc(out, func(l line) bool { return l.plan == g.plan }):
			continue // it was in force in this hour before
		case !x.rules.Parts && of(d) >= 0 && !x.final:
			if slices.Contains(open, g.plan) {
				waiting = append(waiting, g.plan)
			}
			continue
		}
		l := line{x, g, d, []string{g.plan}}
		if i > 0 { // after the others: a slot that they take is not free for it
			if l.seal, err = s.under(ctx, tx, x, x.slot, g.from); err != nil {
				return nil, nil, err
			}
			l.zero = false
		}
		out = append(out, l)
	}
	for _, plan := range open {
		at := slices.IndexFunc(x.t.Plans, func(s Stretch) bool { return s.Plan == plan })
		d := s.dimension(x.t, x.m, plan)
		switch {
		case in(plan), at > 0 && !x.t.Plans[at].Since.Before(x.slot.End()): // has its line, or is not there yet
		case x.rules.Parts && at >= 0, x.t.Identity.Plan != "" && at >= 0 && d != out[0].dimension:
			l, ok, err := s.backwards(ctx, tx, x, plan, d)
			if err != nil {
				return nil, nil, err
			}
			if ok {
				out = append(out, l)
			} else if !x.final {
				if err := s.writeOff(ctx, tx, x, plan); err != nil {
					return nil, nil, err
				}
			}
		case of(d) >= 0:
			l := &out[of(d)]
			l.plans = append(l.plans, plan)
		default:
			l := line{x, segments[0], d, []string{plan}}
			l.zero = false
			out = append(out, l)
		}
	}
	return out, waiting, nil
}

// under is the seal with the terms of an instant, for the slot of an hour.
func (s *Service) under(ctx context.Context, tx Tx, x seal, h clock.Hour, at time.Time) (seal, error) {
	t, err := tx.Terms(ctx, x.t.Subscription, at)
	if err != nil {
		return x, fmt.Errorf("terms of %s at %s: %w", x.t.Subscription, at.Format(time.RFC3339), err)
	}
	x.t, x.slot = t, h
	return x, nil
}

// backwards finds the latest slot before x's in which a plan was in force and that
// the marketplace still takes.
func (s *Service) backwards(ctx context.Context, tx Tx, x seal, plan, dimension string) (line, bool, error) {
	first, live := x.t.firstHour()
	for h := x.slot.Prev(); live && !h.Before(first); h = h.Prev() {
		y := x
		y.slot, y.zero = h, false
		if y.now.After(y.deadline()) {
			break
		}
		for _, g := range slices.Backward(x.t.within(h)) {
			if g.plan != plan {
				continue
			}
			y, err := s.under(ctx, tx, y, h, g.from)
			if err != nil {
				return line{}, false, err
			}
			l := line{y, g, dimension, []string{plan}}
			_, free, err := s.freeSlot(ctx, tx, l)
			if err != nil || free {
				return l, free, err
			}
		}
	}
	return line{}, false, nil
}

// maxParts bounds the records of one window; each is one late arrival's.
const maxParts = 1000

// freeSlot finds the slot that the line's record would have: the first part of its
// window that is free, where the marketplace takes parts.
func (s *Service) freeSlot(ctx context.Context, tx Tx, l line) (r Record, free bool, err error) {
	parts := 1
	if l.rules.Parts {
		parts = maxParts
	}
	r = Record{
		Subscription: l.t.Subscription, Lineage: l.t.Lineage, Marketplace: l.t.Marketplace, Product: l.t.Product, Meter: l.m.ID, Dimension: l.dimension,
		Hour: l.slot, From: l.from, To: l.to, Scale: l.m.Scale, Final: l.final, State: ledger.RecordQueued, Deadline: l.deadline(), FrozenAt: l.now,
	}
	for r.Part = 0; r.Part < parts && !free; r.Part++ {
		r.Slot = l.rules.Slot(l.wire(r))
		if free, err = tx.SlotFree(ctx, r.Marketplace, r.Slot, r.Subscription, r.Dimension, r.Hour, r.Part); err != nil {
			return r, false, err
		}
		if free {
			break
		}
	}
	return r, free, nil
}

// writeOff gives up what an earlier plan left, when no slot of that plan can be had:
// no later hour has one.
func (s *Service) writeOff(ctx context.Context, tx Tx, x seal, plan string) error {
	buckets, err := tx.OpenBuckets(ctx, x.t.Subscription, x.m.ID, false)
	if err != nil {
		return err
	}
	for _, b := range buckets {
		if b.Plan != plan {
			continue
		}
		if _, err := s.sealBucket(ctx, tx, x, nil, b, 0); err != nil {
			return err
		}
		bal, err := tx.Balances(ctx, x.t.Subscription, x.m.ID, b)
		if err != nil {
			return err
		}
		lost := bal[ledger.Open]
		if lost <= 0 {
			continue
		}
		e := x.entry()
		e.Period, e.Plan, e.From, e.To, e.Quantity, e.Reason = b.Period, b.Plan, ledger.Open, ledger.WrittenOff, lost, ledger.NoSlot
		if err := s.post(ctx, tx, []ledger.Entry{e}); err != nil {
			return err
		}
		if err := s.writtenOff(ctx, tx, x.acct, x.m, b.Period, lost, ledger.NoSlot, ""); err != nil {
			return err
		}
	}
	return nil
}

// noteWaiting tells the story of units that wait, and why.
func (s *Service) noteWaiting(ctx context.Context, tx Tx, x seal, plans []string, why ledger.Reason) error {
	buckets, err := tx.OpenBuckets(ctx, x.t.Subscription, x.m.ID, false)
	if err != nil {
		return err
	}
	var entries []ledger.Entry
	for _, b := range buckets {
		if !slices.Contains(plans, b.Plan) {
			continue
		}
		bal, err := tx.Balances(ctx, x.t.Subscription, x.m.ID, b)
		if err != nil {
			return err
		}
		if q := bal[ledger.Open]; q > 0 {
			e := x.entry()
			e.Period, e.Plan, e.From, e.To, e.Quantity, e.Reason = b.Period, b.Plan, ledger.Open, ledger.Open, q, why
			entries = append(entries, e)
		}
	}
	return s.post(ctx, tx, entries)
}
