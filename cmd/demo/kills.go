//go:build demo

package main

import (
	"math/rand/v2"
	"sync"
	"time"
)

// killer decides when the app dies. Half of the kills and more fall between the
// simulator receiving a call and the app storing its answer; the rest fall at
// any moment.
type killer struct {
	app   *child
	total int

	mu     sync.Mutex
	r      *rand.Rand
	plan   []time.Time // business times at which the next kill is armed
	armed  bool
	skip   int // received calls to let pass before an armed kill strikes
	flight int // kills that struck while a call was in flight
}

func newKiller(app *child, r *rand.Rand, total int, from, to time.Time) *killer {
	k := &killer{app: app, total: total, r: r}
	step := to.Sub(from) / time.Duration(total+1)
	for i := range total {
		k.plan = append(k.plan, from.Add(time.Duration(i+1)*step))
	}
	return k
}

// tick arms or strikes what is planned up to the business time now.
func (k *killer) tick(now time.Time) {
	k.mu.Lock()
	strike := false
	for len(k.plan) > 0 && !k.plan[0].After(now) && !k.armed {
		n := k.total - len(k.plan)
		k.plan = k.plan[1:]
		if n%3 == 2 { // one in three at a random moment
			strike = true
			break
		}
		k.armed, k.skip = true, k.r.IntN(4)
	}
	delay := time.Duration(k.r.IntN(30)) * time.Millisecond
	k.mu.Unlock()
	if strike {
		time.AfterFunc(delay, func() {
			if !k.app.kill() {
				k.mu.Lock()
				k.plan = append([]time.Time{now}, k.plan...) // it was down already: not a kill
				k.mu.Unlock()
			}
		})
	}
}

// received is called by the simulator when it holds a call it has not answered.
func (k *killer) received(_, phase string) {
	if phase != "received" {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.armed {
		return
	}
	if k.skip > 0 {
		k.skip--
		return
	}
	if k.app.kill() {
		k.armed = false
		k.flight++
	}
}

// left says how many planned kills have not happened.
func (k *killer) left() int { return k.total - k.app.killed() }

// inFlight says how many struck while a call was in flight.
func (k *killer) inFlight() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.flight
}
