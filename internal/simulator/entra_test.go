package simulator_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/tailmarket/tailmarket/internal/simulator"
)

func (w *azureWorld) form(path string, values url.Values) answered {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.sim.AzureURL()+path, strings.NewReader(values.Encode()))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := w.http.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	a := answered{status: resp.StatusCode}
	if err := json.NewDecoder(resp.Body).Decode(&a.body); err != nil {
		w.t.Fatal(err)
	}
	return a
}

func TestAccessTokensOfBothForms(t *testing.T) {
	t.Parallel()
	w := calm(t)
	w.buy(simulator.Purchase{Habits: absent()})
	o := w.sim.Options().Azure
	v1, v2 := "/"+o.Tenant+"/oauth2/token", "/"+o.Tenant+"/oauth2/v2.0/token"
	with := func(more ...string) url.Values {
		v := url.Values{"grant_type": {"client_credentials"}, "client_id": {o.Client}, "client_secret": {o.Secret}}
		for i := 0; i+1 < len(more); i += 2 {
			v.Set(more[i], more[i+1])
		}
		return v
	}
	old := w.form(v1, with("resource", marketplaceApp))
	if expires, text := old.at("expires_in").(string); old.status != 200 || !text || expires != "3599" || old.at("resource") != marketplaceApp {
		t.Errorf("v1: %d %v", old.status, old.body)
	}
	signed := w.form(v2, with("client_secret", "", "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion", "a.b.c", "scope", marketplaceApp+"/.default"))
	for name, a := range map[string]answered{"v1": old, "assertion": signed} {
		if got := w.callAs(nil, "GET", subscriptions, "", "Authorization", "Bearer "+fmt.Sprint(a.at("access_token"))); got.status != 200 {
			t.Errorf("%s: %d %s", name, got.status, got.text)
		}
	}
	other := w.form(v2, with("scope", "https://graph.microsoft.com/.default"))
	if got := w.callAs(nil, "GET", subscriptions, "", "Authorization", "Bearer "+fmt.Sprint(other.at("access_token"))); got.status != 403 {
		t.Errorf("a token for another resource: %d %s", got.status, got.text)
	}
	for name, c := range map[string]struct {
		path   string
		values url.Values
		status int
		code   string
	}{
		"wrong secret":  {v2, with("client_secret", "x", "scope", marketplaceApp+"/.default"), 401, "invalid_client"},
		"no secret":     {v2, with("client_secret", "", "scope", marketplaceApp+"/.default"), 401, "invalid_client"},
		"unknown app":   {v2, with("client_id", "x", "scope", marketplaceApp+"/.default"), 401, "unauthorized_client"},
		"no scope":      {v2, with(), 400, "invalid_scope"},
		"other tenant":  {"/common/oauth2/v2.0/token", with("scope", marketplaceApp+"/.default"), 400, "invalid_request"},
		"other grant":   {v2, with("grant_type", "password"), 400, "unsupported_grant_type"},
		"spent code":    {v2, with("grant_type", "authorization_code", "code", "x"), 400, "invalid_grant"},
		"code over v1":  {v1, with("grant_type", "authorization_code", "code", "x"), 400, "unsupported_grant_type"},
		"scope over v1": {v1, with("scope", marketplaceApp+"/.default"), 400, "invalid_scope"},
	} {
		if a := w.form(c.path, c.values); a.status != c.status || a.at("error") != c.code {
			t.Errorf("%s: %d %v", name, a.status, a.body)
		}
	}
}

// TestABuyerSignsIn walks the code flow with the libraries an app would use.
func TestABuyerSignsIn(t *testing.T) {
	t.Parallel()
	w := calm(t)
	b := w.buy(simulator.Purchase{Habits: absent()})
	o := w.sim.Options().Azure
	ctx := oidc.ClientContext(t.Context(), w.http)

	// The shared authority names no tenant, so a stock check of its issuer fails, as against the real one.
	if _, err := oidc.NewProvider(ctx, w.sim.AzureURL()+"/common/v2.0"); err == nil || !strings.Contains(err.Error(), "{tenantid}") {
		t.Errorf("discovery of common: %v", err)
	}
	provider, err := oidc.NewProvider(oidc.InsecureIssuerURLContext(ctx, "https://login.microsoftonline.com/{tenantid}/v2.0"), w.sim.AzureURL()+"/common/v2.0")
	if err != nil {
		t.Fatal(err)
	}
	conf := oauth2.Config{
		ClientID: o.Landing, ClientSecret: o.Secret, Endpoint: provider.Endpoint(), RedirectURL: "http://127.0.0.1:1/azure/signed-in",
		Scopes: []string{"openid", "profile", "email"},
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Transport: w.http.Transport, Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	signIn := func(options ...oauth2.AuthCodeOption) url.Values {
		t.Helper()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, conf.AuthCodeURL("state&1", options...), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := browser.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		back, err := resp.Location()
		if err != nil {
			t.Fatalf("%d %v", resp.StatusCode, err)
		}
		return back.Query()
	}
	if got := signIn(); got.Get("error") != "login_required" || got.Get("state") != "state&1" {
		t.Errorf("nobody: %v", got)
	}
	verifier := oauth2.GenerateVerifier()
	got := signIn(oauth2.SetAuthURLParam("login_hint", b.Email), oauth2.S256ChallengeOption(verifier), oidc.Nonce("n1"))
	if _, err := conf.Exchange(ctx, got.Get("code"), oauth2.VerifierOption("another")); err == nil {
		t.Error("a code was redeemed with another verifier")
	}
	got = signIn(oauth2.SetAuthURLParam("login_hint", b.Email), oauth2.S256ChallengeOption(verifier), oidc.Nonce("n1"))
	token, err := conf.Exchange(ctx, got.Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conf.Exchange(ctx, got.Get("code"), oauth2.VerifierOption(verifier)); err == nil {
		t.Error("a code was redeemed twice")
	}
	raw, _ := token.Extra("id_token").(string)
	check := provider.Verifier(&oidc.Config{ClientID: o.Landing, SkipIssuerCheck: true, Now: w.sim.Now})
	id, err := check.Verify(ctx, raw)
	if err != nil {
		t.Fatal(err)
	}
	var claims struct{ Tid, Oid, Email string }
	if err := id.Claims(&claims); err != nil {
		t.Fatal(err)
	}
	if claims.Tid != b.Account || id.Issuer != "https://login.microsoftonline.com/"+b.Account+"/v2.0" || claims.Email != b.Email || id.Nonce != "n1" {
		t.Errorf("%+v %+v", claims, id)
	}
}

// TestTheScriptedBuyerIsSignedIn follows a landing page that sends the browser to the directory first.
func TestTheScriptedBuyerIsSignedIn(t *testing.T) {
	t.Parallel()
	w := calm(t)
	o := w.sim.Options().Azure
	codes := make(chan string, 8)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /azure/register", func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Sec-Fetch-Site") != "cross-site" {
			t.Error("the landing page is opened from the portal")
		}
		conf := oauth2.Config{ClientID: o.Landing, RedirectURL: "http://" + r.Host + "/in", Endpoint: oauth2.Endpoint{AuthURL: w.sim.AzureURL() + "/common/oauth2/v2.0/authorize"}}
		http.Redirect(rw, r, conf.AuthCodeURL("s"), http.StatusSeeOther)
	})
	mux.HandleFunc("GET /in", func(rw http.ResponseWriter, r *http.Request) {
		codes <- r.URL.Query().Get("code")
		_, _ = fmt.Fprint(rw, `<body data-state="ended">`)
	})
	w.app.Config.Handler = mux
	b := w.buy(simulator.Purchase{})
	w.advance(10 * time.Minute)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	select {
	case code := <-codes:
		if code == "" {
			t.Error("the directory did not know the buyer")
		}
	case <-ctx.Done():
		t.Errorf("buyer %+v", w.sim.Buyers()[0])
	}
	if got := w.sim.Buyers()[0]; got.ID != b.ID || got.Finished != "ended" {
		t.Errorf("buyer %+v", got)
	}
}
