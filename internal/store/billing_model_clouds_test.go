package store_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/billing/ledger"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/money"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/store/storetest"
)

// life is a random life of one purchase on one marketplace.
type life struct {
	*cloudWorld
	r    *rapid.T
	o    billing.Options
	live map[string][]used // by meter
	plan string

	changed bool // a plan changed, it was suspended, or somebody else writes: units may be lost to windows
}

type used struct {
	id string
	q  int64
}

func draw[T any](l *life, what string, of ...T) T { return rapid.SampledFrom(of).Draw(l.r, what) }

func (l *life) upTo(what string, most int) int { return rapid.IntRange(0, most).Draw(l.r, what) }

// submit is one working of the due row by a process that may die in it.
func (l *life) submit() {
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(died); !ok {
				panic(p)
			}
			l.Service = billing.New(l.o) // a new process
		}
	}()
	_, _ = l.Submit(l.t.Context(), string(l.m))
}

func (l *life) step() {
	meter := draw(l, "meter", "api_request", "api_request", "transfer")
	switch draw(l, "step", "use", "use", "late", "correct", "hour", "hour", "hour", "send", "send", "wait", "wait", "plan", "pause", "foreign") {
	case "use":
		l.count(meter, l.now)
	case "late":
		at := l.now.Add(-time.Duration(l.upTo("ago", 300)) * time.Minute)
		if at.Before(l.term[l.sub].StartsAt) {
			at = l.now
		}
		l.count(meter, at)
	case "correct":
		if n := len(l.live[meter]); n > 0 {
			i, q := l.upTo("which", n-1), int64(l.upTo("becomes", 40))
			l.live[meter][i] = used{l.use(meter, money.Format(q, 1), "", l.now, l.live[meter][i].id), q}
		}
	case "hour":
		minutes := time.Duration(30+l.upTo("minutes", 60)) * time.Minute
		l.now, l.wall = l.now.Add(minutes), l.wall.Add(time.Minute)
		l.seal()
	case "send":
		l.submit()
	case "wait":
		l.wall = l.wall.Add(time.Duration(draw(l, "wait", 5, 15, 40, 70)) * time.Minute)
	case "plan":
		l.changed = true
		l.plan = map[string]string{"standard": "pro", "pro": "standard"}[l.plan]
		l.edit(func(x *billing.Terms) {
			x.Plans = append(x.Plans[:len(x.Plans):len(x.Plans)], billing.Stretch{Plan: l.plan, Since: l.now})
		})
	case "pause":
		if l.m != marketplace.Azure {
			return
		}
		l.changed, l.suspended = true, !l.suspended
		if draw(l, "told", true, false) {
			l.edit(func(x *billing.Terms) { x.Suspended, x.SwitchedAt = l.suspended, l.now })
		}
	case "foreign":
		if l.m != marketplace.Azure {
			return
		}
		slot := l.slot(draw(l, "whose", "api_request", "transfer", "transfer_pro"), l.now)
		if _, taken := l.v.slots[slot]; !taken {
			l.changed, l.v.slots[slot] = true, money.Format(1+int64(l.upTo("theirs", 40)), 1)
		}
	}
}

func (l *life) count(meter string, at time.Time) {
	q := int64(l.upTo("q", 40))
	l.live[meter] = append(l.live[meter], used{l.use(meter, money.Format(q, 1), "", at), q})
}

// play lives a life to its end, and says what is wrong then.
func play(t *testing.T, r *rapid.T, m marketplace.ID, resendFor time.Duration, forgets bool, wrap func(billing.Submitter) billing.Submitter) error {
	l := &life{cloudWorld: selling(t, storetest.Open(t, store.SQLite), m, resendFor), r: r, live: map[string][]used{}, plan: "standard"}
	ctx := t.Context()
	l.forgets = forgets
	l.plans("standard")
	l.v.weather = func(int, []marketplace.Record) string {
		return draw(l, "weather", "", "", "", "throttle", "lost", "unprocessed", "dies before", "dies after")
	}
	l.v.edit = func(_ int, got []marketplace.Receipt) []marketplace.Receipt {
		switch n := l.upTo("answer", 9); {
		case n == 0:
			return got[1:] // one is not mentioned
		case n == 1 && got[0].Outcome == marketplace.OutcomeAccepted:
			got[0] = marketplace.Receipt{Key: got[0].Key, Outcome: marketplace.OutcomeFailed}
		}
		return got
	}
	l.o = l.Options
	l.o.Vendors = map[marketplace.ID]billing.Submitter{m: wrap(mortal{l.v})}
	l.Service = billing.New(l.o)
	for range rapid.IntRange(1, 25).Draw(r, "steps") {
		l.step()
		if !draw(l, "audit", true, false, false) {
			continue
		}
		if rep, err := l.Conservation(ctx); err != nil || rep.Broken > 0 {
			return fmt.Errorf("on the way: %v %w", rep.Problems, err)
		}
	}
	return l.judge(ctx)
}

// judge ends the purchase and compares what was used, the bill and the ledger.
func (l *life) judge(ctx context.Context) error {
	l.end(l.now.Add(time.Minute))
	l.now, l.wall = l.now.Add(32*time.Minute), l.wall.Add(time.Duration(draw(l, "away", 0, 15, 40, 70, 90))*time.Minute)
	settled := false
	for n := 0; n < 200 && !settled; n++ {
		var err error
		if settled, err = l.Close(ctx, l.sub); err != nil {
			return err
		}
		l.wall = l.wall.Add(time.Duration(draw(l, "back-off", 1, 1, 20, 70)) * time.Minute)
		if n > 20 { // what is unsure and refused since is parked when its window is over
			l.now = l.now.Add(time.Hour)
		}
		l.submit()
	}
	if !settled {
		return fmt.Errorf("never settles")
	}
	l.now = l.now.Add(26 * time.Hour)
	if _, err := l.Seal(ctx, l.sub); err != nil { // what is held is given up
		return err
	}
	rep, err := l.Conservation(ctx)
	if err != nil || rep.Broken > 0 {
		return fmt.Errorf("at the end: %v %w", rep.Problems, err)
	}
	billed := map[string]int64{}
	slots := map[string]bool{}
	for _, b := range l.bills {
		if slots[b.Key] {
			return fmt.Errorf("slot %s is charged twice", b.Key)
		}
		slots[b.Key] = true
		q, err := money.Parse(b.Quantity, 1)
		if err != nil {
			return err
		}
		billed[map[string]string{"api_request": "api_request", "transfer": "transfer", "transfer_pro": "transfer"}[b.Dimension]] += q
	}
	for _, row := range rep.Meters {
		if err := l.compare(ctx, row, billed[row.Meter]); err != nil {
			return err
		}
	}
	return nil
}

// compare compares one meter, in tenths.
func (l *life) compare(ctx context.Context, row billing.MeterReport, billed int64) error {
	var used int64
	for _, u := range l.live[row.Meter] {
		used += u.q
	}
	n := map[string]int64{}
	for name, text := range map[string]string{"accepted": row.Accepted, "unsure": row.Unsure, "written off": row.WrittenOff, "measured": row.Measured} {
		var err error
		if n[name], err = money.Parse(text, 1); err != nil {
			return err
		}
	}
	// What others wrote into our slots is accepted, and no line of ours.
	recs, err := l.Records(ctx, l.sub)
	if err != nil {
		return err
	}
	theirs := int64(0)
	for _, rec := range recs {
		ours := false
		for _, b := range l.bills {
			ours = ours || b.Key == rec.Slot
		}
		if rec.Meter == row.Meter && rec.State == ledger.RecordAccepted && !ours {
			q, err := money.Parse(l.v.slots[rec.Slot], 1)
			if err != nil {
				return fmt.Errorf("%s is accepted, and the marketplace has nothing: %w", rec.Slot, err)
			}
			theirs += q
		}
	}
	whole := int64(1) // Azure takes fractions
	if l.m == marketplace.GCP {
		whole = 10
	}
	sure := billed + theirs
	switch {
	case row.Open != "0" || row.Queued != "0" || row.Sent != "0" || row.Held != "0" || row.Carried != "0":
		return fmt.Errorf("not settled: %+v", row)
	case n["measured"] != used:
		return fmt.Errorf("used %d tenths: %+v", used, row)
	case sure < n["accepted"] || sure > n["accepted"]+n["unsure"]:
		return fmt.Errorf("the marketplace has %d tenths: %+v", sure, row)
	case !l.changed && n["written off"] >= whole:
		return fmt.Errorf("units were given up: %+v", row)
	case l.m == marketplace.Azure && !l.changed && n["unsure"] > 0:
		return fmt.Errorf("Microsoft says what a slot holds, and something is unsure: %+v", row)
	}
	return nil
}

func honest(s billing.Submitter) billing.Submitter { return s }

func TestRandomHistoriesOfClouds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		m         marketplace.ID
		resendFor time.Duration
		forgets   bool
	}{
		"google":              {marketplace.GCP, dedup, false},
		"google that forgets": {marketplace.GCP, -1, true},
		"azure":               {marketplace.Azure, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(r *rapid.T) {
				if err := play(t, r, c.m, c.resendFor, c.forgets, honest); err != nil {
					r.Fatal(err)
				}
			})
		})
	}
}

// The histories would prove nothing if they passed billing that is wrong.
func TestRandomHistoriesOfCloudsNoticeBrokenBilling(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		m         marketplace.ID
		resendFor time.Duration
		forgets   bool
		wrap      func(billing.Submitter) billing.Submitter
	}{
		"a doubtful operation is repeated for ever":          {marketplace.GCP, 0, false, honest},
		"a doubtful operation is repeated and charged again": {marketplace.GCP, dedup, true, honest},
		"a lost answer counts as refused":                    {marketplace.Azure, 0, false, func(s billing.Submitter) billing.Submitter { return liar{s} }},
		"what the slot holds is not read":                    {marketplace.Azure, 0, false, func(s billing.Submitter) billing.Submitter { return blind{s} }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range 80 {
				if rapid.Custom(func(r *rapid.T) bool { return play(t, r, c.m, c.resendFor, c.forgets, c.wrap) != nil }).Example(seed) {
					return
				}
			}
			t.Error("no history noticed")
		})
	}
}

// blind takes a slot that is taken for one that holds what was sent.
type blind struct{ billing.Submitter }

func (b blind) Submit(ctx context.Context, batch []marketplace.Record) ([]marketplace.Receipt, error) {
	got, err := b.Submitter.Submit(ctx, batch)
	for i, r := range got {
		if r.Outcome == marketplace.OutcomeDuplicate {
			got[i] = marketplace.Receipt{Key: r.Key, Outcome: marketplace.OutcomeAccepted}
		}
	}
	return got, err
}
