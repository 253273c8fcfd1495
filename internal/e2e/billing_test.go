package e2e

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/catalog"
	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/marketplace/aws"
	"github.com/tailmarket/tailmarket/internal/money"
	"github.com/tailmarket/tailmarket/internal/simulator"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/store/storetest"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

// meteredBuyer is a purchase with what its script used, counted by the script.
type meteredBuyer struct {
	simulator.Buyer
	sub   id.Subscription
	from  time.Time // usage is collected up to here
	ended bool
	// expected
	requests int64            // tenths
	minutes  int64            // hundredths
	people   map[string]bool  // with their month
	peak     map[string]int64 // by month
	events   []billing.UsageEvent
	corrects int
}

// meteredWorld is the pipeline between a real store and a marketplace's wire.
type meteredWorld struct {
	t      *testing.T
	m      marketplace.ID
	month  func(time.Time) string // the counting period, in the script's own arithmetic
	sim    *simulator.Simulator
	client *http.Client // trusts it, by roots
	roots  *x509.CertPool
	store  *store.Store
	bill   *billing.Service
	rng    *rand.Rand
	n      int
}

// openSimulated starts the marketplaces, and a client that trusts them.
func openSimulated(t *testing.T, o simulator.Options) (*simulator.Simulator, *http.Client, *x509.CertPool) {
	t.Helper()
	o.Weather = cmp.Or(o.Weather, simulator.WeatherHostile)
	o.Channel, o.Start = simulator.ChannelHTTPS, time.Date(2026, 11, 30, 9, 0, 0, 0, time.UTC)
	sim, err := simulator.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	messages := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})) // they belong to other stories
	t.Cleanup(messages.Close)
	sim.SetApp(messages.URL)
	ctx, cancel := context.WithCancel(context.Background())
	var idle sync.WaitGroup
	t.Cleanup(func() { cancel(); idle.Wait() })
	idle.Go(func() {
		for now := sim.Now(); ctx.Err() == nil; {
			now = sim.Idle(ctx, "test", now)
		}
	})
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(sim.CAPEM()) {
		t.Fatal("the simulator's certificate is not PEM")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	return sim, &http.Client{Transport: transport, Timeout: 30 * time.Second}, roots
}

// atAWS are the settings of a seller at AWS.
func atAWS(sim *simulator.Simulator) aws.Config {
	product, o := sim.Options().Products[0], sim.Options()
	header, key := sim.EventKey()
	return aws.Config{
		Region: o.Region, SellerAccount: o.SellerAccount, Endpoint: sim.AWSURL(), QueueURL: sim.QueueURL(), EventKeyHeader: header, EventKey: key,
		AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "not-a-secret",
		Listings: []aws.Listing{{Product: catalog.Default().Products[0].ID, ProductCode: product.Code, ProductID: product.ID, Dimensions: product.Dimensions}},
	}
}

func openMetered(t *testing.T, s *store.Store, o simulator.Options) *meteredWorld {
	t.Helper()
	sim, client, roots := openSimulated(t, o)
	quiet := slog.New(slog.DiscardHandler)
	adapter, err := atAWS(sim).Open(t.Context(), client, quiet, sim.Now)
	if err != nil {
		t.Fatal(err)
	}
	bill := billing.New(billing.Options{
		Store: s, Catalog: catalog.Default(), Vendors: map[marketplace.ID]billing.Submitter{marketplace.AWS: adapter}, Now: sim.Now, Wall: time.Now, Log: quiet,
	})
	return &meteredWorld{t: t, m: marketplace.AWS, month: month, sim: sim, client: client, roots: roots, store: s, bill: bill, rng: rand.New(rand.NewPCG(o.Seed, 7))} // a story is told again by its seed
}

func (w *meteredWorld) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *meteredWorld) advance(d time.Duration) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 60*time.Second)
	defer cancel()
	w.ok(w.sim.Advance(ctx, w.sim.Now().Add(d)))
}

// buy is a purchase at AWS, and its rows as the rooms before billing leave them.
func (w *meteredWorld) buy() *meteredBuyer {
	w.t.Helper()
	bought, err := w.sim.Buy(w.t.Context(), simulator.Purchase{Habits: &simulator.Habits{Absent: true}})
	w.ok(err)
	b := &meteredBuyer{Buyer: bought, sub: id.NewSubscription(), from: bought.Bought, people: map[string]bool{}, peak: map[string]int64{}}
	w.ok(w.store.SubscriptionTx(w.t.Context(), func(ctx context.Context, tx subscription.Tx) error {
		c, err := tx.EnsureCustomer(ctx, subscription.Customer{ID: id.NewCustomer(), Marketplace: marketplace.AWS, Account: bought.Account})
		if err != nil {
			return err
		}
		s, _, err := tx.EnsureSubscription(ctx, subscription.Subscription{
			ID: b.sub, Marketplace: marketplace.AWS, Purchase: bought.LicenseArn, Account: bought.Account, Product: "tailnet", Plan: "standard", Customer: c.ID, Lineage: b.sub, TailnetOf: b.sub,
			CutOver: clock.HourOf(bought.Bought), Facts: subscription.Facts{Marketplace: marketplace.AWS, StartsAt: bought.Bought, Granted: bought.Bought},
		})
		if err != nil {
			return err
		}
		return tx.SaveSubscription(ctx, s)
	}))
	return b
}

// cancel ends the purchase at AWS, now.
func (w *meteredWorld) cancel(b *meteredBuyer) {
	w.t.Helper()
	_, err := w.sim.Cancel(w.t.Context(), b.LicenseArn, "")
	w.ok(err)
	now := w.sim.Now()
	w.ok(w.store.SubscriptionTx(w.t.Context(), func(ctx context.Context, tx subscription.Tx) error {
		s, err := tx.LockSubscription(ctx, b.sub)
		if err != nil {
			return err
		}
		s.Facts.Ends = []subscription.End{{Version: now, At: now, Reason: "CANCELLED"}}
		return tx.SaveSubscription(ctx, s)
	}))
	b.ended = true
}

func month(t time.Time) string { return t.Format("2006-01 ") }

// report sends usage the product counted: some of it late, some twice, some corrected.
func (w *meteredWorld) report(b *meteredBuyer) {
	w.t.Helper()
	now := w.sim.Now()
	var out []billing.UsageEvent
	for range w.rng.IntN(4) {
		w.n++
		used, q := now.Add(-time.Duration(w.rng.IntN(6*60))*time.Minute), int64(w.rng.IntN(60))
		if used.Before(b.Bought) {
			used = now.Add(-time.Minute)
		}
		e := billing.UsageEvent{Source: "product", ID: fmt.Sprint(w.n), Subject: string(b.sub), Meter: "api_request", Quantity: money.Format(q, 1), UsedAt: used}
		if b.events, b.requests = append(b.events, e), b.requests+q; w.rng.IntN(3) == 0 {
			out = append(out, e)
		}
		out = append(out, e)
	}
	if len(b.events) > 0 && w.rng.IntN(3) == 0 {
		i, q := w.rng.IntN(len(b.events)), int64(w.rng.IntN(60))
		was, err := money.Parse(b.events[i].Quantity, 1)
		w.ok(err)
		w.n++
		c := billing.UsageEvent{
			Source: "product", ID: fmt.Sprint(w.n), Quantity: money.Format(q, 1), Corrects: &billing.EventName{Source: "product", ID: b.events[i].ID},
		}
		out = append([]billing.UsageEvent{c}, out...) // it may overtake what it corrects
		b.events[i], b.requests, b.corrects = billing.UsageEvent{ID: c.ID, Quantity: c.Quantity}, b.requests+q-was, b.corrects+1
	}
	got, err := w.bill.Ingest(w.t.Context(), out)
	w.ok(err)
	for _, o := range got {
		if o.Result != billing.Accepted && o.Result != billing.Duplicate && o.Reason != string(billing.WaitsForTarget) {
			w.t.Fatalf("%+v", o)
		}
	}
}

// collect sends what a look at the tailnet counts.
func (w *meteredWorld) collect(b *meteredBuyer) {
	w.t.Helper()
	now := w.sim.Now()
	used := now.Add(-time.Second)
	var out []billing.UsageEvent
	add := func(meter, name, q string) {
		out = append(out, billing.UsageEvent{Source: "look", ID: string(b.sub) + meter + name + now.String(), Subject: string(b.sub), Meter: meter, Quantity: q, Of: name, UsedAt: used})
	}
	for range w.rng.IntN(3) {
		name := fmt.Sprint("person ", w.rng.IntN(12))
		b.people[w.month(used)+name] = true
		add("active_user", name+strconv.Itoa(len(out)), "1")
		out[len(out)-1].Of = name
	}
	q := int64(40 + w.rng.IntN(30))
	b.peak[w.month(used)] = max(b.peak[w.month(used)], q)
	add("tagged_resource", "", strconv.FormatInt(q, 10))
	m := int64(w.rng.IntN(30000))
	b.minutes += m
	add("ephemeral_minute", "node", money.Format(m, 2))
	w.ok(w.bill.Collect(w.t.Context(), b.sub, b.from, now, out))
	b.from = now
}

// submit sends until nothing is left, as the due row does.
func (w *meteredWorld) submit() {
	w.t.Helper()
	var err error
	for range 20 {
		if _, err = w.bill.Submit(w.t.Context(), string(w.m)); err == nil {
			return
		}
		if fault.ClassOf(err) == "" {
			break
		}
	}
	w.t.Fatalf("submit never settles: %v", err)
}

func (w *meteredWorld) end(b *meteredBuyer) {
	w.t.Helper()
	for range 10 {
		settled, err := w.bill.Close(w.t.Context(), b.sub)
		if w.ok(err); settled {
			return
		}
		w.submit()
	}
	w.t.Fatal("close never settles")
}

// What AWS will charge is what the ledger says was accepted, and what the ledger
// measured is what the script used, whatever the weather does to the calls.
func TestTheBillIsTheLedger(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			storetest.Each(t, func(t *testing.T, s *store.Store) {
				meterThroughWeather(t, openMetered(t, s, simulator.Options{Seed: seed}))
			})
		})
	}
}

func meterThroughWeather(t *testing.T, w *meteredWorld) {
	buyers := []*meteredBuyer{w.buy(), w.buy(), w.buy()}
	w.advance(50 * time.Minute)
	for hour := range 36 { // a month ends in it
		for i, b := range buyers {
			if b.ended {
				continue
			}
			w.report(b)
			w.collect(b)
			if hour == 9*(i+1) {
				w.cancel(b) // in the middle of an hour
				w.end(b)
			}
			_, err := w.bill.Seal(t.Context(), b.sub)
			w.ok(err)
		}
		w.submit()
		w.advance(time.Hour)
	}
	late := buyers[0]
	got, err := w.bill.Ingest(t.Context(), []billing.UsageEvent{{Source: "product", ID: "late", Subject: string(late.sub), Meter: "api_request", Quantity: "2", UsedAt: late.Bought.Add(time.Hour)}})
	if err != nil || got[0].Result != billing.Accepted {
		t.Fatal(got, err)
	}
	late.requests += 20
	w.submit()
	w.compare(buyers)

	faults := w.sim.Faults()
	for _, kind := range []simulator.Kind{simulator.KindThrottle, simulator.Kind5xx, simulator.KindAcceptThenClose, simulator.KindUnprocessed, simulator.KindDuplicateAnswer} {
		if faults[string(kind)] == 0 {
			t.Errorf("the weather was not hostile: no %s", kind)
		}
	}
}

type billLine struct{ purchase, meter string }

// billed is what the marketplace charges for each meter, under whatever dimensions.
func (w *meteredWorld) billed() map[billLine]string {
	w.t.Helper()
	sums := map[billLine]int64{}
	for _, l := range w.sim.Bill().Lines {
		exact := l.Exact
		if exact == "" {
			exact = strconv.FormatInt(l.Quantity, 10)
		}
		q, err := money.Parse(exact, money.MaxScale)
		w.ok(err)
		meter := strings.TrimPrefix(l.Dimension[strings.LastIndex(l.Dimension, "/")+1:], "enterprise_")
		sums[billLine{l.Purchase, meter}] += q
	}
	out := map[billLine]string{}
	for l, q := range sums {
		out[l] = money.Format(q, money.MaxScale)
	}
	return out
}

func (w *meteredWorld) compare(buyers []*meteredBuyer) {
	w.t.Helper()
	rep, err := w.bill.Conservation(w.t.Context())
	if w.ok(err); rep.Broken != 0 || rep.Unsure != "0" {
		w.t.Fatalf("unsure %s, broken: %v", rep.Unsure, rep.Problems)
	}
	billed := w.billed()
	corrected := 0
	for _, b := range buyers {
		peak := int64(0)
		for _, q := range b.peak {
			peak += q
		}
		corrected += b.corrects
		expected := map[string]string{
			"api_request": money.Format(b.requests, 1), "ephemeral_minute": money.Format(b.minutes, 2), "active_user": strconv.Itoa(len(b.people)), "tagged_resource": strconv.FormatInt(peak, 10),
		}
		for _, m := range rep.Meters {
			if m.Subscription != b.sub {
				continue
			}
			if m.Measured != expected[m.Meter] {
				w.t.Errorf("%s used %s %s, the ledger measured %s", b.ID, expected[m.Meter], m.Meter, m.Measured)
			}
			key := billLine{b.Purchase, m.Meter}
			if billed[key] != m.Accepted || m.Accepted == "0" || m.Open != "0" || m.Queued != "0" || m.Sent != "0" || m.Held != "0" {
				w.t.Errorf("%s %s: the marketplace bills %s, the ledger says %+v", b.ID, m.Meter, billed[key], m)
			}
			delete(expected, m.Meter)
			delete(billed, key)
		}
		if len(expected) > 0 {
			w.t.Errorf("the ledger knows nothing of %v of %s", expected, b.ID)
		}
	}
	if len(billed) > 0 || corrected == 0 {
		w.t.Errorf("the marketplace bills what nobody used: %v; %d corrections", billed, corrected)
	}
}
