package store_test

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/catalog"
	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/store/storetest"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

// BenchmarkIngest stores calls of 10,000 events each, the largest that /v1/usage
// takes, of 20 purchases and two meters.
func BenchmarkIngest(b *testing.B) {
	for _, engine := range []store.Engine{store.SQLite, store.Postgres} {
		b.Run(string(engine), func(b *testing.B) {
			const n = 10_000
			w, subs := sold(b, storetest.Open(b, engine), 20)
			var peak atomic.Uint64
			stop := watchHeap(&peak)
			defer stop()
			var idle runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&idle)
			peak.Store(0)
			call := 0
			for b.Loop() {
				call++
				events := make([]billing.UsageEvent, n)
				for i := range events {
					events[i] = billing.UsageEvent{
						Source: "bench", ID: fmt.Sprint(call, "/", i), Subject: string(subs[i%len(subs)]), UsedAt: w.Now().Add(-time.Duration(i) * time.Millisecond),
						Meter: []string{"api_request", "ephemeral_minute"}[i%2], Quantity: "1.5",
					}
				}
				got, err := w.Ingest(b.Context(), events)
				if err != nil || got[0].Result != billing.Accepted || got[n-1].Result != billing.Accepted {
					b.Fatalf("%+v %v", got[:min(1, len(got))], err)
				}
			}
			b.ReportMetric(float64(n*call)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(peak.Load()-min(peak.Load(), idle.HeapInuse))/(1<<20), "peak-heap-MB")
		})
	}
}

// sold is the pipeline over n purchases that a marketplace told of.
func sold(b *testing.B, s *store.Store, n int) (*billing.Service, []id.Subscription) {
	b.Helper()
	at := time.Date(2026, 11, 3, 7, 30, 0, 0, time.UTC)
	clk := func() time.Time { return at }
	log := slog.New(slog.DiscardHandler)
	selling := subscription.New(s, *catalog.Default(), clk, log)
	if err := selling.GoLive(b.Context(), "tailnet", clock.HourOf(at).Next(), "bench"); err != nil {
		b.Fatal(err)
	}
	at = at.Add(time.Hour)
	subs := make([]id.Subscription, n)
	for i := range subs {
		err := s.SubscriptionTx(b.Context(), func(ctx context.Context, tx subscription.Tx) error {
			got, err := selling.Apply(ctx, tx, marketplace.AWS, boughtBy(fmt.Sprint("p", i), at), id.NewDelivery())
			subs[i] = got.Subscription
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	at = at.Add(time.Hour)
	return billing.New(billing.Options{
		Store: s, Catalog: catalog.Default(), Vendors: map[marketplace.ID]billing.Submitter{"aws": &vendor{}}, Now: clk, Wall: time.Now, Log: log,
	}), subs
}

// watchHeap notes the largest heap until it is stopped.
func watchHeap(peak *atomic.Uint64) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				peak.Store(max(peak.Load(), m.HeapInuse))
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}
