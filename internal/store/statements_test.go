package store

import (
	"database/sql"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"modernc.org/sqlite"

	"github.com/tailmarket/tailmarket/internal/store/db"
)

// A kept statement that failed, found nothing or was left half-read must answer
// the next caller as a new one would.
func TestAKeptStatementForgetsItsLastCall(t *testing.T) {
	t.Parallel()
	conn := sql.OpenDB(connector{sqliteDSN(filepath.Join(t.TempDir(), "t.db"), true), &sqlite.Driver{}})
	conn.SetMaxOpenConns(1)
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	must := func(query string, args ...any) {
		t.Helper()
		if _, err := conn.ExecContext(t.Context(), query, args...); err != nil {
			t.Fatal(err)
		}
	}
	const insert, read, all = "-- name: Insert :exec\nINSERT INTO x VALUES ($1, $2)", "-- name: Read :one\nSELECT b FROM x WHERE a = $1", "-- name: All :many\nSELECT a, b FROM x ORDER BY a"
	must("CREATE TABLE x (a INTEGER PRIMARY KEY, b TEXT)")
	must(insert, 1, "one")
	for range 3 {
		if _, err := conn.ExecContext(t.Context(), insert, 1, "again"); err == nil {
			t.Fatal("a second row of one key was taken")
		}
		must("DELETE FROM x WHERE a = 2")
		must(insert, 2, "two")
		rows, err := conn.QueryContext(t.Context(), all)
		if err != nil || !rows.Next() { // one of two rows is read
			t.Fatal(errors.Join(err, rows.Err()))
		}
		if err := rows.Close(); err != nil { //nolint:sqlclosecheck // half-read on purpose, and closed here
			t.Fatal(err)
		}
		for a, want := range map[int]string{1: "one", 2: "two"} {
			var got string
			if err := conn.QueryRowContext(t.Context(), read, a).Scan(&got); err != nil || got != want {
				t.Fatalf("row %d is %q, %v", a, got, err)
			}
		}
		var none string
		if err := conn.QueryRowContext(t.Context(), read, 3).Scan(&none); !errors.Is(err, sql.ErrNoRows) {
			t.Fatalf("a row that is not there: %q, %v", none, err)
		}
		must("DROP TABLE x") // as a migration may while statements are kept
		must("CREATE TABLE x (a INTEGER PRIMARY KEY, b TEXT)")
		must(insert, 1, "one")
	}
}

// What keeping statements is worth, on one read that every look at a tailnet makes.
func BenchmarkStatements(b *testing.B) {
	dir := b.TempDir()
	s, err := Open(b.Context(), Options{DataDir: dir, Wall: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if _, err := s.Migrate(b.Context()); err != nil {
		b.Fatal(err)
	}
	parsed, err := sql.Open("sqlite", sqliteDSN(filepath.Join(dir, "tailmarket.db"), false))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = parsed.Close() }()
	for name, conn := range map[string]*sql.DB{"kept": s.read, "parsed": parsed} {
		b.Run(name, func(b *testing.B) {
			q := db.New(conn)
			for b.Loop() {
				if _, err := q.GetSubscription(b.Context(), "sub_none"); !errors.Is(err, sql.ErrNoRows) {
					b.Fatal(err)
				}
			}
		})
	}
}
