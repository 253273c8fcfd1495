package httpapi

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/fault"
)

const (
	maxUsageEvents = 10_000
	cloudEvent     = "application/cloudevents+json"
	cloudBatch     = "application/cloudevents-batch+json"
	usageType      = "tailmarket.usage.v1"
)

// usageEvent is a CloudEvent 1.0 in JSON, as far as it is ours to read. Other
// attributes are allowed and ignored (CloudEvents 1.0.2, "Extension Context
// Attributes").
type usageEvent struct {
	SpecVersion     string          `json:"specversion"`
	ID              string          `json:"id"`
	Source          string          `json:"source"`
	Type            string          `json:"type"`
	Subject         string          `json:"subject"`
	Time            string          `json:"time"`
	DataContentType string          `json:"datacontenttype"`
	Data            json.RawMessage `json:"data"`
}

type usageData struct {
	Meter    string         `json:"meter"`
	Quantity string         `json:"quantity"`
	Of       string         `json:"of"`
	Seconds  int64          `json:"seconds"`
	Corrects *usageCorrects `json:"corrects"`
}

type usageCorrects struct {
	Source string `json:"source"`
	ID     string `json:"id"`
}

// usageResult answers for one event, in the order in which they came.
type usageResult struct {
	Source  string         `json:"source,omitempty"`
	ID      string         `json:"id,omitempty"`
	Outcome billing.Result `json:"outcome"`
	Detail  string         `json:"detail,omitempty"`
}

// usage takes usage events, one or a batch. It answers after they are stored:
// 200 when every event counts (a repeated one does), 207 when the results must
// be read, 400 only when the whole cannot be read, and then nothing was stored.
func (s *Server) usage(c echo.Context) error {
	raw, err := s.readUsage(c.Request())
	if err != nil {
		return err
	}
	results := make([]usageResult, len(raw))
	events := make([]billing.UsageEvent, 0, len(raw))
	place := make([]int, 0, len(raw)) // of each event in results
	for i, one := range raw {
		e, wrong := decodeUsage(one)
		results[i] = usageResult{Source: e.Source, ID: e.ID, Outcome: billing.InvalidForm, Detail: wrong}
		if wrong == "" {
			events, place = append(events, e), append(place, i)
		}
	}
	outcomes, err := s.Metering.Ingest(c.Request().Context(), events)
	if err != nil {
		return err // sending all again is harmless
	}
	if len(outcomes) != len(events) {
		return fmt.Errorf("ingest answered %d of %d usage events", len(outcomes), len(events))
	}
	for i, o := range outcomes {
		results[place[i]].Outcome, results[place[i]].Detail = o.Result, o.Reason
	}
	status := http.StatusOK
	for _, r := range results {
		if r.Outcome != billing.Accepted && r.Outcome != billing.Duplicate {
			status = http.StatusMultiStatus
		}
	}
	return c.JSON(status, map[string][]usageResult{"results": results})
}

// readUsage reads the envelope: the bounded body, unpacked within the same
// bound, as a list of events that are not looked at yet.
func (s *Server) readUsage(r *http.Request) ([]json.RawMessage, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get(echo.HeaderContentType))
	if err != nil || kind != cloudEvent && kind != cloudBatch {
		return nil, fault.New(fault.Invalid, "The content type must be %s or %s.", cloudEvent, cloudBatch)
	}
	body, err := s.unpack(r)
	if err != nil {
		return nil, err
	}
	if kind == cloudEvent {
		if !json.Valid(body) || !bytes.HasPrefix(bytes.TrimSpace(body), []byte("{")) {
			return nil, fault.New(fault.Invalid, "The body is not a JSON object; a list needs the content type %s.", cloudBatch)
		}
		return []json.RawMessage{body}, nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(body, &list); err != nil || list == nil {
		return nil, fault.New(fault.Invalid, "The body is not a JSON list of events; a single event needs the content type %s.", cloudEvent)
	}
	if len(list) > maxUsageEvents {
		return nil, fault.New(fault.Invalid, "The list has %d events; at most %d are taken in one call.", len(list), maxUsageEvents)
	}
	return list, nil
}

func (s *Server) unpack(r *http.Request) ([]byte, error) {
	switch r.Header.Get(echo.HeaderContentEncoding) {
	case "", "identity":
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, fmt.Errorf("read usage events: %w", err)
		}
		return body, nil
	case "gzip":
	default:
		return nil, fault.New(fault.Invalid, "The content encoding must be gzip or none.")
	}
	bad := func(err error) error {
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			return err
		}
		return fault.Wrap(fault.Invalid, err, "The body is not gzip, though its content encoding says so.")
	}
	z, err := gzip.NewReader(r.Body)
	if err != nil {
		return nil, bad(err)
	}
	// Unpacked data has the bound of packed data: a small bomb stays small.
	body, err := io.ReadAll(io.LimitReader(z, s.Limits.UsageBody+1))
	if err != nil {
		return nil, bad(err)
	}
	if int64(len(body)) > s.Limits.UsageBody {
		return nil, &http.MaxBytesError{Limit: s.Limits.UsageBody}
	}
	return body, nil
}

// decodeUsage reads one event; wrong says what its producer must change.
func decodeUsage(raw json.RawMessage) (out billing.UsageEvent, wrong string) {
	var e usageEvent
	if err := json.Unmarshal(raw, &e); err != nil {
		return out, "the event is not a JSON object in the form of CloudEvents 1.0"
	}
	out.Source, out.ID, out.Subject = e.Source, e.ID, e.Subject
	switch {
	case e.SpecVersion != "1.0":
		return out, `specversion must be "1.0"`
	case e.Type != usageType:
		return out, `type must be "` + usageType + `"`
	case e.DataContentType != "" && !isJSON(e.DataContentType):
		return out, "datacontenttype must be application/json or absent"
	case len(e.Data) == 0:
		return out, "data is missing"
	}
	if e.Time != "" {
		at, err := time.Parse(time.RFC3339Nano, e.Time)
		if err != nil {
			return out, "time is not an RFC 3339 time such as 2026-11-03T07:00:00Z"
		}
		out.UsedAt = at.UTC()
	}
	var d usageData
	dec := json.NewDecoder(bytes.NewReader(e.Data))
	dec.DisallowUnknownFields() // a misspelt "corrects" would bill twice
	if err := dec.Decode(&d); err != nil {
		return out, "data must be an object with meter, quantity (decimal text) and, where needed, of, seconds, corrects"
	}
	out.Meter, out.Quantity, out.Of, out.Seconds = d.Meter, d.Quantity, d.Of, d.Seconds
	if d.Corrects != nil {
		out.Corrects = &billing.EventName{Source: d.Corrects.Source, ID: d.Corrects.ID}
	}
	return out, ""
}

func isJSON(contentType string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	return err == nil && kind == echo.MIMEApplicationJSON
}
