package partner

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/money"
)

// Accepted is a revenue fact as far as there are any now: units of one meter
// that a marketplace accepted, and their list price.
type Accepted struct {
	Subscription id.Subscription
	Meter        string
	Quantity     string // decimal text
	Price        string // of one unit, decimal text; empty: the catalog has none
	Currency     string
}

// ChannelValue is what one channel has brought to date: accepted usage at list
// price, before listing fees, reseller cuts, discounts, refunds and tax, and
// without contract charges. Channels of different age cannot be compared by it.
type ChannelValue struct {
	Route     Route
	Partner   id.Partner // empty: no partner brought these customers
	Name      string
	Customers int    // of the channel, in whatever currency
	Revenue   string // decimal text; empty when nothing that was accepted has a known price
	Currency  string
	Unpriced  int // customers with accepted units of no known price: they are worth more than is shown
}

// Channel is the two axes in words.
func (v ChannelValue) Channel() string {
	route := strings.ReplaceAll(string(v.Route), "_", " ")
	if v.Partner == "" {
		return "no partner, " + route
	}
	return v.Name + ", " + route
}

type channel struct {
	route   Route
	partner id.Partner
}

type earned struct {
	name      string
	customers int
	unpriced  int
	sums      map[string]money.Amount // by currency
}

// ValueByChannel adds facts up by route and source, a row for each currency. It
// is pure and exact, and leaves out what it cannot know: a list price says
// nothing of what a private offer or a reseller asked, so those units have no
// price here.
func ValueByChannel(customers []Attribution, facts []Accepted) ([]ChannelValue, error) {
	bySub := map[id.Subscription][]Accepted{}
	for _, f := range facts {
		bySub[f.Subscription] = append(bySub[f.Subscription], f)
	}
	channels := map[channel]*earned{}
	for _, c := range customers {
		at := channel{c.Route, c.Source.Partner}
		e := channels[at]
		if e == nil {
			e = &earned{name: c.Source.Name, sums: map[string]money.Amount{}}
			channels[at] = e
		}
		e.customers++
		unpriced := false
		for _, p := range c.Purchases {
			for _, f := range bySub[p.ID] {
				known, err := e.add(f, p.listed())
				if err != nil {
					return nil, fmt.Errorf("value of %s at %s: %w", f.Meter, f.Subscription, err)
				}
				unpriced = unpriced || !known
			}
		}
		if unpriced {
			e.unpriced++
		}
	}
	var out []ChannelValue
	for at, e := range channels {
		row := ChannelValue{Route: at.route, Partner: at.partner, Name: e.name, Customers: e.customers, Unpriced: e.unpriced}
		if len(e.sums) == 0 {
			if e.unpriced == 0 {
				row.Revenue = money.Amount{}.Text(2) // nothing was accepted, and that is known
			}
			out = append(out, row)
		}
		for currency, sum := range e.sums {
			row.Revenue, row.Currency = sum.Text(2), currency
			out = append(out, row)
		}
	}
	slices.SortFunc(out, func(a, b ChannelValue) int {
		return cmp.Or(cmp.Compare(a.Route, b.Route), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Partner, b.Partner), cmp.Compare(a.Currency, b.Currency))
	})
	return out, nil
}

// add adds a fact; false when its units have no known price.
func (e *earned) add(f Accepted, listed bool) (known bool, err error) {
	quantity, err := money.Parse(f.Quantity, money.MaxScale)
	if err != nil {
		return false, fmt.Errorf("quantity %q %w", f.Quantity, err)
	}
	switch {
	case quantity == 0:
		return true, nil
	case !listed || f.Price == "":
		return false, nil
	}
	price, err := money.ParsePrice(f.Price)
	if err != nil {
		return false, fmt.Errorf("price %q %w", f.Price, err)
	}
	e.sums[f.Currency] = e.sums[f.Currency].Add(price.Of(quantity, money.MaxScale))
	return true, nil
}

// listed reports that a purchase was sold at the list price, as far as the
// marketplace has said.
func (p Purchase) listed() bool {
	return !slices.ContainsFunc(p.Statements, func(s Statement) bool { return s.Private || s.Reseller != "" })
}
