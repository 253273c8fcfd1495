package catalog

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tailmarket/tailmarket/internal/money"
)

var (
	clouds       = []string{"aws", "gcp", "azure"}
	idName       = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)
	currencyCode = regexp.MustCompile(`^[A-Z]{3}$`)
	termLength   = regexp.MustCompile(`^P[1-9][0-9]*[DWMY]$`)
)

// checkOwn adds what makes no sense whoever sells it.
func (k *checker) checkOwn(c *Catalog) {
	if c.Version == "" {
		k.add("shape", "version", "is missing; it is frozen into every record")
	}
	if len(c.Products) == 0 {
		k.add("shape", "products", "there is none")
	}
	seen, listings := map[string]bool{}, map[string]string{}
	for i, pr := range c.Products {
		at := fmt.Sprintf("products[%d]", i)
		k.checkID(at, pr.ID, seen)
		if a := pr.AWS; a != nil {
			k.checkListed(listings, at+".aws.product_code", "aws "+a.ProductCode, a.ProductCode, pr.ID)
			if a.ProductID != a.ProductCode { // which is aws.listing's matter
				k.checkListed(listings, at+".aws.product_id", "aws "+a.ProductID, a.ProductID, pr.ID)
			}
		}
		if g := pr.GCP; g != nil {
			k.checkListed(listings, at+".gcp.service", "gcp "+g.Service, g.Service, pr.ID)
		}
		if a := pr.Azure; a != nil {
			k.checkListed(listings, at+".azure.offer_id", "azure "+a.OfferID, a.OfferID, pr.ID)
		}
		k.checkProduct(at, pr)
	}
}

func (k *checker) checkID(at, id string, seen map[string]bool) {
	switch {
	case !idName.MatchString(id):
		k.add("name", at+".id", "%q is not a name: lower-case letters, digits and _, starting with a letter", id)
	case seen[id]:
		k.add("name", at+".id", "%q is there twice", id)
	}
	seen[id] = true
}

// checkListed gives a marketplace's name to one of ours.
func (k *checker) checkListed(listings map[string]string, at, key, name, id string) {
	switch other, taken := listings[key]; {
	case name == "":
		k.add("listing", at, "is missing")
	case taken:
		k.add("listing", at, "%q is already the listing of %s", name, other)
	}
	listings[key] = id
}

func (k *checker) checkProduct(at string, pr Product) {
	for _, id := range slices.Sorted(maps.Keys(pr.Accept)) {
		i := slices.IndexFunc(rules, func(r Rule) bool { return r.ID == id })
		switch {
		case i < 0:
			k.add("accept", at+".accept."+id, "there is no rule of this name")
		case !rules[i].Unconfirmed:
			k.add("accept", at+".accept."+id, "the rule is confirmed (%s) and cannot be accepted away", rules[i].Source)
		case strings.TrimSpace(pr.Accept[id]) == "":
			k.add("accept", at+".accept."+id, "say why")
		}
	}
	for _, cloud := range slices.Sorted(maps.Keys(pr.Pages)) {
		if !pr.Listed(cloud) {
			k.add("page", at+".pages."+cloud, "the product is not listed there")
		}
		if u, err := url.Parse(pr.Pages[cloud]); err != nil || u.Scheme != "https" || u.Host == "" {
			k.add("page", at+".pages."+cloud, "is not an https address")
		}
	}
	seen := map[string]bool{}
	for _, names := range []struct {
		field string
		ids   []string
	}{{"features", slices.Sorted(maps.Keys(pr.Features))}, {"limits", slices.Sorted(maps.Keys(pr.Limits))}} {
		for _, id := range names.ids {
			if !idName.MatchString(id) {
				k.add("name", at+"."+names.field+"."+id, "%q is not a name: lower-case letters, digits and _, starting with a letter", id)
			}
		}
	}
	owner := map[string]string{}
	for i, m := range pr.Meters {
		at := fmt.Sprintf("%s.meters[%d]", at, i)
		k.checkID(at, m.ID, seen)
		k.checkMeter(at, m)
		for _, cloud := range slices.Sorted(maps.Keys(m.Dimensions)) {
			key := cloud + " " + m.Dimensions[cloud]
			if other, taken := owner[key]; taken {
				k.add("dimension", at+".dimensions."+cloud, "dimension %q already belongs to meter %s; two meters would fight for one slot", m.Dimensions[cloud], other)
			}
			owner[key] = m.ID
		}
		for _, cloud := range clouds {
			// Plans that sell seats are not metered at Microsoft, so a meter may stay away from there.
			if pr.Listed(cloud) && m.Dimensions[cloud] == "" && !(cloud == "azure" && pr.perUser()) {
				k.add("dimension", at+".dimensions", "the product is listed on %s, but the meter has no dimension there", cloud)
			}
		}
	}
	k.checkPlans(at, pr, owner)
	k.checkOffers(at, pr)
}

func (k *checker) checkMeter(at string, m Meter) {
	switch m.Kind {
	case Sum, PeakPeriod, UnitHours:
	case Unique:
		if m.Scale != 0 {
			k.add("meter", at+".scale", "a unique meter counts whole things: 0")
		}
	default:
		k.add("meter", at+".kind", "%q is none of sum, unique, peak_period, unit_hours", m.Kind)
	}
	if m.Scale < 0 || m.Scale > money.MaxScale {
		k.add("meter", at+".scale", "%d is not 0 to %d", m.Scale, money.MaxScale)
	}
	if m.Source != Collected && m.Source != Reported {
		k.add("meter", at+".source", "%q is neither collected nor reported", m.Source)
	}
	if n := m.NaturalKey; n != nil {
		if !slices.Contains([]Interval{PerHour, PerDay, PerPeriod, Ever}, n.Interval) {
			k.add("meter", at+".natural_key.interval", "%q is none of hour, day, period, ever", n.Interval)
		}
		if m.Source == Collected {
			k.add("meter", at+".natural_key", "is for reported meters: collectors name no operation")
		}
	}
	if m.Unit == "" {
		k.add("meter", at+".unit", "is missing; quantities are printed with it")
	}
	if m.Currency != "" {
		switch {
		case !currencyCode.MatchString(m.Currency):
			k.add("money", at+".currency", "%q is not a currency such as USD", m.Currency)
		case m.Kind != Sum || m.Scale != 0:
			k.add("money", at+".currency", "a money meter is a sum of scale 0: its unit is 0.01 %s", m.Currency)
		case len(m.SplitBy) == 0:
			k.add("money", at+".currency", "a money meter needs split_by: its allocations say what the money was for")
		}
	}
	split := map[string]bool{}
	for i, s := range m.SplitBy {
		at := fmt.Sprintf("%s.split_by[%d]", at, i)
		for _, key := range []string{"label " + s.By, "aws " + s.AWS, "gcp " + s.GCP} {
			if split[key] && !strings.HasSuffix(key, " ") {
				k.add("split", at, "%s is there twice", key)
			}
			split[key] = true
		}
		if s.By == "" || s.AWS == "" && s.GCP == "" {
			k.add("split", at, "needs a label and its key at AWS or Google")
		}
	}
	for _, cloud := range slices.Sorted(maps.Keys(m.Dimensions)) {
		if !slices.Contains(clouds, cloud) {
			k.add("dimension", at+".dimensions."+cloud, "%q is none of the marketplaces %s", cloud, strings.Join(clouds, ", "))
		}
		if d := m.Dimensions[cloud]; d == "" || len(d) > 255 {
			k.add("dimension", at+".dimensions."+cloud, "must have 1 to 255 characters")
		}
	}
}

func (k *checker) checkPlans(at string, pr Product, owner map[string]string) {
	seen, names, defaults := map[string]bool{}, map[string]string{}, 0
	for i, pl := range pr.Plans {
		at := fmt.Sprintf("%s.plans[%d]", at, i)
		k.checkID(at, pl.ID, seen)
		if pl.Default {
			defaults++
		}
		k.checkNames(at, pr, pl.Names, names, pl.ID)
		for _, meter := range slices.Sorted(maps.Keys(pl.Included)) {
			k.checkIncluded(at+".included."+meter, pr, pl, meter)
		}
		k.checkDimensions(at+".dimensions", pr, pl, owner)
		k.checkPrices(at, pr, pl)
		for j, f := range pl.Features {
			if _, ok := pr.Features[f]; !ok {
				k.add("reference", fmt.Sprintf("%s.features[%d]", at, j), "there is no feature %q", f)
			}
		}
		for _, limit := range slices.Sorted(maps.Keys(pl.Limits)) {
			if _, ok := pr.Limits[limit]; !ok {
				k.add("reference", at+".limits."+limit, "there is no limit of this name")
			}
		}
		for _, q := range slices.Sorted(maps.Keys(pl.Quantities)) {
			k.checkQuantity(at+".quantities."+q, pr, q, pl.Quantities[q])
		}
	}
	if defaults != 1 {
		k.add("default", at+".plans", "%d plans are the default; exactly one must be", defaults)
	}
}

// checkNames gives the marketplaces' names of a plan or offer to one of ours.
func (k *checker) checkNames(at string, pr Product, names, taken map[string]string, id string) {
	for _, cloud := range slices.Sorted(maps.Keys(names)) {
		key := cloud + " " + names[cloud]
		switch other, ok := taken[key]; {
		case !slices.Contains(clouds, cloud):
			k.add("listing", at+".names."+cloud, "%q is none of the marketplaces %s", cloud, strings.Join(clouds, ", "))
		case !pr.Listed(cloud):
			k.add("listing", at+".names."+cloud, "the product is not listed there")
		case names[cloud] == "":
			k.add("listing", at+".names."+cloud, "is empty")
		case ok:
			k.add("listing", at+".names."+cloud, "%q is already the name of %s", names[cloud], other)
		}
		taken[key] = id
	}
}

// checkDimensions: a plan's own dimensions are of its product's meters, and of no other.
func (k *checker) checkDimensions(at string, pr Product, pl Plan, owner map[string]string) {
	for _, meter := range slices.Sorted(maps.Keys(pl.Dimensions)) {
		m, ok := pr.Meter(meter)
		if !ok {
			k.add("reference", at+"."+meter, "there is no meter of this name")
			continue
		}
		for _, cloud := range slices.Sorted(maps.Keys(pl.Dimensions[meter])) {
			d := pl.Dimensions[meter][cloud]
			switch key := cloud + " " + d; {
			case m.Dimensions[cloud] == "":
				k.add("dimension", at+"."+meter+"."+cloud, "the meter has no dimension there under other plans")
			case d == "" || len(d) > 255:
				k.add("dimension", at+"."+meter+"."+cloud, "must have 1 to 255 characters")
			case owner[key] != "" && owner[key] != meter:
				k.add("dimension", at+"."+meter+"."+cloud, "dimension %q already belongs to meter %s; two meters would fight for one slot", d, owner[key])
			default:
				owner[key] = meter
			}
		}
	}
}

func (k *checker) checkIncluded(at string, pr Product, pl Plan, meter string) {
	m, ok := pr.Meter(meter)
	if !ok {
		k.add("reference", at, "there is no meter of this name")
		return
	}
	in := pl.Included[meter]
	if n, err := money.Parse(in.Quantity, m.Scale); err != nil {
		k.add("included", at+".quantity", "%q %v", in.Quantity, err)
	} else if n < 0 {
		k.add("included", at+".quantity", "%q is negative", in.Quantity)
	}
	switch in.Basis {
	case Pool, Level:
		if in.Per != "" {
			k.add("included", at+".per", "belongs to basis per_seat only")
		}
	case PerSeat:
		if in.Per == "" {
			k.add("included", at+".per", "is missing: the contracted quantity that counts the seats")
		} else if _, ok := pl.Quantities[in.Per]; !ok {
			k.add("reference", at+".per", "the plan contracts no quantity %q", in.Per)
		}
	default:
		k.add("included", at+".basis", "%q is none of pool, level, per_seat", in.Basis)
	}
}

func (k *checker) checkPrices(at string, pr Product, pl Plan) {
	priced := len(pl.Prices)+len(pl.Fees) > 0
	for _, meter := range slices.Sorted(maps.Keys(pl.Prices)) {
		m, ok := pr.Meter(meter)
		if !ok {
			k.add("reference", at+".prices."+meter, "there is no meter of this name")
		}
		price, ok := k.checkPrice(at+".prices."+meter, pl.Prices[meter])
		if cent, _ := money.ParsePrice("0.01"); ok && m.Currency != "" && (price.Cmp(cent) != 0 || pl.Currency != m.Currency) {
			k.add("money", at+".prices."+meter, "a unit of a money meter costs 0.01 %s", m.Currency)
		}
	}
	for _, term := range slices.Sorted(maps.Keys(pl.Fees)) {
		if !termLength.MatchString(term) {
			k.add("price", at+".fees."+term, "%q is no length of a term such as P1M or P1Y", term)
		}
		k.checkPrice(at+".fees."+term, pl.Fees[term])
	}
	for _, q := range slices.Sorted(maps.Keys(pl.Quantities)) {
		if text := pl.Quantities[q].Price; text != "" {
			priced = true
			k.checkPrice(at+".quantities."+q+".price", text)
		}
	}
	if priced && !currencyCode.MatchString(pl.Currency) {
		k.add("price", at+".currency", "%q is not a currency such as USD", pl.Currency)
	}
}

func (k *checker) checkPrice(at, text string) (money.Price, bool) {
	p, err := money.ParsePrice(text)
	if err != nil {
		k.add("price", at, "%q %v", text, err)
	}
	return p, err == nil
}

func (k *checker) checkQuantity(at string, pr Product, id string, q Quantity) {
	if !idName.MatchString(id) {
		k.add("name", at, "%q is not a name: lower-case letters, digits and _, starting with a letter", id)
	}
	if q.Max > 0 && q.Max < q.Min {
		k.add("shape", at+".max", "%d is less than the %d at least", q.Max, q.Min)
	}
	k.checkNames(at, pr, q.Names, map[string]string{}, id)
}

func (k *checker) checkOffers(at string, pr Product) {
	seen, names, sells := map[string]bool{}, map[string]string{}, map[string]string{}
	for i, o := range pr.Offers {
		at := fmt.Sprintf("%s.offers[%d]", at, i)
		k.checkID(at, o.ID, seen)
		k.checkNames(at, pr, o.Names, names, o.ID)
		for j, plan := range o.Plans {
			if _, ok := pr.Plan(plan); !ok {
				k.add("reference", fmt.Sprintf("%s.plans[%d]", at, j), "there is no plan %q", plan)
			}
		}
		for j, cloud := range o.Marketplaces {
			if !pr.Listed(cloud) {
				k.add("listing", fmt.Sprintf("%s.marketplaces[%d]", at, j), "the product is not listed on %q", cloud)
			}
		}
		for _, cloud := range clouds {
			for _, pl := range pr.Plans {
				if o.Names[cloud] != "" || !pr.sells(o, cloud, pl) {
					continue
				}
				key := cloud + " " + pl.ID
				if other, ok := sells[key]; ok {
					k.add("offer", at, "plan %s on %s is already sold by offer %s: name the vendor's offers, or the plans", pl.ID, cloud, other)
				}
				sells[key] = o.ID
			}
		}
		for j, ph := range o.Phases {
			k.checkPhase(fmt.Sprintf("%s.phases[%d]", at, j), pr, o, ph)
		}
	}
}

func (k *checker) checkPhase(at string, pr Product, o Offer, ph Phase) {
	contracted := map[string]bool{}
	for _, pl := range pr.Plans {
		if len(o.Plans) == 0 || slices.Contains(o.Plans, pl.ID) {
			for q := range pl.Quantities {
				contracted[q] = true
			}
		}
	}
	for _, q := range slices.Sorted(maps.Keys(ph.Quantities)) {
		if !contracted[q] {
			k.add("reference", at+".quantities."+q, "no plan of the offer contracts it")
		}
	}
	for _, of := range slices.Sorted(maps.Keys(ph.Prices)) {
		if _, ok := pr.Meter(of); !ok && !contracted[of] {
			k.add("reference", at+".prices."+of, "there is no meter or contracted quantity of this name")
		}
		k.checkPrice(at+".prices."+of, ph.Prices[of])
	}
	if ph.Price == "" {
		if len(ph.Instalments) > 0 {
			k.add("phase", at+".instalments", "the phase has no price that they could be parts of")
		}
		return
	}
	price, ok := k.checkPrice(at+".price", ph.Price)
	var sum money.Amount
	last := ""
	for i, part := range ph.Instalments {
		at := fmt.Sprintf("%s.instalments[%d]", at, i)
		if _, err := time.Parse(time.DateOnly, part.On); err != nil {
			k.add("phase", at+".on", "%q is no date such as 2027-01-31", part.On)
		} else if part.On <= last {
			k.add("phase", at+".on", "%s is not after %s", part.On, last)
		}
		last = part.On
		amount, valid := k.checkPrice(at+".amount", part.Amount)
		ok = ok && valid
		sum = sum.Add(amount.Of(1, 0))
	}
	if ok && len(ph.Instalments) > 0 && sum.Cmp(price.Of(1, 0)) != 0 {
		k.add("phase", at+".instalments", "make up %s, and the phase costs %s", sum.Text(2), price)
	}
}

// checkCapabilities adds what the control plane cannot do. Names nobody knows are
// among it: a promise must not hang on a slip of the pen.
func (k *checker) checkCapabilities(c *Catalog, can []string) {
	for i, pr := range c.Products {
		at := fmt.Sprintf("products[%d]", i)
		need := func(at, who string, needs []string) {
			for j, n := range needs {
				if !slices.Contains(can, n) {
					k.add("capability", fmt.Sprintf("%s[%d]", at, j), "%s needs %q, and the control plane can only %s", who, n, strings.Join(can, ", "))
				}
			}
		}
		for _, f := range slices.Sorted(maps.Keys(pr.Features)) {
			if slices.ContainsFunc(pr.Plans, func(p Plan) bool { return slices.Contains(p.Features, f) }) {
				need(at+".features."+f+".needs", "feature "+f, pr.Features[f].Needs)
			}
		}
		for j, m := range pr.Meters {
			need(fmt.Sprintf("%s.meters[%d].needs", at, j), "meter "+m.ID, m.Needs)
		}
		for j, pl := range pr.Plans {
			need(fmt.Sprintf("%s.plans[%d].needs", at, j), "plan "+pl.ID, pl.Needs)
		}
	}
}
