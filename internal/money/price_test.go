package money_test

import (
	"fmt"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tailmarket/tailmarket/internal/money"
)

func rat(t interface{ Fatalf(string, ...any) }, text string) *big.Rat {
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		t.Fatalf("%q is no number", text)
	}
	return r
}

func TestParsePrice(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"0": "0", "6.00": "6", "0.002": "0.002", "0.00000125": "0.00000125", "0.000000000001": "0.000000000001",
		"9223372.036854775807": "9223372.036854775807", "007.10": "7.1",
	} {
		if p, err := money.ParsePrice(text); err != nil || p.String() != want {
			t.Errorf("%q is %v, %v; want %s", text, p, err, want)
		}
	}
	for _, text := range []string{"", ".", ".5", "5.", "-1", "+1", "1e3", "1,5", "1.2.3", "free", "0.0000000000001", "9223372036854775808", "9223372.0368547758071", " 1"} {
		if p, err := money.ParsePrice(text); err == nil {
			t.Errorf("%q was taken as %v", text, p)
		}
	}
}

// A line is as exact as fractions are, and rounded once.
func TestALineIsRoundedOnce(t *testing.T) {
	t.Parallel()
	digits := func(t *rapid.T, label string, places int) string {
		text := rapid.StringMatching(`[0-9]{1,6}`).Draw(t, label)
		if n := rapid.IntRange(0, places).Draw(t, label+" places"); n > 0 {
			text += fmt.Sprintf(".%0*d", n, rapid.Int64Range(0, money.Unit(n)-1).Draw(t, label+" fraction"))
		}
		return text
	}
	rapid.Check(t, func(t *rapid.T) {
		var sum money.Amount
		exact := new(big.Rat)
		for range rapid.IntRange(0, 8).Draw(t, "lines") {
			text, scale := digits(t, "price", money.MaxPriceScale), rapid.IntRange(0, money.MaxScale).Draw(t, "scale")
			quantity := rapid.Int64Range(-1_000_000_000_000, 1_000_000_000_000).Draw(t, "quantity")
			price, err := money.ParsePrice(text)
			if err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			if rat(t, price.String()).Cmp(rat(t, text)) != 0 {
				t.Fatalf("%q is written %s", text, price)
			}
			sum = sum.Add(price.Of(quantity, scale))
			exact.Add(exact, new(big.Rat).Mul(rat(t, text), rat(t, money.Format(quantity, scale))))
		}
		if rat(t, sum.Text(0)).Cmp(exact) != 0 || rat(t, sum.Text(2)).Cmp(exact) != 0 {
			t.Fatalf("the sum is %s, and exactly %s", sum.Text(0), exact.FloatString(20))
		}
		places := rapid.IntRange(0, 4).Draw(t, "minor")
		if got, want := sum.Round(places).Text(places), exact.FloatString(places); strings.TrimPrefix(got, "-") != strings.TrimPrefix(want, "-") {
			t.Fatalf("%s rounded to %d places is %s, want %s", sum.Text(0), places, got, want)
		}
	})
}

func TestRoundingIsAwayFromZeroAtAHalf(t *testing.T) {
	t.Parallel()
	p, err := money.ParsePrice("0.005")
	if err != nil {
		t.Fatal(err)
	}
	for quantity, want := range map[int64]string{1: "0.01", -1: "-0.01", 3: "0.02", -3: "-0.02", 0: "0.00", 2: "0.01"} {
		if got := p.Of(quantity, 0).Round(2).Text(2); got != want {
			t.Errorf("%d × 0.005 is %s, want %s", quantity, got, want)
		}
	}
	q, _ := money.ParsePrice("0.0050")
	if p.Cmp(q) != 0 || p.Places() != 3 || p.Digits() != 1 || p.IsZero() || !(money.Price{}).IsZero() {
		t.Errorf("%v and %v: %d places, %d digits", p, q, p.Places(), p.Digits())
	}
}
