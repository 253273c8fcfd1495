package billing

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tailmarket/tailmarket/internal/billing/ledger"
	"github.com/tailmarket/tailmarket/internal/catalog"
	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/money"
)

// hoursPerTx keeps a transaction that catches up on missed hours small.
const hoursPerTx = 6

var noHour clock.Hour

func hourOfUse(u ledger.Use) clock.Hour { return clock.HourFromUnix(u.Hour) }

// Seal freezes every hour of a subscription that is past and not sealed, in
// order: missed hours are done by the next run. A collected meter's hour waits
// until its collector has covered it; Collect wakes the seal then. It answers
// when to be run again, the zero time when Close does the rest. A second run
// finds the hours that are left.
func (s *Service) Seal(ctx context.Context, sub id.Subscription) (again time.Time, err error) {
	for {
		var more bool
		sealed := 0
		err := s.Store.BillingTx(ctx, func(ctx context.Context, tx Tx) (err error) {
			sealed, more, again, err = s.sealPast(ctx, tx, sub, false)
			return err
		})
		if err != nil {
			return time.Time{}, fmt.Errorf("seal %s: %w", sub, err)
		}
		s.Observer.Passed(StationSeal, sealed, sealed)
		if !more {
			return again, nil
		}
	}
}

// sealPast seals up to hoursPerTx hours of each meter. closing ignores coverage:
// the window after an end does not wait for a collector.
func (s *Service) sealPast(ctx context.Context, tx Tx, sub id.Subscription, closing bool) (sealed int, more bool, again time.Time, err error) {
	now := s.Now()
	t, ok, err := terms(ctx, tx, sub, now)
	if err != nil || !ok {
		return 0, false, again, err
	}
	first, live := t.firstHour()
	if !live {
		return 0, false, again, nil // the subscription marks the seal when it is
	}
	acct, err := s.account(ctx, tx, t)
	if err != nil {
		return 0, false, again, err
	}
	if !acct.FinalAt.IsZero() {
		again, err = s.expireHeld(ctx, tx, acct, now)
		return 0, false, again, err
	}
	p, _, rules, err := s.product(t)
	if err != nil {
		return 0, false, again, err
	}
	// The last hour is sealed by the final seal only.
	limit := clock.HourOf(now)
	again = limit.End()
	if !t.EndsAt.IsZero() && !limit.Before(t.lastHour()) {
		limit, again = t.lastHour(), time.Time{}
	}
	ms := meters(p, t.Marketplace)
	if err := s.lockMeters(ctx, tx, t, ms); err != nil {
		return 0, false, again, err
	}
	if err := s.resume(ctx, tx, t, acct, false, now); err != nil {
		return 0, false, again, err
	}
	queued, at, beat := false, hourly(ctx, tx, sub), heartbeat(ms, rules)
	for _, m := range ms {
		h, begun, err := tx.SealedTo(ctx, sub, m.ID)
		if err != nil {
			return 0, false, again, err
		}
		if !begun || h.Before(first) {
			h = first
		}
		n := 0
		for ; h.Before(limit) && (closing || m.Source != catalog.Collected || !acct.CoveredTo.Before(h.End())); h = h.Next() {
			if n++; n > hoursPerTx {
				more = true
				break
			}
			then, err := at(h)
			if err != nil {
				return 0, false, again, err
			}
			froze, err := s.sealHour(ctx, tx, seal{t: then, acct: acct, m: m, rules: rules, slot: h, upTo: h, zero: m.ID == beat, now: now})
			if err != nil {
				return 0, false, again, err
			}
			queued = queued || froze
			sealed++
		}
		if err := tx.SaveSealedTo(ctx, sub, m.ID, h); err != nil {
			return 0, false, again, err
		}
	}
	if queued {
		err = tx.Mark(ctx, "submit", string(t.Marketplace), now)
	}
	return sealed, more, again, err
}

// hourly reads the terms of hours, each hour once.
func hourly(ctx context.Context, tx Tx, sub id.Subscription) func(clock.Hour) (Terms, error) {
	seen := map[int64]Terms{}
	return func(h clock.Hour) (Terms, error) {
		if t, ok := seen[h.Unix()]; ok {
			return t, nil
		}
		t, err := tx.Terms(ctx, sub, h.Start())
		if err != nil {
			return t, fmt.Errorf("terms of %s in %s: %w", sub, h, err)
		}
		seen[h.Unix()] = t
		return t, nil
	}
}

func (s *Service) lockMeters(ctx context.Context, tx Tx, t Terms, ms []catalog.Meter) error {
	scopes := make([]Scope, len(ms))
	for i, m := range ms {
		scopes[i] = Scope{t.Lineage, m.ID}
	}
	return lockAll(ctx, tx, scopes)
}

// seal is one slot to be sealed: usage up to and including the hour upTo goes
// into the slot's record. They differ only for leftovers at the end.
type seal struct {
	t     Terms
	acct  Account
	m     catalog.Meter
	rules marketplace.Rules
	slot  clock.Hour
	upTo  clock.Hour
	zero  bool // an idle hour that is covered gets a record of 0
	final bool
	now   time.Time
}

// heartbeat is the meter whose idle hours get a record of 0, "" when the vendor
// wants none. It is one meter, because the vendor wants to hear of every customer,
// not of every dimension; and a collected one, because a record of 0 closes its
// slot: what is reported late of another meter may need that slot at the end.
func heartbeat(ms []catalog.Meter, r marketplace.Rules) string {
	i := slices.IndexFunc(ms, func(m catalog.Meter) bool { return m.Source == catalog.Collected })
	if !r.Heartbeat || !r.ZeroAllowed || i < 0 {
		return ""
	}
	return ms[i].ID
}

// covered reports whether everything of the slot's hour that lies in the subscription was collected.
func (x seal) covered() bool {
	end := x.slot.End()
	if !x.t.EndsAt.IsZero() && x.t.EndsAt.Before(end) {
		end = x.t.EndsAt
	}
	return !x.acct.CoveredTo.Before(end)
}

func (x seal) entry() ledger.Entry {
	return ledger.Entry{Subscription: x.t.Subscription, Meter: x.m.ID, Hour: x.slot, At: x.now}
}

// deadline is the last instant the vendor may take a record of the slot.
func (x seal) deadline() time.Time {
	d := x.rules.Deadline(x.slot)
	if !x.t.EndsAt.IsZero() && x.rules.AfterEnd.Limit > 0 {
		if e := x.t.EndsAt.Add(x.rules.AfterEnd.Limit); e.Before(d) {
			return e
		}
	}
	return d
}

// sealHour applies the seal formula to every bucket that has something open and
// freezes the posts into the hour's records, one for each line. What cannot be
// posted now (window passed, slot taken, too much for one record) stays open, and
// the next hour's seal posts it. The scope is locked.
func (s *Service) sealHour(ctx context.Context, tx Tx, x seal) (froze bool, err error) {
	if err := s.setAllowances(ctx, tx, x); err != nil {
		return false, err
	}
	members, err := tx.LineageMembers(ctx, x.acct.Lineage)
	if err != nil {
		return false, err
	}
	// A relative may have consumed what this one counted as included: then every bucket is looked at.
	buckets, err := tx.OpenBuckets(ctx, x.t.Subscription, x.m.ID, len(members) > 1)
	if err != nil {
		return false, err
	}
	var open []string
	for _, b := range buckets {
		if !slices.Contains(open, b.Plan) {
			open = append(open, b.Plan)
		}
	}
	lines, waiting, err := s.lines(ctx, tx, x, open)
	if err != nil {
		return false, err
	}
	sealed := map[string]bool{}
	for _, l := range lines {
		f, err := s.sealLine(ctx, tx, l, buckets)
		if err != nil {
			return false, fmt.Errorf("hour %s of %s: %w", x.slot, x.m.ID, err)
		}
		froze = froze || f
		for _, plan := range l.plans {
			sealed[plan] = true
		}
	}
	for _, b := range buckets {
		if sealed[b.Plan] {
			continue
		}
		if _, err := s.sealBucket(ctx, tx, x, nil, b, 0); err != nil {
			return false, fmt.Errorf("hour %s of %s: %w", x.slot, x.m.ID, err)
		}
	}
	if len(waiting) == 0 {
		return froze, nil
	}
	return froze, s.noteWaiting(ctx, tx, x, waiting, ledger.SlotTaken)
}

// setAllowances brings what the hour's terms include to what is known now. Usage
// under a plan that the catalog does not know is in quarantine: what other plans
// left does not wait for it.
func (s *Service) setAllowances(ctx context.Context, tx Tx, x seal) error {
	p, _, _, err := s.product(x.t)
	if err != nil {
		return err
	}
	for i, g := range x.t.within(x.slot) {
		if _, known := p.Plan(g.plan); !known {
			continue
		}
		t := x.t
		if i > 0 {
			y, err := s.under(ctx, tx, x, x.slot, g.from)
			if err != nil {
				return err
			}
			t = y.t
		}
		use := HourUse{Subscription: t.Subscription, Meter: x.m.ID, Hour: x.slot, Plan: g.plan}
		if use.Allowance, use.PerHour, err = s.allowance(t, g.plan, x.m); err != nil {
			return err
		}
		if err := tx.SetAllowance(ctx, use); err != nil {
			return err
		}
	}
	return nil
}

// sealLine freezes the posts of a line's buckets into its record.
func (s *Service) sealLine(ctx context.Context, tx Tx, l line, buckets []Bucket) (froze bool, err error) {
	rec, most, err := s.slot(ctx, tx, l)
	if err != nil {
		return false, err
	}
	for _, b := range buckets {
		if !slices.Contains(l.plans, b.Plan) {
			continue
		}
		post, err := s.sealBucket(ctx, tx, l.seal, rec, b, most)
		if err != nil {
			return false, err
		}
		if post > 0 {
			most -= post
			rec.Quantity += post
			rec.Allocations = append(rec.Allocations, Allocation{Period: b.Period, Plan: b.Plan, Quantity: post, Placed: post})
		}
	}
	if rec == nil || rec.Quantity == 0 && !(l.zero && l.covered() && l.from.Before(l.to)) {
		return false, nil
	}
	return true, s.freeze(ctx, tx, l.seal, rec)
}

// slot begins the record of a line; nil when none can be made, and most is how
// much it can take.
func (s *Service) slot(ctx context.Context, tx Tx, l line) (rec *Record, most int64, err error) {
	if l.now.After(l.deadline()) {
		return nil, 0, nil
	}
	if missing := l.rules.Identity(l.t.Identity); len(missing) > 0 {
		if err := s.raise(ctx, tx, Finding{
			Class: FindMissingIdentity, Cause: string(l.t.Subscription), Subscription: l.t.Subscription, Owner: "operator",
			Detail: fmt.Sprintf("usage stays open until it is known: %v", missing),
		}); err != nil {
			return nil, 0, err
		}
		return nil, 0, s.noteWaiting(ctx, tx, l.seal, l.plans, ledger.MissingIdentity)
	}
	r, free, err := s.freeSlot(ctx, tx, l)
	if err != nil {
		return nil, 0, err
	}
	if !free {
		return nil, 0, s.noteWaiting(ctx, tx, l.seal, l.plans, ledger.SlotTaken)
	}
	r.ID = id.NewRecord()
	const most64 = 1 << 62
	if l.rules.MaxQuantity <= 0 || l.rules.MaxQuantity > most64/l.m.Whole() {
		return &r, most64, nil
	}
	return &r, l.rules.MaxQuantity * l.m.Whole(), nil
}

// sealBucket brings one bucket's balances to what the seal formula says.
func (s *Service) sealBucket(ctx context.Context, tx Tx, x seal, rec *Record, b Bucket, most int64) (post int64, err error) {
	bal, net, included, err := s.position(ctx, tx, x.acct, x.m, b, x.upTo.Next())
	if err != nil {
		return 0, err
	}
	out := ledger.Seal(ledger.Position{Net: net, Included: included, Placed: bal.Placed()}, scale(x.m, x.rules))
	out.Post = min(out.Post, most)
	var recID id.Record
	if rec != nil {
		recID = rec.ID
	}
	entries := ledger.Settle(bal, out, func(from, to ledger.Place, q int64) ledger.Entry {
		e := x.entry()
		e.Period, e.Plan, e.From, e.To, e.Quantity = b.Period, b.Plan, from, to, q
		if to == ledger.Queued {
			e.Record = recID
		}
		return e
	})
	return out.Post, s.post(ctx, tx, entries)
}

// position reads a bucket: its balances, what was used before an hour, and how
// much of that is included.
func (s *Service) position(ctx context.Context, tx Tx, acct Account, m catalog.Meter, b Bucket, before clock.Hour) (bal ledger.Balances, net, included int64, err error) {
	if bal, err = tx.Balances(ctx, acct.Subscription, m.ID, b); err != nil {
		return nil, 0, 0, err
	}
	uses, err := tx.LineageUses(ctx, acct.Lineage, m.ID, b.Period, before)
	if err != nil {
		return nil, 0, 0, err
	}
	for _, u := range uses {
		if u.Subscription == acct.Subscription && u.Plan == b.Plan {
			if net, err = money.Add(net, u.Net); err != nil {
				return nil, 0, 0, err
			}
		}
	}
	return bal, net, ledger.IncludedOf(uses, acct.Subscription, b.Plan), nil
}

// wire is the record as it crosses to the adapter.
func (x seal) wire(r Record) marketplace.Record {
	w := marketplace.Record{
		Key: r.Slot, Product: r.Product, Identity: x.t.Identity, Dimension: r.Dimension, Hour: r.Hour, Part: r.Part, From: r.From, To: r.To,
		Quantity: money.Format(r.Quantity, r.Scale), Final: r.Final,
	}
	// The buyer may see which month; two plans of one month are one share of it.
	shares := map[string]int64{}
	var periods []string
	for _, a := range r.Allocations {
		if shares[a.Period] == 0 {
			periods = append(periods, a.Period)
		}
		shares[a.Period] += a.Quantity
	}
	for _, period := range periods {
		if len(periods) > 1 {
			month, _, _ := strings.Cut(period, "T")
			w.Allocations = append(w.Allocations, marketplace.Allocation{Tags: map[string]string{"period": month}, Quantity: money.Format(shares[period], r.Scale)})
		}
	}
	return w
}

// frozen is all that Submit sends and the terms it stands on, as it is kept and
// hashed. Submit looks nothing else up.
type frozen struct {
	Key         string                     `json:"key"`
	Product     string                     `json:"product"`
	Identity    marketplace.VendorIdentity `json:"identity"`
	Dimension   string                     `json:"dimension"`
	Hour        string                     `json:"hour"`
	Part        int                        `json:"part,omitempty"`
	From        time.Time                  `json:"from"`
	To          time.Time                  `json:"to"`
	Quantity    string                     `json:"quantity"`
	Allocations []marketplace.Allocation   `json:"allocations,omitempty"`
	Final       bool                       `json:"final,omitempty"`
	Plan        string                     `json:"plan"`
	Offer       string                     `json:"offer,omitempty"`
	Catalog     string                     `json:"catalog"`
}

// freeze stores the record as it will be sent, whatever is learnt later.
func (s *Service) freeze(ctx context.Context, tx Tx, x seal, r *Record) error {
	w := x.wire(*r)
	body, err := json.Marshal(frozen{
		Key: w.Key, Product: w.Product, Identity: w.Identity, Dimension: w.Dimension, Hour: w.Hour.String(), Part: w.Part, From: w.From.UTC(), To: w.To.UTC(),
		Quantity: w.Quantity, Allocations: w.Allocations, Final: w.Final, Plan: x.t.Plan, Offer: x.t.Offer, Catalog: s.Catalog.Version,
	})
	if err != nil {
		return fmt.Errorf("freeze a record: %w", err)
	}
	sum := sha256.Sum256(body)
	r.Frozen, r.Hash, r.Placed = body, sum[:], r.Quantity
	return tx.FreezeRecord(ctx, *r)
}

// read is what was frozen; what was changed since is refused.
func read(r Record) (f frozen, err error) {
	if sum := sha256.Sum256(r.Frozen); string(sum[:]) != string(r.Hash) {
		return f, fault.New(fault.Invalid, "record %s is not what was frozen", r.ID)
	}
	if err := json.Unmarshal(r.Frozen, &f); err != nil {
		return f, fmt.Errorf("read record %s: %w", r.ID, err)
	}
	return f, nil
}

// thaw is what was frozen, in the form that is sent.
func thaw(r Record) (marketplace.Record, error) {
	f, err := read(r)
	if err != nil {
		return marketplace.Record{}, err
	}
	h, err := clock.ParseHour(f.Hour)
	if err != nil {
		return marketplace.Record{}, fmt.Errorf("read record %s: %w", r.ID, err)
	}
	if f.Quantity != money.Format(r.Quantity, r.Scale) || f.Key != r.Slot {
		return marketplace.Record{}, fault.New(fault.Invalid, "record %s is not what was frozen", r.ID)
	}
	return marketplace.Record{
		Key: f.Key, Product: f.Product, Identity: f.Identity, Dimension: f.Dimension, Hour: h, Part: f.Part, From: f.From, To: f.To,
		Quantity: f.Quantity, Allocations: f.Allocations, Final: f.Final,
	}, nil
}

// raise stores a finding once.
func (s *Service) raise(ctx context.Context, tx Tx, f Finding) error {
	f.ID, f.OpenedAt = id.NewFinding(), s.Now()
	return tx.RaiseFinding(ctx, f)
}
