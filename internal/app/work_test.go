package app

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/tailmarket/tailmarket/internal/config"
)

// A second process on one SQLite database would void the leases of the first.
func TestOneProcessServesADataFolder(t *testing.T) {
	t.Parallel()
	c, err := config.Load([]string{"TAILMARKET_DATA_DIR=" + t.TempDir()}, "")
	if err != nil {
		t.Fatal(err)
	}
	b, err := OpenBase(t.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	free, err := b.claimFolder()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.claimFolder(); err == nil || !strings.Contains(err.Error(), c.DataDir) {
		t.Errorf("claimed twice, or without saying what: %v", err)
	}
	free()
	again, err := b.claimFolder()
	if err != nil {
		t.Fatal(err)
	}
	again()
}
