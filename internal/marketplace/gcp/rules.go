package gcp

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // Google's months are Pacific, wherever this runs

	"github.com/tailmarket/tailmarket/internal/marketplace"
)

const (
	// batchRecords is ours: no page limits the operations of a report, and each
	// record of a call whose answer is lost is unsure. Fifty of the longest names are
	// far from the limit in bytes, so that Submit need not measure.
	batchRecords = 50
	batchBytes   = 1_000_000 // REST reference "services.report", revision 20261015: 1 MB
	maxMetric    = 255
	// maxQuantity is ours: far from what int64 holds, and exact as a double.
	maxQuantity = 1_000_000_000_000
	maxWindow   = time.Hour // "Best practices for usage reporting", 2026: hourly windows
	finalUsage  = time.Hour // the same page: how long after its end a purchase's last usage is taken
)

var pacific = func() *time.Location {
	l, err := time.LoadLocation("America/Los_Angeles")
	if err != nil {
		panic(err) // it is compiled in
	}
	return l
}()

// Rules differ between listings only in whether fractions are taken.
func (a *Adapter) Rules(product string) marketplace.Rules {
	l, known := a.c.byProduct(product)
	resend := a.c.ResendFor
	if resend == 0 {
		resend = -1
	}
	return marketplace.Rules{
		BatchRecords: batchRecords,
		BatchBytes:   batchBytes,
		WholeUnits:   !known || !l.Double,
		MaxQuantity:  maxQuantity,
		Heartbeat:    true, // an integrator sends zeros (seen 2026-09), Google's text was not found: harmless, and each is a check
		ZeroAllowed:  true,
		Parts:        true,
		Back: marketplace.Window{ // late usage is taken, on a later invoice; no maximum age is written anywhere
			Target: time.Hour, Limit: 30 * 24 * time.Hour,
			Source: `"Best practices for usage reporting", 2026 (within one hour; up to 30 days of grace)`, Confidence: marketplace.Unconfirmed,
		},
		AfterEnd: marketplace.Window{
			Target: 20 * time.Minute, Limit: finalUsage,
			Source: `"Best practices for usage reporting", 2026 (after cancellation: within one hour)`, Confidence: marketplace.Documented,
		},
		// No MonthCut: after 01:00 Pacific on the 1st usage falls on the next invoice, and is still taken.
		FinalAccept: 10 * time.Minute,
		ResendFor:   resend,
		Slot:        slot,
		Group:       func(r marketplace.Record) string { return r.Identity.ProductCode }, // one service a call
		Identity:    missing,
		Period:      month,
	}
}

// slot is what an operation is told apart by: entitlement, metric, start of its
// window, and its part of it.
func slot(r marketplace.Record) string {
	from := r.From
	if from.IsZero() {
		from = r.Hour.Start()
	}
	words := []string{string(marketplace.GCP), r.Identity.License, r.Dimension, from.UTC().Format(time.RFC3339Nano)}
	if r.Part > 0 {
		words = append(words, strconv.Itoa(r.Part))
	}
	return strings.Join(words, "|")
}

// missing says why an identity cannot be metered.
func missing(v marketplace.VendorIdentity) []error {
	var errs []error
	if !serviceName.MatchString(v.ProductCode) {
		errs = append(errs, fmt.Errorf("product code %q: want the product's service name", v.ProductCode))
	}
	if !resourceID.MatchString(v.License) {
		errs = append(errs, fmt.Errorf("license %q: want the entitlement's id", v.License))
	}
	if v.Customer == "" || len(v.Customer) > 255 {
		// Seen to be absent for a while after activation: the record waits.
		errs = append(errs, errors.New("customer: want the entitlement's usageReportingId, which Google may tell some time after it became active"))
	}
	return errs
}

// month is the calendar month in Pacific time, whose ends are hours of UTC too.
func month(t time.Time) (from, to time.Time) {
	t = t.In(pacific)
	from = time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, pacific)
	to = time.Date(t.Year(), t.Month()+1, 1, 0, 0, 0, 0, pacific)
	return from.UTC(), to.UTC()
}
