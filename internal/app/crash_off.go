//go:build !crash

package app

import "net/http"

// A product that can be told to die has no business at a customer's: the points
// at which it can be are in builds with the tag crash only.

func committed() {}

func answered(next http.RoundTripper) http.RoundTripper { return next }
