package store_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/billing/ledger"
	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/store/storetest"
)

// without drops the receipts of one hour from the first answer.
func without(h time.Time) func(int, []marketplace.Receipt) []marketplace.Receipt {
	return func(call int, got []marketplace.Receipt) []marketplace.Receipt {
		if call > 1 {
			return got
		}
		return slices.DeleteFunc(got, func(r marketplace.Receipt) bool { return strings.HasSuffix(r.Key, clock.HourOf(h).String()) })
	}
}

// try submits once; what it says is for the due row.
func (w *meterWorld) try() error {
	_, err := w.Submit(w.t.Context(), string(w.m))
	return err
}

func (w *meterWorld) places(meter string, want map[ledger.Place]string) {
	w.t.Helper()
	m := w.row(meter)
	got := map[ledger.Place]string{}
	for p, q := range map[ledger.Place]string{
		ledger.Open: m.Open, ledger.Carried: m.Carried, ledger.Queued: m.Queued, ledger.Sent: m.Sent, ledger.Unsure: m.Unsure, ledger.Held: m.Held,
		ledger.Accepted: m.Accepted, ledger.Included: m.Included, ledger.WrittenOff: m.WrittenOff, ledger.CreditLeft: m.CreditLeft,
	} {
		if q != "0" && q != "" {
			got[p] = q
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Fatalf("%s is not where it should be (-want +got):\n%s", meter, diff)
	}
}

// sendable is what a replica would send now.
func (w *meterWorld) sendable() []billing.Record {
	w.t.Helper()
	got, err := w.db.Store.Sendable(w.t.Context(), w.m, 100)
	w.ok(err)
	return got
}

// sendsNothing wants no call, not even from a replica that read its list earlier.
func (w *meterWorld) sendsNothing(old []billing.Record) {
	w.t.Helper()
	calls := w.v.call
	w.db.sendable = func(got []billing.Record) []billing.Record {
		got, old = append(got, old...), nil
		return got
	}
	w.ok(w.try())
	w.db.sendable = nil
	if w.v.call != calls {
		w.t.Fatal("a record was sent that must not be")
	}
}

// identical wants every sending of a slot to be the same record.
func (w *meterWorld) identical() {
	w.t.Helper()
	first := map[string]marketplace.Record{}
	for _, r := range w.v.sent {
		if was, again := first[r.Key]; !again {
			first[r.Key] = r
		} else if diff := cmp.Diff(was, r, cmp.Comparer(func(a, b clock.Hour) bool { return a == b })); diff != "" {
			w.t.Fatalf("slot %s was sent again and differs:\n%s", r.Key, diff)
		}
	}
}

// What a marketplace may answer, and where the units then are.
func TestMeteringAnswers(t *testing.T) {
	t.Parallel()
	two := func(w *meterWorld) (first time.Time) {
		first = w.now
		w.use("api_request", "3", "", w.now)
		w.now = w.now.Add(time.Hour)
		w.seal()
		w.use("api_request", "4", "", w.now)
		w.now = w.now.Add(time.Hour)
		w.seal()
		return first
	}
	stories(t, map[string]func(w *meterWorld){
		"a result that is missing is unsure until the same record was sent again": func(w *meterWorld) {
			w.v.edit = without(two(w))
			if err := w.try(); !fault.Is(err, fault.Unavailable) {
				w.t.Fatalf("a record is unsure, and submit says %v", err)
			}
			w.places("api_request", map[ledger.Place]string{ledger.Unsure: "3", ledger.Accepted: "4"})
			w.use("api_request", "5", "", w.now) // nothing about the record may change with later usage
			w.send()
			w.identical()
			w.places("api_request", map[ledger.Place]string{ledger.Open: "5", ledger.Accepted: "7"})
			w.found()
		},
		"a result that is missing of a record that was not stored either": func(w *meterWorld) {
			first := two(w)
			w.v.edit = func(call int, got []marketplace.Receipt) []marketplace.Receipt {
				if call == 1 {
					delete(w.v.slots, slotOf(w.sub, "api_request", first))
				}
				return without(first)(call, got)
			}
			w.send()
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "7"})
			if q := w.v.slots[slotOf(w.sub, "api_request", first)]; q != "3" {
				w.t.Fatalf("the vendor bills %q for it", q)
			}
		},
		"an answer about nothing": func(w *meterWorld) {
			two(w)
			w.v.edit = func(call int, got []marketplace.Receipt) []marketplace.Receipt {
				if call == 1 {
					return nil
				}
				return got
			}
			if err := w.try(); err == nil {
				w.t.Fatal("two records are unsure, and submit is content")
			}
			w.places("api_request", map[ledger.Place]string{ledger.Unsure: "7"})
			w.send()
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "7"})
		},
		"an unprocessed record proves that it was not recorded, and no duplicate is explained by it": func(w *meterWorld) {
			w.v.weather = nth(map[int]string{1: "unprocessed"})
			w.use("api_request", "3", "", w.now)
			first := w.now
			w.now = w.now.Add(time.Hour)
			w.seal()
			if err := w.try(); err == nil {
				w.t.Fatal("a record was handed back, and submit is content")
			}
			w.places("api_request", map[ledger.Place]string{ledger.Queued: "3"})
			w.v.slots[slotOf(w.sub, "api_request", first)] = "99" // somebody else's, meanwhile
			w.send()
			w.places("api_request", map[ledger.Place]string{ledger.Unsure: "3"})
			w.found(billing.FindUnexplainedDuplicate)
		},
		"two answers for one record that differ are no answer": func(w *meterWorld) {
			two(w)
			w.v.edit = func(call int, got []marketplace.Receipt) []marketplace.Receipt {
				if call == 1 {
					return append(got, marketplace.Receipt{Key: got[0].Key, Outcome: marketplace.OutcomeExpired}, marketplace.Receipt{Key: "no such slot", Outcome: marketplace.OutcomeAccepted})
				}
				return got
			}
			if err := w.try(); err == nil {
				w.t.Fatal("a record is unsure, and submit is content")
			}
			w.places("api_request", map[ledger.Place]string{ledger.Unsure: "4", ledger.Accepted: "3"})
			w.send()
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "7"})
		},
		"the vendor holds less: the rest is billed in a later hour": func(w *meterWorld) {
			w.use("api_request", "5", "", w.now)
			w.now = w.now.Add(time.Hour)
			w.seal()
			w.v.edit = func(call int, got []marketplace.Receipt) []marketplace.Receipt {
				if call == 1 {
					got[0].Quantity = "2"
				}
				return got
			}
			w.send()
			w.places("api_request", map[ledger.Place]string{ledger.Open: "3", ledger.Accepted: "2"})
			w.found(billing.FindOtherQuantity)
			w.now = w.now.Add(time.Hour)
			w.seal()
			w.send()
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "5"})
		},
		"held until it is released, and then the vendor decides": func(w *meterWorld) {
			w.use("api_request", "5", "", w.now)
			w.v.bad, w.v.single = slotOf(w.sub, "api_request", w.now), marketplace.OutcomeInvalid
			at := w.now
			w.now = w.now.Add(time.Hour)
			w.seal()
			old := w.sendable()
			w.send()
			w.places("api_request", map[ledger.Place]string{ledger.Held: "5"})
			w.found(billing.FindHeld)
			w.now = w.now.Add(time.Hour)
			w.seal()
			w.sendsNothing(nil)
			w.sendsNothing(old)
			rec := w.record("api_request", at).ID
			w.rules(rec, ledger.Released, "still wrong")
			w.send()
			w.places("api_request", map[ledger.Place]string{ledger.Held: "5"})
			w.rules(rec, ledger.Released, "the dimension exists now")
			if _, marked := w.db.marks["submit aws"]; !marked {
				w.t.Fatal("nobody will send it")
			}
			w.places("api_request", map[ledger.Place]string{ledger.Queued: "5"})
			w.v.bad = ""
			w.send()
			w.identical()
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "5"})
			if err := w.rule(rec, ledger.Released, "again"); !fault.Is(err, fault.Conflict) {
				w.t.Fatalf("an accepted record was released: %v", err)
			}
		},
		"held past the window after the end is written off": func(w *meterWorld) {
			w.use("api_request", "5", "", w.now)
			w.v.bad, w.v.single = slotOf(w.sub, "api_request", w.now), marketplace.OutcomeInvalid
			w.now = w.now.Add(time.Hour)
			w.seal()
			w.send()
			w.end(w.now)
			w.cover()
			w.finish()
			w.places("api_request", map[ledger.Place]string{ledger.Held: "5"})
			again, err := w.Seal(w.t.Context(), w.sub)
			if w.ok(err); again.IsZero() {
				w.t.Fatal("nobody looks at the held record again")
			}
			w.now = again
			w.seal()
			w.places("api_request", map[ledger.Place]string{ledger.WrittenOff: "5"})
			w.found(billing.FindHeld, billing.FindWrittenOff)
		},
		"a buyer who is not subscribed is looked at, and not billed": func(w *meterWorld) {
			w.use("api_request", "5", "", w.now)
			w.v.edit = func(_ int, got []marketplace.Receipt) []marketplace.Receipt {
				got[0].Outcome, got[0].StopsService = marketplace.OutcomeNotSubscribed, true
				return got
			}
			w.now = w.now.Add(time.Hour)
			w.seal()
			w.send()
			w.places("api_request", map[ledger.Place]string{ledger.WrittenOff: "5"})
			w.found(billing.FindWrittenOff)
			if _, marked := w.db.marks["refresh aws|licence|"+string(w.sub)]; !marked {
				w.t.Fatalf("nobody asks AWS about it: %v", w.db.marks)
			}
		},
		"unsure past the window is parked, and nobody sends it, not even with an old list": func(w *meterWorld) {
			w.v.weather = nth(map[int]string{1: "lost"})
			w.use("api_request", "5", "", w.now)
			at := w.now
			w.now = w.now.Add(time.Hour)
			w.seal()
			old := w.sendable()
			if err := w.try(); !fault.Is(err, fault.Unsure) {
				w.t.Fatalf("the answer was lost, and submit says %v", err)
			}
			w.now = w.now.Add(24 * time.Hour)
			w.send()
			w.places("api_request", map[ledger.Place]string{ledger.Unsure: "5"})
			w.found(billing.FindUnsureTooLate)
			w.sendsNothing(old)
			rec := w.record("api_request", at).ID
			w.rules(rec, ledger.RuledThere, "it is in the usage feed")
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "5"})
			w.sendsNothing(old)
		},
		"an operator says that an unsure record was never recorded": func(w *meterWorld) {
			at := w.now
			w.use("api_request", "5", "", w.now)
			w.v.slots[slotOf(w.sub, "api_request", at)] = "77" // nobody knows whose
			w.now = w.now.Add(time.Hour)
			w.seal()
			w.send()
			w.found(billing.FindUnexplainedDuplicate)
			delete(w.v.slots, slotOf(w.sub, "api_request", at))
			w.rules(w.record("api_request", at).ID, ledger.RuledGone, "AWS removed it")
			w.send()
			w.identical()
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "5"})
		},
		"a process that dies in a call leaves an attempt that the next one does not trust": func(w *meterWorld) {
			w.use("api_request", "5", "", w.now)
			w.now = w.now.Add(time.Hour)
			w.seal()
			o := w.Options
			o.Vendors = map[marketplace.ID]billing.Submitter{"aws": dying{w.v}}
			func() {
				defer func() {
					if p := recover(); p != (died{}) {
						panic(p)
					}
				}()
				_, _ = billing.New(o).Submit(w.t.Context(), "aws")
			}()
			w.places("api_request", map[ledger.Place]string{ledger.Sent: "5"})
			w.send()
			w.identical()
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "5"})
			if len(w.v.sent) != 2 {
				w.t.Fatalf("sent %d times", len(w.v.sent))
			}
		},
		"an answer that comes after another run took over settles what it can": func(w *meterWorld) {
			w.use("api_request", "5", "", w.now)
			w.now = w.now.Add(time.Hour)
			w.seal()
			o := w.Options
			o.Vendors = map[marketplace.ID]billing.Submitter{"aws": overtaken{w.v, func() { w.send() }}}
			if _, err := billing.New(o).Submit(w.t.Context(), "aws"); err != nil {
				w.t.Fatal(err)
			}
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "5"})
			w.found()
		},
		"a record that another replica is sending is left alone": func(w *meterWorld) {
			w.use("api_request", "5", "", w.now)
			w.now = w.now.Add(time.Hour)
			w.seal()
			o, calling, answer, ended := w.Options, make(chan struct{}), make(chan struct{}), make(chan error)
			o.Vendors = map[marketplace.ID]billing.Submitter{"aws": overtaken{w.v, func() { close(calling); <-answer }}}
			first := true
			w.db.sendable = func(got []billing.Record) []billing.Record {
				if first { // between our list and our attempt
					first = false
					go func() { _, err := billing.New(o).Submit(context.Background(), "aws"); ended <- err }()
					<-calling
				}
				return got
			}
			w.ok(w.try())
			close(answer)
			w.ok(<-ended)
			if len(w.v.sent) != 1 {
				w.t.Fatalf("sent %d times", len(w.v.sent))
			}
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "5"})
		},
		"a send that stood still is not made": func(w *meterWorld) {
			w.use("api_request", "5", "", w.now)
			w.now = w.now.Add(time.Hour)
			w.seal()
			o, wall := w.Options, time.Now()
			o.Wall = func() time.Time { wall = wall.Add(time.Minute); return wall }
			if _, err := billing.New(o).Submit(w.t.Context(), "aws"); !fault.Is(err, fault.Unavailable) || w.v.call != 0 {
				w.t.Fatalf("%d calls, %v", w.v.call, err)
			}
			w.places("api_request", map[ledger.Place]string{ledger.Queued: "5"})
		},
	})
}

// dying records what is sent, and our process does not live to see the answer.
type dying struct{ *vendor }

func (d dying) Submit(ctx context.Context, batch []marketplace.Record) ([]marketplace.Receipt, error) {
	_, _ = d.vendor.Submit(ctx, batch)
	panic(died{})
}

// overtaken lets somebody else submit while the answer is on its way.
type overtaken struct {
	*vendor
	meanwhile func()
}

func (o overtaken) Submit(ctx context.Context, batch []marketplace.Record) ([]marketplace.Receipt, error) {
	got, err := o.vendor.Submit(ctx, batch)
	o.meanwhile()
	return got, err
}

// The attempt is stored before its call, so that a death in the call is seen.
func TestMeteringStoresTheAttemptFirst(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := metering(t, s)
		for range 4 {
			w.use("api_request", "2", "", w.now)
			w.now = w.now.Add(time.Hour)
			w.seal()
		}
		o := w.Options
		o.Vendors = map[marketplace.ID]billing.Submitter{"aws": recorded{w.v, w}}
		w.Service = billing.New(o)
		w.v.weather = nth(map[int]string{1: "throttle", 2: "lost", 3: "unprocessed"})
		w.send()
		w.places("api_request", map[ledger.Place]string{ledger.Accepted: "8"})
		w.identical()
	})
}

// recorded looks into the store before each call.
type recorded struct {
	*vendor
	w *meterWorld
}

func (r recorded) Submit(ctx context.Context, batch []marketplace.Record) ([]marketplace.Receipt, error) {
	all, err := r.w.Records(ctx, r.w.sub)
	if err != nil {
		return nil, err
	}
	open := map[string]bool{}
	for _, v := range all {
		open[v.Slot] = slices.ContainsFunc(v.Attempts, func(a billing.AttemptView) bool { return a.AnsweredAt.IsZero() })
	}
	for _, b := range batch {
		if !open[b.Key] {
			r.w.t.Errorf("slot %s is on its way, and no attempt says so", b.Key)
		}
	}
	return r.vendor.Submit(ctx, batch)
}
