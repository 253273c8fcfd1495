package app

import (
	"github.com/tailmarket/tailmarket/internal/catalog"
	"github.com/tailmarket/tailmarket/internal/provisioning/embedded"
)

// CheckCatalog judges the catalog in a file completely: by itself, by what each
// marketplace can carry, and by what our control plane can do.
func CheckCatalog(path string) (catalog.Problems, error) {
	raw, err := catalog.ReadFile(path)
	if err != nil {
		return nil, err
	}
	_, problems := catalog.Check(raw, embedded.Capabilities().Names())
	return problems, nil
}

// CatalogSchema is the JSON Schema of a catalog file.
func CatalogSchema() []byte { return catalog.Schema() }
