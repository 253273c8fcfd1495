package subscription

import (
	"cmp"
	"reflect"
	"slices"
	"time"

	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// Facts is everything known of one purchase that decides its state. Each field
// merges by itself: a first time keeps the earliest, a statement keeps the one
// with the greatest vendor version. So any order and any number of repetitions
// of the same events and facts end in equal Facts.
type Facts struct {
	Marketplace marketplace.ID `json:"marketplace"`

	// Said by the marketplace.
	Granted  time.Time `json:"granted,omitzero"`   // version of the newest statement that it is entitled
	StartsAt time.Time `json:"starts_at,omitzero"` // earliest instant at which it was entitled
	Ends     []End     `json:"ends,omitempty"`     // statements of an end by message, not older than Granted
	Seen     Seen      `json:"seen,omitzero"`      // the newest observation
	Denied   time.Time `json:"denied,omitzero"`    // version of the newest refusal
	Pause    Switch    `json:"pause,omitzero"`     // suspended or resumed
	Agreed   Date      `json:"agreed,omitzero"`    // an agreed end; nothing ends by it alone
	Renewed  time.Time `json:"renewed,omitzero"`   // newest statement that an agreement goes on under another one
	Consumer Named     `json:"consumer,omitzero"`  // whom metering names, where that is an id of its own

	// Done by the buyer or by us; business time.
	ClaimedAt   time.Time `json:"claimed_at,omitzero"`
	LiveFrom    time.Time `json:"live_from,omitzero"` // the product's cut-over hour; zero while it observes
	ReadyAt     time.Time `json:"ready_at,omitzero"`
	ConfirmedAt time.Time `json:"confirmed_at,omitzero"` // the marketplace took our activation (Azure)
	RevokedAt   time.Time `json:"revoked_at,omitzero"`
	ClosedAt    time.Time `json:"closed_at,omitzero"`
	Replaced    Successor `json:"replaced,omitzero"`
	Blocked     Hold      `json:"blocked,omitzero"`
	// Decided is what became of our decisions, by the key of a Wish.
	Decided map[string]Decided `json:"decided,omitempty"`
}

// End is one statement that the purchase ends.
type End struct {
	Version time.Time `json:"version"`
	At      time.Time `json:"at"`
	Reason  string    `json:"reason,omitempty"`
}

// Seen is what the marketplace's API said last.
type Seen struct {
	Version  time.Time `json:"version,omitzero"`
	Entitled bool      `json:"entitled,omitempty"`
	Ended    bool      `json:"ended,omitempty"`
	EndsAt   time.Time `json:"ends_at,omitzero"`
	Reason   string    `json:"reason,omitempty"`
	// Awaits is the decision of ours that it waits for; Plan and Offer are the vendor's
	// words for the change that waits, or is agreed and not yet in force.
	Awaits marketplace.DecisionKind `json:"awaits,omitempty"`
	Plan   string                   `json:"plan,omitempty"`
	Offer  string                   `json:"offer,omitempty"`
}

// Named is a name with the version of the newest statement of it.
type Named struct {
	Version time.Time `json:"version,omitzero"`
	Name    string    `json:"name,omitempty"`
}

// Switch is a statement that something is on or off.
type Switch struct {
	Version time.Time `json:"version,omitzero"`
	On      bool      `json:"on,omitempty"`
	At      time.Time `json:"at,omitzero"`
}

// Date is a statement of an instant; a zero At takes it back.
type Date struct {
	Version time.Time `json:"version,omitzero"`
	At      time.Time `json:"at,omitzero"`
}

// Successor is the purchase that continues this one.
type Successor struct {
	By string    `json:"by,omitempty"`
	At time.Time `json:"at,omitzero"` // its first entitled instant
}

// Hold is why a person must look before anything goes on; an empty reason lifts it.
type Hold struct {
	Version time.Time `json:"version,omitzero"`
	Reason  string    `json:"reason,omitempty"`
}

// Apply merges one event of the marketplace. Pure; does not change f's slices.
func Apply(f Facts, e marketplace.Event) Facts {
	rules := rulesOf(f.Marketplace)
	version, at := norm(e.Version), norm(e.At)
	if version.IsZero() {
		version = at
	}
	if at.IsZero() {
		at = version
	}
	if c := version.Compare(f.Consumer.Version); e.Consumer != "" && (c > 0 || c == 0 && e.Consumer > f.Consumer.Name) {
		f.Consumer = Named{Version: version, Name: e.Consumer}
	}
	switch kind := rules.meaning(e); kind {
	case marketplace.Entitled:
		f.grant(version, at)
	case marketplace.Ending, marketplace.Ended, marketplace.AccountDeleted:
		f.end(End{Version: version, At: at, Reason: e.Reason})
	case marketplace.Denied:
		f.Denied = later(f.Denied, version)
	case marketplace.Suspended, marketplace.Resumed:
		f.pause(Switch{Version: version, On: kind == marketplace.Suspended, At: at})
	case marketplace.EndScheduled:
		f.agree(Date{Version: version, At: at})
	case marketplace.EndReverted:
		f.agree(Date{Version: version})
	case marketplace.Renewed:
		f.Renewed = later(f.Renewed, version)
	case marketplace.Claimed:
		f.ClaimedAt = earlier(f.ClaimedAt, at)
	case marketplace.Observed:
		f.observe(version, at, e)
	case marketplace.PurchaseSeen, marketplace.ChangeRequested, marketplace.Changed, marketplace.ChangeWithdrawn,
		marketplace.AccountChanged, marketplace.OfferChanged, marketplace.Noted:
		// They concern terms or nobody; the state of the purchase is not theirs.
	}
	return f
}

// grant: the newest statement counts, the earliest instant is the start.
func (f *Facts) grant(version, at time.Time) {
	f.Granted = later(f.Granted, version)
	f.StartsAt = earlier(f.StartsAt, at)
	f.prune()
}

// end keeps a statement unless a grant is newer. Only statements that could
// still be the earliest after some future grant are kept, so the list is short.
func (f *Facts) end(e End) {
	f.Ends = append(slices.Clone(f.Ends), e)
	f.prune()
}

func (f *Facts) prune() {
	if len(f.Ends) == 0 {
		return
	}
	all := slices.Clone(f.Ends)
	slices.SortFunc(all, func(a, b End) int {
		return cmp.Or(b.Version.Compare(a.Version), a.At.Compare(b.At), cmp.Compare(a.Reason, b.Reason))
	})
	kept := all[:0]
	for _, e := range all { // newest first: an older one matters only if its instant is earlier
		if e.Version.Before(f.Granted) || len(kept) > 0 && !e.At.Before(kept[len(kept)-1].At) {
			continue
		}
		kept = append(kept, e)
	}
	f.Ends = kept
	if len(kept) == 0 {
		f.Ends = nil
	}
}

// pause: on a tie the purchase is suspended, the side that hands out nothing.
func (f *Facts) pause(s Switch) {
	c := s.Version.Compare(f.Pause.Version)
	if c > 0 || c == 0 && (s.On && !f.Pause.On || s.On == f.Pause.On && s.At.Before(f.Pause.At)) {
		f.Pause = s
	}
}

// agree: on a tie the earlier instant counts, and any instant before none.
func (f *Facts) agree(d Date) {
	c := d.Version.Compare(f.Agreed.Version)
	if c > 0 || c == 0 && !d.At.IsZero() && (f.Agreed.At.IsZero() || d.At.Before(f.Agreed.At)) {
		f.Agreed = d
	}
}

// observe takes the marketplace's present truth. Older ones lose against newer
// ones; that it once was entitled stays true.
func (f *Facts) observe(version, at time.Time, e marketplace.Event) {
	if e.Observed == nil {
		return
	}
	o := *e.Observed
	o.StartsAt, o.EndsAt = norm(o.StartsAt), norm(o.EndsAt)
	if o.Entitled && !o.Ended {
		start := o.StartsAt
		if start.IsZero() {
			start = at
		}
		f.grant(version, start)
		f.agree(Date{Version: version, At: o.EndsAt})
	}
	if slices.Contains(rulesOf(f.Marketplace).NeverEnds, e.Reason) {
		f.Renewed = later(f.Renewed, version) // its licence may be over, the purchase goes on under another
	}
	f.pause(Switch{Version: version, On: o.Suspended && !o.Ended, At: at})
	s := Seen{Version: version, Entitled: o.Entitled && !o.Ended, Ended: o.Ended, EndsAt: o.EndsAt, Reason: e.Reason, Awaits: o.Awaits}
	if o.Change != nil {
		s.Plan, s.Offer = o.Change.Plan, o.Change.Offer
	}
	if o.Ended && s.EndsAt.IsZero() {
		s.EndsAt = at
	}
	if compareSeen(s, f.Seen) > 0 {
		f.Seen = s
	}
}

// compareSeen orders observations: the newer wins, on a tie the end, then the
// earlier end; the rest only makes the order total.
func compareSeen(a, b Seen) int {
	return cmp.Or(a.Version.Compare(b.Version), compareBool(a.Ended, b.Ended), b.EndsAt.Compare(a.EndsAt),
		compareBool(a.Entitled, b.Entitled), cmp.Compare(a.Reason, b.Reason),
		cmp.Compare(a.Awaits, b.Awaits), cmp.Compare(a.Plan, b.Plan), cmp.Compare(a.Offer, b.Offer))
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// FactKind is something we or the buyer did.
type FactKind string

const (
	FactClaimed   FactKind = "claimed"
	FactLive      FactKind = "live" // the product's cut-over; At is the start of its first hour
	FactReady     FactKind = "ready"
	FactConfirmed FactKind = "confirmed"
	FactRevoked   FactKind = "revoked"
	FactClosed    FactKind = "closed"
	FactReplaced  FactKind = "replaced"
	FactBlocked   FactKind = "blocked" // Reason "" lifts it
	FactVerdict   FactKind = "verdict" // a change was decided: agreed to, or refused for Reason
	FactTold      FactKind = "told"    // the marketplace answered a decision with Outcome
)

// FactKinds lists every kind once.
var FactKinds = []FactKind{FactClaimed, FactLive, FactReady, FactConfirmed, FactRevoked, FactClosed, FactReplaced, FactBlocked, FactVerdict, FactTold}

// Fact is one of our own facts.
type Fact struct {
	Kind   FactKind  `json:"kind"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason,omitempty"` // blocked, verdict: why
	By     string    `json:"by,omitempty"`     // replaced: the successor; verdict: who decided
	// Of a verdict or what was told: the key of the Wish.
	Decision string              `json:"decision,omitempty"`
	Terms    string              `json:"terms,omitempty"`
	Outcome  marketplace.Outcome `json:"outcome,omitempty"`
}

// Note merges one of our own facts; the first time of each counts, of verdicts the last.
func Note(f Facts, n Fact) Facts {
	n.At = norm(n.At)
	switch n.Kind {
	case FactClaimed:
		f.ClaimedAt = earlier(f.ClaimedAt, n.At)
	case FactLive:
		f.LiveFrom = earlier(f.LiveFrom, n.At)
	case FactReady:
		f.ReadyAt = earlier(f.ReadyAt, n.At)
	case FactConfirmed:
		f.ConfirmedAt = earlier(f.ConfirmedAt, n.At)
	case FactRevoked:
		f.RevokedAt = earlier(f.RevokedAt, n.At)
	case FactClosed:
		f.ClosedAt = earlier(f.ClosedAt, n.At)
	case FactReplaced:
		if f.Replaced.By == "" || cmp.Or(n.At.Compare(f.Replaced.At), cmp.Compare(n.By, f.Replaced.By)) < 0 {
			f.Replaced = Successor{By: n.By, At: n.At}
		}
	case FactBlocked:
		if c := n.At.Compare(f.Blocked.Version); c > 0 || c == 0 && n.Reason > f.Blocked.Reason {
			f.Blocked = Hold{Version: n.At, Reason: n.Reason}
		}
	case FactVerdict, FactTold:
		f.decide(n)
	}
	return f
}

// EndsAt is the confirmed end: the earliest statement of an end that no grant
// follows. Zero while none is known.
func (f Facts) EndsAt() time.Time {
	var at time.Time
	for _, e := range f.Ends {
		at = earlier(at, e.At)
	}
	if f.Seen.Ended && !f.Seen.Version.Before(f.Granted) {
		at = earlier(at, f.Seen.EndsAt)
	}
	if !f.Denied.IsZero() && !f.ReadyAt.IsZero() && !f.Denied.Before(f.Granted) {
		at = earlier(at, f.Denied) // refused after it was in use: the use ends
	}
	if f.Replaced.By != "" {
		at = earlier(at, f.Replaced.At)
	}
	return at
}

// EndReason is the vendor's word for the end, if it said one.
func (f Facts) EndReason() string {
	if len(f.Ends) > 0 {
		return f.Ends[len(f.Ends)-1].Reason
	}
	if f.Seen.Ended {
		return f.Seen.Reason
	}
	return ""
}

// equal compares facts; every time in them is normal.
func equal(a, b Facts) bool { return reflect.DeepEqual(a, b) }

// norm is a time as it comes back from the database.
func norm(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// later and earlier keep the known one when the other is zero.
func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
