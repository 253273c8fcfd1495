package simulator

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// Event types without their role suffix.
const (
	eventCreated       = "Purchase Agreement Created"
	eventAmended       = "Purchase Agreement Amended"
	eventEnded         = "Purchase Agreement Ended"
	eventLicensed      = "License Updated"
	eventDeprovisioned = "License Deprovisioned"
	eventOffer         = "Offer Released" // before the purchase, of a private offer
)

// eventsPath is where an API destination posts.
const eventsPath = "/aws/events"

type awsEvent struct {
	Version    string         `json:"version"`
	ID         string         `json:"id"`
	DetailType string         `json:"detail-type"`
	Source     string         `json:"source"`
	Account    string         `json:"account"`
	Time       string         `json:"time"`
	Region     string         `json:"region"`
	Resources  []string       `json:"resources"`
	Detail     map[string]any `json:"detail"`
}

// emit schedules the event of kind that happens to a at at, with its seeded misfortunes. The body is made when the event
// happens, so it tells of the agreement as it was then.
func (m *awsMarket) emit(a *agreement, kind string, at time.Time) {
	a.events++
	subject := a.id + "|" + kind + "|" + strconv.Itoa(a.events)
	m.s.schedule(at, "event of "+a.id, func() {
		body, err := json.Marshal(m.event(a, kind, subject, at))
		if err != nil {
			m.s.log.Error("event not written", "error", err)
			return
		}
		m.route(a, kind, subject, body)
	})
}

// route decides when, how often and by which channel one event travels.
func (m *awsMarket) route(a *agreement, kind, subject string, body []byte) {
	f := m.s.faults
	first := a.intent == intentNew && a.revision == 0
	fated := func(k Kind, slot int, on string) bool { return first && kind == on && f.fated(k, slot, a.n) }
	drop, delay := fated(KindDrop, 0, eventLicensed), fated(KindDelay, 1, eventLicensed)
	reorder, repeat := fated(KindReorder, 2, eventCreated), fated(KindRepeat, 3, eventCreated)
	met := func(k Kind, sure bool) bool {
		if sure {
			f.met[k]++
		}
		return sure || f.happens(k, subject, 1)
	}
	// What nothing else would ever tell is not lost: who made an offer, and what a channel partner sold.
	onlyWord := kind == eventOffer || a.reseller != ""
	if spared := delay || reorder || repeat || onlyWord; !spared && met(KindDrop, drop) {
		return
	}
	var late time.Duration
	if met(KindDelay, delay) {
		most := 3 * time.Hour
		if kind == eventEnded || kind == eventDeprovisioned {
			most = 30 * time.Minute // later, the hour of final usage is over before anybody hears of the end
		}
		late += f.between(time.Minute, most, "delay", subject)
	}
	if met(KindReorder, reorder) {
		late += f.between(62*time.Second, 3*time.Minute, "reorder", subject)
	}
	copies := 1
	if met(KindRepeat, repeat) {
		copies += 1 + int(f.draw("copies", subject)%3)
	}
	for i := range copies {
		at := m.s.now.Add(late)
		if i > 0 && f.chance("apart", subject, strconv.Itoa(i)) < 0.5 {
			at = at.Add(f.between(time.Second, time.Hour, "repeat", subject, strconv.Itoa(i)))
		}
		m.s.schedule(at, "event of "+a.id, func() { m.send(subject, i, body) })
	}
}

// send hands one copy to its channel or channels.
func (m *awsMarket) send(subject string, copyNo int, body []byte) {
	https, sqs := m.s.o.Channel != ChannelSQS, m.s.o.Channel != ChannelHTTPS
	if https && sqs {
		if m.s.faults.weather == WeatherGood {
			sqs = false
		} else {
			switch draw := m.s.faults.chance("channel", subject, strconv.Itoa(copyNo)); {
			case draw < 0.45:
				sqs = false
			case draw < 0.90:
				https = false
			}
		}
	}
	if sqs {
		m.queue.put(body)
	}
	if https {
		header := http.Header{"Content-Type": {"application/json; charset=utf-8"}, "User-Agent": {"Amazon/EventBridge/ApiDestinations"}}
		header.Set(m.s.o.EventKeyHeader, m.s.o.EventKey)
		m.s.spawn(func(ctx context.Context) { m.s.deliver(ctx, eventsPath, header, body) })
	}
}

// event writes the EventBridge envelope. Agreement events carry neither product nor licence; only Amended names the
// product, and only licence events name the licence (aws.md 2b).
func (m *awsMarket) event(a *agreement, kind, subject string, at time.Time) awsEvent {
	f := m.s.faults
	party := func(account string) map[string]any { return map[string]any{"accountId": account} }
	agr := map[string]any{"id": a.id}
	detail := map[string]any{
		"requestId": f.uuid("request", subject), "catalog": "AWSMarketplace", "agreement": agr,
		"acceptor": party(a.account), "proposer": party(a.seller()),
	}
	// Who sells for himself hears of agreements as their proposer only (aws.md 2b).
	suffix, source, about := " - Proposer", "aws.agreement-marketplace", "agreement:"+a.id
	resale := map[string]any{"id": nil}
	if a.reseller != "" {
		suffix, resale["id"] = " - Manufacturer", "resaleauthz-"+f.lower(13, "resale", a.reseller)
	}
	switch kind {
	case eventCreated, eventAmended:
		agr["intent"], agr["status"] = a.intent, statusActive
		agr["acceptanceTime"], agr["startTime"] = fraction(a.accepted), fraction(a.accepted)
		agr["endTime"] = "9999-01-01T00:00:00Z"
		if !a.end.IsZero() {
			agr["endTime"] = a.end.Format(time.RFC3339)
		}
		if a.prev != "" {
			agr["previousAgreementId"] = a.prev
		}
		if kind == eventAmended {
			agr["intent"], agr["autoRenewalEnabled"] = intentAmend, a.autoRenew
			detail["renewalSummary"] = map[string]any{"lockoutStartTime": nil, "disabledBy": nil}
			detail["product"] = map[string]any{"id": a.product.ID, "title": a.product.Title}
		}
		detail["offer"] = map[string]any{"id": a.offer}
		detail["resaleAuthorization"] = resale
	case eventEnded:
		agr["status"] = a.status
		detail["resaleAuthorization"] = resale
	case eventOffer:
		source, about = "aws.marketplacecatalog", "offer:"+a.offer
		named := func(account, name string) map[string]any { return map[string]any{"accountId": account, "name": name} }
		detail = map[string]any{
			"requestId": detail["requestId"], "catalog": "AWSMarketplace",
			"offer":        map[string]any{"id": a.offer, "arn": "arn:aws:aws-marketplace::aws:" + about, "name": "Offer for " + a.account},
			"product":      map[string]any{"id": a.product.ID, "title": a.product.Title},
			"manufacturer": named(m.s.o.SellerAccount, "Example Tailnets Inc."), "sellerOfRecord": named(a.seller(), "Example Tailnets Inc."),
			"targetedBuyerAccountIds": []string{a.account},
		}
		if a.reseller != "" {
			detail["sellerOfRecord"] = named(a.reseller, "Example Channel Partner Ltd.")
		}
	case eventLicensed, eventDeprovisioned:
		suffix = " - Manufacturer"
		detail["product"] = map[string]any{"code": a.product.Code, "id": a.product.ID}
		detail["license"] = map[string]any{"arn": a.licence.arn}
		detail["offer"] = map[string]any{"id": a.offer}
	}
	return awsEvent{
		Version: "0", ID: f.uuid("event", subject), DetailType: kind + suffix, Source: source,
		Account: m.s.o.SellerAccount, Time: at.Format(time.RFC3339), Region: "us-east-1",
		Resources: []string{"arn:aws:aws-marketplace::aws:" + about}, Detail: detail,
	}
}

// fraction writes a time with milliseconds, as agreement times come.
func fraction(t time.Time) string { return t.Format("2006-01-02T15:04:05.000Z") }
