package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tailmarket/tailmarket/internal/simulator"
)

func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return t
}

func TestExpectedIsWhatSamplesCanSee(t *testing.T) {
	t.Parallel()
	u := usage{
		people: []span{
			{"ada", at("2026-11-30T20:02:30Z"), at("2026-12-01T02:02:30Z")}, // seen in two months
			{"ada", at("2026-12-01T05:02:30Z"), at("2026-12-01T06:02:30Z")}, // the same person again: no new unit
			{"bob", at("2026-11-30T10:06:00Z"), at("2026-11-30T10:09:00Z")}, // between two samples: nobody saw bob
		},
		tagged: []span{
			{"a", at("2026-11-30T10:02:30Z"), at("2026-11-30T12:02:30Z")},
			{"b", at("2026-11-30T11:02:30Z"), at("2026-11-30T13:02:30Z")},
			{"c", at("2026-12-01T01:02:30Z"), at("2026-12-01T02:02:30Z")},
		},
		ephemeral: []span{
			{"job", at("2026-11-30T10:02:30Z"), at("2026-11-30T10:22:30Z")},   // 17.5 minutes up to the sample at 10:20
			{"night", at("2026-11-30T23:52:31Z"), at("2026-12-01T00:07:30Z")}, // 12.48 minutes, 7.48 of them before midnight
			{"edge", at("2026-11-30T10:00:00Z"), at("2026-11-30T10:05:00Z")},  // gone at the very instant of the second sample
		},
		requests: map[string]request{
			"x": {usedAt: at("2026-11-30T23:59:59Z"), tenths: 125}, "y": {usedAt: at("2026-12-01T00:00:00Z"), tenths: 5},
		},
	}
	want := measured{
		"active_user": {"2026-11": 1, "2026-12": 1}, "tagged_resource": {"2026-11": 2, "2026-12": 1},
		"ephemeral_minute": {"2026-11": 1750 + 748, "2026-12": 500}, "api_request": {"2026-11": 125, "2026-12": 5},
	}
	if diff := cmp.Diff(want, u.expected(periodOf(simulator.AWS))); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got := u.expected(periodOf(simulator.Azure)); got.total("active_user") != 1 || got.total("ephemeral_minute") != 1750+1248 {
		t.Errorf("in one period: %v", got)
	}
}

func TestBetweenKeepsAwayFromSamplesAndMidnight(t *testing.T) {
	t.Parallel()
	for m := range 24 * 60 {
		b := between(at("2026-11-30T00:00:00Z").Add(time.Duration(m) * time.Minute))
		if b.Sub(b.Truncate(sample)) != sample/2 {
			t.Fatalf("%s is not between two samples", b)
		}
		if h, mm := b.Hour()%8, b.Minute(); (h == 7 && mm >= 45) || (h == 0 && mm < 15) {
			t.Fatalf("%s is too close to midnight", b)
		}
	}
}

// Seed 19 once lifted a suspension shortly after the hours that between keeps away
// from, and who should have left before left after it, and was measured.
func TestStrangersLeaveBeforeTheLift(t *testing.T) {
	t.Parallel()
	for at := begins; at.Before(begins.Add(24 * time.Hour)); at = at.Add(sample) {
		lift := between(at)
		in, out := whileShut(lift)
		if !in.After(lift.Add(-4*time.Hour)) || !out.After(in) || !out.Before(lift.Add(-15*time.Minute)) {
			t.Errorf("a tailnet that opens at %s has a stranger from %s until %s", lift, in, out)
		}
	}
}
