package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/console"
	"github.com/tailmarket/tailmarket/internal/due"
	"github.com/tailmarket/tailmarket/internal/fleet"
	"github.com/tailmarket/tailmarket/internal/httpapi"
	"github.com/tailmarket/tailmarket/internal/identity"
	"github.com/tailmarket/tailmarket/internal/notify"
	"github.com/tailmarket/tailmarket/internal/telemetry"
)

// Serve is the whole product in one process: it brings the schema up, listens,
// works due rows and reads queues until ctx ends, then stops in order. What a
// person needs to begin with is written to out. When another catalog is put in
// force it stops and begins again with that one: every room reads one catalog.
func (b *Base) Serve(ctx context.Context, out io.Writer) error {
	free, err := b.claimFolder()
	if err != nil {
		return err
	}
	defer free()
	if _, err := b.Store.Migrate(ctx); err != nil {
		return err
	}
	for again := false; ; {
		if again, err = b.serve(ctx, out, again); err != nil || !again || ctx.Err() != nil {
			return err
		}
	}
}

// serve serves one catalog, for the first time or again, until another one is in
// force.
func (b *Base) serve(ctx context.Context, out io.Writer, again bool) (other bool, err error) {
	var embedded, inside, outside stage
	embedded.begin(ctx)
	inside.begin(ctx)
	outside.begin(ctx)
	defer func() { // requests stop first, then work, then the control plane that both may still call
		err = errors.Join(err, outside.end(), inside.end(), embedded.end())
	}()

	s, err := b.open(embedded.ctx)
	if err != nil {
		return false, err
	}
	embedded.run(func(context.Context) error { return s.nets.wait() })
	public, err := listen(ctx, b.Config.Listen)
	if err != nil {
		return false, err
	}
	stay(&b.Config.Listen, public)
	web, err := s.web(b.Config.BaseURL(public.Addr().String()))
	if err != nil {
		return false, errors.Join(err, public.Close())
	}
	private := ""
	if b.Config.AdminListen != "off" {
		l, err := listen(ctx, b.Config.AdminListen)
		if err != nil {
			return false, errors.Join(err, public.Close())
		}
		stay(&b.Config.AdminListen, l)
		private = l.Addr().String()
		inside.run(func(ctx context.Context) error { return servePrivate(ctx, l, s.metrics.Private()) })
	}
	if err := s.selling.Start(ctx); err != nil {
		return false, errors.Join(err, public.Close())
	}
	replica := rand.Text() // leases are void without it: a name that comes back would own a dead process's
	inside.run(func(ctx context.Context) error { return b.Work(ctx, replica, s.work()) })
	inside.run(s.checkConservation)
	embedded.run(b.Fleet.Run) // as long as anybody may have something to say
	for m := range s.selling.Adapters {
		inside.run(func(ctx context.Context) error { return s.selling.Listen(ctx, m) })
	}
	outside.run(func(ctx context.Context) error { return web.Serve(ctx, public) })
	if again {
		_, err = fmt.Fprintf(out, "  catalog           %s is in force\n", s.selling.Catalog.Version)
	} else {
		err = s.welcome(ctx, out, web.Base, private)
	}
	if err != nil && ctx.Err() == nil { // else it is stopped before all was said
		return false, err
	}
	applied := make(chan struct{})
	inside.run(func(ctx context.Context) error { return s.awaitCatalog(ctx, applied) })
	select {
	case <-applied:
		b.Log.InfoContext(ctx, "another catalog is in force, beginning again")
		return true, nil
	case <-ctx.Done():
		b.Log.InfoContext(ctx, "stopping")
	case <-outside.failed():
	case <-inside.failed():
	case <-embedded.failed():
	}
	return false, nil
}

// stay keeps a port that was any free one.
func stay(setting *string, at net.Listener) {
	if _, port, err := net.SplitHostPort(*setting); err == nil && port == "0" {
		*setting = at.Addr().String()
	}
}

// catalogEvery is how often a serving process asks which catalog is in force, in
// wall time.
const catalogEvery = 2 * time.Second

// awaitCatalog closes applied when another catalog than ours is in force.
func (s *server) awaitCatalog(ctx context.Context, applied chan<- struct{}) error {
	for ; ctx.Err() == nil; rest(ctx, catalogEvery) {
		switch seq, err := s.Store.CatalogSeq(ctx); {
		case err != nil && ctx.Err() == nil:
			s.Log.WarnContext(ctx, "catalog in force not known", telemetry.Error, err)
		case err == nil && seq != s.selling.applied.Seq:
			close(applied)
			return nil
		}
	}
	return nil
}

// server is everything that Serve runs.
type server struct {
	*Base
	selling  *Selling
	nets     *tailnets
	bill     *billing.Service
	mail     *notify.Service
	sessions *identity.Service
	key      identity.Key
	metrics  *telemetry.Metrics
}

// open builds the rooms; the embedded control plane serves until ctx ends.
func (b *Base) open(ctx context.Context) (*server, error) {
	s := &server{Base: b, metrics: telemetry.NewMetrics(telemetry.ReadBuild()), sessions: identity.New(sessions{b.Store, fleet.NewSessions(b.Fleet.Cache, time.Now)}, time.Now)}
	s.metrics.Redis(func() time.Duration {
		if since, lost := b.Fleet.Lost(); lost {
			return time.Since(since)
		}
		return 0
	})
	var err error
	if s.key, _, err = identity.LoadKey(b.Config.OperatorKeyFile()); err != nil {
		return nil, err
	}
	if s.selling, err = b.OpenSelling(ctx); err != nil {
		return nil, err
	}
	if s.nets, err = b.openTailnets(ctx, s.selling.Subscriptions); err != nil {
		return nil, err
	}
	seen := stations{}
	s.bill = b.openBilling(s.selling.Catalog, s.selling.Adapters, seen)
	seen.watch(s.metrics, s.bill)
	return s, nil
}

// web mounts the pages and the API under the public address.
func (s *server) web(base string) (*httpapi.Server, error) {
	var sender notify.Sender
	if mail := s.Config.SMTP; mail.Addr != "" {
		roots, err := s.Config.Roots()
		if err != nil {
			return nil, err
		}
		sender = notify.SMTP{Addr: mail.Addr, From: mail.From, Username: mail.Username, Password: mail.Password.Reveal(), Base: base, Roots: roots, Wall: time.Now}
	}
	s.mail = notify.New(s.Store.Notify(), sender, s.Log, s.Clock.Now)
	signIn, err := s.openSignIn(base)
	if err != nil {
		return nil, err
	}
	l := s.Config.Limits
	return httpapi.New(httpapi.Options{
		Log: s.Log, Now: s.Clock.Now, Base: base, Catalog: s.selling.Catalog, Key: s.key,
		Site:    console.Site{Seller: s.Config.Seller.Name, Support: s.Config.Seller.Support},
		Limits:  httpapi.Limits{Body: int64(l.BodyBytes), UsageBody: int64(l.UsageBodyBytes), Request: l.RequestTimeout, Header: l.HeaderTimeout},
		Markets: s.selling.Markets(), EventHeaders: []string{s.Config.AWS.EventKeyHeader, "Authorization"}, SendsMail: sender != nil,
		Sessions: s.sessions, SignIn: signIn, Keys: s.Keys(), Intake: s.selling.Intake, Purchases: s.selling.Subscriptions, Claims: s.selling.Subscriptions,
		Tailnets: s.nets, Metering: s.bill, Partners: s.openPartners(s.selling.Catalog, s.bill), Mail: s.mail, Work: s,
		Fleet: s.Fleet, Ready: s.Store.Ready, Answered: s.metrics.WebhookAnswered,
	})
}

// work is what every kind of due row is worked by.
func (s *server) work() map[due.Kind]due.Work {
	l := &lifecycle{subs: s.selling.Subscriptions, nets: s.nets, bill: s.bill, clock: s.Clock, log: s.Log}
	work := l.work()
	maps.Copy(work, s.selling.Work())
	work[due.Notify] = s.mail.Send
	return work
}

// failing is how many tries in vain make work stuck.
const failing = 3

// Stuck implements httpapi.Work.
func (s *server) Stuck(ctx context.Context, limit int) ([]httpapi.StuckRow, error) {
	rows, err := s.Store.StuckDue(ctx, failing, limit)
	out := make([]httpapi.StuckRow, len(rows))
	for i, r := range rows {
		out[i] = httpapi.StuckRow{
			Kind: string(r.Kind), Subject: r.Subject, DueAt: r.DueAt, Attempts: r.Attempts, Class: r.LastClass, Error: r.LastError, Stopped: r.Stopped,
		}
	}
	return out, err
}

// conservationEvery is how often a serving process checks the whole ledger, in
// wall time.
const conservationEvery = 5 * time.Minute

func (s *server) checkConservation(ctx context.Context) error {
	for ; ctx.Err() == nil; rest(ctx, conservationEvery) {
		report, err := s.bill.Conservation(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			s.Log.ErrorContext(ctx, "conservation could not be checked", "error", err)
		default:
			s.metrics.Conservation(report.Broken, time.Now())
			if report.Broken > 0 {
				s.Log.ErrorContext(ctx, "conservation broken", "count", report.Broken)
			}
		}
	}
	return nil
}

// welcome says where everything is, with a one-time link for the operator.
func (s *server) welcome(ctx context.Context, out io.Writer, base, private string) error {
	path, err := s.sessions.OperatorLink(ctx)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("tailmarket serves %s\n", base)
	if private != "" {
		text += fmt.Sprintf("  metrics           http://%s/metrics\n", private)
	}
	text += fmt.Sprintf("  embedded tailnets %s (no traffic is carried)\n  operator's key    in %s\n", s.nets.at, s.Config.OperatorKeyFile())
	if len(s.selling.Adapters) == 0 {
		text += "  marketplaces      none is set up; “api config” lists the settings\n"
	}
	for _, m := range s.selling.Markets() {
		text += fmt.Sprintf("  selling on        %s\n", m)
	}
	_, err = io.WriteString(out, text+fmt.Sprintf("  sign in once at   %s%s\n", base, path))
	return err
}

func listen(ctx context.Context, addr string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return l, nil
}

// servePrivate answers metrics and profiles on a listener of their own.
func servePrivate(ctx context.Context, l net.Listener, h http.Handler) error {
	hs := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = hs.Close() })
	defer stop()
	if err := hs.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve on %s: %w", l.Addr(), err)
	}
	return nil
}

// stage is what starts and stops together.
type stage struct {
	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup
	bad  chan struct{}
	mu   sync.Mutex
	errs []error
}

// begin makes the stage; it outlives ctx until end.
func (g *stage) begin(ctx context.Context) {
	g.ctx, g.stop = context.WithCancel(context.WithoutCancel(ctx))
	g.bad = make(chan struct{})
}

func (g *stage) run(do func(ctx context.Context) error) {
	g.wg.Go(func() {
		if err := do(g.ctx); err != nil {
			g.mu.Lock()
			defer g.mu.Unlock()
			if g.errs = append(g.errs, err); len(g.errs) == 1 {
				close(g.bad)
			}
		}
	})
}

func (g *stage) failed() <-chan struct{} { return g.bad }

// end stops the stage, waits, and answers what went wrong.
func (g *stage) end() error {
	g.stop()
	g.wg.Wait()
	return errors.Join(g.errs...)
}

// OperatorLink makes a one-time sign-in link for the public address.
func (b *Base) OperatorLink(ctx context.Context) (string, error) {
	path, err := identity.New(b.Store, time.Now).OperatorLink(ctx)
	return b.Config.BaseURL(b.Config.Listen) + path, err
}

// Keys are the keys of producers.
func (b *Base) Keys() *identity.Keys { return identity.NewKeys(b.Store, time.Now, b.Clock.Now) }

// Conservation checks the whole ledger.
func (b *Base) Conservation(ctx context.Context) (billing.Report, error) {
	s, err := b.OpenSelling(ctx)
	if err != nil {
		return billing.Report{}, err
	}
	return b.openBilling(s.Catalog, s.Adapters, nil).Conservation(ctx)
}
