package azure_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/marketplace/marketplacetest"
	"github.com/tailmarket/tailmarket/internal/simulator"
)

// good is the simulator in good weather.
func good(t *testing.T) *vendor {
	t.Helper()
	return sell(t, simulator.Options{Seed: 1, Weather: simulator.WeatherGood})
}

func (v *vendor) decide(kind marketplace.DecisionKind, p marketplacetest.Purchase, subject string) marketplace.Outcome {
	v.t.Helper()
	out, err := v.adapter.Decide(v.t.Context(), marketplace.Decision{Kind: kind, Ref: p.Ref, Subject: subject})
	if err != nil {
		v.t.Fatalf("%s: %v", kind, err)
	}
	return out
}

func (v *vendor) read(p marketplacetest.Purchase) marketplace.Event {
	v.t.Helper()
	events, err := v.adapter.Purchase(v.t.Context(), p.Ref)
	if err != nil || len(events) != 1 {
		v.t.Fatalf("%d events, error %v", len(events), err)
	}
	return events[0]
}

// last are the events of the newest delivery.
func (v *vendor) last() []marketplace.Event {
	v.t.Helper()
	all := v.Deliveries()
	if len(all) == 0 {
		v.t.Fatal("nothing was delivered")
	}
	verified, err := v.adapter.Verify(v.t.Context(), all[len(all)-1])
	if err != nil {
		v.t.Fatal(err)
	}
	events, err := v.adapter.Translate(verified)
	if err != nil || len(events) != 1 {
		v.t.Fatalf("%d events, error %v", len(events), err)
	}
	return events
}

func TestAClassicPurchaseFromTheTokenToTheLastRecord(t *testing.T) {
	t.Parallel()
	v := good(t)
	p := v.buy(simulator.Purchase{Plan: "standard"})
	if n := len(v.Deliveries()); n != 0 {
		t.Fatalf("%d webhooks before the buyer came; a classic purchase has none", n)
	}
	arrival, err := v.adapter.Resolve(t.Context(), v.Token(p))
	if err != nil || arrival.Account != p.Ref.Account || len(arrival.Purchases) != 1 || arrival.Purchases[0] != p.Ref || len(arrival.Buyers) != 1 {
		t.Fatalf("arrival %+v %v", arrival, err)
	}
	if o := v.read(p).Observed; o.Awaits != marketplace.Activate || o.Entitled || o.StartsAt.IsZero() {
		t.Errorf("before it is activated: %+v", *o)
	}
	hour := clock.HourOf(v.Now())
	r := marketplace.Record{Product: product, Identity: p.Identity, Dimension: p.Dimensions[0], Hour: hour, From: v.Now(), To: hour.End(), Quantity: "2.25", Key: "k"}
	submit := func(want marketplace.ReceiptOutcome) marketplace.Receipt {
		t.Helper()
		got, err := v.adapter.Submit(t.Context(), []marketplace.Record{r})
		if err != nil || got[0].Outcome != want {
			t.Fatalf("%+v %v, want %s", got, err, want)
		}
		return got[0]
	}
	submit(marketplace.OutcomeSuspended) // never activated is not active

	if got := v.decide(marketplace.Activate, p, ""); got != marketplace.Pending {
		t.Errorf("activation %q, want pending while it takes its time", got)
	}
	v.decide(marketplace.Activate, p, "")
	v.Advance(time.Minute)
	if got := v.decide(marketplace.Activate, p, ""); got != marketplace.Done {
		t.Errorf("activation %q, want done", got)
	}
	now := v.read(p)
	if o := now.Observed; !o.Entitled || o.Awaits != "" || now.Terms.Plan != "standard" || now.Terms.To.Sub(now.Terms.From) < 28*24*time.Hour || now.Terms.Quantities != nil {
		t.Errorf("after it was activated: %+v %+v", *o, *now.Terms)
	}
	v.Advance(time.Hour)
	if got := submit(marketplace.OutcomeAccepted); got.Quantity != "2.25" || got.ID == "" {
		t.Errorf("receipt %+v", got)
	}
	if got := v.decide(marketplace.RequestCancel, p, ""); got != marketplace.Pending {
		t.Errorf("our cancellation %q, want pending until it is told", got)
	}
	v.Advance(time.Minute)
	if e := v.last()[0]; e.Kind != marketplace.Ending || e.Ref.Purchase != p.Ref.Purchase {
		t.Errorf("event %+v, want the end", e)
	}
	if got := v.decide(marketplace.RequestCancel, p, ""); got != marketplace.Done {
		t.Errorf("our cancellation %q, want done", got)
	}
	if got := v.decide(marketplace.Activate, p, ""); got != marketplace.TooLate {
		t.Errorf("activation of what is over %q, want too late", got)
	}
	r.Dimension = p.Dimensions[1]
	submit(marketplace.OutcomeAccepted) // from before the end
}

func TestSilenceIsConsent(t *testing.T) {
	t.Parallel()
	v := good(t)
	p := v.Buy()
	v.Ask(p)
	e := v.last()[0]
	if e.Kind != marketplace.ChangeRequested {
		t.Fatalf("event %+v", e)
	}
	v.Advance(30 * time.Second)
	if got := v.decide(marketplace.RejectChange, p, e.MessageID); got != marketplace.TooLate {
		t.Errorf("rejected after ten seconds: %q, want too late", got)
	}
	if got := v.decide(marketplace.ApproveChange, p, e.MessageID); got != marketplace.Done {
		t.Errorf("approved after ten seconds: %q, want done", got)
	}
	if got := v.read(p).Terms.Plan; got != "premium" {
		t.Errorf("plan %q", got)
	}
	// The same webhook once more, which is answered by what became of it.
	if e := v.last()[0]; e.Kind != marketplace.Changed || e.Terms == nil || e.Terms.Plan != "premium" {
		t.Errorf("the repeated webhook: %+v, want changed", e)
	}
}

// TestA4xxRefusesTheChange: why Verify must not answer one for trouble.
func TestA4xxRefusesTheChange(t *testing.T) {
	t.Parallel()
	v := good(t)
	p := v.Buy()
	v.answer = func(marketplace.Delivery) int { return http.StatusUnprocessableEntity }
	v.Ask(p)
	if e := v.last()[0]; e.Kind != marketplace.ChangeWithdrawn || e.Terms.Plan != "premium" {
		t.Errorf("event %+v, want withdrawn", e)
	}
	v.Advance(time.Minute)
	if got := v.read(p).Terms.Plan; got != "instant" {
		t.Errorf("plan %q, want the old one", got)
	}
}

func TestOurOwnChangeIsNotAnswered(t *testing.T) {
	t.Parallel()
	v := good(t)
	p := v.Buy()
	if got := v.decide(marketplace.RequestChange, p, "premium"); got != marketplace.Pending {
		t.Errorf("our change %q, want pending", got)
	}
	if got := v.decide(marketplace.RequestChange, p, "premium"); got != marketplace.Pending {
		t.Errorf("our change again %q, want pending: one is under way", got)
	}
	v.Advance(6 * time.Second)
	e := v.last()[0]
	if e.Kind != marketplace.Changed || e.Terms != nil {
		t.Errorf("event %+v, want a hint: nobody asks us", e)
	}
	if got := v.decide(marketplace.ApproveChange, p, e.MessageID); got != marketplace.Done {
		t.Errorf("an answer to our own operation %q, want done without one", got)
	}
	v.Advance(time.Minute)
	if got := v.decide(marketplace.RequestChange, p, "premium"); got != marketplace.Done {
		t.Errorf("our change at last %q, want done", got)
	}
}

func TestSeatsResellersAndPrivateOffers(t *testing.T) {
	t.Parallel()
	v := good(t)
	offers := v.sim.Options().Azure.Offers
	p := v.buy(simulator.Purchase{Product: offers[1].ID, Seats: 7, Reseller: true, PrivateOffer: true})
	p.Ref.Product = product + "2"
	now := v.read(p)
	if now.Ref != p.Ref || now.Terms.Quantities["seat"] != 7 || !now.Terms.Private || now.Terms.Offer == offers[1].ID || now.Reseller == "" || now.Payer != now.Reseller {
		t.Errorf("purchase %+v %+v", now, *now.Terms)
	}
	v.decide(marketplace.Activate, p, "")
	v.Advance(time.Minute)
	if got := v.decide(marketplace.Activate, p, ""); got != marketplace.Done {
		t.Errorf("activation of seats %q", got)
	}
	_, err := v.adapter.Decide(t.Context(), marketplace.Decision{Kind: marketplace.RequestChange, Ref: p.Ref, Subject: "seat=9"})
	if !fault.Is(err, fault.Refused) {
		t.Errorf("our change of a reseller's sale: %v, want refused", err)
	}
	if _, err := v.sim.Change(t.Context(), p.Ref.Purchase, simulator.Change{Kind: simulator.ChangeSeats, Seats: 9}); err != nil {
		t.Fatal(err)
	}
	v.Advance(6 * time.Second)
	e := v.last()[0]
	if e.Kind != marketplace.ChangeRequested || e.Terms.Quantities["seat"] != 9 || e.Terms.Plan != now.Terms.Plan {
		t.Fatalf("event %+v %+v", e, e.Terms)
	}
	if got := v.decide(marketplace.ApproveChange, p, e.MessageID); got != marketplace.Done {
		t.Errorf("approval %q", got)
	}
	if got := v.read(p).Terms.Quantities["seat"]; got != 9 {
		t.Errorf("%d seats", got)
	}
}

func TestATermThatIsNotRenewedEndsAndOneThatIsGoesOn(t *testing.T) {
	t.Parallel()
	v := good(t)
	renews := v.Buy()
	ends := v.buy(simulator.Purchase{Plan: "instant", End: v.Now().Add(10 * 24 * time.Hour)})
	if now := v.read(ends); now.Observed.EndsAt.IsZero() || now.Observed.Ended {
		t.Errorf("a term that is not renewed: %+v", *now.Observed)
	}
	if now := v.read(renews); !now.Observed.EndsAt.IsZero() {
		t.Errorf("a term that is renewed: %+v", *now.Observed)
	}
	before := v.read(renews).Terms.To
	verified := map[string]marketplace.EventKind{}
	v.answer = func(d marketplace.Delivery) int {
		got, err := v.adapter.Verify(t.Context(), d)
		if err != nil {
			t.Errorf("verify: %v", err)
			return http.StatusInternalServerError
		}
		events, err := v.adapter.Translate(got)
		if err != nil {
			t.Errorf("translate: %v", err)
			return http.StatusOK
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		verified[events[0].Ref.Purchase] = events[0].Kind
		return http.StatusOK
	}
	v.Advance(35 * 24 * time.Hour)
	v.mu.Lock()
	if verified[ends.Ref.Purchase] != marketplace.Ending || verified[renews.Ref.Purchase] != marketplace.Changed {
		t.Errorf("told %v", verified)
	}
	v.mu.Unlock()
	if now := v.read(ends); !now.Observed.Ended {
		t.Errorf("after its term: %+v", *now.Observed)
	}
	if now := v.read(renews); !now.Observed.Entitled || !now.Terms.To.After(before) {
		t.Errorf("after its term: %+v, until %s", *now.Observed, now.Terms.To)
	}
}

// TestHostileWeather: repeated, late, reordered, forged webhooks in old forms,
// under both versions of tokens and a key that is rotated. What is genuine is
// verified and leads to its purchase, what is forged is not.
func TestHostileWeather(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed+1), func(t *testing.T) {
			t.Parallel()
			v := sell(t, simulator.Options{Seed: seed + 1, Weather: simulator.WeatherHostile})
			kinds := map[string][]marketplace.EventKind{}
			forged := 0
			v.answer = func(d marketplace.Delivery) int {
				got, err := v.adapter.Verify(t.Context(), d)
				switch fault.ClassOf(err) {
				case "":
				case fault.Forged:
					v.mu.Lock()
					defer v.mu.Unlock()
					forged++
					return http.StatusUnauthorized
				case fault.Unavailable: // the weather of reading; Microsoft sends again
					return http.StatusServiceUnavailable
				default:
					t.Errorf("verify: %v", err)
				}
				events, err := v.adapter.Translate(got)
				if err != nil {
					t.Errorf("translate %s: %v", got.Kind, err)
				}
				v.mu.Lock()
				defer v.mu.Unlock()
				for _, e := range events {
					kinds[e.Ref.Purchase] = append(kinds[e.Ref.Purchase], e.Kind)
				}
				return http.StatusOK
			}
			var all []marketplacetest.Purchase
			for i := range 8 {
				p := v.Buy()
				all = append(all, p)
				v.Advance(4 * time.Hour)
				if i%2 == 0 {
					if _, err := v.sim.Change(t.Context(), p.Ref.Purchase, simulator.Change{Plan: "premium"}); err != nil {
						t.Fatal(err)
					}
					v.Advance(4 * time.Hour)
				}
				v.Suspend(p)
				v.Advance(4 * time.Hour)
				v.Reinstate(p)
				v.Advance(4 * time.Hour)
				if i%2 == 1 {
					v.Cancel(p)
				}
			}
			v.Advance(24 * time.Hour)

			heard := 0
			for i, p := range all {
				now := v.retry(p)
				v.mu.Lock()
				heard += len(kinds[p.Ref.Purchase])
				ending := slices.Contains(kinds[p.Ref.Purchase], marketplace.Ending)
				v.mu.Unlock()
				if now.Observed.Ended != (i%2 == 1) || now.Observed.Entitled == now.Observed.Ended || (now.Terms.Plan == "premium") != (i%2 == 0) {
					t.Errorf("purchase %d is %+v under plan %s", i, *now.Observed, now.Terms.Plan)
				}
				if i%2 == 0 && ending {
					t.Errorf("purchase %d, which goes on, was told to end", i)
				}
			}
			met := v.sim.Faults()
			v.mu.Lock()
			defer v.mu.Unlock()
			if heard < 20 || met[string(simulator.KindForgedWebhook)] > 0 && forged == 0 {
				t.Errorf("%d webhooks were heard, %d refused as forged; the weather was %v", heard, forged, met)
			}
			if n := v.sim.Rest().Totals.Believed; n != 0 {
				t.Errorf("%d forged webhooks were believed", n)
			}
			t.Logf("%d heard, %d forged, weather %v", heard, forged, met)
		})
	}
}

// retry reads as a caller would that owns the retries.
func (v *vendor) retry(p marketplacetest.Purchase) marketplace.Event {
	v.t.Helper()
	for range 20 {
		events, err := v.adapter.Purchase(v.t.Context(), p.Ref)
		if err == nil && len(events) == 1 {
			return events[0]
		}
		if err != nil && !fault.Is(err, fault.Unavailable) && !fault.Is(err, fault.Throttled) || err == nil {
			v.t.Fatalf("%d events, error %v", len(events), err)
		}
	}
	v.t.Fatal("twenty tries were not enough")
	return marketplace.Event{}
}

func TestARevokedTokenIsReplaced(t *testing.T) {
	t.Parallel()
	v := good(t)
	p := v.Buy()
	v.read(p)
	v.sim.Force(simulator.Force{Kind: simulator.KindTokenRevoked, Times: 1})
	_, err := v.adapter.Purchase(t.Context(), p.Ref)
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "403") {
		t.Errorf("a revoked token: %v, want unavailable", err)
	}
	v.read(p)
}
