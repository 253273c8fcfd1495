package catalog_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tailmarket/tailmarket/internal/catalog"
)

func edited(t interface{ Fatal(...any) }, pairs ...string) *catalog.Catalog {
	text := string(catalog.Shipped())
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatal("the shipped catalog does not say ", pairs[i])
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	c, err := catalog.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDiff(t *testing.T) {
	t.Parallel()
	const service = "tailnet.endpoints.example-public.cloud.goog"
	for name, c := range map[string]struct {
		edit  []string
		want  []string
		bills bool
	}{
		"the version alone is no change": {edit: []string{"2026-11", "2026-12"}},
		"another way to write a number":  {edit: []string{`active_user: "6.00"`, `active_user: "6.0000"`, `quantity: "50"`, `quantity: "50.0"`}},
		"a price": {
			edit:  []string{`active_user: "6.00"`, `active_user: "7.00"`},
			want:  []string{"tailnet standard active_user: price 6 USD → 7 USD (Microsoft)"},
			bills: true,
		},
		"a price that was not there": {
			edit:  []string{`, api_request: "0.40" }`, ` }`},
			want:  []string{"tailnet standard api_request: price gone: 0.4 USD (Microsoft)"},
			bills: true,
		},
		"what is included": {
			edit:  []string{`{ quantity: "1000", basis: pool }`, `{ quantity: "2000", basis: pool }`},
			want:  []string{"tailnet standard ephemeral_minute: included 1000 pool → 2000 pool (Microsoft)"},
			bills: true,
		},
		"a dimension at one marketplace": {
			edit:  []string{"aws: api_request,", "aws: api_calls,"},
			want:  []string{"tailnet standard aws api_request: dimension api_request → api_calls"},
			bills: true,
		},
		"a plan's name": {
			edit:  []string{"names: { azure: instant }", "names: { azure: at_once }"},
			want:  []string{"tailnet instant azure: name instant → at_once"},
			bills: true,
		},
		"a plan that is new": {
			edit: []string{"      - id: premium\n", "      - { id: small, title: Small, names: { aws: small }, currency: USD, prices: { active_user: \"1.00\" } }\n      - id: premium\n"},
			want: []string{"tailnet small: plan added: Small"},
		},
		"a listing that moved": {
			edit:  []string{service, "net.endpoints.example-public.cloud.goog"},
			want:  []string{"tailnet gcp: listing " + service + ", fractions false → net.endpoints.example-public.cloud.goog, fractions false"},
			bills: true,
		},
		"only words": {
			edit: []string{"title: Standard", "title: Regular", "title: People who", "title: Persons that"},
			want: []string{"tailnet standard: plan Standard → Regular"},
		},
		"a counting period": {
			edit:  []string{"    plans:\n", "    offers:\n      - { id: yearly, plans: [instant], marketplaces: [azure], counting_period: term_year }\n    plans:\n"},
			want:  []string{"tailnet instant azure: counting period as usual → term_year"},
			bills: true,
		},
		"the same period in words": {
			edit: []string{"    plans:\n", "    offers:\n      - { id: usual, plans: [instant], marketplaces: [azure], netted_by: us }\n    plans:\n"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			bills := false
			for _, d := range catalog.Diff(catalog.Default(), edited(t, c.edit...)) {
				text := d.String()
				if d.Note != "" {
					text += " (Microsoft)"
				}
				got = append(got, text)
				bills = bills || d.Bills
			}
			if !slices.Equal(got, c.want) || bills != c.bills {
				t.Errorf("bills %v, want %v\ngot  %q\nwant %q", bills, c.bills, got, c.want)
			}
		})
	}
}

// What goes one way comes back the other.
func TestDiffHasTwoWays(t *testing.T) {
	t.Parallel()
	edits := [][2]string{
		{`active_user: "6.00"`, `active_user: "7.00"`},
		{"        default: true\n", "        default: true\n        trial_days: 14\n        fees: { P1M: \"9.00\" }\n"},
		{`{ quantity: "1000", basis: pool }`, `{ quantity: "900", basis: pool }`},
		{"kind: unique", "kind: sum"},
		{"      - id: premium\n", "      - { id: small, names: { aws: small } }\n      - id: premium\n"},
		{"names: { azure: instant }", "names: { azure: at_once }"},
		{"    plans:\n", "    offers:\n      - { id: all, counting_period: term_year, phases: [{ months: 12, price: \"1.00\" }] }\n    plans:\n"},
		{"    meters:\n", "    features: { sso: { title: Single sign-on } }\n    limits: { device: { title: Devices } }\n    meters:\n"},
	}
	rapid.Check(t, func(t *rapid.T) {
		var a, b []string
		for _, e := range edits {
			if rapid.Bool().Draw(t, "a") {
				a = append(a, e[0], e[1])
			}
			if rapid.Bool().Draw(t, "b") {
				b = append(b, e[0], e[1])
			}
		}
		x, y := edited(t, a...), edited(t, b...)
		there, back := catalog.Diff(x, y), catalog.Diff(y, x)
		if same := slices.Equal(a, b); (len(there) == 0) != same || len(catalog.Diff(x, x)) != 0 || len(there) != len(back) {
			t.Fatalf("%q and %q differ in %v and in %v", a, b, there, back)
		}
		for i, c := range there {
			if r := back[i]; r.From != c.To || r.To != c.From || r.What != c.What || c.From == c.To {
				t.Fatalf("%v and back %v", c, r)
			}
		}
	})
}
