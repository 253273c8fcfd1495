package gcp_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/marketplace/gcp"
)

// listening runs Listen until the test or the returned stop ends it.
func listening(t *testing.T, a *gcp.Adapter, handle func(context.Context, marketplace.Delivery) error) (stop func()) {
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

func await(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s: not within 20 seconds", what)
	}
}

// TestListenAcknowledgesOnlyWhatWasHandled: a message that was not taken comes again, one that
// was does not.
func TestListenAcknowledgesOnlyWhatWasHandled(t *testing.T) {
	t.Parallel()
	q, a := openQueue(t)
	first := q.publish(active)
	taken := make(chan struct{})
	var times atomic.Int64
	stop := listening(t, a, func(ctx context.Context, d marketplace.Delivery) error {
		v, err := a.Verify(ctx, d)
		if err != nil || d.Channel != marketplace.Pull || d.Marketplace != marketplace.GCP || d.Source != pulled || string(d.Body) != active || !d.ReceivedAt.Equal(noon) {
			t.Errorf("delivery %+v: %v", d, err)
		}
		if !v.SentAt.Equal(published) {
			t.Errorf("sent at %s, published at %s", v.SentAt, published)
		}
		if times.Add(1) == 1 {
			return errors.New("our trouble")
		}
		close(taken)
		return nil
	})
	await(t, "the message comes again", taken)
	stop()
	if acks, left := q.acknowledged(first); acks != 1 || left != 0 || times.Load() != 2 {
		t.Errorf("handled %d times, acknowledged %d times, %d left", times.Load(), acks, left)
	}
}

// TestListenHandlesTenAtOnce, and no more.
func TestListenHandlesTenAtOnce(t *testing.T) {
	t.Parallel()
	q, a := openQueue(t)
	for range 30 {
		q.publish(active)
	}
	var running, most atomic.Int64
	began, goOn := make(chan struct{}, 30), make(chan struct{})
	listening(t, a, func(ctx context.Context, _ marketplace.Delivery) error {
		n := running.Add(1)
		defer running.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		began <- struct{}{}
		select {
		case <-goOn:
		case <-ctx.Done():
		}
		return nil
	})
	for range 10 {
		await(t, "ten messages", began)
	}
	for range 20 { // one goes, one comes
		goOn <- struct{}{}
		await(t, "the next message", began)
	}
	close(goOn)
	q.mu.Lock()
	defer q.mu.Unlock()
	if got := most.Load(); got != 10 || q.limit != 10 {
		t.Errorf("%d messages at once, %d asked for, want 10", got, q.limit)
	}
}

// TestListenStops: what is being handled is finished and acknowledged, and nothing runs on.
func TestListenStops(t *testing.T) {
	t.Parallel()
	q, a := openQueue(t)
	id := q.publish(active)
	begun := make(chan struct{})
	var finished atomic.Bool
	stop := listening(t, a, func(ctx context.Context, _ marketplace.Delivery) error {
		close(begun)
		<-ctx.Done() // Listen was told to stop; this message is committed all the same
		finished.Store(true)
		return nil
	})
	await(t, "the message", begun)
	stop()
	if acks, left := q.acknowledged(id); !finished.Load() || acks != 1 || left != 0 {
		t.Errorf("finished %v, acknowledged %d times, %d left", finished.Load(), acks, left)
	}
}

// TestListenFailures: a subscription that cannot be read is said so; none is nothing to do.
func TestListenFailures(t *testing.T) {
	t.Parallel()
	q, _ := openQueue(t)
	g := &google{now: noon}
	never := func(context.Context, marketplace.Delivery) error {
		t.Error("a message came")
		return nil
	}
	c := settings()
	c.Endpoint, c.PullSubscription = "http://"+q.address, pulled+"-another"
	if err := g.reopen(t, c).Listen(t.Context(), never); !fault.Is(err, fault.Unavailable) {
		t.Errorf("no such subscription: %v", err)
	}
	c.PullSubscription = ""
	listening(t, g.reopen(t, c), never)()
}
