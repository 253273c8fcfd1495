package e2e

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/catalog"
	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/marketplace/azure"
	"github.com/tailmarket/tailmarket/internal/marketplace/gcp"
	"github.com/tailmarket/tailmarket/internal/money"
	"github.com/tailmarket/tailmarket/internal/simulator"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/store/storetest"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

// wired is an adapter as these stories use it.
type wired interface {
	marketplace.Adapter
	marketplace.Reader
}

// cloudMetered is the pipeline on Google's or Microsoft's wire.
type cloudMetered struct {
	*meteredWorld
	seller wired
	other  string // the plan a purchase may change to

	changing *meteredBuyer
	changed  time.Time
}

// atGoogle are the settings of a seller at Google.
func atGoogle(t *testing.T, sim *simulator.Simulator, roots *x509.CertPool) gcp.Config {
	t.Helper()
	o, p := sim.Options().GCP, catalog.Default().Products[0]
	c := gcp.Config{
		Provider: o.Provider, Audiences: []string{o.Audience}, PullSubscription: o.Subscription, Endpoint: sim.GCPURL(), Roots: roots, Anonymous: true,
		Listings: []gcp.Listing{{Product: p.ID, Service: p.GCP.Service, Metrics: p.AllDimensions("gcp")}},
	}
	if o.VerifyCredentials {
		key, err := sim.GCPCredentials()
		if err != nil {
			t.Fatal(err)
		}
		c.Anonymous, c.CredentialsFile = false, filepath.Join(t.TempDir(), "key.json")
		if err := os.WriteFile(c.CredentialsFile, key, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// atMicrosoft are the settings of a publisher at Microsoft.
func atMicrosoft(sim *simulator.Simulator) azure.Config {
	o, p := sim.Options().Azure, catalog.Default().Products[0]
	return azure.Config{
		TenantID: o.Tenant, ClientID: o.Client, ClientSecret: o.Secret, Authority: sim.AzureURL(), Endpoint: sim.AzureURL() + "/api", PublisherID: o.Publisher,
		Listings: []azure.Listing{{Product: p.ID, OfferID: p.Azure.OfferID, Dimensions: p.AllDimensions("azure")}},
	}
}

func openCloud(t *testing.T, s *store.Store, m marketplace.ID, o simulator.Options, resendFor time.Duration) *cloudMetered {
	t.Helper()
	o.GCP.Anonymous = !o.GCP.VerifyCredentials
	sim, client, roots := openSimulated(t, o)
	quiet := slog.New(slog.DiscardHandler)
	w := &cloudMetered{meteredWorld: &meteredWorld{t: t, m: m, sim: sim, client: client, roots: roots, store: s, rng: rand.New(rand.NewPCG(o.Seed, 11))}, other: "enterprise"}
	w.month = func(t time.Time) string { return month(t.Add(-8 * time.Hour)) } // Pacific
	if m == marketplace.Azure {
		w.other = "premium"
		w.month = func(time.Time) string { return "the first month of the term" }
	}
	var err error
	switch m {
	case marketplace.GCP:
		c := atGoogle(t, sim, roots)
		c.ResendFor = resendFor
		w.seller, err = c.Open(t.Context(), client, quiet, sim.Now)
	case marketplace.Azure:
		w.seller, err = atMicrosoft(sim).Open(client, quiet, sim.Now)
	}
	w.ok(err)
	w.bill = billing.New(billing.Options{
		Store: s, Catalog: catalog.Default(), Vendors: map[marketplace.ID]billing.Submitter{m: w.seller}, Now: sim.Now, Wall: time.Now, Log: quiet,
	})
	return w
}

// patiently repeats a call until the weather lets it through.
func (w *cloudMetered) patiently(what string, do func() error) {
	w.t.Helper()
	for range 20 {
		err := do()
		if err == nil {
			return
		}
		if fault.ClassOf(err).Final() {
			w.t.Fatalf("%s: %v", what, err)
		}
	}
	w.t.Fatalf("%s: no answer in twenty tries", what)
}

func (w *cloudMetered) decide(kind marketplace.DecisionKind, ref marketplace.Ref, subject string) {
	w.t.Helper()
	w.patiently(string(kind), func() error {
		_, err := w.seller.Decide(w.t.Context(), marketplace.Decision{Kind: kind, Ref: ref, Subject: subject})
		return err
	})
}

// look is what the marketplace says of a purchase.
func (w *cloudMetered) look(b *meteredBuyer) marketplace.Event {
	w.t.Helper()
	var got []marketplace.Event
	w.patiently("look", func() (err error) {
		got, err = w.seller.Purchase(w.t.Context(), marketplace.Ref{Purchase: b.Purchase})
		return err
	})
	if len(got) != 1 {
		w.t.Fatalf("%s is seen as %+v", b.Purchase, got)
	}
	return got[0]
}

// take is a purchase that was approved and is active, and its rows as the rooms
// before billing leave them.
func (w *cloudMetered) take() *meteredBuyer {
	w.t.Helper()
	bought, err := w.sim.Buy(w.t.Context(), simulator.Purchase{Marketplace: string(w.m), Habits: &simulator.Habits{Absent: true}})
	w.ok(err)
	token, err := w.sim.Token(bought.ID)
	w.ok(err)
	ref := marketplace.Ref{Purchase: bought.Purchase, Account: bought.Account}
	w.patiently("resolve", func() error {
		_, err := w.seller.Resolve(w.t.Context(), marketplace.Token{Value: token})
		return err
	})
	if w.m == marketplace.GCP {
		w.decide(marketplace.ApproveAccount, ref, "")
		w.decide(marketplace.Approve, ref, "")
	} else {
		w.decide(marketplace.Activate, ref, "")
	}
	b := &meteredBuyer{Buyer: bought, sub: id.NewSubscription(), people: map[string]bool{}, peak: map[string]int64{}}
	var ev marketplace.Event
	for range 12 { // until it is active, and Google says whom a report names
		w.advance(10 * time.Minute)
		if ev = w.look(b); ev.Observed.Entitled && (w.m != marketplace.GCP || ev.Consumer != "") {
			break
		}
	}
	b.Bought = w.sim.Now()
	b.from = b.Bought
	w.rows(b, func(ctx context.Context, tx subscription.Tx) error {
		c, err := tx.EnsureCustomer(ctx, subscription.Customer{ID: id.NewCustomer(), Marketplace: w.m, Account: bought.Account})
		if err != nil {
			return err
		}
		s, _, err := tx.EnsureSubscription(ctx, subscription.Subscription{
			ID: b.sub, Marketplace: w.m, Purchase: bought.Purchase, Account: bought.Account, Product: "tailnet", Listing: bought.Product, Plan: "standard", Customer: c.ID, Lineage: b.sub,
			TailnetOf: b.sub, CutOver: clock.HourOf(b.Bought),
			Facts: subscription.Facts{Marketplace: w.m, StartsAt: b.Bought, Granted: b.Bought, Consumer: subscription.Named{Version: b.Bought, Name: ev.Consumer}},
		})
		if err != nil {
			return err
		}
		if err := tx.SaveSubscription(ctx, s); err != nil {
			return err
		}
		return tx.SaveTerms(ctx, w.terms(b, ev, b.Bought))
	})
	return b
}

func (w *cloudMetered) rows(b *meteredBuyer, do func(context.Context, subscription.Tx) error) {
	w.t.Helper()
	if err := w.store.SubscriptionTx(w.t.Context(), do); err != nil {
		w.t.Fatalf("rows of %s: %v", b.ID, err)
	}
}

func (w *cloudMetered) terms(b *meteredBuyer, ev marketplace.Event, since time.Time) subscription.Terms {
	return subscription.Terms{
		Subscription: b.sub, Fingerprint: ev.Terms.Plan, Plan: ev.Terms.Plan, Named: ev.Terms.Plan, Offer: ev.Terms.Offer, Status: subscription.TermsEffective,
		From: ev.Terms.From, StatedAt: since, Version: ev.Version,
	}
}

// facts changes what is known of a purchase.
func (w *cloudMetered) facts(b *meteredBuyer, change func(*subscription.Facts)) {
	w.t.Helper()
	w.rows(b, func(ctx context.Context, tx subscription.Tx) error {
		s, err := tx.LockSubscription(ctx, b.sub)
		if err != nil {
			return err
		}
		change(&s.Facts)
		return tx.SaveSubscription(ctx, s)
	})
}

// replan asks for another plan.
func (w *cloudMetered) replan(b *meteredBuyer) {
	w.t.Helper()
	_, err := w.sim.Change(w.t.Context(), b.ID, simulator.Change{Plan: w.other})
	w.ok(err)
	if w.m == marketplace.GCP {
		w.decide(marketplace.ApproveChange, marketplace.Ref{Purchase: b.Purchase, Account: b.Account}, w.other)
	}
	w.changing = b
}

// learn looks whether the plan that was asked for is in force. It may be so for
// hours, and what was used meanwhile was counted and sent under the old one.
func (w *cloudMetered) learn() {
	w.t.Helper()
	if w.changing == nil {
		return
	}
	if ev := w.look(w.changing); ev.Terms.Plan == w.other {
		b := w.changing
		w.rows(b, func(ctx context.Context, tx subscription.Tx) error {
			return tx.SaveTerms(ctx, w.terms(b, ev, ev.Version))
		})
		w.changing, w.changed = nil, ev.Version
	}
}

func (w *cloudMetered) suspend(b *meteredBuyer, on, told bool) {
	w.t.Helper()
	_, err := w.sim.Suspend(w.t.Context(), b.ID, on)
	w.ok(err)
	if now := w.sim.Now(); told {
		w.facts(b, func(f *subscription.Facts) { f.Pause = subscription.Switch{Version: now, On: on, At: now} })
	}
}

// leave ends a purchase now, and closes it when its last usage is taken no more.
func (w *cloudMetered) leave(b *meteredBuyer) {
	w.t.Helper()
	_, err := w.sim.Cancel(w.t.Context(), b.ID, "")
	w.ok(err)
	now := w.sim.Now()
	w.facts(b, func(f *subscription.Facts) { f.Ends = []subscription.End{{Version: now, At: now, Reason: "cancelled"}} })
	b.ended = true
	w.advance(w.seller.Rules("tailnet").FinalAccept + time.Minute)
	for range 12 {
		settled, err := w.bill.Close(w.t.Context(), b.sub)
		if w.ok(err); settled {
			return
		}
		w.submit()
		w.advance(5 * time.Minute) // what was refused after a lost call is asked for again later
	}
	w.t.Fatal("close never settles")
}

// life is 30 hours of three purchases: a month ends, one changes its plan, one is
// suspended at Microsoft's and comes back, and all end in the middle of an hour.
func (w *cloudMetered) life() []*meteredBuyer {
	buyers := []*meteredBuyer{w.take(), w.take(), w.take()}
	w.advance(50 * time.Minute)
	for hour := range 30 {
		if hour%2 == 0 {
			w.learn()
		}
		if hour == 3 && w.m == marketplace.Azure { // another emitter takes a slot for less, and one for more
			w.sim.Force(simulator.Force{Kind: simulator.KindSlotTaken, Times: 1}, simulator.Force{Kind: simulator.KindSlotTakenMore, Times: 1})
		}
		for i, b := range buyers {
			if b.ended {
				continue
			}
			w.report(b)
			w.collect(b)
			switch {
			case hour == 9*(i+1):
				w.leave(b)
			case i == 1 && hour == 5:
				w.replan(b)
			case i == 2 && w.m == marketplace.Azure && (hour == 10 || hour == 14):
				w.suspend(b, hour == 10, true)
			case i == 2 && w.m == marketplace.Azure && (hour == 18 || hour == 20): // nobody tells us
				w.suspend(b, hour == 18, false)
			}
			_, err := w.bill.Seal(w.t.Context(), b.sub)
			w.ok(err)
		}
		w.submit()
		w.advance(time.Hour)
	}
	w.submit()
	if w.changed.IsZero() || w.changed.Equal(w.changed.Truncate(time.Hour)) {
		w.t.Errorf("no plan changed in the middle of an hour: %s", w.changed)
	}
	return buyers
}

// What Google and Microsoft will charge is what the ledger says was accepted.
func TestTheBillIsTheLedgerOnEveryCloud(t *testing.T) {
	t.Parallel()
	for _, m := range []marketplace.ID{marketplace.GCP, marketplace.Azure} {
		for seed := range uint64(2) {
			t.Run(fmt.Sprint(m, " seed ", seed), func(t *testing.T) {
				t.Parallel()
				storetest.Each(t, func(t *testing.T, s *store.Store) {
					w := openCloud(t, s, m, simulator.Options{Seed: seed}, 50*time.Minute)
					w.compare(w.life())
					w.hostile()
				})
			})
		}
	}
}

func (w *cloudMetered) hostile() {
	w.t.Helper()
	all, err := w.bill.Findings(w.t.Context(), true)
	w.ok(err)
	classes := map[billing.FindingClass]bool{}
	for _, f := range all {
		classes[f.Class] = true
	}
	if w.m == marketplace.Azure && (!classes[billing.FindHeld] || !classes[billing.FindOtherQuantity]) {
		w.t.Errorf("a suspension and a slot that others write left no finding: %v", classes)
	}
	kinds := []simulator.Kind{simulator.KindThrottle, simulator.KindAcceptThenClose}
	if w.m == marketplace.GCP {
		kinds = append(kinds, simulator.KindOperationError)
	} else {
		kinds = append(kinds, simulator.KindItemError, simulator.KindSlotTaken, simulator.KindSlotTakenMore)
	}
	for _, kind := range kinds {
		if w.sim.Faults()[string(kind)] == 0 {
			w.t.Errorf("the weather was not hostile: no %s", kind)
		}
	}
}

// Where Google does not know an operation again, nothing is sent twice of which it
// may have the first: no unit is charged twice, and each one in doubt is listed.
func TestNothingIsDoubledWhereGoogleForgets(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := openCloud(t, s, marketplace.GCP, simulator.Options{Seed: 3, GCP: simulator.GCPOptions{Dedup: simulator.DedupOff}}, 0)
		buyers := w.life()
		rep, err := w.bill.Conservation(t.Context())
		if w.ok(err); rep.Broken != 0 || rep.Unsure == "0" {
			t.Fatalf("unsure %s, broken: %v", rep.Unsure, rep.Problems)
		}
		billed, listed := w.billed(), int64(0)
		for _, m := range rep.Meters {
			for _, b := range buyers {
				if b.sub != m.Subscription {
					continue
				}
				has, accepted, unsure := units(t, billed[billLine{b.Purchase, m.Meter}]), units(t, m.Accepted), units(t, m.Unsure)
				if has < accepted || has > accepted+unsure || m.Open != "0" || m.Queued != "0" || m.Sent != "0" {
					t.Errorf("%s %s: Google bills %s, the ledger says %+v", b.ID, m.Meter, billed[billLine{b.Purchase, m.Meter}], m)
				}
			}
		}
		all, err := w.bill.Findings(t.Context(), true)
		w.ok(err)
		for _, f := range all {
			if f.Class == billing.FindUnsureNotRepeated {
				listed += units(t, f.Quantity)
			}
		}
		if listed != units(t, rep.Unsure) {
			t.Errorf("%s units are unsure, and findings list %s", rep.Unsure, money.Format(listed, money.MaxScale))
		}
		sent := map[string]bool{}
		for _, l := range w.sim.Bill().Lines {
			for _, slot := range l.Slots {
				if sent[l.Dimension+slot.RecordID] {
					t.Errorf("operation %s of %s is billed twice", slot.RecordID, l.Dimension)
				}
				sent[l.Dimension+slot.RecordID] = true
			}
		}
		w.hostile()
	})
}

// units reads a quantity of any meter.
func units(t *testing.T, text string) int64 {
	t.Helper()
	if text == "" {
		return 0
	}
	q, err := money.Parse(text, money.MaxScale)
	if err != nil {
		t.Fatal(err)
	}
	return q
}
