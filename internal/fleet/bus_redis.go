package fleet

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// waitingTopics is how many changes wait while Redis is lost; more become the
// one word that anything may have changed.
const waitingTopics = 1000

// sharedBus carries words between replicas on one channel; who watches what is
// sorted out in each process.
type sharedBus struct {
	*localBus

	link    *link
	channel string
	self    string // our own words are heard before they are sent
	gate    gate
	wake    chan struct{}

	waiting sync.Mutex
	topics  []string
}

func newSharedBus(l *link, channel string) *sharedBus {
	return &sharedBus{localBus: newLocalBus(), link: l, channel: channel, self: rand.Text(), wake: make(chan struct{}, 1)}
}

func (b *sharedBus) Publish(topic string) {
	b.tell(topic)
	b.queue(topic)
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *sharedBus) queue(topics ...string) {
	b.waiting.Lock()
	defer b.waiting.Unlock()
	for _, topic := range topics {
		if !slices.Contains(b.topics, topic) {
			b.topics = append(b.topics, topic)
		}
	}
	if len(b.topics) > waitingTopics {
		b.topics = []string{""}
	}
}

// send sends what waits whenever there is something, again after a loss, and
// what is left when ctx ends.
func (b *sharedBus) send(ctx context.Context) {
	again := time.NewTicker(b.link.pause)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			b.flush(context.WithoutCancel(ctx)) // bounded by the time of one answer
			return
		case <-b.wake:
		case <-again.C:
		}
		b.flush(ctx)
	}
}

func (b *sharedBus) flush(ctx context.Context) {
	b.waiting.Lock()
	topics := b.topics
	b.topics = nil
	b.waiting.Unlock()
	if len(topics) == 0 {
		return
	}
	err := b.link.ask(ctx, &b.gate, func(ctx context.Context) error {
		_, err := b.link.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, topic := range topics {
				p.Publish(ctx, b.channel, b.self+" "+topic)
			}
			return nil
		})
		return err
	})
	if err != nil {
		b.queue(topics...)
	}
}

// receive hears the other replicas. While it cannot, every watcher is told to
// look again at each beat, so a page is never older than that.
func (b *sharedBus) receive(ctx context.Context) {
	for {
		err := b.listen(ctx)
		if ctx.Err() != nil {
			return
		}
		b.link.missed(err)
		b.tell("")
		beat := time.NewTimer(b.link.pause)
		select {
		case <-ctx.Done():
			beat.Stop()
			return
		case <-beat.C:
		}
	}
}

// listen subscribes and hears until the connection is lost or ctx ends.
func (b *sharedBus) listen(ctx context.Context) error {
	s := b.link.redis.Subscribe(ctx, b.channel)
	defer func() { _ = s.Close() }()
	forget := context.AfterFunc(ctx, func() { _ = s.Close() }) // a read does not end with its context
	defer forget()
	asked := false // whether somebody is there
	for {
		got, err := s.ReceiveTimeout(ctx, max(b.link.within, b.link.pause))
		if silent, ok := errors.AsType[net.Error](err); ok && silent.Timeout() && !asked {
			asked = true
			if err = s.Ping(ctx); err == nil {
				continue
			}
		}
		if err != nil {
			return fmt.Errorf("hear the other replicas: %w", err)
		}
		asked = false
		b.link.answered()
		switch got := got.(type) {
		case *redis.Subscription:
			b.tell("") // what was said before we listened
		case *redis.Message:
			if from, topic, ok := strings.Cut(got.Payload, " "); ok && from != b.self {
				b.tell(topic)
			}
		}
	}
}
