package provisioning

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
)

// DueProvision is the kind of due row whose work is Run.
const DueProvision = "provision"

// askAgain is how long what needs a person waits until it is tried again.
const askAgain = 15 * time.Minute

// Options is what a Service works with. All fields are needed.
type Options struct {
	Store         Store
	Drivers       map[string]Driver
	Default       string // the driver of new tailnets
	Subscriptions Subscriptions
	// Ready and Revoked report that a purchase's tailnet can be used, or no longer
	// can. They are called again by every run that finds it so.
	Ready, Revoked func(ctx context.Context, sub id.Subscription) error
	Now            func() time.Time // business time
	Log            *slog.Logger
}

// Service keeps tailnets. Safe for concurrent use.
type Service struct {
	Options
}

// New makes a Service.
func New(o Options) *Service { return &Service{o} }

// Run makes the tailnet of a purchase be what the purchase wants; it is the worker
// of a provision row. It works through stored steps until nothing is left to do, a
// person must act (again says when it looks next) or a call fails. A run that was
// killed at any line is continued by the next.
func (s *Service) Run(ctx context.Context, sub id.Subscription) (again time.Time, err error) {
	w, err := s.Subscriptions.Wanted(ctx, sub)
	if err != nil {
		return time.Time{}, fmt.Errorf("ask what %s wants: %w", sub, err)
	}
	t, ok, err := s.tailnet(ctx, sub, w)
	switch {
	case err != nil:
		return time.Time{}, err
	case w.Do == DoNothing || w.Do == DoKeep || !ok && w.Do == DoSuspend:
		return time.Time{}, nil
	case w.Do == DoRevoke && (!ok || t.Holder != sub):
		// Never made, or in the hands of a successor: there is nothing of this
		// purchase's to take away.
		return time.Time{}, s.report(ctx, s.Revoked, sub, "revoked")
	}
	log := s.Log.With("subscription", sub, "tailnet", t.ID)
	for {
		var todo bool
		if t, todo, err = s.aim(ctx, t, w.Do); err != nil {
			return time.Time{}, err
		}
		if !todo {
			break
		}
		step := t.Step
		if t, err = s.step(ctx, t, w.Do); err != nil {
			if b, ok := errors.AsType[*Blocked](err); ok {
				log.WarnContext(ctx, "tailnet waits for a person", "step", step, "error", err)
				return s.Now().Add(askAgain), s.block(ctx, t, b)
			}
			return time.Time{}, fmt.Errorf("tailnet %s, step %s: %w", t.ID, step, err)
		}
		log.InfoContext(ctx, "tailnet step done", "step", step)
	}
	switch {
	case w.Do == DoFull && t.State == StateActive:
		return time.Time{}, s.report(ctx, s.Ready, sub, "ready")
	case w.Do == DoRevoke && t.State == StateRevoked:
		return time.Time{}, s.report(ctx, s.Revoked, sub, "revoked")
	}
	return time.Time{}, nil
}

func (s *Service) report(ctx context.Context, fn func(context.Context, id.Subscription) error, sub id.Subscription, what string) error {
	if err := fn(ctx, sub); err != nil {
		return fmt.Errorf("report the tailnet of %s as %s: %w", sub, what, err)
	}
	return nil
}

// tailnet finds the tailnet of a purchase. When access is wanted for the first
// time it takes over the predecessor's, or asks for one of its own.
func (s *Service) tailnet(ctx context.Context, sub id.Subscription, w Wanted) (Tailnet, bool, error) {
	t, _, ok, err := s.Store.TailnetUsedBy(ctx, sub)
	if err != nil || (ok && (w.Do != DoFull || t.Name == w.Name)) || (!ok && w.Do != DoFull) {
		return t, ok, err
	}
	now := s.Now()
	fresh := id.NewTailnet()
	var heir Tailnet // the predecessor's tailnet
	var inherits bool
	if !ok && w.TailnetOf != "" && w.TailnetOf != sub {
		heir, inherits, err = s.Store.TailnetMadeFor(ctx, w.TailnetOf)
		if err != nil {
			return Tailnet{}, false, err
		}
		inherits = inherits && heir.State != StateRevoked && heir.State != StateDeleting && heir.State != StateDeleted
	}
	err = s.Store.ProvisioningTx(ctx, func(ctx context.Context, tx Tx) error {
		var err error
		switch {
		case ok:
			t, err = tx.LockTailnet(ctx, t.ID)
		case inherits:
			t, err = tx.LockTailnet(ctx, heir.ID)
		default:
			t, err = tx.EnsureTailnet(ctx, Tailnet{
				ID: fresh, Subscription: sub, Holder: sub, Driver: s.Default, DisplayName: DisplayName(fresh), Name: w.Name,
				State: StateRequested, Step: StepCreate, StepSince: now, RequestedAt: now,
			})
		}
		if err != nil {
			return err
		}
		_, first, err := tx.EnsureTailnetUse(ctx, sub, Use{Tailnet: t.ID, Since: now})
		if err != nil {
			return err
		}
		if first {
			t.Holder = sub // handed on once; what ends later does not take it back
		}
		t.Name = w.Name
		return tx.SaveTailnet(ctx, t)
	})
	if err != nil {
		return Tailnet{}, false, fmt.Errorf("take a tailnet for %s: %w", sub, err)
	}
	return t, true, nil
}

// aim turns the tailnet towards what is wanted and says whether there is a step to do.
func (s *Service) aim(ctx context.Context, t Tailnet, do Do) (Tailnet, bool, error) {
	state, step := Aim(t, do)
	if state == t.State && step == t.Step {
		return t, step != StepNone && !(do == DoSuspend && t.Step == StepCreate), nil
	}
	t, err := s.commit(ctx, t, func(_ context.Context, _ Tx, t *Tailnet) error {
		t.State, t.Step = state, step
		if state == StateRevoked {
			t.RevokedAt = s.Now()
		}
		return nil
	})
	return t, t.Step != StepNone, err
}

// Aim is where a tailnet goes next, from where it is and what is wanted. Pure.
func Aim(t Tailnet, do Do) (State, Step) {
	switch do {
	case DoFull:
		switch t.State {
		case StateRequested:
			return StateCreating, StepCreate
		case StateSuspending, StateSuspended, StateRevoking, StateRevoked:
			if !t.HasSecret {
				return StateCreating, StepCreate
			}
			return StateConfiguring, StepPolicy
		}
	case DoSuspend:
		if t.State == StateConfiguring || t.State == StateActive {
			return StateSuspending, StepDoor
		}
	case DoRevoke:
		switch t.State {
		case StateRequested: // nothing was asked of the control plane
			return StateRevoked, StepNone
		case StateConfiguring, StateActive, StateSuspending, StateSuspended:
			return StateRevoking, StepCut
		}
	case DoNothing, DoKeep:
	}
	return t.State, t.Step
}

// commit changes a tailnet unless somebody else moved it since t was read; then it
// answers what is stored, and the caller looks again.
func (s *Service) commit(ctx context.Context, t Tailnet, change func(context.Context, Tx, *Tailnet) error) (Tailnet, error) {
	var got Tailnet
	err := s.Store.ProvisioningTx(ctx, func(ctx context.Context, tx Tx) error {
		now := s.Now()
		stored, err := tx.LockTailnet(ctx, t.ID)
		if err != nil {
			return err
		}
		got = stored
		if stored.State != t.State || stored.Step != t.Step || stored.KeyNumber != t.KeyNumber {
			return nil
		}
		got.WaitingFor, got.WhoActs = "", ""
		if err := change(ctx, tx, &got); err != nil {
			return err
		}
		if got.State != stored.State || got.Step != stored.Step {
			got.StepSince = now
		}
		return tx.SaveTailnet(ctx, got)
	})
	if err != nil {
		return t, fmt.Errorf("keep tailnet %s: %w", t.ID, err)
	}
	return got, nil
}

// block shows on the tailnet whom it waits for.
func (s *Service) block(ctx context.Context, t Tailnet, b *Blocked) error {
	_, err := s.commit(ctx, t, func(_ context.Context, _ Tx, t *Tailnet) error {
		t.WaitingFor, t.WhoActs = b.For, b.Who
		if b.Quota && t.State == StateCreating {
			t.State = StateAwaitingQuota
		}
		return nil
	})
	return err
}

func (s *Service) driver(t Tailnet) (Driver, error) {
	if d, ok := s.Drivers[t.Driver]; ok {
		return d, nil
	}
	return nil, fault.New(fault.Unavailable, "tailnet %s was made by the driver %q, which is not set up in this process", t.ID, t.Driver)
}
