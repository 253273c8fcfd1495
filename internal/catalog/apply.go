package catalog

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/tailmarket/tailmarket/internal/fault"
)

// Applied is a catalog that was put in force. The zero Applied stands for the
// shipped one, which needs nobody to apply it.
type Applied struct {
	Seq     int64
	Version string
	Hash    string // of the text, SHA-256
	At      time.Time
	By      string
	Reason  string // why it was forced; empty: it was not
}

// Store keeps every version that was ever in force.
type Store interface {
	CatalogTx(ctx context.Context, fn func(context.Context, Tx) error) error
	// AppliedCatalog is the one in force and its text; Seq 0 when none was applied.
	AppliedCatalog(ctx context.Context) (Applied, []byte, error)
	// CatalogText is the text of a version that was once in force; class NotFound
	// when it never was.
	CatalogText(ctx context.Context, version string) ([]byte, error)
	ListApplied(ctx context.Context, limit int) ([]Applied, error) // newest first
	// RunningPurchases counts the purchases that are not closed.
	RunningPurchases(ctx context.Context) ([]Running, error)
}

// Tx is what applying does in one transaction.
type Tx interface {
	AppliedCatalog(ctx context.Context) (Applied, []byte, error)
	// KeepCatalog keeps a version's text once and answers the hash it is kept under.
	KeepCatalog(ctx context.Context, a Applied, text []byte) (hash string, err error)
	AddApplied(ctx context.Context, a Applied) error
	RunningPurchases(ctx context.Context) ([]Running, error)
	AuditCatalog(ctx context.Context, a Applied, detail string) error
}

// Service puts catalogs in force. Safe for concurrent use.
type Service struct {
	store        Store
	now          func() time.Time // business time
	capabilities []string
}

// New makes a Service; capabilities are the control plane's.
func New(store Store, capabilities []string, now func() time.Time) *Service {
	return &Service{store, now, capabilities}
}

// Current is the catalog in force: the one applied last, else the shipped one.
func (s *Service) Current(ctx context.Context) (*Catalog, Applied, error) {
	a, raw, err := s.store.AppliedCatalog(ctx)
	if err != nil {
		return nil, a, err
	}
	c, err := parseApplied(a, raw)
	return c, a, err
}

func parseApplied(a Applied, raw []byte) (*Catalog, error) {
	if a.Seq == 0 {
		return Default(), nil
	}
	c, err := Parse(raw)
	if err != nil { // it was sound when it was applied: a newer program reads it otherwise
		return nil, fmt.Errorf("the applied catalog %s: %w", a.Version, err)
	}
	return c, nil
}

// Text is the text of a version that is or was in force; an empty version is the
// one in force.
func (s *Service) Text(ctx context.Context, version string) ([]byte, error) {
	if version == "" {
		a, raw, err := s.store.AppliedCatalog(ctx)
		if err == nil && a.Seq == 0 {
			raw = Shipped()
		}
		return raw, err
	}
	raw, err := s.store.CatalogText(ctx, version)
	if fault.Is(err, fault.NotFound) && version == Default().Version {
		return Shipped(), nil
	}
	return raw, err
}

// History is what was put in force, newest first.
func (s *Service) History(ctx context.Context, limit int) ([]Applied, error) {
	return s.store.ListApplied(ctx, limit)
}

// Compare says what a catalog would change against the one in force, with the
// purchases each change is about.
func (s *Service) Compare(ctx context.Context, raw []byte) ([]Change, error) {
	next, err := Parse(raw)
	if err != nil {
		return nil, err
	}
	now, _, err := s.Current(ctx)
	if err != nil {
		return nil, err
	}
	running, err := s.store.RunningPurchases(ctx)
	return counted(Diff(now, next), running), err
}

func counted(changes []Change, running []Running) []Change {
	for i := range changes {
		changes[i].Purchases = changes[i].of(running)
	}
	return changes
}

// Apply puts a catalog in force from now on. It refuses one with open problems, one
// whose version stands for another text, and, unless a reason is given, one that
// would change bills that are counting. Applying what is in force changes nothing.
// What is frozen keeps the version it was frozen under.
func (s *Service) Apply(ctx context.Context, raw []byte, by, reason string) (a Applied, changes []Change, err error) {
	next, problems := Check(raw, s.capabilities)
	if open := problems.Open(); len(open) > 0 {
		return a, nil, fault.Wrap(fault.Invalid, open, "the catalog has "+count(len(open))+"; “api catalog check” says who must act")
	}
	sum := sha256.Sum256(raw)
	a = Applied{Version: next.Version, Hash: hex.EncodeToString(sum[:]), At: s.now(), By: by, Reason: reason}
	shippedSum := sha256.Sum256(shipped)
	if d := Default(); d.Version == a.Version && a.Hash != hex.EncodeToString(shippedSum[:]) {
		return a, nil, fault.New(fault.Conflict, "version %q is the shipped catalog's: records may be frozen under it; raise the version", a.Version)
	}
	err = s.store.CatalogTx(ctx, func(ctx context.Context, tx Tx) error {
		head, text, err := tx.AppliedCatalog(ctx)
		if err != nil {
			return err
		}
		if head.Hash == a.Hash {
			a = head
			return nil
		}
		now, err := parseApplied(head, text)
		if err != nil {
			return err
		}
		running, err := tx.RunningPurchases(ctx)
		if err != nil {
			return err
		}
		changes = counted(Diff(now, next), running)
		billed := 0
		for _, c := range changes {
			if c.Bills && c.Purchases > 0 {
				billed++
			}
		}
		if billed > 0 && reason == "" {
			return fault.New(fault.Refused, "%d of the changes would change bills that are counting: sell them as a new plan, or force them with a reason", billed)
		}
		a.Seq = head.Seq + 1
		kept, err := tx.KeepCatalog(ctx, a, raw)
		if err != nil {
			return err
		}
		if kept != a.Hash {
			return fault.New(fault.Conflict, "version %q was applied before with another text: records may be frozen under it; raise the version", a.Version)
		}
		if err := tx.AddApplied(ctx, a); err != nil {
			return err
		}
		return tx.AuditCatalog(ctx, a, fmt.Sprintf("%s, %d changes, %d of bills that are counting %s", a.Hash[:12], len(changes), billed, reason))
	})
	return a, changes, err
}
