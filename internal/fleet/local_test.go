package fleet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/tailmarket/tailmarket/internal/fault"
)

// Whatever the calls and the pauses between them: no window of time holds more
// than a burst and what the rate gives, and who comes when it was told is let in.
func TestLocalBudgetKeepsToItsLimit(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l := Limit{
			Calls: rapid.IntRange(1, 50).Draw(t, "calls"),
			Per:   time.Duration(rapid.IntRange(1, 3600).Draw(t, "seconds")) * time.Second,
			Burst: rapid.IntRange(0, 20).Draw(t, "burst"),
		}
		now := time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)
		b := newLocalBudget(func() time.Time { return now })
		interval := l.Per / time.Duration(l.Calls)
		var granted []time.Time
		for range rapid.IntRange(1, 60).Draw(t, "takes") {
			now = now.Add(time.Duration(rapid.Int64Range(0, 2*int64(interval)).Draw(t, "later")))
			err := b.Take(t.Context(), "name", l)
			if fault.Is(err, fault.Throttled) {
				wait, err := refused(err)
				if err != nil || wait > interval+time.Millisecond {
					t.Fatalf("come again in %v: %v", wait, err)
				}
				if rapid.Bool().Draw(t, "patient") {
					now = now.Add(wait + time.Microsecond) // tokens are fractions of floating point
					if err := b.Take(t.Context(), "name", l); err != nil {
						t.Fatalf("came when told: %v", err)
					}
					granted = append(granted, now)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			granted = append(granted, now)
		}
		for i, from := range granted {
			for j, to := range granted[i:] {
				if most := float64(l.burst()) + to.Sub(from).Seconds()*l.perSecond() + 1e-3; float64(j+1) > most {
					t.Fatalf("%d calls in %v, at most %.3f", j+1, to.Sub(from), most)
				}
			}
		}
	})
}

func TestManyWaitersGoOneByOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newLocalBudget(time.Now)
		l := Limit{Calls: 5, Per: time.Second, Burst: 1}
		began := time.Now()
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				if err := Wait(t.Context(), b, "name", l, time.Minute); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if took := time.Since(began); took < 1800*time.Millisecond || took > 4*time.Second {
			t.Errorf("ten calls at five a second took %v", took)
		}
	})
}

func TestWhoLeavesStopsWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newLocalBudget(time.Now)
		b.Pause(t.Context(), "name", time.Hour)
		ctx, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		began := time.Now()
		if err := Wait(ctx, b, "name", Limit{}, 2*time.Hour); !errors.Is(err, context.DeadlineExceeded) || !fault.Is(err, fault.Throttled) {
			t.Errorf("left with %v", err)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("waited %v", took)
		}
	})
}

func TestLocalCacheIsBounded(t *testing.T) {
	t.Parallel()
	now := time.Now()
	c := newLocalCache(func() time.Time { return now })
	for i := range cachedValues + 500 {
		c.Put(t.Context(), fmt.Sprint(i), nil, time.Duration(i+1)*time.Millisecond)
		now = now.Add(time.Microsecond)
	}
	if len(c.values) != cachedValues {
		t.Errorf("%d values are kept", len(c.values))
	}
	if _, ok := c.Get(t.Context(), fmt.Sprint(cachedValues+499)); !ok {
		t.Error("the newest value went")
	}
}

func TestInProcessNothingIsLost(t *testing.T) {
	t.Parallel()
	f, _ := open(t, "", nil)
	if since, lost := f.Lost(); lost {
		t.Errorf("lost since %v", since)
	}
}
