package billing

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tailmarket/tailmarket/internal/billing/ledger"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

const (
	// abandonAfter: a send not begun this long after its attempts were stored is
	// not made; somebody else may have taken over meanwhile.
	abandonAfter = 30 * time.Second
	// troubleLimit is how many calls in a row may go wrong before a run ends; one
	// record that always breaks the vendor's server must not stop the others.
	troubleLimit = 3
	sendPage     = 500
)

// Submit sends what waits at a marketplace: nearest deadline first, in batches of
// one group, each record at most once in a run (but for a refused batch, which is
// bisected). Nil and the zero time: nothing is left to send; nil and a time: nothing
// but records that it makes no sense to send before. An error has the
// class that decides the back-off; what was not settled is sent again, identical.
//
// A run that dies leaves attempts without an answer. The next run takes them as
// unproven: their records are unsure, and are sent again.
func (s *Service) Submit(ctx context.Context, subject string) (again time.Time, err error) {
	m := marketplace.ID(subject)
	v, ok := s.Vendors[m]
	if !ok {
		return again, fault.New(fault.Invalid, "marketplace %s is not set up", m)
	}
	if err := s.recover(ctx, m); err != nil {
		return again, fmt.Errorf("take over the calls of %s: %w", m, err)
	}
	r := &run{Service: s, m: m, v: v, tried: map[id.Record]bool{}}
	if err := r.all(ctx); err != nil {
		return again, fmt.Errorf("submit to %s: %w", m, err)
	}
	return r.again, nil
}

// recover judges the records of calls that nobody waits for any more.
func (s *Service) recover(ctx context.Context, m marketplace.ID) error {
	for {
		sent, err := s.Store.SentRecords(ctx, m, maxBatch)
		if err != nil || len(sent) == 0 {
			return s.park(ctx, m, err)
		}
		if err := s.rejudge(ctx, sent); err != nil {
			return err
		}
	}
}

// park takes unsure records out of the line whose window has passed: an identical
// resend could only be refused as too old, which proves nothing.
func (s *Service) park(ctx context.Context, m marketplace.ID, err error) error {
	for err == nil {
		var stale []id.Record
		if stale, err = s.Store.StaleUnsure(ctx, m, s.Now(), maxBatch); err != nil || len(stale) == 0 {
			return err
		}
		err = s.rejudge(ctx, stale)
	}
	return err
}

const maxBatch = 50

// run is one working of the submit row.
type run struct {
	*Service
	m       marketplace.ID
	v       Submitter
	tried   map[id.Record]bool
	broken  int // records that are not what was frozen
	later   int // records that wait for again
	again   time.Time
	trouble error // the first call that went wrong
	bad     int   // calls in a row that went wrong
}

func (r *run) all(ctx context.Context) error {
	for r.bad < troubleLimit {
		waiting, err := r.Store.Sendable(ctx, r.m, sendPage+len(r.tried))
		if err != nil {
			return err
		}
		waiting = slices.DeleteFunc(waiting, func(x Record) bool { return r.tried[x.ID] })
		if len(waiting) == 0 {
			return r.left(ctx)
		}
		batch, err := r.pick(ctx, waiting)
		if err != nil {
			return err
		}
		for _, x := range batch {
			r.tried[x.rec.ID] = true
		}
		if len(batch) == 0 {
			continue
		}
		if err := r.send(ctx, batch); err != nil {
			if stop := r.note(err); stop != nil {
				return stop
			}
			continue
		}
		r.bad = 0
	}
	return r.trouble
}

// note remembers trouble; it returns the error when the run must end.
func (r *run) note(err error) error {
	r.bad++
	if r.trouble == nil {
		r.trouble = err
	}
	if fault.Is(err, fault.Throttled) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return r.trouble
	}
	if c := fault.ClassOf(err); c == "" {
		return err // ours: the database, a bug
	}
	return nil
}

// left is the end of a run: trouble, or records that the vendor handed back.
func (r *run) left(ctx context.Context) error {
	if r.trouble != nil {
		return r.trouble
	}
	waiting, err := r.Store.Sendable(ctx, r.m, r.broken+r.later+1)
	if err != nil || len(waiting) <= r.broken+r.later {
		return err // a broken record waits for a person, not for another run
	}
	return fault.New(fault.Unavailable, "%s did not settle every record; they are sent again", r.m)
}

// parcel is a record with what is sent for it.
type parcel struct {
	rec  Record
	wire marketplace.Record
}

// pick takes the most urgent record and those that may share its call. A record
// whose deadline has passed goes alone: it would refuse the whole batch, and
// only the vendor's own word makes it expired.
func (r *run) pick(ctx context.Context, waiting []Record) ([]parcel, error) {
	var batch []parcel
	var rules marketplace.Rules
	group, bytes, now := "", 0, r.Now()
	for _, x := range waiting {
		w, err := thaw(x)
		if err != nil {
			if err := r.setAside(ctx, x, err); err != nil {
				return nil, err
			}
			continue
		}
		if len(batch) == 0 {
			rules = r.v.Rules(x.Product)
			group = x.Product + "\x00" + rules.Group(w)
		} else if x.Product+"\x00"+rules.Group(w) != group || now.After(x.Deadline) || len(batch) >= max(rules.BatchRecords, 1) || rules.BatchBytes > 0 && bytes+size(x) > rules.BatchBytes {
			continue
		}
		batch, bytes = append(batch, parcel{x, w}), bytes+size(x)
		if now.After(x.Deadline) {
			break
		}
	}
	return batch, nil
}

// size is a bound for a record in the body of a call: what was frozen has more
// and longer names than any vendor's form of it.
func size(r Record) int { return len(r.Frozen) + 256 }

// setAside leaves a record alone that is not what was frozen.
func (r *run) setAside(ctx context.Context, x Record, cause error) error {
	r.tried[x.ID] = true
	r.broken++
	r.Log.ErrorContext(ctx, "frozen record changed", "record", string(x.ID), "error", cause)
	return r.Store.BillingTx(ctx, func(ctx context.Context, tx Tx) error {
		return r.raise(ctx, tx, Finding{
			Class: FindBrokenFreeze, Cause: string(x.ID), Subscription: x.Subscription, Meter: x.Meter, Record: x.ID,
			Quantity: text(x.Quantity, x.Scale), Owner: "operator", Detail: "the stored record is not what was frozen; it is not sent",
		})
	})
}

// send makes one call for a batch and records the answers. A batch refused as a
// whole is halved until the record that causes it stands alone.
func (r *run) send(ctx context.Context, batch []parcel) error {
	stored := r.Wall()
	begun, err := r.begin(ctx, batch)
	if err != nil || len(begun) == 0 {
		return err
	}
	wire := make([]marketplace.Record, len(begun))
	for i, b := range begun {
		wire[i] = b.wire
	}
	if r.Wall().Sub(stored) > abandonAfter {
		err := r.answerAll(ctx, begun, Attempt{Answer: ledger.NotSent, Detail: "the process stood still before the call"})
		return errors.Join(fault.New(fault.Unavailable, "a call stood still for too long before it began"), err)
	}
	receipts, callErr := r.v.Submit(ctx, wire)
	// The answer is worth more than the request's deadline: it is stored even when ctx has ended.
	ctx = context.WithoutCancel(ctx)
	switch {
	case callErr == nil:
		return r.acknowledge(ctx, begun, receipts)
	case fault.Is(callErr, fault.Refused) && len(begun) > 1:
		if err := r.answerAll(ctx, begun, Attempt{Answer: ledger.CallRefused, Detail: brief(callErr)}); err != nil {
			return err
		}
		r.Log.WarnContext(ctx, "batch refused", "marketplace", string(r.m), "records", len(begun), "error", callErr)
		half := len(begun) / 2
		return errors.Join(r.send(ctx, parcels(begun[:half])), r.send(ctx, parcels(begun[half:])))
	case fault.Is(callErr, fault.Refused):
		return r.answerAll(ctx, begun, alone(callErr))
	case fault.Is(callErr, fault.Throttled):
		return errors.Join(callErr, r.answerAll(ctx, begun, Attempt{Answer: ledger.Throttled, Detail: brief(callErr)}))
	}
	if !fault.Is(callErr, fault.Unsure) {
		// Whatever else it says, only Refused and Throttled prove that nothing was recorded.
		callErr = fault.Wrap(fault.Unsure, callErr, "")
	}
	return errors.Join(callErr, r.answerAll(ctx, begun, Attempt{Answer: ledger.CallUnsure, Detail: brief(callErr)}))
}

// alone is the answer for a record that stood alone in a refused call.
func alone(err error) Attempt {
	a := Attempt{Answer: ledger.RefusedHere, Detail: brief(err)}
	if why := marketplace.RefusalOf(err); why != nil {
		if answer := ledger.FromReceipt(why.Outcome); why.Outcome.Proven() && why.Outcome != marketplace.OutcomeUnprocessed {
			a.Answer, a.Detail = answer, why.Detail
		}
	}
	return a
}

// brief is an error as the attempt's detail: bounded, one line.
func brief(err error) string {
	t := strings.ToValidUTF8(strings.Join(strings.Fields(err.Error()), " "), "?")
	if len(t) > 300 {
		t = strings.ToValidUTF8(t[:300], "")
	}
	return t
}

// begunParcel is a record with the attempt that was stored for it.
type begunParcel struct {
	parcel
	attempt Attempt
}

func parcels(begun []begunParcel) []parcel {
	out := make([]parcel, len(begun))
	for i, b := range begun {
		out[i] = b.parcel
	}
	return out
}

// begin stores an attempt for each record that may still be sent, and moves it to
// sent. What somebody else settled meanwhile is left out.
func (r *run) begin(ctx context.Context, batch []parcel) (begun []begunParcel, err error) {
	var waits []time.Time
	err = r.Store.BillingTx(ctx, func(ctx context.Context, tx Tx) error {
		begun, waits = begun[:0], waits[:0]
		recs := make([]Record, len(batch))
		for i, p := range batch {
			recs[i] = p.rec
		}
		if err := lockRecords(ctx, tx, recs); err != nil {
			return err
		}
		call := uuid.Must(uuid.NewV7()).String()
		for _, p := range batch {
			rec, err := tx.GetRecord(ctx, p.rec.ID)
			if err != nil {
				return err
			}
			if rec.State == ledger.RecordSent || rec.Parked || !judge(rec).MaySend() {
				continue
			}
			if !r.repeatable(rec) { // since it was listed
				if _, err := r.apply(ctx, tx, rec.ID, r.Now()); err != nil {
					return err
				}
				continue
			}
			if at := refusedUntil(rec); r.Now().Before(at) {
				waits = append(waits, at)
				continue
			}
			a := Attempt{ID: id.NewAttempt(), Record: rec.ID, N: len(rec.Attempts) + 1, Call: call, BegunAt: r.Now(), WallAt: r.Wall()}
			if err := tx.AddAttempt(ctx, a); err != nil {
				return err
			}
			if err := r.place(ctx, tx, &rec, ledger.RecordSent, ledger.Sent, ledger.NoReason, r.Now()); err != nil {
				return err
			}
			begun = append(begun, begunParcel{parcel{rec, p.wire}, a})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("store %d attempts: %w", len(batch), err)
	}
	for _, at := range waits {
		if r.later++; r.again.IsZero() || at.Before(r.again) {
			r.again = at
		}
	}
	return begun, nil
}

// refusedUntil is when a record is sent again whose last attempt was refused for
// good while an earlier one may have been recorded: asked at once, the vendor says
// the same. A purchase that is suspended in between looks like this. Zero for any
// other record.
func refusedUntil(r Record) time.Time {
	if len(r.Attempts) == 0 || judge(r).State != ledger.RecordUnsure {
		return time.Time{}
	}
	last := r.Attempts[len(r.Attempts)-1] // in the order in which they were made
	if !last.Answer.Refuses() {
		return time.Time{}
	}
	at := last.AnsweredAt.Add(askSuspended)
	if parked := r.Deadline.Add(time.Second); parked.Before(at) {
		return parked
	}
	return at
}

// lockRecords locks the scopes of records in the one order. The lineage may have
// changed since a record was frozen, so it is read from the account.
func lockRecords(ctx context.Context, tx Tx, recs []Record) error {
	scopes := make([]Scope, len(recs))
	for i, r := range recs {
		a, ok, err := tx.BillingAccount(ctx, r.Subscription)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("record %s belongs to %s, of which billing knows nothing", r.ID, r.Subscription)
		}
		scopes[i] = Scope{a.Lineage, r.Meter}
	}
	return lockAll(ctx, tx, scopes)
}
