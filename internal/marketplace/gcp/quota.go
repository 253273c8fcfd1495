package gcp

import (
	"net/http"
	"strings"
	"time"

	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// Quota names what a request counts against; false: nothing of the marketplace's.
// Messages are pulled over a connection of their own and are Pub/Sub's.
func (c Config) Quota(r *http.Request) (marketplace.Quota, bool) {
	switch path := r.URL.Path; {
	case strings.HasPrefix(path, "/v1/services/"):
		// 10,000,000 units in 100 s of a producer project, one for a check and one for
		// each operation reported: as if each call had as many as we send at most.
		return marketplace.Quota{
			Account: c.Provider, API: "servicecontrol", Calls: 10_000_000 / batchRecords, Per: 100 * time.Second, Source: `"Endpoints quotas", read 2026-11`,
		}, true
	case strings.HasPrefix(path, "/v1/providers/"):
		return marketplace.Quota{Account: c.Provider, API: "procurement"}, true // no page gives a figure
	}
	return marketplace.Quota{}, false
}
