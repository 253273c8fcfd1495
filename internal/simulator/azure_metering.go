package simulator

import (
	"cmp"
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/govalues/decimal"
)

const (
	azureBatch  = 25             // events of one batch
	azureWindow = 24 * time.Hour // from now back
)

// Statuses of a usage event (azure.md 5.3).
const (
	usageAccepted      = "Accepted"
	usageDuplicate     = "Duplicate"
	usageExpired       = "Expired"
	usageError         = "Error"
	usageNotFound      = "ResourceNotFound"
	usageNotAuthorized = "ResourceNotAuthorized"
	usageNotActive     = "ResourceNotActive"
	usageBadDimension  = "InvalidDimension"
	usageBadQuantity   = "InvalidQuantity"
	usageBadArgument   = "BadArgument"
)

// azureSlotKey is what the marketplace de-duplicates by: resource, dimension and UTC hour. The plan is not part of it
// here; the documents do not say.
type azureSlotKey struct {
	resource, dimension string
	hour                time.Time
}

func (k azureSlotKey) String() string {
	return k.resource + "|" + k.dimension + "|" + k.hour.Format(time.RFC3339)
}

// azureSlot is an accepted usage event: the first one written wins.
type azureSlot struct {
	id, plan  string
	quantity  decimal.Decimal
	effective time.Time
	at        time.Time
	foreign   bool // another emitter of the publisher wrote it
}

// azureEvent is one usage event as it came.
type azureEvent struct {
	raw       map[string]any
	resource  string
	dimension string
	plan      string
	quantity  decimal.Decimal
	effective time.Time
	problem   string // what cannot be read of it
}

func (e azureEvent) key() azureSlotKey {
	return azureSlotKey{e.resource, e.dimension, e.effective.Truncate(time.Hour)}
}

// readEvent reads what it can; a mistake in one event is that event's answer, not the batch's.
func readEvent(raw json.RawMessage) azureEvent {
	var e azureEvent
	var in struct {
		ResourceID  string      `json:"resourceId"`
		ResourceURI string      `json:"resourceUri"`
		Quantity    json.Number `json:"quantity"`
		Dimension   string      `json:"dimension"`
		Effective   string      `json:"effectiveStartTime"`
		PlanID      string      `json:"planId"`
	}
	if json.Unmarshal(raw, &e.raw) != nil || json.Unmarshal(raw, &in) != nil {
		e.problem = "usageEventRequest"
		return e
	}
	if _, text := e.raw["quantity"].(string); text {
		e.problem = "quantity" // a number, not a text
	}
	e.resource, e.dimension, e.plan = strings.ToLower(in.ResourceID), in.Dimension, in.PlanID
	var err error
	if e.quantity, err = decimal.Parse(in.Quantity.String()); err != nil {
		e.problem = "quantity"
	}
	if e.effective, err = readTime(in.Effective); err != nil {
		e.problem = "effectiveStartTime"
	}
	for target, missing := range map[string]bool{
		"resourceId": in.ResourceID == "" || in.ResourceURI != "", "dimension": in.Dimension == "", "planId": in.PlanID == "",
	} {
		if missing {
			e.problem = target
		}
	}
	return e
}

// readTime reads a time with or without zone, which is then UTC.
func readTime(text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t, err = time.Parse("2006-01-02T15:04:05", text)
	}
	return t.UTC(), err
}

// batchUsageEvent answers 200 whatever became of the events, each with its own status, in an order of its own.
func (m *azureMarket) batchUsageEvent(c *azureCall) (any, error) {
	var in struct {
		Request []json.RawMessage `json:"request"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if len(in.Request) < 1 || len(in.Request) > azureBatch {
		return nil, azureBad("request", "The batch must have 1 to %d usage events, not %d.", azureBatch, len(in.Request))
	}
	events := make([]azureEvent, 0, len(in.Request))
	for _, raw := range in.Request {
		events = append(events, readEvent(raw))
	}
	tries, definite, err := m.attempt(events)
	if err != nil {
		return nil, err
	}
	cut := !definite && len(tries) > 0 && m.meets(KindAcceptThenClose, tries)
	type answer struct {
		key  string
		item map[string]any
	}
	answers := make([]answer, 0, len(events))
	for _, e := range events {
		k := e.key()
		answers = append(answers, answer{k.String() + e.plan, m.item(e, m.book(c.client, e, tries[k], definite))})
	}
	if cut {
		return nil, errCut
	}
	slices.SortStableFunc(answers, func(a, b answer) int {
		return cmp.Compare(m.s.faults.draw("azure order", a.key), m.s.faults.draw("azure order", b.key))
	})
	items := make([]map[string]any, 0, len(answers))
	for _, a := range answers {
		items = append(items, a.item)
	}
	return map[string]any{"count": len(items), "result": items}, nil
}

// usageEvent is the single form: what the batch says inside a 200 is a status code here.
func (m *azureMarket) usageEvent(c *azureCall) (any, error) {
	e := readEvent(c.body)
	if _, batch := e.raw["request"]; batch {
		return nil, azureBad("usageEventRequest", "The request has no wrapper here.")
	}
	tries, definite, err := m.attempt([]azureEvent{e})
	if err != nil {
		return nil, err
	}
	cut := !definite && m.meets(KindAcceptThenClose, tries)
	out := m.book(c.client, e, tries[e.key()], definite)
	if cut {
		return nil, errCut
	}
	body := m.item(e, out)
	switch out.status {
	case usageAccepted:
		return body, nil
	case usageNotAuthorized:
		return nil, &azureError{http.StatusForbidden, map[string]any{"message": "Client is not authorized for this usage resource.", "code": "Forbidden"}}
	case usageDuplicate:
		return nil, &azureError{http.StatusConflict, body["error"]}
	case usageError:
		return nil, m.brokenOrBusy(false)
	}
	return nil, azureBad(out.target, "%s", out.message)
}

// attempt counts a try of every slot of a call and throws what befalls the whole call before anything is recorded. It is
// decided by the slot whose hash is smallest; from a slot's fourth try on, nothing befalls its calls.
func (m *azureMarket) attempt(events []azureEvent) (tries map[azureSlotKey]int, definite bool, err error) {
	tries = make(map[azureSlotKey]int, len(events))
	for _, e := range events {
		if k := e.key(); e.problem == "" && tries[k] == 0 {
			m.attempts[k]++
			tries[k] = m.attempts[k]
			definite = definite || tries[k] >= definiteAttempt
		}
	}
	switch {
	case definite || len(tries) == 0:
	case m.meets(KindThrottle, tries):
		err = m.brokenOrBusy(true)
	case m.meets(Kind5xx, tries):
		err = m.brokenOrBusy(false)
	}
	return tries, definite, err
}

// meets asks for a call by its deciding slot.
func (m *azureMarket) meets(kind Kind, tries map[azureSlotKey]int) bool {
	var best azureSlotKey
	low := uint64(math.MaxUint64)
	for k := range tries {
		if h := m.s.faults.draw("azure deciding", k.String()); h <= low {
			best, low = k, h
		}
	}
	return m.s.faults.happens(kind, best.String(), tries[best])
}

// booked is what became of an event.
type booked struct {
	status          string
	target, message string
	slot            *azureSlot
}

// book decides one event and records it when it is accepted. What cannot be is said before what was: an event that was
// accepted and comes again while the subscription is suspended is answered ResourceNotActive.
func (m *azureMarket) book(client string, e azureEvent, nth int, definite bool) booked {
	sub, f, now := m.byID[e.resource], m.s.faults, m.s.now
	if e.problem != "" {
		return booked{status: usageBadArgument, target: e.problem, message: "The usage event cannot be read."}
	}
	notActive := func() booked {
		b := booked{status: usageNotActive, target: "ResourceId", message: "The resource cannot be found or this resource is not active."}
		if f.happens(KindInactiveMissing, e.key().String(), nth) {
			b.status = usageNotFound
		}
		return b
	}
	switch {
	case sub == nil:
		return booked{status: usageNotFound, target: "ResourceId", message: "The resource cannot be found or this resource is not active."}
	case client != m.clientOf(sub.offer):
		return booked{status: usageNotAuthorized, target: "ResourceId", message: "The client is not authorized for this usage resource."}
	case !e.quantity.IsPos():
		return booked{status: usageBadQuantity, target: "quantity", message: "The quantity must be above zero."}
	case sub.active.IsZero():
		return notActive()
	}
	plan := sub.planAt(e.plan, e.effective)
	switch {
	case plan == nil:
		return booked{status: usageBadArgument, target: "planId", message: "The plan is not the one in force at the time of the usage."}
	case !slices.Contains(plan.Dimensions, e.dimension):
		return booked{status: usageBadDimension, target: "dimension", message: "The dimension is not enabled in the plan."}
	case e.effective.After(now) || e.effective.Before(now.Add(-azureWindow)):
		return booked{status: usageExpired, target: "effectiveStartTime", message: "The effectiveStartTime has expired or is in future."}
	case sub.status == saasSuspended, sub.status == saasUnsubscribed && !e.effective.Before(sub.ended),
		e.effective.Before(sub.active.Truncate(time.Hour)):
		return notActive()
	case !definite && f.happens(KindItemError, e.key().String(), nth):
		return booked{status: usageError, target: "usageEventRequest", message: "An error has occurred. Please try again."}
	}
	k := e.key()
	slot, taken := m.slots[k]
	if other, ok := m.intruder(k, e, nth); !taken && ok {
		slot, taken = other, true
	}
	if taken {
		return booked{status: usageDuplicate, slot: slot, message: "This usage event already exist."}
	}
	slot = &azureSlot{id: f.uuid("usage event", k.String()), plan: e.plan, quantity: e.quantity, effective: e.effective, at: now}
	m.slots[k] = slot
	return booked{status: usageAccepted, slot: slot}
}

// intruder is another emitter of the same publisher who was first in a free slot, with another quantity. It is asked for
// at a slot's first try only, so what is accepted later was nobody else's.
func (m *azureMarket) intruder(k azureSlotKey, e azureEvent, nth int) (*azureSlot, bool) {
	f, one := m.s.faults, decimal.MustNew(1, 0)
	if _, taken := m.slots[k]; taken || nth != 1 {
		return nil, false
	}
	var quantity decimal.Decimal
	switch {
	case one.Less(e.quantity) && f.happens(KindSlotTaken, k.String(), nth):
		half, err := e.quantity.Quo(decimal.MustNew(2, 0))
		if quantity = half.Ceil(0); err != nil {
			return nil, false
		}
	case f.happens(KindSlotTakenMore, k.String(), nth):
		more, err := e.quantity.Add(one)
		if quantity = more; err != nil {
			return nil, false
		}
	default:
		return nil, false
	}
	slot := &azureSlot{id: f.uuid("intruder", k.String()), plan: e.plan, quantity: quantity, effective: e.effective, at: m.s.now, foreign: true}
	m.slots[k] = slot
	return slot, true
}

// planAt is the plan with this id if it was in force at any moment of the hour of t, or is now; before the first plan
// the first one counts.
func (sub *saas) planAt(id string, t time.Time) *AzurePlan {
	from := t.Truncate(time.Hour)
	for i, span := range sub.plans {
		until := time.Time{}
		if i+1 < len(sub.plans) {
			until = sub.plans[i+1].from
		}
		if span.plan.ID == id && (until.IsZero() || until.After(from)) {
			return span.plan
		}
	}
	return nil
}

// item is an event with its answer: the event echoed, times without zone.
func (m *azureMarket) item(e azureEvent, b booked) map[string]any {
	out := map[string]any{"status": b.status, "messageTime": withoutZone(m.s.now)}
	for _, name := range []string{"resourceId", "resourceUri", "quantity", "dimension", "planId", "effectiveStartTime"} {
		if v, ok := e.raw[name]; ok {
			out[name] = v
		}
	}
	if !e.effective.IsZero() {
		out["effectiveStartTime"] = withoutZone(e.effective)
	}
	switch b.status {
	case usageAccepted:
		out["usageEventId"] = b.slot.id
	case usageDuplicate:
		out["messageTime"] = "0001-01-01T00:00:00"
		out["error"] = map[string]any{
			"code": "Conflict", "message": b.message,
			"additionalInfo": map[string]any{"acceptedMessage": map[string]any{
				"usageEventId": b.slot.id, "status": usageDuplicate, "messageTime": withoutZone(b.slot.at), "resourceId": e.resource,
				"quantity": json.Number(b.slot.quantity.String()), "dimension": e.dimension,
				"effectiveStartTime": withoutZone(b.slot.effective), "planId": b.slot.plan,
			}},
		}
	default:
		code := "BadArgument"
		if b.status == usageNotAuthorized {
			code = "Forbidden"
		}
		out["error"] = map[string]any{
			"code": code, "message": "One or more errors have occurred.", "target": "usageEventRequest",
			"details": []map[string]any{{"code": code, "message": b.message, "target": b.target}},
		}
	}
	return out
}

func (m *azureMarket) bill() []BillLine {
	type meter struct{ resource, dimension string }
	lines, sums := map[meter]*BillLine{}, map[meter]decimal.Decimal{}
	for k, slot := range m.slots {
		of, sub := meter{k.resource, k.dimension}, m.byID[k.resource]
		line := lines[of]
		if line == nil {
			line = &BillLine{
				Marketplace: Azure, Purchase: sub.id, Account: sub.beneficiary.tenant, Product: sub.offer.ID, Dimension: k.dimension,
			}
			lines[of] = line
		}
		s := Slot{Hour: k.hour, RecordID: slot.id, At: slot.at, Foreign: slot.foreign}
		s.Quantity, s.Exact = wholeAndExact(slot.quantity)
		line.Slots = append(line.Slots, s)
		if sum, err := sums[of].Add(slot.quantity); err == nil {
			sums[of] = sum
		}
	}
	out := make([]BillLine, 0, len(lines))
	for of, line := range lines {
		line.Quantity, line.Exact = wholeAndExact(sums[of])
		slices.SortFunc(line.Slots, func(a, b Slot) int { return a.Hour.Compare(b.Hour) })
		out = append(out, *line)
	}
	slices.SortFunc(out, func(a, b BillLine) int {
		return cmp.Or(cmp.Compare(a.Purchase, b.Purchase), cmp.Compare(a.Dimension, b.Dimension))
	})
	return out
}

// wholeAndExact is a quantity in whole units and, when it has more than those, its text.
func wholeAndExact(d decimal.Decimal) (int64, string) {
	whole, _, _ := d.Trunc(0).Int64(0)
	if d.IsInt() {
		return whole, ""
	}
	return whole, d.Trim(0).String()
}
