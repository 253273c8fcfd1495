package subscription_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/catalog"
	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/notify"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/store/storetest"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

type world struct {
	t    *testing.T
	s    *store.Store
	subs *subscription.Service
	mu   sync.Mutex
	now  time.Time
}

func each(t *testing.T, fn func(t *testing.T, w *world)) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := &world{t: t, s: s, now: t0}
		cat := catalog.Catalog{Products: []catalog.Product{{ID: "tailnet", Plans: []catalog.Plan{
			{ID: "standard", Default: true}, {ID: "team", Names: map[string]string{"aws": "team_plan"}},
		}}}}
		w.subs = subscription.New(s, cat, w.clock, slog.New(slog.DiscardHandler))
		fn(t, w)
	})
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) wait(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) tx(fn func(context.Context, subscription.Tx) error) {
	w.t.Helper()
	if err := w.s.SubscriptionTx(w.t.Context(), fn); err != nil {
		w.t.Fatal(err)
	}
}

// buy makes a purchase and opens a claim of it.
func (w *world) buy(purchase string) (sub id.Subscription, token string) {
	w.t.Helper()
	w.tx(func(ctx context.Context, t subscription.Tx) error {
		s, err := w.subs.Ensure(ctx, t, marketplace.AWS, marketplace.Ref{Purchase: purchase, Account: "001122334455", Product: "tailnet"})
		if err != nil {
			return err
		}
		sub = s.ID
		token, err = w.subs.OpenClaim(ctx, t, s.ID)
		return err
	})
	return sub, token
}

func (w *world) apply(e marketplace.Event) {
	w.t.Helper()
	w.tx(func(ctx context.Context, t subscription.Tx) error {
		_, err := w.subs.Apply(ctx, t, marketplace.AWS, e, id.NewDelivery())
		return err
	})
}

func (w *world) mails() []notify.Entry {
	w.t.Helper()
	m, err := w.s.Notify().Mails(w.t.Context(), "", 100)
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

func last(link string) string { return link[strings.LastIndex(link, "/")+1:] }

// verify goes from a claim link to a confirmed address.
func (w *world) verify(token, email string) (subscription.Confirmed, error) {
	w.t.Helper()
	if err := w.subs.Email(w.t.Context(), token, email); err != nil {
		w.t.Fatal(err)
	}
	m := w.mails()[0]
	if m.Address != email || !strings.HasPrefix(m.Link, "/verify/") || m.Purpose != notify.Verify {
		w.t.Fatalf("mail %+v", m.Mail)
	}
	return w.subs.Confirm(w.t.Context(), last(m.Link))
}

func public(t *testing.T, err error, class fault.Class, says string) {
	t.Helper()
	if !fault.Is(err, class) || !strings.Contains(err.Error(), says) {
		t.Errorf("want %s saying %q, got %v", class, says, err)
	}
}

func TestTheFirstVerifiedPersonHoldsThePurchase(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		sub, first := w.buy("l-1")
		_, second := w.buy("l-1")
		_, third := w.buy("l-1")
		got, err := w.verify(first, "jane@example.com")
		if err != nil || got.State != subscription.ClaimHolder || got.Subscription != sub {
			t.Fatalf("first: %+v %v", got, err)
		}
		// Her other browser, with her address in capitals.
		if got, err = w.verify(second, "Jane@example.com"); err != nil || got.State != subscription.ClaimAdmitted {
			t.Fatalf("the same person: %+v %v", got, err)
		}
		got, err = w.verify(third, "bob@example.com")
		public(t, err, fault.Denied, "j…@example.com")
		if got.State != subscription.ClaimSecond {
			t.Fatalf("second person: %+v", got)
		}
		v, err := w.subs.Visit(t.Context(), third)
		if err != nil || v.Holder != "j…@example.com" {
			t.Fatalf("visit %+v %v", v, err)
		}
		bobsLink := last(w.mails()[0].Link)
		if err := w.subs.Admit(t.Context(), "sub_other", got.Claim); !fault.Is(err, fault.Denied) {
			t.Errorf("another purchase's holder admitted: %v", err)
		}
		if err := w.subs.Admit(t.Context(), sub, got.Claim); err != nil {
			t.Fatal(err)
		}
		if got, err = w.subs.Confirm(t.Context(), bobsLink); err != nil || got.State != subscription.ClaimAdmitted {
			t.Errorf("after the holder let him in: %+v %v", got, err)
		}
		people, err := w.subs.People(t.Context(), sub)
		if err != nil || len(people) != 3 || people[0].Email != "j…@example.com" {
			t.Errorf("people %+v %v", people, err)
		}
		trail, err := w.subs.Audit(t.Context(), 0, 100)
		if err != nil || len(trail) != 4 || subscription.CheckAudit(nil, trail) != nil {
			t.Fatalf("audit %+v %v", trail, err)
		}
		trail[1].Actor = "mallory"
		if subscription.CheckAudit(nil, trail) == nil {
			t.Error("a changed audit line was not noticed")
		}
	})
}

func TestTwoPeopleConfirmAtOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		sub, _ := w.buy("l-1")
		var links []string
		for _, email := range []string{"a@example.com", "b@example.com", "c@example.com"} {
			_, token := w.buy("l-1")
			if err := w.subs.Email(t.Context(), token, email); err != nil {
				t.Fatal(err)
			}
			links = append(links, last(w.mails()[0].Link))
		}
		var wg sync.WaitGroup
		states := make([]subscription.ClaimState, len(links))
		for i, l := range links {
			wg.Go(func() {
				got, err := w.subs.Confirm(t.Context(), l)
				if err != nil && !fault.Is(err, fault.Denied) {
					t.Error(err)
				}
				states[i] = got.State
			})
		}
		wg.Wait()
		holders := 0
		for _, s := range states {
			if s == subscription.ClaimHolder {
				holders++
			}
		}
		if holders != 1 {
			t.Errorf("%d people hold %s: %v", holders, sub, states)
		}
	})
}

func TestAnInvitedAdminIsLetIn(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		sub, token := w.buy("l-1")
		// Sent on from the claim page, before anybody confirmed: the admin holds it.
		if err := w.subs.Invite(t.Context(), token, "admin@example.com"); err != nil {
			t.Fatal(err)
		}
		m := w.mails()[0]
		if m.Purpose != notify.NetworkAdmin || !strings.HasPrefix(m.Link, "/claim/") {
			t.Fatalf("mail %+v", m.Mail)
		}
		if got, err := w.verify(last(m.Link), "admin@example.com"); err != nil || got.State != subscription.ClaimHolder {
			t.Fatalf("admin: %+v %v", got, err)
		}
		// The admin invites a colleague from the purchase's page.
		if err := w.subs.InviteFrom(t.Context(), sub, "kim@example.com"); err != nil {
			t.Fatal(err)
		}
		if got, err := w.verify(last(w.mails()[0].Link), "kim@example.com"); err != nil || got.State != subscription.ClaimAdmitted {
			t.Fatalf("colleague: %+v %v", got, err)
		}
		if err := w.subs.InviteFrom(t.Context(), sub, "not an address"); !fault.Is(err, fault.Invalid) {
			t.Errorf("invited nobody: %v", err)
		}
	})
}

func TestLinksThatLeadNowhere(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		_, token := w.buy("l-1")
		if err := w.subs.Email(t.Context(), token, "jane@example.com"); err != nil {
			t.Fatal(err)
		}
		link := last(w.mails()[0].Link)
		_, err := w.subs.Confirm(t.Context(), "unknown")
		public(t, err, fault.NotFound, "We do not know this link")
		_, err = w.subs.Visit(t.Context(), "unknown")
		public(t, err, fault.NotFound, "We do not know this link")
		public(t, w.subs.MailLink(t.Context(), "unknown"), fault.NotFound, "We do not know this link")
		if err := w.subs.MailLink(t.Context(), link); err != nil {
			t.Errorf("a living link: %v", err)
		}
		w.wait(24 * time.Hour)
		public(t, w.subs.MailLink(t.Context(), link), fault.Gone, "Set up your account")
		_, err = w.subs.Confirm(t.Context(), link)
		public(t, err, fault.Gone, "Set up your account")
		_, err = w.subs.Visit(t.Context(), token)
		public(t, err, fault.Gone, "Set up your account")
		public(t, w.subs.Email(t.Context(), token, "jane@example.com"), fault.Gone, "has expired")
	})
}

func TestMailsAreBounded(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for sent := 0; ; {
			_, token := w.buy("l-1")
			var err error
			for range 6 {
				if err = w.subs.Email(t.Context(), token, "jane@example.com"); err != nil {
					break
				}
				sent++
			}
			public(t, err, fault.Throttled, "spam folder")
			if sent == 20 {
				break
			}
			if sent > 20 || sent%5 != 0 {
				t.Fatalf("%d mails of one purchase", sent)
			}
		}
		if got := len(w.mails()); got != 20 {
			t.Errorf("%d mails", got)
		}
	})
}

func TestNames(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		one, _ := w.buy("l-1")
		two, _ := w.buy("l-2")
		a, err := w.subs.Get(t.Context(), one)
		if err != nil {
			t.Fatal(err)
		}
		b, err := w.subs.Get(t.Context(), two)
		if err != nil || a.TailnetName == b.TailnetName || a.Customer != b.Customer || subscription.CheckName(b.TailnetName) != nil {
			t.Fatalf("suggested %q and %q: %v", a.TailnetName, b.TailnetName, err)
		}
		for range 2 {
			if err := w.subs.Name(t.Context(), one, "clm_1", "  Jane's   network-2 "); err != nil {
				t.Fatal(err)
			}
		}
		if a, err = w.subs.Get(t.Context(), one); err != nil || a.TailnetName != "Jane's network-2" || !a.NameChosen {
			t.Errorf("named %q %v", a.TailnetName, err)
		}
		public(t, w.subs.Name(t.Context(), two, "clm_1", "JANE'S network-2"), fault.Conflict, "different one")
		for _, bad := range []string{"", " ", "a/b", "<b>", "über\x00", strings.Repeat("x", 51), strings.Repeat("ü", 26)} {
			if err := w.subs.Name(t.Context(), two, "clm_1", bad); !fault.Is(err, fault.Invalid) {
				t.Errorf("%q was taken as a name: %v", bad, err)
			}
		}
		if err := w.subs.Record(t.Context(), one, subscription.Fact{Kind: subscription.FactClosed}); err != nil {
			t.Fatal(err)
		}
		public(t, w.subs.Name(t.Context(), one, "clm_1", "late"), fault.Conflict, "has ended")
		if err := w.subs.Name(t.Context(), two, "clm_1", "Jane's network-2"); err != nil {
			t.Errorf("an ended network's name stays taken: %v", err)
		}
	})
}

// Facts are rebuilt from the story, from nothing else.
func TestTheStoryRebuildsTheFacts(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		if err := w.subs.GoLive(t.Context(), "tailnet", clock.HourOf(t0), "ops"); err != nil {
			t.Fatal(err)
		}
		sub, token := w.buy("l-1")
		e := marketplace.Event{Kind: marketplace.Entitled, At: at(1), Version: at(1), Ref: marketplace.Ref{Purchase: "l-1", Agreement: "agmt-1"}}
		w.apply(e)
		if _, err := w.verify(token, "jane@example.com"); err != nil {
			t.Fatal(err)
		}
		if err := w.subs.Record(t.Context(), sub, subscription.Fact{Kind: subscription.FactReady}); err != nil {
			t.Fatal(err)
		}
		e.Kind, e.At, e.Version = marketplace.Ended, at(5), at(5)
		w.apply(e)
		got, err := w.subs.Get(t.Context(), sub)
		if err != nil {
			t.Fatal(err)
		}
		story, err := w.subs.Story(t.Context(), sub)
		if err != nil {
			t.Fatal(err)
		}
		rebuilt, err := subscription.Rebuild(marketplace.AWS, story)
		if err != nil {
			t.Fatal(err)
		}
		if effects := subscription.Effects(got.Facts, rebuilt, at(9)); len(effects) != 0 || rebuilt.EndsAt() != got.EndsAt() || rebuilt.ClaimedAt != got.Facts.ClaimedAt || rebuilt.LiveFrom.IsZero() {
			t.Errorf("rebuilt %+v, stored %+v", rebuilt, got.Facts)
		}
		agreements, err := w.subs.Agreements(t.Context(), sub)
		if err != nil || len(agreements) != 1 || agreements[0].Agreement != "agmt-1" {
			t.Errorf("agreements %+v %v", agreements, err)
		}
	})
}

func TestTermsAreDatedRows(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		sub, _ := w.buy("l-1")
		say := func(kind marketplace.EventKind, minute int, terms marketplace.Terms) marketplace.Event {
			terms.Agreement = "agmt-1"
			return marketplace.Event{Kind: kind, At: at(minute), Version: at(minute), Ref: marketplace.Ref{Purchase: "l-1", Agreement: "agmt-1"}, Terms: &terms}
		}
		created := say(marketplace.PurchaseSeen, 1, marketplace.Terms{Offer: "offer-1", From: at(0)})
		seen := say(marketplace.Observed, 2, marketplace.Terms{Offer: "offer-1", Plan: "standard", From: at(0), Quantities: map[string]int64{"seats": 5}})
		seen.Observed = &marketplace.Observation{Entitled: true}
		amended := say(marketplace.Changed, 60, marketplace.Terms{Offer: "offer-2", Plan: "team_plan", From: at(0), Quantities: map[string]int64{"seats": 9}})
		for _, e := range []marketplace.Event{amended, seen, created, seen, amended} {
			w.apply(e)
		}
		w.wait(2 * time.Hour)
		for minute, want := range map[int]string{-5: "standard", 0: "standard", 59: "standard", 60: "team", 500: "team"} {
			got, ok, err := w.subs.TermsAt(t.Context(), sub, at(minute))
			if err != nil || !ok || got.Plan != want {
				t.Errorf("plan at minute %d: %q %v %v, want %q", minute, got.Plan, ok, err, want)
			}
		}
		unknown := say(marketplace.Changed, 90, marketplace.Terms{Offer: "offer-3", Plan: "private_plan_77", From: at(0)})
		w.apply(unknown)
		got, err := w.subs.Get(t.Context(), sub)
		if err != nil || got.Plan != "standard" {
			t.Errorf("an unknown plan is served as %q, want the default: %v", got.Plan, err)
		}
	})
}

func TestGoLiveAndPurchasesAtOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() { w.buy("l-" + string(rune('a'+i))) })
		}
		wg.Go(func() {
			if err := w.subs.GoLive(t.Context(), "tailnet", clock.HourOf(t0), "ops"); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		all, err := w.subs.List(t.Context(), subscription.Filter{Product: "tailnet"})
		if err != nil || len(all) != 8 {
			t.Fatalf("%d purchases, %v", len(all), err)
		}
		for _, s := range all {
			if s.CutOver.IsZero() || s.Facts.LiveFrom.IsZero() {
				t.Errorf("%s slipped past the go-live", s.Purchase)
			}
		}
	})
}

func TestEmails(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"jane@Example.COM": "jane@example.com", " jane.doe+x@gmail.com ": "jane.doe+x@gmail.com",
		"": "", "jane": "", "jane@host": "", "Jane <jane@example.com>": "", "jane@example.com\r\nBcc: x@y.z": "", "jane@[10.0.0.1]": "", "a@b@c.d": "",
		strings.Repeat("x", 250) + "@example.com": "",
	} {
		got, err := subscription.ParseEmail(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q %v, want %q", in, got, err, want)
		}
	}
}

func FuzzParseEmail(f *testing.F) {
	f.Add("jane@example.com")
	f.Add("\"a b\"@x.y")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := subscription.ParseEmail(s)
		if err != nil {
			return
		}
		if strings.ContainsAny(got, "\r\n <>\"") || strings.Count(got, "@") != 1 {
			t.Errorf("%q passed as %q", s, got)
		}
	})
}
