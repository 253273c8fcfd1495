package aws_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/marketplace/aws"
	"github.com/tailmarket/tailmarket/internal/simulator"
)

// listening runs Listen until the test or the returned stop ends it.
func listening(t *testing.T, a *aws.Adapter, handle func(context.Context, marketplace.Delivery) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Listen(ctx, handle) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("listen: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("listen does not stop")
		}
	})
	t.Cleanup(stop)
	return stop
}

// TestListenDeletesOnlyWhatWasHandled: a message that was not taken comes again,
// one that was does not.
func TestListenDeletesOnlyWhatWasHandled(t *testing.T) {
	t.Parallel()
	v := open(t, simulator.Options{Seed: 2, Weather: simulator.WeatherGood, Channel: simulator.ChannelSQS})
	var mu sync.Mutex
	taken, refused := map[string]int{}, map[string]bool{}
	listening(t, v.adapter, func(ctx context.Context, d marketplace.Delivery) error {
		got, err := v.adapter.Verify(ctx, d)
		if err != nil || d.Channel != marketplace.SQS || d.Source != v.sim.QueueURL() || d.ReceivedAt.IsZero() {
			t.Errorf("delivery %+v: %v", d, err)
		}
		mu.Lock()
		defer mu.Unlock()
		if !refused[got.ID] {
			refused[got.ID] = true
			return errors.New("our trouble")
		}
		taken[got.ID]++
		return nil
	})
	v.Buy() // returns when the queue is empty
	mu.Lock()
	defer mu.Unlock()
	if len(taken) != 2 {
		t.Errorf("%d messages were taken, want Created and License Updated", len(taken))
	}
	for id, n := range taken {
		if n != 1 {
			t.Errorf("message %s was taken %d times", id, n)
		}
	}
}

// TestListenSurvivesDaysOfOutage: messages come while nothing can be stored, and the
// queue's redrive policy counts every try. Nothing is given up, nothing lost, and what
// waited comes soon after.
func TestListenSurvivesDaysOfOutage(t *testing.T) {
	t.Parallel()
	v := open(t, simulator.Options{Seed: 2, Weather: simulator.WeatherGood, Channel: simulator.ChannelSQS, QueueByClock: true})
	over := v.Now().Add(48 * time.Hour)
	var mu sync.Mutex
	tries, taken := map[string]int{}, map[string]int{}
	listening(t, v.adapter, func(ctx context.Context, d marketplace.Delivery) error {
		got, err := v.adapter.Verify(ctx, d)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if tries[got.ID]++; v.Now().Before(over) {
			return fault.New(fault.Unavailable, "the database is away")
		}
		taken[got.ID]++
		return nil
	})
	v.Buy()
	v.Advance(30 * time.Hour)
	v.Buy()
	for v.Now().Before(over.Add(10 * time.Minute)) {
		v.Advance(2 * time.Hour)
	}
	mu.Lock()
	defer mu.Unlock()
	if r := v.sim.Rest(); len(taken) != 4 || r.Totals.Dead != 0 || r.Queue != 0 {
		t.Errorf("%d messages were taken, want 4; %d are dead letters, %d are left", len(taken), r.Totals.Dead, r.Queue)
	}
	for id, n := range taken {
		if n != 1 || tries[id] < 50 || tries[id] > 320 {
			t.Errorf("message %s was taken %d times, at try %d", id, n, tries[id])
		}
	}
}

// TestListenHandlesSeveralAtOnce, ten at most.
func TestListenHandlesSeveralAtOnce(t *testing.T) {
	t.Parallel()
	v := open(t, simulator.Options{Seed: 2, Weather: simulator.WeatherGood, Channel: simulator.ChannelSQS})
	for range 30 {
		if _, err := v.sim.Buy(t.Context(), simulator.Purchase{Habits: &simulator.Habits{Absent: true}}); err != nil {
			t.Fatal(err)
		}
	}
	var running, most atomic.Int64
	full := make(chan struct{})
	var once sync.Once
	listening(t, v.adapter, func(ctx context.Context, _ marketplace.Delivery) error {
		n := running.Add(1)
		defer running.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		if n == 10 {
			once.Do(func() { close(full) })
		}
		select {
		case <-full:
		case <-ctx.Done():
		}
		return nil
	})
	v.Advance(12 * time.Second) // thirty times Created
	if got := most.Load(); got != 10 {
		t.Errorf("%d messages at once, want 10", got)
	}
}

// TestListenStops: what is being handled is finished and deleted, and nothing
// runs on.
func TestListenStops(t *testing.T) {
	t.Parallel()
	v := open(t, simulator.Options{Seed: 2, Weather: simulator.WeatherGood, Channel: simulator.ChannelSQS})
	if _, err := v.sim.Buy(t.Context(), simulator.Purchase{Habits: &simulator.Habits{Absent: true}}); err != nil {
		t.Fatal(err)
	}
	begun := make(chan struct{})
	var finished atomic.Bool
	stop := listening(t, v.adapter, func(ctx context.Context, _ marketplace.Delivery) error {
		close(begun)
		<-ctx.Done() // Listen was told to stop; this message is committed all the same
		finished.Store(true)
		return nil
	})
	advanced := make(chan struct{})
	go func() {
		defer close(advanced)
		if err := v.sim.Advance(t.Context(), v.Now().Add(12*time.Second)); err != nil {
			t.Error(err)
		}
	}()
	<-begun
	stop()
	if !finished.Load() {
		t.Error("listen returned before its handler")
	}
	<-advanced
	if n := v.sim.Rest().Queue; n != 0 {
		t.Errorf("%d messages are left, the one that was handled should be gone", n)
	}
}

// TestListenFailures: a queue that cannot be read is said so; no queue is nothing to do.
func TestListenFailures(t *testing.T) {
	t.Parallel()
	v := open(t, simulator.Options{Seed: 2, Weather: simulator.WeatherGood, Channel: simulator.ChannelHTTPS})
	never := func(context.Context, marketplace.Delivery) error {
		t.Error("a message came")
		return nil
	}
	c := v.config
	c.QueueURL += "-another"
	if err := v.reopen(c).Listen(t.Context(), never); !fault.Is(err, fault.Unavailable) {
		t.Errorf("no such queue: %v", err)
	}
	c.QueueURL = ""
	listening(t, v.reopen(c), never)()
}
