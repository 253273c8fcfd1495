// Package storetest opens a fresh, migrated store of each engine for a test:
// SQLite in a temporary folder, PostgreSQL in a database of its own. Suites over
// stores are written once and run through Each.
package storetest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // registers the driver "pgx"

	"github.com/tailmarket/tailmarket/internal/store"
)

// Each runs fn as a parallel subtest over both engines. Without
// TAILMARKET_TEST_POSTGRES_URL the PostgreSQL half is skipped, unless
// TAILMARKET_TEST_REQUIRE is set, as test.sh and CI do.
func Each(t *testing.T, fn func(t *testing.T, s *store.Store)) {
	t.Helper()
	for _, engine := range []store.Engine{store.SQLite, store.Postgres} {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			fn(t, Open(t, engine))
		})
	}
}

// Open opens one fresh, migrated store; it is closed when the test ends.
func Open(t testing.TB, engine store.Engine) *store.Store {
	t.Helper()
	return Reopen(t, Options(t, engine))
}

// Options describes a fresh database, so that a test can open it more than once.
func Options(t testing.TB, engine store.Engine) store.Options {
	t.Helper()
	dir := t.TempDir()
	keys, err := store.LoadKeys(filepath.Join(dir, "instance.key"))
	if err != nil {
		t.Fatal(err)
	}
	o := store.Options{DataDir: dir, Keys: keys, Log: slog.New(slog.DiscardHandler), Wall: time.Now}
	if engine == store.Postgres {
		o.URL = database(t)
	} else {
		file(t, dir)
	}
	return o
}

var migrated = sync.OnceValues(func() (b []byte, err error) {
	dir, err := os.MkdirTemp("", "storetest")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	ctx := context.Background()
	s, err := store.Open(ctx, store.Options{DataDir: dir, Log: slog.New(slog.DiscardHandler), Wall: time.Now})
	if err != nil {
		return nil, err
	}
	_, err = s.Migrate(ctx)
	if err := errors.Join(err, s.Close()); err != nil { // closing it moves the log into the file
		return nil, err
	}
	return os.ReadFile(filepath.Join(dir, sqliteFile))
})

const sqliteFile = "tailmarket.db" // as the store names it

// file puts a database that was migrated once into dir: migrating takes longer
// than most tests.
func file(t testing.TB, dir string) {
	t.Helper()
	b, err := migrated()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, sqliteFile), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Reopen opens the database o describes and migrates it.
func Reopen(t testing.TB, o store.Options) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

var (
	template     sync.Once
	templateName string
	errTemplate  error
	serial       atomic.Int64
)

// database makes a database from a template that was migrated once, and drops
// it when the test ends. Returns its URL.
func database(t testing.TB) string {
	t.Helper()
	base := os.Getenv("TAILMARKET_TEST_POSTGRES_URL")
	if base == "" {
		if os.Getenv("TAILMARKET_TEST_REQUIRE") != "" {
			t.Fatal("TAILMARKET_TEST_POSTGRES_URL is not set; run the tests through ./test.sh, which starts the servers")
		}
		t.Skip("no PostgreSQL: run the tests through ./test.sh")
	}
	admin, err := sql.Open("pgx", base)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	template.Do(func() { errTemplate = makeTemplate(ctx, admin, base) })
	if errTemplate != nil {
		_ = admin.Close()
		t.Fatal(errTemplate)
	}
	name := fmt.Sprintf("%s_%d", templateName, serial.Add(1))
	if _, err := admin.ExecContext(ctx, "CREATE DATABASE "+name+" TEMPLATE "+templateName); err != nil { // the name is ours
		_ = admin.Close()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, err := admin.ExecContext(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)")
		if err != nil {
			t.Error(err)
		}
		_ = admin.Close()
	})
	return withDatabase(base, name)
}

func makeTemplate(ctx context.Context, admin *sql.DB, base string) error {
	templateName = fmt.Sprintf("tm_%d_%d", os.Getpid(), time.Now().UnixNano()%1e9)
	if _, err := admin.ExecContext(ctx, "CREATE DATABASE "+templateName); err != nil {
		return fmt.Errorf("make the template database: %w", err)
	}
	s, err := store.Open(ctx, store.Options{URL: withDatabase(base, templateName), Log: slog.New(slog.DiscardHandler), Wall: time.Now})
	if err != nil {
		return err
	}
	if _, err := s.Migrate(ctx); err != nil {
		return err
	}
	return s.Close()
}

func withDatabase(base, name string) string {
	u, err := url.Parse(base)
	if err != nil {
		return base
	}
	u.Path = "/" + strings.TrimPrefix(name, "/")
	return u.String()
}
