package app

import (
	"context"
	"errors"
	"sync"
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
		TakeOver: b.Store.Engine() == store.SQLite, // one process has the file: every other lease is a dead process's
	})
	var errs [2]error
	var wg sync.WaitGroup
	wg.Go(func() { errs[0] = w.Run(ctx) })
	wg.Go(func() { errs[1] = b.followClock(ctx, replica) })
	wg.Wait()
	return errors.Join(errs[:]...)
}
