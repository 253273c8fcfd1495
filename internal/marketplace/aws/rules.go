package aws

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

const (
	batchRecords = 25        // API Reference "BatchMeterUsage", 2026
	batchBytes   = 1_000_000 // the same page: under 1 MB, beside the 25
)

// Rules are the same for every listing.
func (a *Adapter) Rules(string) marketplace.Rules {
	return marketplace.Rules{
		BatchRecords: batchRecords,
		BatchBytes:   batchBytes,
		WholeUnits:   true,
		MaxQuantity:  math.MaxInt32,
		Heartbeat:    true, // API Reference "BatchMeterUsage", 2026: a record of every customer every hour, 0 when idle
		ZeroAllowed:  true,
		Back: marketplace.Window{
			Target: time.Hour, Limit: 24 * time.Hour,
			Source: `API Reference "BatchMeterUsage", 2026 (24 hours; older pages: 6)`, Confidence: marketplace.Documented,
		},
		AfterEnd: marketplace.Window{ // the documents disagree on which event starts the hour; a captured one closed 31 s after Ended
			Target: 20 * time.Minute, Limit: time.Hour,
			Source: `Seller Guide "Amazon EventBridge events", 2026`, Confidence: marketplace.Unconfirmed,
		},
		MonthCut:    monthCut,
		FinalAccept: 0, // the licence closes with its end: what is known then is all
		Slot:        slot,
		Group:       func(r marketplace.Record) string { return r.Product }, // one product a call
		Identity:    missing,
		Period:      month,
	}
}

// slot is what AWS de-duplicates by: account, licence, dimension and UTC hour.
func slot(r marketplace.Record) string {
	return strings.Join([]string{string(marketplace.AWS), r.Identity.Account, licenceID(r.Identity.License), r.Dimension, r.Hour.String()}, "|")
}

// missing says why an identity cannot be metered.
func missing(v marketplace.VendorIdentity) []error {
	var errs []error
	if !accountID.MatchString(v.Account) {
		errs = append(errs, fmt.Errorf("account %q: want the buyer's 12-digit AWS account", v.Account))
	}
	if !strings.HasPrefix(v.License, "arn:") || !strings.HasPrefix(licenceID(v.License), "l-") {
		errs = append(errs, fmt.Errorf("license %q: want the purchase's LicenseArn", v.License))
	}
	if v.ProductCode != "" || v.Customer != "" {
		// The same usage under both names is billed twice (API Reference "BatchMeterUsage", 2026).
		errs = append(errs, errors.New("product code and customer identifier: want neither beside a LicenseArn"))
	}
	return errs
}

// monthCut: a month's records are taken until 06:00 UTC on the 1st of the next
// (API Reference "BatchMeterUsage", 2026).
func monthCut(h clock.Hour) time.Time {
	_, next := month(h.Start())
	return next.Add(6 * time.Hour)
}

// month is the calendar month in UTC.
func month(t time.Time) (from, to time.Time) {
	t = t.UTC()
	from = time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)
	return from, from.AddDate(0, 1, 0)
}
