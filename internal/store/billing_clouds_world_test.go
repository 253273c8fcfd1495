package store_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/catalog"
	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/marketplace/azure"
	"github.com/tailmarket/tailmarket/internal/marketplace/gcp"
	"github.com/tailmarket/tailmarket/internal/money"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/store/storetest"
)

// cloudCatalog is sold by three marketplaces; none of its meters needs a collector.
const cloudCatalog = `
version: clouds
products:
  - id: tailnet
    title: t
    aws: { product_code: c, product_id: p }
    gcp: { service: tailnet.endpoints.vendor.cloud.goog }
    azure: { offer_id: tailnet }
    meters:
      - { id: api_request, title: r, unit: request, kind: sum, scale: 1, source: reported, dimensions: { aws: api_request, gcp: api_request, azure: api_request } }
      - { id: person, title: p, unit: person, kind: unique, scale: 0, source: reported, dimensions: { aws: person, gcp: person, azure: person } }
      - { id: transfer, title: t, unit: byte, kind: sum, scale: 1, source: reported, dimensions: { aws: transfer, gcp: transfer, azure: transfer } }
    plans:
      - id: standard
        title: s
        default: true
        names: { gcp: standard, azure: standard }
        included: { api_request: { quantity: "INCLUDED", basis: pool } }
      - id: pro
        title: p
        names: { gcp: pro, azure: pro }
        included: { api_request: { quantity: "INCLUDED", basis: pool } }
        dimensions: { transfer: { aws: transfer_pro, gcp: transfer_pro, azure: transfer_pro } }
`

// cloudWorld is a marketplace with rules of its own: the adapters' real ones.
type cloudWorld struct {
	*meterWorld
	bills     []marketplace.Record // what the marketplace charges, line by line
	suspended bool
	forgets   bool                 // Google: the same operation is charged again
	first     map[string]time.Time // Google: when it came first; it knows it again for an hour
	cat       *catalog.Catalog
}

func parsed(t *testing.T, text string) *catalog.Catalog {
	t.Helper()
	c, err := catalog.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// selling moves a world to another marketplace.
func selling(t *testing.T, s *store.Store, m marketplace.ID, resendFor time.Duration) *cloudWorld {
	t.Helper()
	w := &cloudWorld{meterWorld: metering(t, s), first: map[string]time.Time{}, cat: parsed(t, strings.ReplaceAll(cloudCatalog, "INCLUDED", "0"))}
	w.m = m
	x := w.term[w.sub]
	x.Marketplace = m
	rules := new(azure.Adapter).Rules("tailnet")
	x.Identity = marketplace.VendorIdentity{Resource: "3f1c9d9e-5a52-4b7a-9a3c-0c1d2e3f4a5b", Plan: "standard"}
	w.v.takes = w.microsoft
	if m == marketplace.AWS {
		rules = (&vendor{}).Rules("")
		rules.Heartbeat = false
		x.Identity = marketplace.VendorIdentity{Account: "123456789012", License: "l"}
		w.v.takes = w.amazon
	}
	if m == marketplace.GCP {
		rules = new(gcp.Adapter).Rules("tailnet")
		rules.ResendFor = resendFor
		x.Identity = marketplace.VendorIdentity{ProductCode: "tailnet.endpoints.vendor.cloud.goog", Account: "account-1", License: "entitlement-1", Customer: "project_number:69700000001"}
		w.v.takes = w.google
	}
	w.v.rules, w.term[w.sub] = &rules, x
	w.Service = billing.New(billing.Options{
		Store: w.db, Catalog: w.cat, Vendors: map[marketplace.ID]billing.Submitter{m: w.v},
		Now: func() time.Time { return w.now }, Wall: func() time.Time { return w.wall }, Log: slog.New(slog.DiscardHandler),
	})
	return w
}

// microsoft takes one event of a resource, dimension and hour, of at most a day
// ago, and names what it holds.
func (w *cloudWorld) microsoft(r marketplace.Record) marketplace.Receipt {
	held, taken := w.v.slots[r.Key]
	end := w.term[w.sub].EndsAt
	switch {
	case taken:
		return marketplace.Receipt{Outcome: marketplace.OutcomeDuplicate, Quantity: held}
	case w.suspended || !end.IsZero() && !r.From.Before(end):
		return marketplace.Receipt{Outcome: marketplace.OutcomeSuspended, StopsService: true}
	case w.now.Sub(r.From) > 24*time.Hour:
		return marketplace.Receipt{Outcome: marketplace.OutcomeExpired}
	}
	w.v.slots[r.Key], w.bills = r.Quantity, append(w.bills, r)
	return marketplace.Receipt{Outcome: marketplace.OutcomeAccepted, Quantity: r.Quantity}
}

// amazon takes the first record of a licence, dimension and hour.
func (w *cloudWorld) amazon(r marketplace.Record) marketplace.Receipt {
	if _, taken := w.v.slots[r.Key]; taken {
		return marketplace.Receipt{Outcome: marketplace.OutcomeDuplicate}
	}
	w.v.slots[r.Key], w.bills = r.Quantity, append(w.bills, r)
	return marketplace.Receipt{Outcome: marketplace.OutcomeAccepted}
}

// google takes whatever is reported, and knows an operation again or does not.
func (w *cloudWorld) google(r marketplace.Record) marketplace.Receipt {
	first, known := w.first[r.Key]
	if !known {
		w.first[r.Key] = w.wall
	}
	if !known || w.forgets || w.wall.Sub(first) > time.Hour {
		w.v.slots[r.Key], w.bills = r.Quantity, append(w.bills, r)
	}
	return marketplace.Receipt{Outcome: marketplace.OutcomeAccepted}
}

// bill is what the marketplace charges for a dimension, in tenths.
func (w *cloudWorld) bill(dimension string) string {
	w.t.Helper()
	var sum int64
	for _, r := range w.bills {
		if r.Dimension == dimension {
			q, err := money.Parse(r.Quantity, 6)
			w.ok(err)
			sum += q
		}
	}
	return money.Format(sum, 6)
}

func (w *cloudWorld) charged(dimension, want string) {
	w.t.Helper()
	if got := w.bill(dimension); got != want {
		w.t.Fatalf("the marketplace charges %s %s, want %s", got, dimension, want)
	}
}

func (w *cloudWorld) edit(change func(*billing.Terms)) {
	x := w.term[w.sub]
	change(&x)
	w.term[w.sub] = x
}

// passes lets hours pass on both clocks; each is sealed when it is over.
func (w *cloudWorld) passes(n int) {
	w.t.Helper()
	for range n {
		w.now, w.wall = w.now.Add(time.Hour), w.wall.Add(time.Hour)
		w.seal()
	}
}

func clouds(t *testing.T, m marketplace.ID, resendFor time.Duration, cases map[string]func(w *cloudWorld)) {
	t.Helper()
	for name, run := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Each(t, func(t *testing.T, s *store.Store) { run(selling(t, s, m, resendFor)) })
		})
	}
}

const dedup = 50 * time.Minute

func (w *cloudWorld) slot(meter string, at time.Time) string {
	x := w.term[w.sub]
	return w.v.rules.Slot(marketplace.Record{Identity: x.Identity, Dimension: meter, Hour: clock.HourOf(at), From: clock.HourOf(at).Start()})
}
