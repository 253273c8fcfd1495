package ledger

import (
	"time"

	"github.com/tailmarket/tailmarket/internal/id"
)

// RecordState is where a frozen record stands. Only accepted and freed are final.
type RecordState string

const (
	RecordQueued   RecordState = "queued"   // nothing of it can have been recorded: to be sent
	RecordSent     RecordState = "sent"     // a call is on its way; the attempts alone read as unsure
	RecordUnsure   RecordState = "unsure"   // it may have been recorded: to be sent again, identical
	RecordAccepted RecordState = "accepted" // the marketplace has it
	RecordFreed    RecordState = "freed"    // definitely not recorded and not to be sent again
	RecordHeld     RecordState = "held"     // definitely not recorded; somebody must act
)

// Answer is how one call ended for one record.
type Answer string

// Answers of a call as a whole.
const (
	Unanswered  Answer = ""              // the row was written and no answer: a crash, a cut connection
	CallUnsure  Answer = "unsure"        // the call ended without an answer that can be read
	NotSent     Answer = "not_sent"      // provably never left
	CallRefused Answer = "call_refused"  // the whole call was refused, nothing of it recorded
	Throttled   Answer = "throttled"     // the same, for speed
	RefusedHere Answer = "refused_alone" // the whole call was refused and this record stood alone in it
)

// Answers for one record: the marketplace's receipts, in the same words.
const (
	TookIt        Answer = "accepted"
	Duplicate     Answer = "duplicate"
	Unprocessed   Answer = "unprocessed"
	NoSubscriber  Answer = "not_subscribed"
	InvalidHere   Answer = "invalid"
	TooOld        Answer = "expired"
	SuspendedHere Answer = "suspended"
	VendorFailed  Answer = "failed"
	NotMentioned  Answer = "missing"
)

// Words of an operator; no call was made.
const (
	Released   Answer = "released"         // the cause of a refusal is mended: earlier refusals are spent
	RuledThere Answer = "ruled_accepted"   // the marketplace's own report shows the record
	RuledGone  Answer = "ruled_unrecorded" // it shows that no attempt before this word was recorded
)

// Answers lists every answer once; tests iterate the full product.
var Answers = []Answer{
	Unanswered, CallUnsure, NotSent, CallRefused, Throttled, RefusedHere, TookIt, Duplicate, Unprocessed, NoSubscriber,
	InvalidHere, TooOld, SuspendedHere, VendorFailed, NotMentioned, Released, RuledThere, RuledGone,
}

// FromReceipt is a receipt's outcome as an answer. A word nobody knows stays as
// it is, and counts as one that may have been recorded.
func FromReceipt[T ~string](outcome T) Answer { return Answer(outcome) }

// proven reports whether the answer proves that this attempt recorded nothing.
func (a Answer) proven() bool {
	switch a {
	case NotSent, CallRefused, Throttled, RefusedHere, Unprocessed, NoSubscriber, InvalidHere, TooOld, SuspendedHere, Released, RuledGone:
		return true
	}
	return false
}

// Attempt is one call made for one record.
type Attempt struct {
	ID       id.Attempt
	N        int // 1, 2, … of its record; only an operator's word has an order
	Answer   Answer
	Quantity int64 // what the marketplace holds, when accepted
	Says     bool  // the marketplace itself said what it holds
	Wall     time.Time
}

// Outcome of the set of a record's attempts.
type Outcome struct {
	State    RecordState
	Quantity int64  // accepted
	Goes     Place  // where freed or held units go: Open, Held or WrittenOff
	Reason   Reason // why
	Conflict bool   // the slot holds something that no attempt of ours explains: a finding
}

// Judge computes a record's state from the set of its attempts and the quantity
// frozen in it; the order of attempts does not matter, and a late answer is judged like any other. fenced says that the
// slot was frozen after a restore: no attempt of ours is then known to be the only one.
func Judge(frozen int64, attempts []Attempt, fenced bool) Outcome {
	gone, released := spoken(attempts)
	var refusal, holds Attempt
	unproven, duplicate := 0, 0
	for _, a := range attempts {
		switch {
		case a.Answer == TookIt, a.Answer == RuledThere:
			return Outcome{State: RecordAccepted, Quantity: a.Quantity}
		case a.Answer == Duplicate && a.Says:
			holds = a
		case a.N < gone:
		case a.Answer == Duplicate:
			duplicate++
		case !a.Answer.proven():
			unproven++
		case a.Answer.Refuses() && a.N >= released && (refusal.Answer == "" || a.N > refusal.N):
			refusal = a
		}
	}
	switch {
	case holds.Answer != "":
		// The bill has what the slot holds, whoever wrote it.
		return Outcome{State: RecordAccepted, Quantity: holds.Quantity, Conflict: unproven == 0 || fenced}
	case duplicate > 0 && unproven > 0 && !fenced:
		// An earlier or later call of this very record may be what the slot holds.
		return Outcome{State: RecordAccepted, Quantity: frozen}
	case duplicate > 0:
		return Outcome{State: RecordUnsure, Conflict: true}
	case unproven > 0:
		return Outcome{State: RecordUnsure}
	case refusal.Answer != "":
		return freed(refusal.Answer)
	}
	return Outcome{State: RecordQueued}
}

// DoubtSince is the wall time of the earliest attempt that may have been recorded;
// false when there is none. A vendor that takes an identical record for the same
// one does so for a while, and the while begins there.
func DoubtSince(attempts []Attempt) (since time.Time, doubtful bool) {
	gone, _ := spoken(attempts)
	for _, a := range attempts {
		if a.N < gone || a.Answer.proven() {
			continue
		}
		if !doubtful || a.Wall.Before(since) {
			since, doubtful = a.Wall, true
		}
	}
	return since, doubtful
}

// Disproved reports that the marketplace took a call which a person ruled to be
// unrecorded: what was sent or booked again since may be on the bill twice.
func Disproved(attempts []Attempt) bool {
	gone, _ := spoken(attempts)
	for _, a := range attempts {
		if a.Answer == TookIt && a.N < gone {
			return true
		}
	}
	return false
}

// spoken is the place of the last word of an operator of each kind, 0 for none.
func spoken(attempts []Attempt) (gone, released int) {
	for _, a := range attempts {
		switch a.Answer {
		case RuledGone:
			gone = max(gone, a.N)
		case Released:
			released = max(released, a.N)
		}
	}
	return gone, max(gone, released)
}

// MaySend reports whether an identical call may follow: never while the slot
// holds something that no attempt explains, because a later lost call would then
// look like the explanation.
func (o Outcome) MaySend() bool {
	return o.State == RecordQueued || o.State == RecordUnsure && !o.Conflict
}

// Refuses reports whether the answer is about this record for good, and not
// about the call it happened to be in.
func (a Answer) Refuses() bool {
	switch a {
	case NoSubscriber, InvalidHere, TooOld, SuspendedHere, RefusedHere:
		return true
	}
	return false
}

func freed(a Answer) Outcome {
	switch a {
	case TooOld:
		return Outcome{State: RecordFreed, Goes: Open, Reason: Expired}
	case NoSubscriber:
		return Outcome{State: RecordFreed, Goes: WrittenOff, Reason: NotSubscribed}
	case SuspendedHere:
		return Outcome{State: RecordHeld, Goes: Held, Reason: SuspendedHold}
	}
	return Outcome{State: RecordHeld, Goes: Held, Reason: InvalidRecord}
}
