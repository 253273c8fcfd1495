package httpapi_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/httpapi"
)

const (
	single = "application/cloudevents+json"
	batch  = "application/cloudevents-batch+json; charset=utf-8"
)

func event(id string) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"s","type":"tailmarket.usage.v1","subject":"sub_1","time":"2026-11-03T08:00:00.5+01:00","data":{"meter":"api_request","quantity":"12.5"}}`, id)
}

type results struct {
	Results []struct{ ID, Source, Outcome, Detail string }
}

func outcomes(t *testing.T, r reply) string {
	t.Helper()
	var got results
	if err := json.Unmarshal([]byte(r.body), &got); err != nil {
		t.Fatalf("%v in %s", err, r.body)
	}
	var out []string
	for _, x := range got.Results {
		out = append(out, x.ID+" "+x.Outcome)
	}
	return strings.Join(out, ", ")
}

func TestOneUsageEventIsReadWhole(t *testing.T) {
	t.Parallel()
	w := setup(t)
	body := `{"specversion":"1.0","id":"1","source":"s","type":"tailmarket.usage.v1","subject":"tnt_1","time":"2026-11-03T07:00:00Z","traceparent":"x",
		"data":{"meter":"active_user","quantity":"1","of":"ana","corrects":{"source":"s","id":"0"}}}`
	r := w.call(t, http.MethodPost, "/v1/usage", single, body)
	if r.StatusCode != http.StatusOK || outcomes(t, r) != "1 accepted" {
		t.Fatalf("answered %d %s", r.StatusCode, r.body)
	}
	want := [][]billing.UsageEvent{{{
		Source: "s", ID: "1", Subject: "tnt_1", UsedAt: time.Date(2026, 11, 3, 7, 0, 0, 0, time.UTC), Meter: "active_user", Quantity: "1", Of: "ana",
		Corrects: &billing.EventName{Source: "s", ID: "0"},
	}}}
	if diff := cmp.Diff(want, w.ingested); diff != "" {
		t.Error(diff)
	}
}

func TestEveryEventOfABatchHasItsResultInOrder(t *testing.T) {
	t.Parallel()
	w := setup(t)
	body := "[" + strings.Join([]string{
		event("1"), `"text"`, event("twice"), `{"specversion":"0.3","id":"old","source":"s"}`, event("clash"),
		strings.Replace(event("typo"), `"meter"`, `"metre"`, 1), strings.Replace(event("float"), `"12.5"`, `12.5`, 1), strings.Replace(event("when"), "2026-11", "26-11", 1),
		strings.Replace(event("kind"), "usage.v1", "usage.v2", 1), event("last"),
	}, ",") + "]"
	r := w.call(t, http.MethodPost, "/v1/usage", batch, body)
	want := "1 accepted,  invalid, twice duplicate, old invalid, clash conflict, typo invalid, float invalid, when invalid, kind invalid, last accepted"
	if got := outcomes(t, r); r.StatusCode != http.StatusMultiStatus || got != want {
		t.Fatalf("answered %d\n%s, want\n%s", r.StatusCode, got, want)
	}
	if len(w.ingested) != 1 || len(w.ingested[0]) != 4 || !w.ingested[0][0].UsedAt.Equal(time.Date(2026, 11, 3, 7, 0, 0, 5e8, time.UTC)) {
		t.Errorf("ingested %+v", w.ingested)
	}
}

func TestRepeatedEventsAreFine(t *testing.T) {
	t.Parallel()
	w := setup(t)
	r := w.call(t, http.MethodPost, "/v1/usage", batch, "["+event("1")+","+event("twice")+"]")
	if r.StatusCode != http.StatusOK || outcomes(t, r) != "1 accepted, twice duplicate" {
		t.Fatalf("answered %d %s", r.StatusCode, r.body)
	}
	if r := w.call(t, http.MethodPost, "/v1/usage", batch, "[]"); r.StatusCode != http.StatusOK || r.body != "{\"stored\":0,\"refused\":0,\"results\":[]}\n" {
		t.Fatalf("an empty batch answered %d %q", r.StatusCode, r.body)
	}
}

func TestAnEnvelopeThatCannotBeReadStoresNothing(t *testing.T) {
	t.Parallel()
	zipped := func(s string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write([]byte(s))
		_ = z.Close()
		return b.String()
	}
	cases := map[string]struct {
		kind, body string
		header     []string
		status     int
	}{
		"no content type":         {"", event("1"), nil, 400},
		"another content type":    {"application/json", event("1"), nil, 400},
		"not JSON":                {single, "hello", nil, 400},
		"a list as a single":      {single, "[" + event("1") + "]", nil, 400},
		"a single as a list":      {batch, event("1"), nil, 400},
		"null":                    {batch, "null", nil, 400},
		"half a list":             {batch, "[" + event("1"), nil, 400},
		"another encoding":        {batch, "[]", []string{"Content-Encoding", "br"}, 400},
		"not gzip":                {batch, "[]", []string{"Content-Encoding", "gzip"}, 400},
		"half gzip":               {batch, zipped("[" + event("1") + "]")[:40], []string{"Content-Encoding", "gzip"}, 400},
		"too large":               {batch, "[" + strings.Repeat(" ", 64<<10) + "]", nil, 413},
		"too large once unpacked": {batch, zipped("[" + strings.Repeat(" ", 1<<20) + "]"), []string{"Content-Encoding", "gzip"}, 413},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := setup(t)
			r := w.call(t, http.MethodPost, "/v1/usage", c.kind, c.body, c.header...)
			if r.StatusCode != c.status || len(w.ingested) != 0 {
				t.Fatalf("answered %d %s, ingested %d; want %d and none", r.StatusCode, r.body, len(w.ingested), c.status)
			}
		})
	}
	w := setup(t)
	r := w.call(t, http.MethodPost, "/v1/usage", batch, zipped("["+event("1")+"]"), "Content-Encoding", "gzip")
	if r.StatusCode != http.StatusOK || outcomes(t, r) != "1 accepted" {
		t.Fatalf("gzip answered %d %s", r.StatusCode, r.body)
	}
}

func TestTooManyEventsAreRefusedWhole(t *testing.T) {
	t.Parallel()
	w := setup(t, func(o *httpapi.Options) { o.Limits.UsageBody = 1 << 20 })
	r := w.call(t, http.MethodPost, "/v1/usage", batch, "["+strings.Repeat("{},", 10_000)+"{}]")
	if r.StatusCode != http.StatusBadRequest || len(w.ingested) != 0 {
		t.Fatalf("answered %d %s", r.StatusCode, r.body)
	}
}

func TestOurTroubleWithUsageIsSentAgain(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.ingestErr = fault.New(fault.Unavailable, "")
	if r := w.call(t, http.MethodPost, "/v1/usage", batch, "["+event("1")+"]"); r.StatusCode != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" {
		t.Fatalf("answered %d %s", r.StatusCode, r.body)
	}
}
