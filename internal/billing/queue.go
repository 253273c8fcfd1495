package billing

import (
	"math"
	"sync"
	"time"

	"github.com/tailmarket/tailmarket/internal/fault"
)

// maxWaiting is two of the largest calls.
const maxWaiting = 20_000

// queue counts the usage events that were taken in and are not committed yet. It
// is the signal for back-pressure: it grows exactly when the writer falls behind,
// whatever the reason, and what it holds is held in memory.
type queue struct {
	limit int

	mu      sync.Mutex
	waiting int
	rate    float64 // events a second that were committed lately; 0: not known
}

// Pressure tells how full the writer's queue is.
type Pressure struct {
	Limit int           // how many events may wait
	Free  int           // how many more are taken now
	Drain time.Duration // when it should be empty; 0 when it is, or when the pace is not known
}

// Pressure tells how far the writer is behind.
func (s *Service) Pressure() Pressure {
	s.queue.mu.Lock()
	defer s.queue.mu.Unlock()
	return s.queue.pressure()
}

func (q *queue) pressure() Pressure {
	p := Pressure{Limit: q.limit, Free: max(q.limit-q.waiting, 0)}
	if q.waiting > 0 && q.rate > 0 {
		p.Drain = time.Duration(float64(q.waiting) / q.rate * float64(time.Second))
	}
	return p
}

const (
	minWait = time.Second
	maxWait = time.Minute
)

// enter takes n events in, or says when to come back. A queue in which nothing
// waits takes whatever one call may bring.
func (q *queue) enter(n int) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waiting > 0 && q.waiting+n > q.limit {
		f := fault.New(fault.Throttled, "%d usage events wait to be stored and %d may; send these %d again later, nothing of them was stored", q.waiting, q.limit, n)
		f.RetryAfter = min(max(q.pressure().Drain.Round(time.Second), minWait), maxWait)
		return f
	}
	q.waiting += n
	return nil
}

// leave lets n events go; took is how long their commit lasted, 0 when they were not stored.
func (q *queue) leave(n int, took time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting -= n
	if took <= 0 {
		return
	}
	pace := float64(n) / took.Seconds()
	if q.rate == 0 || math.IsInf(q.rate, 0) {
		q.rate = pace
	}
	q.rate += (pace - q.rate) / 4
}
