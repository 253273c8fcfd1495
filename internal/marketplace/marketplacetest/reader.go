package marketplacetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

var readerCases = []Case{
	{"the reader finds every purchase behind empty pages, and tells which have ended", func(t testing.TB, h Harness) {
		w := in(t, h)
		var all []Purchase
		for range 5 {
			all = append(all, h.Vendor.Buy())
		}
		before := h.Vendor.Now()
		h.Vendor.Advance(10 * time.Minute)
		h.Vendor.Cancel(all[2])
		h.Vendor.Befall(Fault{Kind: EmptyPage, Times: 1})
		seen := w.read(time.Time{})
		for i, p := range all {
			e, ok := seen[p.Ref.Purchase]
			if !ok {
				t.Errorf("purchase %d was not found", i)
				continue
			}
			w.observed(e, p, i == 2)
			if i == 2 && (e.Observed.EndsAt.Before(before) || e.Observed.EndsAt.After(h.Vendor.Now())) {
				t.Errorf("it ended at %s, want between %s and %s", e.Observed.EndsAt, before, h.Vendor.Now())
			}
		}
		if len(seen) != len(all) {
			t.Errorf("%d purchases were found, there are %d", len(seen), len(all))
		}
		if seen := w.read(before.Add(5 * time.Minute)); len(seen) != 1 || seen[all[2].Ref.Purchase].Observed == nil {
			t.Errorf("%d purchases changed since, want the cancelled one", len(seen))
		}
	}},
	{"the reader finds one purchase by what messages call it", func(t testing.TB, h Harness) {
		w := in(t, h)
		p := h.Vendor.Buy()
		h.Vendor.Buy()
		h.Vendor.Befall(Fault{Kind: EmptyPage, Times: 1})
		for _, ref := range []marketplace.Ref{{Purchase: p.Ref.Purchase}, {Agreement: p.Ref.Agreement}} {
			if ref == (marketplace.Ref{}) {
				continue // the vendor has no agreements
			}
			events, err := h.Reader.Purchase(w.ctx(), ref)
			if err != nil || len(events) != 1 {
				t.Fatalf("read %+v: %d events, error %v", ref, len(events), err)
			}
			w.observed(events[0], p, false)
		}
		for _, ref := range h.Vendor.Unknown() {
			events, err := h.Reader.Purchase(w.ctx(), ref)
			if err != nil || len(events) > 0 {
				t.Errorf("read %+v, which does not exist: %d events, error %v", ref, len(events), err)
			}
		}
	}},
	{"a version grows with what changes", func(t testing.TB, h Harness) {
		w := in(t, h)
		p := h.Vendor.Buy()
		before := w.read(time.Time{})[p.Ref.Purchase]
		h.Vendor.Advance(time.Minute)
		h.Vendor.Cancel(p)
		after := w.read(time.Time{})[p.Ref.Purchase]
		if !after.Version.After(before.Version) {
			t.Errorf("version %s before the end, %s after", before.Version, after.Version)
		}
	}},
	{"trouble while reading can be tried again", func(t testing.TB, h Harness) {
		w := in(t, h)
		p := h.Vendor.Buy()
		h.Vendor.Befall(Fault{Kind: ReadTrouble})
		_, err := h.Reader.Purchase(w.ctx(), marketplace.Ref{Purchase: p.Ref.Purchase})
		w.class("trouble", err, fault.Throttled, fault.Unavailable)
		if _, err := h.Reader.Purchase(w.ctx(), marketplace.Ref{Purchase: p.Ref.Purchase}); err != nil {
			t.Errorf("read again: %v", err)
		}
		ctx, cancel := context.WithCancel(w.ctx())
		cancel()
		err = h.Reader.Purchases(ctx, marketplace.Mark{}, func(marketplace.Page) error { return nil })
		w.class("a context that has ended", err, fault.Throttled, fault.Unavailable)
		stop := errors.New("stop")
		if err := h.Reader.Purchases(w.ctx(), marketplace.Mark{}, func(marketplace.Page) error { return stop }); !errors.Is(err, stop) {
			t.Errorf("error %v, want the page's own", err)
		}
	}},
}

// read reads all purchases; each must come once.
func (w world) read(since time.Time) map[string]marketplace.Event {
	w.t.Helper()
	seen := map[string]marketplace.Event{}
	err := w.Reader.Purchases(w.ctx(), marketplace.Mark{Since: since}, func(page marketplace.Page) error {
		for _, e := range page.Events {
			if _, twice := seen[e.Ref.Purchase]; twice {
				w.t.Errorf("purchase %q was read twice", e.Ref.Purchase)
			}
			seen[e.Ref.Purchase] = e
		}
		return nil
	})
	if err != nil {
		w.t.Fatalf("read all purchases: %v", err)
	}
	return seen
}

func (w world) observed(e marketplace.Event, p Purchase, ended bool) {
	w.t.Helper()
	if e.Kind != marketplace.Observed || e.Observed == nil || e.Version.IsZero() {
		w.t.Fatalf("event %+v: want an observation with a version", e)
	}
	if e.Ref != p.Ref {
		w.t.Errorf("reference %+v, want %+v", e.Ref, p.Ref)
	}
	if o := e.Observed; o.Ended != ended || o.Entitled == ended || o.StartsAt.IsZero() {
		w.t.Errorf("observation %+v of %s: want ended %v, entitled %v and a start", *o, p.Ref.Purchase, ended, !ended)
	}
}
