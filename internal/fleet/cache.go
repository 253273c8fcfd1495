package fleet

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	cachedValues = 10_000    // that the stand-in keeps
	cachedBytes  = 256 << 10 // of one value; a larger one is not kept
)

// localCache keeps values in this process.
type localCache struct {
	wall func() time.Time

	mu     sync.Mutex
	values map[string]cached
}

type cached struct {
	value []byte
	until time.Time
}

func newLocalCache(wall func() time.Time) *localCache {
	return &localCache{wall: wall, values: map[string]cached{}}
}

func (c *localCache) Get(_ context.Context, key string) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	got, ok := c.values[key]
	if !ok || !c.wall().Before(got.until) {
		return nil, false
	}
	return slices.Clone(got.value), true
}

func (c *localCache) Add(_ context.Context, key string, value []byte, life time.Duration) {
	c.keep(key, value, life, false)
}

func (c *localCache) Put(_ context.Context, key string, value []byte, life time.Duration) {
	c.keep(key, value, life, true)
}

func (c *localCache) keep(key string, value []byte, life time.Duration, replace bool) {
	if life < time.Millisecond || len(value) > cachedBytes {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.wall()
	old, had := c.values[key]
	if had && !replace && now.Before(old.until) {
		return
	}
	if !had && len(c.values) >= cachedValues {
		c.makeRoom(now)
	}
	c.values[key] = cached{value: slices.Clone(value), until: now.Add(life)}
}

// makeRoom looks at a few values, whichever the map gives: those that have ended
// go, and when none has, one goes.
func (c *localCache) makeRoom(now time.Time) {
	looked, victim := 0, ""
	for key, v := range c.values {
		if !now.Before(v.until) {
			delete(c.values, key)
		}
		victim = key
		if looked++; looked == 16 {
			break
		}
	}
	if len(c.values) >= cachedValues {
		delete(c.values, victim)
	}
}

func (c *localCache) Delete(_ context.Context, key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.values, key)
}
