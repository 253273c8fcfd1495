package app

import (
	"context"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/catalog"
	"github.com/tailmarket/tailmarket/internal/partner"
)

// openPartners builds the room that tells who brought customers. What
// marketplaces have accepted is read from the ledger, what a unit costs from the
// catalog.
func (b *Base) openPartners(c *catalog.Catalog, bill *billing.Service) *partner.Service {
	return partner.New(partner.Options{
		Store: b.Store, Now: b.Clock.Now, Log: b.Log, Listing: c.Page, Price: c.ListPrice,
		Accepted: func(ctx context.Context) ([]partner.Accepted, error) {
			report, err := bill.Conservation(ctx)
			if err != nil {
				return nil, err
			}
			out := make([]partner.Accepted, len(report.Meters))
			for i, m := range report.Meters {
				out[i] = partner.Accepted{Subscription: m.Subscription, Meter: m.Meter, Quantity: m.Accepted}
			}
			return out, nil
		},
	})
}

// Partners is the room that tells who brought customers, for a command.
func (b *Base) Partners(ctx context.Context) (*partner.Service, error) {
	s, err := b.OpenSelling(ctx)
	if err != nil {
		return nil, err
	}
	return b.openPartners(s.Catalog, b.openBilling(s.Catalog, s.Adapters, nil)), nil
}
