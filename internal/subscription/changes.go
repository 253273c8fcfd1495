package subscription

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// agreed holds the rows of terms of one purchase while statements are merged
// into them. Effective rows are episodes: from the first to the last time that a
// vendor said the same with nothing else in between, so terms that return are a
// row of their own. Every other row is a change that was asked for.
type agreed struct {
	rows    []Terms
	changed map[string]bool // fingerprints
	rules   Rules
}

// changes lists what is to be stored.
func (a *agreed) changes() []Terms {
	return slices.DeleteFunc(slices.Clone(a.rows), func(t Terms) bool { return !a.changed[t.Fingerprint] })
}

func (a *agreed) set(i int, t Terms) {
	if was := a.rows[i]; !sameTerms(was, t) {
		a.rows[i] = t
		a.changed[t.Fingerprint] = true
	}
}

// add appends a row; the fingerprint of a second row of equal terms is numbered.
func (a *agreed) add(t Terms) {
	content := t.content()
	t.Fingerprint = content
	for n := 2; slices.ContainsFunc(a.rows, func(o Terms) bool { return o.Fingerprint == t.Fingerprint }); n++ {
		t.Fingerprint = fmt.Sprintf("%s-%d", content, n)
	}
	a.rows = append(a.rows, t)
	a.changed[t.Fingerprint] = true
}

// state merges a statement of what is in force.
func (a *agreed) state(said Terms) {
	own, inside := -1, -1
	for i, r := range a.rows {
		switch {
		case r.Status != TermsEffective || r.Agreement != said.Agreement:
		case r.content() == said.content():
			if own < 0 && !a.interrupted(r, said) {
				own = i
			}
		case a.rules.PlansReturn && r.silent() == said.silent() && r.StatedAt.Before(said.StatedAt) && r.Version.After(said.Version):
			inside = i
		}
	}
	asked := slices.IndexFunc(a.rows, func(r Terms) bool {
		return r.Status != TermsEffective && !r.Version.After(said.Version) && a.fulfils(r, said)
	})
	switch {
	case own >= 0:
		a.set(own, mergeTerms(a.rows[own], said))
	case inside >= 0: // what was said before and after it are two episodes
		before := a.rows[inside]
		after := before
		before.Version, after.StatedAt = before.StatedAt, after.Version
		a.set(inside, before)
		a.add(said)
		a.add(after)
	case asked >= 0:
		said.Fingerprint = a.rows[asked].Fingerprint
		said.From = earlier(said.From, a.rows[asked].From)
		a.set(asked, said)
	default:
		a.add(said)
	}
	// What asks for what is in force already asks for nothing.
	for i, r := range a.rows {
		if r.Status == TermsPending && !r.Version.After(said.Version) && a.fulfils(r, said) {
			r.Status = TermsWithdrawn
			a.set(i, r)
		}
	}
}

// interrupted: something else was in force between two statements of equal terms.
func (a *agreed) interrupted(r, said Terms) bool {
	lo, hi := earlier(r.StatedAt, said.StatedAt), later(r.Version, said.Version)
	return a.rules.PlansReturn && slices.ContainsFunc(a.rows, func(o Terms) bool {
		return o.Status == TermsEffective && o.Agreement == r.Agreement && o.content() != r.content() && o.silent() == r.silent() &&
			o.StatedAt.Before(hi) && !o.Version.Before(lo)
	})
}

// fulfils: what was asked for is what is said to be in force. Where messages ask
// for changes they name no private offer.
func (a *agreed) fulfils(asked, said Terms) bool {
	return asked.Named == said.Named && Quantities(asked.Quantities) == Quantities(said.Quantities) && (asked.Offer == said.Offer || a.rules.AnswersChanges)
}

// ask merges a change that was asked for, refused or taken back.
func (a *agreed) ask(said Terms) {
	for _, r := range a.rows {
		if r.Status == TermsEffective && !r.Version.Before(said.Version) && a.fulfils(said, r) {
			return // it is in force since
		}
	}
	i := slices.IndexFunc(a.rows, func(r Terms) bool { return r.Status != TermsEffective && r.content() == said.content() })
	if i < 0 {
		a.add(said)
		return
	}
	r := a.rows[i]
	if c := cmp.Or(said.Version.Compare(r.Version), cmp.Compare(said.Status, r.Status)); c > 0 {
		r.Status, r.Version = said.Status, said.Version
		r.From, r.To = said.From, said.To
	}
	r.StatedAt = earlier(r.StatedAt, said.StatedAt)
	a.set(i, r)
}

// settle gives a new status to changes that were waiting up to an instant, but one.
func (a *agreed) settle(to TermsStatus, until time.Time, but string) {
	for i, r := range a.rows {
		if r.Status == TermsPending && !r.Version.After(until) && (but == "" || r.content() != but) {
			r.Status = to
			a.set(i, r)
		}
	}
}

// settleOne gives a new status to the change that waits and is to these terms.
func (a *agreed) settleOne(to TermsStatus, content string) {
	for i, r := range a.rows {
		if r.Status == TermsPending && r.content() == content {
			r.Status = to
			a.set(i, r)
		}
	}
}

// merge merges all that an event says of terms. seen is the newest observation
// before it, plan our plan for the vendor's word.
func (a *agreed) merge(sub Subscription, e marketplace.Event, seen time.Time, plan func(named string) string) {
	of := func(t marketplace.Terms) Terms { return termsOf(sub.ID, plan(t.Plan), e, t) }
	observed := e.Kind == marketplace.Observed && e.Observed != nil
	switch {
	case e.Kind == marketplace.ChangeRequested && e.Terms != nil:
		if said := of(*e.Terms); !a.rules.ShowsChanges || said.Version.After(seen) {
			a.ask(said)
		}
	case e.Kind == marketplace.ChangeWithdrawn && e.Terms != nil:
		a.ask(of(*e.Terms))
	case e.Kind == marketplace.ChangeWithdrawn:
		a.settle(TermsWithdrawn, norm(e.Version), "")
	case e.Terms != nil:
		a.state(of(*e.Terms))
	}
	if !observed || !a.rules.ShowsChanges || norm(e.Version).Before(seen) {
		return
	}
	but := ""
	if e.Observed.Change != nil {
		said := of(*e.Observed.Change)
		said.Status, but = TermsPending, said.Fingerprint
		a.ask(said)
	}
	a.settle(TermsWithdrawn, norm(e.Version), but)
}

// mergeTerms joins two statements of equal terms, in any order: the vendor's
// dates come from the newer, the first time it said so from the older.
func mergeTerms(a, b Terms) Terms {
	fingerprint := a.Fingerprint
	if c := cmp.Or(a.Version.Compare(b.Version), a.From.Compare(b.From), a.To.Compare(b.To)); c < 0 {
		a, b = b, a
	}
	a.Fingerprint = fingerprint
	a.StatedAt = earlier(a.StatedAt, b.StatedAt)
	a.From = earlier(a.From, b.From)
	if a.To.IsZero() {
		a.To = b.To // licence events do not date the agreement
	}
	return a
}

func sameTerms(a, b Terms) bool {
	return a.Status == b.Status && a.From.Equal(b.From) && a.To.Equal(b.To) && a.StatedAt.Equal(b.StatedAt) && a.Version.Equal(b.Version) &&
		a.Plan == b.Plan && a.Offer == b.Offer && a.Private == b.Private
}
