package intake

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

const (
	// sweepOverlap covers clocks that differ and updates that show late.
	sweepOverlap = time.Hour
	sweepFull    = 24 * time.Hour
	// A claimed purchase that the marketplace does not confirm yet is asked about
	// again this often, for this long; then the sweep is enough.
	askAgain    = 5 * time.Minute
	askAgainFor = time.Hour
)

func (s *Service) reader(m marketplace.ID) (marketplace.Reader, error) {
	a, err := s.adapter(m)
	if err != nil {
		return nil, err
	}
	r, ok := a.(marketplace.Reader)
	if !ok {
		return nil, fault.New(fault.Refused, "marketplace %q has no interface to ask about purchases", m)
	}
	return r, nil
}

// Refresh is the worker of refresh rows: asks the marketplace what is true of one
// purchase, or of an account's, and applies the answer. Killed at any line, it asks again; what was
// applied before is older or equal and changes nothing.
func (s *Service) Refresh(ctx context.Context, subject string) (again time.Time, err error) {
	m, ref, err := parseSubject(subject)
	if err != nil {
		return time.Time{}, err
	}
	r, err := s.reader(m)
	if err != nil {
		return time.Time{}, err
	}
	events, err := r.Purchase(ctx, ref)
	if err != nil {
		return time.Time{}, fmt.Errorf("ask %s about a purchase: %w", m, err)
	}
	if ref.Account != "" { // what one of its purchases lacks does not hold up the others
		if err := s.page(ctx, m, events); err != nil {
			return time.Time{}, fmt.Errorf("refresh an account of %s: %w", m, err)
		}
		return time.Time{}, nil
	}
	var touched []id.Subscription
	if err := s.observe(ctx, m, events, &touched); err != nil {
		return time.Time{}, fmt.Errorf("refresh a purchase of %s: %w", m, err)
	}
	if ref.Purchase != "" && len(touched) == 0 {
		sub, ok, err := s.subs.Find(ctx, m, ref.Purchase)
		if err != nil {
			return time.Time{}, err
		}
		if ok {
			touched = append(touched, sub.ID)
		}
	}
	for _, t := range touched {
		sub, err := s.subs.Get(ctx, t)
		if err != nil {
			return time.Time{}, err
		}
		now := s.now()
		if sub.State(now) == subscription.StateAwaitingMarketplace && sub.StartsAt().IsZero() && now.Before(sub.Facts.ClaimedAt.Add(askAgainFor)) {
			return now.Add(askAgain), nil
		}
	}
	return time.Time{}, nil
}

func parseSubject(subject string) (marketplace.ID, marketplace.Ref, error) {
	m, rest, _ := strings.Cut(subject, "|")
	kind, value, _ := strings.Cut(rest, "|")
	switch {
	case value == "":
	case kind == "licence":
		return marketplace.ID(m), marketplace.Ref{Purchase: value}, nil
	case kind == "agreement":
		return marketplace.ID(m), marketplace.Ref{Agreement: value}, nil
	case kind == "account":
		return marketplace.ID(m), marketplace.Ref{Account: value}, nil
	}
	return "", marketplace.Ref{}, fault.New(fault.Invalid, "refresh subject %q is not marketplace|licence|…, marketplace|agreement|… or marketplace|account|…", subject)
}

// observe applies answers of a marketplace in one transaction.
func (s *Service) observe(ctx context.Context, m marketplace.ID, events []marketplace.Event, touched *[]id.Subscription) error {
	if len(events) == 0 {
		return nil
	}
	return s.store.IntakeTx(ctx, func(ctx context.Context, t Tx) error {
		seen := []id.Subscription(nil)
		for _, e := range events {
			if err := keepable(e); err != nil {
				return err
			}
			got, err := s.subs.Apply(ctx, t, m, e, "")
			if err != nil {
				return err
			}
			if got.Subscription != "" {
				seen = append(seen, got.Subscription)
			}
		}
		if touched != nil {
			*touched = seen
		}
		return nil
	})
}

// Sweep is the worker of sweep rows: asks for everything that changed since the
// last sweep (with an overlap), once a day for everything, and applies it as
// observed. The cursor moves only after the last page, so a killed sweep begins
// again. One purchase that cannot be applied does not stop the others: it gets
// a refresh row, which stops and shows why. A message lost for good is found
// every later at most; the last usage of an ended purchase is accepted for an
// hour, so every must be well inside one.
func (s *Service) Sweep(ctx context.Context, m marketplace.ID, every time.Duration) (again time.Time, err error) {
	r, err := s.reader(m)
	if err != nil {
		return time.Time{}, err
	}
	cursor, err := s.store.GetSweep(ctx, m)
	if err != nil {
		return time.Time{}, fmt.Errorf("sweep %s: %w", m, err)
	}
	began := s.now()
	full := cursor.Full.IsZero() || !began.Before(cursor.Full.Add(sweepFull))
	since := time.Time{}
	if !full {
		since = cursor.At.Add(-sweepOverlap)
	}
	if err := r.Purchases(ctx, since, func(page []marketplace.Event) error { return s.page(ctx, m, page) }); err != nil {
		return time.Time{}, fmt.Errorf("sweep %s: %w", m, unending(err))
	}
	cursor.At = began
	if full {
		cursor.Full = began
	}
	err = s.store.IntakeTx(ctx, func(ctx context.Context, t Tx) error { return t.SaveSweep(ctx, m, cursor) })
	if err != nil {
		return time.Time{}, fmt.Errorf("sweep %s: %w", m, err)
	}
	return began.Add(every), nil
}

// unending keeps a sweep going whatever the marketplace answers: a sweep that
// stopped would leave lost messages lost, and who mends the cause would have to
// know that it must be started again.
func unending(err error) error {
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || !f.Class.Final() {
		return err
	}
	return fault.Wrap(fault.Unavailable, err, f.Public)
}

func (s *Service) page(ctx context.Context, m marketplace.ID, events []marketplace.Event) error {
	err := s.observe(ctx, m, events, nil)
	if !needsPerson(err) {
		return err
	}
	for _, e := range events {
		err := s.observe(ctx, m, []marketplace.Event{e}, nil)
		if !needsPerson(err) {
			if err != nil {
				return err
			}
			continue
		}
		s.log.WarnContext(ctx, "purchase not applied", "marketplace", string(m), "reason", reasonOf(err))
		if keepable(e) != nil {
			continue // no row could be kept of it either
		}
		if err := s.store.IntakeTx(ctx, func(ctx context.Context, t Tx) error { return s.markRefresh(ctx, t, m, e, s.now()) }); err != nil {
			return err
		}
	}
	return nil
}
