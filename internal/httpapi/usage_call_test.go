package httpapi_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/httpapi"
)

// problemDoc is a problem document, and what a program relies on in it.
type problemDoc struct {
	Type   string `json:"type"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Errors []struct{ Detail, Pointer, Header string }
}

// refused wants a problem document of a type.
func refused(t *testing.T, r reply, status int, kind string) problemDoc {
	t.Helper()
	var p problemDoc
	if err := json.Unmarshal([]byte(r.body), &p); err != nil {
		t.Fatalf("%v in %s", err, r.body)
	}
	if r.StatusCode != status || p.Status != status || p.Type != "urn:tailmarket:problem:"+kind || r.Header.Get("Content-Type") != "application/problem+json" || p.Detail == "" {
		t.Fatalf("answered %d %s, want %d %s", r.StatusCode, r.body, status, kind)
	}
	return p
}

const binaryData = `{"meter":"api_request","quantity":"3","operation":"job-7"}`

// binary are the headers of an event in binary mode.
func binary(edit ...string) []string {
	h := []string{"Ce-Specversion", "1.0", "Ce-Id", "a%20b", "Ce-Source", `"https://meter.example/eu"`, "Ce-Type", "tailmarket.usage.v1", "Ce-Subject", "sub_1", "Ce-Time", "2026-11-03T07:00:00Z"}
	return append(h, edit...)
}

func TestAnEventInBinaryMode(t *testing.T) {
	t.Parallel()
	w := setup(t)
	r := w.call(t, http.MethodPost, "/v1/usage", "application/json; charset=utf-8", binaryData, binary()...)
	if r.StatusCode != http.StatusOK || outcomes(t, r) != "a b accepted" {
		t.Fatalf("answered %d %s", r.StatusCode, r.body)
	}
	want := [][]billing.UsageEvent{{{
		Source: "https://meter.example/eu", ID: "a b", Subject: "sub_1", UsedAt: time.Date(2026, 11, 3, 7, 0, 0, 0, time.UTC), Meter: "api_request", Quantity: "3", Operation: "job-7",
	}}}
	if diff := cmp.Diff(want, w.ingested); diff != "" {
		t.Error(diff)
	}
	for name, c := range map[string]struct {
		body   string
		edit   []string
		header string
	}{
		"data that is not JSON":    {"meter=3", nil, ""},
		"half a percent-encoding":  {binaryData, []string{"Ce-Id", "50%"}, "Ce-Id"},
		"no attributes, no mode":   {binaryData, []string{"Ce-Specversion", ""}, "Content-Type"},
		"an encoding that is none": {binaryData, []string{"Content-Encoding", "br"}, "Content-Encoding"},
	} {
		p := refused(t, w.call(t, http.MethodPost, "/v1/usage", "application/json", c.body, binary(c.edit...)...), http.StatusBadRequest, "invalid")
		if len(p.Errors) != 1 || p.Errors[0].Header != c.header || p.Errors[0].Detail == "" {
			t.Errorf("%s: %+v", name, p)
		}
	}
	r = w.call(t, http.MethodPost, "/v1/usage", "application/json", binaryData, binary("Ce-Specversion", "0.3")...)
	if outcomes(t, r) != "a b invalid" || len(w.ingested[1]) != 0 {
		t.Errorf("another version was answered %s", r.body)
	}
}

func TestAnAnswerSaysWhatIsStored(t *testing.T) {
	t.Parallel()
	w := setup(t)
	r := w.call(t, http.MethodPost, "/v1/usage", batch, "["+strings.Join([]string{event("1"), event("twice"), event("clash"), event("later"), `{}`}, ",")+"]")
	var got struct {
		Stored, Refused int
		Results         []struct {
			Outcome string
			Stored  bool
		}
	}
	if err := json.Unmarshal([]byte(r.body), &got); err != nil || r.StatusCode != http.StatusMultiStatus {
		t.Fatalf("%d %v", r.StatusCode, err)
	}
	if got.Stored != 3 || got.Refused != 2 {
		t.Errorf("stored %d, refused %d", got.Stored, got.Refused)
	}
	for i, want := range []bool{true, true, false, true, false} {
		if got.Results[i].Stored != want {
			t.Errorf("%d: %+v", i, got.Results[i])
		}
	}
}

// Pain 48: no proof that an event is durably stored. Not a byte of an answer
// leaves while the events are being stored.
func TestPain48NothingIsAnsweredBeforeTheCommit(t *testing.T) {
	t.Parallel()
	w := setup(t)
	storing, committed := make(chan struct{}), make(chan struct{})
	w.ingesting = func() {
		close(storing)
		<-committed
	}
	began := make(chan struct{}, 1) // the first byte of the answer came
	req := request(t, http.MethodPost, w.server.URL+"/v1/usage", strings.NewReader(event("1")))
	req.Header.Set("Authorization", "Bearer "+w.opkey)
	req.Header.Set("Content-Type", single)
	trace := &httptrace.ClientTrace{GotFirstResponseByte: func() { began <- struct{}{} }}
	done := make(chan reply)
	go func() {
		done <- (&browser{t, w, http.DefaultClient}).do(req.WithContext(httptrace.WithClientTrace(t.Context(), trace)))
	}()
	<-storing
	select {
	case <-began:
		t.Error("an answer began before the commit")
	case <-time.After(100 * time.Millisecond):
	}
	close(committed)
	if r := <-done; r.StatusCode != http.StatusOK || outcomes(t, r) != "1 accepted" {
		t.Errorf("answered %d %s", r.StatusCode, r.body)
	}
}

func TestAnIdempotencyKey(t *testing.T) {
	t.Parallel()
	w := setup(t)
	post := func(body string, key ...string) reply {
		t.Helper()
		var h []string
		for _, k := range key {
			h = append(h, "Idempotency-Key", k)
		}
		return w.call(t, http.MethodPost, "/v1/usage", single, body, h...)
	}
	if r := post(event("1"), `"k\"1"`); r.StatusCode != http.StatusOK || r.Header.Get("Idempotency-Replayed") != "" {
		t.Fatalf("answered %d %s", r.StatusCode, r.body)
	}
	post(event("1"), "bare")
	post(event("2"), "bare")
	r := w.call(t, http.MethodPost, "/v1/usage", "application/json", binaryData, binary("Idempotency-Key", "b")...)
	other := w.call(t, http.MethodPost, "/v1/usage", "application/json", binaryData, binary("Idempotency-Key", "b", "Ce-Id", "c")...)
	if r.StatusCode != http.StatusOK || other.StatusCode != http.StatusOK || len(w.calls) != 5 {
		t.Fatalf("answered %d, %d; %d calls", r.StatusCode, other.StatusCode, len(w.calls))
	}
	c := w.calls
	if c[0].Key != `k"1` || c[1].Key != "bare" || c[0].Owner == "" || c[0].Payload != c[1].Payload || c[1].Payload == c[2].Payload || c[3].Payload == c[4].Payload {
		t.Errorf("%+v", c)
	}
	w.answered = map[string][]billing.Outcome{c[1].Owner + "bare": {{Source: "s", ID: "1", Result: billing.Accepted}}}
	if r := post(event("1"), "bare"); r.StatusCode != http.StatusOK || outcomes(t, r) != "1 accepted" || r.Header.Get("Idempotency-Replayed") != "true" || len(w.ingested) != 5 {
		t.Errorf("the repetition was answered %d %s, %d ingested", r.StatusCode, r.body, len(w.ingested))
	}
	for _, bad := range []string{"", "\"\"", strings.Repeat("k", 201), "käse"} {
		if p := refused(t, post(event("1"), bad), http.StatusBadRequest, "invalid"); len(p.Errors) != 1 || p.Errors[0].Header != "Idempotency-Key" {
			t.Errorf("%q: %+v", bad, p)
		}
	}
	w.ingestErr = fault.New(fault.Refused, "used for another request")
	refused(t, post(event("1"), "x"), http.StatusUnprocessableEntity, "idempotency_key_reused")
	w.ingestErr = &fault.Error{Class: fault.Conflict, Public: "running", RetryAfter: time.Second}
	if r := post(event("1"), "y"); refused(t, r, http.StatusConflict, "idempotency_key_running").Errors[0].Header != "Idempotency-Key" || r.Header.Get("Retry-After") != "1" {
		t.Errorf("%v", r.Header)
	}
}

func TestAFullQueueSaysWhenToComeBack(t *testing.T) {
	t.Parallel()
	w := setup(t)
	r := w.call(t, http.MethodPost, "/v1/usage", single, event("1"))
	if r.Header.Get("Ratelimit-Policy") != `"usage-queue";q=20000;qu="events"` || r.Header.Get("Ratelimit") != `"usage-queue";r=20000;t=0` {
		t.Errorf("%v", r.Header)
	}
	w.pressure = billing.Pressure{Limit: 20_000, Drain: 6500 * time.Millisecond}
	r = w.call(t, http.MethodPost, "/v1/usage", single, event("2"))
	refused(t, r, http.StatusTooManyRequests, "usage_queue_full")
	if r.Header.Get("Retry-After") != "7" || r.Header.Get("Ratelimit") != `"usage-queue";r=0;t=7` || len(w.ingested) != 1 {
		t.Errorf("%v", r.Header)
	}
	w.pressure.Free = 10
	w.ingestErr = &fault.Error{Class: fault.Throttled, Public: "full", RetryAfter: 3 * time.Second}
	r = w.call(t, http.MethodPost, "/v1/usage", single, event("3"))
	if refused(t, r, http.StatusTooManyRequests, "usage_queue_full"); r.Header.Get("Retry-After") != "3" {
		t.Errorf("%v", r.Header)
	}
}

func TestTheWholeCallIsRefusedWithPlaces(t *testing.T) {
	t.Parallel()
	w := setup(t, func(o *httpapi.Options) { o.Limits.UsageBody = 1 << 20 })
	for name, c := range map[string]struct{ kind, body, pointer, header string }{
		"too many":       {batch, "[" + strings.Repeat("{},", 10_000) + "{}]", "/10000", ""},
		"another type":   {"text/csv", "a", "", "Content-Type"},
		"broken JSON":    {batch, `[{"id":1},]`, "", ""},
		"not an object":  {single, `7`, "", ""},
		"half an object": {single, `{"id":`, "", ""},
	} {
		p := refused(t, w.call(t, http.MethodPost, "/v1/usage", c.kind, c.body), http.StatusBadRequest, "invalid")
		if len(p.Errors) != 1 || p.Errors[0].Pointer != c.pointer || p.Errors[0].Header != c.header || p.Errors[0].Detail == "" {
			t.Errorf("%s: %+v", name, p)
		}
	}
	if len(w.ingested) != 0 {
		t.Errorf("stored %d", len(w.ingested))
	}
}
