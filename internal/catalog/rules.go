package catalog

// Rule is one thing that a catalog is checked for, with where it comes from.
type Rule struct {
	ID          string
	Marketplace string // empty: ours, wherever it is sold
	Says        string
	Source      string // page title and date
	Unconfirmed bool   // no page settles it: it warns, and a catalog may accept it with a reason
	Act         string // who must act, and how
}

const (
	ours    = "this file's own sense"
	author  = "author: correct the file"
	machine = "operator: choose a control plane that can, or drop the promise"

	awsMetering  = `AWS API Reference "BatchMeterUsage", 2026`
	awsQuotas    = `AWS "Service quotas for AWS Marketplace Catalog API", read 2026-11-25`
	awsUsage     = `AWS Seller Guide "Metering for usage", 2026`
	gcpPricing   = `Google "Choosing and submitting your pricing model", read 2026-11-25`
	gcpLabels    = `Google "Best practices for usage labeling", 2026`
	gcpProducer  = `Google Commerce Producer API v1beta, 2026-08-22`
	gcpSeen      = `an integrator's live system, seen 2026-09`
	azureMetered = `Microsoft "Metered billing for SaaS using the commercial marketplace metering service", 2022`
	azureAPI     = `Microsoft SaaS fulfilment OpenAPI, 2025-06`
	azureEvents  = `Microsoft "Marketplace metered billing APIs", 2025`
)

// rules is every rule, in docs/catalog.md's order; a test keeps the two equal, and
// wants of each a file that breaks it alone.
var rules = []Rule{
	{ID: "shape", Says: "every field is known, in its place and of its type", Source: "catalog.schema.json, shipped", Act: author},
	{ID: "name", Says: "our ids are lower-case letters, digits and _, start with a letter and are there once", Source: ours, Act: author},
	{ID: "reference", Says: "what is named is in the file", Source: ours, Act: author},
	{ID: "listing", Says: "a marketplace's name of a product, plan or offer belongs to one of ours, and nothing is sold where the product is not listed", Source: ours, Act: author},
	{ID: "page", Says: "a listing's page is an https address", Source: ours, Act: author},
	{ID: "dimension", Says: "a dimension belongs to one meter, has 1 to 255 characters, and no meter lacks one where the product is listed", Source: "design, section 7: two meters would fight for one slot", Act: author},
	{ID: "meter", Says: "kind, source, scale and unit of a meter go together", Source: ours, Act: author},
	{ID: "default", Says: "exactly one plan of a product is the default", Source: ours, Act: author},
	{ID: "included", Says: "an included quantity is a decimal number of its meter's scale, with a basis", Source: ours, Act: author},
	{ID: "price", Says: "a price is an exact decimal number of at most 12 places in a currency", Source: ours, Act: author},
	{ID: "phase", Says: "instalments make up a phase's price exactly, in the order of their dates", Source: ours, Act: author},
	{ID: "offer", Says: "of the offers without a vendor's name, one sells a plan at a marketplace", Source: ours, Act: author},
	{ID: "counting", Says: "an offer counts as its marketplace usually does: calendar_month at AWS, pacific_month at Google, term_month at Microsoft", Source: azureMetered + `; Google "Best practices for usage reporting", 2026 (inferred from its month-end hour); billing counts by no other`, Act: "author: take the usual one, in an offer of its own where marketplaces differ"},
	{ID: "money", Says: "a money meter adds up whole cents, costs 0.01 wherever it has a price, and is split by what it was for", Source: ours, Act: author},
	{ID: "split", Says: "records are split by a label once, under a key at one marketplace at least", Source: ours, Act: author},
	{ID: "accept", Says: "only unconfirmed rules are accepted, each with a reason", Source: ours, Act: author},
	{ID: "capability", Says: "what plans and meters promise, the control plane can do", Source: "the driver's capabilities", Act: machine},

	{ID: "aws.listing", Marketplace: "aws", Says: "a product id is prod-… or a UUID, and no product code", Source: awsMetering + `; "License Updated" events`, Act: "author: copy both from the AWS Marketplace console"},
	{ID: "aws.dimensions", Marketplace: "aws", Says: "at most 24 usage dimensions in an offer", Source: awsQuotas, Act: "author: join meters, or sell some in another product"},
	{ID: "aws.quantities", Marketplace: "aws", Says: "at most 24 contract dimensions in an offer", Source: awsQuotas, Act: "author: contract fewer quantities in a plan"},
	{ID: "aws.fractions", Marketplace: "aws", Says: "quantities are whole numbers", Source: awsMetering, Act: "author: choose a smaller unit with scale 0, or say fractions: carried"},
	{ID: "aws.free", Marketplace: "aws", Says: "one dimension of a listing costs more than 0", Source: `AWS Seller Guide "SaaS product guidelines", 2023`, Act: "author: give one meter or quantity a price"},
	{ID: "aws.netted", Marketplace: "aws", Says: "AWS takes no included quantity off: what is metered is billed", Source: awsUsage, Act: "author: netted_by: us"},
	{ID: "aws.tags", Marketplace: "aws", Says: "at most 5 tags, keys of 1 to 100 letters, digits, blanks and + - = . _ : / @", Source: awsMetering, Act: "author: split by fewer labels, or rename their keys"},
	{ID: "aws.currency", Marketplace: "aws", Says: "list prices are in USD", Source: `vendors report that only USD reaches the clouds (Flexprice design FLE-1106, 2026); no AWS page read lists others`, Unconfirmed: true, Act: "seller: ask Seller Operations, then accept it"},
	{ID: "aws.price-places", Marketplace: "aws", Says: "prices have at most 8 decimal places", Source: `AWS API Reference "BatchCreateBillingAdjustmentRequest", 2026 (8 places for adjustments; no page read gives prices' own)`, Unconfirmed: true, Act: "seller: try the price in a limited listing, then accept it"},
	{ID: "aws.trial", Marketplace: "aws", Says: "a free trial lasts 7 to 31 days", Source: `AWS Seller Guide "SaaS free trials" (7 to 90) and AWS API Reference "FreeTrialPricingTerm" (5 to 31), 2026`, Unconfirmed: true, Act: "seller: ask Seller Operations, then accept it"},

	{ID: "gcp.quantities", Marketplace: "gcp", Says: "no quantity such as seats is sold: an entitlement has none", Source: `Google REST reference "providers.entitlements", revision 20251012`, Act: "author: a plan for each size, or a meter instead of seats"},
	{ID: "gcp.plans", Marketplace: "gcp", Says: "at most 24 plans of a product", Source: gcpPricing, Act: "author: sell fewer plans, or ask the partner engineer"},
	{ID: "gcp.metrics", Marketplace: "gcp", Says: "at most 8 metrics of a plan", Source: gcpPricing, Act: "author: join meters, or ask the partner engineer"},
	{ID: "gcp.metric-price", Marketplace: "gcp", Says: "a metric has one price: a plan with another price has a metric of its own", Source: gcpSeen + ": metric ids are unique per product", Act: "author: give the plan dimensions of its own"},
	{ID: "gcp.fractions", Marketplace: "gcp", Says: "an INT64 metric takes whole numbers", Source: gcpSeen + ": a double fails the operation", Act: "author: declare the metrics DOUBLE and say double: true, choose a smaller unit, or say fractions: carried"},
	{ID: "gcp.plan-name", Marketplace: "gcp", Says: "no plan is named like an annual variant such as …-P1Y", Source: gcpSeen + ": Google puts that suffix behind a plan's id", Act: "author: name the plan without it"},
	{ID: "gcp.fee", Marketplace: "gcp", Says: "flat fees are USD in whole cents, at most 10,000,000.00", Source: gcpProducer + " (flatFee: USD cents)", Act: "author: correct fees, phase prices and instalments"},
	{ID: "gcp.term", Marketplace: "gcp", Says: "a contract lasts at most 7 years with its renewals", Source: gcpProducer, Act: "author: shorten the phases"},
	{ID: "gcp.labels", Marketplace: "gcp", Says: "label keys are at most 63 lower-case letters, digits, _ and -, or one of the two reserved ones", Source: gcpLabels, Act: "author: rename the keys"},
	{ID: "gcp.label-reach", Marketplace: "gcp", Says: "only resource_name and container_name are sure to reach the buyer's cost reports", Source: gcpLabels + " says that labels are forwarded; " + gcpSeen + ", says that free ones are not", Unconfirmed: true, Act: "seller: look at a buyer's cost report, then accept it"},
	{ID: "gcp.service", Marketplace: "gcp", Says: "a service is PRODUCT.endpoints.PROJECT.cloud.goog or PRODUCT.gcpmarketplace.DOMAIN", Source: "both forms seen; no page read defines them", Unconfirmed: true, Act: "seller: copy it from Producer Portal's billing integration, then accept it"},
	{ID: "gcp.metric-name", Marketplace: "gcp", Says: "a metric's name begins with the service and a slash", Source: `four integrators send it so; Google "Configure usage reporting to Google" prints a shorter service`, Unconfirmed: true, Act: "seller: copy it from Producer Portal, then accept it"},
	{ID: "gcp.currency", Marketplace: "gcp", Says: "prices of metrics are in USD", Source: `vendors report that only USD reaches the clouds (Flexprice design FLE-1106, 2026); no Google page read lists others`, Unconfirmed: true, Act: "seller: ask the partner engineer, then accept it"},
	{ID: "gcp.price-places", Marketplace: "gcp", Says: "prices of metrics have at most 9 decimal places", Source: "Google's APIs write money in units and nanos; no page read gives metrics' own", Unconfirmed: true, Act: "seller: try the price in Producer Portal, then accept it"},
	{ID: "gcp.trial", Marketplace: "gcp", Says: "a free trial lasts 5 days at least", Source: "a public research note of 2026-09-29 that cites Google", Unconfirmed: true, Act: "seller: try it in Producer Portal, then accept it"},

	{ID: "azure.dimensions", Marketplace: "azure", Says: "at most 30 dimensions in an offer, whatever its plans", Source: azureMetered, Act: "author: join meters, or sell some in another offer"},
	{ID: "azure.seats-metered", Marketplace: "azure", Says: "a plan per user has no metered dimensions", Source: azureMetered, Act: "author: meter the seats, or take the meters' Azure dimensions away"},
	{ID: "azure.pricing-model", Marketplace: "azure", Says: "all plans of an offer are flat rate, or all are per user", Source: azureMetered, Act: "author: sell them in two offers"},
	{ID: "azure.one-quantity", Marketplace: "azure", Says: "a subscription has one quantity", Source: azureAPI, Act: "author: contract one quantity in a plan sold there"},
	{ID: "azure.included-whole", Marketplace: "azure", Says: "included quantities are whole numbers", Source: azureMetered, Act: "author: round the quantity, or choose a smaller unit"},
	{ID: "azure.netted", Marketplace: "azure", Says: "Microsoft takes no included quantity off: only what stands above is sent", Source: azureEvents, Act: "author: netted_by: us"},
	{ID: "azure.trial", Marketplace: "azure", Says: "a plan with metered dimensions has no free trial", Source: azureMetered, Act: "author: drop the trial, or include the first period's use"},
	{ID: "azure.currency", Marketplace: "azure", Says: "prices are in USD", Source: azureMetered + " (other markets' by import)", Act: "author: write USD; Partner Center converts"},
	{ID: "azure.names", Marketplace: "azure", Says: "ids of offers, plans and dimensions are 1 to 50 lower-case letters, digits, -, _ and .", Source: "Partner Center's forms; no page read gives the length", Unconfirmed: true, Act: "seller: try the id in Partner Center, then accept it"},
	{ID: "azure.price-digits", Marketplace: "azure", Says: "prices have at most 15 digits", Source: azureAPI + " (prices are JSON doubles; no page read gives Partner Center's own)", Unconfirmed: true, Act: "seller: try the price in Partner Center, then accept it"},
	{ID: "azure.term", Marketplace: "azure", Says: "terms are P1M, P1Y, P2Y, P3Y, P4Y or P5Y", Source: azureAPI + "; P18M and PAY seen since", Unconfirmed: true, Act: "seller: look which terms Partner Center offers, then accept it"},
}

// Rules are all rules a catalog is checked for.
func Rules() []Rule { return append([]Rule(nil), rules...) }

func ruleOf(id string) Rule {
	for _, r := range rules {
		if r.ID == id {
			return r
		}
	}
	panic("no rule " + id) // every id is a literal, and a test breaks each rule
}
