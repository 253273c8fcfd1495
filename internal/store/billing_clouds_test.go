package store_test

import (
	"slices"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/billing/ledger"
	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/money"
)

func TestMeteringGoogle(t *testing.T) {
	t.Parallel()
	clouds(t, marketplace.GCP, dedup, map[string]func(w *cloudWorld){
		"the answer is lost: the same operation is sent again, in time": func(w *cloudWorld) {
			w.v.weather = nth(map[int]string{1: "lost", 2: "lost"})
			w.use("api_request", "5", "", w.now)
			w.passes(1)
			for range 3 { // the third is 48 minutes after the first
				_ = w.try()
				w.wall = w.wall.Add(24 * time.Minute)
			}
			w.identical()
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "5"})
			w.charged("api_request", "5")
			if w.v.call != 3 {
				w.t.Fatalf("%d calls", w.v.call)
			}
			w.found()
		},
		"the answer is lost and nobody came in time: it is unsure, and nobody sends it again": func(w *cloudWorld) {
			w.v.weather = nth(map[int]string{1: "lost", 2: "lost"})
			at := w.now
			w.use("api_request", "5", "", w.now)
			w.passes(1)
			_ = w.try()
			w.wall = w.wall.Add(40 * time.Minute)
			_ = w.try() // counts from the first, not from this one
			old := w.sendable()
			w.wall, w.forgets = w.wall.Add(10*time.Minute), true
			w.sendsNothing(old)
			w.passes(1)
			w.sendsNothing(old)
			w.places("api_request", map[ledger.Place]string{ledger.Unsure: "5"})
			w.found(billing.FindUnsureNotRepeated)
			w.charged("api_request", "5")
			w.rules(w.record("api_request", at).ID, ledger.RuledThere, "it is in Google's report")
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "5"})
			w.sendsNothing(old)
		},
		"an operator says that it was never there: it may be sent again, and its time begins anew": func(w *cloudWorld) {
			w.v.weather = nth(map[int]string{1: "lost", 2: "lost"})
			at := w.now
			w.use("api_request", "5", "", w.now)
			w.passes(1)
			_ = w.try()
			w.bills, w.v.slots, w.first = nil, map[string]string{}, map[string]time.Time{}
			w.wall = w.wall.Add(time.Hour)
			w.sendsNothing(nil)
			w.rules(w.record("api_request", at).ID, ledger.RuledGone, "Google's report has nothing")
			_ = w.try()
			w.wall = w.wall.Add(30 * time.Minute)
			w.send()
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "5"})
			w.charged("api_request", "5")
		},
		"refused and throttled calls are no doubt, however long ago": func(w *cloudWorld) {
			w.v.weather = nth(map[int]string{1: "throttle", 2: "unprocessed"})
			w.use("api_request", "5", "", w.now)
			w.passes(1)
			for range 3 {
				_ = w.try()
				w.wall = w.wall.Add(2 * time.Hour)
			}
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "5"})
			w.charged("api_request", "5")
		},
		"nobody said yet whom a report names: the usage waits, and is not guessed": func(w *cloudWorld) {
			w.edit(func(x *billing.Terms) { x.Identity.Customer = "" })
			at := w.now
			w.use("api_request", "5", "", w.now)
			w.passes(2)
			w.sendsNothing(nil)
			w.places("api_request", map[ledger.Place]string{ledger.Open: "5"})
			w.found(billing.FindMissingIdentity)
			story, err := w.Story(w.t.Context(), w.sub, "api_request", clock.HourOf(at))
			if w.ok(err); len(story) != 2 || story[1].Reason != ledger.MissingIdentity {
				w.t.Fatalf("the story does not say why: %+v", story)
			}
			w.edit(func(x *billing.Terms) { x.Identity.Customer = "project_number:1" })
			w.passes(1)
			w.send()
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "5"})
			if got := w.v.sent[0].Identity; got.ProductCode != "tailnet.endpoints.vendor.cloud.goog" || got.Customer != "project_number:1" {
				w.t.Fatalf("%+v", got)
			}
		},
		"nobody ever says it: the end writes the usage off and says why": func(w *cloudWorld) {
			w.edit(func(x *billing.Terms) { x.Identity.Customer = "" })
			w.use("api_request", "5.5", "", w.now)
			w.passes(1)
			w.end(w.now)
			w.now = w.now.Add(30 * time.Minute)
			w.finish()
			w.places("api_request", map[ledger.Place]string{ledger.WrittenOff: "5.5"})
			w.found(billing.FindMissingIdentity, billing.FindWrittenOff)
			story, err := w.Story(w.t.Context(), w.sub, "api_request", clock.HourOf(w.now))
			if w.ok(err); len(story) == 0 || !slices.ContainsFunc(story, func(e billing.EntryView) bool { return e.To == ledger.WrittenOff && e.Reason == ledger.MissingIdentity }) {
				w.t.Fatalf("the story does not say why: %+v", story)
			}
		},
		"a month is Pacific": func(w *cloudWorld) {
			w.startAt(time.Date(2026, 12, 1, 6, 30, 0, 0, time.UTC)) // 22:30 on 30 November
			w.use("person", "1", "ann", w.now)
			w.passes(2)
			w.use("person", "1", "ann", w.now)
			w.passes(1)
			w.send()
			w.charged("person", "2")
			if r := w.record("person", w.now.Add(-time.Hour)); len(r.Allocations) != 1 || r.Allocations[0].Period != "2026-12-01T08:00:00Z" {
				w.t.Fatalf("%+v", r.Allocations)
			}
		},
	})
}

// With gcp_dedup off nothing is sent twice of which Google may have the first.
func TestMeteringGoogleThatForgets(t *testing.T) {
	t.Parallel()
	clouds(t, marketplace.GCP, -1, map[string]func(w *cloudWorld){
		"every doubtful unit ends as unsure, and nothing is doubled": func(w *cloudWorld) {
			w.forgets = true
			w.v.weather = nth(map[int]string{1: "lost", 2: "throttle", 4: "lost"})
			w.v.edit = func(call int, got []marketplace.Receipt) []marketplace.Receipt {
				if call == 5 {
					got[0].Outcome = marketplace.OutcomeFailed
				}
				if call == 6 {
					return nil
				}
				return got
			}
			for range 6 {
				w.use("api_request", "5", "", w.now)
				w.passes(1)
				w.send()
			}
			w.identical()
			m := w.row("api_request")
			accepted, err := money.Parse(m.Accepted, 1)
			w.ok(err)
			unsure, err := money.Parse(m.Unsure, 1)
			w.ok(err)
			if accepted+unsure != 300 || unsure == 0 || m.Open != "0" || m.Queued != "0" {
				w.t.Fatalf("%+v", m)
			}
			w.charged("api_request", "30") // here Google has all of them, once
			all, err := w.Findings(w.t.Context(), true)
			w.ok(err)
			var listed int64
			for _, f := range all {
				q, err := money.Parse(f.Quantity, 1)
				if w.ok(err); f.Class != billing.FindUnsureNotRepeated {
					w.t.Fatalf("%+v", f)
				}
				listed += q
			}
			if listed != unsure {
				w.t.Fatalf("findings list %d tenths, unsure are %d", listed, unsure)
			}
		},
		"our process dies in the call": func(w *cloudWorld) {
			w.use("api_request", "5", "", w.now)
			w.passes(1)
			o := w.Options
			o.Vendors = map[marketplace.ID]billing.Submitter{w.m: dying{w.v}}
			func() {
				defer func() {
					if p := recover(); p != (died{}) {
						panic(p)
					}
				}()
				_, _ = billing.New(o).Submit(w.t.Context(), string(w.m))
			}()
			w.forgets = true
			w.ok(w.try())
			w.places("api_request", map[ledger.Place]string{ledger.Unsure: "5"})
			w.charged("api_request", "5")
			w.end(w.now)
			w.now = w.now.Add(30 * time.Minute)
			w.finish() // what is parked does not hold up the end
		},
	})
}

func TestMeteringAzure(t *testing.T) {
	t.Parallel()
	clouds(t, marketplace.Azure, 0, map[string]func(w *cloudWorld){
		"fractions are taken": func(w *cloudWorld) {
			for range 3 {
				w.use("api_request", "0.7", "", w.now)
				w.passes(1)
			}
			w.send()
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "2.1"})
			w.charged("api_request", "2.1")
			w.passes(3)
			w.send()
			if len(w.v.sent) != 3 {
				w.t.Fatalf("%d events: an idle hour was reported", len(w.v.sent))
			}
		},
		"the answer is lost: what the slot holds says that it was ours": func(w *cloudWorld) {
			w.v.weather = nth(map[int]string{1: "lost"})
			w.use("api_request", "5", "", w.now)
			w.passes(1)
			w.wall = w.wall.Add(5 * time.Hour)
			w.send()
			w.identical()
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "5"})
			w.found()
		},
		"somebody else's smaller quantity holds the slot: the rest is billed later": func(w *cloudWorld) {
			w.use("api_request", "5.5", "", w.now)
			w.v.slots[w.slot("api_request", w.now)] = "2"
			w.passes(1)
			w.send()
			w.places("api_request", map[ledger.Place]string{ledger.Open: "3.5", ledger.Accepted: "2"})
			w.found(billing.FindOtherQuantity)
			w.passes(1)
			w.send()
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "5.5"})
		},
		"somebody else's larger quantity holds the slot: the excess is credit": func(w *cloudWorld) {
			w.use("api_request", "5.5", "", w.now)
			w.v.slots[w.slot("api_request", w.now)] = "8"
			w.passes(1)
			w.send()
			w.passes(1)
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "8", ledger.CreditLeft: "2.5"})
			w.use("api_request", "4", "", w.now)
			w.passes(1)
			w.send()
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "9.5"})
			w.found(billing.FindOtherQuantity)
		},
		"the same quantity that nobody of us wrote is looked at": func(w *cloudWorld) {
			w.use("api_request", "5", "", w.now)
			w.v.slots[w.slot("api_request", w.now)] = "5"
			w.passes(1)
			w.send()
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "5"})
			w.found(billing.FindUnexplainedDuplicate)
		},
		"another quantity holds the last slot: nothing returns to open after the final seal": func(w *cloudWorld) {
			w.use("api_request", "5", "", w.now)
			w.v.slots[w.slot("api_request", w.now)] = "2"
			w.end(w.now.Add(10 * time.Minute))
			w.now = w.now.Add(45 * time.Minute)
			w.finish()
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "2", ledger.WrittenOff: "3"})
			w.found(billing.FindOtherQuantity, billing.FindWrittenOff)
		},
		"a month of the term": func(w *cloudWorld) {
			w.startAt(time.Date(2026, 11, 13, 22, 30, 0, 0, time.UTC))
			w.edit(func(x *billing.Terms) { x.Term = time.Date(2026, 10, 14, 0, 0, 0, 0, time.UTC) })
			w.use("person", "1", "ann", w.now)
			w.passes(2)
			w.use("person", "1", "ann", w.now) // the 14th begins a month
			w.passes(1)
			w.send()
			w.charged("person", "2")
			if r := w.record("person", w.now.Add(-time.Hour)); len(r.Allocations) != 1 || r.Allocations[0].Period != "2026-11-14T00:00:00Z" {
				w.t.Fatalf("%+v", r.Allocations)
			}
		},
	})
}

func TestMeteringAzureSuspended(t *testing.T) {
	t.Parallel()
	clouds(t, marketplace.Azure, 0, map[string]func(w *cloudWorld){
		"held; reinstated, what is young enough is taken in its own hour and the rest is booked again": func(w *cloudWorld) {
			w.suspended = true
			for range 3 {
				w.use("api_request", "1", "", w.now)
				w.passes(1)
				w.send()
			}
			w.places("api_request", map[ledger.Place]string{ledger.Held: "3"})
			w.found(billing.FindHeld) // one for the purchase
			if _, marked := w.db.marks["refresh azure|licence|3f1c9d9e-5a52-4b7a-9a3c-0c1d2e3f4a5b"]; !marked {
				w.t.Fatalf("nobody asks Microsoft about it: %v", w.db.marks)
			}
			w.edit(func(x *billing.Terms) { x.Suspended, x.SwitchedAt = true, w.now })
			calls := w.v.call
			w.passes(22)
			w.send()
			w.places("api_request", map[ledger.Place]string{ledger.Held: "3"})
			if w.v.call != calls {
				w.t.Fatal("a suspended purchase was asked about")
			}
			w.suspended = false
			w.edit(func(x *billing.Terms) { x.Suspended, x.SwitchedAt = false, w.now.Add(-time.Minute) })
			w.seal()
			w.send()
			w.identical()
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "1", ledger.Open: "2"})
			w.passes(1)
			w.send()
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "3"})
			w.charged("api_request", "3")
		},
		"nobody said that it is suspended: it is asked for again, less and less, for a day": func(w *cloudWorld) {
			w.suspended = true
			w.use("api_request", "1", "", w.now)
			w.passes(1)
			w.send()
			w.seal()
			w.sendsNothing(nil)
			w.passes(1)
			w.send()
			w.places("api_request", map[ledger.Place]string{ledger.Held: "1"})
			w.suspended = false
			w.passes(1)
			w.sendsNothing(nil)
			w.passes(1)
			w.send()
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "1"})
			w.identical()
			w.use("api_request", "1", "", w.now)
			w.suspended = true
			calls := w.v.call
			for range 40 {
				w.passes(1)
				w.send()
			}
			if n := w.v.call - calls; n != 5 { // at once, and 1, 3, 7 and 15 hours later
				w.t.Fatalf("it was asked for %d times", n)
			}
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "1", ledger.Held: "1"})
		},
		"the answer was lost, and now it is suspended: nobody knows, nothing is held up, and it is asked for every hour": func(w *cloudWorld) {
			w.v.weather = func(call int, _ []marketplace.Record) string {
				if call == 1 {
					clear(w.v.slots) // Microsoft looks at the purchase before it looks at the slot
					return "lost"
				}
				return ""
			}
			w.use("api_request", "1", "", w.now)
			w.passes(1)
			_ = w.try()
			w.suspended = true
			clear(w.v.slots)
			_ = w.try()
			w.places("api_request", map[ledger.Place]string{ledger.Unsure: "1"})
			calls := w.v.call
			again, err := w.Submit(w.t.Context(), string(w.m))
			if err != nil || again.Sub(w.now) != time.Hour || w.v.call != calls {
				w.t.Fatalf("again %s, %d calls more: %v", again, w.v.call-calls, err)
			}
			w.use("api_request", "2", "", w.now)
			w.passes(1)
			w.send()
			if w.v.call != calls+1 { // both in one call
				w.t.Fatalf("%d calls", w.v.call-calls)
			}
			w.suspended = false
			w.edit(func(x *billing.Terms) { x.SwitchedAt = w.now.Add(time.Second) })
			w.passes(1)
			w.send()
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "3"})
			w.identical()
		},
		"refused under a plan that, as is learnt later, was not in force: written again under the right one": func(w *cloudWorld) {
			w.plans("standard")
			w.v.takes = func(r marketplace.Record) marketplace.Receipt {
				if r.Identity.Plan == "standard" {
					return marketplace.Receipt{Outcome: marketplace.OutcomeInvalid}
				}
				return w.microsoft(r)
			}
			w.use("api_request", "1", "", w.now)
			first := w.now
			w.passes(2)
			w.send()
			w.places("api_request", map[ledger.Place]string{ledger.Held: "1"})
			w.plans("pro")
			w.passes(1)
			w.send()
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "1"})
			w.charged("api_request", "1")
			if r := w.record("api_request", first); r.State != ledger.RecordFreed || r.Reason != ledger.InvalidRecord {
				w.t.Fatalf("%+v", r)
			}
			w.found(billing.FindHeld)
		},
		"cancelled while suspended: what is older than the window is written off": func(w *cloudWorld) {
			w.suspended = true
			w.use("api_request", "1", "", w.now)
			w.passes(1)
			w.send()
			w.edit(func(x *billing.Terms) { x.Suspended, x.SwitchedAt = true, w.now })
			w.passes(30)
			w.use("api_request", "2", "", w.now)
			w.passes(1)
			w.send()
			w.places("api_request", map[ledger.Place]string{ledger.Held: "3"})
			w.end(w.now)
			w.now = w.now.Add(31 * time.Minute)
			w.suspended = false // what was used before the end is taken for a day
			w.finish()
			w.seal()
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "2", ledger.WrittenOff: "1"})
			story, err := w.Story(w.t.Context(), w.sub, "api_request", clock.HourOf(w.term[w.sub].StartsAt))
			if w.ok(err); story[len(story)-1].Reason != ledger.SuspendedHold || story[len(story)-1].To != ledger.WrittenOff {
				w.t.Fatalf("%+v", story)
			}
			w.found(billing.FindHeld, billing.FindWrittenOff)
		},
		"refused as invalid: no end asks for it again, a person must": func(w *cloudWorld) {
			w.v.takes = func(marketplace.Record) marketplace.Receipt {
				return marketplace.Receipt{Outcome: marketplace.OutcomeInvalid}
			}
			w.use("api_request", "1", "", w.now)
			w.passes(1)
			w.send()
			w.end(w.now)
			w.now = w.now.Add(31 * time.Minute)
			w.finish()
			if w.v.call != 1 {
				w.t.Fatalf("asked %d times", w.v.call)
			}
			w.places("api_request", map[ledger.Place]string{ledger.Held: "1"})
		},
		"cancelled while suspended, and Microsoft takes nothing": func(w *cloudWorld) {
			w.suspended = true
			w.use("api_request", "1", "", w.now)
			w.passes(1)
			w.send()
			w.end(w.now)
			w.now = w.now.Add(31 * time.Minute)
			w.finish()
			w.places("api_request", map[ledger.Place]string{ledger.Held: "1"})
			again, err := w.Seal(w.t.Context(), w.sub)
			if w.ok(err); again.IsZero() {
				w.t.Fatal("nobody looks at the held record again")
			}
			w.now = again
			w.seal()
			w.places("api_request", map[ledger.Place]string{ledger.WrittenOff: "1"})
		},
	})
}
