package aws

import (
	"net/http"
	"strings"
	"time"

	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// quotas are calls a second of one account in one region. Developer Guide "Service
// quotas", 2026, for metering, entitlement and agreement. It has no figure for
// ResolveCustomer, and the queue is not the marketplace's.
var quotas = map[string]int{
	"BatchMeterUsage":          10,
	"GetEntitlements":          20,
	"DescribeAgreement":        5,
	"SearchAgreements":         5,
	"GetAgreementEntitlements": 10,
}

// Quota names what a request counts against; false: nothing of the marketplace's.
func (c Config) Quota(r *http.Request) (marketplace.Quota, bool) {
	_, op, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".") // JSON protocols
	if _, rpc, ok := strings.Cut(r.URL.Path, "/operation/"); ok {
		op = rpc // Smithy RPC v2
	}
	calls, ok := quotas[op]
	return marketplace.Quota{Account: c.SellerAccount, API: op, Calls: calls, Per: time.Second, Source: `Developer Guide "Service quotas", 2026`}, ok
}
