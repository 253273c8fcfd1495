package provisioningtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/provisioning"
)

// Harness is one fresh control plane with a store beside it.
type Harness struct {
	Store provisioning.Store
	// Driver opens the driver under test; every call of it goes through hc.
	Driver func(hc *http.Client) provisioning.Driver
	World  World
	Clock  *Clock // business time, which the control plane must follow
}

// World is what happens in tailnets without us.
type World interface {
	// Tailnets counts those of the organisation.
	Tailnets(ctx context.Context) (int, error)
	// Join has a machine join with a key; an error means it was refused.
	Join(ctx context.Context, r provisioning.Remote, node, key string) error
	AddUser(ctx context.Context, r provisioning.Remote, user string) error
	RemoveUser(ctx context.Context, r provisioning.Remote, user string) error
	AddNode(ctx context.Context, r provisioning.Remote, node string, ephemeral bool, tags ...string) error
	RemoveNode(ctx context.Context, r provisioning.Remote, node string) error
}

// Clock is business time that moves when it is told to.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock starts at a fixed instant, on a sampling instant and not on the hour.
func NewClock() *Clock { return &Clock{now: time.Date(2026, 11, 25, 9, 20, 0, 0, time.UTC)} }

func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock and answers the new time.
func (c *Clock) Advance(d time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	return c.now
}

// Check is one thing a driver must do.
type Check struct {
	Name string
	Run  func(ctx context.Context, fresh func() Harness) error
}

// Run holds a driver against every check.
func Run(t *testing.T, fresh func(t *testing.T) Harness) {
	for _, c := range Checks() {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			if err := c.Run(t.Context(), func() Harness { return fresh(t) }); err != nil {
				t.Error(err)
			}
		})
	}
}

// world is a service over a harness, and what it was told and has told.
type world struct {
	Harness
	driver provisioning.Driver

	mu      sync.Mutex
	wanted  map[id.Subscription]provisioning.Wanted
	ready   map[id.Subscription]int
	revoked map[id.Subscription]int
}

func open(h Harness) *world {
	return &world{
		Harness: h, driver: h.Driver(&http.Client{Transport: http.DefaultTransport}),
		wanted: map[id.Subscription]provisioning.Wanted{}, ready: map[id.Subscription]int{}, revoked: map[id.Subscription]int{},
	}
}

func (w *world) Wanted(_ context.Context, sub id.Subscription) (provisioning.Wanted, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wanted[sub], nil
}

func (w *world) want(sub id.Subscription, do provisioning.Do) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v := w.wanted[sub]
	if v.TailnetOf == "" {
		v = provisioning.Wanted{Name: "Bo's network", TailnetOf: sub}
	}
	v.Do = do
	w.wanted[sub] = v
}

func count(m map[id.Subscription]int, mu *sync.Mutex) func(context.Context, id.Subscription) error {
	return func(_ context.Context, sub id.Subscription) error {
		mu.Lock()
		defer mu.Unlock()
		m[sub]++
		return nil
	}
}

// process is a fresh service, as after a restart, over a store and a driver that
// may be about to fail.
func (w *world) process(s provisioning.Store, d provisioning.Driver) *provisioning.Service {
	return provisioning.New(provisioning.Options{
		Store: s, Drivers: map[string]provisioning.Driver{d.Name(): d}, Default: d.Name(), Subscriptions: w,
		Ready: count(w.ready, &w.mu), Revoked: count(w.revoked, &w.mu), Now: w.Clock.Now, Log: slog.New(slog.DiscardHandler),
	})
}

func (w *world) service() *provisioning.Service { return w.process(w.Store, w.driver) }

// run makes what is wanted of sub, and requires that nothing is left to do.
func (w *world) run(ctx context.Context, sub id.Subscription, do provisioning.Do) (*provisioning.Service, error) {
	w.want(sub, do)
	s := w.service()
	again, err := s.Run(ctx, sub)
	if err == nil && !again.IsZero() {
		err = fmt.Errorf("it waits until %s for something", again)
	}
	if err != nil {
		return s, fmt.Errorf("run with %s wanted: %w", do, err)
	}
	return s, nil
}

// access is what the driver needs to look at a purchase's tailnet.
func (w *world) access(ctx context.Context, sub id.Subscription) (provisioning.Access, error) {
	t, _, ok, err := w.Store.TailnetUsedBy(ctx, sub)
	if err != nil || !ok {
		return provisioning.Access{}, errors.Join(err, errors.New("the purchase has no tailnet"))
	}
	c, err := w.Store.TailnetCredential(ctx, t.ID)
	return provisioning.Access{Remote: t.Remote, Credential: c}, err
}

var errKilled = errors.New("killed")

// failing kills the nth call it sees, before the request leaves or when its answer
// has come; every later one fails too, as a dead process makes none.
type failing struct {
	next  http.RoundTripper
	nth   int
	after bool

	mu   sync.Mutex
	seen int
}

func (f *failing) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	f.seen++
	n := f.seen
	f.mu.Unlock()
	if n < f.nth {
		return f.next.RoundTrip(r)
	}
	if n == f.nth && f.after {
		res, err := f.next.RoundTrip(r)
		if err == nil {
			_ = res.Body.Close()
		}
	}
	return nil, errKilled
}

// failingStore kills the nth write, before it begins or after it was committed.
type failingStore struct {
	provisioning.Store
	nth   int
	after bool

	mu   sync.Mutex
	seen int
}

func (f *failingStore) ProvisioningTx(ctx context.Context, fn func(context.Context, provisioning.Tx) error) error {
	f.mu.Lock()
	f.seen++
	n := f.seen
	f.mu.Unlock()
	if n < f.nth || n == f.nth && f.after {
		if err := f.Store.ProvisioningTx(ctx, fn); err != nil || n < f.nth {
			return err
		}
	}
	return errKilled
}
