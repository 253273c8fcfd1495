package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/tailmarket/tailmarket/internal/due"
	"github.com/tailmarket/tailmarket/internal/store"
)

// Work works due rows and follows the business clock until ctx ends, then waits
// for what is running. replica names this process; no two living ones share it.
func (b *Base) Work(ctx context.Context, replica string, work map[due.Kind]due.Work) error {
	w := due.New(due.Options{
		Owner: replica, Store: b.Store, Clock: b.Clock, Wall: time.Now, Work: work, Log: b.Log,
		Backoff:  due.Backoff{Base: b.Config.Metering.BackoffBase, Max: b.Config.Metering.BackoffMax},
		TakeOver: b.Store.Engine() == store.SQLite, // claimFolder: every other lease is a dead process's
	})
	var errs [2]error
	var wg sync.WaitGroup
	wg.Go(func() { errs[0] = w.Run(ctx) })
	wg.Go(func() { errs[1] = b.followClock(ctx, replica) })
	wg.Wait()
	return errors.Join(errs[:]...)
}

// claimFolder makes this the only process that serves an SQLite database: a second one
// would take over the leases of the living. The claim ends with the process, however it
// dies; free ends it before. Replicas share PostgreSQL.
func (b *Base) claimFolder() (free func(), err error) {
	if b.Store.Engine() != store.SQLite {
		return func() {}, nil
	}
	path := filepath.Join(b.Config.DataDir, "serving.lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("claim the data folder: %w", err)
	}
	free = func() { _ = f.Close() } // which unlocks
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		free()
		return nil, fmt.Errorf("another process serves the data folder %s: stop it, or give this one a folder of its own: %w", b.Config.DataDir, err)
	}
	return free, nil
}
