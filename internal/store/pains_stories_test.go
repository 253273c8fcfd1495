package store_test

import (
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/billing/ledger"
	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/money"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/store/storetest"
)

// Pain 15: a buyer is billed by two sellers for one use, unless every charge path
// has the guard (future-agi gcp-marketplace-implementation.md §12).
func TestPain15OneUseIsBilledByOneSeller(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := selling(t, s, marketplace.AWS, 0)
		rules := (&vendor{}).Rules("")
		rules.Heartbeat = false
		other := &vendor{slots: map[string]string{}, rules: &rules}
		o := w.Options
		o.Vendors = map[marketplace.ID]billing.Submitter{marketplace.AWS: w.v, marketplace.Azure: other}
		w.Service = billing.New(o)
		second, x := id.NewSubscription(), w.term[w.sub] // the same buyer, at Microsoft
		x.Subscription, x.Lineage, x.Marketplace, x.Identity = second, second, marketplace.Azure, marketplace.VendorIdentity{Resource: "r", License: string(second)}
		w.term[second] = x
		e := w.whole(request("one use", "5", w.now))
		w.became(e, billing.Accepted, "")
		e.Subject = string(second)
		w.became(e, billing.Conflict, "") // what is billed there is not billed here too
		f := request("another use", "3", w.now)
		f.Source, f.Subject = "t", string(second)
		w.became(f, billing.Accepted, "")
		w.passes(1)
		_, err := w.Seal(t.Context(), second)
		w.ok(err)
		for _, m := range []marketplace.ID{marketplace.AWS, marketplace.Azure, marketplace.AWS, marketplace.Azure} {
			_, err := w.Submit(t.Context(), string(m))
			w.ok(err)
		}
		w.charged("api_request", "5")
		if len(other.sent) != 1 || other.sent[0].Quantity != "3" || len(w.v.sent) != 1 {
			t.Fatalf("AWS was sent %+v, Microsoft %+v", w.v.sent, other.sent)
		}
		w.places("api_request", map[ledger.Place]string{ledger.Accepted: "5"})
	})
}

// Pain 16: under-reporting is silent, because no customer complains of it
// (future-agi gcp-marketplace-implementation.md §9).
func TestPain16WhatIsNotBilledIsFound(t *testing.T) {
	t.Parallel()
	everywhere(t, func(w *cloudWorld) {
		takes := w.v.takes
		w.use("api_request", "5", "", w.now)
		w.passes(1)
		w.v.takes = func(marketplace.Record) marketplace.Receipt {
			return marketplace.Receipt{Outcome: marketplace.OutcomeNotSubscribed}
		}
		w.send() // 5 are refused for good
		w.v.takes = takes
		w.use("api_request", "3", "", w.now)
		w.passes(1)
		w.v.weather = func(int, []marketplace.Record) string { return "lost" }
		_ = w.try() // of 3 nobody knows
		w.v.weather = nil
		w.now, w.wall = w.now.Add(25*time.Hour), w.wall.Add(25*time.Hour)
		w.send()
		w.use("api_request", "4", "", w.now)
		w.end(w.now.Add(time.Minute))
		w.now = w.now.Add(40 * time.Minute)
		w.finish()
		w.use("api_request", "2", "", w.term[w.sub].EndsAt.Add(-time.Second)) // 2 come after the final seal
		w.places("api_request", map[ledger.Place]string{ledger.WrittenOff: "7", ledger.Unsure: "3", ledger.Accepted: "4"})
		all, err := w.Findings(w.t.Context(), true)
		w.ok(err)
		var listed int64
		for _, f := range all {
			q, err := money.Parse(f.Quantity, 1)
			w.ok(err)
			listed += q
		}
		if len(all) != 3 || listed != 100 {
			w.t.Fatalf("10 units are not on a bill that is known, and findings list %s: %+v", money.Format(listed, 1), all)
		}
	})
	t.Run("nobody looked", func(t *testing.T) {
		stories(t, map[string]func(w *meterWorld){
			"a gap is a finding, and fills nothing": func(w *meterWorld) {
				w.use("active_user", "1", "ann", w.now)
				w.hours(1)
				w.now = w.now.Add(3 * time.Hour)
				w.ok(w.Collect(w.t.Context(), w.sub, w.now.Add(-time.Hour), w.now, nil))
				w.seal()
				w.send()
				w.places("active_user", map[ledger.Place]string{ledger.Accepted: "1"})
				w.found(billing.FindCoverageGap)
			},
		})
	})
}

// The first answer is lost, the second says no: the units are where the first may
// have put them, and in no other record.
func TestARefusalOnAResendAfterALostAcceptFreesNothing(t *testing.T) {
	t.Parallel()
	for _, said := range []marketplace.ReceiptOutcome{marketplace.OutcomeNotSubscribed, marketplace.OutcomeExpired, marketplace.OutcomeInvalid, marketplace.OutcomeSuspended} {
		t.Run(string(said), func(t *testing.T) {
			t.Parallel()
			everywhere(t, func(w *cloudWorld) {
				w.v.weather = nth(map[int]string{1: "lost"})
				takes := w.v.takes
				w.v.takes = func(r marketplace.Record) marketplace.Receipt {
					if w.v.call > 1 {
						return marketplace.Receipt{Outcome: said, StopsService: said == marketplace.OutcomeSuspended}
					}
					return takes(r)
				}
				w.use("api_request", "5", "", w.now)
				w.passes(1)
				_ = w.try()
				w.wall = w.wall.Add(10 * time.Minute)
				_ = w.try()
				if w.v.call != 2 {
					w.t.Fatalf("%d calls", w.v.call)
				}
				w.places("api_request", map[ledger.Place]string{ledger.Unsure: "5"})
				for range 25 {
					w.passes(1)
					_ = w.try()
				}
				w.places("api_request", map[ledger.Place]string{ledger.Unsure: "5"})
				w.identical()
				w.charged("api_request", "5")
				if w.m == marketplace.GCP {
					w.found(billing.FindUnsureNotRepeated)
				} else {
					w.found(billing.FindUnsureTooLate)
				}
			})
		})
	}
}

// A slot that another purchase of ours holds is not asked again.
func TestASlotThatIsTakenIsNotAskedAgain(t *testing.T) {
	t.Parallel()
	stories(t, map[string]func(w *meterWorld){
		"another purchase holds the slot: the units move to the next hour": func(w *meterWorld) {
			other, at := w.sub, w.now
			w.use("api_request", "1", "", at)
			w.hours(1)
			w.sub = id.NewSubscription() // bought again, under the same licence
			x := w.term[other]
			x.Subscription, x.Lineage = w.sub, w.sub
			w.term[w.sub] = x
			w.use("api_request", "2", "", at)
			w.seal()
			w.places("api_request", map[ledger.Place]string{ledger.Open: "2"})
			w.hours(1)
			w.send()
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "2"})
			w.slots("api_request", map[string]string{clock.HourOf(at).String(): "1", clock.HourOf(at).Next().String(): "2"})
			story, err := w.Story(w.t.Context(), w.sub, "api_request", clock.HourOf(at))
			w.ok(err)
			if len(story) != 2 || story[1].Reason != ledger.SlotTaken || story[1].Quantity != "2" {
				w.t.Fatalf("the story does not say why: %+v", story)
			}
		},
	})
}

// A pool, usage that comes late, and a correction, in one counting period.
func TestIncludedLateAndCorrectionInOnePeriod(t *testing.T) {
	t.Parallel()
	everywhere(t, func(w *cloudWorld) {
		w.including("10", "0")
		first := w.now
		w.use("api_request", "6", "", first)
		w.passes(1)
		w.places("api_request", map[ledger.Place]string{ledger.Included: "6"})
		e := w.use("api_request", "8", "", w.now)
		w.passes(1)
		w.send()
		w.places("api_request", map[ledger.Place]string{ledger.Included: "10", ledger.Accepted: "4"})
		w.use("api_request", "3", "", first.Add(time.Minute)) // late: the first hour takes more of the pool, and the second is billed for it
		w.passes(1)
		w.send()
		w.places("api_request", map[ledger.Place]string{ledger.Included: "10", ledger.Accepted: "7"})
		w.use("api_request", "2", "", w.now, e) // 11 in all, one of them billable
		w.passes(1)
		w.places("api_request", map[ledger.Place]string{ledger.Included: "10", ledger.Accepted: "7", ledger.CreditLeft: "6"})
		w.use("api_request", "7", "", w.now) // 18 in all
		w.passes(1)
		w.send()
		w.places("api_request", map[ledger.Place]string{ledger.Included: "10", ledger.Accepted: "8"})
		w.charged("api_request", "8")
		w.once()
		w.found()
	})
}

// Usage that arrives after the end: it is of before it and in time, or of before it
// and too late, or of after it.
func TestUsageThatArrivesAfterTheEnd(t *testing.T) {
	t.Parallel()
	everywhere(t, func(w *cloudWorld) {
		used := w.now
		end := used.Add(20 * time.Minute)
		w.end(end)
		w.now = end.Add(time.Minute)
		w.use("api_request", "3", "", used) // before the final seal
		w.became(billing.UsageEvent{ID: "after", Meter: "api_request", Quantity: "9", UsedAt: end}, billing.Quarantine, string(billing.AfterEnd))
		w.now = end.Add(31 * time.Minute)
		w.finish()
		w.places("api_request", map[ledger.Place]string{ledger.Accepted: "3"})
		late := w.use("api_request", "4", "", used) // after it
		w.places("api_request", map[ledger.Place]string{ledger.Accepted: "3", ledger.WrittenOff: "4"})
		w.found(billing.FindWrittenOff)
		w.use("api_request", "1", "", w.now, late) // takes back what was written off, and makes no credit
		w.places("api_request", map[ledger.Place]string{ledger.Accepted: "3", ledger.WrittenOff: "1"})
		story, err := w.Story(w.t.Context(), w.sub, "api_request", clock.HourOf(w.now))
		if w.ok(err); len(story) == 0 {
			w.t.Fatal("the story does not tell of it")
		}
		w.waiting(1)
		w.sendsNothing(nil)
		w.charged("api_request", "3")
	})
}

// The end is learnt hours late, and the marketplace has refused meanwhile what was
// used after it: refused, held, and written off with findings; never billed.
func TestAnEndThatIsLearntLate(t *testing.T) {
	t.Parallel()
	everywhere(t, func(w *cloudWorld) {
		end := w.now.Add(30 * time.Minute) // 07:40
		takes := w.v.takes
		w.v.takes = func(r marketplace.Record) marketplace.Receipt {
			switch {
			case r.From.Before(end):
				return takes(r)
			case w.m == marketplace.Azure:
				return marketplace.Receipt{Outcome: marketplace.OutcomeSuspended, StopsService: true}
			}
			return marketplace.Receipt{Outcome: marketplace.OutcomeNotSubscribed, StopsService: true}
		}
		w.use("api_request", "3", "", w.now)
		w.passes(1)
		w.use("api_request", "4", "", w.now) // 08:10, after an end that nobody told
		w.passes(1)
		w.send()
		w.use("api_request", "5", "", w.now) // 09:10, not sealed when it is learnt
		if _, marked := w.db.marks["refresh "+string(w.m)+"|licence|"+w.license()]; !marked {
			w.t.Fatalf("a refusal makes nobody ask about the purchase: %v", w.db.marks)
		}
		w.end(end)
		w.now, w.wall = w.now.Add(31*time.Minute), w.wall.Add(31*time.Minute)
		w.became(billing.UsageEvent{ID: "later", Meter: "api_request", Quantity: "9", UsedAt: w.now}, billing.Quarantine, string(billing.AfterEnd))
		w.finish()
		want, found := map[ledger.Place]string{ledger.Accepted: "3", ledger.WrittenOff: "9"}, []billing.FindingClass{billing.FindWrittenOff, billing.FindWrittenOff}
		if w.m == marketplace.Azure { // it may come again until the window closes
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "3", ledger.Held: "4", ledger.WrittenOff: "5"})
			again, err := w.Seal(w.t.Context(), w.sub)
			w.ok(err)
			w.now = again
			w.seal()
			found = append(found, billing.FindHeld)
		}
		w.places("api_request", want)
		w.found(found...)
		w.charged("api_request", "3")
		w.waiting(1)
	})
}

func (w *cloudWorld) license() string {
	x := w.term[w.sub].Identity
	if x.License != "" {
		return x.License
	}
	return x.Resource
}

// A record of 0 says that nobody was there in a time that was looked at: not in
// one that is empty, and once in an hour, whatever plans it had.
func TestASignOfLifeIsOfATimeThatWas(t *testing.T) {
	t.Parallel()
	stories(t, map[string]func(w *meterWorld){
		"a purchase that ended when it began has no hour": func(w *meterWorld) {
			w.now = w.now.Add(10 * time.Minute)
			w.cover()
			w.end(w.term[w.sub].StartsAt)
			w.finish()
			w.slots("active_user", map[string]string{})
			if w.v.call != 0 {
				w.t.Fatalf("%+v", w.v.sent)
			}
		},
		"a plan that begins inside an idle hour has no sign of its own": func(w *meterWorld) {
			c := parsed(w.t, signCatalog)
			o := w.Options
			o.Catalog = c
			w.Service = billing.New(o)
			x, h := w.term[w.sub], clock.HourOf(w.now)
			x.Plans = []billing.Stretch{{Plan: "standard", Since: x.StartsAt}, {Plan: "pro", Since: x.StartsAt.Add(20 * time.Minute)}}
			w.term[w.sub] = x
			w.hours(2)
			w.send()
			w.slots("active_user", map[string]string{h.String(): "0"})
			w.slots("active_user_pro", map[string]string{h.Next().String(): "0"})
		},
	})
}

// signCatalog has a collected meter with a dimension for each plan.
const signCatalog = `
version: sign
products:
  - id: tailnet
    title: t
    aws: { product_code: c, product_id: p }
    meters:
      - { id: active_user, title: p, unit: person, kind: unique, scale: 0, source: collected, dimensions: { aws: active_user } }
    plans:
      - { id: standard, title: s, default: true }
      - { id: pro, title: p, dimensions: { active_user: { aws: active_user_pro } } }
`
