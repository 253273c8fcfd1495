package fleet

import (
	"bytes"
	"context"
	"encoding/hex"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tailmarket/tailmarket/internal/fault"
)

// rawKeys lists what an installation has in Redis, on every node.
func rawKeys(t *testing.T, f *Fleet) (keys []string) {
	t.Helper()
	name := strings.TrimSuffix(f.bus.channel, ":changed")
	var mu sync.Mutex
	scan := func(ctx context.Context, node *redis.Client) error {
		found, err := node.Keys(ctx, "*"+name+"*").Result()
		mu.Lock()
		defer mu.Unlock()
		keys = append(keys, found...)
		return err
	}
	var err error
	switch client := f.link.redis.(type) {
	case *redis.ClusterClient:
		err = client.ForEachMaster(t.Context(), scan)
	case *redis.Client:
		err = scan(t.Context(), client)
	}
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestWhatRedisHoldsEndsAndSaysNothing(t *testing.T) {
	for _, place := range places[1:] {
		t.Run(place.name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			a, b := open(t, place.env, nil)
			for _, c := range suite {
				if err := c.run(ctx, a, b); err != nil {
					t.Fatalf("%s: %v", c.name, err)
				}
			}
			a.Cache.Put(ctx, "secret", []byte("buyer@example.com"), time.Hour)
			keys := rawKeys(t, a)
			if len(keys) < 6 {
				t.Fatalf("only %q is there", keys)
			}
			for _, key := range keys {
				left, err := a.link.redis.PTTL(ctx, key).Result()
				if err != nil || left == -1 {
					t.Errorf("%s does not end: %v %v", key, left, err)
				}
				value, err := a.link.redis.Get(ctx, key).Bytes()
				if err != nil && left != -2 || bytes.Contains(value, []byte("example")) || bytes.Contains(value, []byte("operator")) {
					t.Errorf("%s holds %q: %v", key, value, err)
				}
			}
		})
	}
}

// Whoever can write to Redis may be anybody's enemy.
func TestCacheBelievesOnlyItself(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	now := time.Now()
	a, _ := open(t, oneRedis, func(o *Options) { o.Wall = func() time.Time { return now } })
	raw, prefix := a.link.redis, a.Cache.(*sharedCache).prefix
	a.Cache.Put(ctx, "viewer", []byte("viewer"), 30*time.Second)
	sealed, err := raw.Get(ctx, prefix+"viewer").Bytes()
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := newKeys(t).Seal(append(make([]byte, 8), "admin"...), prefix+"admin")
	if err != nil {
		t.Fatal(err)
	}
	for name, forged := range map[string][]byte{"another's value": sealed, "another's key": stranger, "text": []byte("admin"), "nothing": {}, "a cut value": sealed[:20]} {
		if err := raw.Set(ctx, prefix+"admin", forged, time.Hour).Err(); err != nil {
			t.Fatal(err)
		}
		if got, ok := a.Cache.Get(ctx, "admin"); ok {
			t.Errorf("%s was believed: %q", name, got)
		}
	}
	if err := raw.Set(ctx, prefix+"viewer", sealed, time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	if err := holds(ctx, a, "viewer", "viewer"); err != nil {
		t.Fatal(err)
	}
	now = now.Add(31 * time.Second)
	if got, ok := a.Cache.Get(ctx, "viewer"); ok {
		t.Errorf("a value was brought back after its end: %q", got)
	}
	if err := raw.Set(ctx, sessionPath(prefix), []byte("l"), time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	none := stored{hash: "forged"}
	if got, err := none.find(ctx, a); err != nil || got != nil {
		t.Errorf("somebody made himself a session: %q, %v", got, err)
	}
}

func sessionPath(prefix string) string {
	return prefix + "session:" + hex.EncodeToString([]byte("forged"))
}

func TestInstallationsKeepApart(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	a, _ := open(t, oneRedis, nil)
	other, _ := open(t, oneRedis, nil)
	one := Limit{Calls: 1, Per: time.Hour}
	for _, f := range []*Fleet{a, other} {
		if err := f.Budget.Take(ctx, "name", one); err != nil {
			t.Fatal(err)
		}
	}
	a.Cache.Put(ctx, "key", []byte("value"), time.Hour)
	if _, ok := other.Cache.Get(ctx, "key"); ok {
		t.Error("a value of another installation")
	}
}

func TestWhatIsSaidLastIsSentAtTheEnd(t *testing.T) {
	t.Parallel()
	_, b := open(t, oneRedis, nil)
	o := Options{URL: server(t, oneRedis), Name: strings.TrimSuffix(b.bus.channel, ":changed"), Keys: newKeys(t), Log: slog.New(slog.DiscardHandler), Wall: time.Now}
	a, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Close() }()
	changed, stop := b.Bus.Watch("thing")
	defer stop()
	drain(changed)
	a.Bus.Publish("thing")
	ended, end := context.WithCancel(t.Context())
	end()
	if err := a.Run(ended); err != nil {
		t.Fatal(err)
	}
	if err := heard(t.Context(), changed); err != nil {
		t.Error(err)
	}
}

func TestManyWordsBecomeOne(t *testing.T) {
	t.Parallel()
	b := newSharedBus(nil, "channel")
	for i := range 3 * waitingTopics {
		b.Publish(strings.Repeat("x", i+1))
	}
	if len(b.topics) > waitingTopics || b.topics[0] != "" {
		t.Errorf("%d topics wait, the first is %q", len(b.topics), b.topics[0])
	}
}

func TestOptionsThatCannotBeRightAreRefused(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	for name, url := range map[string]string{
		"another scheme":               "http://:" + secret + "@127.0.0.1:6379",
		"no URL":                       "redis://:" + secret + "@127.0.0.1:port",
		"an unknown option":            "redis://:" + secret + "@127.0.0.1:6379?colour=red",
		"a database name":              "redis://:" + secret + "@127.0.0.1:6379/db",
		"a numbered database, Cluster": "redis://:" + secret + "@127.0.0.1:6379/3?cluster=true",
		"a node without port":          "redis://:" + secret + "@127.0.0.1:6379?addr=127.0.0.1",
		"control characters":           "redis://:" + secret + "@127.0.0.1:6379/\x7f",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := Open(Options{URL: url, Keys: newKeys(t), Log: slog.New(slog.DiscardHandler), Wall: time.Now})
			if f != nil || !fault.Is(err, fault.Invalid) {
				t.Fatalf("got %v, %v", f, err)
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the error tells the password: %v", err)
			}
		})
	}
	if _, err := Open(Options{URL: "redis://127.0.0.1:6379", Wall: time.Now}); !fault.Is(err, fault.Invalid) {
		t.Errorf("without a key: %v", err)
	}
}
