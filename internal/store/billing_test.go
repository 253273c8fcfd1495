package store_test

import (
	"context"
	"fmt"
	"log/slog"
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
	terms map[id.Subscription]billing.Terms
}

type termedTx struct {
	billing.Tx
	terms map[id.Subscription]billing.Terms
}

func (s termed) BillingTx(ctx context.Context, fn func(context.Context, billing.Tx) error) error {
	return s.Store.BillingTx(ctx, func(ctx context.Context, tx billing.Tx) error { return fn(ctx, termedTx{tx, s.terms}) })
}

func (t termedTx) Terms(_ context.Context, sub id.Subscription, _ time.Time) (billing.Terms, error) {
	x, ok := t.terms[sub]
	if !ok {
		return x, fault.New(fault.NotFound, "no %s", sub)
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
	slots   map[string]string
	weather func(call int, batch []marketplace.Record) string // "", throttle, refuse, lost, unprocessed
	call    int
	bad     string // a slot that refuses the whole call
	single  marketplace.ReceiptOutcome
}

func (v *vendor) Rules(string) marketplace.Rules {
	return marketplace.Rules{
		BatchRecords: 25, BatchBytes: 1 << 20, WholeUnits: true, MaxQuantity: 1 << 31, Back: marketplace.Window{Limit: 24 * time.Hour}, AfterEnd: marketplace.Window{Target: 20 * time.Minute, Limit: time.Hour},
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
	v.call++
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
		o := marketplace.OutcomeAccepted
		if _, taken := v.slots[r.Key]; taken {
			o = marketplace.OutcomeDuplicate
		} else {
			v.slots[r.Key] = r.Quantity
		}
		out = append([]marketplace.Receipt{{Key: r.Key, Outcome: o}}, out...)
	}
	if w == "lost" {
		return nil, fault.New(fault.Unsure, "cut")
	}
	return out, nil
}

type meterWorld struct {
	*billing.Service
	t    *testing.T
	v    *vendor
	sub  id.Subscription
	now  time.Time
	n    int
	term map[id.Subscription]billing.Terms
}

func metering(t *testing.T, s *store.Store) *meterWorld {
	start := time.Date(2026, 11, 3, 7, 10, 0, 0, time.UTC)
	w := &meterWorld{t: t, v: &vendor{slots: map[string]string{}}, sub: id.NewSubscription(), now: start, term: map[id.Subscription]billing.Terms{}}
	w.term[w.sub] = billing.Terms{
		Subscription: w.sub, Lineage: w.sub, Marketplace: "aws", Product: "tailnet", Plan: "standard", StartsAt: start, CutOver: clock.HourOf(start),
		Identity: marketplace.VendorIdentity{Account: "123456789012", License: string(w.sub)},
	}
	w.Service = billing.New(billing.Options{
		Store: termed{s, w.term}, Catalog: catalog.Default(), Vendors: map[marketplace.ID]billing.Submitter{"aws": w.v},
		Now: func() time.Time { return w.now }, Wall: func() time.Time { return start }, Log: slog.New(slog.DiscardHandler),
	})
	return w
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
		if _, err := w.Submit(w.t.Context(), "aws"); err == nil {
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
		if m.Meter == meter {
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

func TestMetering(t *testing.T) {
	t.Parallel()
	cases := map[string]func(w *meterWorld){
		"fractions are carried and written off at the end": func(w *meterWorld) {
			for range 5 {
				w.use("api_request", "0.7", "", w.now)
				w.now = w.now.Add(time.Hour)
				w.seal()
				w.send()
			}
			w.want("api_request", "3.5", "3", "0.5", "0", "0")
			x := w.term[w.sub]
			x.EndsAt = w.now
			w.term[w.sub] = x
			w.cover()
			for range 3 {
				if _, err := w.Close(w.t.Context(), w.sub); err != nil {
					w.t.Fatal(err)
				}
				w.send()
			}
			w.want("api_request", "3.5", "3", "0", "0.5", "0")
			late := w.use("api_request", "2", "", w.now.Add(-time.Hour))
			w.want("api_request", "5.5", "3", "0", "2.5", "0")
			w.use("api_request", "0", "", w.now, late)
			w.want("api_request", "3.5", "3", "0", "0.5", "0")
		},
		"a correction after the seal makes credit that later usage consumes": func(w *meterWorld) {
			e := w.use("api_request", "10", "", w.now)
			w.now = w.now.Add(time.Hour)
			w.seal()
			w.send()
			w.use("api_request", "4", "", w.now, e)
			w.now = w.now.Add(time.Hour)
			w.seal()
			w.want("api_request", "4", "10", "0", "0", "6")
			w.use("api_request", "9", "", w.now)
			w.now = w.now.Add(time.Hour)
			w.seal()
			w.send()
			w.want("api_request", "13", "13", "0", "0", "0")
		},
		"answer lost after acceptance, then a duplicate": func(w *meterWorld) {
			w.v.weather = func(call int, _ []marketplace.Record) string { return map[int]string{1: "lost"}[call] }
			w.use("api_request", "5", "", w.now)
			w.now = w.now.Add(time.Hour)
			w.seal()
			w.send()
			w.want("api_request", "5", "5", "0", "0", "0")
		},
		"a duplicate that no attempt explains is unsure, and never sent again": func(w *meterWorld) {
			w.use("api_request", "5", "", w.now)
			w.v.slots[string(w.sub)+"|api_request|"+clock.HourOf(w.now).String()] = "77"
			w.now = w.now.Add(time.Hour)
			w.seal()
			w.send()
			w.v.weather = func(int, []marketplace.Record) string { return "lost" }
			w.send()
			if m := w.row("api_request"); m.Unsure != "5" || m.Accepted != "0" {
				w.t.Fatalf("%+v", m)
			}
			if f, err := w.Findings(w.t.Context(), true); err != nil || len(f) != 1 || f[0].Class != billing.FindUnexplainedDuplicate {
				w.t.Fatalf("%+v %v", f, err)
			}
		},
		"unique, peak and what is included": func(w *meterWorld) {
			for i, of := range []string{"ann", "bob", "ann"} {
				w.use("active_user", "1", of, w.now.Add(time.Duration(i)*time.Minute))
			}
			w.use("tagged_resource", "53", "", w.now)
			w.use("tagged_resource", "51", "", w.now)
			w.use("ephemeral_minute", "1002.25", "", w.now)
			w.now = w.now.Add(time.Hour)
			w.cover()
			w.seal()
			w.send()
			w.want("active_user", "2", "2", "0", "0", "0")
			w.want("tagged_resource", "53", "3", "0", "0", "0")
			w.want("ephemeral_minute", "1002.25", "2", "0.25", "0", "0")
		},
		"one bad record does not stop the others, unprocessed ones are sent again": func(w *meterWorld) {
			h := clock.HourOf(w.now)
			w.v.bad, w.v.single = string(w.sub)+"|api_request|"+h.Next().String(), marketplace.OutcomeExpired
			w.v.weather = func(call int, _ []marketplace.Record) string {
				return map[int]string{1: "throttle", 3: "unprocessed"}[call]
			}
			for range 6 {
				w.use("api_request", "1", "", w.now)
				w.now = w.now.Add(time.Hour)
				w.seal()
			}
			w.send()
			w.now = w.now.Add(time.Hour)
			w.seal()
			w.send()
			w.want("api_request", "6", "6", "0", "0", "0")
		},
	}
	for name, run := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Each(t, func(t *testing.T, s *store.Store) {
				w := metering(t, s)
				w.t = t
				run(w)
			})
		})
	}
}
