package marketplace

import (
	"context"
	"time"

	"github.com/tailmarket/tailmarket/internal/fault"
)

// ID names a marketplace.
type ID string

const (
	AWS   ID = "aws"
	GCP   ID = "gcp"
	Azure ID = "azure"
)

// Adapter speaks one marketplace's wire protocol. It is small and stateless and
// never retries: callers own retries, so that adapters cannot disagree, and one
// call is one recorded attempt. Every method may run concurrently. Errors carry
// a fault class.
type Adapter interface {
	ID() ID
	// Rules returns the vendor's rules for a product, as data.
	Rules(product string) Rules
	// Verify authenticates a delivery. It may call out. Forged only after a
	// completed, failed check; Unavailable when the check could not be made;
	// Unreadable when it is genuine and cannot even be named.
	Verify(ctx context.Context, d Delivery) (Verified, error)
	// Translate turns a verified delivery into events. Pure: it can be run again
	// long after tokens have expired. Unreadable sends it to quarantine, with a
	// Public text that says why and who must act.
	Translate(v Verified) ([]Event, error)
	// Resolve exchanges a buyer's token. Invalid: not one of ours, start again;
	// Gone: expired; both with a Public text for the buyer.
	Resolve(ctx context.Context, t Token) (Arrival, error)
	// Decide tells the marketplace a decision of ours; harmless to repeat.
	Decide(ctx context.Context, d Decision) (Outcome, error)
	// Submit sends one batch of records of one group in one call. Receipts are
	// one to one by key, in the order of batch; a record the answer did not
	// mention has a receipt with OutcomeMissing.
	Submit(ctx context.Context, batch []Record) ([]Receipt, error)
}

// Listener is implemented by adapters that pull deliveries. Listen hands each
// to handle and acknowledges it only after handle returned nil; it returns when
// ctx ends or the source fails.
type Listener interface {
	Listen(ctx context.Context, handle func(context.Context, Delivery) error) error
}

// Reader asks the marketplace for the truth about purchases. The events it
// returns have kind Observed and carry the vendor's version (update time).
type Reader interface {
	// Purchase reads what one reference names; no event when it is unknown.
	Purchase(ctx context.Context, ref Ref) ([]Event, error)
	// Purchases reads the list of purchases from a mark on and hands on every page. A
	// purchase that cannot be read does not hide the others: it is among the page's Unread.
	Purchases(ctx context.Context, from Mark, page func(Page) error) error
}

// Mark is a place in the list of purchases.
type Mark struct {
	Since time.Time // of what changed since then; of all when zero
	Next  string    // as a Page of the same list gave it; "" is the beginning
}

// Page is a part of the list of purchases.
type Page struct {
	Events []Event
	Unread []Ref  // in the list, and could not be read; Purchase says why
	Next   string // where the list goes on; "" at its end
}

// Skips counts purchases of a list that could not be read one after the other. Some
// are theirs to be looked at one by one; many in a row are everybody's trouble.
type Skips int

const tooManySkips = 10

// Skip reports whether a list goes on past a purchase that could not be read: not
// when the marketplace cannot be asked for anything.
func (s *Skips) Skip(ctx context.Context, err error) bool {
	*s++
	return *s < tooManySkips && ctx.Err() == nil && !fault.Is(err, fault.Throttled)
}

// Read ends a row of skips.
func (s *Skips) Read() { *s = 0 }

// Channel is the way a delivery came in.
type Channel string

const (
	HTTPS Channel = "https"
	SQS   Channel = "sqs"
	Pull  Channel = "pull"
)

// Delivery is one inbound message exactly as it arrived.
type Delivery struct {
	Marketplace ID
	Channel     Channel
	Header      map[string]string // lower-case names; only those the adapter needs to verify
	Body        []byte
	ReceivedAt  time.Time // business time
	Source      string    // queue URL or path
}

// Verified is a delivery that is what it claims to be.
type Verified struct {
	Delivery Delivery
	ID       string // the vendor's own id of the message; the key of de-duplication
	Kind     string // the vendor's word for what it is
	Signed   bool   // the body is covered by the vendor's signature
	SentAt   time.Time
	// Content is the message itself where the body wraps it in what changes with
	// every sending (a Pub/Sub push); nil: the whole body. Two deliveries of one id
	// are the same when their contents are.
	Content []byte
}

// Token is what a buyer's browser brought: form fields of a bounded POST.
type Token struct {
	Value string
	Form  map[string]string
}

// Ref names a purchase in the vendor's words; at least one field is set.
type Ref struct {
	Purchase  string // AWS: LicenseArn; Google: entitlement id; Azure: SaaS subscription id
	Agreement string // AWS: agreement id
	Account   string // AWS: acceptor account; Google: procurement account id; Azure: beneficiary's tenant
	Product   string // our product, or "" when the vendor did not say
}

// Arrival is who a buyer's token belongs to.
type Arrival struct {
	Account   string
	Purchases []Ref
	Email     string // set when the marketplace itself verified it
	Person    string // the marketplace's own id of who came; said only here (Google: user_identity)
	Trial     bool
	Buyers    []string          // who, by the marketplace's sign-in, uses or bought it (Azure: tenant/object); empty: it does not say
	Extra     map[string]string // accepted and logged by name, never trusted
}

// EventKind is what happened, in our words.
type EventKind string

const (
	PurchaseSeen    EventKind = "purchase_seen"
	Claimed         EventKind = "claimed"
	Entitled        EventKind = "entitled"
	Denied          EventKind = "denied"
	ChangeRequested EventKind = "change_requested"
	Changed         EventKind = "changed"
	ChangeWithdrawn EventKind = "change_withdrawn"
	Renewed         EventKind = "renewed"
	Suspended       EventKind = "suspended"
	Resumed         EventKind = "resumed"
	EndScheduled    EventKind = "end_scheduled"
	EndReverted     EventKind = "end_reverted"
	Ending          EventKind = "ending"
	Ended           EventKind = "ended"
	AccountChanged  EventKind = "account_changed"
	AccountDeleted  EventKind = "account_deleted"
	OfferChanged    EventKind = "offer_changed"
	Observed        EventKind = "observed"
	// Noted is a genuine message that changes nothing we act on (an advisory, a
	// forecast); it is kept.
	Noted EventKind = "noted"
)

// EventKinds lists every kind once; tests iterate the full product.
var EventKinds = []EventKind{
	PurchaseSeen, Claimed, Entitled, Denied, ChangeRequested, Changed, ChangeWithdrawn, Renewed, Suspended,
	Resumed, EndScheduled, EndReverted, Ending, Ended, AccountChanged, AccountDeleted, OfferChanged, Observed, Noted,
}

// Event is one fact in normal form. Ref may name the purchase only by its
// agreement; a purchase that cannot be found by it is refreshed, not guessed.
type Event struct {
	Kind    EventKind
	Ref     Ref
	At      time.Time // when it took effect, by the vendor
	Version time.Time // orders statements of the vendor about one purchase; its update time or the envelope's time

	Terms     *Terms // what the vendor said of plan, offer, time; nil when silent
	Payer     string // who pays, when it is not the account
	Reseller  string // seller of record, when it is not us
	Replaces  string // vendor id of the purchase or agreement this one continues
	Reason    string // the vendor's word: CANCELLED, EXPIRED, …
	Consumer  string `json:",omitzero"` // whom metering names for this purchase, where that is an id of its own (Google: usageReportingId)
	Observed  *Observation
	MessageID string // the delivery's vendor id, for the story
}

// Terms are what a purchase is worth from a date on.
type Terms struct {
	Plan       string // our plan, or the vendor's word when unknown
	Offer      string
	Agreement  string
	Private    bool
	From, To   time.Time // zero To: no end
	Quantities map[string]int64
}

// Observation is the vendor's present truth about one purchase.
type Observation struct {
	Entitled  bool // may be used and metered now
	Suspended bool
	Ended     bool
	StartsAt  time.Time
	EndsAt    time.Time // zero: no end known
	// Awaits is the decision of ours that the marketplace waits for; empty: none.
	Awaits DecisionKind `json:",omitzero"`
	// Change is a change of terms that is waiting or agreed and not yet in force.
	Change *Terms `json:",omitzero"`
}

// DecisionKind is what we tell a marketplace.
type DecisionKind string

const (
	ApproveAccount DecisionKind = "approve_account"
	Approve        DecisionKind = "approve"
	Reject         DecisionKind = "reject"
	ApproveChange  DecisionKind = "approve_change"
	RejectChange   DecisionKind = "reject_change"
	Activate       DecisionKind = "activate"
	AckOperation   DecisionKind = "ack_operation"
	RequestChange  DecisionKind = "request_change"
	RequestCancel  DecisionKind = "request_cancel"
	MessageToUser  DecisionKind = "message_to_user"
	ConfirmChannel DecisionKind = "confirm_channel"
)

// Decision is one decision about one purchase.
type Decision struct {
	Kind    DecisionKind
	Ref     Ref
	Subject string // operation id, plan, …
	Text    string
}

// Outcome is what became of a decision.
type Outcome string

const (
	Done    Outcome = "done"
	Pending Outcome = "pending"
	TooLate Outcome = "too_late"
)
