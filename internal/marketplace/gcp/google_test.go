package gcp_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/goleak"

	"github.com/tailmarket/tailmarket/internal/marketplace/gcp"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// A library of the Pub/Sub client starts it when the program starts, and never ends it.
		goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"),
		// It sees that its subscription was closed when its next timer goes off.
		goleak.IgnoreTopFunction("cloud.google.com/go/pubsub/v2.(*messageIterator).streamKeepAliveHandler"),
	)
}

// What the tests sell, and to whom.
const (
	product      = "tailnet"
	service      = "tailnet.endpoints.tailvendor-public.cloud.goog"
	users        = service + "/standard_users"
	requests     = service + "/standard_requests"
	provider     = "tailvendor-public"
	subscription = "projects/tailvendor-prod/subscriptions/marketplace-push"
	pulled       = "projects/tailvendor-prod/subscriptions/marketplace-pull"
	pushAudience = "https://tailnets.example/gcp/events"
	pushAccount  = "pubsub-push@tailvendor-prod.iam.gserviceaccount.com"
	signUpDomain = "signup.tailvendor.example"
	account      = "3c1f0d52-7a0e-4a2b-9a44-5e0b6d2f9c11"
	entitlement  = "b7d7b3d0-0000-4000-8000-000000000001"
	consumer     = "project_number:69700000001"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// google is what tests put in Google's place: its keys, and an API that answers as
// the test says.
type google struct {
	*httptest.Server

	mu       sync.Mutex
	answer   func(w http.ResponseWriter, r *http.Request, body []byte)
	asked    []asked
	keys     map[string]*rsa.PrivateKey // published, by id
	maxAge   string
	keysDown bool
	fetches  int
	now      time.Time
}

// asked is one API call.
type asked struct{ Method, Path, Query, Body string }

func open(t testing.TB) *google {
	t.Helper()
	g := &google{keys: map[string]*rsa.PrivateKey{"key-1": keyPair(t, 1)}, maxAge: "public, max-age=19800", now: noon}
	g.Server = httptest.NewServer(http.HandlerFunc(g.serve))
	t.Cleanup(g.Close)
	return g
}

func (g *google) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	g.mu.Lock()
	if strings.HasPrefix(r.URL.Path, "/robot/") || strings.HasPrefix(r.URL.Path, "/oauth2/") {
		defer g.mu.Unlock()
		g.serveKeys(w, r)
		return
	}
	q := r.URL.Query()
	q.Del("alt")
	q.Del("prettyPrint")
	g.asked = append(g.asked, asked{r.Method, r.URL.Path, q.Encode(), string(bytes.TrimSpace(body))})
	answer := g.answer
	g.mu.Unlock()
	if answer == nil {
		http.Error(w, "the test says nothing of this", http.StatusTeapot)
		return
	}
	answer(w, r, body)
}

func (g *google) serveKeys(w http.ResponseWriter, r *http.Request) {
	g.fetches++
	if g.keysDown {
		http.Error(w, "try later", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Cache-Control", g.maxAge)
	if strings.HasPrefix(r.URL.Path, "/robot/v1/metadata/x509/cloud-commerce-partner@") {
		out := map[string]string{}
		for id, key := range g.keys {
			out[id] = certificate(key)
		}
		answer(w, 200, text(out))
		return
	}
	var set jose.JSONWebKeySet
	for id, key := range g.keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: &key.PublicKey, KeyID: id, Algorithm: "RS256", Use: "sig"})
	}
	answer(w, 200, text(set))
}

// says sets what the API answers to everything.
func (g *google) says(status int, body string) {
	g.does(func(w http.ResponseWriter, _ *http.Request, _ []byte) { answer(w, status, body) })
}

// does sets how the API answers.
func (g *google) does(f func(w http.ResponseWriter, r *http.Request, body []byte)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answer, g.asked = f, nil
}

// calls are the API calls since says or does.
func (g *google) calls() []asked {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]asked(nil), g.asked...)
}

// set changes g under its lock.
func (g *google) set(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f()
}

func (g *google) clock() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.now
}

func answer(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

// refusal is Google's standard error body.
func refusal(code int, status string) string {
	return text(map[string]any{"error": map[string]any{"code": code, "message": "because", "status": status}})
}

// text is JSON.
func text(v any) string {
	out, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(out)
}

func settings() gcp.Config {
	return gcp.Config{
		Provider: provider, Audiences: []string{signUpDomain, "signup2.tailvendor.example"}, PullSubscription: pulled,
		PushSubscription: subscription, PushAudience: pushAudience, PushAccount: pushAccount,
		Anonymous: true, ResendFor: 50 * time.Minute,
		Listings: []gcp.Listing{
			{Product: product, Service: service, Metrics: []string{users, requests}},
			{Product: "minutes", Service: "minutes.endpoints.tailvendor-public.cloud.goog", Metrics: []string{"minutes/used"}, Double: true},
		},
	}
}

func (g *google) adapter(t testing.TB) *gcp.Adapter {
	t.Helper()
	c := settings()
	c.Endpoint = g.URL
	return g.reopen(t, c)
}

func (g *google) reopen(t testing.TB, c gcp.Config) *gcp.Adapter {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	a, err := c.Open(t.Context(), &http.Client{Transport: transport, Timeout: 20 * time.Second}, slog.New(slog.DiscardHandler), g.clock)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

var (
	pairsMu sync.Mutex
	pairs   = map[int]*rsa.PrivateKey{}
)

// keyPair is the nth of the process; making one takes long.
func keyPair(t testing.TB, n int) *rsa.PrivateKey {
	t.Helper()
	pairsMu.Lock()
	defer pairsMu.Unlock()
	if pairs[n] == nil {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		pairs[n] = key
	}
	return pairs[n]
}

func certificate(key *rsa.PrivateKey) string {
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "cloud-commerce-partner"}, NotBefore: noon.Add(-time.Hour), NotAfter: noon.AddDate(0, 1, 0)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// signed is a token of these claims.
func signed(t testing.TB, key any, algorithm jose.SignatureAlgorithm, id string, claims map[string]any) string {
	t.Helper()
	options := &jose.SignerOptions{}
	if id != "" {
		options = options.WithHeader("kid", id)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	object, err := s.Sign(text)
	if err != nil {
		t.Fatal(err)
	}
	token, err := object.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// with is claims with some changed; a nil value leaves one out.
func with(claims, change map[string]any) map[string]any {
	out := maps.Clone(claims)
	for k, v := range change {
		if v == nil {
			delete(out, k)
		} else {
			out[k] = v
		}
	}
	return out
}

func signUpClaims() map[string]any {
	return map[string]any{
		"iss": "https://www.googleapis.com/robot/v1/metadata/x509/cloud-commerce-partner@system.gserviceaccount.com",
		"iat": noon.Unix(), "exp": noon.Add(5 * time.Minute).Unix(), "aud": signUpDomain, "sub": account,
		"google": map[string]any{"user_identity": "108200000000000000001", "roles": []string{"account_admin"}},
	}
}

func pushClaims() map[string]any {
	return map[string]any{
		"iss": "https://accounts.google.com", "aud": pushAudience, "sub": "1170", "azp": "1170", "email": pushAccount, "email_verified": true,
		"iat": noon.Unix(), "exp": noon.Add(time.Hour).Unix(),
	}
}

// privatePEM is the first key pair, as a service account's key file has it.
func privatePEM(t testing.TB) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(keyPair(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}
