package gcp_test

import (
	"encoding/json"
	"maps"
)

// entity is an entitlement in force, with some of it changed; nil leaves a field out.
func entity(change map[string]any) string {
	e := map[string]any{
		"name": "providers/" + provider + "/entitlements/" + entitlement, "account": "providers/" + provider + "/accounts/" + account, "provider": provider,
		"product": "deprecated", "productExternalName": service, "plan": "standard", "offer": "projects/500000000001/services/" + service + "/standardOffers/list",
		"offerEndTime": "2027-11-20T09:15:03Z", "state": "ENTITLEMENT_ACTIVE", "usageReportingId": consumer, "orderId": "order-1",
		"createTime": "2026-11-20T09:00:00.120394Z", "updateTime": "2026-11-20T09:15:03.4Z",
	}
	maps.Copy(e, change)
	maps.DeleteFunc(e, func(_ string, v any) bool { return v == nil })
	text, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	return string(text)
}
