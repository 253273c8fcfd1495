package httpapi_test

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/identity"
)

// sessions is identity's store in memory.
type sessions struct {
	mu    sync.Mutex
	m     map[string]identity.Session
	links map[string]bool
}

func (s *sessions) AddSession(_ context.Context, hash []byte, v identity.Session) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.m[string(hash)] = v
	return nil
}

func (s *sessions) FindSession(_ context.Context, hash []byte, _ time.Time) (identity.Session, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.m[string(hash)]
	return v, ok, nil
}

func (s *sessions) EndSession(_ context.Context, hash []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.m, string(hash))
	return nil
}

func (s *sessions) AddOperatorLink(_ context.Context, hash []byte, _, _ time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.links[string(hash)] = true
	return nil
}

func (s *sessions) UseOperatorLink(ctx context.Context, link, session []byte, v identity.Session) (bool, error) {
	s.mu.Lock()
	ok := s.links[string(link)]
	delete(s.links, string(link))
	s.mu.Unlock()
	if !ok {
		return false, nil
	}
	return true, s.AddSession(ctx, session, v)
}

// keyring is identity's key store in memory.
type keyring struct {
	mu     sync.Mutex
	keys   []identity.APIKey
	hashes []string
}

func (s *keyring) AddAPIKey(_ context.Context, hash []byte, k identity.APIKey, _ time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys, s.hashes = append(s.keys, k), append(s.hashes, string(hash))
	return nil
}

func (s *keyring) FindAPIKey(_ context.Context, hash []byte) (identity.APIKey, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.hashes, string(hash)); i >= 0 {
		return s.keys[i], true, nil
	}
	return identity.APIKey{}, false, nil
}

func (s *keyring) ListAPIKeys(context.Context) ([]identity.APIKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.keys), nil
}

func (s *keyring) change(k id.APIKey, do func(*identity.APIKey)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.keys, func(x identity.APIKey) bool { return x.ID == k })
	if i >= 0 {
		do(&s.keys[i])
	}
	return i >= 0
}

func (s *keyring) TouchAPIKey(_ context.Context, k id.APIKey, at time.Time) error {
	s.change(k, func(x *identity.APIKey) { x.LastUsedAt = at })
	return nil
}

func (s *keyring) RevokeAPIKey(_ context.Context, k id.APIKey, by string, at, _ time.Time) (bool, error) {
	return s.change(k, func(x *identity.APIKey) { x.RevokedAt, x.RevokedBy = at, by }), nil
}
