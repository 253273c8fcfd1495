package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/store/db"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

var (
	_ billing.Store    = (*Store)(nil)
	_ billing.Tx       = (*Tx)(nil)
	_ billing.Snapshot = (*Tx)(nil)
)

// BillingTx implements billing.Store.
func (s *Store) BillingTx(ctx context.Context, fn func(context.Context, billing.Tx) error) error {
	return s.Tx(ctx, func(ctx context.Context, t *Tx) error { return fn(ctx, t) })
}

// BillingSnapshot implements billing.Store: one moment of the read pool.
func (s *Store) BillingSnapshot(ctx context.Context, fn func(context.Context, billing.Snapshot) error) error {
	if InTx(ctx) {
		return errNested
	}
	tx, err := s.read.BeginTx(ctx, s.engine.snapshot())
	if err != nil {
		return fmt.Errorf("begin a snapshot: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // it only reads
	return fn(context.WithValue(ctx, txMark{}, true), &Tx{q: db.New(tx), tx: tx, engine: s.engine})
}

// Terms implements billing.Tx: what subscription knows, in billing's words.
func (t *Tx) Terms(ctx context.Context, sub id.Subscription, at time.Time) (billing.Terms, error) {
	r, err := t.q.GetSubscription(ctx, string(sub))
	if err != nil {
		return billing.Terms{}, missing(err, "subscription", string(sub))
	}
	s, err := toSubscription(r)
	if err != nil {
		return billing.Terms{}, err
	}
	out := billing.Terms{
		Subscription: s.ID, Lineage: s.Lineage, Marketplace: s.Marketplace, Product: s.Product, CutOver: s.CutOver,
		StartsAt: s.StartsAt(), EndsAt: s.EndsAt(), Plan: s.Plan, Suspended: s.Facts.Pause.On, SwitchedAt: s.Facts.Pause.At,
	}
	rows, err := t.SubscriptionTerms(ctx, sub)
	if err != nil {
		return out, err
	}
	for _, e := range subscription.EffectiveTerms(rows) {
		if n := len(out.Plans); n == 0 || out.Plans[n-1].Plan != e.Plan {
			out.Plans = append(out.Plans, billing.Stretch{Plan: e.Plan, Since: e.Since})
		}
	}
	in, ok := subscription.InForce(rows, at)
	if ok {
		out.Plan, out.Offer, out.Quantities, out.Term = in.Plan, in.Offer, in.Quantities, in.From
	}
	out.Identity = s.Identity(in)
	return out, nil
}

// FindSubject implements billing.Tx. A tailnet that moved to a successor is its
// usage from that instant on.
func (t *Tx) FindSubject(ctx context.Context, subject string, at time.Time) (id.Subscription, error) {
	switch {
	case id.Check("sub", subject) == nil:
		n, err := t.q.SubscriptionExists(ctx, subject)
		if err != nil || n == 0 {
			return "", err
		}
		return id.Subscription(subject), nil
	case id.Check("tnt", subject) == nil:
		uses, err := t.q.SubjectOfTailnet(ctx, subject)
		if err != nil {
			return "", err
		}
		for _, u := range uses {
			if !at.Before(fromMicros(u.SinceAt)) {
				return id.Subscription(u.Subscription), nil
			}
		}
		if len(uses) > 0 { // before the first of them: billing says that it is too early
			return id.Subscription(uses[len(uses)-1].Subscription), nil
		}
	}
	return "", nil
}

func toAccount(r db.BillingAccount) billing.Account {
	return billing.Account{
		Subscription: id.Subscription(r.Subscription), Lineage: id.Subscription(r.Lineage), Marketplace: marketplace.ID(r.Marketplace), Product: r.Product,
		CoveredTo: fromMicros(r.CoveredTo), FinalAt: fromMicros(r.FinalAt),
	}
}

// BillingAccount implements billing.Tx.
func (t *Tx) BillingAccount(ctx context.Context, sub id.Subscription) (billing.Account, bool, error) {
	r, err := t.q.BillingAccount(ctx, string(sub))
	if noRows(err) {
		return billing.Account{}, false, nil
	}
	if err != nil {
		return billing.Account{}, false, fmt.Errorf("read the billing account of %s: %w", sub, err)
	}
	return toAccount(r), true, nil
}

// BillingAccounts implements billing.Snapshot.
func (t *Tx) BillingAccounts(ctx context.Context) ([]billing.Account, error) {
	rows, err := t.q.BillingAccounts(ctx)
	if err != nil {
		return nil, fmt.Errorf("list billing accounts: %w", err)
	}
	out := make([]billing.Account, len(rows))
	for i, r := range rows {
		out[i] = toAccount(r)
	}
	return out, nil
}

// SaveBillingAccount implements billing.Tx.
func (t *Tx) SaveBillingAccount(ctx context.Context, a billing.Account) error {
	err := t.q.SaveBillingAccount(ctx, db.SaveBillingAccountParams{
		Subscription: string(a.Subscription), Lineage: string(a.Lineage), Marketplace: string(a.Marketplace), Product: a.Product,
	})
	if err != nil {
		return fmt.Errorf("save the billing account of %s: %w", a.Subscription, err)
	}
	return nil
}

// CoverUsage implements billing.Tx.
func (t *Tx) CoverUsage(ctx context.Context, sub id.Subscription, was, to time.Time) (bool, error) {
	n, err := t.q.CoverUsage(ctx, db.CoverUsageParams{Subscription: string(sub), CoveredTo: micros(was), CoveredTo_2: micros(to)})
	if err != nil {
		return false, fmt.Errorf("save how far %s is covered: %w", sub, err)
	}
	return n == 1, nil
}

// FinishBilling implements billing.Tx.
func (t *Tx) FinishBilling(ctx context.Context, sub id.Subscription, at time.Time) (bool, error) {
	n, err := t.q.FinishBilling(ctx, db.FinishBillingParams{Subscription: string(sub), FinalAt: micros(at)})
	if err != nil {
		return false, fmt.Errorf("save the final seal of %s: %w", sub, err)
	}
	return n == 1, nil
}

// LineageMembers implements billing.Tx.
func (t *Tx) LineageMembers(ctx context.Context, lineage id.Subscription) ([]id.Subscription, error) {
	rows, err := t.q.LineageMembers(ctx, string(lineage))
	if err != nil {
		return nil, fmt.Errorf("list lineage %s: %w", lineage, err)
	}
	out := make([]id.Subscription, len(rows))
	for i, r := range rows {
		out[i] = id.Subscription(r)
	}
	return out, nil
}

// LockBilling implements billing.Tx.
func (t *Tx) LockBilling(ctx context.Context, sc billing.Scope) error {
	if err := t.q.LockBilling(ctx, db.LockBillingParams{Lineage: string(sc.Lineage), Meter: sc.Meter}); err != nil {
		return fmt.Errorf("lock %s of lineage %s: %w", sc.Meter, sc.Lineage, err)
	}
	return nil
}

// SealedTo implements billing.Tx.
func (t *Tx) SealedTo(ctx context.Context, sub id.Subscription, meter string) (clock.Hour, bool, error) {
	at, err := t.q.SealedTo(ctx, db.SealedToParams{Subscription: string(sub), Meter: meter})
	if noRows(err) {
		return clock.Hour{}, false, nil
	}
	if err != nil {
		return clock.Hour{}, false, fmt.Errorf("read how far %s of %s is sealed: %w", meter, sub, err)
	}
	return hourFrom(at), true, nil
}

// SaveSealedTo implements billing.Tx.
func (t *Tx) SaveSealedTo(ctx context.Context, sub id.Subscription, meter string, h clock.Hour) error {
	if err := t.q.SaveSealedTo(ctx, db.SaveSealedToParams{Subscription: string(sub), Meter: meter, SealedTo: hourMicros(h)}); err != nil {
		return fmt.Errorf("save how far %s of %s is sealed: %w", meter, sub, err)
	}
	return nil
}

// UsageIdentity implements billing.Tx.
func (t *Tx) UsageIdentity(ctx context.Context, ident billing.Ident) (content [32]byte, event id.UsageEvent, known bool, err error) {
	r, err := t.q.UsageIdentity(ctx, ident[:])
	if noRows(err) {
		return content, "", false, nil
	}
	if err != nil {
		return content, "", false, fmt.Errorf("look up a usage event: %w", err)
	}
	if copy(content[:], r.Content) != len(content) {
		return content, "", false, fmt.Errorf("the content hash of a usage event has %d bytes", len(r.Content))
	}
	return content, id.UsageEvent(r.Event), true, nil
}

// ClaimUsage implements billing.Tx.
func (t *Tx) ClaimUsage(ctx context.Context, ident billing.Ident, content [32]byte, event id.UsageEvent) (bool, error) {
	n, err := t.q.ClaimUsage(ctx, db.ClaimUsageParams{Ident: ident[:], Content: content[:], Event: string(event)})
	if err != nil {
		return false, fmt.Errorf("claim the identity of a usage event: %w", err)
	}
	return n == 1, nil
}

// SettleUsage implements billing.Tx.
func (t *Tx) SettleUsage(ctx context.Context, ident billing.Ident, event id.UsageEvent) error {
	n, err := t.q.SettleUsage(ctx, db.SettleUsageParams{Ident: ident[:], Event: string(event)})
	if err != nil {
		return fmt.Errorf("settle a usage event: %w", err)
	}
	if n != 1 {
		return fault.New(fault.Conflict, "the usage event was counted meanwhile; ask again")
	}
	return nil
}

// AddUsage implements billing.Tx.
func (t *Tx) AddUsage(ctx context.Context, u billing.Usage) error {
	err := t.q.AddUsage(ctx, db.AddUsageParams{
		ID: string(u.ID), Ident: u.Ident[:], Source: u.Source, SourceID: u.SourceID, Subscription: string(u.Subscription), Meter: u.Meter, Period: u.Period,
		Hour: hourMicros(u.Hour), UsedAt: micros(u.UsedAt), ReceivedAt: micros(u.ReceivedAt), Quantity: u.Quantity, Counted: u.Of, Seconds: u.Seconds, Corrects: string(u.Corrects), Plan: u.Plan,
	})
	if err != nil {
		return fmt.Errorf("store usage event %s: %w", u.ID, err)
	}
	return nil
}

// UsageByIdent implements billing.Tx.
func (t *Tx) UsageByIdent(ctx context.Context, ident billing.Ident) (billing.Usage, bool, error) {
	r, err := t.q.UsageByIdent(ctx, ident[:])
	if noRows(err) {
		return billing.Usage{}, false, nil
	}
	if err != nil {
		return billing.Usage{}, false, fmt.Errorf("look up a usage event: %w", err)
	}
	return billing.Usage{
		ID: id.UsageEvent(r.ID), Ident: ident, Source: r.Source, SourceID: r.SourceID, Subscription: id.Subscription(r.Subscription), Meter: r.Meter, Period: r.Period,
		Hour: hourFrom(r.Hour), UsedAt: fromMicros(r.UsedAt), ReceivedAt: fromMicros(r.ReceivedAt), Quantity: r.Quantity, Of: r.Counted, Seconds: r.Seconds,
		Corrects: id.UsageEvent(r.Corrects), Superseded: r.Superseded == 1, Plan: r.Plan,
	}, true, nil
}

// SupersedeUsage implements billing.Tx.
func (t *Tx) SupersedeUsage(ctx context.Context, event id.UsageEvent) (bool, error) {
	n, err := t.q.SupersedeUsage(ctx, string(event))
	if err != nil {
		return false, fmt.Errorf("replace usage event %s: %w", event, err)
	}
	return n == 1, nil
}

func toQuarantined(r db.UsageQuarantine) (billing.Quarantined, error) {
	q := billing.Quarantined{Reason: billing.QuarantineReason(r.Reason), ReceivedAt: fromMicros(r.ReceivedAt)}
	copy(q.Ident[:], r.Ident)
	copy(q.Target[:], r.Target)
	if err := json.Unmarshal([]byte(r.Body), &q.Event); err != nil {
		return q, fmt.Errorf("read a usage event in quarantine: %w", err)
	}
	return q, nil
}

func toQuarantine(rows []db.UsageQuarantine) ([]billing.Quarantined, error) {
	out := make([]billing.Quarantined, len(rows))
	for i, r := range rows {
		var err error
		if out[i], err = toQuarantined(r); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// QuarantineUsage implements billing.Tx.
func (t *Tx) QuarantineUsage(ctx context.Context, q billing.Quarantined) error {
	body, err := json.Marshal(q.Event)
	if err != nil {
		return fmt.Errorf("write a usage event: %w", err)
	}
	target := []byte{}
	if q.Target != (billing.Ident{}) {
		target = q.Target[:]
	}
	err = t.q.QuarantineUsage(ctx, db.QuarantineUsageParams{
		Ident: q.Ident[:], Reason: string(q.Reason), Target: target, Subject: q.Event.Subject, Body: string(body), ReceivedAt: micros(q.ReceivedAt),
	})
	if err != nil {
		return fmt.Errorf("quarantine a usage event: %w", err)
	}
	return nil
}

// QuarantinedUsage implements billing.Tx.
func (t *Tx) QuarantinedUsage(ctx context.Context, ident billing.Ident) (billing.Quarantined, bool, error) {
	r, err := t.q.QuarantinedUsage(ctx, ident[:])
	if noRows(err) {
		return billing.Quarantined{}, false, nil
	}
	if err != nil {
		return billing.Quarantined{}, false, fmt.Errorf("look into the quarantine: %w", err)
	}
	q, err := toQuarantined(r)
	return q, err == nil, err
}

// WaitingCorrections implements billing.Tx.
func (t *Tx) WaitingCorrections(ctx context.Context, target billing.Ident) ([]billing.Quarantined, error) {
	rows, err := t.q.WaitingCorrections(ctx, target[:])
	if err != nil {
		return nil, fmt.Errorf("look for waiting corrections: %w", err)
	}
	return toQuarantine(rows)
}

// ReleaseUsage implements billing.Tx.
func (t *Tx) ReleaseUsage(ctx context.Context, ident billing.Ident) error {
	if err := t.q.ReleaseUsage(ctx, ident[:]); err != nil {
		return fmt.Errorf("take a usage event out of quarantine: %w", err)
	}
	return nil
}

// ListQuarantined implements billing.Store.
func (s *Store) ListQuarantined(ctx context.Context, limit int) ([]billing.Quarantined, error) {
	q, err := s.query(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := q.ListQuarantined(ctx, atMost(limit))
	if err != nil {
		return nil, fmt.Errorf("list usage events in quarantine: %w", err)
	}
	return toQuarantine(rows)
}

// atMost is a LIMIT.
func atMost(n int) int32 { return int32(min(max(n, 0), 1<<20)) }
