package store_test

import (
	"context"
	"database/sql"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/billing/ledger"
	"github.com/tailmarket/tailmarket/internal/catalog"
	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/provisioning"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/store/storetest"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

// bought stores a purchase as the subscription room does.
func bought(t *testing.T, s *store.Store, licence string, edit func(*subscription.Subscription), terms ...subscription.Terms) id.Subscription {
	t.Helper()
	sub := id.NewSubscription()
	err := s.SubscriptionTx(t.Context(), func(ctx context.Context, tx subscription.Tx) error {
		c, err := tx.EnsureCustomer(ctx, subscription.Customer{ID: id.NewCustomer(), Marketplace: marketplace.AWS, Account: "123456789012"})
		if err != nil {
			return err
		}
		got, _, err := tx.EnsureSubscription(ctx, subscription.Subscription{
			ID: sub, Marketplace: marketplace.AWS, Purchase: licence, Account: "123456789012", Product: "tailnet", Plan: "standard", Customer: c.ID, Lineage: sub, TailnetOf: sub,
		})
		if err != nil {
			return err
		}
		edit(&got)
		for _, m := range terms {
			m.Subscription = sub
			if err := tx.SaveTerms(ctx, m); err != nil {
				return err
			}
		}
		return tx.SaveSubscription(ctx, got)
	})
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

// inTx runs fn in a transaction of billing.
func inTx(t *testing.T, s *store.Store, fn func(context.Context, billing.Tx)) {
	t.Helper()
	if err := s.BillingTx(t.Context(), func(ctx context.Context, tx billing.Tx) error { fn(ctx, tx); return nil }); err != nil {
		t.Fatal(err)
	}
}

// Billing's terms are what the purchase's rows say.
func TestMeteringTermsOfAPurchase(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 3, 7, 10, 0, 0, time.UTC)
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		first := bought(t, s, "arn:l-1", func(x *subscription.Subscription) {
			x.CutOver = clock.HourOf(start)
			x.Facts.StartsAt, x.Facts.Granted = start, start
		}, subscription.Terms{Fingerprint: "1", Plan: "standard", Named: "standard", Offer: "offer-1", Agreement: "agmt-1", Status: subscription.TermsEffective, From: start, StatedAt: start, Version: start},
			subscription.Terms{
				Fingerprint: "2", Plan: "standard", Named: "standard", Offer: "offer-2", Agreement: "agmt-1", Status: subscription.TermsEffective, From: start, StatedAt: start.Add(5 * time.Hour), Version: start.Add(5 * time.Hour),
				Quantities: map[string]int64{"seats": 12},
			})
		want := billing.Terms{
			Subscription: first, Lineage: first, Marketplace: marketplace.AWS, Product: "tailnet", CutOver: clock.HourOf(start), StartsAt: start, Plan: "standard", Offer: "offer-1", Term: start, Plans: []billing.Stretch{{Plan: "standard", Since: start}},
			Identity: marketplace.VendorIdentity{Account: "123456789012", License: "arn:l-1"},
		}
		later := want
		later.Offer, later.Quantities = "offer-2", map[string]int64{"seats": 12}
		inTx(t, s, func(ctx context.Context, tx billing.Tx) {
			for at, want := range map[time.Time]billing.Terms{start: want, start.Add(4 * time.Hour): want, start.Add(6 * time.Hour): later} {
				got, err := tx.Terms(ctx, first, at)
				if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b clock.Hour) bool { return a == b })); err != nil || diff != "" {
					t.Errorf("terms at %s: %v\n%s", at, err, diff)
				}
			}
			if _, err := tx.Terms(ctx, id.NewSubscription(), start); !fault.Is(err, fault.NotFound) {
				t.Errorf("terms of nobody: %v", err)
			}
		})

		// The tailnet goes over to a renewal two hours later.
		second := bought(t, s, "arn:l-2", func(x *subscription.Subscription) { x.Lineage, x.Predecessor, x.TailnetOf = first, first, first })
		net := id.NewTailnet()
		err := s.Provisioning().ProvisioningTx(t.Context(), func(ctx context.Context, tx provisioning.Tx) error {
			if _, err := tx.EnsureTailnet(ctx, provisioning.Tailnet{ID: net, Subscription: first, Holder: first, Driver: "embedded", State: provisioning.StateRequested, Step: provisioning.StepCreate}); err != nil {
				return err
			}
			if _, _, err := tx.EnsureTailnetUse(ctx, first, provisioning.Use{Tailnet: net, Since: start}); err != nil {
				return err
			}
			_, _, err := tx.EnsureTailnetUse(ctx, second, provisioning.Use{Tailnet: net, Since: start.Add(2 * time.Hour)})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		inTx(t, s, func(ctx context.Context, tx billing.Tx) {
			for _, c := range []struct {
				subject string
				at      time.Time
				want    id.Subscription
			}{
				{string(first), start, first},
				{string(second), start, second},
				{string(id.NewSubscription()), start, ""},
				{"sub_", start, ""},
				{"' OR 1=1", start, ""},
				{string(net), start.Add(-time.Hour), first},
				{string(net), start, first},
				{string(net), start.Add(2*time.Hour - time.Microsecond), first},
				{string(net), start.Add(2 * time.Hour), second},
				{string(net), start.Add(50 * time.Hour), second},
				{string(id.NewTailnet()), start, ""},
			} {
				if got, err := tx.FindSubject(ctx, c.subject, c.at); err != nil || got != c.want {
					t.Errorf("the use of %q at %s is of %q (%v), want %q", c.subject, c.at, got, err, c.want)
				}
			}
		})
	})
}

// One purchase from its rows to the vendor, with nothing stood in for the store.
func TestMeteringOverRealTables(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 3, 7, 10, 0, 0, time.UTC)
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		now := start
		sub := bought(t, s, "arn:l-1", func(x *subscription.Subscription) {
			x.CutOver = clock.HourOf(start)
			x.Facts.Marketplace, x.Facts.StartsAt, x.Facts.Granted = marketplace.AWS, start, start
		})
		v := &vendor{slots: map[string]string{}}
		bill := billing.New(billing.Options{
			Store: s, Catalog: catalog.Default(), Vendors: map[marketplace.ID]billing.Submitter{marketplace.AWS: v},
			Now: func() time.Time { return now }, Wall: func() time.Time { return start }, Log: slog.New(slog.DiscardHandler),
		})
		got, err := bill.Ingest(t.Context(), []billing.UsageEvent{{Source: "t", ID: "1", Subject: string(sub), Meter: "api_request", Quantity: "12.5", UsedAt: now}})
		if err != nil || got[0].Result != billing.Accepted {
			t.Fatal(got, err)
		}
		now = now.Add(time.Hour)
		if again, err := bill.Seal(t.Context(), sub); err != nil || !again.Equal(clock.HourOf(now).End()) {
			t.Fatal(again, err)
		}
		if again, err := bill.Submit(t.Context(), "aws"); err != nil || !again.IsZero() {
			t.Fatal(again, err)
		}
		rep, err := bill.Conservation(t.Context())
		if err != nil || rep.Broken != 0 || len(rep.Meters) != 1 || rep.Meters[0].Accepted != "12" || rep.Meters[0].Carried != "0.5" {
			t.Fatalf("%+v %v", rep, err)
		}
		if q := v.slots["arn:l-1|api_request|"+clock.HourOf(start).String()]; q != "12" {
			t.Fatalf("the vendor has %v", v.slots)
		}
	})
}

// damage changes rows behind the store's back.
func damage(t *testing.T, o store.Options, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(o.DataDir, "tailmarket.db")+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	res, err := db.ExecContext(t.Context(), statement)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := res.RowsAffected(); n == 0 || err != nil {
		t.Fatalf("nothing was changed: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// A record that is not what was frozen is not sent, and does not stop the others.
func TestMeteringSendsOnlyWhatWasFrozen(t *testing.T) {
	t.Parallel()
	o := storetest.Options(t, store.SQLite)
	w := metering(t, storetest.Reopen(t, o))
	w.use("api_request", "5", "", w.now)
	w.use("ephemeral_minute", "1003", "", w.now)
	w.hours(1)
	damage(t, o, `UPDATE records SET frozen = REPLACE(frozen, '"dimension":"api_request"', '"dimension":"active_user"')`)
	w.ok(w.try()) // nothing is left that another try would send
	w.found(billing.FindBrokenFreeze)
	w.slots("api_request", map[string]string{})
	w.slots("ephemeral_minute", map[string]string{"2026-11-03T07Z": "3"})
}

// Every other test trusts Conservation, so it must notice a ledger that is wrong.
func TestConservationNotices(t *testing.T) {
	t.Parallel()
	for name, tamper := range map[string]string{
		"a balance":                 `UPDATE billing_balances SET quantity = quantity + 10 WHERE place = 'accepted'`,
		"an entry that is gone":     `DELETE FROM ledger_entries WHERE to_place = 'accepted'`,
		"an entry of more":          `UPDATE ledger_entries SET quantity = quantity + 10 WHERE from_place = 'measured'`,
		"usage nobody counted":      `UPDATE usage_events SET quantity = quantity + 10`,
		"usage that was replaced":   `UPDATE usage_events SET superseded = 1`,
		"a record's units":          `UPDATE records SET placed = placed + 10`,
		"an allocation":             `UPDATE record_allocations SET placed = placed + 10`,
		"a state nobody answered":   `UPDATE attempts SET answer = 'unsure'`,
		"a record sent again":       `UPDATE records SET state = 'queued', settled_at = 0`,
		"what was frozen":           `UPDATE records SET frozen = REPLACE(frozen, '"quantity":"5"', '"quantity":"6"')`,
		"what was frozen, and hash": `UPDATE records SET quantity = quantity + 10, placed = placed + 10`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := storetest.Options(t, store.SQLite)
			w := metering(t, storetest.Reopen(t, o))
			w.use("api_request", "5", "", w.now)
			w.now = w.now.Add(time.Hour)
			w.seal()
			w.send()
			w.places("api_request", map[ledger.Place]string{ledger.Accepted: "5"})
			damage(t, o, tamper)
			if rep, err := w.Conservation(t.Context()); err != nil || rep.Broken == 0 || len(rep.Problems) == 0 {
				t.Fatalf("not noticed: %+v %v", rep, err)
			}
		})
	}
}
