package azure_test

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/marketplace/azure"
)

const onBatch = "POST /api/batchUsageEvent"

func batchOf(n int) []marketplace.Record {
	var out []marketplace.Record
	for i := range n {
		r := marketplace.Record{
			Product: product, Identity: marketplace.VendorIdentity{Resource: sub, Plan: "starter"}, Dimension: "api_request",
			Hour: clock.HourOf(now).Add(i - 20), Quantity: strconv.Itoa(100+i) + ".5",
		}
		r.From, r.To, r.Key = r.Hour.Start(), r.Hour.End(), "key-"+strconv.Itoa(i)
		out = append(out, r)
	}
	return out
}

// echo answers each event with what change makes of its echo; nil leaves it out.
func echo(t *testing.T, change func(i int, event map[string]any) map[string]any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Request []map[string]any }
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			t.Errorf("the batch is not JSON: %v", err)
		}
		out := []map[string]any{}
		for i, e := range in.Request {
			if e = change(i, e); e != nil {
				out = append(out, e)
			}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"count": len(out), "result": out})
	}
}

func TestABatchOnTheWire(t *testing.T) {
	t.Parallel()
	o := open(t)
	var got, header string
	o.handle(onBatch, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got, header = string(b), r.Header.Get("Content-Type")+" "+r.Header.Get("Authorization")
		_, _ = io.WriteString(w, `{"count":0,"result":[]}`)
	})
	batch := batchOf(3)
	batch[1].From = batch[1].Hour.Start().Add(20*time.Minute + 300*time.Millisecond) // the purchase began
	batch[1].Quantity = "12.50"
	batch[2].From = batch[2].Hour.End().Add(-time.Millisecond)
	batch[2].Quantity = "3"
	if _, err := o.adapter().Submit(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	want := `{"request":[` +
		`{"resourceId":"45f30000-0000-4000-8000-000000000003","quantity":100.5,"dimension":"api_request","effectiveStartTime":"2026-11-19T23:00:00","planId":"starter"},` +
		`{"resourceId":"45f30000-0000-4000-8000-000000000003","quantity":12.5,"dimension":"api_request","effectiveStartTime":"2026-11-20T00:20:01","planId":"starter"},` +
		`{"resourceId":"45f30000-0000-4000-8000-000000000003","quantity":3,"dimension":"api_request","effectiveStartTime":"2026-11-20T01:00:00","planId":"starter"}]}`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if header != "application/json Bearer token-1" {
		t.Errorf("headers %q", header)
	}
}

func TestEveryStatusOfAnEvent(t *testing.T) {
	t.Parallel()
	o := open(t)
	conflict := func(held any) map[string]any {
		return map[string]any{"code": "Conflict", "message": "This usage event already exist.", "additionalInfo": map[string]any{
			"acceptedMessage": map[string]any{"usageEventId": "first", "status": "Duplicate", "messageTime": "0001-01-01T00:00:00", "resourceId": sub, "quantity": held},
		}}
	}
	notFound := map[string]any{"code": "BadArgument", "target": "ResourceId", "message": "The resource cannot be found or this resource is not active.", "details": map[string]any{}}
	cases := []struct {
		event map[string]any
		want  marketplace.Receipt
	}{
		{
			map[string]any{"status": "Accepted", "usageEventId": "ev-0", "messageTime": "2026-11-20T19:00:00.1234567", "quantity": 100.50},
			marketplace.Receipt{Outcome: marketplace.OutcomeAccepted, ID: "ev-0", Quantity: "100.5", Detail: "Accepted"},
		},
		{
			map[string]any{"status": "Duplicate", "messageTime": "0001-01-01T00:00:00", "error": conflict(101.5)},
			marketplace.Receipt{Outcome: marketplace.OutcomeDuplicate, ID: "first", Quantity: "101.5", Detail: "Duplicate: holds what was sent"},
		},
		{
			map[string]any{"status": "Duplicate", "error": conflict("7.0")},
			marketplace.Receipt{Outcome: marketplace.OutcomeDuplicate, ID: "first", Quantity: "7", Detail: "Duplicate: holds 7, 102.5 was sent"},
		},
		{
			map[string]any{"status": "Duplicate", "error": map[string]any{"code": "Conflict", "message": "exists"}},
			marketplace.Receipt{Outcome: marketplace.OutcomeDuplicate, Detail: "Duplicate: exists"},
		},
		{map[string]any{"status": "Expired"}, marketplace.Receipt{Outcome: marketplace.OutcomeExpired, Detail: "Expired"}},
		{map[string]any{"status": "Error"}, marketplace.Receipt{Outcome: marketplace.OutcomeFailed, Detail: "Error"}},
		{
			map[string]any{"status": "ResourceNotFound", "error": notFound},
			marketplace.Receipt{Outcome: marketplace.OutcomeSuspended, StopsService: true, Detail: "ResourceNotFound: The resource cannot be found or this resource is not active."},
		},
		{map[string]any{"status": "ResourceNotAuthorized"}, marketplace.Receipt{Outcome: marketplace.OutcomeInvalid, Detail: "ResourceNotAuthorized"}},
		{map[string]any{"status": "ResourceNotActive"}, marketplace.Receipt{Outcome: marketplace.OutcomeSuspended, StopsService: true, Detail: "ResourceNotActive"}},
		{map[string]any{"status": "InvalidDimension"}, marketplace.Receipt{Outcome: marketplace.OutcomeInvalid, Detail: "InvalidDimension"}},
		{map[string]any{"status": "InvalidQuantity"}, marketplace.Receipt{Outcome: marketplace.OutcomeInvalid, Detail: "InvalidQuantity"}},
		{map[string]any{"status": "BadArgument"}, marketplace.Receipt{Outcome: marketplace.OutcomeInvalid, Detail: "BadArgument"}},
		{map[string]any{"status": "Invented"}, marketplace.Receipt{Outcome: marketplace.OutcomeFailed, Detail: `unknown status "Invented"`}},
		{nil, marketplace.Receipt{Outcome: marketplace.OutcomeMissing}},
	}
	answered := echo(t, func(i int, e map[string]any) map[string]any {
		if cases[i].event == nil {
			return nil
		}
		return with(e, cases[i].event)
	})
	o.handle(onBatch, answered)
	var want []marketplace.Receipt
	for i, c := range cases {
		c.want.Key = "key-" + strconv.Itoa(i)
		want = append(want, c.want)
	}
	got, err := o.adapter().Submit(t.Context(), batchOf(len(cases)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, r := range got {
		unproven := map[marketplace.ReceiptOutcome]bool{
			marketplace.OutcomeAccepted: true, marketplace.OutcomeDuplicate: true, marketplace.OutcomeFailed: true, marketplace.OutcomeMissing: true,
		}
		if r.Outcome.Proven() == unproven[r.Outcome] {
			t.Errorf("%s: proven %v", r.Detail, r.Outcome.Proven())
		}
	}
}

// TestAnswersAreMatchedByWhatTheySay: not by their order, which is not
// documented, nor by how ids and times are written.
func TestAnswersAreMatchedByWhatTheySay(t *testing.T) {
	t.Parallel()
	o := open(t)
	o.handle(onBatch, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "\ufeff"+`{"count":5,"result":[
			{"resourceId":"`+strings.ToUpper(sub)+`","dimension":"api_request","effectiveStartTime":"2026-11-20T01:59:00.0000000Z","status":"Accepted","usageEventId":"c","quantity":"102.5"},
			{"resourceId":"`+sub+`","dimension":"another","effectiveStartTime":"2026-11-20T00:00:00","status":"Accepted","usageEventId":"x"},
			{"resourceId":"`+sub+`","dimension":"api_request","effectiveStartTime":"2026-11-20T00:00:00","status":"Accepted","usageEventId":"b","quantity":101.5},
			{"resourceId":"`+sub+`","dimension":"api_request","effectiveStartTime":"2026-11-20T00:00:00","status":"Expired"},
			{"resourceId":"`+sub+`","dimension":"api_request","effectiveStartTime":"2026-11-19T23:00:00","status":"Accepted","usageEventId":"a","quantity":100.5}]}`)
	})
	got, err := o.adapter().Submit(t.Context(), batchOf(3))
	if err != nil {
		t.Fatal(err)
	}
	want := []marketplace.Receipt{
		{Key: "key-0", Outcome: marketplace.OutcomeAccepted, ID: "a", Quantity: "100.5", Detail: "Accepted"},
		{Key: "key-1", Outcome: marketplace.OutcomeFailed, ID: "b", Detail: "answered twice: accepted and expired"},
		{Key: "key-2", Outcome: marketplace.OutcomeAccepted, ID: "c", Quantity: "102.5", Detail: "Accepted"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestWhatAWholeCallMeans has every form in which Microsoft was seen to refuse.
func TestWhatAWholeCallMeans(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		why     string
		status  int
		body    string
		class   fault.Class
		refusal marketplace.ReceiptOutcome
		public  bool
		wait    time.Duration
	}{
		{why: "malformed", status: 400, body: `{"code":"BadArgument","target":"usageEventRequest","message":"One or more errors have occurred.","details":[{"code":"BadArgument","target":"quantity","message":"no"}]}`, class: fault.Refused, refusal: marketplace.OutcomeInvalid},
		{why: "expired", status: 400, body: `{"code":"BadArgument","target":"usageEventRequest","message":"One or more errors have occurred.","details":[{"code":"BadArgument","target":"effectiveStartTime","message":"has expired or is in future."}]}`, class: fault.Refused, refusal: marketplace.OutcomeExpired},
		{why: "not found", status: 400, body: `{"code":"BadArgument","message":"x","details":{"target":"ResourceId"}}`, class: fault.Refused, refusal: marketplace.OutcomeSuspended},
		{why: "wrong version", status: 400, body: `{"Error":{"Code":"ApiVersionUnspecified","Message":"An API version is required."}}`, class: fault.Refused, refusal: marketplace.OutcomeInvalid},
		{why: "no token", status: 401, body: "", class: fault.Throttled, public: true},
		{why: "another app", status: 403, body: `{"message":"Client is not authorized for this usage resource.","code":"Forbidden"}`, class: fault.Throttled, public: true},
		{why: "a bare string", status: 403, body: `"The token is invalid, expired or missing."`, class: fault.Throttled, public: true},
		{why: "another address", status: 404, body: "<html>", class: fault.Throttled, public: true},
		{why: "throttled", status: 429, body: "", class: fault.Throttled, wait: 17 * time.Second},
		{why: "a conflict that names no event", status: 409, body: `{"code":"Conflict"}`, class: fault.Unsure},
		{why: "too slow", status: 408, body: "", class: fault.Unsure},
		{why: "moved", status: 307, body: "", class: fault.Unsure},
		{why: "their trouble", status: 500, body: `{"error":{"code":"InternalServerError","message":"x"}}`, class: fault.Unsure},
		{why: "a gateway's trouble", status: 503, body: "", class: fault.Unsure, wait: 17 * time.Second},
		{why: "an empty answer", status: 200, body: "", class: fault.Unsure},
		{why: "half an answer", status: 200, body: `{"count":1,"result":[{"resou`, class: fault.Unsure},
		{why: "no JSON", status: 200, body: `<html>`, class: fault.Unsure},
	} {
		t.Run(c.why, func(t *testing.T) {
			t.Parallel()
			o := open(t)
			o.handle(onBatch, func(w http.ResponseWriter, _ *http.Request) {
				if c.wait > 0 {
					w.Header().Set("Retry-After", "17")
				}
				w.Header().Set("Location", "/api/elsewhere")
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			})
			got, err := o.adapter().Submit(t.Context(), batchOf(2))
			f, ok := errors.AsType[*fault.Error](err)
			if !ok || f.Class != c.class || (f.Public != "") != c.public || f.RetryAfter != c.wait || got != nil {
				t.Errorf("receipts %v, error %+v; want class %s, a text %v, to wait %s", got, err, c.class, c.public, c.wait)
			}
			if r := marketplace.RefusalOf(err); (r != nil) != (c.refusal != "") || r != nil && (r.Outcome != c.refusal || r.Detail == "") {
				t.Errorf("refusal %+v, want %q", r, c.refusal)
			}
			if n := o.count(""); n != 1 {
				t.Errorf("%d requests, want 1", n)
			}
		})
	}
}

func TestWhatNeverLeftIsThrottledAndWhatMayHaveIsUnsure(t *testing.T) {
	t.Parallel()
	o := open(t)
	a := o.adapter()
	o.handle(onBatch, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	if _, err := a.Submit(t.Context(), batchOf(1)); !fault.Is(err, fault.Unsure) {
		t.Errorf("a connection that broke: %v, want unsure", err)
	}
	if n := o.count(onBatch); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}

	o.answer("POST /"+tenant+"/oauth2/v2.0/token", http.StatusUnauthorized, `{"error":"invalid_client","error_description":"AADSTS7000215"}`)
	_, err := o.adapter().Submit(t.Context(), batchOf(1))
	if f, ok := errors.AsType[*fault.Error](err); !ok || f.Class != fault.Throttled || f.Public == "" {
		t.Errorf("no token: %v, want throttled with a text", err)
	}
	if n := o.count(onBatch); n != 1 {
		t.Errorf("the batch left without a token")
	}
	if strings.Contains(err.Error(), `"secret"`) {
		t.Error("the error repeats the secret")
	}

	closed := o.config()
	closed.MeteringEndpoint = "https://127.0.0.1:1/api"
	o = open(t)
	closed.Authority = o.srv.URL
	nobody, err := closed.Open(o.srv.Client(), slog.New(slog.DiscardHandler), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nobody.Submit(t.Context(), batchOf(1)); !fault.Is(err, fault.Throttled) {
		t.Errorf("nobody there: %v, want throttled", err)
	}
}

// TestARefusedTokenIsNotKept: the directory's library would keep it for an hour.
func TestARefusedTokenIsNotKept(t *testing.T) {
	t.Parallel()
	o := open(t)
	var refused atomic.Value
	refused.Store("Bearer token-1")
	o.handle(onBatch, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == refused.Load() {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = io.WriteString(w, `{"result":[]}`)
	})
	o.answer("GET "+onSub, http.StatusOK, subscription)
	o.answer("GET "+onSub+"/listAvailablePlans", http.StatusOK, "")
	a := o.adapter()
	if _, err := a.Purchase(t.Context(), marketplace.Ref{Purchase: sub}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Submit(t.Context(), batchOf(1)); !fault.Is(err, fault.Throttled) {
		t.Fatalf("refused: %v", err)
	}
	if _, err := a.Submit(t.Context(), batchOf(1)); err != nil {
		t.Errorf("with a new token: %v", err)
	}
	refused.Store("Bearer token-2")
	for range 5 {
		if _, err := a.Submit(t.Context(), batchOf(1)); err == nil {
			break
		}
		refused.Store("Bearer token-3")
	}
	if n := o.count("POST /" + tenant + "/oauth2/v2.0/token"); n != 3 {
		t.Errorf("%d tokens were asked for; want 3, because one that never worked is no reason to ask again", n)
	}
}

func TestABatchThatCannotBeSent(t *testing.T) {
	t.Parallel()
	o := open(t)
	a := o.adapter()
	twice := batchOf(2)
	twice[1].Hour = twice[0].Hour
	for why, batch := range map[string][]marketplace.Record{"none": nil, "too many": batchOf(26), "a slot twice": twice} {
		if _, err := a.Submit(t.Context(), batch); !fault.Is(err, fault.Refused) {
			t.Errorf("%s: error %v, want refused", why, err)
		}
	}
	for why, change := range map[string]func(*marketplace.Record){
		"zero": func(r *marketplace.Record) { r.Quantity = "0" }, "negative": func(r *marketplace.Record) { r.Quantity = "-1" },
		"too fine": func(r *marketplace.Record) { r.Quantity = "0.0000001" }, "too much": func(r *marketplace.Record) { r.Quantity = "1000000000" },
		"a double's text": func(r *marketplace.Record) { r.Quantity = "1e3" }, "a part": func(r *marketplace.Record) { r.Part = 1 },
		"no dimension": func(r *marketplace.Record) { r.Dimension = "" }, "no plan": func(r *marketplace.Record) { r.Identity.Plan = "" },
		"no subscription": func(r *marketplace.Record) { r.Identity.Resource = "sub" }, "no hour": func(r *marketplace.Record) { r.Hour = clock.Hour{} },
	} {
		batch := batchOf(1)
		change(&batch[0])
		got, err := a.Submit(t.Context(), batch)
		if err != nil || len(got) != 1 || got[0].Outcome != marketplace.OutcomeInvalid || got[0].Key != "key-0" || !strings.HasPrefix(got[0].Detail, "not sent") {
			t.Errorf("%s: %+v %v, want invalid", why, got, err)
		}
	}
	if n := o.count(""); n != 0 {
		t.Errorf("%d calls", n)
	}
}

// TestAQuantitySurvivesADouble: fifteen digits there and back.
func TestAQuantitySurvivesADouble(t *testing.T) {
	t.Parallel()
	o := open(t)
	o.handle(onBatch, echo(t, func(_ int, e map[string]any) map[string]any {
		return with(e, map[string]any{"status": "Accepted"}) // through a float64, as Microsoft's
	}))
	a := o.adapter()
	for _, q := range []string{"999999999", "999999998.999999", "0.000001", "0.1", "1234567.891", "100", "33.333333"} {
		batch := batchOf(1)
		batch[0].Quantity = q
		got, err := a.Submit(t.Context(), batch)
		if err != nil || got[0].Quantity != q {
			t.Errorf("%s came back as %+v %v", q, got, err)
		}
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	good := azure.Config{TenantID: tenant, ClientID: app, ClientSecret: "s", Listings: []azure.Listing{{Product: "a", OfferID: "o", Dimensions: []string{"d"}}}}
	if _, err := good.Open(&http.Client{}, slog.New(slog.DiscardHandler), time.Now); err != nil {
		t.Fatalf("good settings: %v", err)
	}
	workload := good
	workload.ClientSecret, workload.FederatedTokenFile = "", "/nowhere"
	if _, err := workload.Open(&http.Client{}, slog.New(slog.DiscardHandler), time.Now); err != nil {
		t.Errorf("a workload identity, without a call: %v", err)
	}
	for want, change := range map[string]func(*azure.Config){
		"tenant id":         func(c *azure.Config) { c.TenantID = "common" },
		"client id":         func(c *azure.Config) { c.ClientID = "" },
		"one of them":       func(c *azure.Config) { c.FederatedTokenFile = "/x" },
		"client secret":     func(c *azure.Config) { c.ClientSecret = "" },
		"certificate":       func(c *azure.Config) { c.ClientSecret, c.Certificate = "", []byte("x") },
		"authority":         func(c *azure.Config) { c.Authority = "http://127.0.0.1" },
		"endpoint":          func(c *azure.Config) { c.Endpoint = "marketplace" },
		"metering endpoint": func(c *azure.Config) { c.MeteringEndpoint = "http://x" },
		"at least one":      func(c *azure.Config) { c.Listings = nil },
		"offer id o": func(c *azure.Config) {
			c.Listings = append(c.Listings, azure.Listing{Product: "b", OfferID: "O", Dimensions: []string{"d"}})
		},
		"share one slot": func(c *azure.Config) {
			c.Listings = []azure.Listing{{Product: "a", OfferID: "o", Dimensions: []string{"d", "d"}}}
		},
	} {
		c := good
		change(&c)
		if _, err := c.Open(&http.Client{}, slog.New(slog.DiscardHandler), time.Now); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want a problem with %q, got %v", want, err)
		}
	}
}

// TestCountingPeriodsFollowTheTerm: months from the term's day on, without gap or
// overlap, however short the month.
func TestCountingPeriodsFollowTheTerm(t *testing.T) {
	t.Parallel()
	rules := open(t).adapter().Rules(product)
	day := func(s string) time.Time {
		d, err := time.Parse(time.DateOnly, s)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for _, c := range []struct{ start, at, from, to string }{
		{"2026-01-15", "2026-01-15", "2026-01-15", "2026-02-15"},
		{"2026-01-15", "2026-11-14", "2026-10-15", "2026-11-15"},
		{"2026-01-31", "2026-02-27", "2026-01-31", "2026-02-28"},
		{"2026-01-31", "2026-02-28", "2026-02-28", "2026-03-31"},
		{"2026-01-31", "2026-04-30", "2026-04-30", "2026-05-31"},
		{"2024-02-29", "2027-03-01", "2027-02-28", "2027-03-29"},
		{"2026-06-10", "2026-06-09", "2026-05-10", "2026-06-10"},
		{"2026-06-10", "2025-12-31", "2025-12-10", "2026-01-10"},
	} {
		from, to := rules.PeriodFrom(day(c.start), day(c.at))
		if !from.Equal(day(c.from)) || !to.Equal(day(c.to)) {
			t.Errorf("term of %s, on %s: %s to %s, want %s to %s", c.start, c.at, from, to, c.from, c.to)
		}
	}
	if from, _ := rules.PeriodFrom(time.Time{}, now); !from.Equal(day("2026-11-01")) {
		t.Errorf("without a term: from %s", from)
	}
	for start := day("2024-01-01"); start.Before(day("2024-03-05")); start = start.AddDate(0, 0, 1) {
		_, next := rules.PeriodFrom(start, start)
		for range 40 {
			from, to := rules.PeriodFrom(start, next)
			if before, _ := rules.PeriodFrom(start, next.Add(-time.Nanosecond)); !from.Equal(next) || !to.After(from) || !before.Before(from) {
				t.Fatalf("term of %s: a gap at %s", start, next)
			}
			next = to
		}
	}
	if math.Abs(float64(rules.MaxQuantity)) > 1<<53/1e6 {
		t.Error("the greatest quantity is not exact in a double")
	}
}
