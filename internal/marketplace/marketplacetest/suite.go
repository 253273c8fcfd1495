package marketplacetest

import (
	"cmp"
	"context"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// Case is one promise of an adapter.
type Case struct {
	Name string
	Run  func(t testing.TB, h Harness)
}

// Cases are all promises.
func Cases() []Case {
	return slices.Concat(ruleCases, submitCases, singleCases, deliveryCases, tokenCases, readerCases, changeCases, pauseCases)
}

// Run runs every case on a fresh harness.
func Run(t *testing.T, open func(testing.TB) Harness) {
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			c.Run(t, open(t))
		})
	}
}

// world adds to a harness what cases say often.
type world struct {
	Harness
	t testing.TB
}

func in(t testing.TB, h Harness) world { return world{h, t} }

// ctx bounds one call in wall time: an adapter that hangs must fail, not wait.
func (w world) ctx() context.Context {
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	w.t.Cleanup(cancel)
	return ctx
}

func (w world) rules(p Purchase) marketplace.Rules { return w.Adapter.Rules(p.Ref.Product) }

// used buys n purchases and lets three hours pass; first is the hour after they
// were bought.
func (w world) used(n int) (all []Purchase, first clock.Hour) {
	w.t.Helper()
	for range n {
		all = append(all, w.Vendor.Buy())
	}
	first = clock.HourOf(w.Vendor.Now()).Next()
	w.Vendor.Advance(first.Add(3).Start().Sub(w.Vendor.Now()))
	return all, first
}

// record freezes a record as billing would.
func (w world) record(p Purchase, dimension int, h clock.Hour, quantity string) marketplace.Record {
	r := marketplace.Record{
		Product: p.Ref.Product, Identity: p.Identity, Dimension: p.Dimensions[dimension], Hour: h, From: h.Start(), To: h.End(), Quantity: quantity,
	}
	r.Key = w.rules(p).Slot(r)
	return r
}

// charge is what a record is on the bill.
func charge(p Purchase, r marketplace.Record) Charge {
	return Charge{Purchase: p.Ref.Purchase, Dimension: r.Dimension, Hour: r.Hour.String(), Quantity: r.Quantity}
}

// billed compares the vendor's whole bill.
func (w world) billed(why string, want ...Charge) {
	w.t.Helper()
	order := func(a, b Charge) int {
		return cmp.Or(cmp.Compare(a.Purchase, b.Purchase), cmp.Compare(a.Dimension, b.Dimension), cmp.Compare(a.Hour, b.Hour), cmp.Compare(a.Quantity, b.Quantity))
	}
	got := slices.Clone(w.Vendor.Bill())
	slices.SortFunc(got, order)
	slices.SortFunc(want, order)
	if len(got) == 0 && len(want) == 0 {
		return
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		w.t.Errorf("%s: the bill differs (-want +got):\n%s", why, diff)
	}
}

// submit sends a batch that the vendor answers, and checks that each receipt
// stands at its record's place.
func (w world) submit(batch ...marketplace.Record) []marketplace.Receipt {
	w.t.Helper()
	got, err := w.Adapter.Submit(w.ctx(), batch)
	if err != nil {
		w.t.Fatalf("submit: %v", err)
	}
	if len(got) != len(batch) {
		w.t.Fatalf("%d receipts for %d records", len(got), len(batch))
	}
	for i := range batch {
		if got[i].Key != batch[i].Key {
			w.t.Errorf("receipt %d is for %q, the record there is %q", i, got[i].Key, batch[i].Key)
		}
	}
	return got
}

// outcome compares one receipt's outcome.
func (w world) outcome(why string, got marketplace.Receipt, want ...marketplace.ReceiptOutcome) {
	w.t.Helper()
	if !slices.Contains(want, got.Outcome) {
		w.t.Errorf("%s: outcome %q (%s), want %q", why, got.Outcome, got.Detail, want)
	}
}

// class compares an error's class.
func (w world) class(why string, err error, want ...fault.Class) {
	w.t.Helper()
	if err == nil || !slices.Contains(want, fault.ClassOf(err)) {
		w.t.Errorf("%s: error %v of class %q, want %q", why, err, fault.ClassOf(err), want)
	}
}

// calls runs do and compares how many calls of a kind the vendor received.
func (w world) calls(c Call, want int, do func()) {
	w.t.Helper()
	before := w.Vendor.Calls(c)
	do()
	if got := w.Vendor.Calls(c) - before; got != want {
		w.t.Errorf("%d %s calls, want %d", got, c, want)
	}
}

// public checks that an error says something to whoever must act.
func (w world) public(err error) {
	w.t.Helper()
	if f, ok := asFault(err); !ok || f.Public == "" {
		w.t.Errorf("error %v has no text for whoever must act", err)
	}
}
