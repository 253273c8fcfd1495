package gcp_test

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/marketplace/gcp"
)

// record is an hour's usage of the purchase, frozen as billing would.
func record(a *gcp.Adapter, change func(*marketplace.Record)) marketplace.Record {
	h := clock.HourOf(noon).Add(-2)
	r := marketplace.Record{
		Product: product, Dimension: users, Hour: h, From: h.Start(), To: h.End(), Quantity: "150",
		Identity: marketplace.VendorIdentity{ProductCode: service, License: entitlement, Customer: consumer, Account: account},
	}
	if change != nil {
		change(&r)
	}
	if r.Key == "" {
		r.Key = a.Rules(r.Product).Slot(r)
	}
	return r
}

// batch is three records: two metrics of one purchase and one of another.
func batch(a *gcp.Adapter) []marketplace.Record {
	return []marketplace.Record{
		record(a, nil),
		record(a, func(r *marketplace.Record) { r.Dimension, r.Quantity = requests, "0" }),
		record(a, func(r *marketplace.Record) {
			r.Identity.License, r.Identity.Customer = "b7d7b3d0-0000-4000-8000-000000000002", "project_number:69700000002"
		}),
	}
}

// TestReportBody: what is sent is, byte for byte, what the reference shows.
func TestReportBody(t *testing.T) {
	t.Parallel()
	g := open(t)
	a := g.adapter(t)
	g.says(http.StatusOK, `{"serviceConfigId":"2026-11-01r0","serviceRolloutId":"2026-11-01r0"}`)
	all := batch(a)
	all[2].Final = true // no check, and its window ends a second before the end
	got, err := a.Submit(t.Context(), all)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range got {
		if r.Key != all[i].Key || r.Outcome != marketplace.OutcomeAccepted || r.ID == "" || r.StopsService {
			t.Errorf("receipt %d: %+v", i, r)
		}
	}
	golden(t, "submit.txt", "# REST reference \"services.check\" and \"services.report\", revision 20261015", transcript(g.calls()))
}

func transcript(calls []asked) string {
	var out strings.Builder
	for _, c := range calls {
		out.WriteString(c.Method + " " + c.Path + "?" + c.Query + "\n")
		if c.Body != "" {
			var pretty bytes.Buffer
			if err := json.Indent(&pretty, []byte(c.Body), "", " "); err != nil {
				panic(err)
			}
			out.WriteString(pretty.String() + "\n")
		}
	}
	return out.String()
}

// golden compares with a file whose first line names where the form is from.
func golden(t *testing.T, file, source, got string) {
	t.Helper()
	path := filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(path, []byte(source+"\n"+got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), source+"\n"+got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestOperationID: a frozen record's id never changes, whatever becomes of this code.
func TestOperationID(t *testing.T) {
	t.Parallel()
	g := open(t)
	a := g.adapter(t)
	g.says(http.StatusOK, `{}`)
	r := record(a, nil)
	if want := "gcp|" + entitlement + "|" + users + "|2026-11-23T10:00:00Z"; r.Key != want {
		t.Errorf("slot %q, want %q", r.Key, want)
	}
	got, err := a.Submit(t.Context(), []marketplace.Record{r})
	if err != nil || got[0].ID != "51a0ed7a-9ff1-5fcb-b000-0210721d7094" {
		t.Errorf("operation id %q, error %v", got[0].ID, err)
	}
	segment := record(a, func(r *marketplace.Record) { r.From = r.From.Add(20 * time.Minute) })
	part := record(a, func(r *marketplace.Record) { r.Part = 1 })
	if segment.Key == r.Key || part.Key == r.Key || part.Key == segment.Key {
		t.Errorf("slots %q, %q and %q of one hour are not told apart", r.Key, segment.Key, part.Key)
	}
}

// TestReportAnswers: what each answer means for each of three records.
func TestReportAnswers(t *testing.T) {
	t.Parallel()
	const accepted, unprocessed, invalid = marketplace.OutcomeAccepted, marketplace.OutcomeUnprocessed, marketplace.OutcomeInvalid
	g := open(t)
	ids := make([]string, 3)
	for i, r := range batch(g.adapter(t)) {
		ids[i] = gcp.OperationID(r.Key)
	}
	failed := func(id string, code string) string {
		return `{"operationId":"` + id + `","status":` + code + `}`
	}
	status := func(code string) string { return `{"code":` + code + `,"message":"no"}` }
	cases := []struct {
		name, errors string
		state        string // of the purchase, when it is asked
		want         [3]marketplace.ReceiptOutcome
		stops        bool
	}{
		{name: "no errors", want: [3]marketplace.ReceiptOutcome{accepted, accepted, accepted}},
		{name: "one failed by itself", errors: failed(ids[1], status("3")), want: [3]marketplace.ReceiptOutcome{accepted, invalid, accepted}},
		{name: "two failed for Google's reasons", errors: failed(ids[0], status("14")) + "," + failed(ids[2], status("13")), want: [3]marketplace.ReceiptOutcome{unprocessed, accepted, unprocessed}},
		{name: "over quota", errors: failed(ids[1], status("8")), want: [3]marketplace.ReceiptOutcome{accepted, unprocessed, accepted}},
		{name: "an error that names nothing leaves the rest unknown", errors: failed("", status("13")) + "," + failed(ids[1], status("3")), want: [3]marketplace.ReceiptOutcome{marketplace.OutcomeFailed, invalid, marketplace.OutcomeFailed}},
		{name: "an error about another operation too", errors: failed("6f0c1b0e-1c2d-5e3f-8a4b-0123456789ab", status("3")), want: [3]marketplace.ReceiptOutcome{marketplace.OutcomeFailed, marketplace.OutcomeFailed, marketplace.OutcomeFailed}},
		{name: "an error without a status", errors: `{"operationId":"` + ids[1] + `"}`, want: [3]marketplace.ReceiptOutcome{accepted, marketplace.OutcomeFailed, accepted}},
		{name: "a code nobody knows", errors: failed(ids[1], status("99")), want: [3]marketplace.ReceiptOutcome{accepted, marketplace.OutcomeFailed, accepted}},
		{name: "a code that says all is well", errors: failed(ids[1], status("0")), want: [3]marketplace.ReceiptOutcome{accepted, marketplace.OutcomeFailed, accepted}},
		{name: "twice, with different codes", errors: failed(ids[1], status("3")) + "," + failed(ids[1], status("14")), want: [3]marketplace.ReceiptOutcome{accepted, marketplace.OutcomeFailed, accepted}},
		{name: "twice, with the same", errors: failed(ids[1], status("3")) + "," + failed(ids[1], status("3")), want: [3]marketplace.ReceiptOutcome{accepted, invalid, accepted}},
		{name: "it exists", errors: failed(ids[1], status("6")), want: [3]marketplace.ReceiptOutcome{accepted, marketplace.OutcomeDuplicate, accepted}},
		{name: "too old", errors: failed(ids[1], status("11")), want: [3]marketplace.ReceiptOutcome{accepted, marketplace.OutcomeExpired, accepted}},
		{name: "not allowed while in service", errors: failed(ids[1], status("7")), want: [3]marketplace.ReceiptOutcome{accepted, marketplace.OutcomeSuspended, accepted}, stops: true},
		{name: "not allowed after the end", errors: failed(ids[1], status("9")), state: "2026-11-23T10:59:59Z", want: [3]marketplace.ReceiptOutcome{accepted, marketplace.OutcomeNotSubscribed, accepted}, stops: true},
		{name: "not found after the end", errors: failed(ids[1], status("5")), state: "2026-11-23T10:59:59Z", want: [3]marketplace.ReceiptOutcome{accepted, marketplace.OutcomeNotSubscribed, accepted}, stops: true},
		{name: "not allowed soon after the end", errors: failed(ids[1], status("9")), state: "2026-11-23T11:30:00Z", want: [3]marketplace.ReceiptOutcome{accepted, marketplace.OutcomeSuspended, accepted}, stops: true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := open(t)
			a := g.adapter(t)
			g.does(func(w http.ResponseWriter, r *http.Request, _ []byte) {
				switch {
				case r.Method == http.MethodGet && c.state != "":
					answer(w, 200, entity(map[string]any{"state": "ENTITLEMENT_CANCELLED", "updateTime": c.state}))
				case r.Method == http.MethodGet:
					answer(w, 200, entity(nil))
				case strings.HasSuffix(r.URL.Path, ":check"):
					answer(w, 200, `{"serviceConfigId":"2026-11-01r0"}`)
				default:
					answer(w, 200, `{"reportErrors":[`+c.errors+`],"serviceConfigId":"2026-11-01r0"}`)
				}
			})
			all := batch(a)
			got, err := a.Submit(t.Context(), all)
			if err != nil {
				t.Fatal(err)
			}
			for i, r := range got {
				if r.Outcome != c.want[i] || r.Key != all[i].Key || r.ID != ids[i] {
					t.Errorf("receipt %d: %+v, want %s", i, r, c.want[i])
				}
				if r.Outcome != accepted && r.Detail == "" {
					t.Errorf("receipt %d has no word of Google's", i)
				}
			}
			if got[1].StopsService != c.stops {
				t.Errorf("stops service: %v", got[1].StopsService)
			}
		})
	}
}

// TestReportFailures: only what proves that nothing was recorded is called so.
func TestReportFailures(t *testing.T) {
	t.Parallel()
	status := func(code int, body string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { answer(w, code, body) }
	}
	hijack := func(send string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				_, _ = conn.Write([]byte(send))
				_ = conn.Close()
			}
		}
	}
	cases := []struct {
		name   string
		report func(http.ResponseWriter)
		want   fault.Class
		record marketplace.ReceiptOutcome // what a record that stood alone suffers
	}{
		{"bad request", status(400, refusal(400, "INVALID_ARGUMENT")), fault.Refused, marketplace.OutcomeInvalid},
		{"bad request without a body", status(400, ""), fault.Refused, marketplace.OutcomeInvalid},
		{"conflict", status(409, refusal(409, "ABORTED")), fault.Refused, marketplace.OutcomeInvalid},
		{"too large", status(413, ""), fault.Refused, ""},
		{"not signed in", status(401, refusal(401, "UNAUTHENTICATED")), fault.Throttled, ""},
		{"not linked", status(403, refusal(403, "PERMISSION_DENIED")), fault.Throttled, ""},
		{"no such service", status(404, refusal(404, "NOT_FOUND")), fault.Throttled, ""},
		{"request timeout", status(408, ""), fault.Unsure, ""},
		{"too many requests", status(429, refusal(429, "RESOURCE_EXHAUSTED")), fault.Unsure, ""},
		{"internal", status(500, refusal(500, "INTERNAL")), fault.Unsure, ""},
		{"unavailable", status(503, refusal(503, "UNAVAILABLE")), fault.Unsure, ""},
		{"gateway timeout", status(504, ""), fault.Unsure, ""},
		{"redirected", func(w http.ResponseWriter) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(http.StatusTemporaryRedirect)
		}, fault.Unsure, ""},
		{"closed without an answer", hijack(""), fault.Unsure, ""},
		{"closed within the answer", hijack("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"reportErr"), fault.Unsure, ""},
		{"an answer that is no JSON", status(200, "<html>"), fault.Unsure, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := open(t)
			a := g.adapter(t)
			g.does(func(w http.ResponseWriter, r *http.Request, _ []byte) {
				if strings.HasSuffix(r.URL.Path, ":check") {
					answer(w, 200, `{}`)
					return
				}
				c.report(w)
			})
			got, err := a.Submit(t.Context(), batch(a))
			if got != nil || !fault.Is(err, c.want) {
				t.Errorf("receipts %+v, error %v of class %q, want %q", got, err, fault.ClassOf(err), c.want)
			}
			r := marketplace.RefusalOf(err)
			if (r == nil) != (c.record == "") || r != nil && (r.Outcome != c.record || r.Detail == "") {
				t.Errorf("refusal %+v, want %q", r, c.record)
			}
			reports := 0
			for _, call := range g.calls() {
				if !strings.HasSuffix(call.Path, ":check") {
					reports++ // also one that followed a redirection
				}
			}
			if reports != 1 {
				t.Errorf("%d reports, want one whatever the answer", reports)
			}
		})
	}
	t.Run("asked to wait", func(t *testing.T) {
		t.Parallel()
		g := open(t)
		a := g.adapter(t)
		g.does(func(w http.ResponseWriter, r *http.Request, _ []byte) {
			w.Header().Set("Retry-After", "17")
			answer(w, 503, "")
		})
		_, err := a.Submit(t.Context(), batch(a))
		if f := asFault(err); f == nil || f.RetryAfter != 17*time.Second {
			t.Errorf("error %+v", f)
		}
	})
	t.Run("nobody is there", func(t *testing.T) {
		t.Parallel()
		g := open(t)
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		c := settings()
		c.Endpoint = "http://" + l.Addr().String()
		_ = l.Close()
		a := g.reopen(t, c)
		if _, err := a.Submit(t.Context(), batch(a)); !fault.Is(err, fault.Throttled) {
			t.Errorf("error %v of class %q", err, fault.ClassOf(err))
		}
	})
}
