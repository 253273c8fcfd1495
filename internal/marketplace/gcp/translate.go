package gcp

import (
	"cmp"
	"strings"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// kinds says what each event type is to us. "Manage customer entitlements for your
// SaaS product" and "Manage user accounts for your SaaS product", 2026: fifteen, and one
// that is no longer sent. A suspension is a state, and no event of it is listed.
var kinds = map[string]marketplace.EventKind{
	"ACCOUNT_ACTIVE":             marketplace.AccountChanged, // at once, before anybody signed up: nothing is approved by it
	"ACCOUNT_CREATION_REQUESTED": marketplace.AccountChanged,
	"ACCOUNT_DELETED":            marketplace.AccountDeleted,

	"ENTITLEMENT_CREATION_REQUESTED": marketplace.PurchaseSeen,
	"ENTITLEMENT_OFFER_ACCEPTED":     marketplace.OfferChanged, // before it counts; with automatic approval the first message of a purchase
	"ENTITLEMENT_ACTIVE":             marketplace.Entitled,

	"ENTITLEMENT_PLAN_CHANGE_REQUESTED": marketplace.ChangeRequested,
	"ENTITLEMENT_PLAN_CHANGED":          marketplace.Changed,
	"ENTITLEMENT_PLAN_CHANGE_CANCELLED": marketplace.ChangeWithdrawn,
	"ENTITLEMENT_RENEWED":               marketplace.Renewed,
	"ENTITLEMENT_OFFER_ENDED":           marketplace.OfferChanged, // goes on at list price, or ends with a message of its own

	"ENTITLEMENT_PENDING_CANCELLATION":  marketplace.Changed, // an end is scheduled, and the message does not say for when: the reader does
	"ENTITLEMENT_CANCELLATION_REVERTED": marketplace.EndReverted,
	"ENTITLEMENT_CANCELLING":            marketplace.Ending,
	"ENTITLEMENT_CANCELLED":             marketplace.Ended,
	"ENTITLEMENT_DELETED":               marketplace.Ended, // Google forgets it, some 60 days after its end
}

// Translate reads what a message says. Its hints are not read, but for which change is
// asked for: which plan and offer count, and when a scheduled end comes, the reader
// tells. At is the entity's update time; but an entity need not have changed yet while
// it is being cancelled, and what a removed account's time says is not written: then At is when
// the message was sent. Pure: it depends on the delivery and the settings alone.
func (a *Adapter) Translate(v marketplace.Verified) ([]marketplace.Event, error) {
	n, err := a.open(v.Delivery)
	if err != nil {
		return nil, err
	}
	kind, known := kinds[n.EventType]
	if !known {
		return nil, fault.New(fault.Unreadable, "Google sent %.80q, which we do not know; the operator must look, and replay it after an update", n.EventType)
	}
	subject, word, _ := strings.Cut(n.EventType, "_")
	if (subject == "ACCOUNT") != (n.Account != nil) {
		return nil, fault.New(fault.Unreadable, "Google sent %q about something else; the operator must look, and replay it after an update", n.EventType)
	}
	at := n.at
	if (kind == marketplace.Ending || kind == marketplace.AccountDeleted) && v.SentAt.After(at) {
		at = v.SentAt.UTC()
	}
	ev := marketplace.Event{Kind: kind, At: at, Version: at, MessageID: n.id(), Reason: word}
	if n.Account != nil {
		ev.Ref.Account = n.Account.ID
		return []marketplace.Event{ev}, nil
	}
	e := n.Entitlement
	ev.Ref.Purchase = e.ID
	if kind == marketplace.ChangeRequested && e.NewPendingPlan+e.NewPendingOffer != "" {
		ev.Terms = &marketplace.Terms{Plan: cmp.Or(e.NewPendingPlan, e.Plan), Offer: e.NewPendingOffer, Private: private(e.NewPendingOffer)}
	}
	return []marketplace.Event{ev}, nil
}
