package subscription

import (
	"context"
	"time"

	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// Customer is the buying organisation at one marketplace.
type Customer struct {
	ID          id.Customer
	Marketplace marketplace.ID
	Account     string
	CreatedAt   time.Time
}

// Subscription is one purchase.
type Subscription struct {
	ID          id.Subscription
	Marketplace marketplace.ID
	Purchase    string // the marketplace's key of it; AWS: LicenseArn
	Account     string
	Product     string
	Listing     string // the marketplace's name of the product, where metering says it; Google: the service
	Plan        string // in force by the newest terms
	Customer    id.Customer
	Lineage     id.Subscription // the first of the chain
	Predecessor id.Subscription // what it continues; empty for a first purchase
	Replaces    string          // the vendor's id of what it continues, as said
	TailnetName string          // what the buyer sees
	NameChosen  bool            // by the buyer; else suggested
	TailnetOf   id.Subscription // whose tailnet it uses: its own, or a predecessor's
	CutOver     clock.Hour      // the first hour we meter; zero while the product observes
	Facts       Facts
	Version     int64
	CreatedAt   time.Time
}

// State is the subscription's state at an instant.
func (s Subscription) State(now time.Time) State { return StateOf(s.Facts, now) }

// Access is what provisioning must make true at an instant.
func (s Subscription) Access(now time.Time) Access { return AccessOf(s.Facts, now) }

// StartsAt is the first instant at which it was entitled; zero while it is not.
func (s Subscription) StartsAt() time.Time { return s.Facts.StartsAt }

// EndsAt is the confirmed end; zero while none is known.
func (s Subscription) EndsAt() time.Time { return s.Facts.EndsAt() }

// Identity is who a record about this purchase is about, in the vendor's words,
// under the terms of the hour. AWS mode C names account and licence and no product
// code; Google who uses the service, which it tells some time after the purchase;
// Azure the purchase and its plan.
func (s Subscription) Identity(under Terms) marketplace.VendorIdentity {
	switch s.Marketplace {
	case marketplace.GCP:
		return marketplace.VendorIdentity{ProductCode: s.Listing, License: s.Purchase, Customer: s.Facts.Consumer.Name, Account: s.Account}
	case marketplace.Azure:
		return marketplace.VendorIdentity{Resource: s.Purchase, Plan: under.Named}
	case marketplace.AWS:
	}
	return marketplace.VendorIdentity{Account: s.Account, License: s.Purchase}
}

// Ref names the purchase at its marketplace.
func (s Subscription) Ref() marketplace.Ref {
	return marketplace.Ref{Purchase: s.Purchase, Account: s.Account, Product: s.Product}
}

// TermsStatus is how far a change of terms has come; a pending change is a row,
// never a state of the subscription.
type TermsStatus string

const (
	TermsPending   TermsStatus = "pending"
	TermsEffective TermsStatus = "effective"
	TermsRefused   TermsStatus = "refused"
	TermsWithdrawn TermsStatus = "withdrawn"
)

// Terms is a dated row of what was agreed.
type Terms struct {
	Subscription id.Subscription
	Fingerprint  string // of what is agreed, without dates; numbered when it was agreed before
	Plan         string // ours
	Named        string // the vendor's word
	Offer        string
	Agreement    string
	Private      bool
	Quantities   map[string]int64
	Status       TermsStatus
	From, To     time.Time // as the vendor dates them
	StatedAt     time.Time // the first time the vendor said so
	Version      time.Time // the last time
}

// Agreement is an attribute of a subscription: the contract it ran under.
type Agreement struct {
	Marketplace  marketplace.ID
	Agreement    string
	Subscription id.Subscription
	LinkedAt     time.Time
}

// Line is one line of a subscription's story: an event or fact that was applied.
type Line struct {
	ID           id.Event
	Subscription id.Subscription // empty while only the agreement is known
	Marketplace  marketplace.ID
	Agreement    string      // or the purchase, or account, it waits for
	Kind         string      // an event's kind, or "fact:" and a fact's
	Delivery     id.Delivery // empty when we asked or decided ourselves
	RecordedAt   time.Time
	HappenedAt   time.Time
	Version      time.Time
	Changed      bool   // the facts are others than before
	Body         []byte // JSON of the marketplace.Event or Fact
}

// Mode is whether a product is only watched or served.
type Mode string

const (
	ModeObserve Mode = "observe"
	ModeLive    Mode = "live"
)

// ProductState is a product's mode and first metered hour.
type ProductState struct {
	Product   string
	Mode      Mode
	CutOver   clock.Hour
	Actor     string
	ChangedAt time.Time
}

// Filter chooses subscriptions for a list; zero fields choose all.
type Filter struct {
	Marketplace marketplace.ID
	Product     string
	Customer    id.Customer
	After       id.Subscription // cursor
	Limit       int             // 1 to 500; 0 means 100
}

// AuditEntry is one write by a person or the API.
type AuditEntry struct {
	Seq     int64
	At      time.Time
	Actor   string
	Action  string
	Subject string
	Detail  string
	Hash    []byte
}

// Mail is a message to a person, queued in the transaction that has the reason.
type Mail struct {
	To      string
	Subject string
	Text    string
	Link    string // a path of ours; who sends it puts the public address in front
	Kind    string
	At      time.Time // business time
	About   string    // the claim or subscription it belongs to
}

// Tx is what this room does inside a transaction.
type Tx interface {
	Mark(ctx context.Context, kind, subject string, at time.Time) error
	QueueMail(ctx context.Context, m Mail) error

	// EnsureCustomer returns the account's customer, made if there is none.
	EnsureCustomer(ctx context.Context, c Customer) (Customer, error)
	// EnsureSubscription inserts s unless its purchase is known, and returns the
	// one that is stored, locked until the transaction ends.
	EnsureSubscription(ctx context.Context, s Subscription) (got Subscription, made bool, err error)
	// LockSubscription reads one and locks it; a fault of class NotFound when there is none.
	LockSubscription(ctx context.Context, sub id.Subscription) (Subscription, error)
	// SubscriptionByPurchase and ByAgreement return "" when there is none.
	SubscriptionByPurchase(ctx context.Context, m marketplace.ID, purchase string) (id.Subscription, error)
	SubscriptionByAgreement(ctx context.Context, m marketplace.ID, agreement string) (id.Subscription, error)
	// SubscriptionsReplacing lists those that said they continue the vendor's id.
	SubscriptionsReplacing(ctx context.Context, m marketplace.ID, vendorID string) ([]id.Subscription, error)
	// SubscriptionsWhere lists by filter, inside the transaction.
	SubscriptionsWhere(ctx context.Context, f Filter) ([]Subscription, error)
	SaveSubscription(ctx context.Context, s Subscription) error
	// MoveLineage puts every subscription of one lineage into another.
	MoveLineage(ctx context.Context, from, to id.Subscription) error
	// LinkAgreement answers the subscription the agreement belongs to, which is
	// another one when it was linked before.
	LinkAgreement(ctx context.Context, a Agreement) (id.Subscription, error)
	SubscriptionTerms(ctx context.Context, sub id.Subscription) ([]Terms, error)
	SaveTerms(ctx context.Context, t Terms) error
	AddLine(ctx context.Context, l Line) error
	// WaitingLines lists events that waited for this agreement, or purchase, to be
	// known, oldest first.
	WaitingLines(ctx context.Context, m marketplace.ID, agreement string) ([]Line, error)
	AdoptLine(ctx context.Context, line id.Event, sub id.Subscription, changed bool) error
	// NoteSale keeps what was said of a sale; said again, in whatever order, it adds nothing.
	NoteSale(ctx context.Context, s Sale) error

	// ProductState reads it; LockProductState makes it (observing) if there is
	// none and locks it, so that a purchase cannot slip in beside a go-live.
	ProductState(ctx context.Context, product string) (ProductState, error)
	LockProductState(ctx context.Context, product string, now time.Time) (ProductState, error)
	SaveProductState(ctx context.Context, p ProductState) error
	AddAudit(ctx context.Context, e AuditEntry) error

	ClaimTx
}

// Store is what this room asks of the database.
type Store interface {
	SubscriptionTx(ctx context.Context, fn func(context.Context, Tx) error) error
	GetSubscription(ctx context.Context, sub id.Subscription) (Subscription, error)
	FindSubscription(ctx context.Context, m marketplace.ID, purchase string) (Subscription, bool, error)
	ListSubscriptions(ctx context.Context, f Filter) ([]Subscription, error)
	ListTerms(ctx context.Context, sub id.Subscription) ([]Terms, error)
	ListLines(ctx context.Context, sub id.Subscription) ([]Line, error)
	ListAgreements(ctx context.Context, sub id.Subscription) ([]Agreement, error)
	GetProductState(ctx context.Context, product string) (ProductState, error)
	ListAudit(ctx context.Context, after int64, limit int) ([]AuditEntry, error)
	ClaimByToken(ctx context.Context, hash []byte) (Claim, bool, error)
	// MailLinkUntil is when a mail link ends; false when there is none.
	MailLinkUntil(ctx context.Context, hash []byte) (time.Time, bool, error)
	ClaimsOf(ctx context.Context, sub id.Subscription) ([]Claim, error)
}
