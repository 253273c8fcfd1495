package simulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

const azureAPIVersion = "2018-08-31"

// azureError is a refusal with the body this API gives it; there are several shapes.
type azureError struct {
	status int
	body   any
}

func (e *azureError) Error() string { return fmt.Sprintf("%d %s", e.status, marshal(e.body)) }

// azureBad is the documented 400 of both APIs.
func azureBad(target, format string, args ...any) *azureError {
	message := fmt.Sprintf(format, args...)
	return &azureError{http.StatusBadRequest, map[string]any{
		"code": "BadArgument", "message": "One or more errors have occurred.", "target": target,
		"details": []map[string]any{{"code": "BadArgument", "message": message, "target": target}},
	}}
}

// azureMessage is the shape of several validation failures of PATCH.
func azureMessage(status int, message string) *azureError {
	return &azureError{status, map[string]any{"message": message}}
}

func azureMissing(what string) *azureError {
	return &azureError{http.StatusNotFound, map[string]any{"code": "NotFound", "message": what + " is not found."}}
}

// azureForbidden is a bare string: missing, expired and foreign tokens look alike (azure.md 1).
func azureForbidden() *azureError {
	return &azureError{http.StatusForbidden, "The access token is invalid, expired, missing, or belongs to an application other than the one in the offer's technical details."}
}

// azureCall is one request to the marketplace's APIs.
type azureCall struct {
	op     string
	r      *http.Request
	body   []byte
	client string // the application that calls
	header http.Header
	status int // 200 unless set
}

// azureOp answers a call with a body, or nil for none. It is called with the lock held.
type azureOp func(c *azureCall) (any, error)

// server is the one HTTPS port of the APIs, under /api, and of the directory.
func (m *azureMarket) server() *http.Server {
	mux := http.NewServeMux()
	const subscriptions = "/api/saas/subscriptions"
	for _, route := range []struct {
		pattern, op string
		do          azureOp
	}{
		{"POST " + subscriptions + "/resolve", "Resolve", m.resolve},
		{"GET " + subscriptions, "ListSubscriptions", m.listSubscriptions},
		{"GET " + subscriptions + "/{$}", "ListSubscriptions", m.listSubscriptions},
		{"GET " + subscriptions + "/{id}", "GetSubscription", m.getSubscription},
		{"PATCH " + subscriptions + "/{id}", "UpdateSubscription", m.updateSubscription},
		{"DELETE " + subscriptions + "/{id}", "DeleteSubscription", m.deleteSubscription},
		{"POST " + subscriptions + "/{id}/activate", "ActivateSubscription", m.activate},
		{"GET " + subscriptions + "/{id}/listAvailablePlans", "ListAvailablePlans", m.listAvailablePlans},
		{"GET " + subscriptions + "/{id}/operations", "ListOperations", m.listOperations},
		{"GET " + subscriptions + "/{id}/operations/{op}", "GetOperation", m.getOperation},
		{"PATCH " + subscriptions + "/{id}/operations/{op}", "UpdateOperation", m.updateOperation},
		{"POST /api/usageEvent", "UsageEvent", m.usageEvent},
		{"POST /api/batchUsageEvent", "BatchUsageEvent", m.batchUsageEvent},
		{"GET /api/usageEvents", "UsageEvents", m.usageEvents},
	} {
		mux.HandleFunc(route.pattern, func(w http.ResponseWriter, r *http.Request) { m.serve(w, r, route.op, route.do) })
	}
	m.directory(mux)
	return &http.Server{Handler: m.s.counted(mux)}
}

// serve answers one API call. The clock stands still meanwhile.
func (m *azureMarket) serve(w http.ResponseWriter, r *http.Request, op string, do azureOp) {
	m.s.begin()
	defer m.s.end()
	c := &azureCall{op: op, r: r, header: w.Header()}
	var err error
	if c.body, err = io.ReadAll(io.LimitReader(r.Body, maxBody+1)); err != nil {
		return
	}
	m.s.tell(op, "received")
	out, err := m.answerCall(c, do)
	if errors.Is(err, errCut) {
		m.s.tell(op, "answered")
		panic(http.ErrAbortHandler) // net/http's way to cut a connection without an answer
	}
	m.write(w, c, out, err)
	if err := http.NewResponseController(w).Flush(); err != nil {
		m.s.log.Debug("answer not flushed", "error", err)
	}
	m.s.tell(op, "answered")
}

func (m *azureMarket) answerCall(c *azureCall, do azureOp) (any, error) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	m.calls++
	for name, made := range map[string]string{
		"X-Ms-Requestid":     m.s.faults.uuid("azure request", fmt.Sprint(m.calls)),
		"X-Ms-Correlationid": m.s.faults.uuid("azure correlation", fmt.Sprint(m.calls)),
	} {
		if sent := c.r.Header.Get(name); sent != "" {
			made = sent
		}
		c.header.Set(name, made)
	}
	c.header.Set("Mise-Correlation-Id", m.s.faults.uuid("mise", fmt.Sprint(m.calls)))
	if len(c.body) > maxBody {
		return nil, azureMessage(http.StatusRequestEntityTooLarge, "The request is larger than 1 MB.")
	}
	switch v := c.r.URL.Query().Get("api-version"); v {
	case azureAPIVersion:
	case "":
		return nil, &azureError{http.StatusBadRequest, map[string]any{"Error": map[string]any{
			"Code": "ApiVersionUnspecified", "Message": "An API version is required, but was not specified.",
		}}}
	default:
		return nil, &azureError{http.StatusBadRequest, map[string]any{"Error": map[string]any{
			"Code": "UnsupportedApiVersion", "Message": "The HTTP resource does not support the API version " + v + ".",
		}}}
	}
	token, _ := strings.CutPrefix(c.r.Header.Get("Authorization"), "Bearer ")
	bearer, ok := m.entra.access[token]
	if ok && m.s.faults.happens(KindTokenRevoked, c.op, 1) {
		delete(m.entra.access, token)
		ok = false
	}
	if !ok || bearer.audience != marketplaceApp {
		return nil, azureForbidden()
	}
	c.client = bearer.client
	return do(c)
}

func (m *azureMarket) write(w http.ResponseWriter, c *azureCall, out any, err error) {
	status := c.status
	if status == 0 {
		status = http.StatusOK
	}
	if err != nil {
		var e *azureError
		if !errors.As(err, &e) {
			e = &azureError{http.StatusInternalServerError, map[string]any{"error": map[string]any{"code": "UnexpectedError", "message": err.Error()}}}
		}
		if status, out = e.status, e.body; status == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", "0") // wall time, for which the clock here would stand still
		}
	}
	var body []byte
	if out != nil {
		body = marshal(out)
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// decode reads the call's body into v.
func (c *azureCall) decode(v any) error {
	dec := json.NewDecoder(bytes.NewReader(c.body))
	dec.UseNumber()
	if err := dec.Decode(v); err != nil {
		return azureBad("body", "The request body cannot be read: %v", err)
	}
	return nil
}

// weather throttles or breaks a call by seed; half of each.
func (m *azureMarket) weather(kind Kind, subject string) error {
	if !m.s.faults.try(kind, subject) {
		return nil
	}
	return m.brokenOrBusy(m.s.faults.chance("which", string(kind), subject) < 0.5)
}

func (m *azureMarket) brokenOrBusy(busy bool) error {
	if busy {
		return azureMessage(http.StatusTooManyRequests, "Too many requests.")
	}
	return &azureError{http.StatusInternalServerError, map[string]any{"error": map[string]any{"code": "UnexpectedError", "message": "An unexpected error has occurred. Please try again."}}}
}

// cut decides whether an action that was done is answered by cutting the connection.
func (m *azureMarket) cut(subject string) error {
	if m.s.faults.try(KindAcceptThenClose, subject) {
		return errCut
	}
	return nil
}
