package subscription_test

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

var t0 = time.Date(2026, 11, 3, 7, 0, 0, 0, time.UTC)

func at(minutes int) time.Time { return t0.Add(time.Duration(minutes) * time.Minute) }

// step is one event or one fact.
type step struct {
	event *marketplace.Event
	fact  *subscription.Fact
}

var clouds = []marketplace.ID{marketplace.AWS, marketplace.GCP, marketplace.Azure}

func run(steps []step) subscription.Facts { return runAt(marketplace.AWS, steps) }

func runAt(m marketplace.ID, steps []step) subscription.Facts {
	f := subscription.Facts{Marketplace: m}
	for _, s := range steps {
		if s.event != nil {
			f = subscription.Apply(f, *s.event)
		} else {
			f = subscription.Note(f, *s.fact)
		}
	}
	return f
}

func drawStep(t *rapid.T) step {
	minute := rapid.IntRange(1, 6)
	if rapid.IntRange(0, 3).Draw(t, "ours") == 0 {
		return step{fact: &subscription.Fact{
			Kind: rapid.SampledFrom(subscription.FactKinds).Draw(t, "fact"), At: at(minute.Draw(t, "at")),
			Reason: rapid.SampledFrom([]string{"", "looked at"}).Draw(t, "reason"), By: rapid.SampledFrom([]string{"sub_a", "sub_b"}).Draw(t, "by"),
			Decision: rapid.SampledFrom([]string{"", "account", "activate", "operation 1", "approve@1"}).Draw(t, "decision"),
			Outcome:  rapid.SampledFrom([]marketplace.Outcome{"", marketplace.Pending, marketplace.TooLate, marketplace.Done}).Draw(t, "outcome"),
			Terms:    rapid.SampledFrom([]string{"", "f1", "f2"}).Draw(t, "terms"),
		}}
	}
	e := marketplace.Event{
		Kind: rapid.SampledFrom(marketplace.EventKinds).Draw(t, "kind"), At: at(minute.Draw(t, "at")), Version: at(minute.Draw(t, "version")),
		Reason:   rapid.SampledFrom([]string{"", "CANCELLED", "EXPIRED", "RENEWED", "REPLACED", "migrated"}).Draw(t, "reason"),
		Consumer: rapid.SampledFrom([]string{"", "project_number:1", "project_number:2"}).Draw(t, "consumer"),
	}
	if e.Kind == marketplace.Observed {
		e.Observed = &marketplace.Observation{
			Entitled: rapid.Bool().Draw(t, "entitled"), Suspended: rapid.Bool().Draw(t, "suspended"), Ended: rapid.Bool().Draw(t, "ended"),
			Awaits: rapid.SampledFrom([]marketplace.DecisionKind{"", marketplace.Approve, marketplace.ApproveChange, marketplace.Activate}).Draw(t, "awaits"),
		}
		if rapid.Bool().Draw(t, "changing") {
			e.Observed.Change = &marketplace.Terms{Plan: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "plan"), Offer: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "offer")}
		}
		if rapid.Bool().Draw(t, "dated") {
			e.Observed.StartsAt, e.Observed.EndsAt = at(minute.Draw(t, "starts")), at(minute.Draw(t, "ends"))
		}
	}
	return step{event: &e}
}

// The order and the number of deliveries of the same messages never matter.
func TestFactsDoNotDependOnOrderOrRepetition(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := rapid.SampledFrom(clouds).Draw(t, "marketplace")
		steps := rapid.SliceOfN(rapid.Custom(drawStep), 1, 9).Draw(t, "steps")
		want := runAt(m, steps)
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		for range 6 {
			again := append([]step(nil), steps...)
			for range r.IntN(4) {
				again = append(again, steps[r.IntN(len(steps))])
			}
			r.Shuffle(len(again), func(i, j int) { again[i], again[j] = again[j], again[i] })
			if diff := cmp.Diff(want, runAt(m, again)); diff != "" {
				t.Fatalf("another order, other facts (-first +again):\n%s", diff)
			}
		}
	})
}

// A merge changes nothing that was merged before: facts are values.
func TestAMergeLeavesWhatItMergesInto(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := rapid.SampledFrom(clouds).Draw(t, "marketplace")
		steps := rapid.SliceOfN(rapid.Custom(drawStep), 2, 9).Draw(t, "steps")
		before := runAt(m, steps[:len(steps)-1])
		text, err := json.Marshal(before)
		if err != nil {
			t.Fatal(err)
		}
		last := steps[len(steps)-1]
		if last.event != nil {
			subscription.Apply(before, *last.event)
		} else {
			subscription.Note(before, *last.fact)
		}
		if again, err := json.Marshal(before); err != nil || string(again) != string(text) {
			t.Fatalf("was %s, is %s (%v)", text, again, err)
		}
	})
}

// What is due is a function of the facts: it survives the database, is never due
// twice at once, never while the product observes, and never about what is over.
func TestWishesAreAFunctionOfFacts(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := rapid.SampledFrom(clouds).Draw(t, "marketplace")
		f := runAt(m, rapid.SliceOfN(rapid.Custom(drawStep), 1, 14).Draw(t, "steps"))
		now := at(rapid.IntRange(0, 8).Draw(t, "now"))
		wishes := subscription.Wishes(f, now, func(string) bool { return rapid.Bool().Draw(t, "knows") })
		seen := map[string]bool{}
		for _, w := range wishes {
			if seen[w.Key] {
				t.Fatalf("%s is due twice", w.Key)
			}
			seen[w.Key] = true
			told := subscription.Note(f, subscription.Fact{Kind: subscription.FactTold, Decision: w.Key, At: now, Outcome: marketplace.Done})
			for _, again := range subscription.Wishes(told, now, nil) {
				if again.Key == w.Key {
					t.Fatalf("%s is due after it was done", w.Key)
				}
			}
		}
		quiet := m == marketplace.AWS || f.LiveFrom.IsZero() || f.LiveFrom.After(now) || !f.ClosedAt.IsZero() || !f.RevokedAt.IsZero()
		if state := subscription.StateOf(f, now); (quiet || state == subscription.StateEnding || state == subscription.StateEnded) && len(wishes) > 0 {
			t.Fatalf("%v is due in %s", wishes, state)
		}
	})
}

// Every order of one real purchase's messages, each also doubled.
func TestEveryOrderOfAPurchase(t *testing.T) {
	t.Parallel()
	steps := []step{
		{event: &marketplace.Event{Kind: marketplace.PurchaseSeen, At: at(0), Version: at(0)}},
		{event: &marketplace.Event{Kind: marketplace.Entitled, At: at(1), Version: at(1)}},
		{fact: &subscription.Fact{Kind: subscription.FactClaimed, At: at(2)}},
		{event: &marketplace.Event{Kind: marketplace.Observed, At: at(3), Version: at(3), Observed: &marketplace.Observation{Entitled: true, StartsAt: at(1)}}},
		{event: &marketplace.Event{Kind: marketplace.Ended, At: at(4), Version: at(4), Reason: "CANCELLED"}},
		{event: &marketplace.Event{Kind: marketplace.Ending, At: at(5), Version: at(5)}},
	}
	want := run(steps)
	if got := want.EndsAt(); !got.Equal(at(4)) {
		t.Fatalf("ends at %s, want the first statement of the end, %s", got, at(4))
	}
	var permute func(k int)
	permute = func(k int) {
		if k == len(steps) {
			if diff := cmp.Diff(want, run(append(append([]step(nil), steps...), steps...))); diff != "" {
				t.Fatalf("another order, other facts (-first +again):\n%s", diff)
			}
			return
		}
		for i := k; i < len(steps); i++ {
			steps[k], steps[i] = steps[i], steps[k]
			permute(k + 1)
			steps[k], steps[i] = steps[i], steps[k]
		}
	}
	permute(0)
}

func TestFactsSurviveTheDatabase(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := runAt(rapid.SampledFrom(clouds).Draw(t, "marketplace"), rapid.SliceOfN(rapid.Custom(drawStep), 1, 12).Draw(t, "steps"))
		text, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		var back subscription.Facts
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(f, back); diff != "" {
			t.Fatalf("changed by storing it:\n%s", diff)
		}
		if n := len(subscription.Effects(f, back, at(9))); n != 0 {
			t.Fatalf("storing facts caused %d effects", n)
		}
	})
}

func TestEndsAndGrantsCompareByVendorTime(t *testing.T) {
	t.Parallel()
	grant := func(m int) step {
		return step{event: &marketplace.Event{Kind: marketplace.Entitled, At: at(m), Version: at(m)}}
	}
	end := func(m int, reason string) step {
		return step{event: &marketplace.Event{Kind: marketplace.Ended, At: at(m), Version: at(m), Reason: reason}}
	}
	seen := func(m int, o marketplace.Observation) step {
		return step{event: &marketplace.Event{Kind: marketplace.Observed, At: at(m), Version: at(m), Observed: &o}}
	}
	cases := map[string]struct {
		steps []step
		want  time.Time
	}{
		"a late License Updated does not revive":               {[]step{grant(1), end(5, "CANCELLED"), grant(4)}, at(5)},
		"on a tie the end wins":                                {[]step{end(5, "CANCELLED"), grant(5)}, at(5)},
		"a newer grant revives":                                {[]step{end(5, "CANCELLED"), grant(6)}, time.Time{}},
		"the earliest end after the last grant counts":         {[]step{end(2, "EXPIRED"), grant(3), end(9, "CANCELLED"), end(6, "CANCELLED")}, at(6)},
		"renewed and replaced never end":                       {[]step{grant(1), end(5, "RENEWED"), end(6, "REPLACED")}, time.Time{}},
		"an observed end counts":                               {[]step{grant(1), seen(6, marketplace.Observation{Ended: true, EndsAt: at(4)})}, at(4)},
		"the API's earlier instant is the end":                 {[]step{grant(1), end(5, "CANCELLED"), seen(6, marketplace.Observation{Ended: true, EndsAt: at(4)})}, at(4)},
		"an observed end older than the grant does not":        {[]step{seen(3, marketplace.Observation{Ended: true, EndsAt: at(3)}), grant(4)}, time.Time{}},
		"a newer observation takes an older end back":          {[]step{seen(3, marketplace.Observation{Ended: true, EndsAt: at(3)}), seen(4, marketplace.Observation{Entitled: true})}, time.Time{}},
		"an older observation of use is ignored after the end": {[]step{seen(4, marketplace.Observation{Ended: true, EndsAt: at(4)}), seen(3, marketplace.Observation{Entitled: true})}, at(4)},
		"an agreed end that is only near ends nothing":         {[]step{seen(4, marketplace.Observation{Entitled: true, EndsAt: at(5)})}, time.Time{}},
	}
	for name, c := range cases {
		if got := run(c.steps).EndsAt(); !got.Equal(c.want) {
			t.Errorf("%s: ends at %v, want %v", name, got, c.want)
		}
	}
}
