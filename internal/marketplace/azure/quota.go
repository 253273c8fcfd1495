package azure

import (
	"net/http"
	"strings"

	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// Quota names what a request counts against; false: nothing of the marketplace's,
// as the directory. Microsoft publishes no figure and asks for pauses.
func (c Config) Quota(r *http.Request) (marketplace.Quota, bool) {
	switch path := r.URL.Path; {
	case strings.Contains(path, "/saas/"):
		return marketplace.Quota{Account: c.TenantID, API: "fulfilment"}, true
	case strings.Contains(path, "sageEvent"): // batchUsageEvent, usageEvents
		return marketplace.Quota{Account: c.TenantID, API: "metering"}, true
	}
	return marketplace.Quota{}, false
}
