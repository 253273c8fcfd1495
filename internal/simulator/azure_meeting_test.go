package simulator_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/marketplace/azure"
	"github.com/tailmarket/tailmarket/internal/simulator"
)

// meeting is our adapter as the publisher: what one hand read in Microsoft's documents against what another did.
type meeting struct {
	*azureWorld
	adapter *azure.Adapter

	mu     sync.Mutex
	events []marketplace.Event
	wrong  []string
}

func meet(t *testing.T, o simulator.Options) *meeting {
	t.Helper()
	w := azureSetup(t, o)
	opt := w.sim.Options().Azure
	adapter, err := azure.Config{
		TenantID: opt.Tenant, ClientID: opt.Client, ClientSecret: opt.Secret, Authority: w.sim.AzureURL(), Endpoint: w.sim.AzureURL() + "/api",
		PublisherID: opt.Publisher, Listings: []azure.Listing{
			{Product: "tailnet", OfferID: "tailnet", Dimensions: []string{"active_user", "api_request", "tagged_resource", "ephemeral_minute"}},
			{Product: "seats", OfferID: "tailnet-seats", Dimensions: []string{"none"}},
		},
	}.Open(w.http, slog.New(slog.DiscardHandler), w.sim.Now)
	if err != nil {
		t.Fatal(err)
	}
	return &meeting{azureWorld: w, adapter: adapter}
}

// webhook is the endpoint of a publisher who accepts every change.
func (m *meeting) webhook(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	v, err := m.adapter.Verify(r.Context(), marketplace.Delivery{
		Marketplace: marketplace.Azure, Channel: marketplace.HTTPS, Header: map[string]string{"authorization": r.Header.Get("Authorization")},
		Body: body, ReceivedAt: m.sim.Now(), Source: r.URL.Path,
	})
	switch fault.ClassOf(err) {
	case fault.Forged:
		m.note("forged %s %v", body, err)
		rw.WriteHeader(http.StatusUnauthorized)
		return
	case fault.Unavailable:
		rw.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if err != nil {
		m.note("verify %s: %v", body, err)
		return
	}
	events, err := m.adapter.Translate(v)
	if err != nil {
		m.note("translate %s: %v", body, err)
	}
	for _, ev := range events {
		m.mu.Lock()
		m.events = append(m.events, ev)
		m.mu.Unlock()
		if ev.Kind == marketplace.ChangeRequested {
			if ev.Terms == nil || ev.Terms.Plan == "" {
				m.note("a change to nothing: %s", body)
			}
			m.decide(marketplace.Decision{Kind: marketplace.ApproveChange, Ref: ev.Ref, Subject: ev.MessageID})
		}
	}
}

func (m *meeting) note(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wrong = append(m.wrong, fmt.Sprintf(format, args...))
}

// decide repeats a decision as due rows do.
func (m *meeting) decide(d marketplace.Decision) marketplace.Outcome {
	for try := 0; ; try++ {
		out, err := m.adapter.Decide(context.Background(), d)
		if err == nil {
			return out
		}
		if fault.ClassOf(err).Final() || try > 12 {
			m.note("%s: %v", d.Kind, err)
			return ""
		}
	}
}

// patiently repeats a reading call.
func patiently[T any](t *testing.T, do func() (T, error)) T {
	t.Helper()
	var zero T
	for range 12 {
		out, err := do()
		if err == nil {
			return out
		}
		if fault.ClassOf(err).Final() {
			t.Fatal(err)
		}
	}
	t.Fatal("no answer in twelve tries")
	return zero
}

func TestTheAdapterAndTheSimulatorMeet(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			m := meet(t, simulator.Options{Seed: seed})
			mux := http.NewServeMux()
			mux.HandleFunc("POST /azure/events", m.webhook)
			m.app.Config.Handler = mux
			var bought []simulator.Buyer
			for i := range 8 {
				p := []simulator.Purchase{{}, {Plan: "instant"}, {Product: "tailnet-seats", Seats: 5}, {Reseller: true, PrivateOffer: true}}[i%4]
				p.Habits = absent()
				b := m.buy(p)
				bought = append(bought, b)
				token := m.tokenOf(b)
				arrival := patiently(t, func() (marketplace.Arrival, error) {
					return m.adapter.Resolve(t.Context(), marketplace.Token{Value: token})
				})
				if arrival.Account != b.Account || len(arrival.Purchases) != 1 || arrival.Purchases[0].Purchase != b.Purchase {
					t.Errorf("arrival %+v of %+v", arrival, b)
				}
				m.decide(marketplace.Decision{Kind: marketplace.Activate, Ref: arrival.Purchases[0]})
			}
			m.advance(10 * time.Minute)
			for i, b := range bought {
				if out := m.decide(marketplace.Decision{Kind: marketplace.Activate, Ref: marketplace.Ref{Purchase: b.Purchase}}); out != marketplace.Done {
					t.Errorf("activation of %+v: %s", b, out)
				}
				switch i % 4 {
				case 0, 1:
					m.ask(b, simulator.Change{Plan: "premium"})
				case 2:
					m.ask(b, simulator.Change{Kind: simulator.ChangeSeats, Seats: 9})
				case 3:
					if _, err := m.sim.Suspend(t.Context(), b.ID, true); err != nil {
						t.Fatal(err)
					}
				}
			}
			m.advance(4 * time.Hour)
			for i, b := range bought {
				var err error
				switch {
				case i%4 == 3:
					_, err = m.sim.Suspend(t.Context(), b.ID, false)
				case i < 4:
					_, err = m.sim.Cancel(t.Context(), b.ID, "")
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			m.advance(4 * time.Hour)
			var got []marketplace.Event
			for try := range 12 {
				var unread []marketplace.Ref
				got = nil
				err := m.adapter.Purchases(t.Context(), marketplace.Mark{}, func(page marketplace.Page) error {
					got, unread = append(got, page.Events...), append(unread, page.Unread...)
					return nil
				})
				if err == nil && len(unread) == 0 { // the weather may hide one
					break
				}
				if try == 11 {
					t.Fatal("no list")
				}
			}
			if len(got) != len(bought) {
				t.Fatalf("%d of %d purchases listed", len(got), len(bought))
			}
			for i, b := range m.sim.Buyers() {
				ev := got[slices.IndexFunc(got, func(ev marketplace.Event) bool { return ev.Ref.Purchase == b.Purchase })]
				o := ev.Observed
				if o.Entitled != (b.Status == "Subscribed") || o.Suspended != (b.Status == "Suspended") || o.Ended != (b.Status == "Unsubscribed") || ev.Ref.Account != b.Account {
					t.Errorf("%+v is seen as %+v", b, ev)
				}
				if plan := []string{"premium", "premium", "team", "standard"}[i%4]; ev.Terms.Plan != plan || i%4 == 2 && ev.Terms.Quantities["seat"] != 9 {
					t.Errorf("%+v: terms %+v", b, ev.Terms)
				}
				if i%4 == 3 && (ev.Payer == "" || !ev.Terms.Private) {
					t.Errorf("%+v: %+v %+v", b, ev, ev.Terms)
				}
			}
			forged := 0
			for _, w := range m.wrong {
				if strings.Contains(w, "check a webhook token") {
					forged++
					continue
				}
				t.Error(w)
			}
			if m.sim.Faults()[string(simulator.KindAckLate)] == 0 {
				t.Error("eight purchases that changed met no acknowledgement that came too late")
			}
			if met := m.sim.Faults()[string(simulator.KindForgedWebhook)]; forged != met || m.sim.Rest().Totals.Believed != 0 {
				t.Errorf("%d of %d forged webhooks were refused", forged, met)
			}
		})
	}
}

func TestEveryUnitTheAdapterSendsIsOnTheBill(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			m := meet(t, simulator.Options{Seed: seed})
			b := m.subscribed(simulator.Purchase{})
			m.advance(23 * time.Hour)
			rules := m.adapter.Rules("tailnet")
			var open []marketplace.Record
			for h := range 20 {
				for i, d := range []string{"active_user", "api_request"} {
					r := marketplace.Record{
						Product: "tailnet", Identity: marketplace.VendorIdentity{Resource: b.Purchase, Plan: "standard"}, Dimension: d,
						Hour: clock.HourOf(start.Add(time.Duration(h+1) * time.Hour)), Quantity: fmt.Sprint(h + 2 + i),
					}
					r.From, r.To = r.Hour.Start(), r.Hour.Start().Add(time.Hour)
					r.Key = rules.Slot(r)
					open = append(open, r)
				}
			}
			billed := int64(0)
			for round := 0; len(open) > 0; round++ {
				if round > 40 {
					t.Fatalf("%d records are not settled", len(open))
				}
				batch := open[:min(len(open), rules.BatchRecords)]
				receipts, err := m.adapter.Submit(t.Context(), batch)
				if err != nil {
					if class := fault.ClassOf(err); class != fault.Throttled && class != fault.Unsure {
						t.Fatal(err)
					}
					continue
				}
				var again []marketplace.Record
				for i, r := range receipts {
					switch r.Outcome {
					case marketplace.OutcomeAccepted, marketplace.OutcomeDuplicate:
						n, err := strconv.ParseInt(r.Quantity, 10, 64)
						if err != nil {
							t.Fatalf("%+v", r)
						}
						billed += n
					case marketplace.OutcomeFailed:
						again = append(again, batch[i])
					default:
						t.Errorf("%+v", r)
					}
				}
				open = append(again, open[len(batch):]...)
			}
			sum := int64(0)
			for _, line := range m.sim.Bill().Lines {
				sum += line.Quantity
			}
			if sum != billed || sum == 0 {
				t.Errorf("the receipts say %d, the bill says %d", billed, sum)
			}
		})
	}
}
