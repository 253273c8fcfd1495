package fleet

import (
	"context"
	"encoding/hex"
	"time"
)

// SessionLife is how long a session is believed without asking the store, and so
// how long one that was ended elsewhere may go on when Redis was lost just then.
const SessionLife = 30 * time.Second

// Sessions remembers for a short while what the store said of a session. The
// truth stays in the store: only sessions that live are remembered, never that
// there is none. Safe for concurrent use.
type Sessions struct {
	cache Cache
	wall  func() time.Time
}

// NewSessions remembers sessions in c.
func NewSessions(c Cache, wall func() time.Time) *Sessions { return &Sessions{cache: c, wall: wall} }

const (
	sessionLives = 'l'
	sessionEnded = 'e'
)

// Find returns what load said of the session with this token hash, at most
// SessionLife ago and not after until. load answers nil for no session; its
// error is returned as it is.
func (s *Sessions) Find(ctx context.Context, hash []byte, load func(context.Context) (value []byte, until time.Time, err error)) ([]byte, error) {
	key := sessionKey(hash)
	if got, ok := s.cache.Get(ctx, key); ok && len(got) > 0 {
		if got[0] == sessionEnded {
			return nil, nil
		}
		return got[1:], nil
	}
	value, until, err := load(ctx)
	if err != nil || value == nil {
		return nil, err
	}
	// Add and not Put: a session that ended while it was loaded stays ended.
	s.cache.Add(ctx, key, append([]byte{sessionLives}, value...), min(SessionLife, until.Sub(s.wall())))
	return value, nil
}

// End forgets a session on every replica. Call it after the store has ended it;
// harmless to repeat.
func (s *Sessions) End(ctx context.Context, hash []byte) {
	s.cache.Put(ctx, sessionKey(hash), []byte{sessionEnded}, SessionLife)
}

func sessionKey(hash []byte) string { return "session:" + hex.EncodeToString(hash) }
