package simulator_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/marketplaceagreement"
	"github.com/aws/aws-sdk-go-v2/service/marketplaceentitlementservice"
	"github.com/aws/aws-sdk-go-v2/service/marketplacemetering"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"go.uber.org/goleak"

	"github.com/tailmarket/tailmarket/internal/simulator"
)

// Google's client library brings goroutines that live as long as the process, or a while longer than its client.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"),
		goleak.IgnoreTopFunction("cloud.google.com/go/pubsub/v2.(*messageIterator).streamKeepAliveHandler"))
}

var start = time.Date(2026, 11, 3, 0, 0, 0, 0, time.UTC)

// world is a simulator, an app that obeys the page and clock contracts, and the vendor's own clients.
type world struct {
	t   *testing.T
	sim *simulator.Simulator
	app *fakeApp

	http        *http.Client
	metering    *marketplacemetering.Client
	entitlement *marketplaceentitlementservice.Client
	agreement   *marketplaceagreement.Client
	sqs         *sqs.Client
}

func setup(t *testing.T, o simulator.Options) *world {
	t.Helper()
	sim, err := simulator.New(o)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, sim: sim}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(sim.CAPEM()) {
		t.Fatal("the authority's certificate is not PEM")
	}
	w.http = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, MaxIdleConnsPerHost: 8}}
	w.use("AKIDEXAMPLE", "secret")
	w.app = newFakeApp(w)
	sim.SetApp(w.app.URL)
	sim.SetMail(w.app.readMail)
	t.Cleanup(func() {
		w.app.stop()
		w.http.CloseIdleConnections()
		sim.Close()
	})
	return w
}

// use makes clients that sign with these credentials and never retry.
func (w *world) use(key, secret string) {
	url := awssdk.String(w.sim.AWSURL())
	creds := credentials.NewStaticCredentialsProvider(key, secret, "")
	w.metering = marketplacemetering.New(marketplacemetering.Options{Region: "us-east-1", BaseEndpoint: url, Credentials: creds, HTTPClient: w.http, Retryer: awssdk.NopRetryer{}})
	w.entitlement = marketplaceentitlementservice.New(marketplaceentitlementservice.Options{Region: "us-east-1", BaseEndpoint: url, Credentials: creds, HTTPClient: w.http, Retryer: awssdk.NopRetryer{}})
	w.agreement = marketplaceagreement.New(marketplaceagreement.Options{Region: "us-east-1", BaseEndpoint: url, Credentials: creds, HTTPClient: w.http, Retryer: awssdk.NopRetryer{}})
	w.sqs = sqs.New(sqs.Options{Region: "us-east-1", BaseEndpoint: url, Credentials: creds, HTTPClient: w.http, Retryer: awssdk.NopRetryer{}})
}

// advance moves the clock by d and fails the test if it gets stuck.
func (w *world) advance(d time.Duration) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	if err := w.sim.Advance(ctx, w.sim.Now().Add(d)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) buy(p simulator.Purchase) simulator.Buyer {
	w.t.Helper()
	b, err := w.sim.Buy(w.t.Context(), p)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// buyer is the newest view of a buyer.
func (w *world) buyer(id string) simulator.Buyer {
	w.t.Helper()
	for _, b := range w.sim.Buyers() {
		if b.ID == id {
			return b
		}
	}
	w.t.Fatalf("no buyer %s", id)
	return simulator.Buyer{}
}

func absent() *simulator.Habits { return &simulator.Habits{Absent: true} }

// fakeApp is the smallest app that keeps the contracts: it takes events, shows the claim pages, reads the queue and
// reports idle. down makes it refuse everything, as a killed process would.
type fakeApp struct {
	*httptest.Server
	w      *world
	mux    *http.ServeMux // a marketplace's tests may add routes
	cancel context.CancelFunc
	loops  sync.WaitGroup

	mu       sync.Mutex
	down     bool
	watch    func(*http.Request)
	events   []event // as they came, over both channels
	tokens   []string
	sessions map[string]*session
	mails    map[string]string
	active   bool // what the status pages say
	idles    int
}

type event struct {
	ID         string `json:"id"`
	DetailType string `json:"detail-type"`
	Time       string `json:"time"`
	Detail     map[string]any
	raw        string
	channel    string
}

type session struct {
	email, name         string
	confirmed, revealed bool
}

func newFakeApp(w *world) *fakeApp {
	a := &fakeApp{w: w, sessions: map[string]*session{}, mails: map[string]string{}, active: true}
	mux := http.NewServeMux()
	a.mux = mux
	mux.HandleFunc("POST /aws/events", a.takeEvent)
	mux.HandleFunc("POST /aws/register", a.register)
	mux.HandleFunc("GET /claim/{id}", a.page)
	mux.HandleFunc("POST /claim/{id}/{step}", a.step)
	mux.HandleFunc("GET /confirm/{id}", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, `<body><form method="post" data-step="confirm" action="/claim/%s/confirm"><button>Yes</button></form>`, r.PathValue("id"))
	})
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		down, watch := a.down, a.watch
		a.mu.Unlock()
		if watch != nil {
			watch(r)
		}
		if down {
			panic(http.ErrAbortHandler)
		}
		mux.ServeHTTP(w, r)
	}))
	ctx, cancel := context.WithCancel(context.Background())
	a.cancel = cancel
	a.loops.Go(func() { a.reportIdle(ctx) })
	a.loops.Go(func() { a.readQueue(ctx) })
	return a
}

func (a *fakeApp) stop() {
	a.cancel()
	a.loops.Wait()
	a.Close()
}

func (a *fakeApp) setDown(down bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.down = down
}

func (a *fakeApp) reportIdle(ctx context.Context) {
	now := a.w.sim.Now()
	hc := &http.Client{Transport: &http.Transport{}}
	defer hc.CloseIdleConnections()
	for ctx.Err() == nil {
		body := fmt.Sprintf(`{"now":%q,"replica":"a"}`, now.Format(time.RFC3339Nano))
		req, _ := http.NewRequestWithContext(ctx, http.MethodPost, a.w.sim.ControlURL()+"/clock/idle", strings.NewReader(body))
		resp, err := hc.Do(req)
		if err != nil {
			continue
		}
		var out struct{ Now time.Time }
		_ = json.NewDecoder(resp.Body).Decode(&out)
		_ = resp.Body.Close()
		now = out.Now
		a.mu.Lock()
		a.idles++
		a.mu.Unlock()
	}
}

func (a *fakeApp) readQueue(ctx context.Context) {
	for ctx.Err() == nil {
		out, err := a.w.sqs.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: awssdk.String(a.w.sim.QueueURL()), MaxNumberOfMessages: 10, WaitTimeSeconds: 20})
		if err != nil {
			continue
		}
		for _, m := range out.Messages {
			a.keep(awssdk.ToString(m.Body), "sqs")
			_, err := a.w.sqs.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: awssdk.String(a.w.sim.QueueURL()), ReceiptHandle: m.ReceiptHandle})
			if err != nil && ctx.Err() == nil {
				a.w.t.Errorf("delete: %v", err)
			}
		}
	}
}

func (a *fakeApp) keep(body, channel string) {
	e := event{raw: body, channel: channel}
	if err := json.Unmarshal([]byte(body), &e); err != nil {
		a.w.t.Errorf("event is not JSON: %v", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.events = append(a.events, e)
}

func (a *fakeApp) seen() []event {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]event(nil), a.events...)
}

func (a *fakeApp) takeEvent(w http.ResponseWriter, r *http.Request) {
	header, key := a.w.sim.EventKey()
	if r.Header.Get(header) != key {
		a.w.t.Errorf("delivery without its key")
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	body, _ := io.ReadAll(r.Body)
	a.keep(string(body), "https")
}

func (a *fakeApp) register(w http.ResponseWriter, r *http.Request) {
	t := r.PostFormValue("x-amzn-marketplace-token")
	if r.Header.Get("Cookie") != "" {
		a.w.t.Error("a Lax cookie travelled on the cross-site POST")
	}
	a.mu.Lock()
	a.tokens = append(a.tokens, t)
	a.mu.Unlock()
	out, err := a.w.metering.ResolveCustomer(r.Context(), &marketplacemetering.ResolveCustomerInput{RegistrationToken: &t})
	for try := 1; err != nil && try < 4 && !strings.Contains(err.Error(), "Token"); try++ {
		out, err = a.w.metering.ResolveCustomer(r.Context(), &marketplacemetering.ResolveCustomerInput{RegistrationToken: &t})
	}
	if err != nil {
		w.WriteHeader(http.StatusGone)
		_, _ = io.WriteString(w, "start again from AWS")
		return
	}
	id := (*out.LicenseArn)[strings.LastIndex(*out.LicenseArn, ":l-")+1:]
	a.mu.Lock()
	if a.sessions[id] == nil {
		a.sessions[id] = &session{}
	}
	a.mu.Unlock()
	http.SetCookie(w, &http.Cookie{Name: "s", Value: id, Path: "/", SameSite: http.SameSiteLaxMode})
	http.Redirect(w, r, "/claim/"+id, http.StatusSeeOther)
}

func (a *fakeApp) page(w http.ResponseWriter, r *http.Request) {
	if c, err := r.Cookie("s"); err != nil || c.Value != r.PathValue("id") {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	a.render(w, r.PathValue("id"), "")
}

func (a *fakeApp) render(w io.Writer, id, key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s, state := a.sessions[id], "awaiting_buyer"
	form := func(step, input string) {
		_, _ = fmt.Fprintf(w, `<form method="post" data-step=%q action="/claim/%s/%s"><input type="hidden" name="csrf" value="x">%s<button name="b" value="go">Go</button></form>`, step, id, step, input)
	}
	if s.confirmed && s.name != "" {
		if state = "provisioning"; a.active {
			state = "active"
		}
	}
	_, _ = fmt.Fprintf(w, `<body data-state=%q>`, state)
	switch {
	case s.email == "":
		form("email", `<input name="email" type="email">`)
	case s.confirmed && s.name == "":
		form("name", `<input name="tailnet_name">`)
	case state == "active" && !s.revealed:
		form("reveal", "")
	}
	if key != "" {
		_, _ = fmt.Fprintf(w, `<code id="join-key"> %s </code>`, key)
	}
}

func (a *fakeApp) step(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	a.mu.Lock()
	s := a.sessions[id]
	key := ""
	switch r.PathValue("step") {
	case "email":
		s.email = r.PostFormValue("email")
		a.mails[s.email] = a.URL + "/confirm/" + id
	case "confirm":
		s.confirmed = true
	case "name":
		s.name = r.PostFormValue("tailnet_name")
		if r.PostFormValue("csrf") != "x" || r.PostFormValue("b") != "go" {
			a.w.t.Error("hidden fields or the pressed button did not travel")
		}
	case "reveal":
		s.revealed, key = true, "tskey-"+id
	}
	a.mu.Unlock()
	if key != "" {
		a.render(w, id, key)
		return
	}
	http.Redirect(w, r, "/claim/"+id, http.StatusSeeOther)
}

func (a *fakeApp) readMail(_ context.Context, email string) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.mails[email], nil
}
