package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/app"
	"github.com/tailmarket/tailmarket/internal/config"
	"github.com/tailmarket/tailmarket/internal/due"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/simulator"
)

// base opens the app's foundation on SQLite in dir, under the simulator's clock.
func base(t *testing.T, sim *simulator.Simulator, dir string) *app.Base {
	t.Helper()
	c, err := config.Load([]string{"TAILMARKET_DATA_DIR=" + dir, "TAILMARKET_CLOCK_URL=" + sim.ControlURL(), "TAILMARKET_METERING_BACKOFF_BASE=5ms"}, "")
	if err != nil {
		t.Fatal(err)
	}
	b, err := app.OpenBase(t.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b
}

// Virtual hours pass only as fast as the work that falls due in them is done,
// and none is skipped: not when work fails, not when the process is replaced.
func TestTheClockWaitsForDueWork(t *testing.T) {
	t.Parallel()
	sim, err := simulator.New(simulator.Options{Seed: 1, Weather: simulator.WeatherGood})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	start, dir := sim.Now(), t.TempDir()

	var mu sync.Mutex
	var ran []string
	failures := map[string]int{}
	hours := map[due.Kind]due.Work{due.Seal: func(_ context.Context, subject string) (time.Time, error) {
		mu.Lock()
		defer mu.Unlock()
		at := sim.Now()
		if key := subject + at.String(); failures[key] < 2 { // each hour fails twice first
			failures[key]++
			return time.Time{}, fault.New(fault.Unavailable, "not now")
		}
		ran = append(ran, fmt.Sprintf("%s %s", subject, at.Format("15:04")))
		return at.Truncate(time.Hour).Add(time.Hour), nil
	}}

	run := func(replica string, to time.Time) {
		b := base(t, sim, dir)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		if replica == "first" {
			if err := b.Store.MarkDue(ctx, due.Seal, "sub_1", start.Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
		go func() { ended <- b.Work(ctx, replica, hours) }()
		bound, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := sim.Advance(bound, to); err != nil {
			t.Error(err)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	run("first", start.Add(3*time.Hour+30*time.Minute))
	run("second", start.Add(6*time.Hour)) // another process, the same data

	mu.Lock()
	defer mu.Unlock()
	want := []string{"sub_1 01:00", "sub_1 02:00", "sub_1 03:00", "sub_1 04:00", "sub_1 05:00", "sub_1 06:00"}
	if fmt.Sprint(ran) != fmt.Sprint(want) {
		t.Fatalf("ran %v, want %v", ran, want)
	}
}
