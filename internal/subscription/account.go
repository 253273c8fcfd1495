package subscription

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// waitsForAccount is what an event about an account waits for: the purchases of it
// that are not known yet.
func waitsForAccount(account string) string { return "account|" + account }

// applyAccount applies an event about a buyer's account to every purchase of it. A
// deletion is kept for purchases that get known later. The customer's lock puts
// this and a purchase that is just being made in one order.
func (s *Service) applyAccount(ctx context.Context, t Tx, m marketplace.ID, e marketplace.Event, delivery id.Delivery, now time.Time) (Applied, error) {
	customer, err := t.EnsureCustomer(ctx, Customer{ID: id.NewCustomer(), Marketplace: m, Account: e.Ref.Account, CreatedAt: now})
	if err != nil {
		return Applied{}, fmt.Errorf("apply %s: %w", e.Kind, err)
	}
	out := Applied{Customer: customer.ID}
	if e.Kind == marketplace.AccountDeleted {
		line, err := lineOf(m, e, delivery, now)
		if err != nil {
			return Applied{}, err
		}
		line.Agreement = waitsForAccount(e.Ref.Account)
		if err := t.AddLine(ctx, line); err != nil {
			return Applied{}, err
		}
	}
	err = s.eachOf(ctx, t, customer.ID, func(sub *Subscription) error {
		changed, err := s.hear(ctx, t, sub, e, delivery, now)
		out.Changed = out.Changed || changed
		return err
	})
	if err != nil {
		return Applied{}, fmt.Errorf("apply %s to account: %w", e.Kind, err)
	}
	return out, nil
}

// hear applies an event about the account to one purchase.
func (s *Service) hear(ctx context.Context, t Tx, sub *Subscription, e marketplace.Event, delivery id.Delivery, now time.Time) (bool, error) {
	before := sub.Facts
	changed, err := s.merge(ctx, t, sub, e, now)
	if err != nil {
		return false, err
	}
	line, err := lineOf(sub.Marketplace, e, delivery, now)
	if err != nil {
		return false, err
	}
	line.Subscription, line.Changed = sub.ID, changed
	if err := t.AddLine(ctx, line); err != nil || !changed {
		return false, err
	}
	return true, s.save(ctx, t, sub, before, now)
}

// inherit gives a purchase that has just been made what is true of its account:
// that it was deleted, and who holds its other purchases.
func (s *Service) inherit(ctx context.Context, t Tx, sub *Subscription, now time.Time) error {
	lines, err := t.WaitingLines(ctx, sub.Marketplace, waitsForAccount(sub.Account))
	if err != nil {
		return err
	}
	for _, l := range lines {
		var e marketplace.Event
		if err := json.Unmarshal(l.Body, &e); err != nil {
			return fmt.Errorf("read the waiting event %s: %w", l.ID, err)
		}
		if _, err := s.hear(ctx, t, sub, e, l.Delivery, now); err != nil {
			return err
		}
	}
	return s.eachOf(ctx, t, sub.Customer, func(other *Subscription) error {
		if other.ID == sub.ID || other.Facts.ClaimedAt.IsZero() || !sub.Facts.ClaimedAt.IsZero() {
			return nil
		}
		claims, err := t.ClaimsOfSubscription(ctx, other.ID)
		if err != nil {
			return err
		}
		if holder, ok := holderOf(claims); ok {
			return s.hold(ctx, t, sub, holder, now)
		}
		return nil
	})
}

// share gives whoever holds one purchase of an account the others that nobody holds.
func (s *Service) share(ctx context.Context, t Tx, sub Subscription, holder Claim, now time.Time) error {
	if !rulesOf(sub.Marketplace).AccountFirst || holder.State != ClaimHolder {
		return nil
	}
	return s.eachOf(ctx, t, sub.Customer, func(other *Subscription) error {
		if other.ID == sub.ID || !other.Facts.ClaimedAt.IsZero() || !other.Facts.ClosedAt.IsZero() {
			return nil
		}
		return s.hold(ctx, t, other, holder, now)
	})
}

// hold binds the person of another claim to a purchase; its link leads nowhere.
func (s *Service) hold(ctx context.Context, t Tx, sub *Subscription, as Claim, now time.Time) error {
	c := Claim{
		ID: id.NewClaim(), Subscription: sub.ID, TokenHash: hashToken(newToken()), OpenedAt: now, ExpiresAt: now, State: ClaimHolder,
		Email: as.Email, EmailHash: as.EmailHash, Person: as.Person, VerifiedAt: now,
	}
	if err := t.AddClaim(ctx, c); err != nil {
		return err
	}
	if err := t.AddAudit(ctx, AuditEntry{At: now, Actor: string(as.ID), Action: "claim.account", Subject: string(sub.ID)}); err != nil {
		return err
	}
	return s.note(ctx, t, sub, Fact{Kind: FactClaimed, At: now}, now)
}

// eachOf locks every purchase of a customer, oldest first.
func (s *Service) eachOf(ctx context.Context, t Tx, c id.Customer, do func(*Subscription) error) error {
	const page = 200
	for after := id.Subscription(""); ; {
		subs, err := t.SubscriptionsWhere(ctx, Filter{Customer: c, After: after, Limit: page})
		if err != nil {
			return err
		}
		for _, listed := range subs {
			after = listed.ID
			sub, err := t.LockSubscription(ctx, listed.ID)
			if err != nil {
				return err
			}
			if err := do(&sub); err != nil {
				return err
			}
		}
		if len(subs) < page {
			return nil
		}
	}
}
