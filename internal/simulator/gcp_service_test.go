package simulator_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/api/servicecontrol/v1"

	"github.com/tailmarket/tailmarket/internal/simulator"
)

func (g *gcpWorld) check(consumer string) *servicecontrol.CheckResponse {
	g.t.Helper()
	out, err := g.control.Services.Check(gcpService, &servicecontrol.CheckRequest{Operation: &servicecontrol.Operation{
		OperationId: "check-1", OperationName: "tailnet hourly usage", ConsumerId: consumer, StartTime: g.sim.Now().Format(time.RFC3339),
	}}).Do()
	if err != nil {
		g.t.Fatal(err)
	}
	return out
}

func checkCode(r *servicecontrol.CheckResponse) string {
	if len(r.CheckErrors) == 0 {
		return ""
	}
	return r.CheckErrors[0].Code
}

// post sends a raw body to a service's verb.
func (g *gcpWorld) post(verb, body string) (int, map[string]any) {
	g.t.Helper()
	req, _ := http.NewRequestWithContext(g.t.Context(), http.MethodPost, g.sim.GCPURL()+"/v1/services/"+gcpService+":"+verb+"?$alt=json%3Benum-encoding%3Dint", strings.NewReader(body))
	req.Header.Set("Authorization", "Bearer any")
	resp, err := g.http.Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var out map[string]any
	text, _ := io.ReadAll(resp.Body)
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&out); err != nil {
		g.t.Errorf("answer %s: %v", text, err)
	}
	return resp.StatusCode, out
}

func failures(r *servicecontrol.ReportResponse) map[string]int64 {
	out := map[string]int64{}
	for _, e := range r.ReportErrors {
		out[e.OperationId] = e.Status.Code
	}
	return out
}

func TestOneReportManyAnswers(t *testing.T) {
	t.Parallel()
	g := goodGoogle(t)
	b := g.active(simulator.Purchase{})
	other := g.active(simulator.Purchase{Plan: "enterprise"})
	gone := g.active(simulator.Purchase{})
	broke := g.active(simulator.Purchase{})
	waiting := g.buy(simulator.Purchase{Marketplace: simulator.GCP, Habits: absent()})
	g.advance(2*time.Hour - g.sim.Now().Sub(start))
	consumer := func(b simulator.Buyer) string { return g.entitlement(b.Purchase).UsageReportingId }
	from, to := start.Add(time.Hour), start.Add(2*time.Hour)
	if consumer(waiting) != "" {
		t.Error("a waiting order has a consumer already")
	}
	if _, err := g.sim.Cancel(t.Context(), gone.ID, ""); err != nil {
		t.Fatal(err)
	}
	g.advance(2 * time.Minute)
	ended := gcpTime(t, g.entitlement(gone.Purchase).UpdateTime)
	if _, err := g.sim.Suspend(t.Context(), broke.ID, true); err != nil {
		t.Fatal(err)
	}
	double := 1.5
	typed := gcpUsage("double", consumer(b), "active_user", from, to, 1)
	typed.MetricValueSets[0].MetricValues[0] = &servicecontrol.MetricValue{DoubleValue: &double}
	labelled := gcpUsage("labelled", consumer(b), "api_request", from, to, 3)
	labelled.UserLabels = map[string]string{"cloudmarketplace.googleapis.com/resource_name": "tailnet-7f3"}
	badLabel := gcpUsage("bad label", consumer(b), "api_request", from, to, 3)
	badLabel.UserLabels = map[string]string{"cloudmarketplace.googleapis.com/resource_name": "Not A Label"}
	noName := gcpUsage("no name", consumer(b), "active_user", from, to, 1)
	noName.OperationName = ""
	prefix := gcpUsage("prefix", consumer(b), "active_user", from, to, 1)
	prefix.MetricValueSets[0].MetricName = "tailnet/active_user"
	out, err := g.report(
		gcpUsage("good", consumer(b), "active_user", from, to, 7), gcpUsage("zero", consumer(b), "tagged_resource", from, to, 0), labelled,
		typed, badLabel, noName, prefix,
		gcpUsage("other plan", consumer(other), "active_user", from, to, 1),
		gcpUsage("own plan", consumer(other), "enterprise_active_user", from, to, 2),
		gcpUsage("future", consumer(b), "active_user", from, g.sim.Now().Add(time.Second), 1),
		gcpUsage("backwards", consumer(b), "active_user", to, from, 1),
		gcpUsage("negative", consumer(b), "active_user", from, to, -1),
		gcpUsage("stranger", "project_number:1", "active_user", from, to, 1),
		gcpUsage("prefixed twice", "project:"+consumer(b), "active_user", from, to, 1),
		gcpUsage("too early", consumer(b), "active_user", start.Add(-2*time.Hour), start.Add(-time.Hour), 1),
		gcpUsage("at the end", consumer(gone), "active_user", to, ended, 1),
		gcpUsage("last", consumer(gone), "active_user", to, ended.Add(-time.Second), 4),
		gcpUsage("no billing", consumer(broke), "active_user", from, to, 1),
	)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int64{
		"double": 3, "bad label": 3, "no name": 3, "prefix": 3, "other plan": 3, "future": 3, "backwards": 3, "negative": 3,
		"stranger": 5, "prefixed twice": 5, "too early": 9, "at the end": 9, "no billing": 7,
	}
	got := failures(out)
	for id, code := range want {
		if got[id] != code {
			t.Errorf("%s: code %d, want %d", id, got[id], code)
		}
	}
	if len(got) != len(want) || out.ServiceConfigId == "" {
		t.Errorf("answers %v, config %q", got, out.ServiceConfigId)
	}
	for what, line := range map[string]int64{
		"active_user": g.billed(b.Purchase, "active_user") - 7, "api_request": g.billed(b.Purchase, "api_request") - 3,
		"tagged_resource": g.billed(b.Purchase, "tagged_resource"), "other": g.billed(other.Purchase, "enterprise_active_user") - 2,
		"last": g.billed(gone.Purchase, "active_user") - 4, "broke": g.billed(broke.Purchase, "active_user"),
	} {
		if line != 0 {
			t.Errorf("bill of %s is off by %d", what, line)
		}
	}
	// An hour after the end nothing more is taken, and what was late while billing was off is.
	g.advance(time.Hour)
	_, _ = g.sim.Suspend(t.Context(), broke.ID, false)
	out, err = g.report(gcpUsage("too late", consumer(gone), "api_request", to, ended.Add(-time.Second), 1), gcpUsage("no billing", consumer(broke), "active_user", from, to, 1))
	if got := failures(out); err != nil || len(got) != 1 || got["too late"] != 9 {
		t.Errorf("%v %v", got, err)
	}
}

func TestWhatRefusesAWholeReport(t *testing.T) {
	t.Parallel()
	g := goodGoogle(t)
	b := g.active(simulator.Purchase{})
	g.advance(time.Hour)
	consumer := g.entitlement(b.Purchase).UsageReportingId
	good := `{"operationId":"a","operationName":"n","consumerId":"` + consumer + `","startTime":"2026-11-03T00:10:00Z","endTime":"2026-11-03T01:00:00Z",` +
		`"metricValueSets":[{"metricName":"` + gcpService + `/active_user","metricValues":[VALUES]}]}`
	with := func(values string) string { return strings.Replace(good, "VALUES", values, 1) }
	for name, c := range map[string]struct {
		verb, body string
		want       int
	}{
		"a number":          {"report", `{"operations":[` + with(`{"int64Value":1}`) + `]}`, 400},
		"twice":             {"report", `{"operations":[` + with(`{"int64Value":"1"},{"int64Value":"2"}`) + `]}`, 400},
		"an unknown member": {"report", `{"operations":[],"colour":"red"}`, 400},
		"not JSON":          {"report", `{`, 400},
		"no id":             {"report", `{"operations":[` + strings.Replace(with(`{"int64Value":"1"}`), `"a"`, `""`, 1) + `]}`, 400},
		"too long":          {"report", `{"serviceConfigId":"` + strings.Repeat("x", 1<<20) + `"}`, 400},
		"another service":   {"report", `{"serviceName":"other.example","operations":[]}`, 403},
		"labels in a check": {"check", `{"operation":{"operationId":"a","consumerId":"` + consumer + `","userLabels":{"a":"b"}}}`, 400},
		"no consumer":       {"check", `{"operation":{"operationId":"a"}}`, 400},
		"no such verb":      {"allocate", `{}`, 404},
		// What the gRPC library's REST transport sends is good: the service repeated, enums as numbers, labels per value.
		"the other client": {"report", `{"serviceName":"` + gcpService + `","operations":[` + strings.Replace(with(`{"int64Value":"2","labels":{"a":"1"}},{"int64Value":"3","labels":{"a":"2"}}`), `"operationId"`, `"importance":0,"operationId"`, 1) + `]}`, 200},
	} {
		code, out := g.post(c.verb, c.body)
		if code != c.want || code != 200 && out["error"] == nil || code == 200 && out["reportErrors"] != nil {
			t.Errorf("%s: %d %v", name, code, out)
		}
	}
	if n := g.billed(b.Purchase, "active_user"); n != 5 {
		t.Errorf("billed %d", n)
	}
}

func TestCheckTellsWhyServiceStops(t *testing.T) {
	t.Parallel()
	g := goodGoogle(t)
	b := g.active(simulator.Purchase{})
	consumer := g.entitlement(b.Purchase).UsageReportingId
	out := g.check(consumer)
	if checkCode(out) != "" || out.OperationId != "check-1" || out.CheckInfo == nil || out.CheckInfo.ConsumerInfo.Type != "PROJECT" || out.CheckInfo.ConsumerInfo.ConsumerNumber == 0 {
		t.Fatalf("check %+v", out)
	}
	if got := checkCode(g.check("project_number:1")); got != "CONSUMER_INVALID" {
		t.Errorf("a stranger: %s", got)
	}
	_, _ = g.sim.Suspend(t.Context(), b.ID, true)
	if got := checkCode(g.check(consumer)); got != "BILLING_DISABLED" {
		t.Errorf("suspended: %s", got)
	}
	_, _ = g.sim.Suspend(t.Context(), b.ID, false)
	g.sim.Force(simulator.Force{Kind: simulator.KindCheckTrouble, Subject: consumer})
	if got := checkCode(g.check(consumer)); !strings.HasSuffix(got, "_UNAVAILABLE") {
		t.Errorf("Google's own trouble: %s", got)
	}
	_, _ = g.sim.Cancel(t.Context(), b.ID, "")
	g.advance(2 * time.Minute)
	if got := checkCode(g.check(consumer)); got != "SERVICE_NOT_ACTIVATED" {
		t.Errorf("cancelled: %s", got)
	}
	_, _ = g.sim.Cancel(t.Context(), g.active(simulator.Purchase{Customer: b.ID}).ID, "ACCOUNT_DELETED")
	if got := checkCode(g.check(consumer)); got != "PROJECT_DELETED" {
		t.Errorf("deleted: %s", got)
	}
}

func TestEachPlanHasItsOwnMetrics(t *testing.T) {
	t.Parallel()
	g := goodGoogle(t)
	b := g.active(simulator.Purchase{})
	g.advance(90*time.Minute - g.sim.Now().Sub(start))
	if _, err := g.sim.Change(t.Context(), b.ID, simulator.Change{Plan: "enterprise"}); err != nil {
		t.Fatal(err)
	}
	if _, err := g.entitlements().ApprovePlanChange(entitlementName(b), &approvePlan{PendingPlanName: "enterprise"}).Do(); err != nil {
		t.Fatal(err)
	}
	e := g.entitlement(b.Purchase)
	at := gcpTime(t, e.UpdateTime)
	g.advance(30 * time.Minute)
	from, to := start.Add(time.Hour), start.Add(2*time.Hour)
	out, err := g.report(
		gcpUsage("before", e.UsageReportingId, "active_user", from, at, 1), gcpUsage("after", e.UsageReportingId, "enterprise_active_user", at, to, 2),
		gcpUsage("old too late", e.UsageReportingId, "active_user", at, to, 1), gcpUsage("new too early", e.UsageReportingId, "enterprise_active_user", start.Add(10*time.Minute), from, 1),
	)
	if err != nil {
		t.Fatal(err)
	}
	if got := failures(out); len(got) != 2 || got["old too late"] != 3 || got["new too early"] != 3 {
		t.Errorf("failures %v", got)
	}
}

// resend reports one operation as a caller who believes in de-duplication does: the same id until there is an answer. An
// error is one only if no earlier try may have been recorded.
func (g *gcpWorld) resend(op *servicecontrol.Operation) (tries int, failed map[string]int64) {
	g.t.Helper()
	for tries, unclear := 1, false; tries <= 6; tries++ {
		out, err := g.report(op)
		if err == nil && !slices.ContainsFunc(out.ReportErrors, func(e *servicecontrol.ReportError) bool { return e.OperationId == "" }) {
			if len(out.ReportErrors) == 0 || !unclear {
				return tries, failures(out)
			}
			continue
		}
		unclear = true
	}
	g.t.Fatal("no definite answer in six tries")
	return 0, nil
}

func TestWhatIsReportedTwiceIsBilledOnceOrTwice(t *testing.T) {
	t.Parallel()
	for _, dedup := range []simulator.Dedup{simulator.DedupOn, simulator.DedupOff} {
		t.Run(string(dedup), func(t *testing.T) {
			t.Parallel()
			g := googleWorld(t, simulator.Options{Weather: simulator.WeatherGood, GCP: simulator.GCPOptions{Dedup: dedup}})
			b := g.active(simulator.Purchase{})
			g.advance(time.Hour)
			consumer := g.entitlement(b.Purchase).UsageReportingId
			op := func(id string, n int64) *servicecontrol.Operation {
				return gcpUsage(id, consumer, "active_user", start.Add(10*time.Minute), start.Add(time.Hour), n)
			}
			g.sim.Force(simulator.Force{Kind: simulator.KindAcceptThenClose})
			if _, err := g.report(op("a", 5)); gcpCode(err) != -1 {
				t.Fatalf("want a cut connection, got %v", err)
			}
			if tries, failed := g.resend(op("a", 5)); tries != 1 || len(failed) != 0 {
				t.Errorf("resent: %d tries, %v", tries, failed)
			}
			want := int64(5)
			if dedup == simulator.DedupOff {
				want = 10
			}
			if got := g.billed(b.Purchase, "active_user"); got != want {
				t.Errorf("billed %d, want %d", got, want)
			}
			// The first body wins; another id is another operation.
			if _, err := g.report(op("a", 9), op("b", 1)); err != nil {
				t.Fatal(err)
			}
			if want++; dedup == simulator.DedupOff {
				want += 9
			}
			if got := g.billed(b.Purchase, "active_user"); got != want {
				t.Errorf("billed %d, want %d", got, want)
			}
		})
	}
}

func TestReportMisfortunes(t *testing.T) {
	t.Parallel()
	g := goodGoogle(t)
	b := g.active(simulator.Purchase{})
	g.advance(time.Hour)
	consumer := g.entitlement(b.Purchase).UsageReportingId
	from, to := start.Add(10*time.Minute), start.Add(time.Hour)
	force := func(k simulator.Kind, subject string) { g.sim.Force(simulator.Force{Kind: k, Subject: subject}) }

	for kind, want := range map[simulator.Kind]int{simulator.KindThrottle: 429, simulator.Kind5xx: 503} {
		force(kind, "")
		if _, err := g.report(gcpUsage(string(kind), consumer, "active_user", from, to, 1)); gcpCode(err) != want {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if n := g.billed(b.Purchase, "active_user"); n != 0 {
		t.Errorf("a refused call billed %d", n)
	}

	force(simulator.KindOperationError, "active_user")
	out, err := g.report(gcpUsage("x", consumer, "active_user", from, to, 1), gcpUsage("y", consumer, "api_request", from, to, 2))
	if got := failures(out); err != nil || len(got) != 1 || got["x"] != 13 && got["x"] != 14 {
		t.Errorf("one of two: %v %v", got, err)
	}
	if n, m := g.billed(b.Purchase, "active_user"), g.billed(b.Purchase, "api_request"); n != 0 || m != 2 {
		t.Errorf("billed %d and %d", n, m)
	}

	from = from.Add(time.Minute) // a fourth attempt at the same window would be answered definitely
	force(simulator.KindNamelessError, "")
	out, err = g.report(gcpUsage("v", consumer, "active_user", from, to, 3), gcpUsage("w", consumer, "api_request", from, to, 4))
	if err != nil || len(out.ReportErrors) != 1 || out.ReportErrors[0].OperationId != "" {
		t.Errorf("nameless: %+v %v", out, err)
	}
	if n := g.billed(b.Purchase, "active_user") + g.billed(b.Purchase, "api_request"); n != 2+3 && n != 2+4 {
		t.Errorf("billed %d: one of two was not recorded", n)
	}

	before := g.billed(b.Purchase, "tagged_resource")
	ops := make([]*servicecontrol.Operation, 8)
	for i := range ops {
		ops[i] = gcpUsage(string(rune('a'+i))+"-part", consumer, "tagged_resource", from.Add(time.Duration(i)*time.Second), to, 1)
	}
	force(simulator.KindAcceptThen5xx, "")
	if _, err := g.report(ops...); gcpCode(err) != 503 {
		t.Errorf("want a 503, got %v", err)
	}
	landed := g.billed(b.Purchase, "tagged_resource") - before
	if landed == 0 || landed == 8 {
		t.Errorf("%d of 8 landed", landed)
	}
	if _, err := g.report(ops...); err != nil || g.billed(b.Purchase, "tagged_resource")-before != 8 {
		t.Errorf("after the resend %d: %v", g.billed(b.Purchase, "tagged_resource")-before, err)
	}
}
