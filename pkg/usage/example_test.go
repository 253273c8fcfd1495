package usage_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"time"

	"github.com/tailmarket/tailmarket/pkg/usage"
)

// A service that counts requests keeps them on disk and sends them beside its
// work. Nothing is lost when the network, the server or the service itself fails.
func ExampleSpool() { //nolint:testableexamples // it calls a server
	client, err := usage.New(usage.Options{URL: "https://sell.vendor.example", Key: os.Getenv("USAGE_KEY"), Source: "https://api.vendor.example/eu"})
	if err != nil {
		slog.Error("no usage client", "error", err)
		return
	}
	spool, err := usage.OpenSpool("/var/lib/vendor/usage", client, usage.SpoolOptions{})
	if err != nil {
		slog.Error("no usage spool", "error", err)
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	go func() { _ = spool.Run(ctx) }()

	err = spool.Add(usage.Event{
		ID:      "req-8f31", // the request's own id: adding it again changes nothing
		Subject: "sub_…", Time: time.Date(2026, 11, 3, 7, 0, 0, 0, time.UTC), Meter: "api_request", Quantity: "12.5",
	})
	if errors.Is(err, usage.ErrFull) {
		slog.Error("usage cannot be kept, so no work is taken", "error", err)
	}
}

// A nightly job sends what it counted and reads the answer.
func ExampleClient_Send() { //nolint:testableexamples // it calls a server
	client, err := usage.New(usage.Options{URL: "https://sell.vendor.example", Key: os.Getenv("USAGE_KEY"), Source: "nightly"})
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	results, err := client.Send(ctx, usage.Event{
		ID:      "2026-11-03/team-7", // the fact's name: tomorrow's run makes another one, a repeated run the same
		Subject: "tnt_…", Time: time.Date(2026, 11, 3, 23, 0, 0, 0, time.UTC), Meter: "api_request", Quantity: "4210",
	})
	for _, r := range results {
		if !r.Stored {
			fmt.Fprintln(os.Stderr, r.ID, r.Outcome, r.Detail)
		}
	}
	_ = err // what was not answered: run the job again
}
