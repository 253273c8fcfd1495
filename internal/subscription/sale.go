package subscription

import (
	"cmp"
	"context"
	"time"

	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// Sale is what a marketplace said about how a purchase was sold. It changes no
// fact and no state: it is evidence of who brought the customer.
type Sale struct {
	Marketplace  marketplace.ID
	Subscription id.Subscription // empty: said of an offer that nobody has taken yet
	Offer        string
	Private      bool
	Reseller     string
	SaidAt       time.Time // by the vendor
	Message      string    // the vendor's id of the message; empty when we asked
	HeardAt      time.Time
}

// saleOf is what an event says about a sale; false when it says nothing of it.
func saleOf(m marketplace.ID, sub id.Subscription, e marketplace.Event, now time.Time) (Sale, bool) {
	s := Sale{
		Marketplace: m, Subscription: sub, Reseller: e.Reseller, Message: e.MessageID,
		SaidAt: cmp.Or(norm(e.At), norm(e.Version), now), HeardAt: now,
	}
	if e.Terms != nil {
		s.Offer, s.Private = e.Terms.Offer, e.Terms.Private
	}
	return s, s.Offer != "" || s.Private || s.Reseller != ""
}

// HearOffer keeps what a marketplace says of an offer before anybody has bought:
// a purchase will name no more than the offer.
func (s *Service) HearOffer(ctx context.Context, t Tx, m marketplace.ID, e marketplace.Event) error {
	sale, ok := saleOf(m, "", e, s.now())
	if !ok || sale.Offer == "" {
		return nil
	}
	return t.NoteSale(ctx, sale)
}
