package store

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/billing/ledger"
	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/store/db"
)

// CountUsage implements billing.Tx.
func (t *Tx) CountUsage(ctx context.Context, kind ledger.Kind, sub id.Subscription, meter, period, of string) (c ledger.Count, err error) {
	switch kind {
	case ledger.PeakPeriod:
		c.Peak, err = t.q.UsagePeak(ctx, db.UsagePeakParams{Subscription: string(sub), Meter: meter, Period: period})
	case ledger.Unique:
		c.Unique, err = t.q.UsageSeen(ctx, db.UsageSeenParams{Subscription: string(sub), Meter: meter, Period: period, Counted: of})
	case ledger.UnitHours:
		c.UnitSeconds, err = t.q.UsageUnitSeconds(ctx, db.UsageUnitSecondsParams{Subscription: string(sub), Meter: meter, Period: period})
	case ledger.Sum:
		c.Sum, err = t.q.UsageSum(ctx, db.UsageSumParams{Subscription: string(sub), Meter: meter, Period: period})
	}
	if err != nil {
		return c, fmt.Errorf("count the usage of %s by %s: %w", meter, sub, err)
	}
	return c, nil
}

// UsagePeriods implements billing.Snapshot.
func (t *Tx) UsagePeriods(ctx context.Context, sub id.Subscription) ([]billing.Balance, error) {
	rows, err := t.q.UsagePeriods(ctx, string(sub))
	if err != nil {
		return nil, fmt.Errorf("list what %s used: %w", sub, err)
	}
	out := make([]billing.Balance, len(rows))
	for i, r := range rows {
		out[i] = billing.Balance{Subscription: sub, Meter: r.Meter, Period: r.Period}
	}
	return out, nil
}

// TotalUsage implements billing.Snapshot.
func (t *Tx) TotalUsage(ctx context.Context, kind ledger.Kind, subs []id.Subscription, meter, period string) (int64, error) {
	var total ledger.Count
	counted := map[string]bool{}
	for _, sub := range subs {
		if kind == ledger.Unique {
			rows, err := t.q.UsageCounted(ctx, db.UsageCountedParams{Subscription: string(sub), Meter: meter, Period: period})
			if err != nil {
				return 0, fmt.Errorf("count the usage of %s by %s: %w", meter, sub, err)
			}
			for _, r := range rows {
				counted[r] = true
			}
			continue
		}
		c, err := t.CountUsage(ctx, kind, sub, meter, period, "")
		if err != nil {
			return 0, err
		}
		total.Sum, total.UnitSeconds, total.Peak = total.Sum+c.Sum, total.UnitSeconds+c.UnitSeconds, max(total.Peak, c.Peak)
	}
	total.Unique = int64(len(counted))
	return total.Value(kind)
}

// balanceKey names one balance.
type balanceKey struct {
	sub                 id.Subscription
	meter, period, plan string
	place               ledger.Place
}

func (a balanceKey) compare(b balanceKey) int {
	return slices.Compare([]string{string(a.sub), a.meter, a.period, a.plan, string(a.place)}, []string{string(b.sub), b.meter, b.period, b.plan, string(b.place)})
}

// Post implements billing.Tx. The scope of every entry is locked, so a balance
// that is not there cannot be made by somebody else meanwhile. Changes are
// added up first: the CHECK on balances judges where a transaction ends, not
// the steps in between.
func (t *Tx) Post(ctx context.Context, entries []ledger.Entry) error {
	change := map[balanceKey]int64{}
	for _, e := range entries {
		t.change(e.Subscription)
		err := t.q.AddEntry(ctx, db.AddEntryParams{
			ID: string(e.ID), Subscription: string(e.Subscription), Meter: e.Meter, Period: e.Period, Hour: hourMicros(e.Hour), FromPlace: string(e.From),
			ToPlace: string(e.To), Quantity: e.Quantity, Reason: string(e.Reason), Record: string(e.Record), Event: string(e.Event), At: micros(e.At), Plan: e.Plan,
		})
		if err != nil {
			return fmt.Errorf("store ledger entry %s to %s: %w", e.From, e.To, err)
		}
		delta, err := ledger.Balances{}.Apply(e)
		if err != nil {
			return err
		}
		for place, q := range delta {
			change[balanceKey{e.Subscription, e.Meter, e.Period, e.Plan, place}] += q
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(change), balanceKey.compare) {
		if err := t.addToBalance(ctx, k, change[k]); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tx) addToBalance(ctx context.Context, k balanceKey, q int64) error {
	if q == 0 {
		return nil
	}
	n, err := t.q.AddToBalance(ctx, db.AddToBalanceParams{Subscription: string(k.sub), Meter: k.meter, Period: k.period, Plan: k.plan, Place: string(k.place), Quantity: q})
	if err == nil && n == 0 {
		err = t.q.NewBalance(ctx, db.NewBalanceParams{Subscription: string(k.sub), Meter: k.meter, Period: k.period, Plan: k.plan, Place: string(k.place), Quantity: q})
	}
	if err != nil {
		return fmt.Errorf("change the balance of %s of %s, %s, by %d: %w", k.place, k.sub, k.meter, q, err)
	}
	return nil
}

// Balances implements billing.Tx.
func (t *Tx) Balances(ctx context.Context, sub id.Subscription, meter string, b billing.Bucket) (ledger.Balances, error) {
	rows, err := t.q.Balances(ctx, db.BalancesParams{Subscription: string(sub), Meter: meter, Period: b.Period, Plan: b.Plan})
	if err != nil {
		return nil, fmt.Errorf("read the balances of %s, %s: %w", sub, meter, err)
	}
	out := make(ledger.Balances, len(rows))
	for _, r := range rows {
		out[ledger.Place(r.Place)] = r.Quantity
	}
	return out, nil
}

// AllBalances implements billing.Snapshot.
func (t *Tx) AllBalances(ctx context.Context) ([]billing.Balance, error) {
	rows, err := t.q.AllBalances(ctx)
	if err != nil {
		return nil, fmt.Errorf("read all balances: %w", err)
	}
	out := make([]billing.Balance, len(rows))
	for i, r := range rows {
		out[i] = billing.Balance{Subscription: id.Subscription(r.Subscription), Meter: r.Meter, Period: r.Period, Plan: r.Plan, Place: ledger.Place(r.Place), Quantity: r.Quantity}
	}
	return out, nil
}

// EntrySums implements billing.Snapshot.
func (t *Tx) EntrySums(ctx context.Context) ([]billing.Balance, error) {
	rows, err := t.q.EntrySums(ctx)
	if err != nil {
		return nil, fmt.Errorf("add up the ledger: %w", err)
	}
	var out []billing.Balance
	for _, r := range rows {
		b, err := ledger.Balances{}.Apply(ledger.Entry{From: ledger.Place(r.FromPlace), To: ledger.Place(r.ToPlace), Quantity: r.Total, Reason: ledger.Operator})
		if err != nil {
			return nil, fmt.Errorf("add up the ledger of %s, %s: %w", r.Subscription, r.Meter, err)
		}
		for place, q := range b {
			out = append(out, billing.Balance{Subscription: id.Subscription(r.Subscription), Meter: r.Meter, Period: r.Period, Plan: r.Plan, Place: place, Quantity: q})
		}
	}
	return out, nil
}

// OpenBuckets implements billing.Tx.
func (t *Tx) OpenBuckets(ctx context.Context, sub id.Subscription, meter string, all bool) ([]billing.Bucket, error) {
	rows, err := t.q.OpenBuckets(ctx, db.OpenBucketsParams{Subscription: string(sub), Meter: meter, Column3: flag(all)})
	if err != nil {
		return nil, fmt.Errorf("list the periods of %s, %s: %w", sub, meter, err)
	}
	out := make([]billing.Bucket, len(rows))
	for i, r := range rows {
		out[i] = billing.Bucket{Period: r.Period, Plan: r.Plan}
	}
	slices.SortFunc(out, func(a, b billing.Bucket) int { // databases sort text by their own rules
		return cmp.Or(strings.Compare(a.Period, b.Period), strings.Compare(a.Plan, b.Plan))
	})
	return out, nil
}

// AddHourUse implements billing.Tx.
func (t *Tx) AddHourUse(ctx context.Context, u billing.HourUse) error {
	err := t.q.AddHourUse(ctx, db.AddHourUseParams{
		Subscription: string(u.Subscription), Meter: u.Meter, Period: u.Period, Hour: hourMicros(u.Hour), Measured: u.Measured, Corrected: u.Corrected,
		Allowance: u.Allowance, PerHour: flag(u.PerHour), Plan: u.Plan, SinceAt: micros(u.Since),
	})
	if err != nil {
		return fmt.Errorf("add to hour %s of %s, %s: %w", u.Hour, u.Subscription, u.Meter, err)
	}
	return nil
}

// SetAllowance implements billing.Tx.
func (t *Tx) SetAllowance(ctx context.Context, u billing.HourUse) error {
	err := t.q.SetAllowance(ctx, db.SetAllowanceParams{Subscription: string(u.Subscription), Meter: u.Meter, Hour: hourMicros(u.Hour), Allowance: u.Allowance, PerHour: flag(u.PerHour), Plan: u.Plan})
	if err != nil {
		return fmt.Errorf("set what hour %s of %s, %s includes: %w", u.Hour, u.Subscription, u.Meter, err)
	}
	return nil
}

// LineageUses implements billing.Tx.
func (t *Tx) LineageUses(ctx context.Context, lineage id.Subscription, meter, period string, before clock.Hour) ([]ledger.Use, error) {
	rows, err := t.q.LineageUses(ctx, db.LineageUsesParams{Lineage: string(lineage), Meter: meter, Period: period, Column4: hourMicros(before)})
	if err != nil {
		return nil, fmt.Errorf("read what lineage %s used of %s: %w", lineage, meter, err)
	}
	out := make([]ledger.Use, len(rows))
	for i, r := range rows {
		out[i] = ledger.Use{
			Subscription: id.Subscription(r.Subscription), Plan: r.Plan, Hour: hourFrom(r.Hour).Unix(), Net: r.Measured - r.Corrected, Allowance: r.Allowance, PerHour: r.PerHour == 1,
		}
	}
	return out, nil
}

// ListEntries implements billing.Store.
func (s *Store) ListEntries(ctx context.Context, sub id.Subscription, meter string, h clock.Hour) ([]ledger.Entry, error) {
	q, err := s.query(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := q.ListEntries(ctx, db.ListEntriesParams{Subscription: string(sub), Meter: meter, Hour: hourMicros(h)})
	if err != nil {
		return nil, fmt.Errorf("list the ledger of %s, %s: %w", sub, meter, err)
	}
	out := make([]ledger.Entry, len(rows))
	for i, r := range rows {
		out[i] = ledger.Entry{
			ID: id.Entry(r.ID), Subscription: sub, Meter: r.Meter, Period: r.Period, Plan: r.Plan, Hour: hourFrom(r.Hour), From: ledger.Place(r.FromPlace), To: ledger.Place(r.ToPlace),
			Quantity: r.Quantity, Reason: ledger.Reason(r.Reason), Record: id.Record(r.Record), Event: id.UsageEvent(r.Event), At: fromMicros(r.At),
		}
	}
	return out, nil
}

// ListHours implements billing.Store.
func (s *Store) ListHours(ctx context.Context, sub id.Subscription, limit int) ([]billing.HourUse, error) {
	q, err := s.query(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := q.ListHours(ctx, db.ListHoursParams{Subscription: string(sub), Limit: atMost(limit)})
	if err != nil {
		return nil, fmt.Errorf("list the hours of %s: %w", sub, err)
	}
	out := make([]billing.HourUse, len(rows))
	for i, r := range rows {
		out[i] = billing.HourUse{
			Subscription: sub, Meter: r.Meter, Period: r.Period, Plan: r.Plan, Since: fromMicros(r.SinceAt), Hour: hourFrom(r.Hour), Measured: r.Measured, Corrected: r.Corrected, Allowance: r.Allowance, PerHour: r.PerHour == 1,
		}
	}
	return out, nil
}
