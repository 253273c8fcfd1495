package main

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// killer decides when the app dies. Two kills in three fall between the simulator
// receiving a call and the app storing its answer, every other one of these while
// usage is being billed; the rest fall at any moment.
type killer struct {
	apps  replicas // a kill is one's
	total int

	mu     sync.Mutex
	r      *rand.Rand
	plan   []time.Time // business times at which the next kill is armed
	armed  func(op string) bool
	skip   int // received calls to let pass before an armed kill strikes
	flight int // kills that struck while a call was in flight
}

func newKiller(apps replicas, r *rand.Rand, total int, from, to time.Time) *killer {
	k := &killer{apps: apps, total: total, r: r}
	step := to.Sub(from) / time.Duration(total+1)
	for i := range total {
		k.plan = append(k.plan, from.Add(time.Duration(i+1)*step))
	}
	return k
}

var (
	billing = []string{"BatchMeterUsage", "services.report", "BatchUsageEvent"}
	polling = []string{"ReceiveMessage", "StreamingPull"} // always under way, so no moment of their own
)

// tick arms or strikes what is planned up to the business time now.
func (k *killer) tick(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.plan) == 0 || k.plan[0].After(now) || k.armed != nil {
		return
	}
	n := k.total - len(k.plan)
	k.plan = k.plan[1:]
	switch n % 3 {
	case 0:
		k.armed, k.skip = func(op string) bool { return slices.Contains(billing, op) }, k.r.IntN(2)
	case 1:
		k.armed, k.skip = func(op string) bool { return !slices.Contains(polling, op) }, k.r.IntN(4)
	default:
		delay, victim := time.Duration(k.r.IntN(30))*time.Millisecond, k.victim()
		time.AfterFunc(delay, func() {
			if !victim.kill() { // it was down already: not a kill
				k.mu.Lock()
				defer k.mu.Unlock()
				k.plan = append([]time.Time{now}, k.plan...)
			}
		})
	}
}

func (k *killer) victim() *child { return k.apps[k.r.IntN(len(k.apps))] }

// received is called by the simulator when it holds a call it has not answered.
func (k *killer) received(op, phase string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if phase != "received" || k.armed == nil || !k.armed(op) {
		return
	}
	if k.skip > 0 {
		k.skip--
		return
	}
	if k.victim().kill() {
		k.armed = nil
		k.flight++
	}
}

// disarm lets the app live from now on.
func (k *killer) disarm() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.plan, k.armed = nil, nil
}

// done reports that every planned kill has happened.
func (k *killer) done() bool { return k.apps.killed() >= k.total }

// inFlight says how many struck while a call was in flight.
func (k *killer) inFlight() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.flight
}
