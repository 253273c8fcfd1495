package tailscale_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/provisioning"
	"github.com/tailmarket/tailmarket/internal/provisioning/embedded"
	"github.com/tailmarket/tailmarket/internal/provisioning/provisioningtest"
	"github.com/tailmarket/tailmarket/internal/provisioning/tailscale"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/store/storetest"
)

// world is an embedded control plane as a harness.
type world struct {
	t    testing.TB
	s    *store.Store
	url  string
	http *http.Client
}

func (w world) Tailnets(ctx context.Context) (int, error) {
	_, n, err := w.s.Embedded().ListTailnets(ctx, "", 1)
	return n, err
}

func (w world) sim(ctx context.Context, method, kind string, r provisioning.Remote, id string, body map[string]any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, fmt.Sprintf("%s/sim/%s/%s/%s", w.url, kind, r.ID, id), bytes.NewReader(raw))
	if err != nil {
		return err
	}
	res, err := w.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	text, _ := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s answered %d: %s", method, kind, res.StatusCode, text)
	}
	return nil
}

func (w world) Join(ctx context.Context, r provisioning.Remote, node, key string) error {
	return w.sim(ctx, "POST", "nodes", r, node, map[string]any{"key": key})
}

func (w world) AddUser(ctx context.Context, r provisioning.Remote, user string) error {
	return w.sim(ctx, "POST", "users", r, user, nil)
}

func (w world) RemoveUser(ctx context.Context, r provisioning.Remote, user string) error {
	return w.sim(ctx, "DELETE", "users", r, user, nil)
}

func (w world) AddNode(ctx context.Context, r provisioning.Remote, node string, ephemeral bool, tags ...string) error {
	return w.sim(ctx, "POST", "nodes", r, node, map[string]any{"ephemeral": ephemeral, "tags": tags})
}

func (w world) RemoveNode(ctx context.Context, r provisioning.Remote, node string) error {
	return w.sim(ctx, "DELETE", "nodes", r, node, nil)
}

// start serves an embedded control plane over s.
func start(t testing.TB, s *store.Store, limit int) (provisioningtest.Harness, *embedded.Server, string) {
	t.Helper()
	return startAt(t, s, limit, provisioningtest.NewClock())
}

func startAt(t testing.TB, s *store.Store, limit int, clock *provisioningtest.Clock) (provisioningtest.Harness, *embedded.Server, string) {
	t.Helper()
	srv := embedded.New(embedded.Options{Store: s.Embedded(), Now: clock.Now, Wall: time.Now, Limit: limit, Log: slog.New(slog.DiscardHandler)})
	mux := http.NewServeMux()
	mux.Handle("/sim/", srv.Control())
	mux.Handle("/", srv.Handler())
	web := httptest.NewServer(mux)
	t.Cleanup(web.Close)
	return provisioningtest.Harness{
		Store: s.Provisioning(), Clock: clock, World: world{t, s, web.URL, web.Client()},
		Driver: func(hc *http.Client) provisioning.Driver {
			parent, err := srv.Parent(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			can := embedded.Capabilities()
			if hc.Transport == nil {
				hc = &http.Client{Transport: http.DefaultTransport}
			}
			d, err := tailscale.Config{
				Name: "embedded", BaseURL: web.URL, ClientID: parent.ClientID, ClientSecret: parent.Secret, Capabilities: &can,
			}.Open(&http.Client{Transport: store.GuardTransport(hc.Transport)}, time.Now)
			if err != nil {
				t.Fatal(err)
			}
			return d
		},
	}, srv, web.URL
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for _, engine := range []store.Engine{store.SQLite, store.Postgres} {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			provisioningtest.Run(t, func(t *testing.T) provisioningtest.Harness {
				h, _, _ := start(t, storetest.Open(t, engine), 0)
				return h
			})
		})
	}
}
