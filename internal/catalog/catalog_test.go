package catalog_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tailmarket/tailmarket/internal/catalog"
	"github.com/tailmarket/tailmarket/internal/fault"
)

func TestTheShippedCatalog(t *testing.T) {
	t.Parallel()
	c := catalog.Default()
	p, ok := c.ByAWS("7exampl0code1exampl0code")
	if !ok || p.ID != "tailnet" {
		t.Fatalf("by product code: %v %v", p.ID, ok)
	}
	if q, ok := c.ByAWS("prod-0example0exam"); !ok || q.ID != p.ID {
		t.Fatalf("by product id: %v %v", q.ID, ok)
	}
	if _, ok := c.ByAWS(""); ok {
		t.Fatal("an empty name found a product")
	}
	plan, ok := p.PlanNamed("aws", "")
	if !ok || plan.ID != "standard" {
		t.Fatalf("the default plan: %v %v", plan.ID, ok)
	}
	want := map[string]struct {
		kind     catalog.Kind
		scale    int
		included int64
	}{
		"active_user":      {catalog.Unique, 0, 0},
		"tagged_resource":  {catalog.PeakPeriod, 0, 50},
		"ephemeral_minute": {catalog.Sum, 2, 100000},
		"api_request":      {catalog.Sum, 1, 0},
	}
	if len(p.Meters) != len(want) {
		t.Fatalf("%d meters, want %d", len(p.Meters), len(want))
	}
	for _, m := range p.Meters {
		w := want[m.ID]
		q, perHour, err := plan.Allowance(m, nil)
		if m.Kind != w.kind || m.Scale != w.scale || q != w.included || perHour || err != nil || m.Dimensions["aws"] != m.ID {
			t.Errorf("%s: %+v includes %d %v %v, want %+v", m.ID, m, q, perHour, err, w)
		}
	}
}

func TestEveryProblemIsReportedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := catalog.Parse([]byte(`
products:
  - id: Tail Net
    aws: { product_code: abc }
    meters:
      - { id: a, unit: x, kind: sum, scale: 9, source: reported, dimensions: { aws: one } }
      - { id: b, unit: x, kind: max, scale: 0, source: guessed, dimensions: { aws: one, ovh: x } }
      - { id: b, unit: "", kind: unique, scale: 2, source: reported }
    plans:
      - id: p
        included:
          zzz: { quantity: "1", basis: pool }
          b: { quantity: "1.5", basis: seats }
`))
	if !fault.Is(err, fault.Invalid) {
		t.Fatalf("class %q: %v", fault.ClassOf(err), err)
	}
	for _, want := range []string{
		"version: is missing", `"Tail Net" is not a name`, "aws.product_id: is missing", "9 is not 0 to 6",
		`dimension "one" already belongs to meter a`, `"max" is none of`, `"guessed" is neither`, `"ovh" is none of`, `"b" is there twice`,
		"a unique meter counts whole things", ".unit: is missing", "has no dimension there", "0 plans are the default", "there is no meter of this name",
		`"1.5" has more than 0 decimal places`, `"seats" is none of`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("not reported: %s\nin %v", want, err)
		}
	}
}

func TestAnUnknownFieldIsRefused(t *testing.T) {
	t.Parallel()
	_, err := catalog.Parse([]byte("version: '1'\nproduct: []\n"))
	if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "product") {
		t.Fatalf("got %v", err)
	}
}

func TestReadFile(t *testing.T) {
	t.Parallel()
	if raw, err := catalog.ReadFile("catalog.yaml"); err != nil || string(raw) != string(catalog.Shipped()) {
		t.Fatalf("the shipped one: %v", err)
	}
	dir := t.TempDir()
	if _, err := catalog.ReadFile(filepath.Join(dir, "none.yaml")); err == nil {
		t.Fatal("a missing file was loaded")
	}
	big := filepath.Join(dir, "big.yaml")
	if err := os.WriteFile(big, []byte("# "+strings.Repeat("x", 1<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := catalog.ReadFile(big); !fault.Is(err, fault.Invalid) {
		t.Fatalf("a huge file: %v", err)
	}
}

func TestAllowance(t *testing.T) {
	t.Parallel()
	plan := catalog.Plan{ID: "p", Included: map[string]catalog.Included{
		"seats": {Quantity: "2.5", Basis: catalog.PerSeat, Per: "seat"},
		"hours": {Quantity: "3", Basis: catalog.Level},
	}}
	seats := catalog.Meter{ID: "seats", Kind: catalog.Sum, Scale: 1}
	if q, _, err := plan.Allowance(seats, map[string]int64{"seat": 4}); q != 100 || err != nil {
		t.Fatalf("4 seats of 2.5: %d %v", q, err)
	}
	if _, _, err := plan.Allowance(seats, map[string]int64{"seat": 1 << 61}); err == nil {
		t.Fatal("an overflow went unnoticed")
	}
	if q, perHour, _ := plan.Allowance(catalog.Meter{ID: "hours", Kind: catalog.UnitHours}, nil); q != 3 || !perHour {
		t.Fatalf("a level of unit hours is each hour's own: %d %v", q, perHour)
	}
}

func TestAListingBelongsToOneProduct(t *testing.T) {
	t.Parallel()
	_, err := catalog.Parse([]byte(`
version: "1"
products:
  - {id: a, title: A, gcp: {service: s.example}, azure: {offer_id: o}, plans: [{id: p, title: P, default: true}], meters: [{id: m, title: M, unit: u, kind: sum, scale: 0, source: reported, dimensions: {gcp: s.example/m, azure: m}}]}
  - {id: b, title: B, gcp: {service: s.example}, azure: {offer_id: ""}, plans: [{id: p, title: P, default: true}], meters: [{id: m, title: M, unit: u, kind: sum, scale: 0, source: reported, dimensions: {azure: m}}]}
`))
	for _, want := range []string{`gcp.service: "s.example" is already the listing of a`, "azure.offer_id: is missing", "listed on gcp, but the meter has no dimension there"} {
		if err == nil || !strings.Contains(fmt.Sprintf("%+v", errors.Unwrap(err)), want) {
			t.Errorf("no %q in %v", want, errors.Unwrap(err))
		}
	}
}

func TestPlansOfTheClouds(t *testing.T) {
	t.Parallel()
	p, _ := catalog.Default().Product("tailnet")
	for _, c := range []struct{ cloud, name, want string }{
		{"gcp", "standard", "standard"},
		{"gcp", "enterprise", "enterprise"},
		{"gcp", "enterprise-P1Y", "enterprise"},
		{"gcp", "standard-P18M", "standard"},
		{"gcp", "-P1Y", ""},
		{"gcp", "gold", ""},
		{"gcp", "gold-P1Y", ""},
		{"gcp", "", "standard"},
		{"azure", "standard", "standard"},
		{"azure", "premium", "premium"},
		{"azure", "instant", "instant"},
		{"azure", "premium-P1Y", ""},
		{"azure", "team", ""},
	} {
		if got, ok := p.PlanNamed(c.cloud, c.name); got.ID != c.want || ok != (c.want != "") {
			t.Errorf("%s calls %q: %q %v, want %q", c.cloud, c.name, got.ID, ok, c.want)
		}
	}
	m, _ := p.Meter("active_user")
	const service = "tailnet.endpoints.example-public.cloud.goog/"
	for plan, want := range map[string]string{"standard": service + "active_user", "enterprise": service + "enterprise_active_user", "": service + "active_user"} {
		if got := p.Dimension(plan, m, "gcp"); got != want {
			t.Errorf("plan %q meters %q, want %q", plan, got, want)
		}
	}
	if got := p.Dimension("enterprise", m, "azure"); got != "active_user" {
		t.Errorf("another marketplace's plan changes the dimension to %q", got)
	}
	for cloud, n := range map[string]int{"aws": 4, "azure": 4, "gcp": 8} {
		if got := p.AllDimensions(cloud); len(got) != n {
			t.Errorf("%s has %d dimensions, want %d: %v", cloud, len(got), n, got)
		}
	}
}

func TestAPlansOwnDimensions(t *testing.T) {
	t.Parallel()
	_, err := catalog.Parse([]byte(`
version: "1"
products:
  - id: a
    title: A
    meters:
      - {id: m, title: M, unit: u, kind: sum, scale: 0, source: reported, dimensions: {gcp: m, aws: m}}
      - {id: n, title: N, unit: u, kind: sum, scale: 0, source: reported, dimensions: {gcp: n}}
    plans:
      - {id: p, title: P, default: true, dimensions: {m: {gcp: n}, n: {aws: x, gcp: ""}, zzz: {gcp: z}}}
`))
	for _, want := range []string{`.m.gcp: dimension "n" already belongs to meter n`, ".n.aws: the meter has no dimension there", ".n.gcp: must have 1 to 255", ".zzz: there is no meter"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}

func TestContractedQuantitiesHaveBounds(t *testing.T) {
	t.Parallel()
	p := catalog.Product{Plans: []catalog.Plan{
		{ID: "team", Names: map[string]string{"azure": "team_plan"}, Quantities: map[string]catalog.Quantity{"seat": {Min: 5, Max: 50}}},
		{ID: "large", Quantities: map[string]catalog.Quantity{"seat": {Min: 20}}},
	}}
	for _, c := range []struct {
		plan, quantity string
		n              int64
		want           bool
	}{
		{"team_plan", "seat", 5, true},
		{"team_plan", "seat", 4, false},
		{"team_plan", "seat", 50, true},
		{"team", "seat", 51, false},
		{"large", "seat", 51, true},
		{"large", "seat", 19, false},
		{"", "seat", 19, true}, // in one of them
		{"", "seat", 4, false},
		{"team", "gateway", 1, true}, // not listed: no bound
		{"team", "gateway", 0, false},
		{"unknown", "seat", 3, true}, // the plan itself is judged elsewhere
		{"unknown", "seat", -1, false},
	} {
		if got := p.Contracts("azure", c.plan, c.quantity, c.n); got != c.want {
			t.Errorf("%d %s in plan %q: %v", c.n, c.quantity, c.plan, got)
		}
	}
}

func TestANaturalKeyIsForReportedMeters(t *testing.T) {
	t.Parallel()
	const file = `
version: "1"
products:
  - {id: a, title: A, plans: [{id: p, title: P, default: true}], meters: [{id: m, title: M, unit: u, kind: sum, scale: 0, source: %s, natural_key: {interval: %s}, dimensions: {aws: m}}]}
`
	c, err := catalog.Parse(fmt.Appendf(nil, file, "reported", "day"))
	if err != nil || c.Products[0].Meters[0].NaturalKey.Interval != catalog.PerDay {
		t.Fatalf("%v", err)
	}
	_, err = catalog.Parse(fmt.Appendf(nil, file, "collected", "week"))
	for _, want := range []string{`"week" is none of hour, day, period, ever`, "is for reported meters"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}

func TestWhoTakesIncludedUnitsOff(t *testing.T) {
	t.Parallel()
	p := catalog.Product{
		AWS: &catalog.AWSListing{}, GCP: &catalog.GCPListing{}, Plans: []catalog.Plan{{ID: "p"}, {ID: "q"}},
		Offers: []catalog.Offer{
			{ID: "public", Marketplaces: []string{"gcp"}, Plans: []string{"p"}, NettedBy: catalog.Marketplace},
			{ID: "named", Names: map[string]string{"gcp": "offers/1"}, NettedBy: catalog.Us},
		},
	}
	ours, theirs := catalog.Meter{NettedBy: catalog.Us}, catalog.Meter{NettedBy: catalog.Marketplace}
	for _, c := range []struct {
		cloud, offer, plan string
		m                  catalog.Meter
		want               catalog.NettedBy
	}{
		{"gcp", "", "p", catalog.Meter{}, catalog.Marketplace},
		{"gcp", "offers/2", "p", catalog.Meter{}, catalog.Marketplace},
		{"gcp", "offers/1", "p", catalog.Meter{}, catalog.Us},
		{"gcp", "", "q", catalog.Meter{}, catalog.Us},
		{"aws", "", "p", catalog.Meter{}, catalog.Us},
		{"gcp", "", "p", ours, catalog.Us},
		{"gcp", "", "q", theirs, catalog.Marketplace},
		{"gcp", "", "gone", catalog.Meter{}, catalog.Us},
	} {
		if got := p.NettedBy(c.cloud, c.offer, c.plan, c.m); got != c.want {
			t.Errorf("%s %s %s: netted by %s, want %s", c.cloud, c.offer, c.plan, got, c.want)
		}
	}
}
