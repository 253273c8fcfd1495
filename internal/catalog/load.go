package catalog

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/money"
)

//go:embed catalog.yaml
var shipped []byte

const maxFile = 1 << 20

// Default is the shipped catalog.
func Default() *Catalog {
	c, err := Parse(shipped)
	if err != nil {
		panic(fmt.Sprintf("the shipped catalog is broken: %v", err)) // a test loads it
	}
	return c
}

// Load reads and checks the catalog in path; an empty path is the shipped one.
// The error lists every problem and is of class Invalid.
func Load(path string) (*Catalog, error) {
	if path == "" {
		return Default(), nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	if len(raw) > maxFile {
		return nil, fault.New(fault.Invalid, "the catalog %s is larger than %d bytes", path, maxFile)
	}
	c, err := Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("the catalog %s: %w", path, err)
	}
	return c, nil
}

// Parse reads a catalog and checks it completely. Unknown fields are refused: a
// misspelt "included" would bill what was promised free.
func Parse(raw []byte) (*Catalog, error) {
	var c Catalog
	d := yaml.NewDecoder(bytes.NewReader(raw), yaml.Strict())
	if err := d.Decode(&c); err != nil {
		return nil, fault.New(fault.Invalid, "cannot be read: %s", strings.TrimSpace(yaml.FormatError(err, false, false)))
	}
	if err := c.Check(); err != nil {
		return nil, err
	}
	return &c, nil
}

// problems collects everything that is wrong, each with the place in the file.
type problems []string

func (p *problems) add(where, format string, args ...any) {
	*p = append(*p, where+": "+fmt.Sprintf(format, args...))
}

var name = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)

// Check reports every problem of c at once, as one error of class Invalid.
func (c *Catalog) Check() error {
	var p problems
	if c.Version == "" {
		p.add("version", "is missing; it is frozen into every record")
	}
	if len(c.Products) == 0 {
		p.add("products", "there is none")
	}
	seen, listings := map[string]bool{}, map[string]string{}
	for i, pr := range c.Products {
		where := fmt.Sprintf("products[%d] (%s)", i, pr.ID)
		checkName(&p, where, pr.ID, seen)
		if a := pr.AWS; a != nil {
			if a.ProductCode == "" || a.ProductID == "" {
				p.add(where+".aws", "needs product_code and product_id, as the AWS Marketplace console shows them")
			}
			for _, n := range []string{a.ProductCode, a.ProductID} {
				if other, taken := listings[n]; taken && n != "" {
					p.add(where+".aws", "%q is already the listing of %s", n, other)
				}
				listings[n] = pr.ID
			}
		}
		if g := pr.GCP; g != nil {
			listed(&p, listings, where, "gcp.service", g.Service, pr.ID)
		}
		if a := pr.Azure; a != nil {
			listed(&p, listings, where, "azure.offer_id", a.OfferID, pr.ID)
		}
		pr.check(&p, where)
	}
	if len(p) == 0 {
		return nil
	}
	return fault.Wrap(fault.Invalid, errors.New(strings.Join(p, "; ")), "the catalog has "+count(len(p)))
}

// listed gives a marketplace's name of a product to one product.
func listed(p *problems, listings map[string]string, where, field, name, product string) {
	key := field + " " + name
	switch other, taken := listings[key]; {
	case name == "":
		p.add(where+"."+field, "is missing")
	case taken:
		p.add(where+"."+field, "%q is already the listing of %s", name, other)
	}
	listings[key] = product
}

func count(n int) string {
	if n == 1 {
		return "a problem"
	}
	return fmt.Sprintf("%d problems", n)
}

func checkName(p *problems, where, id string, seen map[string]bool) {
	switch {
	case !name.MatchString(id):
		p.add(where+".id", "%q is not a name: lower-case letters, digits and _, starting with a letter", id)
	case seen[id]:
		p.add(where+".id", "%q is there twice", id)
	}
	seen[id] = true
}

func (pr Product) check(p *problems, where string) {
	if len(pr.Meters) == 0 {
		p.add(where+".meters", "there is none")
	}
	seen, owner := map[string]bool{}, map[string]string{}
	for i, m := range pr.Meters {
		at := fmt.Sprintf("%s.meters[%d] (%s)", where, i, m.ID)
		checkName(p, at, m.ID, seen)
		m.check(p, at)
		for _, cloud := range slices.Sorted(maps.Keys(m.Dimensions)) {
			key := cloud + " " + m.Dimensions[cloud]
			if other, taken := owner[key]; taken {
				p.add(at+".dimensions."+cloud, "dimension %q already belongs to meter %s; two meters would fight for one slot", m.Dimensions[cloud], other)
			}
			owner[key] = m.ID
		}
		sold := map[string]bool{"aws": pr.AWS != nil, "gcp": pr.GCP != nil, "azure": pr.Azure != nil}
		for _, cloud := range clouds {
			if sold[cloud] && m.Dimensions[cloud] == "" {
				p.add(at+".dimensions", "the product is listed on %s, but the meter has no dimension there", cloud)
			}
		}
	}
	pr.checkPages(p, where, map[string]bool{"aws": pr.AWS != nil, "gcp": pr.GCP != nil, "azure": pr.Azure != nil})
	pr.checkPlans(p, where)
	for i, pl := range pr.Plans {
		pr.checkDimensions(p, fmt.Sprintf("%s.plans[%d] (%s).dimensions", where, i, pl.ID), pl, owner)
	}
}

// checkDimensions: a plan's own dimensions are of its product's meters, and of no other.
func (pr Product) checkDimensions(p *problems, where string, pl Plan, owner map[string]string) {
	for _, meter := range slices.Sorted(maps.Keys(pl.Dimensions)) {
		m, ok := pr.Meter(meter)
		if !ok {
			p.add(where+"."+meter, "there is no meter of this name")
		}
		for _, cloud := range slices.Sorted(maps.Keys(pl.Dimensions[meter])) {
			d := pl.Dimensions[meter][cloud]
			switch key := cloud + " " + d; {
			case m.Dimensions[cloud] == "":
				p.add(where+"."+meter+"."+cloud, "the meter has no dimension there under other plans")
			case d == "" || len(d) > 255:
				p.add(where+"."+meter+"."+cloud, "must have 1 to 255 characters")
			case owner[key] != "" && owner[key] != meter:
				p.add(where+"."+meter+"."+cloud, "dimension %q already belongs to meter %s; two meters would fight for one slot", d, owner[key])
			default:
				owner[key] = meter
			}
		}
	}
}

func (m Meter) check(p *problems, where string) {
	switch m.Kind {
	case Sum, PeakPeriod, UnitHours:
	case Unique:
		if m.Scale != 0 {
			p.add(where+".scale", "a unique meter counts whole things: 0")
		}
	default:
		p.add(where+".kind", "%q is none of sum, unique, peak_period, unit_hours", m.Kind)
	}
	if m.Scale < 0 || m.Scale > money.MaxScale {
		p.add(where+".scale", "%d is not 0 to %d", m.Scale, money.MaxScale)
	}
	if m.Source != Collected && m.Source != Reported {
		p.add(where+".source", "%q is neither collected nor reported", m.Source)
	}
	if k := m.NaturalKey; k != nil {
		if !slices.Contains([]Interval{PerHour, PerDay, PerPeriod, Ever}, k.Interval) {
			p.add(where+".natural_key.interval", "%q is none of hour, day, period, ever", k.Interval)
		}
		if m.Source == Collected {
			p.add(where+".natural_key", "is for reported meters: collectors name no operation")
		}
	}
	if m.Unit == "" {
		p.add(where+".unit", "is missing; quantities are printed with it")
	}
	for _, cloud := range slices.Sorted(maps.Keys(m.Dimensions)) {
		if !slices.Contains(clouds, cloud) {
			p.add(where+".dimensions", "%q is none of the marketplaces %s", cloud, strings.Join(clouds, ", "))
		}
		if d := m.Dimensions[cloud]; d == "" || len(d) > 255 {
			p.add(where+".dimensions."+cloud, "must have 1 to 255 characters")
		}
	}
}

var clouds = []string{"aws", "gcp", "azure"}

func (pr Product) checkPlans(p *problems, where string) {
	seen, names, defaults := map[string]bool{}, map[string]string{}, 0
	for i, pl := range pr.Plans {
		at := fmt.Sprintf("%s.plans[%d] (%s)", where, i, pl.ID)
		checkName(p, at, pl.ID, seen)
		if pl.Default {
			defaults++
		}
		for _, cloud := range slices.Sorted(maps.Keys(pl.Names)) {
			key := cloud + " " + pl.Names[cloud]
			if other, taken := names[key]; taken {
				p.add(at+".names."+cloud, "%q is already the name of plan %s", pl.Names[cloud], other)
			}
			names[key] = pl.ID
		}
		for _, meter := range slices.Sorted(maps.Keys(pl.Included)) {
			pr.checkIncluded(p, at+".included."+meter, meter, pl.Included[meter])
		}
		pr.checkPrices(p, at, pl)
	}
	if defaults != 1 {
		p.add(where+".plans", "%d plans are the default; exactly one must be", defaults)
	}
}

func (pr Product) checkIncluded(p *problems, where, meter string, in Included) {
	m, ok := pr.Meter(meter)
	if !ok {
		p.add(where, "there is no meter of this name")
		return
	}
	if n, err := money.Parse(in.Quantity, m.Scale); err != nil {
		p.add(where+".quantity", "%q %v", in.Quantity, err)
	} else if n < 0 {
		p.add(where+".quantity", "%q is negative", in.Quantity)
	}
	switch in.Basis {
	case Pool, Level:
		if in.Per != "" {
			p.add(where+".per", "belongs to basis per_seat only")
		}
	case PerSeat:
		if in.Per == "" {
			p.add(where+".per", "is missing: the contracted quantity that counts the seats")
		}
	default:
		p.add(where+".basis", "%q is none of pool, level, per_seat", in.Basis)
	}
}
