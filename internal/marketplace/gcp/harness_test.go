package gcp_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/marketplace/gcp"
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
	v := sell(t, simulator.Options{Seed: 1, Weather: simulator.WeatherGood, GCP: simulator.GCPOptions{Channel: simulator.ChannelHTTPS, VerifyCredentials: true}})
	return marketplacetest.Harness{
		Adapter: v.adapter, Reader: v.adapter, Vendor: v, Changer: v, // nobody tells of a suspension, and no other writer has our operation ids
		Traits: marketplacetest.Traits{
			Batch: 50, WholeUnits: true, Ageless: true, Silent: true, ThrottleUnsure: true, Nameless: true,
			Partial: marketplace.OutcomeUnprocessed, Stopped: marketplace.OutcomeNotSubscribed,
			EntitledBy: marketplace.Entitled, EndsBy: marketplace.Ended,
			Decides: []marketplace.DecisionKind{
				marketplace.ApproveAccount, marketplace.Approve, marketplace.Reject, marketplace.ApproveChange, marketplace.RejectChange, marketplace.MessageToUser,
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
	config  gcp.Config
	adapter *gcp.Adapter
	metrics []string // of the plan that is bought

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
	key, err := v.sim.GCPCredentials()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(file, key, 0o600); err != nil {
		t.Fatal(err)
	}
	app := httptest.NewServer(http.HandlerFunc(v.take))
	t.Cleanup(app.Close)
	v.sim.SetApp(app.URL)

	set := v.sim.Options().GCP
	v.config = gcp.Config{
		Provider: set.Provider, Audiences: []string{set.Audience}, PullSubscription: set.Subscription,
		PushSubscription: set.Subscription, PushAudience: app.URL + "/gcp/events", PushAccount: set.PushAccount,
		CredentialsFile: file, Endpoint: v.sim.GCPURL(), Roots: roots, ResendFor: 50 * time.Minute,
	}
	for i, p := range set.Products {
		l := gcp.Listing{Product: product, Service: p.Service}
		if i > 0 {
			l.Product += strconv.Itoa(i + 1)
		}
		for _, plan := range p.Plans {
			for _, m := range plan.Metrics {
				l.Metrics = append(l.Metrics, p.Service+"/"+m)
			}
		}
		v.config.Listings = append(v.config.Listings, l)
	}
	for _, m := range set.Products[0].Plans[0].Metrics {
		v.metrics = append(v.metrics, set.Products[0].Service+"/"+m)
	}
	v.adapter = v.reopen(v.config)

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

func (v *vendor) reopen(c gcp.Config) *gcp.Adapter {
	v.t.Helper()
	a, err := c.Open(v.t.Context(), v.http, slog.New(slog.DiscardHandler), v.sim.Now)
	if err != nil {
		v.t.Fatal(err)
	}
	return a
}

func (v *vendor) take(_ http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.deliveries = append(v.deliveries, marketplace.Delivery{
		Marketplace: marketplace.GCP, Channel: marketplace.HTTPS, Body: body, ReceivedAt: v.sim.Now(), Source: r.URL.Path,
		Header: map[string]string{"authorization": r.Header.Get("Authorization")},
	})
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

// order makes a purchase that waits for us.
func (v *vendor) order(p simulator.Purchase) simulator.Buyer {
	v.t.Helper()
	p.Marketplace, p.Habits = simulator.GCP, &simulator.Habits{Absent: true}
	b, err := v.sim.Buy(v.t.Context(), p)
	if err != nil {
		v.t.Fatal(err)
	}
	v.Advance(10 * time.Second)
	return b
}

// decide tells Google a decision that must succeed.
func (v *vendor) decide(p marketplacetest.Purchase, kind marketplace.DecisionKind) marketplace.Outcome {
	v.t.Helper()
	got, err := v.adapter.Decide(v.t.Context(), marketplace.Decision{Kind: kind, Ref: p.Ref})
	if err != nil {
		v.t.Fatal(err)
	}
	return got
}

// Buy orders, approves the account and then the purchase, and waits until it is active.
func (v *vendor) Buy() marketplacetest.Purchase {
	v.t.Helper()
	return v.buy(simulator.Purchase{})
}

func (v *vendor) buy(order simulator.Purchase) marketplacetest.Purchase {
	v.t.Helper()
	p := v.purchase(v.order(order))
	v.decide(p, marketplace.ApproveAccount)
	v.decide(p, marketplace.Approve)
	v.Advance(2 * time.Minute)
	seen, err := v.adapter.Purchase(v.t.Context(), p.Ref)
	if err != nil || len(seen) != 1 {
		v.t.Fatalf("%+v %v", seen, err)
	}
	p.Identity.Customer = seen[0].Consumer
	return p
}

func (v *vendor) purchase(b simulator.Buyer) marketplacetest.Purchase {
	return marketplacetest.Purchase{
		Ref:        marketplace.Ref{Purchase: b.Purchase, Account: b.Account, Product: product},
		Identity:   marketplace.VendorIdentity{ProductCode: b.Product, License: b.Purchase, Account: b.Account},
		Dimensions: v.metrics,
	}
}

func (v *vendor) Cancel(p marketplacetest.Purchase) {
	v.t.Helper()
	if _, err := v.sim.Cancel(v.t.Context(), p.Ref.Purchase, ""); err != nil {
		v.t.Fatal(err)
	}
	v.Advance(2 * time.Minute)
}

func (v *vendor) Deliveries() []marketplace.Delivery {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]marketplace.Delivery(nil), v.deliveries...)
}

func (v *vendor) Forged(d marketplace.Delivery) []marketplace.Delivery {
	v.t.Helper()
	token, _ := strings.CutPrefix(d.Header["authorization"], "Bearer ")
	parts := strings.Split(token, ".")
	var claims map[string]any
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(text, &claims)
	}
	if err != nil {
		v.t.Fatal(err)
	}
	others := base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"https://accounts.google.com","email":"attacker@attacker.iam.gserviceaccount.com","email_verified":true}`))
	var out []marketplace.Delivery
	for _, header := range []string{
		"", "Bearer ", "Bearer x", "Basic " + token,
		"Bearer " + parts[0] + "." + parts[1] + ".",
		"Bearer " + parts[0] + "." + others + "." + parts[2],
		"Bearer " + signed(v.t, keyPair(v.t, 1), jose.RS256, "another", claims),
		"Bearer " + signed(v.t, keyPair(v.t, 1), jose.RS256, "", claims),
		"Bearer " + signed(v.t, []byte(strings.Repeat("s", 32)), jose.HS256, "another", claims),
	} {
		f := d
		f.Header = map[string]string{"authorization": header}
		out = append(out, f)
	}
	queue := d
	queue.Channel = marketplace.SQS
	elsewhere := d
	elsewhere.Channel, elsewhere.Source = marketplace.Pull, "projects/attacker/subscriptions/marketplace-events"
	return append(out, queue, elsewhere)
}

func (v *vendor) Foreign() []marketplace.Delivery {
	v.t.Helper()
	genuine := v.Deliveries()[0]
	var out []marketplace.Delivery
	for _, change := range []map[string]any{
		{"providerId": "somebody-else"},
		{"eventId": ""},
		{"eventId": nil},
		{"eventType": nil},
		{"eventType": "ACCOUNT_DELETED", "entitlement": map[string]any{"id": "x"}},
		{"account": nil, "entitlement": nil},
		{"account": nil, "entitlement": map[string]any{"id": "a/b", "updateTime": "2026-11-03T00:00:00Z"}},
		{"account": map[string]any{"id": "a", "updateTime": "yesterday"}, "entitlement": nil},
	} {
		out = append(out, v.edit(genuine, change))
	}
	for _, body := range []string{"", "null", "[]", "{", `"text"`, `{"message":7}`, `{"message":{"data":"%%"}}`, `{"message":{}}`} {
		d := genuine
		d.Body = []byte(body)
		out = append(out, d)
	}
	other := genuine
	other.Body = []byte(strings.Replace(string(genuine.Body), v.config.PushSubscription, v.config.PushSubscription+"-2", 1))
	return append(out, other)
}

func (v *vendor) Strange() (marketplace.Delivery, string) {
	v.t.Helper()
	word := "ENTITLEMENT_ENCHANTED"
	return v.edit(v.Deliveries()[1], map[string]any{"eventId": "strange-1", "eventType": word}), word
}

// edit changes the top level of a pushed message; nothing signs it.
func (v *vendor) edit(d marketplace.Delivery, change map[string]any) marketplace.Delivery {
	v.t.Helper()
	var body map[string]any
	var message struct {
		Message struct{ Data []byte } `json:"message"`
	}
	var event map[string]any
	for _, read := range []func() error{
		func() error { return json.Unmarshal(d.Body, &body) },
		func() error { return json.Unmarshal(d.Body, &message) },
		func() error { return json.Unmarshal(message.Message.Data, &event) },
	} {
		if err := read(); err != nil {
			v.t.Fatal(err)
		}
	}
	body["message"].(map[string]any)["data"] = base64.StdEncoding.EncodeToString([]byte(text(with(event, change))))
	d.Body = []byte(text(body))
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
	v.Advance(7 * time.Minute)
	return token
}

func (v *vendor) BadToken() marketplace.Token {
	return marketplace.Token{Value: signed(v.t, keyPair(v.t, 1), jose.RS256, "another", signUpClaims())}
}

func (v *vendor) Claims(p marketplacetest.Purchase) map[string]string {
	return map[string]string{"account": p.Ref.Account, "entitlement": p.Ref.Purchase, "sub": p.Ref.Account, "orders": p.Ref.Purchase}
}

func (v *vendor) Spoil(r marketplace.Record) marketplace.Record {
	r.Dimension = r.Identity.ProductCode + "/no_such_metric"
	return r
}

func (v *vendor) Unknown() []marketplace.Ref {
	return []marketplace.Ref{{Purchase: "00000000-0000-4000-8000-000000000000"}, {Account: "00000000-0000-4000-8000-000000000000"}}
}

// Ask lets the buyer ask for the second plan.
func (v *vendor) Ask(p marketplacetest.Purchase) string {
	v.t.Helper()
	plan := v.sim.Options().GCP.Products[0].Plans[1].ID
	if _, err := v.sim.Change(v.t.Context(), p.Ref.Purchase, simulator.Change{Kind: simulator.ChangePlan, Plan: plan}); err != nil {
		v.t.Fatal(err)
	}
	v.Advance(time.Minute)
	return plan
}

// Subject is the plan that was asked for.
func (v *vendor) Subject(e marketplace.Event) string { return e.Terms.Plan }

var faults = map[marketplacetest.FaultKind]simulator.Kind{
	marketplacetest.AcceptThenClose: simulator.KindAcceptThenClose, marketplacetest.Throttle: simulator.KindThrottle,
	marketplacetest.ServerError: simulator.Kind5xx, marketplacetest.Partial: simulator.KindOperationError, marketplacetest.NamelessError: simulator.KindNamelessError,
	marketplacetest.TokenTrouble: simulator.KindReadFault, marketplacetest.ReadTrouble: simulator.KindReadFault, marketplacetest.EmptyPage: simulator.KindEmptyPage,
}

func (v *vendor) Befall(f marketplacetest.Fault) {
	v.t.Helper()
	kind, ok := faults[f.Kind]
	if !ok {
		v.t.Fatalf("the simulator has no %q", f.Kind)
	}
	subject := ""
	if r := f.About; r.Dimension != "" {
		subject = r.Identity.Customer + "|" + r.Dimension + "|" + r.From.Format(time.RFC3339)
	}
	v.sim.Force(simulator.Force{Kind: kind, Subject: subject, Times: f.Times})
}

func (v *vendor) Calls(c marketplacetest.Call) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch c {
	case marketplacetest.CallSubmit:
		return v.calls["services.report"]
	case marketplacetest.CallResolve:
		return v.calls["entitlements.list"]
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
				Purchase: line.Purchase, Dimension: line.Dimension, Hour: clock.HourOf(s.Hour).String(), Quantity: strconv.FormatInt(s.Quantity, 10),
			})
		}
	}
	return out
}
