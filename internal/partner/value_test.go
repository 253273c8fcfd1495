package partner_test

import (
	"fmt"
	"math/big"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/partner"
)

func customer(n int, route partner.Route, source id.Partner, statements ...partner.Statement) partner.Attribution {
	return partner.Attribution{
		Customer: id.Customer(fmt.Sprint("cus_", n)), Route: route, Source: partner.Credit{Partner: source, Name: map[id.Partner]string{hawk: "Hawk Networks", owl: "Owl"}[source]},
		Purchases: []partner.Purchase{{ID: id.Subscription(fmt.Sprint("sub_", n)), Statements: statements}},
	}
}

func fact(n int, quantity, price string) partner.Accepted {
	return partner.Accepted{Subscription: id.Subscription(fmt.Sprint("sub_", n)), Meter: "m", Quantity: quantity, Price: price, Currency: "USD"}
}

func TestValueByChannel(t *testing.T) {
	t.Parallel()
	private := partner.Statement{Private: true}
	got, err := partner.ValueByChannel([]partner.Attribution{
		customer(1, partner.PublicListing, ""), customer(2, partner.PublicListing, ""), customer(3, partner.PublicListing, owl),
		customer(4, partner.PrivateOffer, "", private), customer(5, partner.Reseller, hawk, partner.Statement{Reseller: "r-hawk"}), customer(6, partner.PublicListing, hawk),
	}, []partner.Accepted{
		fact(1, "1000000", "0.000001"), fact(1, "2", "0.125"), fact(2, "3", ""), fact(3, "19172", "0.0015"),
		fact(4, "5", "6.00"), fact(5, "0", "6.00"),
		{Subscription: "sub_3", Meter: "n", Quantity: "1.5", Price: "2", Currency: "EUR"},
		{Subscription: "sub_elsewhere", Quantity: "9", Price: "9", Currency: "USD"},
	})
	if err != nil {
		t.Fatal(err)
	}
	type row struct {
		Channel, Revenue, Currency string
		Customers, Unpriced        int
	}
	rows := make([]row, len(got))
	for i, v := range got {
		rows[i] = row{v.Channel(), v.Revenue, v.Currency, v.Customers, v.Unpriced}
	}
	if diff := cmp.Diff([]row{
		{"no partner, private offer", "", "", 1, 1}, // its price is not the list's, and not known
		{"no partner, public listing", "1.25", "USD", 2, 1},
		{"Hawk Networks, public listing", "0.00", "", 1, 0}, // nothing was accepted
		{"Owl, public listing", "3.00", "EUR", 1, 0},
		{"Owl, public listing", "28.758", "USD", 1, 0},
		{"Hawk Networks, reseller", "0.00", "", 1, 0}, // accepted, and nothing
	}, rows); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestAValueThatCannotBeIsNotAddedUp(t *testing.T) {
	t.Parallel()
	for _, f := range []partner.Accepted{fact(1, "many", "1"), fact(1, "1", "free"), fact(1, "1", "0.0000000000001")} {
		if _, err := partner.ValueByChannel([]partner.Attribution{customer(1, partner.PublicListing, "")}, []partner.Accepted{f}); err == nil {
			t.Errorf("%s units at %s were added up", f.Quantity, f.Price)
		}
	}
}

// Nothing is lost or doubled between channels, and no fraction is rounded.
func TestChannelsAddUpToTheWhole(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var customers []partner.Attribution
		var facts []partner.Accepted
		want := new(big.Rat)
		for n := range rapid.IntRange(0, 8).Draw(t, "customers") {
			customers = append(customers, customer(n, rapid.SampledFrom([]partner.Route{partner.PublicListing, partner.PrivateOffer}).Draw(t, "route"), rapid.SampledFrom([]id.Partner{"", hawk, owl}).Draw(t, "source")))
			for range rapid.IntRange(0, 3).Draw(t, "facts") {
				f := fact(n, rapid.StringMatching(`[0-9]{1,12}(\.[0-9]{1,6})?`).Draw(t, "quantity"), rapid.StringMatching(`[0-9]{1,9}(\.[0-9]{1,6})?`).Draw(t, "price"))
				q, _ := new(big.Rat).SetString(f.Quantity)
				p, _ := new(big.Rat).SetString(f.Price)
				want.Add(want, q.Mul(q, p))
				facts = append(facts, f)
			}
		}
		rows, err := partner.ValueByChannel(customers, facts)
		if err != nil {
			t.Fatal(err)
		}
		got, people := new(big.Rat), 0
		for _, r := range rows {
			sum, ok := new(big.Rat).SetString(r.Revenue)
			if !ok {
				t.Fatalf("revenue %q", r.Revenue)
			}
			got.Add(got, sum)
			people += r.Customers
		}
		if got.Cmp(want) != 0 || people != len(customers) {
			t.Fatalf("%d customers and %s, want %d and %s", people, got.FloatString(12), len(customers), want.FloatString(12))
		}
	})
}
