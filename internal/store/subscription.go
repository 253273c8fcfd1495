package store

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/store/db"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

var (
	_ subscription.Store = (*Store)(nil)
	_ subscription.Tx    = (*Tx)(nil)
)

// SubscriptionTx implements subscription.Store.
func (s *Store) SubscriptionTx(ctx context.Context, fn func(context.Context, subscription.Tx) error) error {
	return s.Tx(ctx, func(ctx context.Context, t *Tx) error { return fn(ctx, t) })
}

func hourMicros(h clock.Hour) int64 {
	if h.IsZero() {
		return 0
	}
	return micros(h.Start())
}

func hourFrom(m int64) clock.Hour {
	if m == 0 {
		return clock.Hour{}
	}
	return clock.HourOf(fromMicros(m))
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func toSubscription(r db.Subscription) (subscription.Subscription, error) {
	s := subscription.Subscription{
		ID: id.Subscription(r.ID), Marketplace: marketplace.ID(r.Marketplace), Purchase: r.Purchase, Account: r.Account, Product: r.Product, Plan: r.Plan,
		Customer: id.Customer(r.Customer), Lineage: id.Subscription(r.Lineage), Predecessor: id.Subscription(r.Predecessor), Replaces: r.Replaces,
		TailnetName: r.TailnetName, NameChosen: r.NameChosen == 1, TailnetOf: id.Subscription(r.TailnetOf), CutOver: hourFrom(r.CutOver),
		Version: r.Version, CreatedAt: fromMicros(r.CreatedAt), Listing: r.Listing,
	}
	if err := json.Unmarshal([]byte(r.Facts), &s.Facts); err != nil {
		return s, fmt.Errorf("read the facts of %s: %w", r.ID, err)
	}
	return s, nil
}

func toSubscriptions(rows []db.Subscription) ([]subscription.Subscription, error) {
	out := make([]subscription.Subscription, len(rows))
	for i, r := range rows {
		var err error
		if out[i], err = toSubscription(r); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// EnsureCustomer implements subscription.Tx.
func (t *Tx) EnsureCustomer(ctx context.Context, c subscription.Customer) (subscription.Customer, error) {
	r, err := t.q.EnsureCustomer(ctx, db.EnsureCustomerParams{ID: string(c.ID), Marketplace: string(c.Marketplace), Account: c.Account, CreatedAt: micros(c.CreatedAt)})
	if err != nil {
		return subscription.Customer{}, fmt.Errorf("ensure customer: %w", err)
	}
	return subscription.Customer{ID: id.Customer(r.ID), Marketplace: marketplace.ID(r.Marketplace), Account: r.Account, CreatedAt: fromMicros(r.CreatedAt)}, nil
}

// EnsureSubscription implements subscription.Tx.
func (t *Tx) EnsureSubscription(ctx context.Context, s subscription.Subscription) (subscription.Subscription, bool, error) {
	facts, err := json.Marshal(s.Facts)
	if err != nil {
		return subscription.Subscription{}, false, fmt.Errorf("write facts: %w", err)
	}
	r, err := t.q.EnsureSubscription(ctx, db.EnsureSubscriptionParams{
		ID: string(s.ID), Marketplace: string(s.Marketplace), Purchase: s.Purchase, Account: s.Account, Product: s.Product, Plan: s.Plan,
		Customer: string(s.Customer), Lineage: string(s.Lineage), Predecessor: string(s.Predecessor), Replaces: s.Replaces,
		TailnetName: s.TailnetName, NameChosen: flag(s.NameChosen), TailnetOf: string(s.TailnetOf), Facts: string(facts), CutOver: hourMicros(s.CutOver),
		ClaimedAt: micros(s.Facts.ClaimedAt), StartsAt: micros(s.Facts.StartsAt), ReadyAt: micros(s.Facts.ReadyAt),
		EndsAt: micros(s.Facts.EndsAt()), ClosedAt: micros(s.Facts.ClosedAt), Version: 1, CreatedAt: micros(s.CreatedAt),
		Listing: s.Listing,
	})
	if err != nil {
		return subscription.Subscription{}, false, fmt.Errorf("ensure subscription: %w", err)
	}
	got, err := toSubscription(r)
	return got, got.ID == s.ID, err
}

// LockSubscription implements subscription.Tx.
func (t *Tx) LockSubscription(ctx context.Context, sub id.Subscription) (subscription.Subscription, error) {
	r, err := t.q.LockSubscription(ctx, string(sub))
	if err != nil {
		return subscription.Subscription{}, missing(err, "subscription", string(sub))
	}
	return toSubscription(r)
}

// missing gives "no rows" its class.
func missing(err error, what, which string) error {
	if noRows(err) {
		return fault.New(fault.NotFound, "there is no %s %s", what, which)
	}
	return fmt.Errorf("read %s %s: %w", what, which, err)
}

// SubscriptionByPurchase implements subscription.Tx.
func (t *Tx) SubscriptionByPurchase(ctx context.Context, m marketplace.ID, purchase string) (id.Subscription, error) {
	r, err := t.q.SubscriptionByPurchase(ctx, db.SubscriptionByPurchaseParams{Marketplace: string(m), Purchase: purchase})
	if err != nil && !noRows(err) {
		return "", fmt.Errorf("find a subscription by purchase: %w", err)
	}
	return id.Subscription(r.ID), nil
}

// SubscriptionByAgreement implements subscription.Tx.
func (t *Tx) SubscriptionByAgreement(ctx context.Context, m marketplace.ID, agreement string) (id.Subscription, error) {
	r, err := t.q.SubscriptionByAgreement(ctx, db.SubscriptionByAgreementParams{Marketplace: string(m), Agreement: agreement})
	if err != nil && !noRows(err) {
		return "", fmt.Errorf("find a subscription by agreement: %w", err)
	}
	return id.Subscription(r), nil
}

// SubscriptionsReplacing implements subscription.Tx.
func (t *Tx) SubscriptionsReplacing(ctx context.Context, m marketplace.ID, vendorID string) ([]id.Subscription, error) {
	rows, err := t.q.SubscriptionsReplacing(ctx, db.SubscriptionsReplacingParams{Marketplace: string(m), Replaces: vendorID})
	if err != nil {
		return nil, fmt.Errorf("find successors: %w", err)
	}
	out := make([]id.Subscription, len(rows))
	for i, r := range rows {
		out[i] = id.Subscription(r)
	}
	return out, nil
}

func listSubscriptions(ctx context.Context, q *db.Queries, f subscription.Filter) ([]subscription.Subscription, error) {
	limit := f.Limit
	if limit <= 0 {
		limit = 100
	}
	rows, err := q.ListSubscriptions(ctx, db.ListSubscriptionsParams{
		Column1: string(f.Marketplace), Column2: f.Product, Column3: string(f.Customer), ID: string(f.After), Limit: int32(min(limit, 500)),
	})
	if err != nil {
		return nil, fmt.Errorf("list subscriptions: %w", err)
	}
	return toSubscriptions(rows)
}

// SubscriptionsWhere implements subscription.Tx.
func (t *Tx) SubscriptionsWhere(ctx context.Context, f subscription.Filter) ([]subscription.Subscription, error) {
	return listSubscriptions(ctx, t.q, f)
}

// SaveSubscription implements subscription.Tx.
func (t *Tx) SaveSubscription(ctx context.Context, s subscription.Subscription) error {
	t.change(s.ID)
	facts, err := json.Marshal(s.Facts)
	if err != nil {
		return fmt.Errorf("write facts: %w", err)
	}
	n, err := t.q.SaveSubscription(ctx, db.SaveSubscriptionParams{
		ID: string(s.ID), Plan: s.Plan, Lineage: string(s.Lineage), Predecessor: string(s.Predecessor), Replaces: s.Replaces,
		TailnetName: s.TailnetName, NameChosen: flag(s.NameChosen), TailnetOf: string(s.TailnetOf), Facts: string(facts), CutOver: hourMicros(s.CutOver),
		ClaimedAt: micros(s.Facts.ClaimedAt), StartsAt: micros(s.Facts.StartsAt), ReadyAt: micros(s.Facts.ReadyAt),
		EndsAt: micros(s.Facts.EndsAt()), ClosedAt: micros(s.Facts.ClosedAt),
		Listing: s.Listing,
	})
	if err == nil && n != 1 {
		err = errors.New("it is gone")
	}
	if err != nil {
		return fmt.Errorf("save subscription %s: %w", s.ID, err)
	}
	return nil
}

// MoveLineage implements subscription.Tx.
func (t *Tx) MoveLineage(ctx context.Context, from, to id.Subscription) error {
	if err := t.q.MoveLineage(ctx, db.MoveLineageParams{Lineage: string(from), Lineage_2: string(to)}); err != nil {
		return fmt.Errorf("move lineage %s: %w", from, err)
	}
	return nil
}

// LinkAgreement implements subscription.Tx.
func (t *Tx) LinkAgreement(ctx context.Context, a subscription.Agreement) (id.Subscription, error) {
	owner, err := t.q.LinkAgreement(ctx, db.LinkAgreementParams{
		Marketplace: string(a.Marketplace), Agreement: a.Agreement, Subscription: string(a.Subscription), LinkedAt: micros(a.LinkedAt),
	})
	if err != nil {
		return "", fmt.Errorf("link an agreement: %w", err)
	}
	return id.Subscription(owner), nil
}

func toProductState(product, mode string, cutOver int64, actor string, changedAt int64) subscription.ProductState {
	return subscription.ProductState{Product: product, Mode: subscription.Mode(mode), CutOver: hourFrom(cutOver), Actor: actor, ChangedAt: fromMicros(changedAt)}
}

func productState(ctx context.Context, q *db.Queries, product string) (subscription.ProductState, error) {
	r, err := q.GetProductState(ctx, product)
	if noRows(err) {
		return subscription.ProductState{Product: product, Mode: subscription.ModeObserve}, nil
	}
	if err != nil {
		return subscription.ProductState{}, fmt.Errorf("read the state of product %s: %w", product, err)
	}
	return toProductState(r.Product, r.Mode, r.CutOver, r.Actor, r.ChangedAt), nil
}

// ProductState implements subscription.Tx.
func (t *Tx) ProductState(ctx context.Context, product string) (subscription.ProductState, error) {
	return productState(ctx, t.q, product)
}

// LockProductState implements subscription.Tx.
func (t *Tx) LockProductState(ctx context.Context, product string, now time.Time) (subscription.ProductState, error) {
	r, err := t.q.LockProductState(ctx, db.LockProductStateParams{Product: product, ChangedAt: micros(now)})
	if err != nil {
		return subscription.ProductState{}, fmt.Errorf("lock the state of product %s: %w", product, err)
	}
	return toProductState(r.Product, r.Mode, r.CutOver, r.Actor, r.ChangedAt), nil
}

// SaveProductState implements subscription.Tx.
func (t *Tx) SaveProductState(ctx context.Context, p subscription.ProductState) error {
	err := t.q.SaveProductState(ctx, db.SaveProductStateParams{
		Product: p.Product, Mode: string(p.Mode), CutOver: hourMicros(p.CutOver), Actor: p.Actor, ChangedAt: micros(p.ChangedAt),
	})
	if err != nil {
		return fmt.Errorf("save the state of product %s: %w", p.Product, err)
	}
	return nil
}

// AddAudit implements subscription.Tx: takes the next place of the chain, whose
// hash covers the hash before it and the line.
func (t *Tx) AddAudit(ctx context.Context, e subscription.AuditEntry) error {
	head, err := t.q.NextAudit(ctx)
	if err != nil {
		return fmt.Errorf("take a place in the audit trail: %w", err)
	}
	e.Seq, e.At = head.Seq, e.At.UTC().Truncate(time.Microsecond)
	hash := subscription.AuditHash(head.Hash, e)
	err = t.q.AddAudit(ctx, db.AddAuditParams{Seq: e.Seq, At: micros(e.At), Actor: e.Actor, Action: e.Action, Subject: e.Subject, Detail: e.Detail, Hash: hash})
	if err == nil {
		err = t.q.SetAuditHead(ctx, hash)
	}
	if err != nil {
		return fmt.Errorf("write the audit trail: %w", err)
	}
	return nil
}

// GetSubscription implements subscription.Store.
func (s *Store) GetSubscription(ctx context.Context, sub id.Subscription) (subscription.Subscription, error) {
	q, err := s.query(ctx)
	if err != nil {
		return subscription.Subscription{}, err
	}
	r, err := q.GetSubscription(ctx, string(sub))
	if err != nil {
		return subscription.Subscription{}, missing(err, "subscription", string(sub))
	}
	return toSubscription(r)
}

// FindSubscription implements subscription.Store.
func (s *Store) FindSubscription(ctx context.Context, m marketplace.ID, purchase string) (subscription.Subscription, bool, error) {
	q, err := s.query(ctx)
	if err != nil {
		return subscription.Subscription{}, false, err
	}
	r, err := q.SubscriptionByPurchase(ctx, db.SubscriptionByPurchaseParams{Marketplace: string(m), Purchase: purchase})
	if noRows(err) {
		return subscription.Subscription{}, false, nil
	}
	if err != nil {
		return subscription.Subscription{}, false, fmt.Errorf("find a subscription by purchase: %w", err)
	}
	got, err := toSubscription(r)
	return got, err == nil, err
}

// ListSubscriptions implements subscription.Store.
func (s *Store) ListSubscriptions(ctx context.Context, f subscription.Filter) ([]subscription.Subscription, error) {
	q, err := s.query(ctx)
	if err != nil {
		return nil, err
	}
	return listSubscriptions(ctx, q, f)
}

// GetProductState implements subscription.Store.
func (s *Store) GetProductState(ctx context.Context, product string) (subscription.ProductState, error) {
	q, err := s.query(ctx)
	if err != nil {
		return subscription.ProductState{}, err
	}
	return productState(ctx, q, product)
}

// ListAudit implements subscription.Store.
func (s *Store) ListAudit(ctx context.Context, after int64, limit int) ([]subscription.AuditEntry, error) {
	q, err := s.query(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := q.ListAudit(ctx, db.ListAuditParams{Seq: after, Limit: int32(min(max(limit, 1), 1000))})
	if err != nil {
		return nil, fmt.Errorf("list the audit trail: %w", err)
	}
	out := make([]subscription.AuditEntry, len(rows))
	for i, r := range rows {
		out[i] = subscription.AuditEntry{Seq: r.Seq, At: fromMicros(r.At), Actor: r.Actor, Action: r.Action, Subject: r.Subject, Detail: r.Detail, Hash: r.Hash}
	}
	return out, nil
}

// fingerprint is a keyed hash of a secret that must be found again; what names
// its use, so that equal values of two uses differ.
func (k *Keys) fingerprint(what, value string) []byte {
	h := hmac.New(sha256.New, k.instance)
	_, _ = fmt.Fprintf(h, "fingerprint\x00%s\x00%s", what, value) // a hash never fails
	return h.Sum(nil)
}
