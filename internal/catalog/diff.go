package catalog

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tailmarket/tailmarket/internal/money"
)

// Change is one thing that two catalogs say differently, and for whom.
type Change struct {
	Product     string
	Plan        string // empty: of the product
	Marketplace string // empty: wherever it is sold
	Meter       string
	What        string
	From, To    string // empty: was not, is not any more
	// Bills says that purchases whose period is running would be billed otherwise
	// than until now.
	Bills     bool
	Purchases int    // that are running and meant, when they were counted
	Note      string // what a marketplace says to it
}

func (c Change) String() string {
	of := strings.Join(slices.DeleteFunc([]string{c.Product, c.Plan, c.Marketplace, c.Meter}, func(s string) bool { return s == "" }), " ")
	switch {
	case c.From == "":
		return fmt.Sprintf("%s: %s added: %s", of, c.What, c.To)
	case c.To == "":
		return fmt.Sprintf("%s: %s gone: %s", of, c.What, c.From)
	}
	return fmt.Sprintf("%s: %s %s → %s", of, c.What, c.From, c.To)
}

// Running counts the purchases of a plan at a marketplace whose bills are counting.
type Running struct {
	Marketplace, Product, Plan string
	Purchases                  int
}

// of is how many purchases a change is about.
func (c Change) of(running []Running) (n int) {
	for _, r := range running {
		if r.Product == c.Product && (c.Plan == "" || r.Plan == c.Plan) && (c.Marketplace == "" || r.Marketplace == c.Marketplace) {
			n += r.Purchases
		}
	}
	return n
}

// about is what a fact of a catalog is about.
type about struct{ product, plan, marketplace, meter, what string }

// bills reports that a running bill is decided by what changed.
func (c Change) bills() bool {
	switch c.What {
	case "product", "plan":
		return c.To == "" // else another title, or nobody's yet
	case "listing", "name":
		return c.From != ""
	case "meter", "price", "included", "dimension", "netted by", "counting period":
		return true
	}
	return false
}

const azureFixed = `Microsoft does not change what was published (` + azureMetered + `): sell it as a new plan`

// Diff says what b changes against a, in a fixed order. What comes or goes as a
// whole is one change.
func Diff(a, b *Catalog) []Change {
	was, is := a.facts(), b.facts()
	var out []Change
	for at := range maps.Keys(merged(was, is)) {
		if was[at] == is[at] || part(at, was, is) {
			continue
		}
		c := Change{Product: at.product, Plan: at.plan, Marketplace: at.marketplace, Meter: at.meter, What: at.what, From: was[at], To: is[at]}
		c.Bills = c.bills()
		p, _ := a.Product(at.product)
		if pl, ok := p.Plan(at.plan); ok && p.Listed("azure") && pl.soldOn("azure") && c.From != "" && slices.Contains([]string{"price", "included", "dimension"}, at.what) &&
			(at.marketplace == "" || at.marketplace == "azure") {
			c.Note = azureFixed
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(x, y Change) int {
		return cmp.Or(cmp.Compare(x.Product, y.Product), cmp.Compare(x.Plan, y.Plan), cmp.Compare(x.Meter, y.Meter), cmp.Compare(x.Marketplace, y.Marketplace), cmp.Compare(x.What, y.What))
	})
	return out
}

func merged(a, b map[about]string) map[about]string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// part reports that what a fact belongs to came or went as a whole, which is said once.
func part(at about, was, is map[about]string) bool {
	for _, whole := range []about{
		{product: at.product, what: "product"},
		{product: at.product, plan: at.plan, what: "plan"},
		{product: at.product, plan: at.plan, marketplace: at.marketplace, what: "name"},
		{product: at.product, plan: at.plan, meter: at.meter, what: "meter"},
	} {
		_, before := was[whole]
		_, after := is[whole]
		if whole != at && before != after {
			return true
		}
	}
	return false
}

// facts are everything a catalog says, with plans' own dimensions and offers' terms
// resolved, so that the same said in another place is no change. No value is empty.
func (c *Catalog) facts() map[about]string {
	out := map[about]string{}
	for _, pr := range c.Products {
		set := func(at about, value string) {
			if at.product = pr.ID; value != "" {
				out[at] = value
			}
		}
		set(about{what: "product"}, cmp.Or(pr.Title, pr.ID))
		if pr.AWS != nil {
			set(about{marketplace: "aws", what: "listing"}, pr.AWS.ProductCode+" "+pr.AWS.ProductID)
		}
		if pr.GCP != nil {
			set(about{marketplace: "gcp", what: "listing"}, fmt.Sprintf("%s, fractions %v", pr.GCP.Service, pr.GCP.Double))
		}
		if pr.Azure != nil {
			set(about{marketplace: "azure", what: "listing"}, pr.Azure.OfferID)
		}
		for cloud, page := range pr.Pages {
			set(about{marketplace: cloud, what: "page"}, page)
		}
		for id, f := range pr.Features {
			set(about{what: "feature " + id}, words(f.Title, f.Needs))
		}
		for id, l := range pr.Limits {
			set(about{what: "limit " + id}, words(l.Title, []string{l.Unit}))
		}
		for rule, why := range pr.Accept {
			set(about{what: "accepted " + rule}, why)
		}
		for _, pl := range pr.Plans {
			pr.planFacts(pl, func(at about, value string) { at.plan = pl.ID; set(at, value) })
		}
	}
	return out
}

func (pr Product) planFacts(pl Plan, set func(about, string)) {
	priced := func(text string) string {
		if text == "" {
			return ""
		}
		return normal(text) + " " + pl.Currency
	}
	set(about{what: "plan"}, cmp.Or(pl.Title, pl.ID))
	if pl.Default {
		set(about{what: "default"}, "yes")
	}
	if pl.TrialDays > 0 {
		set(about{what: "trial"}, fmt.Sprintf("%d days", pl.TrialDays))
	}
	for term, fee := range pl.Fees {
		set(about{what: "fee of " + term}, priced(fee))
	}
	for id, q := range pl.Quantities {
		set(about{what: "quantity " + id}, fmt.Sprintf("%s, %s each, %d to %d, %v", q.Title, priced(q.Price), q.Min, q.Max, q.Names))
	}
	for _, f := range pl.Features {
		set(about{what: "feature " + f}, "yes")
	}
	for id, n := range pl.Limits {
		set(about{what: "limit " + id}, fmt.Sprint(n))
	}
	set(about{what: "needs"}, words("", pl.Needs))
	for _, m := range pr.Meters {
		set(about{meter: m.ID, what: "meter"}, m.words())
		set(about{meter: m.ID, what: "price"}, priced(pl.Prices[m.ID]))
		if in, ok := pl.Included[m.ID]; ok {
			set(about{meter: m.ID, what: "included"}, words(fmt.Sprintf("%s %s", normal(in.Quantity), in.Basis), []string{in.Per}))
		}
	}
	for _, cloud := range clouds {
		if !pr.Listed(cloud) || !pl.soldOn(cloud) {
			continue
		}
		set(about{marketplace: cloud, what: "name"}, cmp.Or(pl.Names[cloud], pl.ID))
		counting, netted := Counting(""), Us
		for _, o := range pr.Offers {
			if !pr.sells(o, cloud, pl) {
				continue
			}
			if name := o.Names[cloud]; name != "" {
				set(about{marketplace: cloud, what: "offer " + name}, fmt.Sprintf("%s, counts %s, netted by %s, %+v", o.Title, cmp.Or(o.Counting, "as usual"), cmp.Or(o.NettedBy, Us), o.Phases))
				continue
			}
			counting, netted = o.Counting, cmp.Or(o.NettedBy, Us)
			if len(o.Phases) > 0 {
				set(about{marketplace: cloud, what: "phases"}, fmt.Sprintf("%+v", o.Phases))
			}
		}
		set(about{marketplace: cloud, what: "counting period"}, cmp.Or(string(counting), "as usual"))
		for _, m := range pr.Meters {
			set(about{marketplace: cloud, meter: m.ID, what: "dimension"}, pr.Dimension(pl.ID, m, cloud))
			set(about{marketplace: cloud, meter: m.ID, what: "netted by"}, string(cmp.Or(m.NettedBy, netted)))
			if len(m.SplitBy) > 0 {
				set(about{marketplace: cloud, meter: m.ID, what: "split"}, fmt.Sprint(m.SplitBy))
			}
		}
	}
}

// words says how a meter counts.
func (m Meter) words() string {
	text := fmt.Sprintf("%s of %s, scale %d, %s", m.Kind, m.Unit, m.Scale, m.Source)
	if m.NaturalKey != nil {
		text += ", one operation a " + string(m.NaturalKey.Interval)
	}
	if m.Currency != "" {
		text += ", money in " + m.Currency
	}
	return words(text, m.Needs)
}

// words joins what is said with what it hangs on.
func words(text string, more []string) string {
	return strings.Join(slices.DeleteFunc(append([]string{text}, more...), func(s string) bool { return s == "" }), " ")
}

// normal writes a decimal in its shortest form, so that 6.0 is 6.00.
func normal(text string) string {
	if p, err := money.ParsePrice(text); err == nil {
		return p.String()
	}
	return text
}
