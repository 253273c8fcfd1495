package due

import (
	"context"
	"time"

	"github.com/tailmarket/tailmarket/internal/fault"
)

// Kind is a kind of work.
type Kind string

const (
	Refresh   Kind = "refresh"
	Decide    Kind = "decide"
	Provision Kind = "provision"
	Close     Kind = "close"
	Seal      Kind = "seal"
	Submit    Kind = "submit"
	Attribute Kind = "attribute"
	Sweep     Kind = "sweep"
	Collect   Kind = "collect"
	Notify    Kind = "notify"
	Export    Kind = "export"
)

// Row is one piece of work.
type Row struct {
	Kind       Kind
	Subject    string
	DueAt      time.Time // business time
	NotBefore  time.Time // wall time
	Generation int64
	Owner      string
	LeaseUntil time.Time // wall time
	Attempts   int       // failed runs since the last success
	LastClass  fault.Class
	LastError  string // text that may be shown
	Stopped    bool
}

// Store keeps rows. Every call is one transaction of its own.
type Store interface {
	// MarkDue marks work; see the Mark of a room's transaction for the same inside one.
	MarkDue(ctx context.Context, kind Kind, subject string, at time.Time) error
	// ClaimDue leases up to limit rows that are due at business now, whose back-off
	// is over at wall, and that nobody holds. busy holds the kinds it must leave.
	ClaimDue(ctx context.Context, owner string, kinds []Kind, now, wall, until time.Time, limit int) ([]Row, error)
	// RenewDue prolongs a lease; false: it was lost.
	RenewDue(ctx context.Context, r Row, until time.Time) (bool, error)
	// FinishDue ends a claimed row: deleted, or due again at again; when it was
	// marked meanwhile it only loses its lease and runs again.
	FinishDue(ctx context.Context, r Row, again time.Time) error
	// FailDue hands a row back after an error.
	FailDue(ctx context.Context, r Row, notBefore time.Time, class fault.Class, text string, stop bool) error
	// FreeLeases voids every lease of other owners.
	FreeLeases(ctx context.Context, owner string) error
	// CountDue says how many rows are due at now and not stopped, worked ones included.
	CountDue(ctx context.Context, now time.Time) (int, error)
}

// Verdict is what happens to a row after an error.
type Verdict struct {
	Stop  bool
	Delay time.Duration // wall time until it is tried again
}

// Backoff are the limits between which waiting doubles.
type Backoff struct{ Base, Max time.Duration }

// Judge decides what happens to a row after its attempts-th failure in a row.
// Unclassified errors retry: a bug of ours must not lose usage. Unsure retries
// and never stops.
func Judge(err error, attempts int, b Backoff) Verdict {
	class := fault.ClassOf(err)
	if class.Final() {
		return Verdict{Stop: true}
	}
	delay := b.Base
	for range min(attempts-1, 30) {
		if delay *= 2; delay >= b.Max {
			delay = b.Max
			break
		}
	}
	if after := retryAfter(err); after > delay {
		delay = after
	}
	return Verdict{Delay: delay}
}
