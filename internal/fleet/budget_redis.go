package fleet

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"
)

// sharedBudget counts in Redis, for all replicas, by Redis's own clock. alone is
// this replica's share for when Redis is lost, and its memory of pauses.
type sharedBudget struct {
	link     *link
	limiter  *redis_rate.Limiter
	alone    *localBudget
	prefix   string
	replicas int
}

func newSharedBudget(l *link, o Options) *sharedBudget {
	return &sharedBudget{
		link: l, limiter: redis_rate.NewLimiter(l.redis), alone: newLocalBudget(o.Wall),
		prefix: o.Name + ":", replicas: o.Replicas,
	}
}

func (b *sharedBudget) Take(ctx context.Context, name string, l Limit) error {
	if err := cmp.Or(l.check(), left(ctx)); err != nil {
		return err
	}
	t := b.alone.tally(name)
	if wait := t.pausedFor(b.link.wall()); wait > 0 {
		return throttled(wait)
	}
	var pause time.Duration
	var got *redis_rate.Result
	err := b.link.ask(ctx, &t.gate, func(ctx context.Context) (err error) {
		pause, err = b.link.redis.PTTL(ctx, b.pauseKey(name)).Result()
		if err != nil || pause > 0 || l == (Limit{}) {
			return err
		}
		got, err = b.limiter.Allow(ctx, b.budgetKey(name, l), redis_rate.Limit{Rate: l.Calls, Burst: l.burst(), Period: l.Per})
		return err
	})
	switch {
	case err != nil && ctx.Err() != nil:
		return left(ctx)
	case err != nil:
		return t.take(b.link.wall(), l.share(b.replicas))
	case pause > 0:
		t.pauseUntil(b.link.wall().Add(pause)) // holds even if Redis is lost now
		return throttled(pause)
	case got != nil && got.Allowed == 0:
		return throttled(got.RetryAfter)
	}
	return nil
}

func (b *sharedBudget) Pause(ctx context.Context, name string, d time.Duration) {
	if d <= 0 {
		return
	}
	b.alone.Pause(ctx, name, d)
	t := b.alone.tally(name)
	_ = b.link.ask(ctx, &t.gate, func(ctx context.Context) error { // without Redis this replica pauses alone
		_, err := b.link.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
			p.SetArgs(ctx, b.pauseKey(name), "", redis.SetArgs{Mode: "NX", TTL: d})
			p.Do(ctx, "PEXPIRE", b.pauseKey(name), d.Milliseconds(), "GT")
			return nil
		})
		return err
	})
}

// budgetKey holds the limit: what is kept is when the next call is due, and the
// debt of a slow limit would hold up a faster one for as long as the slow one took.
// The braces put all that is asked for one name on one node of a Cluster.
func (b *sharedBudget) budgetKey(name string, l Limit) string {
	return fmt.Sprintf("%sbudget:{%s}:%d/%v/%d", b.prefix, name, l.Calls, l.Per, l.burst())
}

func (b *sharedBudget) pauseKey(name string) string { return b.prefix + "pause:{" + name + "}" }
