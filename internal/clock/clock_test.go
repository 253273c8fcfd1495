package clock_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/clock"
)

func TestHourIsCutInUTC(t *testing.T) {
	ist := time.FixedZone("IST", 5*3600+1800)
	h := clock.HourOf(time.Date(2026, 11, 3, 5, 15, 0, 0, ist)) // 23:45 UTC the day before
	if got := h.String(); got != "2026-11-02T23Z" {
		t.Fatalf("hour %s", got)
	}
	if !h.Contains(h.Start()) || h.Contains(h.End()) {
		t.Fatal("an hour holds its start and not its end")
	}
	back, err := clock.ParseHour(h.String())
	if err != nil || !back.Equal(h) {
		t.Fatalf("round trip: %v %v", back, err)
	}
	if _, err := clock.ParseHour("2026-11-02T23:30:00Z"); err == nil {
		t.Fatal("a half hour passed as an hour")
	}
}

func TestRemoteNeverGoesBack(t *testing.T) {
	times := []string{"2026-11-03T00:05:00Z", "2026-11-03T00:10:00Z", "2026-11-03T00:01:00Z"}
	n := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"now": times[n]})
		n++
	}))
	defer srv.Close()
	r, err := clock.NewRemote(t.Context(), srv.URL, srv.Client())
	if err != nil {
		t.Fatal(err)
	}
	moved := r.Moved()
	for range 2 {
		if err := r.Idle(t.Context(), r.Now(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.Now().Format(time.RFC3339); got != times[1] {
		t.Fatalf("now %s, want %s", got, times[1])
	}
	select {
	case <-moved:
	default:
		t.Fatal("moved was not told")
	}
}
