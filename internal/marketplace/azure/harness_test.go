package azure_test

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/marketplace/azure"
	"github.com/tailmarket/tailmarket/internal/marketplace/marketplacetest"
	"github.com/tailmarket/tailmarket/internal/simulator"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	marketplacetest.Run(t, harness)
}

func TestTheSuiteNoticesABrokenAdapter(t *testing.T) {
	t.Parallel()
	marketplacetest.RunBroken(t, harness)
}

func harness(t testing.TB) marketplacetest.Harness {
	v := sell(t, simulator.Options{Seed: 1, Weather: simulator.WeatherGood})
	return marketplacetest.Harness{
		Adapter: v.adapter, Reader: v.adapter, Vendor: v, Changer: v, Suspender: v, Rival: v,
		Traits: marketplacetest.Traits{
			Batch: 25, WholeUnits: false, SignedBodies: false, BadRefusesBatch: false, TokensAlike: true, TellsHeld: true, EndsByAge: true,
			Partial: marketplace.OutcomeFailed, Stopped: marketplace.OutcomeSuspended, Paused: marketplace.OutcomeSuspended,
			EntitledBy: marketplace.Entitled, EndsBy: marketplace.Ending,
			Decides: []marketplace.DecisionKind{
				marketplace.Activate, marketplace.ApproveChange, marketplace.RejectChange, marketplace.AckOperation, marketplace.RequestChange, marketplace.RequestCancel,
			},
		},
	}
}

// vendor is the simulator, and an app in front of it that takes every message
// and is always idle.
type vendor struct {
	t       testing.TB
	sim     *simulator.Simulator
	http    *http.Client // trusts the simulator
	adapter *azure.Adapter
	answer  func(marketplace.Delivery) int // of the app; nil: 200

	mu         sync.Mutex
	deliveries []marketplace.Delivery
	calls      map[string]int
}

func sell(t testing.TB, o simulator.Options) *vendor {
	t.Helper()
	v := &vendor{t: t, calls: map[string]int{}}
	o.OnAnswer = func(op, phase string) {
		if phase == "received" {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.calls[op]++
		}
	}
	var err error
	if v.sim, err = simulator.New(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.sim.Close)
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(v.sim.CAPEM()) {
		t.Fatal("the simulator's certificate is not PEM")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	v.http = &http.Client{Transport: transport, Timeout: 30 * time.Second}

	set := v.sim.Options().Azure
	config := azure.Config{
		TenantID: set.Tenant, ClientID: set.Client, ClientSecret: set.Secret, PublisherID: set.Publisher,
		Authority: v.sim.AzureURL(), Endpoint: v.sim.AzureURL() + "/api",
	}
	for i, offer := range set.Offers {
		name := product
		if i > 0 {
			name += strconv.Itoa(i + 1)
		}
		config.Listings = append(config.Listings, azure.Listing{Product: name, OfferID: offer.ID, Dimensions: append([]string{"none"}, offer.Plans[0].Dimensions...)})
	}
	if v.adapter, err = config.Open(v.http, slog.New(slog.DiscardHandler), v.sim.Now); err != nil {
		t.Fatal(err)
	}

	app := httptest.NewServer(http.HandlerFunc(v.take))
	t.Cleanup(app.Close)
	v.sim.SetApp(app.URL)
	ctx, cancel := context.WithCancel(context.Background())
	var idle sync.WaitGroup
	t.Cleanup(func() { cancel(); idle.Wait() })
	idle.Go(func() {
		for now := v.sim.Now(); ctx.Err() == nil; {
			now = v.sim.Idle(ctx, "test", now)
		}
	})
	return v
}

func (v *vendor) take(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	d := marketplace.Delivery{
		Marketplace: marketplace.Azure, Channel: marketplace.HTTPS, Body: body, ReceivedAt: v.sim.Now(), Source: r.URL.Path,
		Header: map[string]string{"authorization": r.Header.Get("Authorization")},
	}
	v.mu.Lock()
	v.deliveries = append(v.deliveries, d)
	v.mu.Unlock()
	if v.answer != nil {
		w.WriteHeader(v.answer(d))
	}
}

func (v *vendor) Now() time.Time { return v.sim.Now() }

func (v *vendor) Advance(d time.Duration) {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.t.Context(), 30*time.Second)
	defer cancel()
	if err := v.sim.Advance(ctx, v.sim.Now().Add(d)); err != nil {
		v.t.Fatal(err)
	}
}

// Buy buys what Microsoft activates by itself, which is the only purchase that is
// told of.
func (v *vendor) Buy() marketplacetest.Purchase {
	v.t.Helper()
	return v.buy(simulator.Purchase{Plan: "instant"})
}

func (v *vendor) buy(p simulator.Purchase) marketplacetest.Purchase {
	v.t.Helper()
	p.Marketplace, p.Habits = simulator.Azure, &simulator.Habits{Absent: true}
	b, err := v.sim.Buy(v.t.Context(), p)
	if err != nil {
		v.t.Fatal(err)
	}
	v.Advance(2 * time.Minute)
	return marketplacetest.Purchase{
		Ref:        marketplace.Ref{Purchase: b.Purchase, Account: b.Account, Product: product},
		Identity:   marketplace.VendorIdentity{Resource: b.Purchase, Plan: cmp.Or(p.Plan, "standard")},
		Dimensions: v.sim.Options().Azure.Offers[0].Plans[0].Dimensions,
	}
}

func (v *vendor) Cancel(p marketplacetest.Purchase) {
	v.t.Helper()
	if _, err := v.sim.Cancel(v.t.Context(), p.Ref.Purchase, ""); err != nil {
		v.t.Fatal(err)
	}
	v.Advance(time.Minute)
}

// Ask stops the clock when the webhook has come: ten seconds later Microsoft
// takes silence for consent.
func (v *vendor) Ask(p marketplacetest.Purchase) string {
	v.t.Helper()
	const plan = "premium"
	if _, err := v.sim.Change(v.t.Context(), p.Ref.Purchase, simulator.Change{Plan: plan}); err != nil {
		v.t.Fatal(err)
	}
	v.Advance(6 * time.Second)
	return plan
}

func (v *vendor) Subject(e marketplace.Event) string { return e.MessageID }

func (v *vendor) Suspend(p marketplacetest.Purchase)   { v.suspend(p, true) }
func (v *vendor) Reinstate(p marketplacetest.Purchase) { v.suspend(p, false) }

func (v *vendor) suspend(p marketplacetest.Purchase, on bool) {
	v.t.Helper()
	if _, err := v.sim.Suspend(v.t.Context(), p.Ref.Purchase, on); err != nil {
		v.t.Fatal(err)
	}
	v.Advance(time.Minute)
}

// Take lets another emitter be first, with half of what r says.
func (v *vendor) Take(r marketplace.Record) string {
	v.t.Helper()
	n, err := strconv.ParseInt(r.Quantity, 10, 64)
	if err != nil {
		v.t.Fatal(err)
	}
	v.sim.Force(simulator.Force{Kind: simulator.KindSlotTaken, Subject: slotOf(r), Times: 1})
	return strconv.FormatInt((n+1)/2, 10)
}

func (v *vendor) Deliveries() []marketplace.Delivery {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.deliveries)
}

func (v *vendor) Forged(d marketplace.Delivery) []marketplace.Delivery {
	v.t.Helper()
	genuine := d.Header["authorization"]
	var out []marketplace.Delivery
	for _, authorization := range []string{"", "Bearer", "Bearer " + genuine, genuine + "x", genuine[:len(genuine)-9], "Basic " + genuine[7:]} {
		f := d
		f.Header = map[string]string{"authorization": authorization}
		out = append(out, f)
	}
	none, pull := d, d
	none.Header, pull.Channel = nil, marketplace.Pull
	// The token does not cover the body, so who has seen one could change that.
	return append(
		out, none, pull,
		v.edit(d, map[string]any{"action": "Unsubscribe"}),
		v.edit(d, map[string]any{"action": "ChangePlan", "planId": "premium", "id": op}),
	)
}

func (v *vendor) Foreign() []marketplace.Delivery {
	v.t.Helper()
	genuine := v.Deliveries()[0]
	var out []marketplace.Delivery
	for _, change := range []map[string]any{
		{"offerId": "another"}, {"publisherId": "another"}, {"subscriptionId": ""}, {"subscriptionId": "../x"}, {"action": nil}, {"id": "../x"}, {"timeStamp": "yesterday"},
	} {
		out = append(out, v.edit(genuine, change))
	}
	for _, body := range []string{"", "null", "[]", "{", `"text"`, `{"id":7}`} {
		d := genuine
		d.Body = []byte(body)
		out = append(out, d)
	}
	return out
}

func (v *vendor) Strange() (marketplace.Delivery, string) {
	v.t.Helper()
	const word = "Enchant"
	return v.edit(v.Deliveries()[0], map[string]any{"id": op, "action": word}), word
}

// edit changes the top level of a webhook.
func (v *vendor) edit(d marketplace.Delivery, change map[string]any) marketplace.Delivery {
	v.t.Helper()
	var event map[string]any
	err := json.Unmarshal(d.Body, &event)
	if err == nil {
		d.Body, err = json.Marshal(with(event, change))
	}
	if err != nil {
		v.t.Fatal(err)
	}
	return d
}

func (v *vendor) Token(p marketplacetest.Purchase) marketplace.Token {
	v.t.Helper()
	token, err := v.sim.Token(p.Ref.Purchase)
	if err != nil {
		v.t.Fatal(err)
	}
	return marketplace.Token{Value: token}
}

func (v *vendor) ExpiredToken(p marketplacetest.Purchase) marketplace.Token {
	v.t.Helper()
	token := v.Token(p)
	v.Advance(24*time.Hour + time.Minute)
	return token
}

func (v *vendor) BadToken() marketplace.Token { return marketplace.Token{Value: "no%2Bsuch/token=="} }

func (v *vendor) Claims(p marketplacetest.Purchase) map[string]string {
	return map[string]string{"subscription": p.Ref.Purchase, "tenantId": p.Ref.Account, "offerId": "another", "planId": "premium"}
}

func (v *vendor) Spoil(r marketplace.Record) marketplace.Record {
	r.Dimension = "no_such_dimension"
	return r
}

func (v *vendor) Unknown() []marketplace.Ref {
	return []marketplace.Ref{{Purchase: op}, {Purchase: "no such"}}
}

var faults = map[marketplacetest.FaultKind]simulator.Kind{
	marketplacetest.AcceptThenClose: simulator.KindAcceptThenClose, marketplacetest.Throttle: simulator.KindThrottle,
	marketplacetest.ServerError: simulator.Kind5xx, marketplacetest.Partial: simulator.KindItemError,
	marketplacetest.TokenTrouble: simulator.KindTokenFault, marketplacetest.ReadTrouble: simulator.KindReadFault,
}

func (v *vendor) Befall(f marketplacetest.Fault) {
	v.t.Helper()
	switch f.Kind {
	case marketplacetest.DuplicateAnswer: // what is sent again is called one anyway
		return
	case marketplacetest.EmptyPage: // not a page of Microsoft's that the simulator knows; read_test.go has one
		return
	}
	kind, ok := faults[f.Kind]
	if !ok {
		v.t.Fatalf("the simulator has no %q", f.Kind)
	}
	subject := ""
	if f.About.Dimension != "" {
		subject = slotOf(f.About)
	}
	v.sim.Force(simulator.Force{Kind: kind, Subject: subject, Times: max(f.Times, 1)})
}

// slotOf is how the simulator calls a record's slot.
func slotOf(r marketplace.Record) string {
	return r.Identity.Resource + "|" + r.Dimension + "|" + r.Hour.Start().Format(time.RFC3339)
}

func (v *vendor) Calls(c marketplacetest.Call) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch c {
	case marketplacetest.CallSubmit:
		return v.calls["BatchUsageEvent"]
	case marketplacetest.CallResolve:
		return v.calls["Resolve"]
	}
	n := 0
	for _, k := range v.calls {
		n += k
	}
	return n
}

func (v *vendor) Bill() []marketplacetest.Charge {
	var out []marketplacetest.Charge
	for _, line := range v.sim.Bill().Lines {
		for _, s := range line.Slots {
			out = append(out, marketplacetest.Charge{
				Purchase: line.Purchase, Dimension: line.Dimension, Hour: clock.HourOf(s.Hour).String(), Quantity: cmp.Or(s.Exact, strconv.FormatInt(s.Quantity, 10)),
			})
		}
	}
	return out
}
