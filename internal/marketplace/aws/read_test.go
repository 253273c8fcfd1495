package aws_test

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/marketplace/aws"
	"github.com/tailmarket/tailmarket/internal/simulator"
)

// TestReadContractsAndSuccessors: what only contracts, renewals and replacements show.
func TestReadContractsAndSuccessors(t *testing.T) {
	t.Parallel()
	v := open(t, simulator.Options{Seed: 3, Weather: simulator.WeatherGood, Channel: simulator.ChannelHTTPS})
	end := v.Now().Add(90 * 24 * time.Hour)
	contract, _ := v.buy(simulator.Purchase{Contract: map[string]int64{"active_user": 250, "tagged_resource": 10}, End: end})
	renewed, _ := v.buy(simulator.Purchase{})
	replaced, _ := v.buy(simulator.Purchase{})
	change := func(id, kind string) simulator.Buyer {
		t.Helper()
		b, err := v.sim.Change(t.Context(), id, simulator.Change{Kind: kind, Contract: map[string]int64{"active_user": 300}})
		if err != nil {
			t.Fatal(err)
		}
		v.Advance(3 * time.Minute)
		return b
	}
	one := func(ref marketplace.Ref) marketplace.Event {
		t.Helper()
		got, err := v.adapter.Purchase(t.Context(), ref)
		if err != nil || len(got) != 1 {
			t.Fatalf("%+v: %+v %v", ref, got, err)
		}
		return got[0]
	}

	got := one(contract.Ref)
	if diff := cmp.Diff(map[string]int64{"active_user": 250, "tagged_resource": 10}, got.Terms.Quantities); diff != "" || !got.Observed.EndsAt.Equal(end) || !got.Terms.To.Equal(end) || !got.Observed.Entitled {
		t.Errorf("contract: %+v %+v\n%s", got.Terms, got.Observed, diff)
	}
	change(contract.Ref.Purchase, simulator.ChangeAmend)
	if after := one(contract.Ref); after.Terms.Quantities["active_user"] != 300 || !after.Version.After(got.Version) {
		t.Errorf("amended: %+v, version %s after %s", after.Terms, after.Version, got.Version)
	}

	next := change(renewed.Ref.Purchase, simulator.ChangeRenew)
	if next.LicenseArn != renewed.Ref.Purchase {
		t.Fatal("the simulator gave another licence")
	}
	both, err := v.adapter.Purchase(t.Context(), marketplace.Ref{Purchase: renewed.Ref.Purchase})
	if err != nil || len(both) != 2 {
		t.Fatalf("renewed: %+v %v", both, err)
	}
	for _, e := range both {
		if now := e.Ref.Agreement == next.AgreementID; e.Observed.Ended || e.Observed.Entitled != now || (e.Reason == "RENEWED") == now {
			t.Errorf("agreement %s, %s: %+v", e.Ref.Agreement, e.Reason, e.Observed)
		}
	}

	successor := change(replaced.Ref.Purchase, simulator.ChangeReplace)
	if e := one(marketplace.Ref{Purchase: replaced.Ref.Purchase}); !e.Observed.Ended || e.Observed.Entitled || e.Observed.EndsAt.IsZero() || e.Reason != "REPLACED" {
		t.Errorf("replaced: %s %+v", e.Reason, e.Observed)
	}
	if e := one(marketplace.Ref{Agreement: successor.AgreementID}); e.Observed.Ended || !e.Observed.Entitled || e.Ref.Purchase != successor.LicenseArn {
		t.Errorf("successor: %+v %+v", e.Ref, e.Observed)
	}
}

// TestReadBeforeTheLicence: an agreement without a licence entitles to nothing.
func TestReadBeforeTheLicence(t *testing.T) {
	t.Parallel()
	v := open(t, simulator.Options{Seed: 3, Weather: simulator.WeatherGood, Channel: simulator.ChannelHTTPS})
	b, err := v.sim.Buy(t.Context(), simulator.Purchase{Habits: &simulator.Habits{Absent: true}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := v.adapter.Purchase(t.Context(), marketplace.Ref{Agreement: b.AgreementID})
	if err != nil || len(got) != 1 {
		t.Fatalf("%+v %v", got, err)
	}
	if e := got[0]; e.Ref != (marketplace.Ref{Agreement: b.AgreementID, Account: b.Account, Product: product}) || e.Observed.Entitled || e.Observed.Ended {
		t.Errorf("%+v %+v", e.Ref, e.Observed)
	}
}

// agreements is an AWS that holds one agreement, for states the simulator does not reach.
type agreements struct {
	summary      map[string]any
	entitlements []map[string]any
	active       []map[string]any // found by licence and status ACTIVE

	mu   sync.Mutex
	asks []string
}

func (f *agreements) answer(t *testing.T) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in map[string]any
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = cbor.Unmarshal(body, &in)
		}
		if err != nil {
			t.Error(err)
		}
		op := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
		token, _ := in["nextToken"].(string)
		f.mu.Lock()
		f.asks = append(f.asks, op+token)
		f.mu.Unlock()
		out := map[string]any{}
		switch op {
		case "SearchAgreements":
			rows := []map[string]any{f.summary}
			if hasFilter(in, "Status") {
				rows = f.active
			}
			out["agreementViewSummaries"] = []map[string]any{}
			if out["nextToken"] = "more"; token == "more" {
				out["agreementViewSummaries"] = rows
				delete(out, "nextToken")
			}
		case "GetAgreementEntitlements":
			out["agreementEntitlements"] = []map[string]any{}
			if out["nextToken"] = "more"; token == "more" {
				out["agreementEntitlements"] = f.entitlements
				delete(out, "nextToken")
			}
		case "GetEntitlements":
			rows := []map[string]any{}
			for dimension, value := range map[string]map[string]any{
				"seats": {"IntegerValue": 250}, "whole": {"DoubleValue": 3.0}, "broken": {"DoubleValue": 2.5}, "support": {"BooleanValue": true}, "tier": {"StringValue": "gold"},
			} {
				rows = append(rows, map[string]any{"Dimension": dimension, "LicenseArn": licenceARN, "Value": value, "ExpirationDate": stamp("2027-01-01T00:00:00Z")})
			}
			out["Entitlements"] = append(rows,
				map[string]any{"Dimension": "past", "LicenseArn": licenceARN, "Value": map[string]any{"IntegerValue": 1}, "ExpirationDate": stamp("2026-01-01T00:00:00Z")},
				map[string]any{"Dimension": "another's", "LicenseArn": licenceARN + "0", "Value": map[string]any{"IntegerValue": 1}},
			)
		}
		answer, err := cbor.Marshal(out)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
		w.Header().Set("Content-Type", "application/cbor")
		_, _ = w.Write(answer)
	}
}

func hasFilter(in map[string]any, name string) bool {
	filters, _ := in["filters"].([]any)
	return slices.ContainsFunc(filters, func(f any) bool {
		m, _ := f.(map[any]any)
		return m["name"] == name
	})
}

func stamp(text string) cbor.Tag {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return cbor.Tag{Number: 1, Content: float64(at.Unix())}
}

// TestReadStates is the table of what an agreement's status and its entitlement's
// say together.
func TestReadStates(t *testing.T) {
	t.Parallel()
	const changed, agreed = "2026-11-02T12:00:00Z", "2027-06-01T00:00:00Z"
	cases := []struct {
		name, status, entitlement, end string
		goesOn                         bool // another agreement is active under the licence
		entitled, ended                bool
		endsAt                         string
	}{
		{name: "in use, without an end", status: "ACTIVE", entitlement: "PROVISIONED", end: "9999-01-01T00:00:00Z", entitled: true},
		{name: "in use until an agreed end", status: "ACTIVE", entitlement: "PROVISIONED", end: agreed, entitled: true, endsAt: agreed},
		{name: "not provisioned yet", status: "ACTIVE", entitlement: "PENDING"},
		{name: "starts later", status: "ACTIVE", entitlement: "SCHEDULED"},
		{name: "could not be provisioned", status: "ACTIVE", entitlement: "FAILED"},
		{name: "active, and yet deprovisioned", status: "ACTIVE", entitlement: "DEPROVISIONED", ended: true, endsAt: changed},
		{name: "cancelled before its agreed end", status: "CANCELLED", entitlement: "PROVISIONED", end: agreed, ended: true, endsAt: changed},
		{name: "expired at its agreed end", status: "EXPIRED", entitlement: "DEPROVISIONED", end: "2026-11-02T11:00:00Z", ended: true, endsAt: "2026-11-02T11:00:00Z"},
		{name: "terminated", status: "TERMINATED", entitlement: "PROVISIONED", ended: true, endsAt: changed},
		{name: "renewed", status: "RENEWED", entitlement: "PROVISIONED"},
		{name: "renewed under the same licence, its own entitlement gone", status: "RENEWED", entitlement: "DEPROVISIONED", goesOn: true},
		{name: "replaced, its licence gone", status: "REPLACED", entitlement: "DEPROVISIONED", ended: true, endsAt: changed},
		{name: "a status that says nothing", status: "SUPERSEDED", entitlement: "PROVISIONED"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := &agreements{
				summary: map[string]any{
					"agreementId": "agmt-1", "status": c.status, "acceptor": map[string]any{"accountId": buyer}, "proposer": map[string]any{"accountId": "444455556666"},
					"startTime": stamp("2026-10-01T00:00:00Z"), "lastUpdateTime": stamp(changed),
					"proposalSummary": map[string]any{"offerId": "offer-1", "resources": []map[string]any{{"id": "prod-0example0exam", "type": "SaaSProduct"}}},
				},
				entitlements: []map[string]any{
					{"licenseArn": licenceARN, "status": c.entitlement, "resource": map[string]any{"id": "prod-0example0exam", "type": "SaaSProduct"}},
					{"licenseArn": licenceARN + "f", "status": "PROVISIONED", "resource": map[string]any{"id": "prod-another", "type": "SaaSProduct"}},
				},
			}
			if c.end != "" {
				f.summary["endTime"] = stamp(c.end)
			}
			if c.goesOn {
				f.active = []map[string]any{{"agreementId": "agmt-2"}}
			}
			a, _ := against(t, f.answer(t))
			got, err := a.Purchase(t.Context(), marketplace.Ref{Purchase: licenceARN})
			if err != nil || len(got) != 1 {
				t.Fatalf("%+v %v (asked %q)", got, err, f.asks)
			}
			want := marketplace.Event{
				Kind: marketplace.Observed, Ref: marketplace.Ref{Purchase: licenceARN, Agreement: "agmt-1", Account: buyer, Product: product},
				At: instant(changed), Version: instant(changed), Reason: c.status, Reseller: "444455556666",
				Terms:    &marketplace.Terms{Agreement: "agmt-1", Offer: "offer-1", From: instant("2026-10-01T00:00:00Z"), To: instant(c.end)},
				Observed: &marketplace.Observation{Entitled: c.entitled, Ended: c.ended, StartsAt: instant("2026-10-01T00:00:00Z"), EndsAt: instant(c.endsAt)},
			}
			if strings.HasPrefix(c.end, "9999") {
				want.Terms.To = time.Time{}
			}
			if c.entitled {
				want.Terms.Quantities = map[string]int64{"seats": 250, "whole": 3, "support": 1}
			}
			if diff := cmp.Diff(want, got[0]); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestReadRefused: what asking again can mend is asked again; what it cannot
// mend, about one purchase, is not.
func TestReadRefused(t *testing.T) {
	t.Parallel()
	agreement, licence := marketplace.Ref{Agreement: "agmt-1"}, marketplace.Ref{Purchase: licenceARN}
	for _, c := range []struct {
		name  string
		ref   marketplace.Ref
		code  string
		class fault.Class // "" when there is no error and no event
		says  string
	}{
		{"an agreement that a channel partner sold", agreement, "AccessDeniedException", "", ""},
		{"an agreement that is not there", agreement, "ResourceNotFoundException", "", ""},
		{"an agreement's name that is none", agreement, "ValidationException", fault.Refused, "operator"},
		{"a licence's name that is none", licence, "ValidationException", fault.Refused, "operator"},
		// The operator mends the role, and then it goes on by itself.
		{"no permission to search", licence, "AccessDeniedException", fault.Unavailable, "credentials"},
		{"a key that was withdrawn", agreement, "UnrecognizedClientException", fault.Unavailable, "credentials"},
		{"too fast", licence, "ThrottlingException", fault.Throttled, ""},
		{"its own trouble", agreement, "InternalServerException", fault.Unavailable, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a, calls := against(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
				w.Header().Set("Content-Type", "application/cbor")
				w.WriteHeader(http.StatusBadRequest)
				raw, err := cbor.Marshal(map[string]string{"__type": "com.amazonaws.agreement#" + c.code, "message": "no"})
				if err != nil {
					t.Error(err)
				}
				_, _ = w.Write(raw)
			})
			got, err := a.Purchase(t.Context(), c.ref)
			if len(got) != 0 || fault.ClassOf(err) != c.class || (err == nil) != (c.class == "") {
				t.Fatalf("%+v %v, want class %q", got, err, c.class)
			}
			if f, ok := errors.AsType[*fault.Error](err); ok && !strings.Contains(f.Public, c.says) {
				t.Errorf("text %q, want one about %q", f.Public, c.says)
			}
			if n := calls.Load(); n != 1 {
				t.Errorf("%d requests, want one", n)
			}
		})
	}
}

// A list of agreements goes on past one whose entitlements cannot be read, and begins
// where it is told; when none can be read, or AWS is asked too fast, it stops.
func TestReadAllPastWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	open := func(code string, closed ...string) (*aws.Adapter, func() []string) {
		var mu sync.Mutex
		var tokens []string
		a, _ := against(t, func(w http.ResponseWriter, r *http.Request) {
			var in map[string]any
			body, err := io.ReadAll(r.Body)
			if err = errors.Join(err, cbor.Unmarshal(body, &in)); err != nil {
				t.Error(err)
			}
			out, status := map[string]any{}, http.StatusOK
			if id, _ := in["agreementId"].(string); strings.HasSuffix(r.URL.Path, "/GetAgreementEntitlements") {
				out["agreementEntitlements"] = []map[string]any{}
				if slices.Contains(closed, id) {
					out, status = map[string]any{"__type": "com.amazonaws.agreement#" + code, "message": "no"}, http.StatusBadRequest
				}
			} else {
				token, _ := in["nextToken"].(string)
				mu.Lock()
				tokens = append(tokens, token)
				mu.Unlock()
				var rows []map[string]any
				for i := range 6 {
					id := "agmt-" + string(rune('a'+i))
					if token == "more" {
						id += "2"
					}
					rows = append(rows, map[string]any{
						"agreementId": id, "status": "ACTIVE", "lastUpdateTime": stamp("2026-11-03T07:00:00Z"), "acceptor": map[string]any{"accountId": "123456789012"},
						"proposalSummary": map[string]any{"resources": []map[string]any{{"id": "prod-0example0exam"}}},
					})
				}
				if out["agreementViewSummaries"] = rows; token == "" {
					out["nextToken"] = "more"
				}
			}
			raw, err := cbor.Marshal(out)
			if err != nil {
				t.Error(err)
			}
			w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
			w.Header().Set("Content-Type", "application/cbor")
			w.WriteHeader(status)
			_, _ = w.Write(raw)
		})
		return a, func() []string { mu.Lock(); defer mu.Unlock(); return slices.Clone(tokens) }
	}
	read := func(a *aws.Adapter, from marketplace.Mark) (known, unread, next []string, err error) {
		err = a.Purchases(t.Context(), from, func(p marketplace.Page) error {
			for _, e := range p.Events {
				known = append(known, e.Ref.Agreement)
			}
			for _, r := range p.Unread {
				unread = append(unread, r.Agreement)
			}
			next = append(next, p.Next)
			return nil
		})
		return known, unread, next, err
	}
	a, _ := open("AccessDeniedException", "agmt-b", "agmt-c2")
	known, unread, next, err := read(a, marketplace.Mark{})
	if err != nil || len(known) != 10 || !slices.Equal(unread, []string{"agmt-b", "agmt-c2"}) || !slices.Equal(next, []string{"more", ""}) {
		t.Errorf("read %v, not %v, then %q: %v", known, unread, next, err)
	}
	if _, err := a.Purchase(t.Context(), marketplace.Ref{Purchase: licenceARN}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("asked for by itself, it says nothing: %v", err)
	}
	a, asked := open("InternalServerException")
	if known, unread, _, err = read(a, marketplace.Mark{Next: "more"}); err != nil || len(known) != 6 || len(unread) != 0 || !slices.Equal(asked(), []string{"more"}) {
		t.Errorf("from the second page: %v %v %v, asked %q", known, unread, err, asked())
	}
	var all []string
	for i := range 6 {
		all = append(all, "agmt-"+string(rune('a'+i)), "agmt-"+string(rune('a'+i))+"2")
	}
	a, _ = open("AccessDeniedException", all...)
	if _, unread, _, err = read(a, marketplace.Mark{}); !fault.Is(err, fault.Unavailable) || len(unread) > 6 {
		t.Errorf("nothing can be read: %v, %v", unread, err)
	}
	a, _ = open("ThrottlingException", "agmt-b")
	if known, _, _, err = read(a, marketplace.Mark{}); !fault.Is(err, fault.Throttled) || len(known) != 0 {
		t.Errorf("too fast: %v, %v", known, err)
	}
}

func instant(text string) time.Time {
	if text == "" {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return at.UTC()
}
