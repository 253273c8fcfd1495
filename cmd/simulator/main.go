package main

import (
	"context"
	"errors"
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
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
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
	fs.StringVar(&o.Listen.GCP, "gcp", "127.0.0.1:7072", "address of the Google endpoint, loopback only")
	fs.StringVar(&o.Listen.Azure, "azure", "127.0.0.1:7073", "address of the Microsoft endpoint, loopback only")
	dedup := fs.String("gcp-dedup", string(simulator.DedupOn), "on or off: whether Google knows a report again by its operation id")
	ca := fs.String("ca", filepath.Join(os.TempDir(), "tailmarket-simulator-ca.pem"), "where to write the certificate the app must trust")
	googleKey := fs.String("google-key", filepath.Join(os.TempDir(), "tailmarket-simulator-google-key.json"), "where to write the key of the service account that calls Google")
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
	o.Weather, o.Channel, o.GCP.Dedup = simulator.Weather(*weather), simulator.Channel(*channel), simulator.Dedup(*dedup)
	o.Log = slog.New(slog.NewTextHandler(stderr, nil))
	s, err := simulator.New(o)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := os.WriteFile(*ca, s.CAPEM(), 0o600); err != nil {
		return fmt.Errorf("write certificate: %w", err)
	}
	secret, err := s.GCPCredentials()
	if err == nil {
		err = os.WriteFile(*googleKey, secret, 0o600)
	}
	if err != nil {
		return fmt.Errorf("write google key: %w", err)
	}
	header, key := s.EventKey()
	eff := s.Options()
	text := fmt.Sprintf(`simulator, seed %d, weather %s, virtual time %s, standing until POST /clock/advance
control API at %s, events go to <app>/aws/events, /gcp/events and /azure/events, to the
queue and to the subscription; a push names its own address as its audience

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
  TAILMARKET_GCP_ENDPOINT=%s
  TAILMARKET_GCP_PROVIDER=%s
  TAILMARKET_GCP_AUDIENCE=%s
  TAILMARKET_GCP_PULL_SUBSCRIPTION=%s
  TAILMARKET_GCP_PUSH_SUBSCRIPTION=%s
  TAILMARKET_GCP_PUSH_AUDIENCE=<app>/gcp/events
  TAILMARKET_GCP_PUSH_ACCOUNT=%s
  TAILMARKET_GCP_CREDENTIALS_FILE=%s
  TAILMARKET_AZURE_ENDPOINT=%s/api
  TAILMARKET_AZURE_AUTHORITY=%s
  TAILMARKET_AZURE_TENANT_ID=%s
  TAILMARKET_AZURE_CLIENT_ID=%s
  TAILMARKET_AZURE_CLIENT_SECRET=%s
  TAILMARKET_AZURE_PUBLISHER_ID=%s
  TAILMARKET_AZURE_SIGN_IN_CLIENT_ID=%s
  TAILMARKET_AZURE_SIGN_IN_CLIENT_SECRET=%s
`, eff.Seed, eff.Weather, s.Now().Format(time.RFC3339), s.ControlURL(), s.ControlURL(), *ca, s.AWSURL(), eff.Region,
		eff.SellerAccount, s.QueueURL(), header, key,
		s.GCPURL(), eff.GCP.Provider, eff.GCP.Audience, eff.GCP.Subscription, eff.GCP.Subscription, eff.GCP.PushAccount, *googleKey,
		s.AzureURL(), s.AzureURL(), eff.Azure.Tenant, eff.Azure.Client, eff.Azure.Secret, eff.Azure.Publisher, eff.Azure.Landing, eff.Azure.Secret)
	for _, p := range eff.Products {
		text += fmt.Sprintf("AWS product %s (%s) with dimensions %s\n", p.Code, p.ID, strings.Join(p.Dimensions, ", "))
	}
	for _, p := range eff.GCP.Products {
		for _, plan := range p.Plans {
			text += fmt.Sprintf("Google product %s, plan %s with metrics %s\n", p.Service, plan.ID, strings.Join(plan.Metrics, ", "))
		}
	}
	if _, err := io.WriteString(stdout, text); err != nil {
		return fmt.Errorf("print the settings: %w", err)
	}
	<-ctx.Done()
	return nil
}
