package e2e

import (
	"context"
	"html/template"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/tailmarket/tailmarket/internal/simulator"
	"github.com/tailmarket/tailmarket/internal/store"
)

// mall is an app that sells on all three clouds, which are the simulator.
func mall(t *testing.T, o simulator.Options) *shop {
	t.Helper()
	o.GCP.Channel = simulator.ChannelSQS // pulled: a push would have to know the app's address
	sim, err := simulator.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	credentials, err := sim.GCPCredentials()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "google.json")
	if err := os.WriteFile(file, credentials, 0o600); err != nil {
		t.Fatal(err)
	}
	of := sim.Options()
	return openAt(t, sim, store.SQLite, silent,
		"TAILMARKET_SELLER_NAME=Example Tailnets", "TAILMARKET_SELLER_SUPPORT=help@seller.example",
		"TAILMARKET_GCP_ENDPOINT="+sim.GCPURL(), "TAILMARKET_GCP_PROVIDER="+of.GCP.Provider, "TAILMARKET_GCP_AUDIENCE="+of.GCP.Audience,
		"TAILMARKET_GCP_PULL_SUBSCRIPTION="+of.GCP.Subscription, "TAILMARKET_GCP_CREDENTIALS_FILE="+file,
		"TAILMARKET_AZURE_ENDPOINT="+sim.AzureURL()+"/api", "TAILMARKET_AZURE_AUTHORITY="+sim.AzureURL(), "TAILMARKET_AZURE_TENANT_ID="+of.Azure.Tenant,
		"TAILMARKET_AZURE_CLIENT_ID="+of.Azure.Client, "TAILMARKET_AZURE_CLIENT_SECRET="+of.Azure.Secret, "TAILMARKET_AZURE_PUBLISHER_ID="+of.Azure.Publisher,
		"TAILMARKET_AZURE_SIGN_IN_CLIENT_ID="+of.Azure.Landing, "TAILMARKET_AZURE_SIGN_IN_CLIENT_SECRET="+of.Azure.Secret)
}

var counter = template.Must(template.New("").Parse(`<!doctype html><html lang="en"><meta charset="utf-8"><title>The marketplace</title><link rel="icon" href="data:,">
<h1>Thank you for your purchase</h1><form method="{{.Method}}" action="{{.URL}}">{{range $k, $v := .Values}}<input type="hidden" name="{{$k}}" value="{{index $v 0}}">{{end}}
<button>Set up your account</button></form>`))

// counter is the marketplace's own page, on another site than the app's: what is
// sent from it carries no cookie of the app. Answers its address.
func (s *shop) counter(buyer string) (simulator.Way, string) {
	s.t.Helper()
	way, err := s.sim.Way(buyer)
	if err != nil {
		s.t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _ = counter.Execute(w, way) }))
	s.t.Cleanup(srv.Close)
	return way, strings.Replace(srv.URL, "127.0.0.1", "localhost", 1)
}

// buys is a buyer's whole way on a cloud: the marketplace's button, the claim, the
// mail, the page that waits, the key.
func buys(cloud string) func(*testing.T, *browser) {
	return func(t *testing.T, b *browser) {
		s := mall(t, simulator.Options{Seed: 5, Weather: simulator.WeatherGood})
		bought, err := s.sim.Buy(t.Context(), simulator.Purchase{Marketplace: cloud, Email: "ana@company.example", Habits: &simulator.Habits{Absent: true}})
		if err != nil {
			t.Fatal(err)
		}
		way, counter := s.counter(bought.ID)
		p := b.person(t)
		p.signInAt(way)
		p.goTo(counter)
		p.press("Set up your account")
		s.claim(p, cloud, bought.Email)

		p.sees("Who must act")
		if cloud != "azure" {
			p.sees("Waiting for")
		}
		p.check("waiting-" + cloud)
		ask[chromedp.Void](p, "window.notReloaded = true")
		s.until(bought.Purchase, "active")
		p.sees("Your network is ready", "It is shown once")
		if !ask[bool](p, "window.notReloaded === true") {
			t.Error("the page was reloaded instead of bringing itself up to date")
		}
		p.check("ready-" + cloud)

		second := p.another() // which cannot hear that the key was shown
		second.scripts(false)
		second.goTo(ask[string](p, "location.href"))
		p.press("Show the join key")
		key := ask[string](p, `document.getElementById("join-key").textContent`)
		if len(key) < 16 || !strings.Contains(p.seen(), "--auth-key="+key) {
			t.Errorf("the page of the key shows\n%s", p.seen())
		}
		p.check("key-" + cloud)
		second.allow("Failed to load resource")
		second.press("Show the join key")
		second.scripts(true) // for who looks at it
		if strings.Contains(second.seen(), key) || second.has("#join-key") {
			t.Error("the key was shown twice")
		}
		second.check("key-again-" + cloud)
		p.press("I have kept it: back to the purchase")
		p.sees("Your join key was shown")
		if html := ask[string](p, "document.documentElement.outerHTML"); strings.Contains(html, key) {
			t.Error("the purchase's page holds the key")
		}
		p.check("revealed-" + cloud)
	}
}

// scripts turns JavaScript on and off.
func (p *tab) scripts(on bool) {
	p.t.Helper()
	_, err := chromedp.Call(p.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on})
	p.ok("turn JavaScript on or off", err)
}

// signInAt makes the browser one that its owner uses at the vendor.
func (p *tab) signInAt(way simulator.Way) {
	p.t.Helper()
	if way.Cookie != nil {
		_, err := chromedp.Call(p.ctx, network.SetCookie, network.SetCookieParams{Name: way.Cookie.Name, Value: way.Cookie.Value, URL: way.Site})
		p.ok("sign in with the vendor", err)
	}
}

// claim follows the pages from the app's door to the purchase's page, whatever
// they ask for.
func (s *shop) claim(p *tab, cloud, email string) {
	s.t.Helper()
	for range 6 {
		switch {
		case strings.HasPrefix(p.path(), "/purchases/"):
			return
		case p.has(`form[data-step="sign-in"]`):
			p.check("claim-" + cloud)
			p.press("Sign in with Microsoft")
		case p.has(`form[data-step="email"]`) && !strings.HasSuffix(p.path(), "/sent"):
			p.check("claim-" + cloud)
			p.fill("Work e-mail address", email)
			p.press("Send me the link")
		case strings.HasSuffix(p.path(), "/sent"):
			p.check("mail-sent-" + cloud)
			p.goTo(s.letter(email))
		case p.has(`form[data-step="confirm"]`):
			p.check("confirm-" + cloud)
			p.press("Confirm and go on")
		default:
			s.t.Fatalf("nothing leads on from\n%s", p.seen())
		}
	}
	s.t.Fatalf("the way has no end: %s", p.seen())
}

// letter waits for the mail to an address and answers the link in it.
func (s *shop) letter(email string) (link string) {
	s.t.Helper()
	s.eventually("mail arrives", func() bool {
		got, err := s.mail(context.Background(), email)
		link = got
		return err == nil && got != ""
	})
	return link
}

// until lets time pass until a purchase is in a state.
func (s *shop) until(purchase, state string) {
	s.t.Helper()
	for range 24 {
		s.sim.Activity() // what people did in their browsers is news to the clock
		s.advance(5 * time.Minute)
		for _, p := range s.purchases() {
			if p.Purchase == purchase && p.State == state {
				return
			}
		}
	}
	s.t.Fatalf("%s is not %s within two hours: %+v", purchase, state, s.purchases())
}
