package gcp

import (
	"context"
	"net/http"
	"slices"
	"unicode/utf8"

	procurement "google.golang.org/api/cloudcommerceprocurement/v1"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

const (
	approvalName = "signup" // may be left out only when there is one approval; so it never is
	approved     = "APPROVED"
	maxReason    = 256 // bytes; Google cuts what is longer
)

// Decide looks before it decides, so that a decision may be repeated, and tolerates
// that a person decided in Producer Portal first. An approved purchase or change is
// Pending: Google makes it active later, and the reader tells when. TooLate: it was
// decided otherwise, is over, or waits for another change than the decision's subject.
// Conflict: Google refuses the decision in the state it is in, as of a purchase whose
// account is not approved; look again, then decide again. Reject names its reason in
// Text, ApproveChange and RejectChange the plan they are about in Subject (empty:
// whichever waits), MessageToUser its message in Text.
func (a *Adapter) Decide(ctx context.Context, d marketplace.Decision) (marketplace.Outcome, error) {
	switch d.Kind {
	case marketplace.ApproveAccount:
		return a.approveAccount(ctx, d.Ref.Account)
	case marketplace.Approve, marketplace.Reject, marketplace.ApproveChange, marketplace.RejectChange, marketplace.MessageToUser:
		return a.decide(ctx, d)
	}
	return "", fault.New(fault.Refused, "Google Cloud Marketplace takes no %q from a seller", d.Kind)
}

func (a *Adapter) approveAccount(ctx context.Context, id string) (marketplace.Outcome, error) {
	name, err := a.account(id)
	if err != nil {
		return "", err
	}
	accounts := a.procurement.Providers.Accounts
	got, err := accounts.Get(name).Context(ctx).Do()
	if statusOf(err) == http.StatusNotFound {
		return marketplace.TooLate, nil // the customer was removed
	}
	if err != nil {
		return "", readError(err, "get account")
	}
	if signedUp(got) {
		return marketplace.Done, nil
	}
	// Rejected may become approved.
	if _, err := accounts.Approve(name, &procurement.ApproveAccountRequest{ApprovalName: approvalName}).Context(ctx).Do(); err != nil {
		return "", decideError(err, "approve account")
	}
	return marketplace.Done, nil
}

// signedUp reports that we approved the account; its own state says nothing of that.
func signedUp(account *procurement.Account) bool {
	return slices.ContainsFunc(account.Approvals, func(p *procurement.Approval) bool { return p.Name == approvalName && p.State == approved })
}

func (a *Adapter) accountApproved(ctx context.Context, id string) bool {
	name, err := a.account(id)
	if err != nil {
		return false
	}
	got, err := a.procurement.Providers.Accounts.Get(name).Context(ctx).Do()
	return err == nil && signedUp(got)
}

// decide makes a decision about an entitlement.
func (a *Adapter) decide(ctx context.Context, d marketplace.Decision) (marketplace.Outcome, error) {
	e, err := a.getEntitlement(ctx, d.Ref.Purchase)
	if fault.Is(err, fault.NotFound) {
		return marketplace.TooLate, nil
	}
	if err != nil {
		return "", err
	}
	if outcome := became(d, e); outcome != "" {
		return outcome, nil
	}
	entitlements := a.procurement.Providers.Entitlements
	switch d.Kind {
	case marketplace.Approve:
		_, err = entitlements.Approve(e.Name, &procurement.ApproveEntitlementRequest{}).Context(ctx).Do()
		outcome, err := made(marketplace.Pending, err, "approve entitlement")
		if fault.Is(err, fault.Conflict) && a.accountApproved(ctx, last(e.Account)) {
			return marketplace.Pending, nil // nothing else forbids it: it was approved, or decided, before
		}
		return outcome, err
	case marketplace.Reject:
		_, err = entitlements.Reject(e.Name, &procurement.RejectEntitlementRequest{Reason: cut(d.Text)}).Context(ctx).Do()
		return made(marketplace.Done, err, "reject entitlement")
	case marketplace.ApproveChange:
		_, err = entitlements.ApprovePlanChange(e.Name, &procurement.ApproveEntitlementPlanChangeRequest{PendingPlanName: e.NewPendingPlan}).Context(ctx).Do()
		return made(marketplace.Pending, err, "approve plan change")
	case marketplace.RejectChange:
		_, err = entitlements.RejectPlanChange(e.Name, &procurement.RejectEntitlementPlanChangeRequest{PendingPlanName: e.NewPendingPlan, Reason: cut(d.Text)}).Context(ctx).Do()
		return made(marketplace.Done, err, "reject plan change")
	}
	// There is no updateUserMessage: Google clears the message at every change of state.
	_, err = entitlements.Patch(e.Name, &procurement.Entitlement{MessageToUser: d.Text, ForceSendFields: []string{"MessageToUser"}}).UpdateMask("messageToUser").Context(ctx).Do()
	return made(marketplace.Done, err, "set the message to the user")
}

// became is what became of a decision already; empty when it is still to be made.
func became(d marketplace.Decision, e *procurement.Entitlement) marketplace.Outcome {
	waits := e.State == stateChangeWaiting
	switch d.Kind {
	case marketplace.Approve:
		switch {
		case e.State == stateRequested && agreed(e):
			return marketplace.Pending
		case e.State == stateRequested:
			return ""
		case inService(e.State):
			return marketplace.Done
		}
		return marketplace.TooLate
	case marketplace.Reject:
		switch e.State {
		case stateRequested:
			return ""
		case stateCancelled:
			return marketplace.Done
		}
		return marketplace.TooLate
	case marketplace.ApproveChange:
		switch {
		case waits && (d.Subject == "" || d.Subject == e.NewPendingPlan):
			return ""
		case e.State == stateChanging && (d.Subject == "" || d.Subject == e.NewPendingPlan):
			return marketplace.Pending
		case inService(e.State) && !waits && d.Subject != "" && d.Subject == e.Plan:
			return marketplace.Done
		}
		return marketplace.TooLate
	case marketplace.RejectChange:
		switch {
		case waits && (d.Subject == "" || d.Subject == e.NewPendingPlan):
			return ""
		case inService(e.State) && e.State != stateChanging && d.Subject != e.Plan:
			return marketplace.Done // it waits for nothing, or for another change: this one is gone
		}
		return marketplace.TooLate
	case marketplace.MessageToUser:
		switch {
		case e.State != stateRequested && !waits:
			return marketplace.TooLate
		case e.MessageToUser == d.Text:
			return marketplace.Done
		}
	}
	return ""
}

func made(outcome marketplace.Outcome, err error, doing string) (marketplace.Outcome, error) {
	if err != nil {
		return "", decideError(err, doing)
	}
	return outcome, nil
}

// cut keeps what Google keeps, and no half character.
func cut(reason string) string {
	if len(reason) <= maxReason {
		return reason
	}
	n := maxReason
	for !utf8.RuneStart(reason[n]) {
		n--
	}
	return reason[:n]
}
