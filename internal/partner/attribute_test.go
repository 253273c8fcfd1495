package partner_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/partner"
)

var t0 = time.Date(2026, 11, 3, 7, 0, 0, 0, time.UTC)

func at(minutes int) time.Time { return t0.Add(time.Duration(minutes) * time.Minute) }

const (
	hawk id.Partner = "prt_hawk"
	owl  id.Partner = "prt_owl"
)

var everyone = []partner.Partner{
	{ID: hawk, Name: "Hawk Networks", Keys: []partner.Key{{Marketplace: "aws", Kind: partner.ResellerKey, Value: "r-hawk"}, {Marketplace: "aws", Kind: partner.OfferKey, Value: "o-hawk"}}},
	{ID: owl, Name: "Owl", Keys: []partner.Key{{Marketplace: "aws", Kind: partner.ResellerKey, Value: "r-owl"}, {Marketplace: "gcp", Kind: partner.ResellerKey, Value: "r-hawk"}}},
}

func link(of id.Partner, minute int) partner.Touch {
	return partner.Touch{Kind: partner.LinkTouch, Link: id.Link("lnk_of_" + string(of)), Partner: of, Claim: "clm_1", At: at(minute)}
}

func answer(words string, minute int) partner.Touch {
	return partner.Touch{Kind: partner.SaidTouch, Said: words, Claim: "clm_1", At: at(minute)}
}

func TestAttribute(t *testing.T) {
	t.Parallel()
	type statements = []partner.Statement
	type touches = []partner.Touch
	cases := map[string]struct {
		said    statements
		touched touches
		route   partner.Route
		source  id.Partner
		by      partner.EvidenceKind
		ref     string
	}{
		"nothing but a purchase is a listing and nobody": {nil, nil, partner.PublicListing, "", "", ""},
		"a public offer is everybody's":                  {statements{{Offer: "o-public"}}, nil, partner.PublicListing, "", "", ""},
		"a private offer is a route and no partner":      {statements{{Offer: "o-1", Private: true}}, nil, partner.PrivateOffer, "", "", ""},
		"an offer made for a partner tags it":            {statements{{Offer: "o-hawk", Private: true}}, nil, partner.PrivateOffer, hawk, partner.ByOffer, "o-hawk"},
		"a known reseller is route and source":           {statements{{Reseller: "r-owl"}}, nil, partner.Reseller, owl, partner.ByReseller, "r-owl"},
		"an unknown reseller is only the route":          {statements{{Reseller: "r-1"}}, nil, partner.Reseller, "", "", ""},
		"a reseller's private offer is the reseller's":   {statements{{Offer: "o-hawk", Private: true, Reseller: "r-owl"}}, nil, partner.Reseller, owl, partner.ByReseller, "r-owl"},
		"a link tags":                                    {nil, touches{link(owl, -5)}, partner.PublicListing, owl, partner.ByLink, "lnk_of_prt_owl"},
		"what the marketplace says beats a link":         {statements{{Offer: "o-hawk"}}, touches{link(owl, -5)}, partner.PublicListing, hawk, partner.ByOffer, "o-hawk"},
		"a link beats what the buyer says":               {nil, touches{answer("hawk networks", -9), link(owl, -5)}, partner.PublicListing, owl, partner.ByLink, "lnk_of_prt_owl"},
		"of two links the first counts":                  {nil, touches{link(owl, -5), link(hawk, -7)}, partner.PublicListing, hawk, partner.ByLink, "lnk_of_prt_hawk"},
		"the buyer's word tags when nothing else does":   {nil, touches{answer("HAWK networks!", 3)}, partner.PublicListing, hawk, partner.BySaid, "clm_1"},
		"a name nobody has tags nobody":                  {nil, touches{answer("a friend", 3)}, partner.PublicListing, "", "", ""},
		"a link followed after the purchase is too late": {nil, touches{link(owl, 24*60)}, partner.PublicListing, "", "", ""},
		"a start that is only a date hides no link":      {nil, touches{link(owl, 24*60-1)}, partner.PublicListing, owl, partner.ByLink, "lnk_of_prt_owl"},
		"a link of a partner who is not there":           {nil, touches{link("prt_gone", -5)}, partner.PublicListing, "", "", ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := partner.Attribute(partner.Customer{ID: "cus_1", Marketplace: "aws", Purchases: []partner.Purchase{
				{ID: "sub_1", VendorID: "p-1", StartsAt: t0, CreatedAt: t0, Statements: c.said, Touches: c.touched},
				// What comes with a later purchase did not bring the customer.
				{ID: "sub_0", VendorID: "p-0", StartsAt: at(1), Statements: statements{{Reseller: "r-hawk", Private: true}}, Touches: touches{link(hawk, -60)}},
			}}, partner.BookOf(everyone))
			if got.Route != c.route || got.Source.Partner != c.source || got.Source.Evidence.Kind != c.by || got.Source.Evidence.Ref != c.ref {
				t.Fatalf("%s by %q (%+v), want %s by %q (%s %s)", got.Route, got.Source.Partner, got.Source.Evidence, c.route, c.source, c.by, c.ref)
			}
		})
	}
}

func TestAKeyIsOneMarketplaces(t *testing.T) {
	t.Parallel()
	c := partner.Customer{Marketplace: "gcp", Purchases: []partner.Purchase{{ID: "sub_1", StartsAt: t0, Statements: []partner.Statement{{Reseller: "r-hawk"}}}}}
	if got := partner.Attribute(c, partner.BookOf(everyone)); got.Source.Partner != owl {
		t.Errorf("tagged with %s: the key of another marketplace counted", got.Source.Partner)
	}
}

func TestWhatNamesNobodyIsShown(t *testing.T) {
	t.Parallel()
	c := partner.Customer{Marketplace: "aws", Purchases: []partner.Purchase{{ID: "sub_1", StartsAt: t0, Statements: []partner.Statement{{Reseller: "r-1", At: t0}}, Touches: []partner.Touch{answer("a friend", 3)}}}}
	var refs []string
	for _, e := range partner.Attribute(c, partner.BookOf(everyone)).Unknown {
		refs = append(refs, e.Ref)
	}
	if diff := cmp.Diff([]string{"r-1", "clm_1"}, refs); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestThePurchaseThatBeganFirstDecides(t *testing.T) {
	t.Parallel()
	never := partner.Purchase{ID: "sub_0", CreatedAt: at(-9), Statements: []partner.Statement{{Reseller: "r-hawk"}}}
	first := partner.Purchase{ID: "sub_2", StartsAt: at(1), CreatedAt: at(5), Statements: []partner.Statement{{Reseller: "r-owl"}}}
	later := partner.Purchase{ID: "sub_1", StartsAt: at(2), CreatedAt: at(4)}
	for _, order := range [][]partner.Purchase{{never, first, later}, {later, first, never}, {first, never, later}} {
		if got := partner.Attribute(partner.Customer{Marketplace: "aws", Purchases: order}, partner.BookOf(everyone)); got.Source.Partner != owl || got.Purchases[0].ID != "sub_2" {
			t.Errorf("%s decided: %+v", got.Purchases[0].ID, got.Source)
		}
	}
	if got := partner.Attribute(partner.Customer{}, partner.BookOf(nil)); got.Route != "" {
		t.Errorf("without a purchase the route is %s", got.Route)
	}
}

// drawCustomer draws any evidence, of partners that are there and not.
func drawCustomer(t *rapid.T) partner.Customer {
	minute := rapid.IntRange(-3, 3)
	c := partner.Customer{ID: id.Customer(fmt.Sprint("cus_", rapid.IntRange(0, 9).Draw(t, "customer"))), Marketplace: rapid.SampledFrom([]string{"aws", "gcp"}).Draw(t, "marketplace")}
	for n := range rapid.IntRange(0, 3).Draw(t, "purchases") {
		p := partner.Purchase{ID: id.Subscription(fmt.Sprint(c.ID, "_sub_", n)), VendorID: fmt.Sprint("p-", n), CreatedAt: at(minute.Draw(t, "created"))}
		if rapid.Bool().Draw(t, "began") {
			p.StartsAt = at(minute.Draw(t, "starts"))
		}
		for range rapid.IntRange(0, 3).Draw(t, "statements") {
			p.Statements = append(p.Statements, partner.Statement{
				Offer: rapid.SampledFrom([]string{"", "o-hawk", "o-1"}).Draw(t, "offer"), Private: rapid.Bool().Draw(t, "private"),
				Reseller: rapid.SampledFrom([]string{"", "r-hawk", "r-owl", "r-1"}).Draw(t, "reseller"), At: at(minute.Draw(t, "said")),
			})
		}
		for range rapid.IntRange(0, 3).Draw(t, "touches") {
			if who := rapid.SampledFrom([]id.Partner{"", hawk, owl, "prt_gone"}).Draw(t, "link"); who != "" {
				p.Touches = append(p.Touches, link(who, minute.Draw(t, "followed")))
				continue
			}
			p.Touches = append(p.Touches, answer(rapid.SampledFrom([]string{"owl", "Hawk Networks", "nobody", "…"}).Draw(t, "words"), minute.Draw(t, "answered")))
		}
		c.Purchases = append(c.Purchases, p)
	}
	return c
}

func shuffled[T any](r *rand.Rand, of []T) []T {
	out := append(slices.Clone(of), of...) // each twice
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

func TestOrderAndRepetitionOfEvidenceDoNotMatter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c, r := drawCustomer(t), rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		want := partner.Attribute(c, partner.BookOf(everyone))
		again := c
		again.Purchases = slices.Clone(c.Purchases)
		r.Shuffle(len(again.Purchases), func(i, j int) {
			again.Purchases[i], again.Purchases[j] = again.Purchases[j], again.Purchases[i]
		})
		for i, p := range again.Purchases {
			again.Purchases[i].Statements, again.Purchases[i].Touches = shuffled(r, p.Statements), shuffled(r, p.Touches)
		}
		got := partner.Attribute(again, partner.BookOf(everyone))
		want.Purchases, got.Purchases = nil, nil
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("another order, another tag (-first +again)\n%s", diff)
		}
	})
}

// Every tag names its evidence, and the evidence is in what was given.
func TestNoTagWithoutEvidence(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := drawCustomer(t)
		got := partner.Attribute(c, partner.BookOf(everyone))
		if len(c.Purchases) > 0 && (got.Route == "" || got.RouteEvidence.Text == "") {
			t.Fatalf("route %q by %+v", got.Route, got.RouteEvidence)
		}
		for _, credit := range append([]partner.Credit{got.Source}, got.Others...) {
			if credit.Partner == "" {
				continue
			}
			e := credit.Evidence
			if e.Text == "" || e.Ref == "" || credit.Rank == partner.RankNone || !strings.Contains(e.Text, e.Ref) {
				t.Fatalf("%s is credited by %+v", credit.Partner, e)
			}
			if credit.Rank < got.Source.Rank {
				t.Fatalf("%s has better evidence than the source", credit.Partner)
			}
		}
	})
}

// The buyer's word never takes a tag from evidence, whatever it is.
func TestTheBuyersWordIsTheLowestRank(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := drawCustomer(t)
		if len(c.Purchases) == 0 {
			return
		}
		before := partner.Attribute(c, partner.BookOf(everyone))
		for i := range c.Purchases {
			c.Purchases[i].Touches = append(slices.Clone(c.Purchases[i].Touches), answer("owl", -99))
		}
		after := partner.Attribute(c, partner.BookOf(everyone))
		if before.Source.Rank != partner.RankNone && before.Source.Rank != partner.RankSaid && before.Source.Partner != after.Source.Partner {
			t.Fatalf("a word moved the tag from %s to %s", before.Source.Partner, after.Source.Partner)
		}
		if after.Route != before.Route {
			t.Fatalf("a word changed the route from %s to %s", before.Route, after.Route)
		}
	})
}
