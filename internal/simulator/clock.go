package simulator

import (
	"container/heap"
	"context"
	"fmt"
	"time"
)

const (
	maxStep  = 5 * time.Minute  // virtual: the longest step of the clock
	idleHold = 10 * time.Second // wall: how long an idle report is held
)

// item is something the simulator does at a virtual time. do runs with the lock held and must not block.
type item struct {
	at    time.Time
	seq   uint64 // order of insertion among equals
	owner string // what it belongs to, for the report of what is left
	quiet bool   // it is rest as long as only such items are left
	do    func()
}

// agenda is a heap of items by time.
type agenda []item

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return a[i].at.Before(a[j].at) || a[i].at.Equal(a[j].at) && a[i].seq < a[j].seq
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(item)) }
func (a *agenda) Pop() any {
	old := *a
	it := old[len(old)-1]
	old[len(old)-1] = item{}
	*a = old[:len(old)-1]
	return it
}

// poll is an idle report being held: the app had no row due at or before at, and nothing has happened since seq.
type poll struct {
	replica string
	at      time.Time
	seq     uint64
}

// Now is the virtual time.
func (s *Simulator) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// schedule adds an item to the agenda; the lock is held.
func (s *Simulator) schedule(at time.Time, owner string, do func()) {
	s.items++
	heap.Push(&s.agenda, item{at: at, seq: s.items, owner: owner, do: do})
	s.changed()
}

// quietly adds an item for which nobody waits: a term that will end, a record that will be forgotten. The clock stops
// there like anywhere else, but a world with nothing else to come is at rest. The lock is held.
func (s *Simulator) quietly(at time.Time, owner string, do func()) {
	s.items++
	heap.Push(&s.agenda, item{at: at, seq: s.items, owner: owner, quiet: true, do: do})
	s.changed()
}

// changed wakes everybody who waits for a change of any kind; the lock is held.
func (s *Simulator) changed() {
	close(s.wake)
	s.wake = make(chan struct{})
}

// touch records that something happened which may have given the app work: idle reports made before it no longer count.
// The lock is held.
func (s *Simulator) touch() {
	s.activity++
	s.changed()
}

// begin and end enclose an activity: while one runs the clock stands still. The lock is held for neither.
func (s *Simulator) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beginLocked()
}

func (s *Simulator) beginLocked() {
	s.busy++
	s.touch()
}

func (s *Simulator) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy--
	s.touch()
}

// Activity tells the clock that somebody else has just given the app work, so that idle reports made before do not count.
func (s *Simulator) Activity() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.touch()
}

// spawn runs f as an activity on its own goroutine; the lock is held.
func (s *Simulator) spawn(f func(ctx context.Context)) {
	if s.closed {
		return
	}
	s.beginLocked()
	s.running.Go(func() {
		defer s.end()
		f(s.ctx)
	})
}

// Advance moves virtual time to to and returns when everything due by then is done and the app has reported idle. The
// clock never jumps over an item of the agenda and stands still while the app is away; ctx bounds the wait in wall time.
// One Advance runs at a time, a second one waits for the first.
func (s *Simulator) Advance(ctx context.Context, to time.Time) error {
	select {
	case s.advancing <- struct{}{}:
		defer func() { <-s.advancing }()
	case <-ctx.Done():
		return fmt.Errorf("advance to %s: another advance is running: %w", to.Format(time.RFC3339), ctx.Err())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		s.fireDue()
		if s.settled() {
			if !s.now.Before(to) {
				return nil
			}
			s.step(to)
			continue
		}
		wake := s.wake
		s.mu.Unlock()
		var err error
		select {
		case <-wake:
		case <-ctx.Done():
			err = ctx.Err()
		case <-s.ctx.Done():
			err = errClosed
		}
		s.mu.Lock()
		if err != nil {
			return fmt.Errorf("advance to %s: standing at %s (%s): %w",
				to.Format(time.RFC3339), s.now.Format(time.RFC3339), s.waitingFor(), err)
		}
	}
}

// step moves the clock once; the lock is held and nothing is due.
func (s *Simulator) step(to time.Time) {
	next := s.now.Add(maxStep)
	if to.Before(next) {
		next = to
	}
	if len(s.agenda) > 0 && s.agenda[0].at.Before(next) {
		next = s.agenda[0].at
	}
	s.now = next
	s.changed()
}

func (s *Simulator) fireDue() {
	for len(s.agenda) > 0 && !s.agenda[0].at.After(s.now) {
		heap.Pop(&s.agenda).(item).do()
		s.changed()
	}
}

// settled says whether everything due is done and a valid idle report of each replica is held.
func (s *Simulator) settled() bool {
	if s.busy > 0 || s.pending() > 0 {
		return false
	}
	idle := map[string]bool{}
	for p := range s.polls {
		if p.at.Equal(s.now) && p.seq == s.activity {
			idle[p.replica] = true
		}
	}
	return len(idle) >= s.o.Replicas
}

func (s *Simulator) waitingFor() string {
	switch {
	case s.busy > 0:
		return fmt.Sprintf("%d deliveries, calls or visits under way", s.busy)
	case s.pending() > 0:
		return fmt.Sprintf("%d queue messages not deleted", s.pending())
	default:
		return "no idle report from the app"
	}
}

// Idle is the app's report that it has no row due at or before at. It returns the virtual time: as soon as the clock has
// passed at, or at once after any activity, or after ten seconds.
//
// A report is held only if nothing has happened since this replica was last answered. Otherwise the app may have looked
// for due rows before that activity gave it one, so it is answered at once and looks again.
func (s *Simulator) Idle(ctx context.Context, replica string, at time.Time) time.Time {
	timer := time.NewTimer(idleHold)
	defer timer.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	if seen, ok := s.answered[replica]; ok && seen == s.activity {
		p := &poll{replica: replica, at: at, seq: s.activity}
		s.polls[p] = struct{}{}
		defer delete(s.polls, p)
		s.changed()
		for held := true; held && p.seq == s.activity && at.Equal(s.now); {
			wake := s.wake
			s.mu.Unlock()
			select {
			case <-wake:
			case <-timer.C:
				held = false
			case <-s.ctx.Done():
				held = false
			case <-ctx.Done():
				// Nobody hears the answer, so the next report may rest on a look made before now.
				s.mu.Lock()
				return s.now
			}
			s.mu.Lock()
		}
	}
	s.answered[replica] = s.activity
	return s.now
}
