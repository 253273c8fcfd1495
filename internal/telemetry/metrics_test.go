package telemetry_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/telemetry"
)

func TestStationsTellTheirThreeNumbers(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics(telemetry.Build{Version: "v1.2.3", Revision: "abc", Go: "go1.26"})
	age := 90 * time.Second
	seal := m.Station("seal", func(context.Context) (time.Duration, error) { return age, nil })
	m.Station("submit", func(context.Context) (time.Duration, error) { return 0, errors.New("database gone") })
	m.Station("close", nil)
	seal.In(3)
	seal.Out(2)
	(*telemetry.Station)(nil).In(1)
	m.WebhookAnswered("aws", http.StatusUnauthorized)
	m.Conservation(0, time.Unix(1_700_000_000, 0))
	m.Redis(func() time.Duration { return 1500 * time.Millisecond })

	text := read(t, m)
	for _, line := range []string{
		`tailmarket_station_in_total{station="seal"} 3`,
		`tailmarket_station_out_total{station="seal"} 2`,
		`tailmarket_station_in_total{station="close"} 0`,
		`tailmarket_station_oldest_seconds{station="seal"} 90`,
		`tailmarket_station_age_errors_total{station="submit"} 1`,
		`tailmarket_webhook_answers_total{marketplace="aws",status="401"} 1`,
		`tailmarket_conservation_broken 0`,
		`tailmarket_redis_lost_seconds 1.5`,
		`tailmarket_conservation_checked_timestamp_seconds 1.7e+09`,
		`tailmarket_build_info{go="go1.26",revision="abc",version="v1.2.3"} 1`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	for _, absent := range []string{`oldest_seconds{station="submit"}`, `oldest_seconds{station="close"}`} {
		if strings.Contains(text, absent) {
			t.Errorf("an age is told that nobody knows: %s", absent)
		}
	}

	// The age grows without the worker's help: it is asked for at each reading.
	age = time.Hour
	if !strings.Contains(read(t, m), `tailmarket_station_oldest_seconds{station="seal"} 3600`) {
		t.Error("the age stood still")
	}
}

func TestAStationIsMadeOnce(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics(telemetry.ReadBuild())
	m.Station("seal", nil)
	defer func() {
		if recover() == nil {
			t.Error("two stations share a name")
		}
	}()
	m.Station("seal", nil)
}

func TestThePrivateSideServesProfiles(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics(telemetry.ReadBuild())
	for path, want := range map[string]int{"/debug/pprof/": 200, "/debug/pprof/goroutine?debug=1": 200, "/": 404} {
		w := httptest.NewRecorder()
		m.Private().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		if w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
	}
}

func read(t *testing.T, m *telemetry.Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Private().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("/metrics answers %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}
