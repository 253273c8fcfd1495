package store_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/billing/ledger"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/money"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/store/storetest"
)

// ruling is ann's word about a record as it stands, at the quantity frozen.
func (w *meterWorld) ruling(rec id.Record, word ledger.Answer, why string) billing.Ruling {
	w.t.Helper()
	x := billing.Ruling{Word: word, Actor: "ann", Why: why, Evidence: "report line 7"}
	all, err := w.Records(w.t.Context(), w.sub)
	w.ok(err)
	for _, r := range all {
		if r.ID == rec {
			if x.Seen = len(r.Attempts); word == ledger.RuledThere {
				x.Quantity = r.Quantity
			}
			return x
		}
	}
	w.t.Fatalf("there is no record %s", rec)
	return x
}

func (w *meterWorld) rule(rec id.Record, word ledger.Answer, why string) error {
	w.t.Helper()
	_, err := w.Rule(w.t.Context(), rec, w.ruling(rec, word, why))
	return err
}

// rules takes a word; the ledger adds up right after it.
func (w *meterWorld) rules(rec id.Record, word ledger.Answer, why string) {
	w.t.Helper()
	w.ok(w.rule(rec, word, why))
	w.row("api_request")
}

// doubt is the only record in doubt.
func (w *meterWorld) doubt() billing.Doubt {
	w.t.Helper()
	got, err := w.Doubts(w.t.Context(), "", "", 10)
	w.ok(err)
	if len(got) != 1 {
		w.t.Fatalf("%d records are in doubt: %+v", len(got), got)
	}
	return got[0]
}

// late leaves five requests of the first hour unsure, after the window. The
// marketplace has them, or not.
func (w *meterWorld) late(has bool) billing.Doubt {
	w.t.Helper()
	w.v.weather = nth(map[int]string{1: "lost"})
	w.use("api_request", "5", "", w.now)
	at := w.now
	w.now = w.now.Add(time.Hour)
	w.seal()
	_ = w.try()
	if !has {
		delete(w.v.slots, slotOf(w.sub, "api_request", at))
	}
	w.now = w.now.Add(25 * time.Hour)
	w.v.takes = func(r marketplace.Record) marketplace.Receipt { // AWS's window
		if _, taken := w.v.slots[r.Key]; !taken && w.now.Sub(r.From) > 24*time.Hour {
			return marketplace.Receipt{Outcome: marketplace.OutcomeExpired}
		} else if taken {
			return marketplace.Receipt{Outcome: marketplace.OutcomeDuplicate}
		}
		w.v.slots[r.Key] = r.Quantity
		return marketplace.Receipt{Outcome: marketplace.OutcomeAccepted}
	}
	w.send()
	w.found(billing.FindUnsureTooLate)
	return w.doubt()
}

func (w *meterWorld) onBill(want string) {
	w.t.Helper()
	sum := int64(0)
	for _, q := range w.billed("api_request") {
		n, err := money.Parse(q, 0)
		w.ok(err)
		sum += n
	}
	if got := money.Format(sum, 0); got != want {
		w.t.Fatalf("the marketplace bills %s, want %s: %v", got, want, w.v.slots)
	}
}

func TestRulings(t *testing.T) {
	t.Parallel()
	stories(t, map[string]func(w *meterWorld){
		"a doubt says what it is worth and what may be said": func(w *meterWorld) {
			d := w.late(true)
			if d.Quantity != "5" || d.Subscription != w.sub || d.Marketplace != "aws" || !d.Late || d.Forgets || d.Foreign || !slices.Equal(d.Words, []ledger.Answer{ledger.RuledThere, ledger.RuledGone}) || len(d.Attempts) != 1 {
				w.t.Fatalf("%+v", d)
			}
			if got, err := w.Doubts(w.t.Context(), "", d.ID, 10); err != nil || len(got) != 0 {
				w.t.Fatalf("after the last one: %+v %v", got, err)
			}
			if got, err := w.Doubts(w.t.Context(), id.NewSubscription(), "", 10); err != nil || len(got) != 0 {
				w.t.Fatalf("of another purchase: %+v %v", got, err)
			}
		},
		"the marketplace has it: it is billed once, and who said so is kept": func(w *meterWorld) {
			d := w.late(true)
			w.rules(d.ID, ledger.RuledThere, "it is in the usage feed")
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "5"})
			w.found() // the ruling settles what was found
			all, err := w.Findings(w.t.Context(), false)
			if w.ok(err); len(all) != 1 || all[0].ClosedBy != "ann" || all[0].ClosedWhy != "it is in the usage feed (report line 7)" {
				w.t.Fatalf("%+v", all)
			}
			word := w.record("api_request", d.Hour).Attempts[1]
			if word.Detail != "ann: it is in the usage feed" || word.Receipt != "report line 7" || !word.AnsweredAt.Equal(w.now) || word.Call != "" {
				w.t.Fatalf("%+v", word)
			}
			w.now = w.now.Add(time.Hour)
			w.seal()
			w.sendsNothing(nil)
			w.onBill("5")
		},
		"the marketplace has less: the rest is billed in a later hour": func(w *meterWorld) {
			d := w.late(true)
			w.v.slots[d.Slot] = "3"
			x := w.ruling(d.ID, ledger.RuledThere, "the report shows 3")
			x.Quantity = "3"
			if _, err := w.Rule(w.t.Context(), d.ID, x); err != nil {
				w.t.Fatal(err)
			}
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "3", ledger.Open: "2"})
			w.found(billing.FindOtherQuantity)
			w.hours(1)
			w.send()
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "5"})
			w.onBill("5")
		},
		"the marketplace has nothing: it is too late for this hour, and billed in a later one, once": func(w *meterWorld) {
			d := w.late(false)
			w.rules(d.ID, ledger.RuledGone, "the usage feed has no such line")
			w.places("api_request", map[ledger.Place]string{ledger.Queued: "5"})
			w.send()
			w.identical()
			w.places("api_request", map[ledger.Place]string{ledger.Open: "5"})
			w.hours(1)
			w.send()
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "5"})
			w.onBill("5")
			w.found(billing.FindRuledUnrecorded) // until finance has compared
		},
		"a wrong word while the slot remembers bills nothing twice, and the doubt is back": func(w *meterWorld) {
			d := w.late(true)
			w.rules(d.ID, ledger.RuledGone, "I cannot find it")
			w.send()
			w.places("api_request", map[ledger.Place]string{ledger.Unsure: "5"})
			w.onBill("5")
			w.found(billing.FindRuledUnrecorded, billing.FindUnexplainedDuplicate)
			if again := w.doubt(); !again.Foreign || len(again.Words) != 2 {
				w.t.Fatalf("%+v", again)
			}
			w.rules(d.ID, ledger.RuledThere, "I found it: the slot is ours")
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "5"})
			w.found(billing.FindRuledUnrecorded)
		},
		"a wrong word after the slot forgot is never silent": func(w *meterWorld) {
			d := w.late(true)
			w.v.takes = func(r marketplace.Record) marketplace.Receipt {
				if r.Key == d.Slot {
					return marketplace.Receipt{Outcome: marketplace.OutcomeExpired}
				}
				w.v.slots[r.Key] = r.Quantity
				return marketplace.Receipt{Outcome: marketplace.OutcomeAccepted}
			}
			w.rules(d.ID, ledger.RuledGone, "wrong")
			w.send()
			w.hours(1)
			w.send()
			w.onBill("10")
			w.found(billing.FindRuledUnrecorded)
		},
		"a refused record is released, refused again, and found again": func(w *meterWorld) {
			at := w.now
			w.use("api_request", "5", "", w.now)
			w.v.bad, w.v.single = slotOf(w.sub, "api_request", w.now), marketplace.OutcomeInvalid
			w.now = w.now.Add(time.Hour)
			w.seal()
			w.send()
			rec := w.record("api_request", at).ID
			if d := w.doubt(); !slices.Equal(d.Words, []ledger.Answer{ledger.Released}) || d.Late {
				w.t.Fatalf("%+v", d)
			}
			for range 2 {
				w.found(billing.FindHeld)
				w.rules(rec, ledger.Released, "mended")
				w.found()
				w.places("api_request", map[ledger.Place]string{ledger.Queued: "5"})
				w.send()
			}
			w.found(billing.FindHeld)
		},
		"what goes on by itself is nobody's to rule": func(w *meterWorld) {
			w.v.weather = nth(map[int]string{1: "lost"})
			w.use("api_request", "5", "", w.now)
			w.now = w.now.Add(time.Hour)
			w.seal()
			_ = w.try()
			d := w.doubt()
			if len(d.Words) != 0 {
				w.t.Fatalf("%+v", d)
			}
			for _, word := range []ledger.Answer{ledger.RuledThere, ledger.RuledGone, ledger.Released} {
				if err := w.rule(d.ID, word, "I am impatient"); !fault.Is(err, fault.Conflict) {
					w.t.Fatalf("%s: %v", word, err)
				}
			}
			w.places("api_request", map[ledger.Place]string{ledger.Unsure: "5"})
		},
		"a word that lacks something is refused": func(w *meterWorld) {
			d := w.late(true)
			good := w.ruling(d.ID, ledger.RuledThere, "it is there")
			for name, change := range map[string]func(*billing.Ruling){
				"no name": func(x *billing.Ruling) { x.Actor = "" }, "no reason": func(x *billing.Ruling) { x.Why = "" }, "no evidence": func(x *billing.Ruling) { x.Evidence = "" },
				"no quantity": func(x *billing.Ruling) { x.Quantity = "" }, "below zero": func(x *billing.Ruling) { x.Quantity = "-1" }, "too fine": func(x *billing.Ruling) { x.Quantity = "0.05" },
				"no word": func(x *billing.Ruling) { x.Word = ledger.TookIt }, "too long": func(x *billing.Ruling) { x.Why = strings.Repeat("x", 501) }, "no text": func(x *billing.Ruling) { x.Evidence = "a\x00b" },
			} {
				x := good
				change(&x)
				if _, err := w.Rule(w.t.Context(), d.ID, x); !fault.Is(err, fault.Invalid) {
					w.t.Errorf("%s: %v", name, err)
				}
			}
			if _, err := w.Rule(w.t.Context(), "rec_nobody", good); !fault.Is(err, fault.NotFound) {
				w.t.Errorf("a record that is not there: %v", err)
			}
			w.places("api_request", map[ledger.Place]string{ledger.Unsure: "5"})
		},
		"pressed twice: once": func(w *meterWorld) {
			d := w.late(false)
			x := w.ruling(d.ID, ledger.RuledGone, "not there")
			for range 3 {
				if _, err := w.Rule(w.t.Context(), d.ID, x); err != nil {
					w.t.Fatal(err)
				}
			}
			if n := len(w.record("api_request", d.Hour).Attempts); n != 2 {
				w.t.Fatalf("%d attempts", n)
			}
			w.send()
			if _, err := w.Rule(w.t.Context(), d.ID, x); err != nil { // much later, from an old page
				w.t.Fatal(err)
			}
			w.places("api_request", map[ledger.Place]string{ledger.Open: "5"})
		},
		"an old page does not rule on a new doubt": func(w *meterWorld) {
			d := w.late(true)
			old := w.ruling(d.ID, ledger.RuledThere, "from yesterday's page")
			w.rules(d.ID, ledger.RuledGone, "not there")
			w.send() // the slot is taken: in doubt again
			if _, err := w.Rule(w.t.Context(), d.ID, old); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "ann: not there") {
				w.t.Fatalf("an old page rules: %v", err)
			}
			w.places("api_request", map[ledger.Place]string{ledger.Unsure: "5"})
		},
		"two at once: one wins, and the other is told": func(w *meterWorld) {
			d := w.late(true)
			there, gone := w.ruling(d.ID, ledger.RuledThere, "it is there"), w.ruling(d.ID, ledger.RuledGone, "it is not")
			gone.Actor = "bob"
			var errs [2]error
			var both sync.WaitGroup
			for i, x := range []billing.Ruling{there, gone} {
				both.Go(func() { _, errs[i] = w.Rule(w.t.Context(), d.ID, x) })
			}
			both.Wait()
			won, lost := 0, 1
			if errs[0] != nil {
				won, lost = 1, 0
			}
			if errs[won] != nil || !fault.Is(errs[lost], fault.Conflict) || !strings.Contains(errs[lost].Error(), []string{"ann: ", "bob: "}[won]) {
				w.t.Fatalf("%v", errs)
			}
			w.places("api_request", map[ledger.Place]string{[]ledger.Place{ledger.Accepted, ledger.Queued}[won]: "5"})
		},
	})
}

// A process that stood still brings an answer that a person has ruled out meanwhile.
func TestALateAnswerAgainstARulingIsFound(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := selling(t, s, marketplace.GCP, -1) // a Google that forgets
		w.forgets = true
		at := w.now
		w.use("api_request", "5", "", w.now)
		w.passes(1)
		o := w.Options
		o.Vendors = map[marketplace.ID]billing.Submitter{w.m: overtaken{w.v, func() {
			w.send() // another run takes over, and parks it
			rec := w.record("api_request", at).ID
			w.found(billing.FindUnsureNotRepeated)
			w.rules(rec, ledger.RuledGone, "nothing in the report")
			w.send()
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "5"})
			w.charged("api_request", "10")
		}}}
		if _, err := billing.New(o).Submit(t.Context(), string(w.m)); err != nil {
			t.Fatal(err)
		}
		w.found(billing.FindRuledUnrecorded, billing.FindContradiction)
		w.places("api_request", map[ledger.Place]string{ledger.Accepted: "5"})
	})
}
