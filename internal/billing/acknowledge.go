package billing

import (
	"context"
	"fmt"
	"time"

	"github.com/tailmarket/tailmarket/internal/billing/ledger"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/money"
)

func attemptsOf(r Record) []ledger.Attempt {
	attempts := make([]ledger.Attempt, len(r.Attempts))
	for i, a := range r.Attempts {
		attempts[i] = ledger.Attempt{ID: a.ID, N: a.N, Answer: a.Answer, Quantity: a.Quantity, Says: a.Says, Wall: a.WallAt}
		if !a.Says {
			attempts[i].Quantity = r.Quantity
		}
	}
	return attempts
}

// judge is the state of a record by its attempts.
func judge(r Record) ledger.Outcome { return ledger.Judge(r.Quantity, attemptsOf(r), false) }

// repeatable reports whether the vendor would still take the same record for the
// same one: after that an identical record could be billed a second time.
func (s *Service) repeatable(r Record) bool {
	v, ok := s.Vendors[r.Marketplace]
	if !ok {
		return true // nobody can send it
	}
	limit := v.Rules(r.Product).ResendFor
	since, doubtful := ledger.DoubtSince(attemptsOf(r))
	// A call begins up to abandonAfter later than the attempt is stored.
	return limit == 0 || !doubtful || limit > 0 && s.Wall().Sub(since) < limit-abandonAfter
}

// acknowledge stores what the marketplace answered for each record of a call, in
// one transaction, and moves the units. Receipts are matched by key; a record
// without one was not mentioned.
func (r *run) acknowledge(ctx context.Context, begun []begunParcel, receipts []marketplace.Receipt) error {
	by := make(map[string]marketplace.Receipt, len(receipts))
	for _, x := range receipts {
		if old, twice := by[x.Key]; twice && old.Outcome != x.Outcome {
			x = marketplace.Receipt{Key: x.Key, Outcome: marketplace.OutcomeFailed, Detail: fmt.Sprintf("answered both %s and %s", old.Outcome, x.Outcome)}
		}
		by[x.Key] = x
	}
	answers := make([]Attempt, len(begun))
	var stops []marketplace.VendorIdentity
	for i, b := range begun {
		x, ok := by[b.wire.Key]
		delete(by, b.wire.Key)
		if !ok {
			x = marketplace.Receipt{Key: b.wire.Key, Outcome: marketplace.OutcomeMissing, Detail: "the answer does not mention it"}
		}
		if x.StopsService && b.wire.Identity.License+b.wire.Identity.Resource != "" {
			stops = append(stops, b.wire.Identity)
		}
		answers[i] = answerOf(b, x)
	}
	for key, x := range by {
		r.Log.ErrorContext(ctx, "receipt for a record that was not sent", "marketplace", string(r.m), "slot", key, "outcome", string(x.Outcome))
	}
	return r.answer(ctx, begun, answers, stops)
}

// answerOf turns a receipt into the attempt's answer.
func answerOf(b begunParcel, x marketplace.Receipt) Attempt {
	a := b.attempt
	a.Answer, a.Receipt, a.Detail = ledger.FromReceipt(x.Outcome), x.ID, x.Detail
	switch x.Outcome {
	case marketplace.OutcomeAccepted, marketplace.OutcomeDuplicate, marketplace.OutcomeUnprocessed, marketplace.OutcomeNotSubscribed, marketplace.OutcomeInvalid,
		marketplace.OutcomeExpired, marketplace.OutcomeSuspended, marketplace.OutcomeFailed, marketplace.OutcomeMissing:
	default:
		a.Answer, a.Detail = ledger.VendorFailed, fmt.Sprintf("unknown outcome %q: %s", x.Outcome, x.Detail)
	}
	if x.Quantity == "" {
		return a
	}
	q, err := money.Parse(x.Quantity, b.rec.Scale)
	if err != nil || q < 0 {
		a.Answer, a.Detail = ledger.VendorFailed, fmt.Sprintf("unreadable quantity %q: %s", x.Quantity, x.Detail)
		return a
	}
	a.Quantity, a.Says = q, true
	return a
}

// answerAll stores one answer for every record of a call.
func (r *run) answerAll(ctx context.Context, begun []begunParcel, with Attempt) error {
	answers := make([]Attempt, len(begun))
	for i, b := range begun {
		answers[i] = b.attempt
		answers[i].Answer, answers[i].Detail = with.Answer, with.Detail
	}
	return r.answer(ctx, begun, answers, nil)
}

func (r *run) answer(ctx context.Context, begun []begunParcel, answers []Attempt, stops []marketplace.VendorIdentity) error {
	settled := 0
	err := r.Store.BillingTx(ctx, func(ctx context.Context, tx Tx) error {
		settled = 0
		recs := make([]Record, len(begun))
		for i, b := range begun {
			recs[i] = b.rec
		}
		if err := lockRecords(ctx, tx, recs); err != nil {
			return err
		}
		now := r.Now()
		for _, a := range answers {
			a.AnsweredAt = now
			if _, err := tx.AnswerAttempt(ctx, a); err != nil {
				return err
			}
			out, err := r.apply(ctx, tx, a.Record, now)
			if err != nil {
				return err
			}
			if out.State == ledger.RecordAccepted || out.State == ledger.RecordFreed || out.State == ledger.RecordHeld {
				settled++
			}
		}
		for _, i := range stops {
			if err := tx.Mark(ctx, "refresh", refreshSubject(r.m, i), now); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("store %d answers: %w", len(answers), err)
	}
	r.Observer.Passed(StationSubmit, len(begun), len(begun))
	r.Observer.Passed(StationAcknowledge, len(begun), settled)
	return nil
}

// rejudge recomputes records from their attempts.
func (s *Service) rejudge(ctx context.Context, recs []id.Record) error {
	return s.Store.BillingTx(ctx, func(ctx context.Context, tx Tx) error {
		full := make([]Record, len(recs))
		for i, x := range recs {
			var err error
			if full[i], err = tx.GetRecord(ctx, x); err != nil {
				return err
			}
		}
		if err := lockRecords(ctx, tx, full); err != nil {
			return err
		}
		for _, x := range recs {
			if _, err := s.apply(ctx, tx, x, s.Now()); err != nil {
				return err
			}
		}
		return nil
	})
}

// apply brings a record to what its attempts say. The scope is locked.
func (s *Service) apply(ctx context.Context, tx Tx, recID id.Record, now time.Time) (ledger.Outcome, error) {
	r, err := tx.GetRecord(ctx, recID)
	if err != nil {
		return ledger.Outcome{}, err
	}
	acct, _, err := tx.BillingAccount(ctx, r.Subscription)
	if err != nil {
		return ledger.Outcome{}, err
	}
	out := judge(r)
	if ledger.Disproved(attemptsOf(r)) {
		if err := s.raise(ctx, tx, Finding{
			Class: FindContradiction, Cause: fmt.Sprintf("%s ruled", r.ID), Subscription: r.Subscription, Meter: r.Meter, Record: r.ID, Quantity: text(r.Quantity, r.Scale), Owner: "finance",
			Detail: "a person ruled that the marketplace has nothing of it, and its late answer says that it has: look for the units in its report twice",
		}); err != nil {
			return out, err
		}
	}
	return out, s.settleRecord(ctx, tx, acct, &r, out, now)
}

// settleRecord moves a record's units to where an outcome puts them and says
// whom it concerns.
func (s *Service) settleRecord(ctx context.Context, tx Tx, acct Account, r *Record, out ledger.Outcome, now time.Time) error {
	if r.State == ledger.RecordAccepted || r.State == ledger.RecordFreed {
		return s.contradicts(ctx, tx, r, out)
	}
	find := Finding{Cause: cause(r), Subscription: r.Subscription, Meter: r.Meter, Record: r.ID, Quantity: text(r.Quantity, r.Scale), Owner: "operator"}
	switch out.State {
	case ledger.RecordAccepted:
		if out.Conflict && out.Quantity == r.Quantity { // another quantity is a finding anyway
			find.Class, find.Owner, find.Detail = FindUnexplainedDuplicate, "finance", "the slot held this quantity before any attempt of ours could write it: somebody else reports to the listing"
			if err := s.raise(ctx, tx, find); err != nil {
				return err
			}
		}
		return s.accept(ctx, tx, acct, r, out.Quantity, now)
	case ledger.RecordQueued:
		return s.place(ctx, tx, r, out.State, ledger.Queued, ledger.NoReason, now)
	case ledger.RecordHeld:
		find.Class, find.Detail = FindHeld, fmt.Sprintf("the marketplace refuses it as %s; mend the cause and release it before %s", out.Reason, r.Deadline.Format(time.RFC3339))
		if out.Reason == ledger.SuspendedHold { // one finding for the purchase: the buyer's payment mends all of its records
			find.Cause, find.Record, find.Quantity = string(r.Subscription)+" suspended", "", ""
			find.Detail = "the marketplace says that the purchase is suspended; its records wait, and are sent again when it goes on"
		}
		if err := s.raise(ctx, tx, find); err != nil {
			return err
		}
		return s.place(ctx, tx, r, out.State, ledger.Held, out.Reason, now)
	case ledger.RecordFreed:
		return s.free(ctx, tx, acct, r, out, now)
	}
	switch {
	case out.Conflict:
		find.Class, r.Parked = FindUnexplainedDuplicate, true
		find.Detail = "the slot holds a record, and no attempt of ours explains it; compare with the marketplace's report and rule"
	case now.After(r.Deadline):
		find.Class, r.Parked = FindUnsureTooLate, true
		find.Detail = "it may have been recorded, and the window to ask again has passed; compare with the marketplace's report and rule"
	case !s.repeatable(*r):
		find.Class, r.Parked = FindUnsureNotRepeated, true
		find.Detail = "it may have been recorded, and the marketplace might bill the same record again; compare with its report and rule"
	default:
		r.Parked = false
		return s.place(ctx, tx, r, ledger.RecordUnsure, ledger.Unsure, ledger.NoReason, now)
	}
	if err := s.raise(ctx, tx, find); err != nil {
		return err
	}
	return s.place(ctx, tx, r, ledger.RecordUnsure, ledger.Unsure, ledger.NoReason, now)
}

// contradicts reports an answer that cannot be true with what is settled.
func (s *Service) contradicts(ctx context.Context, tx Tx, r *Record, out ledger.Outcome) error {
	if out.State == r.State && (r.State != ledger.RecordAccepted || out.Quantity == r.Placed) {
		return nil
	}
	if r.State == ledger.RecordFreed && out.State == ledger.RecordHeld {
		return nil // a held record that was given up
	}
	return s.raise(ctx, tx, Finding{
		Class: FindContradiction, Cause: fmt.Sprintf("%s %s", r.ID, out.State), Subscription: r.Subscription, Meter: r.Meter, Record: r.ID,
		Quantity: text(r.Quantity, r.Scale), Owner: "finance", Detail: fmt.Sprintf("settled as %s, and its attempts now say %s", r.State, out.State),
	})
}

// places of the states that hold units.
var placeOf = map[ledger.RecordState]ledger.Place{
	ledger.RecordQueued: ledger.Queued, ledger.RecordSent: ledger.Sent, ledger.RecordUnsure: ledger.Unsure,
	ledger.RecordHeld: ledger.Held, ledger.RecordAccepted: ledger.Accepted,
}

// place moves a record and its units from where they are to another place.
func (s *Service) place(ctx context.Context, tx Tx, r *Record, state ledger.RecordState, to ledger.Place, why ledger.Reason, now time.Time) error {
	entries := make([]ledger.Entry, 0, len(r.Allocations))
	from := placeOf[r.State]
	for _, a := range r.Allocations {
		if a.Placed > 0 && from != to {
			entries = append(entries, r.entry(a.bucket(), from, to, a.Placed, why, now))
		}
	}
	if err := s.post(ctx, tx, entries); err != nil {
		return err
	}
	r.State, r.Reason = state, why
	if state != ledger.RecordUnsure {
		r.Parked = false
	}
	if state == ledger.RecordAccepted || state == ledger.RecordFreed {
		r.SettledAt = now
	}
	return tx.SaveRecord(ctx, *r)
}

func (a Allocation) bucket() Bucket { return Bucket{a.Period, a.Plan} }

func (r *Record) entry(b Bucket, from, to ledger.Place, q int64, why ledger.Reason, now time.Time) ledger.Entry {
	return ledger.Entry{Subscription: r.Subscription, Meter: r.Meter, Period: b.Period, Plan: b.Plan, Hour: r.Hour, From: from, To: to, Quantity: q, Reason: why, Record: r.ID, At: now}
}

// accept settles a record as on the bill at a quantity. When the marketplace
// holds another one than was frozen, the difference goes back to open (or is
// taken from there), and somebody must look.
func (s *Service) accept(ctx context.Context, tx Tx, acct Account, r *Record, q int64, now time.Time) error {
	if q != r.Quantity {
		if err := s.raise(ctx, tx, Finding{
			Class: FindOtherQuantity, Cause: string(r.ID), Subscription: r.Subscription, Meter: r.Meter, Record: r.ID, Quantity: text(q-r.Quantity, r.Scale), Owner: "finance",
			Detail: fmt.Sprintf("frozen %s, the marketplace holds %s", text(r.Quantity, r.Scale), text(q, r.Scale)),
		}); err != nil {
			return err
		}
	}
	// The first share takes what was added; what is missing is taken from the last ones.
	if len(r.Allocations) == 0 && q > 0 {
		return fault.New(fault.Conflict, "record %s holds no units, and the marketplace says %s", r.ID, text(q, r.Scale))
	}
	from, missing := placeOf[r.State], r.Quantity-q
	var entries []ledger.Entry
	for i := len(r.Allocations) - 1; i >= 0; i-- {
		a := &r.Allocations[i]
		back := min(max(missing, 0), a.Placed)
		missing -= back
		if back > 0 {
			entries = append(entries, r.entry(a.bucket(), from, ledger.Open, back, ledger.OtherQuantity, now))
		}
		if a.Placed -= back; a.Placed > 0 {
			entries = append(entries, r.entry(a.bucket(), from, ledger.Accepted, a.Placed, ledger.NoReason, now))
		}
		if i == 0 && missing < 0 {
			entries = append(entries, r.entry(a.bucket(), ledger.Open, ledger.Accepted, -missing, ledger.OtherQuantity, now))
			a.Placed -= missing
		}
	}
	if err := s.post(ctx, tx, entries); err != nil {
		return err
	}
	r.State, r.Reason, r.Placed, r.Parked, r.SettledAt = ledger.RecordAccepted, ledger.NoReason, q, false, now
	if err := tx.SaveRecord(ctx, *r); err != nil || q == r.Quantity {
		return err
	}
	return s.reopened(ctx, tx, acct, r, ledger.OtherQuantity, now)
}

// free settles a record as definitely not recorded. Its units go where the
// refusal says; after the final seal nothing stays open.
func (s *Service) free(ctx context.Context, tx Tx, acct Account, r *Record, out ledger.Outcome, now time.Time) error {
	from, lost := placeOf[r.State], r.Placed
	var entries []ledger.Entry
	for i := range r.Allocations {
		a := &r.Allocations[i]
		if a.Placed > 0 {
			entries = append(entries, r.entry(a.bucket(), from, out.Goes, a.Placed, out.Reason, now))
		}
		a.Placed = 0
	}
	if err := s.post(ctx, tx, entries); err != nil {
		return err
	}
	r.State, r.Reason, r.Placed, r.Parked, r.SettledAt = ledger.RecordFreed, out.Reason, 0, false, now
	if err := tx.SaveRecord(ctx, *r); err != nil || lost == 0 {
		return err
	}
	if out.Goes == ledger.WrittenOff {
		return s.writtenOff(ctx, tx, acct, s.meterOf(r.Product, r.Meter, r.Scale), "", lost, out.Reason, r.ID)
	}
	return s.reopened(ctx, tx, acct, r, out.Reason, now)
}

// reopened sees to units that came back to open: the next seal posts them again,
// or, after the final seal, they are written off.
func (s *Service) reopened(ctx context.Context, tx Tx, acct Account, r *Record, why ledger.Reason, now time.Time) error {
	if acct.FinalAt.IsZero() {
		return tx.Mark(ctx, "seal", string(r.Subscription), now)
	}
	for _, a := range r.Allocations {
		if err := s.finish(ctx, tx, acct, s.meterOf(r.Product, r.Meter, r.Scale), a.bucket(), why, now); err != nil {
			return err
		}
	}
	return nil
}
