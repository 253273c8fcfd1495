package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/config"
	"github.com/tailmarket/tailmarket/internal/fleet"
	"github.com/tailmarket/tailmarket/internal/httpapi"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/store"
)

// Base is what every command stands on: the database, business time and the
// way out to the network.
type Base struct {
	Config config.Config
	Log    *slog.Logger
	Store  *store.Store
	Clock  clock.Clock
	HTTP   *http.Client // outbound; refuses calls inside a transaction
	Fleet  *fleet.Fleet // what replicas share and may lose

	keys   *store.Keys
	remote *clock.Remote // set when business time is a simulator's
}

// OpenBase opens what c describes. It does not migrate.
func OpenBase(ctx context.Context, c config.Config, log *slog.Logger) (*Base, error) {
	b := &Base{Config: c, Log: log}
	transport, err := outbound(c)
	if err != nil {
		return nil, err
	}
	b.HTTP = &http.Client{Transport: store.GuardTransport(answered(transport)), Timeout: 60 * time.Second}
	b.Clock = clock.NewWall(time.Now)
	if c.ClockURL != "" {
		// The idle report is held for up to ten seconds; its client has no time-out of its own.
		if b.remote, err = clock.NewRemote(ctx, c.ClockURL, &http.Client{Transport: transport}); err != nil {
			return nil, fmt.Errorf("follow the business clock at %s: %w", c.ClockURL, err)
		}
		b.Clock = b.remote
	}
	if b.keys, err = store.LoadKeys(c.InstanceKeyFile()); err != nil {
		return nil, err
	}
	b.Fleet, err = fleet.Open(fleet.Options{URL: c.RedisURL.Reveal(), Name: c.RedisName, Replicas: c.Replicas, Keys: b.keys, Log: log, Wall: time.Now})
	if err != nil {
		return nil, err
	}
	b.Store, err = store.Open(ctx, store.Options{URL: c.DatabaseURL.Reveal(), DataDir: c.DataDir, Keys: b.keys, Log: log, Wall: time.Now, Committed: committed, Changed: b.tell})
	if err != nil {
		return nil, err
	}
	return b, nil
}

// tell is where all word of changes starts: whatever room, request or work changed
// a purchase, it did so by a commit.
func (b *Base) tell(changed []id.Subscription) {
	for _, sub := range changed {
		b.Fleet.Bus.Publish(httpapi.Topic(sub))
	}
}

// Close closes what OpenBase opened.
func (b *Base) Close() error {
	b.HTTP.CloseIdleConnections()
	return errors.Join(b.Fleet.Close(), b.Store.Close())
}

// outbound trusts the system's roots and, when set, the operator's.
func outbound(c config.Config) (*http.Transport, error) {
	roots, err := c.Roots()
	if err != nil {
		return nil, err
	}
	t := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // net/http documents the type
	t.ResponseHeaderTimeout = 30 * time.Second
	t.MaxIdleConnsPerHost = 32 // a marketplace is one host, asked by a queue's readers and every worker
	t.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return t, nil
}

// followClock tells the simulator when nothing is due, so that it may move
// time; it returns when ctx ends. In production there is nothing to follow.
func (b *Base) followClock(ctx context.Context, replica string) error {
	if b.remote == nil {
		<-ctx.Done()
		return nil
	}
	for ctx.Err() == nil {
		at := b.remote.Now() // before looking: the report is about this instant
		n, err := b.Store.CountDue(ctx, at)
		switch {
		case err == nil && n == 0:
			err = b.remote.Idle(ctx, at, replica)
		case err == nil:
			rest(ctx, 2*time.Millisecond)
		}
		if err != nil && ctx.Err() == nil {
			b.Log.Debug("business clock not told", "error", err)
			rest(ctx, 50*time.Millisecond)
		}
	}
	return nil
}

// rest waits in wall time, or until ctx ends.
func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
