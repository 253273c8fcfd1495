package httpapi

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/httpapi/api"
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
	Meter     string         `json:"meter"`
	Quantity  string         `json:"quantity"`
	Of        string         `json:"of"`
	Operation string         `json:"operation"`
	Seconds   int64          `json:"seconds"`
	Corrects  *usageCorrects `json:"corrects"`
}

type usageCorrects struct {
	Source string `json:"source"`
	ID     string `json:"id"`
}

// usageRequest is a request that was read and not looked into yet.
type usageRequest struct {
	events  []rawUsage
	key     string   // the Idempotency-Key; empty when there is none
	payload [32]byte // hash of what was sent
}

// rawUsage is one event as it came: whole JSON, or in binary mode attributes
// beside their data.
type rawUsage struct {
	whole  json.RawMessage
	binary *usageEvent
}

const idempotencyKey = "Idempotency-Key"

// unreadable is a request of which nothing can be taken.
func unreadable(items []api.ProblemItem, format string, args ...any) error {
	return &pointed{items: items, err: fault.New(fault.Invalid, format, args...)}
}

// readUsage reads the envelope in each of CloudEvents' modes: structured, batched,
// and binary. The body is bounded, and unpacked within the same bound.
func (s *Server) readUsage(r *http.Request) (req usageRequest, err error) {
	if req.key, err = readKey(r.Header.Values(idempotencyKey)); err != nil {
		return req, err
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get(echo.HeaderContentType))
	binary := err == nil && kind == echo.MIMEApplicationJSON && r.Header.Get("Ce-Specversion") != ""
	if err != nil || kind != cloudEvent && kind != cloudBatch && !binary {
		return req, unreadable(inHeader(echo.HeaderContentType, "not a form of CloudEvents 1.0 that is taken here"),
			"The content type must be %s or %s, or %s with the event's attributes in ce- headers.", cloudEvent, cloudBatch, echo.MIMEApplicationJSON)
	}
	body, err := s.unpack(r)
	if err != nil {
		return req, err
	}
	hash := sha256.New()
	_, _ = hash.Write([]byte(kind + "\n"))
	_, _ = hash.Write(body)
	switch kind {
	case cloudEvent:
		if !json.Valid(body) || !bytes.HasPrefix(bytes.TrimSpace(body), []byte("{")) {
			return req, unreadable([]api.ProblemItem{{Detail: "not a JSON object"}}, "The body is not a JSON object; a list needs the content type %s.", cloudBatch)
		}
		req.events = []rawUsage{{whole: body}}
	case cloudBatch:
		if req.events, err = splitBatch(body); err != nil {
			return req, err
		}
	default:
		e, err := binaryEvent(r.Header, body)
		if err != nil {
			return req, err
		}
		// What the headers say is part of the payload.
		if err := json.NewEncoder(hash).Encode(e); err != nil {
			return req, fmt.Errorf("hash a usage event: %w", err)
		}
		req.events = []rawUsage{{binary: &e}}
	}
	hash.Sum(req.payload[:0])
	return req, nil
}

func splitBatch(body []byte) ([]rawUsage, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(body, &list); err != nil || list == nil {
		item := api.ProblemItem{Detail: "not a JSON list"}
		if at, ok := errors.AsType[*json.SyntaxError](err); ok {
			item.Detail = "not JSON from byte " + strconv.FormatInt(at.Offset, 10)
		}
		return nil, unreadable([]api.ProblemItem{item}, "The body is not a JSON list of events; a single event needs the content type %s.", cloudEvent)
	}
	if len(list) > maxUsageEvents {
		return nil, unreadable([]api.ProblemItem{{Pointer: "/" + strconv.Itoa(maxUsageEvents), Detail: "one event too many"}},
			"The list has %d events; at most %d are taken in one call.", len(list), maxUsageEvents)
	}
	out := make([]rawUsage, len(list))
	for i, one := range list {
		out[i].whole = one
	}
	return out, nil
}

// readKey reads an Idempotency-Key (draft-ietf-httpapi-idempotency-key-header-07):
// a string in quotes, or bare, as most clients send it.
func readKey(values []string) (string, error) {
	if len(values) == 0 {
		return "", nil
	}
	key := strings.TrimSpace(values[0])
	if len(key) > 1 && strings.HasPrefix(key, `"`) && strings.HasSuffix(key, `"`) {
		key = unescape(key[1 : len(key)-1])
	}
	bad := len(values) > 1 || key == "" || len(key) > 200
	for i := range len(key) {
		bad = bad || key[i] < ' ' || key[i] > '~'
	}
	if bad {
		return "", unreadable(inHeader(idempotencyKey, "not one key of 1 to 200 printable ASCII characters"), "The %s is not one key of 1 to 200 printable ASCII characters.", idempotencyKey)
	}
	return key, nil
}

// unescape drops the backslashes of a quoted string.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		_ = b.WriteByte(s[i])
	}
	return b.String()
}

// binaryEvent reads an event whose attributes are headers (CloudEvents 1.0.2,
// HTTP Protocol Binding, "Binary Content Mode"): quotes first, then one round of
// percent-decoding.
func binaryEvent(h http.Header, body []byte) (e usageEvent, err error) {
	e.Data = body
	if !json.Valid(body) {
		return e, unreadable([]api.ProblemItem{{Detail: "not JSON"}}, "The body is not JSON; in binary mode it is the event's data.")
	}
	for name, to := range map[string]*string{
		"Ce-Specversion": &e.SpecVersion, "Ce-Id": &e.ID, "Ce-Source": &e.Source, "Ce-Type": &e.Type, "Ce-Subject": &e.Subject, "Ce-Time": &e.Time,
	} {
		text := h.Get(name)
		if len(text) > 1 && strings.HasPrefix(text, `"`) && strings.HasSuffix(text, `"`) {
			text = unescape(text[1 : len(text)-1])
		}
		if *to, err = url.PathUnescape(text); err != nil {
			return e, unreadable(inHeader(name, "not percent-encoded text"), "The header %s is not percent-encoded text.", name)
		}
	}
	return e, nil
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
		return nil, unreadable(inHeader(echo.HeaderContentEncoding, "neither gzip nor none"), "The content encoding must be gzip or none.")
	}
	bad := func(err error) error {
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			return err
		}
		return &pointed{items: inHeader(echo.HeaderContentEncoding, "the body is not gzip"), err: fault.Wrap(fault.Invalid, err, "The body is not gzip, though its content encoding says so.")}
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

// decode reads one event; wrong says what its producer must change.
func (r rawUsage) decode() (out billing.UsageEvent, wrong string) {
	var e usageEvent
	if r.binary != nil {
		e = *r.binary
	} else if err := json.Unmarshal(r.whole, &e); err != nil {
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
		return out, "data must be an object with meter, quantity (decimal text) and, where needed, of, operation, seconds, corrects"
	}
	out.Meter, out.Quantity, out.Of, out.Seconds, out.Operation = d.Meter, d.Quantity, d.Of, d.Seconds, d.Operation
	if d.Corrects != nil {
		out.Corrects = &billing.EventName{Source: d.Corrects.Source, ID: d.Corrects.ID}
	}
	return out, ""
}

func isJSON(contentType string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	return err == nil && kind == echo.MIMEApplicationJSON
}
