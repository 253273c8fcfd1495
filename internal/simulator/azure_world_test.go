package simulator_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/tailmarket/tailmarket/internal/simulator"
)

const (
	marketplaceApp = "20e940b3-4c77-4b0b-9a53-9e16a1b010a7"
	subscriptions  = "/saas/subscriptions"
)

// azureWorld is a simulator and a publisher who checks webhooks with somebody else's library, asks for tokens with the
// vendor's own, and calls the APIs by hand.
type azureWorld struct {
	t     *testing.T
	sim   *simulator.Simulator
	http  *http.Client
	creds azcore.TokenCredential
	app   *httptest.Server
	keys  *oidc.RemoteKeySet

	mu       sync.Mutex
	hooks    []hook
	forged   int
	answer   func(h hook) int // what the webhook's endpoint says; nil: 200
	landings []string
	sessions map[string]*session
	mails    map[string]string
}

type hook struct {
	ID, Action, Status, PlanID, SubscriptionID, TimeStamp, OperationType string
	Quantity                                                             any
	Subscription                                                         map[string]any
	body                                                                 map[string]any
	claims                                                               map[string]any
}

func azureSetup(t *testing.T, o simulator.Options) *azureWorld {
	t.Helper()
	sim := bare(t, o)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(sim.CAPEM())
	w := &azureWorld{t: t, sim: sim, sessions: map[string]*session{}, mails: map[string]string{}}
	w.http = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
	w.creds = w.login(sim.Options().Azure.Client)
	ctx, cancel := context.WithCancel(oidc.ClientContext(context.Background(), w.http))
	w.keys = oidc.NewRemoteKeySet(ctx, sim.AzureURL()+"/"+sim.Options().Azure.Tenant+"/discovery/v2.0/keys")
	mux := http.NewServeMux()
	mux.HandleFunc("POST /azure/events", w.takeHook)
	mux.HandleFunc("GET /azure/register", w.land)
	mux.HandleFunc("GET /claim/{id}", w.page)
	mux.HandleFunc("POST /claim/{id}/{step}", w.step)
	mux.HandleFunc("GET /confirm/{id}", func(rw http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(rw, `<body><form method="post" data-step="confirm" action="/claim/%s/confirm"><button>Yes</button></form>`, r.PathValue("id"))
	})
	w.app = httptest.NewServer(mux)
	sim.SetApp(w.app.URL)
	sim.SetMail(func(_ context.Context, email string) (string, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.mails[email], nil
	})
	report(t, sim, "r")
	t.Cleanup(func() {
		cancel()
		w.app.Close()
		w.http.CloseIdleConnections()
	})
	return w
}

// login is the vendor's own client credentials flow against the simulator's directory.
func (w *azureWorld) login(client string) azcore.TokenCredential {
	w.t.Helper()
	creds, err := azidentity.NewClientSecretCredential(w.sim.Options().Azure.Tenant, client, w.sim.Options().Azure.Secret, &azidentity.ClientSecretCredentialOptions{
		ClientOptions: azcore.ClientOptions{
			Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: w.sim.AzureURL() + "/"}, Transport: w.http,
			Retry: policy.RetryOptions{MaxRetries: -1},
		},
		DisableInstanceDiscovery: true,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return creds
}

func (w *azureWorld) bearer(ctx context.Context, creds azcore.TokenCredential) string {
	var token azcore.AccessToken
	var err error
	for range 4 { // by then it is definite
		if token, err = creds.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{marketplaceApp + "/.default"}}); err == nil {
			return "Bearer " + token.Token
		}
	}
	w.t.Errorf("token: %v", err)
	return ""
}

// answered is what an API said.
type answered struct {
	status int
	header http.Header
	text   string
	body   any
	err    error
}

func (a answered) at(path ...string) any {
	v := a.body
	for _, p := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[p]
	}
	return v
}

func (w *azureWorld) call(method, path, body string, headers ...string) answered {
	return w.callAs(w.creds, method, path, body, headers...)
}

func (w *azureWorld) callAs(creds azcore.TokenCredential, method, path, body string, headers ...string) answered {
	address := w.sim.AzureURL() + "/api" + path
	if !strings.Contains(path, "api-version=") {
		sep := "?"
		if strings.Contains(path, "?") {
			sep = "&"
		}
		address += sep + "api-version=2018-08-31"
	}
	r, err := http.NewRequestWithContext(context.Background(), method, address, strings.NewReader(body))
	if err != nil {
		return answered{err: err}
	}
	if creds != nil {
		r.Header.Set("Authorization", w.bearer(r.Context(), creds))
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := w.http.Do(r)
	if err != nil {
		return answered{err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	a := answered{status: resp.StatusCode, header: resp.Header, text: string(text), err: err}
	if len(text) > 0 {
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.UseNumber()
		if err := dec.Decode(&a.body); err != nil {
			w.t.Errorf("%s %s: not JSON: %v", method, path, err)
		}
	}
	return a
}

// must calls until there is an answer of this status, at most four times: by then it is definite.
func (w *azureWorld) must(status int, method, path, body string, headers ...string) answered {
	w.t.Helper()
	var a answered
	for range 4 {
		if a = w.call(method, path, body, headers...); a.status == status {
			return a
		}
	}
	w.t.Fatalf("%s %s: %d %s %v, want %d", method, path, a.status, a.text, a.err, status)
	return a
}

func (w *azureWorld) buy(p simulator.Purchase) simulator.Buyer {
	w.t.Helper()
	p.Marketplace = simulator.Azure
	b, err := w.sim.Buy(w.t.Context(), p)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// subscribed is a purchase by nobody in particular that is activated.
func (w *azureWorld) subscribed(p simulator.Purchase) simulator.Buyer {
	w.t.Helper()
	p.Habits = absent()
	b := w.buy(p)
	if b.Status != "Subscribed" {
		plan := w.must(200, "GET", subscriptions+"/"+b.Purchase, "").at("planId").(string)
		w.must(200, "POST", subscriptions+"/"+b.Purchase+"/activate", fmt.Sprintf(`{"planId":%q,"quantity":%s}`, plan, quantityText(p.Seats)))
		w.advance(5 * time.Minute)
	}
	if got := w.status(b); got != "Subscribed" {
		w.t.Fatalf("after activation: %s", got)
	}
	return b
}

func quantityText(n int64) string {
	if n == 0 {
		return "null"
	}
	return fmt.Sprintf("%q", fmt.Sprint(n))
}

func (w *azureWorld) status(b simulator.Buyer) string {
	w.t.Helper()
	s, _ := w.must(200, "GET", subscriptions+"/"+b.Purchase, "").at("saasSubscriptionStatus").(string)
	return s
}

func (w *azureWorld) advance(d time.Duration) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	if err := w.sim.Advance(ctx, w.sim.Now().Add(d)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *azureWorld) seen(action string) []hook {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []hook
	for _, h := range w.hooks {
		if action == "" || strings.EqualFold(h.Action+h.OperationType, action) {
			out = append(out, h)
		}
	}
	return out
}

func (w *azureWorld) answers(f func(hook) int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = f
}

// takeHook is a publisher's endpoint: nothing is believed before its token is.
func (w *azureWorld) takeHook(rw http.ResponseWriter, r *http.Request) {
	o := w.sim.Options().Azure
	text, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	payload, err := w.keys.VerifySignature(r.Context(), text)
	var claims map[string]any
	if err == nil {
		err = json.Unmarshal(payload, &claims)
	}
	caller, _ := claims["appid"].(string)
	if azp, ok := claims["azp"].(string); ok {
		caller = azp
	}
	issuers := map[string]any{"1.0": "https://sts.windows.net/" + o.Tenant + "/", "2.0": "https://login.microsoftonline.com/" + o.Tenant + "/v2.0"}
	expires, _ := claims["exp"].(float64)
	if err != nil || claims["aud"] != o.Client || claims["tid"] != o.Tenant || caller != marketplaceApp ||
		claims["iss"] != issuers[fmt.Sprint(claims["ver"])] || time.Unix(int64(expires), 0).Before(w.sim.Now()) {
		w.mu.Lock()
		w.forged++
		w.mu.Unlock()
		rw.WriteHeader(http.StatusUnauthorized)
		return
	}
	h := hook{claims: claims}
	body, _ := io.ReadAll(r.Body)
	if err := json.Unmarshal(body, &h); err != nil {
		w.t.Errorf("webhook: %v", err)
	}
	if err := json.Unmarshal(body, &h.body); err != nil {
		w.t.Errorf("webhook: %v", err)
	}
	w.mu.Lock()
	w.hooks = append(w.hooks, h)
	answer := w.answer
	w.mu.Unlock()
	if answer != nil {
		rw.WriteHeader(answer(h))
	}
}

// land resolves the token, activates what is not yet, and shows the buyer the claim page.
func (w *azureWorld) land(rw http.ResponseWriter, r *http.Request) {
	token := r.URL.Query().Get("token")
	w.mu.Lock()
	w.landings = append(w.landings, r.URL.RawQuery)
	w.mu.Unlock()
	var a answered
	for try := 0; try < 4 && a.status != 200 && a.status != 400; try++ {
		a = w.call("POST", subscriptions+"/resolve", "", "x-ms-marketplace-token", token)
	}
	id, _ := a.at("id").(string)
	if a.status != 200 {
		rw.WriteHeader(http.StatusGone)
		return
	}
	plan, _ := a.at("planId").(string)
	for range 4 {
		if got := w.call("POST", subscriptions+"/"+id+"/activate", fmt.Sprintf(`{"planId":%q}`, plan)); got.status == 200 || got.status == 400 {
			break
		}
	}
	w.mu.Lock()
	if w.sessions[id] == nil {
		w.sessions[id] = &session{}
	}
	w.mu.Unlock()
	http.Redirect(rw, r, "/claim/"+id, http.StatusSeeOther)
}

func (w *azureWorld) page(rw http.ResponseWriter, r *http.Request) {
	id, state := r.PathValue("id"), "awaiting_marketplace"
	for range 4 {
		if a := w.call("GET", subscriptions+"/"+id, ""); a.status == 200 {
			state = map[any]string{"Subscribed": "active", "Unsubscribed": "ended"}[a.at("saasSubscriptionStatus")]
			break
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.sessions[id]
	_, _ = fmt.Fprintf(rw, `<body data-state=%q>`, state)
	switch {
	case s.email == "":
		_, _ = fmt.Fprintf(rw, `<form method="post" data-step="email" action="/claim/%s/email"><input name="email"></form>`, id)
	case s.confirmed && state == "active" && !s.revealed:
		_, _ = fmt.Fprintf(rw, `<form method="post" data-step="reveal" action="/claim/%s/reveal"></form>`, id)
	}
}

func (w *azureWorld) step(rw http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	w.mu.Lock()
	s := w.sessions[id]
	switch r.PathValue("step") {
	case "email":
		s.email = r.PostFormValue("email")
		w.mails[s.email] = w.app.URL + "/confirm/" + id
	case "confirm":
		s.confirmed = true
	case "reveal":
		s.revealed = true
	}
	w.mu.Unlock()
	if r.PathValue("step") == "reveal" {
		_, _ = io.WriteString(rw, `<body data-state="active"><code id="join-key">tskey</code>`)
		return
	}
	http.Redirect(rw, r, "/claim/"+id, http.StatusSeeOther)
}

func calm(t *testing.T) *azureWorld {
	return azureSetup(t, simulator.Options{Weather: simulator.WeatherGood})
}

func (w *azureWorld) force(kind simulator.Kind, subject string) {
	w.sim.Force(simulator.Force{Kind: kind, Subject: subject})
}

func (w *azureWorld) tokenOf(b simulator.Buyer) string {
	w.t.Helper()
	token, err := w.sim.Token(b.Purchase)
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

func escaped(s string) string { return url.QueryEscape(s) }
