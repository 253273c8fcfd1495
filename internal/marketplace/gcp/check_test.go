package gcp_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// TestCheckCodes: which codes hold usage back, by how the purchase stands; and that Google's
// own trouble cuts nobody off.
func TestCheckCodes(t *testing.T) {
	t.Parallel()
	const (
		accepted, unprocessed  = marketplace.OutcomeAccepted, marketplace.OutcomeUnprocessed
		suspended, unsubscribe = marketplace.OutcomeSuspended, marketplace.OutcomeNotSubscribed
	)
	// Four standings: in service, over for less than an hour, over for longer, not to be read.
	standings := []string{"ENTITLEMENT_ACTIVE", "2026-11-23T11:00:00Z", "2026-11-23T10:59:59Z", "", "forgotten"}
	same := func(o marketplace.ReceiptOutcome) [5]marketplace.ReceiptOutcome {
		return [5]marketplace.ReceiptOutcome{o, o, o, o, o}
	}
	stopped := [5]marketplace.ReceiptOutcome{suspended, accepted, unsubscribe, unprocessed, unsubscribe}
	codes := map[string][5]marketplace.ReceiptOutcome{
		"": same(accepted), "INJECTED_ERROR": same(accepted), "BILLING_STATUS_UNAVAILABLE": same(accepted), "SERVICE_STATUS_UNAVAILABLE": same(accepted),
		"NAMESPACE_LOOKUP_UNAVAILABLE": same(accepted), "CLOUD_RESOURCE_MANAGER_BACKEND_UNAVAILABLE": same(accepted),
		"BILLING_DISABLED": stopped, "SERVICE_NOT_ACTIVATED": stopped, "PROJECT_DELETED": stopped,
		"NOT_FOUND": same(unprocessed), "PERMISSION_DENIED": same(unprocessed), "RESOURCE_EXHAUSTED": same(unprocessed), "PROJECT_INVALID": same(unprocessed),
		"CONSUMER_INVALID": same(unprocessed), "BUDGET_EXCEEDED": same(unprocessed), "LOAD_SHEDDING": same(unprocessed),
		"ERROR_CODE_UNSPECIFIED": same(unprocessed), "A_CODE_NOBODY_KNOWS": same(unprocessed),
	}
	for code, wants := range codes {
		for i, want := range wants {
			t.Run(code+" "+standings[i], func(t *testing.T) {
				t.Parallel()
				g := open(t)
				a := g.adapter(t)
				g.does(func(w http.ResponseWriter, r *http.Request, body []byte) {
					switch {
					case strings.HasSuffix(r.URL.Path, ":check"):
						if strings.Contains(string(body), "userLabels") {
							t.Error("a check with user labels")
						}
						if code == "" || !strings.Contains(string(body), consumer) {
							answer(w, 200, `{"serviceConfigId":"c"}`)
							return
						}
						answer(w, 200, `{"checkErrors":[{"code":"INJECTED_ERROR"},{"code":"`+code+`","subject":"`+consumer+`"}]}`)
					case strings.HasSuffix(r.URL.Path, ":report"):
						answer(w, 200, `{"serviceConfigId":"c"}`)
					case standings[i] == "":
						answer(w, 500, "")
					case standings[i] == "forgotten":
						answer(w, 404, refusal(404, "NOT_FOUND"))
					case strings.HasPrefix(standings[i], "ENTITLEMENT_"):
						answer(w, 200, entity(map[string]any{"state": standings[i]}))
					default:
						answer(w, 200, entity(map[string]any{"state": "ENTITLEMENT_CANCELLED", "updateTime": standings[i]}))
					}
				})
				all := batch(a) // two records of this customer, one of another
				got, err := a.Submit(t.Context(), all)
				if err != nil {
					t.Fatal(err)
				}
				sent := map[string]bool{}
				asked := map[string]int{}
				for _, c := range g.calls() {
					verb := c.Path[strings.LastIndexByte(c.Path, ':')+1:]
					if c.Method == http.MethodGet {
						verb = "get"
					}
					asked[verb]++
					if verb != "report" {
						continue
					}
					var in struct {
						Operations []struct{ OperationID string }
					}
					if err := json.Unmarshal([]byte(c.Body), &in); err != nil {
						t.Error(err)
					}
					for _, o := range in.Operations {
						sent[o.OperationID] = true
					}
				}
				if asked["check"] != 2 || asked["report"] != 1 || asked["get"] > 1 {
					t.Errorf("calls %v, want a check for each customer, one report and one look at most", asked)
				}
				for n, r := range got {
					want := want
					if n == 2 {
						want = accepted
					}
					if r.Outcome != want || r.Key != all[n].Key {
						t.Errorf("receipt %d: %+v, want %s", n, r, want)
					}
					if (r.Outcome == accepted) != sent[r.ID] {
						t.Errorf("receipt %d, %s: the operation was sent: %v", n, r.Outcome, sent[r.ID])
					}
					hint := n < 2 && wants == stopped && want != unprocessed
					if r.StopsService != hint && want != unprocessed {
						t.Errorf("receipt %d stops service: %v", n, r.StopsService)
					}
				}
			})
		}
	}
}

// TestFinalIsNotChecked: after the end every check says no, to what is asked about.
func TestFinalIsNotChecked(t *testing.T) {
	t.Parallel()
	g := open(t)
	a := g.adapter(t)
	g.does(func(w http.ResponseWriter, r *http.Request, _ []byte) {
		switch {
		case strings.HasSuffix(r.URL.Path, ":check"):
			answer(w, 200, `{"checkErrors":[{"code":"SERVICE_NOT_ACTIVATED"}]}`)
		case strings.HasSuffix(r.URL.Path, ":report"):
			answer(w, 200, `{}`)
		default:
			answer(w, 200, entity(map[string]any{"state": "ENTITLEMENT_CANCELLED"}))
		}
	})
	b := batch(a)
	b[1].Final, b[2].Final = true, true
	got, err := a.Submit(t.Context(), b)
	if err != nil || got[0].Outcome != marketplace.OutcomeNotSubscribed || got[1].Outcome != marketplace.OutcomeAccepted || got[2].Outcome != marketplace.OutcomeAccepted {
		t.Errorf("%+v %v", got, err)
	}
	checks := 0
	for _, c := range g.calls() {
		if strings.HasSuffix(c.Path, ":check") {
			checks++
		}
	}
	if checks != 1 {
		t.Errorf("%d checks, want one, for the record that is not final", checks)
	}
}

// TestChecksThatFail: a check that was not answered stops nothing; when every customer is
// stopped, no report is made.
func TestChecksThatFail(t *testing.T) {
	t.Parallel()
	g := open(t)
	a := g.adapter(t)
	for _, status := range []int{400, 403, 429, 500, 503} {
		g.does(func(w http.ResponseWriter, r *http.Request, _ []byte) {
			if strings.HasSuffix(r.URL.Path, ":check") {
				answer(w, status, refusal(status, "X"))
				return
			}
			answer(w, 200, `{}`)
		})
		got, err := a.Submit(t.Context(), batch(a))
		if err != nil || got[0].Outcome != marketplace.OutcomeAccepted {
			t.Errorf("%d: %+v %v", status, got, err)
		}
	}
	g.says(200, `{"checkErrors":[{"code":"NOT_FOUND"}]}`)
	got, err := a.Submit(t.Context(), batch(a))
	if err != nil || got[0].Outcome != marketplace.OutcomeUnprocessed || got[2].Outcome != marketplace.OutcomeUnprocessed || len(g.calls()) != 2 {
		t.Errorf("%+v %v after %d calls", got, err, len(g.calls()))
	}

	slow := g.adapter(t)
	slow.Hurry(50 * time.Millisecond)
	late := make(chan struct{})
	g.does(func(w http.ResponseWriter, r *http.Request, _ []byte) {
		if strings.HasSuffix(r.URL.Path, ":check") {
			<-late
		}
		answer(w, 200, `{}`)
	})
	got, err = slow.Submit(t.Context(), batch(slow))
	close(late)
	if err != nil || got[0].Outcome != marketplace.OutcomeAccepted || got[2].Outcome != marketplace.OutcomeAccepted {
		t.Errorf("checks that do not end: %+v %v", got, err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	g.does(func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		cancel()
		answer(w, 200, `{}`)
	})
	if _, err := a.Submit(ctx, []marketplace.Record{record(a, nil)}); !fault.Is(err, fault.Throttled) || len(g.calls()) != 1 {
		t.Errorf("ended while checking: %v of class %q after %d calls", err, fault.ClassOf(err), len(g.calls()))
	}
	g.says(200, `{}`)
	if _, err := a.Submit(ctx, []marketplace.Record{record(a, nil)}); !fault.Is(err, fault.Throttled) || len(g.calls()) != 0 {
		t.Errorf("ended before: %v of class %q after %d calls", err, fault.ClassOf(err), len(g.calls()))
	}
}
