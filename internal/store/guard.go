package store

import (
	"errors"
	"net/http"
)

// GuardTransport refuses requests made inside a transaction: a slow peer would
// hold the writer.
func GuardTransport(next http.RoundTripper) http.RoundTripper { return guarded{next} }

type guarded struct{ next http.RoundTripper }

func (g guarded) RoundTrip(r *http.Request) (*http.Response, error) {
	if InTx(r.Context()) {
		return nil, errors.New("store: a network call inside a transaction")
	}
	return g.next.RoundTrip(r)
}

// CloseIdleConnections lets http.Client close what it keeps.
func (g guarded) CloseIdleConnections() {
	(&http.Client{Transport: g.next}).CloseIdleConnections()
}
