package subscription

import "time"

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
	revived := !before.EndsAt().IsZero() && after.EndsAt().IsZero() && !after.ReadyAt.IsZero()
	if before.ReadyAt.IsZero() && !after.ReadyAt.IsZero() || revived {
		// Metering begins with the later of ready and cut-over.
		add(DueCollect, after.LiveFrom)
		add(DueSeal, after.LiveFrom)
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
	claimed := !f.ClaimedAt.IsZero() || rulesOf(f.Marketplace).ProvisionUnclaimed
	refused := !f.Denied.IsZero() && !f.Denied.Before(f.Granted)
	if f.Granted.IsZero() || !claimed || f.LiveFrom.IsZero() || refused || f.Blocked.Reason != "" ||
		!f.EndsAt().IsZero() || !f.ReadyAt.IsZero() || !f.RevokedAt.IsZero() || !f.ClosedAt.IsZero() {
		return time.Time{}
	}
	return later(f.LiveFrom, f.StartsAt)
}

func (s Successor) same(o Successor) bool { return s.By == o.By && s.At.Equal(o.At) }
