package simulator

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

var errClosed = errors.New("the simulator is closed")

// Simulator is the marketplaces, their clock and their buyers. All methods may run concurrently.
type Simulator struct {
	o      Options
	log    *slog.Logger
	client *http.Client // delivers to the app
	caPEM  []byte

	ctx       context.Context // ends with Close; the simulator is its own root
	cancel    context.CancelFunc
	running   sync.WaitGroup
	servers   []*http.Server
	advancing chan struct{}
	control   net.Listener
	roots     *x509.CertPool // what buyers' browsers trust

	mu         sync.Mutex
	closed     bool
	wake       chan struct{} // closed and replaced on every change
	now        time.Time
	agenda     agenda
	items      uint64
	activity   uint64
	busy       int
	polls      map[*poll]struct{}
	answered   map[string]uint64
	appURL     string
	mail       func(ctx context.Context, email string) (string, error)
	mailbox    map[string]string
	faults     *faults
	deliveries Deliveries
	buyers     []*buyer
	stalls     []*stall // in the order of their lines in the bill
	aws        *awsMarket
	gcp        *gcpMarket
	azure      *azureMarket
}

// Deliveries counts attempts to post events to the app, and what it said.
type Deliveries struct {
	Attempts int `json:"attempts"`
	Accepted int `json:"accepted"`
	Refused  int `json:"refused"`
	Queued   int `json:"queued"`
	Deleted  int `json:"deleted"`
	Dead     int `json:"dead"`     // received too often and lost to the dead-letter queue
	Believed int `json:"believed"` // forged ones that were taken
}

// RestReport says what is still going on. At rest, nothing is.
type RestReport struct {
	Now       time.Time  `json:"now"`
	AtRest    bool       `json:"at_rest"`
	Busy      int        `json:"busy"`      // deliveries, calls and visits under way
	Queue     int        `json:"queue"`     // queue messages not yet deleted
	Scheduled int        `json:"scheduled"` // events and visits still to come
	Buyers    int        `json:"buyers"`    // buyers who have not finished
	Totals    Deliveries `json:"deliveries"`
}

// New starts a simulator: it listens, holds the clock at Options.Start and waits for Advance.
func New(o Options) (*Simulator, error) {
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("simulator options: %w", err)
	}
	caPEM, cert, err := newAuthority()
	if err != nil {
		return nil, fmt.Errorf("simulator certificates: %w", err)
	}
	s := &Simulator{
		o: o, log: o.Log, caPEM: caPEM, roots: trusted(caPEM),
		client:    &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}},
		advancing: make(chan struct{}, 1), wake: make(chan struct{}),
		now: o.Start, polls: map[*poll]struct{}{}, answered: map[string]uint64{},
		appURL: o.App, mail: o.Mail, mailbox: map[string]string{},
		faults: newFaults(o.Seed, o.Weather),
	}
	if s.o.EventKey == "" {
		s.o.EventKey = "key-" + s.faults.hex(16, "event key")
	}
	if s.mail == nil {
		s.mail = s.readMailbox
	}
	s.aws, s.gcp, s.azure = newAWSMarket(s), newGCPMarket(s), newAzureMarket(s)
	s.stalls = []*stall{
		// HTTP/1.1 only: a connection that is cut is then the one call it carried, as against these services in the field.
		{market: s.aws, name: AWS, addr: o.Listen.AWS, protocols: []string{"http/1.1"}},
		{market: s.gcp, name: GCP, addr: o.Listen.GCP, protocols: []string{"h2", "http/1.1"}},
		{market: s.azure, name: Azure, addr: o.Listen.Azure, protocols: []string{"http/1.1"}},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if s.control, err = s.listen(o.Listen.Control); err != nil {
		return nil, err
	}
	for i, st := range s.stalls {
		if st.port, err = s.listen(st.addr); err != nil {
			for _, open := range s.stalls[:i] {
				err = errors.Join(err, open.port.Close())
			}
			return nil, errors.Join(err, s.control.Close())
		}
	}
	s.serve(s.control, &http.Server{Handler: s.controlRoutes()})
	for _, st := range s.stalls {
		s.serve(tls.NewListener(st.port, &tls.Config{
			Certificates: []tls.Certificate{cert}, NextProtos: st.protocols, MinVersion: tls.VersionTLS12,
		}), st.server())
	}
	return s, nil
}

func (s *Simulator) listen(addr string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(s.ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("simulator listen: %w", err)
	}
	return l, nil
}

func (s *Simulator) serve(l net.Listener, srv *http.Server) {
	srv.BaseContext = func(net.Listener) context.Context { return s.ctx }
	srv.ReadHeaderTimeout = 10 * time.Second
	srv.ErrorLog = slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)
	s.servers = append(s.servers, srv)
	s.running.Go(func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("simulator stopped serving", "error", err)
		}
	})
}

// counted makes Close wait for the handler.
func (s *Simulator) counted(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			panic(http.ErrAbortHandler)
		}
		s.running.Add(1)
		s.mu.Unlock()
		defer s.running.Done()
		h.ServeHTTP(w, r)
	})
}

// Close stops listening, cuts every connection and waits for everything the simulator started. Its state dies with it.
func (s *Simulator) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	for _, srv := range s.servers {
		if err := srv.Close(); err != nil {
			s.log.Debug("simulator close", "error", err)
		}
	}
	s.running.Wait()
	for _, st := range s.stalls {
		st.stop()
	}
	s.client.CloseIdleConnections()
}

// ControlURL is where the clock and the control API are.
func (s *Simulator) ControlURL() string { return "http://" + s.control.Addr().String() }

// AWSURL is the endpoint of every AWS service; CAPEM signs its certificate.
func (s *Simulator) AWSURL() string { return s.url(AWS) }

// AzureURL is the endpoint of the marketplace's APIs, under /api, and of the directory (the authority host).
func (s *Simulator) AzureURL() string { return s.url(Azure) }

// GCPURL is the endpoint of every Google service, REST and, for Pub/Sub, gRPC; CAPEM signs its certificate. The keys of
// sign-up tokens and pushes are at the paths they have at www.googleapis.com.
func (s *Simulator) GCPURL() string { return s.url(GCP) }

// GCPCredentials is the key file of a service account whose token endpoint is the simulator's.
func (s *Simulator) GCPCredentials() ([]byte, error) { return s.gcp.credentials() }

// QueueURL is the queue that receives events.
func (s *Simulator) QueueURL() string { return s.aws.queue.url() }

// CAPEM is the certificate of the authority the app must trust, in PEM.
func (s *Simulator) CAPEM() []byte { return slices.Clone(s.caPEM) }

// EventKey is the header and value that prove a delivery to the API destination.
func (s *Simulator) EventKey() (header, value string) { return s.o.EventKeyHeader, s.o.EventKey }

// Options are the effective options.
func (s *Simulator) Options() Options { return s.o }

// SetApp tells the simulator where the app is; an app that moves may be set again.
func (s *Simulator) SetApp(url string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.appURL = strings.TrimRight(url, "/")
	s.changed()
}

// SetMail says how buyers read their mail; see Options.Mail.
func (s *Simulator) SetMail(read func(ctx context.Context, email string) (link string, err error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mail = read
}

// PutMail puts a link into the default mailbox of a buyer.
func (s *Simulator) PutMail(email, link string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mailbox[strings.ToLower(email)] = link
}

func (s *Simulator) readMailbox(_ context.Context, email string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mailbox[strings.ToLower(email)], nil
}

func (s *Simulator) app() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.appURL
}

// SetWeather changes the weather from now on.
func (s *Simulator) SetWeather(w Weather) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.weather = w
}

// Stop makes kinds not happen by seed any more; forced ones still do.
func (s *Simulator) Stop(kinds ...Kind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range kinds {
		s.faults.off[k] = true
	}
}

// Force makes faults happen; see Force.
func (s *Simulator) Force(f ...Force) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range f {
		one.Times = max(one.Times, 1)
		s.faults.forced = append(s.faults.forced, one)
	}
}

// Faults counts the faults met so far; every kind is present.
func (s *Simulator) Faults() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]int{}
	for _, k := range allKinds() {
		out[string(k)] = s.faults.met[k]
	}
	return out
}

// Rest reports what is still going on.
func (s *Simulator) Rest() RestReport {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := RestReport{
		Now: s.now, Busy: s.busy, Queue: s.pending(), Totals: s.deliveries,
	}
	for _, it := range s.agenda {
		if !it.quiet {
			r.Scheduled++
		}
	}
	for _, b := range s.buyers {
		if !b.finished() {
			r.Buyers++
		}
	}
	r.AtRest = r.Busy == 0 && r.Queue == 0 && r.Scheduled == 0 && r.Buyers == 0
	return r
}

// Buyers lists the buyers in the order they came.
func (s *Simulator) Buyers() []Buyer {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Buyer, 0, len(s.buyers))
	for _, b := range s.buyers {
		out = append(out, b.snapshot())
	}
	return out
}

// Agenda counts what is scheduled and not quiet, by owner.
func (s *Simulator) Agenda() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]int{}
	for _, it := range s.agenda {
		if !it.quiet {
			out[it.owner]++
		}
	}
	return maps.Clone(out)
}
