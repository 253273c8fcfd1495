package catalog

import (
	_ "embed"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/tailmarket/tailmarket/internal/fault"
)

//go:embed catalog.yaml
var shipped []byte

const maxFile = 1 << 20

// Default is the shipped catalog.
func Default() *Catalog {
	c, err := Parse(shipped)
	if err != nil {
		panic(fmt.Sprintf("the shipped catalog is broken: %v", err)) // a test loads it
	}
	return c
}

// Shipped is the text of Default.
func Shipped() []byte { return append([]byte(nil), shipped...) }

// ReadFile reads the text of a catalog. The error of one that is too large is of
// class Invalid.
func ReadFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	if len(raw) > maxFile {
		return nil, fault.New(fault.Invalid, "the catalog %s is larger than %d bytes", path, maxFile)
	}
	return raw, nil
}

// Parse reads a catalog that must make sense by itself: what no vendor has a say in.
// The error lists every problem, holds Problems and is of class Invalid.
func Parse(raw []byte) (*Catalog, error) {
	c, problems := read(raw)
	if len(problems) > 0 {
		problems.locate(raw)
		return nil, fault.Wrap(fault.Invalid, problems, "the catalog has "+count(len(problems)))
	}
	return c, nil
}

// Check judges a catalog completely: by itself, by what each vendor can carry, and by
// what the control plane can do, when its capabilities are given (nil: not known).
// The catalog is nil when the text cannot be read as one.
func Check(raw []byte, capabilities []string) (*Catalog, Problems) {
	c, problems := read(raw)
	if c != nil {
		k := checker{problems: problems}
		k.checkVendors(c)
		if capabilities != nil {
			k.checkCapabilities(c, capabilities)
		}
		problems = k.problems
	}
	problems.locate(raw)
	return c, problems
}

// read decodes a catalog as far as that is possible, and checks it by itself.
// Unknown fields are refused by the schema: a misspelt "included" would bill what was
// promised free.
func read(raw []byte) (*Catalog, Problems) {
	var k checker
	var c Catalog
	var file any
	err := yaml.Unmarshal(raw, &file)
	if err == nil {
		if err = yaml.Unmarshal(raw, &c); err == nil {
			k.checkOwn(&c)
		}
		k.checkShape(file)
	}
	if err != nil && len(k.problems) == 0 {
		k.add("shape", "", "cannot be read: %s", strings.TrimSpace(yaml.FormatError(err, false, false)))
	}
	if err != nil {
		return nil, k.problems
	}
	return &c, k.problems
}

func count(n int) string {
	if n == 1 {
		return "a problem"
	}
	return fmt.Sprintf("%d problems", n)
}
