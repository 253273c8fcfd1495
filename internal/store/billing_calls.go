package store

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/store/db"
)

// UsageOperation implements billing.Tx.
func (t *Tx) UsageOperation(ctx context.Context, key billing.Ident) (said [32]byte, event id.UsageEvent, known bool, err error) {
	r, err := t.q.UsageOperation(ctx, key[:])
	if noRows(err) {
		return said, "", false, nil
	}
	if err != nil {
		return said, "", false, fmt.Errorf("look up an operation: %w", err)
	}
	if copy(said[:], r.Said) != len(said) {
		return said, "", false, fmt.Errorf("the hash of an operation has %d bytes", len(r.Said))
	}
	return said, id.UsageEvent(r.Event), true, nil
}

// ClaimOperation implements billing.Tx.
func (t *Tx) ClaimOperation(ctx context.Context, key billing.Ident, said [32]byte, event id.UsageEvent) (bool, error) {
	n, err := t.q.ClaimOperation(ctx, db.ClaimOperationParams{Operation: key[:], Said: said[:], Event: string(event)})
	if err != nil {
		return false, fmt.Errorf("claim an operation: %w", err)
	}
	return n == 1, nil
}

// LockCall implements billing.Tx.
func (t *Tx) LockCall(ctx context.Context, c billing.Call, lease string, until, expires, wall time.Time) (billing.KeptCall, error) {
	if err := t.q.DeleteExpiredCalls(ctx, micros(wall)); err != nil {
		return billing.KeptCall{}, fmt.Errorf("forget old idempotency keys: %w", err)
	}
	r, err := t.q.LockCall(ctx, db.LockCallParams{
		Owner: c.Owner, Key: c.Key, Payload: c.Payload[:], Lease: lease, Until: micros(until), ExpiresAt: micros(expires), Outcomes: []byte{},
	})
	if err != nil {
		return billing.KeptCall{}, fmt.Errorf("look up an idempotency key: %w", err)
	}
	out := billing.KeptCall{Lease: r.Lease, Until: fromMicros(r.Until), Answered: r.Answered == 1}
	copy(out.Payload[:], r.Payload)
	if out.Answered {
		out.Outcomes, err = unpackOutcomes(r.Outcomes)
	}
	return out, err
}

// LeaseCall implements billing.Tx.
func (t *Tx) LeaseCall(ctx context.Context, c billing.Call, was, lease string, until time.Time) (bool, error) {
	n, err := t.q.LeaseCall(ctx, db.LeaseCallParams{Owner: c.Owner, Key: c.Key, Lease: was, Lease_2: lease, Until: micros(until)})
	if err != nil {
		return false, fmt.Errorf("lease an idempotency key: %w", err)
	}
	return n == 1, nil
}

// AnswerCall implements billing.Tx.
func (t *Tx) AnswerCall(ctx context.Context, c billing.Call, lease string, out []billing.Outcome) (bool, error) {
	packed, err := packOutcomes(out)
	if err != nil {
		return false, err
	}
	n, err := t.q.AnswerCall(ctx, db.AnswerCallParams{Owner: c.Owner, Key: c.Key, Lease: lease, Outcomes: packed})
	if err != nil {
		return false, fmt.Errorf("store the answer under an idempotency key: %w", err)
	}
	return n == 1, nil
}

// packOutcomes compresses: ten thousand outcomes repeat each other.
func packOutcomes(out []billing.Outcome) ([]byte, error) {
	var b bytes.Buffer
	z, err := flate.NewWriter(&b, flate.BestSpeed)
	if err != nil {
		return nil, fmt.Errorf("pack outcomes: %w", err)
	}
	if err := errors.Join(json.NewEncoder(z).Encode(out), z.Close()); err != nil {
		return nil, fmt.Errorf("pack outcomes: %w", err)
	}
	return b.Bytes(), nil
}

func unpackOutcomes(packed []byte) (out []billing.Outcome, err error) {
	if err := json.NewDecoder(flate.NewReader(bytes.NewReader(packed))).Decode(&out); err != nil {
		return nil, fmt.Errorf("unpack outcomes: %w", err)
	}
	return out, nil
}
