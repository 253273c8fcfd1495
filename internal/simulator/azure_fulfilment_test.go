package simulator_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/simulator"
)

func TestABuyerLandsAndIsBilledFromActivation(t *testing.T) {
	t.Parallel()
	w := calm(t)
	b := w.buy(simulator.Purchase{Seats: 0})
	if b.Status != "PendingFulfillmentStart" || b.Marketplace != simulator.Azure || b.Account == "" {
		t.Fatalf("bought %+v", b)
	}
	w.advance(30 * time.Minute)
	if got := w.sim.Buyers()[0]; !got.JoinKeySeen || got.Status != "Subscribed" {
		t.Errorf("buyer %+v", got)
	}
	if len(w.landings) != 1 || !strings.Contains(w.landings[0], "%2B") || !strings.Contains(w.landings[0], "%2F") {
		t.Errorf("landings %q: want one, its token percent-encoded", w.landings)
	}
	if got := w.seen(""); len(got) != 0 {
		t.Errorf("a classic purchase tells nothing: %+v", got)
	}
	if r := w.sim.Rest(); !r.AtRest {
		t.Errorf("rest %+v %v", r, w.sim.Agenda())
	}
}

func TestALandingTokenIsDecodedOnceAndLivesADay(t *testing.T) {
	t.Parallel()
	w := calm(t)
	b := w.buy(simulator.Purchase{Habits: absent()})
	token := w.tokenOf(b)
	for name, c := range map[string]struct {
		token  string
		status int
	}{
		"as it is":      {token, 200},
		"again":         {token, 200},
		"still encoded": {escaped(token), 400},
		"decoded twice": {strings.ReplaceAll(token, "+", " "), 400},
		"none":          {"", 400},
	} {
		a := w.call("POST", subscriptions+"/resolve", "", "x-ms-marketplace-token", c.token)
		if a.status != c.status {
			t.Errorf("%s: %d %s", name, a.status, a.text)
		}
		if a.status == 200 && (a.at("id") != b.Purchase || a.at("subscription", "beneficiary", "tenantId") != b.Account || a.at("subscription", "saasSubscriptionStatus") != "PendingFulfillmentStart") {
			t.Errorf("%s: %s", name, a.text)
		}
	}
	w.advance(24*time.Hour - time.Second)
	w.must(200, "POST", subscriptions+"/resolve", "", "x-ms-marketplace-token", token)
	w.advance(time.Second)
	w.must(400, "POST", subscriptions+"/resolve", "", "x-ms-marketplace-token", token)
}

func TestActivation(t *testing.T) {
	t.Parallel()
	w := calm(t)
	b := w.buy(simulator.Purchase{Product: "tailnet-seats", Seats: 7, Habits: absent()})
	path := subscriptions + "/" + b.Purchase
	for _, bad := range []string{`{}`, `{"planId":"company","quantity":7}`, `{"planId":"team"}`, `{"planId":"team","quantity":8}`, `{"planId":"team","quantity":"x"}`} {
		if a := w.call("POST", path+"/activate", bad); a.status != 400 || a.at("code") != "BadArgument" {
			t.Errorf("%s: %d %s", bad, a.status, a.text)
		}
	}
	a := w.must(200, "POST", path+"/activate", `{"planId":"team","quantity":"7"}`)
	if a.text != "" {
		t.Errorf("activate has no body, got %q", a.text)
	}
	if got := w.status(b); got != "PendingFulfillmentStart" {
		t.Errorf("right after the 200: %s", got)
	}
	w.must(200, "POST", path+"/activate", `{"planId":"team","quantity":7}`) // received twice
	w.advance(time.Minute)
	got := w.must(200, "GET", path, "")
	if got.at("saasSubscriptionStatus") != "Subscribed" || fmt.Sprint(got.at("quantity")) != "7" ||
		got.at("term", "startDate") != "2026-11-03T00:00:00Z" || got.at("term", "endDate") != "2026-12-02T00:00:00Z" {
		t.Errorf("%s", got.text)
	}
	w.must(400, "POST", path+"/activate", `{"planId":"team","quantity":7}`)
	if _, err := w.sim.Cancel(t.Context(), b.ID, ""); err != nil {
		t.Fatal(err)
	}
	w.must(404, "POST", path+"/activate", `{"planId":"team","quantity":7}`)
}

func TestAnActivationMayFailAfterItsAnswer(t *testing.T) {
	t.Parallel()
	w := calm(t)
	b := w.buy(simulator.Purchase{Habits: absent()})
	w.force(simulator.KindActivationFails, b.Purchase)
	w.must(200, "POST", subscriptions+"/"+b.Purchase+"/activate", `{"planId":"standard"}`)
	w.advance(time.Minute)
	if got := w.seen("Unsubscribe"); len(got) != 1 || w.status(b) != "Unsubscribed" {
		t.Errorf("status %s, webhooks %+v", w.status(b), got)
	}
}

func TestAnAutoActivatedPlanIsSubscribedAtThePurchase(t *testing.T) {
	t.Parallel()
	w := calm(t)
	b := w.subscribed(simulator.Purchase{Plan: "instant"})
	w.must(400, "POST", subscriptions+"/"+b.Purchase+"/activate", `{"planId":"instant"}`)
	w.advance(time.Minute)
	hooks := w.seen("Subscribe")
	if len(hooks) != 1 || hooks[0].Status != "Succeeded" || hooks[0].SubscriptionID != b.Purchase || hooks[0].Subscription["planId"] != "instant" {
		t.Fatalf("webhooks %+v", hooks)
	}
	op := w.must(200, "GET", subscriptions+"/"+b.Purchase+"/operations/"+hooks[0].ID, "")
	if op.at("action") != "Subscribe" {
		t.Errorf("%s", op.text)
	}
}

func TestWhatIsNeverActivatedIsDroppedAfterThirtyDays(t *testing.T) {
	t.Parallel()
	w := calm(t)
	b := w.buy(simulator.Purchase{Habits: absent()})
	if r := w.sim.Rest(); !r.AtRest {
		t.Errorf("what comes in 30 days is not waited for: %+v", r)
	}
	w.advance(30*24*time.Hour - time.Minute)
	if got := w.status(b); got != "PendingFulfillmentStart" {
		t.Errorf("a minute before: %s", got)
	}
	w.advance(2 * time.Minute)
	if got := w.status(b); got != "Unsubscribed" || len(w.seen("Unsubscribe")) != 1 {
		t.Errorf("a minute after: %s", got)
	}
}

func TestEveryCallShowsAnAPIVersionAndAToken(t *testing.T) {
	t.Parallel()
	w := azureSetup(t, simulator.Options{Weather: simulator.WeatherGood, Azure: simulator.AzureOptions{Offers: []simulator.AzureOffer{
		{ID: "tailnet", Plans: []simulator.AzurePlan{{ID: "standard"}}},
		{ID: "other", Client: "b7000000-0000-4000-8000-00000000000b", Plans: []simulator.AzurePlan{{ID: "standard"}}},
	}}})
	b, other := w.buy(simulator.Purchase{Habits: absent()}), w.buy(simulator.Purchase{Product: "other", Habits: absent()})
	if a := w.call("GET", subscriptions+"?api-version=", ""); a.status != 400 || a.at("Error", "Code") != "ApiVersionUnspecified" {
		t.Errorf("no version: %d %s", a.status, a.text)
	}
	if a := w.call("GET", subscriptions+"?api-version=2020-01-01", ""); a.status != 400 || a.at("Error", "Code") != "UnsupportedApiVersion" {
		t.Errorf("another version: %d %s", a.status, a.text)
	}
	a := w.call("GET", subscriptions, "", "x-ms-correlationid", "11111111-2222-4333-8444-555555555555")
	if a.header.Get("X-Ms-Correlationid") != "11111111-2222-4333-8444-555555555555" || len(a.header.Get("X-Ms-Requestid")) != 36 {
		t.Errorf("headers %v", a.header)
	}
	if n := len(a.at("subscriptions").([]any)); n != 1 {
		t.Errorf("%d subscriptions of this application, want 1", n)
	}
	for name, got := range map[string]answered{
		"no token":                 w.callAs(nil, "GET", subscriptions, ""),
		"a token of nobody":        w.callAs(nil, "GET", subscriptions, "", "Authorization", "Bearer e30.e30.e30"),
		"subscription of another":  w.call("GET", subscriptions+"/"+other.Purchase, ""),
		"landing token of another": w.call("POST", subscriptions+"/resolve", "", "x-ms-marketplace-token", w.tokenOf(other)),
	} {
		if _, text := got.body.(string); got.status != 403 || !text {
			t.Errorf("%s: %d %s, want 403 and a bare string", name, got.status, got.text)
		}
	}
	theirs := w.login("b7000000-0000-4000-8000-00000000000b")
	if got := w.callAs(theirs, "GET", subscriptions+"/"+other.Purchase, ""); got.status != 200 {
		t.Errorf("by its own application: %d %s", got.status, got.text)
	}
	w.force(simulator.KindTokenRevoked, "GetSubscription")
	for range 2 { // refused for good, not once
		if got := w.call("GET", subscriptions+"/"+b.Purchase, ""); got.status != 403 {
			t.Errorf("a revoked token: %d %s", got.status, got.text)
		}
	}
	w.creds = w.login(w.sim.Options().Azure.Client)
	w.must(200, "GET", subscriptions+"/"+b.Purchase, "")
	if got := w.call("GET", subscriptions+"/7c1e0000-0000-4000-8000-000000000001", ""); got.status != 404 {
		t.Errorf("unknown id: %d %s", got.status, got.text)
	}
}

func TestTheListIsPagedAndItsLinkIsBroken(t *testing.T) {
	t.Parallel()
	w := azureSetup(t, simulator.Options{Seed: 2})
	w.sim.Stop(simulator.KindReadFault)
	if a := w.call("GET", subscriptions, ""); a.status != 200 || a.text != "" {
		t.Errorf("no subscriptions: %d %q, want an empty body", a.status, a.text)
	}
	var want, got []string
	for range 9 {
		want = append(want, w.buy(simulator.Purchase{Habits: absent()}).Purchase)
	}
	pages := 0
	for token := ""; ; pages++ {
		a := w.must(200, "GET", subscriptions+"/?continuationToken="+escaped(token), "")
		for _, s := range a.at("subscriptions").([]any) {
			got = append(got, s.(map[string]any)["id"].(string))
		}
		link, ok := a.at("@nextLink").(string)
		if !ok {
			break
		}
		if !strings.HasPrefix(link, "https://https://") {
			t.Fatalf("link %q", link)
		}
		_, token, _ = strings.Cut(link, "continuationToken=")
		token, _, _ = strings.Cut(token, "&")
		token = strings.ReplaceAll(token, "%2B", "+")
	}
	if !slices.Equal(got, want) || pages < 2 {
		t.Errorf("%d pages gave %v, want %v", pages, got, want)
	}
}

func TestPlansTellPricesIncludedUnitsAndThePrivateOffer(t *testing.T) {
	t.Parallel()
	w := calm(t)
	b := w.buy(simulator.Purchase{PrivateOffer: true, Reseller: true, Habits: absent()})
	path := subscriptions + "/" + b.Purchase
	a := w.must(200, "GET", path+"/listAvailablePlans?planId=standard", "")
	plans := a.at("plans").([]any)
	if len(plans) != 1 {
		t.Fatalf("%s", a.text)
	}
	plan := answered{body: plans[0]}
	if got := plan.at("sourceOffers").([]any); len(got) != 1 || len(got[0].(map[string]any)["externalId"].(string)) != 36 {
		t.Errorf("source offers %v", got)
	}
	if !strings.Contains(a.text, `{"dimensionId":"ephemeral_minute","units":"1000"}`) {
		t.Errorf("included units are text: %s", a.text)
	}
	if n := len(w.must(200, "GET", path+"/listAvailablePlans", "").at("plans").([]any)); n != 3 {
		t.Errorf("%d plans, want 3", n)
	}
	got := w.must(200, "GET", path, "")
	if got.at("purchaser", "tenantId") == got.at("beneficiary", "tenantId") || fmt.Sprint(got.at("allowedCustomerOperations")) != "[Read]" || got.at("beneficiary", "tenantId") != b.Account {
		t.Errorf("a reseller's purchase: %s", got.text)
	}
	if a := w.call("GET", subscriptions+"/7c1e0000-0000-4000-8000-000000000001/listAvailablePlans", ""); a.status != 200 || a.text != "" {
		t.Errorf("unknown id: %d %q, want an empty body", a.status, a.text)
	}
	w.must(200, "POST", path+"/activate", `{"planId":"standard"}`)
	w.advance(time.Minute)
	if a := w.call("PATCH", path, `{"planId":"premium"}`); a.status != 400 {
		t.Errorf("update of a reseller's purchase: %d", a.status)
	}
	if a := w.call("DELETE", path, ""); a.status != 400 {
		t.Errorf("delete of a reseller's purchase: %d", a.status)
	}
}

func TestAPrivateOfferMayHaveAPlanOfItsOwn(t *testing.T) {
	t.Parallel()
	w := calm(t)
	b := w.subscribed(simulator.Purchase{Plan: "deal-7", PrivateOffer: true})
	other := w.buy(simulator.Purchase{Habits: absent()})
	a := w.must(200, "GET", subscriptions+"/"+b.Purchase+"/listAvailablePlans?planId=deal-7", "")
	plans := a.at("plans").([]any)
	if len(plans) != 1 || plans[0].(map[string]any)["isPrivate"] != true || len(plans[0].(map[string]any)["sourceOffers"].([]any)) != 1 || b.Plan != "deal-7" {
		t.Errorf("%s", a.text)
	}
	if a := w.must(200, "GET", subscriptions+"/"+other.Purchase+"/listAvailablePlans", ""); strings.Contains(a.text, "deal-7") {
		t.Errorf("another buyer sees it: %s", a.text)
	}
	if got := w.metered(useOf(b.Purchase, w.sim.Now(), "active_user", "1", "deal-7")); got.at("status") != "Accepted" {
		t.Errorf("%s", got.text)
	}
	if _, err := w.sim.Buy(t.Context(), simulator.Purchase{Marketplace: simulator.Azure, Plan: "deal-7"}); err == nil {
		t.Error("anybody buys a plan of somebody else's")
	}
}

func TestAStaleLandingTokenIsRefusedAndAFreshOneTaken(t *testing.T) {
	t.Parallel()
	w := calm(t)
	b := w.buy(simulator.Purchase{Habits: &simulator.Habits{After: 25 * time.Hour, Stale: true, Twice: true}})
	w.advance(27 * time.Hour)
	if got := w.sim.Buyers()[0]; got.ID != b.ID || !got.JoinKeySeen || !strings.Contains(got.Problem, "410") {
		t.Errorf("buyer %+v", got)
	}
}

func TestTermsRenewOrEnd(t *testing.T) {
	t.Parallel()
	w := azureSetup(t, simulator.Options{Weather: simulator.WeatherGood, Start: time.Date(2027, 1, 31, 10, 0, 0, 0, time.UTC)})
	b, last := w.subscribed(simulator.Purchase{}), w.subscribed(simulator.Purchase{})
	if _, err := w.sim.Change(t.Context(), last.ID, simulator.Change{Kind: simulator.ChangeAutoRenew}); err != nil {
		t.Fatal(err)
	}
	if got := w.must(200, "GET", subscriptions+"/"+b.Purchase, ""); got.at("term", "endDate") != "2027-02-27T00:00:00Z" {
		t.Errorf("term %v: a month from the 31st ends with February", got.at("term"))
	}
	w.advance(28 * 24 * time.Hour)
	renewals := w.seen("Renew")
	if len(renewals) != 1 || renewals[0].SubscriptionID != b.Purchase || renewals[0].Status != "Succeeded" {
		t.Errorf("renewals %+v", renewals)
	}
	if got := w.must(200, "GET", subscriptions+"/"+b.Purchase, ""); got.at("term", "startDate") != "2027-02-28T00:00:00Z" || got.at("saasSubscriptionStatus") != "Subscribed" {
		t.Errorf("renewed %s", got.text)
	}
	if got := w.status(last); got != "Unsubscribed" {
		t.Errorf("without auto-renewal: %s", got)
	}
	if a := w.call("GET", subscriptions+"/"+b.Purchase+"/operations/"+renewals[0].ID, ""); a.status != 404 {
		t.Errorf("a renewal is told only: %d %s", a.status, a.text)
	}
}
