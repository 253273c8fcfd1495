package subscription

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// termsOf makes the row that an event's terms state, or those of its change.
func termsOf(sub id.Subscription, plan string, e marketplace.Event, said marketplace.Terms) Terms {
	t := Terms{
		Subscription: sub, Plan: plan, Named: said.Plan, Offer: said.Offer, Agreement: cmp.Or(said.Agreement, e.Ref.Agreement),
		Private: said.Private, Quantities: said.Quantities, Status: TermsEffective,
		From: norm(said.From), To: norm(said.To), StatedAt: norm(e.Version), Version: norm(e.Version),
	}
	switch e.Kind {
	case marketplace.ChangeRequested:
		t.Status = TermsPending
	case marketplace.ChangeWithdrawn:
		t.Status = TermsWithdrawn
	case marketplace.Changed, marketplace.OfferChanged:
		t.StatedAt = earlier(norm(e.At), t.Version) // the instant it took effect
	}
	if t.Version.IsZero() {
		t.Version, t.StatedAt = norm(e.At), norm(e.At)
	}
	t.Fingerprint = t.content()
	return t
}

// content is a hash of what is agreed, without dates: equal terms have it in common.
func (t Terms) content() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %v", t.Agreement, t.Offer, t.Named, Quantities(t.Quantities), t.Private))
	return hex.EncodeToString(sum[:16])
}

// Quantities writes contracted quantities as sorted "name=n" lines.
func Quantities(q map[string]int64) string {
	lines := make([]string, 0, len(q))
	for k, v := range q {
		lines = append(lines, fmt.Sprintf("%s=%d", k, v))
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

// silent terms name neither plan nor quantities: an agreement event's, which
// knows only the offer.
func (t Terms) silent() bool { return t.Named == "" && len(t.Quantities) == 0 }

// Effective is a row of terms with the instant from which it counts.
type Effective struct {
	Terms
	Since time.Time
}

// EffectiveTerms dates rows against one another. The first terms of an agreement
// count from its start; what was said later of the same agreement counts from
// when it was said, because an amendment never reaches back. Rows that are
// silent count only where an agreement has no others.
func EffectiveTerms(rows []Terms) []Effective {
	byAgreement := map[string][]Terms{}
	spoken := map[string]bool{}
	start := map[string]time.Time{}
	for _, t := range rows {
		if t.Status != TermsEffective {
			continue
		}
		byAgreement[t.Agreement] = append(byAgreement[t.Agreement], t)
		spoken[t.Agreement] = spoken[t.Agreement] || !t.silent()
		start[t.Agreement] = earlier(start[t.Agreement], t.From)
	}
	var out []Effective
	for agreement, of := range byAgreement {
		if spoken[agreement] {
			of = slices.DeleteFunc(of, Terms.silent)
		}
		slices.SortFunc(of, func(a, b Terms) int {
			return cmp.Or(a.StatedAt.Compare(b.StatedAt), cmp.Compare(a.Fingerprint, b.Fingerprint))
		})
		for i, t := range of {
			since := t.StatedAt
			if i == 0 {
				since = earlier(start[agreement], t.StatedAt)
			}
			out = append(out, Effective{Terms: t, Since: since})
		}
	}
	slices.SortFunc(out, func(a, b Effective) int {
		return cmp.Or(a.Since.Compare(b.Since), a.StatedAt.Compare(b.StatedAt), cmp.Compare(a.Fingerprint, b.Fingerprint))
	})
	return out
}

// InForce is the row that counts at an instant; before the first row begins, the
// first one, since a purchase is never without terms once some were said.
func InForce(rows []Terms, at time.Time) (Terms, bool) {
	all := EffectiveTerms(rows)
	if len(all) == 0 {
		return Terms{}, false
	}
	now := all[0]
	for _, e := range all {
		if !e.Since.After(at) {
			now = e
		}
	}
	return now.Terms, true
}
