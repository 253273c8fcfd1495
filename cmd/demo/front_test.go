package main

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

func TestTheFrontTriesAnotherReplicaOnlyWhenNothingWasSent(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	got := map[string]int{}
	seen := func() (a, b int) {
		mu.Lock()
		defer mu.Unlock()
		return got["a"], got["b"]
	}
	replica := func(name string) *httptest.Server {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			mu.Lock()
			got[name]++
			mu.Unlock()
			if err != nil || string(body) != "usage" || r.Host != "sell.example" {
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
	if a, b := seen(); a != 3 || b != 3 {
		t.Errorf("not in turn: %d and %d", a, b)
	}
	for range 2 { // one that a replica took, and cut, is no other's
		if _, err := post("/cut"); !errors.Is(err, io.EOF) {
			t.Errorf("what was cut ended with %v", err)
		}
	}
	if a, b := seen(); a != 4 || b != 4 {
		t.Errorf("a request that was cut was sent again: %d and %d", a, b)
	}
	a.Close()
	want("/", 4)
	if _, b := seen(); b != 8 {
		t.Errorf("the living one took %d", b-4)
	}
	b.Close()
	if _, err := post("/"); err == nil {
		t.Error("nobody lives, and somebody answered")
	}
}
