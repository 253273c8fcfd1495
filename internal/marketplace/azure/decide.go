package azure

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// Decide tells the marketplace a decision about Ref.Purchase. Each kind reads
// before it acts, so that repeating it does nothing twice and tells what became
// of the first time.
//
//	activate        Done when Subscribed, by us or by Microsoft itself; Pending while it
//	                takes its minutes: ask again; TooLate when the purchase is over
//	approve_change  Subject is the operation. Done when it succeeded; TooLate when it
//	reject_change   ended otherwise: after ten seconds Microsoft accepts by itself
//	ack_operation   as approve_change, for what is not a change
//	request_change  Subject is the new plan in the offer's words, or seat=n. Pending
//	request_cancel  until the webhook that tells; Done when it is so already
//
// Operations that a request of ours began are acknowledged by nobody: then Done
// without a call. Refused: Microsoft or the buyer's contract does not allow it.
// Other decisions are Refused without a call.
func (a *Adapter) Decide(ctx context.Context, d marketplace.Decision) (marketplace.Outcome, error) {
	decide, ok := decisions[d.Kind]
	if !ok {
		return "", fault.New(fault.Refused, "the Microsoft marketplace takes no %q from a publisher", d.Kind)
	}
	if !vendorID.MatchString(d.Ref.Purchase) {
		return "", fault.New(fault.Invalid, "a decision for Microsoft needs the id of the SaaS subscription, not %.80q", d.Ref.Purchase)
	}
	return decide(ctx, a, d)
}

var decisions = map[marketplace.DecisionKind]func(context.Context, *Adapter, marketplace.Decision) (marketplace.Outcome, error){
	marketplace.Activate:      activate,
	marketplace.ApproveChange: answering(opSucceeded, "Success"),
	marketplace.RejectChange:  answering(opFailed, "Failure"),
	marketplace.AckOperation:  answering(opSucceeded, "Success"),
	marketplace.RequestChange: requestChange,
	marketplace.RequestCancel: requestCancel,
}

// activate starts the billing of what was bought. The service takes the call
// first and does it later, so only the subscription's state is an answer.
func activate(ctx context.Context, a *Adapter, d marketplace.Decision) (marketplace.Outcome, error) {
	id := word(d.Ref.Purchase)
	s, err := a.subscription(ctx, id)
	if err != nil {
		return "", decideReadError(err, "read a subscription to activate it")
	}
	if out, ok := activated(s); ok {
		return out, nil
	}
	body := map[string]any{"planId": s.PlanID}
	if s.Quantity != "" {
		body["quantity"] = s.Quantity
	}
	if err := a.client.do(ctx, call{method: http.MethodPost, base: a.c.Endpoint, path: path(id) + "/activate", body: body}, nil); err != nil && !absent(err) {
		return "", decideError(err, "activate a subscription")
	} else if s, readErr := a.subscription(ctx, id); readErr != nil {
		return "", decideReadError(readErr, "read an activated subscription")
	} else if out, ok := activated(s); ok { // a 400 may say that Microsoft was first
		return out, nil
	} else if err != nil {
		return "", decideError(err, "activate a subscription")
	}
	return marketplace.Pending, nil
}

func activated(s subscription) (marketplace.Outcome, bool) {
	switch {
	case s.Status.is(statusSubscribed), s.Status.is(statusSuspended):
		return marketplace.Done, true
	case s.Status.is(statusUnsubscribed):
		return marketplace.TooLate, true
	}
	return "", false
}

// answering answers an operation with a status, after which it has a state.
func answering(state, status string) func(context.Context, *Adapter, marketplace.Decision) (marketplace.Outcome, error) {
	return func(ctx context.Context, a *Adapter, d marketplace.Decision) (marketplace.Outcome, error) {
		if !vendorID.MatchString(d.Subject) {
			return "", fault.New(fault.Invalid, "an answer to Microsoft needs the id of the operation, not %.80q", d.Subject)
		}
		judge := func() (marketplace.Outcome, bool, error) {
			op, err := a.operation(ctx, word(d.Ref.Purchase), word(d.Subject))
			switch {
			case absent(err):
				return "", false, fault.Wrap(fault.NotFound, fmt.Errorf("read an operation to answer it: %w", err), "Microsoft has no such operation to answer")
			case err != nil:
				return "", false, decideReadError(err, "read an operation to answer it")
			case op.Source.is(sourcePartner), op.Status.is(state):
				return marketplace.Done, true, nil
			case op.Status.is(opSucceeded), op.Status.is(opFailed), op.Status.is(opConflict):
				return marketplace.TooLate, true, nil
			}
			return "", false, nil
		}
		if out, over, err := judge(); over || err != nil {
			return out, err
		}
		err := a.client.do(ctx, call{
			method: http.MethodPatch, base: a.c.Endpoint, path: path(word(d.Ref.Purchase)) + "/operations/" + d.Subject, body: map[string]string{"status": status},
		}, nil)
		switch {
		case err == nil:
			return marketplace.Done, nil
		case !hasStatus(err, http.StatusConflict):
			return "", decideError(err, "answer an operation")
		}
		out, over, err := judge()
		if err == nil && !over {
			out = marketplace.TooLate // a newer update was fulfilled meanwhile
		}
		return out, err
	}
}

// requestChange asks for a plan or for seats, as the buyer agreed to. Microsoft
// takes one of the two in a call.
func requestChange(ctx context.Context, a *Adapter, d marketplace.Decision) (marketplace.Outcome, error) {
	seats, isSeats := strings.CutPrefix(d.Subject, seat+"=")
	n, err := strconv.ParseInt(seats, 10, 64)
	if d.Subject == "" || isSeats && (err != nil || n <= 0) {
		return "", fault.New(fault.Invalid, "a change needs a plan or seat=n, not %.80q", d.Subject)
	}
	is := func(s subscription) bool {
		if isSeats {
			return string(s.Quantity) == seats
		}
		return s.PlanID.is(d.Subject)
	}
	body := map[string]any{"planId": d.Subject}
	if isSeats {
		body = map[string]any{"quantity": n}
	}
	return a.request(ctx, d, "Update", is, call{method: http.MethodPatch, body: body})
}

func requestCancel(ctx context.Context, a *Adapter, d marketplace.Decision) (marketplace.Outcome, error) {
	over := func(s subscription) bool { return s.Status.is(statusUnsubscribed) }
	return a.request(ctx, d, "Delete", over, call{method: http.MethodDelete})
}

// request makes a call that begins an operation, unless the subscription is as
// wanted, or the operation of an earlier try still goes on.
func (a *Adapter) request(ctx context.Context, d marketplace.Decision, right string, is func(subscription) bool, c call) (marketplace.Outcome, error) {
	id := word(d.Ref.Purchase)
	doing := "request " + string(d.Kind)
	s, err := a.subscription(ctx, id)
	switch {
	case err != nil:
		return "", decideReadError(err, doing)
	case is(s):
		return marketplace.Done, nil
	case s.Status.is(statusUnsubscribed):
		return marketplace.TooLate, nil
	case !slices.ContainsFunc(s.Allowed, func(w word) bool { return w.is(right) }):
		return "", fault.New(fault.Refused, "The buyer's contract does not let us do this; with a reseller's sale the reseller must do it.")
	}
	pending, err := a.pending(ctx, id)
	if err != nil {
		return "", decideReadError(err, doing)
	}
	if pending {
		return marketplace.Pending, nil
	}
	c.base, c.path = a.c.Endpoint, path(id)
	if err := a.client.do(ctx, c, nil); err != nil {
		return "", decideError(err, doing)
	}
	return marketplace.Pending, nil
}

// pending: an operation is under way; until it ends Microsoft takes no other.
func (a *Adapter) pending(ctx context.Context, id word) (bool, error) {
	var out struct {
		Operations []operation `json:"operations"`
	}
	err := a.client.do(ctx, call{method: http.MethodGet, base: a.c.Endpoint, path: path(id) + "/operations"}, &out)
	if err != nil && !isEmpty(err) && !hasStatus(err, http.StatusNotFound) {
		return false, err
	}
	return slices.ContainsFunc(out.Operations, func(o operation) bool { return o.Status.is(opInProgress) || o.Status.is(opNotStarted) }), nil
}

func path(sub word) string { return "/saas/subscriptions/" + string(sub) }
