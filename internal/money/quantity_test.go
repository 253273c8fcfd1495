package money_test

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/tailmarket/tailmarket/internal/money"
)

func TestParse(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		text  string
		scale int
		want  int64
		ok    bool
	}{
		"whole":                       {"12", 2, 1200, true},
		"trailing zeros mean nothing": {"12.50000000000000000000000000", 1, 125, true},
		"leading zeros mean nothing":  {"0000000000000000000000000012", 0, 12, true},
		"negative":                    {"-0.01", 2, -1, true},
		"largest":                     {"9223372036854775807", 0, math.MaxInt64, true},
		"too large by one":            {"9223372036854775808", 0, 0, false},
		"too large by its scale":      {"9223372036854775807", 1, 0, false},
		"one place too many":          {"12.55", 1, 0, false},
		"exponent":                    {"1e3", 0, 0, false},
		"plus":                        {"+1", 0, 0, false},
		"empty":                       {"", 0, 0, false},
		"only a point":                {".", 2, 0, false},
		"no whole part":               {".5", 1, 0, false},
		"no fraction":                 {"5.", 1, 0, false},
		"two points":                  {"1.2.3", 2, 0, false},
		"not a number":                {"NaN", 2, 0, false},
		"space":                       {" 1", 2, 0, false},
		"scale out of range":          {"1", 7, 0, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := money.Parse(c.text, c.scale)
			if (err == nil) != c.ok || got != c.want {
				t.Fatalf("Parse(%q, %d) = %d, %v; want %d, ok %v", c.text, c.scale, got, err, c.want, c.ok)
			}
		})
	}
}

func TestFormatIsTheReverseOfParse(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		scale := rapid.IntRange(0, money.MaxScale).Draw(t, "scale")
		v := rapid.Int64Range(-math.MaxInt64, math.MaxInt64).Draw(t, "v")
		text := money.Format(v, scale)
		back, err := money.Parse(text, scale)
		if err != nil || back != v {
			t.Fatalf("%d at scale %d is %q is %d, %v", v, scale, text, back, err)
		}
	})
}

func TestAddReportsOverflow(t *testing.T) {
	t.Parallel()
	if _, err := money.Add(math.MaxInt64, 1); err == nil {
		t.Fatal("no error above the largest")
	}
	if _, err := money.Add(math.MinInt64, -1); err == nil {
		t.Fatal("no error below the smallest")
	}
	if got, err := money.Add(5, -7); got != -2 || err != nil {
		t.Fatalf("5 - 7 = %d, %v", got, err)
	}
}
