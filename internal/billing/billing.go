package billing

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/tailmarket/tailmarket/internal/billing/ledger"
	"github.com/tailmarket/tailmarket/internal/catalog"
	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// Submitter is the part of a marketplace's adapter that metering needs.
type Submitter interface {
	Rules(product string) marketplace.Rules
	Submit(ctx context.Context, batch []marketplace.Record) ([]marketplace.Receipt, error)
}

// Station is a place in the pipeline that has numbers.
type Station string

const (
	StationIngest      Station = "ingest"
	StationSeal        Station = "seal"
	StationSubmit      Station = "submit"
	StationAcknowledge Station = "acknowledge"
)

// Observer is told what went into and came out of a station: events, hours,
// records, answers. Calls come after the commit.
type Observer interface {
	Passed(s Station, in, out int)
}

// Options are what a Service is made of; all but Observer are required.
type Options struct {
	Store    Store
	Catalog  *catalog.Catalog
	Vendors  map[marketplace.ID]Submitter
	Now      func() time.Time // business time
	Wall     func() time.Time
	Log      *slog.Logger
	Observer Observer
	// MaxWaiting is how many usage events may wait for the writer; 0: 20,000.
	MaxWaiting int
}

// Service is the metering pipeline. Safe for concurrent use.
type Service struct {
	Options

	queue *queue
}

// New makes a Service.
func New(o Options) *Service {
	if o.Observer == nil {
		o.Observer = unobserved{}
	}
	return &Service{Options: o, queue: &queue{limit: cmp.Or(o.MaxWaiting, maxWaiting)}}
}

type unobserved struct{}

func (unobserved) Passed(Station, int, int) {}

// Terms are what billing needs to know of a subscription at an instant.
type Terms struct {
	Subscription id.Subscription
	Lineage      id.Subscription
	Marketplace  marketplace.ID
	Product      string
	Identity     marketplace.VendorIdentity
	CutOver      clock.Hour // the first hour we meter; zero while the product observes
	StartsAt     time.Time  // zero while not entitled
	EndsAt       time.Time  // zero while no end is known
	Plan         string     // in force at the instant
	Plans        []Stretch  // every plan it ever had, in order; the first counts from the beginning
	Offer        string
	Quantities   map[string]int64 // contracted
	Term         time.Time        // start of the vendor's term; zero while it is not known
	Suspended    bool             // said by the marketplace, now
	SwitchedAt   time.Time        // when it was suspended or resumed last; zero when never
}

// firstHour is the first hour that may be metered; false when there is none yet.
func (t Terms) firstHour() (clock.Hour, bool) {
	if t.CutOver.IsZero() || t.StartsAt.IsZero() {
		return clock.Hour{}, false
	}
	if h := clock.HourOf(t.StartsAt); h.After(t.CutOver) {
		return h, true
	}
	return t.CutOver, true
}

// lastHour is the hour the end falls into; only meaningful when an end is known.
func (t Terms) lastHour() clock.Hour { return clock.HourOf(t.EndsAt.Add(-time.Microsecond)) }

// Account is what billing keeps of a subscription.
type Account struct {
	Subscription id.Subscription
	Lineage      id.Subscription
	Marketplace  marketplace.ID
	Product      string
	CoveredTo    time.Time // collected meters are known up to here
	FinalAt      time.Time // when the final seal was made; zero before
}

// Scope is what a lock is about: seals, ingests and answers of one scope take turns.
type Scope struct {
	Lineage id.Subscription
	Meter   string
}

func compareScopes(a, b Scope) int {
	if c := strings.Compare(string(a.Lineage), string(b.Lineage)); c != 0 {
		return c
	}
	return strings.Compare(a.Meter, b.Meter)
}

// lockAll locks scopes in one order, so that two transactions never wait for each other.
func lockAll(ctx context.Context, tx Tx, scopes []Scope) error {
	slices.SortFunc(scopes, compareScopes)
	for _, sc := range slices.Compact(scopes) {
		if err := tx.LockBilling(ctx, sc); err != nil {
			return err
		}
	}
	return nil
}

// product finds what is sold and the vendor's rules for it.
func (s *Service) product(t Terms) (catalog.Product, Submitter, marketplace.Rules, error) {
	p, ok := s.Catalog.Product(t.Product)
	if !ok {
		return p, nil, marketplace.Rules{}, fault.New(fault.Invalid, "the catalog has no product %s, which subscription %s bought; add it", t.Product, t.Subscription)
	}
	v, ok := s.Vendors[t.Marketplace]
	if !ok {
		return p, nil, marketplace.Rules{}, fault.New(fault.Invalid, "marketplace %s is not set up, and subscription %s was bought there", t.Marketplace, t.Subscription)
	}
	return p, v, v.Rules(t.Product), nil
}

// meters are the product's meters that the marketplace has a dimension for, in
// the order in which they are locked.
func meters(p catalog.Product, m marketplace.ID) []catalog.Meter {
	var out []catalog.Meter
	for _, x := range p.Meters {
		if x.Dimensions[string(m)] != "" {
			out = append(out, x)
		}
	}
	slices.SortFunc(out, func(a, b catalog.Meter) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// scale is the smallest quantity the marketplace takes.
func scale(m catalog.Meter, r marketplace.Rules) ledger.Scale {
	if r.WholeUnits {
		return ledger.Scale(m.Whole())
	}
	return 1
}

// periodOf is the counting period of an instant, named by its start.
func periodOf(r marketplace.Rules, term, at time.Time) string {
	from, _ := r.Period(at)
	if r.PeriodFrom != nil {
		from, _ = r.PeriodFrom(term, at)
	}
	return from.UTC().Format(time.RFC3339)
}

// account makes sure billing knows the subscription, in the lineage it is in now.
func (s *Service) account(ctx context.Context, tx Tx, t Terms) (Account, error) {
	a, known, err := tx.BillingAccount(ctx, t.Subscription)
	if err != nil {
		return a, err
	}
	if known && a.Lineage == t.Lineage {
		return a, nil
	}
	before := a.Lineage
	a.Subscription, a.Lineage, a.Marketplace, a.Product = t.Subscription, t.Lineage, t.Marketplace, t.Product
	if err := tx.SaveBillingAccount(ctx, a); err != nil {
		return a, err
	}
	if !known {
		return a, nil
	}
	s.Log.InfoContext(ctx, "lineage changed", "subscription", string(t.Subscription), "from", string(before), "to", string(t.Lineage))
	return a, s.joinLineage(ctx, tx, a)
}

// terms reads the terms or says that there are none.
func terms(ctx context.Context, tx Tx, sub id.Subscription, at time.Time) (Terms, bool, error) {
	t, err := tx.Terms(ctx, sub, at)
	if fault.Is(err, fault.NotFound) {
		return t, false, nil
	}
	if err != nil {
		return t, false, fmt.Errorf("terms of %s: %w", sub, err)
	}
	return t, true, nil
}
