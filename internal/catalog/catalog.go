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

// Catalog is everything that is sold.
type Catalog struct {
	Version  string    `yaml:"version"` // frozen into every record
	Products []Product `yaml:"products"`
}

// Product is one listing, on one or more marketplaces.
type Product struct {
	ID     string            `yaml:"id"`
	Title  string            `yaml:"title"`
	Meters []Meter           `yaml:"meters"`
	Plans  []Plan            `yaml:"plans"`
	AWS    *AWSListing       `yaml:"aws,omitempty"`
	GCP    *GCPListing       `yaml:"gcp,omitempty"`
	Azure  *AzureListing     `yaml:"azure,omitempty"`
	Pages  map[string]string `yaml:"pages,omitempty"` // marketplace → address of the listing
	Limits map[string]int    `yaml:"limits,omitempty"`
}

// AWSListing is the product's names at AWS Marketplace.
type AWSListing struct {
	ProductCode string `yaml:"product_code"`
	ProductID   string `yaml:"product_id"`
}

// GCPListing is the product's name at Google Cloud Marketplace.
type GCPListing struct {
	Service string `yaml:"service"` // as Producer Portal shows it
	Double  bool   `yaml:"double"`  // its metrics are declared DOUBLE and take fractions; else INT64
}

// AzureListing is the product's name at the Microsoft marketplace.
type AzureListing struct {
	OfferID string `yaml:"offer_id"`
}

// Meter is our name of what is counted.
type Meter struct {
	ID         string            `yaml:"id"`
	Title      string            `yaml:"title"`
	Unit       string            `yaml:"unit"`
	Kind       Kind              `yaml:"kind"`
	Scale      int               `yaml:"scale"` // decimal places of a quantity, 0 to 6
	Source     Source            `yaml:"source"`
	Dimensions map[string]string `yaml:"dimensions"` // marketplace → the vendor's dimension
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

// Plan is what a purchase buys.
type Plan struct {
	ID       string              `yaml:"id"`
	Title    string              `yaml:"title"`
	Default  bool                `yaml:"default"` // taken when a purchase does not name its plan
	Names    map[string]string   `yaml:"names"`   // marketplace → the vendor's plan or offer
	Included map[string]Included `yaml:"included"`
	// Dimensions are those of this plan alone: meter → marketplace → dimension.
	Dimensions map[string]map[string]string `yaml:"dimensions,omitempty"`
	Currency   string                       `yaml:"currency,omitempty"` // of Prices
	Prices     map[string]string            `yaml:"prices,omitempty"`   // meter → list price of one unit, decimal text
}

// Included is a quantity of one meter that is not billed in a counting period.
type Included struct {
	Quantity string `yaml:"quantity"` // decimal text in the meter's unit
	Basis    Basis  `yaml:"basis"`
	Per      string `yaml:"per,omitempty"` // per_seat: the contracted quantity it is multiplied with
}
