package money

import (
	"cmp"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// MaxPriceScale is the largest number of decimal places a price may have.
const MaxPriceScale = 12

// Price is what one unit costs: a coefficient and a scale, exact. The zero Price
// is 0.
type Price struct {
	coef  int64
	scale int // 0 to MaxPriceScale; the coefficient has no zero at its end beyond it
}

// ParsePrice reads plain decimal text such as "0.00000125"; a sign, an exponent and
// more digits than are kept exactly are errors.
func ParsePrice(text string) (Price, error) {
	whole, fraction, dotted := strings.Cut(text, ".")
	if whole == "" || dotted && fraction == "" || !plain(whole) || !plain(fraction) {
		if strings.HasPrefix(text, "-") {
			return Price{}, errors.New("is negative, or no decimal number")
		}
		return Price{}, errors.New("is not a decimal number such as 12.5")
	}
	fraction = strings.TrimRight(fraction, "0")
	if len(fraction) > MaxPriceScale {
		return Price{}, fmt.Errorf("has more than %d decimal places", MaxPriceScale)
	}
	coef, err := strconv.ParseInt(whole+fraction, 10, 64)
	if err != nil {
		return Price{}, errors.New("is too large")
	}
	return Price{coef, len(fraction)}, nil
}

// Places is how many decimal places the price has.
func (p Price) Places() int { return p.scale }

// Digits is how many significant digits the price has.
func (p Price) Digits() int { return len(strconv.FormatInt(p.coef, 10)) }

// IsZero reports that nothing is asked.
func (p Price) IsZero() bool { return p.coef == 0 }

// Cmp compares two prices: -1, 0 or 1.
func (p Price) Cmp(q Price) int { return p.amount().Cmp(q.amount()) }

// String writes the price in its shortest form.
func (p Price) String() string { return p.amount().Text(0) }

// Of is the exact amount that quantity, in units of 10^-scale, costs.
func (p Price) Of(quantity int64, scale int) Amount {
	return Amount{new(big.Int).Mul(big.NewInt(p.coef), big.NewInt(quantity)), p.scale + scale}
}

func (p Price) amount() Amount { return Amount{big.NewInt(p.coef), p.scale} }

// Amount is an exact sum of money on its way to an invoice line. Amounts are added
// exactly; only Round, once per line, gives digits up. The zero Amount is 0.
type Amount struct {
	coef  *big.Int // nil is 0
	scale int
}

// at gives the coefficient at a scale that is not smaller.
func (a Amount) at(scale int) *big.Int {
	if a.coef == nil {
		return new(big.Int)
	}
	return new(big.Int).Mul(a.coef, pow10(scale-a.scale))
}

func pow10(n int) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil) }

// Add is the exact sum.
func (a Amount) Add(b Amount) Amount {
	scale := max(a.scale, b.scale)
	return Amount{new(big.Int).Add(a.at(scale), b.at(scale)), scale}
}

// Cmp compares two amounts: -1, 0 or 1.
func (a Amount) Cmp(b Amount) int {
	scale := max(a.scale, b.scale)
	return a.at(scale).Cmp(b.at(scale))
}

// Round is the amount with so many decimal places, half away from zero as invoices
// are (Seller Guide "Billing event data feed", 2026).
func (a Amount) Round(places int) Amount {
	if places >= a.scale {
		return Amount{a.at(places), places}
	}
	unit := pow10(a.scale - places)
	q, r := new(big.Int).QuoRem(a.at(a.scale), unit, new(big.Int))
	if r.Abs(r).Lsh(r, 1).Cmp(unit) >= 0 {
		q.Add(q, big.NewInt(int64(cmp.Compare(a.coef.Sign(), 0))))
	}
	return Amount{q, places}
}

// Text writes the amount exactly, with at least so many decimal places.
func (a Amount) Text(places int) string {
	scale := max(a.scale, places)
	v := a.at(scale)
	digits := new(big.Int).Abs(v).String()
	digits = strings.Repeat("0", max(0, scale+1-len(digits))) + digits
	whole, fraction := digits[:len(digits)-scale], digits[len(digits)-scale:]
	text := whole
	if fraction = fraction[:places] + strings.TrimRight(fraction[places:], "0"); fraction != "" {
		text += "." + fraction
	}
	if v.Sign() < 0 {
		return "-" + text
	}
	return text
}
