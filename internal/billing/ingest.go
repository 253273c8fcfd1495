package billing

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tailmarket/tailmarket/internal/billing/ledger"
	"github.com/tailmarket/tailmarket/internal/catalog"
	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/money"
)

// eventsPerTx keeps a transaction below 1,000 rows: identity, event, hour and
// two entries for each event, and the balances.
const eventsPerTx = 150

// errRace: another transaction claimed an identity between our look and our
// claim. Looking again sees it.
var errRace = fault.New(fault.Conflict, "the same event is being stored by another request; send it again")

// errOvertaken: the stretch of a collection is covered already, at least in part.
var errOvertaken = fault.New(fault.Conflict, "another collection was stored meanwhile; look again from where the coverage ends")

const raceTries = 4

// Ingest stores usage events and answers for each of them, in order; it returns
// after the commit, so an answer is durable. An error means that the events
// after the last full chunk are not stored; sending all of them again is harmless.
// Throttled: too much waits for the writer already, and nothing was stored.
func (s *Service) Ingest(ctx context.Context, events []UsageEvent) ([]Outcome, error) {
	return s.ingestAll(ctx, events, nil)
}

// ingestAll stores events in chunks; also joins the transaction of each, and is
// given all outcomes in the last one.
func (s *Service) ingestAll(ctx context.Context, events []UsageEvent, also func(ctx context.Context, tx Tx, all []Outcome, last bool) error) ([]Outcome, error) {
	left := len(events)
	if err := s.queue.enter(left); err != nil {
		return nil, err
	}
	defer func() { s.queue.leave(left, 0) }()
	out := make([]Outcome, 0, len(events))
	for chunk := range chunks(events, eventsPerTx) {
		var got []Outcome
		var err error
		begun := s.Wall()
		for range raceTries {
			err = s.Store.BillingTx(ctx, func(ctx context.Context, tx Tx) (err error) {
				if got, err = s.ingest(ctx, tx, chunk); err != nil || also == nil {
					return err
				}
				all, last := got, left == len(chunk)
				if last {
					all = slices.Concat(out, got)
				}
				return also(ctx, tx, all, last)
			})
			if !errors.Is(err, errRace) {
				break
			}
		}
		if err != nil {
			return out, fmt.Errorf("ingest %d usage events: %w", len(chunk), err)
		}
		out = append(out, got...)
		s.queue.leave(len(chunk), s.Wall().Sub(begun))
		left -= len(chunk)
		s.observeIngest(got)
	}
	return out, nil
}

func (s *Service) observeIngest(got []Outcome) {
	counted := 0
	for _, o := range got {
		if o.Result == Accepted {
			counted++
		}
	}
	s.Observer.Passed(StationIngest, len(got), counted)
}

// Collect stores what a collector saw after from until to, and that it saw that
// stretch, in one transaction however many events there are: two looks at one
// stretch may cut it differently, so that their events have different names. A
// stretch that begins before the coverage ends was overtaken by another collection;
// nothing of it is stored, and a Conflict says to look again from Covered. An empty
// stretch stores nothing. One that nobody saw is a finding; nothing is filled in.
func (s *Service) Collect(ctx context.Context, sub id.Subscription, from, to time.Time, events []UsageEvent) error {
	now := s.Now()
	from, to = from.Truncate(time.Microsecond), to.Truncate(time.Microsecond) // as stored
	if to.Before(from) || to.After(now.Add(maxAhead)) || to.Equal(from) && len(events) > 0 {
		return fault.New(fault.Invalid, "a collection of %d events from %s to %s is not possible at %s", len(events), from.Format(time.RFC3339), to.Format(time.RFC3339), now.Format(time.RFC3339))
	}
	if to.Equal(from) {
		return nil
	}
	var got []Outcome
	err := s.Store.BillingTx(ctx, func(ctx context.Context, tx Tx) (err error) {
		if got, err = s.ingest(ctx, tx, events); err != nil {
			return err
		}
		return s.cover(ctx, tx, sub, from, to, now)
	})
	if err != nil {
		return fmt.Errorf("store a collection of %s: %w", sub, err)
	}
	s.observeIngest(got)
	for _, o := range got {
		if o.Result == InvalidForm || o.Result == Conflict {
			s.Log.ErrorContext(ctx, "collected event refused", "subscription", string(sub), "result", string(o.Result), "reason", o.Reason)
		}
	}
	return nil
}

// Covered is how far the collected meters of a subscription are known; zero when
// nothing was collected yet.
func (s *Service) Covered(ctx context.Context, sub id.Subscription) (time.Time, error) {
	a, _, err := s.accountOf(ctx, sub)
	return a.CoveredTo, err
}

func (s *Service) cover(ctx context.Context, tx Tx, sub id.Subscription, from, to, now time.Time) error {
	t, ok, err := terms(ctx, tx, sub, to)
	if err != nil {
		return err
	}
	if !ok {
		return fault.New(fault.NotFound, "there is no subscription %s", sub)
	}
	a, err := s.account(ctx, tx, t)
	if err != nil {
		return err
	}
	if from.Before(a.CoveredTo) {
		return errOvertaken
	}
	if first, live := t.firstHour(); live && a.CoveredTo.IsZero() && from.After(later(first.Start(), t.StartsAt)) || !a.CoveredTo.IsZero() && from.After(a.CoveredTo) {
		since := later(a.CoveredTo, t.StartsAt)
		if err := s.raise(ctx, tx, Finding{
			Class: FindCoverageGap, Cause: fmt.Sprintf("%s from %s", sub, since.Format(time.RFC3339)), Subscription: sub, Owner: "operator",
			Detail: fmt.Sprintf("no collector saw %s to %s; nothing was filled in", since.Format(time.RFC3339), from.Format(time.RFC3339)),
		}); err != nil {
			return err
		}
	}
	if still, err := tx.CoverUsage(ctx, sub, a.CoveredTo, to); err != nil {
		return err
	} else if !still {
		return errOvertaken
	}
	if crossed := clock.HourOf(to).After(clock.HourOf(a.CoveredTo)); !crossed || !a.FinalAt.IsZero() {
		return nil
	}
	return tx.Mark(ctx, "seal", string(sub), now)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// arrival is one event on its way in.
type arrival struct {
	e       UsageEvent
	ident   Ident
	content [32]byte
	answer  Outcome
	done    bool

	t        Terms
	meter    catalog.Meter
	quantity int64
	bucket   Bucket
	since    time.Time // when its plan began inside the hour, or the hour
	target   *Usage    // what a correction replaces

	operation Ident // the natural key; zero when the meter has none
}

// ingest handles events inside a transaction.
func (s *Service) ingest(ctx context.Context, tx Tx, events []UsageEvent) ([]Outcome, error) {
	in, err := s.decide(ctx, tx, events)
	if err != nil {
		return nil, err
	}
	out := make([]Outcome, len(in))
	for i, a := range in {
		out[i] = a.answer
	}
	return out, nil
}

// decide looks, locks, then admits one by one.
func (s *Service) decide(ctx context.Context, tx Tx, events []UsageEvent) ([]*arrival, error) {
	tx = remember(tx)
	now := s.Now()
	in := make([]*arrival, len(events))
	var scopes []Scope
	for i, e := range events {
		a := &arrival{e: e, ident: IdentOf(e.Source, e.ID), content: e.content(), answer: Outcome{Source: e.Source, ID: e.ID}}
		if why := e.fault(); why != "" {
			a.end(InvalidForm, why)
		} else if err := s.resolve(ctx, tx, a, now); err != nil {
			return nil, err
		}
		if !a.done || a.answer.Result == Quarantine {
			scopes = append(scopes, Scope{a.t.Lineage, a.meter.ID})
		}
		in[i] = a
	}
	if err := lockAll(ctx, tx, known(scopes)); err != nil {
		return nil, err
	}
	for i, a := range in {
		if a.answer.Result != InvalidForm {
			if err := s.admit(ctx, tx, a, now); err != nil {
				return nil, fmt.Errorf("usage event %d of %d: %w", i+1, len(in), err)
			}
		}
	}
	return in, nil
}

func known(scopes []Scope) []Scope {
	var out []Scope
	for _, sc := range scopes {
		if sc.Lineage != "" && sc.Meter != "" {
			out = append(out, sc)
		}
	}
	return out
}

func (a *arrival) end(r Result, why string) {
	a.done, a.answer.Result, a.answer.Reason = true, r, why
}

// resolve finds out whose use of what it is, and whether it can be counted now.
func (s *Service) resolve(ctx context.Context, tx Tx, a *arrival, now time.Time) error {
	if c := a.e.Corrects; c != nil {
		target, ok, err := tx.UsageByIdent(ctx, IdentOf(c.Source, c.ID))
		if err != nil || !ok {
			a.end(Quarantine, string(WaitsForTarget))
			return err
		}
		a.target = &target
		// A correction is about the same use, whatever it says of it.
		a.e.Subject, a.e.Meter, a.e.UsedAt, a.e.Of, a.e.Seconds = string(target.Subscription), target.Meter, target.UsedAt, target.Of, target.Seconds
	}
	sub, err := tx.FindSubject(ctx, a.e.Subject, a.e.UsedAt)
	if err != nil {
		return fmt.Errorf("find the subject: %w", err)
	}
	if sub == "" {
		a.end(Quarantine, string(UnknownSubject))
		return nil
	}
	// Terms are those at the start of the hour: one hour has one allowance.
	t, ok, err := terms(ctx, tx, sub, clock.HourOf(a.e.UsedAt).Start())
	if err != nil {
		return err
	}
	if !ok {
		a.end(Quarantine, string(UnknownSubject))
		return nil
	}
	p, _, rules, err := s.product(t)
	if err != nil {
		return err
	}
	a.t = t
	m, ok := p.Meter(a.e.Meter)
	if !ok || m.Dimensions[string(t.Marketplace)] == "" {
		a.end(Quarantine, string(UnknownMeter))
		return nil
	}
	a.meter, a.bucket = m, Bucket{periodOf(rules, t.Term, a.e.UsedAt), t.Plan}
	switch {
	case a.target != nil: // it was counted there, whatever is known of the terms now
		a.bucket = Bucket{a.target.Period, a.target.Plan}
	case m.Kind == catalog.Sum || m.Kind == catalog.UnitHours:
		// What is used belongs to the plan in force then; a peak and who was seen, to the plan in force when the hour began.
		a.bucket.Plan = t.planAt(a.e.UsedAt)
	}
	if a.since = t.sinceOf(a.bucket.Plan, clock.HourOf(a.e.UsedAt)); a.bucket.Plan != t.Plan {
		if a.t, _, err = terms(ctx, tx, sub, a.e.UsedAt); err != nil {
			return err
		}
	}
	why := a.measure()
	if why == "" {
		why = a.name()
	}
	if why != "" {
		a.end(InvalidForm, why)
		return nil
	}
	if _, ok := p.Plan(a.t.Plan); !ok {
		a.end(Quarantine, string(UnknownPlan))
	} else if why := timeliness(a.e.UsedAt, t, now); why != "" {
		a.end(Quarantine, string(why))
	}
	return nil
}

// measure reads the quantity as the meter counts it.
func (a *arrival) measure() string {
	q, err := money.Parse(a.e.Quantity, a.meter.Scale)
	switch {
	case err != nil:
		return fmt.Sprintf("data.quantity %v, and meter %s counts in %s", err, a.meter.ID, a.meter.Unit)
	case q > maxQuantity:
		return "data.quantity is too large"
	case a.meter.Kind == catalog.Unique && a.e.Of == "":
		return fmt.Sprintf("data.of is missing: meter %s counts who or what was seen", a.meter.ID)
	case a.meter.Kind == catalog.UnitHours && a.e.Seconds == 0:
		return fmt.Sprintf("data.seconds is missing: meter %s counts covered time", a.meter.ID)
	}
	a.quantity = q
	return ""
}

func timeliness(used time.Time, t Terms, now time.Time) QuarantineReason {
	switch {
	case used.After(now.Add(maxAhead)):
		return InFuture
	case used.Before(now.Add(-maxAge)):
		return TooOld
	case t.StartsAt.IsZero() || used.Before(t.StartsAt):
		return BeforeStart
	case t.CutOver.IsZero() || used.Before(t.CutOver.Start()):
		return BeforeCutOver
	case !t.EndsAt.IsZero() && !used.Before(t.EndsAt):
		return AfterEnd
	}
	return ""
}

// admit decides about one event under the lock of its scope. The identity is
// claimed in the same transaction as everything it causes, so an identity that
// is known has been counted or waits in quarantine.
func (s *Service) admit(ctx context.Context, tx Tx, a *arrival, now time.Time) error {
	content, event, knownBefore, err := tx.UsageIdentity(ctx, a.ident)
	if err != nil {
		return err
	}
	waiting := knownBefore && event == ""
	switch {
	case knownBefore && content != a.content:
		a.end(Conflict, "another event was sent under this source and id")
		return nil
	case knownBefore && !waiting:
		a.end(Duplicate, "")
		a.answer.Event = event
		return nil
	}
	if a.answer.Result == Quarantine && a.answer.Reason == string(WaitsForTarget) {
		// Its target may have come in this very transaction.
		a.done, a.answer.Result, a.answer.Reason = false, "", ""
		if err := s.resolve(ctx, tx, a, now); err != nil {
			return err
		}
		if a.t.Lineage != "" && a.meter.ID != "" {
			if err := tx.LockBilling(ctx, Scope{a.t.Lineage, a.meter.ID}); err != nil {
				return err
			}
		}
	}
	if a.answer.Result == InvalidForm {
		return nil
	}
	if !a.done && a.target != nil {
		// The state of the target is only certain under the lock.
		fresh, _, err := tx.UsageByIdent(ctx, a.target.Ident)
		if err != nil {
			return err
		}
		if fresh.Superseded {
			a.end(Conflict, "another correction replaced this event; correct that one")
			return nil
		}
		a.target = &fresh
	}
	if a.done {
		return s.quarantine(ctx, tx, a, waiting, now)
	}
	if a.operation != (Ident{}) {
		if done, err := s.again(ctx, tx, a, waiting, now); err != nil || done {
			return err
		}
	}
	u := Usage{
		ID: id.NewUsageEvent(), Ident: a.ident, Source: a.e.Source, SourceID: a.e.ID, Subscription: a.t.Subscription, Meter: a.meter.ID, Period: a.bucket.Period, Plan: a.bucket.Plan,
		Hour: clock.HourOf(a.e.UsedAt), UsedAt: a.e.UsedAt, ReceivedAt: now, Quantity: a.quantity, Of: a.e.Of, Seconds: a.e.Seconds,
	}
	if waiting {
		if err := tx.SettleUsage(ctx, a.ident, u.ID); err != nil {
			return err
		}
		if err := tx.ReleaseUsage(ctx, a.ident); err != nil {
			return err
		}
	} else if won, err := tx.ClaimUsage(ctx, a.ident, a.content, u.ID); err != nil {
		return err
	} else if !won {
		return errRace
	}
	if a.operation != (Ident{}) {
		if won, err := tx.ClaimOperation(ctx, a.operation, a.e.said(), u.ID); err != nil {
			return err
		} else if !won {
			return errRace
		}
	}
	if a.target != nil {
		u.Corrects = a.target.ID
	}
	if err := s.count(ctx, tx, a, u, now); err != nil {
		return err
	}
	a.end(Accepted, "")
	a.answer.Event = u.ID
	return s.wakeCorrections(ctx, tx, a.ident, now)
}

// quarantine keeps an event that cannot be counted now.
func (s *Service) quarantine(ctx context.Context, tx Tx, a *arrival, waiting bool, now time.Time) error {
	q := Quarantined{Ident: a.ident, Reason: QuarantineReason(a.answer.Reason), Event: a.e, ReceivedAt: now}
	if a.e.Corrects != nil && q.Reason == WaitsForTarget {
		q.Target = IdentOf(a.e.Corrects.Source, a.e.Corrects.ID)
		others, err := tx.WaitingCorrections(ctx, q.Target)
		if err != nil {
			return err
		}
		for _, o := range others {
			if o.Ident != a.ident {
				a.end(Conflict, "another correction of this event waits already; correct that one")
				return nil
			}
		}
	}
	if !waiting {
		won, err := tx.ClaimUsage(ctx, a.ident, a.content, "")
		if err != nil {
			return err
		}
		if !won {
			return errRace
		}
	}
	return tx.QuarantineUsage(ctx, q)
}

// wakeCorrections counts corrections that came before their target.
func (s *Service) wakeCorrections(ctx context.Context, tx Tx, target Ident, now time.Time) error {
	waiting, err := tx.WaitingCorrections(ctx, target)
	if err != nil {
		return err
	}
	for _, q := range waiting {
		if err := s.retry(ctx, tx, q, now, &Outcome{}); err != nil {
			return err
		}
	}
	return nil
}

// retry runs a quarantined event through the door again.
func (s *Service) retry(ctx context.Context, tx Tx, q Quarantined, now time.Time, out *Outcome) error {
	content, _, _, err := tx.UsageIdentity(ctx, q.Ident)
	if err != nil {
		return err
	}
	a := &arrival{e: q.Event, ident: q.Ident, content: content, answer: Outcome{Source: q.Event.Source, ID: q.Event.ID}}
	if err := s.resolve(ctx, tx, a, now); err != nil {
		return err
	}
	if a.t.Lineage != "" && a.meter.ID != "" {
		if err := tx.LockBilling(ctx, Scope{a.t.Lineage, a.meter.ID}); err != nil {
			return err
		}
	}
	err = s.admit(ctx, tx, a, now)
	*out = a.answer
	return err
}

// count stores the event, replaces its target, and posts the rise or fall of the
// meter function to the ledger.
func (s *Service) count(ctx context.Context, tx Tx, a *arrival, u Usage, now time.Time) error {
	acct, err := s.account(ctx, tx, a.t)
	if err != nil {
		return err
	}
	before, err := s.counted(ctx, tx, a.meter, acct, u)
	if err != nil {
		return err
	}
	if a.target != nil {
		if live, err := tx.SupersedeUsage(ctx, a.target.ID); err != nil || !live {
			return fmt.Errorf("replace event %s: live %v: %w", a.target.ID, live, err)
		}
	}
	if err := tx.AddUsage(ctx, u); err != nil {
		return err
	}
	after, err := s.counted(ctx, tx, a.meter, acct, u)
	if err != nil {
		return err
	}
	if a.meter.Kind == catalog.Sum {
		after.Sum = u.Quantity
		if a.target != nil {
			before.Sum = a.target.Quantity
		}
	}
	rise, fall, err := ledger.Change(ledger.Kind(a.meter.Kind), before, after)
	if err != nil {
		return err
	}
	return s.measure(ctx, tx, acct, a.t, a.meter, HourUse{Period: u.Period, Plan: u.Plan, Hour: u.Hour, Since: a.since, Measured: rise, Corrected: fall}, u.ID, ledger.NoReason, now)
}

// counted is the count before or after an event: by lineage for unique and peak,
// by subscription for time. Sums need no count.
func (s *Service) counted(ctx context.Context, tx Tx, m catalog.Meter, acct Account, u Usage) (ledger.Count, error) {
	var c ledger.Count
	if m.Kind == catalog.Sum {
		return c, nil
	}
	members := []id.Subscription{acct.Subscription}
	if m.Kind != catalog.UnitHours {
		var err error
		if members, err = tx.LineageMembers(ctx, acct.Lineage); err != nil {
			return c, err
		}
	}
	for _, sub := range members {
		one, err := tx.CountUsage(ctx, ledger.Kind(m.Kind), sub, m.ID, u.Period, u.Of)
		if err != nil {
			return c, err
		}
		c.Peak, c.Unique, c.UnitSeconds = max(c.Peak, one.Peak), max(c.Unique, one.Unique), c.UnitSeconds+one.UnitSeconds
	}
	return c, nil
}

func chunks[T any](all []T, n int) func(func([]T) bool) {
	return func(yield func([]T) bool) {
		for len(all) > n {
			if !yield(all[:n]) {
				return
			}
			all = all[n:]
		}
		if len(all) > 0 {
			yield(all)
		}
	}
}
