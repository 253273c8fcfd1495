package partner

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/tailmarket/tailmarket/internal/id"
)

// Route is how a customer's first purchase was sold.
type Route string

const (
	PublicListing Route = "public_listing"
	PrivateOffer  Route = "private_offer"
	Reseller      Route = "reseller"
)

// Rank orders evidence of a source, the best first.
type Rank int

const (
	RankNone     Rank = iota
	RankReseller      // the marketplace names who sold
	RankOffer         // the marketplace names an offer made for a partner
	RankLink          // the buyer followed a signed link
	RankSaid          // the buyer says so
)

// EvidenceKind says what a piece of evidence is.
type EvidenceKind string

const (
	ByListing  EvidenceKind = "listing"
	ByOffer    EvidenceKind = "offer"
	ByReseller EvidenceKind = "reseller"
	ByLink     EvidenceKind = "link"
	BySaid     EvidenceKind = "self_reported"
)

// Evidence is why something is believed. The zero value is none.
type Evidence struct {
	Kind EvidenceKind
	Ref  string // what it is found by: a link, a visit, or the vendor's own id
	At   time.Time
	Text string // for people
}

// Credit is evidence for one partner.
type Credit struct {
	Partner  id.Partner
	Name     string
	Rank     Rank
	Evidence Evidence
}

// Attribution is a customer's route and source.
type Attribution struct {
	Customer      id.Customer
	Marketplace   string
	Account       string
	Purchases     []Purchase // the first one decides
	Route         Route      // empty while there is no purchase
	RouteEvidence Evidence
	Source        Credit     // zero: nobody brought it, as far as anybody knows
	Others        []Credit   // what else speaks for a partner, best first
	Unknown       []Evidence // names no partner is known by; an operator may tell whose they are
}

// Evidence is the evidence of both axes in one sentence.
func (a Attribution) Evidence() string {
	switch {
	case a.Route == "":
		return ""
	case a.Source.Partner == "":
		return "route: " + a.RouteEvidence.Text
	}
	return "route: " + a.RouteEvidence.Text + "; partner: " + a.Source.Evidence.Text
}

// lateLink is how long after a purchase's first instant a link may have been
// followed and still count as before it: some vendors date a start by the day.
const lateLink = 24 * time.Hour

// Book is every partner, to be looked up in.
type Book struct {
	partners map[id.Partner]Partner
	keys     map[Key]id.Partner // of the fields that name it only
	names    map[string]id.Partner
}

// BookOf indexes partners.
func BookOf(all []Partner) Book {
	b := Book{partners: map[id.Partner]Partner{}, keys: map[Key]id.Partner{}, names: map[string]id.Partner{}}
	for _, p := range all {
		b.partners[p.ID], b.names[Fold(p.Name)] = p, p.ID
		for _, k := range p.Keys {
			b.keys[Key{Marketplace: k.Marketplace, Kind: k.Kind, Value: k.Value}] = p.ID
		}
	}
	return b
}

func (b Book) byKey(marketplace string, kind KeyKind, value string) id.Partner {
	return b.keys[Key{Marketplace: marketplace, Kind: kind, Value: value}]
}

// Attribute computes a customer's route and source. It is pure, and neither the
// order nor the repetition of evidence matters. Only the first purchase decides:
// whoever helps to sell a second one did not bring the customer.
func Attribute(c Customer, book Book) Attribution {
	a := Attribution{Customer: c.ID, Marketplace: c.Marketplace, Account: c.Account, Purchases: inOrder(c.Purchases)}
	if len(a.Purchases) == 0 {
		return a
	}
	first := a.Purchases[0]
	a.Route, a.RouteEvidence = routeOf(c.Marketplace, first)
	credits, unknown := creditsOf(c.Marketplace, first, book)
	a.Unknown = unknown
	if len(credits) > 0 {
		a.Source, a.Others = credits[0], credits[1:]
	}
	return a
}

// inOrder puts purchases in the order in which they began; what never began
// comes last.
func inOrder(of []Purchase) []Purchase {
	out := slices.Clone(of)
	slices.SortFunc(out, func(a, b Purchase) int {
		switch {
		case a.StartsAt.IsZero() && !b.StartsAt.IsZero():
			return 1
		case !a.StartsAt.IsZero() && b.StartsAt.IsZero():
			return -1
		}
		return cmp.Or(a.StartsAt.Compare(b.StartsAt), a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// routeOf is how a purchase was sold: what says more about who was between the
// seller and the buyer wins, then what was said first.
func routeOf(marketplace string, p Purchase) (Route, Evidence) {
	for _, s := range p.inTime() {
		if s.Reseller != "" {
			return Reseller, resellerEvidence(marketplace, s)
		}
	}
	for _, s := range p.inTime() {
		if s.Private {
			return PrivateOffer, offerEvidence(marketplace, s)
		}
	}
	return PublicListing, Evidence{
		Kind: ByListing, Ref: p.VendorID, At: cmp.Or(p.StartsAt, p.CreatedAt),
		Text: fmt.Sprintf("bought as %s on %s, which names no private offer and no reseller", p.VendorID, marketplace),
	}
}

// creditsOf is all evidence for partners, best first, one a partner and rank;
// and what names nobody who is known.
func creditsOf(marketplace string, p Purchase, book Book) (credits []Credit, unknown []Evidence) {
	add := func(partner id.Partner, rank Rank, e Evidence) {
		if known, ok := book.partners[partner]; ok {
			credits = append(credits, Credit{Partner: partner, Name: known.Name, Rank: rank, Evidence: e})
			return
		}
		unknown = append(unknown, e)
	}
	for _, s := range p.Statements {
		if s.Reseller != "" {
			add(book.byKey(marketplace, ResellerKey, s.Reseller), RankReseller, resellerEvidence(marketplace, s))
		}
		// A public offer is everybody's; only what was made for a partner counts.
		if of := book.byKey(marketplace, OfferKey, s.Offer); s.Offer != "" && of != "" {
			add(of, RankOffer, offerEvidence(marketplace, s))
		}
	}
	for _, t := range p.Touches {
		switch t.Kind {
		case LinkTouch:
			if p.StartsAt.IsZero() || t.At.Before(p.StartsAt.Add(lateLink)) {
				add(t.Partner, RankLink, Evidence{
					Kind: ByLink, Ref: string(t.Link), At: t.At,
					Text: fmt.Sprintf("followed the referral link %s at %s, seen in the visit %s", t.Link, date(t.At), t.Claim),
				})
			}
		case SaidTouch:
			add(book.names[Fold(t.Said)], RankSaid, Evidence{
				Kind: BySaid, Ref: string(t.Claim), At: t.At, Text: fmt.Sprintf("the buyer answered “%s” in the visit %s at %s", t.Said, t.Claim, date(t.At)),
			})
		}
	}
	slices.SortFunc(credits, func(a, b Credit) int {
		return cmp.Or(cmp.Compare(a.Rank, b.Rank), compare(a.Evidence, b.Evidence), cmp.Compare(a.Partner, b.Partner))
	})
	type heard struct {
		of   id.Partner
		rank Rank
	}
	seen := map[heard]bool{}
	credits = slices.DeleteFunc(credits, func(c Credit) bool {
		k := heard{c.Partner, c.Rank}
		again := seen[k]
		seen[k] = true
		return again
	})
	slices.SortFunc(unknown, compare)
	return credits, slices.CompactFunc(unknown, func(a, b Evidence) bool { return a.Kind == b.Kind && a.Text == b.Text })
}

func compare(a, b Evidence) int {
	return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Ref, b.Ref), cmp.Compare(a.Text, b.Text))
}

// inTime is what was said, the earliest first.
func (p Purchase) inTime() []Statement {
	out := slices.Clone(p.Statements)
	slices.SortFunc(out, func(a, b Statement) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Offer, b.Offer), cmp.Compare(a.Reseller, b.Reseller), cmp.Compare(a.Message, b.Message))
	})
	return out
}

func resellerEvidence(marketplace string, s Statement) Evidence {
	return Evidence{Kind: ByReseller, Ref: s.Reseller, At: s.At, Text: fmt.Sprintf("%s names the reseller %s, %s", marketplace, s.Reseller, saidIn(s))}
}

func offerEvidence(marketplace string, s Statement) Evidence {
	kind := "offer"
	if s.Private {
		kind = "private offer"
	}
	return Evidence{Kind: ByOffer, Ref: s.Offer, At: s.At, Text: fmt.Sprintf("%s names the %s %s, %s", marketplace, kind, cmp.Or(s.Offer, "(no id said)"), saidIn(s))}
}

func saidIn(s Statement) string {
	if s.Message == "" {
		return "when asked, as of " + date(s.At)
	}
	return "in its message " + s.Message + " of " + date(s.At)
}

func date(t time.Time) string { return t.UTC().Format(time.RFC3339) }
