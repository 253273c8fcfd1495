package due_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/due"
	"github.com/tailmarket/tailmarket/internal/fault"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	b := due.Backoff{Base: time.Second, Max: time.Minute}
	throttled := fault.New(fault.Throttled, "slow down")
	throttled.RetryAfter = 90 * time.Second
	cases := map[string]struct {
		err      error
		attempts int
		want     due.Verdict
	}{
		"unclassified retries":          {errors.New("bug"), 1, due.Verdict{Delay: time.Second}},
		"unsure never stops":            {fault.New(fault.Unsure, ""), 40, due.Verdict{Delay: time.Minute}},
		"waiting doubles":               {fault.New(fault.Unavailable, ""), 4, due.Verdict{Delay: 8 * time.Second}},
		"refused stops":                 {fault.New(fault.Refused, ""), 1, due.Verdict{Stop: true}},
		"conflict retries":              {fault.New(fault.Conflict, ""), 1, due.Verdict{Delay: time.Second}},
		"throttled waits as it is told": {throttled, 1, due.Verdict{Delay: 90 * time.Second}},
	}
	for name, c := range cases {
		if got := due.Judge(c.err, c.attempts, b); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
