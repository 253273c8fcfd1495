package catalog

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/tailmarket/tailmarket/internal/money"
)

const (
	awsOfferDimensions = 24
	awsTags            = 5
	awsPlaces          = 8
	gcpPlans           = 24
	gcpMetrics         = 8
	gcpPlaces          = 9
	gcpMonths          = 7 * 12
	gcpReserved        = "cloudmarketplace.googleapis.com/"
	azureDimensions    = 30
	azureDigits        = 15
)

var (
	awsProductID = regexp.MustCompile(`^(prod-[a-z0-9]+|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$`)
	awsTagKey    = regexp.MustCompile(`^[a-zA-Z0-9+ \-=._:/@]{1,100}$`)
	gcpService   = regexp.MustCompile(`^[a-z0-9-]+\.(endpoints\.[a-z0-9.-]+\.cloud\.goog|gcpmarketplace\.[a-z0-9-]+(\.[a-z0-9-]+)+)$`)
	gcpLabelKey  = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)
	azureName    = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,49}$`)
	azureTerms   = []string{"P1M", "P1Y", "P2Y", "P3Y", "P4Y", "P5Y"}
	gcpLabelKeys = []string{gcpReserved + "resource_name", gcpReserved + "container_name"}
	gcpMaxFee, _ = money.ParsePrice("10000000") // a thousand million cents
)

// checkVendors adds what a marketplace cannot carry.
func (k *checker) checkVendors(c *Catalog) {
	for i, pr := range c.Products {
		k.accept = pr.Accept
		at := fmt.Sprintf("products[%d]", i)
		for _, v := range []struct {
			cloud string
			check func(at string, pr Product)
		}{{"aws", k.checkAWS}, {"gcp", k.checkGCP}, {"azure", k.checkAzure}} {
			if pr.Listed(v.cloud) {
				v.check(at, pr)
				k.checkCounting(at, pr, v.cloud)
			}
		}
	}
}

// usual is how a marketplace counts, and so does billing.
var usual = map[string]Counting{"aws": CalendarMonth, "gcp": PacificMonth, "azure": TermMonth}

func (k *checker) checkCounting(at string, pr Product, cloud string) {
	for i, o := range pr.Offers {
		if o.Counting != "" && o.Counting != usual[cloud] && pr.offers(o, cloud) {
			k.add("counting", fmt.Sprintf("%s.offers[%d].counting_period", at, i), "%s is not the %s by which purchases on %s are counted", o.Counting, usual[cloud], cloud)
		}
	}
}

// onSale are the plans a marketplace sells, with their places in the file.
func (pr Product) onSale(at, cloud string) func(yield func(string, Plan) bool) {
	return func(yield func(string, Plan) bool) {
		for i, pl := range pr.Plans {
			if pl.soldOn(cloud) && !yield(fmt.Sprintf("%s.plans[%d]", at, i), pl) {
				return
			}
		}
	}
}

// metered are the dimensions of a plan at a marketplace, each once.
func (pr Product) metered(pl Plan, cloud string) []string {
	var out []string
	for _, m := range pr.Meters {
		if d := pr.Dimension(pl.ID, m, cloud); d != "" && !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	return out
}

// pricesAt are a plan's prices that can be read, by their places.
func (p Plan) pricesAt(at string) map[string]money.Price {
	texts := map[string]string{}
	for meter, text := range p.Prices {
		texts[at+".prices."+meter] = text
	}
	for term, text := range p.Fees {
		texts[at+".fees."+term] = text
	}
	for q, v := range p.Quantities {
		texts[at+".quantities."+q+".price"] = v.Price
	}
	out := map[string]money.Price{}
	for path, text := range texts {
		if price, err := money.ParsePrice(text); err == nil { // else "price" has said it
			out[path] = price
		}
	}
	return out
}

// checkFractions: whole units are all that a marketplace takes.
func (k *checker) checkFractions(rule, at, cloud, who string, pr Product) {
	for i, m := range pr.Meters {
		if m.Scale > 0 && m.Dimensions[cloud] != "" && m.Fractions != Carried {
			k.add(rule, fmt.Sprintf("%s.meters[%d].scale", at, i), "%s counts %d decimal places, and %s takes whole units", m.ID, m.Scale, who)
		}
	}
}

// checkNetted: a marketplace that takes nothing off is not relied upon for it.
func (k *checker) checkNetted(rule, at, cloud, who string, pr Product) {
	for i, m := range pr.Meters {
		if m.NettedBy == Marketplace && m.Dimensions[cloud] != "" {
			k.add(rule, fmt.Sprintf("%s.meters[%d].netted_by", at, i), "%s takes nothing off: included units would be billed", who)
		}
	}
	for i, o := range pr.Offers {
		if o.NettedBy == Marketplace && pr.offers(o, cloud) {
			k.add(rule, fmt.Sprintf("%s.offers[%d].netted_by", at, i), "%s takes nothing off: included units would be billed", who)
		}
	}
}

func (k *checker) checkAWS(at string, pr Product) {
	if a := pr.AWS; a.ProductID != "" && (!awsProductID.MatchString(a.ProductID) || a.ProductID == a.ProductCode) {
		k.add("aws.listing", at+".aws.product_id", "%q is no product id such as prod-0example0exam", a.ProductID)
	}
	costs, silent := false, true
	for at, pl := range pr.onSale(at, "aws") {
		if n := len(pr.metered(pl, "aws")); n > awsOfferDimensions {
			k.add("aws.dimensions", at, "%s has %d usage dimensions, and an offer at most %d", pl.ID, n, awsOfferDimensions)
		}
		if n := len(pl.Quantities); n > awsOfferDimensions {
			k.add("aws.quantities", at+".quantities", "%s has %d contract dimensions, and an offer at most %d", pl.ID, n, awsOfferDimensions)
		}
		prices := pl.pricesAt(at)
		for _, path := range slices.Sorted(maps.Keys(prices)) {
			if n := prices[path].Places(); n > awsPlaces {
				k.add("aws.price-places", path, "%s has %d decimal places", prices[path], n)
			}
			costs, silent = costs || !prices[path].IsZero(), false
		}
		if len(prices) > 0 && pl.Currency != "USD" {
			k.add("aws.currency", at+".currency", "prices are in %s", pl.Currency)
		}
		if d := pl.TrialDays; d != 0 && (d < 7 || d > 31) {
			k.add("aws.trial", at+".trial_days", "the trial lasts %d days", d)
		}
	}
	if !costs && !silent {
		k.add("aws.free", at+".plans", "nothing that is sold on AWS costs more than 0")
	}
	k.checkFractions("aws.fractions", at, "aws", "AWS", pr)
	k.checkNetted("aws.netted", at, "aws", "AWS", pr)
	for i, m := range pr.Meters {
		at, tags := fmt.Sprintf("%s.meters[%d].split_by", at, i), 0
		for j, s := range m.SplitBy {
			if s.AWS == "" || m.Dimensions["aws"] == "" {
				continue
			}
			if tags++; !awsTagKey.MatchString(s.AWS) {
				k.add("aws.tags", fmt.Sprintf("%s[%d].aws", at, j), "%q is no tag's key", s.AWS)
			}
		}
		if tags > awsTags {
			k.add("aws.tags", at, "%s is split by %d tags, and an allocation has at most %d", m.ID, tags, awsTags)
		}
	}
}

func (k *checker) checkGCP(at string, pr Product) {
	if !gcpService.MatchString(pr.GCP.Service) {
		k.add("gcp.service", at+".gcp.service", "%q has neither form of a service domain", pr.GCP.Service)
	}
	plans, asked := 0, map[string]money.Price{}
	for at, pl := range pr.onSale(at, "gcp") {
		if plans++; plans == gcpPlans+1 {
			k.add("gcp.plans", at, "%s is plan %d of the product", pl.ID, plans)
		}
		if len(pl.Quantities) > 0 {
			k.add("gcp.quantities", at+".quantities", "%s contracts %s, and an entitlement has no quantity", pl.ID, strings.Join(slices.Sorted(maps.Keys(pl.Quantities)), ", "))
		}
		if period.MatchString(pl.Names["gcp"]) {
			k.add("gcp.plan-name", at+".names.gcp", "%q would be read as a longer variant of %s", pl.Names["gcp"], period.ReplaceAllString(pl.Names["gcp"], ""))
		}
		if n := len(pr.metered(pl, "gcp")); n > gcpMetrics {
			k.add("gcp.metrics", at, "%s has %d metrics, and a plan at most %d", pl.ID, n, gcpMetrics)
		}
		for _, m := range pr.Meters {
			price, err := money.ParsePrice(pl.Prices[m.ID])
			metric := pr.Dimension(pl.ID, m, "gcp")
			if metric == "" || err != nil {
				continue
			}
			if other, ok := asked[metric]; ok && other.Cmp(price) != 0 {
				k.add("gcp.metric-price", at+".prices."+m.ID, "metric %q costs %s here and %s in another plan", metric, price, other)
			}
			asked[metric] = price
			if n := price.Places(); n > gcpPlaces {
				k.add("gcp.price-places", at+".prices."+m.ID, "%s has %d decimal places", price, n)
			}
		}
		if len(pl.Prices) > 0 && pl.Currency != "USD" {
			k.add("gcp.currency", at+".currency", "prices are in %s", pl.Currency)
		}
		for _, term := range slices.Sorted(maps.Keys(pl.Fees)) {
			if pl.Currency != "USD" {
				k.add("gcp.fee", at+".fees."+term, "the fee is in %s", pl.Currency)
				break
			}
			k.checkCents(at+".fees."+term, pl.Fees[term])
		}
		if d := pl.TrialDays; d != 0 && d < 5 {
			k.add("gcp.trial", at+".trial_days", "the trial lasts %d days", d)
		}
	}
	if !pr.GCP.Double {
		k.checkFractions("gcp.fractions", at, "gcp", "an INT64 metric", pr)
	}
	for i, m := range pr.Meters {
		at := fmt.Sprintf("%s.meters[%d]", at, i)
		if d := m.Dimensions["gcp"]; d != "" && !strings.HasPrefix(d, pr.GCP.Service+"/") {
			k.add("gcp.metric-name", at+".dimensions.gcp", "%q does not begin with %s/", d, pr.GCP.Service)
		}
		for j, s := range m.SplitBy {
			at := fmt.Sprintf("%s.split_by[%d].gcp", at, j)
			switch {
			case s.GCP == "" || slices.Contains(gcpLabelKeys, s.GCP):
			case !gcpLabelKey.MatchString(s.GCP):
				k.add("gcp.labels", at, "%q is no label's key", s.GCP)
			default:
				k.add("gcp.label-reach", at, "%q may not reach the buyer's cost reports", s.GCP)
			}
		}
	}
	for i, o := range pr.Offers {
		at := fmt.Sprintf("%s.offers[%d]", at, i)
		if !pr.offers(o, "gcp") {
			continue
		}
		months := 0
		for j, ph := range o.Phases {
			at := fmt.Sprintf("%s.phases[%d]", at, j)
			months += ph.Months
			k.checkCents(at+".price", ph.Price)
			for n, part := range ph.Instalments {
				k.checkCents(fmt.Sprintf("%s.instalments[%d].amount", at, n), part.Amount)
			}
		}
		if months > gcpMonths {
			k.add("gcp.term", at+".phases", "last %d months together, and a contract at most %d", months, gcpMonths)
		}
	}
}

// checkCents: Google's fees are counted in cents.
func (k *checker) checkCents(at, text string) {
	if p, err := money.ParsePrice(text); err == nil && (p.Places() > 2 || p.Cmp(gcpMaxFee) > 0) {
		k.add("gcp.fee", at, "%s is not a whole number of cents up to 10,000,000.00", p)
	}
}

func (k *checker) checkAzure(at string, pr Product) {
	k.checkAzureName(at+".azure.offer_id", pr.Azure.OfferID)
	if n := len(pr.AllDimensions("azure")); n > azureDimensions {
		k.add("azure.dimensions", at+".meters", "the plans have %d dimensions together, and an offer at most %d", n, azureDimensions)
	}
	for i, m := range pr.Meters {
		if d := m.Dimensions["azure"]; d != "" {
			k.checkAzureName(fmt.Sprintf("%s.meters[%d].dimensions.azure", at, i), d)
		}
	}
	perUser, flat := 0, 0
	for at, pl := range pr.onSale(at, "azure") {
		metered := len(pr.metered(pl, "azure")) > 0
		if len(pl.Quantities) > 0 {
			perUser++
		} else {
			flat++
		}
		switch {
		case len(pl.Quantities) > 1:
			k.add("azure.one-quantity", at+".quantities", "%s contracts %d quantities", pl.ID, len(pl.Quantities))
		case len(pl.Quantities) == 1 && metered:
			k.add("azure.seats-metered", at+".quantities", "%s sells %s and has metered dimensions", pl.ID, strings.Join(slices.Sorted(maps.Keys(pl.Quantities)), ", "))
		case perUser > 0 && flat > 0:
			k.add("azure.pricing-model", at, "%s has another pricing model than a plan before it", pl.ID)
		}
		if name := pl.Names["azure"]; name != "" {
			k.checkAzureName(at+".names.azure", name)
		}
		for _, meter := range slices.Sorted(maps.Keys(pl.Included)) {
			q := pl.Included[meter].Quantity
			if _, err := money.Parse(q, 0); err != nil && metered {
				k.add("azure.included-whole", at+".included."+meter+".quantity", "%q is not a whole number", q)
			}
		}
		if pl.TrialDays > 0 && metered {
			k.add("azure.trial", at+".trial_days", "%s has metered dimensions", pl.ID)
		}
		prices := pl.pricesAt(at)
		for _, path := range slices.Sorted(maps.Keys(prices)) {
			if n := prices[path].Digits(); n > azureDigits {
				k.add("azure.price-digits", path, "%s has %d digits", prices[path], n)
			}
		}
		if len(prices) > 0 && pl.Currency != "USD" {
			k.add("azure.currency", at+".currency", "prices are in %s", pl.Currency)
		}
		for _, term := range slices.Sorted(maps.Keys(pl.Fees)) {
			if !slices.Contains(azureTerms, term) {
				k.add("azure.term", at+".fees."+term, "%s is none of %s", term, strings.Join(azureTerms, ", "))
			}
		}
	}
	k.checkNetted("azure.netted", at, "azure", "Microsoft", pr)
}

func (k *checker) checkAzureName(at, name string) {
	if name != "" && !azureName.MatchString(name) {
		k.add("azure.names", at, "%q is longer, or has other characters", name)
	}
}
