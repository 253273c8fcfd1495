package subscription

import (
	"slices"

	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// Rules say how the words of one marketplace bear on a purchase; a new
// marketplace is a row here and an adapter, not a branch elsewhere.
type Rules struct {
	// EntitledBy are the events that entitle besides Entitled itself.
	EntitledBy []marketplace.EventKind
	// EndsBy are the events that begin the end.
	EndsBy []marketplace.EventKind
	// NeverEnds are the vendor's reasons under which an end is a continuation.
	NeverEnds []string
	// NeedsConfirmation: a purchase that was claimed is served before it is entitled,
	// and active only after the marketplace took our activation, which starts its bill.
	NeedsConfirmation bool
	// ProvisionUnclaimed: what is entitled gets its network before a person came.
	ProvisionUnclaimed bool
	// AccountFirst: a buyer's account is approved before its purchases; messages may
	// be about the account alone, and whoever holds one of its purchases holds all.
	AccountFirst bool
	// RenewsInPlace: a renewal is the same purchase; no successor is waited for.
	RenewsInPlace bool
	// ShowsChanges: an observation tells of a change that waits, so one that tells of
	// none has taken it back.
	ShowsChanges bool
	// AnswersChanges: a change is agreed to or refused in the answer to its message.
	AnswersChanges bool
	// PlansReturn: statements of terms are dated by the change itself, so that terms
	// which were in force before can be so again.
	PlansReturn bool
}

// rules by marketplace. AWS: concurrent-agreements mode (Seller Guide "Amazon
// EventBridge events", 2026). Google: "Manage customer entitlements for your SaaS
// product", "Manage user accounts for your SaaS product", 2026. Azure: "Managing the
// SaaS subscription life cycle", 2025; "Implementing a webhook on the SaaS service",
// 2026; plans with automatic activation as announced 2026-05-18.
var rules = map[marketplace.ID]Rules{
	marketplace.AWS: {
		EndsBy:    []marketplace.EventKind{marketplace.Ending, marketplace.Ended},
		NeverEnds: []string{"RENEWED", "REPLACED"},
	},
	marketplace.GCP: {
		EndsBy:       []marketplace.EventKind{marketplace.Ending, marketplace.Ended, marketplace.AccountDeleted},
		NeverEnds:    []string{"migrated"}, // its resources go on under another entitlement
		AccountFirst: true, RenewsInPlace: true, ShowsChanges: true, PlansReturn: true,
	},
	marketplace.Azure: {
		EndsBy:            []marketplace.EventKind{marketplace.Ending, marketplace.Ended},
		NeedsConfirmation: true, ProvisionUnclaimed: true, RenewsInPlace: true, AnswersChanges: true, PlansReturn: true,
	},
}

func rulesOf(id marketplace.ID) Rules { return rules[id] }

// meaning is the kind an event counts as under these rules.
func (r Rules) meaning(e marketplace.Event) marketplace.EventKind {
	switch {
	case slices.Contains(r.EntitledBy, e.Kind):
		return marketplace.Entitled
	case e.Kind == marketplace.Renewed && r.RenewsInPlace:
		return marketplace.Noted
	case e.Kind == marketplace.Ending, e.Kind == marketplace.Ended, e.Kind == marketplace.AccountDeleted:
		if slices.Contains(r.NeverEnds, e.Reason) {
			return marketplace.Renewed
		}
		if !slices.Contains(r.EndsBy, e.Kind) {
			return marketplace.Noted
		}
	}
	return e.Kind
}
