package intake

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

// DeliveryState is what became of a delivery.
type DeliveryState string

const (
	Applied     DeliveryState = "applied"
	Quarantined DeliveryState = "quarantined" // genuine, waits for a person
	Conflict    DeliveryState = "conflict"    // another body under a known id: kept, not believed
	Replayed    DeliveryState = "replayed"    // was quarantined, applied since
)

// Kept is a delivery as it is kept, without its body.
type Kept struct {
	ID          id.Delivery
	Marketplace marketplace.ID
	VendorID    string // the vendor's id of the message
	Variant     string // "" for the first body under this id, else the body's hash
	BodyHash    string
	Channel     marketplace.Channel
	Kind        string // the vendor's word; "" when the message could not be verified to the end
	Source      string
	Signed      bool
	SentAt      time.Time
	ReceivedAt  time.Time
	Customer    id.Customer // whose key the body is under
	Copies      int64       // how often it came again
	State       DeliveryState
	Reason      string
	SettledAt   time.Time
	SettledBy   string
}

// Counts are how many deliveries came in since the beginning.
type Counts struct {
	Received    int64 // copies included, forged ones not
	Duplicates  int64
	Quarantined int64 // waiting now
	Conflicts   int64
}

// Cursor is how far the sweep of a marketplace has come, in business time.
type Cursor struct {
	At   time.Time // beginning of the last sweep that ended well
	Full time.Time // beginning of the last one that asked for everything
}

// Tx is what intake does inside a transaction.
type Tx interface {
	subscription.Tx
	// KeepDelivery keeps k with its body, encrypted. When (marketplace, vendor id,
	// variant) is known, that row is counted up, locked and returned instead.
	KeepDelivery(ctx context.Context, k Kept, body []byte) (got Kept, fresh bool, err error)
	LockDelivery(ctx context.Context, d id.Delivery) (Kept, error)
	SettleDelivery(ctx context.Context, d id.Delivery, state DeliveryState, reason string, at time.Time, by string) error
	// AssignDelivery puts the body under the customer's key; the first one stands.
	AssignDelivery(ctx context.Context, d id.Delivery, c id.Customer, now time.Time) error
	SaveSweep(ctx context.Context, m marketplace.ID, c Cursor) error
}

// Store is what intake asks of the database.
type Store interface {
	IntakeTx(ctx context.Context, fn func(context.Context, Tx) error) error
	// ReadDelivery decrypts a body; Gone when its customer's key was destroyed.
	ReadDelivery(ctx context.Context, d id.Delivery) (Kept, []byte, error)
	ListDeliveries(ctx context.Context, state DeliveryState, before id.Delivery, limit int) ([]Kept, error)
	CountDeliveries(ctx context.Context) (Counts, error)
	GetSweep(ctx context.Context, m marketplace.ID) (Cursor, error)
}

// Observer hears of what is not kept.
type Observer interface {
	// DeliveryForged: a delivery failed its authenticity check; count and log it.
	DeliveryForged(m marketplace.ID, c marketplace.Channel)
}

// Service is the door. Safe for concurrent use.
type Service struct {
	store    Store
	subs     *subscription.Service
	adapters map[marketplace.ID]marketplace.Adapter
	observer Observer
	now      func() time.Time // business time
	log      *slog.Logger

	mu     sync.Mutex
	halves map[marketplace.ID]half // sweeps that were cut short; losing one costs its pages, which are asked for again
}

// New makes the door for the given marketplaces.
func New(store Store, subs *subscription.Service, adapters map[marketplace.ID]marketplace.Adapter, observer Observer, now func() time.Time, log *slog.Logger) *Service {
	return &Service{store: store, subs: subs, adapters: adapters, observer: observer, now: now, log: log, halves: map[marketplace.ID]half{}}
}

func (s *Service) adapter(m marketplace.ID) (marketplace.Adapter, error) {
	a, ok := s.adapters[m]
	if !ok {
		return nil, fault.New(fault.NotFound, "marketplace %q is not set up here; the operator must fill its section of the settings", m)
	}
	return a, nil
}

// Quarantine lists what waits for a person, newest first.
func (s *Service) Quarantine(ctx context.Context, before id.Delivery, limit int) ([]Kept, error) {
	return s.store.ListDeliveries(ctx, Quarantined, before, limit)
}

// Conflicts lists bodies that came under an id which had another body before.
func (s *Service) Conflicts(ctx context.Context, before id.Delivery, limit int) ([]Kept, error) {
	return s.store.ListDeliveries(ctx, Conflict, before, limit)
}

// Counts counts deliveries.
func (s *Service) Counts(ctx context.Context) (Counts, error) { return s.store.CountDeliveries(ctx) }

const maxName = 255

// keepable refuses names that no database could keep or find again: too long for
// an index, or with a NUL, which PostgreSQL does not take. A message with one
// would fail, and come again, for ever.
func keepable(e marketplace.Event) error {
	names := [][2]string{
		{"purchase", e.Ref.Purchase},
		{"agreement", e.Ref.Agreement},
		{"account", e.Ref.Account},
		{"payer", e.Payer},
		{"reseller", e.Reseller},
		{"predecessor", e.Replaces},
		{"reason", e.Reason},
		{"consumer", e.Consumer},
	}
	if e.Terms != nil {
		names = append(names, [][2]string{{"plan", e.Terms.Plan}, {"offer", e.Terms.Offer}, {"agreement", e.Terms.Agreement}}...)
	}
	if e.Observed != nil && e.Observed.Change != nil {
		names = append(names, [][2]string{{"new plan", e.Observed.Change.Plan}, {"new offer", e.Observed.Change.Offer}}...)
	}
	for _, n := range names {
		what, name := n[0], n[1]
		if len(name) > maxName || strings.ContainsRune(name, 0) {
			return fault.New(fault.Unreadable, "the name of the %s is too long or no text; the operator must look at what sends here", what)
		}
	}
	return nil
}

func hashBody(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}
