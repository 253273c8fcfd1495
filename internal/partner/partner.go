package partner

import (
	"context"
	"strings"
	"time"
	"unicode"

	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

// Partner is an organisation that brings customers.
type Partner struct {
	ID        id.Partner
	Name      string
	Keys      []Key
	Links     []Link
	CreatedAt time.Time
	CreatedBy string
}

// KeyKind is what a marketplace knows a partner by.
type KeyKind string

const (
	ResellerKey KeyKind = "reseller" // the reseller's account or tenant at the marketplace
	OfferKey    KeyKind = "offer"    // an offer that was made for the partner
)

// Key is one name of a partner at a marketplace, verbatim.
type Key struct {
	Partner     id.Partner
	Marketplace string
	Kind        KeyKind
	Value       string
	RecordedAt  time.Time
	RecordedBy  string
}

// Link is a partner's signed referral link to one listing.
type Link struct {
	ID          id.Link
	Partner     id.Partner
	Marketplace string
	Product     string
	MadeAt      time.Time
	MadeBy      string
}

// Statement is what a marketplace said about how a purchase was sold.
type Statement struct {
	Offer    string
	Private  bool
	Reseller string
	At       time.Time // by the vendor
	Message  string    // the vendor's id of the message; empty when it answered a question of ours
}

// TouchKind is how a buyer met a partner, as the buyer's visit told.
type TouchKind string

const (
	LinkTouch TouchKind = "link"
	SaidTouch TouchKind = "said"
)

// Touch is one piece of evidence that came with a buyer's visit.
type Touch struct {
	ID           id.Touch
	Subscription id.Subscription
	Kind         TouchKind
	Link         id.Link    // of a link touch
	Partner      id.Partner // whose link it is
	Said         string     // of a said touch, as typed: kept encrypted, never logged
	Claim        id.Claim   // the visit that brought it
	At           time.Time  // when the link was followed, or the answer given
	RecordedAt   time.Time
}

// Purchase is one purchase with all evidence of how it came about.
type Purchase struct {
	ID         id.Subscription
	Product    string
	Plan       string
	VendorID   string
	StartsAt   time.Time // zero while it never began
	CreatedAt  time.Time
	Statements []Statement // about it, and about the offers it names
	Touches    []Touch
}

// Customer is a customer with all its purchases.
type Customer struct {
	ID          id.Customer
	Marketplace string
	Account     string
	Purchases   []Purchase
}

// Tx is what this room does inside a transaction.
type Tx interface {
	// EnsurePartner returns the partner of this folded name, made if there is none.
	EnsurePartner(ctx context.Context, p Partner, folded string) (got Partner, made bool, err error)
	// EnsureKey answers whose key it is: another partner's when it was taken.
	EnsureKey(ctx context.Context, k Key) (owner id.Partner, made bool, err error)
	// EnsureLink returns the partner's link to this listing, made if there is none.
	EnsureLink(ctx context.Context, l Link) (got Link, made bool, err error)
	// AddTouch adds one: of one link and purchase the first stands, of one visit the
	// last answer.
	AddTouch(ctx context.Context, t Touch) error
	AddAudit(ctx context.Context, e subscription.AuditEntry) error
}

// Store is what this room asks of the database.
type Store interface {
	PartnerTx(ctx context.Context, fn func(context.Context, Tx) error) error
	// ListPartners lists all with keys and links, oldest first.
	ListPartners(ctx context.Context) ([]Partner, error)
	// FindLink finds a link; false when there is none.
	FindLink(ctx context.Context, l id.Link) (Link, bool, error)
	// ListEvidence lists customers after one, by id, with purchases and evidence.
	ListEvidence(ctx context.Context, after id.Customer, limit int) ([]Customer, error)
	// SignReferral is a keyed hash of a text; nobody without the instance key can make it.
	SignReferral(text string) ([]byte, error)
}

// Fold makes spellings of one name equal: lower case, letters and digits only.
func Fold(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, name)
}
