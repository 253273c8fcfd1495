package fleet

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/redis/go-redis/v9"
)

// sharedCache keeps values in Redis, sealed under their key and with their end
// inside, so that an old value cannot be brought back by whoever writes there.
type sharedCache struct {
	link   *link
	prefix string
	keys   Keys
	gate   gate
}

func (c *sharedCache) Get(ctx context.Context, key string) ([]byte, bool) {
	var sealed []byte
	err := c.link.ask(ctx, &c.gate, func(ctx context.Context) (err error) {
		sealed, err = c.link.redis.Get(ctx, c.prefix+key).Bytes()
		return err
	})
	if err != nil || sealed == nil {
		return nil, false
	}
	plain, err := c.keys.Open(sealed, c.prefix+key)
	if err != nil || len(plain) < 8 {
		return nil, false // not from us
	}
	until := time.UnixMilli(int64(binary.BigEndian.Uint64(plain))) //nolint:gosec // the other half of keep
	return plain[8:], c.link.wall().Before(until)
}

func (c *sharedCache) Add(ctx context.Context, key string, value []byte, life time.Duration) {
	c.keep(ctx, key, value, life, "NX")
}

func (c *sharedCache) Put(ctx context.Context, key string, value []byte, life time.Duration) {
	c.keep(ctx, key, value, life, "")
}

func (c *sharedCache) keep(ctx context.Context, key string, value []byte, life time.Duration, mode string) {
	if life < time.Millisecond || len(value) > cachedBytes {
		return
	}
	until := binary.BigEndian.AppendUint64(nil, uint64(c.link.wall().Add(life).UnixMilli()))
	sealed, err := c.keys.Seal(append(until, value...), c.prefix+key)
	if err != nil {
		return // a cache without it
	}
	_ = c.link.ask(ctx, &c.gate, func(ctx context.Context) error { // as above
		return c.link.redis.SetArgs(ctx, c.prefix+key, sealed, redis.SetArgs{Mode: mode, TTL: life}).Err()
	})
}

func (c *sharedCache) Delete(ctx context.Context, key string) {
	_ = c.link.ask(ctx, &c.gate, func(ctx context.Context) error { // it ends by itself
		return c.link.redis.Del(ctx, c.prefix+key).Err()
	})
}
