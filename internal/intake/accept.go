package intake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

// Accept takes one delivery. nil means that it is committed: applied, known
// already, or quarantined; the sender need not send it again. Forged: it failed
// its authenticity check and nothing was kept. Refused: it is committed, and asks
// for a change that must be answered now with no. Every other error is of a class
// that says send it again, since a sender may take any other for an answer.
func (s *Service) Accept(ctx context.Context, d marketplace.Delivery) error {
	a, err := s.adapter(d.Marketplace)
	if err != nil {
		return err
	}
	if d.ReceivedAt.IsZero() {
		d.ReceivedAt = s.now()
	}
	v, err := a.Verify(ctx, d)
	if err != nil {
		return s.unverified(ctx, d, err)
	}
	events, err := a.Translate(v)
	if err != nil {
		return s.quarantine(ctx, keptOf(v), d.Body, err)
	}
	kept, refused := keptOf(v), ""
	err = s.store.IntakeTx(ctx, func(ctx context.Context, t Tx) error {
		now := s.now()
		got, fresh, err := t.KeepDelivery(ctx, kept, d.Body)
		if err != nil {
			return err
		}
		if !fresh {
			refused, err = s.again(ctx, t, got, kept, d.Body, events, now)
			return err
		}
		refused, err = s.apply(ctx, t, got, events, now)
		return err
	})
	if needsPerson(err) {
		return s.quarantine(ctx, kept, d.Body, err)
	}
	if err != nil {
		return fmt.Errorf("accept %s message %s: %w", d.Marketplace, kept.VendorID, passing(err))
	}
	if refused != "" {
		s.log.InfoContext(ctx, "change refused", "marketplace", string(d.Marketplace), "message", kept.VendorID, "reason", refused)
		return fault.New(fault.Refused, "%s", refused)
	}
	return nil
}

// passing is an error as one that passes.
func passing(err error) error {
	switch fault.ClassOf(err) {
	case fault.Unavailable, fault.Unsure:
		return err
	}
	return fault.Wrap(fault.Unavailable, err, "")
}

// unverified decides about a delivery that Verify did not pass.
func (s *Service) unverified(ctx context.Context, d marketplace.Delivery, cause error) error {
	switch fault.ClassOf(cause) {
	case fault.Forged:
		s.observer.DeliveryForged(d.Marketplace, d.Channel)
		return fmt.Errorf("verify a %s delivery: %w", d.Marketplace, cause)
	case fault.Unreadable, fault.Denied:
		// It came through our own queue or with our key, and is not for us or not
		// to be read: it has no id that we could trust but its content.
		hash := hashBody(d.Body)
		return s.quarantine(ctx, Kept{
			ID: id.NewDelivery(), Marketplace: d.Marketplace, VendorID: "sha256:" + hash, BodyHash: hash, Channel: d.Channel, Source: d.Source,
			ReceivedAt: d.ReceivedAt, State: Quarantined,
		}, d.Body, cause)
	}
	return fmt.Errorf("verify a %s delivery: %w", d.Marketplace, passing(cause))
}

func keptOf(v marketplace.Verified) Kept {
	d, content := v.Delivery, v.Content
	if content == nil {
		content = d.Body
	}
	return Kept{
		ID: id.NewDelivery(), Marketplace: d.Marketplace, VendorID: v.ID, BodyHash: hashBody(content), Channel: d.Channel, Kind: v.Kind, Source: d.Source,
		Signed: v.Signed, SentAt: v.SentAt, ReceivedAt: d.ReceivedAt, State: Applied,
	}
}

// needsPerson reports an error that no repetition can mend: the message is
// genuine, and what it says cannot be.
func needsPerson(err error) bool {
	switch fault.ClassOf(err) {
	case fault.Unreadable, fault.Denied, fault.Invalid, fault.Refused, fault.NotFound:
		return true
	}
	return false
}

// quarantine keeps a genuine delivery with the reason why it was not applied.
func (s *Service) quarantine(ctx context.Context, k Kept, body []byte, cause error) error {
	if !needsPerson(cause) {
		return fmt.Errorf("read %s message %s: %w", k.Marketplace, k.VendorID, cause)
	}
	k.State, k.Reason = Quarantined, reasonOf(cause)
	fresh := false
	err := s.store.IntakeTx(ctx, func(ctx context.Context, t Tx) error {
		var got Kept
		var err error
		if got, fresh, err = t.KeepDelivery(ctx, k, body); err != nil || fresh {
			return err
		}
		_, err = s.again(ctx, t, got, k, body, nil, s.now())
		return err
	})
	if err != nil {
		return fmt.Errorf("quarantine %s message %s: %w", k.Marketplace, k.VendorID, err)
	}
	if fresh {
		s.log.WarnContext(ctx, "delivery quarantined", "delivery", string(k.ID), "marketplace", string(k.Marketplace), "kind", k.Kind, "reason", k.Reason)
	}
	return nil
}

// reasonOf is what the operator reads: the public text, never the cause, which
// may quote the body.
func reasonOf(err error) string {
	if e, ok := errors.AsType[*fault.Error](err); ok && e.Public != "" {
		return e.Public
	}
	return "it cannot be read (" + string(fault.ClassOf(err)) + "); look at the body, then update the adapter and replay"
}

// again handles a message whose id is known. The same body is a copy, changes
// nothing and gets the same answer. Another body is kept beside the first and believed in nothing: what it
// names is refreshed, and the marketplace's answer counts.
func (s *Service) again(ctx context.Context, t Tx, first, k Kept, body []byte, events []marketplace.Event, now time.Time) (refused string, err error) {
	if first.BodyHash == k.BodyHash {
		for _, e := range events {
			if refused, err = s.subs.Refusal(ctx, t, k.Marketplace, named(e, k)); err != nil || refused != "" {
				return refused, err
			}
		}
		return "", nil
	}
	k.ID, k.Variant, k.State = id.NewDelivery(), k.BodyHash, Conflict
	k.Reason = "another body came before under this message id (" + string(first.ID) + "); the marketplace was asked what is true"
	if _, fresh, err := t.KeepDelivery(ctx, k, body); err != nil || !fresh {
		return "", err
	}
	for _, e := range events {
		if err := s.markRefresh(ctx, t, k.Marketplace, e, now); err != nil {
			return "", err
		}
	}
	return "", nil
}

// named is an event with the message it came in.
func named(e marketplace.Event, k Kept) marketplace.Event {
	e.MessageID = cmp.Or(e.MessageID, k.VendorID)
	return e
}

// apply applies a kept delivery's events and marks what follows. refused is why a
// change that must be answered now is not agreed to.
func (s *Service) apply(ctx context.Context, t Tx, k Kept, events []marketplace.Event, now time.Time) (refused string, err error) {
	for _, e := range events {
		e = named(e, k)
		about := e.Ref != (marketplace.Ref{})
		if e.Kind == marketplace.Noted && !about && e.Terms == nil {
			continue // about nobody's purchase and no offer; kept, nothing more
		}
		if err := keepable(e); err != nil {
			return "", err
		}
		if e.Kind == marketplace.Noted && !about {
			if err := s.subs.HearOffer(ctx, t, k.Marketplace, e); err != nil {
				return "", err
			}
			continue
		}
		got, err := s.subs.Apply(ctx, t, k.Marketplace, e, k.ID)
		if err != nil {
			return "", err
		}
		refused = cmp.Or(refused, got.Refused)
		if got.Customer != "" {
			if err := t.AssignDelivery(ctx, k.ID, got.Customer, now); err != nil {
				return "", err
			}
		}
		if err := s.markRefresh(ctx, t, k.Marketplace, e, now); err != nil {
			return "", err
		}
	}
	return refused, nil
}

func (s *Service) markRefresh(ctx context.Context, t Tx, m marketplace.ID, e marketplace.Event, now time.Time) error {
	subject := subscription.RefreshSubject(m, e.Ref)
	if _, reads := s.adapters[m].(marketplace.Reader); !reads || subject == "" || e.Kind == marketplace.Noted {
		return nil
	}
	return t.Mark(ctx, subscription.DueRefresh, subject, now)
}

// Replay applies a quarantined delivery again, after its cause was mended; the
// actor is written down. Refused, with the reason: it still cannot be applied and
// stays where it is. It is not authenticated again: only what passed that check is
// ever kept, and what proved it (a header, a token) is not.
func (s *Service) Replay(ctx context.Context, d id.Delivery, actor string) error {
	k, body, err := s.store.ReadDelivery(ctx, d)
	if err != nil {
		return fmt.Errorf("replay %s: %w", d, err)
	}
	if done, err := replayed(k); done || err != nil {
		return err
	}
	a, err := s.adapter(k.Marketplace)
	if err != nil {
		return err
	}
	events, err := a.Translate(marketplace.Verified{
		Delivery: marketplace.Delivery{Marketplace: k.Marketplace, Channel: k.Channel, Body: body, ReceivedAt: k.ReceivedAt, Source: k.Source},
		ID:       k.VendorID, Kind: k.Kind, Signed: k.Signed, SentAt: k.SentAt,
	})
	if err != nil {
		return fmt.Errorf("replay %s: %w", d, stillWaits(err))
	}
	err = s.store.IntakeTx(ctx, func(ctx context.Context, t Tx) error {
		now := s.now()
		k, err := t.LockDelivery(ctx, d)
		if err != nil {
			return err
		}
		if done, err := replayed(k); done || err != nil { // by somebody else, meanwhile
			return err
		}
		if _, err := s.apply(ctx, t, k, events, now); err != nil { // too late to refuse anything
			return stillWaits(err)
		}
		if err := t.SettleDelivery(ctx, d, Replayed, "", now, actor); err != nil {
			return err
		}
		return t.AddAudit(ctx, subscription.AuditEntry{At: now, Actor: actor, Action: "delivery.replay", Subject: string(d)})
	})
	if err != nil {
		return fmt.Errorf("replay %s: %w", d, err)
	}
	return nil
}

// replayed reports that nothing is left to do; Refused: it never waited.
func replayed(k Kept) (bool, error) {
	switch k.State {
	case Replayed:
		return true, nil
	case Quarantined:
		return false, nil
	case Applied, Conflict:
	}
	return false, fault.New(fault.Refused, "delivery %s is %s; only quarantined ones can be replayed", k.ID, k.State)
}

// stillWaits says to whoever replays that nothing has changed.
func stillWaits(err error) error {
	if !needsPerson(err) {
		return err
	}
	return fault.Wrap(fault.Refused, err, "It still waits: "+reasonOf(err))
}
