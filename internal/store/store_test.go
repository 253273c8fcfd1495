package store_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tailmarket/tailmarket/internal/due"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/store/storetest"
)

// columns lists "table.column type not-null" of every table of ours, in words
// that both engines share.
func columns(t *testing.T, s *store.Store) []string {
	t.Helper()
	q := `SELECT m.name, c.name, c.type, c."notnull" FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'`
	if s.Engine() == store.Postgres {
		q = `SELECT table_name, column_name, data_type, CASE is_nullable WHEN 'NO' THEN 1 ELSE 0 END FROM information_schema.columns WHERE table_schema = 'public'`
	}
	rows, err := s.DB().QueryContext(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var out []string
	for rows.Next() {
		var table, column, kind string
		var notNull int
		if err := rows.Scan(&table, &column, &kind, &notNull); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(table, "goose") {
			continue
		}
		kind = map[string]string{"bigint": "INTEGER", "text": "TEXT", "bytea": "BLOB"}[kind] + map[string]string{"INTEGER": "INTEGER", "TEXT": "TEXT", "BLOB": "BLOB"}[kind]
		out = append(out, fmt.Sprintf("%s.%s %s %d", table, column, kind, notNull))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	sort.Strings(out)
	return out
}

func TestBothEnginesHaveTheSameSchema(t *testing.T) {
	t.Parallel()
	lite, pg := columns(t, storetest.Open(t, store.SQLite)), columns(t, storetest.Open(t, store.Postgres))
	if diff := cmp.Diff(lite, pg); diff != "" {
		t.Fatalf("the schemas differ (-SQLite +PostgreSQL):\n%s", diff)
	}
	if len(lite) == 0 {
		t.Fatal("no tables were looked at")
	}
	for _, c := range lite {
		if strings.HasSuffix(c, " 0") {
			t.Errorf("%s may be NULL; give it a zero value", c)
		}
	}
}

func TestBothEnginesHaveTheSameMigrations(t *testing.T) {
	t.Parallel()
	names := func(engine string) (out []string) {
		files, err := filepath.Glob(filepath.Join("migrations", engine, "*.sql"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			out = append(out, filepath.Base(f))
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(string(text), "-- ") {
				t.Errorf("%s does not start with a comment that says why", f)
			}
			if !strings.Contains(string(text), "-- +goose Down") {
				t.Errorf("%s has no way down", f)
			}
		}
		return out
	}
	if diff := cmp.Diff(names("sqlite"), names("postgres")); diff != "" {
		t.Fatal(diff)
	}
}

func TestMigratingTwiceChangesNothing(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		before, err := s.Version(t.Context())
		if err != nil || before == 0 {
			t.Fatalf("version %d %v", before, err)
		}
		if n, err := s.Migrate(t.Context()); n != 0 || err != nil {
			t.Fatalf("applied %d again: %v", n, err)
		}
	})
}

func TestTx(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	cases := map[string]func(t *testing.T, s *store.Store){
		"an error leaves nothing behind": func(t *testing.T, s *store.Store) {
			err := s.Tx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
				if err := tx.Mark(ctx, string(due.Seal), "sub_1", now); err != nil {
					return err
				}
				return boom
			})
			if !errors.Is(err, boom) {
				t.Fatal(err)
			}
			if n, err := s.CountDue(t.Context(), now); n != 0 || err != nil {
				t.Fatalf("%d rows survived a rollback: %v", n, err)
			}
		},
		"its context refuses the network, the read pool and another transaction": func(t *testing.T, s *store.Store) {
			hc := &http.Client{Transport: store.GuardTransport(http.DefaultTransport)}
			err := s.Tx(t.Context(), func(ctx context.Context, _ *store.Tx) error {
				if !store.InTx(ctx) {
					t.Error("the context is not marked")
				}
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:1/", nil)
				if err != nil {
					return err
				}
				res, err := hc.Do(req)
				if err == nil {
					_ = res.Body.Close()
				}
				if err == nil || !strings.Contains(err.Error(), "inside a transaction") {
					t.Errorf("a network call was not refused: %v", err)
				}
				if _, err := s.CountDue(ctx, now); err == nil {
					t.Error("the read pool was not refused")
				}
				if err := s.Tx(ctx, func(context.Context, *store.Tx) error { return nil }); err == nil {
					t.Error("a nested transaction was not refused")
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		},
		"writers at once all succeed": func(t *testing.T, s *store.Store) {
			const n = 16
			errs := make(chan error, n)
			for range n {
				go func() { errs <- s.MarkDue(context.WithoutCancel(t.Context()), due.Seal, "one", now) }()
			}
			for range n {
				if err := <-errs; err != nil {
					t.Error(err)
				}
			}
			if r := one(t, claim(t, s, "a", now, wall)); r.Generation != n {
				t.Errorf("generation %d, want %d: a mark was lost", r.Generation, n)
			}
		},
	}
	for name, fn := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Each(t, fn)
		})
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "data", "instance.key")
	k, err := store.LoadKeys(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v %v", info.Mode(), err)
	}
	again, err := store.LoadKeys(path)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := k.Seal([]byte("tskey-secret"), "join key of tnt_1")
	if err != nil || strings.Contains(string(sealed), "tskey") {
		t.Fatalf("%q %v", sealed, err)
	}
	if plain, err := again.Open(sealed, "join key of tnt_1"); err != nil || string(plain) != "tskey-secret" {
		t.Fatalf("%q %v", plain, err)
	}
	if _, err := k.Open(sealed, "join key of tnt_2"); err == nil {
		t.Fatal("a secret was read in another's place")
	}
	body := store.NewKey()
	wrapped, err := k.Wrap(body)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.Unwrap(wrapped); err != nil || string(got) != string(body) {
		t.Fatal("the body's key was not unwrapped")
	}
	if err := os.WriteFile(path, []byte("short\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := store.LoadKeys(path); err == nil || !strings.Contains(err.Error(), "restore it from your backup") {
		t.Fatalf("a broken key file: %v", err)
	}
}

func TestOpenSaysWhatIsWrongWithoutThePassword(t *testing.T) {
	t.Parallel()
	for _, u := range []string{"mysql://x", "postgres://user:hunter2@:bad:port/x"} {
		_, err := store.Open(t.Context(), store.Options{URL: u})
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", u, err)
		}
	}
}

// A folder's name may hold what means something in a URI.
func TestTheDataFolderMayHaveAnyName(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a#b", "a?b", "a%20b", "a b"} {
		o := storetest.Options(t, store.SQLite)
		o.DataDir = filepath.Join(t.TempDir(), name)
		if err := os.Mkdir(o.DataDir, 0o700); err != nil {
			t.Fatal(err)
		}
		storetest.Reopen(t, o)
		if _, err := os.Stat(filepath.Join(o.DataDir, "tailmarket.db")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
