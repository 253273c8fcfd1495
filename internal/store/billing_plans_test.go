package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/billing/ledger"
	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/store/storetest"
)

// plans gives the purchase its plans: the first from its start, the others since an
// instant each.
func (w *cloudWorld) plans(first string, then ...billing.Stretch) {
	w.edit(func(x *billing.Terms) {
		x.Plans = append([]billing.Stretch{{Plan: first, Since: x.StartsAt}}, then...)
	})
}

// lines are the marketplace's lines of a bill, in order: dimension, quantity, the
// window, and the plan that the record named.
func (w *cloudWorld) lines(want ...string) {
	w.t.Helper()
	var got []string
	for _, r := range w.bills {
		got = append(got, strings.TrimSuffix(fmt.Sprintf("%s %s %s-%s %s", r.Dimension, r.Quantity, r.From.UTC().Format("15:04"), r.To.UTC().Format("15:04"), r.Identity.Plan), " "))
	}
	want = slices.Sorted(slices.Values(want)) // both engines share the case
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Fatalf("the bill (-want +got):\n%s", diff)
	}
}

// including serves the same purchase with an included pool of requests.
func (w *cloudWorld) including(standard, pro string) {
	o := w.Options
	text := strings.Replace(cloudCatalog, "INCLUDED", standard, 1)
	o.Catalog = parsed(w.t, strings.Replace(text, "INCLUDED", pro, 1))
	w.Service = billing.New(o)
}

// A plan changes at 07:30 in an hour that the purchase spends from 07:10 on.
func TestMeteringPlanChanges(t *testing.T) {
	t.Parallel()
	change := time.Date(2026, 11, 3, 7, 30, 0, 0, time.UTC)
	minute := func(m int) time.Time { return change.Truncate(time.Hour).Add(time.Duration(m) * time.Minute) }
	pro := billing.Stretch{Plan: "pro", Since: change}
	type m = marketplace.ID
	cases := []struct {
		name string
		run  func(w *cloudWorld)
		want map[m][]string // the bill
		left map[m]string   // written off
	}{
		{"one dimension: the old plan takes the slot, and the new one begins with the next hour", func(w *cloudWorld) {
			w.use("api_request", "3", "", minute(20))
			w.use("api_request", "4", "", minute(40))
			w.passes(1)
			w.send()
			w.use("api_request", "1", "", w.now)
			w.passes(1)
		}, map[m][]string{
			"aws":   {"api_request 3 07:10-07:30", "api_request 5 08:00-09:00"},
			"azure": {"api_request 3 07:10-07:30 standard", "api_request 5 08:00-09:00 pro"},
			"gcp":   {"api_request 3 07:10-07:30", "api_request 4 07:30-08:00", "api_request 1 08:00-09:00"},
		}, nil},
		{"a dimension for each plan: a record for each", func(w *cloudWorld) {
			w.use("transfer", "3", "", minute(20))
			w.use("transfer", "4", "", minute(40))
			w.passes(1)
		}, map[m][]string{
			"aws":   {"transfer 3 07:10-07:30", "transfer_pro 4 07:30-08:00"},
			"azure": {"transfer 3 07:10-07:30 standard", "transfer_pro 4 07:30-08:00 pro"},
			"gcp":   {"transfer 3 07:10-07:30", "transfer_pro 4 07:30-08:00"},
		}, nil},
		{"what an old plan left goes forward, or back into a slot of its own", func(w *cloudWorld) {
			w.passes(3) // idle
			w.use("api_request", "3", "", minute(20))
			w.use("api_request", "4", "", w.now) // of one month: one share of the record
			w.use("transfer", "2", "", minute(20))
			w.use("transfer", "5", "", w.now)
			w.passes(1)
		}, map[m][]string{
			"aws":   {"api_request 7 10:00-11:00", "transfer 2 10:00-11:00", "transfer_pro 5 10:00-11:00"},
			"azure": {"api_request 7 10:00-11:00 pro", "transfer 2 07:10-07:30 standard", "transfer_pro 5 10:00-11:00 pro"},
			"gcp":   {"api_request 3 07:10-07:30", "api_request 4 10:00-11:00", "transfer 2 07:10-07:30", "transfer_pro 5 10:00-11:00"},
		}, nil},
		{"no slot of the old plan is left", func(w *cloudWorld) {
			w.use("transfer", "1", "", minute(20))
			w.passes(2)
			w.send()
			w.use("transfer", "2", "", minute(20))
			w.passes(1)
			w.send()
			w.use("transfer", "3", "", minute(21))
			w.passes(1)
		}, map[m][]string{
			"aws":   {"transfer 1 07:10-07:30", "transfer 2 09:00-10:00", "transfer 3 10:00-11:00"},
			"azure": {"transfer 1 07:10-07:30 standard"},
			"gcp":   {"transfer 1 07:10-07:30", "transfer 2 07:10-07:30", "transfer 3 07:10-07:30"},
		}, map[m]string{"azure": "5"}},
		{"the old plan's last day is too old", func(w *cloudWorld) {
			w.passes(26)
			w.use("transfer", "2", "", minute(20))
			w.passes(1)
		}, map[m][]string{"aws": {"transfer 2 09:00-10:00"}, "azure": nil, "gcp": {"transfer 2 07:10-07:30"}}, map[m]string{"azure": "2"}},
		{"there and back inside one hour", func(w *cloudWorld) {
			w.plans("standard", pro, billing.Stretch{Plan: "standard", Since: minute(45)})
			w.use("transfer", "1", "", minute(20))
			w.use("transfer", "2", "", minute(40))
			w.use("transfer", "3", "", minute(50))
			w.passes(2)
		}, map[m][]string{
			"aws":   {"transfer 4 07:10-07:30", "transfer_pro 2 07:30-07:45"},
			"azure": {"transfer 4 07:10-07:30 standard", "transfer_pro 2 07:30-07:45 pro"},
			"gcp":   {"transfer 4 07:10-07:30", "transfer_pro 2 07:30-07:45"},
		}, nil},
		{"included is consumed in the order of use, each against its own terms", func(w *cloudWorld) {
			w.including("6", "9")
			w.use("api_request", "5", "", minute(40))
			w.use("api_request", "8", "", minute(20)) // 6 of it free, and 2 billed; of the 5 then 3
			w.passes(2)
		}, map[m][]string{
			"aws":   {"api_request 2 07:10-07:30", "api_request 2 08:00-09:00"},
			"azure": {"api_request 2 07:10-07:30 standard", "api_request 2 08:00-09:00 pro"},
			"gcp":   {"api_request 2 07:10-07:30", "api_request 2 07:30-08:00"},
		}, nil},
		{"included of a plan that came into an hour that is sealed", func(w *cloudWorld) {
			w.including("6", "9")
			w.use("api_request", "8", "", minute(20))
			w.passes(1)
			w.use("api_request", "5", "", minute(40))
			w.passes(1)
		}, map[m][]string{
			"aws":   {"api_request 2 07:10-07:30", "api_request 2 08:00-09:00"},
			"azure": {"api_request 2 07:10-07:30 standard", "api_request 2 08:00-09:00 pro"},
			"gcp":   {"api_request 2 07:10-07:30", "api_request 2 08:00-09:00"},
		}, nil},
		{"a leftover at the end takes no slot of an hour before its plan", func(w *cloudWorld) {
			w.plans("standard", billing.Stretch{Plan: "pro", Since: minute(60)})
			w.now = minute(65)
			w.use("transfer", "1", "", minute(61))
			w.passes(1)
			w.send()
			w.end(minute(118)) // learnt late: the slot of the last hour is taken
			w.now = minute(155)
			w.use("transfer", "2", "", minute(62))
			w.finish()
		}, map[m][]string{
			"aws": {"transfer_pro 1 08:00-09:00"}, "azure": {"transfer_pro 1 08:00-09:00 pro"}, "gcp": {"transfer_pro 1 08:00-09:00", "transfer_pro 2 08:00-08:58"},
		}, map[m]string{"aws": "2", "azure": "2"}},
		{"who was seen belongs to the plan in force when the hour began", func(w *cloudWorld) {
			w.use("person", "1", "ann", minute(40))
			w.passes(1)
			w.use("person", "1", "ann", w.now)
			w.use("person", "1", "bob", w.now)
			w.passes(1)
		}, map[m][]string{
			"aws":   {"person 1 07:10-07:30", "person 1 08:00-09:00"},
			"azure": {"person 1 07:10-07:30 standard", "person 1 08:00-09:00 pro"},
			"gcp":   {"person 1 07:10-07:30", "person 1 08:00-09:00"},
		}, nil},
		{"who was not there after all is taken from where she was counted", func(w *cloudWorld) {
			first := w.use("person", "1", "ann", minute(20))
			w.now = minute(65)
			second := w.use("person", "1", "ann", w.now) // counted under the old plan
			w.use("person", "0", "", w.now, first)
			w.use("person", "0", "", w.now, second)
			w.use("person", "1", "bob", w.now)
			w.passes(1)
		}, map[m][]string{
			"aws": {"person 1 08:00-09:00"}, "azure": {"person 1 08:00-09:00 pro"}, "gcp": {"person 1 08:00-09:00"},
		}, nil},
		{"a correction stays with the plan of what it corrects, whatever is learnt of plans since", func(w *cloudWorld) {
			w.plans("standard")
			e := w.use("api_request", "5", "", minute(40))
			w.plans("standard", pro)
			w.use("api_request", "1", "", w.now, e)
			w.passes(1)
		}, map[m][]string{"aws": {"api_request 1 07:10-07:30"}, "azure": {"api_request 1 07:10-07:30 standard"}, "gcp": {"api_request 1 07:10-07:30"}}, nil},
		{"it ends in the hour of the change: no slot is left for the new plan", func(w *cloudWorld) {
			w.use("api_request", "3", "", minute(20))
			w.use("api_request", "4", "", minute(40))
			w.end(minute(50))
			w.now = minute(50).Add(31 * time.Minute)
			w.finish()
		}, map[m][]string{
			"aws": {"api_request 3 07:10-07:30"}, "azure": {"api_request 3 07:10-07:30 standard"}, "gcp": {"api_request 3 07:10-07:30", "api_request 4 07:30-07:50"},
		}, map[m]string{"aws": "4", "azure": "4"}},
		{"it ends in the hour of the change, and the old plan left the slot free", func(w *cloudWorld) {
			w.use("api_request", "4", "", minute(40))
			w.end(minute(50))
			w.now = minute(50).Add(31 * time.Minute)
			w.finish()
		}, map[m][]string{"aws": {"api_request 4 07:30-07:50"}, "azure": {"api_request 4 07:30-07:50 pro"}, "gcp": {"api_request 4 07:30-07:50"}}, nil},
		{"a plan that the catalog does not know: its usage is kept, and what was used before is billed", func(w *cloudWorld) {
			w.plans("standard", billing.Stretch{Plan: "new", Since: change})
			w.use("api_request", "3", "", minute(20))
			if got := w.offer(billing.UsageEvent{Subject: string(w.sub), Meter: "api_request", Quantity: "9", UsedAt: minute(40)}); got.Reason != string(billing.UnknownPlan) {
				w.t.Fatalf("%+v", got)
			}
			w.passes(2)
			w.use("api_request", "1", "", minute(21))
			w.passes(1)
		}, map[m][]string{
			"aws":   {"api_request 3 07:10-07:30", "api_request 1 09:00-10:00"},
			"azure": {"api_request 3 07:10-07:30 standard", "api_request 1 09:00-10:00 new"},
			"gcp":   {"api_request 3 07:10-07:30", "api_request 1 07:10-07:30"},
		}, nil},
		{"usage of a plan that nobody knows any more goes forward", func(w *cloudWorld) {
			w.plans("pro")
			w.use("api_request", "5", "", minute(20))
			w.plans("standard")
			w.passes(1)
		}, map[m][]string{"aws": {"api_request 5 07:10-08:00"}, "azure": {"api_request 5 07:10-08:00 standard"}, "gcp": {"api_request 5 07:10-08:00"}}, nil},
	}
	for _, c := range cases {
		for cloud, want := range c.want {
			t.Run(c.name+"/"+string(cloud), func(t *testing.T) {
				t.Parallel()
				storetest.Each(t, func(t *testing.T, s *store.Store) {
					w := selling(t, s, cloud, dedup)
					w.plans("standard", pro)
					w.now = minute(55)
					c.run(w)
					w.send()
					w.lines(want...)
					w.identical()
					for _, r := range w.bills {
						if len(r.Allocations) > 0 {
							t.Errorf("one month, and the buyer sees shares: %+v", r.Allocations)
						}
					}
					left := c.left[cloud]
					for _, meter := range []string{"api_request", "transfer", "person"} {
						row := w.row(meter)
						if row.Open != "" && row.Open != "0" || row.Queued != "" && row.Queued != "0" {
							t.Errorf("%s is not settled: %+v", meter, row)
						}
						if row.WrittenOff != "" && row.WrittenOff != "0" && row.WrittenOff != left || left == "" && row.CreditLeft != "" && row.CreditLeft != "0" {
							t.Errorf("%s: %+v, want %q written off", meter, row, left)
						}
					}
					if left != "" {
						if all, err := w.Findings(t.Context(), true); err != nil || len(all) == 0 || all[0].Class != billing.FindWrittenOff {
							t.Errorf("nobody is told of what is written off: %+v %v", all, err)
						}
					}
				})
			})
		}
	}
}

// The story says why units of a new plan wait.
func TestMeteringPlanChangeStory(t *testing.T) {
	t.Parallel()
	clouds(t, marketplace.Azure, 0, map[string]func(w *cloudWorld){
		"they move to the next hour": func(w *cloudWorld) {
			change := w.now.Add(20 * time.Minute)
			w.plans("standard", billing.Stretch{Plan: "pro", Since: change})
			w.now = change.Add(20 * time.Minute)
			w.use("api_request", "3", "", change.Add(-time.Minute))
			w.use("api_request", "4", "", change)
			at := w.now
			w.passes(1)
			all, err := w.db.ListEntries(w.t.Context(), w.sub, "api_request", clock.HourOf(at))
			w.ok(err)
			moved := slices.ContainsFunc(all, func(e ledger.Entry) bool {
				return e.Plan == "pro" && e.Reason == ledger.SlotTaken && e.Quantity == 40
			})
			if !moved {
				w.t.Fatalf("%+v", all)
			}
			w.places("api_request", map[ledger.Place]string{ledger.Queued: "3", ledger.Open: "4"})
			w.use("transfer", "1", "", change.Add(-time.Minute))
			w.use("transfer", "2", "", change)
			hours, err := w.Hours(w.t.Context(), w.sub)
			w.ok(err)
			got := map[string]string{}
			for _, h := range hours {
				got[h.Meter] += h.Measured + " "
			}
			if diff := cmp.Diff(map[string]string{"api_request": "7 ", "transfer": "3 "}, got); diff != "" {
				w.t.Fatalf("the hour in which the plan changed:\n%s", diff)
			}
		},
	})
}
