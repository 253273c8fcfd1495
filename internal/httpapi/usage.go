package httpapi

import (
	"fmt"
	"math"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/httpapi/api"
	"github.com/tailmarket/tailmarket/internal/identity"
)

// usageAnswer says what is durably stored: it leaves after the commit.
type usageAnswer struct {
	Stored  int           `json:"stored"`  // of the results: these will not be lost, and need not be sent again
	Refused int           `json:"refused"` // nothing of these was stored
	Results []usageResult `json:"results"`
}

// usageResult answers for one event, in the order in which they came.
type usageResult struct {
	Source  string         `json:"source,omitempty"`
	ID      string         `json:"id,omitempty"`
	Outcome billing.Result `json:"outcome"`
	Stored  bool           `json:"stored"`
	Event   string         `json:"event,omitempty"` // our name of what was counted
	Detail  string         `json:"detail,omitempty"`
}

// usage takes usage events, one or a batch. It answers after they are stored:
// 200 when every event counts (a repeated one does), 207 when the results must
// be read, a problem only when the whole cannot be taken, and then nothing was
// stored.
func (s *Server) usage(c echo.Context) error {
	s.tellQueue(c)
	if p := s.Metering.Pressure(); p.Free == 0 { // before reading what cannot be stored
		f := fault.New(fault.Throttled, "%d usage events wait to be stored. Send these again later; nothing of them was stored.", p.Limit)
		f.RetryAfter = p.Drain
		return queueFull(f)
	}
	req, err := s.readUsage(c.Request())
	if err != nil {
		return err
	}
	answer := usageAnswer{Results: make([]usageResult, len(req.events))}
	events := make([]billing.UsageEvent, 0, len(req.events))
	place := make([]int, 0, len(req.events)) // of each event in results
	for i, one := range req.events {
		e, wrong := one.decode()
		answer.Results[i] = usageResult{Source: e.Source, ID: e.ID, Outcome: billing.InvalidForm, Detail: wrong}
		if wrong == "" {
			events, place = append(events, e), append(place, i)
		}
	}
	if err := inScope(principal(c.Request().Context()), events, place); err != nil {
		return err
	}
	outcomes, err := s.ingest(c, req, events)
	if err != nil {
		return err // sending all again is harmless
	}
	if len(outcomes) != len(events) {
		return fmt.Errorf("ingest answered %d of %d usage events", len(outcomes), len(events))
	}
	status := http.StatusOK
	for i, o := range outcomes {
		r := &answer.Results[place[i]]
		r.Outcome, r.Detail, r.Event = o.Result, o.Reason, string(o.Event)
	}
	for i := range answer.Results {
		r := &answer.Results[i]
		r.Stored = r.Outcome == billing.Accepted || r.Outcome == billing.Duplicate || r.Outcome == billing.Quarantine
		if r.Stored {
			answer.Stored++
		} else {
			answer.Refused++
		}
		if r.Outcome != billing.Accepted && r.Outcome != billing.Duplicate {
			status = http.StatusMultiStatus
		}
	}
	return c.JSON(status, answer)
}

// ingest stores the events, under the request's Idempotency-Key when it has one.
func (s *Server) ingest(c echo.Context, req usageRequest, events []billing.UsageEvent) ([]billing.Outcome, error) {
	ctx := c.Request().Context()
	if req.key == "" {
		out, err := s.Metering.Ingest(ctx, events)
		if fault.Is(err, fault.Throttled) {
			err = queueFull(err)
		}
		return out, err
	}
	out, repeated, err := s.Metering.IngestOnce(ctx, billing.Call{Owner: principal(ctx).Actor, Key: req.key, Payload: req.payload}, events)
	switch fault.ClassOf(err) {
	case fault.Throttled:
		err = queueFull(err)
	case fault.Refused:
		err = &pointed{kind: "idempotency_key_reused", title: "This Idempotency-Key belongs to another request", items: inHeader(idempotencyKey, "used before with another payload"), err: err}
	case fault.Conflict:
		err = &pointed{kind: "idempotency_key_running", title: "The first request with this Idempotency-Key is still running", items: inHeader(idempotencyKey, "the first request is still running"), err: err}
	}
	if repeated {
		c.Response().Header().Set("Idempotency-Replayed", "true")
	}
	return out, err
}

const maxItems = 20 // of a problem: enough to see what is wrong

// inScope refuses a call with events of somebody else's sources. The whole call:
// whoever presents the wrong key should hear of it at once.
func inScope(who identity.Principal, events []billing.UsageEvent, place []int) error {
	if who.Sources == nil {
		return nil
	}
	var items []api.ProblemItem
	for i, e := range events {
		at := "/" + strconv.Itoa(place[i])
		if !who.Sources(e.Source) {
			items = append(items, api.ProblemItem{Pointer: at + "/source", Detail: "not a source of this key"})
		}
		if e.Corrects != nil && !who.Sources(e.Corrects.Source) {
			items = append(items, api.ProblemItem{Pointer: at + "/data/corrects/source", Detail: "not a source of this key"})
		}
	}
	if len(items) == 0 {
		return nil
	}
	err := fault.New(fault.Denied, "%d places name a source that this key may not send usage of; nothing of the call was stored.", len(items))
	return &pointed{kind: "source_not_allowed", title: "This key is for other sources", items: items[:min(len(items), maxItems)], err: err}
}

func queueFull(err error) error {
	return &pointed{kind: "usage_queue_full", title: "Usage comes faster than it can be stored", err: err}
}

func inHeader(name, detail string) []api.ProblemItem {
	return []api.ProblemItem{{Header: name, Detail: detail}}
}

// tellQueue tells a producer how full the writer's queue is, before it is refused
// (draft-ietf-httpapi-ratelimit-headers-11). The quota is no rate: it is how many
// events may wait for their commit.
func (s *Server) tellQueue(c echo.Context) {
	c.Response().Before(func() { // as it is when the answer leaves
		p, h := s.Metering.Pressure(), c.Response().Header()
		h.Set("Ratelimit-Policy", fmt.Sprintf(`"usage-queue";q=%d;qu="events"`, p.Limit))
		h.Set("Ratelimit", fmt.Sprintf(`"usage-queue";r=%d;t=%d`, p.Free, int(math.Ceil(p.Drain.Seconds()))))
	})
}
