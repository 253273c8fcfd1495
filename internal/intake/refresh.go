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
// observed. The cursor moves only after the last page; a sweep that was cut short goes
// on where it was, and after a restart begins again. One purchase that cannot be read or
// applied does not stop the others: it gets a refresh row, which shows why and who must
// act, and every sweep that meets it asks again. A message lost for good is found
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
	now := s.now()
	at := s.half(m, cursor, now)
	before := at.mark.Next
	err = r.Purchases(ctx, at.mark, func(p marketplace.Page) error {
		if err := s.unread(ctx, m, p.Unread); err != nil {
			return err
		}
		if err := s.page(ctx, m, p.Events); err != nil {
			return err
		}
		at.mark.Next = p.Next
		return nil
	})
	if err != nil {
		if at.mark.Next == before && needsPerson(err) {
			at.mark.Next = "" // the marketplace may have forgotten the place
		}
		s.keepHalf(m, &at)
		return time.Time{}, fmt.Errorf("sweep %s: %w", m, unending(err))
	}
	s.keepHalf(m, nil)
	cursor.At = at.began
	if at.mark.Since.IsZero() {
		cursor.Full = at.began
	}
	err = s.store.IntakeTx(ctx, func(ctx context.Context, t Tx) error { return t.SaveSweep(ctx, m, cursor) })
	if err != nil {
		return time.Time{}, fmt.Errorf("sweep %s: %w", m, err)
	}
	return now.Add(every), nil
}

// half is a sweep that was cut short: the pages before its mark are applied.
type half struct {
	began time.Time
	of    Cursor
	mark  marketplace.Mark
}

// half goes on with the sweep that was cut short, unless another replica has swept
// since or the marketplace may have forgotten the place; else it begins a new one.
func (s *Service) half(m marketplace.ID, cursor Cursor, now time.Time) half {
	s.mu.Lock()
	h, ok := s.halves[m]
	s.mu.Unlock()
	if ok && h.mark.Next != "" && h.of.At.Equal(cursor.At) && h.of.Full.Equal(cursor.Full) && now.Before(h.began.Add(sweepOverlap)) {
		return h
	}
	h = half{began: now, of: cursor}
	if !cursor.Full.IsZero() && now.Before(cursor.Full.Add(sweepFull)) {
		h.mark.Since = cursor.At.Add(-sweepOverlap)
	}
	return h
}

func (s *Service) keepHalf(m marketplace.ID, h *half) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.halves, m)
	if h != nil {
		s.halves[m] = *h
	}
}

// unread marks purchases that are in the list and could not be read, so that each is
// asked for by itself.
func (s *Service) unread(ctx context.Context, m marketplace.ID, refs []marketplace.Ref) error {
	for _, ref := range refs {
		e := marketplace.Event{Kind: marketplace.Observed, Ref: ref}
		s.log.WarnContext(ctx, "purchase not read", "marketplace", string(m), "purchase", ref.Purchase, "agreement", ref.Agreement)
		if keepable(e) != nil {
			continue // no row could be kept of it
		}
		if err := s.store.IntakeTx(ctx, func(ctx context.Context, t Tx) error { return s.markRefresh(ctx, t, m, e, s.now()) }); err != nil {
			return err
		}
	}
	return nil
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
