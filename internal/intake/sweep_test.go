package intake_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

func TestSweepFindsWhatNoMessageTold(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		seen := event(marketplace.Observed, 1)
		seen.Observed = &marketplace.Observation{Entitled: true, StartsAt: t0}
		seen.Terms = &marketplace.Terms{Agreement: agreement, Offer: "offer-1", From: t0}
		w.aws.set(license, seen)
		bad := event(marketplace.Observed, 1)
		bad.Ref.Purchase, bad.Ref.Product, bad.Observed = "other", "router", &marketplace.Observation{Entitled: true}
		w.aws.set("other", bad)
		again, err := w.in.Sweep(t.Context(), marketplace.AWS, 15*time.Minute)
		if err != nil || !again.After(w.clock()) {
			t.Fatalf("again %v, %v", again, err)
		}
		sub := w.sub(license)
		if got := sub.State(w.clock().Add(time.Hour)); got != subscription.StateAwaitingBuyer {
			t.Errorf("state %s", got)
		}
		if !strings.Contains(w.marked(), "refresh aws|licence|other") {
			t.Errorf("the purchase that could not be applied is not shown: %q", w.marked())
		}
		before, err := w.subs.Story(t.Context(), sub.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, later := range []time.Duration{15 * time.Minute, 25 * time.Hour} {
			w.wait(later)
			if _, err := w.in.Sweep(t.Context(), marketplace.AWS, 15*time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		want := []time.Time{{}, t0.Add(-time.Hour), {}} // all, what is new, all again a day later
		if fmt.Sprint(w.aws.since) != fmt.Sprint(want) {
			t.Errorf("asked since %v, want %v", w.aws.since, want)
		}
		after, err := w.subs.Story(t.Context(), sub.ID)
		if err != nil || len(after) != len(before) {
			t.Errorf("sweeps that learnt nothing wrote %d lines: %v", len(after)-len(before), err)
		}
	})
}

// A question about one purchase that the marketplace refuses stops and is shown;
// the sweep, which finds what is lost, goes on whatever it is answered.
func TestASweepNeverStops(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for _, class := range []fault.Class{fault.Refused, fault.Denied, fault.Forged, fault.NotFound, fault.Invalid, fault.Gone, fault.Unreadable, fault.Throttled, fault.Unavailable, ""} {
			w.aws.shut = fault.New(class, "the operator must mend the role")
			_, err := w.in.Sweep(t.Context(), marketplace.AWS, 15*time.Minute)
			if f, ok := errors.AsType[*fault.Error](err); !ok || f.Class.Final() || f.Public != "the operator must mend the role" {
				t.Errorf("a sweep that got %q: %v", class, err)
			}
			if _, err := w.in.Refresh(t.Context(), "aws|licence|"+license); fault.ClassOf(err) != class {
				t.Errorf("a refresh that got %q: %v", class, err)
			}
		}
		w.aws.shut = nil
		if _, err := w.in.Sweep(t.Context(), marketplace.AWS, 15*time.Minute); err != nil {
			t.Error(err)
		}
		if first := w.aws.since; !first[len(first)-1].IsZero() {
			t.Errorf("a sweep that failed moved the cursor: %v", first)
		}
	})
}

// One purchase that can never be read hides no other: it is asked for by itself, which
// shows why and who must act, and again by the next sweeps.
func TestASweepGoesOnPastWhatCannotBeRead(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for _, name := range []string{"a", "b", "c"} {
			e := event(marketplace.Observed, 1)
			e.Ref.Purchase, e.Observed = name, &marketplace.Observation{Entitled: true, StartsAt: t0}
			w.aws.set(name, e)
		}
		w.aws.unread = map[string]error{"b": fault.New(fault.Denied, "the operator must ask the marketplace")}
		for range 2 {
			if _, err := w.in.Sweep(t.Context(), marketplace.AWS, 15*time.Minute); err != nil {
				t.Fatal(err)
			}
			w.sub("a")
			w.sub("c")
			if !strings.Contains(w.marked(), "refresh aws|licence|b") {
				t.Fatalf("what could not be read is not shown: %q", w.marked())
			}
			if _, err := w.in.Refresh(t.Context(), "aws|licence|b"); !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), "operator") {
				t.Errorf("asked for by itself: %v", err)
			}
			w.wait(25 * time.Hour)
		}
		w.aws.unread = nil
		if _, err := w.in.Refresh(t.Context(), "aws|licence|b"); err != nil {
			t.Fatal(err)
		}
		w.sub("b")
	})
}

// A sweep that was cut short goes on with the page that failed; what came before is
// applied and not asked for again.
func TestASweepKeepsThePagesItHasRead(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for _, name := range []string{"a", "b", "c"} {
			e := event(marketplace.Observed, 1)
			e.Ref.Purchase, e.Observed = name, &marketplace.Observation{Entitled: true, StartsAt: t0}
			w.aws.set(name, e)
		}
		w.aws.paged = true
		sweep := func(class fault.Class) {
			t.Helper()
			if _, err := w.in.Sweep(t.Context(), marketplace.AWS, 15*time.Minute); fault.ClassOf(err) != class {
				t.Fatalf("%v, want class %q", err, class)
			}
			w.wait(5 * time.Minute)
		}
		began := w.clock()
		w.aws.ends = map[int]error{2: fault.New(fault.Throttled, "slowly")}
		sweep(fault.Throttled)
		w.sub("a")
		w.sub("b")
		sweep(fault.Throttled) // still there
		w.aws.ends = nil
		sweep("")
		w.sub("c")
		sweep("") // the next one asks for what is new since the first call of the last one
		w.aws.ends = map[int]error{1: fault.New(fault.Refused, "the token is too old")}
		sweep(fault.Unavailable) // page 0 was read
		sweep(fault.Unavailable) // the place is forgotten: begin again
		w.aws.ends = nil
		sweep("")
		w.aws.ends = map[int]error{1: fault.New(fault.Unavailable, "away")}
		sweep(fault.Unavailable)
		w.wait(2 * time.Hour) // too old to go on with
		w.aws.ends = nil
		sweep("")
		if want := []string{"", "2", "2", "", "", "1", "", "", ""}; !slices.Equal(w.aws.from, want) {
			t.Errorf("sweeps began at %q, want %q", w.aws.from, want)
		}
		if got := w.aws.since; !got[2].IsZero() || !got[3].Equal(began.Add(-time.Hour)) {
			t.Errorf("asked since %v", got)
		}
	})
}
