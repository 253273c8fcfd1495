package usagefile

import (
	"context"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/tailmarket/tailmarket/internal/billing"
)

// Metering is what an upload needs of billing.
type Metering interface {
	Ingest(ctx context.Context, events []billing.UsageEvent) ([]billing.Outcome, error)
	Try(ctx context.Context, events []billing.UsageEvent) ([]billing.Outcome, error)
}

// Report says what a file did, or would do.
type Report struct {
	Rows     int
	Accepted int
	Again    int // counted before
	Waiting  int // in quarantine
	Refused  int
	Totals   []Total
	Problems []Problem // of rows that do not count, in the order of the file
}

// Total is what a file adds to one meter of one subject.
type Total struct {
	Subject, Meter string
	Events         int
	Quantity       string // the sum of what is new
}

// Problem is a row that does not count, and why.
type Problem struct {
	Line    int
	Outcome billing.Result
	Why     string
}

const perCall = 3000

// Upload stores the rows, or, without store, tells what storing them would do and
// changes nothing.
func Upload(ctx context.Context, m Metering, rows []Row, store bool) (Report, error) {
	rep := Report{Rows: len(rows)}
	var events []billing.UsageEvent
	var of []int // the row of each event
	for i, r := range rows {
		if r.Wrong == "" {
			events, of = append(events, r.Event), append(of, i)
		}
	}
	outcomes := make([]billing.Outcome, len(rows))
	for i, r := range rows {
		outcomes[i] = billing.Outcome{Result: billing.InvalidForm, Reason: r.Wrong}
	}
	var err error
	if store {
		for at := 0; at < len(events) && err == nil; at += perCall {
			var got []billing.Outcome
			got, err = m.Ingest(ctx, events[at:min(at+perCall, len(events))])
			for i, o := range got {
				outcomes[of[at+i]] = o
			}
		}
	} else {
		var got []billing.Outcome
		got, err = m.Try(ctx, events)
		for i, o := range got {
			outcomes[of[i]] = o
		}
	}
	if err != nil {
		return rep, fmt.Errorf("upload usage (what was stored counts once, so upload the same file again): %w", err)
	}
	rep.add(rows, outcomes)
	return rep, nil
}

func (rep *Report) add(rows []Row, outcomes []billing.Outcome) {
	type key struct{ subject, meter string }
	sums, counts := map[key]*big.Rat{}, map[key]int{}
	for i, o := range outcomes {
		switch o.Result {
		case billing.Accepted:
			rep.Accepted++
			e := rows[i].Event
			k := key{e.Subject, e.Meter}
			if counts[k]++; sums[k] == nil {
				sums[k] = new(big.Rat)
			}
			if q, ok := new(big.Rat).SetString(e.Quantity); ok {
				sums[k].Add(sums[k], q)
			}
			continue
		case billing.Duplicate:
			rep.Again++
			continue
		case billing.Quarantine:
			rep.Waiting++
		default:
			rep.Refused++
		}
		rep.Problems = append(rep.Problems, Problem{rows[i].Line, o.Result, o.Reason})
	}
	for k, sum := range sums {
		rep.Totals = append(rep.Totals, Total{k.subject, k.meter, counts[k], decimal(sum)})
	}
	slices.SortFunc(rep.Totals, func(a, b Total) int {
		return slices.Compare([]string{a.Subject, a.Meter}, []string{b.Subject, b.Meter})
	})
}

func decimal(r *big.Rat) string {
	s := r.FloatString(6) // the finest scale of a meter
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}
