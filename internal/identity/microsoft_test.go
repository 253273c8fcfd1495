package identity_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/identity"
	"github.com/tailmarket/tailmarket/internal/store"
)

const (
	app      = "1f6d3b8a-02c5-4e79-b6d4-93a8e7c05f12"
	tenant   = "7e2f1c58-94ad-4f0b-a1c3-20d6b85e9f44"
	stranger = "0a9c4d7e-5b13-4c68-8f02-d7e6a1b35c90"
	personal = "9188040d-6c67-4c5b-b112-36a304b66dad"
	object   = "C3D1F0A2-6B47-4E85-9D10-7A2E4B8C6F31"
)

var businessNow = time.Date(2026, 11, 3, 7, 30, 0, 0, time.UTC)

var signingKeys = sync.OnceValue(func() (keys [2]*rsa.PrivateKey) {
	for i := range keys {
		var err error
		if keys[i], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			panic(err)
		}
	}
	return keys
})

// directory is an Entra of the test's own, which can be made to lie.
type directory struct {
	t      *testing.T
	server *httptest.Server
	m      *identity.Microsoft
	wall   time.Time

	claims map[string]any  // that differ from a genuine token's; nil takes one away
	key    *rsa.PrivateKey // that signs
	hmac   bool            // signs with the public key as a secret
	keyOf  string          // the issuer that the published key names
	issuer string          // that every directory says; empty: its own
	answer func(w http.ResponseWriter, r *http.Request) bool
	form   url.Values // of the redemption
}

func (d *directory) name(tenant string) string { return d.server.URL + "/" + tenant + "/v2.0" }

func newDirectory(t *testing.T, change func(*identity.MicrosoftConfig)) *directory {
	t.Helper()
	d := &directory{t: t, claims: map[string]any{}, key: signingKeys()[0], wall: time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{tenant}/v2.0/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		of := d.issuer
		if of == "" {
			of = d.name(r.PathValue("tenant"))
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": of, "jwks_uri": d.server.URL + "/keys"})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		raw, err := json.Marshal(jose.JSONWebKey{Key: &signingKeys()[0].PublicKey, KeyID: "k", Use: "sig", Algorithm: "RS256"})
		key := map[string]any{}
		if err = errors.Join(err, json.Unmarshal(raw, &key)); err != nil {
			t.Error(err)
		}
		key["issuer"] = d.keyOf
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": []any{map[string]any{"kty": "of the future"}, key}})
	})
	mux.HandleFunc("POST /common/oauth2/v2.0/token", func(w http.ResponseWriter, r *http.Request) {
		d.form = map[string][]string{}
		if err := r.ParseForm(); err == nil {
			d.form = r.PostForm
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"token_type": "Bearer", "access_token": "a", "expires_in": 3599, "id_token": d.token()})
	})
	d.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if d.answer == nil || !d.answer(w, r) {
			mux.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(d.server.Close)
	keys, err := store.LoadKeys(filepath.Join(t.TempDir(), "instance.key"))
	if err != nil {
		t.Fatal(err)
	}
	c := identity.MicrosoftConfig{ClientID: app, ClientSecret: "s3cret", Authority: d.server.URL, Redirect: "https://sell.example/azure/signed-in"}
	if change != nil {
		change(&c)
	}
	if d.m, err = c.Open(d.server.Client(), keys, func() time.Time { return businessNow }, func() time.Time { return d.wall }); err != nil {
		t.Fatal(err)
	}
	return d
}

// token is genuine but for what the test changed.
func (d *directory) token() string {
	claims := map[string]any{
		"aud": app, "iss": d.name(tenant), "tid": tenant, "oid": object, "sub": "s", "email": "Jane@example.com", "preferred_username": "jane@x.example",
		"iat": businessNow.Unix(), "nbf": businessNow.Unix(), "exp": businessNow.Add(time.Hour).Unix(),
	}
	maps.Copy(claims, d.claims)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	key := jose.SigningKey{Algorithm: jose.RS256, Key: d.key}
	if d.hmac {
		key = jose.SigningKey{Algorithm: jose.HS256, Key: x509.MarshalPKCS1PublicKey(&signingKeys()[0].PublicKey)}
	}
	signer, err := jose.NewSigner(key, (&jose.SignerOptions{}).WithHeader("kid", "k"))
	if err != nil {
		d.t.Fatal(err)
	}
	raw, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		d.t.Fatal(err)
	}
	return raw
}

// begin starts a sign-in; the token will carry its nonce unless another is set.
func (d *directory) begin() (a identity.Attempt, sent url.Values) {
	d.t.Helper()
	a, err := d.m.Begin("claim-token", false)
	if err != nil {
		d.t.Fatal(err)
	}
	u, err := url.Parse(a.Address)
	if err != nil {
		d.t.Fatal(err)
	}
	if _, set := d.claims["nonce"]; !set {
		d.claims["nonce"] = u.Query().Get("nonce")
	}
	return a, u.Query()
}

func holding(as ...identity.Attempt) func(string) string {
	return func(name string) string {
		for _, a := range as {
			if a.Name == name {
				return a.Value
			}
		}
		return ""
	}
}

func TestASignInComesBackAsWhoItIs(t *testing.T) {
	t.Parallel()
	d := newDirectory(t, nil)
	a, sent := d.begin()
	for name, want := range map[string]string{
		"client_id": app, "response_type": "code", "scope": "openid profile email", "redirect_uri": "https://sell.example/azure/signed-in", "code_challenge_method": "S256", "prompt": "",
	} {
		if sent.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, sent.Get(name), want)
		}
	}
	if strings.Contains(a.Address+a.Value, "claim-token") || !strings.HasPrefix(a.Address, d.server.URL+"/common/oauth2/v2.0/authorize?") {
		t.Errorf("the visit is in the open: %+v", a)
	}
	another, _ := d.m.Begin("another-visit", true)
	if !strings.Contains(another.Address, "prompt=select_account") || another.Name == a.Name {
		t.Errorf("another attempt: %+v", another)
	}
	visit, who, err := d.m.Finish(t.Context(), url.Values{"state": sent["state"], "code": {"c"}}, holding(another, a))
	if err != nil || visit != "claim-token" || who.ID != tenant+"/"+strings.ToLower(object) || who.Address != "Jane@example.com" {
		t.Fatalf("visit %q, %+v, %v", visit, who, err)
	}
	sum := sha256.Sum256([]byte(d.form.Get("code_verifier")))
	if base64.RawURLEncoding.EncodeToString(sum[:]) != sent.Get("code_challenge") || d.form.Get("client_secret") != "s3cret" || d.form.Get("code") != "c" {
		t.Errorf("redeemed with %v", d.form)
	}
}

// Personal accounts share one tenant; the object tells them apart.
func TestAPersonalAccount(t *testing.T) {
	t.Parallel()
	d := newDirectory(t, nil)
	d.claims["tid"], d.claims["iss"], d.claims["oid"], d.claims["email"] = personal, d.name(personal), "00000000-0000-0000-3C1D-0F0A26B474E8", nil
	a, sent := d.begin()
	_, who, err := d.m.Finish(t.Context(), url.Values{"state": sent["state"], "code": {"c"}}, holding(a))
	if err != nil || who.ID != personal+"/00000000-0000-0000-3c1d-0f0a26b474e8" || who.Address != "" {
		t.Fatalf("%+v %v", who, err)
	}
}

func TestOnlyAGenuineTokenIsTaken(t *testing.T) {
	t.Parallel()
	for name, lie := range map[string]func(d *directory){
		"another key":                 func(d *directory) { d.key = signingKeys()[1] },
		"the public key as a secret":  func(d *directory) { d.hmac = true },
		"another audience":            func(d *directory) { d.claims["aud"] = stranger },
		"another nonce":               func(d *directory) { d.claims["nonce"] = "of another sign-in" },
		"no nonce":                    func(d *directory) { d.claims["nonce"] = nil },
		"expired":                     func(d *directory) { d.claims["exp"] = businessNow.Add(-time.Second).Unix() },
		"not yet":                     func(d *directory) { d.claims["nbf"] = businessNow.Add(time.Hour).Unix() },
		"another tenant's issuer":     func(d *directory) { d.claims["iss"] = d.name(stranger) },
		"another tenant":              func(d *directory) { d.claims["tid"] = stranger },
		"the shared name":             func(d *directory) { d.claims["iss"] = d.name("{tenantid}") },
		"a tenant that is a path":     func(d *directory) { d.claims["tid"] = "../keys" },
		"no tenant":                   func(d *directory) { d.claims["tid"] = nil },
		"nobody":                      func(d *directory) { d.claims["oid"] = nil },
		"a key of personal accounts":  func(d *directory) { d.keyOf = d.name(personal) },
		"a directory of another name": func(d *directory) { d.issuer = d.name(stranger) },
		"an unknown tenant": func(d *directory) {
			d.answer = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, tenant) {
					return false
				}
				w.WriteHeader(http.StatusBadRequest)
				return true
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDirectory(t, nil)
			lie(d)
			a, sent := d.begin()
			visit, who, err := d.m.Finish(t.Context(), url.Values{"state": sent["state"], "code": {"c"}}, holding(a))
			if !fault.Is(err, fault.Forged) || who != (identity.Person{}) || visit != "claim-token" {
				t.Errorf("visit %q, %+v, %v", visit, who, err)
			}
		})
	}
	d := newDirectory(t, nil) // the same keys, of an issuer that is named by template
	d.keyOf = d.name("{tenantid}")
	a, sent := d.begin()
	if _, _, err := d.m.Finish(t.Context(), url.Values{"state": sent["state"], "code": {"c"}}, holding(a)); err != nil {
		t.Error(err)
	}
}

func TestASignInThatCannotBeTaken(t *testing.T) {
	t.Parallel()
	down := func(status int, path, body string) func(*directory) {
		return func(d *directory) {
			d.answer = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, path) {
					return false
				}
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(status)
				_, _ = w.Write([]byte(body))
				return true
			}
		}
	}
	says := func(code, description string) url.Values {
		return url.Values{"error": {code}, "error_description": {description}}
	}
	for name, c := range map[string]struct {
		change func(*directory)
		answer url.Values
		keep   func(identity.Attempt) identity.Attempt
		class  fault.Class
		visit  string
	}{
		"declined":                 {answer: says("access_denied", "AADSTS65004: User declined to consent."), class: fault.Denied, visit: "claim-token"},
		"cancelled":                {answer: says("access_denied", "The user cancelled."), class: fault.Denied, visit: "claim-token"},
		"nobody signed in":         {answer: says("login_required", "AADSTS50058"), class: fault.Denied, visit: "claim-token"},
		"an administrator":         {answer: says("access_denied", "AADSTS90094: The grant requires admin permission."), class: fault.Refused, visit: "claim-token"},
		"consent":                  {answer: says("consent_required", ""), class: fault.Refused, visit: "claim-token"},
		"not assigned":             {answer: says("invalid_client", "AADSTS50105: not assigned to a role"), class: fault.Refused, visit: "claim-token"},
		"their trouble":            {answer: says("temporarily_unavailable", "AADSTS90033"), class: fault.Unavailable, visit: "claim-token"},
		"our registration":         {answer: says("unauthorized_client", "AADSTS700016: jane@example.com"), class: "", visit: "claim-token"},
		"no cookie":                {keep: func(identity.Attempt) identity.Attempt { return identity.Attempt{} }, class: fault.Gone},
		"a cookie of another name": {keep: func(a identity.Attempt) identity.Attempt { a.Value = "AAAA"; return a }, class: fault.Gone},
		"took too long":            {change: func(d *directory) { d.wall = d.wall.Add(16 * time.Minute) }, class: fault.Gone, visit: "claim-token"},
		"spent":                    {change: down(400, "/token", `{"error":"invalid_grant","error_description":"AADSTS54005: already redeemed"}`), class: fault.Conflict, visit: "claim-token"},
		"consent at the end":       {change: down(400, "/token", `{"error":"invalid_grant","error_description":"AADSTS65001: has not consented"}`), class: fault.Refused, visit: "claim-token"},
		"our secret":               {change: down(401, "/token", `{"error":"invalid_client","error_description":"AADSTS7000215"}`), class: "", visit: "claim-token"},
		"the token endpoint":       {change: down(503, "/token", `{}`), class: fault.Unavailable, visit: "claim-token"},
		"no id token":              {change: down(200, "/token", `{"access_token":"a","token_type":"Bearer"}`), class: fault.Forged, visit: "claim-token"},
		"the directory":            {change: down(503, "/openid-configuration", `{}`), class: fault.Unavailable, visit: "claim-token"},
		"the keys":                 {change: down(500, "/keys", `no`), class: fault.Unavailable, visit: "claim-token"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDirectory(t, nil)
			a, sent := d.begin()
			if c.change != nil {
				c.change(d)
			}
			if c.keep != nil {
				name := a.Name
				a = c.keep(a)
				a.Name = name
			}
			answer := url.Values{"state": sent["state"], "code": {"c"}}
			if c.answer != nil {
				answer = url.Values{"state": sent["state"]}
				maps.Copy(answer, c.answer)
			}
			visit, who, err := d.m.Finish(t.Context(), answer, holding(a))
			if err == nil || fault.ClassOf(err) != c.class || visit != c.visit || who != (identity.Person{}) {
				t.Fatalf("visit %q, %+v, class %q: %v", visit, who, fault.ClassOf(err), err)
			}
			if strings.Contains(err.Error(), "@") {
				t.Errorf("the error holds an address: %v", err)
			}
		})
	}
}

// A cookie is good for the state it was made with and for no other one.
func TestACookieBelongsToItsState(t *testing.T) {
	t.Parallel()
	d := newDirectory(t, nil)
	a, _ := d.begin()
	b, sent := d.begin()
	mixed := identity.Attempt{Name: b.Name, Value: a.Value}
	longer := url.Values{"state": {sent.Get("state") + "x"}, "code": {"c"}}
	for name, try := range map[string]func() (string, identity.Person, error){
		"another attempt's": func() (string, identity.Person, error) {
			return d.m.Finish(t.Context(), url.Values{"state": sent["state"], "code": {"c"}}, holding(mixed))
		},
		"a longer state": func() (string, identity.Person, error) { return d.m.Finish(t.Context(), longer, holding(b)) },
		"no state":       func() (string, identity.Person, error) { return d.m.Finish(t.Context(), url.Values{}, holding(a, b)) },
	} {
		if visit, _, err := try(); !fault.Is(err, fault.Gone) || visit != "" {
			t.Errorf("%s: %q %v", name, visit, err)
		}
	}
}

// The app proves itself by a certificate or by its platform's token, if it has no secret.
func TestTheAppProvesItself(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "token")
	if err := os.WriteFile(file, []byte("a.platform.token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	certificate, key := newCertificate(t)
	for name, c := range map[string]func(*identity.MicrosoftConfig){
		"federated":   func(c *identity.MicrosoftConfig) { c.ClientSecret, c.FederatedTokenFile = "", file },
		"certificate": func(c *identity.MicrosoftConfig) { c.ClientSecret, c.Certificate = "", certificate },
	} {
		d := newDirectory(t, c)
		a, sent := d.begin()
		if _, _, err := d.m.Finish(t.Context(), url.Values{"state": sent["state"], "code": {"c"}}, holding(a)); err != nil {
			t.Fatal(name, err)
		}
		assertion := d.form.Get("client_assertion")
		if d.form.Has("client_secret") || d.form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
			t.Errorf("%s: %v", name, d.form)
		}
		if name == "federated" {
			if assertion != "a.platform.token" {
				t.Errorf("%s: %q", name, assertion)
			}
			continue
		}
		parsed, err := jwt.ParseSigned(assertion, []jose.SignatureAlgorithm{jose.PS256})
		if err != nil {
			t.Fatal(err)
		}
		var claims jwt.Claims
		if err := parsed.Claims(&key.PublicKey, &claims); err != nil {
			t.Fatal(err)
		}
		if err := claims.Validate(jwt.Expected{Issuer: app, Subject: app, AnyAudience: jwt.Audience{d.server.URL + "/common/oauth2/v2.0/token"}, Time: d.wall}); err != nil {
			t.Error(err)
		}
		block, _ := pem.Decode(certificate)
		sum := sha256.Sum256(block.Bytes)
		if parsed.Headers[0].ExtraHeaders["x5t#S256"] != base64.RawURLEncoding.EncodeToString(sum[:]) {
			t.Errorf("headers %+v", parsed.Headers[0])
		}
	}
	if _, err := (identity.MicrosoftConfig{ClientID: app, Certificate: []byte("no")}).Open(http.DefaultClient, nil, nil, nil); err == nil {
		t.Error("a file without a certificate was taken")
	}
}

// newCertificate is a self-signed certificate with its key, as a vault gives it.
func newCertificate(t *testing.T) ([]byte, *rsa.PrivateKey) {
	t.Helper()
	key := signingKeys()[1]
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sign-in"}, NotAfter: time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...), key
}
