package simulator_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/simulator"
)

func (w *azureWorld) ask(b simulator.Buyer, c simulator.Change) {
	w.t.Helper()
	if _, err := w.sim.Change(w.t.Context(), b.ID, c); err != nil {
		w.t.Fatal(err)
	}
}

func (w *azureWorld) acknowledge(h hook, status string) answered {
	return w.call("PATCH", subscriptions+"/"+h.SubscriptionID+"/operations/"+h.ID, fmt.Sprintf(`{"status":%q}`, status))
}

func (w *azureWorld) operation(h hook) string {
	w.t.Helper()
	s, _ := w.must(200, "GET", subscriptions+"/"+h.SubscriptionID+"/operations/"+h.ID, "").at("status").(string)
	return s
}

func (w *azureWorld) plan(b simulator.Buyer) string {
	w.t.Helper()
	s, _ := w.must(200, "GET", subscriptions+"/"+b.Purchase, "").at("planId").(string)
	return s
}

func TestAPlanChangeHasTwoPhases(t *testing.T) {
	t.Parallel()
	w := calm(t)
	b := w.subscribed(simulator.Purchase{})
	change := simulator.Change{Kind: simulator.ChangePlan, Plan: "premium"}

	// Asked: the operation is in progress, the old plan holds, nothing else may be asked.
	during := make(chan string, 1)
	w.answers(func(h hook) int {
		during <- w.operation(h) + " " + w.plan(b) + " " + h.PlanID + " " + fmt.Sprint(h.Subscription["planId"]) + " " + h.Status
		return http.StatusOK
	})
	w.ask(b, change)
	if _, err := w.sim.Change(t.Context(), b.ID, change); err == nil || !strings.Contains(err.Error(), "locked") {
		t.Errorf("a second change: %v", err)
	}
	w.advance(6 * time.Second)
	if got := <-during; got != "InProgress standard premium standard InProgress" {
		t.Errorf("during the webhook: %s", got)
	}
	h := w.seen("ChangePlan")[0]
	list := w.must(200, "GET", subscriptions+"/"+b.Purchase+"/operations", "")
	if ops := list.at("operations").([]any); len(ops) != 1 || ops[0].(map[string]any)["id"] != h.ID {
		t.Errorf("pending operations %s", list.text)
	}
	if a := w.call("PATCH", subscriptions+"/"+b.Purchase, `{"planId":"premium"}`); a.status != 400 || !strings.Contains(a.text, "locked due to pending operations") {
		t.Errorf("our own change meanwhile: %d %s", a.status, a.text)
	}
	// Accepted: it holds.
	if a := w.acknowledge(h, "Maybe"); a.status != 400 {
		t.Errorf("neither word: %d %s", a.status, a.text)
	}
	if a := w.acknowledge(h, "Success"); a.status != 200 || a.text != "" {
		t.Errorf("acknowledge: %d %q", a.status, a.text)
	}
	if w.operation(h) != "Succeeded" || w.plan(b) != "premium" {
		t.Errorf("after success: %s %s", w.operation(h), w.plan(b))
	}
	if a := w.acknowledge(h, "Failure"); a.status != 409 || a.at("message") != a.header.Get("X-Ms-Requestid") {
		t.Errorf("acknowledged twice: %d %s", a.status, a.text)
	}
	w.advance(time.Minute)
	if w.plan(b) != "premium" || len(w.seen("")) != 1 {
		t.Errorf("later: %s, %d webhooks", w.plan(b), len(w.seen("")))
	}
}

func TestSilenceIsConsentAfterTenSeconds(t *testing.T) {
	t.Parallel()
	w := calm(t)
	b := w.subscribed(simulator.Purchase{})
	w.ask(b, simulator.Change{Plan: "premium"})
	w.advance(5*time.Second + 9*time.Second)
	if w.plan(b) != "standard" {
		t.Error("after nine seconds the plan has changed")
	}
	w.advance(2 * time.Second)
	h := w.seen("ChangePlan")[0]
	if w.plan(b) != "premium" || w.operation(h) != "Succeeded" {
		t.Errorf("after eleven seconds: %s %s", w.plan(b), w.operation(h))
	}
	if a := w.acknowledge(h, "Failure"); a.status != 409 || w.plan(b) != "premium" {
		t.Errorf("too late: %d, plan %s", a.status, w.plan(b))
	}
}

func TestAChangeIsRefusedByFailureOrByAFourHundred(t *testing.T) {
	t.Parallel()
	for _, status := range []int{400, 401, 404, 409, 429} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			w := calm(t)
			b := w.subscribed(simulator.Purchase{})
			w.answers(func(hook) int { return status })
			w.ask(b, simulator.Change{Plan: "premium"})
			w.advance(time.Minute)
			if h := w.seen("ChangePlan"); len(h) != 1 || w.operation(h[0]) != "Failed" || w.plan(b) != "standard" {
				t.Errorf("%d deliveries, %s %s", len(h), w.operation(h[0]), w.plan(b))
			}
		})
	}
	w := calm(t)
	b := w.subscribed(simulator.Purchase{Product: "tailnet-seats", Seats: 5})
	w.ask(b, simulator.Change{Kind: simulator.ChangeSeats, Seats: 9})
	w.advance(6 * time.Second)
	h := w.seen("ChangeQuantity")[0]
	if fmt.Sprint(h.Quantity) != "9" || fmt.Sprint(h.Subscription["quantity"]) != "5" {
		t.Errorf("new %v and old %v quantity", h.Quantity, h.Subscription["quantity"])
	}
	if a := w.acknowledge(h, "Failure"); a.status != 200 || w.operation(h) != "Failed" {
		t.Errorf("refuse: %d %s", a.status, w.operation(h))
	}
	if got := w.must(200, "GET", subscriptions+"/"+b.Purchase, "").at("quantity"); fmt.Sprint(got) != "5" {
		t.Errorf("quantity %v", got)
	}
	w.ask(b, simulator.Change{Kind: simulator.ChangeSeats, Seats: 11})
	w.advance(time.Minute)
	if got := w.must(200, "GET", subscriptions+"/"+b.Purchase, "").at("quantity"); fmt.Sprint(got) != "11" {
		t.Errorf("quantity %v", got)
	}
	if _, err := w.sim.Change(t.Context(), b.ID, simulator.Change{Kind: simulator.ChangeSeats, Seats: 101}); err == nil {
		t.Error("more users than the plan has")
	}
}

func TestOurTroubleIsRetriedAndRefusesNothing(t *testing.T) {
	t.Parallel()
	w := calm(t)
	b := w.subscribed(simulator.Purchase{})
	var tries int
	w.answers(func(hook) int {
		if tries++; tries < 3 {
			return http.StatusServiceUnavailable
		}
		return http.StatusOK
	})
	w.ask(b, simulator.Change{Plan: "premium"})
	w.advance(time.Minute)
	if got := w.seen("ChangePlan"); len(got) != 3 || w.plan(b) != "premium" {
		t.Errorf("%d deliveries, plan %s", len(got), w.plan(b))
	}
}

func TestAnAcknowledgementMayComeTooLate(t *testing.T) {
	t.Parallel()
	w := calm(t)
	b := w.subscribed(simulator.Purchase{})
	w.force(simulator.KindAckLate, b.Purchase)
	w.ask(b, simulator.Change{Plan: "premium"})
	w.advance(6 * time.Second)
	h := w.seen("ChangePlan")[0]
	if a := w.acknowledge(h, "Failure"); a.status != 409 || w.plan(b) != "premium" {
		t.Errorf("%d, plan %s", a.status, w.plan(b))
	}
}

func TestThePublishersOwnChangeIsTakenLikeACustomers(t *testing.T) {
	t.Parallel()
	w := calm(t)
	b := w.subscribed(simulator.Purchase{})
	path := subscriptions + "/" + b.Purchase
	for _, bad := range []string{`{}`, `{"planId":"premium","quantity":3}`, `{"planId":"standard"}`, `{"planId":"nope"}`, `{"quantity":3}`} {
		if a := w.call("PATCH", path, bad); a.status != 400 {
			t.Errorf("%s: %d %s", bad, a.status, a.text)
		}
	}
	a := w.must(202, "PATCH", path, `{"planId":"premium"}`)
	location, ok := strings.CutPrefix(a.header.Get("Operation-Location"), w.sim.AzureURL()+"/api")
	if !ok || !strings.Contains(location, "api-version=") {
		t.Fatalf("location %q", a.header.Get("Operation-Location"))
	}
	poll := func() answered { return w.must(200, "GET", location, "") }
	if got := poll(); got.at("status") != "InProgress" || got.at("operationRequestSource") != "Partner" {
		t.Errorf("%s", got.text)
	}
	w.advance(6 * time.Second)
	h := w.seen("ChangePlan")[0]
	if a := w.acknowledge(h, "Success"); a.status != 500 {
		t.Errorf("our own operation is not ours to acknowledge: %d %s", a.status, a.text)
	}
	w.advance(time.Minute)
	if got := poll(); got.at("status") != "Succeeded" || w.plan(b) != "premium" {
		t.Errorf("%s, plan %s", got.text, w.plan(b))
	}
	location, _ = strings.CutPrefix(w.must(202, "DELETE", path, "").header.Get("Operation-Location"), w.sim.AzureURL()+"/api")
	if got := w.status(b); got != "Subscribed" {
		t.Errorf("right after the 202: %s", got)
	}
	w.advance(time.Minute)
	if got := w.seen("Unsubscribe"); len(got) != 1 || w.status(b) != "Unsubscribed" || poll().at("status") != "Succeeded" {
		t.Errorf("%s, webhooks %+v", w.status(b), got)
	}
	w.must(400, "DELETE", path, "")
}

func TestSuspendReinstateAndTheEndOfGrace(t *testing.T) {
	t.Parallel()
	w := calm(t)
	b := w.subscribed(simulator.Purchase{})
	suspend := func(on bool) {
		t.Helper()
		if _, err := w.sim.Suspend(t.Context(), b.ID, on); err != nil {
			t.Fatal(err)
		}
		w.advance(time.Minute)
	}
	suspend(true)
	h := w.seen("Suspend")
	if len(h) != 1 || h[0].Status != "Succeeded" || h[0].Subscription["saasSubscriptionStatus"] != "Subscribed" || w.status(b) != "Suspended" {
		t.Errorf("suspended %s: %+v", w.status(b), h)
	}
	if a := w.call("GET", subscriptions+"/"+b.Purchase+"/operations/"+h[0].ID, ""); a.status != 404 {
		t.Errorf("no operation for what is told only: %d %s", a.status, a.text)
	}
	w.must(400, "PATCH", subscriptions+"/"+b.Purchase, `{"planId":"premium"}`)
	if _, err := w.sim.Change(t.Context(), b.ID, simulator.Change{Plan: "premium"}); err == nil {
		t.Error("a suspended subscription changes its plan")
	}
	suspend(false)
	if h := w.seen("Reinstate"); len(h) != 1 || w.status(b) != "Subscribed" {
		t.Errorf("reinstated %s: %+v", w.status(b), h)
	}
	w.advance(31 * 24 * time.Hour)
	if got := w.status(b); got != "Subscribed" {
		t.Errorf("the grace of a lifted suspension ended it: %s", got)
	}
	suspend(true)
	w.advance(30 * 24 * time.Hour)
	if h := w.seen("Unsubscribe"); len(h) != 1 || w.status(b) != "Unsubscribed" {
		t.Errorf("after the grace: %s %+v", w.status(b), h)
	}
}

func TestWebhookTokensFollowTheManifest(t *testing.T) {
	t.Parallel()
	for version := 1; version <= 2; version++ {
		t.Run(fmt.Sprint("version ", version), func(t *testing.T) {
			t.Parallel()
			w := azureSetup(t, simulator.Options{Weather: simulator.WeatherGood, Azure: simulator.AzureOptions{TokenVersion: version}})
			w.subscribed(simulator.Purchase{Plan: "instant"})
			w.advance(time.Minute)
			w.force(simulator.KindKeyRollover, "")
			w.subscribed(simulator.Purchase{Plan: "instant"}) // signed by a key nobody has fetched yet
			w.advance(time.Minute)
			h := w.seen("Subscribe")
			if len(h) != 2 || w.forged != 0 {
				t.Fatalf("%d webhooks believed, %d not", len(h), w.forged)
			}
			_, v1 := h[0].claims["appid"]
			_, v2 := h[0].claims["azp"]
			if v1 != (version == 1) || v2 != (version == 2) || h[0].claims["ver"] != fmt.Sprint(version, ".0") {
				t.Errorf("claims %v", h[0].claims)
			}
		})
	}
}

func TestAForgedWebhookIsNotCountedAsDelivered(t *testing.T) {
	t.Parallel()
	w := calm(t)
	w.sim.Force(simulator.Force{Kind: simulator.KindForgedWebhook, Times: 12})
	for range 12 {
		w.subscribed(simulator.Purchase{Plan: "instant"})
	}
	w.advance(time.Minute)
	r := w.sim.Rest()
	if len(w.seen("Subscribe")) != 12 || len(w.seen("Unsubscribe")) != 0 || w.forged != 12 || r.Totals.Believed != 0 || r.Totals.Accepted != 12 {
		t.Errorf("%d refused, %+v", w.forged, r.Totals)
	}
}

func TestOlderFormsOfAWebhookNameTheirSubscription(t *testing.T) {
	t.Parallel()
	w := calm(t)
	b := w.subscribed(simulator.Purchase{})
	w.sim.Force(simulator.Force{Kind: simulator.KindOldBody, Times: 200})
	for range 30 {
		for _, on := range []bool{true, false} {
			if _, err := w.sim.Suspend(t.Context(), b.ID, on); err != nil {
				t.Fatal(err)
			}
			w.advance(time.Minute)
		}
	}
	forms := map[string]bool{}
	for _, h := range w.seen("") {
		if h.SubscriptionID != b.Purchase {
			t.Fatalf("%v", h.body)
		}
		_, full := h.body["subscription"]
		forms[fmt.Sprintf("%s%s %d %v", h.Action, h.OperationType, len(h.body), full)] = true
	}
	for _, want := range []string{"Suspend 6 false", "Suspend 11 false", "Suspend 13 true", "Reinstate 6 false", "Reinstate 11 false", "Reinstate 2 false"} {
		if !forms[want] {
			t.Errorf("form %q did not come: %v", want, forms)
		}
	}
}
