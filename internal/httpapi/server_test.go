package httpapi_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/httpapi"
	"github.com/tailmarket/tailmarket/internal/notify"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

// serve runs the real server on loopback; stop ends it and answers its error.
func (w *world) serve(t *testing.T) (addr string, stop func() error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.api.Serve(ctx, l) }()
	stopped := false
	stop = func() error { stopped = true; cancel(); return <-done }
	t.Cleanup(func() {
		if !stopped {
			_ = stop()
		}
	})
	return l.Addr().String(), stop
}

func TestASlowBodyIsCut(t *testing.T) {
	t.Parallel()
	w := setup(t, func(o *httpapi.Options) {
		o.Limits.Request, o.Limits.Header = 300*time.Millisecond, 200*time.Millisecond
	})
	addr, _ := w.serve(t)
	for name, head := range map[string]string{
		"headers": "POST /aws/events HTTP/1.1\r\nHost: x\r\nContent-",
		"body":    "POST /aws/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
	} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second)) // only so that a failure does not hang
		if _, err := io.WriteString(c, head); err != nil {
			t.Fatal(err)
		}
		rest, err := io.ReadAll(c) // ends when the server cuts
		if err != nil {
			t.Errorf("slow %s: the connection was not cut: %v", name, err)
		}
		if name == "body" && !strings.HasPrefix(string(rest), "HTTP/1.1 408 ") {
			t.Errorf("slow body answered %.60q", rest)
		}
		_ = c.Close()
	}
	if len(w.deliveries) != 0 {
		t.Error("half a delivery reached intake")
	}
}

func TestBodiesAreBounded(t *testing.T) {
	t.Parallel()
	w := setup(t)
	owner, operator := w.signedIn(t), w.operator(t)
	for _, path := range []string{"/aws/events", "/aws/register", "/claim/x/email", "/claim/x/invite", "/v1/products/tailnet/go-live", "/purchases/" + sub + "/name", "/operator/leave"} {
		for _, announced := range []bool{true, false} {
			var body io.Reader = strings.NewReader("from=" + strings.Repeat("a", 8<<10))
			if !announced {
				body = struct{ io.Reader }{body}
			}
			req := request(t, http.MethodPost, w.server.URL+path, body)
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			req.Header.Set("Authorization", "Bearer "+w.opkey)
			b := owner
			if strings.HasPrefix(path, "/operator") {
				if b = operator; !announced {
					continue // reads no body
				}
			}
			if r := b.do(req); r.StatusCode != http.StatusRequestEntityTooLarge {
				t.Errorf("%s (announced %v) answered %d", path, announced, r.StatusCode)
			}
		}
	}
	if len(w.deliveries)+len(w.tokens)+len(w.emails)+len(w.live)+len(w.names) != 0 {
		t.Error("half a body did something")
	}
}

func TestStoppingLetsRequestsFinish(t *testing.T) {
	t.Parallel()
	w := setup(t)
	entered, release := make(chan struct{}), make(chan struct{})
	w.opts.Intake = slowIntake{intakeOf{w}, entered, release}
	var err error
	if w.api, err = httpapi.New(w.opts); err != nil {
		t.Fatal(err)
	}
	addr, stop := w.serve(t)
	answered := make(chan int, 1)
	go func() {
		res, err := http.Post("http://"+addr+"/aws/events", "application/json", strings.NewReader("{}"))
		if err != nil {
			answered <- 0
			return
		}
		_ = res.Body.Close()
		answered <- res.StatusCode
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	for { // until nobody is accepted any more
		c, err := net.Dial("tcp", addr)
		if err != nil {
			break
		}
		_ = c.Close()
	}
	close(release)
	if status := <-answered; status != http.StatusOK {
		t.Errorf("the request under way answered %d", status)
	}
	if err := <-stopped; err != nil {
		t.Errorf("stop: %v", err)
	}
}

type slowIntake struct {
	intakeOf
	entered, release chan struct{}
}

func (s slowIntake) Accept(ctx context.Context, _ deliveryOf) error {
	close(s.entered)
	<-s.release
	return ctx.Err()
}

func TestAPanicIsOurTroubleAndTellsNothing(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.opts.Intake = panicky{intakeOf{w}}
	api, err := httpapi.New(w.opts)
	if err != nil {
		t.Fatal(err)
	}
	w.server.Config.Handler = api
	r := w.call(t, http.MethodPost, "/aws/events", "application/json", "{}")
	if r.StatusCode != http.StatusInternalServerError || strings.Contains(r.body+w.log.String(), secret) || !strings.Contains(w.log.String(), "handler panicked") {
		t.Fatalf("answered %d %s\n%s", r.StatusCode, r.body, w.log)
	}
}

type panicky struct{ intakeOf }

func (panicky) Accept(context.Context, deliveryOf) error { panic("with " + secret) }

func TestHealthAndReadiness(t *testing.T) {
	t.Parallel()
	w := setup(t)
	b := w.browser(t)
	if b.get("/healthz").StatusCode != http.StatusOK || b.get("/readyz").StatusCode != http.StatusOK {
		t.Error("not healthy")
	}
	w.ready = errors.New("the schema is at 3, not 6")
	if r := b.get("/readyz"); r.StatusCode != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" {
		t.Errorf("not ready answered %d", r.StatusCode)
	}
	if r := b.get("/healthz"); r.StatusCode != http.StatusOK {
		t.Errorf("healthz answered %d", r.StatusCode)
	}
	if r := b.get("/metrics"); r.StatusCode != http.StatusNotFound {
		t.Errorf("/metrics on the public listener answered %d", r.StatusCode)
	}
}

func TestEveryAnswerHasTheGuardingHeaders(t *testing.T) {
	t.Parallel()
	w := setup(t)
	for _, path := range []string{"/healthz", "/aws/register", "/claim/x", "/nowhere", "/v1/stuck", "/assets/console.css"} {
		h := w.browser(t).get(path).Header
		if !strings.Contains(h.Get("Content-Security-Policy"), "frame-ancestors 'none'") || strings.Contains(h.Get("Content-Security-Policy"), "unsafe") ||
			h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" || !strings.HasPrefix(h.Get("X-Request-Id"), "req_") {
			t.Errorf("%s has %v", path, h)
		}
	}
	for given, kept := range map[string]bool{"caller-1234": true, "short": false, "with space and\ttab": false, strings.Repeat("a", 65): false} {
		req := request(t, http.MethodGet, w.server.URL+"/healthz", nil)
		req.Header.Set("X-Request-Id", given)
		if got := w.browser(t).do(req).Header.Get("X-Request-Id"); (got == given) != kept {
			t.Errorf("request id %q became %q", given, got)
		}
	}
}

func TestTheKeyGuardsTheWholeAPI(t *testing.T) {
	t.Parallel()
	w := setup(t)
	paths := map[string]string{
		"/v1/subscriptions": "GET", "/v1/subscriptions/" + sub: "GET", "/v1/subscriptions/" + sub + "/story": "GET", "/v1/subscriptions/" + sub + "/hours": "GET",
		"/v1/conservation": "GET", "/v1/findings": "GET", "/v1/deliveries/counts": "GET", "/v1/quarantine/deliveries": "GET", "/v1/quarantine/usage": "GET",
		"/v1/partners": "GET", "/v1/attribution": "GET", "/v1/value-by-channel": "GET", "/v1/outbox": "GET", "/v1/products/tailnet": "GET", "/v1/stuck": "GET", "/v1/operator-links": "POST", "/v1/quarantine/deliveries/dlv_1/replay": "POST",
		fmt.Sprintf("/v1/quarantine/usage/%x/replay", billing.IdentOf("s", "1")): "POST",
	}
	for path, method := range paths {
		for _, wrong := range []string{"", "Bearer", "Bearer " + w.opkey + "x", "Basic " + w.opkey} {
			r := w.call(t, method, path, "", "", "Authorization", wrong)
			if r.StatusCode != http.StatusUnauthorized || r.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s with %.10q answered %d", path, wrong, r.StatusCode)
			}
		}
		if r := w.call(t, method, path, "", ""); r.StatusCode/100 != 2 {
			t.Errorf("%s %s answered %d %s", method, path, r.StatusCode, r.body)
		}
	}
	if r := w.call(t, http.MethodPost, "/v1/usage", single, event("1"), "Authorization", ""); r.StatusCode != http.StatusUnauthorized || len(w.ingested) != 0 {
		t.Errorf("usage without a key answered %d", r.StatusCode)
	}
	if r := w.signedIn(t).get("/v1/outbox"); r.StatusCode != http.StatusUnauthorized {
		t.Errorf("a buyer's session opens the API: %d", r.StatusCode)
	}
}

// Everything that is secret is fed through every route, well and badly, and
// must not be in the log.
func TestNoSecretReachesTheLog(t *testing.T) {
	t.Parallel()
	w := setup(t)
	owner, operator := w.signedIn(t), w.operator(t)
	mail := secret + "@company.example"
	form := url.Values{"x-amzn-marketplace-token": {secret}, "email": {mail}, "referred_by": {secret}, "tailnet_name": {secret}, "claim": {secret}, "f" + secret: {secret}}
	w.mails = []notify.Entry{{Mail: notify.Mail{ID: "msg_1", Address: mail, Text: secret, Link: "/verify/" + secret}}}
	w.people = []subscription.Claim{{ID: "clm_1", State: subscription.ClaimHolder, Email: mail}}
	feed := func() {
		for _, path := range []string{
			"/aws/register", "/claim/" + secret + "/email", "/claim/" + secret + "/invite", "/verify/" + secret, "/purchases/" + sub + "/name", "/purchases/" + sub + "/reveal",
			"/purchases/" + sub + "/invite", "/purchases/" + sub + "/admit", "/purchases/" + secret + "/name", "/operator/enter/" + secret, "/nowhere/" + secret + "?q=" + secret,
		} {
			owner.post(path, form, "X-Request-Id", "bad id "+secret, "X-Api-Key", secret)
		}
		for _, path := range []string{"/r/" + secret, "/claim/" + secret, "/claim/" + secret + "/sent", "/verify/" + secret, "/purchases/" + sub, "/aws/register?x-amzn-marketplace-token=" + secret, "/" + secret} {
			owner.get(path)
		}
		for _, path := range []string{"/operator", "/operator/outbox?after=" + secret, "/operator/quarantine?usage=" + secret, "/operator/channels?partner=" + secret, "/operator/enter/" + secret} {
			operator.get(path)
		}
		operator.post("/operator/quarantine/deliveries/"+secret+"/replay", form)
		w.call(t, http.MethodPost, "/aws/events", "application/json", `{"body":"`+secret+`"}`, "X-Api-Key", secret)
		w.call(t, http.MethodPost, "/v1/usage", batch, "["+strings.ReplaceAll(event("1"), "12.5", secret)+`,"`+secret+`"]`)
		w.call(t, http.MethodPost, "/v1/usage", batch, secret)
		w.call(t, http.MethodGet, "/v1/outbox?after="+secret, "", "")
		w.call(t, http.MethodPost, "/v1/partners/"+secret+"/keys", "application/json", `{"marketplace":"aws","kind":"offer","value":"`+secret+`"}`)
		w.call(t, http.MethodGet, "/v1/stuck", "", "", "Authorization", "Bearer "+secret)
		w.call(t, http.MethodPost, "/v1/operator-links", "", "")
	}
	feed()
	for _, class := range []fault.Class{fault.Invalid, fault.Forged, fault.Gone, fault.Unavailable} {
		err := fault.New(class, "a text")
		w.accept, w.arrive, w.visitErr, w.emailErr, w.confErr, w.nameErr, w.revErr, w.ingestErr, w.err = err, err, err, err, err, err, err, err, err
		feed()
	}
	log := w.log.String()
	if strings.Count(log, "request answered") < 100 {
		t.Fatalf("the log is too short to prove anything:\n%s", log)
	}
	for n := bufio.NewScanner(strings.NewReader(log)); n.Scan(); {
		if line := n.Text(); strings.Contains(line, secret) || strings.Contains(line, w.opkey) {
			t.Errorf("a secret is logged: %s", line)
		}
	}
}
