package store

import (
	"context"
	"fmt"
	"time"

	"github.com/tailmarket/tailmarket/internal/identity"
	"github.com/tailmarket/tailmarket/internal/store/db"
)

var _ identity.Store = (*Store)(nil)

func (t *Tx) addSession(ctx context.Context, hash []byte, v identity.Session) error {
	err := t.q.AddSession(ctx, db.AddSessionParams{
		TokenHash: hash, Kind: string(v.Kind), Actor: v.Actor, Subject: v.Subject, CreatedAt: micros(v.CreatedAt), ExpiresAt: micros(v.ExpiresAt),
	})
	if err != nil {
		return fmt.Errorf("add a session: %w", err)
	}
	// Sign-ins are rare; each sweeps what nobody can use any more.
	if err := t.q.DeleteExpiredSessions(ctx, micros(v.CreatedAt)); err != nil {
		return fmt.Errorf("delete expired sessions: %w", err)
	}
	return nil
}

// AddSession implements identity.Store.
func (s *Store) AddSession(ctx context.Context, hash []byte, v identity.Session) error {
	return s.Tx(ctx, func(ctx context.Context, t *Tx) error { return t.addSession(ctx, hash, v) })
}

// FindSession implements identity.Store.
func (s *Store) FindSession(ctx context.Context, hash []byte, wall time.Time) (identity.Session, bool, error) {
	q, err := s.query(ctx)
	if err != nil {
		return identity.Session{}, false, err
	}
	r, err := q.FindSession(ctx, db.FindSessionParams{TokenHash: hash, ExpiresAt: micros(wall)})
	switch {
	case noRows(err):
		return identity.Session{}, false, nil
	case err != nil:
		return identity.Session{}, false, fmt.Errorf("read a session: %w", err)
	}
	return identity.Session{
		Kind: identity.Kind(r.Kind), Actor: r.Actor, Subject: r.Subject, CreatedAt: fromMicros(r.CreatedAt), ExpiresAt: fromMicros(r.ExpiresAt),
	}, true, nil
}

// EndSession implements identity.Store.
func (s *Store) EndSession(ctx context.Context, hash []byte) error {
	return s.Tx(ctx, func(ctx context.Context, t *Tx) error { return t.q.DeleteSession(ctx, hash) })
}

// AddOperatorLink implements identity.Store.
func (s *Store) AddOperatorLink(ctx context.Context, hash []byte, from, until time.Time) error {
	return s.Tx(ctx, func(ctx context.Context, t *Tx) error {
		if err := t.q.DeleteOperatorLinks(ctx, micros(from)); err != nil {
			return err
		}
		return t.q.AddOperatorLink(ctx, db.AddOperatorLinkParams{TokenHash: hash, CreatedAt: micros(from), ExpiresAt: micros(until)})
	})
}

// UseOperatorLink implements identity.Store.
func (s *Store) UseOperatorLink(ctx context.Context, link, session []byte, v identity.Session) (used bool, err error) {
	err = s.Tx(ctx, func(ctx context.Context, t *Tx) error {
		n, err := t.q.UseOperatorLink(ctx, db.UseOperatorLinkParams{TokenHash: link, UsedAt: micros(v.CreatedAt)})
		if used = n == 1; err != nil || !used {
			return err
		}
		return t.addSession(ctx, session, v)
	})
	return used && err == nil, err
}
