package httpapi_test

import (
	"bufio"
	"net/http"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/httpapi"
)

// A stream has no end of its own: it outlives the limits of answers that do, and
// it does not keep the server from stopping.
func TestAStreamLastsAsLongAsItsPageAndNoLongerThanTheServer(t *testing.T) {
	t.Parallel()
	w := setup(t, func(o *httpapi.Options) {
		o.Limits.Request, o.Limits.Header = 100*time.Millisecond, 100*time.Millisecond
	})
	addr, stop := w.serve(t)
	b := w.signedIn(t)
	req := request(t, http.MethodGet, "http://"+addr+"/purchases/"+sub+"/live", nil)
	for _, c := range b.c.Jar.Cookies(request(t, http.MethodGet, w.server.URL+"/purchases/"+sub, nil).URL) {
		req.AddCookie(c)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if got := res.Header; res.StatusCode != http.StatusOK || got.Get("Content-Type") != "text/event-stream" || got.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v", res.StatusCode, got)
	}
	words, ended := make(chan string, 10), make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			if lines.Text() != "" {
				words <- lines.Text()
			}
		}
	}()
	hear := func() {
		t.Helper()
		select {
		case got := <-words:
			if got != "data: changed" {
				t.Fatalf("said %q", got)
			}
		case <-ended:
			t.Fatal("the stream ended")
		}
	}
	hear() // what changed while the page was on its way
	select {
	case got := <-words:
		t.Fatalf("said %q of nothing", got)
	case <-ended:
		t.Fatal("the stream ended with the time of other answers")
	case <-time.After(time.Second): // read, write and request have had their time
	}
	w.opts.Fleet.Bus.Publish(httpapi.Topic("sub_of_another"))
	w.opts.Fleet.Bus.Publish(httpapi.Topic(sub))
	hear()
	began := time.Now()
	if err := stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("an open page kept the server for %v", took)
	}
	<-ended
}

// Whoever may not see a page hears nothing of it.
func TestAStreamHasTheGuardOfItsPage(t *testing.T) {
	t.Parallel()
	w := setup(t)
	buyer := w.signedIn(t)
	for _, path := range []string{"/operator/live", "/operator/subscriptions/" + sub + "/live", "/purchases/sub_of_another/live"} {
		res, err := buyer.c.Do(request(t, http.MethodGet, w.server.URL+path, nil))
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close() // unread: a stream has no end
		if res.StatusCode != http.StatusUnauthorized && res.StatusCode != http.StatusForbidden {
			t.Errorf("a buyer at %s: %d", path, res.StatusCode)
		}
	}
}
