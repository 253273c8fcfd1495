package billing

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tailmarket/tailmarket/internal/billing/ledger"
	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
)

const listLimit = 1000

// Age is what waits at a station and for how long, by business time.
type Age struct {
	Waiting int
	Oldest  time.Duration
}

// Ages tells for every station what waits there: events in quarantine (ingest),
// open units (seal), queued records (submit), sent and unsure ones (acknowledge).
func (s *Service) Ages(ctx context.Context) (map[Station]Age, error) {
	got, err := s.Store.StationAges(ctx)
	if err != nil {
		return nil, fmt.Errorf("ages of the stations: %w", err)
	}
	now := s.Now()
	out := map[Station]Age{}
	for _, st := range []Station{StationIngest, StationSeal, StationSubmit, StationAcknowledge} {
		a := Age{Waiting: got[st].Waiting}
		if o := got[st].Oldest; !o.IsZero() && now.After(o) {
			a.Oldest = now.Sub(o)
		}
		out[st] = a
	}
	return out, nil
}

// HourView is one hour of one meter: what was used in it, and what was told the
// marketplace in its slot. Quantities are decimal text.
type HourView struct {
	Meter     string      `json:"meter"`
	Hour      clock.Hour  `json:"-"`
	Starts    time.Time   `json:"hour"`
	Measured  string      `json:"measured"`
	Corrected string      `json:"corrected"`
	Record    *RecordView `json:"record,omitempty"`
}

// RecordView is a record for people, with every attempt.
type RecordView struct {
	ID          id.Record          `json:"id"`
	Meter       string             `json:"meter"`
	Dimension   string             `json:"dimension"`
	Hour        time.Time          `json:"hour"`
	Slot        string             `json:"slot"`
	Quantity    string             `json:"quantity"` // frozen
	Placed      string             `json:"placed"`   // what it stands for now
	State       ledger.RecordState `json:"state"`
	Reason      ledger.Reason      `json:"reason,omitempty"`
	Parked      bool               `json:"parked,omitempty"`
	Final       bool               `json:"final,omitempty"`
	Deadline    time.Time          `json:"deadline"`
	FrozenAt    time.Time          `json:"frozen_at"`
	SettledAt   time.Time          `json:"settled_at,omitzero"`
	Allocations []AllocationView   `json:"allocations,omitempty"`
	Attempts    []AttemptView      `json:"attempts,omitempty"`
}

// AllocationView is a record's share of one counting period and plan.
type AllocationView struct {
	Period   string `json:"period"`
	Plan     string `json:"plan"`
	Quantity string `json:"quantity"`
}

// AttemptView is one call or one operator's word.
type AttemptView struct {
	N          int           `json:"n"`
	Call       string        `json:"call,omitempty"`
	BegunAt    time.Time     `json:"begun_at"`
	Answer     ledger.Answer `json:"answer"`
	AnsweredAt time.Time     `json:"answered_at,omitzero"`
	Receipt    string        `json:"receipt,omitempty"`
	Detail     string        `json:"detail,omitempty"`
}

// EntryView is one line of the ledger.
type EntryView struct {
	At       time.Time     `json:"at"`
	Period   string        `json:"period"`
	Plan     string        `json:"plan"`
	From     ledger.Place  `json:"from"`
	To       ledger.Place  `json:"to"`
	Quantity string        `json:"quantity"`
	Reason   ledger.Reason `json:"reason,omitempty"`
	Record   id.Record     `json:"record,omitempty"`
	Event    id.UsageEvent `json:"event,omitempty"`
}

func view(r Record) RecordView {
	v := RecordView{
		ID: r.ID, Meter: r.Meter, Dimension: r.Dimension, Hour: r.Hour.Start(), Slot: r.Slot, Quantity: text(r.Quantity, r.Scale), Placed: text(r.Placed, r.Scale),
		State: r.State, Reason: r.Reason, Parked: r.Parked, Final: r.Final, Deadline: r.Deadline, FrozenAt: r.FrozenAt, SettledAt: r.SettledAt,
	}
	for _, a := range r.Allocations {
		v.Allocations = append(v.Allocations, AllocationView{a.Period, a.Plan, text(a.Quantity, r.Scale)})
	}
	for _, a := range r.Attempts {
		v.Attempts = append(v.Attempts, AttemptView{a.N, a.Call, a.BegunAt, a.Answer, a.AnsweredAt, a.Receipt, a.Detail})
	}
	return v
}

// Records lists the newest records of a subscription with their attempts.
func (s *Service) Records(ctx context.Context, sub id.Subscription) ([]RecordView, error) {
	recs, err := s.Store.ListRecords(ctx, sub, listLimit)
	if err != nil {
		return nil, fmt.Errorf("records of %s: %w", sub, err)
	}
	out := make([]RecordView, len(recs))
	for i, r := range recs {
		out[i] = view(r)
	}
	return out, nil
}

// Hours lists the newest hours of a subscription in which something was used or
// told the marketplace, newest first.
func (s *Service) Hours(ctx context.Context, sub id.Subscription) ([]HourView, error) {
	uses, err := s.Store.ListHours(ctx, sub, listLimit)
	if err != nil {
		return nil, fmt.Errorf("hours of %s: %w", sub, err)
	}
	recs, err := s.Store.ListRecords(ctx, sub, listLimit)
	if err != nil {
		return nil, fmt.Errorf("hours of %s: %w", sub, err)
	}
	acct, _, err := s.accountOf(ctx, sub)
	if err != nil {
		return nil, err
	}
	type key struct {
		hour  int64
		meter string
	}
	at := map[key]int{}
	sums := map[key]HourUse{} // over the plans of an hour
	var out []HourView
	for _, u := range uses {
		m, k := s.meterOf(acct.Product, u.Meter, 0), key{u.Hour.Unix(), u.Meter}
		if _, ok := at[k]; !ok {
			at[k] = len(out)
			out = append(out, HourView{Meter: u.Meter, Hour: u.Hour, Starts: u.Hour.Start()})
		}
		sum := sums[k]
		sum.Measured, sum.Corrected = sum.Measured+u.Measured, sum.Corrected+u.Corrected
		sums[k] = sum
		out[at[k]].Measured, out[at[k]].Corrected = m.Format(sum.Measured), m.Format(sum.Corrected)
	}
	for _, r := range recs {
		v, k := view(r), key{r.Hour.Unix(), r.Meter}
		i, ok := at[k]
		if !ok || out[i].Record != nil { // a slot may have parts, and a meter several dimensions
			i = len(out)
			out = append(out, HourView{Meter: r.Meter, Hour: r.Hour, Starts: r.Hour.Start(), Measured: "0", Corrected: "0"})
		}
		out[i].Record = &v
	}
	sortHours(out)
	return out, nil
}

// Story tells every move of the units of one hour of one meter, oldest first:
// those used in it and those of the record in its slot.
func (s *Service) Story(ctx context.Context, sub id.Subscription, meter string, h clock.Hour) ([]EntryView, error) {
	entries, err := s.Store.ListEntries(ctx, sub, meter, h)
	if err != nil {
		return nil, fmt.Errorf("story of %s %s %s: %w", sub, meter, h, err)
	}
	acct, _, err := s.accountOf(ctx, sub)
	if err != nil {
		return nil, err
	}
	m := s.meterOf(acct.Product, meter, 0)
	out := make([]EntryView, len(entries))
	for i, e := range entries {
		out[i] = EntryView{e.At, e.Period, e.Plan, e.From, e.To, m.Format(e.Quantity), e.Reason, e.Record, e.Event}
	}
	return out, nil
}

func sortHours(hours []HourView) {
	slices.SortStableFunc(hours, func(a, b HourView) int {
		return cmp.Or(b.Starts.Compare(a.Starts), strings.Compare(a.Meter, b.Meter))
	})
}

func (s *Service) accountOf(ctx context.Context, sub id.Subscription) (a Account, known bool, err error) {
	err = s.Store.BillingSnapshot(ctx, func(ctx context.Context, snap Snapshot) error {
		a, known, err = snap.BillingAccount(ctx, sub)
		return err
	})
	return a, known, err
}

// Findings lists findings, newest first; open: only those nobody closed.
func (s *Service) Findings(ctx context.Context, open bool) ([]Finding, error) {
	return s.Store.ListFindings(ctx, open, listLimit)
}

// CloseFinding closes one, with who and why.
func (s *Service) CloseFinding(ctx context.Context, f id.Finding, actor, why string) error {
	if actor == "" || why == "" {
		return fault.New(fault.Invalid, "say who closes the finding and why")
	}
	return s.Store.BillingTx(ctx, func(ctx context.Context, tx Tx) error {
		ok, err := tx.CloseFinding(ctx, f, actor, why, s.Now())
		if err == nil && !ok {
			return fault.New(fault.NotFound, "there is no open finding %s", f)
		}
		return err
	})
}

// Quarantined lists usage events that are kept and not counted, oldest first.
func (s *Service) Quarantined(ctx context.Context) ([]Quarantined, error) {
	return s.Store.ListQuarantined(ctx, listLimit)
}

// Replay runs a quarantined event through the door again, after its cause was
// mended. Harmless to repeat.
func (s *Service) Replay(ctx context.Context, ident Ident) (Outcome, error) {
	var out Outcome
	err := s.Store.BillingTx(ctx, func(ctx context.Context, tx Tx) error {
		q, ok, err := tx.QuarantinedUsage(ctx, ident)
		if err != nil {
			return err
		}
		if !ok {
			return fault.New(fault.NotFound, "there is no such event in quarantine")
		}
		return s.retry(ctx, tx, q, s.Now(), &out)
	})
	if err != nil {
		return Outcome{}, fmt.Errorf("replay a usage event: %w", err)
	}
	return out, nil
}
