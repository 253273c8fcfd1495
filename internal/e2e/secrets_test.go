package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/simulator"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/telemetry"
)

// secrets are the texts that must not be logged, each under what it is.
type secrets struct {
	mu  sync.Mutex
	all map[string]map[string]bool
}

func (s *secrets) add(what string, values ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[string]map[string]bool{}
	}
	if s.all[what] == nil {
		s.all[what] = map[string]bool{}
	}
	for _, v := range values {
		if v = strings.TrimSpace(v); v != "" {
			s.all[what][v] = true
		}
	}
}

// leaked finds what of the secrets stands in a log, as it is or as a handler or
// a library may have written it.
func (s *secrets) leaked(log string) (what []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, values := range s.all {
		for v := range values {
			quoted, escaped := strconv.Quote(v), bytes.Buffer{}
			e := json.NewEncoder(&escaped)
			if err := e.Encode(v); err != nil {
				panic(err) // a string
			}
			for _, form := range []string{
				v, quoted[1 : len(quoted)-1], strings.Trim(strings.TrimSpace(escaped.String()), `"`), url.QueryEscape(v), url.PathEscape(v),
				base64.StdEncoding.EncodeToString([]byte(v)), base64.RawURLEncoding.EncodeToString([]byte(v)),
			} {
				if strings.Contains(log, form) {
					what = append(what, name+" "+v)
					break
				}
			}
		}
	}
	return what
}

var (
	linkPath = regexp.MustCompile(`/(claim|verify|operator/enter)/([^/?"\s]+)`)
	shownKey = regexp.MustCompile(`id="join-key"[^>]*>\s*([^<\s]+)`)
)

// overhear is a proxy before the app that learns every secret that passes: in
// paths, headers, forms, cookies, pages and bodies.
func (s *secrets) overhear(t *testing.T, app func() string) *httptest.Server {
	t.Helper()
	links := func(text string) {
		for _, m := range linkPath.FindAllStringSubmatch(text, -1) {
			s.add("token of a "+m[1]+" link", m[2])
		}
	}
	proxy := &httputil.ReverseProxy{
		Transport: &http.Transport{DisableKeepAlives: true},
		ErrorLog:  slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		Rewrite: func(r *httputil.ProxyRequest) {
			target, err := url.Parse(app())
			if err != nil {
				t.Error(err)
			}
			r.SetURL(target)
			r.Out.Host = r.In.Host
			links(r.In.URL.Path)
			for _, h := range []string{"Authorization", "X-Api-Key"} {
				v := r.In.Header.Get(h)
				s.add("header "+h, v[strings.LastIndexByte(v, ' ')+1:])
			}
			body, err := io.ReadAll(r.In.Body)
			if err != nil {
				return // the buyer has gone
			}
			r.Out.Body = io.NopCloser(bytes.NewReader(body))
			if len(body) > 0 {
				s.add("request body", string(body))
			}
			if form, err := url.ParseQuery(string(body)); err == nil && strings.HasPrefix(r.In.Header.Get("Content-Type"), "application/x-www-form") {
				s.add("registration token", form.Get("x-amzn-marketplace-token"))
				s.add("e-mail address", form.Get("email"))
			}
		},
		ModifyResponse: func(r *http.Response) error {
			for _, c := range r.Cookies() {
				s.add("session cookie", c.Value)
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return err
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			links(r.Header.Get("Location") + " " + string(body))
			for _, m := range shownKey.FindAllSubmatch(body, -1) {
				s.add("join key", string(m[1]))
			}
			return nil
		},
	}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	return server
}

// A whole purchase in bad weather, from the message to the last bill, and
// everything that can be sent wrongly on the way: whatever was secret in it is
// in no line of the log, at its most talkative and in both of its formats.
func TestNoSecretOfAPurchaseIsLogged(t *testing.T) {
	t.Parallel()
	var text, lines logbook
	log := slog.New(slog.NewMultiHandler(
		telemetry.NewLogger(&text, "text", slog.LevelDebug).Handler(), telemetry.NewLogger(&lines, "json", slog.LevelDebug).Handler(),
	))
	var hidden secrets
	var s *shop
	front := hidden.overhear(t, func() string { return s.url })
	s = open(t, store.SQLite, simulator.Options{Seed: 3}, log, "TAILMARKET_PUBLIC_URL="+front.URL)
	s.sim.SetApp(front.URL)
	ask := func(path string) { // as the operator does, through the proxy
		if got, err := s.try(http.MethodGet, front.URL+path, nil, "Authorization", "Bearer "+s.key); err != nil || got.status != http.StatusOK {
			t.Fatalf("%s: %d %v", path, got.status, err)
		}
	}

	// Somebody registers twice, first with a token that is too old, and gets there.
	b, err := s.sim.Buy(t.Context(), simulator.Purchase{Email: "ada.lovelace@analytical.example", Habits: &simulator.Habits{After: 5 * time.Hour, Twice: true, Stale: true}})
	if err != nil {
		t.Fatal(err)
	}
	for range 24 {
		if s.advance(time.Hour); s.buyer(b.ID).Finished != "" {
			break
		}
	}
	if got := s.buyer(b.ID); !got.JoinKeySeen {
		t.Fatalf("the buyer got no key: %+v", got)
	}
	p := s.purchases()[0]
	ask("/v1/outbox")

	// Use, an end, and the last bill.
	const person = "grace-hopper-the-user"
	s.put("nodes", p.Tailnet, "node-1", map[string]any{"hostname": "one", "tags": []string{"tag:server"}, "joined_at": s.sim.Now()})
	s.put("users", p.Tailnet, "user-1", map[string]any{"login_name": person + "@buyer.example", "joined_at": s.sim.Now()})
	event := usage(p.ID, "usage-1", "api_request", "12.5", s.sim.Now())
	event["data"].(map[string]any)["of"] = person
	raw, err := json.Marshal([]any{event})
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.try(http.MethodPost, front.URL+"/v1/usage", bytes.NewReader(raw), "Authorization", "Bearer "+s.key, "Content-Type", cloudBatch)
	if err != nil || got.status != http.StatusOK {
		t.Fatalf("usage: %+v %v", got, err)
	}
	s.sim.Activity()
	s.advance(2 * time.Hour)
	credential, err := s.base.Store.Provisioning().TailnetCredential(t.Context(), id.Tailnet(p.Tailnet))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.sim.Cancel(t.Context(), b.ID, ""); err != nil {
		t.Fatal(err)
	}
	s.advance(3 * time.Hour)
	if len(s.sim.Bill().Lines) == 0 {
		t.Fatal("nothing was billed")
	}

	// Everything wrong, with a secret where one fits.
	const planted = "tm-planted-0123456789abcdef"
	hidden.add("planted", planted)
	wrongly := func(method, path, body string, header ...string) {
		if got, err := s.try(method, front.URL+path, strings.NewReader(body), header...); err != nil || got.status < 400 {
			t.Errorf("%s %s: %d %v", method, path, got.status, err)
		}
	}
	webForm := []string{"Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin", "Accept", "text/html"}
	wrongly(http.MethodPost, "/aws/events", licensed(s.sim, planted, nil), "x-api-key", planted)
	wrongly(http.MethodPost, "/aws/register", form("x-amzn-marketplace-token", planted), webForm...)
	wrongly(http.MethodPost, "/claim/"+planted+"/email", form("email", planted+"@a.example"), webForm...)
	wrongly(http.MethodPost, "/verify/"+planted, form("x", planted), webForm...)
	wrongly(http.MethodPost, "/purchases/"+p.ID+"/reveal", "", append(webForm, "Cookie", "tm_purchase_x="+planted)...)
	wrongly(http.MethodPost, "/operator/enter/"+planted, "", webForm...)
	wrongly(http.MethodGet, "/v1/stuck", "", "Authorization", "Bearer "+planted)
	wrongly(http.MethodGet, "/"+planted+"?token="+planted, "")
	wrongly(http.MethodPost, "/v1/usage", planted, "Authorization", "Bearer "+s.key, "Content-Type", cloudBatch)
	if got, err := s.try(http.MethodPost, front.URL+"/aws/events", strings.NewReader(`{"of":"`+planted+`"}`), "x-api-key", key(s)); err != nil || got.status != http.StatusOK {
		t.Errorf("a message that cannot be read: %d %v", got.status, err)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}

	hidden.add("event key", key(s))
	hidden.add("operator's key", s.key)
	hidden.add("tailnet's client secret", credential.Secret)
	hidden.add("AWS secret access key", secretKey)
	hidden.add("e-mail address", person, b.Email)
	instance, err := os.ReadFile(filepath.Join(s.dir, "instance.key"))
	if err != nil {
		t.Fatal(err)
	}
	hidden.add("instance key", string(instance))
	for _, m := range linkPath.FindAllStringSubmatch(s.out.String(), -1) {
		hidden.add("operator's link", m[2])
	}
	for what, least := range map[string]int{
		"event key": 1, "operator's key": 1, "registration token": 3, "token of a claim link": 2, "token of a verify link": 1, "session cookie": 1, "join key": 1,
		"e-mail address": 2, "tailnet's client secret": 1, "AWS secret access key": 1, "request body": 8, "instance key": 1, "operator's link": 1,
		"header Authorization": 2, "header X-Api-Key": 2,
	} {
		if n := len(hidden.all[what]); n < least {
			t.Errorf("overheard %d of at least %d: %s", n, least, what)
		}
	}
	for format, book := range map[string]*logbook{"text": &text, "json": &lines} {
		log := book.String()
		if n := strings.Count(log, "request answered"); n < 30 || !strings.Contains(log, "work failed") || !strings.Contains(log, "delivery forged") {
			t.Errorf("the %s log is too short to prove anything: %d requests in %d bytes", format, n, len(log))
		}
		for _, what := range hidden.leaked(log) {
			t.Errorf("the %s log holds the %s", format, what)
		}
		for _, field := range []string{"RegistrationToken", "UsageRecords", "CustomerAWSAccountId", `"detail-type"`} {
			if strings.Contains(log, field) {
				t.Errorf("the %s log holds a body with %s", format, field)
			}
		}
	}
	hidden.provesItself(t)
}

func key(s *shop) string {
	_, k := s.sim.EventKey()
	return k
}

// provesItself logs every secret on purpose, without the masks of telemetry: a
// test that could not find them would find nothing.
func (s *secrets) provesItself(t *testing.T) {
	t.Helper()
	var text, lines bytes.Buffer
	log := slog.New(slog.NewMultiHandler(slog.NewTextHandler(&text, nil), slog.NewJSONHandler(&lines, nil)))
	want := 0
	for _, values := range s.all {
		for v := range values {
			log.InfoContext(context.Background(), "planted", "note", v)
			want++
		}
	}
	for format, got := range map[string]string{"text": text.String(), "json": lines.String()} {
		if n := len(s.leaked(got)); n != want {
			t.Errorf("the %s log holds %d secrets and %d were found", format, want, n)
		}
	}
}
