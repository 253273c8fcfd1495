// Package money turns decimal text into exact numbers and back. A quantity is
// an int64 in the smallest unit of its meter: 12.5 at scale 1 is 125. A price is a
// coefficient and a scale; what it costs is added up exactly and rounded once, when
// an invoice line is written.
//
// It leaves to the catalog which currency, to finance what a line is.
//
// The invariant that costs money: Format(Parse(x)) is x, digit for digit, and no
// step between a price's text and an invoice line loses a digit.
package money
