package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/store/db"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

// Terms, agreements and the story of a subscription.

func toTerms(rows []db.Term) ([]subscription.Terms, error) {
	out := make([]subscription.Terms, len(rows))
	for i, r := range rows {
		q, err := parseQuantities(r.Quantities)
		if err != nil {
			return nil, fmt.Errorf("read the terms of %s: %w", r.Subscription, err)
		}
		out[i] = subscription.Terms{
			Subscription: id.Subscription(r.Subscription), Fingerprint: r.Fingerprint, Plan: r.Plan, Named: r.NamedPlan, Offer: r.Offer, Agreement: r.Agreement,
			Private: r.Private == 1, Quantities: q, Status: subscription.TermsStatus(r.Status),
			From: fromMicros(r.FromAt), To: fromMicros(r.ToAt), StatedAt: fromMicros(r.StatedAt), Version: fromMicros(r.Version),
		}
	}
	return out, nil
}

func parseQuantities(text string) (map[string]int64, error) {
	if text == "" {
		return nil, nil
	}
	out := map[string]int64{}
	for line := range strings.SplitSeq(text, "\n") {
		i := strings.LastIndexByte(line, '=')
		if i < 0 {
			return nil, fmt.Errorf("quantity %q", line)
		}
		n, err := strconv.ParseInt(line[i+1:], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("quantity %q: %w", line, err)
		}
		out[line[:i]] = n
	}
	return out, nil
}

// SubscriptionTerms implements subscription.Tx.
func (t *Tx) SubscriptionTerms(ctx context.Context, sub id.Subscription) ([]subscription.Terms, error) {
	rows, err := t.q.ListTerms(ctx, string(sub))
	if err != nil {
		return nil, fmt.Errorf("read the terms of %s: %w", sub, err)
	}
	return toTerms(rows)
}

// SaveTerms implements subscription.Tx.
func (t *Tx) SaveTerms(ctx context.Context, m subscription.Terms) error {
	err := t.q.SaveTerms(ctx, db.SaveTermsParams{
		Subscription: string(m.Subscription), Fingerprint: m.Fingerprint, Plan: m.Plan, NamedPlan: m.Named, Offer: m.Offer, Agreement: m.Agreement,
		Private: flag(m.Private), Quantities: subscription.Quantities(m.Quantities), Status: string(m.Status),
		FromAt: micros(m.From), ToAt: micros(m.To), StatedAt: micros(m.StatedAt), Version: micros(m.Version),
	})
	if err != nil {
		return fmt.Errorf("save terms of %s: %w", m.Subscription, err)
	}
	return nil
}

// AddLine implements subscription.Tx.
func (t *Tx) AddLine(ctx context.Context, l subscription.Line) error {
	t.change(l.Subscription)
	err := t.q.AddLine(ctx, db.AddLineParams{
		ID: string(l.ID), Subscription: string(l.Subscription), Marketplace: string(l.Marketplace), Agreement: l.Agreement, Kind: l.Kind, Delivery: string(l.Delivery),
		RecordedAt: micros(l.RecordedAt), HappenedAt: micros(l.HappenedAt), Version: micros(l.Version), Changed: flag(l.Changed), Body: string(l.Body),
	})
	if err != nil {
		return fmt.Errorf("add a line to the story: %w", err)
	}
	return nil
}

func toLines(rows []db.SubscriptionEvent) []subscription.Line {
	out := make([]subscription.Line, len(rows))
	for i, r := range rows {
		out[i] = subscription.Line{
			ID: id.Event(r.ID), Subscription: id.Subscription(r.Subscription), Marketplace: marketplace.ID(r.Marketplace), Agreement: r.Agreement, Kind: r.Kind,
			Delivery: id.Delivery(r.Delivery), RecordedAt: fromMicros(r.RecordedAt), HappenedAt: fromMicros(r.HappenedAt), Version: fromMicros(r.Version),
			Changed: r.Changed == 1, Body: []byte(r.Body),
		}
	}
	return out
}

// WaitingLines implements subscription.Tx.
func (t *Tx) WaitingLines(ctx context.Context, m marketplace.ID, agreement string) ([]subscription.Line, error) {
	rows, err := t.q.WaitingLines(ctx, db.WaitingLinesParams{Marketplace: string(m), Agreement: agreement})
	if err != nil {
		return nil, fmt.Errorf("read waiting events: %w", err)
	}
	return toLines(rows), nil
}

// AdoptLine implements subscription.Tx.
func (t *Tx) AdoptLine(ctx context.Context, line id.Event, sub id.Subscription, changed bool) error {
	if err := t.q.AdoptLine(ctx, db.AdoptLineParams{ID: string(line), Subscription: string(sub), Changed: flag(changed)}); err != nil {
		return fmt.Errorf("adopt the event %s: %w", line, err)
	}
	return nil
}

// ListTerms implements subscription.Store.
func (s *Store) ListTerms(ctx context.Context, sub id.Subscription) ([]subscription.Terms, error) {
	q, err := s.query(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := q.ListTerms(ctx, string(sub))
	if err != nil {
		return nil, fmt.Errorf("read the terms of %s: %w", sub, err)
	}
	return toTerms(rows)
}

// ListLines implements subscription.Store.
func (s *Store) ListLines(ctx context.Context, sub id.Subscription) ([]subscription.Line, error) {
	q, err := s.query(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := q.ListLines(ctx, string(sub))
	if err != nil {
		return nil, fmt.Errorf("read the story of %s: %w", sub, err)
	}
	return toLines(rows), nil
}

// ListAgreements implements subscription.Store.
func (s *Store) ListAgreements(ctx context.Context, sub id.Subscription) ([]subscription.Agreement, error) {
	q, err := s.query(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := q.ListAgreements(ctx, string(sub))
	if err != nil {
		return nil, fmt.Errorf("read the agreements of %s: %w", sub, err)
	}
	out := make([]subscription.Agreement, len(rows))
	for i, r := range rows {
		out[i] = subscription.Agreement{Marketplace: marketplace.ID(r.Marketplace), Agreement: r.Agreement, Subscription: id.Subscription(r.Subscription), LinkedAt: fromMicros(r.LinkedAt)}
	}
	return out, nil
}
