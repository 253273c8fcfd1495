package partner

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

// Options are what a Service is made of; all are required.
type Options struct {
	Store Store
	Now   func() time.Time // business time
	Log   *slog.Logger
	// Listing is the address of a product's page at a marketplace; false when it
	// is not sold there.
	Listing func(marketplace, product string) (address string, ok bool)
	// Accepted lists what marketplaces have accepted, without prices.
	Accepted func(ctx context.Context) ([]Accepted, error)
	// Price is the list price of a unit; false when the catalog has none.
	Price func(product, plan, meter string) (amount, currency string, ok bool)
}

// Service keeps partners and evidence. Safe for concurrent use.
type Service struct{ Options }

// New makes a Service.
func New(o Options) *Service { return &Service{o} }

const (
	maxName = 100
	maxKey  = 255
	// MaxSaid bounds what a buyer may answer, in characters.
	MaxSaid = 120
)

// Partners lists all partners, oldest first.
func (s *Service) Partners(ctx context.Context) ([]Partner, error) {
	all, err := s.Store.ListPartners(ctx)
	if err != nil {
		return nil, fmt.Errorf("list partners: %w", err)
	}
	return all, nil
}

// Add adds a partner. Spellings of one name are one partner: repeating it
// answers the one that is there.
func (s *Service) Add(ctx context.Context, name, actor string) (Partner, error) {
	name = strings.Join(strings.Fields(name), " ")
	if Fold(name) == "" || utf8.RuneCountInString(name) > maxName || strings.ContainsFunc(name, unicode.IsControl) {
		return Partner{}, fault.New(fault.Invalid, "A partner's name has 1 to %d characters, a letter or digit among them.", maxName)
	}
	var got Partner
	err := s.Store.PartnerTx(ctx, func(ctx context.Context, t Tx) error {
		now := s.Now()
		var made bool
		var err error
		got, made, err = t.EnsurePartner(ctx, Partner{ID: id.NewPartner(), Name: name, CreatedAt: now, CreatedBy: actor}, Fold(name))
		if err != nil || !made {
			return err
		}
		return t.AddAudit(ctx, subscription.AuditEntry{At: now, Actor: actor, Action: "partner.add", Subject: string(got.ID), Detail: name})
	})
	if err != nil {
		return Partner{}, fmt.Errorf("add a partner: %w", err)
	}
	return got, nil
}

// Know says what a marketplace knows a partner by. It counts for purchases that
// are there already. Conflict: it is another partner's. Harmless to repeat.
func (s *Service) Know(ctx context.Context, of id.Partner, marketplace string, kind KeyKind, value, actor string) error {
	k := Key{Partner: of, Marketplace: marketplace, Kind: kind, Value: value, RecordedBy: actor}
	switch {
	case k.Kind != ResellerKey && k.Kind != OfferKey:
		return fault.New(fault.Invalid, "A partner is known by its account as a reseller (reseller) or by an offer made for it (offer).")
	case k.Marketplace == "" || k.Value == "" || len(k.Marketplace) > maxKey || len(k.Value) > maxKey || strings.ContainsFunc(k.Value, unicode.IsControl):
		return fault.New(fault.Invalid, "Name the marketplace, and the reseller or offer exactly as the marketplace does.")
	}
	err := s.change(ctx, k.Partner, func(ctx context.Context, t Tx, now time.Time) error {
		k.RecordedAt = now
		owner, made, err := t.EnsureKey(ctx, k)
		switch {
		case err != nil:
			return err
		case owner != k.Partner:
			return fault.New(fault.Conflict, "%s knows partner %s by this %s already.", k.Marketplace, owner, k.Kind)
		case !made:
			return nil
		}
		return t.AddAudit(ctx, subscription.AuditEntry{At: now, Actor: actor, Action: "partner.know", Subject: string(k.Partner), Detail: string(k.Kind) + " at " + k.Marketplace + ": " + k.Value})
	})
	if err != nil {
		return fmt.Errorf("know a partner: %w", err)
	}
	return nil
}

// MakeLink makes a partner's link to a listing and returns it with the path that
// is given out, signed. Repeating it answers the same link.
func (s *Service) MakeLink(ctx context.Context, partner id.Partner, marketplace, product, actor string) (Link, string, error) {
	if _, ok := s.Listing(marketplace, product); !ok {
		return Link{}, "", fault.New(fault.Invalid, "There is no listing of %q at %q that a link could lead to; the operator sets its address.", product, marketplace)
	}
	var got Link
	err := s.change(ctx, partner, func(ctx context.Context, t Tx, now time.Time) error {
		var made bool
		var err error
		got, made, err = t.EnsureLink(ctx, Link{ID: id.NewLink(), Partner: partner, Marketplace: marketplace, Product: product, MadeAt: now, MadeBy: actor})
		if err != nil || !made {
			return err
		}
		return t.AddAudit(ctx, subscription.AuditEntry{At: now, Actor: actor, Action: "partner.link", Subject: string(partner), Detail: string(got.ID)})
	})
	if err != nil {
		return Link{}, "", fmt.Errorf("make a referral link: %w", err)
	}
	token, err := s.token(got.ID)
	return got, "/r/" + token, err
}

// change runs do in a transaction if there is such a partner.
func (s *Service) change(ctx context.Context, partner id.Partner, do func(context.Context, Tx, time.Time) error) error {
	all, err := s.Store.ListPartners(ctx) // partners are few, and never removed
	if err != nil {
		return err
	}
	if _, ok := BookOf(all).partners[partner]; !ok {
		return fault.New(fault.NotFound, "There is no partner %s.", partner)
	}
	return s.Store.PartnerTx(ctx, func(ctx context.Context, t Tx) error { return do(ctx, t, s.Now()) })
}

// Arrived takes what a buyer's browser kept of links it followed, when the buyer
// comes from the marketplace to claim a purchase. It reports whether a link is
// known now, so that nobody needs to ask. Harmless to repeat; a value that is not
// ours, or too old, counts as none.
func (s *Service) Arrived(ctx context.Context, sub id.Subscription, claim id.Claim, kept []string) (referred bool, err error) {
	var touches []Touch
	now := s.Now()
	for _, value := range kept {
		link, at, ok, err := s.visit(value)
		if err != nil {
			return false, err
		}
		if !ok {
			continue
		}
		l, ok, err := s.Store.FindLink(ctx, link)
		if err != nil {
			return false, fmt.Errorf("find a referral link: %w", err)
		}
		if ok {
			touches = append(touches, Touch{ID: id.NewTouch(), Subscription: sub, Kind: LinkTouch, Link: l.ID, Partner: l.Partner, Claim: claim, At: at, RecordedAt: now})
		}
	}
	if len(touches) == 0 {
		return false, nil
	}
	return true, s.touch(ctx, touches)
}

// Said takes the buyer's own answer to who referred them; empty is none. Of one
// visit the last answer counts. Invalid: too long, or no text.
func (s *Service) Said(ctx context.Context, sub id.Subscription, claim id.Claim, answer string) error {
	answer = strings.Join(strings.Fields(answer), " ")
	if utf8.RuneCountInString(answer) > MaxSaid || !utf8.ValidString(answer) || strings.ContainsFunc(answer, unicode.IsControl) {
		return fault.New(fault.Invalid, "Please answer in at most %d characters; a company's name is enough.", MaxSaid)
	}
	if answer == "" {
		return nil
	}
	now := s.Now()
	return s.touch(ctx, []Touch{{ID: id.NewTouch(), Subscription: sub, Kind: SaidTouch, Said: answer, Claim: claim, At: now, RecordedAt: now}})
}

func (s *Service) touch(ctx context.Context, touches []Touch) error {
	err := s.Store.PartnerTx(ctx, func(ctx context.Context, t Tx) error {
		for _, touch := range touches {
			if err := t.AddTouch(ctx, touch); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("keep who referred a buyer: %w", err)
	}
	return nil
}

// Attributions computes route and source of the customers after one, by id; at
// most limit of them.
func (s *Service) Attributions(ctx context.Context, after id.Customer, limit int) ([]Attribution, error) {
	all, err := s.Partners(ctx)
	if err != nil {
		return nil, err
	}
	customers, err := s.Store.ListEvidence(ctx, after, limit)
	if err != nil {
		return nil, fmt.Errorf("read who brought customers: %w", err)
	}
	book, out := BookOf(all), make([]Attribution, len(customers))
	for i, c := range customers {
		out[i] = Attribute(c, book)
	}
	return out, nil
}

const evidencePage = 500

// Channels adds up what every channel has brought to date, and tells of which
// customers.
func (s *Service) Channels(ctx context.Context) (values []ChannelValue, customers []Attribution, err error) {
	facts, err := s.Accepted(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("what was accepted: %w", err)
	}
	for after := id.Customer(""); ; {
		page, err := s.Attributions(ctx, after, evidencePage)
		if err != nil {
			return nil, nil, err
		}
		customers = append(customers, page...)
		if len(page) < evidencePage {
			break
		}
		after = page[len(page)-1].Customer
	}
	s.price(customers, facts)
	values, err = ValueByChannel(customers, facts)
	return values, customers, err
}

// price puts list prices to facts, by the plan each purchase has now.
func (s *Service) price(customers []Attribution, facts []Accepted) {
	of := map[id.Subscription]Purchase{}
	for _, c := range customers {
		for _, p := range c.Purchases {
			of[p.ID] = p
		}
	}
	for i := range facts {
		if p, ok := of[facts[i].Subscription]; ok {
			if amount, currency, ok := s.Price(p.Product, p.Plan, facts[i].Meter); ok {
				facts[i].Price, facts[i].Currency = amount, currency
			}
		}
	}
}
