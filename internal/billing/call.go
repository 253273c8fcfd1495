package billing

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/tailmarket/tailmarket/internal/fault"
)

// Call is a request to ingest under its sender's Idempotency-Key.
type Call struct {
	Owner   string   // who sends: keys of two senders never meet
	Key     string   // the sender's
	Payload [32]byte // hash of what was sent
}

// KeptCall is what is known of a call.
type KeptCall struct {
	Payload  [32]byte
	Lease    string
	Until    time.Time // the lease; wall time
	Answered bool
	Outcomes []Outcome
}

const (
	// CallRetention is for how long a key is remembered after its first use, by
	// wall time. The events' own identities are kept for ever.
	CallRetention = 24 * time.Hour

	callLease = 30 * time.Second // renewed with every chunk; a dead process's call is free after it
)

// IngestOnce is Ingest under an Idempotency-Key. The call is kept before the
// first event and its answer is stored in the transaction of the last one, so an
// answer that is repeated is one whose events are stored. Refused: the key was
// used for another payload. Conflict: the first call is still running.
func (s *Service) IngestOnce(ctx context.Context, c Call, events []UsageEvent) (out []Outcome, repeated bool, err error) {
	lease := rand.Text()
	kept, err := s.claimCall(ctx, c, lease)
	if err != nil || kept.Answered {
		return kept.Outcomes, err == nil, err
	}
	keep := func(ctx context.Context, tx Tx, all []Outcome, last bool) error {
		var still bool
		var err error
		if last {
			still, err = tx.AnswerCall(ctx, c, lease, all)
		} else {
			still, err = tx.LeaseCall(ctx, c, lease, lease, s.Wall().Add(callLease))
		}
		if err == nil && !still {
			err = fault.New(fault.Conflict, "another request took this Idempotency-Key over; send it again")
		}
		return err
	}
	if len(events) == 0 {
		err = s.Store.BillingTx(ctx, func(ctx context.Context, tx Tx) error { return keep(ctx, tx, nil, true) })
	} else {
		out, err = s.ingestAll(ctx, events, keep)
	}
	if err != nil {
		s.freeCall(ctx, c, lease)
		return nil, false, fmt.Errorf("ingest under an idempotency key: %w", err)
	}
	return out, false, nil
}

func (s *Service) claimCall(ctx context.Context, c Call, lease string) (kept KeptCall, err error) {
	wall := s.Wall()
	err = s.Store.BillingTx(ctx, func(ctx context.Context, tx Tx) error {
		if kept, err = tx.LockCall(ctx, c, lease, wall.Add(callLease), wall.Add(CallRetention), wall); err != nil {
			return err
		}
		switch {
		case kept.Payload != c.Payload:
			return fault.New(fault.Refused, "this Idempotency-Key was used for another request; use a new one for other events")
		case kept.Answered || kept.Lease == lease:
			return nil
		case kept.Until.After(wall):
			f := fault.New(fault.Conflict, "the first request with this Idempotency-Key is still running; ask again in a moment")
			f.RetryAfter = time.Second
			return f
		}
		_, err := tx.LeaseCall(ctx, c, kept.Lease, lease, wall.Add(callLease)) // its process died
		return err
	})
	if err != nil {
		return KeptCall{}, fmt.Errorf("claim an idempotency key: %w", err)
	}
	return kept, nil
}

const freeTimeout = 2 * time.Second // wall time

// freeCall lets a repetition in at once after a failure. Should it fail too, the
// lease runs out.
func (s *Service) freeCall(ctx context.Context, c Call, lease string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), freeTimeout)
	defer cancel()
	err := s.Store.BillingTx(ctx, func(ctx context.Context, tx Tx) error {
		_, err := tx.LeaseCall(ctx, c, lease, lease, time.Time{})
		return err
	})
	if err != nil {
		s.Log.WarnContext(ctx, "idempotency key not freed", "error", err)
	}
}
