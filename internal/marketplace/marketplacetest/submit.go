package marketplacetest

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

var ruleCases = []Case{
	{"rules are complete, and say where they are from", func(t testing.TB, h Harness) {
		w := in(t, h)
		p := h.Vendor.Buy()
		r := w.rules(p)
		if r.BatchRecords != h.Traits.Batch || r.WholeUnits != h.Traits.WholeUnits {
			t.Errorf("batch %d, whole units %v; declared %d, %v", r.BatchRecords, r.WholeUnits, h.Traits.Batch, h.Traits.WholeUnits)
		}
		for name, win := range map[string]marketplace.Window{"back": r.Back, "after end": r.AfterEnd} {
			if win.Target <= 0 || win.Target > win.Limit || win.Source == "" || win.Confidence == "" {
				t.Errorf("window %s: %+v; want 0 < target <= limit, a source and a confidence", name, win)
			}
		}
		hour := clock.HourOf(h.Vendor.Now())
		if d := r.Deadline(hour); !d.After(hour.Start()) || d.After(hour.Start().Add(r.Back.Limit)) {
			t.Errorf("deadline %s of hour %s is not inside the window", d, hour)
		}
		if from, to := r.Period(hour.Start()); from.After(hour.Start()) || !to.After(hour.Start()) {
			t.Errorf("period %s to %s does not hold %s", from, to, hour)
		}
		if errs := r.Identity(p.Identity); len(errs) > 0 {
			t.Errorf("the identity of a purchase is called incomplete: %v", errs)
		}
		if errs := r.Identity(marketplace.VendorIdentity{}); len(errs) == 0 {
			t.Error("an empty identity is called complete")
		}
	}},
	{"the slot of a record is what the vendor tells records apart by", func(t testing.TB, h Harness) {
		w := in(t, h)
		p, q := h.Vendor.Buy(), h.Vendor.Buy()
		hour := clock.HourOf(h.Vendor.Now())
		base := w.record(p, 0, hour, "1")
		if other := w.record(p, 0, hour, "2"); other.Key != base.Key {
			t.Errorf("another quantity has another slot: %s, %s", base.Key, other.Key)
		}
		for why, r := range map[string]marketplace.Record{
			"dimension": w.record(p, 1, hour, "1"), "hour": w.record(p, 0, hour.Next(), "1"), "purchase": w.record(q, 0, hour, "1"),
		} {
			if r.Key == base.Key {
				t.Errorf("another %s has the same slot %s", why, r.Key)
			}
		}
		if !strings.HasPrefix(base.Key, string(h.Adapter.ID())+"|") || !strings.Contains(base.Key, base.Dimension) {
			t.Errorf("slot %q: want one that a person can read, beginning with the marketplace", base.Key)
		}
	}},
}

var submitCases = []Case{
	{"one call is one request, whatever the answer", func(t testing.TB, h Harness) {
		w := in(t, h)
		p, hour := w.used(1)
		for i, f := range []FaultKind{"", Throttle, ServerError, AcceptThenClose} {
			if f != "" {
				h.Vendor.Befall(Fault{Kind: f})
			}
			w.calls(CallSubmit, 1, func() {
				_, err := h.Adapter.Submit(w.ctx(), []marketplace.Record{w.record(p[0], i%2, hour.Add(i/2), "7")})
				if (err != nil) != (f != "") {
					t.Errorf("fault %q: error %v", f, err)
				}
			})
		}
	}},
	{"receipts come one to one, in the order of the batch", func(t testing.TB, h Harness) {
		w := in(t, h)
		ps, hour := w.used(3)
		var batch []marketplace.Record
		var want []Charge
		for n := range min(h.Traits.Batch, 12) {
			p := ps[n%3]
			r := w.record(p, n/3%2, hour.Add(n/6), strconv.Itoa(n+1))
			batch, want = append(batch, r), append(want, charge(p, r))
		}
		ids := map[string]bool{}
		for i, got := range w.submit(batch...) {
			w.outcome("a good record", got, marketplace.OutcomeAccepted)
			if got.ID == "" || ids[got.ID] {
				t.Errorf("receipt %d: the vendor's id %q is empty or was given before", i, got.ID)
			}
			ids[got.ID] = true
			if got.Quantity != "" && got.Quantity != batch[i].Quantity {
				t.Errorf("receipt %d: quantity %s, sent %s", i, got.Quantity, batch[i].Quantity)
			}
		}
		w.billed("after one batch", want...)
	}},
	{"accepted, then the connection closed: unsure, and on the bill once", func(t testing.TB, h Harness) {
		w := in(t, h)
		p, hour := w.used(1)
		r := w.record(p[0], 0, hour, "5")
		h.Vendor.Befall(Fault{Kind: AcceptThenClose})
		got, err := h.Adapter.Submit(w.ctx(), []marketplace.Record{r})
		w.class("no answer came", err, fault.Unsure)
		if got != nil {
			t.Errorf("receipts without an answer: %+v", got)
		}
		w.billed("the vendor recorded it", charge(p[0], r))
		w.outcome("an identical resend", w.submit(r)[0], marketplace.OutcomeAccepted, marketplace.OutcomeDuplicate)
		w.billed("after the resend", charge(p[0], r))
	}},
	{"an identical resend is not billed twice, whatever it is called", func(t testing.TB, h Harness) {
		w := in(t, h)
		p, hour := w.used(1)
		r := w.record(p[0], 0, hour, "5")
		w.outcome("first", w.submit(r)[0], marketplace.OutcomeAccepted)
		w.outcome("second", w.submit(r)[0], marketplace.OutcomeAccepted, marketplace.OutcomeDuplicate)
		if h.Traits.Silent {
			w.outcome("third", w.submit(r)[0], marketplace.OutcomeAccepted)
		} else {
			h.Vendor.Befall(Fault{Kind: DuplicateAnswer})
			w.outcome("third", w.submit(r)[0], marketplace.OutcomeDuplicate)
		}
		w.billed("after three", charge(p[0], r))
	}},
	{"a taken slot is a duplicate, and keeps what it holds", func(t testing.TB, h Harness) {
		w := in(t, h)
		p, hour := w.used(1)
		r := w.record(p[0], 0, hour, "5")
		w.outcome("first", w.submit(r)[0], marketplace.OutcomeAccepted)
		got := w.submit(w.record(p[0], 0, hour, "9"))[0]
		want := marketplace.OutcomeDuplicate
		if h.Traits.Silent {
			want = marketplace.OutcomeAccepted // why a key never goes with two quantities
		}
		w.outcome("another quantity", got, want)
		if got.Quantity != "5" && (got.Quantity != "" || h.Traits.TellsHeld) {
			t.Errorf("the receipt says that the vendor holds %q; it holds 5", got.Quantity)
		}
		w.billed("first write wins", charge(p[0], r))
	}},
	{"a slot that somebody else took is told with what it holds", func(t testing.TB, h Harness) {
		w := in(t, h)
		if h.Rival == nil {
			return // declared: the vendor has no such thing
		}
		p, hour := w.used(1)
		r, other := w.record(p[0], 0, hour, "9"), w.record(p[0], 1, hour, "4")
		held := h.Rival.Take(r)
		got := w.submit(r, other)
		w.outcome("the taken slot", got[0], marketplace.OutcomeDuplicate)
		w.outcome("the free slot beside it", got[1], marketplace.OutcomeAccepted)
		if h.Traits.TellsHeld && (got[0].Quantity != held || held == r.Quantity) {
			t.Errorf("the receipt says that the slot holds %q; it holds %s, and %s was sent", got[0].Quantity, held, r.Quantity)
		}
		taken := r
		taken.Quantity = held
		w.billed("first write wins", charge(p[0], taken), charge(p[0], other))
	}},
	{"throttled means that nothing was recorded, where the vendor says so", func(t testing.TB, h Harness) {
		w := in(t, h)
		p, hour := w.used(1)
		r := w.record(p[0], 0, hour, "5")
		h.Vendor.Befall(Fault{Kind: Throttle})
		_, err := h.Adapter.Submit(w.ctx(), []marketplace.Record{r})
		want := fault.Throttled
		if h.Traits.ThrottleUnsure {
			want = fault.Unsure
		}
		w.class("throttled", err, want)
		w.billed("throttled")
		w.outcome("again", w.submit(r)[0], marketplace.OutcomeAccepted)
		w.billed("again", charge(p[0], r))
	}},
	{"the vendor's own trouble is unsure", func(t testing.TB, h Harness) {
		w := in(t, h)
		p, hour := w.used(1)
		r := w.record(p[0], 0, hour, "5")
		h.Vendor.Befall(Fault{Kind: ServerError})
		_, err := h.Adapter.Submit(w.ctx(), []marketplace.Record{r})
		w.class("server error", err, fault.Unsure)
		w.submit(r)
		w.billed("again", charge(p[0], r))
	}},
	{"a record that the call did not finish has its own receipt", func(t testing.TB, h Harness) {
		w := in(t, h)
		p, hour := w.used(1)
		batch := []marketplace.Record{w.record(p[0], 0, hour, "1"), w.record(p[0], 1, hour, "2"), w.record(p[0], 0, hour.Next(), "3")}
		h.Vendor.Befall(Fault{Kind: Partial, About: batch[1]})
		got := w.submit(batch...)
		w.outcome("finished", got[0], marketplace.OutcomeAccepted)
		w.outcome("not finished", got[1], h.Traits.Partial)
		w.outcome("finished", got[2], marketplace.OutcomeAccepted)
		if got[1].Outcome.Proven() {
			w.billed("what is proven unrecorded is not billed", charge(p[0], batch[0]), charge(p[0], batch[2]))
		}
		w.outcome("again", w.submit(batch[1])[0], marketplace.OutcomeAccepted, marketplace.OutcomeDuplicate)
		w.billed("again", charge(p[0], batch[0]), charge(p[0], batch[1]), charge(p[0], batch[2]))
	}},
	{"one bad record is told from the good ones", func(t testing.TB, h Harness) {
		w := in(t, h)
		p, hour := w.used(1)
		good := w.record(p[0], 0, hour, "1")
		bad := h.Vendor.Spoil(w.record(p[0], 1, hour, "2"))
		bad.Key = w.rules(p[0]).Slot(bad)
		got, err := h.Adapter.Submit(w.ctx(), []marketplace.Record{good, bad})
		if !h.Traits.BadRefusesBatch {
			if err != nil || len(got) != 2 {
				t.Fatalf("one bad record: %d receipts, error %v", len(got), err)
			}
			w.outcome("the good one", got[0], marketplace.OutcomeAccepted)
			w.outcome("the bad one", got[1], marketplace.OutcomeInvalid)
			w.billed("the good one", charge(p[0], good))
			return
		}
		w.class("a call with a bad record", err, fault.Refused)
		w.billed("a refused call")
		_, err = h.Adapter.Submit(w.ctx(), []marketplace.Record{bad})
		w.class("the bad record alone", err, fault.Refused)
		if r := marketplace.RefusalOf(err); r == nil || r.Outcome != marketplace.OutcomeInvalid || r.Detail == "" {
			t.Errorf("refusal %+v, want one that calls the record invalid in the vendor's word", r)
		}
		w.outcome("the good record alone", w.submit(good)[0], marketplace.OutcomeAccepted)
		w.billed("the good one", charge(p[0], good))
	}},
	{"a batch over the vendor's limit is refused", func(t testing.TB, h Harness) {
		w := in(t, h)
		p, hour := w.used(1)
		var batch []marketplace.Record
		for n := range h.Traits.Batch + 1 {
			r := w.record(p[0], 0, hour, "1")
			r.Dimension += strconv.Itoa(n)
			r.Key = w.rules(p[0]).Slot(r)
			batch = append(batch, r)
		}
		_, err := h.Adapter.Submit(w.ctx(), batch)
		w.class("too many records", err, fault.Refused)
		_, err = h.Adapter.Submit(w.ctx(), nil)
		w.class("no records", err, fault.Refused)
		w.billed("refused")
	}},
	{"a quantity that the vendor cannot hold is invalid and harms nobody", func(t testing.TB, h Harness) {
		w := in(t, h)
		p, hour := w.used(1)
		most := w.rules(p[0]).MaxQuantity
		good, broken := w.record(p[0], 0, hour, "3"), w.record(p[0], 0, hour.Next(), "1.5")
		for _, q := range []string{"-1", "", "x", strconv.FormatInt(most, 10) + "0"} {
			got := w.submit(w.record(p[0], 1, hour, q))
			w.outcome("quantity "+strconv.Quote(q), got[0], marketplace.OutcomeInvalid)
		}
		want := []Charge{charge(p[0], good)}
		if h.Traits.WholeUnits {
			w.outcome("a fraction", w.submit(broken)[0], marketplace.OutcomeInvalid)
		} else {
			w.outcome("a fraction", w.submit(broken)[0], marketplace.OutcomeAccepted)
			want = append(want, charge(p[0], broken))
		}
		got := w.submit(good, w.record(p[0], 1, hour, "-1"))
		w.outcome("the good one beside it", got[0], marketplace.OutcomeAccepted)
		w.outcome("the bad one", got[1], marketplace.OutcomeInvalid)
		w.billed("only what fits", want...)
	}},
	{"final usage is taken after the end, for a while", func(t testing.TB, h Harness) {
		w := in(t, h)
		p, hour := w.used(1)
		early, late := w.record(p[0], 0, hour, "3"), w.record(p[0], 1, hour, "4")
		h.Vendor.Cancel(p[0])
		w.outcome("soon after the end", w.submit(early)[0], marketplace.OutcomeAccepted)
		h.Vendor.Advance(w.rules(p[0]).AfterEnd.Limit + 5*time.Minute)
		if h.Traits.EndsByAge {
			w.outcome("long after the end", w.submit(late)[0], marketplace.OutcomeExpired)
			late = w.record(p[0], 1, clock.HourOf(h.Vendor.Now()).Prev(), "4")
		}
		got := w.submit(late)[0]
		w.outcome("long after the end", got, h.Traits.Stopped)
		if !got.Outcome.Proven() || !got.StopsService {
			t.Errorf("receipt %+v: want one that proves nothing recorded and says that the service has stopped", got)
		}
		w.billed("only the early one", charge(p[0], early))
	}},
	{"a record too old is expired, not lost without a word", func(t testing.TB, h Harness) {
		w := in(t, h)
		p, hour := w.used(1)
		h.Vendor.Advance(w.rules(p[0]).Deadline(hour).Add(time.Hour).Sub(h.Vendor.Now()))
		if r := w.record(p[0], 0, hour, "3"); h.Traits.Ageless {
			w.outcome("however old", w.submit(r)[0], marketplace.OutcomeAccepted)
			w.billed("however old", charge(p[0], r))
			return
		}
		got, err := h.Adapter.Submit(w.ctx(), []marketplace.Record{w.record(p[0], 0, hour, "3")})
		if err != nil {
			w.class("too old", err, fault.Refused)
			if r := marketplace.RefusalOf(err); r == nil || r.Outcome != marketplace.OutcomeExpired {
				t.Errorf("refusal %+v, want expired", r)
			}
		} else if len(got) == 1 {
			w.outcome("too old", got[0], marketplace.OutcomeExpired)
		} else {
			t.Errorf("%d receipts for one record", len(got))
		}
		w.billed("nothing")
	}},
	{"a context that has ended sends nothing and says so", func(t testing.TB, h Harness) {
		w := in(t, h)
		p, hour := w.used(1)
		ctx, cancel := context.WithCancel(w.ctx())
		cancel()
		w.calls(CallAny, 0, func() {
			_, err := h.Adapter.Submit(ctx, []marketplace.Record{w.record(p[0], 0, hour, "3")})
			w.class("submit", err, fault.Throttled, fault.Unsure)
		})
		w.billed("nothing")
	}},
	{"decisions the vendor does not take are refused without a call", func(t testing.TB, h Harness) {
		w := in(t, h)
		p := h.Vendor.Buy()
		for _, k := range []marketplace.DecisionKind{
			marketplace.ApproveAccount, marketplace.Approve, marketplace.Reject, marketplace.ApproveChange, marketplace.RejectChange, marketplace.Activate,
			marketplace.AckOperation, marketplace.RequestChange, marketplace.RequestCancel, marketplace.MessageToUser, marketplace.ConfirmChannel,
		} {
			if slices.Contains(h.Traits.Decides, k) {
				continue // what it does is the vendor's own story, told in the adapter's tests
			}
			w.calls(CallAny, 0, func() {
				_, err := h.Adapter.Decide(w.ctx(), marketplace.Decision{Kind: k, Ref: p.Ref})
				w.class(string(k), err, fault.Refused)
				w.public(err)
			})
		}
	}},
}
