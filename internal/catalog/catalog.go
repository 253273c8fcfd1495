package catalog

// Kind is how a meter turns events into a quantity; see design section 7.
type Kind string

const (
	Sum        Kind = "sum"         // quantities add up
	Unique     Kind = "unique"      // subjects new in the counting period
	PeakPeriod Kind = "peak_period" // rises above the period's highest
	UnitHours  Kind = "unit_hours"  // count times covered time
)

// Basis is how an included quantity is consumed.
type Basis string

const (
	Pool    Basis = "pool"     // so many units a period are free
	Level   Basis = "level"    // a free threshold: what stands above it is billed
	PerSeat Basis = "per_seat" // a pool that grows with contracted seats
)

// Source is where a meter's events come from.
type Source string

const (
	Collected Source = "collected" // by provisioning's collectors; an hour waits for coverage
	Reported  Source = "reported"  // CloudEvents from the vendor's product
)

// NettedBy is who takes included quantities and commitments off before a bill.
type NettedBy string

const (
	Us          NettedBy = "us"          // only what stands above them is sent
	Marketplace NettedBy = "marketplace" // everything is sent, the marketplace takes them off
)

// Counting is the period over which a meter counts, and after which included
// quantities begin again.
type Counting string

const (
	CalendarMonth Counting = "calendar_month" // of UTC; the usual at AWS
	PacificMonth  Counting = "pacific_month"  // of America/Los_Angeles; the usual at Google
	TermMonth     Counting = "term_month"     // from the day of the month the term began; the usual at Microsoft
	TermYear      Counting = "term_year"      // from the day of the year the term began
)

// Fractions says what becomes of a part of a unit where whole units are billed.
type Fractions string

// Carried fractions wait until they are whole; what is left at the end is written off.
const Carried Fractions = "carried"

// Catalog is everything that is sold. Field order is the file's; the shipped JSON
// Schema says the same, and a test keeps the two equal.
type Catalog struct {
	Version  string    `yaml:"version"` // frozen into every record
	Products []Product `yaml:"products"`
}

// Product is one listing, on one or more marketplaces.
type Product struct {
	ID       string             `yaml:"id"`
	Title    string             `yaml:"title,omitempty"`
	AWS      *AWSListing        `yaml:"aws,omitempty"`
	GCP      *GCPListing        `yaml:"gcp,omitempty"`
	Azure    *AzureListing      `yaml:"azure,omitempty"`
	Pages    map[string]string  `yaml:"pages,omitempty"`    // marketplace → address of the listing
	Features map[string]Feature `yaml:"features,omitempty"` // what plans may promise
	Limits   map[string]Limit   `yaml:"limits,omitempty"`   // what plans may bound
	Meters   []Meter            `yaml:"meters,omitempty"`
	Plans    []Plan             `yaml:"plans"`
	Offers   []Offer            `yaml:"offers,omitempty"`
	// Accept is a rule whose vendor fact is unconfirmed → why this seller goes ahead.
	Accept map[string]string `yaml:"accept,omitempty"`
}

// AWSListing is the product's names at AWS Marketplace.
type AWSListing struct {
	ProductCode string `yaml:"product_code"`
	ProductID   string `yaml:"product_id"`
}

// GCPListing is the product's name at Google Cloud Marketplace.
type GCPListing struct {
	Service string `yaml:"service"`          // as Producer Portal shows it
	Double  bool   `yaml:"double,omitempty"` // its metrics are declared DOUBLE and take fractions; else INT64
}

// AzureListing is the product's name at the Microsoft marketplace.
type AzureListing struct {
	OfferID string `yaml:"offer_id"`
}

// Feature is something a plan has or has not.
type Feature struct {
	Title string   `yaml:"title"`
	Needs []string `yaml:"needs,omitempty"` // capabilities of the control plane
}

// Limit is something a plan has so many of.
type Limit struct {
	Title string `yaml:"title"`
	Unit  string `yaml:"unit,omitempty"`
}

// Meter is our name of what is counted.
type Meter struct {
	ID         string            `yaml:"id"`
	Title      string            `yaml:"title,omitempty"`
	Unit       string            `yaml:"unit"`
	Kind       Kind              `yaml:"kind"`
	Scale      int               `yaml:"scale,omitempty"` // decimal places of a quantity, 0 to 6
	Source     Source            `yaml:"source"`
	Needs      []string          `yaml:"needs,omitempty"`      // capabilities of the control plane
	Dimensions map[string]string `yaml:"dimensions,omitempty"` // marketplace → the vendor's dimension
	Fractions  Fractions         `yaml:"fractions,omitempty"`
	NettedBy   NettedBy          `yaml:"netted_by,omitempty"` // other than the offer says
	// Currency makes it a money meter: its unit is 0.01 of that currency, its price
	// 0.01, and its allocations say what the money was for.
	Currency string  `yaml:"currency,omitempty"`
	SplitBy  []Split `yaml:"split_by,omitempty"`
	// NaturalKey makes one operation of a purchase count once, whatever ids its
	// retries carry; nil: only an event's own identity counts.
	NaturalKey *NaturalKey `yaml:"natural_key,omitempty"`
}

// NaturalKey is (purchase, data.operation, the interval the use falls into).
type NaturalKey struct {
	Interval Interval `yaml:"interval"`
}

// Interval is for how long an operation's name stands for one fact.
type Interval string

const (
	PerHour   Interval = "hour" // UTC
	PerDay    Interval = "day"  // UTC
	PerPeriod Interval = "period"
	Ever      Interval = "ever"
)

// Split divides a meter's records for the buyer's own books.
type Split struct {
	By  string `yaml:"by"`            // the label of a usage event
	AWS string `yaml:"aws,omitempty"` // the key of a usage allocation's tag
	GCP string `yaml:"gcp,omitempty"` // the key of a user label
}

// Plan is what a purchase buys.
type Plan struct {
	ID       string              `yaml:"id"`
	Title    string              `yaml:"title,omitempty"`
	Default  bool                `yaml:"default,omitempty"` // taken when a purchase does not name its plan
	Names    map[string]string   `yaml:"names,omitempty"`   // marketplace → the vendor's plan or offer
	Included map[string]Included `yaml:"included,omitempty"`
	// Dimensions are those of this plan alone: meter → marketplace → dimension.
	Dimensions map[string]map[string]string `yaml:"dimensions,omitempty"`
	Currency   string                       `yaml:"currency,omitempty"`   // of every price of the plan
	Prices     map[string]string            `yaml:"prices,omitempty"`     // meter → list price of one unit, decimal text
	Fees       map[string]string            `yaml:"fees,omitempty"`       // length of a term such as P1M → what it costs
	Quantities map[string]Quantity          `yaml:"quantities,omitempty"` // contracted, such as seats
	TrialDays  int                          `yaml:"trial_days,omitempty"`
	Features   []string                     `yaml:"features,omitempty"`
	Limits     map[string]int64             `yaml:"limits,omitempty"` // no entry: no limit
	Needs      []string                     `yaml:"needs,omitempty"`  // capabilities of the control plane
}

// Included is a quantity of one meter that is not billed in a counting period.
type Included struct {
	Quantity string `yaml:"quantity"` // decimal text in the meter's unit
	Basis    Basis  `yaml:"basis"`
	Per      string `yaml:"per,omitempty"` // per_seat: the contracted quantity it is multiplied with
}

// Quantity is contracted in terms: seats are one, and are no meter.
type Quantity struct {
	Title string            `yaml:"title,omitempty"`
	Price string            `yaml:"price,omitempty"` // of one for a term, decimal text
	Min   int64             `yaml:"min,omitempty"`
	Max   int64             `yaml:"max,omitempty"`   // 0: no bound
	Names map[string]string `yaml:"names,omitempty"` // marketplace → the vendor's dimension
}

// Offer is how plans are sold. Private offers and amendments are terms of a
// purchase and not listed here.
type Offer struct {
	ID           string            `yaml:"id"`
	Title        string            `yaml:"title,omitempty"`
	Plans        []string          `yaml:"plans,omitempty"`        // none: every plan
	Marketplaces []string          `yaml:"marketplaces,omitempty"` // none: wherever the product is listed
	Names        map[string]string `yaml:"names,omitempty"`        // marketplace → the vendor's offer; none: whatever no other offer names
	Counting     Counting          `yaml:"counting_period,omitempty"`
	NettedBy     NettedBy          `yaml:"netted_by,omitempty"`
	Phases       []Phase           `yaml:"phases,omitempty"`
}

// Phase is a stretch of a contract, one after the other from its start.
type Phase struct {
	Months      int               `yaml:"months"`
	Quantities  map[string]int64  `yaml:"quantities,omitempty"`  // contracted in this phase
	Prices      map[string]string `yaml:"prices,omitempty"`      // meter or quantity → price of one, other than the plan's
	Price       string            `yaml:"price,omitempty"`       // of the whole phase
	Instalments []Instalment      `yaml:"instalments,omitempty"` // how Price is paid
}

// Instalment is a part of a phase's price and its date.
type Instalment struct {
	On     string `yaml:"on"` // such as 2027-01-31
	Amount string `yaml:"amount"`
}
