package gcp_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/marketplace/gcp"
)

// TestOpenListsEveryProblem at once, and makes no call.
func TestOpenListsEveryProblem(t *testing.T) {
	t.Parallel()
	now := func() time.Time { return noon }
	try := func(c gcp.Config) string {
		_, err := c.Open(t.Context(), &http.Client{}, slog.New(slog.DiscardHandler), now)
		if err == nil {
			return ""
		}
		return err.Error()
	}
	got := try(gcp.Config{
		Audiences: []string{"https://signup.example/"}, PullSubscription: "marketplace", PushSubscription: "marketplace", Endpoint: "nowhere", ResendFor: -1,
		Listings: []gcp.Listing{{Service: "A b"}, {Product: "p", Service: "a", Metrics: []string{"m", "m", ""}}, {Product: "p", Service: "a", Metrics: []string{"m"}}},
	})
	for _, want := range []string{
		"provider", "bare host", "pull subscription", "push subscription", "all of them or none", "endpoint", "resend for", "our product", "service name",
		"at least one metric", `product p: want it in one listing`, `service a: want it in one listing`, "want it once", "1 to 255 characters",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("nothing is said of %q in:\n%s", want, got)
		}
	}
	base := settings()
	base.Endpoint = "https://127.0.0.1:1"
	for want, change := range map[string]func(*gcp.Config){
		"":                             func(*gcp.Config) {},
		"want an endpoint of your own": func(c *gcp.Config) { c.Endpoint = "" },
		"want one of them":             func(c *gcp.Config) { c.CredentialsFile = "x.json" },
		"lets the marketplace's events": func(c *gcp.Config) {
			c.PullSubscription, c.PushSubscription, c.PushAudience, c.PushAccount = "", "", "", ""
		},
		"service account":                 func(c *gcp.Config) { c.PushAccount = "somebody" },
		"a connection that hides them":    func(c *gcp.Config) { c.Anonymous, c.Endpoint = false, "http://127.0.0.1:1" },
		"credentials file: open":          func(c *gcp.Config) { c.Anonymous, c.CredentialsFile = false, "testdata/none.json" },
		"want the JSON":                   func(c *gcp.Config) { c.Anonymous, c.CredentialsFile = false, "testdata/submit.txt" },
		"audiences: want":                 func(c *gcp.Config) { c.Audiences = nil },
		"listings: want":                  func(c *gcp.Config) { c.Listings = nil },
		`subscription "projects/p/sub/x"`: func(c *gcp.Config) { c.PullSubscription = "projects/p/sub/x" },
	} {
		c := base
		change(&c)
		if got := try(c); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestCredentials: calls carry a token of the service account; without one nothing is sent.
func TestCredentials(t *testing.T) {
	t.Parallel()
	g := open(t)
	refuse := false
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refuse || !strings.Contains(r.FormValue("grant_type"), "jwt-bearer") {
			answer(w, 400, `{"error":"invalid_grant"}`)
			return
		}
		answer(w, 200, `{"access_token":"an-access-token","token_type":"Bearer","expires_in":3600}`)
	}))
	t.Cleanup(tokens.Close)
	open := func(kind string) (*gcp.Adapter, error) {
		text, err := json.Marshal(map[string]string{
			"type": kind, "client_email": "us@tailvendor-prod.iam.gserviceaccount.com", "private_key_id": "k", "private_key": privatePEM(t), "token_uri": tokens.URL,
		})
		if err != nil {
			t.Fatal(err)
		}
		c := settings()
		c.Endpoint, c.PullSubscription, c.Anonymous, c.CredentialsFile = g.URL, "", false, filepath.Join(t.TempDir(), "key.json")
		if err := os.WriteFile(c.CredentialsFile, text, 0o600); err != nil {
			t.Fatal(err)
		}
		transport := &http.Transport{}
		t.Cleanup(transport.CloseIdleConnections)
		return c.Open(t.Context(), &http.Client{Transport: transport}, slog.New(slog.DiscardHandler), g.clock)
	}
	a, err := open("service_account")
	if err != nil {
		t.Fatal(err)
	}
	header := ""
	g.does(func(w http.ResponseWriter, r *http.Request, _ []byte) {
		header = r.Header.Get("Authorization")
		answer(w, 200, `{}`)
	})
	if _, err := a.Submit(t.Context(), []marketplace.Record{record(a, nil)}); err != nil || header != "Bearer an-access-token" {
		t.Errorf("%v, authorization %q", err, header)
	}
	if _, err := open("authorized_user"); err == nil || !strings.Contains(err.Error(), "authorized_user") {
		t.Errorf("a person's credentials: %v", err)
	}
	refuse = true
	if a, err = open("service_account"); err != nil {
		t.Fatal(err)
	}
	g.says(200, `{}`)
	if _, err := a.Submit(t.Context(), []marketplace.Record{record(a, nil)}); !fault.Is(err, fault.Throttled) || len(g.calls()) > 0 {
		t.Errorf("without a token: %v of class %q after %d calls", err, fault.ClassOf(err), len(g.calls()))
	}
}

// TestRules: what differs from a reader's guess.
func TestRules(t *testing.T) {
	t.Parallel()
	g := open(t)
	a := g.adapter(t)
	r := a.Rules(product)
	if !r.WholeUnits || a.Rules("minutes").WholeUnits || !a.Rules("nobody's").WholeUnits {
		t.Error("only a listing of DOUBLE metrics takes fractions")
	}
	if r.ResendFor != 50*time.Minute {
		t.Errorf("resend for %s", r.ResendFor)
	}
	c := settings()
	c.Endpoint, c.ResendFor = g.URL, 0
	if got := g.reopen(t, c).Rules(product).ResendFor; got >= 0 {
		t.Errorf("resend for %s, want never", got)
	}
	for at, want := range map[string][2]string{ // summer time ends on 2026-11-01 and begins on 2026-03-08
		"2026-11-01T06:59:59Z": {"2026-10-01T07:00:00Z", "2026-11-01T07:00:00Z"},
		"2026-11-01T07:00:00Z": {"2026-11-01T07:00:00Z", "2026-12-01T08:00:00Z"},
		"2026-12-31T23:00:00Z": {"2026-12-01T08:00:00Z", "2027-01-01T08:00:00Z"},
		"2026-03-31T23:00:00Z": {"2026-03-01T08:00:00Z", "2026-04-01T07:00:00Z"},
	} {
		from, to := r.Period(instant(at))
		if !from.Equal(instant(want[0])) || !to.Equal(instant(want[1])) {
			t.Errorf("%s lies in %s to %s, want %s to %s", at, from, to, want[0], want[1])
		}
		if clock.HourOf(from).Start() != from || clock.HourOf(to).Start() != to {
			t.Errorf("a month of Google's does not begin on an hour: %s, %s", from, to)
		}
	}
	if errs := r.Identity(marketplace.VendorIdentity{ProductCode: service, License: entitlement}); len(errs) != 1 || !strings.Contains(errs[0].Error(), "usageReportingId") {
		t.Errorf("an entitlement whose usageReportingId is not told yet: %v", errs)
	}
}
