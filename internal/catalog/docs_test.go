package catalog_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tailmarket/tailmarket/internal/catalog"
)

// docs/catalog.md lists every rule as it is, and no other.
func TestTheDocumentListsEveryRule(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join("..", "..", "docs", "catalog.md"))
	if err != nil {
		t.Fatal(err)
	}
	want := "| Rule | Says | Source | Who must act |\n|---|---|---|---|\n"
	for _, r := range catalog.Rules() {
		name := "**" + r.ID + "**"
		if r.Unconfirmed {
			name = "*" + r.ID + "*"
		}
		want += fmt.Sprintf("| %s | %s | %s | %s |\n", name, r.Says, r.Source, r.Act)
	}
	if _, got, ok := strings.Cut(string(raw), "| Rule |"); !ok || "| Rule |"+got != want {
		t.Errorf("its table of rules must be\n%s", want)
	}
}
