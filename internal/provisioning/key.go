package provisioning

import (
	"context"
	"fmt"
	"time"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
)

// Reveal answers the join key, once: it is destroyed in the transaction that reads
// it. Conflict while there is none yet, Gone when it was revealed, NotFound when the
// purchase has no tailnet, Refused when the tailnet is not the purchase's (any more)
// to join. by is who sees it, and is kept.
func (s *Service) Reveal(ctx context.Context, sub id.Subscription, by string) (key string, err error) {
	err = s.held(ctx, sub, func(ctx context.Context, tx Tx, t *Tailnet) error {
		switch {
		case !t.RevealedAt.IsZero():
			return fault.New(fault.Gone, "the join key was shown on %s and is not kept; ask for a new one on this page, which ends the old one", t.RevealedAt.UTC().Format("2 January 2006, 15:04 UTC"))
		case t.State != StateActive || !t.HasKey:
			return fault.New(fault.Conflict, "the join key is not ready yet; this page shows what is being waited for")
		}
		k, ok, err := tx.TakeJoinKey(ctx, t.ID)
		if err != nil || !ok {
			return fmt.Errorf("take the join key: %w", err)
		}
		key, t.HasKey, t.RevealedAt, t.RevealedBy = k, false, s.Now(), by
		return nil
	})
	if err != nil {
		return "", err
	}
	s.Log.InfoContext(ctx, "join key revealed", "subscription", sub)
	return key, nil
}

// NewKey asks for another join key; the one before ends when it is made. Harmless
// to repeat while it is being made.
func (s *Service) NewKey(ctx context.Context, sub id.Subscription, by string) error {
	err := s.held(ctx, sub, func(ctx context.Context, tx Tx, t *Tailnet) error {
		switch {
		case t.Step == StepKey, t.HasKey:
			return nil // one is on its way, or waits to be revealed
		case t.State != StateActive:
			return fault.New(fault.Conflict, "a join key is made when the network is active; this page shows what is being waited for")
		}
		t.KeyNumber++
		t.KeyID = ""
		t.Step, t.StepSince, t.RevealedAt, t.RevealedBy = StepKey, s.Now(), time.Time{}, ""
		return tx.Mark(ctx, DueProvision, string(sub), s.Now())
	})
	if err != nil {
		return err
	}
	s.Log.InfoContext(ctx, "join key asked for", "subscription", sub, "by", by)
	return nil
}

// held changes the tailnet of a purchase that holds it.
func (s *Service) held(ctx context.Context, sub id.Subscription, change func(context.Context, Tx, *Tailnet) error) error {
	t, _, ok, err := s.Store.TailnetUsedBy(ctx, sub)
	if err != nil {
		return err
	}
	if !ok {
		return fault.New(fault.NotFound, "this purchase has no network yet")
	}
	return s.Store.ProvisioningTx(ctx, func(ctx context.Context, tx Tx) error {
		t, err := tx.LockTailnet(ctx, t.ID)
		if err != nil {
			return err
		}
		if t.Holder != sub {
			return fault.New(fault.Refused, "this network belongs to the purchase that continued this one; open that purchase")
		}
		if err := change(ctx, tx, &t); err != nil {
			return err
		}
		return tx.SaveTailnet(ctx, t)
	})
}
