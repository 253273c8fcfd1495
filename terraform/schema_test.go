package terraform_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var (
	wholeSchemas = flag.String("schemas", "", "folder with the providers' whole schemas; testdata/schemas must be the used part of them")
	update       = flag.Bool("update", false, "write testdata/schemas from the folder that -schemas names")
)

// provider is one provider's schema, or the part of it that is used.
type provider struct {
	Source    string            `json:"provider"`
	Version   string            `json:"version"`
	Note      string            `json:"note,omitempty"`
	Resources map[string]*block `json:"resources,omitempty"`
	Data      map[string]*block `json:"data_sources,omitempty"`
}

// block is what may stand in a resource, a data source or a block within one, and
// what may be read of it. Attributes are read only, but for the names of blocks.
type block struct {
	Arguments  map[string]argument `json:"arguments,omitempty"`
	Attributes []string            `json:"attributes,omitempty"`
	Blocks     map[string]*block   `json:"blocks,omitempty"`

	// Of a block within another one.
	Required   bool `json:"required,omitempty"`
	Repeatable bool `json:"repeatable,omitempty"`
}

type argument struct {
	Required bool   `json:"required,omitempty"`
	Type     string `json:"type"`
}

// schemas finds a provider by the prefix of its types.
type schemas map[string]*provider

func (s schemas) find(kind, name string) (*block, bool) {
	prefix, _, _ := strings.Cut(name, "_")
	p, ok := s[prefix]
	if !ok {
		return nil, false
	}
	of := p.Resources
	if kind == "data" {
		of = p.Data
	}
	b, ok := of[name]
	return b, ok
}

// readSchemas reads every file of a folder; a file's name is the types' prefix.
func readSchemas(t *testing.T, dir string) schemas {
	t.Helper()
	names, err := fs.Glob(os.DirFS(dir), "*.json")
	if err != nil || len(names) == 0 {
		t.Fatalf("no schemas in %s (%v): the check would be empty", dir, err)
	}
	out := schemas{}
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		var p provider
		if err := json.Unmarshal(text, &p); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, of := range []map[string]*block{p.Resources, p.Data} {
			for _, b := range of {
				b.tidy()
			}
		}
		out[strings.TrimSuffix(name, ".json")] = &p
	}
	return out
}

// tidy writes types in five words; the whole schemas break one of them off.
func (b *block) tidy() {
	for name, a := range b.Arguments {
		if strings.HasPrefix(a.Type, "{") {
			a.Type = "map"
			b.Arguments[name] = a
		}
	}
	for _, inner := range b.Blocks {
		inner.tidy()
	}
}

// used is the part of s that the modules name.
func (s schemas) used(modules []*module) schemas {
	out := schemas{}
	for prefix, whole := range s {
		out[prefix] = &provider{Source: whole.Source, Version: whole.Version, Note: whole.Note, Resources: map[string]*block{}, Data: map[string]*block{}}
	}
	for _, m := range modules {
		for _, r := range m.things {
			b, ok := s.find(r.kind, r.typ)
			if !ok {
				continue
			}
			prefix, _, _ := strings.Cut(r.typ, "_")
			if r.kind == "data" {
				out[prefix].Data[r.typ] = b
			} else {
				out[prefix].Resources[r.typ] = b
			}
		}
	}
	return out
}

// TestSchemas holds the committed part against the whole, or writes it.
func TestSchemas(t *testing.T) {
	t.Parallel()
	if *wholeSchemas == "" {
		t.Skip("the whole schemas were not named with -schemas")
	}
	for prefix, p := range readSchemas(t, *wholeSchemas).used(loadAll(t, os.DirFS("."))) {
		name := filepath.Join(schemaDir, prefix+".json")
		want, err := json.MarshalIndent(p, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, '\n')
		if *update {
			if err := os.WriteFile(name, want, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not the used part of %s (%v): run again with -update", name, *wholeSchemas, err)
		}
	}
}

// fits says what is wrong with an expression of that look for an argument of that
// type, or "". The look of a reference is not known, and fits.
func (a argument) fits(look string) string {
	switch {
	case look == "", a.Type == "any", a.Type == look:
	case strings.HasSuffix(a.Type, "[]") && look == "list":
	case a.Type == "string" && (look == "number" || look == "boolean"):
	default:
		return fmt.Sprintf("is a %s, want %s", look, a.Type)
	}
	return ""
}

// nearest is the name most like a misspelt one, in brackets, or nothing.
func nearest[V any](name string, among map[string]V) string {
	best, least := "", 4
	for _, other := range slices.Sorted(maps.Keys(among)) {
		if d := distance(name, other); d < least {
			best, least = other, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (nearest is %s)", best)
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := cmp.Compare(a[i], b[j])
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost*cost)
		}
	}
	return row[len(b)]
}
