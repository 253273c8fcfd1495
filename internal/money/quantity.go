package money

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/govalues/decimal"
)

// MaxScale is the largest number of decimal places a quantity may have.
const MaxScale = 6

// Parse reads plain decimal text ("12", "12.50", "-3") as an integer in units of
// 10^-scale. Exponents, signs other than a leading minus, and digits that do not
// fit are errors.
func Parse(text string, scale int) (int64, error) {
	if scale < 0 || scale > MaxScale {
		return 0, fmt.Errorf("scale %d is not 0 to %d", scale, MaxScale)
	}
	digits, negative := strings.CutPrefix(text, "-")
	whole, fraction, dotted := strings.Cut(digits, ".")
	if whole == "" || dotted && fraction == "" || !plain(whole) || !plain(fraction) {
		return 0, errors.New("is not a decimal number such as 12.5")
	}
	whole, fraction = strings.TrimLeft(whole, "0"), strings.TrimRight(fraction, "0")
	if len(fraction) > scale {
		return 0, fmt.Errorf("has more than %d decimal places", scale)
	}
	// The decimal library keeps 19 digits and rounds the rest away.
	if len(whole)+scale > decimal.MaxPrec {
		return 0, errors.New("is too large")
	}
	d, err := decimal.Parse("0" + whole + "." + fraction + strings.Repeat("0", scale-len(fraction)))
	if err != nil {
		return 0, errors.New("is too large")
	}
	coef := d.Coef()
	if coef > math.MaxInt64 {
		return 0, errors.New("is too large")
	}
	if negative {
		return -int64(coef), nil
	}
	return int64(coef), nil
}

func plain(s string) bool { return strings.Trim(s, "0123456789") == "" }

// Format writes v in units of 10^-scale in its shortest form: "12.5", "0".
func Format(v int64, scale int) string {
	d, err := decimal.New(v, scale)
	if err != nil { // only a scale outside 0 to MaxScale, which the catalog refuses
		return fmt.Sprintf("%de-%d", v, scale)
	}
	return d.Trim(0).String()
}

// Unit is one whole unit at scale: 10^scale.
func Unit(scale int) int64 {
	u := int64(1)
	for range scale {
		u *= 10
	}
	return u
}

// Add adds and reports overflow as an error.
func Add(a, b int64) (int64, error) {
	c := a + b
	if (b > 0 && c < a) || (b < 0 && c > a) {
		return 0, fmt.Errorf("%d + %d does not fit", a, b)
	}
	return c, nil
}
