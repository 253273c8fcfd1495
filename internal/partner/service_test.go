package partner_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/partner"
)

// many is a store of n customers with one purchase each, on two plans.
type many struct {
	partner.Store
	n     int
	reads int
	err   error
}

func (m *many) ListPartners(context.Context) ([]partner.Partner, error) { return nil, nil }

func (m *many) ListEvidence(_ context.Context, after id.Customer, limit int) (out []partner.Customer, err error) {
	m.reads++
	for i := range m.n {
		if c := id.Customer(fmt.Sprintf("cus_%05d", i)); c > after && len(out) < limit {
			out = append(out, partner.Customer{ID: c, Marketplace: "aws", Purchases: []partner.Purchase{
				{ID: id.Subscription(fmt.Sprintf("sub_%05d", i)), Product: "tailnet", Plan: []string{"small", "large"}[i%2], StartsAt: t0},
			}})
		}
	}
	return out, m.err
}

func TestChannelsReadEveryCustomerAndPriceByItsPlan(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 500, 501, 1200} {
		s := &many{n: n}
		svc := partner.New(partner.Options{
			Store: s, Now: func() time.Time { return t0 }, Log: slog.New(slog.DiscardHandler),
			Accepted: func(context.Context) (out []partner.Accepted, err error) {
				for i := range n {
					out = append(out, partner.Accepted{Subscription: id.Subscription(fmt.Sprintf("sub_%05d", i)), Meter: "minute", Quantity: "10"})
				}
				return append(out, partner.Accepted{Subscription: "sub_elsewhere", Meter: "minute", Quantity: "1"}), nil
			},
			Price: func(product, plan, meter string) (string, string, bool) {
				amount, ok := map[string]string{"tailnet small minute": "1", "tailnet large minute": "2"}[product+" "+plan+" "+meter]
				return amount, "USD", ok
			},
		})
		values, customers, err := svc.Channels(t.Context())
		if err != nil || len(customers) != n {
			t.Fatalf("%d of %d customers: %v", len(customers), n, err)
		}
		var want []partner.ChannelValue
		if n > 0 {
			want = []partner.ChannelValue{{Route: partner.PublicListing, Customers: n, Revenue: fmt.Sprintf("%d.00", (n+1)/2*10+n/2*20), Currency: "USD"}}
		}
		if diff := cmp.Diff(want, values); diff != "" {
			t.Errorf("%d customers (-want +got)\n%s", n, diff)
		}
		s.err = errors.New("no database")
		if _, _, err := svc.Channels(t.Context()); !errors.Is(err, s.err) {
			t.Errorf("without a database: %v", err)
		}
	}
}
