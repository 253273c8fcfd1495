package billing

import (
	"context"
	"fmt"

	"github.com/tailmarket/tailmarket/internal/billing/ledger"
	"github.com/tailmarket/tailmarket/internal/catalog"
)

// joinLineage brings the ledger of unique and peak meters to what the merged
// lineage has: what both purchases counted for themselves is counted once.
func (s *Service) joinLineage(ctx context.Context, tx Tx, acct Account) error {
	p, ok := s.Catalog.Product(acct.Product)
	if !ok {
		return nil
	}
	members, err := tx.LineageMembers(ctx, acct.Lineage)
	if err != nil {
		return err
	}
	used, err := tx.UsagePeriods(ctx, acct.Subscription)
	if err != nil {
		return err
	}
	for _, u := range used {
		m, ok := p.Meter(u.Meter)
		if !ok || m.Kind != catalog.Unique && m.Kind != catalog.PeakPeriod {
			continue
		}
		if err := tx.LockBilling(ctx, Scope{acct.Lineage, m.ID}); err != nil {
			return err
		}
		want, err := tx.TotalUsage(ctx, ledger.Kind(m.Kind), members, m.ID, u.Period)
		if err != nil {
			return err
		}
		var have int64
		for _, sub := range members {
			buckets, err := tx.OpenBuckets(ctx, sub, m.ID, true)
			if err != nil {
				return err
			}
			for _, b := range buckets {
				if b.Period != u.Period {
					continue
				}
				bal, err := tx.Balances(ctx, sub, m.ID, b)
				if err != nil {
					return err
				}
				have += bal.Net()
			}
		}
		if have == want {
			continue
		}
		if err := s.rebase(ctx, tx, acct, m, u.Period, want-have); err != nil {
			return fmt.Errorf("merge lineage %s, %s: %w", acct.Lineage, m.ID, err)
		}
	}
	return nil
}

// rebase posts a difference to the newest hour this subscription used.
func (s *Service) rebase(ctx context.Context, tx Tx, acct Account, m catalog.Meter, period string, diff int64) error {
	uses, err := tx.LineageUses(ctx, acct.Lineage, m.ID, period, noHour)
	if err != nil {
		return err
	}
	for i := len(uses) - 1; i >= 0; i-- {
		if uses[i].Subscription != acct.Subscription {
			continue
		}
		h := hourOfUse(uses[i])
		t, _, err := terms(ctx, tx, acct.Subscription, h.Start())
		if err != nil {
			return err
		}
		return s.measure(ctx, tx, acct, t, m, HourUse{Period: period, Plan: uses[i].Plan, Hour: h, Since: t.sinceOf(uses[i].Plan, h), Measured: max(diff, 0), Corrected: max(-diff, 0)}, "", ledger.LineageMerged, s.Now())
	}
	return fmt.Errorf("%s has usage of %s in %s and no hour", acct.Subscription, m.ID, period)
}
