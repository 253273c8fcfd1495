package azure_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// TestDecisions: what a decision asks, sends and becomes; "" leaves out what must
// not be sent.
func TestDecisions(t *testing.T) {
	t.Parallel()
	type object = map[string]any
	state := func(s string) object { return with(subscription, object{"saasSubscriptionStatus": s}) }
	pending := with(state("PendingFulfillmentStart"), object{"planId": "starter"})
	opState := func(s string) object { return with(operation, object{"status": s}) }
	no := func(status int) turn { return turn{status, `{"code":"BadArgument","message":"it is so"}`} }
	noOperations := turn{200, `{"operations":[]}`}
	for _, c := range []struct {
		why    string
		d      marketplace.Decision
		sub    []turn
		op     []turn
		ops    turn
		act    turn   // the answer to what changes something
		sent   string // method and body of it
		asked  int    // all calls
		want   marketplace.Outcome
		class  fault.Class
		public string // part of the text
	}{
		{
			why: "activate", d: marketplace.Decision{Kind: marketplace.Activate}, sub: []turn{{200, pending}, {200, state("Subscribed")}},
			act: turn{200, ""}, sent: `POST {"planId":"starter"}`, asked: 3, want: marketplace.Done,
		},
		{
			why: "activate, which takes minutes", d: marketplace.Decision{Kind: marketplace.Activate}, sub: []turn{{200, pending}},
			act: turn{200, ""}, sent: `POST {"planId":"starter"}`, asked: 3, want: marketplace.Pending,
		},
		{
			why: "activate seats", d: marketplace.Decision{Kind: marketplace.Activate}, sub: []turn{{200, with(pending, object{"quantity": 7})}},
			act: turn{200, ""}, sent: `POST {"planId":"starter","quantity":"7"}`, asked: 3, want: marketplace.Pending,
		},
		{why: "activate again", d: marketplace.Decision{Kind: marketplace.Activate}, sub: []turn{{200, state("Subscribed")}}, asked: 1, want: marketplace.Done},
		{why: "activate what is suspended already", d: marketplace.Decision{Kind: marketplace.Activate}, sub: []turn{{200, state("Suspended")}}, asked: 1, want: marketplace.Done},
		{why: "activate what is over", d: marketplace.Decision{Kind: marketplace.Activate}, sub: []turn{{200, state("Unsubscribed")}}, asked: 1, want: marketplace.TooLate},
		{
			why: "activate when Microsoft was first", d: marketplace.Decision{Kind: marketplace.Activate}, sub: []turn{{200, pending}, {200, state("Subscribed")}},
			act: no(400), sent: `POST {"planId":"starter"}`, asked: 3, want: marketplace.Done,
		},
		{
			why: "activate when the buyer was first", d: marketplace.Decision{Kind: marketplace.Activate}, sub: []turn{{200, pending}, {200, state("Unsubscribed")}},
			act: no(404), sent: `POST {"planId":"starter"}`, asked: 3, want: marketplace.TooLate,
		},
		{
			why: "activate what is refused", d: marketplace.Decision{Kind: marketplace.Activate}, sub: []turn{{200, pending}},
			act: no(400), sent: `POST {"planId":"starter"}`, asked: 3, class: fault.Refused, public: "it is so",
		},
		{
			why: "activate in trouble", d: marketplace.Decision{Kind: marketplace.Activate}, sub: []turn{{200, pending}},
			act: no(500), sent: `POST {"planId":"starter"}`, asked: 2, class: fault.Unavailable,
		},
		{why: "activate what nobody knows", d: marketplace.Decision{Kind: marketplace.Activate}, sub: []turn{no(404)}, asked: 1, class: fault.NotFound, public: "does not know"},

		{
			why: "approve", d: marketplace.Decision{Kind: marketplace.ApproveChange, Subject: op}, op: []turn{{200, operation}},
			act: turn{200, ""}, sent: `PATCH {"status":"Success"}`, asked: 2, want: marketplace.Done,
		},
		{
			why: "reject", d: marketplace.Decision{Kind: marketplace.RejectChange, Subject: op}, op: []turn{{200, opState("NotStarted")}},
			act: turn{200, ""}, sent: `PATCH {"status":"Failure"}`, asked: 2, want: marketplace.Done,
		},
		{
			why: "acknowledge", d: marketplace.Decision{Kind: marketplace.AckOperation, Subject: op}, op: []turn{{200, with(operation, object{"action": "Reinstate"})}},
			act: turn{200, ""}, sent: `PATCH {"status":"Success"}`, asked: 2, want: marketplace.Done,
		},
		{why: "approve again", d: marketplace.Decision{Kind: marketplace.ApproveChange, Subject: op}, op: []turn{{200, opState("Succeeded")}}, asked: 1, want: marketplace.Done},
		{why: "reject again", d: marketplace.Decision{Kind: marketplace.RejectChange, Subject: op}, op: []turn{{200, opState("Failed")}}, asked: 1, want: marketplace.Done},
		{why: "reject what was accepted by silence", d: marketplace.Decision{Kind: marketplace.RejectChange, Subject: op}, op: []turn{{200, opState("Succeeded")}}, asked: 1, want: marketplace.TooLate},
		{why: "approve what failed", d: marketplace.Decision{Kind: marketplace.ApproveChange, Subject: op}, op: []turn{{200, opState("Failed")}}, asked: 1, want: marketplace.TooLate},
		{why: "approve what is the same", d: marketplace.Decision{Kind: marketplace.ApproveChange, Subject: op}, op: []turn{{200, opState("Conflict")}}, asked: 1, want: marketplace.TooLate},
		{why: "approve what we began", d: marketplace.Decision{Kind: marketplace.ApproveChange, Subject: op}, op: []turn{{200, with(operation, object{"operationRequestSource": "Partner"})}}, asked: 1, want: marketplace.Done},
		{
			why: "reject while it is accepted by silence", d: marketplace.Decision{Kind: marketplace.RejectChange, Subject: op}, op: []turn{{200, operation}, {200, opState("Succeeded")}},
			act: turn{409, `{"message":"id"}`}, sent: `PATCH {"status":"Failure"}`, asked: 3, want: marketplace.TooLate,
		},
		{
			why: "approve while it is accepted by silence", d: marketplace.Decision{Kind: marketplace.ApproveChange, Subject: op}, op: []turn{{200, operation}, {200, opState("Succeeded")}},
			act: turn{409, ""}, sent: `PATCH {"status":"Success"}`, asked: 3, want: marketplace.Done,
		},
		{
			why: "approve what a newer one overtook", d: marketplace.Decision{Kind: marketplace.ApproveChange, Subject: op}, op: []turn{{200, operation}},
			act: turn{409, ""}, sent: `PATCH {"status":"Success"}`, asked: 3, want: marketplace.TooLate,
		},
		{why: "approve what nobody knows", d: marketplace.Decision{Kind: marketplace.ApproveChange, Subject: op}, op: []turn{no(400)}, asked: 1, class: fault.NotFound, public: "no such operation"},
		{why: "approve, throttled", d: marketplace.Decision{Kind: marketplace.ApproveChange, Subject: op}, op: []turn{no(429)}, asked: 1, class: fault.Throttled},
		{why: "approve nothing", d: marketplace.Decision{Kind: marketplace.ApproveChange}, class: fault.Invalid, public: "needs the id"},

		{
			why: "change the plan", d: marketplace.Decision{Kind: marketplace.RequestChange, Subject: "premium"}, sub: []turn{{200, subscription}}, ops: noOperations,
			act: turn{202, ""}, sent: `PATCH {"planId":"premium"}`, asked: 3, want: marketplace.Pending,
		},
		{
			why: "change the seats", d: marketplace.Decision{Kind: marketplace.RequestChange, Subject: "seat=9"}, sub: []turn{{200, with(subscription, object{"quantity": "7"})}}, ops: turn{200, ""},
			act: turn{202, ""}, sent: `PATCH {"quantity":9}`, asked: 3, want: marketplace.Pending,
		},
		{why: "the plan is so", d: marketplace.Decision{Kind: marketplace.RequestChange, Subject: "starter"}, sub: []turn{{200, subscription}}, asked: 1, want: marketplace.Done},
		{why: "the seats are so", d: marketplace.Decision{Kind: marketplace.RequestChange, Subject: "seat=7"}, sub: []turn{{200, with(subscription, object{"quantity": 7.0})}}, asked: 1, want: marketplace.Done},
		{why: "no seats", d: marketplace.Decision{Kind: marketplace.RequestChange, Subject: "seat=0"}, class: fault.Invalid, public: "seat=n"},
		{
			why: "change while something changes", d: marketplace.Decision{Kind: marketplace.RequestChange, Subject: "premium"}, sub: []turn{{200, subscription}},
			ops: turn{200, map[string]any{"operations": []any{operation}}}, asked: 2, want: marketplace.Pending,
		},
		{
			why: "change a reseller's sale", d: marketplace.Decision{Kind: marketplace.RequestChange, Subject: "premium"},
			sub: []turn{{200, with(subscription, object{"allowedCustomerOperations": []string{"Read"}})}}, asked: 1, class: fault.Refused, public: "reseller",
		},
		{
			why: "change to what is not sold", d: marketplace.Decision{Kind: marketplace.RequestChange, Subject: "gold"}, sub: []turn{{200, subscription}}, ops: noOperations,
			act: no(400), sent: `PATCH {"planId":"gold"}`, asked: 3, class: fault.Refused, public: "it is so",
		},
		{why: "change what is over", d: marketplace.Decision{Kind: marketplace.RequestChange, Subject: "premium"}, sub: []turn{{200, state("Unsubscribed")}}, asked: 1, want: marketplace.TooLate},
		{
			why: "cancel", d: marketplace.Decision{Kind: marketplace.RequestCancel}, sub: []turn{{200, subscription}}, ops: turn{404, ""},
			act: turn{202, ""}, sent: `DELETE `, asked: 3, want: marketplace.Pending,
		},
		{why: "cancel again", d: marketplace.Decision{Kind: marketplace.RequestCancel}, sub: []turn{{200, state("Unsubscribed")}}, asked: 1, want: marketplace.Done},
		{
			why: "cancel what may not be", d: marketplace.Decision{Kind: marketplace.RequestCancel}, sub: []turn{{200, with(subscription, object{"allowedCustomerOperations": []string{"Read", "Update"}})}},
			asked: 1, class: fault.Refused, public: "reseller",
		},
	} {
		t.Run(c.why, func(t *testing.T) {
			t.Parallel()
			o := open(t)
			if c.sub != nil {
				o.plays("GET "+onSub, c.sub...)
			}
			if c.op != nil {
				o.plays("GET "+onOp, c.op...)
			}
			if c.ops.status != 0 {
				o.plays("GET "+onSub+"/operations", c.ops)
			}
			var mu sync.Mutex
			sent := ""
			for _, name := range []string{"POST " + onSub + "/activate", "PATCH " + onOp, "PATCH " + onSub, "DELETE " + onSub} {
				o.handle(name, func(w http.ResponseWriter, r *http.Request) {
					body, _ := io.ReadAll(r.Body)
					mu.Lock()
					sent += fmt.Sprintf("%s %s", r.Method, body)
					mu.Unlock()
					o.say(c.act)(w, r)
				})
			}
			c.d.Ref.Purchase = sub
			got, err := o.adapter().Decide(t.Context(), c.d)
			if got != c.want || fault.ClassOf(err) != c.class {
				t.Errorf("outcome %q, error %v; want %q, %q", got, err, c.want, c.class)
			}
			if f, ok := errors.AsType[*fault.Error](err); ok && !strings.Contains(f.Public, c.public) {
				t.Errorf("text %q, want %q in it", f.Public, c.public)
			}
			if diff := cmp.Diff(c.sent, sent); diff != "" {
				t.Errorf("sent (-want +got):\n%s", diff)
			}
			if n := o.count(""); n != c.asked {
				t.Errorf("%d calls, want %d", n, c.asked)
			}
		})
	}
}

func TestADecisionThatLostItsAnswerIsUnsure(t *testing.T) {
	t.Parallel()
	o := open(t)
	o.answer("GET "+onOp, http.StatusOK, operation)
	o.handle("PATCH "+onOp, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	_, err := o.adapter().Decide(t.Context(), marketplace.Decision{Kind: marketplace.ApproveChange, Ref: marketplace.Ref{Purchase: sub}, Subject: op})
	if !fault.Is(err, fault.Unsure) {
		t.Errorf("error %v, want unsure", err)
	}
	if n := o.count("PATCH " + onOp); n != 1 {
		t.Errorf("%d answers were sent, want 1: who asked decides about another try", n)
	}
}
