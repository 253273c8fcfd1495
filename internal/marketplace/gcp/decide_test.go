package gcp_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// TestDecideStates is the table of every decision in every state: what becomes of it, and
// whether Google is told.
func TestDecideStates(t *testing.T) {
	t.Parallel()
	const done, pending, late = marketplace.Done, marketplace.Pending, marketplace.TooLate
	type cell struct {
		outcome marketplace.Outcome
		called  bool
	}
	told, no := func(o marketplace.Outcome) cell { return cell{o, true} }, func(o marketplace.Outcome) cell { return cell{o, false} }
	kinds := []marketplace.DecisionKind{marketplace.Approve, marketplace.Reject, marketplace.ApproveChange, marketplace.RejectChange, marketplace.MessageToUser}
	cases := []struct {
		name   string
		change map[string]any // nil: Google does not know it
		want   [5]cell        // in the order of kinds
	}{
		{"ordered", map[string]any{"state": "ENTITLEMENT_ACTIVATION_REQUESTED"}, [5]cell{told(pending), told(done), no(late), no(late), told(done)}},
		{
			"approved, begins later",
			map[string]any{"state": "ENTITLEMENT_ACTIVATION_REQUESTED", "newOfferStartTime": "2026-12-01T08:00:00Z"},
			[5]cell{no(pending), told(done), no(late), no(late), told(done)},
		},
		{
			"approved, its end told",
			map[string]any{"state": "ENTITLEMENT_ACTIVATION_REQUESTED", "offerDuration": "P1M"},
			[5]cell{no(pending), told(done), no(late), no(late), told(done)},
		},
		{"active on the old plan", map[string]any{"plan": "starter"}, [5]cell{no(done), no(late), no(late), no(done), no(late)}},
		{"active on the new plan", map[string]any{"plan": "enterprise"}, [5]cell{no(done), no(late), no(done), no(late), no(late)}},
		{
			"the change waits",
			map[string]any{"state": "ENTITLEMENT_PENDING_PLAN_CHANGE_APPROVAL", "plan": "starter", "newPendingPlan": "enterprise"},
			[5]cell{no(done), no(late), told(pending), told(done), told(done)},
		},
		{
			"another change waits",
			map[string]any{"state": "ENTITLEMENT_PENDING_PLAN_CHANGE_APPROVAL", "plan": "starter", "newPendingPlan": "premium"},
			[5]cell{no(done), no(late), no(late), no(done), told(done)},
		},
		{
			"the change is agreed",
			map[string]any{"state": "ENTITLEMENT_PENDING_PLAN_CHANGE", "plan": "starter", "newPendingPlan": "enterprise"},
			[5]cell{no(done), no(late), no(pending), no(late), no(late)},
		},
		{"about to end", map[string]any{"state": "ENTITLEMENT_PENDING_CANCELLATION", "plan": "starter"}, [5]cell{no(done), no(late), no(late), no(done), no(late)}},
		{"over", map[string]any{"state": "ENTITLEMENT_CANCELLED"}, [5]cell{no(late), no(done), no(late), no(late), no(late)}},
		{"suspended", map[string]any{"state": "ENTITLEMENT_SUSPENDED"}, [5]cell{no(late), no(late), no(late), no(late), no(late)}},
		{"in a state nobody knows", map[string]any{"state": "ENTITLEMENT_ENCHANTED"}, [5]cell{no(late), no(late), no(late), no(late), no(late)}},
		{"forgotten", nil, [5]cell{no(late), no(late), no(late), no(late), no(late)}},
	}
	for _, c := range cases {
		for i, kind := range kinds {
			t.Run(c.name+", "+string(kind), func(t *testing.T) {
				t.Parallel()
				g := open(t)
				a := g.adapter(t)
				g.does(func(w http.ResponseWriter, r *http.Request, _ []byte) {
					switch {
					case r.Method == http.MethodGet && c.change == nil:
						answer(w, 404, refusal(404, "NOT_FOUND"))
					case r.Method == http.MethodGet:
						answer(w, 200, entity(c.change))
					default:
						answer(w, 200, `{}`)
					}
				})
				d := marketplace.Decision{Kind: kind, Ref: marketplace.Ref{Purchase: entitlement, Account: account, Product: product}, Subject: "enterprise", Text: "hello"}
				got, err := a.Decide(t.Context(), d)
				if err != nil || got != c.want[i].outcome {
					t.Errorf("outcome %q, error %v, want %q", got, err, c.want[i].outcome)
				}
				if calls := g.calls(); (len(calls) == 2) != c.want[i].called || len(calls) == 0 || calls[0].Method != http.MethodGet {
					t.Errorf("calls %+v, want Google to be told: %v", calls, c.want[i].called)
				}
			})
		}
	}
}

// TestDecideBodies: what Google is told.
func TestDecideBodies(t *testing.T) {
	t.Parallel()
	ref := marketplace.Ref{Purchase: entitlement, Account: account, Product: product}
	requested := map[string]any{"state": "ENTITLEMENT_ACTIVATION_REQUESTED"}
	changing := map[string]any{"state": "ENTITLEMENT_PENDING_PLAN_CHANGE_APPROVAL", "newPendingPlan": "enterprise-P1Y"}
	path := "/v1/providers/" + provider + "/entitlements/" + entitlement
	cases := []struct {
		name   string
		change map[string]any
		d      marketplace.Decision
		want   asked
	}{
		{"approve", requested, marketplace.Decision{Kind: marketplace.Approve}, asked{"POST", path + ":approve", "", `{}`}},
		{"reject", requested, marketplace.Decision{Kind: marketplace.Reject, Text: "not sold there"}, asked{"POST", path + ":reject", "", `{"reason":"not sold there"}`}},
		{
			"reject at length", requested,
			marketplace.Decision{Kind: marketplace.Reject, Text: strings.Repeat("x", 255) + "äöü"},
			asked{"POST", path + ":reject", "", `{"reason":"` + strings.Repeat("x", 255) + `"}`},
		},
		{"approve a change", changing, marketplace.Decision{Kind: marketplace.ApproveChange, Subject: "enterprise-P1Y"}, asked{"POST", path + ":approvePlanChange", "", `{"pendingPlanName":"enterprise-P1Y"}`}},
		{"approve whichever waits", changing, marketplace.Decision{Kind: marketplace.ApproveChange}, asked{"POST", path + ":approvePlanChange", "", `{"pendingPlanName":"enterprise-P1Y"}`}},
		{
			"reject a change", changing,
			marketplace.Decision{Kind: marketplace.RejectChange, Subject: "enterprise-P1Y", Text: "no"},
			asked{"POST", path + ":rejectPlanChange", "", `{"pendingPlanName":"enterprise-P1Y","reason":"no"}`},
		},
		{"a message", requested, marketplace.Decision{Kind: marketplace.MessageToUser, Text: "nearly there"}, asked{"PATCH", path, "updateMask=messageToUser", `{"messageToUser":"nearly there"}`}},
		{
			"no message",
			map[string]any{"state": "ENTITLEMENT_ACTIVATION_REQUESTED", "messageToUser": "nearly there"},
			marketplace.Decision{Kind: marketplace.MessageToUser},
			asked{"PATCH", path, "updateMask=messageToUser", `{"messageToUser":""}`},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := open(t)
			a := g.adapter(t)
			g.says(200, entity(c.change))
			c.d.Ref = ref
			if _, err := a.Decide(t.Context(), c.d); err != nil {
				t.Fatal(err)
			}
			want := []asked{{"GET", path, "", ""}, c.want}
			if diff := cmp.Diff(want, g.calls()); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

// TestApproveAccount: by its sign-up approval, whatever the account's own state says.
func TestApproveAccount(t *testing.T) {
	t.Parallel()
	path := "/v1/providers/" + provider + "/accounts/" + account
	get, approve := asked{"GET", path, "", ""}, asked{"POST", path + ":approve", "", `{"approvalName":"signup"}`}
	approvals := func(states ...string) string {
		out := []map[string]string{}
		for i, s := range states {
			out = append(out, map[string]string{"name": []string{"signup", "another"}[i], "state": s})
		}
		return text(map[string]any{"name": "providers/" + provider + "/accounts/" + account, "state": "ACCOUNT_ACTIVE", "approvals": out})
	}
	cases := []struct {
		name    string
		account string
		want    marketplace.Outcome
		calls   []asked
	}{
		{"it waits", approvals("PENDING"), marketplace.Done, []asked{get, approve}},
		{"it was approved", approvals("APPROVED"), marketplace.Done, []asked{get}},
		{"it was rejected", approvals("REJECTED"), marketplace.Done, []asked{get, approve}},
		{"another approval was given", approvals("PENDING", "APPROVED"), marketplace.Done, []asked{get, approve}},
		{"no approvals", approvals(), marketplace.Done, []asked{get, approve}},
		{"removed", "", marketplace.TooLate, []asked{get}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := open(t)
			a := g.adapter(t)
			g.does(func(w http.ResponseWriter, r *http.Request, _ []byte) {
				switch {
				case c.account == "":
					answer(w, 404, refusal(404, "NOT_FOUND"))
				case r.Method == http.MethodGet:
					answer(w, 200, c.account)
				default:
					answer(w, 200, `{}`)
				}
			})
			got, err := a.Decide(t.Context(), marketplace.Decision{Kind: marketplace.ApproveAccount, Ref: marketplace.Ref{Account: account}})
			if err != nil || got != c.want {
				t.Errorf("outcome %q, error %v, want %q", got, err, c.want)
			}
			if diff := cmp.Diff(c.calls, g.calls()); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

// TestApproveTwice: that Google refuses a second approval in the state it is in is no
// trouble, unless the account is what forbids it.
func TestApproveTwice(t *testing.T) {
	t.Parallel()
	g := open(t)
	a := g.adapter(t)
	for state, want := range map[string]fault.Class{"APPROVED": "", "PENDING": fault.Conflict, "": fault.Conflict} {
		g.does(func(w http.ResponseWriter, r *http.Request, _ []byte) {
			switch {
			case r.Method == http.MethodPost:
				answer(w, 400, refusal(400, "FAILED_PRECONDITION"))
			case !strings.Contains(r.URL.Path, "/accounts/"):
				answer(w, 200, entity(map[string]any{"state": "ENTITLEMENT_ACTIVATION_REQUESTED"}))
			case state == "":
				answer(w, 503, "")
			default:
				answer(w, 200, `{"approvals":[{"name":"signup","state":"`+state+`"}]}`)
			}
		})
		got, err := a.Decide(t.Context(), marketplace.Decision{Kind: marketplace.Approve, Ref: marketplace.Ref{Purchase: entitlement}})
		if fault.ClassOf(err) != want || (got == marketplace.Pending) != (want == "") || len(g.calls()) != 3 {
			t.Errorf("account %q: %q, %v of class %q after %d calls", state, got, err, fault.ClassOf(err), len(g.calls()))
		}
	}
}

// TestDecideFailures: what can be decided again, and what not.
func TestDecideFailures(t *testing.T) {
	t.Parallel()
	g := open(t)
	a := g.adapter(t)
	approve := marketplace.Decision{Kind: marketplace.Approve, Ref: marketplace.Ref{Purchase: entitlement}}
	for status, want := range map[int]struct{ look, decide fault.Class }{
		400: {fault.Unavailable, fault.Conflict}, // its account is not approved, or it was decided meanwhile
		401: {fault.Unavailable, fault.Unavailable},
		403: {fault.Unavailable, fault.Unavailable},
		409: {fault.Unavailable, fault.Conflict},
		412: {fault.Unavailable, fault.Conflict},
		422: {fault.Unavailable, fault.Refused},
		429: {fault.Throttled, fault.Throttled},
		500: {fault.Unavailable, fault.Unsure},
		503: {fault.Unavailable, fault.Unsure},
	} {
		g.says(status, refusal(status, "X"))
		if _, err := a.Decide(t.Context(), approve); !fault.Is(err, want.look) || len(g.calls()) != 1 {
			t.Errorf("%d when looking: %v of class %q after %d calls, want %q", status, err, fault.ClassOf(err), len(g.calls()), want.look)
		}
		g.does(func(w http.ResponseWriter, r *http.Request, _ []byte) {
			if r.Method == http.MethodGet {
				answer(w, 200, entity(map[string]any{"state": "ENTITLEMENT_ACTIVATION_REQUESTED"}))
				return
			}
			answer(w, status, refusal(status, "X"))
		})
		calls := 2
		if want.decide == fault.Conflict {
			calls = 3 // the account is asked whether it forbids it
		}
		if _, err := a.Decide(t.Context(), approve); !fault.Is(err, want.decide) || len(g.calls()) != calls {
			t.Errorf("%d when deciding: %v of class %q after %d calls, want %q", status, err, fault.ClassOf(err), len(g.calls()), want.decide)
		}
	}
	g.says(200, `{}`)
	for _, d := range []marketplace.Decision{
		{Kind: marketplace.Approve, Ref: marketplace.Ref{Account: account}},
		{Kind: marketplace.Approve, Ref: marketplace.Ref{Purchase: entitlement + ":reject"}},
		{Kind: marketplace.ApproveAccount, Ref: marketplace.Ref{Purchase: entitlement}},
		{Kind: marketplace.ApproveAccount, Ref: marketplace.Ref{Account: "../" + account}},
	} {
		if _, err := a.Decide(t.Context(), d); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", d, err)
		}
	}
	for _, kind := range []marketplace.DecisionKind{marketplace.Activate, marketplace.AckOperation, marketplace.RequestChange, marketplace.RequestCancel, marketplace.ConfirmChannel} {
		if _, err := a.Decide(t.Context(), marketplace.Decision{Kind: kind, Ref: approve.Ref}); !fault.Is(err, fault.Refused) || asFault(err).Public == "" {
			t.Errorf("%s: %v", kind, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Decide(ctx, approve); !fault.Is(err, fault.Unavailable) {
		t.Errorf("context ended: %v", err)
	}
	if calls := g.calls(); len(calls) > 0 {
		t.Errorf("calls %+v", calls)
	}
}
