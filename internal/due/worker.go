package due

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
)

// Work does one row's work. The zero time and nil: finished. A time: due again
// then. It may be killed at any line and run again.
type Work func(ctx context.Context, subject string) (again time.Time, err error)

// Options of a Worker.
type Options struct {
	Owner    string // names this process; unique among living ones
	Store    Store
	Clock    clock.Clock
	Wall     func() time.Time
	Work     map[Kind]Work
	Limit    map[Kind]int // how many rows of a kind run at once; 4 when not set
	Backoff  Backoff
	Poll     time.Duration // how often rows are asked for; 250 ms when zero
	Lease    time.Duration // 5 s when zero
	TakeOver bool          // void all other leases at start: one process owns the file (SQLite)
	Log      *slog.Logger
	Done     func(kind Kind, class fault.Class) // counts runs; may be nil
}

// Worker claims due rows and works them until its context ends.
type Worker struct {
	o    Options
	wake chan struct{}

	mu      sync.Mutex
	running map[Kind]int
	wg      sync.WaitGroup
}

// New makes a worker.
func New(o Options) *Worker {
	if o.Poll == 0 {
		o.Poll = 250 * time.Millisecond
	}
	if o.Lease == 0 {
		o.Lease = 5 * time.Second
	}
	return &Worker{o: o, wake: make(chan struct{}, 1), running: map[Kind]int{}}
}

// Wake makes the worker ask for rows now.
func (w *Worker) Wake() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *Worker) limit(k Kind) int {
	if n := w.o.Limit[k]; n > 0 {
		return n
	}
	return 4
}

// Run works until ctx ends, then waits for what it started. Rows whose work was
// interrupted keep their lease and are claimed again when it has run out.
func (w *Worker) Run(ctx context.Context) error {
	defer w.wg.Wait()
	if w.o.TakeOver {
		err := w.o.Store.FreeLeases(ctx, w.o.Owner)
		switch {
		case ctx.Err() != nil: // stopped before it began
			return nil
		case err != nil:
			return fmt.Errorf("take over leases: %w", err)
		}
	}
	tick := time.NewTicker(w.o.Poll)
	defer tick.Stop()
	for {
		moved := w.o.Clock.Moved() // before asking, so that a move in between is not missed
		n, err := w.claim(ctx)
		if err != nil && ctx.Err() == nil {
			w.o.Log.Error("due rows could not be claimed", "error", err)
		}
		if n > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-w.wake:
		case <-moved:
		}
	}
}

func (w *Worker) claim(ctx context.Context) (int, error) {
	w.mu.Lock()
	var kinds []Kind
	room := 0
	for k := range w.o.Work {
		if free := w.limit(k) - w.running[k]; free > 0 {
			kinds = append(kinds, k)
			room = max(room, free)
		}
	}
	w.mu.Unlock()
	if len(kinds) == 0 || ctx.Err() != nil {
		return 0, nil
	}
	wall := w.o.Wall()
	started := 0
	// One kind at a time: a crowd of one kind must not take another's room.
	for _, k := range kinds {
		w.mu.Lock()
		free := w.limit(k) - w.running[k]
		w.mu.Unlock()
		rows, err := w.o.Store.ClaimDue(ctx, w.o.Owner, []Kind{k}, w.o.Clock.Now(), wall, wall.Add(w.o.Lease), free)
		if err != nil {
			return started, err
		}
		for _, r := range rows {
			w.start(ctx, r)
			started++
		}
	}
	return started, nil
}

func (w *Worker) start(ctx context.Context, r Row) {
	w.mu.Lock()
	w.running[r.Kind]++
	w.mu.Unlock()
	w.wg.Go(func() {
		defer w.Wake()
		defer func() {
			w.mu.Lock()
			w.running[r.Kind]--
			w.mu.Unlock()
		}()
		w.work(ctx, r)
	})
}

var errLeaseLost = errors.New("the lease was lost")

func (w *Worker) work(ctx context.Context, r Row) {
	run, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	renewed := make(chan struct{})
	go func() { // keeps the lease while the work runs
		defer close(renewed)
		t := time.NewTicker(w.o.Lease / 3)
		defer t.Stop()
		for {
			select {
			case <-run.Done():
				return
			case <-t.C:
				if ok, err := w.o.Store.RenewDue(run, r, w.o.Wall().Add(w.o.Lease)); err == nil && !ok {
					cancel(errLeaseLost)
				}
			}
		}
	}()
	again, err := w.call(run, r)
	lost := errors.Is(context.Cause(run), errLeaseLost)
	cancel(nil)
	<-renewed
	if lost || (err != nil && ctx.Err() != nil) {
		return // somebody else has it, or we are stopping: the row stays as it is
	}
	if w.o.Done != nil {
		w.o.Done(r.Kind, fault.ClassOf(err))
	}
	// The result is recorded even while stopping: the work is done.
	rec, stop := context.WithTimeout(context.WithoutCancel(ctx), w.o.Lease)
	defer stop()
	if err == nil {
		if err := w.o.Store.FinishDue(rec, r, again); err != nil {
			w.o.Log.Error("due row could not be finished", "kind", r.Kind, "subject", r.Subject, "error", err)
		}
		return
	}
	v := Judge(err, r.Attempts+1, w.o.Backoff)
	level := slog.LevelDebug
	switch {
	case v.Stop:
		level = slog.LevelError
	case r.Attempts >= 4:
		level = slog.LevelWarn
	}
	w.o.Log.Log(ctx, level, "work failed", "kind", r.Kind, "subject", r.Subject, "attempts", r.Attempts+1, "class", fault.ClassOf(err), "stopped", v.Stop, "error", err)
	if err := w.o.Store.FailDue(rec, r, w.o.Wall().Add(v.Delay), fault.ClassOf(err), text(err), v.Stop); err != nil {
		w.o.Log.Error("due row could not be handed back", "kind", r.Kind, "subject", r.Subject, "error", err)
	}
	if !v.Stop && v.Delay < w.o.Poll {
		time.AfterFunc(v.Delay, w.Wake) // sooner than rows are asked for anyway
	}
}

// call turns a panic into an unclassified error, which retries: one broken row
// must not take the process and every other row with it.
func (w *Worker) call(ctx context.Context, r Row) (again time.Time, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("work %s %s panicked: %v", r.Kind, r.Subject, p)
		}
	}()
	return w.o.Work[r.Kind](ctx, r.Subject)
}

func retryAfter(err error) time.Duration {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f.RetryAfter
	}
	return 0
}

// text is what an operator may be shown of an error: its public part, else its
// class; the cause is in the log.
func text(err error) string {
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Public != "" {
		return f.Public
	}
	if c := fault.ClassOf(err); c != "" {
		return string(c)
	}
	return "unclassified; see the log"
}
