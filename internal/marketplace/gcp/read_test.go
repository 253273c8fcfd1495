package gcp_test

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// entity is an entitlement in force, with some of it changed; nil leaves a field out.
func entity(change map[string]any) string {
	e := map[string]any{
		"name": "providers/" + provider + "/entitlements/" + entitlement, "account": "providers/" + provider + "/accounts/" + account, "provider": provider,
		"product": "deprecated", "productExternalName": service, "plan": "standard", "offer": "projects/500000000001/services/" + service + "/standardOffers/list",
		"offerEndTime": "2027-11-20T09:15:03Z", "state": "ENTITLEMENT_ACTIVE", "usageReportingId": consumer, "orderId": "order-1",
		"createTime": "2026-11-20T09:00:00.120394Z", "updateTime": "2026-11-20T09:15:03.4Z",
	}
	maps.Copy(e, change)
	maps.DeleteFunc(e, func(_ string, v any) bool { return v == nil })
	return text(e)
}

func instant(text string) time.Time {
	if text == "" {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return at.UTC()
}

// TestReadStates is the table of what an entitlement says in each state.
func TestReadStates(t *testing.T) {
	t.Parallel()
	const (
		list    = "projects/500000000001/services/" + service + "/standardOffers/list"
		private = "projects/500000000001/services/service.endpoints.private-x.cloud.goog/privateOffers/0a11"
		created = "2026-11-20T09:00:00.120394Z"
		updated = "2026-11-20T09:15:03.4Z"
		end     = "2027-11-20T09:15:03Z"
		starts  = "2026-12-01T08:00:00Z"
	)
	cases := []struct {
		name   string
		change map[string]any
		terms  marketplace.Terms
		want   marketplace.Observation
		reason string
		silent bool // metering is not told whom to name
	}{
		{
			"ordered",
			map[string]any{"state": "ENTITLEMENT_ACTIVATION_REQUESTED", "offerEndTime": nil, "usageReportingId": nil},
			marketplace.Terms{Plan: "standard", Offer: list},
			marketplace.Observation{StartsAt: instant(created), Awaits: marketplace.Approve},
			"ACTIVATION_REQUESTED", true,
		},
		{
			"approved, begins later",
			map[string]any{"state": "ENTITLEMENT_ACTIVATION_REQUESTED", "offer": private, "newOfferStartTime": starts, "usageReportingId": nil},
			marketplace.Terms{Plan: "standard", Offer: private, Private: true, From: instant(starts), To: instant(end)},
			marketplace.Observation{StartsAt: instant(starts)},
			"ACTIVATION_REQUESTED", true,
		},
		{
			"in service, renews", nil,
			marketplace.Terms{Plan: "standard", Offer: list, To: instant(end)},
			marketplace.Observation{Entitled: true, StartsAt: instant(updated)},
			"ACTIVE", false,
		},
		{
			"in service, until its subscription ends",
			map[string]any{"subscriptionEndTime": "2028-11-20T08:00:00Z"},
			marketplace.Terms{Plan: "standard", Offer: list, To: instant(end)},
			marketplace.Observation{Entitled: true, StartsAt: instant(updated), EndsAt: instant("2028-11-20T08:00:00Z")},
			"ACTIVE", false,
		},
		{
			"in service, at list price after its private offer",
			map[string]any{"offerEndTime": "2026-11-01T07:00:00Z"},
			marketplace.Terms{Plan: "standard", Offer: list, To: instant("2026-11-01T07:00:00Z")},
			marketplace.Observation{Entitled: true, StartsAt: instant(updated)},
			"ACTIVE", false,
		},
		{
			"ends at the end of its term",
			map[string]any{"state": "ENTITLEMENT_PENDING_CANCELLATION"},
			marketplace.Terms{Plan: "standard", Offer: list, To: instant(end)},
			marketplace.Observation{Entitled: true, StartsAt: instant(updated), EndsAt: instant(end)},
			"PENDING_CANCELLATION", false,
		},
		{
			"a change waits for us",
			map[string]any{
				"state": "ENTITLEMENT_PENDING_PLAN_CHANGE_APPROVAL", "newPendingPlan": "enterprise", "newPendingOffer": private, "newOfferEndTime": "2028-12-01T08:00:00Z",
			},
			marketplace.Terms{Plan: "standard", Offer: list, To: instant(end)},
			marketplace.Observation{
				Entitled: true, StartsAt: instant(updated), Awaits: marketplace.ApproveChange,
				Change: &marketplace.Terms{Plan: "enterprise", Offer: private, Private: true, To: instant("2028-12-01T08:00:00Z")},
			},
			"PENDING_PLAN_CHANGE_APPROVAL", false,
		},
		{
			"a change of offer alone",
			map[string]any{"state": "ENTITLEMENT_PENDING_PLAN_CHANGE_APPROVAL", "newPendingOffer": private},
			marketplace.Terms{Plan: "standard", Offer: list, To: instant(end)},
			marketplace.Observation{Entitled: true, StartsAt: instant(updated), Awaits: marketplace.ApproveChange, Change: &marketplace.Terms{Plan: "standard", Offer: private, Private: true}},
			"PENDING_PLAN_CHANGE_APPROVAL", false,
		},
		{
			"a change is agreed",
			map[string]any{"state": "ENTITLEMENT_PENDING_PLAN_CHANGE", "newPendingPlan": "enterprise", "newOfferStartTime": starts},
			marketplace.Terms{Plan: "standard", Offer: list, To: instant(end)},
			marketplace.Observation{Entitled: true, StartsAt: instant(updated), Change: &marketplace.Terms{Plan: "enterprise", Offer: list, From: instant(starts)}},
			"PENDING_PLAN_CHANGE", false,
		},
		{
			"over, at its end",
			map[string]any{"state": "ENTITLEMENT_CANCELLED", "offerEndTime": "2026-11-20T09:00:00Z", "cancellationReason": "user-cancelled"},
			marketplace.Terms{Plan: "standard", Offer: list, To: instant("2026-11-20T09:00:00Z")},
			marketplace.Observation{Ended: true, StartsAt: instant(created), EndsAt: instant("2026-11-20T09:00:00Z")},
			"user-cancelled", false,
		},
		{
			"over, before its end",
			map[string]any{"state": "ENTITLEMENT_CANCELLED"},
			marketplace.Terms{Plan: "standard", Offer: list, To: instant(end)},
			marketplace.Observation{Ended: true, StartsAt: instant(created), EndsAt: instant(updated)},
			"CANCELLED", false,
		},
		{
			"over, never begun",
			map[string]any{"state": "ENTITLEMENT_CANCELLED", "offerEndTime": nil, "cancellationReason": "a-new-word"},
			marketplace.Terms{Plan: "standard", Offer: list},
			marketplace.Observation{Ended: true, StartsAt: instant(created), EndsAt: instant(updated)},
			"a-new-word", false,
		},
		{
			"suspended",
			map[string]any{"state": "ENTITLEMENT_SUSPENDED"},
			marketplace.Terms{Plan: "standard", Offer: list, To: instant(end)},
			marketplace.Observation{Suspended: true, StartsAt: instant(created)},
			"SUSPENDED", false,
		},
		{
			"a state nobody knows says nothing",
			map[string]any{"state": "ENTITLEMENT_ENCHANTED"},
			marketplace.Terms{Plan: "standard", Offer: list, To: instant(end)},
			marketplace.Observation{StartsAt: instant(created)},
			"ENCHANTED", false,
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := open(t)
			a := g.adapter(t)
			g.does(func(w http.ResponseWriter, r *http.Request, _ []byte) {
				if strings.Contains(r.URL.Path, "/accounts/") {
					answer(w, 200, `{"resellerParentBillingAccount":"billingAccounts/00AA-11BB"}`)
					return
				}
				answer(w, 200, entity(c.change))
			})
			got, err := a.Purchase(t.Context(), marketplace.Ref{Purchase: entitlement})
			if err != nil || len(got) != 1 {
				t.Fatalf("%+v %v", got, err)
			}
			want := marketplace.Event{
				Kind: marketplace.Observed, Ref: marketplace.Ref{Purchase: entitlement, Account: account, Product: product}, At: instant(updated), Version: instant(updated),
				Reason: c.reason, Consumer: consumer, Reseller: "billingAccounts/00AA-11BB", Terms: &c.terms, Observed: &c.want,
			}
			if c.silent {
				want.Consumer = ""
			}
			if diff := cmp.Diff(want, got[0]); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			calls := []asked{{"GET", "/v1/" + named(entitlement), "", ""}, {"GET", "/v1/providers/" + provider + "/accounts/" + account, "view=ACCOUNT_VIEW_FULL", ""}}
			if diff := cmp.Diff(calls, g.calls()); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

// TestReadOne: what cannot be told is told apart from what is not there.
func TestReadOne(t *testing.T) {
	t.Parallel()
	g := open(t)
	a := g.adapter(t)
	ref := marketplace.Ref{Purchase: entitlement}
	for name, c := range map[string]struct {
		entitlement, account int
		change               map[string]any
		events               int
		class                fault.Class
	}{
		"no reseller can be read": {200, 403, nil, 1, ""},
		"the account is gone":     {200, 404, nil, 1, ""},
		"forgotten":               {404, 0, nil, 0, ""},
		"another product's":       {200, 0, map[string]any{"productExternalName": "another.endpoints.tailvendor-public.cloud.goog"}, 0, ""},
		"over quota":              {429, 0, nil, 0, fault.Throttled},
		"not linked":              {403, 0, nil, 0, fault.Unavailable},
		"trouble":                 {500, 0, nil, 0, fault.Unavailable},
		"no update time":          {200, 0, map[string]any{"updateTime": nil}, 0, fault.Unavailable},
		"a time that is none":     {200, 0, map[string]any{"offerEndTime": "tomorrow"}, 0, fault.Unavailable},
	} {
		g.does(func(w http.ResponseWriter, r *http.Request, _ []byte) {
			status, body := c.entitlement, entity(c.change)
			if strings.Contains(r.URL.Path, "/accounts/") {
				status, body = c.account, `{}`
			}
			if status != 200 {
				body = refusal(status, "X")
			}
			answer(w, status, body)
		})
		got, err := a.Purchase(t.Context(), ref)
		if len(got) != c.events || fault.ClassOf(err) != c.class || (err != nil) != (c.class != "") {
			t.Errorf("%s: %d events, error %v of class %q", name, len(got), err, fault.ClassOf(err))
		}
	}
	for _, ref := range []marketplace.Ref{{}, {Agreement: "a"}, {Purchase: "a/b"}, {Purchase: entitlement + ":approve"}, {Account: `x" OR state=active`}} {
		g.says(200, `{}`)
		if _, err := a.Purchase(t.Context(), ref); !fault.Is(err, fault.Invalid) || len(g.calls()) > 0 {
			t.Errorf("%+v: %v after %d calls", ref, err, len(g.calls()))
		}
	}
}

// TestReadAll: every page, also behind an empty one; what is not understood hides nothing.
func TestReadAll(t *testing.T) {
	t.Parallel()
	g := open(t)
	a := g.adapter(t)
	at := func(id, updated string) string {
		return entity(map[string]any{"name": named(id), "updateTime": updated})
	}
	pages := map[string]string{
		"":      `{"entitlements":[` + at("one", "2026-11-20T09:00:00Z") + `,` + at("two", "2026-11-21T09:00:00Z") + `],"nextPageToken":"empty"}`,
		"empty": `{"nextPageToken":"third"}`,
		"third": `{"entitlements":[` + at("three", "") + `,` + at("four", "2026-11-22T09:00:00Z") + `],"nextPageToken":"last"}`,
		"last":  `{"entitlements":[` + entity(map[string]any{"name": named("five"), "productExternalName": "another.endpoints.x.cloud.goog"}) + `,` + at("six", "2026-11-23T09:00:00Z") + `]}`,
	}
	list := func(w http.ResponseWriter, r *http.Request, _ []byte) {
		answer(w, 200, pages[r.URL.Query().Get("pageToken")])
	}
	for since, want := range map[string][]string{"": {"one", "two", "four", "six"}, "2026-11-21T09:00:00Z": {"two", "four", "six"}, "2026-11-24T00:00:00Z": nil} {
		g.does(list)
		var got, unread []string
		err := a.Purchases(t.Context(), marketplace.Mark{Since: instant(since)}, func(page marketplace.Page) error {
			for _, r := range page.Unread {
				unread = append(unread, r.Purchase)
			}
			for _, e := range page.Events {
				got = append(got, e.Ref.Purchase)
			}
			return nil
		})
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("since %q: %v (-want +got):\n%s", since, err, diff)
		}
		if n := len(g.calls()); n != 4 || !slices.Equal(unread, []string{"three"}) {
			t.Errorf("since %q: %d calls, want one a page; not read: %q", since, n, unread)
		}
	}
	g.does(list)
	var rest []string
	err := a.Purchases(t.Context(), marketplace.Mark{Next: "third"}, func(page marketplace.Page) error {
		for _, e := range page.Events {
			rest = append(rest, e.Ref.Purchase+" before "+page.Next)
		}
		return nil
	})
	if diff := cmp.Diff([]string{"four before last", "six before "}, rest); err != nil || diff != "" {
		t.Errorf("from the third page: %v (-want +got):\n%s", err, diff)
	}
	g.does(list)
	stop := errors.New("stop")
	if err := a.Purchases(t.Context(), marketplace.Mark{}, func(marketplace.Page) error { return stop }); !errors.Is(err, stop) || len(g.calls()) != 1 {
		t.Errorf("stopped: %v after %d calls", err, len(g.calls()))
	}
	g.does(func(w http.ResponseWriter, r *http.Request, _ []byte) {
		if r.URL.Query().Get("pageToken") == "" {
			list(w, r, nil)
			return
		}
		answer(w, 503, "")
	})
	if err := a.Purchases(t.Context(), marketplace.Mark{}, func(marketplace.Page) error { return nil }); !fault.Is(err, fault.Unavailable) {
		t.Errorf("trouble on the second page: %v", err)
	}
	g.says(200, `{"entitlements":[`+entity(nil)+`,`+entity(map[string]any{"name": named("anothers"), "account": "providers/p/accounts/somebody"})+`]}`)
	got, err := a.Purchase(t.Context(), marketplace.Ref{Account: account})
	if err != nil || len(got) != 1 || got[0].Ref.Purchase != entitlement {
		t.Errorf("of one account: %+v %v", got, err)
	}
}
