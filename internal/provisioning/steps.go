package provisioning

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tailmarket/tailmarket/internal/fault"
)

// keyLife is how long a join key can be used: the longest Tailscale takes.
const keyLife = 90 * 24 * time.Hour

// ours begins the description of every join key we make.
const ours = "tailmarket join key "

// step does t.Step and stores that it is done. Whatever it did before it was
// killed is found again and not done twice.
func (s *Service) step(ctx context.Context, t Tailnet, do Do) (Tailnet, error) {
	d, err := s.driver(t)
	if err != nil {
		return t, err
	}
	if t.Step == StepCreate {
		return s.create(ctx, d, t, do)
	}
	cred, err := s.Store.TailnetCredential(ctx, t.ID)
	if err != nil {
		return t, err
	}
	at := Access{Remote: t.Remote, Credential: cred}
	switch t.Step {
	case StepPolicy:
		return s.open(ctx, d, at, t)
	case StepSettings:
		return s.settings(ctx, d, at, t, Settings{}, StateConfiguring, StepKey)
	case StepKey:
		return s.makeKey(ctx, d, at, t)
	case StepDoor:
		shut := Settings{ApproveDevices: true, ApproveUsers: d.Capabilities().HumanUsers}
		if t.State == StateRevoking {
			return s.settings(ctx, d, at, t, shut, StateRevoked, StepNone)
		}
		return s.settings(ctx, d, at, t, shut, StateSuspending, StepKeys)
	case StepKeys:
		return s.revokeKeys(ctx, d, at, t)
	case StepCut:
		return s.cut(ctx, d, at, t)
	case StepNone, StepCreate:
	}
	return t, fmt.Errorf("there is no step %q", t.Step)
}

// create makes the tailnet and keeps its credential, before anything else. The
// name was stored first, so a second run finds what a killed one made; the secret
// that was lost with it is replaced by a new one.
func (s *Service) create(ctx context.Context, d Driver, t Tailnet, do Do) (Tailnet, error) {
	r, found, err := d.Find(ctx, t.DisplayName)
	if err != nil {
		return t, fmt.Errorf("look for %s: %w", t.DisplayName, err)
	}
	var c Credential
	switch {
	case found:
		if r, c, err = d.Recover(ctx, t.DisplayName, r); err != nil {
			return t, fmt.Errorf("make a new credential for %s: %w", t.DisplayName, err)
		}
	case do == DoRevoke: // never made, and no longer wanted
		return s.commit(ctx, t, func(_ context.Context, _ Tx, t *Tailnet) error {
			t.State, t.Step, t.RevokedAt = StateRevoked, StepNone, s.Now()
			return nil
		})
	default:
		if r, c, err = d.Create(ctx, t.DisplayName); err != nil {
			return t, fmt.Errorf("create %s: %w", t.DisplayName, err)
		}
	}
	return s.commit(ctx, t, func(ctx context.Context, tx Tx, t *Tailnet) error {
		if err := tx.KeepTailnetCredential(ctx, t.ID, c); err != nil {
			return err
		}
		t.Remote, t.HasSecret = r, true
		t.State, t.Step = StateConfiguring, StepPolicy
		return nil
	})
}

// open writes the policy: our first one, or the one from before a suspension.
func (s *Service) open(ctx context.Context, d Driver, at Access, t Tailnet) (Tailnet, error) {
	wanted := openPolicy()
	if t.SavedPolicy != "" {
		wanted = t.SavedPolicy
	}
	now, err := d.Policy(ctx, at)
	if err != nil {
		return t, fmt.Errorf("read the policy: %w", err)
	}
	if !samePolicy(now.Text, wanted) {
		if t.SavedPolicy != "" && !samePolicy(now.Text, denyAll(now.TagOwners)) {
			return t, &Blocked{For: "somebody changed the policy while the network was suspended; it must be decided which one holds", Who: "operator"}
		}
		if err := d.PutPolicy(ctx, at, Policy{Text: wanted, ETag: now.ETag}); err != nil {
			return t, fmt.Errorf("write the policy: %w", err)
		}
	}
	return s.commit(ctx, t, func(_ context.Context, _ Tx, t *Tailnet) error {
		t.SavedPolicy, t.Step = "", StepSettings
		return nil
	})
}

func (s *Service) settings(ctx context.Context, d Driver, at Access, t Tailnet, set Settings, state State, next Step) (Tailnet, error) {
	if err := d.PutSettings(ctx, at, set); err != nil {
		return t, fmt.Errorf("write the settings: %w", err)
	}
	return s.commit(ctx, t, func(_ context.Context, _ Tx, t *Tailnet) error {
		t.State, t.Step = state, next
		if state == StateRevoked {
			t.RevokedAt = s.Now()
		}
		return nil
	})
}

// makeKey makes the join key the buyer is shown. Keys of ours that are still valid
// are revoked first: earlier ones, and those a killed run made and never kept. The
// kept one stays if it still works: a suspension was called off before it took it.
func (s *Service) makeKey(ctx context.Context, d Driver, at Access, t Tailnet) (Tailnet, error) {
	keys, err := d.Keys(ctx, at)
	if err != nil {
		return t, fmt.Errorf("list keys: %w", err)
	}
	works := false
	for _, k := range keys {
		if k.ID == t.KeyID {
			works = true
		}
		if k.ID == t.KeyID || !strings.HasPrefix(k.Description, ours) {
			continue
		}
		if err := d.RevokeKey(ctx, at, k.ID); err != nil {
			return t, fmt.Errorf("revoke key %s: %w", k.ID, err)
		}
	}
	if works {
		return s.commit(ctx, t, s.activate)
	}
	key, err := d.CreateKey(ctx, at, KeySpec{
		Description: fmt.Sprintf("%s%d", ours, t.KeyNumber), Reusable: true, Tags: []string{ClientTag}, Expiry: keyLife,
	})
	if err != nil {
		return t, fmt.Errorf("make a join key: %w", err)
	}
	if key.Secret == "" {
		return t, fault.New(fault.Unreadable, "the control plane made a join key and did not say it")
	}
	return s.commit(ctx, t, func(ctx context.Context, tx Tx, t *Tailnet) error {
		if err := tx.KeepJoinKey(ctx, t.ID, key.Secret); err != nil {
			return err
		}
		t.KeyID, t.HasKey, t.RevealedAt, t.RevealedBy = key.ID, true, time.Time{}, ""
		return s.activate(ctx, tx, t)
	})
}

func (s *Service) activate(_ context.Context, _ Tx, t *Tailnet) error {
	t.State, t.Step, t.SuspendedAt, t.RevokedAt = StateActive, StepNone, time.Time{}, time.Time{}
	if t.ReadyAt.IsZero() {
		t.ReadyAt = s.Now()
	}
	return nil
}

// revokeKeys takes back every join key, whoever made it. After a suspension the
// buyer is shown a new one.
func (s *Service) revokeKeys(ctx context.Context, d Driver, at Access, t Tailnet) (Tailnet, error) {
	keys, err := d.Keys(ctx, at)
	if err != nil {
		return t, fmt.Errorf("list keys: %w", err)
	}
	for _, k := range keys {
		if err := d.RevokeKey(ctx, at, k.ID); err != nil {
			return t, fmt.Errorf("revoke key %s: %w", k.ID, err)
		}
	}
	return s.commit(ctx, t, func(ctx context.Context, tx Tx, t *Tailnet) error {
		if err := tx.KeepJoinKey(ctx, t.ID, ""); err != nil {
			return err
		}
		t.KeyID, t.HasKey, t.RevealedAt, t.RevealedBy = "", false, time.Time{}, ""
		t.KeyNumber++
		if t.Step = StepCut; t.State == StateRevoking {
			t.Step = StepDoor
		}
		return nil
	})
}

// cut writes the policy that denies all. The one in force is stored before it is
// replaced, so that a resume can put it back.
func (s *Service) cut(ctx context.Context, d Driver, at Access, t Tailnet) (Tailnet, error) {
	now, err := d.Policy(ctx, at)
	if err != nil {
		return t, fmt.Errorf("read the policy: %w", err)
	}
	if deny := denyAll(now.TagOwners); !samePolicy(now.Text, deny) {
		kept, err := s.commit(ctx, t, func(_ context.Context, _ Tx, t *Tailnet) error {
			if t.SavedPolicy == "" { // else it is what a killed run found, or a suspension
				t.SavedPolicy = now.Text
			}
			return nil
		})
		if err != nil || kept.Step != t.Step || kept.State != t.State {
			return kept, err
		}
		if err := d.PutPolicy(ctx, at, Policy{Text: deny, ETag: now.ETag}); err != nil {
			return t, fmt.Errorf("write the policy that denies all: %w", err)
		}
	}
	return s.commit(ctx, t, func(_ context.Context, _ Tx, t *Tailnet) error {
		if t.SuspendedAt.IsZero() {
			t.SuspendedAt = s.Now()
		}
		if t.State == StateRevoking {
			t.Step = StepKeys
			return nil
		}
		t.State, t.Step = StateSuspended, StepNone
		return nil
	})
}
