package simulator

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/govalues/decimal"
)

// azureProcessed is how long a submitted event waits for Partner Center's analytics. The lag is not documented; order
// analytics allow 48 hours.
const azureProcessed = 48 * time.Hour

// usageEvents is the reconciliation report: one row a day, resource, dimension and plan, as a bare array.
func (m *azureMarket) usageEvents(c *azureCall) (any, error) {
	q := c.r.URL.Query()
	if err := m.weather(KindReadFault, c.op+"|"+c.r.URL.RawQuery); err != nil {
		return nil, err
	}
	from, err := readDay(q.Get("usageStartDate"))
	if err != nil {
		return nil, azureBad("usageStartDate", "The usageStartDate is missing or not a date.")
	}
	to := m.s.now
	if text := cmp.Or(q.Get("UsageEndDate"), q.Get("usageEndDate")); text != "" {
		if to, err = readDay(text); err != nil {
			return nil, azureBad("UsageEndDate", "The UsageEndDate is not a date.")
		}
		if to.Equal(to.Truncate(24 * time.Hour)) { // a day ends with its last hour
			to = to.Add(24*time.Hour - time.Nanosecond)
		}
	}
	match := func(name, value string) bool { return q.Get(name) == "" || strings.EqualFold(q.Get(name), value) }
	type row struct {
		day                       time.Time
		resource, dimension, plan string
		processed                 bool
	}
	sums, counts := map[row]decimal.Decimal{}, map[row]int{}
	for k, slot := range m.slots {
		sub := m.byID[k.resource]
		if c.client != m.clientOf(sub.offer) || slot.effective.Before(from) || slot.effective.After(to) ||
			!match("offerId", sub.offer.ID) || !match("planId", slot.plan) || !match("dimension", k.dimension) {
			continue
		}
		r := row{slot.effective.Truncate(24 * time.Hour), k.resource, k.dimension, slot.plan, false}
		// A day is processed as a whole, so its rows do not split.
		r.processed = !m.s.now.Before(r.day.Add(24*time.Hour + azureProcessed))
		sum, err := sums[r].Add(slot.quantity)
		if err != nil {
			return nil, err
		}
		sums[r] = sum
		counts[r]++
	}
	rows := make([]row, 0, len(sums))
	for r := range sums {
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b row) int {
		return cmp.Or(a.day.Compare(b.day), cmp.Compare(a.resource, b.resource), cmp.Compare(a.dimension, b.dimension), cmp.Compare(a.plan, b.plan))
	})
	out := []map[string]any{}
	for _, r := range rows {
		sub, sum := m.byID[r.resource], json.Number(sums[r].String())
		one := map[string]any{
			"usageDate": r.day.Format(time.RFC3339), "usageResourceId": r.resource, "dimension": r.dimension, "planId": r.plan,
			"planName": "", "offerId": sub.offer.ID, "offerName": "", "offerType": "SaaS",
			"azureSubscriptionId": "00000000-0000-0000-0000-000000000000", "reconStatus": "Submitted",
			"submittedQuantity": sum, "processedQuantity": 0, "submittedCount": counts[r],
		}
		if r.processed {
			one["reconStatus"], one["processedQuantity"], one["offerName"] = "Accepted", sum, sub.offer.ID
			if p := sub.find(r.plan); p != nil {
				one["planName"] = p.Title
			}
		}
		if match("reconStatus", one["reconStatus"].(string)) && match("azureSubscriptionId", one["azureSubscriptionId"].(string)) {
			out = append(out, one)
		}
	}
	return out, nil
}

// readDay reads a date, with or without a time.
func readDay(text string) (time.Time, error) {
	for _, form := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.Parse(form, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Parse(time.DateOnly, text)
}
