package e2e

import (
	"context"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/app"
	"github.com/tailmarket/tailmarket/internal/config"
	"github.com/tailmarket/tailmarket/internal/due"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/simulator"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

// seller is a living app in front of the simulator.
type seller struct {
	*app.Selling
	base *app.Base
	stop func()
}

func sell(t *testing.T, sim *simulator.Simulator, dir, replica string) *seller {
	t.Helper()
	c, err := config.Load(settings(t, sim, dir), "")
	if err != nil {
		t.Fatal(err)
	}
	b, err := app.OpenBase(t.Context(), c, silent)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, err := b.OpenSelling(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	work := s.Work()
	// Closing a purchase belongs to rooms that this story is not about.
	maps.Copy(work, map[due.Kind]due.Work{due.Close: func(context.Context, string) (time.Time, error) { return time.Time{}, nil }})
	go func() { ended <- b.Work(ctx, replica, work) }()
	go func() { ended <- s.Listen(ctx, marketplace.AWS) }()
	return &seller{s, b, func() {
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}}
}

// Whatever the weather does to the messages, repeated, late, out of order or
// never delivered, what we know of every purchase in the end is what AWS knows.
func TestEveryPurchaseIsKnownWhateverTheWeather(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			listing := struct{ code, id string }{"7exampl0code1exampl0code", "prod-0example0exam"} // of the shipped catalog
			sim, err := simulator.New(simulator.Options{
				Seed: seed, Weather: simulator.WeatherHostile, Channel: simulator.ChannelSQS,
				Products: []simulator.Product{{Code: listing.code, ID: listing.id, Dimensions: []string{"active_user"}}},
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(sim.Close)
			dir := t.TempDir()
			s := sell(t, sim, dir, "first")
			advance := func(d time.Duration) {
				ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
				defer cancel()
				if err := sim.Advance(ctx, sim.Now().Add(d)); err != nil {
					stuck, _ := s.base.Store.StuckDue(context.Background(), 1, 10)
					t.Fatalf("%v; rows that fail: %+v", err, stuck)
				}
			}
			var buyers []simulator.Buyer
			for range 6 {
				b, err := sim.Buy(t.Context(), simulator.Purchase{Habits: &simulator.Habits{Absent: true}})
				if err != nil {
					t.Fatal(err)
				}
				buyers = append(buyers, b)
			}
			advance(2 * time.Hour)

			// A buyer comes with a token; the answer is a claim of ours, whatever AWS says meanwhile.
			token, err := sim.Token(buyers[0].ID)
			if err != nil {
				t.Fatal(err)
			}
			claim := ""
			for range 5 { // a browser's user presses again
				if claim, err = s.Intake.Arrive(t.Context(), marketplace.AWS, marketplace.Token{Value: token}); err == nil {
					break
				}
			}
			if err != nil || claim == "" {
				t.Fatalf("claim %q %v", claim, err)
			}
			s.stop() // the process is replaced while messages are on their way
			s = sell(t, sim, dir, "second")
			defer func() { s.stop() }()

			if _, err := sim.Cancel(t.Context(), buyers[1].ID, ""); err != nil {
				t.Fatal(err)
			}
			cancelled := sim.Now()
			if _, err := sim.Change(t.Context(), buyers[2].ID, simulator.Change{Kind: simulator.ChangeRenew}); err != nil {
				t.Fatal(err)
			}
			advance(4 * time.Hour)

			for i, b := range buyers {
				got, ok, err := s.Subscriptions.Find(t.Context(), marketplace.AWS, b.LicenseArn)
				if err != nil || !ok {
					t.Fatalf("purchase %d is not known: %v", i, err)
				}
				state := got.State(sim.Now())
				switch {
				case i == 1:
					if end := got.EndsAt(); state != subscription.StateEnding || end.Before(cancelled) || end.After(cancelled.Add(time.Minute)) {
						t.Errorf("cancelled at %s: state %s, ends at %s", cancelled, state, end)
					}
				case state != subscription.StateAwaitingBuyer:
					t.Errorf("purchase %d is %s, want awaiting_buyer (a renewal ends nothing)", i, state)
				}
				if got.Account != b.Account || got.Product != "tailnet" {
					t.Errorf("purchase %d: account %s product %s", i, got.Account, got.Product)
				}
			}
			counts, err := s.Intake.Counts(t.Context())
			if err != nil || counts.Received == 0 || counts.Duplicates == 0 || counts.Quarantined != 0 || counts.Conflicts != 0 {
				t.Errorf("deliveries %+v %v", counts, err)
			}
			faults := sim.Faults()
			for _, kind := range []simulator.Kind{simulator.KindRepeat, simulator.KindReorder, simulator.KindDelay, simulator.KindDrop, simulator.KindReadFault} {
				if faults[string(kind)] == 0 {
					t.Errorf("the weather was not hostile: no %s", kind)
				}
			}
		})
	}
}
