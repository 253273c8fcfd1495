package fleet

import "sync"

// localBus carries words inside this process.
type localBus struct {
	mu      sync.Mutex
	watches map[string]map[chan struct{}]struct{}
}

func newLocalBus() *localBus {
	return &localBus{watches: map[string]map[chan struct{}]struct{}{}}
}

func (b *localBus) Publish(topic string) { b.tell(topic) }

func (b *localBus) Watch(topic string) (<-chan struct{}, func()) {
	c := make(chan struct{}, 1) // the word waits here while its reader is busy
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.watches[topic] == nil {
		b.watches[topic] = map[chan struct{}]struct{}{}
	}
	b.watches[topic][c] = struct{}{}
	return c, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.watches[topic], c)
		if len(b.watches[topic]) == 0 {
			delete(b.watches, topic)
		}
	}
}

// tell leaves a word with the watchers of a topic and of the empty one, and with
// everybody when the topic is empty.
func (b *localBus) tell(topic string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if topic == "" {
		for _, watches := range b.watches {
			leave(watches)
		}
		return
	}
	leave(b.watches[topic])
	leave(b.watches[""])
}

func leave(watches map[chan struct{}]struct{}) {
	for c := range watches {
		select {
		case c <- struct{}{}:
		default: // one is waiting already, and whoever reads it reads this change too
		}
	}
}
