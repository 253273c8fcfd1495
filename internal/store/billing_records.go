package store

import (
	"context"
	"fmt"
	"time"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/billing/ledger"
	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/store/db"
)

func toRecord(r db.Record) billing.Record {
	return billing.Record{
		ID: id.Record(r.ID), Slot: r.Slot, Subscription: id.Subscription(r.Subscription), Lineage: id.Subscription(r.Lineage), Marketplace: marketplace.ID(r.Marketplace),
		Product: r.Product, Meter: r.Meter, Dimension: r.Dimension, Hour: hourFrom(r.Hour), Part: int(r.Part), From: fromMicros(r.FromAt), To: fromMicros(r.ToAt),
		Quantity: r.Quantity, Scale: int(r.Scale), Frozen: []byte(r.Frozen), Hash: r.Hash, Final: r.Final == 1, State: ledger.RecordState(r.State), Reason: ledger.Reason(r.Reason),
		Parked: r.Parked == 1, Placed: r.Placed, Deadline: fromMicros(r.Deadline), FrozenAt: fromMicros(r.FrozenAt), SettledAt: fromMicros(r.SettledAt),
	}
}

func toRecords(rows []db.Record) []billing.Record {
	out := make([]billing.Record, len(rows))
	for i, r := range rows {
		out[i] = toRecord(r)
	}
	return out
}

func toRecordIDs(rows []string) []id.Record {
	out := make([]id.Record, len(rows))
	for i, r := range rows {
		out[i] = id.Record(r)
	}
	return out
}

func toAllocation(r db.RecordAllocation) billing.Allocation {
	return billing.Allocation{Period: r.Period, Plan: r.Plan, Quantity: r.Quantity, Placed: r.Placed}
}

const noQuantity = -1 // the vendor did not say what it holds

func toAttempt(r db.Attempt) billing.Attempt {
	a := billing.Attempt{
		ID: id.Attempt(r.ID), Record: id.Record(r.Record), N: int(r.N), Call: r.Call, BegunAt: fromMicros(r.BegunAt), Answer: ledger.Answer(r.Answer),
		Receipt: r.Receipt, Detail: r.Detail, AnsweredAt: fromMicros(r.AnsweredAt), WallAt: fromMicros(r.WallAt),
	}
	if r.Quantity != noQuantity {
		a.Quantity, a.Says = r.Quantity, true
	}
	return a
}

func said(a billing.Attempt) int64 {
	if a.Says {
		return a.Quantity
	}
	return noQuantity
}

// fill puts allocations and attempts into their records.
func fill(recs []billing.Record, allocations []db.RecordAllocation, attempts []db.Attempt) []billing.Record {
	at := make(map[id.Record]int, len(recs))
	for i, r := range recs {
		at[r.ID] = i
	}
	for _, a := range allocations {
		if i, ok := at[id.Record(a.Record)]; ok {
			recs[i].Allocations = append(recs[i].Allocations, toAllocation(a))
		}
	}
	for _, a := range attempts {
		if i, ok := at[id.Record(a.Record)]; ok {
			recs[i].Attempts = append(recs[i].Attempts, toAttempt(a))
		}
	}
	return recs
}

// SlotFree implements billing.Tx.
func (t *Tx) SlotFree(ctx context.Context, m marketplace.ID, slot string, sub id.Subscription, dimension string, h clock.Hour, part int) (bool, error) {
	n, err := t.q.SlotHolders(ctx, db.SlotHoldersParams{Marketplace: string(m), Slot: slot, Subscription: string(sub), Dimension: dimension, Hour: hourMicros(h), Part: int64(part)})
	if err != nil {
		return false, fmt.Errorf("look at slot %s: %w", slot, err)
	}
	return n == 0, nil
}

// FreezeRecord implements billing.Tx.
func (t *Tx) FreezeRecord(ctx context.Context, r billing.Record) error {
	err := t.q.FreezeRecord(ctx, db.FreezeRecordParams{
		ID: string(r.ID), Slot: r.Slot, Subscription: string(r.Subscription), Lineage: string(r.Lineage), Marketplace: string(r.Marketplace), Product: r.Product,
		Meter: r.Meter, Dimension: r.Dimension, Hour: hourMicros(r.Hour), Part: int64(r.Part), FromAt: micros(r.From), ToAt: micros(r.To), Quantity: r.Quantity,
		Scale: int64(r.Scale), Frozen: string(r.Frozen), Hash: r.Hash, Final: flag(r.Final), State: string(r.State), Placed: r.Placed, Deadline: micros(r.Deadline),
		FrozenAt: micros(r.FrozenAt),
	})
	if err != nil {
		return fmt.Errorf("freeze the record of slot %s: %w", r.Slot, err)
	}
	for _, a := range r.Allocations {
		if err := t.q.AddAllocation(ctx, db.AddAllocationParams{Record: string(r.ID), Period: a.Period, Plan: a.Plan, Quantity: a.Quantity, Placed: a.Placed}); err != nil {
			return fmt.Errorf("freeze the record of slot %s: %w", r.Slot, err)
		}
	}
	return nil
}

// GetRecord implements billing.Tx.
func (t *Tx) GetRecord(ctx context.Context, rec id.Record) (billing.Record, error) {
	r, err := t.q.GetRecord(ctx, string(rec))
	if err != nil {
		return billing.Record{}, missing(err, "record", string(rec))
	}
	allocations, err := t.q.RecordAllocations(ctx, string(rec))
	if err != nil {
		return billing.Record{}, fmt.Errorf("read record %s: %w", rec, err)
	}
	attempts, err := t.q.RecordAttempts(ctx, string(rec))
	if err != nil {
		return billing.Record{}, fmt.Errorf("read record %s: %w", rec, err)
	}
	return fill([]billing.Record{toRecord(r)}, allocations, attempts)[0], nil
}

// SaveRecord implements billing.Tx.
func (t *Tx) SaveRecord(ctx context.Context, r billing.Record) error {
	t.change(r.Subscription)
	n, err := t.q.SaveRecord(ctx, db.SaveRecordParams{
		ID: string(r.ID), State: string(r.State), Reason: string(r.Reason), Parked: flag(r.Parked), Placed: r.Placed, SettledAt: micros(r.SettledAt),
	})
	if err != nil {
		return fmt.Errorf("save record %s: %w", r.ID, err)
	}
	if n != 1 {
		return fault.New(fault.Conflict, "record %s is settled already", r.ID)
	}
	for _, a := range r.Allocations {
		if err := t.q.SaveAllocation(ctx, db.SaveAllocationParams{Record: string(r.ID), Period: a.Period, Plan: a.Plan, Placed: a.Placed}); err != nil {
			return fmt.Errorf("save record %s: %w", r.ID, err)
		}
	}
	return nil
}

// HastenRecords implements billing.Tx.
func (t *Tx) HastenRecords(ctx context.Context, sub id.Subscription, deadline time.Time) error {
	if err := t.q.HastenRecords(ctx, db.HastenRecordsParams{Subscription: string(sub), Deadline: micros(deadline)}); err != nil {
		return fmt.Errorf("hasten the records of %s: %w", sub, err)
	}
	return nil
}

// RecordsInState implements billing.Tx.
func (t *Tx) RecordsInState(ctx context.Context, sub id.Subscription, state ledger.RecordState) ([]id.Record, error) {
	rows, err := t.q.RecordsInState(ctx, db.RecordsInStateParams{Subscription: string(sub), State: string(state)})
	if err != nil {
		return nil, fmt.Errorf("list the %s records of %s: %w", state, sub, err)
	}
	return toRecordIDs(rows), nil
}

// Unsettled implements billing.Tx.
func (t *Tx) Unsettled(ctx context.Context, sub id.Subscription) (int, error) {
	n, err := t.q.Unsettled(ctx, string(sub))
	if err != nil {
		return 0, fmt.Errorf("count the unsettled records of %s: %w", sub, err)
	}
	return int(n), nil
}

// AddAttempt implements billing.Tx.
func (t *Tx) AddAttempt(ctx context.Context, a billing.Attempt) error {
	err := t.q.AddAttempt(ctx, db.AddAttemptParams{
		ID: string(a.ID), Record: string(a.Record), N: int64(a.N), Call: a.Call, BegunAt: micros(a.BegunAt), Answer: string(a.Answer), Quantity: said(a),
		Receipt: a.Receipt, Detail: a.Detail, AnsweredAt: micros(a.AnsweredAt), WallAt: micros(a.WallAt),
	})
	if err == nil {
		err = t.q.CountAttempt(ctx, string(a.Record))
	}
	if err != nil {
		return fmt.Errorf("store attempt %d of record %s: %w", a.N, a.Record, err)
	}
	return nil
}

// AnswerAttempt implements billing.Tx.
func (t *Tx) AnswerAttempt(ctx context.Context, a billing.Attempt) (bool, error) {
	n, err := t.q.AnswerAttempt(ctx, db.AnswerAttemptParams{
		ID: string(a.ID), Answer: string(a.Answer), Quantity: said(a), Receipt: a.Receipt, Detail: a.Detail, AnsweredAt: micros(a.AnsweredAt),
	})
	if err != nil {
		return false, fmt.Errorf("store the answer of attempt %s: %w", a.ID, err)
	}
	return n == 1, nil
}

// RecordPage implements billing.Snapshot.
func (t *Tx) RecordPage(ctx context.Context, after id.Record, limit int) ([]billing.Record, error) {
	rows, err := t.q.RecordPage(ctx, db.RecordPageParams{ID: string(after), Limit: atMost(limit)})
	if err != nil {
		return nil, fmt.Errorf("list records: %w", err)
	}
	if len(rows) == 0 {
		return nil, nil
	}
	first, last := rows[0].ID, rows[len(rows)-1].ID
	allocations, err := t.q.AllocationsBetween(ctx, db.AllocationsBetweenParams{Record: first, Record_2: last})
	if err != nil {
		return nil, fmt.Errorf("list records: %w", err)
	}
	attempts, err := t.q.AttemptsBetween(ctx, db.AttemptsBetweenParams{Record: first, Record_2: last})
	if err != nil {
		return nil, fmt.Errorf("list records: %w", err)
	}
	return fill(toRecords(rows), allocations, attempts), nil
}

// ListRecords implements billing.Store.
func (s *Store) ListRecords(ctx context.Context, sub id.Subscription, limit int) ([]billing.Record, error) {
	q, err := s.query(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := q.ListRecords(ctx, db.ListRecordsParams{Subscription: string(sub), Limit: atMost(limit)})
	if err != nil {
		return nil, fmt.Errorf("list the records of %s: %w", sub, err)
	}
	allocations, err := q.AllocationsOf(ctx, string(sub))
	if err != nil {
		return nil, fmt.Errorf("list the records of %s: %w", sub, err)
	}
	attempts, err := q.AttemptsOf(ctx, string(sub))
	if err != nil {
		return nil, fmt.Errorf("list the records of %s: %w", sub, err)
	}
	return fill(toRecords(rows), allocations, attempts), nil
}

// DoubtfulRecords implements billing.Store.
func (s *Store) DoubtfulRecords(ctx context.Context, sub id.Subscription, after id.Record, limit int) ([]billing.Record, error) {
	q, err := s.query(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := q.DoubtfulRecords(ctx, db.DoubtfulRecordsParams{Column1: string(sub), ID: string(after), Limit: atMost(limit)})
	if err != nil {
		return nil, fmt.Errorf("list the records in doubt: %w", err)
	}
	out := toRecords(rows)
	for i, r := range out { // few, among many others: nothing is read between them
		allocations, err := q.RecordAllocations(ctx, string(r.ID))
		if err != nil {
			return nil, fmt.Errorf("read record %s: %w", r.ID, err)
		}
		attempts, err := q.RecordAttempts(ctx, string(r.ID))
		if err != nil {
			return nil, fmt.Errorf("read record %s: %w", r.ID, err)
		}
		fill(out[i:i+1], allocations, attempts)
	}
	return out, nil
}

// Sendable implements billing.Store.
func (s *Store) Sendable(ctx context.Context, m marketplace.ID, limit int) ([]billing.Record, error) {
	q, err := s.query(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := q.Sendable(ctx, db.SendableParams{Marketplace: string(m), Limit: atMost(limit)})
	if err != nil {
		return nil, fmt.Errorf("list what is to be sent: %w", err)
	}
	return toRecords(rows), nil
}

// SentRecords implements billing.Store.
func (s *Store) SentRecords(ctx context.Context, m marketplace.ID, limit int) ([]id.Record, error) {
	q, err := s.query(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := q.SentRecords(ctx, db.SentRecordsParams{Marketplace: string(m), Limit: atMost(limit)})
	if err != nil {
		return nil, fmt.Errorf("list records of unanswered calls: %w", err)
	}
	return toRecordIDs(rows), nil
}

// StaleUnsure implements billing.Store.
func (s *Store) StaleUnsure(ctx context.Context, m marketplace.ID, now time.Time, limit int) ([]id.Record, error) {
	q, err := s.query(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := q.StaleUnsure(ctx, db.StaleUnsureParams{Marketplace: string(m), Deadline: micros(now), Limit: atMost(limit)})
	if err != nil {
		return nil, fmt.Errorf("list unsure records past their window: %w", err)
	}
	return toRecordIDs(rows), nil
}

// RaiseFinding implements billing.Tx.
func (t *Tx) RaiseFinding(ctx context.Context, f billing.Finding) error {
	err := t.q.RaiseFinding(ctx, db.RaiseFindingParams{
		ID: string(f.ID), Cause: f.Cause, Class: string(f.Class), Subscription: string(f.Subscription), Meter: f.Meter, Record: string(f.Record), Quantity: f.Quantity,
		Owner: f.Owner, Detail: f.Detail, OpenedAt: micros(f.OpenedAt),
	})
	if err != nil {
		return fmt.Errorf("store a finding of class %s: %w", f.Class, err)
	}
	return nil
}

// CloseFinding implements billing.Tx.
func (t *Tx) CloseFinding(ctx context.Context, f id.Finding, by, why string, at time.Time) (bool, error) {
	n, err := t.q.CloseFinding(ctx, db.CloseFindingParams{ID: string(f), ClosedBy: by, ClosedWhy: why, ClosedAt: micros(at)})
	if err != nil {
		return false, fmt.Errorf("close finding %s: %w", f, err)
	}
	return n == 1, nil
}

// CloseDoubts implements billing.Tx.
func (t *Tx) CloseDoubts(ctx context.Context, rec id.Record, by, why string, at time.Time) error {
	if err := t.q.CloseDoubts(ctx, db.CloseDoubtsParams{Record: string(rec), ClosedBy: by, ClosedWhy: why, ClosedAt: micros(at)}); err != nil {
		return fmt.Errorf("close the findings about record %s: %w", rec, err)
	}
	return nil
}

// ListFindings implements billing.Store.
func (s *Store) ListFindings(ctx context.Context, open bool, limit int) ([]billing.Finding, error) {
	q, err := s.query(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := q.ListFindings(ctx, db.ListFindingsParams{Column1: flag(open), Limit: atMost(limit)})
	if err != nil {
		return nil, fmt.Errorf("list findings: %w", err)
	}
	out := make([]billing.Finding, len(rows))
	for i, r := range rows {
		out[i] = billing.Finding{
			ID: id.Finding(r.ID), Class: billing.FindingClass(r.Class), Cause: r.Cause, Subscription: id.Subscription(r.Subscription), Meter: r.Meter, Record: id.Record(r.Record),
			Quantity: r.Quantity, Owner: r.Owner, Detail: r.Detail, OpenedAt: fromMicros(r.OpenedAt), ClosedAt: fromMicros(r.ClosedAt), ClosedBy: r.ClosedBy, ClosedWhy: r.ClosedWhy,
		}
	}
	return out, nil
}

// StationAges implements billing.Store.
func (s *Store) StationAges(ctx context.Context) (map[billing.Station]billing.StationAge, error) {
	q, err := s.query(ctx)
	if err != nil {
		return nil, err
	}
	out := map[billing.Station]billing.StationAge{}
	kept, err := q.QuarantineAge(ctx)
	if err != nil {
		return nil, fmt.Errorf("age of the quarantine: %w", err)
	}
	out[billing.StationIngest] = billing.StationAge{Waiting: int(kept.Waiting), Oldest: fromMicros(kept.Oldest)}
	open, err := q.OpenAge(ctx)
	if err != nil {
		return nil, fmt.Errorf("age of what is open: %w", err)
	}
	out[billing.StationSeal] = billing.StationAge{Waiting: int(open.Waiting), Oldest: fromMicros(open.Oldest)}
	states, err := q.RecordAges(ctx)
	if err != nil {
		return nil, fmt.Errorf("age of the records: %w", err)
	}
	for _, r := range states {
		at := billing.StationAcknowledge
		if ledger.RecordState(r.State) == ledger.RecordQueued {
			at = billing.StationSubmit
		}
		a, oldest := out[at], fromMicros(r.Oldest)
		a.Waiting += int(r.Waiting)
		if a.Oldest.IsZero() || oldest.Before(a.Oldest) {
			a.Oldest = oldest
		}
		out[at] = a
	}
	return out, nil
}
