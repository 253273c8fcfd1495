package subscription

import (
	"slices"
	"time"
)

// Effect is work that a change of facts makes necessary: a due row.
type Effect struct {
	Kind string // the kind of due row
	At   time.Time
}

// Kinds of due rows this room asks for.
const (
	DueProvision = "provision"
	DueCollect   = "collect"
	DueSeal      = "seal"
	DueClose     = "close"
	DueRefresh   = "refresh"
	DueDecide    = "decide"
)

// Effects compares two values of facts at one instant. Work is level-triggered:
// it reads present truth, so an effect too many is harmless and one too few is
// not; equal facts have none.
func Effects(before, after Facts, now time.Time) []Effect {
	if equal(before, after) {
		return nil
	}
	var out []Effect
	add := func(kind string, at time.Time) { out = append(out, Effect{Kind: kind, At: later(now, at)}) }

	wasAt, at := provisionAt(before), provisionAt(after)
	paused := before.Pause.On != after.Pause.On && !after.ReadyAt.IsZero() && after.ClosedAt.IsZero()
	unblocked := before.Blocked.Reason != "" && after.Blocked.Reason == ""
	if !at.IsZero() && (!at.Equal(wasAt) || unblocked) || paused {
		add(DueProvision, at)
	}
	if was, is := wishes(before, now), wishes(after, now); len(is) > 0 && (!subset(is, was) || !before.LiveFrom.Equal(after.LiveFrom)) {
		add(DueDecide, after.LiveFrom)
	}
	revived := !before.EndsAt().IsZero() && after.EndsAt().IsZero() && inUse(after)
	if !inUse(before) && inUse(after) || revived {
		// Metering begins with the last of ready, entitled and cut-over.
		add(DueCollect, after.LiveFrom)
		add(DueSeal, after.LiveFrom)
	}
	if before.Pause.On && !after.Pause.On && inUse(after) {
		add(DueSeal, after.LiveFrom) // what was held while it was suspended is asked for again
	}
	if end := after.EndsAt(); !end.IsZero() && after.ClosedAt.IsZero() && (!end.Equal(before.EndsAt()) || !before.Replaced.same(after.Replaced)) {
		add(DueClose, end)
	}
	if d := after.Agreed.At; !d.IsZero() && !d.Equal(before.Agreed.At) && after.EndsAt().IsZero() {
		// Nothing ends by an agreed date alone; ask what became of it.
		add(DueRefresh, d.Add(time.Minute))
	}
	return out
}

// provisionAt is when the network can be made; zero while something is missing.
func provisionAt(f Facts) time.Time {
	refused := !f.Denied.IsZero() && !f.Denied.Before(f.Granted)
	if f.Granted.IsZero() && !reserved(f) || !wanted(f) || f.LiveFrom.IsZero() || refused || f.Blocked.Reason != "" ||
		!f.EndsAt().IsZero() || !f.ReadyAt.IsZero() || !f.RevokedAt.IsZero() || !f.ClosedAt.IsZero() {
		return time.Time{}
	}
	return later(f.LiveFrom, f.StartsAt)
}

// inUse: what the network counts is the marketplace's bill.
func inUse(f Facts) bool { return !f.ReadyAt.IsZero() && !f.Granted.IsZero() }

// wishes are the keys of what will be due once the product is live.
func wishes(f Facts, now time.Time) []string {
	var keys []string
	for _, w := range Wishes(f, later(now, f.LiveFrom), nil) {
		keys = append(keys, w.Key)
	}
	return keys
}

func subset(some, all []string) bool {
	return !slices.ContainsFunc(some, func(k string) bool { return !slices.Contains(all, k) })
}

func (s Successor) same(o Successor) bool { return s.By == o.By && s.At.Equal(o.At) }
