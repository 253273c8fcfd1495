package subscription

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// knownFor is how long after the marketplace sent somebody its word for who that
// is counts without a mail: the link may be passed on later.
const knownFor = 15 * time.Minute

// OpenArrival is OpenClaim for somebody about whom the marketplace said more than
// what was bought: who it is, who may sign in, an address that it verified.
func (s *Service) OpenArrival(ctx context.Context, t Tx, sub id.Subscription, a marketplace.Arrival) (token string, err error) {
	c := Claim{Subscription: sub}
	if c.Person, err = hashPerson(ctx, t, a.Person); err != nil {
		return "", err
	}
	for _, b := range a.Buyers {
		hash, err := hashPerson(ctx, t, b)
		if err != nil {
			return "", err
		}
		c.Buyers = append(c.Buyers, hash)
	}
	if address, err := ParseEmail(a.Email); err == nil {
		if c.EmailHash, err = t.HashEmail(ctx, address); err != nil {
			return "", err
		}
		c.Email, c.Vouched = address, true
	}
	return s.openClaim(ctx, t, c)
}

func hashPerson(ctx context.Context, t Tx, person string) (string, error) {
	if person == "" {
		return "", nil
	}
	return t.HashPerson(ctx, person)
}

// knownAs is the claim whose address is also this visitor's: its own, if the
// marketplace verified it, or that of an earlier visit of the same person.
func knownAs(c Claim, all []Claim, now time.Time) (Claim, bool) {
	switch {
	case !c.VerifiedAt.IsZero() || now.After(c.OpenedAt.Add(knownFor)):
	case c.Vouched:
		return c, true
	case c.Person != "":
		for _, o := range all {
			if o.Person == c.Person && (o.State == ClaimHolder || o.State == ClaimAdmitted) {
				return o, true
			}
		}
	}
	return Claim{}, false
}

// Continue confirms a visit that needs no mail (Visit.Known). Denied: it does.
func (s *Service) Continue(ctx context.Context, token string) (Confirmed, error) {
	return s.enter(ctx, token, func(_ context.Context, _ Tx, c *Claim, all []Claim, now time.Time) error {
		as, ok := knownAs(*c, all, now)
		if !ok {
			return fault.New(fault.Denied, "Confirm your e-mail address to go on.")
		}
		c.Email, c.EmailHash = as.Email, as.EmailHash
		return nil
	})
}

// SignIn confirms a visit by the marketplace's own sign-in, which has just proved
// who it is; the address is the one that came with it, or one that the visitor has
// confirmed before. Denied: that person neither bought nor uses the purchase, as
// when a colleague sets it up; a confirmed address then decides.
func (s *Service) SignIn(ctx context.Context, token, person, address string) (Confirmed, error) {
	return s.enter(ctx, token, func(ctx context.Context, t Tx, c *Claim, all []Claim, now time.Time) error {
		hash, err := hashPerson(ctx, t, person)
		if err != nil {
			return err
		}
		if hash == "" || !slices.Contains(c.Buyers, hash) {
			return fault.New(fault.Denied, "You signed in as somebody who neither bought nor uses this subscription. If a colleague bought it, confirm your e-mail address instead.")
		}
		c.Person = hash
		if address, err = ParseEmail(address); err != nil {
			as, ok := knownAs(Claim{Person: hash, OpenedAt: now}, all, now)
			if !ok {
				return err
			}
			c.Email, c.EmailHash = as.Email, as.EmailHash
			return nil
		}
		c.Email = address
		c.EmailHash, err = t.HashEmail(ctx, address)
		return err
	})
}

// enter confirms a visit whose address prove finds.
func (s *Service) enter(ctx context.Context, token string, prove func(context.Context, Tx, *Claim, []Claim, time.Time) error) (Confirmed, error) {
	var out Confirmed
	var refused error
	err := s.store.SubscriptionTx(ctx, func(ctx context.Context, t Tx) error {
		out, refused = Confirmed{}, nil
		now := s.now()
		c, err := s.lockVisit(ctx, t, token, now)
		if err != nil {
			return err
		}
		sub, err := t.LockSubscription(ctx, c.Subscription)
		if err != nil {
			return err
		}
		all, err := t.ClaimsOfSubscription(ctx, sub.ID)
		if err != nil {
			return err
		}
		was := c
		if err := prove(ctx, t, &c, all, now); err != nil {
			return err
		}
		if !was.VerifiedAt.IsZero() && was.Person != c.Person {
			return ErrWrongAccount()
		}
		out, refused, err = s.verified(ctx, t, &sub, c, all, now)
		return err
	})
	if err = errors.Join(err, refused); err != nil {
		return out, fmt.Errorf("enter a purchase: %w", err)
	}
	return out, nil
}
