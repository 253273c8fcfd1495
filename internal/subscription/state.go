package subscription

import (
	"time"

	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// State is what a purchase is at an instant.
type State string

const (
	StatePending             State = "pending"              // neither claimed nor entitled
	StateAwaitingBuyer       State = "awaiting_buyer"       // entitled, nobody came
	StateAwaitingMarketplace State = "awaiting_marketplace" // claimed, not entitled or not started
	StateProvisioning        State = "provisioning"         // all is there but the network, or the marketplace's word that its bill began
	StateActive              State = "active"
	StateSuspended           State = "suspended"
	StateEnding              State = "ending" // ended by the marketplace; last usage is sent
	StateEnded               State = "ended"  // access revoked, nothing queued
	StateRejected            State = "rejected"
)

// States lists every state once.
var States = []State{
	StatePending, StateAwaitingBuyer, StateAwaitingMarketplace, StateProvisioning, StateActive, StateSuspended,
	StateEnding, StateEnded, StateRejected,
}

// StateOf computes the state. The first line that holds decides; the full
// product is checked cell by cell against this order in a test.
func StateOf(f Facts, now time.Time) State {
	end := f.EndsAt()
	switch {
	case !f.ClosedAt.IsZero():
		return StateEnded
	case !end.IsZero() && !end.After(now):
		return StateEnding
	case !f.RevokedAt.IsZero():
		return StateEnding // whatever was granted later: what was revoked does not come back
	case !f.Denied.IsZero() && !f.Denied.Before(f.Granted):
		return StateRejected
	case f.Granted.IsZero() && !reserved(f):
		if f.ClaimedAt.IsZero() {
			return StatePending
		}
		return StateAwaitingMarketplace
	case f.ReadyAt.IsZero() && !wanted(f):
		return StateAwaitingBuyer
	case f.StartsAt.After(now):
		return StateAwaitingMarketplace
	case f.Pause.On:
		return StateSuspended
	case f.ReadyAt.IsZero():
		return StateProvisioning
	case rulesOf(f.Marketplace).NeedsConfirmation && (f.ConfirmedAt.IsZero() || f.Granted.IsZero()):
		return StateProvisioning
	}
	return StateActive
}

// reserved: bought, and entitled only once we say that it is ready.
func reserved(f Facts) bool {
	return f.Granted.IsZero() && f.Seen.Awaits == marketplace.Activate && rulesOf(f.Marketplace).NeedsConfirmation
}

// wanted: there is somebody to make a network for.
func wanted(f Facts) bool {
	return !f.ClaimedAt.IsZero() || !f.Granted.IsZero() && rulesOf(f.Marketplace).ProvisionUnclaimed
}

// Access is what the network of a purchase should be.
type Access string

const (
	AccessNone      Access = "none"      // do not make one (yet)
	AccessFull      Access = "full"      // make it, configure it, keep it usable
	AccessSuspended Access = "suspended" // keep it, nobody may use it
	AccessKeep      Access = "keep"      // leave it exactly as it is: ending, or in other hands
	AccessRevoked   Access = "revoked"   // take it away
)

// successorGrace is how long an ended purchase that was said to go on under
// another agreement keeps its network while the successor is not known yet.
// Renewals with a new licence tell of both within minutes; a lost event is found
// by the daily full sweep.
const successorGrace = 36 * time.Hour

// AccessOf says what provisioning must make true. Revoked comes only when the
// end has passed; the close worker asks for it after the last usage was collected.
// Keep after the end means that a successor has the network or will have it.
func AccessOf(f Facts, now time.Time) Access {
	switch StateOf(f, now) {
	case StateActive:
		return AccessFull
	case StateProvisioning:
		if f.LiveFrom.IsZero() || f.LiveFrom.After(now) {
			return AccessNone
		}
		if f.Blocked.Reason != "" && f.ReadyAt.IsZero() {
			return AccessNone
		}
		return AccessFull
	case StateSuspended:
		return AccessSuspended
	case StateEnding, StateEnded:
		if f.Replaced.By != "" || AwaitsSuccessor(f, now) {
			return AccessKeep
		}
		return AccessRevoked
	case StateAwaitingBuyer, StateAwaitingMarketplace, StatePending, StateRejected:
	}
	return AccessNone
}

// AwaitsSuccessor reports that an ended purchase goes on under an agreement we
// have not linked yet: not to be revoked now, ask again.
func AwaitsSuccessor(f Facts, now time.Time) bool {
	return !f.Renewed.IsZero() && f.Replaced.By == "" && f.ClosedAt.IsZero() && !f.Renewed.Before(f.Granted) && now.Before(f.EndsAt().Add(successorGrace))
}
