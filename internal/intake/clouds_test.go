package intake_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/catalog"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/intake"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/store/storetest"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

const order = "order-1"

// market is a world whose marketplace is another one, with the shipped catalog.
type market struct {
	*world
	id      marketplace.ID
	arrives marketplace.Arrival
}

// door is the fake's wire with this market's arrivals.
type door struct {
	*fake
	m *market
}

func (d door) ID() marketplace.ID { return d.m.id }
func (d door) Resolve(context.Context, marketplace.Token) (marketplace.Arrival, error) {
	return d.m.arrives, nil
}

func eachAt(t *testing.T, id marketplace.ID, fn func(t *testing.T, m *market)) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		m := &market{world: w, id: id}
		log := slog.New(slog.DiscardHandler)
		w.subs = subscription.New(s, *catalog.Default(), w.clock, log)
		w.in = intake.New(s, w.subs, map[marketplace.ID]marketplace.Adapter{id: door{w.aws, m}}, w, w.clock, log)
		fn(t, m)
	})
}

func (m *market) delivery(x message) marketplace.Delivery {
	d := delivery(m.t, x)
	d.Marketplace = m.id
	return d
}

func (m *market) send(x message) error { return m.in.Accept(m.t.Context(), m.delivery(x)) }

func (m *market) mustSend(x message) {
	m.t.Helper()
	if err := m.send(x); err != nil {
		m.t.Fatal(err)
	}
}

func (m *market) find(purchase string) subscription.Subscription {
	m.t.Helper()
	s, ok, err := m.subs.Find(m.t.Context(), m.id, purchase)
	if err != nil || !ok {
		m.t.Fatalf("no subscription of %s: %v", purchase, err)
	}
	return s
}

// about is an event that names the purchase alone.
func about(kind marketplace.EventKind, minute int) marketplace.Event {
	e := event(kind, minute)
	e.Ref = marketplace.Ref{Purchase: order}
	return e
}

func truth(minute int, purchase string, o marketplace.Observation) marketplace.Event {
	e := event(marketplace.Observed, minute)
	e.Ref, e.Observed = marketplace.Ref{Purchase: purchase, Account: account, Product: "tailnet"}, &o
	e.Terms = &marketplace.Terms{Plan: "standard"}
	return e
}

// A push wraps its message anew every time; pull and push bring the same one.
func TestTheSameContentInAnotherEnvelopeIsACopy(t *testing.T) {
	eachAt(t, marketplace.GCP, func(t *testing.T, m *market) {
		x := message{ID: "m1", Events: []marketplace.Event{about(marketplace.Entitled, 1)}}
		for n := range 3 {
			x.Envelope = fmt.Sprint("sending ", n)
			m.mustSend(x)
		}
		if got, want := m.counts(), (intake.Counts{Received: 3, Duplicates: 2}); got != want {
			t.Errorf("counts %+v, want %+v", got, want)
		}
		x.Events[0].Kind = marketplace.Ended
		m.mustSend(x)
		if got := m.counts().Conflicts; got != 1 {
			t.Errorf("%d conflicts: another content under the same id was taken for a copy", got)
		}
	})
}

// Google's messages name an entitlement or an account, and the API tells the rest.
func TestGoogleNamesAnAccountOrAPurchase(t *testing.T) {
	eachAt(t, marketplace.GCP, func(t *testing.T, m *market) {
		goLive(t, m.world)
		active := event(marketplace.AccountChanged, 0)
		active.Ref = marketplace.Ref{Account: account}
		m.mustSend(message{ID: "account", Events: []marketplace.Event{active}})
		m.mustSend(message{ID: "created", Events: []marketplace.Event{about(marketplace.PurchaseSeen, 1)}})
		if got, want := m.marked(), "refresh gcp|account|"+account+"\nrefresh gcp|licence|"+order; got != want {
			t.Fatalf("marked %q, want %q", got, want)
		}
		bad := truth(1, "order-2", marketplace.Observation{Awaits: marketplace.Approve})
		bad.Ref.Product = "router"
		m.aws.set("", bad, truth(1, order, marketplace.Observation{Awaits: marketplace.Approve})) // what the account has
		m.clear()
		if again, err := m.in.Refresh(t.Context(), "gcp|account|"+account); err != nil || !again.IsZero() {
			t.Fatalf("again %s, %v", again, err)
		}
		m.find(order)
		if !strings.Contains(m.marked(), "refresh gcp|licence|order-2") {
			t.Errorf("the purchase that cannot be applied is not shown: %q", m.marked())
		}
		story, err := m.subs.Story(t.Context(), m.find(order).ID)
		if err != nil || len(story) == 0 || story[0].Kind != string(marketplace.PurchaseSeen) || story[0].Delivery == "" {
			t.Errorf("the message that came first is not in the story: %+v %v", story, err)
		}
		gone := active
		gone.Kind, gone.At, gone.Version = marketplace.AccountDeleted, t0.Add(time.Hour), t0.Add(time.Hour)
		m.mustSend(message{ID: "deleted", Events: []marketplace.Event{gone}})
		if got := m.find(order).EndsAt(); !got.Equal(gone.At) {
			t.Errorf("ends at %v, want %v", got, gone.At)
		}
		if q := m.quarantined(); len(q) != 0 {
			t.Errorf("quarantined %+v", q)
		}
	})
}

// At a marketplace whose messages are about purchases, one that names none waits
// for a person.
func TestAnAccountAloneSaysNothingElsewhere(t *testing.T) {
	eachAt(t, marketplace.Azure, func(t *testing.T, m *market) {
		e := event(marketplace.AccountDeleted, 0)
		e.Ref = marketplace.Ref{Account: account}
		m.mustSend(message{ID: "m1", Events: []marketplace.Event{e}})
		if q := m.quarantined(); len(q) != 1 {
			t.Errorf("quarantined %+v", q)
		}
	})
}

// Microsoft reads a 4xx as our no, so no answer but a decided no may be one.
func TestAChangeIsAnsweredWithItsMessage(t *testing.T) {
	eachAt(t, marketplace.Azure, func(t *testing.T, m *market) {
		goLive(t, m.world)
		m.aws.set(order, truth(1, order, marketplace.Observation{Entitled: true}))
		if _, err := m.in.Refresh(t.Context(), "azure|licence|"+order); err != nil {
			t.Fatal(err)
		}
		ask := func(id, plan string) message {
			e := about(marketplace.ChangeRequested, 5)
			e.Ref.Product, e.Terms, e.MessageID = "tailnet", &marketplace.Terms{Plan: plan}, id
			return message{ID: id, Events: []marketplace.Event{e}}
		}
		if err := m.send(ask("op-1", "premium")); err != nil {
			t.Errorf("a change to a plan we have: %v", err)
		}
		for range 2 { // our answer was lost; it is sent again and gets the same
			if err := m.send(ask("op-2", "gold")); !fault.Is(err, fault.Refused) || !strings.Contains(err.Error(), "gold") {
				t.Errorf("a change to a plan we do not have: %v", err)
			}
		}
		if got, want := m.counts(), (intake.Counts{Received: 3, Duplicates: 1}); got != want {
			t.Errorf("counts %+v, want %+v: what is refused is kept too", got, want)
		}
		if !strings.Contains(m.marked(), "decide "+string(m.find(order).ID)) {
			t.Errorf("nothing is told: %q", m.marked())
		}
		// A purchase that is not known is asked about, and its change judged by the message.
		unknown := ask("op-3", "gold")
		unknown.Events[0].Ref.Purchase = "order-9"
		for range 2 {
			if err := m.send(unknown); !fault.Is(err, fault.Refused) {
				t.Errorf("an unknown purchase: %v", err)
			}
		}
		for _, class := range []fault.Class{fault.Conflict, fault.Throttled, fault.Gone, fault.NotFound, fault.Refused, fault.Invalid, fault.Unsure, fault.Unavailable, ""} {
			m.aws.broken = fault.New(class, "trouble")
			if err := m.send(ask("op-4", "premium")); !fault.Is(err, fault.Unavailable) && !fault.Is(err, fault.Unsure) {
				t.Errorf("trouble of class %q leaves as %v, which a sender may take for an answer", class, err)
			}
		}
	})
}

func TestAConflictOfOursIsNoAnswer(t *testing.T) {
	eachAt(t, marketplace.Azure, func(t *testing.T, m *market) {
		m.in = intake.New(breaking{m.s}, m.subs, map[marketplace.ID]marketplace.Adapter{m.id: door{m.aws, m}}, m.world, m.clock, slog.New(slog.DiscardHandler))
		if err := m.send(message{ID: "m1", Events: []marketplace.Event{about(marketplace.Entitled, 1)}}); !fault.Is(err, fault.Unavailable) {
			t.Errorf("leaves as %v", err)
		}
	})
}

// breaking is a store in which somebody else is always faster.
type breaking struct{ *store.Store }

func (breaking) IntakeTx(context.Context, func(context.Context, intake.Tx) error) error {
	return fault.New(fault.Conflict, "changed meanwhile")
}

// A buyer with several purchases is led to one that nobody holds.
func TestArrivingWithSeveralPurchases(t *testing.T) {
	eachAt(t, marketplace.GCP, func(t *testing.T, m *market) {
		m.arrives = marketplace.Arrival{Account: account, Person: "p-1"}
		if _, err := m.in.Arrive(t.Context(), m.id, marketplace.Token{Value: "x"}); !fault.Is(err, fault.Unavailable) {
			t.Fatalf("no purchase yet: %v", err)
		}
		m.arrives.Purchases = []marketplace.Ref{{Purchase: order, Product: "tailnet"}, {Purchase: "order-2", Product: "tailnet"}}
		arrive := func() string {
			token, err := m.in.Arrive(t.Context(), m.id, marketplace.Token{Value: "x"})
			if err != nil {
				t.Fatal(err)
			}
			return token
		}
		first := arrive()
		if v, err := m.subs.Visit(t.Context(), first); err != nil || v.Subscription.Purchase != order || v.Known {
			t.Fatalf("visit %+v %v", v, err)
		}
		if _, err := m.confirm(first, "jane@example.com"); err != nil {
			t.Fatal(err)
		}
		// Who holds one holds both; the next order is hers from the start.
		for _, purchase := range []string{order, "order-2"} {
			if m.find(purchase).Facts.ClaimedAt.IsZero() {
				t.Errorf("nobody holds %s", purchase)
			}
		}
		v, err := m.subs.Visit(t.Context(), arrive())
		if err != nil || !v.Known {
			t.Errorf("Google sends her again, and she is not known: %+v %v", v, err)
		}
	})
}
