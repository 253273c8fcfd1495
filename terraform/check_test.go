package terraform_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path"
	"testing"

	"github.com/hashicorp/hcl/v2/hclwrite"
)

const schemaDir = "testdata/schemas"

// check returns what is wrong with a tree of modules, and how much was looked at.
func check(t *testing.T, tree fs.FS, known schemas) (problems []string, did string) {
	t.Helper()
	modules := loadAll(t, tree)
	byDir := map[string]*module{}
	for _, m := range modules {
		byDir[m.dir] = m
	}
	things, arguments, references := 0, 0, 0
	for _, m := range modules {
		c := &checker{module: m, schemas: known, modules: byDir}
		problems = append(problems, c.check()...)
		things += len(m.things)
		arguments += c.counted.arguments
		references += c.counted.references
	}
	return problems, fmt.Sprintf("%d folders, %d resources and data sources, %d arguments, %d references", len(modules), things, arguments, references)
}

func TestSchemaOfEverything(t *testing.T) {
	t.Parallel()
	problems, did := check(t, os.DirFS("."), readSchemas(t, schemaDir))
	for _, p := range problems {
		t.Error(p)
	}
	t.Log("terraform: checked against testdata/schemas: " + did)
}

// TestFormat is what "terraform fmt -check" is, where that program is not.
func TestFormat(t *testing.T) {
	t.Parallel()
	tree, n := os.DirFS("."), 0
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(name) != ".tf" && path.Ext(name) != ".tfvars" {
			return err
		}
		n++
		text, err := fs.ReadFile(tree, name)
		if err == nil && !bytes.Equal(text, hclwrite.Format(text)) {
			t.Errorf("%s is not as hclwrite.Format writes it", name)
		}
		return err
	})
	if err != nil || n == 0 {
		t.Fatalf("%d files looked at: %v", n, err)
	}
}
