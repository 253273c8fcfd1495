package marketplace

import (
	"errors"
	"time"

	"github.com/tailmarket/tailmarket/internal/clock"
)

// Confidence says how sure a rule is.
type Confidence string

const (
	Documented  Confidence = "documented"
	Seen        Confidence = "observed"
	Unconfirmed Confidence = "unconfirmed"
)

// Window is a limit of time with where it comes from. Target is the strictest
// reading: our aim and alarm. Limit is the loosest: when we stop trying.
type Window struct {
	Target, Limit time.Duration
	Source        string // page title and date
	Confidence    Confidence
}

// Rules are a vendor's metering rules for one product, as data.
type Rules struct {
	BatchRecords int   // records in one call
	BatchBytes   int   // bytes of one call's body
	WholeUnits   bool  // false: fractions are taken
	MaxQuantity  int64 // of one record, in whole units
	Heartbeat    bool  // the vendor wants a record of every customer each hour, zero when idle
	ZeroAllowed  bool
	Parts        bool // more than one record per slot is possible (gcp)

	Back        Window                     // how old a record may be
	AfterEnd    Window                     // how long after the end final records are taken
	MonthCut    func(clock.Hour) time.Time // last instant a record of this hour is taken because its month closes; nil: none
	FinalAccept time.Duration              // usage from before the end is accepted for this long after we learnt of it
	// ResendFor is how long an identical resend counts as de-duplicated, in wall time
	// from the earliest attempt that may have been recorded; 0: while the window is
	// open; negative: never.
	ResendFor time.Duration
	Slot      func(Record) string          // the vendor's de-duplication key, readable by a person
	Group     func(Record) string          // records that may share a call
	Identity  func(VendorIdentity) []error // what is missing in an identity; empty when it can be metered
	Period    func(time.Time) (from, to time.Time)
	// PeriodFrom is Period where counting periods follow the term's start; nil: they do not.
	PeriodFrom func(term, t time.Time) (from, to time.Time)
}

// Deadline is the last instant at which a record of hour h may be accepted.
func (r Rules) Deadline(h clock.Hour) time.Time {
	d := h.Start().Add(r.Back.Limit)
	if r.MonthCut != nil {
		if cut := r.MonthCut(h); cut.Before(d) {
			return cut
		}
	}
	return d
}

// VendorIdentity is who a record is about, in the vendor's words, frozen into
// the record. AWS mode C: Account and License; modes A/B: ProductCode and
// Customer or Account. Google: ProductCode (service name), License (entitlement),
// Customer (usageReportingId) and Account. Azure: Resource (SaaS subscription) and Plan.
type VendorIdentity struct {
	ProductCode string `json:"product_code,omitempty"`
	Customer    string `json:"customer,omitempty"`
	Account     string `json:"account,omitempty"`
	License     string `json:"license,omitempty"`
	Resource    string `json:"resource,omitempty"`
	Plan        string `json:"plan,omitempty"`
}

// Record is the quantity of one dimension for one vendor slot, frozen before
// it is sent. Submit looks nothing up: all it sends is here.
type Record struct {
	Key         string // the slot, from Rules.Slot
	Product     string
	Identity    VendorIdentity
	Dimension   string
	Hour        clock.Hour
	Part        int
	From, To    time.Time
	Quantity    string // decimal text
	Allocations []Allocation
	Final       bool
}

// Allocation is a share of a record the buyer may see. The shares of a record
// sum to its quantity.
type Allocation struct {
	Tags     map[string]string `json:"tags,omitempty"`
	Quantity string            `json:"quantity"`
}

// ReceiptOutcome is what a marketplace said about one record in one call.
type ReceiptOutcome string

const (
	OutcomeAccepted      ReceiptOutcome = "accepted"
	OutcomeDuplicate     ReceiptOutcome = "duplicate"      // the slot holds a record; whose, the answer may not say
	OutcomeUnprocessed   ReceiptOutcome = "unprocessed"    // definitely not recorded; send again
	OutcomeNotSubscribed ReceiptOutcome = "not_subscribed" // definitely not recorded
	OutcomeInvalid       ReceiptOutcome = "invalid"        // definitely not recorded: dimension, identity, form
	OutcomeExpired       ReceiptOutcome = "expired"        // definitely not recorded: outside the window
	OutcomeSuspended     ReceiptOutcome = "suspended"      // definitely not recorded
	OutcomeFailed        ReceiptOutcome = "failed"         // the vendor's own error; may have been recorded
	OutcomeMissing       ReceiptOutcome = "missing"        // the answer does not mention it; may have been recorded
)

// Proven reports whether the outcome proves that this attempt recorded nothing.
func (o ReceiptOutcome) Proven() bool {
	switch o {
	case OutcomeUnprocessed, OutcomeNotSubscribed, OutcomeInvalid, OutcomeExpired, OutcomeSuspended:
		return true
	}
	return false
}

// Receipt is what the marketplace answered for one record.
type Receipt struct {
	Key          string
	Outcome      ReceiptOutcome
	ID           string // the vendor's id of the stored record
	Quantity     string // the quantity the vendor holds, when it says
	Detail       string // the vendor's word
	StopsService bool   // a hint that the purchase is no longer served: refresh it
}

// Refusal is the cause of a Refused error of Submit when the vendor's word for
// the whole call tells what a record that stood alone in it suffers: TimestampOutOfBounds
// is expired, an unknown dimension invalid. Billing bisects a refused batch down to it.
type Refusal struct {
	Outcome ReceiptOutcome
	Detail  string // the vendor's word
}

func (r *Refusal) Error() string { return "refused as " + string(r.Outcome) + ": " + r.Detail }

// RefusalOf finds the Refusal in err's chain; nil when the adapter gave none.
func RefusalOf(err error) *Refusal {
	r, _ := errors.AsType[*Refusal](err)
	return r
}
