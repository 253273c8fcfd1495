package intake

import (
	"cmp"
	"context"
	"fmt"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// Arrive takes a buyer whose browser brought a marketplace's token, and returns
// the token of a claim link: of a purchase that nobody holds yet, if there is one.
// Invalid and Gone (with a text for the buyer): the
// token is not one or has expired, and nothing was kept. Repeating it with a good
// token opens another claim of the same purchase.
func (s *Service) Arrive(ctx context.Context, m marketplace.ID, token marketplace.Token) (string, error) {
	a, err := s.adapter(m)
	if err != nil {
		return "", err
	}
	arrival, err := a.Resolve(ctx, token)
	if err != nil {
		return "", fmt.Errorf("resolve a %s token: %w", m, err)
	}
	if len(arrival.Purchases) == 0 {
		return "", fault.New(fault.Unavailable, "The marketplace knows you and does not name your purchase yet. Wait a minute and press “Set up your account” again.")
	}
	for name := range arrival.Extra {
		s.log.DebugContext(ctx, "registration field ignored", "marketplace", string(m), "field", name)
	}
	link := ""
	err = s.store.IntakeTx(ctx, func(ctx context.Context, t Tx) error {
		link = ""
		now, unheld := s.now(), false
		for _, ref := range arrival.Purchases {
			ref.Account = cmp.Or(ref.Account, arrival.Account)
			sub, err := s.subs.Ensure(ctx, t, m, ref)
			if err != nil {
				return err
			}
			claim, err := s.subs.OpenArrival(ctx, t, sub.ID, arrival)
			if err != nil {
				return err
			}
			if free := sub.Facts.ClaimedAt.IsZero(); link == "" || free && !unheld {
				link, unheld = claim, free
			}
			if err := s.markRefresh(ctx, t, m, marketplace.Event{Kind: marketplace.PurchaseSeen, Ref: marketplace.Ref{Purchase: sub.Purchase}}, now); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("arrive from %s: %w", m, err)
	}
	return link, nil
}
