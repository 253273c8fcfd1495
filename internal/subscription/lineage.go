package subscription

import (
	"context"
	"time"

	"github.com/tailmarket/tailmarket/internal/id"
)

// link connects a subscription with what it said it continues. The successor
// belongs to the predecessor's lineage, and unless it has a network already it
// takes over the predecessor's, with name and claim: a renewal is no new start
// for the buyer. Nothing metered crosses.
func (s *Service) link(ctx context.Context, t Tx, sub *Subscription, now time.Time) error {
	if sub.Predecessor != "" {
		return nil
	}
	prev, err := s.predecessor(ctx, t, sub, now)
	if err != nil || prev == "" || prev == sub.ID {
		return err // renewed under the same licence is new terms: nothing to take over
	}
	p, err := t.LockSubscription(ctx, prev)
	if err != nil || p.Lineage == sub.ID || p.Customer != sub.Customer {
		return err // a circle, or somebody else's purchase: not believed
	}
	if sub.Lineage != p.Lineage {
		if err := t.MoveLineage(ctx, sub.Lineage, p.Lineage); err != nil {
			return err
		}
	}
	sub.Predecessor, sub.Lineage = p.ID, p.Lineage
	free := p.Facts.Replaced.By == "" && p.Facts.RevokedAt.IsZero() && p.Facts.ClosedAt.IsZero()
	if !free || p.Facts.ClaimedAt.IsZero() || !sub.Facts.ReadyAt.IsZero() {
		return nil
	}
	sub.TailnetOf, sub.TailnetName, sub.NameChosen = p.TailnetOf, p.TailnetName, p.NameChosen
	return s.note(ctx, t, sub, Fact{Kind: FactClaimed, At: p.Facts.ClaimedAt}, now)
}

// predecessor is what a subscription continues: what the vendor named, else the
// one purchase of this customer and product that was said to go on and whose
// successor is not known. Two candidates are none.
func (s *Service) predecessor(ctx context.Context, t Tx, sub *Subscription, now time.Time) (id.Subscription, error) {
	if sub.Replaces != "" {
		prev, err := t.SubscriptionByAgreement(ctx, sub.Marketplace, sub.Replaces)
		if err == nil && prev == "" {
			prev, err = t.SubscriptionByPurchase(ctx, sub.Marketplace, sub.Replaces)
		}
		if err == nil && prev == "" {
			// linkSuccessors comes back when the agreement gets known.
			err = t.Mark(ctx, DueRefresh, string(sub.Marketplace)+"|agreement|"+sub.Replaces, now)
		}
		return prev, err
	}
	if sub.Facts.Granted.IsZero() || !sub.Facts.ReadyAt.IsZero() {
		return "", nil
	}
	others, err := t.SubscriptionsWhere(ctx, Filter{Marketplace: sub.Marketplace, Product: sub.Product, Customer: sub.Customer, Limit: 500})
	if err != nil {
		return "", err
	}
	prev := id.Subscription("")
	for _, o := range others {
		if o.ID == sub.ID || o.EndsAt().IsZero() || !AwaitsSuccessor(o.Facts, now) {
			continue
		}
		if prev != "" {
			s.log.WarnContext(ctx, "two purchases may be continued", "subscription", string(sub.ID))
			return "", nil
		}
		prev = o.ID
	}
	return prev, nil
}

// linkSuccessors links those who waited for this agreement to be known.
func (s *Service) linkSuccessors(ctx context.Context, t Tx, sub *Subscription, agreement string, now time.Time) error {
	waiting, err := t.SubscriptionsReplacing(ctx, sub.Marketplace, agreement)
	if err != nil {
		return err
	}
	for _, w := range waiting {
		if w == sub.ID {
			continue
		}
		next, err := t.LockSubscription(ctx, w)
		if err != nil {
			return err
		}
		if next.Predecessor != "" {
			continue
		}
		// The predecessor must be stored before its successor reads it.
		if err := t.SaveSubscription(ctx, *sub); err != nil {
			return err
		}
		before := next.Facts
		if err := s.link(ctx, t, &next, now); err != nil {
			return err
		}
		if err := s.save(ctx, t, &next, before, now); err != nil {
			return err
		}
		again, err := t.LockSubscription(ctx, sub.ID)
		if err != nil {
			return err
		}
		*sub = again
	}
	return nil
}

// succeed tells the predecessor that its network is in other hands, from the
// successor's first entitled instant on.
func (s *Service) succeed(ctx context.Context, t Tx, sub *Subscription, now time.Time) error {
	if sub.Predecessor == "" || sub.TailnetOf == sub.ID || sub.Facts.StartsAt.IsZero() {
		return nil
	}
	p, err := t.LockSubscription(ctx, sub.Predecessor)
	if err != nil {
		return err
	}
	if by := p.Facts.Replaced.By; by != "" && by != string(sub.ID) {
		return nil
	}
	return s.note(ctx, t, &p, Fact{Kind: FactReplaced, At: sub.Facts.StartsAt, By: string(sub.ID)}, now)
}
