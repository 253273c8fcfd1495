package fleet

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tailmarket/tailmarket/internal/fault"
)

// Budget is how many calls may be made under a name, by all replicas together.
// Names are few and last: a marketplace, the account there, the vendor's API. A
// name has one limit at a time.
type Budget interface {
	// Take takes one call; nil says make it now. Throttled, with RetryAfter: the
	// budget is used up or paused and nothing was taken; or without, when ctx has
	// ended. Invalid: the limit makes no sense. With any error no call is made.
	Take(ctx context.Context, name string, l Limit) error
	// Pause stops all calls under a name for a while, because the other side said
	// so. Of two pauses the one that ends later holds.
	Pause(ctx context.Context, name string, d time.Duration)
}

// Bus carries the word that something changed. It says nothing of what: whoever
// hears it reads the truth. Words may be joined or come for nothing; one is never
// lost for good while Run runs.
type Bus interface {
	// Publish tells the watchers of a topic; the empty topic is every topic, for
	// who publishes and for who watches. It does not wait for the network and
	// cannot fail. Call it after the commit.
	Publish(topic string)
	// Watch tells of a topic until stop is called. The channel holds one word: read
	// it, then read the truth. Watch first and read then, and no change is missed.
	Watch(topic string) (changed <-chan struct{}, stop func())
}

// Cache keeps values for a while, or not. It never fails: a cache that cannot
// answer has nothing.
type Cache interface {
	Get(ctx context.Context, key string) (value []byte, ok bool)
	// Add keeps a value unless the key has one.
	Add(ctx context.Context, key string, value []byte, life time.Duration)
	// Put keeps a value instead of what the key had.
	Put(ctx context.Context, key string, value []byte, life time.Duration)
	Delete(ctx context.Context, key string)
}

// Keys seals what leaves this process. context names what is sealed, so that one
// value cannot be put in the place of another.
type Keys interface {
	Seal(plain []byte, context string) ([]byte, error)
	Open(sealed []byte, context string) ([]byte, error)
}

// Options of a Fleet.
type Options struct {
	// URL is redis:// or rediss://user:password@host:port/database. A Cluster is
	// named by further nodes, ?addr=host:port&addr=…, or by one address and
	// ?cluster=true. Empty: everything stays in this process.
	URL string
	// Name keeps installations apart that share a Redis; "tailmarket" when empty.
	Name string
	// Replicas is how many of us there are; each keeps to its share of a budget
	// while Redis is lost. 1 when zero.
	Replicas int
	Keys     Keys // of the installation; needed with a URL
	Log      *slog.Logger
	Wall     func() time.Time

	dial   dialFunc      // tests pull the plug here,
	within time.Duration // have a machine that does too much at once,
	pause  time.Duration // and do not wait as long
}

// Fleet is this replica's place among the others. Its parts are safe for
// concurrent use.
type Fleet struct {
	Budget Budget
	Bus    Bus
	Cache  Cache

	link *link      // nil in process
	bus  *sharedBus // nil in process
}

// Open makes a Fleet. It does not dial: Redis may come later. Invalid when the
// options cannot be right.
func Open(o Options) (*Fleet, error) {
	if o.Name == "" {
		o.Name = "tailmarket"
	}
	o.Replicas = max(o.Replicas, 1)
	if o.URL == "" {
		return &Fleet{Budget: newLocalBudget(o.Wall), Bus: newLocalBus(), Cache: newLocalCache(o.Wall)}, nil
	}
	if o.Keys == nil {
		return nil, fault.New(fault.Invalid, "a shared cache needs the installation's key")
	}
	l, err := newLink(o)
	if err != nil {
		return nil, fmt.Errorf("read the Redis URL: %w", err)
	}
	f := &Fleet{
		Budget: newSharedBudget(l, o),
		Cache:  &sharedCache{link: l, prefix: o.Name + ":cache:", keys: o.Keys},
		link:   l,
		bus:    newSharedBus(l, o.Name+":changed"),
	}
	f.Bus = f.bus
	return f, nil
}

// Run carries words between replicas until ctx ends, and sends what is left then.
// Without it the Bus hears its own replica only.
func (f *Fleet) Run(ctx context.Context) error {
	if f.bus == nil {
		<-ctx.Done()
		return nil
	}
	var both sync.WaitGroup
	both.Go(func() { f.bus.send(ctx) })
	both.Go(func() { f.bus.receive(ctx) })
	both.Wait()
	return nil
}

// Lost reports since when Redis has not been answering, for a page and a metric;
// false when it answers or none is used. Being lost is no reason to be not ready.
func (f *Fleet) Lost() (since time.Time, lost bool) {
	if f.link == nil {
		return time.Time{}, false
	}
	return f.link.state()
}

// Close hangs up. Run must have returned; the parts go on as if Redis were lost.
func (f *Fleet) Close() error {
	if f.link == nil {
		return nil
	}
	return f.link.redis.Close()
}
