package marketplacetest

import (
	"time"

	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// Harness is one adapter and the vendor it talks to, fresh for each case.
type Harness struct {
	Adapter marketplace.Adapter
	Reader  marketplace.Reader // usually the adapter itself
	Vendor  Vendor
	Traits  Traits

	Changer   Changer   // nil: no buyer's change waits for an answer of ours
	Suspender Suspender // nil: no purchase is suspended and told of
	Rival     Rival     // nil: nobody else of the seller's can write into a slot
}

// Traits are what one vendor does differently from another.
type Traits struct {
	Batch        int  // records in one call
	WholeUnits   bool // fractions are refused
	SignedBodies bool // a delivery's body cannot be changed without notice
	// BadRefusesBatch: one bad record refuses the whole call; else only itself.
	BadRefusesBatch bool
	// Partial is how a call answers for a record it did not finish.
	Partial marketplace.ReceiptOutcome
	// Stopped is how a call answers for a purchase that is over.
	Stopped marketplace.ReceiptOutcome
	// EntitledBy and EndsBy are the events that messages of a purchase's life bring;
	// empty when no message tells.
	EntitledBy, EndsBy marketplace.EventKind
	// TokensAlike: an expired token is answered as a bad one is, and so both are invalid.
	TokensAlike bool
	// TellsHeld: a duplicate's receipt says what the slot holds.
	TellsHeld bool
	// EndsByAge: usage from before the end is refused for its age alone; only usage
	// from after it is answered with Stopped.
	EndsByAge bool
	// Ageless: usage is taken however old it is.
	Ageless bool
	// Silent: what comes again is answered as if it came first, and not called a duplicate.
	Silent bool
	// ThrottleUnsure: a refusal for speed does not say that nothing was recorded.
	ThrottleUnsure bool
	// Nameless: a success may hold an error that names no record.
	Nameless bool
	// Paused is how a call answers for a purchase that is suspended.
	Paused marketplace.ReceiptOutcome
	// Decides are the decisions the vendor takes from us.
	Decides []marketplace.DecisionKind
}

// Vendor is a marketplace under control. Its methods fail the test by themselves.
type Vendor interface {
	Now() time.Time
	Advance(d time.Duration)

	// Buy makes a purchase that is entitled, with its messages sent.
	Buy() Purchase
	// Cancel ends one, with its messages sent.
	Cancel(p Purchase)
	// Deliveries are all messages sent so far, as they arrived.
	Deliveries() []marketplace.Delivery
	// Forged are deliveries like d that did not come from the vendor.
	Forged(d marketplace.Delivery) []marketplace.Delivery
	// Foreign are deliveries that pass the check of origin and are not for us.
	Foreign() []marketplace.Delivery
	// Strange is a delivery for us of a kind nobody knows, with the word for it.
	Strange() (d marketplace.Delivery, word string)

	Token(p Purchase) marketplace.Token
	ExpiredToken(p Purchase) marketplace.Token
	BadToken() marketplace.Token
	// Claims are form fields by which a browser says that it comes for p.
	Claims(p Purchase) map[string]string

	// Spoil makes a record that the vendor refuses for what is in it.
	Spoil(r marketplace.Record) marketplace.Record
	// Unknown are references to purchases that do not exist.
	Unknown() []marketplace.Ref

	// Befall makes the next call or calls go wrong.
	Befall(f Fault)
	// Calls is how many calls of a kind the vendor received.
	Calls(c Call) int
	// Bill is what the vendor will charge, one line for each slot.
	Bill() []Charge
}

// Changer is a vendor that asks us about a buyer's change of plan.
type Changer interface {
	// Ask lets the buyer of p ask for another plan, with its message sent; plan is its
	// name in the vendor's words.
	Ask(p Purchase) (plan string)
	// Subject is what a decision about the change names it by.
	Subject(e marketplace.Event) string
}

// Suspender is a vendor that takes purchases out of service for a while.
type Suspender interface {
	// Suspend does, and Reinstate undoes it, with the messages sent.
	Suspend(p Purchase)
	Reinstate(p Purchase)
}

// Rival is somebody else who writes into the seller's slots.
type Rival interface {
	// Take makes another quantity be in r's slot before r comes, and returns it.
	Take(r marketplace.Record) (quantity string)
}

// Purchase is what was bought, in the words an adapter would use.
type Purchase struct {
	Ref        marketplace.Ref
	Identity   marketplace.VendorIdentity
	Dimensions []string // at least two
}

// Charge is one slot on the vendor's bill.
type Charge struct {
	Purchase, Dimension, Hour, Quantity string
}

// Call is a kind of call.
type Call string

const (
	CallSubmit  Call = "submit"
	CallResolve Call = "resolve"
	CallAny     Call = "any"
)

// Fault is something that goes wrong at the vendor.
type Fault struct {
	Kind  FaultKind
	Times int                // 0 is once
	About marketplace.Record // Partial: which record
}

// FaultKind is a way of going wrong.
type FaultKind string

const (
	AcceptThenClose FaultKind = "accept then close" // Submit: recorded, and no answer
	Throttle        FaultKind = "throttle"          // Submit: refused for speed
	ServerError     FaultKind = "server error"      // Submit: the vendor's trouble
	Partial         FaultKind = "partial"           // Submit: About is not finished, the others are
	NamelessError   FaultKind = "nameless error"    // Submit: a success with an error that names no record
	DuplicateAnswer FaultKind = "duplicate answer"  // Submit: an identical resend is called a duplicate
	TokenTrouble    FaultKind = "token trouble"     // Resolve: the vendor's trouble
	ReadTrouble     FaultKind = "read trouble"      // Reader: the vendor's trouble
	EmptyPage       FaultKind = "empty page"        // Reader: a page with nothing on it, and more to come
)
