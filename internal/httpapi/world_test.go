package httpapi_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/catalog"
	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/console"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/fleet"
	"github.com/tailmarket/tailmarket/internal/httpapi"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/identity"
	"github.com/tailmarket/tailmarket/internal/intake"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/notify"
	"github.com/tailmarket/tailmarket/internal/partner"
	"github.com/tailmarket/tailmarket/internal/provisioning"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

var now = time.Date(2026, 11, 3, 7, 30, 0, 0, time.UTC)

const (
	sub      = "sub_0123456789abcdefghjkmnpqrs"
	other    = "sub_zzzzzzzzzzzzzzzzzzzzzzzzzz"
	goodMail = "mail-token"
	secret   = "hunter2hunter2hunter2"
)

// deliveryOf keeps signatures of fakes short.
type deliveryOf = marketplace.Delivery

// world is every room behind the door as a small fake, and a server over them.
type world struct {
	mu  sync.Mutex
	err error // what the next service call answers

	deliveries []marketplace.Delivery
	tokens     []marketplace.Token
	arrivedAt  []marketplace.ID
	arrive     error
	accept     error
	replays    []string
	kept       []intake.Kept

	visit    subscription.Visit
	visitErr error
	emailErr error
	linkErr  error
	emails   []string
	signIns  []string
	signErr  error
	confirm  subscription.Confirmed
	confErr  error
	people   []subscription.Claim
	admitted []id.Claim
	invited  []string

	purchase subscription.Subscription
	nameErr  error
	names    []string
	live     []clock.Hour

	view    provisioning.View
	key     string
	revErr  error
	newKeys int

	ingested    [][]billing.UsageEvent
	ingestErr   error
	ingesting   func() // while the events are being stored
	calls       []billing.Call
	answered    map[string][]billing.Outcome
	pressure    billing.Pressure
	quarantined []billing.Quarantined
	hours       []billing.HourView
	report      billing.Report
	findings    []billing.Finding
	closed      []string
	doubts      []billing.Doubt
	ruled       []billing.Ruling
	ruleErr     error
	list        []subscription.Subscription // instead of three like purchase
	story       []subscription.Line
	due         []subscription.Wish
	decided     []string

	touches    []string
	written    []string
	attributed []partner.Attribution

	mails []notify.Entry
	stuck []httpapi.StuckRow

	ready  error
	log    *safeBuffer
	opts   httpapi.Options
	server *httptest.Server
	api    *httpapi.Server
	ids    *identity.Service
	opkey  string
}

// safeBuffer is a log that may be written to from many requests.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func granted() subscription.Subscription {
	return subscription.Subscription{
		ID: sub, Marketplace: marketplace.AWS, Purchase: "arn:aws:license-manager::123456789012:license:l-1", Account: "123456789012", Product: "tailnet",
		TailnetName: "Tailnet 9012", CreatedAt: now,
		Facts: subscription.Facts{Marketplace: marketplace.AWS, ClaimedAt: now, Granted: now, StartsAt: now, ReadyAt: now, LiveFrom: now.Add(-time.Hour)},
	}
}

// setup starts a server over a world in which one purchase is active; change
// may alter its options.
func setup(t testing.TB, change ...func(*httpapi.Options)) *world {
	t.Helper()
	w := &world{log: &safeBuffer{}, purchase: granted(), key: "tskey-auth-" + secret, pressure: billing.Pressure{Limit: 20_000, Free: 20_000}}
	w.visit = subscription.Visit{Claim: subscription.Claim{ID: "clm_1", State: subscription.ClaimOpen}, Subscription: w.purchase, State: subscription.StateAwaitingBuyer}
	w.confirm = subscription.Confirmed{Subscription: sub, Claim: "clm_1", State: subscription.ClaimHolder}
	w.view = provisioning.View{Tailnet: "tnt_1", State: provisioning.StateActive, KeyReady: true, Dry: true}
	k, _, err := identity.LoadKey(filepath.Join(t.TempDir(), "operator.key"))
	if err != nil {
		t.Fatal(err)
	}
	w.opkey = k.Reveal()
	w.ids = identity.New(&sessions{m: map[string]identity.Session{}, links: map[string]bool{}}, func() time.Time { return now })
	local, err := fleet.Open(fleet.Options{Wall: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	w.opts = httpapi.Options{
		Log: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Now: func() time.Time { return now },
		Site: console.Site{Seller: "Acme Networks", Support: "help@acme.example"}, Catalog: catalog.Default(), Key: k, EventHeaders: []string{"x-api-key"}, Markets: []marketplace.ID{marketplace.AWS},
		Limits:   httpapi.Limits{Body: 4 << 10, UsageBody: 64 << 10, Request: 5 * time.Second, Header: 2 * time.Second},
		Sessions: w.ids, Keys: identity.NewKeys(&keyring{}, func() time.Time { return now }, func() time.Time { return now }), Intake: intakeOf{w}, Purchases: purchasesOf{w}, Claims: claimsOf{w}, Tailnets: tailnetsOf{w}, Metering: meteringOf{w}, Partners: partnersOf{w}, Mail: w, Work: w, Fleet: local,
		Ready: func(context.Context) error { return w.ready },
	}
	for _, c := range change {
		c(&w.opts)
	}
	if w.api, err = httpapi.New(w.opts); err != nil {
		t.Fatal(err)
	}
	w.server = httptest.NewServer(w.api)
	t.Cleanup(w.server.Close)
	return w
}

type (
	intakeOf    struct{ w *world }
	purchasesOf struct{ w *world }
	claimsOf    struct{ w *world }
	tailnetsOf  struct{ w *world }
	meteringOf  struct{ w *world }
)

func (f intakeOf) Accept(_ context.Context, d marketplace.Delivery) error {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	f.w.deliveries = append(f.w.deliveries, d)
	return f.w.accept
}

func (f intakeOf) Arrive(_ context.Context, m marketplace.ID, t marketplace.Token) (string, error) {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	f.w.arrivedAt = append(f.w.arrivedAt, m)
	f.w.tokens = append(f.w.tokens, t)
	return "claim-token", f.w.arrive
}

func (f intakeOf) Quarantine(context.Context, id.Delivery, int) ([]intake.Kept, error) {
	return f.w.kept, nil
}

func (f intakeOf) Replay(_ context.Context, d id.Delivery, actor string) error {
	f.w.replays = append(f.w.replays, string(d)+" by "+actor)
	return f.w.err
}

func (f intakeOf) Counts(context.Context) (intake.Counts, error) {
	return intake.Counts{Received: 5, Duplicates: 2, Quarantined: 1}, f.w.err
}

func (f purchasesOf) Get(_ context.Context, s id.Subscription) (subscription.Subscription, error) {
	if s != f.w.purchase.ID {
		return subscription.Subscription{}, fault.New(fault.NotFound, "there is no subscription %s", s)
	}
	return f.w.purchase, f.w.err
}

func (f purchasesOf) Find(_ context.Context, _ marketplace.ID, purchase string) (subscription.Subscription, bool, error) {
	return f.w.purchase, purchase == f.w.purchase.Purchase, f.w.err
}

func (f purchasesOf) List(_ context.Context, q subscription.Filter) ([]subscription.Subscription, error) {
	var out []subscription.Subscription
	for _, s := range f.w.list {
		if s.ID > q.After && len(out) < q.Limit && (q.Marketplace == "" || q.Marketplace == s.Marketplace) {
			out = append(out, s)
		}
	}
	if f.w.list != nil {
		return out, f.w.err
	}
	for i := range 3 {
		s := f.w.purchase
		s.ID = id.Subscription([]string{"sub_a", "sub_b", "sub_c"}[i])
		if s.ID > q.After && len(out) < q.Limit {
			out = append(out, s)
		}
	}
	return out, f.w.err
}

func (f purchasesOf) Story(context.Context, id.Subscription) ([]subscription.Line, error) {
	return append([]subscription.Line{{ID: "evt_1", Kind: "entitled", RecordedAt: now, Changed: true, Body: []byte(secret)}}, f.w.story...), nil
}

func (f purchasesOf) Due(subscription.Subscription) []subscription.Wish { return f.w.due }

func (f purchasesOf) DecideChange(_ context.Context, s id.Subscription, actor string, agree bool, reason string) error {
	if f.w.err == nil {
		f.w.decided = append(f.w.decided, fmt.Sprintf("%s by %s: %v %s", s, actor, agree, reason))
	}
	return f.w.err
}

func (f purchasesOf) Agreements(context.Context, id.Subscription) ([]subscription.Agreement, error) {
	return []subscription.Agreement{{Marketplace: marketplace.AWS, Agreement: "agmt-1", Subscription: f.w.purchase.ID}}, nil
}

func (f purchasesOf) Name(_ context.Context, _ id.Subscription, actor, name string) error {
	f.w.names = append(f.w.names, name+" by "+actor)
	return f.w.nameErr
}

func (f purchasesOf) Product(_ context.Context, product string) (subscription.ProductState, error) {
	p := subscription.ProductState{Product: product, Mode: subscription.ModeObserve}
	if len(f.w.live) > 0 {
		p.Mode, p.CutOver = subscription.ModeLive, f.w.live[0]
	}
	return p, nil
}

func (f purchasesOf) GoLive(_ context.Context, _ string, from clock.Hour, _ string) error {
	f.w.live = append(f.w.live, from)
	return f.w.err
}

func (f claimsOf) Visit(context.Context, string) (subscription.Visit, error) {
	return f.w.visit, f.w.visitErr
}

func (f claimsOf) Email(_ context.Context, _, address string) error {
	f.w.emails = append(f.w.emails, address)
	return f.w.emailErr
}

func (f claimsOf) Confirm(_ context.Context, token string) (subscription.Confirmed, error) {
	if token != goodMail {
		return subscription.Confirmed{}, fault.New(fault.NotFound, "We do not know this link.")
	}
	return f.w.confirm, f.w.confErr
}

func (f claimsOf) MailLink(_ context.Context, token string) error {
	if token != goodMail {
		return f.w.linkErr
	}
	return nil
}

func (f claimsOf) Continue(context.Context, string) (subscription.Confirmed, error) {
	return f.w.confirm, f.w.confErr
}

func (f claimsOf) SignIn(_ context.Context, token, person, address string) (subscription.Confirmed, error) {
	f.w.signIns = append(f.w.signIns, token+" "+person+" "+address)
	return f.w.confirm, f.w.signErr
}

func (f claimsOf) Invite(_ context.Context, _, address string) error {
	f.w.invited = append(f.w.invited, address)
	return f.w.emailErr
}

func (f claimsOf) InviteFrom(_ context.Context, _ id.Subscription, address string) error {
	f.w.invited = append(f.w.invited, address)
	return f.w.emailErr
}

func (f claimsOf) People(context.Context, id.Subscription) ([]subscription.Claim, error) {
	return f.w.people, nil
}

func (f claimsOf) Admit(_ context.Context, _ id.Subscription, second id.Claim) error {
	f.w.admitted = append(f.w.admitted, second)
	return nil
}

func (f tailnetsOf) View(context.Context, id.Subscription) (provisioning.View, error) {
	return f.w.view, nil
}

func (f tailnetsOf) Reveal(context.Context, id.Subscription, string) (string, error) {
	if f.w.revErr != nil {
		return "", f.w.revErr
	}
	f.w.revErr = fault.New(fault.Gone, "the join key was shown before")
	f.w.view.KeyReady, f.w.view.KeyRevealed, f.w.view.CanAskKey = false, true, true
	return f.w.key, nil
}

func (f tailnetsOf) NewKey(context.Context, id.Subscription, string) error {
	f.w.newKeys++
	return nil
}

func (f meteringOf) Ingest(_ context.Context, events []billing.UsageEvent) ([]billing.Outcome, error) {
	if f.w.ingesting != nil {
		f.w.ingesting()
	}
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	if f.w.ingestErr != nil {
		return nil, f.w.ingestErr
	}
	f.w.ingested = append(f.w.ingested, events)
	out := make([]billing.Outcome, len(events))
	for i, e := range events {
		out[i] = billing.Outcome{Source: e.Source, ID: e.ID, Result: billing.Accepted}
		switch e.ID {
		case "twice":
			out[i].Result = billing.Duplicate
		case "clash":
			out[i].Result, out[i].Reason = billing.Conflict, "the identity has other content"
		case "later":
			out[i].Result, out[i].Reason = billing.Quarantine, string(billing.UnknownSubject)
		}
	}
	return out, nil
}

func (f meteringOf) IngestOnce(ctx context.Context, c billing.Call, events []billing.UsageEvent) ([]billing.Outcome, bool, error) {
	f.w.mu.Lock()
	f.w.calls = append(f.w.calls, c)
	known := f.w.answered[c.Owner+c.Key]
	f.w.mu.Unlock()
	if known != nil {
		return known, true, nil
	}
	out, err := f.Ingest(ctx, events)
	return out, false, err
}

func (f meteringOf) Pressure() billing.Pressure { return f.w.pressure }

func (f meteringOf) Hours(context.Context, id.Subscription) ([]billing.HourView, error) {
	return f.w.hours, nil
}

func (f meteringOf) Conservation(context.Context) (billing.Report, error) {
	if f.w.report.Meters != nil {
		return f.w.report, f.w.err
	}
	return billing.Report{Unsure: "0", Meters: []billing.MeterReport{{Marketplace: "aws", Subscription: sub, Meter: "api_request", Measured: "12.5", Accepted: "12", Carried: "0.5"}}}, nil
}

func (f meteringOf) Ages(context.Context) (map[billing.Station]billing.Age, error) {
	return map[billing.Station]billing.Age{billing.StationSubmit: {Waiting: 4, Oldest: 90 * time.Minute}}, nil
}

func (f meteringOf) CloseFinding(_ context.Context, n id.Finding, actor, why string) error {
	f.w.closed = append(f.w.closed, fmt.Sprintf("%s by %s: %s", n, actor, why))
	return f.w.err
}

func (f meteringOf) Doubts(_ context.Context, sub id.Subscription, after id.Record, limit int) ([]billing.Doubt, error) {
	var out []billing.Doubt
	for _, d := range f.w.doubts {
		if d.ID > after && len(out) < limit && (sub == "" || sub == d.Subscription) {
			out = append(out, d)
		}
	}
	return out, f.w.err
}

func (f meteringOf) Rule(_ context.Context, _ id.Record, x billing.Ruling) (billing.Doubt, error) {
	if f.w.ruleErr != nil {
		return billing.Doubt{}, f.w.ruleErr
	}
	f.w.ruled = append(f.w.ruled, x)
	return f.w.doubts[0], nil
}

func (f meteringOf) Findings(context.Context, bool) ([]billing.Finding, error) {
	if f.w.findings != nil {
		return f.w.findings, f.w.err
	}
	return []billing.Finding{{ID: "fnd_1", Class: billing.FindHeld, Owner: "operator", OpenedAt: now}}, nil
}

func (f meteringOf) Quarantined(context.Context) ([]billing.Quarantined, error) {
	return f.w.quarantined, nil
}

func (f meteringOf) Replay(_ context.Context, e billing.Ident) (billing.Outcome, error) {
	if e != billing.IdentOf("s", "1") {
		return billing.Outcome{}, fault.New(fault.NotFound, "there is no such event in quarantine")
	}
	return billing.Outcome{Result: billing.Accepted}, f.w.err
}

func (w *world) Outbox(context.Context, id.Message, int) ([]notify.Entry, error) { return w.mails, nil }

func (w *world) Stuck(context.Context, int) ([]httpapi.StuckRow, error) { return w.stuck, nil }

// browser is a client with cookies that says it wants pages.
type browser struct {
	t *testing.T
	w *world
	c *http.Client
}

func (w *world) browser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t, w, &http.Client{Jar: jar}}
}

type reply struct {
	*http.Response
	body string
}

func (b *browser) do(req *http.Request) reply {
	b.t.Helper()
	if req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", "text/html,application/xhtml+xml")
	}
	res, err := b.c.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return reply{res, string(raw)}
}

func (b *browser) get(path string, header ...string) reply {
	b.t.Helper()
	req := request(b.t, http.MethodGet, b.w.server.URL+path, nil)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return b.do(req)
}

func (b *browser) post(path string, form url.Values, header ...string) reply {
	b.t.Helper()
	req := request(b.t, http.MethodPost, b.w.server.URL+path, strings.NewReader(form.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return b.do(req)
}

func request(t *testing.T, method, u string, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, u, body)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// call is a program's request with the operator's key.
func (w *world) call(t *testing.T, method, path, contentType, body string, header ...string) reply {
	t.Helper()
	req := request(t, method, w.server.URL+path, strings.NewReader(body))
	req.Header.Set("Authorization", "Bearer "+w.opkey)
	req.Header.Set("Accept", "application/json")
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return (&browser{t, w, http.DefaultClient}).do(req)
}

// signedIn is a browser that confirmed the purchase's mail link.
func (w *world) signedIn(t *testing.T) *browser {
	t.Helper()
	b := w.browser(t)
	if r := b.post("/verify/"+goodMail, nil); r.StatusCode != http.StatusOK || r.Request.URL.Path != "/purchases/"+sub {
		t.Fatalf("confirming ended at %s with %d", r.Request.URL, r.StatusCode)
	}
	return b
}

// operator is a browser that used a one-time link.
func (w *world) operator(t *testing.T) *browser {
	t.Helper()
	path, err := w.ids.OperatorLink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b := w.browser(t)
	if r := b.post(path, nil); r.StatusCode != http.StatusOK || r.Request.URL.Path != "/operator" {
		t.Fatalf("the link ended at %s with %d", r.Request.URL, r.StatusCode)
	}
	return b
}
