package store_test

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/billing/ledger"
	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/store/storetest"
)

// became offers an event and wants what becomes of it.
func (w *meterWorld) became(e billing.UsageEvent, want billing.Result, why string) {
	w.t.Helper()
	if e.Subject == "" && e.Corrects == nil {
		e.Subject = string(w.sub)
	}
	if got := w.offer(e); got.Result != want || why != "" && got.Reason != why {
		w.t.Fatalf("%+v became %s (%s), want %s (%s)", e, got.Result, got.Reason, want, why)
	}
}

func (w *meterWorld) waiting(n int) []billing.Quarantined {
	w.t.Helper()
	q, err := w.Quarantined(w.t.Context())
	w.ok(err)
	if len(q) != n {
		w.t.Fatalf("%d events in quarantine, want %d: %+v", len(q), n, q)
	}
	return q
}

func request(name, q string, at time.Time) billing.UsageEvent {
	return billing.UsageEvent{ID: name, Meter: "api_request", Quantity: q, UsedAt: at}
}

func correction(name, of, q string) billing.UsageEvent {
	return billing.UsageEvent{ID: name, Quantity: q, Corrects: &billing.EventName{Source: "t", ID: of}}
}

// What counts, what waits, and what is refused.
func TestMeteringIngest(t *testing.T) {
	t.Parallel()
	stories(t, map[string]func(w *meterWorld){
		"a correction comes before its target": func(w *meterWorld) {
			w.became(correction("c", "a", "2"), billing.Quarantine, string(billing.WaitsForTarget))
			w.became(correction("c", "a", "2"), billing.Quarantine, string(billing.WaitsForTarget)) // again
			w.became(correction("c", "a", "3"), billing.Conflict, "")
			w.became(correction("d", "a", "3"), billing.Conflict, "") // one target, one correction
			w.waiting(1)
			w.became(request("a", "5", w.now), billing.Accepted, "")
			w.waiting(0)
			w.places("api_request", map[ledger.Place]string{ledger.Open: "2"})
			w.became(correction("c", "a", "2"), billing.Duplicate, "")
			w.became(correction("d", "a", "3"), billing.Conflict, "")
			w.became(correction("e", "c", "4"), billing.Accepted, "") // correct the correction
			w.places("api_request", map[ledger.Place]string{ledger.Open: "4"})
		},
		"a correction and its target in one batch, in the wrong order": func(w *meterWorld) {
			c, a := correction("c", "a", "2"), request("a", "5", w.now)
			c.Source, a.Source, a.Subject = "t", "t", string(w.sub)
			got, err := w.Ingest(w.t.Context(), []billing.UsageEvent{c, a, c})
			w.ok(err)
			if got[0].Result != billing.Quarantine || got[1].Result != billing.Accepted || got[2].Result != billing.Duplicate {
				w.t.Fatalf("%+v", got)
			}
			w.places("api_request", map[ledger.Place]string{ledger.Open: "2"})
		},
		"a correction is of the hour, the subject and the meter it corrects": func(w *meterWorld) {
			at := w.now
			w.became(billing.UsageEvent{ID: "a", Meter: "active_user", Quantity: "1", Of: "ann", UsedAt: at}, billing.Accepted, "")
			w.now = w.now.Add(48 * time.Hour)
			c := correction("c", "a", "0")
			c.Meter, c.UsedAt, c.Of = "api_request", w.now, "bob"
			w.became(c, billing.Accepted, "")
			w.places("active_user", map[ledger.Place]string{})
			hours, err := w.Hours(w.t.Context(), w.sub)
			w.ok(err)
			if len(hours) != 1 || hours[0].Corrected != "1" || !hours[0].Starts.Equal(clock.HourOf(at).Start()) {
				w.t.Fatalf("%+v", hours)
			}
		},
		"what cannot be counted waits, and is counted once when its cause is mended": func(w *meterWorld) {
			unknown := id.NewSubscription()
			e := request("a", "5", w.now)
			e.Subject = string(unknown)
			w.became(e, billing.Quarantine, string(billing.UnknownSubject))
			q := w.waiting(1)[0]
			got, err := w.Replay(w.t.Context(), q.Ident)
			if w.ok(err); got.Result != billing.Quarantine {
				w.t.Fatalf("nothing was mended, and the replay says %+v", got)
			}
			w.waiting(1)
			x := w.term[w.sub]
			x.Subscription, x.Lineage = unknown, unknown
			w.term[unknown], w.sub = x, unknown
			got, err = w.Replay(w.t.Context(), q.Ident)
			if w.ok(err); got.Result != billing.Accepted {
				w.t.Fatalf("%+v", got)
			}
			if _, err := w.Replay(w.t.Context(), q.Ident); !fault.Is(err, fault.NotFound) {
				w.t.Fatalf("replayed twice: %v", err)
			}
			w.became(e, billing.Duplicate, "")
			w.waiting(0)
			w.places("api_request", map[ledger.Place]string{ledger.Open: "5"})
		},
		"the producer sends it again instead": func(w *meterWorld) {
			unknown := id.NewSubscription()
			e := request("a", "5", w.now)
			e.Subject = string(unknown)
			w.became(e, billing.Quarantine, "")
			x := w.term[w.sub]
			x.Subscription, x.Lineage = unknown, unknown
			w.term[unknown], w.sub = x, unknown
			w.became(e, billing.Accepted, "")
			w.waiting(0)
			w.places("api_request", map[ledger.Place]string{ledger.Open: "5"})
		},
		"every reason to wait": func(w *meterWorld) {
			start := w.now
			w.now = w.now.Add(40 * 24 * time.Hour)
			for name, c := range map[string]struct {
				edit func(*billing.UsageEvent)
				why  billing.QuarantineReason
			}{
				"future":   {func(e *billing.UsageEvent) { e.UsedAt = w.now.Add(6 * time.Minute) }, billing.InFuture},
				"old":      {func(e *billing.UsageEvent) { e.UsedAt = w.now.Add(-36 * 24 * time.Hour) }, billing.TooOld},
				"meter":    {func(e *billing.UsageEvent) { e.Meter = "coffee" }, billing.UnknownMeter},
				"nobody's": {func(e *billing.UsageEvent) { e.Subject = "sub_nobody" }, billing.UnknownSubject},
			} {
				e := request(name, "1", w.now)
				e.Subject = string(w.sub)
				c.edit(&e)
				w.became(e, billing.Quarantine, string(c.why))
			}
			w.startAt(start)
			w.became(request("early", "1", start.Add(-time.Minute)), billing.Quarantine, string(billing.BeforeStart))
			x := w.term[w.sub]
			x.CutOver = clock.HourOf(start).Next()
			w.term[w.sub] = x
			w.became(request("observed", "1", start), billing.Quarantine, string(billing.BeforeCutOver))
			x.Plan = "gold"
			w.term[w.sub] = x
			w.now = start.Add(2 * time.Hour)
			w.became(request("plan", "1", w.now), billing.Quarantine, string(billing.UnknownPlan))
			w.waiting(7)
			if m := w.row("api_request"); m.Measured != "" && m.Measured != "0" {
				w.t.Fatalf("something was counted: %+v", m)
			}
		},
		"what has no form is refused and not kept": func(w *meterWorld) {
			for name, edit := range map[string]func(*billing.UsageEvent){
				"fraction finer than the meter": func(e *billing.UsageEvent) { e.Quantity = "1.25" },
				"negative":                      func(e *billing.UsageEvent) { e.Quantity = "-1" },
				"not a number":                  func(e *billing.UsageEvent) { e.Quantity = "1e3" },
				"beyond counting":               func(e *billing.UsageEvent) { e.Quantity = "999999999999999999" },
				"nobody":                        func(e *billing.UsageEvent) { e.Meter = "active_user" },
				"no time":                       func(e *billing.UsageEvent) { e.UsedAt = time.Time{} },
				"corrects itself":               func(e *billing.UsageEvent) { e.Corrects = &billing.EventName{Source: "t", ID: e.ID} },
			} {
				e := request(name, "1", w.now)
				edit(&e)
				w.became(e, billing.InvalidForm, "")
			}
			w.waiting(0)
			w.became(request("negative", "1", w.now), billing.Accepted, "") // its name is free
		},
	})
}

// A collection is stored whole, once, and only where the coverage still ends.
func TestMeteringCollections(t *testing.T) {
	t.Parallel()
	seen := func(w *meterWorld, collector string, n int, at time.Time) []billing.UsageEvent {
		out := make([]billing.UsageEvent, n)
		for i := range out {
			out[i] = billing.UsageEvent{Source: collector, ID: fmt.Sprint(i, at), Subject: string(w.sub), Meter: "ephemeral_minute", Quantity: "5", Of: "n", UsedAt: at.Add(-time.Second)}
		}
		return out
	}
	stories(t, map[string]func(w *meterWorld){
		"overtaken": func(w *meterWorld) {
			from := w.now
			w.now = w.now.Add(5 * time.Minute)
			w.ok(w.Collect(w.t.Context(), w.sub, from, w.now, seen(w, "first", 2, w.now)))
			for _, to := range []time.Time{w.now.Add(-time.Minute), w.now, w.now.Add(time.Minute)} {
				if err := w.Collect(w.t.Context(), w.sub, from, to, seen(w, "second", 1, to)); !fault.Is(err, fault.Conflict) {
					w.t.Fatalf("the stretch is covered, and a second look at it is stored: %v", err)
				}
			}
			w.places("ephemeral_minute", map[ledger.Place]string{ledger.Open: "10"})
			if at, err := w.Covered(w.t.Context(), w.sub); err != nil || !at.Equal(w.now) {
				w.t.Fatalf("covered to %s, %v", at, err)
			}
			w.ok(w.Collect(w.t.Context(), w.sub, w.now, w.now.Add(time.Minute), seen(w, "second", 1, w.now.Add(time.Minute))))
			w.found()
		},
		"killed in the middle of a large one": func(w *meterWorld) {
			from, n := w.now, 0
			w.now = w.now.Add(5 * time.Minute)
			w.db.dies = func(string) error {
				if n++; n > 350 {
					return errors.New("killed")
				}
				return nil
			}
			if err := w.Collect(w.t.Context(), w.sub, from, w.now, seen(w, "first", 400, w.now)); err == nil {
				w.t.Fatal("it did not die")
			}
			w.db.dies = nil
			w.now = w.now.Add(time.Minute) // the next look cuts the stretch elsewhere
			w.ok(w.Collect(w.t.Context(), w.sub, from, w.now, seen(w, "second", 3, w.now)))
			w.places("ephemeral_minute", map[ledger.Place]string{ledger.Open: "15"})
		},
		"not possible": func(w *meterWorld) {
			for _, c := range [][2]time.Duration{{0, time.Hour}, {0, -time.Hour}, {0, 0}} {
				if err := w.Collect(w.t.Context(), w.sub, w.now.Add(c[0]), w.now.Add(c[1]), seen(w, "c", 1, w.now)); !fault.Is(err, fault.Invalid) {
					w.t.Fatalf("from %s to %s: %v", c[0], c[1], err)
				}
			}
			w.ok(w.Collect(w.t.Context(), w.sub, w.now, w.now, nil)) // an empty one
			if err := w.Collect(w.t.Context(), "sub_nobody", w.now.Add(-time.Minute), w.now, nil); !fault.Is(err, fault.NotFound) {
				w.t.Fatal(err)
			}
		},
	})
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := metering(t, s)
		from, to := w.now, w.now.Add(5*time.Minute)
		w.now = to
		errs := make([]error, 6)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() { errs[i] = w.Collect(t.Context(), w.sub, from, to, seen(w, fmt.Sprint("replica ", i), 3, to)) })
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
			} else if !fault.Is(err, fault.Conflict) {
				t.Error(err)
			}
		}
		if won != 1 {
			t.Fatalf("%d of %d looks at one stretch were stored", won, len(errs))
		}
		w.places("ephemeral_minute", map[ledger.Place]string{ledger.Open: "15"})
	})
}

// A rival commits between another's look at the coverage and its move. SQLite has
// one writer, so that cannot happen there.
func TestMeteringCollectsAgainstARival(t *testing.T) {
	t.Parallel()
	w := metering(t, storetest.Open(t, store.Postgres))
	w.now = w.now.Add(time.Minute)
	w.cover()
	from := w.now
	w.now = w.now.Add(time.Minute)
	w.db.covering = func() {
		w.db.covering = nil
		w.ok(w.Collect(t.Context(), w.sub, from, w.now, nil)) // saw nothing
	}
	mine := []billing.UsageEvent{{Source: "c", ID: "1", Subject: string(w.sub), Meter: "active_user", Quantity: "1", Of: "ann", UsedAt: w.now.Add(-time.Second)}}
	if err := w.Collect(t.Context(), w.sub, from, w.now, mine); !fault.Is(err, fault.Conflict) {
		t.Fatalf("a stretch was stored twice: %v", err)
	}
	w.places("active_user", map[ledger.Place]string{})
}

// The same events from many producers at once count once.
func TestMeteringIngestsAtOnce(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := metering(t, s)
		var all []billing.UsageEvent
		for i := range 20 {
			all = append(all, billing.UsageEvent{Source: "t", ID: fmt.Sprint(i), Subject: string(w.sub), Meter: "active_user", Quantity: "1", Of: fmt.Sprint(i % 7), UsedAt: w.now})
		}
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() {
				mine := append(append([]billing.UsageEvent{}, all[i:]...), all[:i]...)
				if _, err := w.Ingest(t.Context(), mine); err != nil && !fault.Is(err, fault.Conflict) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		w.places("active_user", map[ledger.Place]string{ledger.Open: "7"})
	})
}

// Producers, the seal, the collector and two submits at once: whoever waits for
// whom, every unit is in one place, and the vendor bills what was used.
func TestMeteringAllAtOnce(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := metering(t, s)
		var now atomic.Int64 // minutes since the start
		start, o := w.now, w.Options
		o.Now = func() time.Time { return start.Add(time.Duration(now.Load()) * time.Minute) }
		w.v.weather = nth(map[int]string{2: "lost", 3: "throttle", 5: "unprocessed", 7: "lost"})
		w.Service = billing.New(o)
		ctx := t.Context()
		var producers, stations sync.WaitGroup
		done := make(chan struct{})
		for p := range 3 {
			producers.Go(func() {
				for i := range 12 {
					e := billing.UsageEvent{Source: fmt.Sprint(p), ID: fmt.Sprint(i), Subject: string(w.sub), Meter: "api_request", Quantity: "1.5", UsedAt: o.Now()}
					u := billing.UsageEvent{Source: fmt.Sprint(p), ID: fmt.Sprint("u", i), Subject: string(w.sub), Meter: "active_user", Quantity: "1", Of: fmt.Sprint(i), UsedAt: o.Now()}
					if _, err := w.Ingest(ctx, []billing.UsageEvent{e, u}); err != nil {
						t.Error(err)
					}
					now.Add(5)
				}
			})
		}
		for range 2 {
			stations.Go(func() {
				for {
					if _, err := w.Seal(ctx, w.sub); err != nil {
						t.Error(err)
					}
					if _, err := w.Submit(ctx, "aws"); err != nil && fault.ClassOf(err) == "" {
						t.Error(err)
					}
					if from, err := w.Covered(ctx, w.sub); err != nil {
						t.Error(err)
					} else if err := w.Collect(ctx, w.sub, from, o.Now(), nil); err != nil && !fault.Is(err, fault.Conflict) {
						t.Error(err)
					}
					select {
					case <-done:
						return
					default:
					}
				}
			})
		}
		producers.Wait()
		close(done)
		stations.Wait()
		now.Add(60)
		w.ok(w.Collect(ctx, w.sub, start.Add(time.Duration(now.Load()-60)*time.Minute), o.Now(), nil))
		w.seal()
		w.send()
		w.identical()
		w.places("api_request", map[ledger.Place]string{ledger.Accepted: "54"})
		w.places("active_user", map[ledger.Place]string{ledger.Accepted: "12"})
		sum := 0
		for _, q := range w.billed("api_request") {
			n, err := strconv.Atoi(q)
			w.ok(err)
			sum += n
		}
		if sum != 54 {
			t.Fatalf("the vendor bills %d of 54", sum)
		}
	})
}
