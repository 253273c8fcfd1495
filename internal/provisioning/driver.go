package provisioning

import (
	"context"
	"log/slog"
	"time"

	"github.com/tailmarket/tailmarket/internal/id"
)

// Driver speaks to one control plane. It is stateless but for cached tokens, safe
// for concurrent use and never retries. Every call may be repeated. Errors carry a
// fault class: NotFound, Conflict (changed meanwhile; read again), Unsure (a write
// whose answer did not come), Unavailable, Throttled, Denied, Invalid. A *Blocked
// says that a person must act first.
type Driver interface {
	Name() string
	Capabilities() Capabilities

	// Find looks for a tailnet by the name we gave it.
	Find(ctx context.Context, displayName string) (Remote, bool, error)
	// Create makes it. The credential is answered this once; class Conflict when
	// a tailnet of that name exists.
	Create(ctx context.Context, displayName string) (Remote, Credential, error)
	// Recover makes a new credential for a tailnet whose first one was lost, and
	// revokes those it made before.
	Recover(ctx context.Context, displayName string, r Remote) (Remote, Credential, error)
	// Delete removes the tailnet at once and for good; harmless when it is gone.
	Delete(ctx context.Context, t Access) error

	Policy(ctx context.Context, t Access) (Policy, error)
	// PutPolicy replaces the policy p.Text if it is still the one of p.ETag;
	// class Conflict otherwise.
	PutPolicy(ctx context.Context, t Access, p Policy) error
	PutSettings(ctx context.Context, t Access, s Settings) error
	// Keys lists join keys that are still valid.
	Keys(ctx context.Context, t Access) ([]Key, error)
	CreateKey(ctx context.Context, t Access, k KeySpec) (Key, error)
	// RevokeKey is harmless when the key is gone.
	RevokeKey(ctx context.Context, t Access, keyID string) error

	Users(ctx context.Context, t Access) ([]User, error)
	Devices(ctx context.Context, t Access) ([]Device, error)
}

// Capabilities is what a control plane can do for us.
type Capabilities struct {
	HumanUsers     bool // people sign in; otherwise there are tagged devices only
	DeviceApproval bool // new devices can be kept out
	// Dry says that no traffic is carried: the control plane keeps books and
	// connects nobody. Pages say so.
	Dry bool
}

// Names are the capabilities a catalog may ask for, in its words.
func (c Capabilities) Names() []string {
	names := []string{}
	for _, of := range []struct {
		can  bool
		name string
	}{{c.HumanUsers, "human_users"}, {c.DeviceApproval, "device_approval"}, {!c.Dry, "traffic"}} {
		if of.can {
			names = append(names, of.name)
		}
	}
	return names
}

// Remote is a tailnet as its control plane knows it.
type Remote struct {
	ID      string
	DNSName string // empty in some lists
}

// Credential is a tailnet's own client. It is kept encrypted and never printed.
type Credential struct {
	ClientID string `json:"client_id"`
	Secret   string `json:"secret"`
}

func (c Credential) String() string       { return "credential " + c.ClientID }
func (c Credential) GoString() string     { return c.String() }
func (c Credential) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Access is what a driver needs to work in a tailnet.
type Access struct {
	Remote
	Credential Credential
}

// Policy is a policy file as it stands, and what it is compared by when written.
type Policy struct {
	Text string // JSON with comments, as written
	ETag string
	// TagOwners is that section of Text, read by the driver: tagged devices and
	// credentials refer to it, so it stays when all else is taken away.
	TagOwners map[string][]string
}

// Settings are the switches of a tailnet that we set.
type Settings struct {
	ApproveDevices bool // new devices wait for approval
	ApproveUsers   bool
}

// KeySpec describes a join key.
type KeySpec struct {
	Description string // at most 50 letters, digits, hyphens and spaces
	Reusable    bool
	Ephemeral   bool
	Tags        []string
	Expiry      time.Duration
}

// Key is a join key; Secret is there in the answer to CreateKey only.
type Key struct {
	ID          string
	Description string
	Secret      string
	Expires     time.Time
}

func (k Key) String() string       { return "key " + k.ID }
func (k Key) GoString() string     { return k.String() }
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// User is a person in a tailnet.
type User struct {
	ID        string
	Created   time.Time
	LastSeen  time.Time
	Connected bool
	Active    bool // a member who may connect: not suspended, not waiting for approval
}

// Device is a node of a tailnet.
type Device struct {
	ID        string
	Created   time.Time
	Tags      []string
	Ephemeral bool
	External  bool // shared in from another tailnet: never metered here
	Waiting   bool // for approval: it reaches nobody yet
	Connected bool
}

// Blocked says that nothing goes on until a person has acted. Run keeps it where
// buyers and operators see it, and asks again later.
type Blocked struct {
	For   string // what is waited for; may be shown
	Who   string // who must act; may be shown
	Quota bool   // the control plane makes no more tailnets for us
	Err   error
}

func (b *Blocked) Error() string {
	if b.Err == nil {
		return b.For
	}
	return b.For + ": " + b.Err.Error()
}

func (b *Blocked) Unwrap() error { return b.Err }

// Subscriptions tells what is wanted of a purchase's tailnet. internal/app passes
// an implementation over the subscription room.
type Subscriptions interface {
	Wanted(ctx context.Context, sub id.Subscription) (Wanted, error)
}

// Wanted is what a purchase wants of its tailnet at this moment.
type Wanted struct {
	Do        Do
	Name      string          // what the buyer calls it
	TailnetOf id.Subscription // the purchase whose tailnet it uses: its own, or a predecessor's
}

// Do is what is to be made true. The words are subscription.Access's.
type Do string

const (
	DoNothing Do = "none"      // do not make one (yet)
	DoFull    Do = "full"      // make it, configure it, keep it usable
	DoSuspend Do = "suspended" // keep it, nobody may use it
	DoKeep    Do = "keep"      // leave it exactly as it is
	DoRevoke  Do = "revoked"   // take it away
)
