package simulator_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/simulator"
)

func TestEveryAzureBuyerFinishesWhateverTheSeed(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			w := azureSetup(t, simulator.Options{Seed: seed})
			for range 4 {
				w.buy(simulator.Purchase{})
				w.buy(simulator.Purchase{Plan: "instant"})
			}
			w.advance(14 * time.Hour)
			for i := range 8 { // each tells something else, so that webhooks meet their fates
				id := fmt.Sprint("buyer-", i+1)
				if i%2 == 0 {
					if _, err := w.sim.Suspend(t.Context(), id, true); err != nil {
						t.Fatal(err)
					}
					continue
				}
				if _, err := w.sim.Change(t.Context(), id, simulator.Change{Plan: "premium"}); err != nil {
					t.Error(err)
				}
			}
			w.advance(4 * time.Hour)
			// Before the questions below, of which one may still be under way when its answer is read.
			if r := w.sim.Rest(); !r.AtRest || r.Totals.Believed != 0 {
				t.Errorf("rest %+v %v", r, w.sim.Agenda())
			}
			for _, b := range w.sim.Buyers() {
				if b.Finished == "" || b.JoinKeySeen == b.Habits.NeverReveal {
					t.Errorf("buyer %+v", b)
				}
			}
			for i, b := range w.sim.Buyers() {
				if i%2 == 1 && w.plan(b) != "premium" { // silence is consent, even when nobody heard the question
					t.Errorf("buyer %+v has plan %s", b, w.plan(b))
				}
			}
			met := w.sim.Faults()
			for _, k := range []simulator.Kind{simulator.KindDrop, simulator.KindDelay, simulator.KindReorder, simulator.KindRepeat, simulator.KindTokenFault, simulator.KindOldBody, simulator.KindForgedWebhook, simulator.KindKeyRollover} {
				if met[string(k)] == 0 {
					t.Errorf("eight purchases did not meet %s: %v", k, met)
				}
			}
		})
	}
}

// TestWhatIsShownVariesInForm reads one purchase often: quantities, times and terms in every form the field has seen.
func TestWhatIsShownVariesInForm(t *testing.T) {
	t.Parallel()
	w := azureSetup(t, simulator.Options{Seed: 5})
	w.sim.Stop(simulator.KindReadFault)
	forms := map[string]bool{}
	for range 24 {
		flat, seats := w.buy(simulator.Purchase{Plan: "instant", Habits: absent()}), w.buy(simulator.Purchase{Product: "tailnet-seats", Seats: 3, Habits: absent()})
		a := w.must(200, "GET", subscriptions+"/"+flat.Purchase, "")
		q, there := a.body.(map[string]any)["quantity"]
		forms[fmt.Sprintf("flat %v %v", q, there)] = true
		forms[fmt.Sprint("date ", len(a.at("term", "startDate").(string)))] = true
		a = w.must(200, "GET", subscriptions+"/"+seats.Purchase, "")
		forms[fmt.Sprintf("seats %T", a.at("quantity"))] = true
		if a.at("lastModified") != "0001-01-01T00:00:00" {
			t.Errorf("never modified: %s", a.text)
		}
	}
	for _, want := range []string{"flat <nil> true", "flat  true", "flat <nil> false", "date 10", "date 20", "seats string", "seats json.Number"} {
		if !forms[want] {
			t.Errorf("form %q did not come: %v", want, forms)
		}
	}
}
