package subscription_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tailmarket/tailmarket/internal/catalog"
	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/store/storetest"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

// cloud is a marketplace that takes decisions, with one buyer.
type cloud struct {
	*world
	id       marketplace.ID
	suffix   string // of the purchase and account, in a test with several
	mu       sync.Mutex
	decided  []string
	outcomes map[marketplace.DecisionKind]marketplace.Outcome
	errs     map[marketplace.DecisionKind]error
}

const (
	buyer = "acct-1"
	order = "order-1"
)

func (c *cloud) Decide(_ context.Context, d marketplace.Decision) (marketplace.Outcome, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.decided = append(c.decided, strings.TrimSpace(fmt.Sprintf("%s %s %s", d.Kind, d.Subject, d.Text)))
	if d.Ref.Purchase == "" || d.Ref.Account == "" || d.Ref.Product == "" {
		c.t.Errorf("%s names %+v", d.Kind, d.Ref)
	}
	return c.outcomes[d.Kind], c.errs[d.Kind]
}

func at2(t *testing.T, m marketplace.ID, fn func(t *testing.T, c *cloud)) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		c := &cloud{
			id: m, world: &world{t: t, s: s, now: t0}, errs: map[marketplace.DecisionKind]error{},
			outcomes: map[marketplace.DecisionKind]marketplace.Outcome{
				marketplace.ApproveAccount: marketplace.Done, marketplace.Approve: marketplace.Pending, marketplace.Activate: marketplace.Done,
				marketplace.ApproveChange: marketplace.Done, marketplace.RejectChange: marketplace.Done,
			},
		}
		c.subs = subscription.New(s, *catalog.Default(), c.clock, slog.New(slog.DiscardHandler), subscription.WithDeciders(map[marketplace.ID]subscription.Decider{m: c}))
		fn(t, c)
	})
}

func (c *cloud) live() {
	c.t.Helper()
	if err := c.subs.GoLive(c.t.Context(), "tailnet", clock.HourOf(t0), "ops"); err != nil {
		c.t.Fatal(err)
	}
}

// tell applies an event as a message, or as an answer to a question of ours.
func (c *cloud) tell(e marketplace.Event) subscription.Applied {
	c.t.Helper()
	var got subscription.Applied
	if e.Ref.Purchase != "" {
		e.Ref.Purchase += c.suffix
	}
	if e.Ref.Account != "" {
		e.Ref.Account += c.suffix
	}
	delivery := id.NewDelivery()
	if e.Kind == marketplace.Observed {
		delivery = ""
	}
	c.tx(func(ctx context.Context, t subscription.Tx) (err error) {
		got, err = c.subs.Apply(ctx, t, c.id, e, delivery)
		return err
	})
	return got
}

// message names only the purchase, as Google's and Microsoft's do.
func message(kind marketplace.EventKind, minute int) marketplace.Event {
	return marketplace.Event{Kind: kind, At: at(minute), Version: at(minute), Ref: marketplace.Ref{Purchase: order}}
}

func observed(minute int, plan string, o marketplace.Observation) marketplace.Event {
	e := message(marketplace.Observed, minute)
	e.Ref, e.Observed = marketplace.Ref{Purchase: order, Account: buyer, Product: "tailnet"}, &o
	e.Terms = &marketplace.Terms{Plan: plan, Offer: "offer-" + plan}
	return e
}

// claim is a buyer who comes and confirms an address.
func (c *cloud) claim(purchase string, a marketplace.Arrival) (subscription.Confirmed, string) {
	c.t.Helper()
	var token string
	c.tx(func(ctx context.Context, t subscription.Tx) error {
		sub, err := c.subs.Ensure(ctx, t, c.id, marketplace.Ref{Purchase: purchase + c.suffix, Account: buyer + c.suffix, Product: "tailnet"})
		if err != nil {
			return err
		}
		token, err = c.subs.OpenArrival(ctx, t, sub.ID, a)
		return err
	})
	got, err := c.verify(token, "jane@example.com")
	if err != nil {
		c.t.Fatal(err)
	}
	return got, token
}

func (c *cloud) sub(purchase string) subscription.Subscription {
	c.t.Helper()
	s, ok, err := c.subs.Find(c.t.Context(), c.id, purchase+c.suffix)
	if err != nil || !ok {
		c.t.Fatalf("no subscription of %s: %v", purchase, err)
	}
	return s
}

// work takes the due rows of a kind and says whether there were any.
func (c *cloud) due(kind, purchase string) bool {
	c.t.Helper()
	n, err := c.s.DB().ExecContext(c.t.Context(), "DELETE FROM due WHERE kind = '"+kind+"' AND subject = '"+string(c.sub(purchase).ID)+"'")
	if err != nil {
		c.t.Fatal(err)
	}
	rows, err := n.RowsAffected()
	return err == nil && rows > 0
}

// decide runs the worker and returns what it told.
func (c *cloud) decide(purchase string) ([]string, time.Time, error) {
	c.t.Helper()
	c.decided = nil
	again, err := c.subs.Decide(c.t.Context(), c.sub(purchase).ID)
	return c.decided, again, err
}

func (c *cloud) wantDecided(purchase string, want ...string) time.Time {
	c.t.Helper()
	got, again, err := c.decide(purchase)
	if err != nil || !slices.Equal(got, want) {
		c.t.Fatalf("decided %q %v, want %q", got, err, want)
	}
	return again
}

func (c *cloud) wantState(purchase string, want subscription.State) {
	c.t.Helper()
	if got := c.sub(purchase).State(c.clock()); got != want {
		c.t.Fatalf("state %s, want %s; facts %+v", got, want, c.sub(purchase).Facts)
	}
}

// terms are the rows as "plan status minute", oldest first.
func (c *cloud) terms(purchase string) []string {
	c.t.Helper()
	rows, err := c.s.ListTerms(c.t.Context(), c.sub(purchase).ID)
	if err != nil {
		c.t.Fatal(err)
	}
	out := make([]string, len(rows))
	for i, r := range rows {
		out[i] = fmt.Sprintf("%s %s %.0f", r.Named, r.Status, r.StatedAt.Sub(t0).Minutes())
	}
	return out
}

func (c *cloud) wantTerms(purchase string, want ...string) {
	c.t.Helper()
	if diff := cmp.Diff(want, c.terms(purchase)); diff != "" {
		c.t.Fatalf("terms (-want +got):\n%s", diff)
	}
}

// wantRebuilt: the story tells all there is to know.
func (c *cloud) wantRebuilt(purchase string) {
	c.t.Helper()
	sub := c.sub(purchase)
	story, err := c.subs.Story(c.t.Context(), sub.ID)
	if err != nil {
		c.t.Fatal(err)
	}
	rebuilt, err := subscription.Rebuild(c.id, story)
	if err != nil {
		c.t.Fatal(err)
	}
	if diff := cmp.Diff(sub.Facts, rebuilt); diff != "" {
		c.t.Errorf("rebuilt from the story (-stored +rebuilt):\n%s", diff)
	}
}

// A purchase at Google from its first message to its last ("Manage customer
// entitlements for your SaaS product", 2026).
func TestAPurchaseAtGoogle(t *testing.T) {
	at2(t, marketplace.GCP, func(t *testing.T, c *cloud) {
		c.tell(marketplace.Event{Kind: marketplace.AccountChanged, At: at(0), Version: at(0), Ref: marketplace.Ref{Account: buyer}})
		c.tell(message(marketplace.PurchaseSeen, 1))
		c.tell(message(marketplace.Entitled, 30)) // overtakes all that is read
		requested := observed(1, "standard", marketplace.Observation{Awaits: marketplace.Approve, StartsAt: at(1)})
		c.tell(requested)
		story, err := c.subs.Story(t.Context(), c.sub(order).ID)
		if err != nil || len(story) != 3 {
			t.Fatalf("the messages from before the purchase was known are not in its story: %+v %v", story, err)
		}
		c.wantState(order, subscription.StateAwaitingBuyer)
	})
}

func TestGoogleIsToldInOrder(t *testing.T) {
	at2(t, marketplace.GCP, func(t *testing.T, c *cloud) {
		c.tell(observed(1, "standard", marketplace.Observation{Awaits: marketplace.Approve, StartsAt: at(1)}))
		c.wantState(order, subscription.StatePending)
		c.claim(order, marketplace.Arrival{Account: buyer})
		c.wantState(order, subscription.StateAwaitingMarketplace)
		c.wantDecided(order) // the product observes
		if c.due(subscription.DueDecide, order) {
			t.Error("a decision is due while the product observes")
		}
		c.live()
		if !c.due(subscription.DueDecide, order) {
			t.Fatal("going live releases no decision")
		}
		c.errs[marketplace.ApproveAccount] = fault.New(fault.Unavailable, "later")
		if got, _, err := c.decide(order); !fault.Is(err, fault.Unavailable) || len(got) != 1 {
			t.Fatalf("decided %q %v before the account was approved", got, err)
		}
		delete(c.errs, marketplace.ApproveAccount)
		again := c.wantDecided(order, "approve_account", "approve")
		if !again.Equal(t0.Add(30 * time.Second)) {
			t.Errorf("looks again at %s", again)
		}
		// Nothing is provisioned by the answer; ten to twenty minutes are ordinary.
		c.wantState(order, subscription.StateAwaitingMarketplace)
		c.wait(20 * time.Minute)
		if again := c.wantDecided(order, "approve"); !again.Equal(c.clock().Add(20 * time.Minute)) {
			t.Errorf("looks again at %s, now %s", again, c.clock())
		}
		c.tell(observed(18, "standard", marketplace.Observation{Entitled: true, StartsAt: at(18)}))
		if !c.due(subscription.DueProvision, order) {
			t.Error("the entitlement provisions nothing")
		}
		c.wantDecided(order)
		c.wantRebuilt(order)
	})
}

func (c *cloud) active(plan string) id.Subscription {
	c.t.Helper()
	c.live()
	got, _ := c.claim(order, marketplace.Arrival{Account: buyer})
	c.tell(observed(1, plan, marketplace.Observation{Entitled: true, StartsAt: at(1)}))
	if err := c.subs.Record(c.t.Context(), got.Subscription, subscription.Fact{Kind: subscription.FactReady}); err != nil {
		c.t.Fatal(err)
	}
	c.wait(5 * time.Minute)
	if _, _, err := c.decide(order); err != nil {
		c.t.Fatal(err)
	}
	c.wantState(order, subscription.StateActive)
	return got.Subscription
}

func TestAPlanChangeAtGoogleHasTwoPhases(t *testing.T) {
	at2(t, marketplace.GCP, func(t *testing.T, c *cloud) {
		sub := c.active("standard")
		asked := message(marketplace.ChangeRequested, 10)
		asked.Terms = &marketplace.Terms{Plan: "enterprise", Offer: "offer-enterprise"}
		if got := c.tell(asked); got.Refused != "" {
			t.Errorf("refused: %s", got.Refused)
		}
		c.wantTerms(order, "standard effective 1", "enterprise pending 10")
		waiting := observed(10, "standard", marketplace.Observation{Entitled: true, StartsAt: at(10), Awaits: marketplace.ApproveChange, Change: &marketplace.Terms{Plan: "enterprise", Offer: "offer-enterprise"}})
		c.tell(waiting)
		if !c.due(subscription.DueDecide, order) {
			t.Fatal("no decision is due")
		}
		c.outcomes[marketplace.ApproveChange] = marketplace.Pending
		if again := c.wantDecided(order, "approve_change enterprise"); again.IsZero() {
			t.Error("nobody looks what became of the approval")
		}
		// Agreed, and in force only when the cycle ends.
		waiting.Version, waiting.At, waiting.Observed.Awaits = at(12), at(12), ""
		c.tell(waiting)
		c.wantDecided(order)
		c.wantTerms(order, "standard effective 1", "enterprise pending 10")
		if got := c.sub(order).Plan; got != "standard" {
			t.Errorf("plan %s before the change is in force", got)
		}
		c.wait(2 * time.Hour)
		c.tell(observed(60, "enterprise", marketplace.Observation{Entitled: true, StartsAt: at(60)}))
		c.tell(asked) // late, again
		c.wantTerms(order, "standard effective 1", "enterprise effective 60")
		// And back, which is a row of its own.
		c.tell(observed(90, "standard", marketplace.Observation{Entitled: true, StartsAt: at(90)}))
		c.tell(observed(60, "enterprise", marketplace.Observation{Entitled: true, StartsAt: at(60)})) // a slow answer
		c.wantTerms(order, "standard effective 1", "enterprise effective 60", "standard effective 90")
		for minute, want := range map[int]string{5: "standard", 59: "standard", 60: "enterprise", 89: "enterprise", 90: "standard", 999: "standard"} {
			if in, _, err := c.subs.TermsAt(t.Context(), sub, at(minute)); err != nil || in.Plan != want {
				t.Errorf("minute %d: plan %q %v, want %q", minute, in.Plan, err, want)
			}
		}
		// The same change again is decided again.
		waiting = observed(100, "standard", marketplace.Observation{Entitled: true, Awaits: marketplace.ApproveChange, Change: &marketplace.Terms{Plan: "enterprise", Offer: "offer-enterprise"}})
		c.tell(waiting)
		c.outcomes[marketplace.ApproveChange] = marketplace.TooLate
		c.wantDecided(order, "approve_change enterprise")
		c.wantDecided(order)
		c.wantTerms(order, "standard effective 1", "enterprise effective 60", "standard effective 90", "enterprise withdrawn 100")
		c.wantRebuilt(order)
	})
}

func TestAChangeAtGoogleToAnUnknownPlanWaitsForAPerson(t *testing.T) {
	at2(t, marketplace.GCP, func(t *testing.T, c *cloud) {
		sub := c.active("standard")
		public(t, c.subs.DecideChange(t.Context(), sub, "ops", true, ""), fault.Conflict, "no change")
		c.tell(observed(10, "standard", marketplace.Observation{Entitled: true, Awaits: marketplace.ApproveChange, Change: &marketplace.Terms{Plan: "gold", Offer: "offer-gold"}}))
		got, again, err := c.decide(order)
		public(t, err, fault.Refused, `"gold"`)
		if len(got) > 0 || !again.IsZero() {
			t.Errorf("decided %q, again %s", got, again)
		}
		c.due(subscription.DueDecide, order)
		public(t, c.subs.DecideChange(t.Context(), sub, "ops", false, ""), fault.Invalid, "reason")
		if err := c.subs.DecideChange(t.Context(), sub, "ops", false, "it is not sold any more"); err != nil {
			t.Fatal(err)
		}
		if !c.due(subscription.DueDecide, order) {
			t.Fatal("the decision is not told")
		}
		c.wantDecided(order, "reject_change gold it is not sold any more")
		c.wantTerms(order, "standard effective 1", "gold refused 10")
		c.tell(observed(11, "standard", marketplace.Observation{Entitled: true}))
		c.wantTerms(order, "standard effective 1", "gold refused 10")
		// A plan with the parent's name and another period is one we know.
		c.tell(observed(20, "standard", marketplace.Observation{Entitled: true, Awaits: marketplace.ApproveChange, Change: &marketplace.Terms{Plan: "enterprise-P1Y", Offer: "o"}}))
		c.wantDecided(order, "approve_change enterprise-P1Y")
		trail, err := c.subs.Audit(t.Context(), 0, 100)
		if err != nil || !slices.ContainsFunc(trail, func(e subscription.AuditEntry) bool { return e.Action == "change.decide" && e.Actor == "ops" }) {
			t.Errorf("audit %+v %v", trail, err)
		}
	})
}

func TestAChangeAtGoogleIsTakenBack(t *testing.T) {
	at2(t, marketplace.GCP, func(t *testing.T, c *cloud) {
		for name, taken := range map[string]marketplace.Event{
			"by a message":      message(marketplace.ChangeWithdrawn, 12),
			"by the API's word": observed(12, "standard", marketplace.Observation{Entitled: true}),
		} {
			for _, late := range []bool{false, true} {
				t.Run(fmt.Sprint(name, late), func(t *testing.T) {
					c.t, c.suffix = t, fmt.Sprint(name, late)
					c.active("standard")
					asked := message(marketplace.ChangeRequested, 10)
					asked.Terms = &marketplace.Terms{Plan: "enterprise", Offer: "o"}
					c.tell(asked)
					c.tell(taken)
					if late {
						c.tell(asked)
					}
					c.wantTerms(order, "standard effective 1", "enterprise withdrawn 10")
					c.wantDecided(order)
				})
			}
		}
	})
}

func TestEndsAtGoogle(t *testing.T) {
	pending := observed(10, "standard", marketplace.Observation{Entitled: true, EndsAt: at(100)})
	pending.Reason = "PENDING_CANCELLATION"
	cancelled := observed(20, "standard", marketplace.Observation{Ended: true, EndsAt: at(19)})
	deleted := marketplace.Event{Kind: marketplace.AccountDeleted, At: at(15), Version: at(15), Ref: marketplace.Ref{Account: buyer}}
	cases := map[string]struct {
		told []marketplace.Event
		ends int // minute; 0: it goes on
	}{
		"cancelled at the end of the term": {[]marketplace.Event{message(marketplace.Changed, 10), pending}, 0},
		"and that taken back":              {[]marketplace.Event{pending, message(marketplace.EndReverted, 12), observed(12, "standard", marketplace.Observation{Entitled: true})}, 0},
		"cancelling":                       {[]marketplace.Event{message(marketplace.Ending, 15)}, 15},
		"cancelling, not seen yet":         {[]marketplace.Event{message(marketplace.Ending, 15), pending}, 15},
		"cancelled":                        {[]marketplace.Event{message(marketplace.Ended, 20), cancelled}, 19},
		"forgotten, sixty days later":      {[]marketplace.Event{message(marketplace.Ended, 20), message(marketplace.Ended, 86400)}, 20},
		"the account is deleted":           {[]marketplace.Event{deleted}, 15},
		"renewed":                          {[]marketplace.Event{message(marketplace.Renewed, 15)}, 0},
	}
	at2(t, marketplace.GCP, func(t *testing.T, c *cloud) {
		for name, c2 := range cases {
			t.Run(name, func(t *testing.T) {
				c.t, c.suffix = t, " "+name
				c.active("standard")
				for _, e := range slices.Concat(c2.told, c2.told) {
					c.tell(e)
				}
				want := time.Time{}
				if c2.ends > 0 {
					want = at(c2.ends)
				}
				sub := c.sub(order)
				if got := sub.EndsAt(); !got.Equal(want) {
					t.Errorf("ends at %v, want %v", got, want)
				}
				if subscription.AwaitsSuccessor(sub.Facts, at(30)) {
					t.Error("a successor is waited for")
				}
				if c2.ends > 0 && !c.due(subscription.DueClose, order) {
					t.Error("nothing closes it")
				}
				c.wantRebuilt(order)
			})
		}
	})
}

// A purchase that gets known after its account was deleted has ended too, and who
// holds one purchase of an account holds the next.
func TestAnAccountAtGoogleSpeaksForItsPurchases(t *testing.T) {
	at2(t, marketplace.GCP, func(t *testing.T, c *cloud) {
		c.live()
		var second string
		c.tell(observed(1, "standard", marketplace.Observation{Awaits: marketplace.Approve}))
		other := observed(2, "enterprise", marketplace.Observation{Awaits: marketplace.Approve})
		other.Ref.Purchase = "order-2"
		c.tell(other)
		got, _ := c.claim(order, marketplace.Arrival{Account: buyer, Person: "p-1"})
		c.wantDecided(order, "approve_account", "approve")
		c.wantDecided("order-2", "approve_account", "approve")
		other.Ref.Purchase = "order-3" // bought later, by a customer who signed up
		c.tell(other)
		c.wantDecided("order-3", "approve_account", "approve")
		people, err := c.subs.People(t.Context(), c.sub("order-3").ID)
		if err != nil || len(people) != 1 || people[0].State != subscription.ClaimHolder || people[0].Email != "j…@example.com" {
			t.Errorf("people %+v %v", people, err)
		}
		// The same person, sent by Google again, needs no second mail for any of them.
		c.tx(func(ctx context.Context, tx subscription.Tx) (err error) {
			second, err = c.subs.OpenArrival(ctx, tx, c.sub("order-3").ID, marketplace.Arrival{Account: buyer, Person: "p-1"})
			return err
		})
		visit, err := c.subs.Visit(t.Context(), second)
		if err != nil || !visit.Known || visit.SignIn {
			t.Fatalf("visit %+v %v", visit, err)
		}
		if in, err := c.subs.Continue(t.Context(), second); err != nil || in.State != subscription.ClaimAdmitted {
			t.Errorf("continued %+v %v", in, err)
		}
		deleted := marketplace.Event{Kind: marketplace.AccountDeleted, At: at(15), Version: at(15), Ref: marketplace.Ref{Account: buyer}}
		c.tell(deleted)
		other.Ref.Purchase = "order-4"
		c.tell(other)
		for _, purchase := range []string{order, "order-2", "order-3", "order-4"} {
			if got := c.sub(purchase).EndsAt(); !got.Equal(at(15)) {
				t.Errorf("%s ends at %v", purchase, got)
			}
			c.wantRebuilt(purchase)
		}
		if got.State != subscription.ClaimHolder {
			t.Errorf("claimed %+v", got)
		}
		if got := c.tell(deleted); got.Customer == "" {
			t.Error("the message's customer is not told")
		}
	})
}

func TestWhomGoogleMeters(t *testing.T) {
	at2(t, marketplace.GCP, func(t *testing.T, c *cloud) {
		sub := c.active("standard")
		read := func() marketplace.VendorIdentity {
			var got marketplace.VendorIdentity
			err := c.s.Tx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
				terms, err := tx.Terms(ctx, sub, at(30))
				got = terms.Identity
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		want := marketplace.VendorIdentity{ProductCode: "tailnet.endpoints.example-public.cloud.goog", License: order, Account: buyer}
		if diff := cmp.Diff(want, read()); diff != "" {
			t.Errorf("before Google says whom (-want +got):\n%s", diff)
		}
		e := observed(2, "standard", marketplace.Observation{Entitled: true})
		e.Consumer, want.Customer = "project_number:69700000001", "project_number:69700000001"
		c.tell(e)
		e.Version, e.Consumer = at(1), "project_number:1" // a slow answer
		c.tell(e)
		c.tell(observed(3, "standard", marketplace.Observation{Entitled: true})) // silence takes nothing back
		if diff := cmp.Diff(want, read()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestWhatMovedToAnotherEntitlementKeepsItsNetwork(t *testing.T) {
	t.Parallel()
	steps := []step{
		{event: &marketplace.Event{Kind: marketplace.Observed, At: at(1), Version: at(1), Observed: &marketplace.Observation{Entitled: true}}},
		{fact: &subscription.Fact{Kind: subscription.FactClaimed, At: at(1)}},
		{fact: &subscription.Fact{Kind: subscription.FactReady, At: at(1)}},
		{event: &marketplace.Event{Kind: marketplace.Ended, At: at(5), Version: at(5), Reason: "CANCELLED"}},
	}
	for reason, want := range map[string]subscription.Access{"migrated": subscription.AccessKeep, "user-cancelled": subscription.AccessRevoked} {
		f := runAt(marketplace.GCP, append(steps[:4:4], step{event: &marketplace.Event{
			Kind: marketplace.Observed, At: at(6), Version: at(6), Reason: reason, Observed: &marketplace.Observation{Ended: true, EndsAt: at(5)},
		}}))
		if got := subscription.AccessOf(f, at(10)); got != want || !f.EndsAt().Equal(at(5)) {
			t.Errorf("%s: access %s, ends at %v", reason, got, f.EndsAt())
		}
	}
}

func TestWhatABuyerReadsWhileAMarketplaceActs(t *testing.T) {
	t.Parallel()
	bought := step{event: &marketplace.Event{Kind: marketplace.Observed, At: at(1), Version: at(1), Observed: &marketplace.Observation{Awaits: marketplace.Approve}}}
	reserved := step{event: &marketplace.Event{Kind: marketplace.Observed, At: at(1), Version: at(1), Observed: &marketplace.Observation{Awaits: marketplace.Activate}}}
	fact := func(kind subscription.FactKind) step {
		return step{fact: &subscription.Fact{Kind: kind, At: at(1)}}
	}
	claimed, live, ready := fact(subscription.FactClaimed), fact(subscription.FactLive), fact(subscription.FactReady)
	for name, c := range map[string]struct {
		at      marketplace.ID
		steps   []step
		waiting string
		act     subscription.Party
	}{
		"Google, while the product observes": {marketplace.GCP, []step{bought, claimed}, "the marketplace to confirm", subscription.Us},
		"Google, approved":                   {marketplace.GCP, []step{bought, claimed, live}, "the marketplace to confirm", subscription.Market},
		"Azure, no network yet":              {marketplace.Azure, []step{reserved, claimed, live}, "your network", subscription.Us},
		"Azure, to be activated":             {marketplace.Azure, []step{reserved, claimed, live, ready}, "to start your subscription", subscription.Market},
	} {
		got := subscription.StatusOf(subscription.Subscription{Marketplace: c.at, Facts: runAt(c.at, c.steps)}, at(5))
		if !strings.Contains(got.Waiting, c.waiting) || got.Act != c.act {
			t.Errorf("%s: waits for %q, %s acts", name, got.Waiting, got.Act)
		}
	}
}
