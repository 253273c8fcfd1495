package billing

import (
	"context"
	"fmt"
	"time"

	"github.com/tailmarket/tailmarket/internal/billing/ledger"
	"github.com/tailmarket/tailmarket/internal/id"
)

// A record that was refused as suspended, while nobody said that the purchase is,
// is asked for again after an hour, then after two, four, and so on up to a day.
const (
	askSuspended      = time.Hour
	askSuspendedAtAll = 24 * time.Hour
)

// resume queues again, unchanged, what was refused because the purchase was
// suspended, and the vendor's answer decides: taken, or refused as too old and
// booked again into a later hour. A purchase that is known to be suspended waits
// until it is resumed; one that ends is asked for once more, since usage from
// before the end may still be taken.
func (s *Service) resume(ctx context.Context, tx Tx, t Terms, acct Account, ending bool, now time.Time) error {
	if t.Suspended && !ending {
		return nil
	}
	held, err := tx.RecordsInState(ctx, acct.Subscription, ledger.RecordHeld)
	if err != nil {
		return err
	}
	queued := false
	for _, recID := range held {
		r, err := tx.GetRecord(ctx, recID)
		if err != nil {
			return err
		}
		if r.Reason == ledger.InvalidRecord && !ending {
			if err := s.rewrite(ctx, tx, acct, r, now); err != nil {
				return err
			}
			continue
		}
		refused, wait, suspended := lastRefusal(r)
		resumed, inTime := !ending && t.SwitchedAt.After(refused), !now.After(r.Deadline)
		if !suspended || !resumed && !(inTime && (ending || !now.Before(refused.Add(wait)))) {
			continue
		}
		if err := tx.LockBilling(ctx, Scope{acct.Lineage, r.Meter}); err != nil {
			return err
		}
		err = tx.AddAttempt(ctx, Attempt{
			ID: id.NewAttempt(), Record: recID, N: len(r.Attempts) + 1, BegunAt: now, WallAt: s.Wall(), AnsweredAt: now, Answer: ledger.Released, Detail: "tailmarket: the purchase goes on, or has ended",
		})
		if err != nil {
			return err
		}
		if _, err := s.apply(ctx, tx, recID, now); err != nil {
			return err
		}
		queued = true
	}
	if !queued {
		return nil
	}
	return tx.Mark(ctx, "submit", string(acct.Marketplace), now)
}

// rewrite frees a record that was refused as invalid and would be written otherwise
// today: under another plan or identity, learnt since. Its units are open again, and
// the next seal puts them where they belong; the record is never sent again.
func (s *Service) rewrite(ctx context.Context, tx Tx, acct Account, r Record, now time.Time) error {
	was, err := read(r)
	if err != nil {
		return nil // it is reported where it would be sent
	}
	t, err := tx.Terms(ctx, r.Subscription, r.From)
	if err != nil {
		return fmt.Errorf("terms of %s at %s: %w", r.Subscription, r.From.Format(time.RFC3339), err)
	}
	if t.planAt(r.From) == was.Plan && t.Identity == was.Identity {
		return nil
	}
	if err := tx.LockBilling(ctx, Scope{acct.Lineage, r.Meter}); err != nil {
		return err
	}
	return s.settleRecord(ctx, tx, acct, &r, ledger.Outcome{State: ledger.RecordFreed, Goes: ledger.Open, Reason: ledger.InvalidRecord}, now)
}

// lastRefusal is when a held record was refused last, how long to wait before it is
// asked for again, and whether it is held because the purchase was suspended.
func lastRefusal(r Record) (at time.Time, wait time.Duration, suspended bool) {
	wait = askSuspended / 2
	for _, a := range r.Attempts {
		if a.Answer != ledger.SuspendedHere {
			continue
		}
		wait = min(2*wait, askSuspendedAtAll)
		at = later(at, a.AnsweredAt)
	}
	return at, wait, r.Reason == ledger.SuspendedHold
}

// expireHeld writes off held records that no marketplace can take any more, and
// says when to look again.
func (s *Service) expireHeld(ctx context.Context, tx Tx, acct Account, now time.Time) (again time.Time, err error) {
	held, err := tx.RecordsInState(ctx, acct.Subscription, ledger.RecordHeld)
	if err != nil {
		return again, err
	}
	for _, recID := range held {
		r, err := tx.GetRecord(ctx, recID)
		if err != nil {
			return again, err
		}
		if !now.After(r.Deadline) {
			if at := r.Deadline.Add(time.Minute); again.IsZero() || at.Before(again) {
				again = at
			}
			continue
		}
		if err := tx.LockBilling(ctx, Scope{acct.Lineage, r.Meter}); err != nil {
			return again, err
		}
		if err := s.giveUp(ctx, tx, acct, r, now); err != nil {
			return again, err
		}
	}
	return again, nil
}

// giveUp frees a held record for good.
func (s *Service) giveUp(ctx context.Context, tx Tx, acct Account, r Record, now time.Time) error {
	return s.settleRecord(ctx, tx, acct, &r, ledger.Outcome{State: ledger.RecordFreed, Goes: ledger.WrittenOff, Reason: r.Reason}, now)
}
