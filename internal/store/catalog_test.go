package store_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/catalog"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/store/storetest"
)

func shippedWith(pairs ...string) []byte {
	return []byte(strings.NewReplacer(pairs...).Replace(string(catalog.Shipped())))
}

func TestCatalogsAreApplied(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		t.Helper()
		ctx := t.Context()
		p := newProgramme(t, s)
		at := now
		room := catalog.New(s, []string{"human_users", "device_approval"}, func() time.Time { return at })
		inForce := func(version string, seq int64) {
			t.Helper()
			c, a, err := room.Current(ctx)
			if err != nil || c.Version != version || a.Seq != seq {
				t.Fatalf("in force is %+v, %v; want %s, %d", a, err, version, seq)
			}
			if n, err := s.CatalogSeq(ctx); err != nil || n != seq {
				t.Fatalf("its place is %d, %v", n, err)
			}
		}
		refused := func(raw []byte, reason string, class fault.Class, text string) {
			t.Helper()
			if _, _, err := room.Apply(ctx, raw, "operator", reason); !fault.Is(err, class) || !strings.Contains(err.Error(), text) {
				t.Fatalf("got %v, want %s: %s", err, class, text)
			}
		}
		apply := func(raw []byte, reason string) (catalog.Applied, []catalog.Change) {
			t.Helper()
			a, changes, err := room.Apply(ctx, raw, "operator", reason)
			if err != nil {
				t.Fatal(err)
			}
			return a, changes
		}
		shipped := catalog.Default().Version
		inForce(shipped, 0)

		// Nobody has bought yet: a price may change.
		dearer := shippedWith(shipped, "dearer", `active_user: "6.00"`, `active_user: "7.00"`)
		refused(shippedWith(`active_user: "6.00"`, `active_user: "7.00"`), "", fault.Conflict, "is the shipped catalog's")
		a, changes := apply(dearer, "")
		if a.Seq != 1 || a.Version != "dearer" || a.By != "operator" || len(changes) != 3 || !changes[0].Bills || changes[0].Purchases != 0 {
			t.Fatalf("%+v %+v", a, changes)
		}
		inForce("dearer", 1)
		if again, changes := apply(dearer, ""); again.Seq != 1 || len(changes) != 0 {
			t.Fatalf("again: %+v %+v", again, changes)
		}
		refused(shippedWith(shipped, "dearer"), "", fault.Conflict, `version "dearer" was applied before with another text`)
		refused(shippedWith(shipped, "broken", "offer_id: tailnet", "offer_id: Tail Net"), "", fault.Invalid, "a problem")

		// Somebody counts under it: a bill changes only by force, words at any time.
		p.hear(marketplace.Event{Kind: marketplace.Entitled, Ref: marketplace.Ref{Purchase: "one", Account: "one", Product: "tailnet"}, At: now, Version: now})
		cheaper := shippedWith(shipped, "cheaper", `active_user: "6.00"`, `active_user: "5.00"`)
		refused(cheaper, "", fault.Refused, "1 of the changes would change bills that are counting")
		if changes, err := room.Compare(ctx, cheaper); err != nil || len(changes) != 3 || changes[2].Plan != "standard" || changes[2].Purchases != 1 || changes[0].Purchases != 0 {
			t.Fatalf("compared: %+v %v", changes, err)
		}
		apply(shippedWith(shipped, "words", "title: Standard", "title: Regular", `active_user: "6.00"`, `active_user: "7.00"`), "")
		inForce("words", 2)
		at = at.Add(time.Hour)
		if a, _ := apply(cheaper, "the contract says 5"); a.Seq != 3 || a.Reason != "the contract says 5" {
			t.Fatalf("%+v", a)
		}
		// Back to an old one: its version stands for its text.
		if a, _ := apply(dearer, "a mistake"); a.Seq != 4 || a.Version != "dearer" {
			t.Fatalf("%+v", a)
		}
		inForce("dearer", 4)
		apply(catalog.Shipped(), "all a mistake")
		inForce(shipped, 5)

		for version, want := range map[string][]byte{"cheaper": cheaper, shipped: catalog.Shipped(), "": catalog.Shipped()} {
			if text, err := room.Text(ctx, version); err != nil || string(text) != string(want) {
				t.Errorf("the text of %q: %v", version, err)
			}
		}
		if _, err := room.Text(ctx, "never"); !fault.Is(err, fault.NotFound) {
			t.Errorf("a version that never was: %v", err)
		}
		history, err := room.History(ctx, 2)
		if err != nil || len(history) != 2 || history[0].Seq != 5 || history[1].Reason != "a mistake" || !history[0].At.Equal(at) {
			t.Errorf("%+v %v", history, err)
		}
		audit, err := p.subs.Audit(ctx, 0, 100)
		if err != nil || len(audit) != 5 || audit[2].Action != "catalog.apply" || audit[2].Subject != "cheaper" || !strings.Contains(audit[2].Detail, "1 of bills that are counting the contract says 5") {
			t.Errorf("%+v %v", audit, err)
		}
	})
}

// Two that are applied at once: one follows the other, or is told to look again.
func TestCatalogsAreAppliedAtOnce(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		t.Helper()
		room := catalog.New(s, nil, func() time.Time { return now })
		var wg sync.WaitGroup
		errs := make([]error, 6)
		for i := range errs {
			wg.Go(func() {
				_, _, errs[i] = room.Apply(t.Context(), shippedWith(catalog.Default().Version, string(id.NewEntry())), "operator", "")
			})
		}
		wg.Wait()
		done := 0
		for _, err := range errs {
			switch {
			case err == nil:
				done++
			case !fault.Is(err, fault.Conflict):
				t.Error(err)
			}
		}
		history, err := room.History(t.Context(), 100)
		if err != nil || len(history) != done || done == 0 || history[0].Seq != int64(done) {
			t.Errorf("%d were applied: %+v %v", done, history, err)
		}
	})
}

// What the marketplace takes off is sent in full: nobody takes it off twice, or never.
func TestMeteringSendsWhatTheMarketplaceTakesOff(t *testing.T) {
	t.Parallel()
	for netted, want := range map[catalog.NettedBy]string{catalog.Us: "5", catalog.Marketplace: "8"} {
		t.Run(string(netted), func(t *testing.T) {
			t.Parallel()
			storetest.Each(t, func(t *testing.T, s *store.Store) {
				t.Helper()
				w := selling(t, s, marketplace.GCP, 50*time.Minute)
				w.including("3", "3")
				o := w.Options
				o.Catalog.Products[0].Offers = []catalog.Offer{{ID: "public", NettedBy: netted}}
				w.Service = billing.New(o)
				w.use("api_request", "8", "", w.now)
				w.passes(1)
				w.send()
				w.charged("api_request", want)
			})
		})
	}
}
