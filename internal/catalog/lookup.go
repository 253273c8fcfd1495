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
