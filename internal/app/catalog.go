package app

import (
	"context"

	"github.com/tailmarket/tailmarket/internal/catalog"
	"github.com/tailmarket/tailmarket/internal/provisioning/embedded"
)

// capabilities are what the control plane can do for a catalog.
func capabilities() []string { return embedded.Capabilities().Names() }

// Catalogs puts catalogs in force, and knows which one is.
func (b *Base) Catalogs() *catalog.Service {
	return catalog.New(b.Store, capabilities(), b.Clock.Now)
}

// ApplyCatalog puts the catalog in a file in force.
func (b *Base) ApplyCatalog(ctx context.Context, path, by, reason string) (catalog.Applied, []catalog.Change, error) {
	raw, err := catalog.ReadFile(path)
	if err != nil {
		return catalog.Applied{}, nil, err
	}
	return b.Catalogs().Apply(ctx, raw, by, reason)
}

// CompareCatalog says what the catalog in a file would change.
func (b *Base) CompareCatalog(ctx context.Context, path string) ([]catalog.Change, error) {
	raw, err := catalog.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return b.Catalogs().Compare(ctx, raw)
}

// CheckCatalog judges the catalog in a file completely: by itself, by what each
// marketplace can carry, and by what our control plane can do.
func CheckCatalog(path string) (catalog.Problems, error) {
	raw, err := catalog.ReadFile(path)
	if err != nil {
		return nil, err
	}
	_, problems := catalog.Check(raw, capabilities())
	return problems, nil
}

// DiffCatalogs says what one file changes against another.
func DiffCatalogs(from, to string) ([]catalog.Change, error) {
	var parsed [2]*catalog.Catalog
	for i, path := range []string{from, to} {
		raw, err := catalog.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if parsed[i], err = catalog.Parse(raw); err != nil {
			return nil, err
		}
	}
	return catalog.Diff(parsed[0], parsed[1]), nil
}

// CatalogSchema is the JSON Schema of a catalog file.
func CatalogSchema() []byte { return catalog.Schema() }
