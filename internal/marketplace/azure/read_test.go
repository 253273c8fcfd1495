package azure_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// read reads the one purchase.
func read(t *testing.T, o *office) marketplace.Event {
	t.Helper()
	events, err := o.adapter().Purchase(t.Context(), marketplace.Ref{Purchase: sub})
	if err != nil || len(events) != 1 {
		t.Fatalf("%d events, error %v", len(events), err)
	}
	return events[0]
}

func TestWhatIsTrueOfASubscription(t *testing.T) {
	t.Parallel()
	type object = map[string]any
	date := func(m time.Month, d int) time.Time { return time.Date(2026, m, d, 0, 0, 0, 0, time.UTC) }
	changed := time.Date(2026, 11, 1, 19, 48, 6, 75464900, time.UTC)
	plain := marketplace.Event{
		Kind: marketplace.Observed, Ref: marketplace.Ref{Purchase: sub, Account: buyer, Product: product}, At: changed, Version: changed, Reason: "Subscribed",
		Terms:    &marketplace.Terms{Plan: "starter", Offer: "tailnet-offer", From: date(11, 1), To: date(12, 1)},
		Observed: &marketplace.Observation{Entitled: true, StartsAt: date(11, 1)},
	}
	public := object{"plans": []any{object{"planId": "starter", "isPrivate": false}, object{"planId": "gold", "isPrivate": true, "sourceOffers": []any{object{"externalId": "other"}}}}}
	for _, c := range []struct {
		why   string
		sub   object
		plans any // nil: an empty 200
		edit  func(*marketplace.Event)
	}{
		{why: "in force", sub: subscription, plans: public},
		{why: "a plan that is not sold any more", sub: subscription},
		{
			why: "bought and not activated", sub: with(subscription, object{"saasSubscriptionStatus": "PendingFulfillmentStart", "term": object{"termUnit": "P1M"}, "autoRenew": nil}),
			edit: func(e *marketplace.Event) {
				e.Reason, e.Terms.From, e.Terms.To = "PendingFulfillmentStart", time.Time{}, time.Time{}
				*e.Observed = marketplace.Observation{Awaits: marketplace.Activate, StartsAt: time.Date(2026, 5, 10, 7, 3, 17, 509844400, time.UTC)}
			},
		},
		{why: "suspended", sub: with(subscription, object{"saasSubscriptionStatus": " Suspended "}), edit: func(e *marketplace.Event) {
			e.Reason, *e.Observed = "Suspended", marketplace.Observation{Suspended: true, StartsAt: date(11, 1)}
		}},
		{why: "over", sub: with(subscription, object{"saasSubscriptionStatus": "Unsubscribed"}), edit: func(e *marketplace.Event) {
			e.Reason, *e.Observed = "Unsubscribed", marketplace.Observation{Ended: true, StartsAt: date(11, 1), EndsAt: changed}
		}},
		{why: "not renewed", sub: with(subscription, object{"autoRenew": false}), edit: func(e *marketplace.Event) { e.Observed.EndsAt = date(12, 1) }},
		{why: "a word nobody knows", sub: with(subscription, object{"saasSubscriptionStatus": "Frozen"}), edit: func(e *marketplace.Event) {
			e.Reason, *e.Observed = "Frozen", marketplace.Observation{StartsAt: date(11, 1)}
		}},
		{why: "seats in a string", sub: with(subscription, object{"quantity": "20"}), edit: func(e *marketplace.Event) { e.Terms.Quantities = map[string]int64{"seat": 20} }},
		{why: "no quantity", sub: with(subscription, object{"quantity": nil})},
		{why: "ids in capitals", sub: with(subscription, object{"id": strings.ToUpper(sub), "offerId": "Tailnet-Offer"}), edit: func(e *marketplace.Event) { e.Terms.Offer = "Tailnet-Offer" }},
		{
			why: "times without a zone, a date alone", sub: with(subscription, object{"lastModified": "2026-11-01T19:48:06.0754649", "term": object{"startDate": "2026-11-01", "endDate": "2026-11-30", "termUnit": "P18M"}}),
		},
		{why: "begun in the course of the term's first day", sub: with(subscription, object{"created": "2026-11-01T08:00:00Z"}), edit: func(e *marketplace.Event) {
			e.Observed.StartsAt = date(11, 1).Add(8 * time.Hour)
		}},
		{why: "never changed: as new as our question", sub: with(subscription, object{"lastModified": "0001-01-01T00:00:00"}), edit: func(e *marketplace.Event) { e.At, e.Version = now, now }},
		{
			why: "over, and nobody knows since when", sub: with(subscription, object{"lastModified": "0001-01-01T00:00:00", "saasSubscriptionStatus": "Unsubscribed", "term": object{"startDate": "2026-10-01", "endDate": "2026-10-31"}}),
			edit: func(e *marketplace.Event) {
				e.At, e.Version, e.Reason, e.Terms.From, e.Terms.To = now, now, "Unsubscribed", date(10, 1), date(11, 1)
				*e.Observed = marketplace.Observation{Ended: true, StartsAt: date(10, 1), EndsAt: date(11, 1)}
			},
		},
		{
			why: "a reseller bought", sub: with(subscription, object{"purchaser": object{"tenantId": reseller, "objectId": "bb"}}), plans: public,
			edit: func(e *marketplace.Event) { e.Payer, e.Reseller = reseller, reseller },
		},
		{why: "a private plan", sub: with(subscription, object{"planId": "gold"}), plans: object{"plans": []any{object{"planId": "gold", "isPrivate": true}}}, edit: func(e *marketplace.Event) {
			e.Terms.Plan, e.Terms.Private = "gold", true
		}},
		{why: "a private offer", sub: with(subscription, object{"planId": "gold"}), plans: public, edit: func(e *marketplace.Event) {
			e.Terms.Plan, e.Terms.Private, e.Terms.Offer = "gold", true, "other"
		}},
	} {
		t.Run(c.why, func(t *testing.T) {
			t.Parallel()
			o := open(t)
			o.answer("GET "+onSub, http.StatusOK, c.sub)
			o.answer("GET "+onSub+"/listAvailablePlans", http.StatusOK, "")
			if c.plans != nil {
				o.answer("GET "+onSub+"/listAvailablePlans", http.StatusOK, c.plans)
			}
			want := plain
			terms, seen := *plain.Terms, *plain.Observed
			want.Terms, want.Observed = &terms, &seen
			if c.edit != nil {
				c.edit(&want)
			}
			if diff := cmp.Diff(want, read(t, o)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestPagesAreFollowedByTheirToken(t *testing.T) {
	t.Parallel()
	o := open(t)
	o.handle("GET /api/saas/subscriptions", func(w http.ResponseWriter, r *http.Request) {
		one := func(i int) string {
			id := fmt.Sprintf("45f30000-0000-4000-8000-00000000000%d", i)
			return fmt.Sprintf(`{"id":%q,"offerId":"tailnet-offer","planId":"starter","beneficiary":{"tenantId":%q},"saasSubscriptionStatus":"Unsubscribed","lastModified":"2026-11-0%dT00:00:00"}`, id, buyer, i)
		}
		next := func(token string) string {
			return `,"@nextLink":"https://https://elsewhere.example/x?api-version=9&continuationToken=` + token + `"`
		}
		switch token := r.URL.Query().Get("continuationToken"); token {
		case "":
			_, _ = fmt.Fprintf(w, `{"subscriptions":[%s,{"id":"45F30000-0000-4000-8000-000000000009","quantity":"many","offerId":"tailnet-offer"}]%s}`, one(1), next("a%2Bb"))
		case "a+b":
			_, _ = fmt.Fprintf(w, `{"subscriptions":[]%s}`, next("c"))
		case "c":
			_, _ = fmt.Fprintf(w, `{"subscriptions":[%s,{"id":"y","offerId":"another"}]%s}`, one(2), next("d"))
		case "d":
			w.WriteHeader(http.StatusOK) // an empty 200 is an empty page
		default:
			t.Errorf("continuation token %q", token)
		}
	})
	a := o.adapter()
	var unread []marketplace.Ref
	list := func(since time.Time) (out []string) {
		t.Helper()
		err := a.Purchases(t.Context(), marketplace.Mark{Since: since}, func(page marketplace.Page) error {
			unread = append(unread, page.Unread...)
			for _, e := range page.Events {
				out = append(out, e.Ref.Purchase[len(e.Ref.Purchase)-1:])
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if got := list(time.Time{}); strings.Join(got, " ") != "1 2" {
		t.Errorf("read %q, want 1 2", got)
	}
	if diff := cmp.Diff([]marketplace.Ref{{Purchase: "45f30000-0000-4000-8000-000000000009"}}, unread); diff != "" {
		t.Errorf("not read (-want +got):\n%s", diff)
	}
	if got := list(time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC)); strings.Join(got, " ") != "2" {
		t.Errorf("changed since: %q, want 2", got)
	}

	err := a.Purchases(t.Context(), marketplace.Mark{Next: "c"}, func(page marketplace.Page) error {
		if len(page.Unread) != 0 || len(page.Events) > 1 {
			t.Errorf("from the third page: %+v", page)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}

	for why, link := range map[string]string{"a circle": "/x?continuationToken=z", "no token": "/x?page=2"} {
		o.answer("GET /api/saas/subscriptions", http.StatusOK, map[string]any{"subscriptions": []any{}, "@nextLink": link})
		if err := a.Purchases(t.Context(), marketplace.Mark{}, func(marketplace.Page) error { return nil }); !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s: error %v, want unavailable, not an end", why, err)
		}
	}
}

func TestReadingWhatIsNotThere(t *testing.T) {
	t.Parallel()
	o := open(t)
	a := o.adapter()
	for _, ref := range []marketplace.Ref{{Purchase: sub}, {Purchase: "../operations"}, {Purchase: "arn:aws:license"}} {
		if events, err := a.Purchase(t.Context(), ref); err != nil || len(events) > 0 {
			t.Errorf("%+v: %d events, error %v", ref, len(events), err)
		}
	}
	if n := o.count(""); n != 1 {
		t.Errorf("%d calls, want one for the name that can exist", n)
	}
	if _, err := a.Purchase(t.Context(), marketplace.Ref{Agreement: "x"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("by agreement: %v, want invalid", err)
	}
	for status, class := range map[int]fault.Class{403: fault.Unavailable, 500: fault.Unavailable, 429: fault.Throttled, 400: fault.Unavailable} {
		o.answer("GET "+onSub, status, "")
		if _, err := a.Purchase(t.Context(), marketplace.Ref{Purchase: sub}); !fault.Is(err, class) {
			t.Errorf("%d: error %v, want %s", status, err, class)
		}
	}
}

func TestTokensOfTheLandingPage(t *testing.T) {
	t.Parallel()
	o := open(t)
	a := o.adapter()
	const token = "ab+cd/ef==~%2B"
	resolved := map[string]any{"id": sub, "subscriptionName": "Acme tailnet", "offerId": "tailnet-offer", "planId": "starter", "quantity": "", "subscription": with(subscription, map[string]any{"isFreeTrial": true})}
	o.handle("POST /api/saas/subscriptions/resolve", func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("X-Ms-Marketplace-Token"); got != token || r.ContentLength > 0 {
			t.Errorf("token %q and a body of %d bytes; want it as it is, and none", got, r.ContentLength)
		}
		o.say(turn{200, resolved})(w, r)
	})
	got, err := a.Resolve(t.Context(), marketplace.Token{Value: token})
	if err != nil {
		t.Fatal(err)
	}
	want := marketplace.Arrival{
		Account: buyer, Purchases: []marketplace.Ref{{Purchase: sub, Account: buyer, Product: product}}, Trial: true, Buyers: []string{buyer + "/aa"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	resolved["subscription"] = with(subscription, map[string]any{"purchaser": map[string]any{"tenantId": reseller, "objectId": "BB"}})
	if got, err := a.Resolve(t.Context(), marketplace.Token{Value: token}); err != nil || strings.Join(got.Buyers, " ") != buyer+"/aa "+reseller+"/bb" || got.Account != buyer {
		t.Errorf("a reseller's sale: %+v %v; want the beneficiary's account, and both as buyers", got, err)
	}
	resolved["subscription"] = with(subscription, map[string]any{"offerId": "other"})
	if _, err := a.Resolve(t.Context(), marketplace.Token{Value: token}); !fault.Is(err, fault.Denied) {
		t.Errorf("another offer: %v, want denied", err)
	}

	for _, c := range []struct {
		status int
		body   string
		class  fault.Class
	}{
		{400, `{"code":"BadArgument","message":"Invalid marketplace token ` + token + `"}`, fault.Invalid},
		{400, `{"message":"The marketplace token is malformed or expired."}`, fault.Invalid},
		{404, "", fault.Invalid},
		{403, `"The token belongs to another app"`, fault.Unavailable},
		{429, "", fault.Throttled},
		{500, "", fault.Unavailable},
		{200, "<html>", fault.Unavailable},
		{200, `{"id":"` + sub + `","offerId":"tailnet-offer"}`, fault.Unavailable},
	} {
		o.answer("POST /api/saas/subscriptions/resolve", c.status, c.body)
		_, err := a.Resolve(t.Context(), marketplace.Token{Value: token})
		f, ok := errors.AsType[*fault.Error](err)
		if !ok || f.Class != c.class || f.Public == "" {
			t.Errorf("%d %s: error %v, want %s with a text", c.status, c.body, err, c.class)
		}
		if err != nil && strings.Contains(err.Error(), token) {
			t.Errorf("the error repeats the token: %v", err)
		}
	}
	before := o.count("")
	for _, bad := range []string{"", "with blank", "with\nline", strings.Repeat("x", 17<<10), "ümlaut"} {
		if _, err := a.Resolve(t.Context(), marketplace.Token{Value: bad}); !fault.Is(err, fault.Invalid) {
			t.Errorf("token %.20q: %v, want invalid", bad, err)
		}
	}
	if n := o.count("") - before; n != 0 {
		t.Errorf("%d calls for what cannot be a token", n)
	}
}
