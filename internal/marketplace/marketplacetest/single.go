package marketplacetest

import (
	"testing"

	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// singleCases are about answers that call the whole a success and single records not.
var singleCases = []Case{
	{"a success holds errors of single records, and is one for the others", func(t testing.TB, h Harness) {
		w := in(t, h)
		p, hour := w.used(2)
		batch := []marketplace.Record{
			w.record(p[0], 0, hour, "1"), w.record(p[0], 1, hour, "2"), w.record(p[1], 0, hour, "3"), w.record(p[1], 1, hour, "4"), w.record(p[0], 0, hour.Next(), "5"),
		}
		want := []marketplace.ReceiptOutcome{
			marketplace.OutcomeAccepted, h.Traits.Partial, marketplace.OutcomeAccepted, h.Traits.Partial, marketplace.OutcomeAccepted,
		}
		if !h.Traits.BadRefusesBatch {
			batch[2] = h.Vendor.Spoil(batch[2])
			batch[2].Key = w.rules(p[1]).Slot(batch[2])
			want[2] = marketplace.OutcomeInvalid
		}
		h.Vendor.Befall(Fault{Kind: Partial, About: batch[1]})
		h.Vendor.Befall(Fault{Kind: Partial, About: batch[3]})
		w.calls(CallSubmit, 1, func() {
			for i, got := range w.submit(batch...) {
				w.outcome("record "+batch[i].Quantity, got, want[i])
				if got.Outcome != marketplace.OutcomeAccepted && got.Detail == "" {
					t.Errorf("record %s: the vendor's word is missing", batch[i].Quantity)
				}
			}
		})
		good := []Charge{charge(p[0], batch[0]), charge(p[0], batch[4])}
		if want[2] == marketplace.OutcomeAccepted {
			good = append(good, charge(p[1], batch[2]))
		}
		if h.Traits.Partial.Proven() {
			w.billed("what is proven unrecorded is not billed", good...)
		}
		for i, got := range w.submit(batch[1], batch[3]) {
			w.outcome("again", got, marketplace.OutcomeAccepted, marketplace.OutcomeDuplicate)
			good = append(good, charge(p[i], batch[2*i+1]))
		}
		w.billed("again", good...)
	}},
	{"an error that names no record leaves all of them unknown", func(t testing.TB, h Harness) {
		w := in(t, h)
		if !h.Traits.Nameless {
			return // declared: every error of the vendor's names its record
		}
		p, hour := w.used(1)
		batch := []marketplace.Record{w.record(p[0], 0, hour, "1"), w.record(p[0], 1, hour, "2"), w.record(p[0], 0, hour.Next(), "3")}
		h.Vendor.Befall(Fault{Kind: NamelessError})
		for i, got := range w.submit(batch...) {
			w.outcome("record "+batch[i].Quantity, got, marketplace.OutcomeFailed)
		}
		if n := len(h.Vendor.Bill()); n == 0 || n == len(batch) {
			t.Errorf("%d of %d records are on the bill; the harness should leave one out", n, len(batch))
		}
		for _, got := range w.submit(batch...) {
			w.outcome("an identical resend", got, marketplace.OutcomeAccepted, marketplace.OutcomeDuplicate)
		}
		w.billed("after the resend", charge(p[0], batch[0]), charge(p[0], batch[1]), charge(p[0], batch[2]))
	}},
}
