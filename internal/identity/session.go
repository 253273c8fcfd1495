package identity

import (
	"context"
	"fmt"
	"time"

	"github.com/tailmarket/tailmarket/internal/fault"
)

// Kind is what a session opens.
type Kind string

const (
	BuyerSession    Kind = "buyer"    // the pages of one purchase
	OperatorSession Kind = "operator" // the operator's pages
)

const (
	// BuyerLife is long enough to come back to the purchase page the next month
	// without another mail; it opens one purchase only.
	BuyerLife    = 30 * 24 * time.Hour
	OperatorLife = 12 * time.Hour
	LinkLife     = 24 * time.Hour
)

// Session is somebody signed in.
type Session struct {
	Kind      Kind
	Actor     string
	Subject   string // a buyer's subscription
	CreatedAt time.Time
	ExpiresAt time.Time
}

// Store keeps hashes of tokens, never tokens. All times are wall time.
type Store interface {
	AddSession(ctx context.Context, hash []byte, s Session) error
	// FindSession answers false when there is none or it has expired at wall.
	FindSession(ctx context.Context, hash []byte, wall time.Time) (Session, bool, error)
	EndSession(ctx context.Context, hash []byte) error
	AddOperatorLink(ctx context.Context, hash []byte, from, until time.Time) error
	// UseOperatorLink spends a link and adds the session in one transaction;
	// false: unknown, expired or spent, and nothing was added.
	UseOperatorLink(ctx context.Context, link []byte, session []byte, s Session) (bool, error)
}

// Service keeps sessions and one-time links. Safe for concurrent use.
type Service struct {
	store Store
	wall  func() time.Time
}

// New makes the service; wall is the process's clock.
func New(store Store, wall func() time.Time) *Service { return &Service{store: store, wall: wall} }

// StartBuyer starts a session for one purchase, after its mail link was
// confirmed. The token is returned once.
func (s *Service) StartBuyer(ctx context.Context, actor, subscription string) (token string, out Session, err error) {
	now := s.wall().UTC()
	token = newToken()
	out = Session{Kind: BuyerSession, Actor: actor, Subject: subscription, CreatedAt: now, ExpiresAt: now.Add(BuyerLife)}
	if err := s.store.AddSession(ctx, hashToken(token), out); err != nil {
		return "", Session{}, fmt.Errorf("start a buyer's session: %w", err)
	}
	return token, out, nil
}

// Find returns the living session of a token and kind.
func (s *Service) Find(ctx context.Context, kind Kind, token string) (Session, bool, error) {
	if len(token) == 0 || len(token) > 100 {
		return Session{}, false, nil
	}
	got, ok, err := s.store.FindSession(ctx, hashToken(token), s.wall())
	if err != nil {
		return Session{}, false, fmt.Errorf("find a session: %w", err)
	}
	if !ok || got.Kind != kind {
		return Session{}, false, nil
	}
	return got, true, nil
}

// End signs a session out; harmless to repeat.
func (s *Service) End(ctx context.Context, token string) error {
	if err := s.store.EndSession(ctx, hashToken(token)); err != nil {
		return fmt.Errorf("end a session: %w", err)
	}
	return nil
}

// OperatorLink makes a one-time link and returns its path. Whoever can read the
// server's output or run its commands is the operator.
func (s *Service) OperatorLink(ctx context.Context) (path string, err error) {
	token, now := newToken(), s.wall().UTC()
	if err := s.store.AddOperatorLink(ctx, hashToken(token), now, now.Add(LinkLife)); err != nil {
		return "", fmt.Errorf("make an operator link: %w", err)
	}
	return "/operator/enter/" + token, nil
}

// Enter spends a one-time link and starts an operator's session. Gone: unknown,
// expired or used before.
func (s *Service) Enter(ctx context.Context, link string) (token string, out Session, err error) {
	now := s.wall().UTC()
	token = newToken()
	out = Session{Kind: OperatorSession, Actor: "operator", CreatedAt: now, ExpiresAt: now.Add(OperatorLife)}
	ok, err := s.store.UseOperatorLink(ctx, hashToken(link), hashToken(token), out)
	if err != nil {
		return "", Session{}, fmt.Errorf("enter by an operator link: %w", err)
	}
	if !ok {
		return "", Session{}, fault.New(fault.Gone, "This sign-in link does not work any more: each works once, for a day. Restart the server, or run “api operator-link”, to print a new one.")
	}
	return token, out, nil
}
