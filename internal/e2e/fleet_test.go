package e2e

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/app"
	"github.com/tailmarket/tailmarket/internal/config"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/simulator"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/store/storetest"
)

// cord is the connection between replicas and Redis, for the test to cut.
type cord struct {
	l net.Listener

	mu   sync.Mutex
	cut  bool
	ends []net.Conn
	wg   sync.WaitGroup
}

// redisOverCord answers settings of a Redis for the two replicas of one test. It
// needs a real one, as test.sh starts it.
func redisOverCord(t *testing.T) (*cord, []string) {
	t.Helper()
	raw := os.Getenv("TAILMARKET_TEST_REDIS_URL")
	if raw == "" {
		if os.Getenv("TAILMARKET_TEST_REQUIRE") != "" {
			t.Fatal("TAILMARKET_TEST_REDIS_URL is not set; run the tests through ./test.sh, which starts the servers")
		}
		t.Skip("no Redis: run the tests through ./test.sh")
	}
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cord{l: l}
	server := u.Host
	c.wg.Go(func() {
		for {
			here, err := l.Accept()
			if err != nil {
				return
			}
			c.join(here, server)
		}
	})
	t.Cleanup(c.pull)
	u.Host = l.Addr().String()
	return c, []string{"TAILMARKET_REDIS_URL=" + u.String(), "TAILMARKET_REDIS_NAME=e2e-" + rand.Text(), "TAILMARKET_REPLICAS=2"}
}

func (c *cord) join(here net.Conn, server string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	there, err := net.Dial("tcp", server)
	if err != nil || c.cut {
		_ = here.Close()
		return
	}
	c.ends = append(c.ends, here, there)
	for _, way := range [][2]net.Conn{{here, there}, {there, here}} {
		c.wg.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			_ = way[0].Close()
		})
	}
}

// pull cuts the cord for good.
func (c *cord) pull() {
	c.mu.Lock()
	c.cut = true
	_ = c.l.Close()
	for _, e := range c.ends {
		_ = e.Close()
	}
	c.mu.Unlock()
	c.wg.Wait()
}

// replicas are two apps on one PostgreSQL and one Redis.
func replicas(t *testing.T, o simulator.Options) (a, b *shop, c *cord) {
	t.Helper()
	c, redis := redisOverCord(t)
	a = open(t, store.Postgres, o, silent, redis...)
	ports := freePorts(t, 3)
	b = &shop{t: t, sim: a.sim, dir: a.dir, log: silent, url: "http://" + ports[0], admin: "http://" + ports[1], embedded: "http://" + ports[2]}
	b.env = append(slices.Clone(a.env), "TAILMARKET_LISTEN="+ports[0], "TAILMARKET_ADMIN_LISTEN="+ports[1], "TAILMARKET_EMBEDDED_LISTEN="+ports[2])
	b.start()
	t.Cleanup(func() {
		if err := b.stop(); err != nil {
			t.Error(err)
		}
	})
	return a, b, c
}

var linkOnScreen = regexp.MustCompile(`/operator/enter/\S+`)

// enter signs an operator in by the link the replica printed, and answers the cookie.
func (s *shop) enter() string {
	s.t.Helper()
	s.eventually("a link is printed", func() bool { return linkOnScreen.MatchString(s.out.String()) })
	got := s.do(http.MethodPost, linkOnScreen.FindString(s.out.String()), "", "Content-Type", "application/x-www-form-urlencoded")
	cookie, _, _ := strings.Cut(got.header.Get("Set-Cookie"), ";")
	if got.status != http.StatusSeeOther || cookie == "" {
		s.t.Fatalf("nobody was let in: %d %.200s", got.status, got.body)
	}
	return cookie
}

// knows reports whether the replica takes a cookie for somebody signed in.
func (s *shop) knows(cookie string) bool {
	s.t.Helper()
	got := s.do(http.MethodGet, "/operator/outbox", "", "Cookie", cookie)
	if got.status != http.StatusOK && got.status != http.StatusUnauthorized {
		s.t.Fatalf("the outbox: %d %.300s", got.status, got.body)
	}
	return got.status == http.StatusOK
}

func TestASessionIsOneOnEveryReplica(t *testing.T) {
	t.Parallel()
	a, b, c := replicas(t, simulator.Options{Weather: simulator.WeatherGood})
	first, second := a.enter(), b.enter()
	for range 2 { // asked of the store, then remembered
		if !a.knows(first) || !b.knows(first) || !a.knows(second) || !b.knows(second) {
			t.Fatal("who signed in at one replica is a stranger at the other")
		}
	}
	if got := a.do(http.MethodPost, "/operator/leave", "", "Cookie", first); got.status != http.StatusSeeOther {
		t.Fatalf("sign out: %d", got.status)
	}
	if a.knows(first) || b.knows(first) {
		t.Error("who signed out is still let in")
	}
	c.pull()
	if !a.knows(second) || !b.knows(second) || a.knows(first) || b.knows(first) {
		t.Error("without Redis, who is signed in is not what the store says")
	}
}

// watch opens the stream of a page. heard answers when the next word came, or
// what is wrong.
func (s *shop) watch(page, cookie string) (heard func() error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+page+"/live", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Cookie", cookie)
	res, err := client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { cancel(); _ = res.Body.Close() })
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/event-stream" {
		s.t.Fatalf("%s: %d %s", page, res.StatusCode, res.Header.Get("Content-Type"))
	}
	lines := bufio.NewScanner(res.Body)
	return func() error {
		for lines.Scan() {
			if lines.Text() == "data: changed" {
				return nil
			}
		}
		return errors.Join(errors.New("the stream ended"), lines.Err())
	}
}

// subscribed counts the replicas that hear each other.
func (s *shop) subscribed() int {
	s.t.Helper()
	c, err := config.Load(s.env, "")
	if err != nil {
		s.t.Fatal(err)
	}
	u, err := url.Parse(c.RedisURL.Reveal())
	if err != nil {
		s.t.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(patience))
	password, _ := u.User.Password()
	if password != "" {
		_, _ = fmt.Fprintf(conn, "AUTH %s\r\n", password)
	}
	_, _ = fmt.Fprintf(conn, "PUBSUB NUMSUB %s:changed\r\nQUIT\r\n", c.RedisName)
	raw, err := io.ReadAll(conn)
	if err != nil {
		s.t.Fatal(err)
	}
	_, count, _ := strings.Cut(string(raw), ":changed\r\n:")
	n := 0
	_, _ = fmt.Sscanf(count, "%d", &n)
	return n
}

// What one replica changes, a page that the other shows is told of; with Redis at
// once, and without it a little later.
func TestAPageHearsOfWhatAnotherReplicaChanged(t *testing.T) {
	t.Parallel()
	a, b, c := replicas(t, simulator.Options{Weather: simulator.WeatherGood})
	_, p := a.active()
	a.eventually("both replicas hear each other", func() bool { return a.subscribed() == 2 })
	story := "/operator/subscriptions/" + p.ID
	cookie := b.enter()
	for _, page := range []string{story, "/operator"} {
		if got := b.do(http.MethodGet, page, "", "Cookie", cookie); got.status != http.StatusOK || !strings.Contains(got.body, `data-live="`+page+`/live"`) {
			t.Errorf("%s is not live: %d", page, got.status)
		}
		if got := b.do(http.MethodGet, page+"/live", ""); got.status != http.StatusUnauthorized {
			t.Errorf("a stranger may listen at %s: %d", page, got.status)
		}
	}
	one, all := b.watch(story, cookie), b.watch("/operator", cookie)
	if err := errors.Join(one(), all()); err != nil { // what may have changed while the page was on its way
		t.Fatal(err)
	}
	word := make(chan error, 1)
	go func() { word <- errors.Join(one(), all()) }()
	select {
	case err := <-word:
		t.Fatalf("a word came and nothing had changed: %v", err)
	case <-time.After(3 * time.Second): // longer than a page rests between words, and than a lost Redis keeps silent
	}
	use := func(at *shop, event string) {
		t.Helper()
		batch := mustJSON(t, []any{usage(p.ID, event, "api_request", "1", at.sim.Now())})
		if got := at.call(http.MethodPost, "/v1/usage", cloudBatch, batch); got.status != http.StatusOK {
			t.Fatalf("%d %s", got.status, got.body)
		}
	}
	use(a, "first")
	if err := <-word; err != nil {
		t.Fatal(err)
	}
	c.pull()
	go func() { word <- one() }()
	use(a, "second")
	if err := <-word; err != nil {
		t.Error(err)
	}
}

// Redis goes away between two hours, and nobody needs it: everything is served,
// billed and told, and somebody can see that it is gone.
func TestRedisIsLostHalfWay(t *testing.T) {
	t.Parallel()
	a, b, c := replicas(t, simulator.Options{Seed: 7})
	_, p := a.active()
	cookie := a.enter()
	units := 0
	trade := func(name string) {
		t.Helper()
		for i, at := range []*shop{a, b, a, b} {
			at.eventually("the replica knows what time it is", func() bool { return !at.base.Clock.Now().Before(at.sim.Now()) })
			batch := mustJSON(t, []any{usage(p.ID, fmt.Sprint(name, i), "api_request", "7", at.sim.Now())})
			if got := at.call(http.MethodPost, "/v1/usage", cloudBatch, batch); got.status != http.StatusOK {
				t.Fatalf("%d %s", got.status, got.body)
			}
			units += 7
			a.advance(30 * time.Minute)
		}
	}
	trade("before")
	for _, s := range []*shop{a, b} {
		if s.metric("tailmarket_redis_lost_seconds") != "0" {
			t.Errorf("Redis is lost before it was: %s", s.metric("tailmarket_redis_lost_seconds"))
		}
	}
	c.pull()
	trade("after")
	a.advance(3 * time.Hour)
	for _, s := range []*shop{a, b} {
		s.eventually("the replica says that Redis is lost", func() bool { return s.metric("tailmarket_redis_lost_seconds") != "0" })
		if got := s.do(http.MethodGet, "/readyz", ""); got.status != http.StatusOK {
			t.Errorf("not ready without Redis: %d %s", got.status, got.body)
		}
		if got := s.do(http.MethodGet, "/operator", "", "Cookie", cookie); got.status != http.StatusOK || !strings.Contains(got.body, "Redis is lost since") {
			t.Errorf("the overview: %d, does not say that Redis is lost", got.status)
		}
	}
	var ledger struct {
		Broken int `json:"conservation_broken"`
		Meters []struct{ Meter, Accepted, Open, Queued, Sent, Unsure string }
	}
	b.get("/v1/conservation", &ledger)
	found := false
	for _, m := range ledger.Meters {
		found = found || m.Meter == "api_request" && m.Accepted == fmt.Sprint(units) && m.Open == "0" && m.Queued == "0" && m.Sent == "0" && m.Unsure == "0"
	}
	billed := int64(0)
	for _, l := range a.sim.Bill().Lines {
		if l.Dimension == "api_request" {
			billed += l.Quantity
		}
	}
	if !found || ledger.Broken != 0 || billed != int64(units) {
		t.Errorf("used %d, billed %d, ledger %+v", units, billed, ledger)
	}
}

// metric is one value of the private listener.
func (s *shop) metric(name string) string {
	s.t.Helper()
	got, err := s.try(http.MethodGet, s.admin+"/metrics", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(got.body) {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(v)
		}
	}
	s.t.Fatalf("no metric %s", name)
	return ""
}

// Two replicas search a seller's agreements as fast as they may: together they
// keep to the quota, and what AWS asks one of them holds for both, Redis or not.
func TestReplicasShareAQuota(t *testing.T) {
	t.Parallel()
	c, redis := redisOverCord(t)
	var mu sync.Mutex
	var came []time.Time
	tooFast := false
	vendor := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		came = append(came, time.Now())
		w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
		w.Header().Set("Content-Type", "application/cbor")
		if tooFast {
			w.Header().Set("Retry-After", "300")
			w.WriteHeader(http.StatusTooManyRequests)
		}
		_, _ = w.Write([]byte{0xa0}) // nothing, in CBOR
	}))
	t.Cleanup(vendor.Close)
	database := storetest.Options(t, store.Postgres)
	both := [2]marketplace.Reader{}
	for i := range both {
		set, err := config.Load(append([]string{
			"TAILMARKET_DATA_DIR=" + database.DataDir, "TAILMARKET_DATABASE_URL=" + database.URL,
			"TAILMARKET_AWS_SELLER_ACCOUNT=123456789012", "TAILMARKET_AWS_ENDPOINT=" + vendor.URL, "TAILMARKET_AWS_EVENT_KEY=0123456789abcdef",
			"TAILMARKET_AWS_ACCESS_KEY_ID=" + accessKey, "TAILMARKET_AWS_SECRET_ACCESS_KEY=" + secretKey,
		}, redis...), "")
		if err != nil {
			t.Fatal(err)
		}
		base, err := app.OpenBase(t.Context(), set, silent)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := base.Close(); err != nil {
				t.Error(err)
			}
		})
		selling, err := base.OpenSelling(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		both[i] = selling.Adapters[marketplace.AWS].(marketplace.Reader)
	}
	search := func(at int) error {
		return both[at].Purchases(t.Context(), marketplace.Mark{}, func(marketplace.Page) error { return nil })
	}

	const perSecond, calls = 5, 15 // API Reference: five searches a second of one account
	began := time.Now()
	var all sync.WaitGroup
	errs := make(chan error, calls)
	for i := range calls {
		all.Go(func() { errs <- search(i % 2) })
	}
	all.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	for i, at := range came {
		if least := time.Duration(i-perSecond+1) * time.Second / perSecond; at.Sub(began) < least-5*time.Millisecond { // Redis counts in milliseconds
			t.Errorf("search %d came after %v, not before %v", i+1, at.Sub(began), least)
		}
	}
	if len(came) != calls {
		t.Errorf("%d searches came", len(came))
	}

	tooFast = true
	if err := search(0); err == nil {
		t.Error("a 429 was understood")
	}
	for i, lost := range []bool{false, true} {
		if lost {
			c.pull()
		}
		err := search(1)
		if f, ok := errors.AsType[*fault.Error](err); !ok || f.Class != fault.Throttled || f.RetryAfter < 4*time.Minute {
			t.Errorf("pause %d: the other replica was answered %v", i, err)
		}
	}
	if len(came) != calls+1 {
		t.Errorf("%d searches came while AWS wanted none", len(came)-calls-1)
	}
}
