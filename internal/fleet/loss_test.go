package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tailmarket/tailmarket/internal/fault"
)

// plug is what somebody stumbles over: pulled, nothing connects and nothing
// stays connected; clogged, everything is connected and nobody answers.
type plug struct {
	mu      sync.Mutex
	pulled  bool
	clogged bool
	dead    string // the address of one node of a Cluster
	conns   map[net.Conn]struct{}
}

func (p *plug) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pulled || addr == p.dead {
		return nil, syscall.ECONNREFUSED
	}
	c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if p.conns == nil {
		p.conns = map[net.Conn]struct{}{}
	}
	p.conns[c] = struct{}{}
	return plugged{c, p}, nil
}

type plugged struct {
	net.Conn
	plug *plug
}

func (c plugged) Write(b []byte) (int, error) {
	c.plug.mu.Lock()
	clogged := c.plug.clogged
	c.plug.mu.Unlock()
	if clogged {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (p *plug) set(pulled, clogged bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pulled, p.clogged = pulled, clogged
	for c := range p.conns {
		if pulled || !clogged { // what waited on a clogged connection is gone with it
			_ = c.Close()
			delete(p.conns, c)
		}
	}
}

func TestRedisIsLostHalfWayAndComesBack(t *testing.T) {
	for _, place := range places[1:] {
		t.Run(place.name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			var p plug
			var log safeBuffer
			a, b := open(t, place.env, func(o *Options) {
				o.dial, o.pause = p.dial, 300*time.Millisecond
				o.Log = slog.New(slog.NewTextHandler(&log, nil))
			})
			both := []*Fleet{a, b}
			if got := takeAll(t, 3, both...); got != 6 {
				t.Fatalf("%d calls of 6", got)
			}
			a.Budget.Pause(ctx, "paused", time.Hour)
			if _, err := refused(b.Budget.Take(ctx, "paused", hourly)); err != nil {
				t.Fatal(err)
			}
			session := stored{hash: "session", value: []byte("operator")}
			if _, err := session.find(ctx, a); err != nil {
				t.Fatal(err)
			}

			p.set(true, false)
			for _, f := range both { // each goes on alone, within its share
				if got := takeAll(t, 20, f); got != 5 {
					t.Errorf("%d calls without Redis, want the share of 5", got)
				}
				if _, err := refused(f.Budget.Take(ctx, "paused", hourly)); err != nil {
					t.Errorf("a pause that was known: %v", err)
				}
				if _, lost := f.Lost(); !lost {
					t.Error("nobody knows that Redis is lost")
				}
			}
			if _, ok := a.Cache.Get(ctx, "session"); ok {
				t.Error("a cache that is lost answers")
			}
			if got, err := session.find(ctx, a); err != nil || string(got) != "operator" || session.loads != 2 {
				t.Errorf("found %q after %d loads: %v", got, session.loads, err)
			}
			session.value = nil // ended while Redis is lost: at once for whoever cannot ask Redis
			session.end(ctx, b)
			if got, err := session.find(ctx, a); err != nil || got != nil {
				t.Errorf("found %q after its end: %v", got, err)
			}
			here, stop := a.Bus.Watch("thing")
			defer stop()
			there, stop := b.Bus.Watch("thing")
			defer stop()
			a.Bus.Publish("thing")
			if len(here) != 1 {
				t.Error("a replica does not hear itself at once")
			}
			for range 3 { // nothing is said, and every page looks again
				if err := heard(ctx, there); err != nil {
					t.Error(err)
				}
			}

			p.set(false, false)
			if err := until(ctx, "Redis to be believed again", func() bool {
				a.Cache.Get(ctx, "anything") // whoever asks sees it first
				b.Cache.Get(ctx, "anything")
				if !answers(ctx, a) || !answers(ctx, b) { // a pool believes for up to a second what its last dial said
					return false
				}
				_, one := a.Lost()
				_, other := b.Lost()
				return !one && !other
			}); err != nil {
				t.Fatal(err)
			}
			if got := takeAll(t, 20, both...); got != 4 { // Redis kept its count: 6 of 10
				t.Errorf("%d calls after the return, want the 4 that were left", got)
			}
			for _, c := range suite {
				if err := c.run(ctx, a, b); err != nil {
					t.Errorf("after the return: %s: %v", c.name, err)
				}
			}
			if text := log.String(); strings.Count(text, "redis was lost") != 2 || strings.Count(text, "redis is back") != 2 {
				t.Errorf("two replicas lost it once each and said:\n%s", text)
			}
		})
	}
}

// answers reports whether every node can be reached.
func answers(ctx context.Context, f *Fleet) bool {
	ping := func(ctx context.Context, node *redis.Client) error { return node.Ping(ctx).Err() }
	if c, ok := f.link.redis.(*redis.ClusterClient); ok {
		return c.ForEachMaster(ctx, ping) == nil
	}
	return ping(ctx, f.link.redis.(*redis.Client)) == nil
}

// takeAll asks each replica n times and counts what it got. After a return the
// way to Redis opens within one pause, so refusals are asked again for longer.
func takeAll(t *testing.T, n int, replicas ...*Fleet) (granted int) {
	t.Helper()
	for range n {
		for _, f := range replicas {
			err := f.Budget.Take(t.Context(), "shared", hourly)
			if err != nil && !fault.Is(err, fault.Throttled) {
				t.Fatal(err)
			}
			if err == nil {
				granted++
			}
		}
	}
	return granted
}

// A replica that is cut off alone says what it has to say when it is back: those
// who never lost Redis would otherwise not know that they missed anything.
func TestWordsOfAReplicaThatWasCutOffAreSentLater(t *testing.T) {
	t.Parallel()
	var p plug
	var talker *Fleet
	_, b := open(t, oneRedis, func(o *Options) {
		cutOff := *o
		cutOff.dial = p.dial
		talker = start(t, cutOff)
	})
	thing, stop := b.Bus.Watch("thing")
	defer stop()
	p.set(true, false)
	for range 20 { // joined
		talker.Bus.Publish("thing")
	}
	if err := until(t.Context(), "the loss to be noticed", func() bool { _, lost := talker.Lost(); return lost }); err != nil {
		t.Fatal(err)
	}
	if len(thing) != 0 {
		t.Fatal("a word came through a pulled plug")
	}
	p.set(false, false)
	if err := heard(t.Context(), thing); err != nil {
		t.Error(err)
	}
	if _, lost := b.Lost(); lost {
		t.Error("the listener was meant to stay connected")
	}
}

func TestOneNodeOfAClusterIsLost(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	var p plug
	a, b := open(t, cluster, func(o *Options) { o.dial, o.pause = p.dial, 2*time.Second })
	nodes := a.link.redis.(*redis.ClusterClient)
	node := func(name string) string {
		master, err := nodes.MasterForKey(ctx, a.Budget.(*sharedBudget).budgetKey(name, hourly))
		if err != nil {
			t.Fatal(err)
		}
		return master.Options().Addr
	}
	gone, living := "gone", "living"
	for i := 0; node(gone) == node(living); i++ {
		living = fmt.Sprint("living ", i)
	}
	p.mu.Lock()
	p.dead = node(gone)
	p.mu.Unlock()
	p.set(true, false) // what is connected must connect again
	p.set(false, false)
	counts := map[string]int{}
	for range 40 {
		for _, f := range []*Fleet{a, b} {
			for _, name := range []string{gone, living} {
				if err := f.Budget.Take(ctx, name, hourly); err == nil {
					counts[name]++
				} else if !fault.Is(err, fault.Throttled) {
					t.Fatal(err)
				}
			}
			f.Cache.Put(ctx, "key", []byte("value"), time.Hour)
			f.Cache.Get(ctx, "key")
		}
	}
	if counts[gone] != 10 || counts[living] != 10 { // two shares of five; one count for both
		t.Errorf("granted %v, want ten of each", counts)
	}
	if got := a.Budget.(*sharedBudget).alone.tally(living).bucket; got != nil {
		t.Error("a replica went on alone where it need not have")
	}
}

func TestSilentRedisHoldsUpOneCallerAtATime(t *testing.T) {
	for _, place := range places[1:] {
		t.Run(place.name, func(t *testing.T) {
			t.Parallel()
			var p plug
			a, b := open(t, place.env, func(o *Options) { o.dial, o.within, o.pause = p.dial, 0, 500*time.Millisecond })
			there, stop := b.Bus.Watch("another")
			defer stop()
			p.set(false, true)
			began := time.Now()
			for range 1000 {
				a.Cache.Put(t.Context(), "key", []byte("value"), time.Hour)
				if err := a.Budget.Take(t.Context(), "name", Limit{}); err != nil {
					t.Fatal(err)
				}
				a.Bus.Publish("thing")
			}
			if took := time.Since(began); took > 5*time.Second { // were each to wait, it were five minutes and more
				t.Errorf("3,000 uses of a Redis that is silent took %v", took)
			}
			for range 2 {
				if err := heard(t.Context(), there); err != nil {
					t.Errorf("a page that hears nothing is not told to look: %v", err)
				}
			}
		})
	}
}

func TestRedisComesBackEmpty(t *testing.T) {
	for _, place := range places[1:] {
		t.Run(place.name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			a, b := open(t, place.env, nil)
			if got := takeAll(t, 20, a, b); got != 10 {
				t.Fatalf("%d calls of 10", got)
			}
			for _, key := range rawKeys(t, a) {
				if err := a.link.redis.Del(ctx, key).Err(); err != nil {
					t.Fatal(err)
				}
			}
			if err := a.link.redis.ScriptFlush(ctx).Err(); err != nil {
				t.Fatal(err)
			}
			if got := takeAll(t, 20, a, b); got != 10 {
				t.Errorf("%d calls, want a burst as after a rest", got)
			}
		})
	}
}

func TestStartsWithoutRedis(t *testing.T) {
	t.Parallel()
	for name, query := range map[string]string{"one Redis": "", "a Redis Cluster": "?cluster=true"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := Open(Options{
				URL: "redis://:password@127.0.0.1:1/" + query, Replicas: 2, Keys: newKeys(t),
				Log: slog.New(slog.DiscardHandler), Wall: time.Now, pause: 50 * time.Millisecond,
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- f.Run(ctx) }()
			if got := takeAll(t, 20, f); got != 5 {
				t.Errorf("%d calls, want the share of 5", got)
			}
			changed, forget := f.Bus.Watch("thing")
			defer forget()
			if err := heard(ctx, changed); err != nil {
				t.Error(err)
			}
			stop()
			if err := errors.Join(<-ended, f.Close()); err != nil {
				t.Error(err)
			}
			if err := f.Budget.Take(t.Context(), "after", hourly); err != nil {
				t.Errorf("after closing: %v", err)
			}
		})
	}
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
