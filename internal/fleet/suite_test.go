package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tailmarket/tailmarket/internal/fault"
)

// check is one thing that two replicas must be able to rely on, whatever they
// share. It answers with an error, so that an implementation broken on purpose
// can be shown to fail it. In process, both replicas are one Fleet.
type check struct {
	name string
	run  func(ctx context.Context, a, b *Fleet) error
}

var suite = []check{
	{"a burst is counted once for all replicas", burstIsShared},
	{"a refusal says when to come again and takes nothing", refusalSaysWhen},
	{"who waits goes at the rate of the limit", waitingKeepsTheRate},
	{"who would wait too long is told so at once", patienceEnds},
	{"names do not share", namesDoNotShare},
	{"no limit refuses nobody, a senseless one everybody", limitsAreChecked},
	{"a pause holds on every replica until it ends", pauseHoldsEverywhere},
	{"the longer of two pauses holds", longerPauseHolds},
	{"a caller who left takes nothing", whoLeftTakesNothing},
	{"a changed limit counts from the next call", limitMayChange},
	{"a word reaches every replica", wordReachesAll},
	{"a word waits for a busy reader", wordWaits},
	{"a word reaches its topic only", wordKeepsItsTopic},
	{"the empty topic is every topic", emptyTopicIsAll},
	{"nobody is told after stopping", stoppedHearsNothing},
	{"a value is there for every replica, and can go", valueIsShared},
	{"adding leaves what is there, putting replaces it", addLeavesPutReplaces},
	{"a value ends by itself", valueEnds},
	{"a value belongs to who gave it", valueIsCopied},
	{"a session is asked for once", sessionIsRemembered},
	{"a session that was ended is ended everywhere", sessionEndsEverywhere},
	{"a session that ends while it is looked up stays ended", sessionEndsWhileLoading},
	{"what is not there is asked for each time", noSessionIsNotRemembered},
}

// hourly refills so slowly that a test counts exactly.
var hourly = Limit{Calls: 10, Per: 10 * time.Hour}

func burstIsShared(ctx context.Context, a, b *Fleet) error {
	var granted atomic.Int64
	var all sync.WaitGroup
	errs := make(chan error, 40)
	for i := range 40 {
		all.Go(func() {
			switch err := []*Fleet{a, b}[i%2].Budget.Take(ctx, "burst", hourly); {
			case err == nil:
				granted.Add(1)
			case !fault.Is(err, fault.Throttled):
				errs <- err
			}
		})
	}
	all.Wait()
	close(errs)
	if err := <-errs; err != nil {
		return err
	}
	return same("granted", granted.Load(), 10)
}

func refusalSaysWhen(ctx context.Context, a, b *Fleet) error {
	l := Limit{Calls: 1, Per: time.Hour}
	if err := a.Budget.Take(ctx, "refusal", l); err != nil {
		return err
	}
	for range 3 { // were a refusal counted, the time would grow by an hour each
		wait, err := refused(b.Budget.Take(ctx, "refusal", l))
		if err != nil {
			return err
		}
		if wait < 50*time.Minute || wait > time.Hour {
			return fmt.Errorf("come again in %v, want a little under an hour", wait)
		}
	}
	return nil
}

func waitingKeepsTheRate(ctx context.Context, a, b *Fleet) error {
	l := Limit{Calls: 50, Per: time.Second, Burst: 2}
	began := time.Now()
	for i := range 12 {
		if err := Wait(ctx, []*Fleet{a, b}[i%2].Budget, "rate", l, 10*time.Second); err != nil {
			return err
		}
	}
	if took := time.Since(began); took < 190*time.Millisecond { // two at once, ten at 20 ms each; a millisecond each for rounding
		return fmt.Errorf("12 calls took %v", took)
	}
	return nil
}

func patienceEnds(ctx context.Context, a, _ *Fleet) error {
	l := Limit{Calls: 1, Per: time.Hour}
	if err := Wait(ctx, a.Budget, "patience", l, 0); err != nil {
		return err
	}
	_, err := refused(Wait(ctx, a.Budget, "patience", l, time.Minute))
	return err
}

func namesDoNotShare(ctx context.Context, a, b *Fleet) error {
	l := Limit{Calls: 1, Per: time.Hour}
	return errors.Join(a.Budget.Take(ctx, "one", l), b.Budget.Take(ctx, "other", l))
}

func limitsAreChecked(ctx context.Context, a, _ *Fleet) error {
	for range 100 {
		if err := a.Budget.Take(ctx, "none", Limit{}); err != nil {
			return err
		}
	}
	for _, l := range []Limit{{Calls: 1}, {Per: time.Second}, {Calls: -1, Per: time.Second}, {Calls: 1, Per: time.Second, Burst: -1}} {
		if err := a.Budget.Take(ctx, "senseless", l); !fault.Is(err, fault.Invalid) {
			return fmt.Errorf("limit %+v: %w", l, err)
		}
	}
	return nil
}

func pauseHoldsEverywhere(ctx context.Context, a, b *Fleet) error {
	a.Budget.Pause(ctx, "pause", time.Hour)
	for _, f := range []*Fleet{a, b} {
		for _, l := range []Limit{hourly, {}} {
			if wait, err := refused(f.Budget.Take(ctx, "pause", l)); err != nil || wait < 50*time.Minute || wait > time.Hour {
				return fmt.Errorf("with limit %+v come again in %v: %w", l, wait, err)
			}
		}
	}
	began := time.Now()
	a.Budget.Pause(ctx, "short", 200*time.Millisecond)
	if err := errors.Join(b.Budget.Take(ctx, "another", hourly), Wait(ctx, b.Budget, "short", hourly, 10*time.Second)); err != nil {
		return err
	}
	if took := time.Since(began); took < 190*time.Millisecond {
		return fmt.Errorf("the pause ended after %v", took)
	}
	return nil
}

func longerPauseHolds(ctx context.Context, a, b *Fleet) error {
	a.Budget.Pause(ctx, "longer", time.Hour)
	b.Budget.Pause(ctx, "longer", 2*time.Hour)
	a.Budget.Pause(ctx, "longer", time.Millisecond)
	a.Budget.Pause(ctx, "longer", -time.Hour)
	wait, err := refused(b.Budget.Take(ctx, "longer", hourly))
	if err == nil && wait < 110*time.Minute {
		err = fmt.Errorf("come again in %v", wait)
	}
	return err
}

func whoLeftTakesNothing(ctx context.Context, a, b *Fleet) error {
	left, leave := context.WithCancel(ctx)
	leave()
	l := Limit{Calls: 1, Per: time.Hour}
	if err := a.Budget.Take(left, "left", l); !errors.Is(err, context.Canceled) || !fault.Is(err, fault.Throttled) {
		return fmt.Errorf("a context that ended: %w", err)
	}
	return b.Budget.Take(ctx, "left", l)
}

func limitMayChange(ctx context.Context, a, b *Fleet) error {
	for range 10 {
		if err := a.Budget.Take(ctx, "changing", hourly); err != nil {
			return err
		}
	}
	if err := Wait(ctx, b.Budget, "changing", Limit{Calls: 1000, Per: time.Millisecond}, time.Second); err != nil {
		return fmt.Errorf("after the limit was raised: %w", err)
	}
	return nil
}

func wordReachesAll(ctx context.Context, a, b *Fleet) error {
	here, stop := a.Bus.Watch("thing")
	defer stop()
	there, stop := b.Bus.Watch("thing")
	defer stop()
	drain(here, there)
	for range 3 {
		a.Bus.Publish("thing")
		if err := errors.Join(heard(ctx, here), heard(ctx, there)); err != nil {
			return err
		}
	}
	return nil
}

func wordWaits(ctx context.Context, a, b *Fleet) error {
	changed, stop := b.Bus.Watch("thing")
	defer stop()
	done, stop := b.Bus.Watch("done")
	defer stop()
	drain(changed, done)
	for range 100 { // nobody reads: this must not stand still either
		a.Bus.Publish("thing")
	}
	if err := after(ctx, a, done); err != nil {
		return err
	}
	return heard(ctx, changed)
}

func wordKeepsItsTopic(ctx context.Context, a, b *Fleet) error {
	other, stop := b.Bus.Watch("other")
	defer stop()
	done, stop := b.Bus.Watch("done")
	defer stop()
	for range 3 { // a word for nothing is allowed, each time is not
		drain(other)
		a.Bus.Publish("thing")
		if err := after(ctx, a, done); err != nil {
			return err
		}
		if len(other) == 0 {
			return nil
		}
	}
	return errors.New("a word reached another topic")
}

func emptyTopicIsAll(ctx context.Context, a, b *Fleet) error {
	thing, stop := b.Bus.Watch("thing")
	defer stop()
	all, stop := b.Bus.Watch("")
	defer stop()
	drain(thing, all)
	a.Bus.Publish("thing")
	if err := errors.Join(heard(ctx, thing), heard(ctx, all)); err != nil {
		return err
	}
	a.Bus.Publish("")
	return errors.Join(heard(ctx, thing), heard(ctx, all))
}

func stoppedHearsNothing(ctx context.Context, a, b *Fleet) error {
	stopped, stop := b.Bus.Watch("thing")
	stop()
	stop() // harmless to repeat
	drain(stopped)
	done, stop := b.Bus.Watch("done")
	defer stop()
	a.Bus.Publish("thing")
	if err := after(ctx, a, done); err != nil {
		return err
	}
	return same("words after stopping", len(stopped), 0)
}

func valueIsShared(ctx context.Context, a, b *Fleet) error {
	if _, ok := b.Cache.Get(ctx, "key"); ok {
		return errors.New("there is a value before any was given")
	}
	a.Cache.Put(ctx, "key", []byte("value"), time.Hour)
	a.Cache.Put(ctx, "empty", nil, time.Hour)
	if err := errors.Join(holds(ctx, b, "key", "value"), holds(ctx, a, "key", "value"), holds(ctx, b, "empty", "")); err != nil {
		return err
	}
	b.Cache.Delete(ctx, "key")
	if _, ok := a.Cache.Get(ctx, "key"); ok {
		return errors.New("a deleted value is there")
	}
	a.Cache.Put(ctx, "huge", make([]byte, cachedBytes+1), time.Hour)
	if _, ok := a.Cache.Get(ctx, "huge"); ok {
		return errors.New("a value without bounds is kept")
	}
	return nil
}

func addLeavesPutReplaces(ctx context.Context, a, b *Fleet) error {
	a.Cache.Add(ctx, "key", []byte("first"), time.Hour)
	b.Cache.Add(ctx, "key", []byte("second"), time.Hour)
	if err := holds(ctx, a, "key", "first"); err != nil {
		return err
	}
	b.Cache.Put(ctx, "key", []byte("third"), time.Hour)
	return holds(ctx, a, "key", "third")
}

func valueEnds(ctx context.Context, a, b *Fleet) error {
	a.Cache.Put(ctx, "never", []byte("value"), 0)
	a.Cache.Put(ctx, "ended", []byte("value"), -time.Hour)
	a.Cache.Put(ctx, "short", []byte("value"), 50*time.Millisecond)
	for _, key := range []string{"never", "ended"} {
		if _, ok := b.Cache.Get(ctx, key); ok {
			return errors.New("a value lives that was given no life")
		}
	}
	return until(ctx, "a value to end", func() bool {
		_, ok := b.Cache.Get(ctx, "short")
		return !ok
	})
}

func valueIsCopied(ctx context.Context, a, _ *Fleet) error {
	value := []byte("value")
	a.Cache.Put(ctx, "key", value, time.Hour)
	copy(value, "xxxxx")
	got, _ := a.Cache.Get(ctx, "key")
	copy(got, "yyyyy")
	return holds(ctx, a, "key", "value")
}

func sessionIsRemembered(ctx context.Context, a, b *Fleet) error {
	s := stored{hash: "remembered", value: []byte("operator")}
	for i := range 4 {
		if got, err := s.find(ctx, []*Fleet{a, b}[i%2]); err != nil || string(got) != "operator" {
			return fmt.Errorf("found %q: %w", got, err)
		}
	}
	return same("loads", s.loads, 1)
}

func sessionEndsEverywhere(ctx context.Context, a, b *Fleet) error {
	s := stored{hash: "ended", value: []byte("operator")}
	if _, err := s.find(ctx, b); err != nil {
		return err
	}
	s.value = nil
	s.end(ctx, a)
	for _, f := range []*Fleet{a, b} {
		if got, err := s.find(ctx, f); err != nil || got != nil {
			return fmt.Errorf("found %q after its end: %w", got, err)
		}
	}
	return nil
}

func sessionEndsWhileLoading(ctx context.Context, a, b *Fleet) error {
	s := stored{hash: "ends", value: []byte("operator")}
	s.while = func() { s.end(ctx, a) }
	if _, err := s.find(ctx, b); err != nil { // it still lived when it was asked for
		return err
	}
	s.value, s.while = nil, nil
	if got, err := s.find(ctx, b); err != nil || got != nil {
		return fmt.Errorf("found %q after its end: %w", got, err)
	}
	return nil
}

func noSessionIsNotRemembered(ctx context.Context, a, b *Fleet) error {
	s := stored{hash: "nobody's"}
	if got, err := s.find(ctx, a); err != nil || got != nil {
		return fmt.Errorf("found %q: %w", got, err)
	}
	s.err = errors.New("no database")
	if _, err := s.find(ctx, b); !errors.Is(err, s.err) {
		return fmt.Errorf("the store's error became %w", err)
	}
	s = stored{hash: s.hash, value: []byte("operator"), ended: true} // in the store it ends this moment
	if _, err := s.find(ctx, a); err != nil {
		return err
	}
	s.value = nil
	if got, err := s.find(ctx, b); err != nil || got != nil {
		return fmt.Errorf("found %q after its time: %w", got, err)
	}
	return nil
}

// stored is what a store says of one session.
type stored struct {
	value []byte
	err   error
	ended bool
	while func() // what happens between the store's answer and its arrival
	loads int
	hash  string // each story its own
}

func (s *stored) find(ctx context.Context, f *Fleet) ([]byte, error) {
	return NewSessions(f.Cache, time.Now).Find(ctx, []byte(s.hash), func(context.Context) ([]byte, time.Time, error) {
		s.loads++
		if s.while != nil {
			s.while()
		}
		end := time.Now()
		if !s.ended {
			end = end.Add(time.Hour)
		}
		return s.value, end, s.err
	})
}

func (s *stored) end(ctx context.Context, f *Fleet) {
	NewSessions(f.Cache, time.Now).End(ctx, []byte(s.hash))
}

func refused(err error) (time.Duration, error) {
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || f.Class != fault.Throttled || f.RetryAfter <= 0 {
		return 0, fmt.Errorf("want a refusal that says when to come again, got %w", err)
	}
	return f.RetryAfter, nil
}

func heard(ctx context.Context, changed <-chan struct{}) error {
	ctx, stop := context.WithTimeout(ctx, 5*time.Second)
	defer stop()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return errors.New("no word came")
	}
}

// after waits until a word that a said last was heard: those before it were too.
func after(ctx context.Context, a *Fleet, done <-chan struct{}) error {
	drain(done)
	a.Bus.Publish("done")
	return heard(ctx, done)
}

func drain(all ...<-chan struct{}) {
	for _, c := range all {
		select {
		case <-c:
		default:
		}
	}
}

func holds(ctx context.Context, f *Fleet, key, want string) error {
	if got, ok := f.Cache.Get(ctx, key); !ok || !bytes.Equal(got, []byte(want)) {
		return fmt.Errorf("%s holds %q, %v; want %q", key, got, ok, want)
	}
	return nil
}

// until asks again and again, for what only time or another process brings.
func until(ctx context.Context, what string, ok func() bool) error {
	ctx, stop := context.WithTimeout(ctx, 20*time.Second)
	defer stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.New("waited in vain for " + what)
		}
	}
	return nil
}

func same[T comparable](what string, got, want T) error {
	if got != want {
		return fmt.Errorf("%s: %v, want %v", what, got, want)
	}
	return nil
}
