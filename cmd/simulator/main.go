package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tailmarket/tailmarket/internal/simulator"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "simulator:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var o simulator.Options
	fs := flag.NewFlagSet("simulator", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Uint64Var(&o.Seed, "seed", 1, "seed of every fault, id and habit")
	weather := fs.String("weather", string(simulator.WeatherHostile), "hostile or good")
	channel := fs.String("channel", string(simulator.ChannelBoth), "how events travel: both, https or sqs")
	start := fs.String("start", "2026-11-03T00:00:00Z", "virtual time at the start, RFC 3339")
	fs.StringVar(&o.App, "app", "", "base URL of the app; may be set later with POST /app")
	fs.StringVar(&o.EventKey, "event-key", "", "value of the API destination's key header; default from the seed")
	fs.StringVar(&o.Listen.Control, "control", "127.0.0.1:7070", "address of the control API, loopback only")
	fs.StringVar(&o.Listen.AWS, "aws", "127.0.0.1:7071", "address of the AWS endpoint, loopback only")
	ca := fs.String("ca", filepath.Join(os.TempDir(), "tailmarket-simulator-ca.pem"), "where to write the certificate the app must trust")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	var err error
	if o.Start, err = time.Parse(time.RFC3339, *start); err != nil {
		return fmt.Errorf("-start: %w", err)
	}
	o.Weather, o.Channel = simulator.Weather(*weather), simulator.Channel(*channel)
	o.Log = slog.New(slog.NewTextHandler(stderr, nil))
	s, err := simulator.New(o)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := os.WriteFile(*ca, s.CAPEM(), 0o600); err != nil {
		return fmt.Errorf("write certificate: %w", err)
	}
	header, key := s.EventKey()
	eff := s.Options()
	text := fmt.Sprintf(`simulator, seed %d, weather %s, virtual time %s, standing until POST /clock/advance
control API at %s, events go to <app>/aws/events and to the queue

settings for an app:
  TAILMARKET_CLOCK_URL=%s
  TAILMARKET_CA_FILE=%s
  TAILMARKET_AWS_ENDPOINT=%s
  TAILMARKET_AWS_REGION=%s
  TAILMARKET_AWS_SELLER_ACCOUNT=%s
  TAILMARKET_AWS_QUEUE_URL=%s
  TAILMARKET_AWS_EVENT_KEY_HEADER=%s
  TAILMARKET_AWS_EVENT_KEY=%s
  TAILMARKET_AWS_ACCESS_KEY_ID=simulator
  TAILMARKET_AWS_SECRET_ACCESS_KEY=any-secret-will-do
`, eff.Seed, eff.Weather, s.Now().Format(time.RFC3339), s.ControlURL(), s.ControlURL(), *ca, s.AWSURL(), eff.Region,
		eff.SellerAccount, s.QueueURL(), header, key)
	for _, p := range eff.Products {
		text += fmt.Sprintf("product %s (%s) with dimensions %s\n", p.Code, p.ID, strings.Join(p.Dimensions, ", "))
	}
	if _, err := io.WriteString(stdout, text); err != nil {
		return fmt.Errorf("print the settings: %w", err)
	}
	<-ctx.Done()
	return nil
}
