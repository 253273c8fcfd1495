package app

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tailmarket/tailmarket/internal/fleet"
	"github.com/tailmarket/tailmarket/internal/identity"
)

// sessions spares the database a look-up for every request. What a session is and
// that it has ended stays the store's to say; that it has is told to all replicas
// at once.
type sessions struct {
	identity.Store

	seen *fleet.Sessions
}

func (s sessions) FindSession(ctx context.Context, hash []byte, wall time.Time) (out identity.Session, ok bool, err error) {
	raw, err := s.seen.Find(ctx, hash, func(ctx context.Context) ([]byte, time.Time, error) {
		got, ok, err := s.Store.FindSession(ctx, hash, wall)
		if err != nil || !ok {
			return nil, time.Time{}, err
		}
		raw, err := json.Marshal(got)
		return raw, got.ExpiresAt, err
	})
	if err != nil || raw == nil {
		return out, false, err
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		return out, false, fmt.Errorf("read a session: %w", err)
	}
	return out, wall.Before(out.ExpiresAt), nil
}

func (s sessions) EndSession(ctx context.Context, hash []byte) error {
	if err := s.Store.EndSession(ctx, hash); err != nil {
		return err
	}
	s.seen.End(ctx, hash)
	return nil
}
