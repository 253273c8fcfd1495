package ledger

import "github.com/tailmarket/tailmarket/internal/id"

// Use is what one subscription used of a meter in one hour, with what the terms
// of that hour include.
type Use struct {
	Subscription id.Subscription
	Hour         int64 // orders uses; of one subscription each hour is there once
	Net          int64 // negative when later corrections lowered a peak
	Allowance    int64 // included in the counting period by the terms of this hour
	PerHour      bool  // the allowance is this hour's own
}

// IncludedOf is how much of what sub used is included, when the uses of its whole
// lineage consume the included quantity in order of the hour used, each hour
// against its own terms. uses are ordered by hour.
func IncludedOf(uses []Use, sub id.Subscription) int64 {
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
		if u.Subscription == sub {
			included += take
		}
	}
	return included
}

// flatten spreads falls over the hours before them, so that no hour is negative
// and each subscription's sum is unchanged (at least 0).
func flatten(uses []Use) []int64 {
	out := make([]int64, len(uses))
	debt := map[id.Subscription]int64{}
	for i := len(uses) - 1; i >= 0; i-- {
		left := uses[i].Net - debt[uses[i].Subscription]
		debt[uses[i].Subscription] = max(-left, 0)
		out[i] = max(left, 0)
	}
	return out
}
