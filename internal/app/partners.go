package app

import (
	"context"

	"github.com/tailmarket/tailmarket/internal/partner"
)

// partners is the room that tells who brought customers. What marketplaces have
// accepted is read from the ledger, what a unit costs from the catalog.
func (s *server) partners() *partner.Service {
	return partner.New(partner.Options{
		Store: s.Store, Now: s.Clock.Now, Log: s.Log, Listing: s.selling.Catalog.Page, Price: s.selling.Catalog.ListPrice,
		Accepted: func(ctx context.Context) ([]partner.Accepted, error) {
			report, err := s.bill.Conservation(ctx)
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
