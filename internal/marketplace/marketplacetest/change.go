package marketplacetest

import (
	"slices"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/marketplace"
)

var changeCases = []Case{
	{"a change waits for our answer, and holds once it was approved", func(t testing.TB, h Harness) {
		w := in(t, h)
		if w.declaredAway(h.Changer == nil, marketplace.ApproveChange) {
			return
		}
		p, other := h.Vendor.Buy(), h.Vendor.Buy()
		before, e := w.asked(p)
		if now := w.plan(p); now != before {
			t.Errorf("plan %q before anybody answered, want %q", now, before)
		}
		d := marketplace.Decision{Kind: marketplace.ApproveChange, Ref: p.Ref, Subject: h.Changer.Subject(e)}
		for range 2 {
			if got, err := h.Adapter.Decide(w.ctx(), d); err != nil || got != marketplace.Done && got != marketplace.Pending {
				t.Errorf("approve: %q, %v; want done, or pending until the vendor has seen to it, however often", got, err)
			}
		}
		if now := w.plan(p); now != e.Terms.Plan {
			t.Errorf("plan %q after the approval, want %q", now, e.Terms.Plan)
		}
		if now := w.plan(other); now != before {
			t.Errorf("the plan of another purchase is %q now", now)
		}
	}},
	{"a change that we reject changes nothing", func(t testing.TB, h Harness) {
		w := in(t, h)
		if w.declaredAway(h.Changer == nil, marketplace.RejectChange) {
			return
		}
		p := h.Vendor.Buy()
		before, e := w.asked(p)
		d := marketplace.Decision{Kind: marketplace.RejectChange, Ref: p.Ref, Subject: h.Changer.Subject(e), Text: "This plan is not for you."}
		for range 2 {
			if got, err := h.Adapter.Decide(w.ctx(), d); err != nil || got != marketplace.Done {
				t.Errorf("reject: %q, %v; want done, however often", got, err)
			}
		}
		if now := w.plan(p); now != before {
			t.Errorf("plan %q after the refusal, want %q", now, before)
		}
	}},
}

// declaredAway reports that the vendor has no such thing; then its decision must
// not be declared either.
func (w world) declaredAway(absent bool, d marketplace.DecisionKind) bool {
	w.t.Helper()
	if absent == slices.Contains(w.Traits.Decides, d) {
		w.t.Errorf("the harness declares %q and not what it is about, or the other way round", d)
	}
	return absent
}

// asked lets p's buyer ask for another plan; before is the plan that holds.
func (w world) asked(p Purchase) (before string, e marketplace.Event) {
	w.t.Helper()
	before = w.plan(p)
	wanted := w.Changer.Ask(p)
	if wanted == before {
		w.t.Fatalf("the harness asks for the present plan %q", wanted)
	}
	for _, e := range w.events(p, 0) {
		if e.Kind == marketplace.ChangeRequested && e.Terms != nil && e.Terms.Plan == wanted {
			return before, e
		}
	}
	w.t.Fatalf("no event asks about plan %q", wanted)
	return "", e
}

// plan is what the marketplace says of p now.
func (w world) plan(p Purchase) string {
	w.t.Helper()
	e := w.now(p)
	if e.Terms == nil {
		w.t.Fatalf("observation %+v: want terms", e)
	}
	return e.Terms.Plan
}

// now reads p.
func (w world) now(p Purchase) marketplace.Event {
	w.t.Helper()
	events, err := w.Reader.Purchase(w.ctx(), marketplace.Ref{Purchase: p.Ref.Purchase})
	if err != nil || len(events) != 1 || events[0].Observed == nil {
		w.t.Fatalf("read %s: %d events, error %v", p.Ref.Purchase, len(events), err)
	}
	return events[0]
}

var pauseCases = []Case{
	{"a suspended purchase is told, not metered, and goes on when it is reinstated", func(t testing.TB, h Harness) {
		w := in(t, h)
		if h.Suspender == nil {
			return // declared: the vendor has no such thing
		}
		ps, hour := w.used(1)
		p := ps[0]
		r := w.record(p, 0, hour, "5")
		before := len(h.Vendor.Deliveries())
		told := func(want marketplace.EventKind) {
			t.Helper()
			if !slices.ContainsFunc(w.events(p, before), func(e marketplace.Event) bool { return e.Kind == want }) {
				t.Errorf("no event tells of %q", want)
			}
			before = len(h.Vendor.Deliveries())
		}
		h.Suspender.Suspend(p)
		told(marketplace.Suspended)
		if o := w.now(p).Observed; !o.Suspended || o.Entitled || o.Ended {
			t.Errorf("observation %+v, want suspended alone", *o)
		}
		got := w.submit(r)[0]
		w.outcome("while it is suspended", got, h.Traits.Paused)
		if !got.Outcome.Proven() || !got.StopsService {
			t.Errorf("receipt %+v: want one that proves nothing recorded and says that the service has stopped", got)
		}
		w.billed("while it is suspended")

		h.Vendor.Advance(time.Minute)
		h.Suspender.Reinstate(p)
		told(marketplace.Resumed)
		if o := w.now(p).Observed; o.Suspended || !o.Entitled || o.Ended {
			t.Errorf("observation %+v, want entitled alone", *o)
		}
		w.outcome("after it", w.submit(r)[0], marketplace.OutcomeAccepted)
		w.billed("after it", charge(p, r))
	}},
}
