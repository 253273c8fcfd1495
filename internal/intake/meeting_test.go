package intake_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tailmarket/tailmarket/internal/catalog"
	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/intake"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/marketplace/azure"
	"github.com/tailmarket/tailmarket/internal/marketplace/gcp"
	"github.com/tailmarket/tailmarket/internal/simulator"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/store/storetest"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

// meeting is the door and the subscriptions between a simulated marketplace and
// its real adapter, with the due rows worked by hand. Networks are made at once.
type meeting struct {
	*world
	id  marketplace.ID
	sim *simulator.Simulator

	sweepAt time.Time // of the loop

	mu      sync.Mutex
	refused int // answers with 422
}

func meet(t *testing.T, m marketplace.ID, o simulator.Options, fn func(t *testing.T, x *meeting)) {
	t.Parallel()
	one := func(t *testing.T, s *store.Store) {
		x := &meeting{world: &world{t: t, s: s}, id: m}
		x.open(o)
		fn(t, x)
		x.rebuild()
	}
	if o.Weather == simulator.WeatherGood {
		storetest.Each(t, one)
	} else { // what weather does, no engine changes
		one(t, storetest.Open(t, store.SQLite))
	}
}

func (x *meeting) open(o simulator.Options) {
	t, log := x.t, slog.New(slog.DiscardHandler)
	t.Helper()
	var err error
	if x.sim, err = simulator.New(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.sim.Close)
	app := httptest.NewServer(http.HandlerFunc(x.serve))
	t.Cleanup(app.Close)
	x.sim.SetApp(app.URL)
	a := x.adapter(app.URL, log)
	x.subs = subscription.New(x.s, *catalog.Default(), x.sim.Now, log, subscription.WithDeciders(map[marketplace.ID]subscription.Decider{x.id: a}))
	x.in = intake.New(x.s, x.subs, map[marketplace.ID]marketplace.Adapter{x.id: a}, x.world, x.sim.Now, log)
	if err := x.subs.GoLive(t.Context(), "tailnet", clock.HourOf(x.sim.Now()), "ops"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var idle sync.WaitGroup
	t.Cleanup(func() { cancel(); idle.Wait() })
	idle.Go(func() {
		for now := x.sim.Now(); ctx.Err() == nil; {
			if x.work(ctx, now) == 0 {
				now = x.sim.Idle(ctx, "test", now)
			}
		}
	})
}

func (x *meeting) adapter(app string, log *slog.Logger) marketplace.Adapter {
	t := x.t
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(x.sim.CAPEM()) {
		t.Fatal("the simulator's certificate is not PEM")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	web := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	product, _ := catalog.Default().Product("tailnet")
	var a marketplace.Adapter
	var err error
	if x.id == marketplace.Azure {
		set := x.sim.Options().Azure
		a, err = azure.Config{
			TenantID: set.Tenant, ClientID: set.Client, ClientSecret: set.Secret, PublisherID: set.Publisher, Authority: x.sim.AzureURL(), Endpoint: x.sim.AzureURL() + "/api",
			Listings: []azure.Listing{{Product: product.ID, OfferID: product.Azure.OfferID, Dimensions: product.AllDimensions("azure")}},
		}.Open(web, log, x.sim.Now)
	} else {
		set := x.sim.Options().GCP
		key, keyErr := x.sim.GCPCredentials()
		file := filepath.Join(t.TempDir(), "key.json")
		if keyErr != nil || os.WriteFile(file, key, 0o600) != nil {
			t.Fatal("the simulator's credentials cannot be kept")
		}
		a, err = gcp.Config{
			Provider: set.Provider, Audiences: []string{set.Audience}, PullSubscription: set.Subscription, PushSubscription: set.Subscription, PushAudience: app + "/gcp/events",
			PushAccount: set.PushAccount, CredentialsFile: file, Endpoint: x.sim.GCPURL(), Roots: roots, ResendFor: 50 * time.Minute,
			Listings: []gcp.Listing{{Product: product.ID, Service: product.GCP.Service, Metrics: product.AllDimensions("gcp")}},
		}.Open(t.Context(), web, log, x.sim.Now)
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// serve is the webhook: its answers are those of the error edge.
func (x *meeting) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	err = x.in.Accept(r.Context(), marketplace.Delivery{
		Marketplace: x.id, Channel: marketplace.HTTPS, Body: body, ReceivedAt: x.sim.Now(), Source: r.URL.Path,
		Header: map[string]string{"authorization": r.Header.Get("Authorization")},
	})
	switch fault.ClassOf(err) {
	case fault.Forged:
		w.WriteHeader(http.StatusUnauthorized)
	case fault.Refused:
		x.mu.Lock()
		x.refused++
		x.mu.Unlock()
		w.WriteHeader(http.StatusUnprocessableEntity)
	default:
		if err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}
}

// work does what is due once, and says how much that was.
func (x *meeting) work(ctx context.Context, now time.Time) int {
	if !now.Before(x.sweepAt) { // what no message told
		again, err := x.in.Sweep(ctx, x.id, 15*time.Minute)
		if x.sweepAt = again; err != nil {
			x.sweepAt = now.Add(time.Minute)
		}
		return 1
	}
	rows, err := x.s.DB().QueryContext(ctx, fmt.Sprintf("SELECT kind, subject FROM due WHERE due_at <= %d AND kind IN ('refresh', 'decide', 'provision', 'close', 'collect', 'seal')", now.UnixMicro()))
	if err != nil {
		return 0
	}
	type row struct{ kind, subject string }
	var all []row
	for rows.Next() {
		var r row
		if rows.Scan(&r.kind, &r.subject) == nil {
			all = append(all, r)
		}
	}
	_ = rows.Close()
	for _, r := range all {
		if _, err := x.s.DB().ExecContext(ctx, fmt.Sprintf("DELETE FROM due WHERE kind = '%s' AND subject = '%s'", r.kind, r.subject)); err != nil {
			continue
		}
		again, err := x.do(ctx, r.kind, r.subject)
		if err != nil && !fault.ClassOf(err).Final() {
			again = x.sim.Now().Add(30 * time.Second)
		}
		if !again.IsZero() {
			_ = x.s.SubscriptionTx(ctx, func(ctx context.Context, t subscription.Tx) error { return t.Mark(ctx, r.kind, r.subject, again) })
		}
	}
	return len(all)
}

func (x *meeting) do(ctx context.Context, kind, subject string) (time.Time, error) {
	sub := id.Subscription(subject)
	switch kind {
	case subscription.DueRefresh:
		return x.in.Refresh(ctx, subject)
	case subscription.DueDecide:
		return x.subs.Decide(ctx, sub)
	case subscription.DueProvision:
		got, err := x.subs.Get(ctx, sub)
		if err != nil || got.Access(x.sim.Now()) != subscription.AccessFull {
			return time.Time{}, err
		}
		return time.Time{}, x.subs.Record(ctx, sub, subscription.Fact{Kind: subscription.FactReady})
	case subscription.DueClose:
		return time.Time{}, x.subs.Record(ctx, sub, subscription.Fact{Kind: subscription.FactClosed})
	}
	return time.Time{}, nil
}

func (x *meeting) advance(d time.Duration) {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(x.t.Context(), 60*time.Second)
	defer cancel()
	if err := x.sim.Advance(ctx, x.sim.Now().Add(d)); err != nil {
		x.t.Fatal(err)
	}
}

// buy makes a purchase and does not come.
func (x *meeting) buy(p simulator.Purchase) simulator.Buyer {
	x.t.Helper()
	p.Marketplace, p.Habits = string(x.id), &simulator.Habits{Absent: true}
	b, err := x.sim.Buy(x.t.Context(), p)
	if err != nil {
		x.t.Fatal(err)
	}
	x.advance(2 * time.Minute)
	return b
}

// come is the buyer, who confirms an address. Hostile weather may ask for patience.
func (x *meeting) come(b simulator.Buyer) {
	x.t.Helper()
	for range 40 {
		token, err := x.sim.Token(b.Purchase)
		if err != nil {
			x.t.Fatal(err)
		}
		claim, err := x.in.Arrive(x.t.Context(), x.id, marketplace.Token{Value: token})
		if fault.Is(err, fault.Unavailable) || fault.Is(err, fault.Throttled) {
			x.advance(time.Minute)
			continue
		}
		if err != nil {
			x.t.Fatal(err)
		}
		if _, err := x.confirm(claim, "jane@example.com"); err != nil {
			x.t.Fatal(err)
		}
		return
	}
	x.t.Fatal("the buyer gave up")
}

// await lets time pass until the purchase is as wanted.
func (x *meeting) await(b simulator.Buyer, what string, is func(subscription.Subscription) bool) subscription.Subscription {
	x.t.Helper()
	var got subscription.Subscription
	for range 120 { // a message may be three hours late
		s, ok, err := x.subs.Find(x.t.Context(), x.id, strings.ToLower(b.Purchase))
		if err != nil {
			x.t.Fatal(err)
		}
		if ok && is(s) {
			return s
		}
		got = s
		x.advance(2 * time.Minute)
	}
	x.t.Fatalf("four hours, and not %s: %s, plan %s, %+v", what, got.State(x.sim.Now()), got.Plan, got.Facts)
	return got
}

func (x *meeting) awaitState(b simulator.Buyer, want subscription.State) subscription.Subscription {
	x.t.Helper()
	return x.await(b, string(want), func(s subscription.Subscription) bool { return s.State(x.sim.Now()) == want })
}

func (x *meeting) awaitPlan(b simulator.Buyer, want string) {
	x.t.Helper()
	x.await(b, "plan "+want, func(s subscription.Subscription) bool {
		return s.Plan == want && s.State(x.sim.Now()) == subscription.StateActive
	})
}

func (x *meeting) change(b simulator.Buyer, plan string) {
	x.t.Helper()
	if _, err := x.sim.Change(x.t.Context(), b.Purchase, simulator.Change{Kind: simulator.ChangePlan, Plan: plan}); err != nil {
		x.t.Fatal(err)
	}
	x.advance(2 * time.Minute)
}

func (x *meeting) cancel(b simulator.Buyer) {
	x.t.Helper()
	if _, err := x.sim.Cancel(x.t.Context(), b.Purchase, ""); err != nil {
		x.t.Fatal(err)
	}
}

// rebuild checks that the stories tell all there is to know.
func (x *meeting) rebuild() {
	x.t.Helper()
	all, err := x.subs.List(x.t.Context(), subscription.Filter{})
	if err != nil {
		x.t.Fatal(err)
	}
	for _, sub := range all {
		story, err := x.subs.Story(x.t.Context(), sub.ID)
		if err != nil {
			x.t.Fatal(err)
		}
		rebuilt, err := subscription.Rebuild(x.id, story)
		if diff := cmp.Diff(sub.Facts, rebuilt); err != nil || diff != "" {
			x.t.Errorf("rebuilt from the story: %v (-stored +rebuilt):\n%s", err, diff)
		}
	}
}

// weathers are one good day and some hostile ones.
func weathers() map[string]simulator.Options {
	out := map[string]simulator.Options{"good": {Seed: 1, Weather: simulator.WeatherGood}}
	for seed := range uint64(4) {
		out[fmt.Sprint("hostile ", seed)] = simulator.Options{Seed: seed + 1, Weather: simulator.WeatherHostile}
	}
	return out
}

func TestMeetingGoogle(t *testing.T) {
	for name, o := range weathers() {
		t.Run(name, func(t *testing.T) {
			o.GCP = simulator.GCPOptions{Channel: simulator.ChannelHTTPS, VerifyCredentials: true}
			meet(t, marketplace.GCP, o, func(t *testing.T, x *meeting) {
				b := x.buy(simulator.Purchase{Plan: "standard"})
				x.come(b)
				sub := x.awaitState(b, subscription.StateActive)
				if sub.Account != b.Account || sub.Plan != "standard" {
					t.Errorf("bought %+v", sub)
				}
				second := x.buy(simulator.Purchase{Plan: "enterprise", Customer: b.ID}) // who signed up need not again
				x.awaitState(second, subscription.StateActive)
				x.change(b, "enterprise")
				x.awaitPlan(b, "enterprise")
				x.change(b, "standard")
				x.awaitPlan(b, "standard")
				x.await(b, "known to metering", func(s subscription.Subscription) bool { return s.Facts.Consumer.Name != "" })
				x.cancel(b)
				x.awaitState(b, subscription.StateEnded)
				x.awaitState(second, subscription.StateActive)
			})
		})
	}
}

func TestMeetingAzure(t *testing.T) {
	for name, o := range weathers() {
		t.Run(name, func(t *testing.T) {
			offer := simulator.AzureOffer{ID: "tailnet"}
			for _, plan := range []string{"standard", "premium", "instant", "gold"} {
				offer.Plans = append(offer.Plans, simulator.AzurePlan{ID: plan, Auto: plan == "instant", Dimensions: []string{"active_user"}})
			}
			o.Azure.Offers = []simulator.AzureOffer{offer}
			meet(t, marketplace.Azure, o, func(t *testing.T, x *meeting) {
				b := x.buy(simulator.Purchase{Plan: "standard"})
				x.come(b)
				x.awaitState(b, subscription.StateActive)
				instant := x.buy(simulator.Purchase{Plan: "instant"}) // nobody comes
				x.awaitState(instant, subscription.StateActive)
				x.come(instant)
				x.change(b, "premium")
				x.awaitPlan(b, "premium")
				x.change(b, "gold") // sold there, and not in our catalog
				x.awaitState(b, subscription.StateActive)
				x.mu.Lock()
				refused := x.refused > 0
				x.mu.Unlock()
				if refused { // else the webhook was lost, and silence is consent
					x.awaitPlan(b, "premium")
				} else if o.Weather == simulator.WeatherGood {
					t.Error("nothing was refused")
				}
				for _, want := range []subscription.State{subscription.StateSuspended, subscription.StateActive} {
					if _, err := x.sim.Suspend(t.Context(), b.Purchase, want == subscription.StateSuspended); err != nil {
						t.Fatal(err)
					}
					x.awaitState(b, want)
				}
				x.cancel(b)
				x.awaitState(b, subscription.StateEnded)
				x.awaitState(instant, subscription.StateActive)
			})
		})
	}
}
