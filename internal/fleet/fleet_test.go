package fleet

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// The client's pool tries a lost server once a second, and sees only then that it was closed.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

const (
	oneRedis = "TAILMARKET_TEST_REDIS_URL"
	cluster  = "TAILMARKET_TEST_REDIS_CLUSTER_URL"
)

// places are where replicas can meet: the variable that holds the URL.
var places = []struct{ name, env string }{{"in process", ""}, {"one Redis", oneRedis}, {"a Redis Cluster", cluster}}

func TestSuite(t *testing.T) {
	for _, place := range places {
		t.Run(place.name, func(t *testing.T) {
			t.Parallel()
			for _, c := range suite {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					a, b := open(t, place.env, nil)
					if err := c.run(t.Context(), a, b); err != nil {
						t.Fatal(err)
					}
				})
			}
		})
	}
}

// open makes two replicas that hear each other; change may set more options.
func open(t testing.TB, env string, change func(*Options)) (a, b *Fleet) {
	t.Helper()
	o := Options{Name: "test-" + rand.Text(), Replicas: 2, Keys: newKeys(t), Log: slog.New(slog.DiscardHandler), Wall: time.Now, within: 5 * time.Second, pause: 100 * time.Millisecond}
	if env != "" {
		o.URL = server(t, env)
	}
	if change != nil {
		change(&o)
	}
	a = start(t, o)
	if env == "" {
		return a, a
	}
	return a, start(t, o)
}

func start(t testing.TB, o Options) *Fleet {
	t.Helper()
	f, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	first, forget := f.Bus.Watch("") // the first word says that we are connected
	defer forget()
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
		if err := f.Close(); err != nil && !errors.Is(err, net.ErrClosed) { // a test may have pulled the plug
			t.Errorf("close: %v", err)
		}
	})
	if f.bus != nil {
		if err := heard(ctx, first); err != nil {
			t.Fatal("connect:", err)
		}
	}
	return f
}

func server(t testing.TB, env string) string {
	t.Helper()
	url := os.Getenv(env)
	if url == "" {
		if os.Getenv("TAILMARKET_TEST_REQUIRE") != "" {
			t.Fatalf("%s is not set", env)
		}
		t.Skipf("%s is not set; ./test.sh sets it", env)
	}
	return url
}

// keys seals as the store's keys do.
type keys struct{ cipher.AEAD }

func newKeys(t testing.TB) keys {
	t.Helper()
	block, err := aes.NewCipher([]byte(rand.Text() + rand.Text())[:32])
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		t.Fatal(err)
	}
	return keys{aead}
}

func (k keys) Seal(plain []byte, context string) ([]byte, error) {
	return k.AEAD.Seal(nil, nil, plain, []byte(context)), nil
}

func (k keys) Open(sealed []byte, context string) ([]byte, error) {
	return k.AEAD.Open(nil, nil, sealed, []byte(context))
}
