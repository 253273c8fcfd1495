package main

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestTheFrontTriesAnotherReplicaOnlyWhenNothingWasSent(t *testing.T) {
	t.Parallel()
	got := map[string]int{}
	replica := func(name string) *httptest.Server {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if got[name]++; err != nil || string(body) != "usage" || r.Host != "sell.example" {
				t.Errorf("%s got %q for %s: %v", name, body, r.Host, err)
			}
			if r.URL.Path == "/cut" {
				panic(http.ErrAbortHandler)
			}
			w.Header().Set("Location", "/next?a=1")
			w.WriteHeader(http.StatusSeeOther)
		}))
		t.Cleanup(s.Close)
		return s
	}
	a, b := replica("a"), replica("b")
	f, err := newFront("127.0.0.1:0", []string{a.Listener.Addr().String(), b.Listener.Addr().String()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.close)
	hc := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	post := func(path string) (int, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+f.addr+path, strings.NewReader("usage"))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "sell.example"
		res, err := hc.Do(req)
		if err != nil {
			return 0, err
		}
		defer func() { _ = res.Body.Close() }()
		if to := res.Header.Get("Location"); to != "/next?a=1" {
			t.Errorf("it leads to %q", to)
		}
		return res.StatusCode, nil
	}
	want := func(path string, n int) {
		t.Helper()
		for range n {
			if status, err := post(path); err != nil || status != http.StatusSeeOther {
				t.Errorf("%d, %v", status, err)
			}
		}
	}
	want("/", 6)
	if got["a"] != 3 || got["b"] != 3 {
		t.Errorf("taken in turn: %v", got)
	}
	for range 2 { // one that a replica took, and cut, is no other's
		if _, err := post("/cut"); !errors.Is(err, io.EOF) {
			t.Errorf("what was cut ended with %v", err)
		}
	}
	if got["a"]+got["b"] != 8 {
		t.Errorf("a request that was cut was sent again: %v", got)
	}
	a.Close()
	want("/", 4)
	if got["b"] != 8 {
		t.Errorf("the living one took %d", got["b"])
	}
	b.Close()
	if _, err := post("/"); err == nil {
		t.Error("nobody lives, and somebody answered")
	}
}
