package simulator

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

const (
	azureEventsPath = "/azure/events"
	azureRetries    = 500 // then the marketplace gives up and the operation fails (azure.md 4.1: 500 retries over 8 hours)
)

// notify schedules the webhook of op with its seeded misfortunes. The body is made when it happens, so it tells of the
// subscription as it was then.
func (m *azureMarket) notify(op *azureOperation) {
	sub := op.sub
	op.first = sub.events == 0
	sub.events++
	subject := sub.id + "|" + op.action + "|" + strconv.Itoa(sub.events)
	m.s.schedule(m.s.now.Add(azureTellAfter), "webhook of "+sub.id, func() {
		body := m.writeEvent(op, subject)
		m.route(op, subject, body)
	})
}

// route decides when and how often one webhook is posted.
func (m *azureMarket) route(op *azureOperation, subject string, body []byte) {
	f := m.s.faults
	met := func(k Kind) bool { return m.met(k, op, subject) }
	spared := m.fated(KindDelay, op) || m.fated(KindReorder, op) || m.fated(KindRepeat, op)
	if !spared && met(KindDrop) {
		// To the marketplace it looks taken: it hears nothing, and silence is consent.
		m.answered(op, true)
		return
	}
	var late time.Duration
	if met(KindDelay) {
		most := 3 * time.Hour
		if op.action == actionUnsubscribe {
			most = 30 * time.Minute
		}
		late += f.between(time.Minute, most, "delay", subject)
	}
	if met(KindReorder) {
		late += f.between(62*time.Second, 3*time.Minute, "reorder", subject)
	}
	copies := 1
	if met(KindRepeat) {
		copies += 1 + int(f.draw("copies", subject)%3)
	}
	for i := range copies {
		at := m.s.now.Add(late)
		if i > 0 && f.chance("apart", subject, strconv.Itoa(i)) < 0.5 {
			at = at.Add(f.between(time.Second, time.Hour, "repeat", subject, strconv.Itoa(i)))
		}
		m.s.schedule(at, "webhook of "+op.sub.id, func() {
			if i == 0 && met(KindKeyRollover) {
				m.entra.rollover()
			}
			forged := i == 0 && met(KindForgedWebhook)
			m.s.spawn(func(ctx context.Context) {
				if forged {
					m.forge(ctx, op, subject)
				}
				m.deliver(ctx, op, subject, body)
			})
		})
	}
}

// deliver posts one copy until it is taken or refused. Any 4xx is a refusal, and to a change it is the publisher's no;
// everything else is tried again in short wall time while the clock stands still.
func (m *azureMarket) deliver(ctx context.Context, op *azureOperation, subject string, body []byte) {
	for try, pause := 1, retryFirst; ; try, pause = try+1, min(2*pause, retryMost) {
		header := http.Header{
			"Content-Type": {"application/json; charset=utf-8"}, "Authorization": {"Bearer " + m.webhookToken(op.sub, subject, nil)},
			"X-Ms-Requestid": {m.s.faults.uuid("webhook", subject, strconv.Itoa(try))}, "X-Ms-Correlationid": {op.activity},
		}
		status := m.s.post(ctx, azureEventsPath, header, body)
		m.s.mu.Lock()
		m.s.deliveries.Attempts++
		taken, refused := status >= 200 && status < 300, status >= 400 && status < 500
		switch {
		case taken:
			m.s.deliveries.Accepted++
		case refused, try > azureRetries:
			refused = true
			m.s.deliveries.Refused++
			m.s.log.Warn("webhook refused", "status", status, "action", op.action)
		}
		if taken || refused {
			m.answered(op, taken)
		}
		m.s.mu.Unlock()
		if taken || refused || !sleep(ctx, pause) {
			return
		}
	}
}

// forge posts once a webhook that nobody at the marketplace wrote: it ends the subscription. It must be refused;
// RestReport counts those that were taken.
func (m *azureMarket) forge(ctx context.Context, op *azureOperation, subject string) {
	m.s.mu.Lock()
	end := *op
	end.id, end.action, end.status = m.s.faults.uuid("forged", subject), actionUnsubscribe, opSucceeded
	body := m.fullEvent(&end, "forged|"+subject)
	which := m.s.faults.draw("forgery", subject)
	m.s.mu.Unlock()
	header := http.Header{"Content-Type": {"application/json; charset=utf-8"}}
	forgeries := []func(claims map[string]any, key *entraKey) *entraKey{
		func(_ map[string]any, key *entraKey) *entraKey { return m.entra.stranger(key) },
		func(claims map[string]any, key *entraKey) *entraKey { claims["aud"] = m.o.Landing; return key },
		func(claims map[string]any, key *entraKey) *entraKey {
			other := m.s.faults.uuid("another tenant")
			claims["tid"], claims["iss"] = other, entraIssuer(other, 2)
			return key
		},
		func(claims map[string]any, key *entraKey) *entraKey {
			delete(claims, "azp")
			claims["appid"] = m.o.Client
			return key
		},
		func(claims map[string]any, key *entraKey) *entraKey {
			claims["exp"] = m.s.now.Add(-time.Hour).Unix()
			return key
		},
		nil, // no token at all
	}
	if spoil := forgeries[which%uint64(len(forgeries))]; spoil != nil {
		header.Set("Authorization", "Bearer "+m.webhookToken(op.sub, subject, spoil))
	}
	status := m.s.post(ctx, azureEventsPath, header, marshal(body))
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	if status >= 200 && status < 300 {
		m.s.deliveries.Believed++
		m.s.log.Error("a forged webhook was taken", "status", status)
	}
}

// writeEvent is the body of op's webhook: the full form, or by seed one of the forms seen in documents and issues
// (azure.md 4.2, variants a to f).
func (m *azureMarket) writeEvent(op *azureOperation, subject string) []byte {
	full, f := m.fullEvent(op, subject), m.s.faults
	if m.met(KindOldBody, op, subject) {
		m.age(op, full, f.draw("old body", subject))
	}
	return marshal(full)
}

func (m *azureMarket) fullEvent(op *azureOperation, subject string) map[string]any {
	sub := op.sub
	full := map[string]any{
		"id": op.id, "activityId": op.activity, "publisherId": m.o.Publisher, "offerId": sub.offer.ID, "planId": op.plan.ID,
		"quantity": m.eventQuantity(op, subject), "subscriptionId": sub.id, "timeStamp": sevenDigits(op.at), "action": op.action,
		"status": op.status, "operationRequestSource": op.source, "subscription": m.show(sub, "webhook|"+subject), "purchaseToken": nil,
	}
	nested := full["subscription"].(map[string]any)
	if op.action == actionSuspend {
		nested["saasSubscriptionStatus"] = saasSubscribed // the documented sample of a suspension still says so
	}
	return full
}

// age turns a full body into an older or shorter one.
func (m *azureMarket) age(op *azureOperation, body map[string]any, which uint64) {
	keep := func(names ...string) {
		for name := range body {
			found := false
			for _, n := range names {
				found = found || n == name
			}
			if !found {
				delete(body, name)
			}
		}
	}
	forms := []func(){
		func() { keep("id", "activityId", "operationRequestSource", "subscriptionId", "timeStamp", "action") },
		func() { delete(body, "subscription"); delete(body, "purchaseToken") },
	}
	switch op.action {
	case actionUnsubscribe:
		forms = append(forms, func() {
			delete(body, "subscription")
			delete(body, "purchaseToken")
			for _, name := range []string{"offerId", "planId", "publisherId", "quantity", "status"} {
				body[name] = ""
			}
		})
	case actionReinstate:
		forms = append(forms, func() { keep("subscriptionId"); body["operationType"] = op.action })
	case actionChangePlan, actionChangeQuantity:
		forms = append(forms, func() { body["status"] = "NotStarted" })
	default:
		forms = append(forms, func() { body["status"] = "Success" })
	}
	forms[which%uint64(len(forms))]()
}

// eventQuantity is the new quantity; a flat plan says 1.
func (m *azureMarket) eventQuantity(op *azureOperation, subject string) any {
	if !op.plan.perSeat() {
		return 1
	}
	return m.loose(op.seats, subject)
}

// loose writes a quantity as number or, by seed, as text.
func (m *azureMarket) loose(n int64, subject string) any {
	if f := m.s.faults; f.weather == WeatherHostile && f.chance("quantity as text", subject) < 0.5 {
		return strconv.FormatInt(n, 10)
	}
	return n
}

// show is a subscription as GET, lists, Resolve and webhooks show it. Subject varies what may vary: on a flat plan the
// quantity is null, empty or absent.
func (m *azureMarket) show(sub *saas, subject string) map[string]any {
	f := m.s.faults
	party := func(p azureParty) map[string]any {
		return map[string]any{"emailId": p.email, "objectId": p.object, "tenantId": p.tenant, "puid": nil}
	}
	operations := []string{"Delete", "Update", "Read"}
	if sub.reseller() {
		operations = []string{"Read"}
	}
	out := map[string]any{
		"id": sub.id, "name": sub.name, "publisherId": m.o.Publisher, "offerId": sub.offer.ID, "planId": sub.plan.ID,
		"quantity": nil, "beneficiary": party(sub.beneficiary), "purchaser": party(sub.purchaser),
		"allowedCustomerOperations": operations, "sessionMode": "None", "isFreeTrial": false, "isTest": false, "sandboxType": "None",
		"saasSubscriptionStatus": sub.status, "autoRenew": sub.autoRenew, "created": sevenDigits(sub.bought),
		"lastModified": "0001-01-01T00:00:00", // until something was modified
	}
	term := map[string]any{"termUnit": sub.plan.term(), "chargeDuration": nil}
	if !sub.active.IsZero() {
		// The last valid day; the subscription renews on the next.
		term["startDate"], term["endDate"] = sub.termStart.Format(time.RFC3339), sub.termNext.Add(-time.Nanosecond).Truncate(24*time.Hour).Format(time.RFC3339)
		if f.weather == WeatherHostile && f.chance("dates only", subject) < 0.3 {
			term["startDate"], term["endDate"] = sub.termStart.Format(time.DateOnly), sub.termNext.Add(-time.Nanosecond).Format(time.DateOnly)
		}
	}
	out["term"] = term
	if !sub.modified.IsZero() {
		out["lastModified"] = sevenDigits(sub.modified)
		if f.weather == WeatherHostile && f.chance("no zone", subject) < 0.3 {
			out["lastModified"] = withoutZone(sub.modified)
		}
	}
	switch {
	case sub.plan.perSeat():
		out["quantity"] = m.loose(sub.seats, subject)
	case f.weather == WeatherHostile && f.chance("no quantity", subject) < 0.3:
		out["quantity"] = ""
	case f.weather == WeatherHostile && f.chance("no quantity", subject) < 0.6:
		delete(out, "quantity")
	}
	return out
}

func (sub *saas) reseller() bool { return sub.purchaser.tenant != sub.beneficiary.tenant }

func sevenDigits(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.0000000Z") }

func withoutZone(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.9999999") }

// marshal writes JSON that the simulator made itself, which cannot fail.
func marshal(v any) []byte {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimRight(buf.Bytes(), "\n")
}
