package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"modernc.org/sqlite"

	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/store/db"
)

// Options says where the data is.
type Options struct {
	URL     string // "" or "sqlite": a file in DataDir; postgres://… otherwise
	DataDir string // made with mode 0700 when missing
	Keys    *Keys  // encryption at rest; nil refuses to keep secrets
	Log     *slog.Logger
	Wall    func() time.Time
	// Committed is called after every commit, where whoever tests crashes may end
	// the process: nothing durable happens here but by a commit. May be nil.
	Committed func()
	// Changed is told after a commit which purchases look different now to whoever
	// shows them. It must not wait, and may be nil.
	Changed func(of []id.Subscription)
}

// Store is the open database. Safe for concurrent use.
type Store struct {
	engine  Engine
	write   *sql.DB
	read    *sql.DB
	pool    *pgxpool.Pool // PostgreSQL only
	keys    *Keys
	log     *slog.Logger
	wall    func() time.Time
	dataDir string

	committed func()
	changed   func(of []id.Subscription)
}

// Open opens the database; it does not migrate.
func Open(ctx context.Context, o Options) (*Store, error) {
	s := &Store{keys: o.Keys, log: o.Log, wall: o.Wall, dataDir: o.DataDir, committed: o.Committed, changed: o.Changed}
	if s.committed == nil {
		s.committed = func() {}
	}
	switch {
	case o.URL == "" || o.URL == "sqlite":
		return s, s.openSQLite(ctx, o.DataDir)
	case strings.HasPrefix(o.URL, "postgres://"), strings.HasPrefix(o.URL, "postgresql://"):
		return s, s.openPostgres(ctx, o.URL)
	}
	return nil, errors.New("the database URL must be empty (SQLite) or start with postgres://")
}

// sqliteDSN: the order of pragmas matters, busy_timeout first. cache_size and
// wal_autocheckpoint: with the defaults random keys spend most time in system
// calls.
func sqliteDSN(path string, write bool) string {
	q := url.Values{}
	for _, p := range []string{"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "cache_size(-131072)", "wal_autocheckpoint(10000)"} {
		q.Add("_pragma", p)
	}
	if write {
		q.Set("_txlock", "immediate")
	} else {
		q.Add("_pragma", "query_only(1)")
	}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode() // a # or ? of the path would end it
}

func (s *Store) openSQLite(ctx context.Context, dir string) error {
	s.engine = SQLite
	if dir == "" {
		return errors.New("the data folder is not set")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	path := filepath.Join(dir, "tailmarket.db")
	// Nobody else may read it, whatever the folder allows; the write-ahead log takes the same mode.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	engine := &sqlite.Driver{}
	s.write = sql.OpenDB(connector{sqliteDSN(path, true), engine})
	s.write.SetMaxOpenConns(1)
	if err := s.write.PingContext(ctx); err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	s.read = sql.OpenDB(connector{sqliteDSN(path, false), engine})
	s.read.SetMaxOpenConns(4)
	s.read.SetMaxIdleConns(4) // a new connection opens the file and parses every statement again
	return nil
}

func (s *Store) openPostgres(ctx context.Context, u string) error {
	s.engine = Postgres
	cfg, err := pgxpool.ParseConfig(u)
	if err != nil {
		return errors.New("the database URL cannot be parsed") // the cause may quote the password
	}
	if s.pool, err = pgxpool.NewWithConfig(ctx, cfg); err != nil {
		return fmt.Errorf("open PostgreSQL: %w", err)
	}
	s.write = stdlib.OpenDBFromPool(s.pool)
	s.read = s.write
	if err := s.write.PingContext(ctx); err != nil {
		return fmt.Errorf("reach PostgreSQL: %w", err)
	}
	return nil
}

// Engine tells which database this is.
func (s *Store) Engine() Engine { return s.engine }

// Ready answers an error while the database cannot be used.
func (s *Store) Ready(ctx context.Context) error {
	if err := s.write.PingContext(ctx); err != nil {
		return fmt.Errorf("reach the database: %w", err)
	}
	return nil
}

// Close closes the database. Transactions must have ended.
func (s *Store) Close() error {
	var errs []error
	if s.read != nil && s.read != s.write {
		errs = append(errs, s.read.Close())
	}
	if s.write != nil {
		errs = append(errs, s.write.Close())
	}
	if s.pool != nil {
		s.pool.Close()
	}
	return errors.Join(errs...)
}

// Tx is one transaction. Rooms see it through their own interfaces; the methods
// stand in this package, a file per room.
type Tx struct {
	q      *db.Queries
	tx     *sql.Tx
	engine Engine
	keys   *Keys

	changed map[id.Subscription]struct{}
}

// change notes that the transaction changes what there is to see of a purchase.
func (t *Tx) change(of ...id.Subscription) {
	for _, sub := range of {
		if sub != "" {
			t.changed[sub] = struct{}{}
		}
	}
}

type txMark struct{}

// InTx reports whether ctx belongs to a running transaction.
func InTx(ctx context.Context) bool { return ctx.Value(txMark{}) != nil }

var errNested = errors.New("store: a transaction inside a transaction")

// Tx runs fn in one transaction and commits it when fn returns nil. fn may be
// run again after a serialisation failure, so it must have no effect outside
// the transaction. The context given to fn is marked: network calls and the
// read pool refuse it.
func (s *Store) Tx(ctx context.Context, fn func(context.Context, *Tx) error) error {
	if InTx(ctx) {
		return errNested
	}
	const tries = 8
	for n := 1; ; n++ {
		err := s.once(ctx, fn)
		if err == nil || n == tries || !retryable(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(time.Duration(n*n) * 2 * time.Millisecond):
		}
	}
}

func (s *Store) once(ctx context.Context, fn func(context.Context, *Tx) error) (err error) {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() {
		if err != nil {
			_ = tx.Rollback()
		}
	}()
	t := &Tx{q: db.New(tx), tx: tx, engine: s.engine, keys: s.keys, changed: map[id.Subscription]struct{}{}}
	if err := fn(context.WithValue(ctx, txMark{}, true), t); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	s.committed()
	if s.changed != nil && len(t.changed) > 0 {
		s.changed(slices.Collect(maps.Keys(t.changed)))
	}
	return nil
}

// query returns the queries for reading outside a transaction. A context of a
// running transaction is refused: on SQLite it would not see its own writes,
// on PostgreSQL it would take a second connection.
func (s *Store) query(ctx context.Context) (*db.Queries, error) {
	if InTx(ctx) {
		return nil, errors.New("store: the read pool was asked inside a transaction")
	}
	return db.New(s.read), nil
}
