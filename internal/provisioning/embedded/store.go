package embedded

import (
	"context"
	"time"
)

// Tailnet is one tailnet of the organisation.
type Tailnet struct {
	ID          string
	DisplayName string
	DNSName     string
	CreatedAt   time.Time
	Policy      string // as written
	Settings    string // JSON
	Parent      bool   // the organisation's own; it is never listed or deleted
}

// KeyKind is what a key is for.
type KeyKind string

const (
	KeyAuth   KeyKind = "auth"
	KeyClient KeyKind = "client"
)

// Key is a join key or an OAuth client; only a hash of its secret is kept.
type Key struct {
	ID            string
	Tailnet       string
	Kind          KeyKind
	SecretHash    []byte
	Description   string
	Scopes        []string
	Tags          []string
	Reusable      bool
	Ephemeral     bool
	Preauthorized bool
	CreatedAt     time.Time
	ExpiresAt     time.Time // auth keys only
	RevokedAt     time.Time
	UsedAt        time.Time
}

// Token is what a client got for its secret.
type Token struct {
	Hash    []byte
	Client  string
	Tailnet string
	Scopes  []string
	Expires time.Time // wall time
}

// User is a person in a tailnet.
type User struct {
	Tailnet   string
	ID        string
	LoginName string
	CreatedAt time.Time
	LeftAt    time.Time
}

// Node is a device of a tailnet.
type Node struct {
	ID         string
	Tailnet    string
	Hostname   string
	LoginName  string
	Tags       []string
	Ephemeral  bool
	External   bool
	Authorized bool
	CreatedAt  time.Time
	LeftAt     time.Time
}

// Tx is what the control plane asks of a transaction. Missing things are answered
// with false, not with an error.
type Tx interface {
	AddTailnet(ctx context.Context, t Tailnet) (added bool, err error)
	// SetPolicy and SetSettings write if the old text still stands.
	SetPolicy(ctx context.Context, tailnet, old, text string) (bool, error)
	SetSettings(ctx context.Context, tailnet, old, text string) (bool, error)
	DeleteTailnet(ctx context.Context, tailnet string) (bool, error)

	AddKey(ctx context.Context, k Key) error
	RevokeKey(ctx context.Context, tailnet, id string, at time.Time) (bool, error)
	// UseKey marks a join key as used; false when it may not be used at that instant.
	UseKey(ctx context.Context, id string, at time.Time) (bool, error)
	AddToken(ctx context.Context, t Token) error
	SweepTokens(ctx context.Context, before time.Time) error
	// KeepParent keeps the organisation's client, its secret encrypted, unless one
	// is kept already.
	KeepParent(ctx context.Context, client, secret string) (kept bool, err error)

	// AddUser and AddNode keep the first of an id and answer it.
	AddUser(ctx context.Context, u User) (User, error)
	AddNode(ctx context.Context, n Node) (Node, error)
	EndUser(ctx context.Context, tailnet, id string, at time.Time) (bool, error)
	EndNode(ctx context.Context, tailnet, id string, at time.Time) (bool, error)
	AuthorizeNode(ctx context.Context, tailnet, id string, authorized bool) (bool, error)
}

// Store is where tailnets are kept.
type Store interface {
	EmbeddedTx(ctx context.Context, fn func(context.Context, Tx) error) error
	// FindTailnet looks by id, DNS name or display name.
	FindTailnet(ctx context.Context, ref string) (Tailnet, bool, error)
	// ListTailnets lists those after an id, and counts all but the parent.
	ListTailnets(ctx context.Context, after string, limit int) (page []Tailnet, total int, err error)
	FindKey(ctx context.Context, id string) (Key, bool, error)
	FindKeyBySecret(ctx context.Context, hash []byte) (Key, bool, error)
	ListKeys(ctx context.Context, tailnet string) ([]Key, error)
	// FindToken finds one that is valid at wall and whose client is not revoked.
	FindToken(ctx context.Context, hash []byte, wall time.Time) (Token, bool, error)
	Parent(ctx context.Context) (client, secret string, ok bool, err error)
	FindUser(ctx context.Context, tailnet, id string) (User, bool, error)
	FindNode(ctx context.Context, id string) (Node, bool, error)
	// ListUsers and ListNodes list who is there at an instant.
	ListUsers(ctx context.Context, tailnet string, at time.Time) ([]User, error)
	ListNodes(ctx context.Context, tailnet string, at time.Time) ([]Node, error)
}
