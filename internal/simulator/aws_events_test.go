package simulator_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/marketplaceagreement"
	"github.com/google/go-cmp/cmp"

	"github.com/tailmarket/tailmarket/internal/simulator"
)

func TestEventsHaveTheCapturedShape(t *testing.T) {
	t.Parallel()
	w := good(t)
	b := w.buy(simulator.Purchase{Habits: absent()})
	w.advance(10 * time.Minute)
	if _, err := w.sim.Change(t.Context(), b.ID, simulator.Change{Offer: "offer-next"}); err != nil {
		t.Fatal(err)
	}
	w.advance(10 * time.Minute)
	if _, err := w.sim.Cancel(t.Context(), b.ID, "TERMINATED"); err != nil {
		t.Fatal(err)
	}
	w.advance(10 * time.Minute)
	keys := func(m map[string]any) string {
		var out []string
		for k := range m {
			out = append(out, k)
		}
		slices.Sort(out)
		return strings.Join(out, " ")
	}
	var got []string
	for _, e := range w.app.seen() {
		got = append(got, fmt.Sprintf("%s %s: %s", e.Time[11:], e.DetailType, keys(e.Detail)))
		if !strings.Contains(e.raw, `"source":"aws.agreement-marketplace"`) || !strings.Contains(e.raw, `"account":"111122223333"`) {
			t.Errorf("envelope %s", e.raw)
		}
	}
	want := []string{
		"00:00:11Z Purchase Agreement Created - Proposer: acceptor agreement catalog offer proposer requestId resaleAuthorization",
		"00:01:12Z License Updated - Manufacturer: acceptor agreement catalog license offer product proposer requestId",
		"00:10:11Z Purchase Agreement Amended - Proposer: acceptor agreement catalog offer product proposer renewalSummary requestId resaleAuthorization",
		"00:11:12Z License Updated - Manufacturer: acceptor agreement catalog license offer product proposer requestId",
		"00:20:05Z Purchase Agreement Ended - Proposer: acceptor agreement catalog proposer requestId resaleAuthorization",
		"00:20:36Z License Deprovisioned - Manufacturer: acceptor agreement catalog license offer product proposer requestId",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
	created := w.app.seen()[0]
	agr := created.Detail["agreement"].(map[string]any)
	if agr["endTime"] != "9999-01-01T00:00:00Z" || agr["intent"] != "NEW" || !strings.Contains(fmt.Sprint(agr["startTime"]), ".") {
		t.Errorf("agreement %v", agr)
	}
	if !strings.Contains(created.raw, `"resaleAuthorization":{"id":null}`) {
		t.Errorf("a direct sale has a resale authorization with a null id: %s", created.raw)
	}
	if ended := w.app.seen()[4].Detail["agreement"].(map[string]any); ended["status"] != "TERMINATED" {
		t.Errorf("ended %v", ended)
	}
}

// Who sold is told by the offer before the purchase, by the role in the events, and by their proposer; what a channel
// partner proposed its manufacturer cannot look up.
func TestHowAPurchaseWasSoldIsToldByItsEvents(t *testing.T) {
	t.Parallel()
	w := good(t)
	private := w.buy(simulator.Purchase{PrivateOffer: true, Habits: absent()})
	resold := w.buy(simulator.Purchase{Reseller: true, Habits: absent()})
	w.advance(10 * time.Minute)
	story := func(b simulator.Buyer) (out []string, partner string) {
		for _, e := range w.app.seen() {
			if !strings.Contains(e.raw, b.Account) {
				continue
			}
			id := func(key, field string) string {
				m, _ := e.Detail[key].(map[string]any)
				return fmt.Sprint(m[field])
			}
			seller := id("proposer", "accountId")
			if strings.HasPrefix(e.DetailType, "Offer Released") {
				if seller = id("sellerOfRecord", "accountId"); id("manufacturer", "accountId") != "111122223333" || !strings.Contains(e.raw, `"source":"aws.marketplacecatalog"`) {
					t.Errorf("offer %s", e.raw)
				}
			}
			if partner = seller; seller == "111122223333" {
				seller = "ours"
			} else {
				seller = "partner's"
			}
			resale := "direct"
			if strings.HasPrefix(id("resaleAuthorization", "id"), "resaleauthz-") {
				resale = "resold"
			}
			out = append(out, e.DetailType+", "+seller+", "+resale)
		}
		return out, partner
	}
	got, _ := story(private)
	if diff := cmp.Diff([]string{
		"Offer Released - Proposer, ours, direct", "Purchase Agreement Created - Proposer, ours, direct", "License Updated - Manufacturer, ours, direct",
	}, got); diff != "" {
		t.Error(diff)
	}
	got, partner := story(resold)
	if diff := cmp.Diff([]string{
		"Offer Released - Manufacturer, partner's, direct", "Purchase Agreement Created - Manufacturer, partner's, resold",
		"License Updated - Manufacturer, partner's, direct",
	}, got); diff != "" {
		t.Error(diff)
	}
	if len(partner) != 12 {
		t.Errorf("partner %q", partner)
	}
	if rows := w.search("AgreementType", "PurchaseAgreement"); len(rows) != 1 {
		t.Errorf("%d agreements are found, want the direct one", len(rows))
	}
	_, err := w.agreement.DescribeAgreement(t.Context(), &marketplaceagreement.DescribeAgreementInput{AgreementId: &resold.AgreementID})
	if err == nil || !strings.Contains(err.Error(), "ResourceNotFoundException") {
		t.Errorf("a partner's agreement: %v", err)
	}
}

func TestAHostilePurchaseTellsTheSameStoryForTheSameSeed(t *testing.T) {
	t.Parallel()
	run := func() ([]string, map[string]bool) {
		w := setup(t, simulator.Options{Seed: 7})
		for range 8 {
			w.buy(simulator.Purchase{Habits: absent()})
		}
		w.advance(12 * time.Hour)
		var got []string
		channels := map[string]bool{}
		for _, e := range w.app.seen() {
			got = append(got, e.channel+" "+e.ID)
			channels[e.channel] = true
		}
		slices.Sort(got) // deliveries of one instant race, as they do in the field
		return got, channels
	}
	first, channels := run()
	second, _ := run()
	if diff := cmp.Diff(first, second); diff != "" {
		t.Error(diff)
	}
	if !channels["https"] || !channels["sqs"] {
		t.Errorf("channels %v", channels)
	}
}

func TestADroppedEventLeavesOnlyTheSweep(t *testing.T) {
	t.Parallel()
	w := good(t)
	w.sim.Force(simulator.Force{Kind: simulator.KindDrop, Subject: "License Updated"})
	b := w.buy(simulator.Purchase{Habits: absent()})
	w.advance(time.Hour)
	if got := w.app.seen(); len(got) != 1 || !strings.HasPrefix(got[0].DetailType, "Purchase Agreement Created") {
		t.Errorf("events %v", got)
	}
	rows := w.search("AgreementType", "PurchaseAgreement", "LicenseArn", b.LicenseArn)
	if len(rows) != 1 || w.sim.Faults()["drop"] != 1 {
		t.Errorf("the sweep finds %d agreements; faults %v", len(rows), w.sim.Faults())
	}
}

func TestForcedReorderAndRepeat(t *testing.T) {
	t.Parallel()
	w := setup(t, simulator.Options{Weather: simulator.WeatherGood, Channel: simulator.ChannelSQS})
	w.sim.Force(simulator.Force{Kind: simulator.KindReorder, Subject: "Created"}, simulator.Force{Kind: simulator.KindRepeat, Subject: "License Updated"})
	w.buy(simulator.Purchase{Habits: absent()})
	w.advance(3 * time.Hour)
	got := w.app.seen()
	if len(got) < 3 || !strings.HasPrefix(got[0].DetailType, "License Updated") {
		t.Fatalf("%d events, first %s", len(got), got[0].DetailType)
	}
	ids := map[string]int{}
	for _, e := range got {
		if ids[e.ID]++; e.channel != "sqs" {
			t.Errorf("event came over %s", e.channel)
		}
	}
	if len(ids) != 2 {
		t.Errorf("a repeat keeps its id: %v", ids)
	}
}
