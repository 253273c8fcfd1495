package ledger

import (
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// RecordState is where a frozen record stands. Only accepted and freed are final.
type RecordState string

const (
	RecordQueued   RecordState = "queued"   // nothing of it can have been recorded: to be sent
	RecordUnsure   RecordState = "unsure"   // it may have been recorded: to be sent again, identical
	RecordAccepted RecordState = "accepted" // the marketplace has it
	RecordFreed    RecordState = "freed"    // definitely not recorded and not to be sent again
	RecordHeld     RecordState = "held"     // definitely not recorded; somebody must act
)

// Answer is how one call ended for one record.
type Answer string

// Answers of a call as a whole; the others are the marketplace's receipts.
const (
	Unanswered  Answer = ""              // the row was written and no answer: a crash, a cut connection
	NotSent     Answer = "not_sent"      // provably never left
	CallRefused Answer = "call_refused"  // the whole call was refused, nothing of it recorded
	Throttled   Answer = "throttled"     // the same, for speed
	RefusedHere Answer = "refused_alone" // the whole call was refused and this record stood alone in it
)

// FromReceipt is a receipt's outcome as an answer.
func FromReceipt(o marketplace.ReceiptOutcome) Answer { return Answer(o) }

// proven reports whether the answer proves that this attempt recorded nothing.
func (a Answer) proven() bool {
	switch a {
	case NotSent, CallRefused, Throttled, RefusedHere:
		return true
	}
	return marketplace.ReceiptOutcome(a).Proven()
}

// Attempt is one call made for one record.
type Attempt struct {
	ID       id.Attempt
	Answer   Answer
	Quantity int64 // what the marketplace holds, when accepted
}

// Outcome of the set of a record's attempts.
type Outcome struct {
	State    RecordState
	Quantity int64  // accepted
	Goes     Place  // where freed or held units go: Open, Held or WrittenOff
	Reason   Reason // why
	Conflict bool   // the slot holds something that is not ours: a finding
}

// Judge computes a record's state from the set of its attempts and the quantity
// frozen in it; the order of attempts does not matter, and a late answer is judged like any other. fenced says that the
// slot was frozen after a restore: no attempt of ours is then known to be the only one.
func Judge(frozen int64, attempts []Attempt, fenced bool) Outcome {
	var refusal Answer
	unproven, duplicate := 0, 0
	for _, a := range attempts {
		switch {
		case a.Answer == Answer(marketplace.OutcomeAccepted):
			return Outcome{State: RecordAccepted, Quantity: a.Quantity}
		case a.Answer == Answer(marketplace.OutcomeDuplicate):
			duplicate++
		case !a.Answer.proven():
			unproven++
		case final(a.Answer):
			refusal = a.Answer
		}
	}
	switch {
	case duplicate > 0 && unproven > 0 && !fenced:
		// An earlier or later call of this very record may be what the slot holds.
		return Outcome{State: RecordAccepted, Quantity: frozen}
	case duplicate > 0:
		return Outcome{State: RecordUnsure, Conflict: true}
	case unproven > 0:
		return Outcome{State: RecordUnsure}
	case refusal != "":
		return freed(refusal)
	}
	return Outcome{State: RecordQueued}
}

// final reports whether the answer is about this record for good, and not about
// the call it happened to be in.
func final(a Answer) bool {
	switch marketplace.ReceiptOutcome(a) {
	case marketplace.OutcomeNotSubscribed, marketplace.OutcomeInvalid, marketplace.OutcomeExpired, marketplace.OutcomeSuspended:
		return true
	}
	return a == RefusedHere
}

func freed(a Answer) Outcome {
	switch marketplace.ReceiptOutcome(a) {
	case marketplace.OutcomeExpired:
		return Outcome{State: RecordFreed, Goes: Open, Reason: Expired}
	case marketplace.OutcomeNotSubscribed:
		return Outcome{State: RecordFreed, Goes: WrittenOff, Reason: NotSubscribed}
	case marketplace.OutcomeSuspended:
		return Outcome{State: RecordHeld, Goes: Held, Reason: SuspendedHold}
	}
	return Outcome{State: RecordHeld, Goes: Held, Reason: InvalidRecord}
}
