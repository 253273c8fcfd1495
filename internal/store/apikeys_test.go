package store_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/identity"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/store/storetest"
)

func TestAPIKeys(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		at := now
		keys := identity.NewKeys(s, func() time.Time { return at }, func() time.Time { return now })
		secret, k, err := keys.Add(t.Context(), " meter ", []string{"a", "b/*"}, "ann")
		if err != nil {
			t.Fatal(err)
		}
		got, ok, err := keys.Check(t.Context(), secret)
		if err != nil || !ok || got.ID != k.ID || got.Name != "meter" || !got.May("a") || !got.May("b/7") || got.May("b") || got.May("ab") || got.May("provisioning/x") {
			t.Fatalf("%+v %v %v", got, ok, err)
		}
		if _, ok, err := keys.Check(t.Context(), secret+"x"); ok || err != nil {
			t.Fatalf("a key that is none: %v %v", ok, err)
		}
		used := func() time.Time {
			all, err := keys.List(t.Context())
			if err != nil || len(all) != 1 || !slices.Equal(all[0].Sources, k.Sources) || !all[0].CreatedAt.Equal(now) || all[0].CreatedBy != "ann" {
				t.Fatalf("%+v %v", all, err)
			}
			return all[0].LastUsedAt
		}
		for _, c := range []struct{ after, want time.Duration }{{0, 0}, {30 * time.Second, 0}, {90 * time.Second, 90 * time.Second}} {
			at = now.Add(c.after)
			if _, ok, err := keys.Check(t.Context(), secret); !ok || err != nil {
				t.Fatal(ok, err)
			}
			if got := used(); !got.Equal(now.Add(c.want)) {
				t.Errorf("after %s it was last used %s", c.after, got)
			}
		}
		for range 2 {
			if err := keys.Revoke(t.Context(), k.ID, "bob"); err != nil {
				t.Fatal(err)
			}
		}
		if _, ok, err := keys.Check(t.Context(), secret); ok || err != nil {
			t.Fatalf("a revoked key works: %v", err)
		}
		if err := keys.Revoke(t.Context(), "key_none", "bob"); !fault.Is(err, fault.NotFound) {
			t.Errorf("revoked nothing: %v", err)
		}
		// The token is nowhere, and the trail says who did what, once.
		rows, err := s.DB().QueryContext(t.Context(), "SELECT actor, action, subject, detail FROM audit ORDER BY seq")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = rows.Close() }()
		var trail []string
		for rows.Next() {
			var line [4]string
			if err := rows.Scan(&line[0], &line[1], &line[2], &line[3]); err != nil {
				t.Fatal(err)
			}
			trail = append(trail, strings.Join(line[:], " "))
		}
		want := []string{"ann key.add " + string(k.ID) + " meter: a, b/*", "bob key.revoke " + string(k.ID) + " "}
		if err := rows.Err(); err != nil || !slices.Equal(trail, want) {
			t.Errorf("%v %q, want %q", err, trail, want)
		}
		var hash []byte
		if err := s.DB().QueryRowContext(t.Context(), "SELECT token_hash FROM api_keys").Scan(&hash); err != nil || len(hash) != 32 || bytes.Contains(hash, []byte(secret[5:15])) {
			t.Errorf("kept %x %v", hash, err)
		}
	})
}
