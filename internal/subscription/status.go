package subscription

import (
	"context"
	"fmt"
	"time"

	"github.com/tailmarket/tailmarket/internal/id"
)

// Party is who must act next.
type Party string

const (
	Buyer  Party = "buyer"
	Market Party = "marketplace"
	Us     Party = "us"
	Nobody Party = "nobody"
)

// Status is what a buyer's page says about a purchase.
type Status struct {
	Subscription Subscription
	State        State
	Reason       string // why, when something is held back
	Waiting      string // what is being waited for
	Act          Party  // who must act
	Usually      string // how long it usually takes
	MayLeave     bool   // the page may be closed; nothing needs it
	EndsAt       time.Time
}

// Status tells a purchase's state in words.
func (s *Service) Status(ctx context.Context, sub id.Subscription) (Status, error) {
	got, err := s.Get(ctx, sub)
	if err != nil {
		return Status{}, fmt.Errorf("status: %w", err)
	}
	return StatusOf(got, s.now()), nil
}

// StatusOf is Status without the store.
func StatusOf(sub Subscription, now time.Time) Status {
	f := sub.Facts
	st := Status{Subscription: sub, State: StateOf(f, now), Act: Nobody, MayLeave: true, EndsAt: f.EndsAt()}
	switch st.State {
	case StatePending:
		st.Waiting, st.Act, st.Usually = "the marketplace to confirm the purchase, and somebody to confirm their e-mail address", Buyer, "a minute once the address is confirmed"
		st.MayLeave = false
	case StateAwaitingBuyer:
		st.Waiting, st.Act, st.Usually = "somebody to confirm their e-mail address", Buyer, "a minute"
		st.MayLeave = false
	case StateAwaitingMarketplace:
		st.Waiting, st.Act, st.Usually = "the marketplace to confirm the purchase", Market, "one to five minutes; up to an hour when the marketplace is slow"
		if f.StartsAt.After(now) {
			st.Waiting, st.Usually = "the agreed start of the purchase", "until "+f.StartsAt.Format("2 January 2006 15:04 MST")
		}
		if f.Seen.Awaits != "" && f.LiveFrom.IsZero() { // it waits for us, and we only watch
			st.Reason, st.Act, st.Usually = "this product is not open yet; your purchase is safe and is approved when it opens", Us, "the seller opens it; ask them when"
		}
	case StateProvisioning:
		st.Waiting, st.Act, st.Usually = "your network to be set up", Us, "under a minute"
		switch {
		case !f.ReadyAt.IsZero(): // made, and not billed yet
			st.Waiting, st.Act, st.Usually = "the marketplace to start your subscription", Market, "a few minutes"
		case f.Blocked.Reason != "":
			st.Reason, st.Waiting, st.Usually = f.Blocked.Reason, "a person on our side to look at it", "one working day"
		case f.LiveFrom.IsZero():
			st.Reason, st.Usually = "this product is not open yet; your purchase is safe and is set up when it opens", "the seller opens it; ask them when"
		case f.LiveFrom.After(now):
			st.Reason, st.Usually = "this product opens at a set hour", "until "+f.LiveFrom.Format("2 January 2006 15:04 MST")
		}
	case StateActive:
		st.Usually = ""
		if f.Blocked.Reason != "" {
			st.Reason, st.Act = f.Blocked.Reason, Us
		}
	case StateSuspended:
		st.Waiting, st.Act, st.Usually = "the marketplace to lift the suspension; usually a payment is open", Market, "minutes after the payment went through"
	case StateEnding:
		st.Waiting, st.Act, st.Usually = "the last usage to be sent to the marketplace", Us, "one to two hours"
		st.Reason = f.EndReason()
		if f.Replaced.By != "" {
			st.Reason = "continued by a renewed purchase; the network stays"
		}
	case StateEnded:
		st.Reason = f.EndReason()
	case StateRejected:
		st.Reason, st.Waiting, st.Act = "the marketplace refused the purchase, usually because a payment failed", "a new attempt in the marketplace", Buyer
	}
	return st
}
