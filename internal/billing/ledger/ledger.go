package ledger

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/id"
)

// Place is where units are.
type Place string

// Sources: what came in and what stands on the other side of the equation.
const (
	Measured   Place = "measured"    // rises of the meter function
	Corrected  Place = "corrected"   // its falls
	CreditLeft Place = "credit_left" // placed above what is billable now; later usage consumes it
)

// Places a measured unit can be in.
const (
	Open       Place = "open"        // ingested, not sealed; signed
	Included   Place = "included"    // inside what the plan includes
	Carried    Place = "carried"     // a fraction the marketplace does not take yet
	Queued     Place = "queued"      // in a frozen record that waits to be sent
	Sent       Place = "sent"        // in a record of a call that has no answer yet
	Unsure     Place = "unsure"      // in a record that may have been recorded
	Held       Place = "held"        // in a record a person or the vendor must release
	Accepted   Place = "accepted"    // the marketplace has it
	WrittenOff Place = "written_off" // will not be billed, for a reason
)

// Places lists every place on the right-hand side.
var Places = []Place{Open, Included, Carried, Queued, Sent, Unsure, Held, Accepted, WrittenOff}

// Reason says why units moved where they would not have gone by themselves.
type Reason string

const (
	NoReason        Reason = ""
	Cap             Reason = "cap"
	Fraction        Reason = "fraction"
	NoSlot          Reason = "no_slot"
	NotSubscribed   Reason = "not_subscribed"
	AfterFinalSeal  Reason = "after_final_seal"
	MissingIdentity Reason = "missing_identity" // the marketplace has not said yet whom a record must name
	SuspendedHold   Reason = "suspended"
	InvalidRecord   Reason = "invalid"
	Expired         Reason = "expired"
	SlotTaken       Reason = "slot_taken"
	OtherQuantity   Reason = "other_quantity" // the marketplace holds another quantity than we froze
	TakenBack       Reason = "taken_back"     // a correction took back what was written off
	LineageMerged   Reason = "lineage_merged" // two purchases turned out to continue one another
	Operator        Reason = "operator"
)

// moves are the legal ones; true: a reason is required.
var moves = map[Place]map[Place]bool{
	Measured:   {Open: false, WrittenOff: true},
	CreditLeft: {Open: false},
	Open:       {Corrected: false, CreditLeft: false, Included: false, Carried: false, Queued: false, WrittenOff: true, Accepted: true, Open: true},
	Included:   {Open: false},
	Carried:    {Open: false, WrittenOff: true},
	Queued:     {Sent: false, Held: true, Open: true, WrittenOff: true},
	Sent:       {Queued: false, Unsure: false, Accepted: false, Held: true, Open: true, WrittenOff: true},
	Unsure:     {Sent: false, Queued: false, Accepted: false, Held: true, Open: true, WrittenOff: true},
	Held:       {Queued: false, WrittenOff: true, Open: true},
	WrittenOff: {Corrected: true, Open: true},
	Accepted:   {},
}

// Entry is one line of the ledger: appended, never edited. Quantity is in the
// meter's smallest unit and above zero.
type Entry struct {
	ID           id.Entry
	Subscription id.Subscription
	Meter        string
	Period       string // the counting period the units belong to
	Plan         string // under which they were used
	Hour         clock.Hour
	From, To     Place
	Quantity     int64
	Reason       Reason
	Record       id.Record // when a record holds the units
	Event        id.UsageEvent
	At           time.Time // business time
}

// Check reports what is wrong with the move itself.
func (e Entry) Check() error {
	reasoned, legal := moves[e.From][e.To]
	switch {
	case !legal:
		return fmt.Errorf("units do not move from %s to %s", e.From, e.To)
	case reasoned && e.Reason == NoReason:
		return fmt.Errorf("units move from %s to %s only for a reason", e.From, e.To)
	case e.Quantity <= 0:
		return fmt.Errorf("a move of %d units", e.Quantity)
	}
	return nil
}

// Balances are the units in each place; sources count what came out of them.
type Balances map[Place]int64

// ErrOverflow is an int64 that does not hold a sum.
var ErrOverflow = errors.New("ledger: the sum does not fit")

func add(a, b int64) (int64, error) {
	s := a + b
	if (a > 0 && b > 0 && s < 0) || (a < 0 && b < 0 && s >= 0) {
		return 0, ErrOverflow
	}
	return s, nil
}

// Apply returns the balances after entries, and leaves b as it is.
func (b Balances) Apply(entries ...Entry) (Balances, error) {
	out := maps.Clone(b)
	if out == nil {
		out = Balances{}
	}
	move := func(p Place, q int64) error {
		switch p { // sources grow by what leaves them, the sink by what enters
		case Measured, CreditLeft:
			q = -q
		}
		s, err := add(out[p], q)
		out[p] = s
		return err
	}
	for _, e := range entries {
		if err := e.Check(); err != nil {
			return nil, err
		}
		if err := errors.Join(move(e.From, -e.Quantity), move(e.To, e.Quantity)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Plus returns the sum of two balances, for totals over periods.
func (b Balances) Plus(o Balances) (Balances, error) {
	out := maps.Clone(b)
	if out == nil {
		out = Balances{}
	}
	for p, q := range o {
		s, err := add(out[p], q)
		if err != nil {
			return nil, err
		}
		out[p] = s
	}
	return out, nil
}

// Placed is what stands in a record or was written off: what the seal formula
// subtracts.
func (b Balances) Placed() int64 {
	return b[Held] + b[Queued] + b[Sent] + b[Unsure] + b[Accepted] + b[WrittenOff]
}

// Net is what was measured, less what was corrected away.
func (b Balances) Net() int64 { return b[Measured] - b[Corrected] }

// Conservation reports every way in which units are missing, doubled or below
// zero; nil when each is in exactly one place.
func Conservation(b Balances) error {
	var errs []error
	right := int64(0)
	for _, p := range Places {
		right += b[p]
		if b[p] < 0 && p != Open {
			errs = append(errs, fmt.Errorf("%s is %d", p, b[p]))
		}
	}
	for _, p := range []Place{Measured, Corrected, CreditLeft} {
		if b[p] < 0 {
			errs = append(errs, fmt.Errorf("%s is %d", p, b[p]))
		}
	}
	if left := b.Net() + b[CreditLeft]; left != right {
		errs = append(errs, fmt.Errorf("measured %d − corrected %d + credit %d is %d, the places hold %d", b[Measured], b[Corrected], b[CreditLeft], left, right))
	}
	for p := range b {
		if !slices.Contains(Places, p) && p != Measured && p != Corrected && p != CreditLeft {
			errs = append(errs, fmt.Errorf("there is no place %q", p))
		}
	}
	return errors.Join(errs...)
}
