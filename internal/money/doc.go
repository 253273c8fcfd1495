// Package money turns decimal text into exact integers and back. A quantity is
// an int64 in the smallest unit of its meter: 12.5 at scale 1 is 125.
//
// It leaves rounding to nobody: what does not fit exactly is an error.
//
// The invariant that costs money: Format(Parse(x)) is x, digit for digit.
package money
