package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tailmarket/tailmarket/internal/app"
	"github.com/tailmarket/tailmarket/internal/catalog"
	"github.com/tailmarket/tailmarket/internal/config"
	"github.com/tailmarket/tailmarket/internal/simulator"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/store/storetest"
)

// Whatever a story starts has ended when it ends. Google's client library starts
// one worker of its own as soon as it is linked in, and its keep-alive of a pull
// looks for the end only when one of its tickers fires.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"),
		goleak.IgnoreTopFunction("cloud.google.com/go/pubsub/v2.(*messageIterator).streamKeepAliveHandler"))
}

// patience bounds every wait of a story in wall time, so that a failure says what
// it waited for instead of hanging.
const patience = 60 * time.Second

// settings are those of an app whose AWS is the simulator.
func settings(t *testing.T, sim *simulator.Simulator, dir string, more ...string) []string {
	t.Helper()
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, sim.CAPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	header, key := sim.EventKey()
	return append([]string{
		"TAILMARKET_DATA_DIR=" + dir, "TAILMARKET_CLOCK_URL=" + sim.ControlURL(), "TAILMARKET_CA_FILE=" + ca,
		"TAILMARKET_METERING_BACKOFF_BASE=5ms", "TAILMARKET_METERING_BACKOFF_MAX=40ms", "TAILMARKET_METERING_SWEEP_EVERY=20m",
		"TAILMARKET_AWS_SELLER_ACCOUNT=" + sim.Options().SellerAccount, "TAILMARKET_AWS_ENDPOINT=" + sim.AWSURL(), "TAILMARKET_AWS_QUEUE_URL=" + sim.QueueURL(),
		"TAILMARKET_AWS_EVENT_KEY=" + key, "TAILMARKET_AWS_EVENT_KEY_HEADER=" + header,
		"TAILMARKET_AWS_ACCESS_KEY_ID=" + accessKey, "TAILMARKET_AWS_SECRET_ACCESS_KEY=" + secretKey,
	}, more...)
}

const accessKey, secretKey = "AKIDEXAMPLE", "wJalr-not-a-real-secret-EXAMPLEKEY"

// shop is the whole app in this process, as “api serve” runs it, in front of a
// simulator of its own. Everything it is told or asked goes over HTTP.
type shop struct {
	t   *testing.T
	sim *simulator.Simulator
	dir string
	env []string
	log *slog.Logger
	out logbook // what it printed for the person who started it

	url, admin, embedded string
	key                  string // the operator's

	base   *app.Base
	cancel context.CancelFunc
	ended  chan error
}

// open starts a simulator and an app on the engine, which sells from the first
// hour on. more are further settings.
func open(t *testing.T, engine store.Engine, o simulator.Options, log *slog.Logger, more ...string) *shop {
	t.Helper()
	sim, err := simulator.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	return openAt(t, sim, engine, log, more...)
}

// openAt is open in front of a simulator that runs already.
func openAt(t *testing.T, sim *simulator.Simulator, engine store.Engine, log *slog.Logger, more ...string) *shop {
	t.Helper()
	ports := freePorts(t, 3)
	s := &shop{
		t: t, sim: sim, dir: t.TempDir(), log: log,
		url: "http://" + ports[0], admin: "http://" + ports[1], embedded: "http://" + ports[2],
	}
	if engine == store.Postgres {
		more = append(more, "TAILMARKET_DATABASE_URL="+storetest.Options(t, engine).URL)
	}
	s.env = settings(t, sim, s.dir, append([]string{
		"TAILMARKET_LISTEN=" + ports[0], "TAILMARKET_ADMIN_LISTEN=" + ports[1], "TAILMARKET_EMBEDDED_LISTEN=" + ports[2],
	}, more...)...)
	sim.SetApp(s.url)
	sim.SetMail(s.mail)
	s.start()
	t.Cleanup(func() {
		if s.cancel != nil {
			if err := s.stop(); err != nil {
				t.Error(err)
			}
		}
	})
	s.post("/v1/products/tailnet/go-live", map[string]string{"from": sim.Now().Format("2006-01-02T15Z")}, nil)
	return s
}

// eachEngine runs a story on SQLite and, where there is one, on PostgreSQL.
func eachEngine(t *testing.T, story func(t *testing.T, engine store.Engine)) {
	t.Helper()
	for _, engine := range []store.Engine{store.SQLite, store.Postgres} {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			story(t, engine)
		})
	}
}

// start serves until stop; it returns when the app is ready.
func (s *shop) start() {
	s.t.Helper()
	c, err := config.Load(s.env, "")
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background()) // stop ends it, also after the test's own context
	if s.base, err = app.OpenBase(ctx, c, s.log); err != nil {
		cancel()
		s.t.Fatal(err)
	}
	s.cancel, s.ended = cancel, make(chan error, 1)
	go func() { s.ended <- s.base.Serve(ctx, &s.out) }()
	s.eventually("the app is ready", func() bool {
		select {
		case err := <-s.ended:
			s.ended <- err
			s.t.Fatalf("the app ended before it was ready: %v", err)
		default:
		}
		got, err := s.try(http.MethodGet, s.url+"/readyz", nil)
		return err == nil && got.status == http.StatusOK
	})
	raw, err := os.ReadFile(filepath.Join(s.dir, "operator.key"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.key = strings.TrimSpace(string(raw))
}

// stop ends the app as SIGTERM does and answers what Serve and Close said.
func (s *shop) stop() error {
	cancel := s.cancel
	s.cancel = nil
	cancel()
	select {
	case err := <-s.ended:
		return errors.Join(err, s.base.Close())
	case <-time.After(patience):
		return errors.New("the app did not stop")
	}
}

// eventually asks until ok. Nothing is proven by the pause: it only keeps a
// waiting test from eating the processor.
func (s *shop) eventually(what string, ok func() bool) {
	s.t.Helper()
	end, pause := time.NewTimer(patience), time.NewTicker(5*time.Millisecond)
	defer end.Stop()
	defer pause.Stop()
	for !ok() {
		select {
		case <-pause.C:
		case <-end.C:
			s.t.Fatalf("waited in vain: %s", what)
		}
	}
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// problem is an RFC 9457 document.
type problem struct {
	Type, Title, Detail string
	Status              int
	RequestID           string `json:"request_id"`
}

func (a answer) problem(t *testing.T) problem {
	t.Helper()
	var p problem
	if err := json.Unmarshal([]byte(a.body), &p); err != nil || a.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("want a problem document, got %s %.200s", a.header.Get("Content-Type"), a.body)
	}
	if p.Status != a.status || p.RequestID == "" || p.RequestID != a.header.Get("X-Request-Id") || !strings.HasPrefix(p.Type, "urn:tailmarket:problem:") {
		t.Errorf("answered %d, request %q; the document says %+v", a.status, a.header.Get("X-Request-Id"), p)
	}
	return p
}

// client follows no redirects and keeps no connection.
var client = &http.Client{
	Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func (s *shop) try(method, u string, body io.Reader, header ...string) (answer, error) {
	req, err := http.NewRequestWithContext(context.Background(), method, u, body)
	if err != nil {
		return answer{}, err
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, string(raw)}, err
}

// do makes one request without any credentials but those in header.
func (s *shop) do(method, path, body string, header ...string) answer {
	s.t.Helper()
	got, err := s.try(method, s.url+path, strings.NewReader(body), header...)
	if err != nil {
		s.t.Fatal(err)
	}
	return got
}

// call asks the operator's API, which a simulator's clock is told about.
func (s *shop) call(method, path, contentType string, body []byte) answer {
	s.t.Helper()
	defer s.sim.Activity()
	return s.do(method, path, string(body), "Authorization", "Bearer "+s.key, "Content-Type", contentType)
}

func (s *shop) get(path string, out any) {
	s.t.Helper()
	s.decode(path, s.call(http.MethodGet, path, "", nil), out)
}

func (s *shop) post(path string, body, out any) {
	s.t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	s.decode(path, s.call(http.MethodPost, path, "application/json", raw), out)
}

func (s *shop) decode(path string, got answer, out any) {
	s.t.Helper()
	if got.status/100 != 2 {
		s.t.Fatalf("%s answered %d %s", path, got.status, got.body)
	}
	if out != nil {
		if err := json.Unmarshal([]byte(got.body), out); err != nil {
			s.t.Fatalf("%s answered %s: %v", path, got.body, err)
		}
	}
}

// put and remove are the embedded control plane's own controls.
func (s *shop) put(kind, tailnet, name string, of map[string]any) {
	s.t.Helper()
	raw, err := json.Marshal(of)
	if err != nil {
		s.t.Fatal(err)
	}
	got, err := s.try(http.MethodPut, s.embedded+"/sim/"+kind+"/"+tailnet+"/"+name, bytes.NewReader(raw), "Content-Type", "application/json")
	if err != nil || got.status/100 != 2 {
		s.t.Fatalf("put %s %s: %d %s %v", kind, name, got.status, got.body, err)
	}
}

// event posts to the API destination with the given key.
func (s *shop) event(body, key string) answer {
	s.t.Helper()
	header, _ := s.sim.EventKey()
	pairs := []string{"Content-Type", "application/json"}
	if key != "" {
		pairs = append(pairs, header, key)
	}
	return s.do(http.MethodPost, "/aws/events", body, pairs...)
}

// genuine posts to the API destination as EventBridge does.
func (s *shop) genuine(body string) answer {
	s.t.Helper()
	_, key := s.sim.EventKey()
	return s.event(body, key)
}

// mail is how the scripted buyer reads mail: without a mail server it waits in
// the operator's outbox.
func (s *shop) mail(_ context.Context, email string) (string, error) {
	got, err := s.try(http.MethodGet, s.url+"/v1/outbox?limit=100", nil, "Authorization", "Bearer "+s.key)
	if err != nil {
		return "", err
	}
	var page struct {
		Items []struct{ To, Link string } `json:"items"`
	}
	if err := json.Unmarshal([]byte(got.body), &page); err != nil {
		return "", err
	}
	for _, m := range page.Items {
		if m.To == email {
			return m.Link, nil
		}
	}
	return "", nil
}

// advance lets business time pass.
func (s *shop) advance(d time.Duration) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.sim.Advance(ctx, s.sim.Now().Add(d)); err != nil {
		rows, _ := s.base.Store.StuckDue(context.Background(), 1, 10)
		s.t.Fatalf("%v; rows that fail: %+v", err, rows)
	}
}

// purchase is a subscription as the operator's API tells it.
type purchase struct {
	ID, Purchase, State string
	Tailnet             string `json:"tailnet_id"`
}

func (s *shop) purchases() []purchase {
	s.t.Helper()
	var page struct{ Items []purchase }
	s.get("/v1/subscriptions", &page)
	return page.Items
}

// active buys and lets a scripted buyer walk through the pages to an active
// tailnet.
func (s *shop) active() (simulator.Buyer, purchase) {
	s.t.Helper()
	b, err := s.sim.Buy(context.Background(), simulator.Purchase{Habits: &simulator.Habits{After: 90 * time.Second}})
	if err != nil {
		s.t.Fatal(err)
	}
	for range 12 {
		s.advance(5 * time.Minute)
		for _, p := range s.purchases() {
			if p.Purchase == b.LicenseArn && p.State == "active" && s.buyer(b.ID).Finished != "" {
				return s.buyer(b.ID), p
			}
		}
	}
	s.t.Fatalf("no tailnet within an hour: buyer %+v, purchases %+v", s.buyer(b.ID), s.purchases())
	return b, purchase{}
}

func (s *shop) buyer(name string) simulator.Buyer {
	for _, b := range s.sim.Buyers() {
		if b.ID == name {
			return b
		}
	}
	return simulator.Buyer{}
}

// counts are the deliveries that were kept.
type counts struct{ Received, Duplicates, Quarantined, Conflicts int }

func (s *shop) counts() (c counts) {
	s.t.Helper()
	s.get("/v1/deliveries/counts", &c)
	return c
}

type quarantined struct {
	ID, Channel, Kind, Reason string
	Copies                    int
}

func (s *shop) quarantine() []quarantined {
	s.t.Helper()
	var page struct{ Items []quarantined }
	s.get("/v1/quarantine/deliveries", &page)
	return page.Items
}

// answers are how many webhooks were answered with a status, as the private
// listener tells it.
func (s *shop) answers(status int) int {
	s.t.Helper()
	got, err := s.try(http.MethodGet, s.admin+"/metrics", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(got.body) {
		if v, ok := strings.CutPrefix(line, fmt.Sprintf(`tailmarket_webhook_answers_total{marketplace="aws",status="%d"} `, status)); ok {
			n, err := strconv.Atoi(strings.TrimSpace(v))
			if err != nil {
				s.t.Fatal(err)
			}
			return n
		}
	}
	return 0
}

// usage is a usage event about a purchase.
func usage(sub, id, meter, quantity string, at time.Time) map[string]any {
	return map[string]any{
		"specversion": "1.0", "id": id, "source": "e2e", "type": "tailmarket.usage.v1", "subject": sub, "time": at.Format(time.RFC3339),
		"data": map[string]any{"meter": meter, "quantity": quantity},
	}
}

const cloudBatch = "application/cloudevents-batch+json"

// freePorts finds loopback addresses that stay ours over restarts: below the
// range from which systems give out ports to whoever asks for any.
func freePorts(t *testing.T, n int) (out []string) {
	t.Helper()
	var held []net.Listener // so that no port is found twice
	defer func() {
		for _, l := range held {
			_ = l.Close()
		}
	}()
	for range 1000 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(10000))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		held = append(held, l)
		if out = append(out, addr); len(out) == n {
			return out
		}
	}
	t.Fatal("no free ports between 20000 and 30000")
	return nil
}

// sells puts the shipped catalog with another listing on AWS Marketplace in force,
// while the app is serving, and waits until it serves that one.
func (s *shop) sells(code, productID string) {
	s.t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "catalog", "catalog.yaml"))
	if err != nil {
		s.t.Fatal(err)
	}
	listed := s.sim.Options().Products[0]
	text := strings.NewReplacer(listed.Code, code, listed.ID, productID, catalog.Default().Version, "version-of-"+code).Replace(string(raw))
	path := filepath.Join(s.dir, "catalog.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.applies(path, "version-of-"+code)
}

// applies puts a catalog in force and waits until it is served.
func (s *shop) applies(path, version string) {
	s.t.Helper()
	a, _, err := s.base.ApplyCatalog(s.t.Context(), path, "operator", "the listing has moved")
	if err != nil || a.Version != version {
		s.t.Fatalf("apply catalog %s: %+v, %v", version, a, err)
	}
	s.eventually("the catalog is served", func() bool {
		got, err := s.try(http.MethodGet, s.url+"/readyz", nil)
		return err == nil && got.status == http.StatusOK && strings.Contains(s.out.String(), version+" is in force")
	})
}

// form is a body of a page's form.
func form(pairs ...string) string {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return v.Encode()
}

// logbook is what was logged.
type logbook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

var silent = slog.New(slog.DiscardHandler)
