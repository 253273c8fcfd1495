package intake_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/intake"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/store/storetest"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

func each(t *testing.T, fn func(t *testing.T, w *world)) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) { fn(t, newWorld(t, s)) })
}

func goLive(t *testing.T, w *world) {
	t.Helper()
	if err := w.subs.GoLive(t.Context(), "tailnet", clock.HourOf(t0), "ops"); err != nil {
		t.Fatal(err)
	}
}

func TestADeliveryIsAppliedOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		goLive(t, w)
		m := message{ID: "m1", Events: []marketplace.Event{event(marketplace.Entitled, 1)}}
		for range 3 {
			w.accept(m)
		}
		want := intake.Counts{Received: 3, Duplicates: 2}
		if got := w.counts(); got != want {
			t.Errorf("counts %+v, want %+v", got, want)
		}
		sub := w.sub(license)
		if got := sub.State(w.clock().Add(time.Hour)); got != subscription.StateAwaitingBuyer {
			t.Errorf("state %s", got)
		}
		story, err := w.subs.Story(t.Context(), sub.ID)
		if err != nil {
			t.Fatal(err)
		}
		lines := 0
		for _, l := range story {
			if l.Delivery != "" {
				lines++
			}
		}
		if lines != 1 {
			t.Errorf("%d lines of the story come from deliveries, want 1", lines)
		}
		if got := w.marked(); got != "refresh aws|licence|"+license {
			t.Errorf("marked %q", got)
		}
	})
}

func TestTwoAcceptsOfOneMessageAtOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		d := delivery(t, message{ID: "m1", Events: []marketplace.Event{event(marketplace.Entitled, 1)}})
		var wg sync.WaitGroup
		errs := make([]error, 6)
		for i := range errs {
			wg.Go(func() { errs[i] = w.in.Accept(t.Context(), d) })
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		if got, want := w.counts(), (intake.Counts{Received: 6, Duplicates: 5}); got != want {
			t.Errorf("counts %+v, want %+v", got, want)
		}
		all, err := w.subs.List(t.Context(), subscription.Filter{})
		if err != nil || len(all) != 1 {
			t.Errorf("%d subscriptions: %v", len(all), err)
		}
	})
}

func TestACommitThatFailsLeavesNothing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.fail = true
		d := delivery(t, message{ID: "m1", Events: []marketplace.Event{event(marketplace.Entitled, 1)}})
		if err := w.in.Accept(t.Context(), d); !errors.Is(err, errPlanted) {
			t.Fatalf("accepted: %v", err)
		}
		if _, err := w.in.Arrive(t.Context(), marketplace.AWS, marketplace.Token{Value: "good"}); !errors.Is(err, errPlanted) {
			t.Fatalf("arrived: %v", err)
		}
		if got := w.counts(); got != (intake.Counts{}) {
			t.Errorf("counts %+v", got)
		}
		if all, err := w.subs.List(t.Context(), subscription.Filter{}); err != nil || len(all) != 0 {
			t.Errorf("%d subscriptions, %v", len(all), err)
		}
		if got := w.marked(); got != "" {
			t.Errorf("marked %q", got)
		}
		w.fail = false
		if err := w.in.Accept(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		w.sub(license)
	})
}

func TestAnotherBodyUnderAKnownIDIsNotBelieved(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.accept(message{ID: "m1", Events: []marketplace.Event{event(marketplace.Entitled, 1)}})
		w.clear()
		forged := message{ID: "m1", Events: []marketplace.Event{event(marketplace.Ended, 2)}}
		w.accept(forged)
		w.accept(forged)
		if got := w.sub(license).EndsAt(); !got.IsZero() {
			t.Errorf("the second body ended the purchase at %s", got)
		}
		if got := w.marked(); got != "refresh aws|licence|"+license {
			t.Errorf("the marketplace is not asked: %q", got)
		}
		if got, want := w.counts(), (intake.Counts{Received: 3, Duplicates: 1, Conflicts: 1}); got != want {
			t.Errorf("counts %+v, want %+v", got, want)
		}
		conflicts, err := w.in.Conflicts(t.Context(), "", 10)
		if err != nil || len(conflicts) != 1 || conflicts[0].Reason == "" {
			t.Fatalf("conflicts %+v %v", conflicts, err)
		}
		if err := w.in.Replay(t.Context(), conflicts[0].ID, "ops"); !fault.Is(err, fault.Refused) {
			t.Errorf("a conflict was replayed: %v", err)
		}
	})
}

func TestForgedIsCountedAndNotKept(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		d := delivery(t, message{ID: "m1", Events: []marketplace.Event{event(marketplace.Entitled, 1)}})
		d.Channel, d.Header = marketplace.HTTPS, map[string]string{"x-api-key": "wrong"}
		if err := w.in.Accept(t.Context(), d); !fault.Is(err, fault.Forged) {
			t.Fatalf("want forged, got %v", err)
		}
		if w.forged != 1 || w.counts() != (intake.Counts{}) {
			t.Errorf("forged %d, counts %+v", w.forged, w.counts())
		}
		w.aws.broken = errors.New("dial tcp: refused")
		if err := w.in.Accept(t.Context(), d); !fault.Is(err, fault.Unavailable) {
			t.Errorf("a check that could not be made must be sent again: %v", err)
		}
	})
}

func TestQuarantineAndReplay(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.accept(message{ID: "m1", Unreadable: "an event type we do not know; update tailmarket", Events: []marketplace.Event{event(marketplace.Entitled, 1)}})
		unknown := event(marketplace.Entitled, 1)
		unknown.Ref.Product = "router"
		w.accept(message{ID: "m2", Events: []marketplace.Event{unknown}})
		w.aws.broken = fault.New(fault.Denied, "the message is from a queue source that is not ours")
		w.accept(message{ID: "m3"})
		w.accept(message{ID: "m3"})
		w.aws.broken = nil
		waiting := w.quarantined()
		if len(waiting) != 3 || w.counts() != (intake.Counts{Received: 4, Duplicates: 1, Quarantined: 3}) {
			t.Fatalf("quarantine %+v, counts %+v", waiting, w.counts())
		}
		first := waiting[2]
		if first.Reason != "an event type we do not know; update tailmarket" {
			t.Errorf("reason %q", first.Reason)
		}
		if err := w.in.Replay(t.Context(), first.ID, "ops"); !fault.Is(err, fault.Refused) || !strings.Contains(err.Error(), "do not know") {
			t.Fatalf("replayed what still cannot be read: %v", err)
		}
		w.aws.set("adapter updated", marketplace.Event{Kind: marketplace.Noted})
		for range 2 {
			if err := w.in.Replay(t.Context(), first.ID, "ops"); err != nil {
				t.Fatal(err)
			}
		}
		w.sub(license)
		if got := len(w.quarantined()); got != 2 {
			t.Errorf("%d still wait, want 2", got)
		}
		trail, err := w.subs.Audit(t.Context(), 0, 10)
		if err != nil || len(trail) != 1 || trail[0].Action != "delivery.replay" {
			t.Fatalf("audit %+v %v", trail, err)
		}
	})
}

func TestAnAgreementIsNeverGuessed(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		goLive(t, w)
		w.accept(message{ID: "m1", Events: []marketplace.Event{agreementOnly(marketplace.Ended, 9, agreement)}})
		if got := w.marked(); got != "refresh aws|agreement|"+agreement {
			t.Fatalf("marked %q", got)
		}
		if all, err := w.subs.List(t.Context(), subscription.Filter{}); err != nil || len(all) != 0 {
			t.Fatalf("%d subscriptions were guessed: %v", len(all), err)
		}
		w.accept(message{ID: "m2", Events: []marketplace.Event{event(marketplace.Entitled, 1)}})
		sub := w.sub(license)
		if got, want := sub.EndsAt(), t0.Add(9*time.Minute); !got.Equal(want) {
			t.Errorf("the waiting end was not applied: ends at %v", got)
		}
		if !strings.Contains(w.marked(), "close "+string(sub.ID)) {
			t.Errorf("marked %q", w.marked())
		}
	})
}

func TestBothOrdersProvision(t *testing.T) {
	for _, claimFirst := range []bool{true, false} {
		t.Run(fmt.Sprint("claim first ", claimFirst), func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				goLive(t, w)
				entitle := func() {
					w.accept(message{ID: "m1", Events: []marketplace.Event{event(marketplace.Entitled, 0)}})
				}
				if !claimFirst {
					entitle()
				}
				got, err := w.confirm(w.arrive(), "jane@example.com")
				if err != nil || got.State != subscription.ClaimHolder {
					t.Fatalf("confirm: %+v %v", got, err)
				}
				if claimFirst {
					if state := w.sub(license).State(w.clock()); state != subscription.StateAwaitingMarketplace {
						t.Errorf("state %s before the marketplace spoke", state)
					}
					entitle()
				}
				if want := "provision " + string(got.Subscription); !strings.Contains(w.marked(), want) {
					t.Errorf("marked %q, want %q", w.marked(), want)
				}
			})
		})
	}
}

func TestObserveHoldsEverythingBack(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.accept(message{ID: "m1", Events: []marketplace.Event{event(marketplace.Entitled, 0)}})
		got, err := w.confirm(w.arrive(), "jane@example.com")
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(w.marked(), "provision") {
			t.Fatal("provisioned while the product observes")
		}
		st, err := w.subs.Status(t.Context(), got.Subscription)
		if err != nil || st.State != subscription.StateProvisioning || st.Act != subscription.Us || st.Reason == "" {
			t.Errorf("status %+v %v", st, err)
		}
		for range 2 {
			goLive(t, w)
		}
		if want := "provision " + string(got.Subscription); !strings.Contains(w.marked(), want) {
			t.Errorf("marked %q, want %q", w.marked(), want)
		}
		if err := w.subs.GoLive(t.Context(), "tailnet", clock.HourOf(t0).Next(), "ops"); !fault.Is(err, fault.Refused) {
			t.Errorf("the cut-over moved: %v", err)
		}
		if sub := w.sub(license); !sub.CutOver.Equal(clock.HourOf(t0)) {
			t.Errorf("cut-over %s", sub.CutOver)
		}
	})
}

func TestABadTokenKeepsNothing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for value, class := range map[string]fault.Class{"bad": fault.Invalid, "old": fault.Gone} {
			if _, err := w.in.Arrive(t.Context(), marketplace.AWS, marketplace.Token{Value: value}); !fault.Is(err, class) {
				t.Errorf("%s token: %v", value, err)
			}
		}
		for _, table := range []string{"customers", "subscriptions", "claims", "deliveries", "due"} {
			var n int
			if err := w.s.DB().QueryRowContext(t.Context(), "SELECT COUNT(*) FROM "+table).Scan(&n); err != nil || n != 0 {
				t.Errorf("%d rows in %s: %v", n, table, err)
			}
		}
	})
}

func TestRefreshAsksAndOlderAnswersAreIgnored(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.accept(message{ID: "m1", Events: []marketplace.Event{event(marketplace.Entitled, 1), event(marketplace.Ended, 9)}})
		old := event(marketplace.Observed, 3)
		old.Observed = &marketplace.Observation{Entitled: true}
		w.aws.set(license, old)
		if _, err := w.in.Refresh(t.Context(), "aws|licence|"+license); err != nil {
			t.Fatal(err)
		}
		if w.sub(license).EndsAt().IsZero() {
			t.Error("an older answer revived the purchase")
		}
		truth := event(marketplace.Observed, 10)
		truth.Observed = &marketplace.Observation{Ended: true, EndsAt: t0.Add(8 * time.Minute)}
		w.aws.set(license, truth)
		if _, err := w.in.Refresh(t.Context(), "aws|licence|"+license); err != nil {
			t.Fatal(err)
		}
		if got, want := w.sub(license).EndsAt(), t0.Add(8*time.Minute); !got.Equal(want) {
			t.Errorf("ends at %v, want %v", got, want)
		}
	})
}

func TestRefreshAsksAgainWhileABuyerWaits(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		if _, err := w.confirm(w.arrive(), "jane@example.com"); err != nil {
			t.Fatal(err)
		}
		again, err := w.in.Refresh(t.Context(), "aws|licence|"+license)
		if err != nil || !again.After(w.clock()) {
			t.Fatalf("again %v, %v", again, err)
		}
		w.wait(2 * time.Hour)
		if again, err = w.in.Refresh(t.Context(), "aws|licence|"+license); err != nil || !again.IsZero() {
			t.Fatalf("still asking: %v, %v", again, err)
		}
	})
}

// What no database can keep waits for a person, or is passed over by the sweep;
// it is not tried again for ever.
func TestNamesThatCannotBeKept(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for i, spoil := range []func(*marketplace.Event){
			func(e *marketplace.Event) { e.Ref.Purchase = strings.Repeat("l", 256) }, func(e *marketplace.Event) { e.Ref.Agreement = "a\x00b" },
			func(e *marketplace.Event) { e.Replaces = strings.Repeat("l", 256) }, func(e *marketplace.Event) { e.Terms = &marketplace.Terms{Offer: "\x00"} },
		} {
			e := event(marketplace.Entitled, 1)
			spoil(&e)
			w.accept(message{ID: fmt.Sprint("m", i), Events: []marketplace.Event{e}})
			if q := w.quarantined(); len(q) != i+1 || !strings.Contains(q[0].Reason, "operator") {
				t.Fatalf("in quarantine %+v", q)
			}
			e.Kind, e.Observed = marketplace.Observed, &marketplace.Observation{Entitled: true}
			w.aws.set(fmt.Sprint("bad", i), e)
		}
		good := event(marketplace.Observed, 1)
		good.Observed = &marketplace.Observation{Entitled: true}
		w.aws.set(license, good)
		if _, err := w.in.Sweep(t.Context(), marketplace.AWS, 15*time.Minute); err != nil {
			t.Fatal(err)
		}
		w.sub(license)
	})
}

func TestARenewalWithANewLicenceKeepsTheNetwork(t *testing.T) {
	const license2, agreement2 = license + "-2", "agmt-2"
	next := event(marketplace.Entitled, 32)
	next.Ref.Purchase, next.Ref.Agreement = license2, agreement2
	created := agreementOnly(marketplace.PurchaseSeen, 30, agreement2)
	created.Replaces = agreement
	renewed := agreementOnly(marketplace.Ended, 30, agreement)
	renewed.Reason = "RENEWED"
	deprovisioned := event(marketplace.Ending, 31)
	messages := []message{
		{ID: "created", Events: []marketplace.Event{created}},
		{ID: "ended", Events: []marketplace.Event{renewed}},
		{ID: "deprovisioned", Events: []marketplace.Event{deprovisioned}},
		{ID: "licence", Events: []marketplace.Event{next}},
	}
	for name, order := range map[string][]int{"in order": {0, 1, 2, 3}, "reversed": {3, 2, 1, 0}, "the link last": {3, 1, 2, 0}} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				goLive(t, w)
				w.accept(message{ID: "m1", Events: []marketplace.Event{event(marketplace.Entitled, 0)}})
				got, err := w.confirm(w.arrive(), "jane@example.com")
				if err != nil {
					t.Fatal(err)
				}
				if err := w.subs.Record(t.Context(), got.Subscription, subscription.Fact{Kind: subscription.FactReady}); err != nil {
					t.Fatal(err)
				}
				w.clear()
				w.wait(time.Hour)
				for _, i := range order {
					w.accept(messages[i])
				}
				old, fresh := w.sub(license), w.sub(license2)
				if fresh.Lineage != old.ID || fresh.Predecessor != old.ID || fresh.TailnetOf != old.ID || fresh.TailnetName != old.TailnetName {
					t.Errorf("successor %+v", fresh)
				}
				if got := fresh.State(w.clock()); got != subscription.StateProvisioning {
					t.Errorf("the successor is %s", got)
				}
				if got := old.Access(w.clock()); got != subscription.AccessKeep || old.Facts.Replaced.By != string(fresh.ID) {
					t.Errorf("the old purchase's network: %s, replaced %+v", got, old.Facts.Replaced)
				}
				for _, want := range []string{"provision " + string(fresh.ID), "close " + string(old.ID)} {
					if !strings.Contains(w.marked(), want) {
						t.Errorf("marked %q, want %q", w.marked(), want)
					}
				}
			})
		})
	}
}

// The message that names the previous agreement was lost for good; the API tells
// only that the old one was renewed and that there is a new one.
func TestARenewalFoundByTheSweepAlone(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		goLive(t, w)
		w.accept(message{ID: "m1", Events: []marketplace.Event{event(marketplace.Entitled, 0)}})
		got, err := w.confirm(w.arrive(), "jane@example.com")
		if err != nil {
			t.Fatal(err)
		}
		if err := w.subs.Record(t.Context(), got.Subscription, subscription.Fact{Kind: subscription.FactReady}); err != nil {
			t.Fatal(err)
		}
		w.wait(2 * time.Hour)
		next, old := event(marketplace.Observed, 62), event(marketplace.Observed, 61)
		next.Ref.Purchase, next.Ref.Agreement, next.Observed = license+"-2", "agmt-2", &marketplace.Observation{Entitled: true, StartsAt: t0.Add(time.Hour)}
		old.Reason, old.Observed = "RENEWED", &marketplace.Observation{Ended: true, EndsAt: t0.Add(time.Hour)}
		for range 2 { // whichever the marketplace lists first, the second sweep has both
			w.aws.set(license, old)
			w.aws.set(license+"-2", next)
			if _, err := w.in.Sweep(t.Context(), marketplace.AWS, 15*time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		first, second := w.sub(license), w.sub(license+"-2")
		if second.TailnetOf != first.ID || second.Lineage != first.ID || second.State(w.clock()) != subscription.StateProvisioning {
			t.Errorf("successor %+v", second)
		}
		if first.Access(w.clock()) != subscription.AccessKeep {
			t.Errorf("access of the old purchase: %s", first.Access(w.clock()))
		}
	})
}

func TestSecretsAreInNeitherLogNorDatabase(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		goLive(t, w)
		d := delivery(t, message{ID: "m1", Events: []marketplace.Event{event(marketplace.Entitled, 0)}})
		d.Channel, d.Header = marketplace.HTTPS, map[string]string{"x-api-key": "right"}
		if err := w.in.Accept(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		w.accept(message{ID: "m2", Unreadable: "no"})
		token := w.arrive()
		if _, err := w.confirm(token, "jane.secret@example.com"); err != nil {
			t.Fatal(err)
		}
		link, _ := w.mail()
		secrets := []string{token, link, "jane.secret", "Unreadable\":\"no", "right"}
		for _, s := range secrets {
			if strings.Contains(w.log.String(), s) {
				t.Errorf("%q is in the log", s)
			}
		}
		for _, column := range []string{"deliveries.body", "claims.email", "claims.email_hash", "claims.token_hash", "claim_mails.email", "claim_mails.token_hash", "subscription_events.body"} {
			table, name, _ := strings.Cut(column, ".")
			rows, err := w.s.DB().QueryContext(t.Context(), "SELECT "+name+" FROM "+table)
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for rows.Next() {
				var b []byte
				if err := rows.Scan(&b); err != nil {
					t.Fatal(err)
				}
				n++
				for _, s := range secrets {
					if strings.Contains(string(b), s) {
						t.Errorf("%q is in %s", s, column)
					}
				}
			}
			if err := errors.Join(rows.Err(), rows.Close()); err != nil || n == 0 {
				t.Errorf("%d rows in %s: %v", n, table, err)
			}
		}
	})
}

func TestABodyIsUnderItsCustomersKey(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.accept(message{ID: "m1", Unreadable: "x", Events: []marketplace.Event{event(marketplace.Entitled, 0)}})
		d := w.quarantined()[0].ID
		w.aws.set("adapter updated", marketplace.Event{Kind: marketplace.Noted})
		if err := w.in.Replay(t.Context(), d, "ops"); err != nil {
			t.Fatal(err)
		}
		k, body, err := w.s.ReadDelivery(t.Context(), d)
		if err != nil || k.Customer != w.sub(license).Customer || !strings.Contains(string(body), license) {
			t.Fatalf("kept %+v, %v", k, err)
		}
		if _, err := w.s.DB().ExecContext(t.Context(), "DELETE FROM customer_keys"); err != nil {
			t.Fatal(err)
		}
		if _, _, err := w.s.ReadDelivery(t.Context(), d); !fault.Is(err, fault.Gone) {
			t.Errorf("a body outlived its customer's key: %v", err)
		}
	})
}

func TestNoNetworkInsideATransaction(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		err := w.s.IntakeTx(t.Context(), func(ctx context.Context, _ intake.Tx) error {
			if !store.InTx(ctx) {
				t.Error("the context is not marked")
			}
			_, err := w.subs.Get(ctx, "sub_x")
			return err
		})
		if err == nil {
			t.Error("the read pool answered inside a transaction")
		}
	})
}
