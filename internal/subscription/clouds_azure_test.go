package subscription_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

var bought = marketplace.Observation{Awaits: marketplace.Activate, StartsAt: at(1)}

// A purchase at Azure as the life cycle page of 2025 has it: nothing is heard until
// the buyer comes; we provision, then activate, and only then it is billed.
func TestAPurchaseAtAzure(t *testing.T) {
	at2(t, marketplace.Azure, func(t *testing.T, c *cloud) {
		c.live()
		c.tell(observed(1, "standard", bought)) // the sweep lists it
		c.wantState(order, subscription.StateAwaitingBuyer)
		got, _ := c.claim(order, marketplace.Arrival{Account: buyer, Buyers: []string{"t/o"}})
		c.wantState(order, subscription.StateProvisioning)
		if !c.due(subscription.DueProvision, order) || c.due(subscription.DueDecide, order) {
			t.Fatal("want a network first, and no decision")
		}
		c.wantDecided(order)
		if err := c.subs.Record(t.Context(), got.Subscription, subscription.Fact{Kind: subscription.FactReady}); err != nil {
			t.Fatal(err)
		}
		if c.due(subscription.DueCollect, order) || c.due(subscription.DueSeal, order) {
			t.Error("metered before the marketplace bills")
		}
		if !c.due(subscription.DueDecide, order) {
			t.Fatal("the activation is not due")
		}
		c.outcomes[marketplace.Activate] = marketplace.Pending
		if again := c.wantDecided(order, "activate"); again.IsZero() {
			t.Error("nobody asks what became of the activation")
		}
		c.wantState(order, subscription.StateProvisioning)
		c.wait(5 * time.Minute)
		c.outcomes[marketplace.Activate] = marketplace.Done
		c.wantDecided(order, "activate")
		c.wantDecided(order)
		c.wantState(order, subscription.StateProvisioning) // the reader tells
		c.tell(observed(4, "standard", marketplace.Observation{Entitled: true, StartsAt: at(4)}))
		c.wantState(order, subscription.StateActive)
		if !c.due(subscription.DueCollect, order) || !c.due(subscription.DueSeal, order) {
			t.Error("not metered once it is billed")
		}
		c.wantRebuilt(order)
	})
}

// Microsoft activated it at the purchase: the network is made before anybody comes.
func TestAPurchaseThatMicrosoftActivated(t *testing.T) {
	at2(t, marketplace.Azure, func(t *testing.T, c *cloud) {
		c.live()
		c.tell(message(marketplace.Entitled, 1)) // Subscribe, for a purchase that nobody knows
		c.tell(observed(1, "instant", marketplace.Observation{Entitled: true, StartsAt: at(1)}))
		c.wait(2 * time.Minute)
		c.wantState(order, subscription.StateProvisioning)
		if !c.due(subscription.DueProvision, order) {
			t.Fatal("no network is made before somebody comes")
		}
		if err := c.subs.Record(t.Context(), c.sub(order).ID, subscription.Fact{Kind: subscription.FactReady}); err != nil {
			t.Fatal(err)
		}
		c.wantDecided(order, "activate") // which confirms it
		c.wantState(order, subscription.StateActive)
		c.claim(order, marketplace.Arrival{Account: buyer})
		if err := c.subs.Name(t.Context(), c.sub(order).ID, "clm", "Acme"); err != nil {
			t.Fatal(err)
		}
		c.wantState(order, subscription.StateActive)
		c.tell(message(marketplace.Entitled, 3)) // Subscribe was seen at renewals too
		c.tell(message(marketplace.Renewed, 4))
		c.tell(message(marketplace.Suspended, 5))
		c.wait(10 * time.Minute)
		c.wantState(order, subscription.StateSuspended)
		c.tell(observed(5, "instant", marketplace.Observation{Suspended: true}))
		c.tell(message(marketplace.Resumed, 6))
		c.wantState(order, subscription.StateActive)
		c.tell(message(marketplace.Ending, 7))
		c.wantState(order, subscription.StateEnding)
		if got := c.sub(order).Access(c.clock()); got != subscription.AccessRevoked {
			t.Errorf("access %s: a renewal in place leaves no successor to wait for", got)
		}
		c.wantRebuilt(order)
	})
}

func TestAnActivationThatComesTooLate(t *testing.T) {
	at2(t, marketplace.Azure, func(t *testing.T, c *cloud) {
		c.live()
		c.tell(observed(1, "standard", bought))
		got, _ := c.claim(order, marketplace.Arrival{Account: buyer})
		if err := c.subs.Record(t.Context(), got.Subscription, subscription.Fact{Kind: subscription.FactReady}); err != nil {
			t.Fatal(err)
		}
		c.outcomes[marketplace.Activate] = marketplace.TooLate
		if again := c.wantDecided(order, "activate"); !again.IsZero() {
			t.Errorf("asks again at %s", again)
		}
		c.wantDecided(order)
		c.tell(observed(2, "standard", marketplace.Observation{Ended: true, EndsAt: at(2)}))
		c.wait(time.Hour)
		c.wantState(order, subscription.StateEnding)
		if !c.due(subscription.DueClose, order) {
			t.Error("the network stays")
		}
	})
}

func change(minute int, operation, plan string, seats int64) marketplace.Event {
	e := message(marketplace.ChangeRequested, minute)
	e.Ref.Product, e.MessageID, e.Terms = "tailnet", operation, &marketplace.Terms{Plan: plan, Offer: "tailnet"}
	if seats != 0 {
		e.Terms.Quantities = map[string]int64{"seat": seats}
	}
	return e
}

// A change is decided when its message comes, and told afterwards ("Implementing a
// webhook on the SaaS service", 2026).
func TestAChangeAtAzure(t *testing.T) {
	at2(t, marketplace.Azure, func(t *testing.T, c *cloud) {
		sub := c.active("standard")
		for range 2 { // an answer that was lost is given again
			if got := c.tell(change(10, "op-1", "premium", 0)); got.Refused != "" {
				t.Fatalf("refused: %s", got.Refused)
			}
			if got := c.tell(change(11, "op-2", "gold", 0)); got.Refused == "" {
				t.Fatal("a plan that is not in the catalog is agreed to")
			}
		}
		if !c.due(subscription.DueDecide, order) {
			t.Fatal("nothing is told")
		}
		c.wantTerms(order, "standard effective 1", "premium pending 10", "gold refused 11")
		c.wantDecided(order, "approve_change op-1", `reject_change op-2 plan "gold" is not in the catalog`)
		c.wantDecided(order)
		// A private offer's name is told by the API alone.
		e := observed(12, "premium", marketplace.Observation{Entitled: true})
		e.Terms.Private, e.Terms.Offer = true, "7f2c"
		c.tell(e)
		c.tell(e)
		c.wantTerms(order, "standard effective 1", "gold refused 11", "premium effective 12")
		c.wait(time.Hour)
		terms, ok, err := c.subs.TermsAt(t.Context(), sub, at(30))
		if err != nil || !ok || terms.Plan != "premium" || terms.Offer != "7f2c" || !terms.Private {
			t.Errorf("terms %+v %v %v", terms, ok, err)
		}
		c.wantRebuilt(order)
	})
}

func TestWhatIsRefusedAtAzure(t *testing.T) {
	cases := map[string]struct {
		before func(c *cloud)
		change marketplace.Event
		want   string
	}{
		"a plan we have":               {nil, change(10, "op", "premium", 0), ""},
		"a plan we do not have":        {nil, change(10, "op", "gold", 0), "not in the catalog"},
		"seats":                        {nil, change(10, "op", "standard", 5), ""},
		"less than one seat":           {nil, change(10, "op", "standard", -1), "is sold"},
		"a purchase that is over":      {func(c *cloud) { c.tell(message(marketplace.Ending, 2)) }, change(10, "op", "premium", 0), "has ended"},
		"an operation without its id":  {nil, change(10, "", "gold", 0), ""},
		"a message that says no terms": {nil, message(marketplace.ChangeRequested, 10), ""},
	}
	at2(t, marketplace.Azure, func(t *testing.T, c *cloud) {
		for name, x := range cases {
			t.Run(name, func(t *testing.T) {
				c.t, c.suffix = t, " "+name
				c.active("standard")
				if x.before != nil {
					x.before(c)
				}
				switch got := c.tell(x.change).Refused; {
				case x.want == "" && got != "":
					t.Errorf("refused: %s", got)
				case x.want != "":
					public(t, fault.New(fault.Refused, "%s", got), fault.Refused, x.want)
				}
			})
		}
	})
}

// A change of a purchase that is not known is judged by what its message says; a
// product that only watches refuses nothing.
func TestAChangeOfAnUnknownPurchase(t *testing.T) {
	at2(t, marketplace.Azure, func(t *testing.T, c *cloud) {
		if got := c.tell(change(10, "op", "gold", 0)).Refused; got != "" {
			t.Errorf("refused while the product observes: %s", got)
		}
		c.live()
		if got := c.tell(change(10, "op", "gold", 0)).Refused; got == "" {
			t.Error("agreed to a plan that is not in the catalog")
		}
		if got := c.tell(change(10, "op", "premium", 0)).Refused; got != "" {
			t.Errorf("refused: %s", got)
		}
	})
}

// After ten seconds Microsoft accepts by itself; what was told too late is so.
func TestARefusalThatComesTooLateAtAzure(t *testing.T) {
	at2(t, marketplace.Azure, func(t *testing.T, c *cloud) {
		c.active("standard")
		c.tell(change(10, "op-1", "gold", 0))
		c.tell(change(11, "op-2", "premium", 0))
		c.outcomes[marketplace.RejectChange] = marketplace.TooLate
		c.errs[marketplace.ApproveChange] = fault.New(fault.NotFound, "no such operation")
		if _, again, err := c.decide(order); err != nil || !again.IsZero() {
			t.Fatalf("again %s, %v", again, err)
		}
		c.wantDecided(order)
		c.tell(observed(12, "gold", marketplace.Observation{Entitled: true}))
		c.wantTerms(order, "standard effective 1", "premium withdrawn 11", "gold effective 12")
		if got := c.sub(order).Plan; got != "standard" {
			t.Errorf("an unknown plan is served as %q, want the default", got)
		}
	})
}

func TestAConflictIsAskedAbout(t *testing.T) {
	at2(t, marketplace.Azure, func(t *testing.T, c *cloud) {
		c.active("standard")
		c.tell(change(10, "op-1", "premium", 0))
		if _, err := c.s.DB().ExecContext(t.Context(), "DELETE FROM due"); err != nil {
			t.Fatal(err)
		}
		c.errs[marketplace.ApproveChange] = fault.New(fault.Conflict, "newer update")
		if _, _, err := c.decide(order); !fault.Is(err, fault.Conflict) {
			t.Fatalf("want a conflict, which is tried again, got %v", err)
		}
		var n int
		if err := c.s.DB().QueryRowContext(t.Context(), "SELECT COUNT(*) FROM due WHERE kind = 'refresh' AND subject = 'azure|licence|"+order+"'").Scan(&n); err != nil || n != 1 {
			t.Errorf("%d refreshes, %v", n, err)
		}
	})
}

func TestWhomAzureMeters(t *testing.T) {
	at2(t, marketplace.Azure, func(t *testing.T, c *cloud) {
		sub := c.active("standard")
		c.tell(observed(60, "premium", marketplace.Observation{Entitled: true}))
		for minute, plan := range map[int]string{30: "standard", 90: "premium"} {
			err := c.s.Tx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
				terms, err := tx.Terms(ctx, sub, at(minute))
				if diff := cmp.Diff(marketplace.VendorIdentity{Resource: order, Plan: plan}, terms.Identity); diff != "" {
					t.Errorf("minute %d (-want +got):\n%s", minute, diff)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Microsoft's sign-in says who came: the buyer is in at once, anybody else proves
// an address.
func TestSigningInAtAzure(t *testing.T) {
	at2(t, marketplace.Azure, func(t *testing.T, c *cloud) {
		c.live()
		c.tell(observed(1, "standard", bought))
		arrive := func() (token string) {
			c.tx(func(ctx context.Context, tx subscription.Tx) (err error) {
				token, err = c.subs.OpenArrival(ctx, tx, c.sub(order).ID, marketplace.Arrival{Account: buyer, Buyers: []string{"t/user", "t/payer"}})
				return err
			})
			return token
		}
		first := arrive()
		if v, err := c.subs.Visit(t.Context(), first); err != nil || !v.SignIn || v.Known {
			t.Fatalf("visit %+v %v", v, err)
		}
		_, err := c.subs.Continue(t.Context(), first)
		public(t, err, fault.Denied, "Confirm your e-mail")
		_, err = c.subs.SignIn(t.Context(), first, "t/stranger", "eve@example.com")
		public(t, err, fault.Denied, "neither bought nor uses")
		_, err = c.subs.SignIn(t.Context(), first, "", "eve@example.com")
		public(t, err, fault.Denied, "neither bought nor uses")
		_, err = c.subs.SignIn(t.Context(), first, "t/user", "")
		public(t, err, fault.Invalid, "not an e-mail address")
		for range 2 {
			if got, err := c.subs.SignIn(t.Context(), first, "t/user", "jane@example.com"); err != nil || got.State != subscription.ClaimHolder {
				t.Fatalf("signed in: %+v %v", got, err)
			}
		}
		if _, err = c.subs.SignIn(t.Context(), first, "t/payer", "bob@example.com"); !fault.Is(err, fault.Denied) {
			t.Errorf("another person took over a confirmed visit: %v", err)
		}
		c.wantState(order, subscription.StateProvisioning)
		// She again, without an address in her token; then who paid, who must be let in.
		if got, err := c.subs.SignIn(t.Context(), arrive(), "t/user", "masked**"); err != nil || got.State != subscription.ClaimAdmitted {
			t.Errorf("again: %+v %v", got, err)
		}
		if got, err := c.subs.SignIn(t.Context(), arrive(), "t/user", "jane.miller@example.com"); err != nil || got.State != subscription.ClaimAdmitted {
			t.Errorf("again, under another address: %+v %v", got, err)
		}
		_, err = c.subs.SignIn(t.Context(), arrive(), "t/payer", "bob@example.com")
		public(t, err, fault.Denied, "j…@example.com")
		// A directory's administrator may write any address into it: that lets nobody in.
		if got, err := c.subs.SignIn(t.Context(), arrive(), "t/payer", "jane@example.com"); !fault.Is(err, fault.Denied) || got.State != subscription.ClaimSecond {
			t.Errorf("the holder's address let another person in: %+v %v", got, err)
		}
		if v, err := c.subs.Visit(t.Context(), first); err != nil || !v.SignIn {
			t.Errorf("who signed in may sign in again: %+v %v", v, err)
		}
		// A link that lay about proves nobody any more.
		late := arrive()
		c.wait(25 * time.Hour)
		_, err = c.subs.SignIn(t.Context(), late, "t/user", "jane@example.com")
		public(t, err, fault.Gone, "expired")
	})
}

// An address that the marketplace verified needs no mail, for a while.
func TestAVouchedAddress(t *testing.T) {
	at2(t, marketplace.GCP, func(t *testing.T, c *cloud) {
		c.live()
		c.tell(observed(1, "standard", marketplace.Observation{Awaits: marketplace.Approve}))
		for _, waited := range []time.Duration{16 * time.Minute, 14 * time.Minute} {
			var token string
			c.tx(func(ctx context.Context, tx subscription.Tx) (err error) {
				token, err = c.subs.OpenArrival(ctx, tx, c.sub(order).ID, marketplace.Arrival{Account: buyer, Email: "jane@example.com"})
				return err
			})
			c.wait(waited)
			_, err := c.subs.Continue(t.Context(), token)
			if known := waited < 15*time.Minute; known != (err == nil) {
				t.Errorf("after %s: %v", waited, err)
			}
		}
		c.wantDecided(order, "approve_account", "approve")
		if m := c.mails(); len(m) != 0 {
			t.Errorf("%d mails", len(m))
		}
	})
}
