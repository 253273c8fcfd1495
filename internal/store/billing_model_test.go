package store_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/money"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/store/storetest"
)

// TestMain: a history writes hundreds of rows, so the default is fewer of them
// than rapid's; -rapid.checks asks for more.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "40"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

type died struct{}

// history plays a random life of one subscription and compares the vendor's bill,
// what was used and the ledger at its end.
func history(t *testing.T, r *rapid.T, wrap func(billing.Submitter) billing.Submitter) error {
	w := metering(t, storetest.Open(t, store.SQLite))
	w.t = t
	ctx := t.Context()
	w.v.weather = func(int, []marketplace.Record) string {
		return rapid.SampledFrom([]string{"", "", "", "throttle", "lost", "unprocessed", "dies before", "dies after"}).Draw(r, "weather")
	}
	vendors := map[marketplace.ID]billing.Submitter{"aws": wrap(mortal{w.v})}
	o := w.Options
	o.Vendors = vendors
	w.Service = billing.New(o)
	type ev struct {
		id string
		q  int64
	}
	var live []ev
	send := func() {
		defer func() {
			if p := recover(); p != nil {
				if _, ok := p.(died); !ok {
					panic(p)
				}
				w.Service = billing.New(o) // a new process
			}
		}()
		_, _ = w.Submit(ctx, "aws")
	}
	for range rapid.IntRange(1, 20).Draw(r, "steps") {
		switch rapid.SampledFrom([]string{"use", "use", "late", "correct", "hour", "hour", "send", "send"}).Draw(r, "step") {
		case "use", "late":
			at := w.now.Add(-time.Duration(rapid.IntRange(0, 300).Draw(r, "ago")) * time.Minute)
			if at.Before(w.term[w.sub].StartsAt) {
				at = w.now
			}
			q := int64(rapid.IntRange(0, 40).Draw(r, "q"))
			live = append(live, ev{w.use("api_request", money.Format(q, 1), "", at), q})
		case "correct":
			if len(live) == 0 {
				continue
			}
			i, q := rapid.IntRange(0, len(live)-1).Draw(r, "which"), int64(rapid.IntRange(0, 40).Draw(r, "becomes"))
			live[i] = ev{w.use("api_request", money.Format(q, 1), "", w.now, live[i].id), q}
		case "hour":
			w.now = w.now.Add(time.Hour)
			w.seal()
		case "send":
			send()
		}
		if !rapid.Bool().Draw(r, "audit") {
			continue // what is broken stays broken; auditing takes longer than living
		}
		if rep, err := w.Conservation(ctx); err != nil || rep.Broken > 0 {
			return fmt.Errorf("on the way: %v %w", rep.Problems, err)
		}
	}
	x := w.term[w.sub]
	x.EndsAt = w.now.Add(time.Minute)
	w.term[w.sub] = x
	w.now = x.EndsAt
	w.cover()
	settled := false
	for n := 0; n < 200 && !settled; n++ {
		var err error
		if settled, err = w.Close(ctx, w.sub); err != nil {
			return err
		}
		send()
	}
	if !settled {
		return fmt.Errorf("never settles")
	}
	var used, billed int64
	for _, e := range live {
		used += e.q
	}
	for _, q := range w.v.slots {
		n, err := strconv.ParseInt(q, 10, 64)
		if err != nil {
			return err
		}
		billed += n
	}
	rep, err := w.Conservation(ctx)
	if err != nil || rep.Broken > 0 {
		return fmt.Errorf("at the end: %v %w", rep.Problems, err)
	}
	for _, m := range rep.Meters {
		if m.Meter == "api_request" && (m.Measured != money.Format(used, 1) || m.Accepted != strconv.FormatInt(billed, 10) || m.Unsure != "0" || m.Open != "0") {
			return fmt.Errorf("used %d tenths, the vendor bills %d: %+v", used, billed, m)
		}
	}
	return nil
}

// mortal is a vendor at which our process may die around the call.
type mortal struct{ *vendor }

func (m mortal) Submit(ctx context.Context, batch []marketplace.Record) ([]marketplace.Receipt, error) {
	inner := m.weather
	w := inner(0, batch)
	m.weather = func(int, []marketplace.Record) string { return w }
	defer func() { m.weather = inner }()
	if w == "dies before" {
		panic(died{})
	}
	got, err := m.vendor.Submit(ctx, batch)
	if w == "dies after" {
		panic(died{})
	}
	return got, err
}

func TestRandomHistoriesOfMetering(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		if err := history(t, r, func(s billing.Submitter) billing.Submitter { return s }); err != nil {
			r.Fatal(err)
		}
	})
}

// The histories would prove nothing if they passed billing that is wrong.
func TestRandomHistoriesNoticeBrokenBilling(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string]func(billing.Submitter) billing.Submitter{
		"a lost answer counts as refused": func(s billing.Submitter) billing.Submitter { return liar{s} },
	} {
		found := false
		for seed := 0; seed < 60 && !found; seed++ {
			found = rapid.Custom(func(r *rapid.T) bool { return history(t, r, wrap) != nil }).Example(seed)
		}
		if !found {
			t.Errorf("%s: no history noticed", name)
		}
	}
}

type liar struct{ billing.Submitter }

func (l liar) Submit(ctx context.Context, batch []marketplace.Record) ([]marketplace.Receipt, error) {
	got, err := l.Submitter.Submit(ctx, batch)
	if !fault.Is(err, fault.Unsure) {
		return got, err
	}
	for _, r := range batch {
		got = append(got, marketplace.Receipt{Key: r.Key, Outcome: marketplace.OutcomeExpired})
	}
	return got, nil
}
