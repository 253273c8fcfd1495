package identity_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tailmarket/tailmarket/internal/identity"
)

func TestTheKeyIsMadeOnceAndPrivate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "data", "operator.key")
	keys, makers := make([]string, 4), make([]bool, 4)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			k, made, err := identity.LoadKey(path)
			if err != nil {
				t.Error(err)
			}
			keys[i], makers[i] = k.Reveal(), made
		})
	}
	wg.Wait()
	made := 0
	for i := range keys {
		if keys[i] != keys[0] || keys[i] == "" {
			t.Fatalf("processes that start together have different keys")
		}
		if makers[i] {
			made++
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 || made != 1 {
		t.Fatalf("mode %v, made %d times, %v", info.Mode(), made, err)
	}
}

func TestTheKeyIsCheckedAndNeverPrinted(t *testing.T) {
	t.Parallel()
	k, _, err := identity.LoadKey(filepath.Join(t.TempDir(), "k"))
	if err != nil {
		t.Fatal(err)
	}
	if !k.Check(k.Reveal()) || k.Check("") || k.Check(k.Reveal()+" ") || (identity.Key{}).Check("") {
		t.Error("the key is not checked")
	}
	if out := fmt.Sprintf("%v %+v %#v %s", k, k, k, k); strings.Contains(out, k.Reveal()) {
		t.Errorf("the key is printed: %s", out)
	}
}

func TestAShortKeyIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "k")
	if err := os.WriteFile(path, []byte("short\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := identity.LoadKey(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Fatalf("got %v", err)
	}
}

func TestRolesContainOneAnother(t *testing.T) {
	t.Parallel()
	order := []identity.Role{identity.Viewer, identity.Analyst, identity.Finance, identity.Operator, identity.Admin}
	for i, r := range order {
		for j, needed := range order {
			if r.May(needed) != (i >= j) {
				t.Errorf("%s may %s: %v", r, needed, r.May(needed))
			}
		}
		if r.May(identity.Partner) || identity.Partner.May(r) {
			t.Errorf("%s and partner contain one another", r)
		}
	}
	if !identity.Partner.May(identity.Partner) || identity.Role("").May(identity.Viewer) {
		t.Error("partner or nobody is wrong")
	}
}
