package store

import (
	"context"
	"fmt"
	"time"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/intake"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/store/db"
)

var (
	_ intake.Store = (*Store)(nil)
	_ intake.Tx    = (*Tx)(nil)
)

// IntakeTx implements intake.Store.
func (s *Store) IntakeTx(ctx context.Context, fn func(context.Context, intake.Tx) error) error {
	return s.Tx(ctx, func(ctx context.Context, t *Tx) error { return fn(ctx, t) })
}

const deliveryBody = "delivery" // context of the encryption

func toKept(r db.ListDeliveriesRow) intake.Kept {
	return intake.Kept{
		ID: id.Delivery(r.ID), Marketplace: marketplace.ID(r.Marketplace), VendorID: r.VendorID, Variant: r.Variant, BodyHash: r.BodyHash,
		Channel: marketplace.Channel(r.Channel), Kind: r.Kind, Source: r.Source, Signed: r.Signed == 1, SentAt: fromMicros(r.SentAt), ReceivedAt: fromMicros(r.ReceivedAt),
		Customer: id.Customer(r.Customer), Copies: r.Copies, State: intake.DeliveryState(r.State), Reason: r.Reason, SettledAt: fromMicros(r.SettledAt), SettledBy: r.SettledBy,
	}
}

// withoutBody is a full row as the list shows it.
func withoutBody(r db.Delivery) db.ListDeliveriesRow {
	return db.ListDeliveriesRow{
		ID: r.ID, Marketplace: r.Marketplace, VendorID: r.VendorID, Variant: r.Variant, BodyHash: r.BodyHash, Channel: r.Channel, Kind: r.Kind, Source: r.Source,
		Signed: r.Signed, SentAt: r.SentAt, ReceivedAt: r.ReceivedAt, Customer: r.Customer, Copies: r.Copies, State: r.State, Reason: r.Reason,
		SettledAt: r.SettledAt, SettledBy: r.SettledBy,
	}
}

// KeepDelivery implements intake.Tx.
func (t *Tx) KeepDelivery(ctx context.Context, k intake.Kept, body []byte) (intake.Kept, bool, error) {
	if t.keys == nil {
		return intake.Kept{}, false, errNoKeys
	}
	key := NewKey()
	sealed, err := SealWith(key, body, deliveryBody)
	if err != nil {
		return intake.Kept{}, false, err
	}
	wrapped, err := t.keys.Wrap(key)
	if err != nil {
		return intake.Kept{}, false, err
	}
	r, err := t.q.EnsureDelivery(ctx, db.EnsureDeliveryParams{
		ID: string(k.ID), Marketplace: string(k.Marketplace), VendorID: k.VendorID, Variant: k.Variant, BodyHash: k.BodyHash, Channel: string(k.Channel),
		Kind: k.Kind, Source: k.Source, Signed: flag(k.Signed), SentAt: micros(k.SentAt), ReceivedAt: micros(k.ReceivedAt), Body: sealed, BodyKey: wrapped,
		State: string(k.State), Reason: k.Reason,
	})
	if err != nil {
		return intake.Kept{}, false, fmt.Errorf("keep a delivery: %w", err)
	}
	return toKept(db.ListDeliveriesRow(r)), r.ID == string(k.ID), nil
}

// LockDelivery implements intake.Tx.
func (t *Tx) LockDelivery(ctx context.Context, d id.Delivery) (intake.Kept, error) {
	r, err := t.q.LockDelivery(ctx, string(d))
	if err != nil {
		return intake.Kept{}, missing(err, "delivery", string(d))
	}
	return toKept(withoutBody(r)), nil
}

// SettleDelivery implements intake.Tx.
func (t *Tx) SettleDelivery(ctx context.Context, d id.Delivery, state intake.DeliveryState, reason string, at time.Time, by string) error {
	_, err := t.q.SettleDelivery(ctx, db.SettleDeliveryParams{ID: string(d), State: string(state), Reason: reason, SettledAt: micros(at), SettledBy: by})
	if err != nil {
		return fmt.Errorf("settle delivery %s: %w", d, err)
	}
	return nil
}

// AssignDelivery implements intake.Tx.
func (t *Tx) AssignDelivery(ctx context.Context, d id.Delivery, c id.Customer, now time.Time) error {
	r, err := t.q.LockDelivery(ctx, string(d))
	if err != nil {
		return missing(err, "delivery", string(d))
	}
	if r.Customer != "" {
		return nil
	}
	own, err := t.keys.Wrap(NewKey())
	if err != nil {
		return err
	}
	// The key that is there stays; ours is used only when there was none.
	if own, err = t.q.EnsureCustomerKey(ctx, db.EnsureCustomerKeyParams{Customer: string(c), Wrapped: own, CreatedAt: micros(now)}); err != nil {
		return fmt.Errorf("ensure a customer's key: %w", err)
	}
	customerKey, err := t.keys.Unwrap(own)
	if err != nil {
		return err
	}
	bodyKey, err := t.keys.Unwrap(r.BodyKey)
	if err != nil {
		return err
	}
	wrapped, err := SealWith(customerKey, bodyKey, "key")
	if err != nil {
		return err
	}
	if _, err := t.q.RewrapDelivery(ctx, db.RewrapDeliveryParams{ID: string(d), BodyKey: wrapped, Customer: string(c)}); err != nil {
		return fmt.Errorf("assign delivery %s: %w", d, err)
	}
	return nil
}

// SaveSweep implements intake.Tx.
func (t *Tx) SaveSweep(ctx context.Context, m marketplace.ID, c intake.Cursor) error {
	if err := t.q.SaveSweep(ctx, db.SaveSweepParams{Marketplace: string(m), CursorAt: micros(c.At), FullAt: micros(c.Full)}); err != nil {
		return fmt.Errorf("save the sweep of %s: %w", m, err)
	}
	return nil
}

// ReadDelivery implements intake.Store.
func (s *Store) ReadDelivery(ctx context.Context, d id.Delivery) (intake.Kept, []byte, error) {
	q, err := s.query(ctx)
	if err != nil {
		return intake.Kept{}, nil, err
	}
	r, err := q.GetDelivery(ctx, string(d))
	if err != nil {
		return intake.Kept{}, nil, missing(err, "delivery", string(d))
	}
	if s.keys == nil {
		return intake.Kept{}, nil, errNoKeys
	}
	bodyKey, err := s.bodyKey(ctx, q, r)
	if err != nil {
		return intake.Kept{}, nil, fmt.Errorf("read delivery %s: %w", d, err)
	}
	body, err := OpenWith(bodyKey, r.Body, deliveryBody)
	if err != nil {
		return intake.Kept{}, nil, fmt.Errorf("read delivery %s: %w", d, err)
	}
	return toKept(withoutBody(r)), body, nil
}

func (s *Store) bodyKey(ctx context.Context, q *db.Queries, r db.Delivery) ([]byte, error) {
	if r.Customer == "" {
		return s.keys.Unwrap(r.BodyKey)
	}
	wrapped, err := q.GetCustomerKey(ctx, r.Customer)
	if noRows(err) {
		return nil, fault.New(fault.Gone, "the customer's data was erased; this body cannot be read any more")
	}
	if err != nil {
		return nil, fmt.Errorf("read a customer's key: %w", err)
	}
	customerKey, err := s.keys.Unwrap(wrapped)
	if err != nil {
		return nil, err
	}
	return OpenWith(customerKey, r.BodyKey, "key")
}

// ListDeliveries implements intake.Store.
func (s *Store) ListDeliveries(ctx context.Context, state intake.DeliveryState, before id.Delivery, limit int) ([]intake.Kept, error) {
	q, err := s.query(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := q.ListDeliveries(ctx, db.ListDeliveriesParams{State: string(state), Column2: string(before), Limit: int32(min(max(limit, 1), 500))})
	if err != nil {
		return nil, fmt.Errorf("list deliveries: %w", err)
	}
	out := make([]intake.Kept, len(rows))
	for i, r := range rows {
		out[i] = toKept(r)
	}
	return out, nil
}

// CountDeliveries implements intake.Store.
func (s *Store) CountDeliveries(ctx context.Context) (intake.Counts, error) {
	q, err := s.query(ctx)
	if err != nil {
		return intake.Counts{}, err
	}
	rows, err := q.CountDeliveries(ctx)
	if err != nil {
		return intake.Counts{}, fmt.Errorf("count deliveries: %w", err)
	}
	var c intake.Counts
	for _, r := range rows {
		switch intake.DeliveryState(r.State) {
		case intake.Conflict:
			// The first body was counted up when this one came: it is no copy of it.
			c.Conflicts += r.Kept
			c.Duplicates -= r.Kept
			continue
		case intake.Quarantined:
			c.Quarantined += r.Kept
		case intake.Applied, intake.Replayed:
		}
		c.Received += r.Kept + r.Copies
		c.Duplicates += r.Copies
	}
	return c, nil
}

// GetSweep implements intake.Store.
func (s *Store) GetSweep(ctx context.Context, m marketplace.ID) (intake.Cursor, error) {
	q, err := s.query(ctx)
	if err != nil {
		return intake.Cursor{}, err
	}
	r, err := q.GetSweep(ctx, string(m))
	if err != nil && !noRows(err) {
		return intake.Cursor{}, fmt.Errorf("read the sweep of %s: %w", m, err)
	}
	return intake.Cursor{At: fromMicros(r.CursorAt), Full: fromMicros(r.FullAt)}, nil
}
