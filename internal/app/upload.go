package app

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"

	"github.com/tailmarket/tailmarket/internal/billing/usagefile"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

// Upload says how a file of usage is read.
type Upload struct {
	Mapping  string            // an embedded one's name, or a file's path
	Source   string            // instead of the mapping's
	Quantity string            // column, instead of the mapping's
	Meters   map[string]string // the file's name → ours
	Subjects map[string]string // the file's customer → purchase or tailnet
	Store    bool              // or only tell what it would do
	Actor    string
}

// UploadUsage reads a file of usage and stores it, or tells what that would do.
func (b *Base) UploadUsage(ctx context.Context, file io.Reader, u Upload) (usagefile.Report, error) {
	m, err := usagefile.Load(u.Mapping)
	if err != nil {
		return usagefile.Report{}, err
	}
	if u.Source != "" {
		m.Source = u.Source
	}
	if u.Quantity != "" {
		m.Columns.Quantity = u.Quantity
	}
	m.Meters, m.Subjects = joined(m.Meters, u.Meters), joined(m.Subjects, u.Subjects)
	raw, err := io.ReadAll(file)
	if err != nil {
		return usagefile.Report{}, fmt.Errorf("read a file of usage: %w", err)
	}
	rows, err := usagefile.Read(bytes.NewReader(raw), m)
	if err != nil {
		return usagefile.Report{}, err
	}
	s, err := b.OpenSelling(ctx)
	if err != nil {
		return usagefile.Report{}, err
	}
	report, err := usagefile.Upload(ctx, b.openBilling(s.Catalog, s.Adapters, nil), rows, u.Store)
	if err != nil || !u.Store {
		return report, err
	}
	// Harmless to lose: what was stored says itself when and from which source it came.
	return report, b.Store.Tx(ctx, func(ctx context.Context, t *store.Tx) error {
		return t.AddAudit(ctx, subscription.AuditEntry{
			At: b.Clock.Now(), Actor: u.Actor, Action: "usage.upload", Subject: m.Source,
			Detail: fmt.Sprintf("%d rows, %d counted, %d counted before, %d waiting, %d refused; SHA-256 %x", report.Rows, report.Accepted, report.Again, report.Waiting, report.Refused, sha256.Sum256(raw)),
		})
	})
}

func joined(a, b map[string]string) map[string]string {
	out := map[string]string{}
	maps.Copy(out, a)
	maps.Copy(out, b)
	return out
}
