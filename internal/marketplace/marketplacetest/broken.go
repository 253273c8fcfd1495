package marketplacetest

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// Sabotage is one way to break an adapter, and the case that must notice.
type Sabotage struct {
	Name   string
	Break  func(Harness) Harness
	Caught string // the name of the case
}

// only says for which vendors a sabotage is a break at all, by its name; the
// others are broken by it too.
var only = map[string]func(Harness) bool{
	"calls throttled unsure":           func(h Harness) bool { return !h.Traits.ThrottleUnsure },
	"calls a taken slot accepted":      func(h Harness) bool { return !h.Traits.Silent },
	"takes a success at its word":      func(h Harness) bool { return h.Traits.Nameless },
	"calls an expired token invalid":   func(h Harness) bool { return !h.Traits.TokensAlike },
	"hides what a slot holds":          func(h Harness) bool { return h.Rival != nil && h.Traits.TellsHeld },
	"does not hear a suspension":       func(h Harness) bool { return h.Suspender != nil },
	"does not hear a question":         func(h Harness) bool { return h.Changer != nil },
	"says done and tells nobody":       func(h Harness) bool { return h.Changer != nil },
	"approves what should be rejected": func(h Harness) bool { return h.Changer != nil },
}

// RunBroken breaks a good adapter in each way and fails where the suite does not
// notice. Run must pass on the same harness.
func RunBroken(t *testing.T, open func(testing.TB) Harness) {
	for _, s := range Sabotages() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			if concerns := only[s.Name]; concerns != nil && !concerns(open(t)) {
				return // declared: the vendor has nothing that could be broken so
			}
			i := slices.IndexFunc(Cases(), func(c Case) bool { return c.Name == s.Caught })
			if i < 0 {
				t.Fatalf("there is no case %q", s.Caught)
			}
			said := record(t, func(t testing.TB) { Cases()[i].Run(t, s.Break(open(t))) })
			if len(said) == 0 {
				t.Errorf("case %q passes on an adapter that %s", s.Caught, s.Name)
			}
			t.Logf("noticed: %s", strings.Join(said, "; "))
		})
	}
}

// Sabotages are the ways to break an adapter.
func Sabotages() []Sabotage {
	return []Sabotage{
		{"sends every batch twice", submitting(func(ctx context.Context, a marketplace.Adapter, b []marketplace.Record) ([]marketplace.Receipt, error) {
			_, _ = a.Submit(ctx, b)
			return a.Submit(ctx, b)
		}), "one call is one request, whatever the answer"},
		{"retries by itself what may have been recorded", submitting(func(ctx context.Context, a marketplace.Adapter, b []marketplace.Record) ([]marketplace.Receipt, error) {
			got, err := a.Submit(ctx, b)
			if fault.Is(err, fault.Unsure) {
				return a.Submit(ctx, b)
			}
			return got, err
		}), "accepted, then the connection closed: unsure, and on the bill once"},
		{"swallows a receipt", receipts(func(r []marketplace.Receipt) []marketplace.Receipt { return r[:len(r)-1] }), "receipts come one to one, in the order of the batch"},
		{"mixes receipts up", receipts(func(r []marketplace.Receipt) []marketplace.Receipt {
			slices.Reverse(r)
			return r
		}), "receipts come one to one, in the order of the batch"},
		{"calls a lost answer a refusal", classes(fault.Unsure, fault.Refused), "accepted, then the connection closed: unsure, and on the bill once"},
		{"calls a lost answer throttled", classes(fault.Unsure, fault.Throttled), "accepted, then the connection closed: unsure, and on the bill once"},
		{"calls the vendor's trouble a refusal", classes(fault.Unsure, fault.Refused), "the vendor's own trouble is unsure"},
		{"calls throttled unsure", classes(fault.Throttled, fault.Unsure), "throttled means that nothing was recorded, where the vendor says so"},
		{"calls a refusal unsure", classes(fault.Refused, fault.Unsure), "a batch over the vendor's limit is refused"},
		{"calls an unfinished record accepted", receipts(func(r []marketplace.Receipt) []marketplace.Receipt {
			for i := range r {
				r[i].Outcome = marketplace.OutcomeAccepted
			}
			return r
		}), "a record that the call did not finish has its own receipt"},
		{"takes a success at its word", receipts(func(r []marketplace.Receipt) []marketplace.Receipt {
			for i := range r {
				if r[i].Outcome == marketplace.OutcomeFailed {
					r[i].Outcome = marketplace.OutcomeAccepted
				}
			}
			return r
		}), "an error that names no record leaves all of them unknown"},
		{"blames the whole batch for one record", receipts(func(r []marketplace.Receipt) []marketplace.Receipt {
			for i := range r {
				for _, other := range r {
					if other.Outcome != marketplace.OutcomeAccepted {
						r[i].Outcome = other.Outcome
					}
				}
			}
			return r
		}), "a success holds errors of single records, and is one for the others"},
		{"calls a taken slot accepted", receipts(func(r []marketplace.Receipt) []marketplace.Receipt {
			for i := range r {
				if r[i].Outcome == marketplace.OutcomeDuplicate {
					r[i].Outcome = marketplace.OutcomeAccepted
				}
			}
			return r
		}), "a taken slot is a duplicate, and keeps what it holds"},
		{"sends a record with another quantity", submitting(func(ctx context.Context, a marketplace.Adapter, b []marketplace.Record) ([]marketplace.Receipt, error) {
			b = slices.Clone(b)
			for i := range b {
				b[i].Quantity = strings.TrimPrefix(strings.Split(b[i].Quantity, ".")[0], "-")
			}
			return a.Submit(ctx, b)
		}), "a quantity that the vendor cannot hold is invalid and harms nobody"},
		{"does not hear that the service has stopped", receipts(func(r []marketplace.Receipt) []marketplace.Receipt {
			for i := range r {
				r[i].StopsService = false
			}
			return r
		}), "final usage is taken after the end, for a while"},
		{"has one slot for all meters", with(func(b *broken) {
			b.rules = func(r marketplace.Rules) marketplace.Rules {
				slot := r.Slot
				r.Slot = func(rec marketplace.Record) string { rec.Dimension = "any"; return slot(rec) }
				return r
			}
		}), "the slot of a record is what the vendor tells records apart by"},
		{"believes every delivery", with(func(b *broken) {
			b.verify = func(v marketplace.Verified, err error) (marketplace.Verified, error) { return v, nil }
		}), "a forged delivery is refused as forged"},
		{"drops what it does not know", with(func(b *broken) {
			b.translate = func(e []marketplace.Event, err error) ([]marketplace.Event, error) { return e, nil }
		}), "a message nobody knows is unreadable with its word quoted, not dropped"},
		{"takes what is not for us", with(func(b *broken) {
			b.verify = func(v marketplace.Verified, err error) (marketplace.Verified, error) {
				if fault.Is(err, fault.Unreadable) {
					return v, nil
				}
				return v, err
			}
			b.translate = func(e []marketplace.Event, err error) ([]marketplace.Event, error) { return e, nil }
		}), "what is not for us is unreadable, and says who must act"},
		{"translates by the clock", func(h Harness) Harness {
			var n atomic.Int64
			return with(func(b *broken) {
				b.translate = func(e []marketplace.Event, err error) ([]marketplace.Event, error) {
					for i := range e {
						e[i].At = e[i].At.Add(time.Duration(n.Add(1)))
					}
					return e, err
				}
			})(h)
		}, "translate is pure: the same events at any time, from many at once"},
		{"does not hear the end", with(func(b *broken) {
			b.translate = func(e []marketplace.Event, err error) ([]marketplace.Event, error) {
				for i := range e {
					e[i].Kind = marketplace.Noted
				}
				return e, err
			}
		}), "messages tell when a purchase is entitled and when it ends"},
		{"believes the browser", with(func(b *broken) {
			b.resolve = func(t marketplace.Token, got marketplace.Arrival, err error) (marketplace.Arrival, error) {
				for _, v := range t.Form {
					got.Account = v
				}
				return got, err
			}
		}), "what a browser claims beside the token is not believed"},
		{"calls an expired token invalid", with(func(b *broken) {
			b.resolve = func(_ marketplace.Token, got marketplace.Arrival, err error) (marketplace.Arrival, error) {
				return got, reclass(err, fault.Gone, fault.Invalid)
			}
		}), "a bad token is invalid and an expired one gone, both with a text for the buyer"},
		{"blames the buyer for the vendor's trouble", with(func(b *broken) {
			b.resolve = func(_ marketplace.Token, got marketplace.Arrival, err error) (marketplace.Arrival, error) {
				return got, reclass(reclass(err, fault.Throttled, fault.Invalid), fault.Unavailable, fault.Invalid)
			}
		}), "the vendor's trouble with a token is not the buyer's"},
		{"reads only the first of the purchases", reading(func(e []marketplace.Event) []marketplace.Event { return e[:1] }), "the reader finds every purchase behind empty pages, and tells which have ended"},
		{"reads the ended as entitled", reading(func(e []marketplace.Event) []marketplace.Event {
			for i := range e {
				e[i].Observed = &marketplace.Observation{Entitled: true, StartsAt: e[i].At}
			}
			return e
		}), "the reader finds every purchase behind empty pages, and tells which have ended"},
		{"hides what a slot holds", receipts(func(r []marketplace.Receipt) []marketplace.Receipt {
			for i := range r {
				r[i].Quantity = ""
			}
			return r
		}), "a slot that somebody else took is told with what it holds"},
		{"does not hear a suspension", hearing(marketplace.Suspended, marketplace.Noted), "a suspended purchase is told, not metered, and goes on when it is reinstated"},
		{"does not hear a question", hearing(marketplace.ChangeRequested, marketplace.Changed), "a change waits for our answer, and holds once it was approved"},
		{"says done and tells nobody", deciding(func(d *marketplace.Decision) { d.Kind = "" }), "a change waits for our answer, and holds once it was approved"},
		{"approves what should be rejected", deciding(func(d *marketplace.Decision) {
			if d.Kind == marketplace.RejectChange {
				d.Kind = marketplace.ApproveChange
			}
		}), "a change that we reject changes nothing"},
	}
}

// broken is an adapter with some of its answers changed.
type broken struct {
	marketplace.Adapter
	rules     func(marketplace.Rules) marketplace.Rules
	submit    func(context.Context, marketplace.Adapter, []marketplace.Record) ([]marketplace.Receipt, error)
	verify    func(marketplace.Verified, error) (marketplace.Verified, error)
	translate func([]marketplace.Event, error) ([]marketplace.Event, error)
	resolve   func(marketplace.Token, marketplace.Arrival, error) (marketplace.Arrival, error)
	decide    func(*marketplace.Decision)
}

func with(set func(*broken)) func(Harness) Harness {
	return func(h Harness) Harness {
		b := &broken{Adapter: h.Adapter}
		set(b)
		h.Adapter = b
		return h
	}
}

func submitting(do func(context.Context, marketplace.Adapter, []marketplace.Record) ([]marketplace.Receipt, error)) func(Harness) Harness {
	return with(func(b *broken) { b.submit = do })
}

// receipts changes what an answered call returns.
func receipts(change func([]marketplace.Receipt) []marketplace.Receipt) func(Harness) Harness {
	return submitting(func(ctx context.Context, a marketplace.Adapter, b []marketplace.Record) ([]marketplace.Receipt, error) {
		got, err := a.Submit(ctx, b)
		if err != nil || len(got) == 0 {
			return got, err
		}
		return change(got), nil
	})
}

// hearing makes events of one kind another.
func hearing(from, to marketplace.EventKind) func(Harness) Harness {
	return with(func(b *broken) {
		b.translate = func(e []marketplace.Event, err error) ([]marketplace.Event, error) {
			for i := range e {
				if e[i].Kind == from {
					e[i].Kind = to
				}
			}
			return e, err
		}
	})
}

// deciding changes decisions before they are told; one without a kind is not.
func deciding(change func(*marketplace.Decision)) func(Harness) Harness {
	return with(func(b *broken) { b.decide = change })
}

// classes gives errors of one class another.
func classes(from, to fault.Class) func(Harness) Harness {
	return submitting(func(ctx context.Context, a marketplace.Adapter, b []marketplace.Record) ([]marketplace.Receipt, error) {
		got, err := a.Submit(ctx, b)
		return got, reclass(err, from, to)
	})
}

func reclass(err error, from, to fault.Class) error {
	if !fault.Is(err, from) {
		return err
	}
	return fault.Wrap(to, err, "")
}

func (b *broken) Rules(product string) marketplace.Rules {
	if b.rules != nil {
		return b.rules(b.Adapter.Rules(product))
	}
	return b.Adapter.Rules(product)
}

func (b *broken) Submit(ctx context.Context, batch []marketplace.Record) ([]marketplace.Receipt, error) {
	if b.submit != nil {
		return b.submit(ctx, b.Adapter, batch)
	}
	return b.Adapter.Submit(ctx, batch)
}

func (b *broken) Verify(ctx context.Context, d marketplace.Delivery) (marketplace.Verified, error) {
	v, err := b.Adapter.Verify(ctx, d)
	if b.verify != nil {
		v.Delivery = d
		return b.verify(v, err)
	}
	return v, err
}

func (b *broken) Translate(v marketplace.Verified) ([]marketplace.Event, error) {
	e, err := b.Adapter.Translate(v)
	if b.translate != nil {
		return b.translate(e, err)
	}
	return e, err
}

func (b *broken) Resolve(ctx context.Context, t marketplace.Token) (marketplace.Arrival, error) {
	got, err := b.Adapter.Resolve(ctx, t)
	if b.resolve != nil {
		return b.resolve(t, got, err)
	}
	return got, err
}

func (b *broken) Decide(ctx context.Context, d marketplace.Decision) (marketplace.Outcome, error) {
	if b.decide != nil {
		b.decide(&d)
	}
	if d.Kind == "" {
		return marketplace.Done, nil
	}
	return b.Adapter.Decide(ctx, d)
}

// brokenReader changes the pages of a reader.
type brokenReader struct {
	marketplace.Reader
	change func([]marketplace.Event) []marketplace.Event
}

func reading(change func([]marketplace.Event) []marketplace.Event) func(Harness) Harness {
	return func(h Harness) Harness {
		h.Reader = brokenReader{h.Reader, change}
		return h
	}
}

func (b brokenReader) Purchases(ctx context.Context, from marketplace.Mark, page func(marketplace.Page) error) error {
	return b.Reader.Purchases(ctx, from, func(p marketplace.Page) error {
		p.Events = b.change(p.Events)
		return page(p)
	})
}

// recorder is a testing.TB whose failures are not the test's.
type recorder struct {
	testing.TB
	ctx context.Context //nolint:containedctx // a TB has one

	mu       sync.Mutex
	said     []string
	cleanups []func()
}

// record runs f with a recorder and returns what it failed with.
func record(t testing.TB, f func(testing.TB)) []string {
	ctx, cancel := context.WithCancel(t.Context())
	r := &recorder{TB: t, ctx: ctx}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				r.Errorf("panic: %v", p)
			}
		}()
		f(r)
	}()
	<-done
	cancel()
	for _, clean := range slices.Backward(r.cleanups) {
		clean()
	}
	return r.said
}

func (r *recorder) say(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = append(r.said, strings.TrimSpace(text))
}

func (r *recorder) Context() context.Context { return r.ctx }

func (r *recorder) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.said) > 0
}

func (r *recorder) Fail()                        { r.say("failed") }
func (r *recorder) Error(args ...any)            { r.say(fmt.Sprintln(args...)) }
func (r *recorder) Errorf(f string, args ...any) { r.say(fmt.Sprintf(f, args...)) }
func (r *recorder) FailNow()                     { r.Fail(); r.exit() }
func (r *recorder) Fatal(args ...any)            { r.Error(args...); r.exit() }
func (r *recorder) Fatalf(f string, args ...any) { r.Errorf(f, args...); r.exit() }

// exit ends the case's goroutine, as testing's own FailNow does.
func (r *recorder) exit() { runtime.Goexit() }
