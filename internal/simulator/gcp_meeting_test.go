package simulator_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/marketplace/gcp"
	"github.com/tailmarket/tailmarket/internal/simulator"
)

// gcpMeeting is our adapter as the vendor: what one hand read in Google's documents against what another did.
type gcpMeeting struct {
	*gcpWorld
	adapter *gcp.Adapter

	mu     sync.Mutex
	seen   map[string][]marketplace.EventKind // by purchase or account
	forged int
}

func meetGoogle(t *testing.T, o simulator.Options) *gcpMeeting {
	t.Helper()
	o.GCP.VerifyCredentials = true
	m := &gcpMeeting{gcpWorld: googleWorld(t, o), seen: map[string][]marketplace.EventKind{}}
	opt, pool := m.sim.Options().GCP, x509.NewCertPool()
	pool.AppendCertsFromPEM(m.sim.CAPEM())
	key, err := m.sim.GCPCredentials()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(file, key, 0o600); err != nil {
		t.Fatal(err)
	}
	var metrics []string
	for _, plan := range opt.Products[0].Plans {
		for _, id := range plan.Metrics {
			metrics = append(metrics, gcpService+"/"+id)
		}
	}
	m.adapter, err = gcp.Config{
		Provider: opt.Provider, Audiences: []string{opt.Audience}, PullSubscription: opt.Subscription, PushSubscription: opt.Subscription,
		PushAudience: m.app.URL + "/gcp/events", PushAccount: opt.PushAccount, CredentialsFile: file, Endpoint: m.sim.GCPURL(), Roots: pool,
		ResendFor: 50 * time.Minute, Listings: []gcp.Listing{{Product: "tailnet", Service: gcpService, Metrics: metrics}},
	}.Open(t.Context(), m.http, slog.New(slog.DiscardHandler), m.sim.Now)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// take is the vendor's one door for events, as push and pull lead to it.
func (m *gcpMeeting) take(ctx context.Context, d marketplace.Delivery) error {
	v, err := m.adapter.Verify(ctx, d)
	if err != nil {
		return err
	}
	events, err := m.adapter.Translate(v)
	if err != nil {
		m.t.Errorf("translate %s: %v", v.Kind, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, ev := range events {
		id := ev.Ref.Purchase + ev.Ref.Account
		m.seen[id] = append(m.seen[id], ev.Kind)
	}
	return nil
}

func (m *gcpMeeting) push(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	err := m.take(r.Context(), marketplace.Delivery{
		Marketplace: marketplace.GCP, Channel: marketplace.HTTPS, Body: body, ReceivedAt: m.sim.Now(), Source: r.URL.Path,
		Header: map[string]string{"authorization": r.Header.Get("Authorization")},
	})
	switch fault.ClassOf(err) {
	case "":
		w.WriteHeader(http.StatusOK)
	case fault.Forged:
		m.mu.Lock()
		m.forged++
		m.mu.Unlock()
		w.WriteHeader(http.StatusUnauthorized)
	case fault.Unavailable:
		w.WriteHeader(http.StatusServiceUnavailable)
	default:
		m.t.Errorf("push: %v", err)
	}
}

// listen pulls until the test is over.
func (m *gcpMeeting) listen() {
	ctx, stop := context.WithCancel(context.Background())
	m.t.Cleanup(stop)
	m.pulling.Go(func() {
		for ctx.Err() == nil {
			if err := m.adapter.Listen(ctx, m.take); err != nil && ctx.Err() == nil {
				m.t.Errorf("listen: %v", err)
			}
		}
	})
}

// settle repeats a decision as due rows do.
func (m *gcpMeeting) settle(d marketplace.Decision) marketplace.Outcome {
	m.t.Helper()
	return patiently(m.t, func() (marketplace.Outcome, error) { return m.adapter.Decide(m.t.Context(), d) })
}

func (m *gcpMeeting) observed(purchase string) marketplace.Event {
	m.t.Helper()
	events := patiently(m.t, func() ([]marketplace.Event, error) {
		return m.adapter.Purchase(m.t.Context(), marketplace.Ref{Purchase: purchase})
	})
	if len(events) != 1 {
		m.t.Fatalf("purchase %s is seen as %+v", purchase, events)
	}
	return events[0]
}

// signUp is a buyer's way through the adapter until the order waits for Google.
func (m *gcpMeeting) signUp(b simulator.Buyer) {
	m.t.Helper()
	token, err := m.sim.Token(b.ID)
	if err != nil {
		m.t.Fatal(err)
	}
	arrival := patiently(m.t, func() (marketplace.Arrival, error) {
		return m.adapter.Resolve(m.t.Context(), marketplace.Token{Value: token})
	})
	if arrival.Account != b.Account || arrival.Person == "" || len(arrival.Purchases) != 1 || arrival.Purchases[0].Purchase != b.Purchase || arrival.Purchases[0].Product != "tailnet" {
		m.t.Errorf("arrival %+v of %+v", arrival, b)
	}
	if ev := m.observed(b.Purchase); ev.Observed.Entitled || ev.Observed.Awaits != marketplace.Approve {
		m.t.Errorf("an order that waits is seen as %+v", ev.Observed)
	}
	ref := marketplace.Ref{Purchase: b.Purchase, Account: b.Account}
	for range 2 { // deciding again does no harm
		if out := m.settle(marketplace.Decision{Kind: marketplace.ApproveAccount, Ref: ref}); out != marketplace.Done {
			m.t.Errorf("account: %s", out)
		}
		if out := m.settle(marketplace.Decision{Kind: marketplace.Approve, Ref: ref}); out != marketplace.Pending {
			m.t.Errorf("order: %s", out)
		}
	}
	if ev := m.observed(b.Purchase); ev.Observed.Entitled || ev.Observed.Awaits != "" {
		m.t.Errorf("an approved order is seen as %+v", ev.Observed)
	}
}

func TestTheGoogleAdapterAndTheSimulatorMeet(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			m := meetGoogle(t, simulator.Options{Seed: seed})
			m.app.Config.Handler = http.HandlerFunc(m.push)
			m.listen()
			var bought []simulator.Buyer
			for i := range 8 {
				b := m.buy(simulator.Purchase{Marketplace: simulator.GCP, Reseller: i%4 == 1, PrivateOffer: i%4 == 2, Habits: absent()})
				bought = append(bought, b)
				m.signUp(b)
			}
			m.advance(45 * time.Minute)
			for i, b := range bought {
				ev := m.observed(b.Purchase)
				for try := 0; i%4 == 1 && ev.Reseller == "" && try < 4; try++ {
					ev = m.observed(b.Purchase) // who sold it is read beside it, and may be missed
				}
				if !ev.Observed.Entitled || ev.Consumer == "" || ev.Terms.Plan != "standard" || ev.Terms.Private != (i%4 == 1 || i%4 == 2) || (ev.Reseller != "") != (i%4 == 1) {
					t.Errorf("%+v is seen as %+v %+v %+v", b, ev, ev.Terms, ev.Observed)
				}
				ref := marketplace.Ref{Purchase: b.Purchase, Account: b.Account}
				var err error
				switch i % 4 {
				case 0:
					if _, err = m.sim.Change(t.Context(), b.ID, simulator.Change{Plan: "enterprise", From: m.sim.Now().Add(time.Hour * time.Duration(i/4))}); err != nil {
						break
					}
					if ev := m.observed(b.Purchase); ev.Observed.Change == nil || ev.Observed.Change.Plan != "enterprise" || ev.Observed.Awaits != marketplace.ApproveChange || ev.Terms.Plan != "standard" {
						t.Errorf("a change that waits is seen as %+v", ev.Observed)
					}
					if out := m.settle(marketplace.Decision{Kind: marketplace.ApproveChange, Ref: ref, Subject: "enterprise"}); out != marketplace.Pending && out != marketplace.Done {
						t.Errorf("change: %s", out)
					}
				case 1:
					if _, err = m.sim.Change(t.Context(), b.ID, simulator.Change{Plan: "enterprise"}); err != nil {
						break
					}
					if out := m.settle(marketplace.Decision{Kind: marketplace.RejectChange, Ref: ref, Subject: "enterprise"}); out != marketplace.Done {
						t.Errorf("refused change: %s", out)
					}
				case 2:
					_, err = m.sim.Cancel(t.Context(), b.ID, "PENDING_CANCELLATION")
				case 3:
					_, err = m.sim.Cancel(t.Context(), b.ID, "")
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			m.advance(5 * time.Hour)
			got := map[string]marketplace.Event{}
			patiently(t, func() (struct{}, error) {
				return struct{}{}, m.adapter.Purchases(t.Context(), marketplace.Mark{}, func(page marketplace.Page) error {
					for _, ev := range page.Events {
						got[ev.Ref.Purchase] = ev
					}
					return nil
				})
			})
			for i, b := range bought {
				ev := got[b.Purchase]
				if plan := []string{"enterprise", "standard", "standard", "standard"}[i%4]; ev.Observed == nil || ev.Observed.Ended != (i%4 == 3) || ev.Observed.Entitled == (i%4 == 3) || ev.Terms.Plan != plan {
					t.Errorf("%d is seen as %+v %+v", i, ev.Observed, ev.Terms)
				}
				if i%4 == 2 && (ev.Observed.EndsAt.IsZero() || ev.Observed.Awaits != "") {
					t.Errorf("an end to come is seen as %+v", ev.Observed)
				}
				kinds := m.seen[b.Purchase]
				if i%4 == 3 && !slices.Contains(kinds, marketplace.Ended) {
					t.Errorf("%d ended, and was told %v", i, kinds)
				}
			}
			if met := m.sim.Faults()[string(simulator.KindForgedWebhook)]; m.forged != met || m.sim.Rest().Totals.Believed != 0 || met == 0 {
				t.Errorf("%d of %d forged pushes were refused", m.forged, met)
			}
			if r := m.sim.Rest(); !r.AtRest {
				t.Errorf("rest %+v %v", r, m.sim.Agenda())
			}
		})
	}
}

// Units are billed once, whatever befalls the calls: what failed by itself goes into a later window.
func TestEveryUnitTheGoogleAdapterSendsIsOnTheBill(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			m := meetGoogle(t, simulator.Options{Seed: seed, GCP: simulator.GCPOptions{Channel: simulator.ChannelHTTPS}})
			m.app.Config.Handler = http.HandlerFunc(m.push)
			rules := m.adapter.Rules("tailnet")
			var open []marketplace.Record
			want := int64(0)
			for range 4 {
				b := m.buy(simulator.Purchase{Marketplace: simulator.GCP, Habits: absent()})
				m.signUp(b)
				m.advance(40 * time.Minute)
				ev := m.observed(b.Purchase)
				for h := range 8 {
					for i, metric := range []string{"active_user", "api_request"} {
						r := marketplace.Record{
							Product: "tailnet", Dimension: gcpService + "/" + metric, Hour: clock.HourOf(m.sim.Now().Add(time.Duration(h+1) * time.Hour)),
							Identity: marketplace.VendorIdentity{ProductCode: gcpService, License: b.Purchase, Customer: ev.Consumer, Account: b.Account},
							Quantity: fmt.Sprint(h + i),
						}
						r.From, r.To = r.Hour.Start(), r.Hour.End()
						r.Key = rules.Slot(r)
						open, want = append(open, r), want+int64(h+i)
					}
				}
			}
			m.advance(30 * time.Hour)
			unclear := map[string]bool{}
			for round := 0; len(open) > 0; round++ {
				if round > 60 {
					t.Fatalf("%d records are not settled", len(open))
				}
				batch := open[:min(len(open), 7)]
				receipts, err := m.adapter.Submit(t.Context(), batch)
				if err != nil {
					if class := fault.ClassOf(err); class != fault.Throttled && class != fault.Unsure {
						t.Fatal(err)
					} else if class == fault.Unsure {
						for _, r := range batch {
							unclear[r.Key] = true
						}
					}
					continue
				}
				var again []marketplace.Record
				for i, got := range receipts {
					r := batch[i]
					switch got.Outcome {
					case marketplace.OutcomeAccepted:
					case marketplace.OutcomeFailed, marketplace.OutcomeMissing:
						unclear[r.Key] = true
						again = append(again, r)
					case marketplace.OutcomeUnprocessed:
						if !unclear[r.Key] { // proven: its units go into a later window
							r.Hour = r.Hour.Add(9)
							r.From, r.To = r.Hour.Start(), r.Hour.End()
							r.Key = rules.Slot(r)
						}
						again = append(again, r)
					default:
						t.Errorf("%+v", got)
					}
				}
				open = append(again, open[len(batch):]...)
			}
			sum := int64(0)
			for _, line := range m.sim.Bill().Lines {
				sum += line.Quantity
			}
			if sum != want {
				t.Errorf("%d units were sent, the bill says %d: %v", want, sum, m.sim.Faults())
			}
		})
	}
}

// What a Google that knows no operation again would bill twice, the adapter's rules forbid to send twice.
func TestWithoutDeduplicationADoubtIsADoubledBill(t *testing.T) {
	t.Parallel()
	m := meetGoogle(t, simulator.Options{Weather: simulator.WeatherGood, GCP: simulator.GCPOptions{Dedup: simulator.DedupOff, Channel: simulator.ChannelHTTPS}})
	m.app.Config.Handler = http.HandlerFunc(m.push)
	b := m.buy(simulator.Purchase{Marketplace: simulator.GCP, Habits: absent()})
	m.signUp(b)
	m.advance(3 * time.Hour)
	r := marketplace.Record{
		Product: "tailnet", Dimension: gcpService + "/active_user", Hour: clock.HourOf(start.Add(time.Hour)), Quantity: "5",
		Identity: marketplace.VendorIdentity{ProductCode: gcpService, License: b.Purchase, Customer: m.observed(b.Purchase).Consumer, Account: b.Account},
	}
	r.From, r.To = r.Hour.Start(), r.Hour.End()
	r.Key = m.adapter.Rules("tailnet").Slot(r)
	m.sim.Force(simulator.Force{Kind: simulator.KindAcceptThenClose})
	if _, err := m.adapter.Submit(t.Context(), []marketplace.Record{r}); fault.ClassOf(err) != fault.Unsure {
		t.Fatalf("a cut connection is %v", err)
	}
	if n := m.billed(b.Purchase, "active_user"); n != 5 {
		t.Fatalf("billed %d", n)
	}
	if _, err := m.adapter.Submit(t.Context(), []marketplace.Record{r}); err != nil {
		t.Fatal(err)
	}
	if n := m.billed(b.Purchase, "active_user"); n != 10 {
		t.Errorf("billed %d: with dedup off a resend doubles", n)
	}
}
