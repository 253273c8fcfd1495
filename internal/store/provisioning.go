package store

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/provisioning"
	"github.com/tailmarket/tailmarket/internal/store/db"
)

type provisioningStore struct{ *Store }

var (
	_ provisioning.Store = provisioningStore{}
	_ provisioning.Tx    = (*Tx)(nil)
)

// Provisioning keeps tailnets.
func (s *Store) Provisioning() provisioning.Store { return provisioningStore{s} }

func (s provisioningStore) ProvisioningTx(ctx context.Context, fn func(context.Context, provisioning.Tx) error) error {
	return s.Tx(ctx, func(ctx context.Context, t *Tx) error { return fn(ctx, t) })
}

// The context of a sealed secret says whose it is and what for.
func credentialContext(t id.Tailnet) string { return "tailnet credential:" + string(t) }
func joinKeyContext(t id.Tailnet) string    { return "join key:" + string(t) }

func toTailnet(r db.Tailnet) provisioning.Tailnet {
	return provisioning.Tailnet{
		ID: id.Tailnet(r.ID), Subscription: id.Subscription(r.Subscription), Holder: id.Subscription(r.Holder), Driver: r.Driver,
		DisplayName: r.DisplayName, Name: r.Name, State: provisioning.State(r.State), Step: provisioning.Step(r.Step), StepSince: fromMicros(r.StepSince),
		WaitingFor: r.WaitingFor, WhoActs: r.WhoActs, Remote: provisioning.Remote{ID: r.RemoteID, DNSName: r.DnsName}, SavedPolicy: r.SavedPolicy,
		KeyNumber: r.KeyNumber, KeyID: r.KeyID, HasSecret: len(r.Credential) > 0, HasKey: len(r.JoinKey) > 0,
		RevealedAt: fromMicros(r.RevealedAt), RevealedBy: r.RevealedBy, RequestedAt: fromMicros(r.RequestedAt),
		ReadyAt: fromMicros(r.ReadyAt), SuspendedAt: fromMicros(r.SuspendedAt), RevokedAt: fromMicros(r.RevokedAt),
	}
}

// EnsureTailnet implements provisioning.Tx.
func (t *Tx) EnsureTailnet(ctx context.Context, n provisioning.Tailnet) (provisioning.Tailnet, error) {
	_, err := t.q.EnsureTailnet(ctx, db.EnsureTailnetParams{
		ID: string(n.ID), Subscription: string(n.Subscription), Driver: n.Driver, DisplayName: n.DisplayName, Name: n.Name,
		State: string(n.State), Step: string(n.Step), StepSince: micros(n.StepSince), Credential: []byte{}, JoinKey: []byte{},
	})
	if err != nil {
		return provisioning.Tailnet{}, fmt.Errorf("ensure the tailnet of %s: %w", n.Subscription, err)
	}
	row, err := t.q.GetTailnetOf(ctx, string(n.Subscription))
	if err != nil {
		return provisioning.Tailnet{}, fmt.Errorf("ensure the tailnet of %s: %w", n.Subscription, err)
	}
	return t.LockTailnet(ctx, id.Tailnet(row.ID))
}

// LockTailnet implements provisioning.Tx.
func (t *Tx) LockTailnet(ctx context.Context, n id.Tailnet) (provisioning.Tailnet, error) {
	locked, err := t.q.LockTailnet(ctx, string(n))
	if err != nil {
		return provisioning.Tailnet{}, fmt.Errorf("lock tailnet %s: %w", n, err)
	}
	if locked == 0 {
		return provisioning.Tailnet{}, fault.New(fault.NotFound, "there is no tailnet %s", n)
	}
	row, err := t.q.GetTailnet(ctx, string(n))
	if err != nil {
		return provisioning.Tailnet{}, fmt.Errorf("read tailnet %s: %w", n, err)
	}
	return toTailnet(row), nil
}

// SaveTailnet implements provisioning.Tx.
func (t *Tx) SaveTailnet(ctx context.Context, n provisioning.Tailnet) error {
	t.change(n.Subscription, n.Holder)
	err := t.q.SaveTailnet(ctx, db.SaveTailnetParams{
		ID: string(n.ID), Holder: string(n.Holder), Name: n.Name, State: string(n.State), Step: string(n.Step), StepSince: micros(n.StepSince),
		WaitingFor: n.WaitingFor, WhoActs: n.WhoActs, RemoteID: n.Remote.ID, DnsName: n.Remote.DNSName, SavedPolicy: n.SavedPolicy,
		KeyNumber: n.KeyNumber, KeyID: n.KeyID, RevealedAt: micros(n.RevealedAt), RevealedBy: n.RevealedBy,
		ReadyAt: micros(n.ReadyAt), SuspendedAt: micros(n.SuspendedAt), RevokedAt: micros(n.RevokedAt),
	})
	if err != nil {
		return fmt.Errorf("save tailnet %s: %w", n.ID, err)
	}
	return nil
}

// EnsureTailnetUse implements provisioning.Tx.
func (t *Tx) EnsureTailnetUse(ctx context.Context, sub id.Subscription, u provisioning.Use) (provisioning.Use, bool, error) {
	n, err := t.q.EnsureTailnetUse(ctx, db.EnsureTailnetUseParams{Subscription: string(sub), Tailnet: string(u.Tailnet), SinceAt: micros(u.Since)})
	if err != nil {
		return provisioning.Use{}, false, fmt.Errorf("keep the use of %s by %s: %w", u.Tailnet, sub, err)
	}
	row, err := t.q.GetTailnetUse(ctx, string(sub))
	if err != nil {
		return provisioning.Use{}, false, fmt.Errorf("keep the use of %s by %s: %w", u.Tailnet, sub, err)
	}
	return provisioning.Use{Tailnet: id.Tailnet(row.Tailnet), Since: fromMicros(row.SinceAt)}, n == 1, nil
}

// KeepTailnetCredential implements provisioning.Tx.
func (t *Tx) KeepTailnetCredential(ctx context.Context, n id.Tailnet, c provisioning.Credential) error {
	plain, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("keep the credential of %s: %w", n, err)
	}
	sealed, err := t.keys.Seal(plain, credentialContext(n))
	if err != nil {
		return fmt.Errorf("keep the credential of %s: %w", n, err)
	}
	if err := t.q.SetTailnetCredential(ctx, db.SetTailnetCredentialParams{ID: string(n), Credential: sealed}); err != nil {
		return fmt.Errorf("keep the credential of %s: %w", n, err)
	}
	return nil
}

// KeepJoinKey implements provisioning.Tx.
func (t *Tx) KeepJoinKey(ctx context.Context, n id.Tailnet, key string) error {
	sealed := []byte{}
	if key != "" {
		var err error
		if sealed, err = t.keys.Seal([]byte(key), joinKeyContext(n)); err != nil {
			return fmt.Errorf("keep the join key of %s: %w", n, err)
		}
	}
	if err := t.q.SetTailnetJoinKey(ctx, db.SetTailnetJoinKeyParams{ID: string(n), JoinKey: sealed}); err != nil {
		return fmt.Errorf("keep the join key of %s: %w", n, err)
	}
	return nil
}

// TakeJoinKey implements provisioning.Tx.
func (t *Tx) TakeJoinKey(ctx context.Context, n id.Tailnet) (string, bool, error) {
	row, err := t.q.GetTailnet(ctx, string(n))
	if err != nil {
		return "", false, fmt.Errorf("take the join key of %s: %w", n, err)
	}
	if len(row.JoinKey) == 0 {
		return "", false, nil
	}
	plain, err := t.keys.Open(row.JoinKey, joinKeyContext(n))
	if err != nil {
		return "", false, fmt.Errorf("take the join key of %s: %w", n, err)
	}
	return string(plain), true, t.KeepJoinKey(ctx, n, "")
}

func (s provisioningStore) TailnetMadeFor(ctx context.Context, sub id.Subscription) (provisioning.Tailnet, bool, error) {
	q, err := s.query(ctx)
	if err != nil {
		return provisioning.Tailnet{}, false, err
	}
	row, err := q.GetTailnetOf(ctx, string(sub))
	switch {
	case noRows(err):
		return provisioning.Tailnet{}, false, nil
	case err != nil:
		return provisioning.Tailnet{}, false, fmt.Errorf("find the tailnet of %s: %w", sub, err)
	}
	return toTailnet(row), true, nil
}

func (s provisioningStore) TailnetUsedBy(ctx context.Context, sub id.Subscription) (provisioning.Tailnet, provisioning.Use, bool, error) {
	fail := func(err error) (provisioning.Tailnet, provisioning.Use, bool, error) {
		return provisioning.Tailnet{}, provisioning.Use{}, false, err
	}
	q, err := s.query(ctx)
	if err != nil {
		return fail(err)
	}
	use, err := q.GetTailnetUse(ctx, string(sub))
	switch {
	case noRows(err):
		return fail(nil)
	case err != nil:
		return fail(fmt.Errorf("find the tailnet %s uses: %w", sub, err))
	}
	row, err := q.GetTailnet(ctx, use.Tailnet)
	if err != nil {
		return fail(fmt.Errorf("read tailnet %s: %w", use.Tailnet, err))
	}
	return toTailnet(row), provisioning.Use{Tailnet: id.Tailnet(use.Tailnet), Since: fromMicros(use.SinceAt)}, true, nil
}

func (s provisioningStore) TailnetCredential(ctx context.Context, n id.Tailnet) (provisioning.Credential, error) {
	q, err := s.query(ctx)
	if err != nil {
		return provisioning.Credential{}, err
	}
	row, err := q.GetTailnet(ctx, string(n))
	if err != nil {
		return provisioning.Credential{}, fmt.Errorf("read the credential of %s: %w", n, err)
	}
	plain, err := s.keys.Open(row.Credential, credentialContext(n))
	if err != nil {
		return provisioning.Credential{}, fmt.Errorf("read the credential of %s: %w", n, err)
	}
	var c provisioning.Credential
	if err := json.Unmarshal(plain, &c); err != nil {
		return provisioning.Credential{}, fmt.Errorf("read the credential of %s: %w", n, err)
	}
	return c, nil
}
