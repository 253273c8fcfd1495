package subscription

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// Decided is what became of one decision of ours.
type Decided struct {
	At      time.Time           `json:"at,omitzero"`       // a change was agreed to or refused
	Refused string              `json:"refused,omitempty"` // why; empty: agreed
	Terms   string              `json:"terms,omitempty"`   // what the change is to, where its message said it
	Told    time.Time           `json:"told,omitzero"`     // the marketplace's first answer
	Outcome marketplace.Outcome `json:"outcome,omitempty"` // done and too late are final
}

// final: the marketplace has nothing to add.
func (d Decided) final() bool {
	return d.Outcome == marketplace.Done || d.Outcome == marketplace.TooLate
}

// decide merges a verdict or an answer: the newest verdict, the first answer's
// time and the furthest outcome.
func (f *Facts) decide(n Fact) {
	if n.Decision == "" {
		return
	}
	d := f.Decided[n.Decision]
	if n.Kind == FactVerdict {
		if c := n.At.Compare(d.At); c > 0 || c == 0 && n.Reason > d.Refused {
			d.At, d.Refused, d.Terms = n.At, n.Reason, n.Terms
		}
	} else {
		d.Told = earlier(d.Told, n.At)
		if rank(n.Outcome) > rank(d.Outcome) {
			d.Outcome = n.Outcome
		}
	}
	f.Decided = maps.Clone(f.Decided)
	if f.Decided == nil {
		f.Decided = map[string]Decided{}
	}
	f.Decided[n.Decision] = d
}

func rank(o marketplace.Outcome) int {
	return slices.Index([]marketplace.Outcome{marketplace.Pending, marketplace.TooLate, marketplace.Done}, o)
}

// Wish is one decision that is due.
type Wish struct {
	Key string // of Facts.Decided
	marketplace.Decision
	// Held: the change is to a plan that nobody here knows; a person must decide.
	Held bool
}

// Keys of decisions. What an observation asks for is asked anew by every newer one;
// a change that its message asks for is asked for once, by the message's id.
const (
	keyAccount   = "account"
	keyActivate  = "activate"
	keyOperation = "operation "
)

func keyOf(kind marketplace.DecisionKind, subject string, s Seen) string {
	return strings.TrimSpace(fmt.Sprintf("%s %s", kind, subject)) + fmt.Sprintf("@%d", s.Version.UnixMicro())
}

// Wishes are the decisions that are due at an instant, in the order in which to make
// them. Pure. knows tells which plans are in the catalog; nil: all. References are
// left to the caller.
//
//	Google  approve the account once somebody holds a purchase of it; then the purchase;
//	        a change to a plan we know, or that a person decided
//	Azure   activate once the network is ready, which confirms what Microsoft activated
//	        itself; answer the operations that were decided when their message came
//
// Nothing is decided while the product observes, or about what is over.
func Wishes(f Facts, now time.Time, knows func(plan string) bool) []Wish {
	end := f.EndsAt()
	over := !f.ClosedAt.IsZero() || !f.RevokedAt.IsZero() || !end.IsZero() && !end.After(now)
	if f.LiveFrom.IsZero() || f.LiveFrom.After(now) || over {
		return nil
	}
	var out []Wish
	add := func(key string, d marketplace.Decision) {
		if !f.Decided[key].final() {
			out = append(out, Wish{Key: key, Decision: d})
		}
	}
	r, free := rulesOf(f.Marketplace), f.Blocked.Reason == ""
	if r.AccountFirst && free && !f.ClaimedAt.IsZero() {
		add(keyAccount, marketplace.Decision{Kind: marketplace.ApproveAccount})
		if f.Seen.Awaits == marketplace.Approve && f.Decided[keyAccount].Outcome == marketplace.Done {
			add(keyOf(marketplace.Approve, "", f.Seen), marketplace.Decision{Kind: marketplace.Approve})
		}
	}
	if r.NeedsConfirmation && free && !f.ReadyAt.IsZero() && f.ConfirmedAt.IsZero() && (reserved(f) || !f.Granted.IsZero()) {
		add(keyActivate, marketplace.Decision{Kind: marketplace.Activate})
	}
	if r.ShowsChanges && f.Seen.Awaits == marketplace.ApproveChange && f.Seen.Plan != "" {
		key := keyOf(marketplace.ApproveChange, f.Seen.Plan, f.Seen)
		d := f.Decided[key]
		add(key, verdict(f.Seen.Plan, d))
		if !d.final() && d.At.IsZero() && knows != nil && !knows(f.Seen.Plan) {
			out[len(out)-1].Held = true
		}
	}
	for _, key := range slices.Sorted(maps.Keys(f.Decided)) {
		if operation, ok := strings.CutPrefix(key, keyOperation); ok && r.AnswersChanges && !f.Decided[key].At.IsZero() {
			add(key, verdict(operation, f.Decided[key]))
		}
	}
	return out
}

// verdict tells the marketplace what was decided about a change.
func verdict(subject string, d Decided) marketplace.Decision {
	kind := marketplace.ApproveChange
	if d.Refused != "" {
		kind = marketplace.RejectChange
	}
	return marketplace.Decision{Kind: kind, Subject: subject, Text: d.Refused}
}

// askAfter is when a decision that the marketplace took and has not carried out is
// looked at again: soon at first, then ever later.
func askAfter(d Decided, now time.Time) time.Time {
	const soonest, latest = 30 * time.Second, 30 * time.Minute
	return now.Add(min(max(now.Sub(cmp.Or(d.Told, now)), soonest), latest))
}
