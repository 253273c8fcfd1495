package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/simulator"
	"github.com/tailmarket/tailmarket/internal/store"
)

// sellAzure starts the app again with the settings that sell at the simulator's
// Microsoft, whose addresses are known only now.
func (s *shop) sellAzure() {
	s.t.Helper()
	if err := s.stop(); err != nil {
		s.t.Fatal(err)
	}
	o := s.sim.Options().Azure
	s.env = append(s.env,
		"TAILMARKET_AZURE_ENDPOINT="+s.sim.AzureURL()+"/api", "TAILMARKET_AZURE_AUTHORITY="+s.sim.AzureURL(), "TAILMARKET_AZURE_TENANT_ID="+o.Tenant,
		"TAILMARKET_AZURE_CLIENT_ID="+o.Client, "TAILMARKET_AZURE_CLIENT_SECRET="+o.Secret, "TAILMARKET_AZURE_PUBLISHER_ID="+o.Publisher,
		"TAILMARKET_AZURE_SIGN_IN_CLIENT_ID="+o.Landing, "TAILMARKET_AZURE_SIGN_IN_CLIENT_SECRET="+o.Secret,
	)
	s.start()
}

// person is somebody with a browser that is signed in at Microsoft, as far as hint
// says; redirects are followed by hand.
type person struct {
	s    *shop
	c    *http.Client
	hint string
}

func (s *shop) person(hint string) *person {
	s.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.sim.CAPEM())
	return &person{s, &http.Client{
		Jar: jar, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}},
	}, hint}
}

func (p *person) do(method, address string) answer {
	p.s.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, address, http.NoBody)
	if err != nil {
		p.s.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", p.s.url)
	}
	res, err := p.c.Do(req)
	if err != nil {
		p.s.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		p.s.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(raw)}
}

// to is where an answer sends the browser.
func (p *person) to(a answer) string {
	p.s.t.Helper()
	if a.status != http.StatusSeeOther && a.status != http.StatusFound {
		p.s.t.Fatalf("answered %d: %s", a.status, a.body)
	}
	return a.header.Get("Location")
}

// lands opens the landing page of a purchase and answers the claim page's address.
func (p *person) lands(b simulator.Buyer) string {
	p.s.t.Helper()
	token, err := p.s.sim.Token(b.Purchase)
	if err != nil {
		p.s.t.Fatal(err)
	}
	return p.s.url + p.to(p.do(http.MethodGet, p.s.url+"/azure/register?"+url.Values{"token": {token}}.Encode()))
}

// signsIn presses the button and answers the address by which Microsoft sends the
// browser back.
func (p *person) signsIn(claim string) string {
	p.s.t.Helper()
	at := p.to(p.do(http.MethodPost, claim+"/sign-in"))
	if !strings.HasPrefix(at, p.s.sim.AzureURL()+"/common/oauth2/v2.0/authorize?") {
		p.s.t.Fatalf("the button leads to %s", at)
	}
	return p.to(p.do(http.MethodGet, at+"&"+url.Values{"login_hint": {p.hint}}.Encode()))
}

func (s *shop) stateOf(b simulator.Buyer) string {
	s.t.Helper()
	for _, p := range s.purchases() {
		if p.Purchase == b.Purchase {
			return p.State
		}
	}
	return ""
}

// A buyer on Azure signs in at Microsoft and gets a network without a single mail.
// Whoever is not named by the purchase, says no, or needs an administrator binds
// nothing and is told what to do; a restart between the two halves changes nothing.
func TestABuyerSignsInAtMicrosoft(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, engine store.Engine) {
		s := open(t, engine, simulator.Options{Weather: simulator.WeatherGood}, silent)
		s.sellAzure()
		buy := func(h simulator.Habits) simulator.Buyer {
			b, err := s.sim.Buy(context.Background(), simulator.Purchase{Marketplace: simulator.Azure, Habits: &h})
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		scripted := buy(simulator.Habits{After: 90 * time.Second})
		for range 6 {
			s.advance(5 * time.Minute)
		}
		if got := s.buyer(scripted.ID); got.Finished != "has the join key" || s.stateOf(scripted) != "active" {
			t.Fatalf("%+v, %s", got, s.stateOf(scripted))
		}
		if link, err := s.mail(t.Context(), scripted.Email); err != nil || link != "" {
			t.Errorf("a mail was sent: %v", err)
		}

		b := buy(simulator.Habits{Absent: true})
		p := s.person(scripted.Email) // somebody else's account
		claim := p.lands(b)
		page := p.do(http.MethodGet, claim)
		if !strings.Contains(page.body, `data-step="sign-in"`) || !strings.Contains(page.body, `data-step="email"`) || !strings.Contains(page.header.Get("Content-Security-Policy"), "form-action 'self' https:;") {
			t.Fatalf("the claim page: %s", page.body)
		}
		state := func(back string) string {
			u, err := url.Parse(back)
			if err != nil {
				t.Fatal(err)
			}
			return u.Query().Get("state")
		}
		for _, c := range []struct {
			name  string
			back  func(back string) string
			says  string
			asks  bool
			after time.Duration
		}{
			{"somebody else", func(back string) string { return back }, "neither bought nor uses", true, 0},
			{"declined", func(back string) string {
				return s.url + "/azure/signed-in?error=access_denied&error_description=AADSTS65004&state=" + state(back)
			}, "You did not sign in", false, 0},
			{"an administrator", func(back string) string {
				return s.url + "/azure/signed-in?error=access_denied&error_description=AADSTS90094&state=" + state(back)
			}, "administrator must agree first", true, 0},
			{"a made-up code", func(back string) string { return s.url + "/azure/signed-in?code=x&state=" + state(back) }, "took too long", false, 0},
			{"an old code", func(back string) string { return back }, "took too long", false, 11 * time.Minute},
		} {
			back := c.back(p.signsIn(claim))
			if c.after > 0 {
				s.advance(c.after)
			}
			at := p.to(p.do(http.MethodGet, back))
			page := p.do(http.MethodGet, s.url+at)
			if !strings.HasPrefix(s.url+at, claim+"?sign-in=") || !strings.Contains(page.body, c.says) || !strings.Contains(page.body, `data-step="sign-in"`) || strings.Contains(page.body, `name="choose"`) != c.asks {
				t.Errorf("%s: %s\n%s", c.name, at, page.body)
			}
			if got := s.stateOf(b); got != "awaiting_buyer" && got != "pending" {
				t.Errorf("%s: the purchase is %s", c.name, got)
			}
		}
		if got := s.person("").do(http.MethodGet, p.signsIn(claim)); got.status != http.StatusGone || !strings.Contains(got.body, "lost the thread") {
			t.Errorf("another browser took the way back: %d %s", got.status, got.body)
		}

		p.hint = b.Email
		back := p.signsIn(claim)
		if err := s.stop(); err != nil { // the sign-in page is open
			t.Fatal(err)
		}
		s.start()
		u, err := url.Parse(back)
		if err != nil {
			t.Fatal(err)
		}
		kept := p.c.Jar.Cookies(u)
		at := p.to(p.do(http.MethodGet, back))
		if !strings.HasPrefix(at, "/purchases/sub_") {
			t.Fatalf("signed in, and sent to %s", at)
		}
		if got := p.do(http.MethodGet, s.url+at); got.status != http.StatusOK {
			t.Errorf("the purchase answered %d", got.status)
		}
		// The answer was lost, and the browser asks again.
		p = s.person(b.Email)
		p.c.Jar.SetCookies(u, kept)
		if at := p.to(p.do(http.MethodGet, back)); s.url+at != claim+"?sign-in=late" {
			t.Errorf("a repetition leads to %s", at)
		}
		if again := p.to(p.do(http.MethodGet, p.signsIn(claim))); again != at {
			t.Errorf("signing in again leads to %s", again)
		}
		for range 4 {
			s.advance(5 * time.Minute)
		}
		if got := s.stateOf(b); got != "active" {
			t.Errorf("the purchase is %s", got)
		}
	})
}
