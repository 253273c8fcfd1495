package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/billing/ledger"
	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/store/storetest"
)

// Each test here is named after what went wrong elsewhere, by the number of the
// pain and with where it was told, and fails when the mistake is made.
// docs/exactly-once.md lists where the others are.

// everywhere tells a story at each marketplace, on both engines.
func everywhere(t *testing.T, story func(w *cloudWorld)) {
	t.Helper()
	for _, m := range []marketplace.ID{marketplace.AWS, marketplace.GCP, marketplace.Azure} {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			storetest.Each(t, func(t *testing.T, s *store.Store) { story(selling(t, s, m, dedup)) })
		})
	}
}

// once wants every slot to be asked for one quantity, and none below zero.
func (w *cloudWorld) once() {
	w.t.Helper()
	w.identical()
	seen := map[string]bool{}
	for _, r := range w.bills {
		if seen[r.Key] || r.Quantity == "" || r.Quantity[0] == '-' || r.Quantity == "0" {
			w.t.Fatalf("%s of slot %s is on the bill", r.Quantity, r.Key)
		}
		seen[r.Key] = true
	}
}

// Pain 4: usage is stamped with the time it was sent: a retry is a new charge, a
// delay moves the hour (AWS sample metering-sqs.js; flexprice PR #2235).
func TestPain04UsageIsOfTheHourItWasUsedIn(t *testing.T) {
	t.Parallel()
	everywhere(t, func(w *cloudWorld) {
		plan := w.term[w.sub].Identity.Plan
		if plan != "" {
			plan = " " + plan
		}
		w.use("api_request", "5", "", w.now) // 07:10
		used := w.now.Add(40 * time.Minute)
		w.now = w.now.Add(70 * time.Minute)
		w.use("api_request", "3", "", used) // sent half an hour after it was used, in the next hour
		w.v.weather = nth(map[int]string{1: "throttle", 2: "throttle", 3: "throttle", 4: "lost"})
		for range 3 {
			w.passes(1)
			_ = w.try()
		}
		_ = w.try() // lost on its way back
		w.wall = w.wall.Add(10 * time.Minute)
		w.send()
		w.once()
		w.lines("api_request 8 07:10-08:00" + plan)
		for _, r := range w.v.sent {
			if !r.Hour.Contains(used) {
				w.t.Fatalf("sent as of %s", r.Hour)
			}
		}
		w.places("api_request", map[ledger.Place]string{ledger.Accepted: "8"})
		w.found()
	})
}

// Pain 5: the last usage before a cancellation is lost: the backlog is hours
// long, the window after an end is not (FLE-1106 §1).
func TestPain05TheLastUsageBeforeACancellationIsBilled(t *testing.T) {
	t.Parallel()
	everywhere(t, func(w *cloudWorld) {
		w.v.weather = func(int, []marketplace.Record) string { return "throttle" }
		for range 3 {
			w.use("api_request", "2", "", w.now)
			w.passes(1)
			_ = w.try()
		}
		end := w.now.Add(15 * time.Minute) // 10:25
		w.now = end.Add(-time.Second)
		w.use("api_request", "4", "", w.now)
		w.end(end)
		w.now = end
		if w.v.rules.FinalAccept > 0 { // usage may be told for a while
			if settled, err := w.Close(w.t.Context(), w.sub); settled || err != nil {
				w.t.Fatalf("closed at the end: %v %v", settled, err)
			}
		}
		w.use("api_request", "1", "", end.Add(-time.Microsecond)) // told only now
		w.v.weather = nil
		w.now = end.Add(w.v.rules.FinalAccept)
		w.finish()
		w.charged("api_request", "11")
		w.places("api_request", map[ledger.Place]string{ledger.Accepted: "11"})
		last := w.record("api_request", end)
		if !last.Final || last.Quantity != "5" || last.SettledAt.Sub(end) > time.Hour || last.Deadline.After(end.Add(24*time.Hour)) {
			w.t.Fatalf("the last hour: %+v", last)
		}
		for _, r := range w.v.sent {
			if r.To.After(end) || r.Hour.After(clock.HourOf(end)) {
				w.t.Fatalf("a record is of %s to %s, the purchase ended at %s", r.From, r.To, end)
			}
		}
		w.once()
		w.found()
	})
	t.Run("collected", func(t *testing.T) {
		stories(t, map[string]func(w *meterWorld){"in the middle of an hour": cancelledInTheMiddleOfAnHour})
	})
}

// Pain 8: duplicate events are counted in the store that bills (lago-api PR
// #4725, #4260, #5359).
func TestPain08ADuplicateEventCountsOnce(t *testing.T) {
	t.Parallel()
	stories(t, map[string]func(w *meterWorld){
		"one identity is one fact": func(w *meterWorld) {
			w.became(request("a", "5", w.now), billing.Accepted, "")
			w.became(request("a", "5.0", w.now), billing.Duplicate, "") // says the same
			w.became(request("a", "6", w.now), billing.Conflict, "")
			w.became(request("a", "5", w.now.Add(time.Second)), billing.Conflict, "")
			other := request("a", "5", w.now)
			other.Source = "another producer"
			w.became(other, billing.Accepted, "")
			w.places("api_request", map[ledger.Place]string{ledger.Open: "10"})
		},
		"whenever it comes again": func(w *meterWorld) {
			e := request("a", "5", w.now)
			w.became(e, billing.Accepted, "")
			again := func(want map[ledger.Place]string) {
				w.t.Helper()
				got, err := w.Ingest(w.t.Context(), []billing.UsageEvent{w.whole(e), w.whole(e)})
				if w.ok(err); got[0].Result != billing.Duplicate || got[1].Result != billing.Duplicate {
					w.t.Fatalf("%+v", got)
				}
				w.places("api_request", want)
			}
			again(map[ledger.Place]string{ledger.Open: "5"})
			w.hours(1)
			again(map[ledger.Place]string{ledger.Queued: "5"})
			w.send()
			again(map[ledger.Place]string{ledger.Accepted: "5"})
			w.now = w.now.Add(40 * 24 * time.Hour) // older than an event may be
			again(map[ledger.Place]string{ledger.Accepted: "5"})
			w.hours(1)
			w.end(w.now)
			w.finish()
			again(map[ledger.Place]string{ledger.Accepted: "5"})
			w.waiting(0)
		},
	})
}

// Pain 11: a missed run of the scheduler leaves a hole that no later run fills, and
// an item that failed never advances (FLE-981 §8.3; SaaS Accelerator MeteredTriggerHelper.cs).
func TestPain11AMissedRunIsDoneByTheNext(t *testing.T) {
	t.Parallel()
	everywhere(t, func(w *cloudWorld) {
		start := w.now
		for i := range 20 {
			w.use("api_request", fmt.Sprint(i+1), "", w.now)
			w.now = start.Add(time.Duration(i+1) * time.Hour)
		}
		w.wall = w.now
		w.seal() // the first in twenty hours
		w.v.weather = nth(map[int]string{1: "throttle"})
		if w.try() == nil {
			w.t.Fatal("nothing was sent, and nobody is told")
		}
		w.send() // the next run finds what the last one left
		if len(w.bills) != 20 {
			w.t.Fatalf("%d records, want one for each of 20 hours", len(w.bills))
		}
		w.once()
		w.charged("api_request", "210")
		w.places("api_request", map[ledger.Place]string{ledger.Accepted: "210"})
	})
}

// Pain 13: an overcharge cannot be undone, quantities are positive (Metronome
// "Invoicing with AWS Marketplace"; Clazar "Metering in GCP Marketplace").
func TestPain13WhatWasBilledTooMuchIsCredit(t *testing.T) {
	t.Parallel()
	everywhere(t, func(w *cloudWorld) {
		e := w.use("api_request", "10", "", w.now)
		w.passes(1)
		w.send()
		w.use("api_request", "4", "", w.now, e)
		w.passes(1)
		w.send() // nothing below zero
		w.places("api_request", map[ledger.Place]string{ledger.Accepted: "10", ledger.CreditLeft: "6"})
		w.use("api_request", "9", "", w.now) // consumes it before anything more is billed
		w.passes(1)
		w.send()
		w.places("api_request", map[ledger.Place]string{ledger.Accepted: "13"})
		e = w.use("api_request", "5", "", w.now)
		w.passes(1)
		w.send()
		w.use("api_request", "2", "", w.now, e)
		w.use("api_request", "1", "", w.now)
		w.passes(1)
		w.send()
		w.charged("api_request", "18")
		w.once()
		w.end(w.now)
		w.now = w.now.Add(31 * time.Minute)
		w.finish() // no usage will ever consume the rest: a person refunds it
		w.places("api_request", map[ledger.Place]string{ledger.Accepted: "18", ledger.CreditLeft: "2"})
		w.found(billing.FindCreditLeft)
	})
}

// Pain 14: submissions that fail add to what was consumed on every run, and
// expired values never leave the list (metered-billing-accelerator #152).
func TestPain14AFailedSubmissionConsumesNothing(t *testing.T) {
	t.Parallel()
	everywhere(t, func(w *cloudWorld) {
		w.including("2", "0")
		first := w.now
		w.use("api_request", "5", "", w.now)
		w.passes(1)
		takes := w.v.takes
		w.v.weather = func(call int, _ []marketplace.Record) string { return []string{"throttle", ""}[call%2] }
		w.v.takes = func(marketplace.Record) marketplace.Receipt {
			return marketplace.Receipt{Outcome: marketplace.OutcomeUnprocessed}
		}
		for i := range 6 {
			if w.try() == nil {
				w.t.Fatal("nothing was settled, and submit is content")
			}
			w.use("api_request", "1", "", w.now)
			w.passes(1)
			w.places("api_request", map[ledger.Place]string{ledger.Included: "2", ledger.Queued: fmt.Sprint(4 + i)})
			if n := len(w.sendable()); n != 2+i {
				w.t.Fatalf("%d records wait after %d hours", n, 2+i)
			}
		}
		w.v.weather = nil
		w.v.takes = func(r marketplace.Record) marketplace.Receipt {
			if r.Hour.Contains(first) {
				return marketplace.Receipt{Outcome: marketplace.OutcomeExpired}
			}
			return takes(r)
		}
		old := w.sendable()
		w.send()
		w.sendsNothing(old) // it has left the list
		w.places("api_request", map[ledger.Place]string{ledger.Included: "2", ledger.Open: "3", ledger.Accepted: "6"})
		w.v.takes = takes
		w.passes(1) // and its units go into a record of their own
		w.send()
		w.places("api_request", map[ledger.Place]string{ledger.Included: "2", ledger.Accepted: "9"})
		w.charged("api_request", "9")
		w.once()
	})
}

// Pain 17: a queue of retries drops what is older than three hours (ubbagent
// pipeline/senders/retry.go).
func TestPain17NothingIsDroppedByAge(t *testing.T) {
	t.Parallel()
	everywhere(t, func(w *cloudWorld) {
		w.use("api_request", "5", "", w.now)
		w.passes(1)
		w.v.weather = func(int, []marketplace.Record) string { return "throttle" }
		for hour := range 21 {
			if err := w.try(); !fault.Is(err, fault.Throttled) || fault.ClassOf(err).Final() {
				w.t.Fatalf("after %d hours submit gives up: %v", hour, err)
			}
			w.places("api_request", map[ledger.Place]string{ledger.Queued: "5"})
			w.passes(1)
		}
		w.v.weather = nil
		w.send()
		w.once()
		w.places("api_request", map[ledger.Place]string{ledger.Accepted: "5"})
		w.charged("api_request", "5")
		w.found()
	})
}

// Pain 19: usage that arrives after its window was reported is lost, and a
// correction is refused as a duplicate (FLE-1106 §7).
func TestPain19UsageOfAReportedHourIsBilledInALaterSlot(t *testing.T) {
	t.Parallel()
	everywhere(t, func(w *cloudWorld) {
		first := w.now
		e := w.use("api_request", "5", "", first)
		w.passes(1)
		w.send()
		w.use("api_request", "3", "", first.Add(time.Minute)) // late
		w.passes(1)
		w.send()
		w.charged("api_request", "8")
		w.use("api_request", "6", "", w.now, e) // there was one more
		w.passes(1)
		w.send()
		w.charged("api_request", "9")
		if n := len(w.v.sent); n != 3 { // a slot that is taken was not asked again
			w.t.Fatalf("%d records were sent", n)
		}
		w.once()
		w.places("api_request", map[ledger.Place]string{ledger.Accepted: "9"})
		w.found()
	})
}
