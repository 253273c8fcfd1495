package identity

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
)

const (
	apiKeyPrefix = "tmus_" // so that a leaked key can be recognised

	maxKeyName    = 100
	maxSource     = 512
	maxKeySources = 50
	touchEvery    = time.Minute // wall time

	// ours begins the sources of our own collectors. Whoever could name one could
	// take an event's identity before the collector does, and its units would be lost.
	ours = "provisioning/"
)

// APIKey lets a producer send usage of its own sources, and nothing else.
type APIKey struct {
	ID         id.APIKey
	Name       string
	Sources    []string // each a source, or the beginning of sources and a *
	CreatedAt  time.Time
	CreatedBy  string
	LastUsedAt time.Time // to the minute; zero: never
	RevokedAt  time.Time // zero while it works
	RevokedBy  string
}

// May reports whether the key may send usage of a source.
func (k APIKey) May(source string) bool {
	if strings.HasPrefix(source, ours) {
		return false
	}
	return slices.ContainsFunc(k.Sources, func(s string) bool {
		if begin, ok := strings.CutSuffix(s, "*"); ok {
			return strings.HasPrefix(source, begin)
		}
		return s == source
	})
}

// KeyStore keeps keys by the hash of their token, and writes the audit trail in
// the same transaction. Times are wall time, but now, which is the trail's.
type KeyStore interface {
	AddAPIKey(ctx context.Context, hash []byte, k APIKey, now time.Time) error
	FindAPIKey(ctx context.Context, hash []byte) (APIKey, bool, error)
	ListAPIKeys(ctx context.Context) ([]APIKey, error)
	TouchAPIKey(ctx context.Context, k id.APIKey, at time.Time) error
	// RevokeAPIKey answers false when there is no such key that works.
	RevokeAPIKey(ctx context.Context, k id.APIKey, by string, at, now time.Time) (bool, error)
}

// Keys are the keys of producers. Safe for concurrent use.
type Keys struct {
	store KeyStore
	wall  func() time.Time
	now   func() time.Time // business time, for the audit trail
}

// NewKeys makes the service.
func NewKeys(store KeyStore, wall, now func() time.Time) *Keys { return &Keys{store, wall, now} }

// Add makes a key. The token is returned once and kept nowhere.
func (s *Keys) Add(ctx context.Context, name string, sources []string, by string) (token string, k APIKey, err error) {
	name = strings.TrimSpace(name)
	if n := utf8.RuneCountInString(name); n == 0 || n > maxKeyName || !utf8.ValidString(name) || strings.ContainsRune(name, 0) {
		return "", k, fault.New(fault.Invalid, "The name of a key has 1 to %d characters.", maxKeyName)
	}
	if len(sources) == 0 || len(sources) > maxKeySources {
		return "", k, fault.New(fault.Invalid, "A key is for 1 to %d sources: the source of its events, or the beginning of several and a *.", maxKeySources)
	}
	for _, src := range sources {
		begin, many := strings.CutSuffix(src, "*")
		switch {
		case src == "" || len(src) > maxSource || !utf8.ValidString(src) || strings.ContainsRune(src, 0) || strings.Contains(begin, "*"):
			return "", k, fault.New(fault.Invalid, "A source has 1 to %d bytes, and a * only at its end.", maxSource)
		case strings.HasPrefix(begin, ours) || !many && strings.HasPrefix(src, ours):
			return "", k, fault.New(fault.Invalid, "Sources that begin with %s belong to the collectors of this server.", ours)
		}
	}
	token = apiKeyPrefix + newToken()
	k = APIKey{ID: id.NewAPIKey(), Name: name, Sources: slices.Clone(sources), CreatedAt: s.wall().UTC(), CreatedBy: by}
	if err := s.store.AddAPIKey(ctx, hashToken(token), k, s.now()); err != nil {
		return "", APIKey{}, fmt.Errorf("add an API key: %w", err)
	}
	return token, k, nil
}

// Check finds the working key of a token.
func (s *Keys) Check(ctx context.Context, token string) (APIKey, bool, error) {
	if !strings.HasPrefix(token, apiKeyPrefix) || len(token) > 100 {
		return APIKey{}, false, nil
	}
	k, ok, err := s.store.FindAPIKey(ctx, hashToken(token))
	if err != nil {
		return APIKey{}, false, fmt.Errorf("check an API key: %w", err)
	}
	if !ok || !k.RevokedAt.IsZero() {
		return APIKey{}, false, nil
	}
	if at := s.wall().UTC(); at.Sub(k.LastUsedAt) >= touchEvery {
		if err := s.store.TouchAPIKey(ctx, k.ID, at); err != nil {
			return APIKey{}, false, fmt.Errorf("note that an API key was used: %w", err)
		}
	}
	return k, true, nil
}

// List lists all keys, the newest last.
func (s *Keys) List(ctx context.Context) ([]APIKey, error) { return s.store.ListAPIKeys(ctx) }

// Revoke ends a key at once and for good; harmless to repeat.
func (s *Keys) Revoke(ctx context.Context, k id.APIKey, by string) error {
	ok, err := s.store.RevokeAPIKey(ctx, k, by, s.wall().UTC(), s.now())
	if err != nil {
		return fmt.Errorf("revoke an API key: %w", err)
	}
	if ok {
		return nil
	}
	all, err := s.store.ListAPIKeys(ctx)
	if err == nil && !slices.ContainsFunc(all, func(x APIKey) bool { return x.ID == k }) {
		err = fault.New(fault.NotFound, "There is no key %s.", k)
	}
	return err
}
