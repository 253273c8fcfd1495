package console

import (
	"fmt"
	"math/big"
	"strings"

	"github.com/tailmarket/tailmarket/internal/money"
)

// amount is an exact sum of decimal texts. Pages add up more than one meter's
// int64 may hold.
type amount struct{ micro *big.Int } // in units of 10^-money.MaxScale; nil is zero

// parseAmount reads decimal text; empty text is zero.
func parseAmount(text string) (amount, error) {
	digits, negative := strings.CutPrefix(text, "-")
	whole, fraction, _ := strings.Cut(digits, ".")
	if strings.Trim(whole+fraction, "0123456789") != "" || len(fraction) > money.MaxScale || whole == "" && fraction != "" {
		return amount{}, fmt.Errorf("%q is not a quantity", text)
	}
	v, ok := new(big.Int).SetString("0"+whole+fraction+strings.Repeat("0", money.MaxScale-len(fraction)), 10)
	if !ok {
		return amount{}, fmt.Errorf("%q is not a quantity", text)
	}
	if negative {
		v.Neg(v)
	}
	return amount{v}, nil
}

func (a amount) plus(b amount) amount {
	switch {
	case a.micro == nil:
		return b
	case b.micro == nil:
		return a
	}
	return amount{new(big.Int).Add(a.micro, b.micro)}
}

// float is good enough for the height of a bar.
func (a amount) float() float64 {
	if a.micro == nil {
		return 0
	}
	f, _ := new(big.Float).SetInt(a.micro).Float64()
	return f / float64(money.Unit(money.MaxScale))
}

func (a amount) String() string {
	if a.micro == nil {
		return "0"
	}
	sign, digits := "", new(big.Int).Abs(a.micro).String()
	if a.micro.Sign() < 0 {
		sign = "-"
	}
	digits = strings.Repeat("0", max(0, money.MaxScale+1-len(digits))) + digits
	cut := len(digits) - money.MaxScale
	if fraction := strings.TrimRight(digits[cut:], "0"); fraction != "" {
		return sign + digits[:cut] + "." + fraction
	}
	return sign + digits[:cut]
}

// Sum adds decimal texts exactly.
func Sum(texts ...string) (string, error) {
	var all amount
	for _, t := range texts {
		a, err := parseAmount(t)
		if err != nil {
			return "", err
		}
		all = all.plus(a)
	}
	return all.String(), nil
}

// Grouped sets the thousands of a decimal text apart; what is none stays as it is.
func Grouped(text string) string {
	digits, negative := strings.CutPrefix(text, "-")
	whole, fraction, dotted := strings.Cut(digits, ".")
	if whole == "" || strings.Trim(whole, "0123456789") != "" {
		return text
	}
	var b strings.Builder
	if negative {
		b.WriteString("−")
	}
	for i, digit := range whole {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(digit)
	}
	if dotted {
		b.WriteString("." + fraction)
	}
	return b.String()
}
