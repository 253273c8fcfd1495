package marketplacetest

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

func asFault(err error) (*fault.Error, bool) { return errors.AsType[*fault.Error](err) }

var deliveryCases = []Case{
	{"a genuine delivery is verified, under one id however often it comes", func(t testing.TB, h Harness) {
		w := in(t, h)
		h.Vendor.Buy()
		bodies := map[string]string{}
		for _, d := range w.deliveries() {
			v, again := w.verify(d), w.verify(d)
			if v.ID == "" || v.Kind == "" || v.SentAt.IsZero() || v.Signed != h.Traits.SignedBodies {
				t.Errorf("verified %+v: want an id, a kind, when it was sent, and signed %v", strip(v), h.Traits.SignedBodies)
			}
			if v.ID != again.ID {
				t.Errorf("one delivery has two ids, %q and %q", v.ID, again.ID)
			}
			if other, ok := bodies[v.ID]; ok && other != string(d.Body) {
				t.Errorf("two messages have one id %q", v.ID)
			}
			bodies[v.ID] = string(d.Body)
			if diff := gocmp.Diff(d, v.Delivery); diff != "" {
				t.Errorf("the delivery was changed (-was +is):\n%s", diff)
			}
		}
	}},
	{"a forged delivery is refused as forged", func(t testing.TB, h Harness) {
		w := in(t, h)
		h.Vendor.Buy()
		for i, d := range h.Vendor.Forged(w.deliveries()[0]) {
			_, err := h.Adapter.Verify(w.ctx(), d)
			if !fault.Is(err, fault.Forged) {
				t.Errorf("forged delivery %d: error %v, want one of class forged", i, err)
			}
		}
	}},
	{"what is not for us is unreadable, and says who must act", func(t testing.TB, h Harness) {
		w := in(t, h)
		h.Vendor.Buy()
		for i, d := range h.Vendor.Foreign() {
			v, err := h.Adapter.Verify(w.ctx(), d)
			if err == nil {
				_, err = h.Adapter.Translate(v)
			}
			if !fault.Is(err, fault.Unreadable) {
				t.Errorf("foreign delivery %d: error %v, want one of class unreadable", i, err)
				continue
			}
			w.public(err)
		}
	}},
	{"a message nobody knows is unreadable with its word quoted, not dropped", func(t testing.TB, h Harness) {
		w := in(t, h)
		h.Vendor.Buy()
		d, word := h.Vendor.Strange()
		events, err := h.Adapter.Translate(w.verify(d))
		w.class("strange", err, fault.Unreadable)
		if len(events) > 0 {
			t.Errorf("events were made of it: %+v", events)
		}
		if f, ok := asFault(err); ok && !strings.Contains(f.Public, word) {
			t.Errorf("text %q does not quote %q", f.Public, word)
		}
	}},
	{"translate is pure: the same events at any time, from many at once", func(t testing.TB, h Harness) {
		w := in(t, h)
		p := h.Vendor.Buy()
		h.Vendor.Cancel(p)
		for _, d := range w.deliveries() {
			v := w.verify(d)
			before := strip(v)
			body := string(v.Delivery.Body)
			calls := h.Vendor.Calls(CallAny)
			first, err := h.Adapter.Translate(v)
			if err != nil {
				t.Fatalf("translate %s: %v", v.Kind, err)
			}
			h.Vendor.Advance(7 * time.Minute)
			var wg sync.WaitGroup
			var mu sync.Mutex
			for range 4 {
				wg.Go(func() {
					again, err := h.Adapter.Translate(v)
					mu.Lock()
					defer mu.Unlock()
					if diff := gocmp.Diff(first, again); err != nil || diff != "" {
						t.Errorf("translate %s again: %v (-first +again):\n%s", v.Kind, err, diff)
					}
				})
			}
			wg.Wait()
			if diff := gocmp.Diff(before, strip(v)); diff != "" || body != string(v.Delivery.Body) {
				t.Errorf("translate changed what it was given:\n%s", diff)
			}
			if n := h.Vendor.Calls(CallAny) - calls; n != 0 {
				t.Errorf("translate made %d calls", n)
			}
		}
	}},
	{"messages tell when a purchase is entitled and when it ends", func(t testing.TB, h Harness) {
		w := in(t, h)
		p, other := h.Vendor.Buy(), h.Vendor.Buy()
		if got := w.kinds(p); h.Traits.EntitledBy != "" && !slices.Contains(got, h.Traits.EntitledBy) {
			t.Errorf("events of a purchase are %q, want %q among them", got, h.Traits.EntitledBy)
		}
		if slices.Contains(w.kinds(p), h.Traits.EndsBy) {
			t.Errorf("a purchase in force has %q", h.Traits.EndsBy)
		}
		h.Vendor.Cancel(p)
		if got := w.kinds(p); h.Traits.EndsBy != "" && !slices.Contains(got, h.Traits.EndsBy) {
			t.Errorf("events of a cancelled purchase are %q, want %q among them", got, h.Traits.EndsBy)
		}
		if slices.Contains(w.kinds(other), h.Traits.EndsBy) {
			t.Error("the end of one purchase is told of another")
		}
	}},
}

// deliveries are all there are, at least one.
func (w world) deliveries() []marketplace.Delivery {
	w.t.Helper()
	all := w.Vendor.Deliveries()
	if len(all) == 0 {
		w.t.Fatal("the vendor delivered nothing")
	}
	return all
}

func (w world) verify(d marketplace.Delivery) marketplace.Verified {
	w.t.Helper()
	v, err := w.Adapter.Verify(w.ctx(), d)
	if err != nil {
		w.t.Fatalf("verify: %v", err)
	}
	return v
}

// kinds are the kinds of the events that all deliveries so far bring about p.
func (w world) kinds(p Purchase) []marketplace.EventKind {
	w.t.Helper()
	var out []marketplace.EventKind
	for _, e := range w.events(p, 0) {
		out = append(out, e.Kind)
	}
	return out
}

// events are what the deliveries after the first so many bring about p; what
// proves an older one may have expired.
func (w world) events(p Purchase, after int) []marketplace.Event {
	w.t.Helper()
	var out []marketplace.Event
	for _, d := range w.deliveries()[after:] {
		v := w.verify(d)
		events, err := w.Adapter.Translate(v)
		if err != nil || len(events) == 0 {
			w.t.Errorf("translate %s: %d events, error %v", v.Kind, len(events), err)
		}
		for _, e := range events {
			if !slices.Contains(marketplace.EventKinds, e.Kind) || e.At.IsZero() || e.Version.IsZero() || e.MessageID != v.ID {
				w.t.Errorf("event %+v of %s: want a kind we know, a time, a version and the message's id", e, v.Kind)
			}
			if e.Ref.Purchase == p.Ref.Purchase || e.Ref.Purchase == "" && e.Ref.Agreement != "" && e.Ref.Agreement == p.Ref.Agreement {
				out = append(out, e)
			}
		}
	}
	return out
}

// strip leaves the body out, which is no help in a failure's text.
func strip(v marketplace.Verified) marketplace.Verified {
	v.Delivery.Body = nil
	return v
}

var tokenCases = []Case{
	{"a good token tells who came for what, each time", func(t testing.TB, h Harness) {
		w := in(t, h)
		p := h.Vendor.Buy()
		token := h.Vendor.Token(p)
		for range 2 {
			w.calls(CallResolve, 1, func() {
				got, err := h.Adapter.Resolve(w.ctx(), token)
				if err != nil {
					t.Fatalf("resolve: %v", err)
				}
				w.arrived(got, p)
			})
		}
	}},
	{"what a browser claims beside the token is not believed", func(t testing.TB, h Harness) {
		w := in(t, h)
		p, other := h.Vendor.Buy(), h.Vendor.Buy()
		token := h.Vendor.Token(p)
		token.Form = h.Vendor.Claims(other)
		got, err := h.Adapter.Resolve(w.ctx(), token)
		if err != nil {
			t.Fatalf("resolve with more fields: %v", err)
		}
		w.arrived(got, p)
		for _, r := range got.Purchases {
			if r.Purchase == other.Ref.Purchase || r.Agreement != "" && r.Agreement == other.Ref.Agreement {
				t.Errorf("the form's purchase was believed: %+v", r)
			}
		}
	}},
	{"a bad token is invalid and an expired one gone, both with a text for the buyer", func(t testing.TB, h Harness) {
		w := in(t, h)
		_, err := h.Adapter.Resolve(w.ctx(), h.Vendor.BadToken())
		w.class("bad token", err, fault.Invalid)
		w.public(err)
		w.calls(CallAny, 0, func() {
			_, err = h.Adapter.Resolve(w.ctx(), marketplace.Token{})
			w.class("no token", err, fault.Invalid)
			w.public(err)
		})
		_, err = h.Adapter.Resolve(w.ctx(), h.Vendor.ExpiredToken(h.Vendor.Buy()))
		expired := fault.Gone
		if h.Traits.TokensAlike {
			expired = fault.Invalid
		}
		w.class("expired token", err, expired)
		w.public(err)
	}},
	{"the vendor's trouble with a token is not the buyer's", func(t testing.TB, h Harness) {
		w := in(t, h)
		p := h.Vendor.Buy()
		token := h.Vendor.Token(p)
		h.Vendor.Befall(Fault{Kind: TokenTrouble})
		w.calls(CallResolve, 1, func() {
			_, err := h.Adapter.Resolve(w.ctx(), token)
			w.class("trouble", err, fault.Throttled, fault.Unavailable)
			w.public(err)
			if err != nil && strings.Contains(err.Error(), token.Value) {
				t.Error("the error repeats the token")
			}
		})
		got, err := h.Adapter.Resolve(w.ctx(), token)
		if err != nil {
			t.Fatalf("resolve again: %v", err)
		}
		w.arrived(got, p)
	}},
}

func (w world) arrived(got marketplace.Arrival, p Purchase) {
	w.t.Helper()
	if got.Account != p.Ref.Account {
		w.t.Errorf("account %q, want %q", got.Account, p.Ref.Account)
	}
	for _, r := range got.Purchases {
		if r.Purchase != p.Ref.Purchase || r.Product != p.Ref.Product {
			w.t.Errorf("purchase %+v, want %+v", r, p.Ref)
		}
	}
}
