package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/identity"
	"github.com/tailmarket/tailmarket/internal/store/db"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

var _ identity.KeyStore = (*Store)(nil)

// AddAPIKey implements identity.KeyStore.
func (s *Store) AddAPIKey(ctx context.Context, hash []byte, k identity.APIKey, now time.Time) error {
	sources, err := json.Marshal(k.Sources)
	if err != nil {
		return fmt.Errorf("write the sources of an API key: %w", err)
	}
	return s.Tx(ctx, func(ctx context.Context, t *Tx) error {
		err := t.q.AddAPIKey(ctx, db.AddAPIKeyParams{
			ID: string(k.ID), TokenHash: hash, Name: k.Name, Sources: string(sources), CreatedAt: micros(k.CreatedAt), CreatedBy: k.CreatedBy,
		})
		if err != nil {
			return fmt.Errorf("add an API key: %w", err)
		}
		return t.AddAudit(ctx, subscription.AuditEntry{At: now, Actor: k.CreatedBy, Action: "key.add", Subject: string(k.ID), Detail: k.Name + ": " + strings.Join(k.Sources, ", ")})
	})
}

func toAPIKey(r db.ApiKey) (identity.APIKey, error) {
	k := identity.APIKey{
		ID: id.APIKey(r.ID), Name: r.Name, CreatedAt: fromMicros(r.CreatedAt), CreatedBy: r.CreatedBy, LastUsedAt: fromMicros(r.LastUsedAt),
		RevokedAt: fromMicros(r.RevokedAt), RevokedBy: r.RevokedBy,
	}
	if err := json.Unmarshal([]byte(r.Sources), &k.Sources); err != nil {
		return k, fmt.Errorf("read the sources of API key %s: %w", r.ID, err)
	}
	return k, nil
}

// FindAPIKey implements identity.KeyStore.
func (s *Store) FindAPIKey(ctx context.Context, hash []byte) (identity.APIKey, bool, error) {
	q, err := s.query(ctx)
	if err != nil {
		return identity.APIKey{}, false, err
	}
	r, err := q.FindAPIKey(ctx, hash)
	switch {
	case noRows(err):
		return identity.APIKey{}, false, nil
	case err != nil:
		return identity.APIKey{}, false, fmt.Errorf("read an API key: %w", err)
	}
	k, err := toAPIKey(r)
	return k, err == nil, err
}

// ListAPIKeys implements identity.KeyStore.
func (s *Store) ListAPIKeys(ctx context.Context) ([]identity.APIKey, error) {
	q, err := s.query(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := q.ListAPIKeys(ctx)
	if err != nil {
		return nil, fmt.Errorf("list API keys: %w", err)
	}
	out := make([]identity.APIKey, len(rows))
	for i, r := range rows {
		if out[i], err = toAPIKey(r); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// TouchAPIKey implements identity.KeyStore.
func (s *Store) TouchAPIKey(ctx context.Context, k id.APIKey, at time.Time) error {
	return s.Tx(ctx, func(ctx context.Context, t *Tx) error {
		return t.q.TouchAPIKey(ctx, db.TouchAPIKeyParams{ID: string(k), LastUsedAt: micros(at)})
	})
}

// RevokeAPIKey implements identity.KeyStore.
func (s *Store) RevokeAPIKey(ctx context.Context, k id.APIKey, by string, at, now time.Time) (revoked bool, err error) {
	err = s.Tx(ctx, func(ctx context.Context, t *Tx) error {
		n, err := t.q.RevokeAPIKey(ctx, db.RevokeAPIKeyParams{ID: string(k), RevokedAt: micros(at), RevokedBy: by})
		if revoked = n == 1; err != nil || !revoked {
			return err
		}
		return t.AddAudit(ctx, subscription.AuditEntry{At: now, Actor: by, Action: "key.revoke", Subject: string(k)})
	})
	return revoked && err == nil, err
}
