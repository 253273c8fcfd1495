package ledger

import "github.com/tailmarket/tailmarket/internal/id"

// Use is what one subscription used of a meter in one hour, with what the terms
// of that hour include.
type Use struct {
	Subscription id.Subscription
	Plan         string
	Hour         int64 // of one subscription and plan each hour is there once
	Net          int64 // negative when later corrections lowered a peak
	Allowance    int64 // included in the counting period by the terms of this hour
	PerHour      bool  // the allowance is this hour's own
}

// IncludedOf is how much of what sub used under a plan is included, when the uses
// of its whole lineage consume the included quantity in the order of use, each
// against its own terms. uses are in that order.
func IncludedOf(uses []Use, sub id.Subscription, plan string) int64 {
	rest := flatten(uses)
	var pool, included int64 // pool: consumed by the lineage
	for i, u := range uses {
		free := u.Allowance
		if !u.PerHour {
			free -= pool
		}
		take := min(rest[i], max(free, 0))
		if !u.PerHour {
			pool += take
		}
		if u.Subscription == sub && u.Plan == plan {
			included += take
		}
	}
	return included
}

// flatten spreads falls over the hours before them, so that no hour is negative
// and the sum of each subscription's plan is unchanged (at least 0).
func flatten(uses []Use) []int64 {
	type user struct {
		sub  id.Subscription
		plan string
	}
	out := make([]int64, len(uses))
	debt := map[user]int64{}
	for i := len(uses) - 1; i >= 0; i-- {
		of := user{uses[i].Subscription, uses[i].Plan}
		left := uses[i].Net - debt[of]
		debt[of] = max(-left, 0)
		out[i] = max(left, 0)
	}
	return out
}
