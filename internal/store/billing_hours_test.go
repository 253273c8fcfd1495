package store_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/billing/ledger"
	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
)

func (w *meterWorld) slots(dimension string, want map[string]string) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.billed(dimension)); diff != "" {
		w.t.Fatalf("%s in the vendor's slots (-want +got):\n%s", dimension, diff)
	}
}

// What lies in which hour, which month, and which slot.
func TestMeteringHours(t *testing.T) {
	t.Parallel()
	stories(t, map[string]func(w *meterWorld){
		"a month begins: what is used late in the old one counts in the old one": func(w *meterWorld) {
			w.startAt(time.Date(2026, 11, 30, 22, 5, 0, 0, time.UTC))
			november := w.now
			w.use("ephemeral_minute", "990.5", "", november)
			w.use("active_user", "1", "ann", november)
			w.hours(2)                                   // 1 December, 00:05
			w.use("ephemeral_minute", "1000", "", w.now) // all included in December
			w.use("active_user", "1", "ann", w.now)      // a new month counts her again
			w.use("ephemeral_minute", "20.75", "", november)
			w.use("active_user", "1", "ann", november)
			w.use("active_user", "1", "bob", november)
			december := w.now
			w.hours(1)
			w.send()
			w.places("ephemeral_minute", map[ledger.Place]string{ledger.Included: "2000", ledger.Accepted: "11", ledger.Carried: "0.25"})
			w.places("active_user", map[ledger.Place]string{ledger.Accepted: "3"})
			r := w.record("active_user", december)
			want := []billing.AllocationView{{Period: "2026-11-01T00:00:00Z", Plan: "standard", Quantity: "1"}, {Period: "2026-12-01T00:00:00Z", Plan: "standard", Quantity: "1"}}
			if diff := cmp.Diff(want, r.Allocations); diff != "" {
				w.t.Fatalf("one record, two months:\n%s", diff)
			}
			for _, s := range w.v.sent {
				if s.Key == r.Slot && (len(s.Allocations) != 2 || s.Allocations[0].Tags["period"] != "2026-11-01") {
					w.t.Fatalf("the buyer is not told which month: %+v", s.Allocations)
				}
			}
		},
		"the old month's window is shut: its slots are not asked, its units are billed in the new one": func(w *meterWorld) {
			w.v.monthCut = func(h clock.Hour) time.Time {
				return time.Date(h.Start().Year(), h.Start().Month()+1, 1, 6, 0, 0, 0, time.UTC)
			}
			w.startAt(time.Date(2026, 11, 30, 23, 5, 0, 0, time.UTC))
			w.use("api_request", "7", "", w.now)
			w.now = time.Date(2026, 12, 1, 8, 30, 0, 0, time.UTC) // nobody sealed until now
			w.cover()
			w.seal()
			w.send()
			w.slots("api_request", map[string]string{clock.HourOf(w.now).Prev().Prev().Prev().Prev().Prev().Prev().Prev().Prev().String(): "7"})
		},
		"an idle hour gets one record of 0, when it is known that it was idle": func(w *meterWorld) {
			first := clock.HourOf(w.now)
			w.hours(2)
			w.now = w.now.Add(2 * time.Hour) // two more hours; no collector came
			w.seal()
			w.send()
			w.slots("active_user", map[string]string{first.String(): "0", first.Next().String(): "0"})
			for _, d := range []string{"tagged_resource", "ephemeral_minute", "api_request"} {
				w.slots(d, map[string]string{})
			}
		},
		"a collected hour is not sealed before it is covered": func(w *meterWorld) {
			w.use("active_user", "1", "ann", w.now)
			w.use("api_request", "2", "", w.now)
			from := w.now
			w.now = w.now.Add(time.Hour)
			w.seal()
			w.places("active_user", map[ledger.Place]string{ledger.Open: "1"})
			w.places("api_request", map[ledger.Place]string{ledger.Queued: "2"})
			w.ok(w.Collect(w.t.Context(), w.sub, from, clock.HourOf(w.now).Start().Add(-time.Second), nil))
			w.seal()
			w.places("active_user", map[ledger.Place]string{ledger.Open: "1"})
			w.cover()
			if at, marked := w.db.marks["seal "+string(w.sub)]; !marked || at.After(w.now) {
				w.t.Fatalf("the collector does not wake the seal: %v", w.db.marks)
			}
			w.seal()
			w.places("active_user", map[ledger.Place]string{ledger.Queued: "1"})
		},
		"no collector comes before the end": func(w *meterWorld) {
			w.use("active_user", "1", "ann", w.now)
			w.end(w.now.Add(20 * time.Minute))
			w.now = w.term[w.sub].EndsAt.Add(10 * time.Minute)
			if _, err := w.Close(w.t.Context(), w.sub); !fault.Is(err, fault.Unavailable) {
				w.t.Fatalf("it does not wait: %v", err)
			}
			w.now = w.now.Add(10 * time.Minute)
			w.finish()
			w.places("active_user", map[ledger.Place]string{ledger.Accepted: "1"})
			w.found(billing.FindCoverageGap)
		},
		"no collector comes, and nobody says that nobody was there": func(w *meterWorld) {
			w.hours(1)
			covered := clock.HourOf(w.now).Prev().String()
			w.end(w.now.Add(2*time.Hour + 30*time.Minute))
			w.now = w.term[w.sub].EndsAt.Add(25 * time.Minute)
			w.finish()
			w.slots("active_user", map[string]string{covered: "0"})
		},
		"the end is learnt late: what came late takes a slot that is still free": func(w *meterWorld) {
			start := clock.HourOf(w.now)
			w.use("api_request", "1", "", w.now)
			w.hours(1)
			w.hours(1) // idle: its slot stays free for reported meters
			w.use("api_request", "2", "", w.now)
			late := w.now
			w.hours(1)
			w.send()
			w.end(late.Add(30 * time.Minute)) // the message comes half an hour late, the hour of the end is sealed
			w.use("api_request", "4", "", late)
			w.finish()
			w.slots("api_request", map[string]string{start.String(): "1", start.Next().String(): "4", start.Next().Next().String(): "2"})
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "7"})
		},
		"the window after the end is over before anybody looks": func(w *meterWorld) {
			w.use("api_request", "4", "", w.now)
			w.end(w.now.Add(30 * time.Minute))
			w.now = w.now.Add(2 * time.Hour)
			w.finish()
			w.places("api_request", map[ledger.Place]string{ledger.WrittenOff: "4"})
			w.found(billing.FindCoverageGap, billing.FindWrittenOff)
			if w.v.call != 0 {
				w.t.Fatal("a record was sent that could only be refused")
			}
		},
		"no slot is left": func(w *meterWorld) {
			at := w.now
			w.use("api_request", "1", "", at)
			w.hours(2)
			w.send()
			w.end(at.Add(30 * time.Minute))
			w.use("api_request", "4.5", "", at)
			w.finish()
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "1", ledger.WrittenOff: "4.5"})
			w.found(billing.FindWrittenOff)
		},
		"a renewal joins its predecessor: who was counted by both is counted once": func(w *meterWorld) {
			first := w.sub
			for _, of := range []string{"ann", "bob"} {
				w.use("active_user", "1", of, w.now)
			}
			w.use("ephemeral_minute", "900", "", w.now)
			w.use("tagged_resource", "60", "", w.now)
			w.hours(1)
			w.send()
			w.sub = id.NewSubscription()
			x := w.term[first]
			x.Subscription, x.Lineage, x.StartsAt, x.Identity.License = w.sub, w.sub, w.now, string(w.sub)
			w.term[w.sub] = x
			for _, of := range []string{"ann", "cem"} {
				w.use("active_user", "1", of, w.now)
			}
			w.use("ephemeral_minute", "300", "", w.now)
			w.use("tagged_resource", "55", "", w.now)
			x.Lineage = first // AWS says only now what it continues
			w.term[w.sub] = x
			w.hours(1)
			w.send()
			w.use("active_user", "1", "bob", w.now)
			w.hours(1)
			w.send()
			w.places("active_user", map[ledger.Place]string{ledger.Accepted: "1"})                                // cem
			w.places("ephemeral_minute", map[ledger.Place]string{ledger.Included: "100", ledger.Accepted: "200"}) // of one pool
			w.places("tagged_resource", map[ledger.Place]string{})                                                // 60 was higher
			w.sub = first
			w.places("active_user", map[ledger.Place]string{ledger.Accepted: "2"})
			w.places("tagged_resource", map[ledger.Place]string{ledger.Included: "50", ledger.Accepted: "10"})
		},
		"a renewal joins after both were billed: what was billed twice is credit": func(w *meterWorld) {
			first := w.sub
			w.use("active_user", "1", "ann", w.now)
			w.hours(1)
			w.sub = id.NewSubscription()
			x := w.term[first]
			x.Subscription, x.Lineage, x.StartsAt, x.Identity.License = w.sub, w.sub, w.now, string(w.sub)
			w.term[w.sub] = x
			w.use("active_user", "1", "ann", w.now)
			w.hours(1)
			w.send()
			x.Lineage = first
			w.term[w.sub] = x
			w.hours(1)
			w.places("active_user", map[ledger.Place]string{ledger.Accepted: "1", ledger.CreditLeft: "1"})
			w.use("active_user", "1", "bob", w.now) // and is consumed before anything more is billed
			w.hours(1)
			w.send()
			w.places("active_user", map[ledger.Place]string{ledger.Accepted: "1"})
		},
		"a product that only observes is not metered": func(w *meterWorld) {
			x := w.term[w.sub]
			x.CutOver = clock.Hour{}
			w.term[w.sub] = x
			if got := w.offer(billing.UsageEvent{Subject: string(w.sub), Meter: "api_request", Quantity: "9", UsedAt: w.now}); got.Reason != string(billing.BeforeCutOver) {
				w.t.Fatalf("%+v", got)
			}
			w.now = w.now.Add(3 * time.Hour)
			w.seal()
			w.send()
			if w.v.call != 0 {
				w.t.Fatal("something was sent")
			}
		},
	})
}

// startAt makes the purchase begin at another time.
func (w *meterWorld) startAt(at time.Time) {
	x := w.term[w.sub]
	x.StartsAt, x.CutOver = at, clock.HourOf(at)
	w.term[w.sub], w.now = x, at
}

// cancelledInTheMiddleOfAnHour is a story of pain 5.
func cancelledInTheMiddleOfAnHour(w *meterWorld) {
	w.hours(1)
	at := w.now // 08:10
	end := at.Add(15 * time.Minute)
	w.use("api_request", "2", "", at)
	w.end(end)
	w.now = end
	if got := w.offer(billing.UsageEvent{Subject: string(w.sub), Meter: "api_request", Quantity: "9", UsedAt: end}); got.Reason != string(billing.AfterEnd) {
		w.t.Fatalf("used at the end: %+v", got)
	}
	w.now = end.Add(-time.Minute)
	if settled, err := w.Close(w.t.Context(), w.sub); settled || err != nil {
		w.t.Fatalf("closed before its end: %v %v", settled, err)
	}
	w.now = end.Add(5 * time.Minute)
	if _, err := w.Close(w.t.Context(), w.sub); !fault.Is(err, fault.Unavailable) {
		w.t.Fatalf("closed before the last minutes were collected: %v", err)
	}
	w.use("api_request", "3", "", at.Add(time.Minute)) // known only now
	w.ok(w.Collect(w.t.Context(), w.sub, at, end, []billing.UsageEvent{{Source: "c", ID: "1", Subject: string(w.sub), Meter: "active_user", Quantity: "1", Of: "ann", UsedAt: end.Add(-time.Second)}}))
	w.now = end.Add(40 * time.Minute) // the hour is over
	w.seal()
	w.places("api_request", map[ledger.Place]string{ledger.Open: "5"}) // the last hour is the final seal's
	w.finish()
	w.places("api_request", map[ledger.Place]string{ledger.Accepted: "5"})
	w.places("active_user", map[ledger.Place]string{ledger.Accepted: "1"})
	r := w.record("api_request", at)
	if !r.Final || r.Deadline.After(end.Add(time.Hour)) {
		w.t.Fatalf("the last record: %+v", r)
	}
	for _, s := range w.v.sent {
		if s.Key == r.Slot && !s.To.Equal(end) {
			w.t.Fatalf("the last record is to %s, the purchase ended at %s", s.To, end)
		}
	}
	for slot := range w.v.slots {
		if slot > slotOf(w.sub, slot[len(w.sub)+1:len(slot)-len(clock.HourOf(at).String())-1], at) {
			w.t.Fatalf("slot %s is after the end", slot)
		}
	}
}
