package simulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// subscription reads the one a call names, after its weather: unknown is 404, another publisher's application 403.
func (m *azureMarket) subscription(c *azureCall) (*saas, error) {
	id := c.r.PathValue("id")
	if err := m.weather(KindReadFault, c.op+"|"+id+c.r.PathValue("op")); err != nil {
		return nil, err
	}
	sub := m.byID[strings.ToLower(id)]
	if sub == nil {
		return nil, azureMissing("Subscription " + id)
	}
	if c.client != m.clientOf(sub.offer) {
		return nil, azureForbidden()
	}
	return sub, nil
}

func (m *azureMarket) clientOf(o *AzureOffer) string {
	if o.Client != "" {
		return o.Client
	}
	return m.o.Client
}

func (m *azureMarket) resolve(c *azureCall) (any, error) {
	token := c.r.Header.Get("X-Ms-Marketplace-Token")
	t, ok := m.tokens[token]
	if !ok || !m.s.now.Before(t.until) {
		return nil, azureBad("x-ms-marketplace-token", "The marketplace token cannot be resolved.")
	}
	if c.client != m.clientOf(t.sub.offer) {
		return nil, azureForbidden()
	}
	if f := m.s.faults; !m.resolved[t.sub.id] && f.fated(KindTokenFault, 3, t.sub.n) {
		f.forced = append(f.forced, Force{Kind: KindTokenFault, Subject: token, Times: 1})
	}
	m.resolved[t.sub.id] = true
	if err := m.weather(KindTokenFault, token); err != nil {
		return nil, err
	}
	shown := m.show(t.sub, "resolve|"+t.sub.id)
	out := map[string]any{
		"id": t.sub.id, "subscriptionName": t.sub.name, "offerId": t.sub.offer.ID, "planId": t.sub.plan.ID, "subscription": shown,
	}
	if quantity, ok := shown["quantity"]; ok {
		out["quantity"] = quantity
	}
	return out, nil
}

// activate answers that the request was received; Subscribed comes later (azure.md 3.1).
func (m *azureMarket) activate(c *azureCall) (any, error) {
	sub, err := m.subscription(c)
	if err != nil {
		return nil, err
	}
	var in struct {
		PlanID   string `json:"planId"`
		Quantity any    `json:"quantity"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	seats, err := readQuantity(in.Quantity)
	switch {
	case err != nil:
		return nil, err
	case sub.status == saasUnsubscribed:
		return nil, azureMissing("Subscription " + sub.id)
	case sub.status != saasPending:
		return nil, azureBad("subscriptionId", "The subscription is %s already.", sub.status)
	case in.PlanID != sub.plan.ID:
		return nil, azureBad("planId", "Plan %q is not the plan that was bought.", in.PlanID)
	case seats != sub.seats && (seats != 0 || sub.plan.perSeat()):
		return nil, azureBad("quantity", "Quantity %d is not what was bought.", seats)
	}
	if !sub.activating {
		sub.activating = true
		m.activateSoon(sub)
	}
	return nil, m.cut("activate|" + sub.id)
}

func (m *azureMarket) activateSoon(sub *saas) {
	after, f := azureActivates, m.s.faults
	if f.weather == WeatherHostile {
		after = f.between(azureActivates, azureActivates2, "activates", sub.id)
	}
	m.s.schedule(m.s.now.Add(after), "activation of "+sub.id, func() {
		switch {
		case sub.status != saasPending:
		case f.happens(KindActivationFails, sub.id, 1):
			m.unsubscribe(sub)
		default:
			m.subscribe(sub)
		}
	})
}

// listSubscriptions gives all subscriptions of the calling application in every status, 100 to a page; nothing at all
// when there are none. Its link is as broken as the documented one: only its continuationToken is good.
func (m *azureMarket) listSubscriptions(c *azureCall) (any, error) {
	token, f := c.r.URL.Query().Get("continuationToken"), m.s.faults
	if err := m.weather(KindReadFault, c.op+"|"+token); err != nil {
		return nil, err
	}
	from := 0
	if token != "" {
		rest, ok := strings.CutPrefix(token, "cont+")
		n, err := strconv.Atoi(rest)
		if from = n; !ok || err != nil || n < 0 {
			return nil, azureBad("continuationToken", "The continuation token is not valid.")
		}
	}
	var mine []*saas
	for _, sub := range m.subs {
		if c.client == m.clientOf(sub.offer) {
			mine = append(mine, sub)
		}
	}
	if len(mine) == 0 {
		return nil, nil
	}
	limit := 100
	if f.weather == WeatherHostile {
		limit = 1 + int(f.draw("page", token)%4)
	}
	page := []map[string]any{}
	from = min(from, len(mine))
	to := min(from+limit, len(mine))
	for _, sub := range mine[from:to] {
		page = append(page, m.show(sub, "list|"+sub.id))
	}
	out := map[string]any{"subscriptions": page}
	if to < len(mine) {
		out["@nextLink"] = fmt.Sprintf("https://https://marketplaceapi.microsoft.com/api/saas/subscriptions/?continuationToken=cont%%2B%d&api-version=%s", to, azureAPIVersion)
	}
	return out, nil
}

func (m *azureMarket) getSubscription(c *azureCall) (any, error) {
	sub, err := m.subscription(c)
	if err != nil {
		return nil, err
	}
	return m.show(sub, "get|"+sub.id), nil
}

// listAvailablePlans is where prices, included quantities and the trace of a private offer are told. An unknown
// subscription gets an empty body, as documented.
func (m *azureMarket) listAvailablePlans(c *azureCall) (any, error) {
	sub, err := m.subscription(c)
	if err != nil {
		if e := (*azureError)(nil); errors.As(err, &e) && e.status == http.StatusNotFound {
			return nil, nil
		}
		return nil, err
	}
	only := c.r.URL.Query().Get("planId")
	plans := []map[string]any{}
	for i := range sub.offer.Plans {
		if p := &sub.offer.Plans[i]; only == "" || p.ID == only {
			plans = append(plans, showPlan(sub, p))
		}
	}
	if p := sub.private; p != nil && (only == "" || p.ID == only) {
		plans = append(plans, showPlan(sub, p))
	}
	return map[string]any{"plans": plans}, nil
}

func showPlan(sub *saas, p *AzurePlan) map[string]any {
	included, dims := []map[string]any{}, []map[string]any{}
	for i, d := range p.Dimensions {
		dims = append(dims, map[string]any{
			"id": d, "currency": "USD", "pricePerUnit": float64(i+1) / 100, "unitOfMeasure": "unit", "displayName": d,
		})
		if n, ok := p.Included[d]; ok {
			included = append(included, map[string]any{"dimensionId": d, "units": strconv.FormatInt(n, 10)})
		}
	}
	out := map[string]any{
		"planId": p.ID, "displayName": p.Title, "isPrivate": p == sub.private, "description": "", "hasFreeTrials": false,
		"isPricePerSeat": p.perSeat(), "isStopSell": false, "market": "US",
		"planComponents": map[string]any{
			"recurrentBillingTerms": []map[string]any{{
				"currency": "USD", "price": 20, "termUnit": p.term(), "termDescription": "", "meteredQuantityIncluded": included,
			}},
			"meteringDimensions": dims,
		},
		"sourceOffers": []map[string]any{},
	}
	if p.perSeat() {
		out["minQuantity"], out["maxQuantity"] = p.MinSeats, p.MaxSeats
	}
	if sub.privateOffer != "" && p == sub.plan {
		out["sourceOffers"] = []map[string]any{{"externalId": sub.privateOffer}}
	}
	return out
}

// updateSubscription is the publisher's own change: applied a while later, told by a webhook like any other.
func (m *azureMarket) updateSubscription(c *azureCall) (any, error) {
	sub, err := m.subscription(c)
	if err != nil {
		return nil, err
	}
	var in struct {
		PlanID   string `json:"planId"`
		Quantity any    `json:"quantity"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	seats, err := readQuantity(in.Quantity)
	plan := sub.find(in.PlanID)
	switch {
	case err != nil:
		return nil, err
	case (in.PlanID == "") == (in.Quantity == nil):
		return nil, azureMessage(http.StatusBadRequest, "Either planId or quantity must be given, and not both.")
	case sub.status != saasSubscribed:
		return nil, azureMessage(http.StatusBadRequest, "The subscription is not in the Subscribed state.")
	case sub.reseller():
		return nil, azureMessage(http.StatusBadRequest, "Update is not among the allowed customer operations.")
	case sub.pending() != nil:
		return nil, azureMessage(http.StatusBadRequest, "The subscription is locked due to pending operations.")
	case in.PlanID != "" && (plan == nil || plan == sub.plan):
		return nil, azureBad("planId", "Plan %q is unknown or the present one.", in.PlanID)
	case in.PlanID == "" && (seats == sub.seats || sub.plan.checkSeats(seats) != nil):
		return nil, azureBad("quantity", "Quantity %d is the present one or outside the limits of the plan.", seats)
	}
	op := m.operate(sub, actionChangePlan, sourcePartner, opInProgress)
	if op.plan = plan; in.PlanID == "" {
		op.action, op.plan, op.seats = actionChangeQuantity, sub.plan, seats
	}
	m.notify(op)
	return m.accepted(c, op)
}

func (m *azureMarket) deleteSubscription(c *azureCall) (any, error) {
	sub, err := m.subscription(c)
	if err != nil {
		return nil, err
	}
	switch {
	case sub.reseller():
		return nil, azureMessage(http.StatusBadRequest, "Delete is not among the allowed customer operations.")
	case sub.status == saasUnsubscribed:
		return nil, azureMessage(http.StatusBadRequest, "The subscription is Unsubscribed already.")
	case sub.pending() != nil:
		return nil, azureMessage(http.StatusBadRequest, "The subscription is locked due to pending operations.")
	}
	op := m.operate(sub, actionUnsubscribe, sourcePartner, opInProgress)
	m.s.schedule(m.s.now.Add(azureTellAfter), "operation of "+sub.id, func() {
		if op.status == opInProgress {
			m.end(op)
		}
	})
	return m.accepted(c, op)
}

func (m *azureMarket) accepted(c *azureCall, op *azureOperation) (any, error) {
	c.status = http.StatusAccepted
	c.header.Set("Operation-Location", fmt.Sprintf("https://%s/api/saas/subscriptions/%s/operations/%s?api-version=%s", c.r.Host, op.sub.id, op.id, azureAPIVersion))
	return nil, nil
}

// listOperations lists what is pending.
func (m *azureMarket) listOperations(c *azureCall) (any, error) {
	sub, err := m.subscription(c)
	if err != nil {
		return nil, err
	}
	ops := []map[string]any{}
	for _, op := range sub.operations {
		if op.status == opInProgress {
			ops = append(ops, m.showOperation(op))
		}
	}
	return map[string]any{"operations": ops}, nil
}

func (m *azureMarket) showOperation(op *azureOperation) map[string]any {
	out := map[string]any{
		"id": op.id, "activityId": op.activity, "subscriptionId": op.sub.id, "offerId": op.sub.offer.ID, "publisherId": m.o.Publisher,
		"planId": op.plan.ID, "quantity": nil, "action": op.action, "timeStamp": sevenDigits(op.at), "status": op.status,
		"errorStatusCode": "", "errorMessage": op.message, "operationRequestSource": op.source,
	}
	if op.plan.perSeat() {
		out["quantity"] = m.loose(op.seats, "operation|"+op.id)
	}
	return out
}

// operation reads the one a call names. What it does not know is 404 in the documents and 400 in the field.
func (m *azureMarket) operation(c *azureCall) (*azureOperation, error) {
	sub, err := m.subscription(c)
	if err != nil {
		return nil, err
	}
	id := c.r.PathValue("op")
	op := sub.operation(id)
	if op == nil {
		if f := m.s.faults; f.weather == WeatherHostile && f.chance("missing operation", id) < 0.5 {
			return nil, azureBad("operationId", "Operation %s is not found.", id)
		}
		return nil, azureMissing("Operation " + id)
	}
	return op, nil
}

func (m *azureMarket) getOperation(c *azureCall) (any, error) {
	op, err := m.operation(c)
	if err != nil {
		return nil, err
	}
	return m.showOperation(op), nil
}

// updateOperation is the acknowledgement. What is no longer in progress is answered 409, what the publisher started
// itself 500.
func (m *azureMarket) updateOperation(c *azureCall) (any, error) {
	op, err := m.operation(c)
	if err != nil {
		return nil, err
	}
	var in struct {
		Status string `json:"status"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if in.Status != "Success" && in.Status != "Failure" {
		return nil, azureBad("status", "Status %q is neither Success nor Failure.", in.Status)
	}
	if op.source == sourcePartner {
		return nil, fmt.Errorf("an unexpected error has occurred")
	}
	if op.status == opInProgress && m.met(KindAckLate, op, op.sub.id+"|"+op.id) {
		m.settle(op, opSucceeded) // ten seconds are over: silence was consent
	}
	if op.status != opInProgress {
		return nil, azureMessage(http.StatusConflict, c.header.Get("X-Ms-Requestid"))
	}
	status := opSucceeded
	if in.Status == "Failure" {
		status = opFailed
	}
	m.settle(op, status)
	return nil, m.cut("acknowledge|" + op.id)
}

// readQuantity reads a number or a numeric text; absent and empty are 0.
func readQuantity(v any) (int64, error) {
	text := ""
	switch q := v.(type) {
	case nil:
	case string:
		text = q
	case json.Number:
		text = q.String()
	default:
		return 0, azureBad("quantity", "The quantity is not a number.")
	}
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 {
		return 0, azureBad("quantity", "The quantity %q is not a whole number above zero.", text)
	}
	return n, nil
}
