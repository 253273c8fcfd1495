package catalog

import (
	"maps"
	"net/url"
	"regexp"
	"slices"

	"github.com/tailmarket/tailmarket/internal/money"
)

// ListPrice is the price of one unit of a meter in a plan, as the listing shows
// it; false when the catalog does not say. A private offer or a reseller may ask
// another one.
func (c *Catalog) ListPrice(product, plan, meter string) (amount, currency string, ok bool) {
	pr, _ := c.Product(product)
	pl, _ := pr.Plan(plan)
	amount, ok = pl.Prices[meter]
	return amount, pl.Currency, ok
}

// Page is the address of a product's listing at a marketplace; false when the
// catalog does not say.
func (c *Catalog) Page(marketplace, product string) (string, bool) {
	pr, _ := c.Product(product)
	address, ok := pr.Pages[marketplace]
	return address, ok
}

var currencyCode = regexp.MustCompile(`^[A-Z]{3}$`)

func (pr Product) checkPages(p *problems, where string, sold map[string]bool) {
	for _, cloud := range slices.Sorted(maps.Keys(pr.Pages)) {
		if !sold[cloud] {
			p.add(where+".pages."+cloud, "the product is not listed there")
		}
		if u, err := url.Parse(pr.Pages[cloud]); err != nil || u.Scheme != "https" || u.Host == "" {
			p.add(where+".pages."+cloud, "is not an https address")
		}
	}
}

func (pr Product) checkPrices(p *problems, where string, pl Plan) {
	if len(pl.Prices) > 0 && !currencyCode.MatchString(pl.Currency) {
		p.add(where+".currency", "%q is not a currency such as USD", pl.Currency)
	}
	for _, meter := range slices.Sorted(maps.Keys(pl.Prices)) {
		if _, ok := pr.Meter(meter); !ok {
			p.add(where+".prices."+meter, "there is no meter of this name")
		}
		if n, err := money.Parse(pl.Prices[meter], money.MaxScale); err != nil {
			p.add(where+".prices."+meter, "%q %v", pl.Prices[meter], err)
		} else if n < 0 {
			p.add(where+".prices."+meter, "%q is negative", pl.Prices[meter])
		}
	}
}
