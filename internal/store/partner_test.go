package store_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tailmarket/tailmarket/internal/catalog"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/partner"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/store/storetest"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

// programme is a partner room and the purchases it attributes, over one store.
type programme struct {
	*partner.Service
	t    *testing.T
	s    *store.Store
	subs *subscription.Service
	log  *bytes.Buffer
	now  time.Time
}

func newProgramme(t *testing.T, s *store.Store) *programme {
	t.Helper()
	p := &programme{t: t, s: s, log: &bytes.Buffer{}, now: now}
	log := slog.New(slog.NewTextHandler(p.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	clock := func() time.Time { return p.now }
	p.subs = subscription.New(s, *catalog.Default(), clock, log)
	p.Service = partner.New(partner.Options{
		Store: s, Now: clock, Log: log,
		Listing: func(m, product string) (string, bool) {
			return "https://listing.example/" + m + "/" + product, m != "gcp"
		},
		Accepted: func(context.Context) ([]partner.Accepted, error) { return nil, nil },
		Price:    func(string, string, string) (string, string, bool) { return "", "", false },
	})
	return p
}

// hear applies what a marketplace says about a purchase; the name of the
// purchase is its account too.
func (p *programme) hear(e marketplace.Event) id.Subscription {
	p.t.Helper()
	var got subscription.Applied
	err := p.s.SubscriptionTx(p.t.Context(), func(ctx context.Context, tx subscription.Tx) (err error) {
		if e.Kind == marketplace.Noted {
			return p.subs.HearOffer(ctx, tx, marketplace.AWS, e)
		}
		got, err = p.subs.Apply(ctx, tx, marketplace.AWS, e, id.NewDelivery())
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return got.Subscription
}

func boughtBy(purchase string, at time.Time) marketplace.Event {
	return marketplace.Event{
		Kind: marketplace.Entitled, Ref: marketplace.Ref{Purchase: purchase, Agreement: "agmt-" + purchase, Account: "account-" + purchase, Product: "tailnet"},
		At: at, Version: at, MessageID: "evt-" + purchase,
	}
}

func (p *programme) partner(name string) partner.Partner {
	p.t.Helper()
	got, err := p.Add(p.t.Context(), name, "operator")
	if err != nil {
		p.t.Fatal(err)
	}
	return got
}

func (p *programme) know(of id.Partner, kind partner.KeyKind, value string) {
	p.t.Helper()
	if err := p.Know(p.t.Context(), of, "aws", kind, value, "operator"); err != nil {
		p.t.Fatal(err)
	}
}

func (p *programme) follow(of id.Partner) string {
	p.t.Helper()
	_, path, err := p.MakeLink(p.t.Context(), of, "aws", "tailnet", "operator")
	if err != nil {
		p.t.Fatal(err)
	}
	got, err := p.Follow(p.t.Context(), strings.TrimPrefix(path, "/r/"))
	if err != nil || got.Listing != "https://listing.example/aws/tailnet" {
		p.t.Fatalf("followed to %q: %v", got.Listing, err)
	}
	return got.Value
}

// tags are route and partner by account.
func (p *programme) tags() map[string]string {
	p.t.Helper()
	out := map[string]string{}
	for after := id.Customer(""); ; {
		page, err := p.Attributions(p.t.Context(), after, 2)
		if err != nil {
			p.t.Fatal(err)
		}
		for _, a := range page {
			out[a.Account] = string(a.Route) + " " + a.Source.Name
			after = a.Customer
			if a.RouteEvidence.Text == "" || a.Source.Partner != "" && a.Source.Evidence.Text == "" {
				p.t.Errorf("%s is tagged without evidence", a.Account)
			}
		}
		if len(page) < 2 {
			return out
		}
	}
}

func TestWhoBroughtACustomerIsKeptAndFound(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		p := newProgramme(t, s)
		hawk, owl := p.partner("Hawk"), p.partner("Owl")
		p.know(hawk.ID, partner.ResellerKey, "444455556666")
		p.know(owl.ID, partner.OfferKey, "offer-owl")
		value := p.follow(owl.ID)

		// The offer is heard of before anybody buys it, the agreement before its purchase.
		p.hear(marketplace.Event{Kind: marketplace.Noted, At: now, MessageID: "evt-offer", Terms: &marketplace.Terms{Offer: "offer-private", Private: true}})
		p.hear(marketplace.Event{Kind: marketplace.PurchaseSeen, Ref: marketplace.Ref{Agreement: "agmt-resold"}, At: now, Version: now, Reseller: "444455556666", MessageID: "evt-early"})
		offered := func(name, offer string) marketplace.Event {
			e := boughtBy(name, now)
			e.Terms = &marketplace.Terms{Offer: offer}
			return e
		}
		linked := p.hear(boughtBy("linked", now))
		p.hear(boughtBy("resold", now))
		p.hear(offered("private", "offer-private"))
		p.hear(offered("owls", "offer-owl"))
		p.hear(boughtBy("nobody", now))
		asked := p.hear(boughtBy("asked", now))

		for range 2 { // a page is loaded twice
			if known, err := p.Arrived(t.Context(), linked, "clm_1", []string{"forged", value, value + "x"}); !known || err != nil {
				t.Fatalf("the link is not known: %v", err)
			}
		}
		if known, err := p.Arrived(t.Context(), asked, "clm_2", []string{"forged"}); known || err != nil {
			t.Fatalf("a forged link is known: %v", err)
		}
		for _, answer := range []string{"somebody", " HAWK! ", ""} { // corrected once; an empty one takes nothing back
			if err := p.Said(t.Context(), asked, "clm_2", answer); err != nil {
				t.Fatal(err)
			}
		}
		want := map[string]string{
			"account-linked": "public_listing Owl", "account-resold": "reseller Hawk", "account-private": "private_offer ",
			"account-owls": "public_listing Owl", "account-nobody": "public_listing ", "account-asked": "public_listing Hawk",
		}
		if diff := cmp.Diff(want, p.tags()); diff != "" {
			t.Fatalf("(-want +got)\n%s", diff)
		}
		if words := said(t, s); bytes.Contains(words, []byte("HAWK")) || len(words) == 0 {
			t.Error("a buyer's words are kept in the open, or not at all")
		}
		for _, secret := range []string{value, "HAWK!"} {
			if strings.Contains(p.log.String(), secret) {
				t.Error("the log holds a link or a buyer's words")
			}
		}
	})
}

func said(t *testing.T, s *store.Store) (all []byte) {
	t.Helper()
	rows, err := s.DB().QueryContext(t.Context(), "SELECT said FROM touches")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var b []byte
		if err := rows.Scan(&b); err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// Messages come in any order and twice; what is kept of a sale must not depend
// on it.
func TestEvidenceDoesNotDependOnTheOrderOfMessages(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		p := newProgramme(t, s)
		messages := func(name string) (out []marketplace.Event) {
			for i, id := range []string{"b", "a", "c"} {
				e := boughtBy(name, now.Add(time.Duration(max(i, 1))*time.Minute)) // two have one time
				e.Reseller, e.MessageID = "4444", "evt-"+id
				out = append(out, e)
			}
			return out
		}
		forth, back := messages("forth"), messages("back")
		for i := range 2 * len(forth) {
			p.hear(forth[i%len(forth)])
			p.hear(back[len(back)-1-i%len(back)])
		}
		got := map[string][]partner.Statement{}
		all, err := s.ListEvidence(t.Context(), "", 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range all {
			got[c.Account] = c.Purchases[0].Statements
		}
		want := []partner.Statement{{Reseller: "4444", At: now.Add(time.Minute), Message: "evt-a"}}
		if diff := cmp.Diff(map[string][]partner.Statement{"account-forth": want, "account-back": want}, got); diff != "" {
			t.Fatalf("(-want +got)\n%s", diff)
		}
	})
}

func TestPartnersKeysAndLinksAreMadeOnce(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		p := newProgramme(t, s)
		ctx := t.Context()
		hawk, owl := p.partner("Hawk  Networks, Inc."), p.partner("Owl")
		if again := p.partner("hawk networks inc"); again.ID != hawk.ID || again.Name != "Hawk Networks, Inc." {
			t.Errorf("another spelling is another partner: %+v", again)
		}
		for range 2 {
			p.know(hawk.ID, partner.ResellerKey, "4444")
		}
		refused := map[string]struct {
			err  error
			want fault.Class
		}{
			"a key of somebody else's":     {p.Know(ctx, owl.ID, "aws", partner.ResellerKey, "4444", "operator"), fault.Conflict},
			"a key of an unknown kind":     {p.Know(ctx, owl.ID, "aws", "name", "4444", "operator"), fault.Invalid},
			"a key without a value":        {p.Know(ctx, owl.ID, "aws", partner.OfferKey, "", "operator"), fault.Invalid},
			"a key of a partner not there": {p.Know(ctx, "prt_none", "aws", partner.OfferKey, "o", "operator"), fault.NotFound},
		}
		_, err := p.Add(ctx, " …! ", "operator")
		refused["a name without a letter"] = struct {
			err  error
			want fault.Class
		}{err, fault.Invalid}
		_, _, err = p.MakeLink(ctx, owl.ID, "gcp", "tailnet", "operator")
		refused["a link to no listing"] = struct {
			err  error
			want fault.Class
		}{err, fault.Invalid}
		_, _, err = p.MakeLink(ctx, "prt_none", "aws", "tailnet", "operator")
		refused["a link of nobody"] = struct {
			err  error
			want fault.Class
		}{err, fault.NotFound}
		for name, r := range refused {
			if !fault.Is(r.err, r.want) {
				t.Errorf("%s: %v, want %s", name, r.err, r.want)
			}
		}
		first, path, err := p.MakeLink(ctx, owl.ID, "aws", "tailnet", "operator")
		if err != nil {
			t.Fatal(err)
		}
		again, same, err := p.MakeLink(ctx, owl.ID, "aws", "tailnet", "somebody else")
		if err != nil || again != first || same != path {
			t.Errorf("asked again, the link is %+v %q, want %+v %q: %v", again, same, first, path, err)
		}
		all, err := p.Partners(ctx)
		if err != nil {
			t.Fatal(err)
		}
		want := []partner.Partner{
			{ID: hawk.ID, Name: "Hawk Networks, Inc.", CreatedAt: now, CreatedBy: "operator", Keys: []partner.Key{
				{Partner: hawk.ID, Marketplace: "aws", Kind: partner.ResellerKey, Value: "4444", RecordedAt: now, RecordedBy: "operator"},
			}},
			{ID: owl.ID, Name: "Owl", CreatedAt: now, CreatedBy: "operator", Links: []partner.Link{first}},
		}
		if diff := cmp.Diff(want, all); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		trail, err := s.ListAudit(ctx, 0, 10)
		if err != nil || subscription.CheckAudit(nil, trail) != nil {
			t.Fatalf("audit trail: %v", err)
		}
		var actions []string
		for _, e := range trail {
			actions = append(actions, e.Action)
		}
		if diff := cmp.Diff([]string{"partner.add", "partner.add", "partner.know", "partner.link"}, actions); diff != "" {
			t.Errorf("the audit trail holds (-want +got)\n%s", diff)
		}
	})
}

func TestALinkIsOursAndLivesNinetyDays(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		p := newProgramme(t, s)
		ctx, sub := t.Context(), p.hear(boughtBy("linked", now))
		owl := p.partner("Owl")
		link, path, err := p.MakeLink(ctx, owl.ID, "aws", "tailnet", "operator")
		if err != nil {
			t.Fatal(err)
		}
		token, value := strings.TrimPrefix(path, "/r/"), p.follow(owl.ID)
		other, _, err := p.MakeLink(ctx, p.partner("Hawk").ID, "aws", "tailnet", "operator")
		if err != nil {
			t.Fatal(err)
		}
		// Of the right form and length, and not signed by us.
		forge := func(text string) string {
			last := "A"
			if strings.HasSuffix(text, last) {
				last = "B"
			}
			return text[:len(text)-1] + last
		}
		stolen := func(text string) string { return strings.Replace(text, string(link.ID), string(other.ID), 1) }
		for _, forged := range []string{forge(value), stolen(value), strings.Replace(value, ".", ".1", 1)} {
			if known, err := p.Arrived(ctx, sub, "clm_1", []string{forged}); known || err != nil {
				t.Errorf("%q counts as followed: %v", forged, err)
			}
		}
		for _, bad := range []string{forge(token), stolen(token), "", ".", "x", string(link.ID), string(link.ID) + ".", token[1:], token + "A", value, strings.Repeat("x", 300) + token} {
			if _, err := p.Follow(ctx, bad); !fault.Is(err, fault.NotFound) {
				t.Errorf("followed %q: %v", bad, err)
			}
		}
		if known, err := p.Arrived(ctx, sub, "clm_1", []string{token}); known || err != nil {
			t.Errorf("a link that nobody followed counts as followed: %v", err)
		}
		ages := map[time.Duration]bool{
			-time.Hour: false, -time.Minute: true, 0: true, partner.LinkLife - time.Second: true, partner.LinkLife: false, 10 * partner.LinkLife: false,
		}
		for age, want := range ages {
			p.now = now.Add(age)
			if known, err := p.Arrived(ctx, sub, "clm_1", []string{value}); known != want || err != nil {
				t.Errorf("after %s the link is known: %v, want %v; %v", age, known, want, err)
			}
		}
	})
}
