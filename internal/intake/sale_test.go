package intake_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/partner"
)

// said is what is kept of how the world's one purchase was sold.
func (w *world) said() []partner.Statement {
	w.t.Helper()
	all, err := w.s.ListEvidence(w.t.Context(), "", 10)
	if err != nil || len(all) != 1 || len(all[0].Purchases) != 1 {
		w.t.Fatalf("%d customers: %v", len(all), err)
	}
	return all[0].Purchases[0].Statements
}

// Who sold a purchase may be said before anybody knows the purchase, with it, or
// only when the marketplace is asked.
func TestWhatIsSaidOfASaleIsKept(t *testing.T) {
	at := func(minute int) time.Time { return t0.Add(time.Duration(minute) * time.Minute) }
	sold := func(e marketplace.Event, offer, reseller string) marketplace.Event {
		e.Reseller = reseller
		if offer != "" {
			e.Terms = &marketplace.Terms{Offer: offer}
		}
		return e
	}
	cases := map[string]struct {
		do   func(t *testing.T, w *world)
		want []partner.Statement
	}{
		"nothing is said": {
			func(_ *testing.T, w *world) {
				w.accept(message{ID: "m1", Events: []marketplace.Event{event(marketplace.Entitled, 1)}})
			}, nil,
		},
		"by the purchase's own message, twice": {
			func(_ *testing.T, w *world) {
				m := message{ID: "m1", Events: []marketplace.Event{sold(event(marketplace.Entitled, 1), "offer-1", "4444")}}
				w.accept(m)
				w.accept(m)
			},
			[]partner.Statement{{Offer: "offer-1", Reseller: "4444", At: at(1), Message: "m1"}},
		},
		"by an agreement whose purchase is told later": {
			func(_ *testing.T, w *world) {
				w.accept(message{ID: "m1", Events: []marketplace.Event{sold(agreementOnly(marketplace.PurchaseSeen, 1, agreement), "offer-1", "4444")}})
				w.accept(message{ID: "m2", Events: []marketplace.Event{event(marketplace.Entitled, 2)}})
			},
			[]partner.Statement{{Offer: "offer-1", Reseller: "4444", At: at(1), Message: "m1"}},
		},
		"of an offer before anybody bought it": {
			func(_ *testing.T, w *world) {
				offered := marketplace.Event{Kind: marketplace.Noted, At: at(0), Version: at(0), Reseller: "4444", Terms: &marketplace.Terms{Offer: "offer-1", Private: true}}
				w.accept(message{ID: "m1", Events: []marketplace.Event{offered}})
				offered.Terms = &marketplace.Terms{Offer: "offer-2"}
				w.accept(message{ID: "m2", Events: []marketplace.Event{offered}})
				w.accept(message{ID: "m3", Events: []marketplace.Event{sold(event(marketplace.Entitled, 3), "offer-1", "")}})
			},
			[]partner.Statement{{Offer: "offer-1", At: at(3), Message: "m3"}, {Offer: "offer-1", Private: true, Reseller: "4444", At: at(0), Message: "m1"}},
		},
		"by an answer to our question that changes nothing else": {
			func(t *testing.T, w *world) {
				w.accept(message{ID: "m1", Events: []marketplace.Event{event(marketplace.Entitled, 1)}})
				for minute, reseller := range []string{"", "4444", "4444"} {
					seen := sold(event(marketplace.Observed, 2), "", reseller)
					seen.Observed = &marketplace.Observation{Entitled: true, StartsAt: at(1)}
					w.aws.set(license, seen)
					if _, err := w.in.Refresh(t.Context(), "aws|licence|"+license); err != nil {
						t.Fatal(minute, err)
					}
				}
			},
			[]partner.Statement{{Reseller: "4444", At: at(2)}},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				c.do(t, w)
				if diff := cmp.Diff(c.want, w.said()); diff != "" {
					t.Errorf("(-want +got)\n%s", diff)
				}
			})
		})
	}
}

// A name that no index takes must wait for a person, and not come back for ever.
func TestAnOfferThatCannotBeKeptWaits(t *testing.T) {
	each(t, func(_ *testing.T, w *world) {
		w.accept(message{ID: "m1", Events: []marketplace.Event{{Kind: marketplace.Noted, Terms: &marketplace.Terms{Offer: strings.Repeat("x", 300)}}}})
		if got := w.counts(); got.Quarantined != 1 {
			w.t.Errorf("%+v", got)
		}
	})
}
