package simulator

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

const mostReason = 256 // bytes of a reason that are kept

// accountFor reads the account a call names; the lock is held.
func (m *gcpMarket) accountFor(c *gcpCall) (*gcpAccount, error) {
	if a := m.account(c.resource); a != nil {
		return a, nil
	}
	return nil, gcpRefuse(http.StatusNotFound, "NOT_FOUND", "Requested entity was not found.")
}

func (m *gcpMarket) entitlementFor(c *gcpCall) (*gcpEntitlement, error) {
	if e := m.entitlement(c.resource); e != nil {
		return e, nil
	}
	return nil, gcpRefuse(http.StatusNotFound, "NOT_FOUND", "Requested entity was not found.")
}

// accountWire is an account as the API shows it. New ones are ACTIVE before anybody approved anything.
func (m *gcpMarket) accountWire(a *gcpAccount, full bool) map[string]any {
	approval := map[string]any{"name": "signup", "state": a.approval, "updateTime": moment(a.created)}
	if !a.approved.IsZero() {
		approval["updateTime"] = moment(a.approved)
	}
	if a.reason != "" {
		approval["reason"] = a.reason
	}
	out := map[string]any{
		"name": "providers/" + m.o.Provider + "/accounts/" + a.id, "provider": m.o.Provider, "state": "ACCOUNT_ACTIVE",
		"approvals": []any{approval}, "createTime": moment(a.created), "updateTime": moment(a.updated),
	}
	if full && a.reseller != "" {
		out["resellerParentBillingAccount"] = a.reseller
	}
	return out
}

// wire is an entitlement as the API shows it: which fields are there depends on its state (gcp.md 2.5), and empty ones
// are not there.
func (e *gcpEntitlement) wire() map[string]any {
	m := e.m
	out := map[string]any{
		"name": "providers/" + m.o.Provider + "/entitlements/" + e.id, "account": "providers/" + m.o.Provider + "/accounts/" + e.account.id,
		"provider": m.o.Provider, "product": e.offer, "productExternalName": e.product.Service, "plan": e.plan, "offer": e.offer,
		"state": "ENTITLEMENT_" + e.state, "orderId": e.orderID, "entitlementBenefitIds": []string{e.benefit()},
		"createTime": moment(e.created), "updateTime": moment(e.updated),
	}
	set := func(key, value string) {
		if value != "" {
			out[key] = value
		}
	}
	set("offerDuration", e.duration)
	set("messageToUser", e.message)
	set("cancellationReason", e.reason)
	switch {
	case e.state != entActivationRequested, e.duration == "":
		set("offerEndTime", moment(e.ends))
	case e.approved:
		set("offerEndTime", moment(e.lasts(e.starts)))
	}
	if e.state == entActivationRequested {
		set("newOfferStartTime", moment(e.starts))
	}
	if e.state == entPendingCancellation || e.state == entCancelled {
		set("subscriptionEndTime", moment(e.ends))
	}
	if e.state == entPlanChangeApproval || e.state == entPendingPlanChange {
		set("newPendingPlan", e.newPlan)
		set("newPendingOffer", e.newOffer)
		set("newPendingOfferDuration", e.newDuration)
		if e.newDuration == "" {
			set("newOfferEndTime", moment(e.ends))
		}
		if e.state == entPendingPlanChange {
			set("newOfferStartTime", moment(e.changes))
		}
	}
	if !e.started.IsZero() && !m.s.now.Before(e.identified) {
		out["usageReportingId"] = e.consumer
		out["consumers"] = []any{map[string]any{"project": "projects/" + strings.TrimPrefix(e.consumer, "project_number:")}}
	}
	return out
}

func (m *gcpMarket) getAccount(c *gcpCall) (any, error) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	if err := m.weather(c); err != nil {
		return nil, err
	}
	a, err := m.accountFor(c)
	if err != nil {
		return nil, err
	}
	switch view := c.URL.Query().Get("view"); view {
	case "", "ACCOUNT_VIEW_UNSPECIFIED", "ACCOUNT_VIEW_BASIC", "ACCOUNT_VIEW_FULL":
		return m.accountWire(a, view == "ACCOUNT_VIEW_FULL"), nil
	default:
		return nil, invalidArgument("Invalid value at 'view': %q", view)
	}
}

func (m *gcpMarket) listAccounts(c *gcpCall) (any, error) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	if err := m.weather(c); err != nil {
		return nil, err
	}
	rows, next, err := m.page(c, len(m.accounts), 25, 200, func(i int) any {
		if a := m.accounts[i]; !a.deleted {
			return m.accountWire(a, false)
		}
		return nil
	})
	return listed("accounts", rows, next), err
}

func (m *gcpMarket) getEntitlement(c *gcpCall) (any, error) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	if err := m.weather(c); err != nil {
		return nil, err
	}
	e, err := m.entitlementFor(c)
	if err != nil {
		return nil, err
	}
	return e.wire(), nil
}

func (m *gcpMarket) listEntitlements(c *gcpCall) (any, error) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	match, err := parseFilter(c.URL.Query().Get("filter"))
	if err != nil {
		return nil, invalidArgument("Invalid filter: %v", err)
	}
	if err := m.weather(c); err != nil {
		return nil, err
	}
	rows, next, err := m.page(c, len(m.entitlements), 200, 200, func(i int) any {
		if e := m.entitlements[i]; !e.deleted && match(e) {
			return e.wire()
		}
		return nil
	})
	return listed("entitlements", rows, next), err
}

func listed(name string, rows []any, next string) map[string]any {
	out := map[string]any{}
	if len(rows) > 0 {
		out[name] = rows
	}
	if next != "" {
		out["nextPageToken"] = next
	}
	return out
}

// page lists rows in the order they were made. A page token is a place in that order, so nothing is skipped when rows
// change between two pages. In hostile weather pages are shorter than asked for and may be empty before more follow.
func (m *gcpMarket) page(c *gcpCall, n, usual, most int, row func(int) any) (rows []any, next string, err error) {
	query := c.URL.Query()
	limit, from, wasEmpty := usual, 0, false
	if size := query.Get("pageSize"); size != "" {
		if limit, err = strconv.Atoi(size); err != nil || limit < 0 {
			return nil, "", invalidArgument("Invalid page size %q", size)
		}
		if limit == 0 {
			limit = usual
		}
	}
	limit = min(limit, most)
	if token := query.Get("pageToken"); token != "" {
		rest, ok := strings.CutPrefix(token, "at-")
		wasEmpty = strings.HasSuffix(rest, "e")
		if from, err = strconv.Atoi(strings.TrimSuffix(rest, "e")); !ok || err != nil || from < 0 {
			return nil, "", invalidArgument("Invalid page token")
		}
	}
	f, subject := m.s.faults, c.op+"|"+query.Get("filter")
	if !wasEmpty && from < n && f.happens(KindEmptyPage, subject, from) {
		return nil, fmt.Sprintf("at-%de", from), nil
	}
	if f.weather == WeatherHostile {
		limit = min(limit, 1+int(f.draw("page", subject)%4))
	}
	for i := from; i < n; i++ {
		one := row(i)
		if one == nil {
			continue
		}
		if len(rows) == limit {
			return rows, fmt.Sprintf("at-%d", i), nil
		}
		rows = append(rows, one)
	}
	return rows, "", nil
}

type approvalRequest struct {
	ApprovalName string            `json:"approvalName"`
	Reason       string            `json:"reason"`
	Properties   map[string]string `json:"properties"`
}

func (m *gcpMarket) approveAccount(c *gcpCall) (any, error) { return m.sign(c, approvalApproved) }

func (m *gcpMarket) rejectAccount(c *gcpCall) (any, error) { return m.sign(c, approvalRejected) }

// sign decides the one approval an account has. What was rejected may be approved later, not the other way round; the
// same decision again is refused or not, by seed.
func (m *gcpMarket) sign(c *gcpCall, verdict string) (any, error) {
	var in approvalRequest
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	a, err := m.accountFor(c)
	if err != nil {
		return nil, err
	}
	if in.ApprovalName != "" && in.ApprovalName != "signup" {
		return nil, invalidArgument("Approval %q does not exist.", in.ApprovalName)
	}
	return m.decided(c, func() error {
		switch {
		case a.approval == verdict && m.s.faults.chance("again", a.id) < 0.5:
			return nil
		case a.approval == verdict, a.approval == approvalApproved:
			return failedPrecondition("The approval is %s.", a.approval)
		}
		a.approval, a.reason, a.approved, a.updated = verdict, in.Reason[:min(len(in.Reason), mostReason)], m.s.now, m.s.now
		return nil
	})
}

// resetAccount is for the partner's own test accounts; all accounts here are customers'.
func (m *gcpMarket) resetAccount(c *gcpCall) (any, error) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	if _, err := m.accountFor(c); err != nil {
		return nil, err
	}
	return nil, gcpRefuse(http.StatusForbidden, "PERMISSION_DENIED", "Only accounts of the partner can be reset.")
}

type decisionRequest struct {
	PendingPlanName     string            `json:"pendingPlanName"`
	Reason              string            `json:"reason"`
	EntitlementMigrated string            `json:"entitlementMigrated"`
	Properties          map[string]string `json:"properties"`
}

// decide reads a decision about an entitlement and makes it unless the state forbids.
func (m *gcpMarket) decide(c *gcpCall, state string, do func(*gcpEntitlement, decisionRequest) error) (any, error) {
	var in decisionRequest
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	e, err := m.entitlementFor(c)
	if err != nil {
		return nil, err
	}
	return m.decided(c, func() error {
		if e.state != state || e.cancelling {
			return failedPrecondition("Entitlement %s is in state ENTITLEMENT_%s.", e.id, e.state)
		}
		return do(e, in)
	})
}

// approveEntitlement starts the activation, which comes later. Once approved the state is the same until then; a second
// approval is refused or not, by seed.
func (m *gcpMarket) approveEntitlement(c *gcpCall) (any, error) {
	return m.decide(c, entActivationRequested, func(e *gcpEntitlement, _ decisionRequest) error {
		switch {
		case e.account.approval != approvalApproved:
			return failedPrecondition("Account %s is not approved.", e.account.id)
		case !e.approved:
			m.approve(e)
		case m.s.faults.chance("again", e.id) < 0.5:
			return failedPrecondition("Entitlement %s is already approved.", e.id)
		}
		return nil
	})
}

func (m *gcpMarket) rejectEntitlement(c *gcpCall) (any, error) {
	return m.decide(c, entActivationRequested, func(e *gcpEntitlement, _ decisionRequest) error {
		if e.approved {
			return failedPrecondition("Entitlement %s is already approved.", e.id)
		}
		m.finish(e, "unknown")
		return nil
	})
}

func (m *gcpMarket) approvePlanChange(c *gcpCall) (any, error) { return m.decidePlan(c, m.applyPlan) }

func (m *gcpMarket) rejectPlanChange(c *gcpCall) (any, error) { return m.decidePlan(c, m.dropPlan) }

func (m *gcpMarket) decidePlan(c *gcpCall, do func(*gcpEntitlement)) (any, error) {
	return m.decide(c, entPlanChangeApproval, func(e *gcpEntitlement, in decisionRequest) error {
		if in.PendingPlanName != e.newPlan {
			return invalidArgument("The pending plan is %q, not %q.", e.newPlan, in.PendingPlanName)
		}
		do(e)
		return nil
	})
}

// suspendEntitlement is documented as not yet supported.
func (m *gcpMarket) suspendEntitlement(c *gcpCall) (any, error) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	if _, err := m.entitlementFor(c); err != nil {
		return nil, err
	}
	return nil, gcpRefuse(http.StatusNotImplemented, "UNIMPLEMENTED", "Operation is not implemented, or supported, or enabled.")
}

// patchEntitlement sets the note the customer sees while an approval is pending; nothing else can be set.
func (m *gcpMarket) patchEntitlement(c *gcpCall) (any, error) {
	var in map[string]any
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	e, err := m.entitlementFor(c)
	if err != nil {
		return nil, err
	}
	note, ok := in["messageToUser"].(string)
	if mask := c.URL.Query().Get("updateMask"); mask != "messageToUser" && mask != "message_to_user" || in["messageToUser"] != nil && !ok {
		return nil, invalidArgument("Only messageToUser can be updated, not %q.", mask)
	}
	if _, err := m.decided(c, func() error {
		if e.state != entActivationRequested && e.state != entPlanChangeApproval {
			return failedPrecondition("Entitlement %s is in state ENTITLEMENT_%s.", e.id, e.state)
		}
		e.message = note
		e.touched()
		return nil
	}); err != nil {
		return nil, err
	}
	return e.wire(), nil
}
