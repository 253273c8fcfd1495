package store_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/due"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/store/storetest"
)

var (
	now  = time.Date(2026, 11, 3, 7, 0, 0, 0, time.UTC)  // business
	wall = time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC) // wall
)

func claim(t *testing.T, s *store.Store, owner string, at, w time.Time) []due.Row {
	t.Helper()
	rows, err := s.ClaimDue(t.Context(), owner, []due.Kind{due.Seal}, at, w, w.Add(5*time.Second), 10)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func mark(t *testing.T, s *store.Store, subject string, at time.Time) {
	t.Helper()
	if err := s.MarkDue(t.Context(), due.Seal, subject, at); err != nil {
		t.Fatal(err)
	}
}

func one(t *testing.T, rows []due.Row) due.Row {
	t.Helper()
	if len(rows) != 1 {
		t.Fatalf("%d rows claimed, want 1: %+v", len(rows), rows)
	}
	return rows[0]
}

func TestDueRows(t *testing.T) {
	t.Parallel()
	cases := map[string]func(t *testing.T, s *store.Store){
		"a row waits for its business time": func(t *testing.T, s *store.Store) {
			mark(t, s, "sub_1", now.Add(time.Minute))
			if rows := claim(t, s, "a", now, wall); len(rows) != 0 {
				t.Fatalf("claimed early: %+v", rows)
			}
			one(t, claim(t, s, "a", now.Add(time.Minute), wall))
		},
		"a leased row is nobody else's until the lease ends": func(t *testing.T, s *store.Store) {
			mark(t, s, "sub_1", now)
			one(t, claim(t, s, "a", now, wall))
			if rows := claim(t, s, "b", now, wall.Add(4*time.Second)); len(rows) != 0 {
				t.Fatalf("taken from its owner: %+v", rows)
			}
			one(t, claim(t, s, "b", now, wall.Add(6*time.Second)))
		},
		"a lost lease can neither finish nor fail the row": func(t *testing.T, s *store.Store) {
			mark(t, s, "sub_1", now)
			stale := one(t, claim(t, s, "a", now, wall))
			one(t, claim(t, s, "b", now, wall.Add(6*time.Second)))
			if err := s.FinishDue(t.Context(), stale, time.Time{}); err != nil {
				t.Fatal(err)
			}
			if ok, err := s.RenewDue(t.Context(), stale, wall.Add(time.Hour)); ok || err != nil {
				t.Fatalf("renewed a lost lease: %v %v", ok, err)
			}
			if n, err := s.CountDue(t.Context(), now); n != 1 || err != nil {
				t.Fatalf("the row is gone: %d %v", n, err)
			}
		},
		"marking while it runs makes it run again": func(t *testing.T, s *store.Store) {
			mark(t, s, "sub_1", now)
			r := one(t, claim(t, s, "a", now, wall))
			mark(t, s, "sub_1", now)
			if err := s.FinishDue(t.Context(), r, now.Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			again := one(t, claim(t, s, "a", now, wall))
			if err := s.FinishDue(t.Context(), again, time.Time{}); err != nil {
				t.Fatal(err)
			}
			if n, _ := s.CountDue(t.Context(), now.Add(24*time.Hour)); n != 0 {
				t.Fatalf("%d rows left", n)
			}
		},
		"a mark keeps the earlier time": func(t *testing.T, s *store.Store) {
			mark(t, s, "sub_1", now)
			mark(t, s, "sub_1", now.Add(time.Hour))
			one(t, claim(t, s, "a", now, wall))
		},
		"a stopped row waits for a person, and a mark starts it": func(t *testing.T, s *store.Store) {
			mark(t, s, "sub_1", now)
			r := one(t, claim(t, s, "a", now, wall))
			if err := s.FailDue(t.Context(), r, wall, fault.Refused, "the listing is not ours; ask the seller", true); err != nil {
				t.Fatal(err)
			}
			if rows := claim(t, s, "a", now, wall.Add(time.Hour)); len(rows) != 0 {
				t.Fatal("a stopped row ran")
			}
			stuck, err := s.StuckDue(t.Context(), 3, 10)
			if err != nil || len(stuck) != 1 || !stuck[0].Stopped || stuck[0].LastClass != fault.Refused {
				t.Fatalf("stuck: %+v %v", stuck, err)
			}
			mark(t, s, "sub_1", now)
			if r := one(t, claim(t, s, "a", now, wall.Add(time.Hour))); r.Attempts != 1 {
				t.Fatalf("attempts %d", r.Attempts)
			}
		},
		"a stop loses against a mark that came meanwhile": func(t *testing.T, s *store.Store) {
			mark(t, s, "sub_1", now)
			r := one(t, claim(t, s, "a", now, wall))
			mark(t, s, "sub_1", now)
			if err := s.FailDue(t.Context(), r, wall, fault.NotFound, "", true); err != nil {
				t.Fatal(err)
			}
			one(t, claim(t, s, "a", now, wall))
		},
		"back-off is wall time and the business clock waits for it": func(t *testing.T, s *store.Store) {
			mark(t, s, "sub_1", now)
			r := one(t, claim(t, s, "a", now, wall))
			if err := s.FailDue(t.Context(), r, wall.Add(time.Second), fault.Unsure, "", false); err != nil {
				t.Fatal(err)
			}
			if rows := claim(t, s, "a", now.Add(time.Hour), wall); len(rows) != 0 {
				t.Fatal("the back-off was not kept")
			}
			if n, _ := s.CountDue(t.Context(), now); n != 1 {
				t.Fatal("the clock would not wait")
			}
			one(t, claim(t, s, "a", now, wall.Add(time.Second)))
		},
		"a starting process takes over all leases": func(t *testing.T, s *store.Store) {
			mark(t, s, "sub_1", now)
			one(t, claim(t, s, "dead", now, wall))
			if err := s.FreeLeases(t.Context(), "new"); err != nil {
				t.Fatal(err)
			}
			one(t, claim(t, s, "new", now, wall))
		},
		"many claimers share the rows without overlap": func(t *testing.T, s *store.Store) {
			const n = 60
			for i := range n {
				mark(t, s, fmt.Sprintf("sub_%d", i), now)
			}
			var mu sync.Mutex
			seen := map[string]int{}
			var wg sync.WaitGroup
			for c := range 4 {
				wg.Go(func() {
					for {
						rows, err := s.ClaimDue(t.Context(), fmt.Sprint("c", c), []due.Kind{due.Seal}, now, wall, wall.Add(time.Hour), 7)
						if err != nil {
							t.Error(err)
							return
						}
						if len(rows) == 0 {
							return
						}
						mu.Lock()
						for _, r := range rows {
							seen[r.Subject]++
						}
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			// SKIP LOCKED may leave a claimer empty-handed while another holds rows.
			for _, r := range claim(t, s, "rest", now, wall) {
				seen[r.Subject]++
			}
			if len(seen) != n {
				t.Fatalf("%d subjects claimed, want %d", len(seen), n)
			}
			for sub, k := range seen {
				if k != 1 {
					t.Errorf("%s was claimed %d times", sub, k)
				}
			}
		},
		"an unknown kind is refused by the schema": func(t *testing.T, s *store.Store) {
			if err := s.MarkDue(t.Context(), "typo", "x", now); err == nil {
				t.Fatal("kept")
			}
		},
	}
	for name, fn := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Each(t, fn)
		})
	}
}

type fixed struct{ at time.Time }

func (f fixed) Now() time.Time         { return f.at }
func (f fixed) Moved() <-chan struct{} { return nil }

// A worker that loses its process at any point loses no work: the rows a killed
// worker held are worked by the next.
func TestWorkerNeverLosesWork(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		const n = 20
		for i := range n {
			mark(t, s, fmt.Sprintf("sub_%d", i), now)
		}
		var done, failed atomic.Int64
		counts := map[string]int{}
		var mu sync.Mutex
		work := func(_ context.Context, subject string) (time.Time, error) {
			mu.Lock()
			counts[subject]++
			first := counts[subject] == 1
			mu.Unlock()
			switch {
			case first && subject == "sub_3":
				panic("a bug of ours")
			case first:
				failed.Add(1)
				return time.Time{}, fault.New(fault.Unavailable, "not now")
			}
			done.Add(1)
			return time.Time{}, nil
		}
		ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
		defer stop()
		w := due.New(due.Options{
			Owner: "w", Store: s, Clock: fixed{now}, Wall: time.Now, Work: map[due.Kind]due.Work{due.Seal: work},
			Backoff: due.Backoff{Base: time.Millisecond, Max: 5 * time.Millisecond}, Poll: 5 * time.Millisecond, Log: slog.New(slog.DiscardHandler), TakeOver: true,
		})
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		for done.Load() < n && ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-time.After(2 * time.Millisecond):
			}
		}
		stop()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if done.Load() != n || failed.Load() != n-1 {
			t.Fatalf("done %d failed %d, want %d and %d", done.Load(), failed.Load(), n, n-1)
		}
	})
}

var _ clock.Clock = fixed{}
