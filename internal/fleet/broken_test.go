package fleet

import (
	"context"
	"sync"
	"testing"
	"time"
)

// Each of these is a mistake somebody could make, and the check that finds it.
var mistakes = []struct {
	name, caught string
	breaks       func(a, b *Fleet)
}{
	{"each replica counts for itself", "a burst is counted once for all replicas", func(_, b *Fleet) { b.Budget = newLocalBudget(time.Now) }},
	{"lets one too many through", "a burst is counted once for all replicas", func(_, b *Fleet) {
		var once sync.Once
		b.Budget = budget{b.Budget, func(ctx context.Context, inner Budget, name string, l Limit) error {
			err := inner.Take(ctx, name, l)
			if err != nil {
				once.Do(func() { err = nil })
			}
			return err
		}}
	}},
	{"a refusal is paid for", "a refusal says when to come again and takes nothing", func(_, b *Fleet) {
		debt := time.Duration(0)
		b.Budget = budget{b.Budget, func(ctx context.Context, inner Budget, name string, l Limit) error {
			wait, err := refused(inner.Take(ctx, name, l))
			if err != nil {
				return err
			}
			debt += l.Per
			return throttled(wait + debt)
		}}
	}},
	{"never refuses", "who waits goes at the rate of the limit", func(a, b *Fleet) {
		a.Budget = budget{a.Budget, func(context.Context, Budget, string, Limit) error { return nil }}
		b.Budget = a.Budget
	}},
	{"one budget for everything", "names do not share", func(a, b *Fleet) {
		a.Budget = budget{a.Budget, func(ctx context.Context, inner Budget, _ string, l Limit) error { return inner.Take(ctx, "all", l) }}
		b.Budget = a.Budget
	}},
	{"takes any limit", "no limit refuses nobody, a senseless one everybody", func(a, _ *Fleet) {
		a.Budget = budget{a.Budget, func(context.Context, Budget, string, Limit) error { return nil }}
	}},
	{"pauses itself only", "a pause holds on every replica until it ends", func(_, b *Fleet) { b.Budget = newLocalBudget(time.Now) }},
	{"the last pause holds", "the longer of two pauses holds", func(a, b *Fleet) {
		p := &lastPause{Budget: a.Budget}
		a.Budget, b.Budget = p, p
	}},
	{"works for who has left", "a caller who left takes nothing", func(a, _ *Fleet) {
		a.Budget = budget{a.Budget, func(ctx context.Context, inner Budget, name string, l Limit) error {
			return inner.Take(context.WithoutCancel(ctx), name, l)
		}}
	}},
	{"speaks to itself", "a word reaches every replica", func(_, b *Fleet) { b.Bus = newLocalBus() }},
	{"a busy reader misses it", "a word waits for a busy reader", func(_, b *Fleet) { b.Bus = unbuffered{b.Bus} }},
	{"everything is for everybody", "a word reaches its topic only", func(_, b *Fleet) { b.Bus = oneTopic{b.Bus} }},
	{"each replica keeps its own values", "a value is there for every replica, and can go", func(_, b *Fleet) { b.Cache = newLocalCache(time.Now) }},
	{"adding replaces", "adding leaves what is there, putting replaces it", func(_, b *Fleet) { b.Cache = replacing{b.Cache} }},
	{"adding replaces, and an ended session lives", "a session that ends while it is looked up stays ended", func(_, b *Fleet) { b.Cache = replacing{b.Cache} }},
	{"nothing ends", "a value ends by itself", func(a, b *Fleet) { a.Cache = immortal{b.Cache} }},
	{"an end is told to nobody", "a session that was ended is ended everywhere", func(_, b *Fleet) { b.Cache = newLocalCache(time.Now) }},
	{"remembers nothing", "a session is asked for once", func(a, b *Fleet) { a.Cache, b.Cache = immortal{nil}, immortal{nil} }},
}

func TestSuiteFindsMistakes(t *testing.T) {
	byName := map[string]check{}
	for _, c := range suite {
		byName[c.name] = c
	}
	for _, m := range mistakes {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			c, ok := byName[m.caught]
			if !ok {
				t.Fatalf("there is no check %q", m.caught)
			}
			whole, _ := open(t, "", nil)
			a, b := *whole, *whole
			m.breaks(&a, &b)
			ctx, stop := context.WithTimeout(t.Context(), 2*time.Second)
			defer stop()
			if err := c.run(ctx, &a, &b); err == nil {
				t.Fatalf("%q did not notice", c.name)
			}
		})
	}
}

type budget struct {
	Budget

	take func(ctx context.Context, inner Budget, name string, l Limit) error
}

func (b budget) Take(ctx context.Context, name string, l Limit) error {
	return b.take(ctx, b.Budget, name, l)
}

type lastPause struct {
	Budget

	until time.Time
}

func (b *lastPause) Pause(_ context.Context, _ string, d time.Duration) { b.until = time.Now().Add(d) }

func (b *lastPause) Take(ctx context.Context, name string, l Limit) error {
	if wait := time.Until(b.until); wait > 0 {
		return throttled(wait)
	}
	return b.Budget.Take(ctx, name, l)
}

type unbuffered struct{ Bus }

func (b unbuffered) Watch(topic string) (<-chan struct{}, func()) {
	if topic == "done" {
		return b.Bus.Watch(topic)
	}
	return make(chan struct{}), func() {}
}

type oneTopic struct{ Bus }

func (b oneTopic) Watch(string) (<-chan struct{}, func()) { return b.Bus.Watch("") }

type replacing struct{ Cache }

func (c replacing) Add(ctx context.Context, key string, value []byte, life time.Duration) {
	c.Put(ctx, key, value, life)
}

// immortal keeps values for ever; without a cache inside it keeps none.
type immortal struct{ Cache }

func (c immortal) Get(ctx context.Context, key string) ([]byte, bool) {
	if c.Cache == nil {
		return nil, false
	}
	return c.Cache.Get(ctx, key)
}

func (c immortal) Add(ctx context.Context, key string, value []byte, _ time.Duration) {
	if c.Cache != nil {
		c.Cache.Add(ctx, key, value, time.Hour)
	}
}

func (c immortal) Put(ctx context.Context, key string, value []byte, _ time.Duration) {
	c.Cache.Put(ctx, key, value, time.Hour)
}
