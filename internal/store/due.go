package store

import (
	"context"
	"fmt"
	"time"

	"github.com/tailmarket/tailmarket/internal/due"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/store/db"
)

var _ due.Store = (*Store)(nil)

// Mark marks work inside a transaction; every room's Tx has it.
func (t *Tx) Mark(ctx context.Context, kind, subject string, at time.Time) error {
	err := t.q.MarkDue(ctx, db.MarkDueParams{Kind: kind, Subject: subject, DueAt: micros(at)})
	if err != nil {
		return fmt.Errorf("mark %s %s: %w", kind, subject, err)
	}
	return nil
}

// MarkDue implements due.Store.
func (s *Store) MarkDue(ctx context.Context, kind due.Kind, subject string, at time.Time) error {
	return s.Tx(ctx, func(ctx context.Context, t *Tx) error { return t.Mark(ctx, string(kind), subject, at) })
}

const claimDue = `-- name: ClaimDue :many
SELECT kind, subject, due_at, generation, attempts
FROM due
WHERE kind = $1 AND stopped = 0 AND due_at <= $2 AND not_before <= $3 AND lease_until <= $3
ORDER BY due_at, subject
LIMIT $4`

// ClaimDue implements due.Store.
func (s *Store) ClaimDue(ctx context.Context, owner string, kinds []due.Kind, now, wall, until time.Time, limit int) ([]due.Row, error) {
	var out []due.Row
	// Most asking finds nothing: look without a write transaction first.
	found, err := s.anyDue(ctx, kinds, now, wall)
	if err != nil || !found {
		return nil, err
	}
	err = s.Tx(ctx, func(ctx context.Context, t *Tx) error {
		out = out[:0]
		for _, k := range kinds {
			rows, err := t.lockDue(ctx, k, now, wall, limit)
			if err != nil {
				return err
			}
			for _, r := range rows {
				n, err := t.q.LeaseDue(ctx, db.LeaseDueParams{Kind: string(r.Kind), Subject: r.Subject, LeaseOwner: owner, LeaseUntil: micros(until), LeaseUntil_2: micros(wall)})
				if err != nil {
					return fmt.Errorf("lease %s %s: %w", r.Kind, r.Subject, err)
				}
				if n == 1 {
					r.Owner, r.LeaseUntil = owner, until
					out = append(out, r)
				}
			}
		}
		return nil
	})
	return out, err
}

func (s *Store) anyDue(ctx context.Context, kinds []due.Kind, now, wall time.Time) (bool, error) {
	for _, k := range kinds {
		var kind, subject string
		var dueAt, generation, attempts int64
		err := s.read.QueryRowContext(ctx, claimDue, string(k), micros(now), micros(wall), 1).Scan(&kind, &subject, &dueAt, &generation, &attempts)
		switch {
		case err == nil:
			return true, nil
		case !noRows(err):
			return false, fmt.Errorf("look for due rows: %w", err)
		}
	}
	return false, nil
}

func (t *Tx) lockDue(ctx context.Context, k due.Kind, now, wall time.Time, limit int) ([]due.Row, error) {
	rows, err := t.tx.QueryContext(ctx, claimDue+t.engine.skipLocked(), string(k), micros(now), micros(wall), limit)
	if err != nil {
		return nil, fmt.Errorf("claim due rows: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var out []due.Row
	for rows.Next() {
		var kind string
		var at, attempts int64
		var r due.Row
		if err := rows.Scan(&kind, &r.Subject, &at, &r.Generation, &attempts); err != nil {
			return nil, fmt.Errorf("claim due rows: %w", err)
		}
		r.Kind, r.DueAt, r.Attempts = due.Kind(kind), fromMicros(at), int(attempts)
		out = append(out, r)
	}
	return out, rows.Err()
}

// RenewDue implements due.Store.
func (s *Store) RenewDue(ctx context.Context, r due.Row, until time.Time) (bool, error) {
	var n int64
	err := s.Tx(ctx, func(ctx context.Context, t *Tx) (err error) {
		n, err = t.q.RenewDue(ctx, db.RenewDueParams{Kind: string(r.Kind), Subject: r.Subject, LeaseOwner: r.Owner, LeaseUntil: micros(until)})
		return err
	})
	return n == 1, err
}

// FinishDue implements due.Store. When the row was marked while it ran, neither
// statement matches its generation, and it is released to run again.
func (s *Store) FinishDue(ctx context.Context, r due.Row, again time.Time) error {
	return s.Tx(ctx, func(ctx context.Context, t *Tx) error {
		var n int64
		var err error
		if again.IsZero() {
			n, err = t.q.FinishDue(ctx, db.FinishDueParams{Kind: string(r.Kind), Subject: r.Subject, LeaseOwner: r.Owner, Generation: r.Generation})
		} else {
			n, err = t.q.RescheduleDue(ctx, db.RescheduleDueParams{Kind: string(r.Kind), Subject: r.Subject, LeaseOwner: r.Owner, Generation: r.Generation, DueAt: micros(again)})
		}
		if err != nil || n == 1 {
			return err
		}
		return t.release(ctx, r, 0, time.Time{}, "", "", false)
	})
}

// FailDue implements due.Store.
func (s *Store) FailDue(ctx context.Context, r due.Row, notBefore time.Time, class fault.Class, text string, stop bool) error {
	return s.Tx(ctx, func(ctx context.Context, t *Tx) error {
		return t.release(ctx, r, r.Attempts+1, notBefore, class, text, stop)
	})
}

func (t *Tx) release(ctx context.Context, r due.Row, attempts int, notBefore time.Time, class fault.Class, text string, stop bool) error {
	p := db.ReleaseDueParams{Kind: string(r.Kind), Subject: r.Subject, LeaseOwner: r.Owner, Attempts: int64(attempts), NotBefore: micros(notBefore), LastClass: string(class), LastError: text}
	if stop {
		p.Generation = r.Generation
	}
	_, err := t.q.ReleaseDue(ctx, p)
	return err
}

// FreeLeases implements due.Store.
func (s *Store) FreeLeases(ctx context.Context, owner string) error {
	return s.Tx(ctx, func(ctx context.Context, t *Tx) error {
		_, err := t.q.FreeLeases(ctx, owner)
		return err
	})
}

// CountDue implements due.Store.
func (s *Store) CountDue(ctx context.Context, now time.Time) (int, error) {
	q, err := s.query(ctx)
	if err != nil {
		return 0, err
	}
	n, err := q.CountDue(ctx, micros(now))
	return int(n), err
}

// StuckDue lists stopped rows and rows that failed at least attempts times.
func (s *Store) StuckDue(ctx context.Context, attempts, limit int) ([]due.Row, error) {
	q, err := s.query(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := q.ListDue(ctx, db.ListDueParams{Attempts: int64(attempts), Limit: int32(min(limit, 1000))}) //nolint:gosec // bounded
	if err != nil {
		return nil, fmt.Errorf("list stuck rows: %w", err)
	}
	out := make([]due.Row, len(rows))
	for i, r := range rows {
		out[i] = due.Row{
			Kind: due.Kind(r.Kind), Subject: r.Subject, DueAt: fromMicros(r.DueAt), NotBefore: fromMicros(r.NotBefore), Generation: r.Generation, Owner: r.LeaseOwner,
			LeaseUntil: fromMicros(r.LeaseUntil), Attempts: int(r.Attempts), LastClass: fault.Class(r.LastClass), LastError: r.LastError, Stopped: r.Stopped != 0,
		}
	}
	return out, nil
}
