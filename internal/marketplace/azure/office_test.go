package azure_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/goleak"

	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/marketplace/azure"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	product   = "tailnet"
	tenant    = "11110000-0000-4000-8000-000000000001"
	app       = "22220000-0000-4000-8000-000000000002"
	sub       = "45f30000-0000-4000-8000-000000000003"
	op        = "7c1e0000-0000-4000-8000-000000000001"
	buyer     = "33330000-0000-4000-8000-000000000004"
	reseller  = "44440000-0000-4000-8000-000000000005"
	microsoft = "20e940b3-4c77-4b0b-9a53-9e16a1b010a7"

	onSub = "/api/saas/subscriptions/" + sub
	onOp  = onSub + "/operations/" + op
)

var now = time.Date(2026, 11, 20, 19, 0, 0, 0, time.UTC)

// signers are two keys, made once: making one is slow.
var signers = sync.OnceValue(func() [2]*rsa.PrivateKey {
	var out [2]*rsa.PrivateKey
	for i := range out {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		out[i] = key
	}
	return out
})

// office is a Microsoft that says what a test wants: directory and marketplace
// behind one address. What a test does not set is answered with 404.
type office struct {
	t   testing.TB
	srv *httptest.Server

	mu     sync.Mutex
	says   map[string]http.HandlerFunc // by "METHOD path"
	calls  map[string]int
	keys   []jose.JSONWebKey // published
	tokens int
}

func open(t testing.TB) *office {
	t.Helper()
	o := &office{t: t, says: map[string]http.HandlerFunc{}, calls: map[string]int{}}
	o.publish("key-1")
	o.srv = httptest.NewTLSServer(o)
	o.srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	t.Cleanup(o.srv.Close)
	for path, version := range map[string]string{"/" + tenant: "", "/" + tenant + "/v2.0": "/v2.0"} {
		o.answer("GET "+path+"/.well-known/openid-configuration", http.StatusOK, map[string]string{
			"issuer": o.issuer(version), "jwks_uri": o.srv.URL + "/keys", "token_endpoint": o.srv.URL + "/" + tenant + "/oauth2/v2.0/token",
			"authorization_endpoint": o.srv.URL + "/" + tenant + "/oauth2/v2.0/authorize",
		})
	}
	o.handle("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		o.mu.Lock()
		defer o.mu.Unlock()
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: o.keys})
	})
	o.handle("POST /"+tenant+"/oauth2/v2.0/token", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("client_id") != app || r.FormValue("client_secret") != "secret" || !strings.Contains(r.FormValue("scope"), microsoft+"/.default") {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		o.mu.Lock()
		o.tokens++
		n := o.tokens
		o.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"token_type":"Bearer","expires_in":3599,"ext_expires_in":3599,"access_token":"token-%d"}`, n)
	})
	return o
}

// issuer as the directory writes it: version 1 with a slash at the end.
func (o *office) issuer(version string) string {
	if version == "" {
		return o.srv.URL + "/sts/" + tenant + "/"
	}
	return o.srv.URL + "/" + tenant + version
}

func (o *office) publish(ids ...string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.keys = nil
	for i, id := range ids {
		o.keys = append(o.keys, jose.JSONWebKey{Key: signers()[i].Public(), KeyID: id, Use: "sig", Algorithm: "RS256"})
	}
}

func (o *office) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := r.Method + " " + r.URL.Path
	o.mu.Lock()
	o.calls[name]++
	h := o.says[name]
	o.mu.Unlock()
	if strings.HasPrefix(r.URL.Path, "/api/") && (r.Header.Get("Authorization") == "" || r.URL.Query().Get("api-version") != "2018-08-31" || r.Header.Get("X-Ms-Requestid") == "") {
		o.t.Errorf("%s came without authorization, version or request id", name)
	}
	if h == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	h(w, r)
}

func (o *office) handle(name string, h http.HandlerFunc) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.says[name] = h
}

// turn is one answer: a status, and JSON text or a value that becomes it.
type turn struct {
	status int
	body   any
}

// answer sets a fixed answer.
func (o *office) answer(name string, status int, body any) { o.handle(name, o.say(turn{status, body})) }

func (o *office) say(is turn) http.HandlerFunc {
	text, ok := is.body.(string)
	if !ok {
		b, err := json.Marshal(is.body)
		if err != nil {
			o.t.Fatal(err)
		}
		text = string(b)
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(is.status)
		_, _ = io.WriteString(w, text)
	}
}

// plays answers turn by turn; the last one repeats.
func (o *office) plays(name string, turns ...turn) {
	var n atomic.Int64
	o.handle(name, func(w http.ResponseWriter, r *http.Request) {
		o.say(turns[min(int(n.Add(1)), len(turns))-1])(w, r)
	})
}

// count is how often a path was called, or everything of the marketplace's.
func (o *office) count(name string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if name != "" {
		return o.calls[name]
	}
	n := 0
	for k, v := range o.calls {
		if strings.Contains(k, " /api/") {
			n += v
		}
	}
	return n
}

func (o *office) config() azure.Config {
	return azure.Config{
		TenantID: tenant, ClientID: app, ClientSecret: "secret", Authority: o.srv.URL, Endpoint: o.srv.URL + "/api", PublisherID: "acme",
		Listings: []azure.Listing{{Product: product, OfferID: "tailnet-offer", Dimensions: []string{"api_request", "active_user"}}},
	}
}

func (o *office) adapter() *azure.Adapter { return o.at(func() time.Time { return now }) }

func (o *office) at(now func() time.Time) *azure.Adapter {
	o.t.Helper()
	a, err := o.config().Open(o.srv.Client(), slog.New(slog.DiscardHandler), now)
	if err != nil {
		o.t.Fatal(err)
	}
	return a
}

// claims are a good token's, of a version.
func (o *office) claims(version string) map[string]any {
	c := map[string]any{
		"aud": app, "tid": tenant, "ver": version, "oid": "x", "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
	if version == "1.0" {
		c["iss"], c["appid"] = o.issuer(""), microsoft
	} else {
		c["iss"], c["azp"] = o.issuer("/v2.0"), microsoft
	}
	return c
}

// sign makes a token; nil values take claims away.
func (o *office) sign(claims, change map[string]any, key int, id string) string {
	o.t.Helper()
	claims = maps.Clone(claims)
	for k, v := range change {
		if claims[k] = v; v == nil {
			delete(claims, k)
		}
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		o.t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: signers()[key], KeyID: id}}, nil)
	if err != nil {
		o.t.Fatal(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		o.t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		o.t.Fatal(err)
	}
	return token
}

// delivery is a webhook with a good token.
func (o *office) delivery(body any) marketplace.Delivery {
	o.t.Helper()
	return o.deliver(body, "Bearer "+o.sign(o.claims("2.0"), nil, 0, "key-1"))
}

func (o *office) deliver(body any, authorization string) marketplace.Delivery {
	o.t.Helper()
	text, ok := body.(string)
	if !ok {
		b, err := json.Marshal(body)
		if err != nil {
			o.t.Fatal(err)
		}
		text = string(b)
	}
	return marketplace.Delivery{
		Marketplace: marketplace.Azure, Channel: marketplace.HTTPS, Body: []byte(text), ReceivedAt: now, Source: "/azure/events",
		Header: map[string]string{"authorization": authorization},
	}
}

// with is a JSON object with some members changed; nil takes one away.
func with(object map[string]any, change map[string]any) map[string]any {
	out := maps.Clone(object)
	for k, v := range change {
		if out[k] = v; v == nil {
			delete(out, k)
		}
	}
	return out
}

// webhook is a ChangePlan in the full form of "Implementing a webhook on the SaaS
// service", 2026; operation is what the API says of it.
var (
	webhook = map[string]any{
		"id": op, "activityId": "91aa0000-0000-4000-8000-000000000002", "publisherId": "acme", "offerId": "tailnet-offer", "planId": "premium",
		"quantity": 1, "subscriptionId": sub, "timeStamp": "2026-11-20T18:48:58.4449937Z", "action": "ChangePlan", "status": "InProgress",
		"operationRequestSource": "Azure", "subscription": with(subscription, map[string]any{"quantity": nil}), "purchaseToken": nil,
	}
	operation = map[string]any{
		"id": op, "activityId": op, "subscriptionId": sub, "offerId": "tailnet-offer", "publisherId": "acme", "planId": "premium", "quantity": "",
		"action": "ChangePlan", "timeStamp": "2026-11-20T18:48:58.4449937Z", "status": "InProgress", "errorStatusCode": "", "errorMessage": "",
	}
	subscription = map[string]any{
		"id": sub, "name": "Acme tailnet", "publisherId": "acme", "offerId": "tailnet-offer", "planId": "starter", "quantity": "",
		"beneficiary":               map[string]any{"emailId": "ops@customer.example", "objectId": "aa", "tenantId": buyer, "puid": nil},
		"purchaser":                 map[string]any{"emailId": "buy@customer.example", "objectId": "aa", "tenantId": buyer, "puid": nil},
		"allowedCustomerOperations": []string{"Delete", "Update", "Read"}, "sessionMode": "None", "isFreeTrial": false, "isTest": false, "sandboxType": "None",
		"saasSubscriptionStatus": "Subscribed", "autoRenew": true, "created": "2026-05-10T07:03:17.5098444Z", "lastModified": "2026-11-01T19:48:06.0754649Z",
		"term": map[string]any{"startDate": "2026-11-01T00:00:00Z", "endDate": "2026-11-30T00:00:00Z", "termUnit": "P1M", "chargeDuration": nil},
	}
)
