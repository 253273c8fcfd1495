package simulator

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// Event types (gcp.md 3.2).
const (
	eventAccountActive        = "ACCOUNT_ACTIVE"
	eventAccountDeleted       = "ACCOUNT_DELETED"
	eventCreationRequested    = "ENTITLEMENT_CREATION_REQUESTED"
	eventOfferAccepted        = "ENTITLEMENT_OFFER_ACCEPTED"
	eventActive               = "ENTITLEMENT_ACTIVE"
	eventPlanChangeRequested  = "ENTITLEMENT_PLAN_CHANGE_REQUESTED"
	eventPlanChanged          = "ENTITLEMENT_PLAN_CHANGED"
	eventPlanChangeCancelled  = "ENTITLEMENT_PLAN_CHANGE_CANCELLED"
	eventPendingCancellation  = "ENTITLEMENT_PENDING_CANCELLATION"
	eventCancellationReverted = "ENTITLEMENT_CANCELLATION_REVERTED"
	eventCancelling           = "ENTITLEMENT_CANCELLING"
	eventCancelled            = "ENTITLEMENT_CANCELLED"
	eventRenewed              = "ENTITLEMENT_RENEWED"
	eventOfferEnded           = "ENTITLEMENT_OFFER_ENDED"
	eventDeleted              = "ENTITLEMENT_DELETED"
)

const (
	gcpEventsPath = "/gcp/events" // where the push subscription posts
	gcpRetention  = 7 * 24 * time.Hour
	nackFirst     = 10 * time.Second  // virtual: before a refused push comes again
	nackMost      = 600 * time.Second // virtual
	forgeryTries  = 20
)

// emit schedules the message of kind about e at at, with its seeded misfortunes. Without an event id it gets its own.
func (m *gcpMarket) emit(e *gcpEntitlement, kind, eventID string, at time.Time) {
	e.events++
	subject := e.id + "|" + kind + "|" + strconv.Itoa(e.events)
	m.s.schedule(at, "event of "+e.id, func() {
		body, err := json.Marshal(m.event(e, kind, cmp.Or(eventID, m.s.faults.uuid("event", subject)), subject))
		if err != nil {
			m.s.log.Error("event not written", "error", err)
			return
		}
		m.route(e, kind, subject, body)
	})
}

// route decides when, how often and by which channel one event travels. Events of one end are never all lost or hours
// late: what was used before it must be reported within the hour.
func (m *gcpMarket) route(e *gcpEntitlement, kind, subject string, body []byte) {
	f := m.s.faults
	end := kind == eventCancelling || kind == eventCancelled || kind == eventAccountDeleted
	fated := func(k Kind, slot int, on string) bool { return kind == on && f.fated(k, slot, e.n) }
	drop, delay := fated(KindDrop, 0, eventActive), fated(KindDelay, 1, eventActive)
	reorder, repeat := fated(KindReorder, 2, eventCreationRequested), fated(KindRepeat, 3, eventCreationRequested)
	met := func(k Kind, sure bool) bool {
		if sure {
			f.met[k]++
		}
		return sure || f.happens(k, subject, 1)
	}
	if spared := delay || reorder || repeat || kind == eventCancelled; !spared && met(KindDrop, drop) {
		return
	}
	var late time.Duration
	if met(KindDelay, delay) {
		most := 3 * time.Hour
		if end {
			most = 30 * time.Minute
		}
		late += f.between(time.Minute, most, "delay", subject)
	}
	if met(KindReorder, reorder) {
		late += f.between(5*time.Second, 3*time.Minute, "reorder", subject)
	}
	copies := 1
	if met(KindRepeat, repeat) {
		copies += 1 + int(f.draw("copies", subject)%3)
	}
	var msg *published
	for i := range copies {
		at := m.s.now.Add(late)
		if i > 0 && f.chance("apart", subject, strconv.Itoa(i)) < 0.5 {
			at = at.Add(f.between(time.Second, time.Hour, "repeat", subject, strconv.Itoa(i)))
		}
		// Delivered again it is the same message; published again it is a new one with the same event in it.
		if i == 0 || f.chance("published", subject, strconv.Itoa(i)) < 0.5 {
			m.messages++
			msg = &published{id: strconv.Itoa(10_000_000_000 + m.messages), at: at, data: body}
		}
		m.s.schedule(at, "event of "+e.id, func() { m.send(subject, i, msg) })
	}
}

// published is a message as the topic keeps it.
type published struct {
	id   string
	at   time.Time
	data []byte
}

// send hands one copy to its channel or channels.
func (m *gcpMarket) send(subject string, copyNo int, msg *published) {
	push, pull := m.o.Channel != ChannelSQS, m.o.Channel != ChannelHTTPS
	if push && pull {
		if m.s.faults.weather == WeatherGood {
			pull = false
		} else {
			switch draw := m.s.faults.chance("channel", subject, strconv.Itoa(copyNo)); {
			case draw < 0.45:
				pull = false
			case draw < 0.90:
				push = false
			}
		}
	}
	if pull {
		m.sub.put(msg)
	}
	if push {
		forged := m.s.faults.happens(KindForgedWebhook, subject, copyNo+1)
		m.s.spawn(func(ctx context.Context) {
			if forged {
				m.forge(ctx, subject, msg)
			}
			m.pushTo(ctx, msg, 0)
		})
	}
}

// event writes the message's JSON. Everything beyond the ids and the time is a hint, and the ids' neighbours vary
// (gcp.md 3.3).
func (m *gcpMarket) event(e *gcpEntitlement, kind, eventID, subject string) map[string]any {
	f := m.s.faults
	out := map[string]any{"eventId": eventID, "eventType": kind}
	if f.weather != WeatherHostile || f.chance("provider id", subject) < 0.8 {
		out["providerId"] = m.o.Provider
	}
	if kind == eventAccountActive || kind == eventAccountDeleted {
		out["account"] = map[string]any{"id": e.account.id, "updateTime": moment(e.account.updated)}
		return out
	}
	about := map[string]any{"id": e.id, "updateTime": moment(e.updated)}
	duration := "newPendingOfferDuration"
	if f.weather == WeatherHostile && f.chance("duration key", subject) < 0.3 {
		duration = "newOfferDuration" // as older pages have it
	}
	fixed := ""
	if e.duration == "" {
		fixed = moment(e.ends)
	}
	switch kind {
	case eventCreationRequested:
		about["newPlan"], about[duration], about["newOfferEndTime"] = e.plan, e.duration, fixed
	case eventOfferAccepted:
		plan, offer := cmp.Or(e.newPlan, e.plan), cmp.Or(e.newOffer, e.offer)
		about["newPlan"], about["newProduct"], about["newOffer"] = plan, offer, offer
		about["orderId"], about["entitlementBenefitIds"] = e.orderID, []string{e.benefit()}
		about[duration], about["newOfferEndTime"] = e.duration, fixed
	case eventPlanChangeRequested:
		about["plan"], about["newPendingPlan"], about["newPendingOffer"] = e.plan, e.newPlan, e.newOffer
		about[duration] = e.newDuration
	}
	out["entitlement"] = about
	return out
}

func (e *gcpEntitlement) benefit() string { return e.m.s.faults.uuid("benefit", e.id) }

// moment writes a time as Google does: without a fraction or with six digits.
func moment(t time.Time) string {
	switch {
	case t.IsZero():
		return ""
	case t.Nanosecond() == 0:
		return t.UTC().Format(time.RFC3339)
	default:
		return t.UTC().Format("2006-01-02T15:04:05.000000Z")
	}
}

// wrap is the body of a push in its default form.
func (m *gcpMarket) wrap(msg *published) []byte {
	inner := map[string]any{
		"data": base64.StdEncoding.EncodeToString(msg.data), "attributes": map[string]string{},
		"messageId": msg.id, "message_id": msg.id, "publishTime": moment(msg.at), "publish_time": moment(msg.at),
	}
	body, err := json.Marshal(map[string]any{"message": inner, "subscription": m.o.Subscription})
	if err != nil {
		m.s.log.Error("push not written", "error", err)
	}
	return body
}

func (m *gcpMarket) pushAudience() string { return cmp.Or(m.o.PushAudience, m.s.appURL+gcpEventsPath) }

// pushTo posts a message until it is acknowledged. While the app is away or in trouble that is short wall time; what it
// refuses comes again in virtual time, as every answer but five codes is a refusal, until the topic forgets it.
func (m *gcpMarket) pushTo(ctx context.Context, msg *published, refusals int) {
	body := m.wrap(msg)
	for pause := retryFirst; ; pause = min(2*pause, retryMost) {
		m.s.mu.Lock()
		token := m.pushToken()
		m.s.mu.Unlock()
		status := m.s.post(ctx, gcpEventsPath, pushHeader(token), body)
		m.s.mu.Lock()
		m.s.deliveries.Attempts++
		again := false
		switch {
		case acknowledges(status):
			m.s.deliveries.Accepted++
		case status == 0, status >= 500, status == http.StatusTooManyRequests:
			again = true
		default:
			m.s.deliveries.Refused++
			m.s.log.Warn("push refused", "status", status)
			if back := min(nackFirst<<min(refusals, 6), nackMost); m.s.now.Add(back).Before(msg.at.Add(gcpRetention)) {
				m.s.schedule(m.s.now.Add(back), "refused message "+msg.id, func() {
					m.s.spawn(func(ctx context.Context) { m.pushTo(ctx, msg, refusals+1) })
				})
			}
		}
		m.s.mu.Unlock()
		if !again || !sleep(ctx, pause) {
			return
		}
	}
}

// forge posts the message as somebody else would. An app that takes it is told of in the log and in Rest.
func (m *gcpMarket) forge(ctx context.Context, subject string, msg *published) {
	m.s.mu.Lock()
	token := m.forgedToken(m.s.faults.draw("forged", subject))
	m.s.mu.Unlock()
	body := m.wrap(msg)
	for pause, try := retryFirst, 1; try <= forgeryTries; pause, try = min(2*pause, retryMost), try+1 {
		switch status := m.s.post(ctx, gcpEventsPath, pushHeader(token), body); {
		case acknowledges(status):
			m.s.mu.Lock()
			m.s.deliveries.Believed++
			m.s.mu.Unlock()
			m.s.log.Error("forged push believed", "status", status)
			return
		case status != 0 && status < 500:
			return
		}
		if !sleep(ctx, pause) {
			return
		}
	}
}

// acknowledges lists the codes that Pub/Sub takes for an acknowledgement; 102 never ends an answer in HTTP/1.1.
func acknowledges(status int) bool {
	return status == http.StatusOK || status == http.StatusCreated || status == http.StatusAccepted || status == http.StatusNoContent
}

func pushHeader(token string) http.Header {
	return http.Header{
		"Content-Type": {"application/json"}, "Authorization": {"Bearer " + token},
		"User-Agent": {"APIs-Google; (+https://developers.google.com/webmasters/APIs-Google.html)"},
	}
}
