package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/tailmarket/tailmarket/internal/catalog"
	"github.com/tailmarket/tailmarket/internal/console"
	"github.com/tailmarket/tailmarket/internal/fleet"
	"github.com/tailmarket/tailmarket/internal/identity"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// Limits bound whatever comes in.
type Limits struct {
	Body      int64         // bytes of any request body but usage
	UsageBody int64         // bytes of a usage request, before and after decompression
	Request   time.Duration // wall time of one request
	Header    time.Duration // wall time for a client to send its headers
}

// Options are what a Server is made of; all are required unless said.
type Options struct {
	Log     *slog.Logger
	Now     func() time.Time // business time
	Base    string           // the address buyers and marketplaces reach us under, without a slash at its end
	Site    console.Site
	Limits  Limits
	Catalog *catalog.Catalog
	Key     identity.Key
	Markets []marketplace.ID // that are set up: the others have no address here
	// EventHeaders are the headers a webhook's verification may need.
	EventHeaders []string
	SendsMail    bool   // a mail server is set
	LoginServer  string // of a control plane of our own; empty: the client's default

	Sessions  *identity.Service
	SignIn    *identity.Microsoft // nil: buyers confirm an address instead
	Keys      *identity.Keys
	Intake    Intake
	Purchases Purchases
	Claims    Claims
	Tailnets  Tailnets
	Metering  Metering
	Partners  Partners
	Mail      Mail
	Work      Work

	// Fleet carries word of changes to open pages.
	Fleet *fleet.Fleet

	// Ready answers an error while the database cannot be reached or is not at
	// the newest schema.
	Ready func(ctx context.Context) error
	// Answered counts answers to webhooks; may be nil.
	Answered func(marketplace string, status int)
}

// Server answers HTTP. Safe for concurrent use.
type Server struct {
	Options
	echo   *echo.Echo
	origin *http.CrossOriginProtection

	streams  chan struct{} // those that are open
	stopping chan struct{} // closed when Serve stops
}

// New makes a server and mounts every route; it listens to nothing yet.
func New(o Options) (*Server, error) {
	o.Base = strings.TrimSuffix(o.Base, "/")
	s := &Server{
		Options: o, echo: echo.New(), origin: http.NewCrossOriginProtection(),
		streams: make(chan struct{}, liveStreams), stopping: make(chan struct{}),
	}
	if o.Base != "" {
		if err := s.origin.AddTrustedOrigin(o.Base); err != nil {
			return nil, fmt.Errorf("the public address %s: %w", o.Base, err)
		}
	}
	s.echo.HideBanner, s.echo.HidePort = true, true
	s.echo.Logger.SetOutput(io.Discard) // errors are logged at the error edge
	s.echo.HTTPErrorHandler = s.fail
	s.echo.IPExtractor = echo.ExtractIPDirect()
	s.routes()
	return s, nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.echo.ServeHTTP(w, r) }

// secure reports that browsers reach us over https.
func (s *Server) secure() bool { return strings.HasPrefix(s.Base, "https://") }

const stopTimeout = 20 * time.Second // wall time for requests under way when we stop

// Serve answers on l until ctx ends, then stops accepting and lets requests
// finish, for a bounded time. It is called once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	// Requests outlive ctx: they are let finish.
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	hs := &http.Server{
		Handler:           s,
		BaseContext:       func(net.Listener) context.Context { return base },
		ReadHeaderTimeout: s.Limits.Header,
		ReadTimeout:       s.Limits.Header + s.Limits.Request,
		WriteTimeout:      s.Limits.Header + 2*s.Limits.Request,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(discardProbes{s.Log.Handler()}, slog.LevelDebug),
	}
	failed := make(chan error, 1)
	go func() { failed <- hs.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	close(s.stopping)
	deadline, stop := context.WithTimeout(base, min(stopTimeout, s.Limits.Request+time.Second))
	defer stop()
	err := hs.Shutdown(deadline)
	if errors.Is(err, context.DeadlineExceeded) {
		s.Log.WarnContext(ctx, "requests cut at stop")
		err = hs.Close()
	}
	if serr := <-failed; !errors.Is(serr, http.ErrServerClosed) {
		err = errors.Join(err, serr)
	}
	return err
}

// discardProbes keeps net/http's free text (which may quote a client's bytes)
// out of the log: only that something happened is said.
type discardProbes struct{ slog.Handler }

func (d discardProbes) Handle(ctx context.Context, r slog.Record) error {
	clean := slog.NewRecord(r.Time, r.Level, "connection failed", r.PC)
	return d.Handler.Handle(ctx, clean)
}
