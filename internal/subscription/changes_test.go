package subscription

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tailmarket/tailmarket/internal/marketplace"
)

var minute0 = time.Date(2026, 11, 3, 7, 0, 0, 0, time.UTC)

func minute(n int) time.Time { return minute0.Add(time.Duration(n) * time.Minute) }

// history is what a marketplace said over time, with what was so at each time.
type history struct {
	events []marketplace.Event
	plans  map[int]string // minute → the plan in force since
	waits  string         // the change that waits at the end
}

// draw makes a purchase's plans: looked at again and again, asked to change, with
// the change taken back, carried out, or waiting.
func draw(t *rapid.T, m marketplace.ID, most int) history {
	h := history{plans: map[int]string{}}
	plan, at := "a", 0
	tell := func(kind marketplace.EventKind, terms, change *marketplace.Terms) {
		at++
		e := marketplace.Event{Kind: kind, At: minute(at), Version: minute(at), Terms: terms}
		if kind == marketplace.Observed {
			e.Observed = &marketplace.Observation{Entitled: true, Change: change}
		}
		h.events = append(h.events, e)
	}
	of := func(plan string) *marketplace.Terms { return &marketplace.Terms{Plan: plan, Offer: "offer-" + plan} }
	see := func(change *marketplace.Terms) {
		tell(marketplace.Observed, of(plan), change)
		h.plans[at] = plan
	}
	see(nil)
	for range rapid.IntRange(0, most).Draw(t, "steps") {
		next := rapid.SampledFrom(slices.DeleteFunc([]string{"a", "b", "c"}, func(p string) bool { return p == plan })).Draw(t, "next")
		h.waits = ""
		switch rapid.SampledFrom([]string{"look", "change", "withdraw", "wait", "suddenly"}).Draw(t, "what") {
		case "look":
			see(nil)
		case "suddenly":
			plan = next
			see(nil)
		case "change":
			tell(marketplace.ChangeRequested, of(next), nil)
			if m == marketplace.GCP {
				see(of(next))
			}
			plan = next
			see(nil)
		case "withdraw":
			tell(marketplace.ChangeRequested, of(next), nil)
			if m == marketplace.GCP {
				see(of(next))
				tell(marketplace.ChangeWithdrawn, nil, nil)
			} else {
				tell(marketplace.ChangeWithdrawn, of(next), nil)
			}
			see(nil)
		case "wait":
			tell(marketplace.ChangeRequested, of(next), nil)
			if m == marketplace.GCP {
				see(of(next))
			}
			h.waits = next
		}
		if h.waits != "" && m == marketplace.Azure {
			break // what waits there, only its own message or the new plan ends
		}
	}
	return h
}

func (h history) merge(m marketplace.ID, order []int) []Terms {
	var rows []Terms
	var seen time.Time
	for _, i := range order {
		known := agreed{rows: rows, changed: map[string]bool{}, rules: rulesOf(m)}
		known.merge(Subscription{ID: "sub_1", Marketplace: m}, h.events[i], seen, func(named string) string { return named })
		rows = known.rows
		if e := h.events[i]; e.Observed != nil {
			seen = later(seen, norm(e.Version))
		}
	}
	return rows
}

func pending(rows []Terms) (out []string) {
	for _, r := range rows {
		if r.Status == TermsPending {
			out = append(out, r.Named)
		}
	}
	return out
}

// Told in order, each thing as often as it likes, every plan is in force from the
// instant that the marketplace gives, however often it was in force before.
func TestEveryPlanIsInForceFromItsInstant(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := rapid.SampledFrom([]marketplace.ID{marketplace.GCP, marketplace.Azure}).Draw(t, "marketplace")
		h := draw(t, m, 9)
		var order []int
		for i := range h.events {
			for range rapid.IntRange(1, 2).Draw(t, "times") {
				order = append(order, i)
			}
			if rapid.Bool().Draw(t, "an old one") {
				order = append(order, rapid.IntRange(0, i).Draw(t, "which"))
			}
		}
		rows := h.merge(m, order)
		for at, plan := range h.plans {
			if in, ok := InForce(rows, minute(at)); !ok || in.Named != plan {
				t.Fatalf("minute %d: plan %q, want %q of %v", at, in.Named, plan, rows)
			}
		}
		if got, want := fmt.Sprint(pending(rows)), fmt.Sprint(slices.DeleteFunc([]string{h.waits}, func(s string) bool { return s == "" })); got != want {
			t.Fatalf("waiting %s, want %s of %v", got, want, rows)
		}
		keys := map[string]bool{}
		for _, r := range rows {
			if keys[r.Fingerprint] {
				t.Fatalf("two rows of one key: %v", rows)
			}
			keys[r.Fingerprint] = true
		}
	})
}

// In any order, what was said last is in force and waits.
func TestTheNewestTermsCountInAnyOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := rapid.SampledFrom([]marketplace.ID{marketplace.GCP, marketplace.Azure}).Draw(t, "marketplace")
		h := draw(t, m, 6)
		last := ""
		for at := range len(h.events) + 1 {
			if p, ok := h.plans[at]; ok {
				last = p
			}
		}
		var order []int
		for i := range h.events {
			order = append(order, i)
		}
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 2))
		for range 4 {
			order = append(order, r.IntN(len(h.events)))
			r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
			rows := h.merge(m, order)
			if in, ok := InForce(rows, minute(1000)); !ok || in.Named != last {
				t.Fatalf("plan %q, want %q; order %v of %v: %v", in.Named, last, order, h.events, rows)
			}
			if got, want := fmt.Sprint(pending(rows)), fmt.Sprint(slices.DeleteFunc([]string{h.waits}, func(s string) bool { return s == "" })); got != want {
				t.Fatalf("waiting %s, want %s; order %v: %v", got, want, order, rows)
			}
		}
	})
}
