package store

import (
	"context"
	"fmt"

	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/partner"
	"github.com/tailmarket/tailmarket/internal/store/db"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

var (
	_ partner.Store = (*Store)(nil)
	_ partner.Tx    = (*Tx)(nil)
)

const touchSaid = "touch-said" // context of the encryption

// PartnerTx implements partner.Store.
func (s *Store) PartnerTx(ctx context.Context, fn func(context.Context, partner.Tx) error) error {
	return s.Tx(ctx, func(ctx context.Context, t *Tx) error { return fn(ctx, t) })
}

// SignReferral implements partner.Store.
func (s *Store) SignReferral(text string) ([]byte, error) {
	if s.keys == nil {
		return nil, errNoKeys
	}
	return s.keys.fingerprint("referral", text), nil
}

// EnsurePartner implements partner.Tx.
func (t *Tx) EnsurePartner(ctx context.Context, p partner.Partner, folded string) (partner.Partner, bool, error) {
	r, err := t.q.EnsurePartner(ctx, db.EnsurePartnerParams{ID: string(p.ID), Name: p.Name, Folded: folded, CreatedAt: micros(p.CreatedAt), CreatedBy: p.CreatedBy})
	if err != nil {
		return partner.Partner{}, false, fmt.Errorf("add a partner: %w", err)
	}
	got := toPartner(r)
	return got, got.ID == p.ID, nil
}

func toPartner(r db.Partner) partner.Partner {
	return partner.Partner{ID: id.Partner(r.ID), Name: r.Name, CreatedAt: fromMicros(r.CreatedAt), CreatedBy: r.CreatedBy}
}

// EnsureKey implements partner.Tx.
func (t *Tx) EnsureKey(ctx context.Context, k partner.Key) (id.Partner, bool, error) {
	n, err := t.q.AddPartnerKey(ctx, db.AddPartnerKeyParams{
		Marketplace: k.Marketplace, Kind: string(k.Kind), Value: k.Value, Partner: string(k.Partner), RecordedAt: micros(k.RecordedAt), RecordedBy: k.RecordedBy,
	})
	if err != nil {
		return "", false, fmt.Errorf("add a key of partner %s: %w", k.Partner, err)
	}
	owner, err := t.q.PartnerOfKey(ctx, db.PartnerOfKeyParams{Marketplace: k.Marketplace, Kind: string(k.Kind), Value: k.Value})
	if err != nil {
		return "", false, fmt.Errorf("read whose key it is: %w", err)
	}
	return id.Partner(owner), n == 1, nil
}

// EnsureLink implements partner.Tx.
func (t *Tx) EnsureLink(ctx context.Context, l partner.Link) (partner.Link, bool, error) {
	r, err := t.q.EnsureReferralLink(ctx, db.EnsureReferralLinkParams{
		ID: string(l.ID), Partner: string(l.Partner), Marketplace: l.Marketplace, Product: l.Product, MadeAt: micros(l.MadeAt), MadeBy: l.MadeBy,
	})
	if err != nil {
		return partner.Link{}, false, fmt.Errorf("add a link of partner %s: %w", l.Partner, err)
	}
	got := toLink(r)
	return got, got.ID == l.ID, nil
}

func toLink(r db.ReferralLink) partner.Link {
	return partner.Link{
		ID: id.Link(r.ID), Partner: id.Partner(r.Partner), Marketplace: r.Marketplace, Product: r.Product, MadeAt: fromMicros(r.MadeAt), MadeBy: r.MadeBy,
	}
}

// AddTouch implements partner.Tx.
func (t *Tx) AddTouch(ctx context.Context, touch partner.Touch) error {
	said, err := t.keys.sealText(touch.Said, touchSaid)
	switch {
	case err != nil:
	case touch.Kind == partner.LinkTouch:
		err = t.q.AddLinkTouch(ctx, db.AddLinkTouchParams{
			ID: string(touch.ID), Subscription: string(touch.Subscription), Link: string(touch.Link), Partner: string(touch.Partner), Said: said,
			Claim: string(touch.Claim), TouchedAt: micros(touch.At), RecordedAt: micros(touch.RecordedAt),
		})
	default:
		err = t.q.AddSaidTouch(ctx, db.AddSaidTouchParams{
			ID: string(touch.ID), Subscription: string(touch.Subscription), Said: said, Claim: string(touch.Claim),
			TouchedAt: micros(touch.At), RecordedAt: micros(touch.RecordedAt),
		})
	}
	if err != nil {
		return fmt.Errorf("keep a touch of %s: %w", touch.Subscription, err)
	}
	return nil
}

// NoteSale implements subscription.Tx: evidence that the partner room reads.
func (t *Tx) NoteSale(ctx context.Context, s subscription.Sale) error {
	err := t.q.NoteSale(ctx, db.NoteSaleParams{
		Marketplace: string(s.Marketplace), Subscription: string(s.Subscription), Offer: s.Offer, Private: flag(s.Private), Reseller: s.Reseller,
		SaidAt: micros(s.SaidAt), Message: s.Message, HeardAt: micros(s.HeardAt),
	})
	if err != nil {
		return fmt.Errorf("keep how %s was sold: %w", s.Subscription, err)
	}
	return nil
}

// ListPartners implements partner.Store.
func (s *Store) ListPartners(ctx context.Context) ([]partner.Partner, error) {
	q, err := s.query(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := q.ListPartners(ctx)
	if err != nil {
		return nil, fmt.Errorf("read partners: %w", err)
	}
	keys, err := q.ListPartnerKeys(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the keys of partners: %w", err)
	}
	links, err := q.ListReferralLinks(ctx)
	if err != nil {
		return nil, fmt.Errorf("read referral links: %w", err)
	}
	out, at := make([]partner.Partner, len(rows)), map[string]int{}
	for i, r := range rows {
		out[i], at[r.ID] = toPartner(r), i
	}
	// A partner added since the first of the three reads has no place yet.
	for _, r := range keys {
		if i, ok := at[r.Partner]; ok {
			out[i].Keys = append(out[i].Keys, partner.Key{
				Partner: out[i].ID, Marketplace: r.Marketplace, Kind: partner.KeyKind(r.Kind), Value: r.Value, RecordedAt: fromMicros(r.RecordedAt), RecordedBy: r.RecordedBy,
			})
		}
	}
	for _, r := range links {
		if i, ok := at[r.Partner]; ok {
			out[i].Links = append(out[i].Links, toLink(r))
		}
	}
	return out, nil
}

// FindLink implements partner.Store.
func (s *Store) FindLink(ctx context.Context, l id.Link) (partner.Link, bool, error) {
	q, err := s.query(ctx)
	if err != nil {
		return partner.Link{}, false, err
	}
	r, err := q.FindReferralLink(ctx, string(l))
	switch {
	case noRows(err):
		return partner.Link{}, false, nil
	case err != nil:
		return partner.Link{}, false, fmt.Errorf("read a referral link: %w", err)
	}
	return toLink(r), true, nil
}

// ListEvidence implements partner.Store. Customers come by pages of ids, and
// what belongs to them by the same range.
func (s *Store) ListEvidence(ctx context.Context, after id.Customer, limit int) ([]partner.Customer, error) {
	q, err := s.query(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := q.EvidenceCustomers(ctx, db.EvidenceCustomersParams{ID: string(after), Limit: int32(min(max(limit, 1), 500))})
	if err != nil {
		return nil, fmt.Errorf("read customers: %w", err)
	}
	if len(rows) == 0 {
		return nil, nil
	}
	last := rows[len(rows)-1].ID
	subs, err := q.EvidencePurchases(ctx, db.EvidencePurchasesParams{Customer: string(after), Customer_2: last})
	if err != nil {
		return nil, fmt.Errorf("read purchases: %w", err)
	}
	said, err := statements(ctx, q, string(after), last)
	if err != nil {
		return nil, err
	}
	touches, err := q.EvidenceTouches(ctx, db.EvidenceTouchesParams{Customer: string(after), Customer_2: last})
	if err != nil {
		return nil, fmt.Errorf("read touches: %w", err)
	}
	met := map[string][]partner.Touch{}
	for _, r := range touches {
		words, err := s.keys.openText(r.Said, touchSaid)
		if err != nil {
			return nil, fmt.Errorf("read touch %s: %w", r.ID, err)
		}
		met[r.Subscription] = append(met[r.Subscription], partner.Touch{
			ID: id.Touch(r.ID), Subscription: id.Subscription(r.Subscription), Kind: partner.TouchKind(r.Kind), Link: id.Link(r.Link), Partner: id.Partner(r.Partner),
			Said: words, Claim: id.Claim(r.Claim), At: fromMicros(r.TouchedAt), RecordedAt: fromMicros(r.RecordedAt),
		})
	}
	of := map[string][]partner.Purchase{}
	for _, r := range subs {
		of[r.Customer] = append(of[r.Customer], partner.Purchase{
			ID: id.Subscription(r.ID), Product: r.Product, Plan: r.Plan, VendorID: r.Purchase, StartsAt: fromMicros(r.StartsAt), CreatedAt: fromMicros(r.CreatedAt),
			Statements: said[r.ID], Touches: met[r.ID],
		})
	}
	out := make([]partner.Customer, len(rows))
	for i, r := range rows {
		out[i] = partner.Customer{ID: id.Customer(r.ID), Marketplace: r.Marketplace, Account: r.Account, Purchases: of[r.ID]}
	}
	return out, nil
}

// statements is what was said of each purchase, and of the offers it names.
func statements(ctx context.Context, q *db.Queries, after, last string) (map[string][]partner.Statement, error) {
	sales, err := q.EvidenceSales(ctx, db.EvidenceSalesParams{Customer: after, Customer_2: last})
	if err != nil {
		return nil, fmt.Errorf("read how purchases were sold: %w", err)
	}
	offers, err := q.EvidenceOffers(ctx, db.EvidenceOffersParams{Customer: after, Customer_2: last})
	if err != nil {
		return nil, fmt.Errorf("read what is known of offers: %w", err)
	}
	out := map[string][]partner.Statement{}
	add := func(sub, offer string, private int64, reseller string, at int64, message string) {
		out[sub] = append(out[sub], partner.Statement{Offer: offer, Private: private == 1, Reseller: reseller, At: fromMicros(at), Message: message})
	}
	for _, r := range sales {
		add(r.ID, r.Offer, r.Private, r.Reseller, r.SaidAt, r.Message)
	}
	for _, r := range offers {
		add(r.ID, r.Offer, r.Private, r.Reseller, r.SaidAt, r.Message)
	}
	return out, nil
}
