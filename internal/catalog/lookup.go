package catalog

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/money"
)

// Product finds a product by our id.
func (c *Catalog) Product(id string) (Product, bool) {
	for _, p := range c.Products {
		if p.ID == id {
			return p, true
		}
	}
	return Product{}, false
}

// ByAWS finds the product of an AWS product code or product id.
func (c *Catalog) ByAWS(name string) (Product, bool) {
	for _, p := range c.Products {
		if p.AWS != nil && name != "" && (p.AWS.ProductCode == name || p.AWS.ProductID == name) {
			return p, true
		}
	}
	return Product{}, false
}

// Meter finds a meter by its id.
func (pr Product) Meter(id string) (Meter, bool) {
	for _, m := range pr.Meters {
		if m.ID == id {
			return m, true
		}
	}
	return Meter{}, false
}

// Plan finds a plan by our id.
func (pr Product) Plan(id string) (Plan, bool) {
	for _, p := range pr.Plans {
		if p.ID == id {
			return p, true
		}
	}
	return Plan{}, false
}

// period is what Google puts behind the id of a plan that is paid for longer than a
// month (seen 2026-09): enterprise-P1Y is the plan enterprise.
var period = regexp.MustCompile(`-P[0-9]+[DWMY]$`)

// PlanNamed finds the plan a marketplace calls name; an empty name is the
// default plan.
func (pr Product) PlanNamed(marketplace, name string) (Plan, bool) {
	if p, ok := pr.planNamed(marketplace, name); ok || marketplace != "gcp" {
		return p, ok
	}
	base := period.ReplaceAllString(name, "")
	if base == "" { // not the default: something was named
		return Plan{}, false
	}
	return pr.planNamed(marketplace, base)
}

func (pr Product) planNamed(marketplace, name string) (Plan, bool) {
	for _, p := range pr.Plans {
		if name == "" && p.Default || name != "" && (p.Names[marketplace] == name || p.ID == name) {
			return p, true
		}
	}
	return Plan{}, false
}

// Contracts reports that n of a quantity may be contracted in the plan a marketplace
// calls so; when it names none, in any plan. What a plan does not list has no bound.
func (pr Product) Contracts(marketplace, plan, quantity string, n int64) bool {
	fits := func(p Plan) bool {
		q := p.Quantities[quantity]
		return n >= max(1, q.Min) && (q.Max == 0 || n <= q.Max)
	}
	if plan == "" && len(pr.Plans) > 0 {
		return slices.ContainsFunc(pr.Plans, fits)
	}
	p, _ := pr.PlanNamed(marketplace, plan)
	return fits(p)
}

// Listed reports that the product is on a marketplace.
func (pr Product) Listed(marketplace string) bool {
	switch marketplace {
	case "aws":
		return pr.AWS != nil
	case "gcp":
		return pr.GCP != nil
	case "azure":
		return pr.Azure != nil
	}
	return false
}

// soldOn reports that a marketplace sells the plan: one that names none is sold
// wherever the product is listed.
func (p Plan) soldOn(marketplace string) bool {
	return len(p.Names) == 0 || p.Names[marketplace] != ""
}

func (o Offer) soldOn(marketplace string) bool {
	return len(o.Marketplaces) == 0 || slices.Contains(o.Marketplaces, marketplace)
}

// offers reports that an offer sells any plan at a marketplace.
func (pr Product) offers(o Offer, marketplace string) bool {
	return slices.ContainsFunc(pr.Plans, func(p Plan) bool { return pr.sells(o, marketplace, p) })
}

// sells reports that an offer sells a plan at a marketplace.
func (pr Product) sells(o Offer, marketplace string, p Plan) bool {
	return pr.Listed(marketplace) && p.soldOn(marketplace) && o.soldOn(marketplace) && (len(o.Plans) == 0 || slices.Contains(o.Plans, p.ID))
}

// perUser reports that Microsoft sells a plan of the product by seats.
func (pr Product) perUser() bool {
	return slices.ContainsFunc(pr.Plans, func(p Plan) bool { return p.soldOn("azure") && len(p.Quantities) > 0 })
}

// NettedBy is who takes a meter's included quantities off under a plan. offer is the
// vendor's word for the one bought.
func (pr Product) NettedBy(marketplace, offer, plan string, m Meter) NettedBy {
	if m.NettedBy != "" {
		return m.NettedBy
	}
	netted := Us
	if pl, ok := pr.Plan(plan); ok {
		for _, o := range pr.Offers {
			if name := o.Names[marketplace]; pr.sells(o, marketplace, pl) && o.NettedBy != "" && (name == "" || name == offer) {
				if netted = o.NettedBy; name != "" {
					break // the very one that was bought
				}
			}
		}
	}
	return netted
}

// Dimension is what a marketplace calls a meter under a plan; empty when it is not
// metered there.
func (pr Product) Dimension(plan string, m Meter, marketplace string) string {
	if p, ok := pr.Plan(plan); ok && p.Dimensions[m.ID][marketplace] != "" {
		return p.Dimensions[m.ID][marketplace]
	}
	return m.Dimensions[marketplace]
}

// AllDimensions are what a marketplace calls the meters under any plan, in the
// order of the file.
func (pr Product) AllDimensions(marketplace string) []string {
	var out []string
	add := func(d string) {
		if d != "" && !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	for _, m := range pr.Meters {
		add(m.Dimensions[marketplace])
	}
	for _, p := range pr.Plans {
		for _, m := range pr.Meters {
			add(p.Dimensions[m.ID][marketplace])
		}
	}
	return out
}

// Whole is one whole unit in the meter's smallest unit.
func (m Meter) Whole() int64 { return money.Unit(m.Scale) }

// Format writes a quantity of the meter as decimal text.
func (m Meter) Format(q int64) string { return money.Format(q, m.Scale) }

// Allowance is what the plan includes of a meter, in the meter's smallest unit,
// with the contracted quantities of the purchase. perHour: it is each hour's own
// and not the counting period's, which is so for a level of unit_hours.
func (p Plan) Allowance(m Meter, contracted map[string]int64) (quantity int64, perHour bool, err error) {
	in, ok := p.Included[m.ID]
	if !ok {
		return 0, false, nil
	}
	n, err := money.Parse(in.Quantity, m.Scale)
	if err != nil {
		return 0, false, fmt.Errorf("included %s of plan %s: %w", m.ID, p.ID, err)
	}
	if in.Basis == PerSeat {
		seats := contracted[in.Per]
		if seats < 0 || n > 0 && seats > (1<<62)/n {
			return 0, false, fault.New(fault.Invalid, "%d contracted %s do not fit the included %s of plan %s", seats, in.Per, m.ID, p.ID)
		}
		n *= seats
	}
	return n, in.Basis == Level && m.Kind == UnitHours, nil
}

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
