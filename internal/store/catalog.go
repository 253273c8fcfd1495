package store

import (
	"context"
	"fmt"

	"github.com/tailmarket/tailmarket/internal/catalog"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/store/db"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

var (
	_ catalog.Store = (*Store)(nil)
	_ catalog.Tx    = (*Tx)(nil)
)

// CatalogTx implements catalog.Store.
func (s *Store) CatalogTx(ctx context.Context, fn func(context.Context, catalog.Tx) error) error {
	return s.Tx(ctx, func(ctx context.Context, t *Tx) error { return fn(ctx, t) })
}

func appliedCatalog(ctx context.Context, q *db.Queries) (catalog.Applied, []byte, error) {
	r, err := q.AppliedCatalog(ctx)
	switch {
	case noRows(err):
		return catalog.Applied{}, nil, nil
	case err != nil:
		return catalog.Applied{}, nil, fmt.Errorf("read the catalog in force: %w", err)
	}
	return catalog.Applied{Seq: r.Seq, Version: r.Version, Hash: r.Hash, At: fromMicros(r.AppliedAt), By: r.AppliedBy, Reason: r.Reason}, r.Text, nil
}

func runningPurchases(ctx context.Context, q *db.Queries) ([]catalog.Running, error) {
	rows, err := q.RunningPurchases(ctx)
	if err != nil {
		return nil, fmt.Errorf("count the purchases that are running: %w", err)
	}
	out := make([]catalog.Running, len(rows))
	for i, r := range rows {
		out[i] = catalog.Running{Marketplace: r.Marketplace, Product: r.Product, Plan: r.Plan, Purchases: int(r.Purchases)}
	}
	return out, nil
}

// AppliedCatalog implements catalog.Store.
func (s *Store) AppliedCatalog(ctx context.Context) (catalog.Applied, []byte, error) {
	q, err := s.query(ctx)
	if err != nil {
		return catalog.Applied{}, nil, err
	}
	return appliedCatalog(ctx, q)
}

// AppliedCatalog implements catalog.Tx.
func (t *Tx) AppliedCatalog(ctx context.Context) (catalog.Applied, []byte, error) {
	return appliedCatalog(ctx, t.q)
}

// CatalogSeq says which catalog is in force, cheaply; 0: none was applied.
func (s *Store) CatalogSeq(ctx context.Context) (int64, error) {
	q, err := s.query(ctx)
	if err != nil {
		return 0, err
	}
	return q.CatalogSeq(ctx)
}

// CatalogText implements catalog.Store.
func (s *Store) CatalogText(ctx context.Context, version string) ([]byte, error) {
	q, err := s.query(ctx)
	if err != nil {
		return nil, err
	}
	text, err := q.CatalogText(ctx, version)
	if err != nil {
		return nil, missing(err, "catalog", version)
	}
	return text, nil
}

// ListApplied implements catalog.Store.
func (s *Store) ListApplied(ctx context.Context, limit int) ([]catalog.Applied, error) {
	q, err := s.query(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := q.ListApplied(ctx, atMost(limit))
	if err != nil {
		return nil, fmt.Errorf("list the applied catalogs: %w", err)
	}
	out := make([]catalog.Applied, len(rows))
	for i, r := range rows {
		out[i] = catalog.Applied{Seq: r.Seq, Version: r.Version, Hash: r.Hash, At: fromMicros(r.AppliedAt), By: r.AppliedBy, Reason: r.Reason}
	}
	return out, nil
}

// RunningPurchases implements catalog.Store.
func (s *Store) RunningPurchases(ctx context.Context) ([]catalog.Running, error) {
	q, err := s.query(ctx)
	if err != nil {
		return nil, err
	}
	return runningPurchases(ctx, q)
}

// RunningPurchases implements catalog.Tx.
func (t *Tx) RunningPurchases(ctx context.Context) ([]catalog.Running, error) {
	return runningPurchases(ctx, t.q)
}

// KeepCatalog implements catalog.Tx.
func (t *Tx) KeepCatalog(ctx context.Context, a catalog.Applied, text []byte) (string, error) {
	hash, err := t.q.KeepCatalog(ctx, db.KeepCatalogParams{Version: a.Version, Hash: a.Hash, Text: text, KeptAt: micros(a.At)})
	if err != nil {
		return "", fmt.Errorf("keep catalog %s: %w", a.Version, err)
	}
	return hash, nil
}

// AddApplied implements catalog.Tx.
func (t *Tx) AddApplied(ctx context.Context, a catalog.Applied) error {
	n, err := t.q.AddApplied(ctx, db.AddAppliedParams{Seq: a.Seq, Version: a.Version, AppliedAt: micros(a.At), AppliedBy: a.By, Reason: a.Reason})
	switch {
	case err != nil:
		return fmt.Errorf("apply catalog %s: %w", a.Version, err)
	case n == 0:
		return fault.New(fault.Conflict, "another catalog was applied at the same moment; look at it, then apply again")
	}
	return nil
}

// AuditCatalog implements catalog.Tx.
func (t *Tx) AuditCatalog(ctx context.Context, a catalog.Applied, detail string) error {
	return t.AddAudit(ctx, subscription.AuditEntry{At: a.At, Actor: a.By, Action: "catalog.apply", Subject: a.Version, Detail: detail})
}
