package azure

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tailmarket/tailmarket/internal/marketplace"
)

const (
	batchRecords = 25      // "Marketplace metering service APIs", 2025; one more is a 400 for all
	batchBytes   = 1 << 20 // not published; 25 events have some 8 KB

	// maxQuantity is not published. With six decimals it has fifteen digits, the most
	// that a JSON double holds exactly.
	maxQuantity = 999_999_999
)

// Rules are the same for every offer.
func (a *Adapter) Rules(string) marketplace.Rules {
	return marketplace.Rules{
		BatchRecords: batchRecords,
		BatchBytes:   batchBytes,
		WholeUnits:   false, // quantity is a double
		MaxQuantity:  maxQuantity,
		Heartbeat:    false,
		ZeroAllowed:  false, // InvalidQuantity: not greater than 0
		Back: marketplace.Window{ // hourly for the hour that has just closed; the event's own time may be 24 hours back
			Target: 2 * time.Hour, Limit: 24 * time.Hour,
			Source: `"Marketplace metering service APIs", 2025`, Confidence: marketplace.Documented,
		},
		AfterEnd: marketplace.Window{ // usage from before the cancellation, inside its own 24 hours
			Target: time.Hour, Limit: 24 * time.Hour,
			Source: `"Marketplace metering service APIs FAQ", 2022 (its example ends three hours later than its rule)`, Confidence: marketplace.Unconfirmed,
		},
		FinalAccept: 30 * time.Minute,
		Slot:        slot,
		Group:       func(marketplace.Record) string { return "" }, // one app, so all offers and subscriptions share a call
		Identity:    missing,
		Period:      month,
		PeriodFrom:  termMonth,
	}
}

// slot is what Microsoft de-duplicates by: resource, dimension and UTC hour.
// Whether the plan is a part of it is unconfirmed; without it our key is the
// stricter one, and one hour of a dimension is never sent under two plans.
func slot(r marketplace.Record) string {
	return strings.Join([]string{string(marketplace.Azure), strings.ToLower(r.Identity.Resource), r.Dimension, r.Hour.String()}, "|")
}

// missing says why an identity cannot be metered.
func missing(v marketplace.VendorIdentity) []error {
	var errs []error
	if !guid(v.Resource) {
		errs = append(errs, fmt.Errorf("resource %q: want the GUID of the SaaS subscription", v.Resource))
	}
	if v.Plan == "" {
		errs = append(errs, errors.New("plan: want the offer's plan id; an event without one is malformed"))
	}
	return errs
}

// month is the calendar month in UTC: what is counted before the term is known.
func month(t time.Time) (from, to time.Time) {
	t = t.UTC()
	from = time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)
	return from, from.AddDate(0, 1, 0)
}

// termMonth is the month of a subscription's term that holds t: included
// quantities begin anew on the term's day of the month ("SaaS metered billing",
// 2022), or on a month's last day when it has no such day.
func termMonth(start, t time.Time) (from, to time.Time) {
	start, t = start.UTC(), t.UTC()
	if start.IsZero() {
		return month(t)
	}
	n := (t.Year()-start.Year())*12 + int(t.Month()-start.Month())
	if t.Before(monthsAfter(start, n)) {
		n--
	}
	return monthsAfter(start, n), monthsAfter(start, n+1)
}

// monthsAfter is the beginning of the day n months after start's.
func monthsAfter(start time.Time, n int) time.Time {
	first := time.Date(start.Year(), start.Month()+time.Month(n), 1, 0, 0, 0, 0, time.UTC)
	last := first.AddDate(0, 1, -1).Day()
	return first.AddDate(0, 0, min(start.Day(), last)-1)
}
