package billing

import (
	"context"
	"fmt"
	"time"

	"github.com/tailmarket/tailmarket/internal/catalog"
	"github.com/tailmarket/tailmarket/internal/clock"
)

// name finds the natural key, where the meter has one. A correction is about an
// event that has its own.
func (a *arrival) name() string {
	k := a.meter.NaturalKey
	if k == nil || a.target != nil {
		return ""
	}
	if a.e.Operation == "" {
		return fmt.Sprintf("data.operation is missing: meter %s counts an operation once (%s)", a.meter.ID, k.Interval)
	}
	interval := ""
	switch k.Interval {
	case catalog.PerHour:
		interval = clock.HourOf(a.e.UsedAt).String()
	case catalog.PerDay:
		interval = a.e.UsedAt.UTC().Format(time.DateOnly)
	case catalog.PerPeriod:
		interval = a.bucket.Period
	}
	a.operation = hashFields(string(a.t.Subscription), a.meter.ID, a.e.Operation, interval)
	return ""
}

// again finds out whether the operation of a new identity was counted before,
// under another one. Such a retry becomes another name of the event that counted;
// a retry that says another quantity is refused, since one of them is wrong.
func (s *Service) again(ctx context.Context, tx Tx, a *arrival, waiting bool, now time.Time) (done bool, err error) {
	said, first, known, err := tx.UsageOperation(ctx, a.operation)
	if err != nil || !known {
		return false, err
	}
	if said != a.e.said() {
		a.end(Conflict, fmt.Sprintf("this operation was counted with other content, as %s; correct that event", first))
		return true, nil
	}
	if waiting {
		if err := tx.SettleUsage(ctx, a.ident, first); err != nil {
			return false, err
		}
		if err := tx.ReleaseUsage(ctx, a.ident); err != nil {
			return false, err
		}
	} else if won, err := tx.ClaimUsage(ctx, a.ident, a.content, first); err != nil {
		return false, err
	} else if !won {
		return false, errRace
	}
	a.end(Duplicate, "the operation was counted under another id")
	a.answer.Event = first
	return true, s.wakeCorrections(ctx, tx, a.ident, now)
}
