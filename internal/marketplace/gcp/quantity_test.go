package gcp_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/marketplace/gcp"
	"github.com/tailmarket/tailmarket/internal/money"
)

// sent is the value of the one operation that was reported, as its JSON says it; empty: none was.
func (g *google) sent(t testing.TB) string {
	t.Helper()
	for _, c := range g.calls() {
		if !strings.HasSuffix(c.Path, ":report") {
			continue
		}
		var in struct {
			Operations []struct {
				MetricValueSets []struct{ MetricValues []map[string]json.RawMessage }
			}
		}
		if err := json.Unmarshal([]byte(c.Body), &in); err != nil {
			t.Fatal(err)
		}
		v := in.Operations[0].MetricValueSets[0].MetricValues[0]
		if len(v) != 1 {
			t.Fatalf("value %v", v)
		}
		for kind, text := range v {
			return kind + " " + string(text)
		}
	}
	return ""
}

func of(product, quantity string) func(*marketplace.Record) {
	return func(r *marketplace.Record) {
		r.Quantity, r.Product = quantity, product
		if product == "minutes" {
			r.Identity.ProductCode, r.Dimension = "minutes.endpoints.tailvendor-public.cloud.goog", "minutes/used"
		}
	}
}

// TestQuantities: an INT64 metric gets a text of digits, a DOUBLE one a number, and neither gets
// what it cannot hold.
func TestQuantities(t *testing.T) {
	t.Parallel()
	g := open(t)
	a := g.adapter(t)
	for _, c := range []struct{ product, quantity, want string }{
		{product, "0", `int64Value "0"`},
		{product, "150", `int64Value "150"`},
		{product, "150.00", `int64Value "150"`},
		{product, "1000000000000", `int64Value "1000000000000"`},
		{product, "1000000000001", ""},
		{product, "1.5", ""},
		{product, "-1", ""},
		{product, "-0", ""},
		{product, "+1", ""},
		{product, "", ""},
		{product, "x", ""},
		{product, "1.", ""},
		{product, ".5", ""},
		{product, "1e3", ""},
		{product, "1.0.0", ""},
		{product, "99999999999999999999", ""},
		{"minutes", "0", "doubleValue 0"},
		{"minutes", "12.34", "doubleValue 12.34"},
		{"minutes", "12.50", "doubleValue 12.5"},
		{"minutes", "0.000001", "doubleValue 0.000001"},
		{"minutes", "1000000000000", "doubleValue 1000000000000"},
		{"minutes", "999999999999.123", "doubleValue 999999999999.123"},
		{"minutes", "999999999999.123456", ""}, // more digits than a double has
		{"minutes", "1000000000000.1", ""},
		{"minutes", "-0.5", ""},
		{"minutes", "1.5e1", ""},
		{"minutes", "0x1p4", ""},
	} {
		g.says(200, `{}`)
		got, err := a.Submit(t.Context(), []marketplace.Record{record(a, of(c.product, c.quantity))})
		if err != nil {
			t.Fatal(err)
		}
		want := marketplace.OutcomeAccepted
		if c.want == "" {
			want = marketplace.OutcomeInvalid
		}
		if sent := g.sent(t); got[0].Outcome != want || sent != c.want {
			t.Errorf("%s %q: %s %s, sent %q, want %q", c.product, c.quantity, got[0].Outcome, got[0].Detail, sent, c.want)
		}
	}
}

// TestQuantitiesAreExact: what is sent is the decimal text that was frozen, or nothing.
func TestQuantitiesAreExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		scale := rapid.IntRange(0, 6).Draw(t, "scale")
		n := rapid.Int64Range(0, 1<<53).Draw(t, "n")
		text := money.Format(n, scale)
		v, err := gcp.Quantity(text, true)
		if err != nil {
			if n < 1e12 { // fewer digits than a double has, and below the limit at any scale
				t.Fatalf("%s: %v", text, err)
			}
			return
		}
		wire, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var back struct{ DoubleValue json.Number }
		if err := json.Unmarshal(wire, &back); err != nil {
			t.Fatal(err)
		}
		if got, err := money.Parse(back.DoubleValue.String(), scale); err != nil || got != n {
			t.Fatalf("%s went as %s", text, wire)
		}
	})
}

// TestBatches: what must not go in one call, and what goes alone.
func TestBatches(t *testing.T) {
	t.Parallel()
	g := open(t)
	a := g.adapter(t)
	g.says(200, `{}`)
	one := record(a, nil)
	many := make([]marketplace.Record, 0, 51)
	for i := range 51 {
		many = append(many, record(a, func(r *marketplace.Record) { r.Part = i }))
	}
	for name, b := range map[string][]marketplace.Record{
		"none": nil, "too many": many, "one key twice": {one, one}, "two services": {one, record(a, of("minutes", "1"))},
		"no service": {record(a, func(r *marketplace.Record) { r.Identity.ProductCode = "" })},
	} {
		_, err := a.Submit(t.Context(), b)
		if !fault.Is(err, fault.Refused) || len(g.calls()) > 0 {
			t.Errorf("%s: %v after %d calls", name, err, len(g.calls()))
		}
	}
	g.says(200, `{}`)
	for name, change := range map[string]func(*marketplace.Record){
		"no consumer yet":       func(r *marketplace.Record) { r.Identity.Customer = "" },
		"no entitlement":        func(r *marketplace.Record) { r.Identity.License = "" },
		"no metric":             func(r *marketplace.Record) { r.Dimension = "" },
		"a metric too long":     func(r *marketplace.Record) { r.Dimension = strings.Repeat("m", 256) },
		"no window":             func(r *marketplace.Record) { r.From, r.To = time.Time{}, time.Time{} },
		"an empty window":       func(r *marketplace.Record) { r.To = r.From },
		"a window turned about": func(r *marketplace.Record) { r.From, r.To = r.To, r.From },
		"a day":                 func(r *marketplace.Record) { r.To = r.From.Add(24 * time.Hour) },
	} {
		got, err := a.Submit(t.Context(), []marketplace.Record{record(a, change)})
		if err != nil || got[0].Outcome != marketplace.OutcomeInvalid || !strings.HasPrefix(got[0].Detail, "not sent: ") || len(g.calls()) > 0 {
			t.Errorf("%s: %+v %v after %d calls", name, got, err, len(g.calls()))
		}
	}
}
