package subscription

import (
	"context"
	"time"

	"github.com/tailmarket/tailmarket/internal/id"
)

// ClaimState is how far a buyer's visit has come.
type ClaimState string

const (
	ClaimOpen     ClaimState = "open"          // came from the marketplace, or by an invitation
	ClaimMailed   ClaimState = "mailed"        // gave an address; a link was sent to it
	ClaimHolder   ClaimState = "holder"        // verified first: holds the purchase
	ClaimAdmitted ClaimState = "admitted"      // the holder again, or invited by the holder
	ClaimSecond   ClaimState = "second_person" // verified, but a colleague holds the purchase
)

// Claim is a buyer's visit that binds a person to a purchase.
type Claim struct {
	ID           id.Claim
	Subscription id.Subscription
	TokenHash    []byte
	OpenedAt     time.Time
	ExpiresAt    time.Time
	State        ClaimState
	InvitedBy    id.Claim
	Sends        int
	Email        string // decrypted; never logged
	EmailHash    []byte // keyed
	VerifiedAt   time.Time
	Version      int64
}

// MailLink is a link that proves an address.
type MailLink struct {
	TokenHash []byte
	Claim     id.Claim
	Email     string
	EmailHash []byte
	QueuedAt  time.Time
	ExpiresAt time.Time
}

// ClaimTx is what claims need inside a transaction.
type ClaimTx interface {
	AddClaim(ctx context.Context, c Claim) error
	// LockClaimByToken and LockClaim lock the claim; NotFound when there is none.
	LockClaimByToken(ctx context.Context, hash []byte) (Claim, error)
	LockClaim(ctx context.Context, c id.Claim) (Claim, error)
	SaveClaim(ctx context.Context, c Claim) error
	ClaimsOfSubscription(ctx context.Context, sub id.Subscription) ([]Claim, error)
	AddMailLink(ctx context.Context, l MailLink) error
	FindMailLink(ctx context.Context, hash []byte) (MailLink, error)
	// HashEmail is a keyed hash: equal addresses, equal hashes, and nobody
	// without the key can guess which.
	HashEmail(ctx context.Context, email string) ([]byte, error)
}
