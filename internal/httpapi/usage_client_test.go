package httpapi_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/pkg/usage"
)

// The client that producers import and this server speak the same language.
func TestTheGoClient(t *testing.T) {
	t.Parallel()
	w := setup(t)
	c, err := usage.New(usage.Options{URL: w.server.URL, Key: w.producer(t, `{"name":"n","sources":["s"]}`).Secret, Source: "s"})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 3, 7, 0, 0, 5, time.UTC)
	got, err := c.Send(t.Context(),
		usage.Event{ID: "1", Subject: "sub_1", Time: at, Meter: "m", Quantity: "1", Of: "o", Operation: "p", Seconds: 7},
		usage.Event{ID: "clash", Quantity: "0", Corrects: &usage.Ref{Source: "s", ID: "1"}},
		usage.Event{ID: "twice", Subject: "sub_1", Time: at, Meter: "m", Quantity: "1"})
	want := []usage.Result{
		{Source: "s", ID: "1", Outcome: usage.Accepted, Stored: true},
		{Source: "s", ID: "clash", Outcome: usage.Conflict, Detail: "the identity has other content"},
		{Source: "s", ID: "twice", Outcome: usage.Duplicate, Stored: true},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	events := []billing.UsageEvent{
		{Source: "s", ID: "1", Subject: "sub_1", UsedAt: at, Meter: "m", Quantity: "1", Of: "o", Operation: "p", Seconds: 7},
		{Source: "s", ID: "clash", Quantity: "0", Corrects: &billing.EventName{Source: "s", ID: "1"}},
	}
	if diff := cmp.Diff(events, w.ingested[0][:2]); diff != "" {
		t.Error(diff)
	}
}
