package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"

	"github.com/tailmarket/tailmarket/internal/simulator"
	"github.com/tailmarket/tailmarket/internal/store"
)

// signIn takes an operator from a fresh one-time link to the overview.
func (s *shop) signIn(p *tab) {
	s.t.Helper()
	var made struct{ URL string }
	s.post("/v1/operator-links", nil, &made)
	p.goTo(made.URL)
	p.press("Sign in")
	if p.path() != "/operator" {
		s.t.Fatalf("signed in, and came to %s", p.seen())
	}
}

// quarantines is an operator who is told that a message waits, finds out why, puts
// right what was wrong here, and replays it.
func quarantines(t *testing.T, b *browser) {
	s := open(t, store.SQLite, simulator.Options{Weather: simulator.WeatherGood}, silent, "TAILMARKET_SELLER_NAME=Example Tailnets")
	for _, id := range []string{"u-1", "u-1"} { // AWS repeats itself
		got := s.genuine(licensed(s.sim, id, func(_, d map[string]any) {
			d["product"] = map[string]any{"code": "code-of-tomorrow", "id": "prod-tomorrow"}
		}))
		if got.status != http.StatusOK {
			t.Fatalf("answered %d %s", got.status, got.body)
		}
	}
	p := b.person(t)
	p.allow("422 (Unprocessable Entity)") // a replay in vain
	s.signIn(p)
	p.sees("1 message in quarantine")
	p.check("overview-waiting")
	p.press("Quarantine")
	p.sees("AWS Marketplace: License Updated - Manufacturer", `Product "code-of-tomorrow"`, "2 times")
	p.check("quarantine")
	p.press("Replay")
	p.sees("code-of-tomorrow", "Mend the cause")
	if !p.has(`[role="alert"]`) {
		t.Errorf("a replay in vain says nothing of it:\n%s", p.seen())
	}
	p.check("quarantine-in-vain")

	s.sells("code-of-tomorrow", "prod-tomorrow")
	p.press("Quarantine")
	p.press("Replay")
	p.sees("It was read again and applied.", "No message waits.")
	p.check("quarantine-replayed")
	p.press("Purchases")
	p.sees("210987654321")
	p.press(ask[string](p, `document.querySelector("tbody a").textContent`))
	p.sees("The buyer is entitled")
}

// looksAround is an operator who reads every page of a shop that has been open for
// some hours, with JavaScript and without.
func looksAround(t *testing.T, b *browser) {
	s := mall(t, simulator.Options{Seed: 4})
	hours := 6
	if screens != "" {
		hours = 60 // charts that are worth a picture
	}
	s.trade(hours)
	busiest := s.busiest()
	p := b.person(t)
	s.signIn(p)
	for _, at := range []struct{ name, path, says string }{
		{"overview", "/operator", "Overview"},
		{"purchases", "/operator/subscriptions", "Northwind Freight"},
		{"story", "/operator/subscriptions/" + busiest, "The whole story"},
		{"hours", "/operator/subscriptions/" + busiest + "/hours", "Hours, newest first"},
		{"hours-of-a-meter", "/operator/subscriptions/" + busiest + "/hours?meter=api_request", "api_request"},
		{"units", "/operator/units", "Every unit that was measured is in exactly one place."},
		{"channels", "/operator/channels", "Cloud Weavers"},
		{"findings", "/operator/findings?all=true", "Findings"},
		{"quarantine-of-usage", "/operator/quarantine", "Usage events"},
		{"outbox", "/operator/outbox", "Outbox"},
		{"welcome", "/", "Which way is yours?"},
		{"help", "/aws/register", "What to do"},
	} {
		p.goTo(s.url + at.path)
		p.sees(at.says)
		p.check(at.name)
	}
	p.goTo(s.url + "/operator/subscriptions/" + busiest + "/hours?meter=api_request")
	for _, l := range looks {
		p.look(l)
		p.comes("a chart in the page's colours, "+l.name, drawn)
	}
	middle := ask[[]float64](p, `(r => [r.x + r.width / 2, r.y + r.height / 2])(document.querySelector(".plot .u-over").getBoundingClientRect())`)
	p.ok("point at the chart", chromedp.Do(p.ctx, chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, middle[0], middle[1])))
	p.sees(".5 used, ")

	plain := p.another() // what a page shows needs no JavaScript
	plain.scripts(false)
	for path, says := range map[string][]string{
		"/operator":                                     {"Purchases", "Usage on its way to the marketplace"},
		"/operator/subscriptions":                       {"Northwind Freight"},
		"/operator/subscriptions/" + busiest:            {"The whole story", "The buyer is entitled"},
		"/operator/subscriptions/" + busiest + "/hours": {"api_request", "Accepted"},
		"/operator/units":                               {"api_request"},
		"/operator/channels":                            {"Cloud Weavers", "Resale House"},
	} {
		plain.goTo(s.url + path)
		plain.sees(says...)
	}
	plain.goTo(s.url + "/operator/subscriptions/" + busiest + "/hours")
	if plain.has(".plot") {
		t.Error("the place of a chart is shown without a chart")
	}
	plain.ok("open a table", chromedp.Do(plain.ctx, chromedp.Click(chromedp.CSS(".values summary"))))
	plain.sees("Used\tBilled")
}

// drawn says whether every chart has bars in the colours that the page has now.
const drawn = `(plots => plots.length > 0 && plots.every(plot => {
	const canvas = plot.querySelector("canvas"), seen = new Set();
	const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", {willReadFrequently: true});
	copy.drawImage(canvas, 0, 0);
	const pixels = copy.getImageData(0, 0, canvas.width, canvas.height).data;
	for (let i = 0; i < pixels.length; i += 4) seen.add("#" + [0, 1, 2].map(k => pixels[i + k].toString(16).padStart(2, "0")).join(""));
	return ["--used", "--billed"].every(name => seen.has(getComputedStyle(plot).getPropertyValue(name).trim()));
}))(Array.from(document.querySelectorAll(".plot")))`

// trade lets buyers come to all three clouds by every channel, and use what they
// bought for some hours.
func (s *shop) trade(hours int) {
	s.t.Helper()
	links := map[string]string{}
	var referrer, reseller struct{ ID string }
	s.post("/v1/partners", map[string]string{"name": "Cloud Weavers"}, &referrer)
	s.post("/v1/partners", map[string]string{"name": "Resale House"}, &reseller)
	for _, m := range []string{simulator.AWS, simulator.GCP, simulator.Azure} {
		var link struct{ URL string }
		s.post("/v1/partners/"+referrer.ID+"/links", map[string]string{"marketplace": m, "product": "tailnet"}, &link)
		links[m] = link.URL
	}
	soon := &simulator.Habits{After: 3 * time.Minute}
	for _, p := range []simulator.Purchase{
		{Marketplace: simulator.AWS, Tailnet: "Northwind Freight", Email: "it@northwind.example", Referral: links[simulator.AWS], Habits: soon},
		{Marketplace: simulator.GCP, Tailnet: "Blue Harbor Labs", Email: "ops@blueharbor.example", Reseller: true, Habits: soon},
		{Marketplace: simulator.Azure, Tailnet: "Kestrel Robotics", Email: "net@kestrel.example", Habits: soon},
		{Marketplace: simulator.AWS, Tailnet: "Solstice Media", Email: "admin@solstice.example", PrivateOffer: true, Habits: soon},
		{Marketplace: simulator.GCP, Tailnet: "Juniper Health", Email: "it@juniper.example", Referral: links[simulator.GCP], Habits: &simulator.Habits{Absent: true}},
	} {
		if _, err := s.sim.Buy(context.Background(), p); err != nil {
			s.t.Fatal(err)
		}
	}
	s.advance(time.Hour)
	settled := map[string]bool{}
	for hour := range hours {
		for i, p := range s.purchases() {
			if p.State != "active" {
				continue
			}
			if !settled[p.ID] {
				settled[p.ID] = true
				for n := range 55 + 9*i {
					s.put("nodes", p.Tailnet, fmt.Sprint("node-", i, "-", n), map[string]any{"hostname": fmt.Sprint("node-", n), "tags": []string{"tag:server"}, "joined_at": s.sim.Now()})
				}
				for n := range 4 + 3*i {
					s.put("users", p.Tailnet, fmt.Sprint("person-", i, "-", n), map[string]any{"login_name": fmt.Sprint("person-", n, "@buyer.example"), "joined_at": s.sim.Now()})
				}
			}
			busy := 90 + 70*((hour+5*i)%9) - 11*(hour%5) // a day has its ups and downs
			s.use(usage(p.ID, fmt.Sprint(p.ID, "/", hour), "api_request", fmt.Sprint(busy, ".5"), s.sim.Now().Add(-time.Minute)))
		}
		s.advance(time.Hour)
	}
	s.use(usage(s.purchases()[0].ID, "of-no-meter", "api_reqest", "3", s.sim.Now()))

	var customers struct {
		Items []struct {
			Marketplace, Partner string
			By                   struct{ Kind, Ref string } `json:"route_evidence"`
		}
	}
	s.get("/v1/attribution", &customers)
	for _, c := range customers.Items {
		if c.Partner == "" && (c.By.Kind == "offer" || c.By.Kind == "reseller") {
			s.post("/v1/partners/"+reseller.ID+"/keys", map[string]string{"marketplace": c.Marketplace, "kind": c.By.Kind, "value": c.By.Ref}, nil)
		}
	}
}

// use posts usage events.
func (s *shop) use(events ...map[string]any) {
	s.t.Helper()
	raw, err := json.Marshal(events)
	if err != nil {
		s.t.Fatal(err)
	}
	s.decode("/v1/usage", s.call(http.MethodPost, "/v1/usage", cloudBatch, raw), nil)
}

// busiest is the purchase with the longest story.
func (s *shop) busiest() string {
	s.t.Helper()
	for _, p := range s.purchases() {
		if p.State == "active" && strings.Contains(p.Purchase, "license") {
			return p.ID
		}
	}
	s.t.Fatalf("nobody on AWS has a network: %+v", s.purchases())
	return ""
}

// watches is an operator whose pages tell of a purchase as it comes, lives and ends,
// by word alone: neither is read again by its owner, or by itself after a while.
func watches(t *testing.T, b *browser) {
	s := mall(t, simulator.Options{Weather: simulator.WeatherGood})
	p := b.person(t)
	s.signIn(p)
	listens := func() {
		t.Helper()
		p.comes("a stream", "words?.readyState === EventSource.OPEN")
		ask[bool](p, "asked = Date.now() + 3_600_000, window.notReloaded = true")
	}
	p.goTo(s.url + "/operator/subscriptions")
	p.sees("Nobody has bought anything yet.")
	listens()
	bought, err := s.sim.Buy(t.Context(), simulator.Purchase{Marketplace: simulator.AWS, Tailnet: "Northwind Freight", Habits: &simulator.Habits{After: time.Minute}})
	if err != nil {
		t.Fatal(err)
	}
	s.until(bought.Purchase, "active")
	p.sees("Northwind Freight", "active")
	if !ask[bool](p, "window.notReloaded === true") {
		t.Error("the list was reloaded instead of bringing itself up to date")
	}
	p.press("Northwind Freight")
	p.sees("The whole story", "The buyer is entitled")
	listens()
	if _, err := s.sim.Cancel(t.Context(), bought.ID, ""); err != nil {
		t.Fatal(err)
	}
	s.until(bought.Purchase, "ended")
	p.comes("its end", `document.querySelector("#at-present .badge").textContent === "ended"`)
	if !ask[bool](p, "window.notReloaded === true") {
		t.Error("the story was reloaded instead of bringing itself up to date")
	}
	p.check("watched")
}
