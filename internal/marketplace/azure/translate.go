package azure

import (
	"strings"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// seat is the contracted quantity of a plan that is priced per user.
const seat = "seat"

// told are the events of what needs no answer ("Implementing a webhook on the
// SaaS service", 2026). A renewal is the same purchase with a later term and not,
// as Renewed says, one that goes on under another agreement.
var told = map[string]marketplace.EventKind{
	actionSubscribe:   marketplace.Entitled,
	actionRenew:       marketplace.Changed,
	actionSuspend:     marketplace.Suspended,
	actionReinstate:   marketplace.Resumed,
	actionUnsubscribe: marketplace.Ending,
}

// Translate reads a webhook as far as Verify confirmed it: the action, and of a
// change the new plan or quantity. Customer, payer, term and state come from the
// refresh that follows. Pure: it depends on the delivery, its kind and the
// settings alone. What is not confirmed is Changed without terms: something may
// have happened, the marketplace is asked.
func (a *Adapter) Translate(v marketplace.Verified) ([]marketplace.Event, error) {
	n, err := a.open(v.Delivery.Body)
	if err != nil {
		return nil, err
	}
	ev := marketplace.Event{Ref: marketplace.Ref{Purchase: n.SubscriptionID.lower()}, At: n.TimeStamp.Time, MessageID: v.ID, Reason: n.action()}
	ev.Ref.Product, _ = a.c.product(string(n.OfferID))
	if ev.At.IsZero() {
		ev.At = v.SentAt.UTC()
	}
	if ev.At.IsZero() { // it was quarantined before it was read
		ev.At = v.Delivery.ReceivedAt.UTC()
	}
	ev.Version = ev.At
	kind, isTold := told[n.action()]
	if !isTold && !n.changes() {
		return nil, fault.New(fault.Unreadable, "Microsoft sent %.80q, which we do not know; the operator must look at the subscription in Partner Center, and replay it after an update", n.action())
	}
	_, became, _ := strings.Cut(v.Kind, ", ")
	if v.Kind == "" {
		became = notConfirmed // it was quarantined before anybody asked
	}
	ev.Kind = marketplace.Changed
	switch w := word(became); {
	case isTold && w == "":
		ev.Kind = kind
	case isTold || n.silent() || n.undoes():
		// Nothing is believed, nothing is said (a form of six fields was seen), or nothing
		// becomes new: a change that is undone comes as one to what there is, and must be
		// accepted, which silence does.
	case w == "":
		ev.Kind, ev.Terms = marketplace.ChangeRequested, n.terms()
	case w.is(opSucceeded):
		ev.Terms = n.terms()
	case w.is(opFailed):
		ev.Kind, ev.Terms = marketplace.ChangeWithdrawn, n.terms()
	}
	return []marketplace.Event{ev}, nil
}

// silent: the new value is not in the body.
func (n operation) silent() bool {
	return n.action() == actionChangePlan && n.PlanID == "" || n.action() == actionChangeQuantity && n.Quantity == ""
}

// undoes: the new value is the old one.
func (n operation) undoes() bool {
	old := n.Subscription
	if n.action() == actionChangePlan {
		return old != nil && old.PlanID == n.PlanID
	}
	return old != nil && old.Quantity == n.Quantity
}

// terms are the new ones: in a change the upper level has the new value, the
// subscription inside the old one. A plan that is not per user has quantity 1
// there and none inside.
func (n operation) terms() *marketplace.Terms {
	t := &marketplace.Terms{Plan: string(n.PlanID), Offer: string(n.OfferID)}
	perUser := n.action() == actionChangeQuantity || n.Subscription != nil && n.Subscription.Quantity != ""
	if seats, ok := n.Quantity.seats(); ok && perUser {
		t.Quantities = map[string]int64{seat: seats}
	}
	return t
}

func lacks(field string) error {
	return fault.New(fault.Unreadable, "the webhook has no %s; the operator must look, and replay it after an update", field)
}

func unsold(offer word) error {
	return fault.New(fault.Unreadable, "offer %.80q is not in the listings; the seller must add it to the catalog, then replay", offer)
}
