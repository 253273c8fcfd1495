package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/tailmarket/tailmarket/internal/fault"
)

// Limit is how many calls may be made in a time. The zero Limit sets none.
type Limit struct {
	Calls int
	Per   time.Duration
	Burst int // how many at once after a rest; Calls when zero
}

func (l Limit) burst() int {
	if l.Burst > 0 {
		return l.Burst
	}
	return l.Calls
}

func (l Limit) check() error {
	if l != (Limit{}) && (l.Calls <= 0 || l.Per <= 0 || l.Burst < 0) {
		return fault.New(fault.Invalid, "a call budget needs a number of calls and a time, not %d in %v with a burst of %d", l.Calls, l.Per, l.Burst)
	}
	return nil
}

// share is what one of n replicas may do alone.
func (l Limit) share(n int) Limit {
	if l == (Limit{}) {
		return l
	}
	return Limit{Calls: l.Calls, Per: l.Per * time.Duration(n), Burst: max(1, l.burst()/n)}
}

func (l Limit) perSecond() float64 { return float64(l.Calls) / l.Per.Seconds() }

func throttled(wait time.Duration) error {
	return &fault.Error{
		Class: fault.Throttled, RetryAfter: max(wait, time.Millisecond),
		Public: "Waiting: as many calls as this account may make were made.",
	}
}

// left is the answer to a caller whose context has ended: no call is made, and so
// it must not look like one whose outcome nobody knows.
func left(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return fault.Wrap(fault.Throttled, fmt.Errorf("take from a call budget: %w", ctx.Err()), "")
}

// Wait takes one call from b and waits for it, but not longer than patience: then
// it gives the Throttled that says when to come again.
func Wait(ctx context.Context, b Budget, name string, l Limit, patience time.Duration) error {
	for {
		err := b.Take(ctx, name, l)
		f, ok := errors.AsType[*fault.Error](err)
		if !ok || f.Class != fault.Throttled || f.RetryAfter > patience || ctx.Err() != nil {
			return err
		}
		// Whoever was refused at the same moment must not all come at the next.
		pause := f.RetryAfter + rand.N(f.RetryAfter/4+1) //nolint:gosec // spreads callers, guards nothing
		patience -= pause
		alarm := time.NewTimer(pause)
		select {
		case <-alarm.C:
		case <-ctx.Done():
			alarm.Stop()
			return left(ctx)
		}
	}
}

// localBudget counts in this process.
type localBudget struct {
	wall func() time.Time

	mu    sync.Mutex
	names map[string]*tally
}

// tally is what this replica knows of one name.
type tally struct {
	gate gate // to the shared count

	mu     sync.Mutex
	limit  Limit
	bucket *rate.Limiter
	paused time.Time // until when
}

func newLocalBudget(wall func() time.Time) *localBudget {
	return &localBudget{wall: wall, names: map[string]*tally{}}
}

func (b *localBudget) tally(name string) *tally {
	b.mu.Lock()
	defer b.mu.Unlock()
	t, ok := b.names[name]
	if !ok {
		t = &tally{}
		b.names[name] = t
	}
	return t
}

func (b *localBudget) Take(ctx context.Context, name string, l Limit) error {
	if err := cmp.Or(l.check(), left(ctx)); err != nil {
		return err
	}
	t, now := b.tally(name), b.wall()
	if wait := t.pausedFor(now); wait > 0 {
		return throttled(wait)
	}
	return t.take(now, l)
}

func (b *localBudget) Pause(_ context.Context, name string, d time.Duration) {
	b.tally(name).pauseUntil(b.wall().Add(d))
}

func (t *tally) take(now time.Time, l Limit) error {
	if l == (Limit{}) {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.bucket == nil:
		t.bucket = rate.NewLimiter(rate.Limit(l.perSecond()), l.burst())
	case t.limit != l:
		t.bucket.SetLimitAt(now, rate.Limit(l.perSecond()))
		t.bucket.SetBurstAt(now, l.burst())
	}
	t.limit = l
	if t.bucket.AllowN(now, 1) {
		return nil
	}
	missing := 1 - t.bucket.TokensAt(now)
	return throttled(time.Duration(missing / l.perSecond() * float64(time.Second)))
}

func (t *tally) pausedFor(now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.paused.Sub(now)
}

func (t *tally) pauseUntil(end time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if end.After(t.paused) {
		t.paused = end
	}
}
