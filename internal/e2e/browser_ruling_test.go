package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/simulator"
)

// TestBrowserRulings is an operator with two records that nobody can ask about any
// more, one of which Google has; and with usage that came too early to be counted.
func TestBrowserRulings(t *testing.T) {
	t.Parallel()
	b := openBrowser(t)
	s := mall(t, simulator.Options{Seed: 6, Weather: simulator.WeatherGood, GCP: simulator.GCPOptions{Dedup: simulator.DedupOff}})
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	s.env = append(s.env, "TAILMARKET_GCP_RESEND_FOR=0s")
	s.start()
	if _, err := s.sim.Buy(context.Background(), simulator.Purchase{Marketplace: simulator.GCP, Tailnet: "Blue Harbor Labs", Email: "ops@blueharbor.example", Habits: &simulator.Habits{After: time.Minute}}); err != nil {
		t.Fatal(err)
	}
	for n := 0; n < 12 && (len(s.purchases()) == 0 || s.purchases()[0].State != "active"); n++ {
		s.advance(5 * time.Minute)
	}
	sub := s.purchases()[0].ID
	for i, fate := range []simulator.Kind{simulator.KindAcceptThenClose, simulator.Kind5xx} {
		s.use(usage(sub, fmt.Sprint("u-", i), "api_request", fmt.Sprint(2000*(i+1)), s.sim.Now()))
		s.sim.Force(simulator.Force{Kind: fate, Times: 1})
		s.advance(time.Hour)
	}
	s.use(usage(sub, "early", "api_request", "7", s.sim.Now().Add(20*time.Minute)))

	s.ruleOnNothing()

	p := b.person(t)
	p.allow("400 (Bad Request)")
	p.allow("409 (Conflict)")
	s.signIn(p)
	p.press("Findings")
	p.sees("Sending it again could bill it twice")
	p.press("Units")
	p.sees("Held or in doubt", "It may have been recorded, and the marketplace might bill the same record a second time", "Who must act", "you", "Blue Harbor Labs on Google Cloud")
	p.check("units-in-doubt")

	// The report shows the 2,000 and not the 4,000.
	rule := func(worth, words, why, evidence, button string) {
		t.Helper()
		ask[bool](p, fmt.Sprintf(`(() => {
			const card = Array.from(document.querySelectorAll("article")).find(a => a.textContent.includes(%q));
			const way = Array.from(card.querySelectorAll("details")).find(d => d.querySelector("summary").textContent.trim() === %q);
			way.open = true;
			way.querySelector("[name=why]").value = %q; way.querySelector("[name=evidence]").value = %q;
			way.id = "chosen";
			return true;
		})()`, worth, words, why, evidence))
		p.check("units-ruling")
		p.press(button)
	}
	old := p.another()
	old.allow("409 (Conflict)")
	old.goTo(s.url + "/operator/units")
	rule("2,000 api_request", "The marketplace has it", "it is on the report", "usage report 3 Nov, line 12", "Count it as billed")
	p.sees("The record counts as accepted", "Every unit that was measured is in exactly one place.")
	rule("4,000 api_request", "The marketplace does not have it", "not on the report", "usage report 3 Nov", "Send it again")
	p.sees("The record counts as not recorded: it is sent again")
	s.advance(10 * time.Minute)
	p.press("Units")
	p.sees("No record is held or in doubt.", "Every unit that was measured is in exactly one place.")
	p.check("units-ruled")
	p.press("Findings")
	p.sees("Billed again on somebody's word", "not on the report (usage report 3 Nov)")
	p.check("findings-of-a-ruling")

	p = old // a colleague, whose page is from before
	rule("2,000 api_request", "The marketplace does not have it", "I do not see it", "my own list", "Send it again")
	p.sees("Nothing was changed: somebody ruled on it since you looked", "it is on the report")
	s.advance(time.Hour)

	p.press("Quarantine")
	p.sees("early", "7 api_request")
	p.press("Replay")
	p.sees("It was read again and applied.", "No usage waits.")
	s.advance(2 * time.Hour)

	var ledger struct {
		Broken int `json:"conservation_broken"`
		Unsure string
		Meters []struct{ Meter, Measured, Accepted, Included string }
	}
	s.get("/v1/conservation", &ledger)
	billed := ""
	for _, l := range s.sim.Bill().Lines {
		if strings.Contains(l.Dimension, "api_request") {
			billed = fmt.Sprint(l.Quantity)
		}
	}
	for _, m := range ledger.Meters {
		if m.Meter == "api_request" && (m.Measured != "6007" || m.Accepted != billed) {
			t.Errorf("Google bills %s: %+v", billed, m)
		}
	}
	if ledger.Broken != 0 || ledger.Unsure != "0" || billed == "" {
		t.Errorf("%+v, billed %q", ledger, billed)
	}
}

// ruleOnNothing is a program that rules on records which are worth nothing.
func (s *shop) ruleOnNothing() {
	s.t.Helper()
	var page struct {
		Items []struct {
			May    []string
			Record struct {
				ID, Quantity string
				Attempts     []any
			}
		}
	}
	s.get("/v1/doubts", &page)
	for _, d := range page.Items {
		if d.Record.Quantity == "0" {
			s.post("/v1/records/"+d.Record.ID+"/ruling", map[string]any{"word": "ruled_accepted", "quantity": "0", "why": "it is worth nothing", "evidence": "itself", "seen": len(d.Record.Attempts)}, nil)
		}
	}
	if len(page.Items) < 2 {
		s.t.Fatalf("in doubt: %+v", page.Items)
	}
}
