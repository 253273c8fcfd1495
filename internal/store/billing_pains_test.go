package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/billing/ledger"
	"github.com/tailmarket/tailmarket/internal/catalog"
	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/store/storetest"
)

// Each test here is named after what went wrong elsewhere
// (pains 6, 7, 18, 20 and 48 of the reference) and fails when the mistake is made.

// natural gives api_request a natural key.
func (w *meterWorld) natural(i catalog.Interval) {
	p := &w.Catalog.Products[0]
	p.Meters = slices.Clone(p.Meters)
	for n := range p.Meters {
		if p.Meters[n].ID == "api_request" {
			p.Meters[n].NaturalKey = &catalog.NaturalKey{Interval: i}
		}
	}
}

func operation(event, op, q string, at time.Time) billing.UsageEvent {
	e := request(event, q, at)
	e.Operation = op
	return e
}

// Pain 6: the de-duplication key is claimed before the write; the write fails, the
// retry is answered as a duplicate, and nothing was counted.
func TestPain06AFailedWriteClaimsNoIdentity(t *testing.T) {
	t.Parallel()
	stories(t, map[string]func(w *meterWorld){
		"the write fails": func(w *meterWorld) {
			w.failsOnce()
			if _, err := w.Ingest(w.t.Context(), []billing.UsageEvent{w.whole(request("a", "5", w.now))}); err == nil {
				w.t.Fatal("a failed write was answered")
			}
			w.became(request("a", "5", w.now), billing.Accepted, "")
			w.places("api_request", map[ledger.Place]string{ledger.Open: "5"})
		},
		"the write of an operation fails": func(w *meterWorld) {
			w.natural(catalog.Ever)
			w.failsOnce()
			if _, err := w.Ingest(w.t.Context(), []billing.UsageEvent{w.whole(operation("a", "job", "5", w.now))}); err == nil {
				w.t.Fatal("a failed write was answered")
			}
			w.became(operation("b", "job", "5", w.now), billing.Accepted, "")
			w.places("api_request", map[ledger.Place]string{ledger.Open: "5"})
		},
		"the write under an idempotency key fails": func(w *meterWorld) {
			call, events := billing.Call{Owner: "o", Key: "k"}, []billing.UsageEvent{w.whole(request("a", "5", w.now))}
			w.failsOnce()
			if _, _, err := w.IngestOnce(w.t.Context(), call, events); err == nil {
				w.t.Fatal("a failed write was answered")
			}
			got, repeated, err := w.IngestOnce(w.t.Context(), call, events)
			if w.ok(err); repeated || got[0].Result != billing.Accepted {
				w.t.Fatalf("the retry was answered %+v, repeated %v", got, repeated)
			}
			w.places("api_request", map[ledger.Place]string{ledger.Open: "5"})
		},
	})
}

// failsOnce lets the next write of a usage event fail.
func (w *meterWorld) failsOnce() {
	w.db.dies = func(string) error {
		w.db.dies = nil
		return errors.New("the disk is full")
	}
}

func (w *meterWorld) whole(e billing.UsageEvent) billing.UsageEvent {
	e.Source, e.Subject = "t", string(w.sub)
	return e
}

// Pain 7: events are accepted and never aggregated, so that usage stays 0.
func TestPain07WhatIsAcceptedIsAggregated(t *testing.T) {
	t.Parallel()
	stories(t, map[string]func(w *meterWorld){
		"to the bill": func(w *meterWorld) {
			at := w.now
			w.use("api_request", "7", "", at)
			w.use("active_user", "1", "ann", at)
			w.use("tagged_resource", "53", "", at)
			w.use("ephemeral_minute", "1003", "n", at)
			// Nobody asks for a seal: what was accepted has made it due, not before the hour is over.
			if due, ok := w.db.marks["seal "+string(w.sub)]; !ok || !due.Equal(clock.HourOf(at).End()) {
				w.t.Fatalf("the seal is due %v", w.db.marks)
			}
			w.hours(1)
			w.send()
			for dimension, want := range map[string]string{"api_request": "7", "active_user": "1", "tagged_resource": "3", "ephemeral_minute": "3"} {
				if got := w.billed(dimension)[clock.HourOf(at).String()]; got != want {
					w.t.Errorf("%s was billed %q, want %s", dimension, got, want)
				}
			}
		},
	})
}

// Pain 18: an agent retries a call and invents a new id for it; both are billed.
func TestPain18ARetryUnderANewIDBillsOnce(t *testing.T) {
	t.Parallel()
	stories(t, map[string]func(w *meterWorld){
		"one after the other": func(w *meterWorld) {
			w.natural(catalog.PerDay)
			first := w.offer(w.whole(operation("a", "call-1", "5", w.now)))
			again := w.offer(w.whole(operation("b", "call-1", "5.0", w.now.Add(3*time.Second))))
			if first.Result != billing.Accepted || again.Result != billing.Duplicate || again.Event != first.Event {
				w.t.Fatalf("%+v then %+v", first, again)
			}
			w.became(operation("b", "call-1", "5", w.now.Add(3*time.Second)), billing.Duplicate, "") // its new id, again
			w.became(operation("b", "call-1", "6", w.now.Add(3*time.Second)), billing.Conflict, "")
			w.became(operation("c", "call-2", "5", w.now), billing.Accepted, "")
			w.places("api_request", map[ledger.Place]string{ledger.Open: "10"})
		},
		"in one batch, and in many at once": func(w *meterWorld) {
			w.natural(catalog.Ever)
			var events []billing.UsageEvent
			for i := range 5 {
				events = append(events, w.whole(operation(fmt.Sprint("in batch ", i), "call", "5", w.now)))
			}
			got, err := w.Ingest(w.t.Context(), events)
			w.ok(err)
			for i, o := range got[1:] {
				if o.Result != billing.Duplicate || got[0].Result != billing.Accepted {
					w.t.Fatalf("%d: %+v", i, o)
				}
			}
			var wg sync.WaitGroup
			for i := range 6 {
				wg.Go(func() {
					e := w.whole(operation(fmt.Sprint("at once ", i), "other call", "2", w.now))
					if _, err := w.Ingest(w.t.Context(), []billing.UsageEvent{e}); err != nil && !fault.Is(err, fault.Conflict) {
						w.t.Error(err)
					}
				})
			}
			wg.Wait()
			w.places("api_request", map[ledger.Place]string{ledger.Open: "7"})
		},
		"a retry that says another quantity is refused": func(w *meterWorld) {
			w.natural(catalog.Ever)
			w.became(operation("a", "call", "5", w.now), billing.Accepted, "")
			w.became(operation("b", "call", "6", w.now), billing.Conflict, "")
			w.became(operation("b", "other", "6", w.now), billing.Accepted, "") // nothing of b was kept
			w.places("api_request", map[ledger.Place]string{ledger.Open: "11"})
		},
		"a correction finds the event by any of its names": func(w *meterWorld) {
			w.natural(catalog.Ever)
			w.became(correction("early", "b", "1"), billing.Quarantine, string(billing.WaitsForTarget))
			w.became(operation("a", "call", "5", w.now), billing.Accepted, "")
			w.places("api_request", map[ledger.Place]string{ledger.Open: "5"})
			w.became(operation("b", "call", "5", w.now), billing.Duplicate, "") // wakes it
			w.waiting(0)
			w.places("api_request", map[ledger.Place]string{ledger.Open: "1"})
			w.became(correction("late", "a", "2"), billing.Conflict, "")
			w.became(operation("c", "call", "5", w.now), billing.Duplicate, "") // what was corrected stays corrected
			w.places("api_request", map[ledger.Place]string{ledger.Open: "1"})
		},
		"a retry that waited is counted no second time": func(w *meterWorld) {
			w.natural(catalog.Ever)
			late := operation("b", "call", "5", w.now.Add(10*time.Minute))
			w.became(late, billing.Quarantine, string(billing.InFuture))
			w.became(operation("a", "call", "5", w.now), billing.Accepted, "")
			w.now = w.now.Add(10 * time.Minute)
			got, err := w.Replay(w.t.Context(), w.waiting(1)[0].Ident)
			if w.ok(err); got.Result != billing.Duplicate {
				w.t.Fatalf("%+v", got)
			}
			w.waiting(0)
			w.became(late, billing.Duplicate, "")
			w.places("api_request", map[ledger.Place]string{ledger.Open: "5"})
		},
		"what a key is made of": func(w *meterWorld) {
			w.natural(catalog.PerHour)
			w.became(request("none", "5", w.now), billing.InvalidForm, "data.operation is missing: meter api_request counts an operation once (hour)")
			w.became(operation("a", "call", "1", w.now), billing.Accepted, "")
			w.became(operation("b", "call", "1", clock.HourOf(w.now).End().Add(-time.Microsecond)), billing.Quarantine, string(billing.InFuture))
			w.now = w.now.Add(time.Hour)
			w.became(operation("c", "call", "1", w.now), billing.Accepted, "") // the next hour's
			x := w.term[w.sub]
			second := id.NewSubscription()
			x.Subscription, x.Lineage, x.Identity.License = second, second, string(second)
			w.term[second] = x
			e := operation("d", "call", "1", w.now)
			e.Subject = string(second)
			w.became(e, billing.Accepted, "") // another purchase's
			w.places("api_request", map[ledger.Place]string{ledger.Open: "2"})
		},
	})
}

// Pain 20: two events of one session, under ids minted at each emission.
func TestPain20IdsMintedPerEmissionBillOnce(t *testing.T) {
	t.Parallel()
	stories(t, map[string]func(w *meterWorld){
		"a session's end, told by two processes": func(w *meterWorld) {
			w.natural(catalog.PerPeriod)
			for i := range 4 { // each a little later, across an hour
				want := billing.Duplicate
				if i == 0 {
					want = billing.Accepted
				}
				w.became(operation(fmt.Sprintf("%016x", i*7919), "session-42", "12", w.now), want, "")
				w.now = w.now.Add(25 * time.Minute)
			}
			w.hours(1)
			w.send()
			w.want("api_request", "12", "12", "0", "0", "0")
		},
	})
}

// Pain 48: no proof that an event is durably stored. What was answered is there
// when the database is opened by somebody else, and what could not be committed
// was not answered.
func TestPain48WhatIsAnsweredIsStored(t *testing.T) {
	t.Parallel()
	for _, engine := range []store.Engine{store.SQLite, store.Postgres} {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			o := storetest.Options(t, engine)
			w := metering(t, storetest.Reopen(t, o))
			var events []billing.UsageEvent
			for i := range 400 { // three transactions
				events = append(events, w.whole(request(fmt.Sprint(i), "1", w.now)))
			}
			got, err := w.Ingest(t.Context(), events)
			w.ok(err)
			other := storetest.Reopen(t, o) // as another process would
			err = other.BillingTx(t.Context(), func(ctx context.Context, tx billing.Tx) error {
				for _, o := range got {
					u, ok, err := tx.UsageByIdent(ctx, billing.IdentOf(o.Source, o.ID))
					if err != nil || !ok || u.ID != o.Event || o.Result != billing.Accepted {
						return fmt.Errorf("answered %+v, stored %+v %v: %w", o, u, ok, err)
					}
				}
				return nil
			})
			w.ok(err)
			// The 200th of the next ones cannot be written: the first transaction is stored, nothing is answered.
			n := 0
			w.db.dies = func(string) error {
				if n++; n == 200 {
					return errors.New("the disk is full")
				}
				return nil
			}
			for i := range events {
				events[i].ID = fmt.Sprint("more ", i)
			}
			if got, err := w.Ingest(t.Context(), events); err == nil || len(got) != 150 {
				t.Fatalf("answered %d, %v", len(got), err)
			}
			w.db.dies = nil
			got, err = w.Ingest(t.Context(), events)
			w.ok(err)
			if got[149].Result != billing.Duplicate || got[150].Result != billing.Accepted {
				t.Errorf("%+v %+v", got[149], got[150])
			}
			w.places("api_request", map[ledger.Place]string{ledger.Open: "800"})
		})
	}
}

// An Idempotency-Key: one answer, however often and whenever it is asked for.
func TestMeteringCalls(t *testing.T) {
	t.Parallel()
	call := billing.Call{Owner: "o", Key: "k", Payload: [32]byte{1}}
	many := func(w *meterWorld, n int) (out []billing.UsageEvent) {
		for i := range n {
			out = append(out, w.whole(request(fmt.Sprint("c", i), "1", w.now)))
		}
		return out
	}
	stories(t, map[string]func(w *meterWorld){
		"the answer is repeated": func(w *meterWorld) {
			events := many(w, 320)
			events[7].Quantity = "x"
			first, repeated, err := w.IngestOnce(w.t.Context(), call, events)
			if w.ok(err); repeated || first[0].Result != billing.Accepted || first[7].Result != billing.InvalidForm {
				w.t.Fatalf("%+v %v", first[:8], repeated)
			}
			w.wall = w.wall.Add(billing.CallRetention - time.Second)
			again, repeated, err := w.IngestOnce(w.t.Context(), call, events)
			if w.ok(err); !repeated || !slices.Equal(first, again) {
				w.t.Fatalf("repeated %v: %+v", repeated, again[:8])
			}
			w.wall = w.wall.Add(2 * time.Second) // forgotten: the events' own identities answer
			again, repeated, err = w.IngestOnce(w.t.Context(), call, events)
			if w.ok(err); repeated || again[0].Result != billing.Duplicate {
				w.t.Fatalf("repeated %v: %+v", repeated, again[:8])
			}
			w.places("api_request", map[ledger.Place]string{ledger.Open: "319"})
		},
		"another payload is refused, another sender is another key": func(w *meterWorld) {
			_, _, err := w.IngestOnce(w.t.Context(), call, many(w, 1))
			w.ok(err)
			other := call
			other.Payload[0]++
			if _, _, err := w.IngestOnce(w.t.Context(), other, many(w, 2)); !fault.Is(err, fault.Refused) {
				w.t.Fatalf("another payload: %v", err)
			}
			other.Owner = "another"
			_, repeated, err := w.IngestOnce(w.t.Context(), other, nil)
			if w.ok(err); repeated {
				w.t.Fatal("another sender's answer")
			}
			w.places("api_request", map[ledger.Place]string{ledger.Open: "1"})
		},
		"a call that runs is not run twice, and one that died is": func(w *meterWorld) {
			died := errors.New("died")
			w.db.dies = func(string) error {
				// Inside the first transaction of the first call nobody else can look; between them, everybody.
				return nil
			}
			w.db.leased = func() {
				w.db.leased = nil
				if _, _, err := w.IngestOnce(w.t.Context(), call, many(w, 301)); !fault.Is(err, fault.Conflict) {
					w.t.Errorf("while it runs: %v", err)
				}
				w.db.dies = func(string) error { return died }
				w.db.stuck = true // the process dies: it frees nothing
			}
			if _, _, err := w.IngestOnce(w.t.Context(), call, many(w, 301)); !errors.Is(err, died) {
				w.t.Fatalf("it did not die: %v", err)
			}
			w.db.dies, w.db.stuck = nil, false
			if _, _, err := w.IngestOnce(w.t.Context(), call, many(w, 301)); !fault.Is(err, fault.Conflict) {
				w.t.Fatalf("its lease has not ended: %v", err)
			}
			w.wall = w.wall.Add(31 * time.Second)
			got, repeated, err := w.IngestOnce(w.t.Context(), call, many(w, 301))
			if w.ok(err); repeated || got[0].Result != billing.Duplicate || got[300].Result != billing.Accepted {
				w.t.Fatalf("%+v … %+v", got[0], got[300])
			}
			w.places("api_request", map[ledger.Place]string{ledger.Open: "301"})
		},
		"who was overtaken stores no answer": func(w *meterWorld) {
			w.db.leased = func() {
				w.db.leased = nil
				w.wall = w.wall.Add(31 * time.Second) // it was asleep, and its lease ran out
				_, _, err := w.IngestOnce(w.t.Context(), call, many(w, 301))
				w.ok(err)
			}
			if _, _, err := w.IngestOnce(w.t.Context(), call, many(w, 301)); !fault.Is(err, fault.Conflict) {
				w.t.Fatalf("both answered: %v", err)
			}
			got, repeated, err := w.IngestOnce(w.t.Context(), call, many(w, 301))
			if w.ok(err); !repeated || got[300].Result != billing.Accepted {
				w.t.Fatalf("%v %+v", repeated, got[300])
			}
			w.places("api_request", map[ledger.Place]string{ledger.Open: "301"})
		},
	})
}

// The writer's queue is the signal for back-pressure.
func TestMeteringPressure(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := metering(t, s)
		o := w.Options
		o.MaxWaiting = 100
		w.Service = billing.New(o)
		w.db.dies = nil
		storing, go_ := make(chan struct{}), make(chan struct{})
		w.db.dies = func(string) error {
			w.db.dies = func(string) error { return nil }
			close(storing)
			<-go_
			return nil
		}
		big := make([]billing.UsageEvent, 120) // nothing waits: taken, though it is more than may wait
		for i := range big {
			big[i] = w.whole(request(fmt.Sprint(i), "1", w.now))
		}
		done := make(chan error)
		go func() {
			_, err := w.Ingest(t.Context(), big)
			done <- err
		}()
		<-storing
		if p := w.Pressure(); p.Limit != 100 || p.Free != 0 {
			t.Errorf("%+v", p)
		}
		_, err := w.Ingest(t.Context(), []billing.UsageEvent{w.whole(request("more", "1", w.now))})
		var f *fault.Error
		if !errors.As(err, &f) || f.Class != fault.Throttled || f.RetryAfter < time.Second || !strings.Contains(f.Public, "120") {
			t.Errorf("answered %v", err)
		}
		w.wall = w.wall.Add(2 * time.Second)
		close(go_)
		w.ok(<-done)
		if p := w.Pressure(); p.Free != 100 || p.Drain != 0 {
			t.Errorf("%+v", p)
		}
		w.became(request("more", "1", w.now), billing.Accepted, "")
		w.places("api_request", map[ledger.Place]string{ledger.Open: "121"})
	})
}
