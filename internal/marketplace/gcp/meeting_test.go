package gcp_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/marketplace/marketplacetest"
	"github.com/tailmarket/tailmarket/internal/simulator"
)

// The tests in this file meet the simulator over the wire, for what only Google has.

func calm(t *testing.T, channel simulator.Channel) *vendor {
	return sell(t, simulator.Options{Seed: 3, Weather: simulator.WeatherGood, GCP: simulator.GCPOptions{Channel: channel, VerifyCredentials: true}})
}

func (v *vendor) look(p marketplacetest.Purchase) marketplace.Event {
	v.t.Helper()
	got, err := v.adapter.Purchase(v.t.Context(), p.Ref)
	if err != nil || len(got) != 1 {
		v.t.Fatalf("read %s: %+v %v", p.Ref.Purchase, got, err)
	}
	return got[0]
}

// use freezes a record of an hour.
func (v *vendor) use(p marketplacetest.Purchase, metric string, h clock.Hour, change func(*marketplace.Record)) marketplace.Record {
	r := marketplace.Record{Product: product, Identity: p.Identity, Dimension: metric, Hour: h, From: h.Start(), To: h.End(), Quantity: "7"}
	if change != nil {
		change(&r)
	}
	r.Key = v.adapter.Rules(product).Slot(r)
	return r
}

func (v *vendor) submit(batch ...marketplace.Record) []marketplace.Receipt {
	v.t.Helper()
	got, err := v.adapter.Submit(v.t.Context(), batch)
	if err != nil {
		v.t.Fatal(err)
	}
	return got
}

// used lets hours pass and returns the first whole one.
func (v *vendor) used(hours int) clock.Hour {
	v.t.Helper()
	first := clock.HourOf(v.Now()).Next()
	v.Advance(first.Add(hours).Start().Sub(v.Now()))
	return first
}

// TestPulled: with our credentials, over TLS, until the queue is empty.
func TestPulled(t *testing.T) {
	t.Parallel()
	v := calm(t, simulator.ChannelSQS)
	var mu sync.Mutex
	var kinds []string
	refused := false
	listening(t, v.adapter, func(ctx context.Context, d marketplace.Delivery) error {
		got, err := v.adapter.Verify(ctx, d)
		if err != nil {
			t.Errorf("verify: %v", err)
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		if !refused {
			refused = true
			return io.ErrUnexpectedEOF
		}
		kinds = append(kinds, got.Kind)
		return nil
	})
	v.Buy() // the clock stands still while anything is in the queue
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(kinds)
	want := []string{"ACCOUNT_ACTIVE", "ENTITLEMENT_ACTIVE", "ENTITLEMENT_CREATION_REQUESTED", "ENTITLEMENT_OFFER_ACCEPTED"}
	if !slices.Equal(kinds, want) || v.sim.Rest().Queue != 0 || len(v.Deliveries()) != 0 {
		t.Errorf("pulled %q, %d left, %d pushed; want %q", kinds, v.sim.Rest().Queue, len(v.Deliveries()), want)
	}
}

// TestOrder: nothing may be used before Google says so, whatever we decided.
func TestOrder(t *testing.T) {
	t.Parallel()
	v := calm(t, simulator.ChannelHTTPS)
	p := v.purchase(v.order(simulator.Purchase{}))
	try := func(k marketplace.DecisionKind) (marketplace.Outcome, error) {
		return v.adapter.Decide(t.Context(), marketplace.Decision{Kind: k, Ref: p.Ref})
	}
	if o := v.look(p).Observed; o.Entitled || o.Awaits != marketplace.Approve {
		t.Errorf("ordered: %+v", o)
	}
	if got, err := try(marketplace.Approve); !fault.Is(err, fault.Conflict) {
		t.Errorf("before its account is approved: %q, %v", got, err)
	}
	if got, err := try(marketplace.ApproveAccount); err != nil || got != marketplace.Done {
		t.Errorf("account: %q, %v", got, err)
	}
	for range 3 {
		if got, err := try(marketplace.Approve); err != nil || got != marketplace.Pending {
			t.Errorf("purchase: %q, %v", got, err)
		}
		if o := v.look(p).Observed; o.Entitled || o.Awaits != "" {
			t.Errorf("approved: %+v", o)
		}
	}
	v.Advance(2 * time.Minute)
	for _, k := range []marketplace.DecisionKind{marketplace.ApproveAccount, marketplace.Approve} {
		if got, err := try(k); err != nil || got != marketplace.Done {
			t.Errorf("%s again: %q, %v", k, got, err)
		}
	}
	if e := v.look(p); !e.Observed.Entitled || e.Consumer == "" || e.Terms.Plan != "standard" {
		t.Errorf("active: %+v %+v %q", e.Observed, e.Terms, e.Consumer)
	}

	rejected := v.purchase(v.order(simulator.Purchase{}))
	if got, err := v.adapter.Decide(t.Context(), marketplace.Decision{Kind: marketplace.Reject, Ref: rejected.Ref, Text: "not sold there"}); err != nil || got != marketplace.Done {
		t.Errorf("reject: %q, %v", got, err)
	}
	if e := v.look(rejected); !e.Observed.Ended {
		t.Errorf("rejected: %+v", e.Observed)
	}
}

// TestEvidence: who sold it, and by what offer.
func TestEvidence(t *testing.T) {
	t.Parallel()
	v := calm(t, simulator.ChannelHTTPS)
	for name, c := range map[string]struct {
		order    simulator.Purchase
		private  bool
		reseller bool
	}{
		"list":          {},
		"private offer": {simulator.Purchase{PrivateOffer: true}, true, false},
		"reseller":      {simulator.Purchase{Reseller: true}, true, true},
	} {
		e := v.look(v.buy(c.order))
		if e.Terms.Private != c.private || (e.Reseller != "") != c.reseller || e.Terms.Offer == "" {
			t.Errorf("%s: %+v, reseller %q", name, e.Terms, e.Reseller)
		}
	}
	first := v.buy(simulator.Purchase{})
	again := v.buy(simulator.Purchase{Customer: first.Ref.Purchase})
	got, err := v.adapter.Resolve(t.Context(), v.Token(again))
	if err != nil || got.Account != first.Ref.Account || got.Person == "" || len(got.Purchases) != 2 {
		t.Errorf("a customer with two orders: %+v %v", got, err)
	}
	both, err := v.adapter.Purchase(t.Context(), marketplace.Ref{Account: first.Ref.Account})
	if err != nil || len(both) != 2 {
		t.Errorf("read by account: %+v %v", both, err)
	}
}

// TestBillingDisabled: no message tells of it, the check does; what was used is kept for later.
func TestBillingDisabled(t *testing.T) {
	t.Parallel()
	v := calm(t, simulator.ChannelHTTPS)
	p := v.Buy()
	r := v.use(p, v.metrics[0], v.used(2), nil)
	if _, err := v.sim.Suspend(t.Context(), p.Ref.Purchase, true); err != nil {
		t.Fatal(err)
	}
	if got := v.submit(r)[0]; got.Outcome != marketplace.OutcomeSuspended || !got.StopsService {
		t.Errorf("suspended: %+v", got)
	}
	final := r
	final.Final = true // not checked: the report itself says no
	if got := v.submit(final)[0]; got.Outcome != marketplace.OutcomeSuspended || !got.StopsService {
		t.Errorf("suspended, without a check: %+v", got)
	}
	if _, err := v.sim.Suspend(t.Context(), p.Ref.Purchase, false); err != nil {
		t.Fatal(err)
	}
	if got := v.submit(r)[0]; got.Outcome != marketplace.OutcomeAccepted || got.StopsService {
		t.Errorf("recovered: %+v", got)
	}
	if bill := v.Bill(); len(bill) != 1 {
		t.Errorf("bill %+v", bill)
	}
}

// TestLastUsage: the last record ends before the end; the message of an end that is under way is
// not older than the purchase.
func TestLastUsage(t *testing.T) {
	t.Parallel()
	v := calm(t, simulator.ChannelHTTPS)
	p := v.Buy()
	hour := v.used(1)
	v.Advance(20 * time.Minute)
	before := v.Now()
	told := len(v.Deliveries())
	v.Cancel(p)
	e := v.look(p)
	if !e.Observed.Ended || e.Observed.EndsAt.Before(before) || e.Reason != "user-cancelled" {
		t.Errorf("ended: %+v, %s", e.Observed, e.Reason)
	}
	for _, d := range v.Deliveries()[told:] {
		got, err := v.adapter.Verify(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		events, err := v.adapter.Translate(got)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			if (e.Kind == marketplace.Ending || e.Kind == marketplace.Ended) && e.At.Before(before) {
				t.Errorf("%s is dated %s, and it was cancelled after %s", e.Reason, e.At, before)
			}
		}
	}
	late := v.use(p, v.metrics[0], hour.Next(), func(r *marketplace.Record) { r.To, r.Final = e.Observed.EndsAt, true })
	whole := v.use(p, v.metrics[0], hour, nil)
	for _, got := range v.submit(whole, late) {
		if got.Outcome != marketplace.OutcomeAccepted {
			t.Errorf("%+v", got)
		}
	}
}

// TestPlansInOneHour: a change in an hour makes two operations of it, each under its own plan's
// metric.
func TestPlansInOneHour(t *testing.T) {
	t.Parallel()
	v := calm(t, simulator.ChannelHTTPS)
	p := v.Buy()
	hour := v.used(1)
	v.Advance(20 * time.Minute)
	plan := v.Ask(p)
	waits := v.look(p)
	if o := waits.Observed; !o.Entitled || o.Awaits != marketplace.ApproveChange || o.Change == nil || o.Change.Plan != plan || waits.Terms.Plan != "standard" {
		t.Errorf("waits: %+v %+v", o, waits.Terms)
	}
	if got := v.decide(p, marketplace.ApproveChange); got != marketplace.Pending {
		t.Errorf("approve: %q", got)
	}
	at := v.look(p).Version
	v.Advance(hour.Add(2).Start().Sub(v.Now()))
	newMetric := v.sim.Options().GCP.Products[0].Service + "/" + v.sim.Options().GCP.Products[0].Plans[1].Metrics[0]
	before := v.use(p, v.metrics[0], hour.Next(), func(r *marketplace.Record) { r.To = at })
	after := v.use(p, newMetric, hour.Next(), func(r *marketplace.Record) { r.From = at })
	wrong := v.use(p, v.metrics[1], hour.Next(), func(r *marketplace.Record) { r.From = at.Add(time.Second) })
	got := v.submit(before, after, wrong)
	if got[0].Outcome != marketplace.OutcomeAccepted || got[1].Outcome != marketplace.OutcomeAccepted || got[2].Outcome != marketplace.OutcomeInvalid {
		t.Errorf("%+v", got)
	}
}

// TestTermEnds: an end that is scheduled is observed, served until it comes, and can be taken back.
func TestTermEnds(t *testing.T) {
	t.Parallel()
	v := calm(t, simulator.ChannelHTTPS)
	p := v.Buy()
	if _, err := v.sim.Cancel(t.Context(), p.Ref.Purchase, "PENDING_CANCELLATION"); err != nil {
		t.Fatal(err)
	}
	v.Advance(time.Minute)
	o := v.look(p).Observed
	if !o.Entitled || o.Ended || !o.EndsAt.After(v.Now()) {
		t.Errorf("pending: %+v", o)
	}
	if got := v.submit(v.use(p, v.metrics[0], v.used(1), nil))[0]; got.Outcome != marketplace.OutcomeAccepted {
		t.Errorf("while it is pending: %+v", got)
	}
	if _, err := v.sim.Change(t.Context(), p.Ref.Purchase, simulator.Change{Kind: simulator.ChangeRevert}); err != nil {
		t.Fatal(err)
	}
	v.Advance(time.Minute)
	if o := v.look(p).Observed; !o.Entitled || !o.EndsAt.IsZero() {
		t.Errorf("reverted: %+v", o)
	}
}

// TestHostileWeather: whatever Google does to its messages, tokens and answers, the genuine are
// believed and the forged are not, and purchases become active.
func TestHostileWeather(t *testing.T) {
	t.Parallel()
	v := sell(t, simulator.Options{Seed: 11, Weather: simulator.WeatherHostile, GCP: simulator.GCPOptions{Channel: simulator.ChannelHTTPS, VerifyCredentials: true}})
	var mu sync.Mutex
	said, refused := map[fault.Class]int{}, 0
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		d := marketplace.Delivery{
			Marketplace: marketplace.GCP, Channel: marketplace.HTTPS, Body: body, Source: r.URL.Path, Header: map[string]string{"authorization": r.Header.Get("Authorization")},
		}
		got, err := v.adapter.Verify(r.Context(), d)
		if err == nil {
			_, err = v.adapter.Translate(got)
		}
		mu.Lock()
		defer mu.Unlock()
		said[fault.ClassOf(err)]++
		switch fault.ClassOf(err) {
		case "":
		case fault.Forged:
			refused++
			w.WriteHeader(http.StatusUnauthorized)
		default:
			t.Errorf("a delivery: %v", err)
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(door.Close)
	v.config.PushAudience = door.URL + "/gcp/events"
	v.adapter = v.reopen(v.config)
	v.sim.SetApp(door.URL)

	// insist repeats a decision as a due row would.
	insist := func(p marketplacetest.Purchase, k marketplace.DecisionKind) {
		for range 20 {
			_, err := v.adapter.Decide(t.Context(), marketplace.Decision{Kind: k, Ref: p.Ref})
			if err == nil {
				return
			}
			if !fault.Is(err, fault.Unsure) && !fault.Is(err, fault.Unavailable) && !fault.Is(err, fault.Throttled) {
				t.Fatalf("%s: %v of class %q", k, err, fault.ClassOf(err))
			}
		}
		t.Fatalf("%s: never decided", k)
	}
	var all []marketplacetest.Purchase
	for range 8 {
		p := v.purchase(v.order(simulator.Purchase{}))
		insist(p, marketplace.ApproveAccount)
		insist(p, marketplace.Approve)
		all = append(all, p)
	}
	v.Advance(14 * time.Hour) // a rotation of keys is among it
	for _, p := range all[:4] {
		if _, err := v.sim.Cancel(t.Context(), p.Ref.Purchase, ""); err != nil {
			t.Fatal(err)
		}
	}
	v.Advance(4 * time.Hour)
	seen := map[string]marketplace.Event{}
	for range 20 {
		err := v.adapter.Purchases(t.Context(), marketplace.Mark{}, func(page marketplace.Page) error {
			for _, e := range page.Events {
				seen[e.Ref.Purchase] = e
			}
			return nil
		})
		if err == nil {
			break
		}
		if !fault.Is(err, fault.Unavailable) && !fault.Is(err, fault.Throttled) {
			t.Fatalf("%v of class %q", err, fault.ClassOf(err))
		}
	}
	for i, p := range all {
		e, ok := seen[p.Ref.Purchase]
		if !ok || e.Observed.Ended != (i < 4) || e.Observed.Entitled != (i >= 4) || e.Consumer == "" {
			t.Errorf("purchase %d: %v %+v", i, ok, e.Observed)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	totals := v.sim.Rest().Totals
	if totals.Believed != 0 || totals.Refused != 0 || said[""] < 30 || refused == 0 {
		t.Errorf("answers %v, %+v", said, totals)
	}
}
