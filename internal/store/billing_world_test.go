package store_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/catalog"
	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/store/storetest"
)

// termed answers terms of its own, so that metering is tested without purchases.
type termed struct {
	*store.Store
	terms    map[id.Subscription]billing.Terms
	mu       sync.Mutex
	marks    map[string]time.Time                    // what was marked due, by kind and subject
	sendable func([]billing.Record) []billing.Record // what Submit is told instead
	covering func()                                  // before the coverage is moved
	dies     func(op string) error                   // our process dies inside a transaction
	leased   func()                                  // after a transaction that renewed the lease of a call
	stuck    bool                                    // a call is not freed
}

type termedTx struct {
	billing.Tx
	*termed
	renewed *bool
}

func (t termedTx) LeaseCall(ctx context.Context, c billing.Call, was, lease string, until time.Time) (bool, error) {
	if t.stuck && until.IsZero() {
		return false, errors.New("died")
	}
	*t.renewed = true
	return t.Tx.LeaseCall(ctx, c, was, lease, until)
}

func (s *termed) BillingTx(ctx context.Context, fn func(context.Context, billing.Tx) error) error {
	renewed := false
	err := s.Store.BillingTx(ctx, func(ctx context.Context, tx billing.Tx) error { return fn(ctx, termedTx{tx, s, &renewed}) })
	if renewed && err == nil && s.leased != nil {
		s.leased()
	}
	return err
}

func (s *termed) Sendable(ctx context.Context, m marketplace.ID, limit int) ([]billing.Record, error) {
	got, err := s.Store.Sendable(ctx, m, limit)
	if s.sendable != nil {
		got = s.sendable(got)
	}
	return got, err
}

func (t termedTx) Mark(ctx context.Context, kind, subject string, at time.Time) error {
	t.mu.Lock()
	t.marks[kind+" "+subject] = at
	t.mu.Unlock()
	return t.Tx.Mark(ctx, kind, subject, at)
}

func (t termedTx) CoverUsage(ctx context.Context, sub id.Subscription, was, to time.Time) (bool, error) {
	if t.covering != nil {
		t.covering()
	}
	return t.Tx.CoverUsage(ctx, sub, was, to)
}

func (t termedTx) AddUsage(ctx context.Context, u billing.Usage) error {
	if t.dies != nil {
		if err := t.dies("usage"); err != nil {
			return err
		}
	}
	return t.Tx.AddUsage(ctx, u)
}

func (t termedTx) Terms(_ context.Context, sub id.Subscription, at time.Time) (billing.Terms, error) {
	x, ok := t.terms[sub]
	if !ok {
		return x, fault.New(fault.NotFound, "no %s", sub)
	}
	for i, s := range x.Plans {
		if i == 0 || !s.Since.After(at) {
			x.Plan = s.Plan
		}
	}
	if x.Identity.Plan != "" { // Microsoft's records name it
		x.Identity.Plan = x.Plan
	}
	return x, nil
}

func (t termedTx) FindSubject(_ context.Context, subject string, _ time.Time) (id.Subscription, error) {
	if _, ok := t.terms[id.Subscription(subject)]; ok {
		return id.Subscription(subject), nil
	}
	return "", nil
}

// vendor is a marketplace in memory: the first write of a slot wins.
type vendor struct {
	mu       sync.Mutex
	slots    map[string]string
	weather  func(call int, batch []marketplace.Record) string               // "", throttle, lost, unprocessed
	edit     func(call int, got []marketplace.Receipt) []marketplace.Receipt // on its way to us
	call     int
	bad      string // a slot that refuses the whole call
	single   marketplace.ReceiptOutcome
	monthCut func(clock.Hour) time.Time
	rules    *marketplace.Rules                           // of another marketplace
	takes    func(marketplace.Record) marketplace.Receipt // how it answers for one record
	sent     []marketplace.Record                         // everything we ever sent
}

func slotOf(license id.Subscription, dimension string, at time.Time) string {
	return string(license) + "|" + dimension + "|" + clock.HourOf(at).String()
}

func (v *vendor) Rules(string) marketplace.Rules {
	if v.rules != nil {
		return *v.rules
	}
	return marketplace.Rules{
		BatchRecords: 25, BatchBytes: 1 << 20, WholeUnits: true, MaxQuantity: 1 << 31, Heartbeat: true, ZeroAllowed: true,
		Back: marketplace.Window{Limit: 24 * time.Hour}, AfterEnd: marketplace.Window{Target: 20 * time.Minute, Limit: time.Hour}, MonthCut: v.monthCut,
		Slot: func(r marketplace.Record) string {
			return r.Identity.License + "|" + r.Dimension + "|" + r.Hour.String()
		},
		Group: func(r marketplace.Record) string { return r.Product }, Identity: func(marketplace.VendorIdentity) []error { return nil },
		Period: func(t time.Time) (time.Time, time.Time) {
			from := time.Date(t.UTC().Year(), t.UTC().Month(), 1, 0, 0, 0, 0, time.UTC)
			return from, from.AddDate(0, 1, 0)
		},
	}
}

func (v *vendor) Submit(_ context.Context, batch []marketplace.Record) ([]marketplace.Receipt, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.call++
	v.sent = append(v.sent, batch...)
	w := ""
	if v.weather != nil {
		w = v.weather(v.call, batch)
	}
	if w == "throttle" {
		return nil, fault.New(fault.Throttled, "slow")
	}
	for _, r := range batch {
		if r.Key == v.bad {
			return nil, fault.Wrap(fault.Refused, &marketplace.Refusal{Outcome: v.single, Detail: "bad"}, "")
		}
	}
	var out []marketplace.Receipt
	for i, r := range batch {
		if w == "unprocessed" && i%2 == 0 {
			out = append(out, marketplace.Receipt{Key: r.Key, Outcome: marketplace.OutcomeUnprocessed})
			continue
		}
		var said marketplace.Receipt
		if v.takes != nil {
			said = v.takes(r)
		} else if _, taken := v.slots[r.Key]; taken {
			said.Outcome = marketplace.OutcomeDuplicate
		} else {
			said.Outcome, v.slots[r.Key] = marketplace.OutcomeAccepted, r.Quantity
		}
		said.Key = r.Key
		out = append([]marketplace.Receipt{said}, out...)
	}
	if w == "lost" {
		return nil, fault.New(fault.Unsure, "cut")
	}
	if v.edit != nil {
		out = v.edit(v.call, out)
	}
	return out, nil
}

// nth is weather of some calls only.
func nth(what map[int]string) func(int, []marketplace.Record) string {
	return func(call int, _ []marketplace.Record) string { return what[call] }
}

type meterWorld struct {
	*billing.Service
	t    *testing.T
	v    *vendor
	sub  id.Subscription
	m    marketplace.ID
	now  time.Time
	wall time.Time
	n    int
	term map[id.Subscription]billing.Terms
	db   *termed
}

func metering(t *testing.T, s *store.Store) *meterWorld {
	t.Helper()
	start := time.Date(2026, 11, 3, 7, 10, 0, 0, time.UTC)
	w := &meterWorld{t: t, v: &vendor{slots: map[string]string{}}, sub: id.NewSubscription(), m: marketplace.AWS, now: start, wall: start, term: map[id.Subscription]billing.Terms{}}
	w.term[w.sub] = billing.Terms{
		Subscription: w.sub, Lineage: w.sub, Marketplace: "aws", Product: "tailnet", Plan: "standard", StartsAt: start, CutOver: clock.HourOf(start),
		Identity: marketplace.VendorIdentity{Account: "123456789012", License: string(w.sub)},
	}
	w.db = &termed{Store: s, terms: w.term, marks: map[string]time.Time{}}
	w.Service = billing.New(billing.Options{
		Store: w.db, Catalog: catalog.Default(), Vendors: map[marketplace.ID]billing.Submitter{"aws": w.v},
		Now: func() time.Time { return w.now }, Wall: func() time.Time { return w.wall }, Log: slog.New(slog.DiscardHandler),
	})
	return w
}

// stories runs each case on both engines.
func stories(t *testing.T, cases map[string]func(w *meterWorld)) {
	t.Helper()
	for name, run := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Each(t, func(t *testing.T, s *store.Store) { run(metering(t, s)) })
		})
	}
}

func (w *meterWorld) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// hours passes hours: each of them is collected and sealed when it is over.
func (w *meterWorld) hours(n int) {
	w.t.Helper()
	for range n {
		w.now = w.now.Add(time.Hour)
		w.cover()
		w.seal()
	}
}

func (w *meterWorld) end(at time.Time) {
	x := w.term[w.sub]
	x.EndsAt = at
	w.term[w.sub] = x
}

// finish closes until nothing is left to settle.
func (w *meterWorld) finish() {
	w.t.Helper()
	for range 12 {
		settled, err := w.Close(w.t.Context(), w.sub)
		w.ok(err)
		if settled {
			return
		}
		w.send()
	}
	w.t.Fatal("close never settles")
}

// offer ingests one event and returns what became of it.
func (w *meterWorld) offer(e billing.UsageEvent) billing.Outcome {
	w.t.Helper()
	if e.Source == "" {
		e.Source = "t"
	}
	if e.ID == "" {
		w.n++
		e.ID = fmt.Sprint(w.n)
	}
	got, err := w.Ingest(w.t.Context(), []billing.UsageEvent{e})
	w.ok(err)
	return got[0]
}

// found wants exactly these classes among the open findings.
func (w *meterWorld) found(classes ...billing.FindingClass) {
	w.t.Helper()
	all, err := w.Findings(w.t.Context(), true)
	w.ok(err)
	var got []billing.FindingClass
	for _, f := range all {
		got = append(got, f.Class)
	}
	slices.Sort(got)
	slices.Sort(classes)
	if !slices.Equal(got, classes) {
		w.t.Fatalf("findings %v, want %v", got, classes)
	}
}

// record is the record of a meter's slot.
func (w *meterWorld) record(meter string, at time.Time) billing.RecordView {
	w.t.Helper()
	all, err := w.Records(w.t.Context(), w.sub)
	w.ok(err)
	for _, r := range all {
		if r.Meter == meter && r.Hour.Equal(clock.HourOf(at).Start()) {
			return r
		}
	}
	return billing.RecordView{}
}

// billed is what the vendor's slots of a dimension hold.
func (w *meterWorld) billed(dimension string) map[string]string {
	out := map[string]string{}
	for slot, q := range w.v.slots {
		if parts := strings.Split(slot, "|"); parts[1] == dimension {
			out[parts[2]] = q
		}
	}
	return out
}

func (w *meterWorld) use(meter, q, of string, at time.Time, corrects ...string) string {
	w.t.Helper()
	w.n++
	e := billing.UsageEvent{Source: "t", ID: fmt.Sprint(w.n), Subject: string(w.sub), UsedAt: at, Meter: meter, Quantity: q, Of: of}
	if len(corrects) > 0 {
		e.Corrects = &billing.EventName{Source: "t", ID: corrects[0]}
	}
	got, err := w.Ingest(w.t.Context(), []billing.UsageEvent{e, e})
	if err != nil || got[0].Result != billing.Accepted || got[1].Result != billing.Duplicate {
		w.t.Fatalf("ingest %+v: %+v %v", e, got, err)
	}
	return e.ID
}

func (w *meterWorld) seal() {
	w.t.Helper()
	if _, err := w.Seal(w.t.Context(), w.sub); err != nil {
		w.t.Fatal(err)
	}
}

// send submits until nothing is left.
func (w *meterWorld) send() {
	w.t.Helper()
	for range 12 {
		if _, err := w.Submit(w.t.Context(), string(w.m)); err == nil {
			return
		}
	}
	w.t.Fatal("submit never settles")
}

func (w *meterWorld) cover() {
	w.t.Helper()
	from, err := w.Covered(w.t.Context(), w.sub)
	if err != nil {
		w.t.Fatal(err)
	}
	if from.IsZero() {
		from = w.term[w.sub].StartsAt
	}
	if err := w.Collect(w.t.Context(), w.sub, from, w.now, nil); err != nil {
		w.t.Fatal(err)
	}
}

func (w *meterWorld) row(meter string) billing.MeterReport {
	w.t.Helper()
	rep, err := w.Conservation(w.t.Context())
	if err != nil || rep.Broken != 0 {
		w.t.Fatalf("conservation: %+v %v", rep.Problems, err)
	}
	for _, m := range rep.Meters {
		if m.Meter == meter && m.Subscription == w.sub {
			return m
		}
	}
	return billing.MeterReport{}
}

func (w *meterWorld) want(meter, measured, accepted, carried, writtenOff, credit string) {
	w.t.Helper()
	m := w.row(meter)
	if m.Measured != measured || m.Accepted != accepted || m.Carried != carried || m.WrittenOff != writtenOff || m.CreditLeft != credit {
		w.t.Fatalf("%s: measured %s accepted %s carried %s written off %s credit %s; want %s %s %s %s %s", meter, m.Measured, m.Accepted, m.Carried, m.WrittenOff, m.CreditLeft, measured, accepted, carried, writtenOff, credit)
	}
}
