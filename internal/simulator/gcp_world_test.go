package simulator_test

import (
	"context"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"github.com/go-jose/go-jose/v4"
	"google.golang.org/api/cloudcommerceprocurement/v1"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"
	"google.golang.org/api/servicecontrol/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/tailmarket/tailmarket/internal/simulator"
)

const (
	gcpService  = "tailnet.endpoints.example-public.cloud.goog"
	gcpProvider = "providers/example-public"
	partnerX509 = "/robot/v1/metadata/x509/cloud-commerce-partner@system.gserviceaccount.com"
)

// gcpWorld is a simulator, an app that sells on Google, and Google's own clients without a retry.
type gcpWorld struct {
	*world
	procurement *cloudcommerceprocurement.Service
	control     *servicecontrol.Service

	mu      sync.Mutex
	events  []gcpEvent
	refuse  func(gcpEvent) int // status of a push; nil takes everything
	hold    bool               // the app does not approve anything
	stop    context.CancelFunc
	pulling sync.WaitGroup
}

type gcpEvent struct {
	EventID     string `json:"eventId"`
	EventType   string `json:"eventType"`
	ProviderID  string `json:"providerId"`
	Account     map[string]any
	Entitlement map[string]any
	messageID   string
	channel     string
}

// bearer adds the access token that every call needs.
type bearer struct{ next http.RoundTripper }

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer any")
	return b.next.RoundTrip(r)
}

type grpcBearer string

func (t grpcBearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(t)}, nil
}
func (t grpcBearer) RequireTransportSecurity() bool { return true }

func googleWorld(t *testing.T, o simulator.Options) *gcpWorld {
	t.Helper()
	g := &gcpWorld{world: setup(t, o)}
	hc := &http.Client{Transport: bearer{g.http.Transport}}
	var err error
	if g.procurement, err = cloudcommerceprocurement.NewService(t.Context(), option.WithHTTPClient(hc), option.WithEndpoint(g.sim.GCPURL()+"/")); err != nil {
		t.Fatal(err)
	}
	if g.control, err = servicecontrol.NewService(t.Context(), option.WithHTTPClient(hc), option.WithEndpoint(g.sim.GCPURL()+"/")); err != nil {
		t.Fatal(err)
	}
	g.app.mux.HandleFunc("POST /gcp/events", g.takePush)
	g.app.mux.HandleFunc("POST /gcp/register", g.register)
	t.Cleanup(g.pulling.Wait)
	return g
}

// tls trusts the simulator's authority.
func (g *gcpWorld) tls() *tls.Config {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(g.sim.CAPEM())
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

// pull receives with the vendor's library until the test is over.
func (g *gcpWorld) pull(handle func(context.Context, *pubsub.Message)) {
	g.t.Helper()
	client, err := pubsub.NewClient(g.t.Context(), "example-backend", option.WithEndpoint(strings.TrimPrefix(g.sim.GCPURL(), "https://")),
		option.WithoutAuthentication(), option.WithTelemetryDisabled(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(credentials.NewTLS(g.tls()))),
		option.WithGRPCDialOption(grpc.WithPerRPCCredentials(grpcBearer("any"))), option.WithGRPCConnectionPool(1))
	if err != nil {
		g.t.Fatal(err)
	}
	var ctx context.Context
	ctx, g.stop = context.WithCancel(context.Background())
	g.t.Cleanup(g.stop)
	g.pulling.Go(func() {
		defer func() { _ = client.Close() }()
		if err := client.Subscriber("marketplace-events").Receive(ctx, handle); err != nil {
			g.t.Errorf("receive: %v", err)
		}
	})
}

func (g *gcpWorld) keep(data []byte, id, channel string) gcpEvent {
	e := gcpEvent{messageID: id, channel: channel}
	if err := json.Unmarshal(data, &e); err != nil {
		g.t.Errorf("event is not JSON: %v", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.events = append(g.events, e)
	return e
}

// kinds are the event types seen about an entitlement or account, in order of arrival.
func (g *gcpWorld) kinds(id string) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []string
	for _, e := range g.events {
		if e.Entitlement["id"] == id || e.Account["id"] == id {
			out = append(out, e.EventType)
		}
	}
	return out
}

func (g *gcpWorld) takePush(w http.ResponseWriter, r *http.Request) {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if err := g.verifyPush(r.Context(), token); err != nil {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var in struct {
		Subscription string
		Message      struct {
			Data      []byte
			MessageID string `json:"messageId"`
		}
	}
	body, _ := io.ReadAll(r.Body)
	if err := json.Unmarshal(body, &in); err != nil || in.Subscription != g.sim.Options().GCP.Subscription {
		g.t.Errorf("push body %s: %v", body, err)
	}
	g.mu.Lock()
	refuse := g.refuse
	g.mu.Unlock()
	e := g.keep(in.Message.Data, in.Message.MessageID, "push")
	status := http.StatusNoContent
	if refuse != nil {
		status = refuse(e)
	}
	w.WriteHeader(status)
}

// verifyPush is the check that the reference asks for (gcp.md 3.4).
func (g *gcpWorld) verifyPush(ctx context.Context, token string) error {
	var set jose.JSONWebKeySet
	if err := g.read(ctx, "/oauth2/v3/certs", &set); err != nil {
		return err
	}
	var claims struct {
		Iss, Aud, Sub, Azp, Email string
		Verified                  bool `json:"email_verified"`
		Iat, Exp                  int64
	}
	kid, err := openJWT(token, &claims, func(kid string) any {
		for _, k := range set.Key(kid) {
			return k.Key
		}
		return nil
	})
	now := g.sim.Now().Unix()
	switch {
	case err != nil:
		return fmt.Errorf("key %s: %w", kid, err)
	case claims.Iss != "https://accounts.google.com", claims.Aud != g.app.URL+"/gcp/events", !claims.Verified,
		claims.Email != g.sim.Options().GCP.PushAccount, claims.Exp <= now, claims.Iat > now:
		return fmt.Errorf("claims %+v", claims)
	}
	return nil
}

// openJWT checks a token's signature by the key of its kid and reads its claims.
func openJWT(token string, claims any, key func(kid string) any) (kid string, err error) {
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return "", err
	}
	kid = jws.Signatures[0].Header.KeyID
	k := key(kid)
	if k == nil {
		return kid, errors.New("unknown key")
	}
	payload, err := jws.Verify(k)
	if err != nil {
		return kid, err
	}
	return kid, json.Unmarshal(payload, claims)
}

// read gets a JSON document that needs no token.
func (g *gcpWorld) read(ctx context.Context, path string, v any) error {
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, g.sim.GCPURL()+path, nil)
	resp, err := g.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Cache-Control") == "" {
		return fmt.Errorf("%s: %d", path, resp.StatusCode)
	}
	return json.NewDecoder(resp.Body).Decode(v)
}

// get reads a resource as it is written.
func (g *gcpWorld) get(path string, v any) error {
	req, _ := http.NewRequestWithContext(g.t.Context(), http.MethodGet, g.sim.GCPURL()+path, nil)
	resp, err := (&http.Client{Transport: bearer{g.http.Transport}}).Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	return json.NewDecoder(resp.Body).Decode(v)
}

type signUpClaims struct {
	Iss, Aud, Sub string
	Iat, Exp      int64
	Google        struct {
		UserIdentity string `json:"user_identity"`
		Roles        []string
		Orders       []any
	}
}

// openSignUp checks a sign-up token as the reference asks (gcp.md 1.5).
func (g *gcpWorld) openSignUp(ctx context.Context, token string) (claims signUpClaims, err error) {
	var certs map[string]string
	if err := g.read(ctx, partnerX509, &certs); err != nil {
		return claims, err
	}
	_, err = openJWT(token, &claims, func(kid string) any {
		block, _ := pem.Decode([]byte(certs[kid]))
		if block == nil {
			return nil
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil
		}
		return cert.PublicKey.(*rsa.PublicKey)
	})
	if now := g.sim.Now().Unix(); err == nil && (claims.Exp <= now || claims.Exp-claims.Iat != 300 ||
		claims.Iss != "https://www.googleapis.com"+partnerX509 || claims.Aud != "signup.tailvendor.example") {
		err = fmt.Errorf("claims %+v at %d", claims, now)
	}
	return claims, err
}

func (g *gcpWorld) register(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Cookie") != "" || r.Header.Get("Origin") != "https://console.cloud.google.com" || r.Header.Get("Sec-Fetch-Site") != "cross-site" {
		g.t.Errorf("not the console's cross-site POST: %v", r.Header)
	}
	claims, err := g.openSignUp(r.Context(), r.PostFormValue("x-gcp-marketplace-token"))
	if err != nil {
		w.WriteHeader(http.StatusGone)
		_, _ = io.WriteString(w, "start again from Google")
		return
	}
	g.mu.Lock()
	hold := g.hold
	g.mu.Unlock()
	if !hold {
		g.approveAll(r.Context(), claims.Sub)
	}
	g.app.mu.Lock()
	if g.app.sessions[claims.Sub] == nil {
		g.app.sessions[claims.Sub] = &session{}
	}
	g.app.mu.Unlock()
	http.SetCookie(w, &http.Cookie{Name: "s", Value: claims.Sub, Path: "/", SameSite: http.SameSiteLaxMode})
	http.Redirect(w, r, "/claim/"+claims.Sub, http.StatusSeeOther)
}

// approveAll approves an account and everything of it that waits, however often Google stumbles.
func (g *gcpWorld) approveAll(ctx context.Context, account string) {
	g.insist(func() error {
		_, err := g.procurement.Providers.Accounts.Approve(gcpProvider+"/accounts/"+account,
			&cloudcommerceprocurement.ApproveAccountRequest{ApprovalName: "signup"}).Context(ctx).Do()
		return err
	})
	for _, e := range g.list(ctx, `account="`+account+`" AND state=activation_requested`) {
		g.insist(func() error {
			_, err := g.procurement.Providers.Entitlements.Approve(e.Name, &cloudcommerceprocurement.ApproveEntitlementRequest{}).Context(ctx).Do()
			return err
		})
	}
}

func (g *gcpWorld) list(ctx context.Context, filter string) []*cloudcommerceprocurement.Entitlement {
	var out []*cloudcommerceprocurement.Entitlement
	for token := ""; ; {
		var page *cloudcommerceprocurement.ListEntitlementsResponse
		g.insist(func() (err error) {
			page, err = g.procurement.Providers.Entitlements.List(gcpProvider).Filter(filter).PageToken(token).Context(ctx).Do()
			return err
		})
		out = append(out, page.Entitlements...)
		if token = page.NextPageToken; token == "" {
			return out
		}
	}
}

// insist repeats a call while it is throttled or Google is in trouble; what is in the wrong state was done before.
func (g *gcpWorld) insist(do func() error) {
	for range 5 {
		switch err := do(); gcpCode(err) {
		case 0, http.StatusBadRequest:
			return
		case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		default:
			g.t.Errorf("call: %v", err)
			return
		}
	}
	g.t.Error("no definite answer in five tries")
}

// gcpCode is the HTTP status of an error; 0 for none and -1 for no answer.
func gcpCode(err error) int {
	var e *googleapi.Error
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return e.Code
	default:
		return -1
	}
}

// entitlement reads one, which must be there.
func (g *gcpWorld) entitlement(id string) *cloudcommerceprocurement.Entitlement {
	g.t.Helper()
	e, err := g.procurement.Providers.Entitlements.Get(gcpProvider + "/entitlements/" + id).Do()
	if err != nil {
		g.t.Fatal(err)
	}
	return e
}

// active buys and waits until the purchase is in service.
func (g *gcpWorld) active(p simulator.Purchase) simulator.Buyer {
	g.t.Helper()
	p.Marketplace, p.Habits = simulator.GCP, absent()
	b := g.buy(p)
	g.approveAll(g.t.Context(), b.Account)
	g.advance(2 * time.Minute)
	if e := g.entitlement(b.Purchase); e.State != "ENTITLEMENT_ACTIVE" {
		g.t.Fatalf("entitlement %+v", e)
	}
	return b
}

// gcpUsage is an operation of one unit metric over a window.
func gcpUsage(id, consumer, metric string, from, to time.Time, n int64) *servicecontrol.Operation {
	return &servicecontrol.Operation{
		OperationId: id, OperationName: "tailnet hourly usage", ConsumerId: consumer,
		StartTime: from.Format(time.RFC3339Nano), EndTime: to.Format(time.RFC3339Nano),
		MetricValueSets: []*servicecontrol.MetricValueSet{{
			MetricName: gcpService + "/" + metric, MetricValues: []*servicecontrol.MetricValue{{Int64Value: &n}},
		}},
	}
}

func (g *gcpWorld) report(ops ...*servicecontrol.Operation) (*servicecontrol.ReportResponse, error) {
	return g.control.Services.Report(gcpService, &servicecontrol.ReportRequest{Operations: ops}).Do()
}

// billed is what the bill says of a purchase's metric.
func (g *gcpWorld) billed(purchase, metric string) int64 {
	for _, l := range g.sim.Bill().Lines {
		if l.Marketplace == simulator.GCP && l.Purchase == purchase && l.Dimension == gcpService+"/"+metric {
			return l.Quantity
		}
	}
	return 0
}

func jwtPart(token string, i int) map[string]any {
	var out map[string]any
	body, _ := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[i])
	_ = json.Unmarshal(body, &out)
	return out
}
