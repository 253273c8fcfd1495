package fleet

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/telemetry"
)

const (
	// A Redis nearby answers in a millisecond. Who waits for it here waits in
	// front of a vendor's call or a page.
	answerWithin = 300 * time.Millisecond
	// How long Redis is left alone after it failed; then one caller tries it.
	pauseAfterLoss = 2 * time.Second
)

var errLost = errors.New("redis is lost")

type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// link is the connection to Redis and what is known of its health.
type link struct {
	redis  redis.UniversalClient
	wall   func() time.Time
	log    *slog.Logger
	within time.Duration // an answer comes, or none
	pause  time.Duration

	mu     sync.Mutex
	since  time.Time // when it was lost; zero: it is not
	failed time.Time // when it last failed
}

func newLink(o Options) (*link, error) {
	silence()
	l := &link{wall: o.Wall, log: o.Log, within: cmp.Or(o.within, answerWithin), pause: cmp.Or(o.pause, pauseAfterLoss)}
	var err error
	l.redis, err = client(o.URL, l.within, o.dial)
	return l, err
}

// client reads a URL. What the operator wrote as its options, time-outs say, is
// kept; ask bounds the whole.
func client(raw string, within time.Duration, dial dialFunc) (redis.UniversalClient, error) {
	refused := func(err error) error {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // the whole text would hold the password
		}
		return fault.Wrap(fault.Invalid, err, "this is not a Redis URL such as redis://:password@host:6379/0")
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, refused(err)
	}
	q := u.Query()
	cluster := q.Get("cluster") == "true" || q.Has("addr")
	q.Del("cluster")
	u.RawQuery = q.Encode()
	quiet := &maintnotifications.Config{Mode: maintnotifications.ModeDisabled} // asks what no self-run server knows
	if !cluster {
		c, err := redis.ParseURL(u.String())
		if err != nil {
			return nil, refused(err)
		}
		c.DialTimeout, c.ReadTimeout = cmp.Or(c.DialTimeout, within), cmp.Or(c.ReadTimeout, within)
		c.MaxRetries, c.DialerRetries = cmp.Or(c.MaxRetries, 1), 1 // a connection that died in the pool; the rest is ours
		c.ContextTimeoutEnabled, c.DisableIdentity, c.MaintNotificationsConfig, c.Dialer = true, true, quiet, dial
		return redis.NewClient(c), nil
	}
	if u.Path != "" && u.Path != "/" && u.Path != "/0" {
		return nil, refused(errors.New("a Cluster has no numbered databases"))
	}
	c, err := redis.ParseClusterURL(u.String())
	if err != nil {
		return nil, refused(err)
	}
	c.DialTimeout, c.ReadTimeout = cmp.Or(c.DialTimeout, within), cmp.Or(c.ReadTimeout, within)
	c.MaxRetryBackoff, c.DialerRetries = cmp.Or(c.MaxRetryBackoff, within/10), 1 // all its tries within one answer's time
	c.DisableRoutingPolicies = true                                              // they ask each node for all its commands and wait five seconds, whatever the context says
	c.ContextTimeoutEnabled, c.DisableIdentity, c.MaintNotificationsConfig, c.Dialer = true, true, quiet, dial
	return redis.NewClusterClient(c), nil
}

// gate keeps callers from a Redis that does not answer. Budgets have one for
// each name: in a Cluster one node's loss must not close the way to the others.
type gate struct {
	mu   sync.Mutex
	shut time.Time // until when; zero: open
}

// enter lets everybody through an open gate, and one caller at a time through
// one that was shut long enough.
func (g *gate) enter(now time.Time, pause time.Duration) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut.IsZero() {
		return true
	}
	if now.Before(g.shut) {
		return false
	}
	g.shut = now.Add(pause)
	return true
}

func (g *gate) set(shut time.Time) {
	g.mu.Lock()
	g.shut = shut
	g.mu.Unlock()
}

// ask lets what talk to Redis. nil: it did, and redis.Nil is an answer. Any
// error: do without, after looking whether ctx has ended.
func (l *link) ask(ctx context.Context, g *gate, what func(context.Context) error) error {
	if !g.enter(l.wall(), l.pause) {
		return errLost
	}
	within, stop := context.WithTimeout(ctx, l.within)
	defer stop()
	err := what(within)
	switch {
	case err == nil || errors.Is(err, redis.Nil):
		g.set(time.Time{})
		l.answered()
		return nil
	case ctx.Err() != nil: // the caller left: nothing was learnt
		return err
	}
	g.set(l.wall().Add(l.pause))
	l.missed(err)
	return err
}

func (l *link) missed(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = l.wall()
	if l.since.IsZero() {
		l.since = l.failed
		l.log.Warn("redis was lost; replicas go on alone", telemetry.Error, err)
	}
}

// answered believes that Redis is back only when nothing has failed for a while:
// a Cluster with a dead node answers and fails in turns.
func (l *link) answered() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := l.wall(); !l.since.IsZero() && now.Sub(l.failed) >= 5*l.pause {
		l.log.Info("redis is back", telemetry.Duration, now.Sub(l.since))
		l.since = time.Time{}
	}
}

func (l *link) state() (time.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.since, !l.since.IsZero()
}

// silence takes the client's own logger away: it writes a line to standard
// error for every connection, where link says once what happened.
var silence = sync.OnceFunc(func() { redis.SetLogger(silent{}) })

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}
