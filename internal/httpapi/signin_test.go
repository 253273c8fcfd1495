package httpapi_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/httpapi"
	"github.com/tailmarket/tailmarket/internal/identity"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/simulator"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

// signingIn adds a sign-in at Microsoft, which is not asked in these tests.
func signingIn(t *testing.T) func(*httpapi.Options) {
	t.Helper()
	keys, err := store.LoadKeys(filepath.Join(t.TempDir(), "instance.key"))
	if err != nil {
		t.Fatal(err)
	}
	clock := func() time.Time { return now }
	m, err := identity.MicrosoftConfig{ClientID: "1f6d3b8a-02c5-4e79-b6d4-93a8e7c05f12", ClientSecret: secret, Redirect: "http://sell.example" + httpapi.SignedInPath}.Open(http.DefaultClient, keys, clock, clock)
	if err != nil {
		t.Fatal(err)
	}
	return func(o *httpapi.Options) {
		o.SignIn, o.Markets = m, []marketplace.ID{marketplace.AWS, marketplace.GCP, marketplace.Azure}
	}
}

// Where Microsoft can prove who came, a form of another origin may not begin it, and
// nobody is sent to a sign-in that the visit cannot use.
func TestASignInBeginsOnlyWhereItHelps(t *testing.T) {
	t.Parallel()
	w := setup(t, signingIn(t))
	b := w.browser(t)
	b.c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if r := b.post("/claim/x/sign-in", nil); r.Header.Get("Location") != "/claim/x" || len(r.Cookies()) != 0 {
		t.Errorf("a purchase without it leads to %q", r.Header.Get("Location"))
	}
	w.visit.SignIn = true
	if r := b.post("/claim/x/sign-in", nil, "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"); r.StatusCode != http.StatusForbidden {
		t.Errorf("another site began a sign-in: %d", r.StatusCode)
	}
	r := b.post("/claim/x/sign-in", url.Values{"referred_by": {"Acme"}, "choose": {"1"}})
	to, err := url.Parse(r.Header.Get("Location"))
	if err != nil || to.Host != "login.microsoftonline.com" || to.Query().Get("prompt") != "select_account" || len(r.Cookies()) != 1 {
		t.Fatalf("the button leads to %s, %v", to, err)
	}
	if k := r.Cookies()[0]; !k.HttpOnly || k.SameSite != http.SameSiteLaxMode || k.Path != httpapi.SignedInPath || k.MaxAge != 900 || strings.Contains(k.Value, "x.") {
		t.Errorf("%+v", k)
	}
	if !slices.ContainsFunc(w.touches, func(s string) bool { return strings.Contains(s, "Acme") }) {
		t.Errorf("who told the buyer is lost: %v", w.touches)
	}
	// Declined: back to the visit, and the cookie is spent.
	u, _ := url.Parse(w.server.URL + httpapi.SignedInPath)
	if len(b.c.Jar.Cookies(u)) != 1 {
		t.Fatal("the browser does not bring the cookie back")
	}
	back := httpapi.SignedInPath + "?" + url.Values{"state": to.Query()["state"], "error": {"access_denied"}}.Encode()
	if r := b.get(back); r.Header.Get("Location") != "/claim/x?sign-in=declined" || len(b.c.Jar.Cookies(u)) != 0 {
		t.Errorf("declined leads to %d %q", r.StatusCode, r.Header.Get("Location"))
	}
	if r := b.get(back); r.StatusCode != http.StatusGone {
		t.Errorf("again: %d", r.StatusCode)
	}
	if len(w.signIns) != 0 {
		t.Errorf("somebody was signed in: %v", w.signIns)
	}
}

// A person whom the marketplace proved goes on by one press; who waited too long is
// asked for an address.
func TestAKnownBuyerContinues(t *testing.T) {
	t.Parallel()
	w := setup(t)
	b := w.browser(t)
	w.visit.Known, w.visit.KnownAs = true, "c…@company.example"
	if r := b.get("/claim/x"); !strings.Contains(r.body, `data-step="continue"`) || !strings.Contains(r.body, "Continue as c…@company.example") || !strings.Contains(r.body, `data-step="email"`) {
		t.Fatalf("the page: %s", r.body)
	}
	if r := b.post("/claim/x/continue", nil); r.Request.URL.Path != "/purchases/"+sub || r.StatusCode != http.StatusOK {
		t.Errorf("ended at %s, %d", r.Request.URL, r.StatusCode)
	}
	w.visit.Known, w.visit.KnownAs = false, ""
	w.confErr, w.confirm = fault.New(fault.Denied, "Confirm your e-mail address to go on."), subscription.Confirmed{}
	if r := w.browser(t).post("/claim/x/continue", nil); r.Request.URL.Path != "/claim/x" || !strings.Contains(r.body, `data-step="email"`) {
		t.Errorf("too late, and ended at %s, %d", r.Request.URL, r.StatusCode)
	}
}

// A link that leads nowhere says so before anything is pressed.
func TestADeadMailLinkSaysSoAtOnce(t *testing.T) {
	t.Parallel()
	for class, c := range map[fault.Class]struct {
		status int
		says   string
	}{fault.Gone: {http.StatusGone, "get a new one where you got the first"}, fault.NotFound: {http.StatusNotFound, "We do not know this link"}} {
		w := setup(t)
		w.linkErr = fault.New(class, "It is dead.")
		if r := w.browser(t).get("/verify/x"); r.StatusCode != c.status || !strings.Contains(r.body, c.says) || !strings.Contains(r.body, "What to do") || strings.Contains(r.body, `data-step="confirm"`) {
			t.Errorf("answered %d: %s", r.StatusCode, r.body)
		}
	}
}

// What becomes of a sign-in at the simulator's Microsoft: over TLS, there and back.
func TestWhatBecomesOfASignIn(t *testing.T) {
	t.Parallel()
	sim, err := simulator.New(simulator.Options{Weather: simulator.WeatherGood})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	buyer, err := sim.Buy(t.Context(), simulator.Purchase{Marketplace: simulator.Azure, Habits: &simulator.Habits{Absent: true}})
	if err != nil {
		t.Fatal(err)
	}
	way, err := sim.Way(buyer.ID)
	if err != nil {
		t.Fatal(err)
	}
	site, err := url.Parse(way.Site)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(sim.CAPEM())
	outbound := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}}
	t.Cleanup(outbound.CloseIdleConnections)
	keys, err := store.LoadKeys(filepath.Join(t.TempDir(), "instance.key"))
	if err != nil {
		t.Fatal(err)
	}
	of := sim.Options().Azure
	for name, c := range map[string]struct {
		err    error
		state  subscription.ClaimState
		at     string
		status int
		says   string
	}{
		"signed in":     {nil, subscription.ClaimHolder, "/purchases/" + sub, http.StatusOK, "Your network is ready"},
		"second person": {fault.New(fault.Denied, "A colleague (a…@company.example) has set this purchase up already."), subscription.ClaimSecond, httpapi.SignedInPath, http.StatusForbidden, "confirm it by mail instead of signing in"},
		"somebody else": {fault.New(fault.Denied, "You signed in as somebody else."), "", "/claim/x", http.StatusOK, "neither bought nor uses"},
		"no address":    {fault.New(fault.Invalid, "That is not an address."), "", "/claim/x", http.StatusOK, "Your account has no e-mail address"},
		"too late":      {fault.New(fault.Gone, "This link has expired."), "", httpapi.SignedInPath, http.StatusGone, "This link has expired"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := setup(t, func(o *httpapi.Options) {
				c := identity.MicrosoftConfig{ClientID: of.Landing, ClientSecret: of.Secret, Authority: sim.AzureURL(), Redirect: "http://127.0.0.1:1" + httpapi.SignedInPath}
				m, err := c.Open(outbound, keys, sim.Now, sim.Now)
				if err != nil {
					t.Fatal(err)
				}
				o.SignIn, o.Markets = m, []marketplace.ID{marketplace.Azure}
			})
			w.visit.SignIn, w.visit.Subscription.Marketplace = true, marketplace.Azure
			w.signErr, w.confirm.State = c.err, c.state
			b := w.browser(t)
			b.c.Transport = outbound.Transport
			b.c.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
				if r.URL.Path == httpapi.SignedInPath { // the address that is registered is nobody's
					r.URL.Host = strings.TrimPrefix(w.server.URL, "http://")
				}
				return nil
			}
			b.c.Jar.SetCookies(site, []*http.Cookie{way.Cookie})
			r := b.post("/claim/x/sign-in", nil)
			if r.Request.URL.Path != c.at || r.StatusCode != c.status || !strings.Contains(r.body, c.says) {
				t.Errorf("ended at %s with %d:\n%s", r.Request.URL.Path, r.StatusCode, r.body)
			}
			if want := "x " + buyer.Account + "/" + way.Cookie.Value + " " + buyer.Email; len(w.signIns) != 1 || w.signIns[0] != want {
				t.Errorf("signed in %v, want %s", w.signIns, want)
			}
			if strings.Contains(w.log.String(), buyer.Email) || strings.Contains(w.log.String(), "code=") {
				t.Error("the log tells who it was")
			}
		})
	}
}
