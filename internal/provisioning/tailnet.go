package provisioning

import (
	"context"
	"strings"
	"time"

	"github.com/tailmarket/tailmarket/internal/id"
)

// State is where a tailnet is in its life.
type State string

const (
	StateRequested     State = "requested"
	StateCreating      State = "creating"
	StateAwaitingQuota State = "awaiting_quota" // the control plane makes no more for us
	StateConfiguring   State = "configuring"
	StateActive        State = "active"
	StateSuspending    State = "suspending"
	StateSuspended     State = "suspended"
	StateRevoking      State = "revoking"
	StateRevoked       State = "revoked" // nobody may use it; kept until retention ends
	StateDeleting      State = "deleting"
	StateDeleted       State = "deleted"
	StateFailed        State = "failed"
)

// Step is the next thing to do.
type Step string

const (
	StepNone     Step = ""
	StepCreate   Step = "create"   // make the tailnet, keep its credential
	StepPolicy   Step = "policy"   // write who may reach what
	StepSettings Step = "settings" // open or shut the door for new devices
	StepKey      Step = "key"      // make the join key the buyer is shown
	StepDoor     Step = "door"     // shut the door for new devices
	StepKeys     Step = "keys"     // revoke every join key
	StepCut      Step = "cut"      // write the policy that denies all
)

// Tailnet is the private network of a purchase. Its secrets are not in it.
type Tailnet struct {
	ID           id.Tailnet
	Subscription id.Subscription // it was made for
	Holder       id.Subscription // uses it now: the same, or a successor
	Driver       string
	DisplayName  string // at the control plane
	Name         string // the buyer's
	State        State
	Step         Step
	StepSince    time.Time
	WaitingFor   string
	WhoActs      string
	Remote       Remote
	SavedPolicy  string // in force before a suspension
	KeyNumber    int64  // which join key is wanted, counted from 1
	KeyID        string // the control plane's
	HasSecret    bool   // its credential is kept
	HasKey       bool   // a join key waits to be revealed
	RevealedAt   time.Time
	RevealedBy   string
	RequestedAt  time.Time
	ReadyAt      time.Time
	SuspendedAt  time.Time
	RevokedAt    time.Time
}

// DisplayName is a tailnet's name at the control plane: our id in the letters
// Tailscale takes (docs "Tailnets API", 2026-08-25: letters, digits, space,
// apostrophe, hyphen).
func DisplayName(t id.Tailnet) string { return strings.ReplaceAll(string(t), "_", "-") }

// Use says since when a purchase uses a tailnet: what happened before is not its usage.
type Use struct {
	Tailnet id.Tailnet
	Since   time.Time
}

// Tx is what this room asks of a transaction.
type Tx interface {
	Mark(ctx context.Context, kind, subject string, at time.Time) error

	// EnsureTailnet inserts t unless t.Subscription has one, and returns the one
	// that is stored, locked until the transaction ends.
	EnsureTailnet(ctx context.Context, t Tailnet) (Tailnet, error)
	// LockTailnet reads one and locks it; class NotFound when there is none.
	LockTailnet(ctx context.Context, t id.Tailnet) (Tailnet, error)
	SaveTailnet(ctx context.Context, t Tailnet) error
	// EnsureTailnetUse keeps the first use of a purchase and returns it.
	EnsureTailnetUse(ctx context.Context, sub id.Subscription, u Use) (got Use, made bool, err error)

	// KeepTailnetCredential and KeepJoinKey keep a secret, encrypted.
	KeepTailnetCredential(ctx context.Context, t id.Tailnet, c Credential) error
	KeepJoinKey(ctx context.Context, t id.Tailnet, key string) error
	// TakeJoinKey reads the key and destroys it; false when there is none.
	TakeJoinKey(ctx context.Context, t id.Tailnet) (key string, ok bool, err error)
}

// Store is what this room asks of the database.
type Store interface {
	ProvisioningTx(ctx context.Context, fn func(context.Context, Tx) error) error
	// TailnetMadeFor returns the tailnet made for a purchase.
	TailnetMadeFor(ctx context.Context, sub id.Subscription) (Tailnet, bool, error)
	// TailnetUsedBy returns the tailnet a purchase uses, and since when.
	TailnetUsedBy(ctx context.Context, sub id.Subscription) (Tailnet, Use, bool, error)
	TailnetCredential(ctx context.Context, t id.Tailnet) (Credential, error)
}
