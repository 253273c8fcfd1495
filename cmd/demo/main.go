// Command demo is the whole story on one machine: the marketplaces and their clock
// here, the app as a process of its own on the embedded default, buyers who walk
// through its pages, days of usage, and at the end the marketplace's bill beside
// the app's ledger and beside what the script did. It compares them from outside,
// over HTTP, and believes neither.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tailmarket/tailmarket/internal/app"
	"github.com/tailmarket/tailmarket/internal/config"
	"github.com/tailmarket/tailmarket/internal/simulator"
	"github.com/tailmarket/tailmarket/internal/telemetry"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	do := demo
	if os.Getenv(childMark) != "" {
		do = runApp
	}
	if err := do(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// runApp is the child: the app, as “api serve” runs it.
func runApp(ctx context.Context, _ []string, stdout, stderr io.Writer) error {
	c, err := config.Load(os.Environ(), "")
	if err != nil {
		return err
	}
	b, err := app.OpenBase(ctx, c, telemetry.NewLogger(stderr, c.LogFormat, c.LogLevel))
	if err != nil {
		return err
	}
	return errors.Join(b.Serve(ctx, stdout), b.Close())
}

// options are the demo's flags.
type options struct {
	seed         uint64
	buyers, days int
	weather      string
	markets      []string
	kills        int
	crash        int
	dedup        simulator.Dedup
	database     string
	redis        string
	replicas     int
	halfway      string
	like         string
	once, json   bool
	verbose      bool
}

// begins is shortly before a month ends, so that counting periods change on the way.
var begins = time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC)

func demo(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	var o options
	fs := flag.NewFlagSet("demo", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Uint64Var(&o.seed, "seed", 1, "seed of the script, the weather and the kills")
	fs.IntVar(&o.buyers, "buyers", 12, "how many buy")
	fs.IntVar(&o.days, "days", 3, "virtual days of usage")
	fs.StringVar(&o.weather, "weather", string(simulator.WeatherHostile), "hostile or good")
	markets := fs.String("markets", "aws,gcp,azure", "where they buy: aws, gcp, azure, separated by commas")
	dedup := fs.String("gcp-dedup", string(simulator.DedupOn), "on or off: whether Google knows a report again; off: nothing is sent twice, and what is in doubt is listed as unsure")
	fs.IntVar(&o.kills, "kill", 0, "how often the app is killed and started again")
	fs.IntVar(&o.crash, "crash", 0, "die at so many of the points where something becomes durable, -kill times each, and print the table; -1 for all (needs -tags crash)")
	fs.StringVar(&o.database, "database-url", "", "an empty PostgreSQL database for the app; default SQLite in a temporary folder")
	fs.StringVar(&o.redis, "redis-url", "", "a Redis that the app's replicas share")
	fs.IntVar(&o.replicas, "replicas", 1, "how many processes the app is; more than one need -database-url")
	fs.StringVar(&o.halfway, "halfway", "", "a command for the shell when half of the days are over")
	fs.StringVar(&o.like, "like", "", "the JSON of an earlier run of this seed, whose units must be the same")
	fs.BoolVar(&o.once, "once", false, "end when everything is billed, instead of staying up")
	fs.BoolVar(&o.json, "json", false, "print one JSON document on standard output")
	fs.BoolVar(&o.verbose, "v", false, "show the app's whole log on standard error")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	for name := range strings.SplitSeq(*markets, ",") {
		if !slices.Contains([]string{simulator.AWS, simulator.GCP, simulator.Azure}, name) || slices.Contains(o.markets, name) {
			return fmt.Errorf("marketplace %q: want aws, gcp or azure, each once", name)
		}
		o.markets = append(o.markets, name)
	}
	if o.dedup = simulator.Dedup(*dedup); o.dedup != simulator.DedupOn && o.dedup != simulator.DedupOff {
		return fmt.Errorf("-gcp-dedup %q: want on or off", *dedup)
	}
	if o.replicas < 1 || o.replicas > 9 {
		return errors.New("want 1 to 9 replicas")
	}
	if o.replicas > 1 && o.database == "" {
		return errors.New("replicas share a PostgreSQL database, and SQLite is one process's: name an empty one with -database-url")
	}
	if o.buyers < 1 || o.buyers > 100 || o.days < 1 || o.days > 60 || o.kills < 0 || o.kills > 1000 {
		return errors.New("want 1 to 100 buyers, 1 to 60 days, 0 to 1000 kills")
	}
	if o.crash != 0 {
		return crash(ctx, o, stdout, stderr)
	}
	s, err := open(ctx, o, stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if !o.json {
		_, err := fmt.Fprintf(stdout, "%d buyers, %d virtual days, %s weather, seed %d; the app is at %s and is killed %d times …\n", o.buyers, o.days, o.weather, o.seed, s.client.app, o.kills)
		if err != nil {
			return err
		}
	}
	if err := s.play.run(); err != nil {
		return err
	}
	r, err := s.report()
	if err == nil && o.like != "" {
		err = r.compare(o.like)
	}
	if err != nil {
		return err
	}
	if o.json {
		err = json.NewEncoder(stdout).Encode(r)
	} else {
		err = r.table(stdout)
	}
	if wrong := r.wrong(o); len(wrong) > 0 {
		err = errors.Join(err, fmt.Errorf("not as it must be:\n  %s", strings.Join(wrong, "\n  ")))
	}
	if o.once {
		return err
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "demo:", err)
	}
	if lerr := s.whereToLook(ctx, stdout); lerr != nil {
		return errors.Join(err, lerr)
	}
	<-ctx.Done()
	return err
}

// stage is everything that runs.
type stage struct {
	o      options
	dir    string
	sim    *simulator.Simulator
	fronts []*front
	apps   replicas
	client *appClient
	killer *killer
	play   *play
}

func open(ctx context.Context, o options, stderr io.Writer) (s *stage, err error) {
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s = &stage{o: o}
	if s.dir, err = os.MkdirTemp("", "tailmarket-demo-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	var killer atomic.Pointer[killer]
	if s.sim, err = simulator.New(simulator.Options{
		Seed: o.seed, Weather: simulator.Weather(o.weather), Start: begins, Log: log, GCP: simulator.GCPOptions{Dedup: o.dedup}, Replicas: o.replicas,
		OnAnswer: func(op, phase string) {
			if k := killer.Load(); k != nil {
				k.received(op, phase)
			}
		},
	}); err != nil {
		return s, err
	}
	s.sim.Force(planted(o)...)
	url, embedded, err := s.start(ctx, stderr, log)
	if err != nil {
		return s, err
	}
	key, err := os.ReadFile(filepath.Join(s.dir, "operator.key"))
	if err != nil {
		return s, err
	}
	s.client = &appClient{
		app: url, embedded: embedded, key: strings.TrimSpace(string(key)), http: &http.Client{}, activity: s.sim.Activity, alive: s.apps.err,
	}
	s.sim.SetMail(s.client.mail)
	s.sim.SetApp(url)
	if err := s.client.goLive(ctx, begins); err != nil {
		return s, err
	}
	stop := begins.Add(time.Duration(o.days) * 24 * time.Hour)
	r := rand.New(rand.NewPCG(o.seed, 1))                                                                //nolint:gosec // a script, repeatable by seed
	s.killer = newKiller(s.apps, rand.New(rand.NewPCG(o.seed, 2)), o.kills, begins.Add(time.Hour), stop) //nolint:gosec // as above
	killer.Store(s.killer)
	s.play = &play{ctx: ctx, sim: s.sim, app: s.client, log: log, r: r, stop: stop, killer: s.killer, markets: o.markets, doubts: o.dedup == simulator.DedupOff}
	if s.play.links, s.play.dealer, err = s.client.partners(ctx, o.markets); err != nil {
		return s, err
	}
	s.play.schedule(o.buyers)
	if o.halfway != "" {
		s.play.agenda.add(begins.Add(stop.Sub(begins)/2), func() error {
			out, err := exec.CommandContext(ctx, "sh", "-c", o.halfway).CombinedOutput() //nolint:gosec // the caller's own command
			if err != nil {
				return fmt.Errorf("%s: %w: %s", o.halfway, err, out)
			}
			return nil
		})
	}
	return s, nil
}

// close stops what runs and removes what was kept.
func (s *stage) close() error {
	if s.killer != nil {
		s.killer.disarm()
	}
	s.apps.stop()
	for _, f := range s.fronts {
		f.close()
	}
	if s.sim != nil {
		s.sim.Close()
	}
	return os.RemoveAll(s.dir)
}

// start runs the app: one process that is reached by itself, or replicas behind a front.
// It returns where the app and the embedded tailnets are.
func (s *stage) start(ctx context.Context, stderr io.Writer, log *slog.Logger) (url, embedded string, err error) {
	n := s.o.replicas
	ports, err := freePorts(3*n + 2)
	if err != nil {
		return "", "", err
	}
	public, tailnets := ports[0], ports[n]
	if n > 1 {
		public, tailnets = ports[3*n], ports[3*n+1]
		for listen, to := range map[string][]string{public: ports[:n], tailnets: ports[n : 2*n]} {
			f, err := newFront(listen, to, log)
			if err != nil {
				return "", "", err
			}
			s.fronts = append(s.fronts, f)
		}
	}
	url, embedded = "http://"+public, "http://"+tailnets
	env, err := s.settings(url)
	if err != nil {
		return "", "", err
	}
	for i := range n {
		own := []string{"TAILMARKET_LISTEN=" + ports[i], "TAILMARKET_EMBEDDED_LISTEN=" + ports[n+i], "TAILMARKET_ADMIN_LISTEN=" + ports[2*n+i]}
		c := &child{env: slices.Concat(env, own), url: "http://" + ports[i], stderr: stderr, log: log}
		s.apps = append(s.apps, c)
		if err := c.start(ctx); err != nil { // the first makes the schema and the keys
			return "", "", err
		}
	}
	return url, embedded, nil
}

// settings are the app's: the embedded default, and the simulator instead of the clouds.
func (s *stage) settings(url string) (env []string, err error) {
	ca := filepath.Join(s.dir, "ca.pem")
	if err := os.WriteFile(ca, s.sim.CAPEM(), 0o600); err != nil {
		return nil, err
	}
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "TAILMARKET_") {
			env = append(env, pair)
		}
	}
	level := "error"
	if s.o.verbose {
		level = "debug"
	}
	env = append(env,
		"TAILMARKET_DATA_DIR="+s.dir, "TAILMARKET_PUBLIC_URL="+url, "TAILMARKET_CLOCK_URL="+s.sim.ControlURL(), "TAILMARKET_CA_FILE="+ca, "TAILMARKET_LOG_LEVEL="+level,
		"TAILMARKET_SELLER_NAME=Example Tailnets", "TAILMARKET_SELLER_SUPPORT=help@seller.example",
		// A marketplace that fails is asked again within milliseconds: the clock waits for it.
		"TAILMARKET_METERING_BACKOFF_BASE=5ms", "TAILMARKET_METERING_BACKOFF_MAX=40ms", "TAILMARKET_METERING_SWEEP_EVERY=20m",
	)
	if s.o.database != "" {
		env = append(env, "TAILMARKET_DATABASE_URL="+s.o.database)
	}
	if s.o.redis != "" {
		env = append(env, "TAILMARKET_REDIS_URL="+s.o.redis)
	}
	if s.o.replicas > 1 {
		env = append(env, fmt.Sprintf("TAILMARKET_REPLICAS=%d", s.o.replicas))
	}
	for _, m := range s.o.markets {
		of, err := s.seller(m, url)
		if err != nil {
			return nil, err
		}
		env = append(env, of...)
	}
	return env, nil
}

// seller are the settings with which the app sells at a marketplace of the simulator.
func (s *stage) seller(market, app string) ([]string, error) {
	o := s.sim.Options()
	switch market {
	case simulator.GCP:
		credentials, err := s.sim.GCPCredentials()
		file := filepath.Join(s.dir, "google.json")
		if err = errors.Join(err, os.WriteFile(file, credentials, 0o600)); err != nil {
			return nil, err
		}
		resend := "50m" // as long as it is by default
		if s.o.dedup == simulator.DedupOff {
			resend = "0s"
		}
		return []string{
			"TAILMARKET_GCP_RESEND_FOR=" + resend, "TAILMARKET_GCP_ENDPOINT=" + s.sim.GCPURL(), "TAILMARKET_GCP_PROVIDER=" + o.GCP.Provider, "TAILMARKET_GCP_AUDIENCE=" + o.GCP.Audience,
			"TAILMARKET_GCP_PULL_SUBSCRIPTION=" + o.GCP.Subscription, "TAILMARKET_GCP_PUSH_SUBSCRIPTION=" + o.GCP.Subscription,
			"TAILMARKET_GCP_PUSH_AUDIENCE=" + app + "/gcp/events", "TAILMARKET_GCP_PUSH_ACCOUNT=" + o.GCP.PushAccount, "TAILMARKET_GCP_CREDENTIALS_FILE=" + file,
		}, nil
	case simulator.Azure:
		return []string{
			"TAILMARKET_AZURE_ENDPOINT=" + s.sim.AzureURL() + "/api", "TAILMARKET_AZURE_AUTHORITY=" + s.sim.AzureURL(), "TAILMARKET_AZURE_TENANT_ID=" + o.Azure.Tenant,
			"TAILMARKET_AZURE_CLIENT_ID=" + o.Azure.Client, "TAILMARKET_AZURE_CLIENT_SECRET=" + o.Azure.Secret, "TAILMARKET_AZURE_PUBLISHER_ID=" + o.Azure.Publisher,
			"TAILMARKET_AZURE_SIGN_IN_CLIENT_ID=" + o.Azure.Landing, "TAILMARKET_AZURE_SIGN_IN_CLIENT_SECRET=" + o.Azure.Secret,
		}, nil
	}
	header, key := s.sim.EventKey()
	return []string{
		"TAILMARKET_AWS_SELLER_ACCOUNT=" + o.SellerAccount, "TAILMARKET_AWS_ENDPOINT=" + s.sim.AWSURL(), "TAILMARKET_AWS_QUEUE_URL=" + s.sim.QueueURL(),
		"TAILMARKET_AWS_EVENT_KEY=" + key, "TAILMARKET_AWS_EVENT_KEY_HEADER=" + header,
		"TAILMARKET_AWS_ACCESS_KEY_ID=simulator", "TAILMARKET_AWS_SECRET_ACCESS_KEY=any-secret-will-do",
	}, nil
}

// freePorts finds loopback addresses that stay ours over restarts: below the
// range from which systems give out ports to whoever asks for any.
func freePorts(n int) ([]string, error) {
	var out []string
	for range 1000 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(10000)) //nolint:gosec // any will do
		l, err := net.Listen("tcp", addr)                           //nolint:noctx // closed at once
		if err != nil || slices.Contains(out, addr) {
			continue
		}
		if err := l.Close(); err != nil {
			return nil, err
		}
		if out = append(out, addr); len(out) == n {
			return out, nil
		}
	}
	return nil, errors.New("no free ports between 20000 and 30000")
}

func (s *stage) whereToLook(ctx context.Context, w io.Writer) error {
	link, err := s.client.operatorLink(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, `
Everything stays up until you press Ctrl-C; virtual time stands still.
  the operator's pages   %s   (signs you in once; the outbox holds the buyers' mail)
  as a buyer             curl -X POST -d '{"marketplace":"%s"}' %s/buy    then advance the clock as below: the newest link in the outbox
                         leads to that purchase's page for a day; those of the run are older, and no longer open one
  the API                curl -H "Authorization: Bearer $(cat %s)" %s/v1/subscriptions
  the marketplace        curl %s/bill    and    curl -X POST -d '{"by":"1h"}' %s/clock/advance
`, link, s.o.markets[0], s.sim.ControlURL(), filepath.Join(s.dir, "operator.key"), s.client.app, s.sim.ControlURL(), s.sim.ControlURL())
	return err
}
