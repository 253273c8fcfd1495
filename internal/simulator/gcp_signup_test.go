package simulator_test

import (
	"slices"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/simulator"
)

func goodGoogle(t *testing.T) *gcpWorld {
	t.Helper()
	return googleWorld(t, simulator.Options{Weather: simulator.WeatherGood, Seed: 3})
}

func TestAGooglePurchaseFromTheButtonToTheKey(t *testing.T) {
	t.Parallel()
	g := goodGoogle(t)
	b := g.buy(simulator.Purchase{Marketplace: simulator.GCP})
	if b.Marketplace != "gcp" || b.Status != "ACTIVATION_REQUESTED" || b.Plan != "standard" {
		t.Fatalf("buyer %+v", b)
	}
	before := g.entitlement(b.Purchase)
	if before.State != "ENTITLEMENT_ACTIVATION_REQUESTED" || before.UsageReportingId != "" || before.OfferEndTime != "" || before.OfferDuration != "P1M" {
		t.Errorf("before activation %+v", before)
	}
	g.advance(time.Hour)
	if got := g.buyer(b.ID); !got.JoinKeySeen || got.Status != "ACTIVE" {
		t.Fatalf("buyer %+v", got)
	}
	e := g.entitlement(b.Purchase)
	if e.State != "ENTITLEMENT_ACTIVE" || e.UsageReportingId == "" || e.OfferEndTime == "" || len(e.Consumers) != 1 ||
		e.Account != gcpProvider+"/accounts/"+b.Account || e.ProductExternalName != gcpService || e.Plan != "standard" || e.OrderId == "" {
		t.Errorf("entitlement %+v", e)
	}
	want := []string{"ENTITLEMENT_CREATION_REQUESTED", "ENTITLEMENT_OFFER_ACCEPTED", "ENTITLEMENT_ACTIVE"}
	if got := g.kinds(b.Purchase); !slices.Equal(got, want) {
		t.Errorf("events %v", got)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	// The three events of an order share their id; activation has its own.
	if g.events[0].EventType != "ACCOUNT_ACTIVE" || g.events[0].EventID != g.events[1].EventID || g.events[1].EventID != g.events[2].EventID ||
		g.events[2].EventID == g.events[3].EventID || g.events[0].ProviderID != "example-public" {
		t.Errorf("event ids %+v", g.events)
	}
	if r := g.sim.Rest(); !r.AtRest {
		t.Errorf("rest %+v %v", r, g.sim.Agenda())
	}
}

func TestSignUpTokens(t *testing.T) {
	t.Parallel()
	g := goodGoogle(t)
	b := g.buy(simulator.Purchase{Marketplace: simulator.GCP, Habits: absent()})
	token, err := g.sim.Token(b.ID)
	if err != nil {
		t.Fatal(err)
	}
	claims, err := g.openSignUp(t.Context(), token)
	if err != nil || claims.Sub != b.Account || claims.Google.UserIdentity == "" || !slices.Equal(claims.Google.Roles, []string{"account_admin"}) || claims.Google.Orders != nil {
		t.Fatalf("%+v %v", claims, err)
	}
	if alg := jwtPart(token, 0)["alg"]; alg != "RS256" {
		t.Errorf("alg %v", alg)
	}
	// The push key does not open it, whatever the kid says.
	if err := g.verifyPush(t.Context(), token); err == nil {
		t.Error("a sign-up token passed for a push")
	}
	g.advance(5*time.Minute - time.Second)
	if _, err := g.openSignUp(t.Context(), token); err != nil {
		t.Errorf("just before its end: %v", err)
	}
	g.advance(time.Second)
	if _, err := g.openSignUp(t.Context(), token); err == nil {
		t.Error("five minutes later it still opens")
	}
}

func TestAStaleSignUpIsTriedAgainFromTheConsole(t *testing.T) {
	t.Parallel()
	g := goodGoogle(t)
	b := g.buy(simulator.Purchase{Marketplace: simulator.GCP, Habits: &simulator.Habits{After: time.Hour, Stale: true, Twice: true}})
	g.advance(4 * time.Hour)
	if got := g.buyer(b.ID); !got.JoinKeySeen || got.Problem == "" {
		t.Fatalf("buyer %+v", got)
	}
}

func TestACustomerBuysAgainUnderOneAccount(t *testing.T) {
	t.Parallel()
	g := goodGoogle(t)
	first := g.active(simulator.Purchase{})
	second := g.buy(simulator.Purchase{Marketplace: simulator.GCP, Customer: first.ID, Plan: "enterprise", Habits: absent()})
	if second.Account != first.Account || second.Purchase == first.Purchase || second.Email != first.Email {
		t.Fatalf("%+v\n%+v", first, second)
	}
	g.advance(time.Minute)
	if got := g.kinds(first.Account); len(got) != 1 {
		t.Errorf("the account was told of %d times: %v", len(got), got)
	}
	token, _ := g.sim.Token(second.ID)
	claims, err := g.openSignUp(t.Context(), token)
	if err != nil || len(claims.Google.Orders) != 2 {
		t.Errorf("orders %v %v", claims.Google.Orders, err)
	}
	if _, err := g.sim.Buy(t.Context(), simulator.Purchase{Customer: first.ID}); err == nil {
		t.Error("a customer of Google bought on AWS under the same account")
	}
}

func TestGoogleRotatesItsKeys(t *testing.T) {
	t.Parallel()
	g := goodGoogle(t)
	b := g.buy(simulator.Purchase{Marketplace: simulator.GCP, Habits: absent()})
	old, _ := g.sim.Token(b.ID)
	g.sim.Force(simulator.Force{Kind: simulator.KindKeyRotation})
	fresh, _ := g.sim.Token(b.ID)
	if jwtPart(old, 0)["kid"] == jwtPart(fresh, 0)["kid"] {
		t.Fatal("the key kept its name")
	}
	for name, token := range map[string]string{"old": old, "new": fresh} {
		if _, err := g.openSignUp(t.Context(), token); err != nil {
			t.Errorf("%s key: %v", name, err)
		}
	}
}
