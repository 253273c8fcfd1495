package httpapi_test

import (
	"net/http"
	"strings"
	"testing"
)

// A misspelt filter must not answer with everybody's purchases.
func TestTheAPIRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	w := setup(t)
	for query, says := range map[string]string{
		"/v1/subscriptions?state=active":      `\"state\" is not a parameter of this address, which takes: marketplace, product, purchase, after, limit.`,
		"/v1/subscriptions?Limit=3":           `\"Limit\" is not a parameter`,
		"/v1/subscriptions?limit=0":           `\"0\" is not a limit: write a number from 1 to 500.`,
		"/v1/subscriptions?limit=-1":          "is not a limit",
		"/v1/subscriptions?limit=501":         "is not a limit",
		"/v1/findings?limit=0":                "is not a limit",
		"/v1/stuck?limit=3":                   "which takes none",
		"/v1/subscriptions/" + sub + "?full=": "which takes none",
	} {
		r := w.call(t, http.MethodGet, query, "", "")
		if r.StatusCode != http.StatusBadRequest || r.Header.Get("Content-Type") != "application/problem+json" || !strings.Contains(r.body, says) || !strings.Contains(r.body, "urn:tailmarket:problem:invalid") {
			t.Errorf("%s answered %d %s", query, r.StatusCode, r.body)
		}
	}
	for _, query := range []string{"/v1/subscriptions?limit=1", "/v1/subscriptions?limit=500&after=sub_a&marketplace=aws&product=tailnet", "/v1/subscriptions"} {
		if r := w.call(t, http.MethodGet, query, "", ""); r.StatusCode != http.StatusOK {
			t.Errorf("%s answered %d %s", query, r.StatusCode, r.body)
		}
	}
}
