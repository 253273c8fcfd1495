package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tailmarket/tailmarket/internal/provisioning/embedded"
	"github.com/tailmarket/tailmarket/internal/store/db"
)

type embeddedStore struct{ *Store }

// embeddedTx gives the control plane's words their own room: they would collide
// with those of the tailnets we sell.
type embeddedTx struct{ *Tx }

var (
	_ embedded.Store = embeddedStore{}
	_ embedded.Tx    = embeddedTx{}
)

// Embedded keeps the tailnets of the embedded control plane.
func (s *Store) Embedded() embedded.Store { return embeddedStore{s} }

const parentContext = "embedded organisation client"

func (s embeddedStore) EmbeddedTx(ctx context.Context, fn func(context.Context, embedded.Tx) error) error {
	return s.Tx(ctx, func(ctx context.Context, t *Tx) error { return fn(ctx, embeddedTx{t}) })
}

func (t embeddedTx) AddTailnet(ctx context.Context, n embedded.Tailnet) (bool, error) {
	rows, err := t.q.AddEmbeddedTailnet(ctx, db.AddEmbeddedTailnetParams{
		ID: n.ID, DisplayName: n.DisplayName, DnsName: n.DNSName, CreatedAt: micros(n.CreatedAt), Policy: n.Policy, Settings: n.Settings, Parent: flag(n.Parent),
	})
	return changed(rows, err, "add embedded tailnet")
}

func (t embeddedTx) SetPolicy(ctx context.Context, tailnet, old, text string) (bool, error) {
	rows, err := t.q.SetEmbeddedPolicy(ctx, db.SetEmbeddedPolicyParams{ID: tailnet, Policy: text, Policy_2: old})
	return changed(rows, err, "set embedded policy")
}

func (t embeddedTx) SetSettings(ctx context.Context, tailnet, old, text string) (bool, error) {
	rows, err := t.q.SetEmbeddedSettings(ctx, db.SetEmbeddedSettingsParams{ID: tailnet, Settings: text, Settings_2: old})
	return changed(rows, err, "set embedded settings")
}

func (t embeddedTx) DeleteTailnet(ctx context.Context, tailnet string) (bool, error) {
	rows, err := t.q.DeleteEmbeddedTailnet(ctx, tailnet)
	return changed(rows, err, "delete embedded tailnet")
}

func (t embeddedTx) AddKey(ctx context.Context, k embedded.Key) error {
	err := t.q.AddEmbeddedKey(ctx, db.AddEmbeddedKeyParams{
		ID: k.ID, Tailnet: k.Tailnet, Kind: string(k.Kind), SecretHash: k.SecretHash, Description: k.Description, Scopes: words(k.Scopes), Tags: words(k.Tags),
		Reusable: flag(k.Reusable), Ephemeral: flag(k.Ephemeral), Preauthorized: flag(k.Preauthorized), CreatedAt: micros(k.CreatedAt), ExpiresAt: micros(k.ExpiresAt),
	})
	if err != nil {
		return fmt.Errorf("add embedded key: %w", err)
	}
	return nil
}

func (t embeddedTx) RevokeKey(ctx context.Context, tailnet, id string, at time.Time) (bool, error) {
	rows, err := t.q.RevokeEmbeddedKey(ctx, db.RevokeEmbeddedKeyParams{Tailnet: tailnet, ID: id, RevokedAt: micros(at)})
	return changed(rows, err, "revoke embedded key")
}

func (t embeddedTx) UseKey(ctx context.Context, id string, at time.Time) (bool, error) {
	rows, err := t.q.UseEmbeddedKey(ctx, db.UseEmbeddedKeyParams{ID: id, UsedAt: micros(at)})
	return changed(rows, err, "use embedded key")
}

func (t embeddedTx) AddToken(ctx context.Context, k embedded.Token) error {
	err := t.q.AddEmbeddedToken(ctx, db.AddEmbeddedTokenParams{
		TokenHash: k.Hash, Client: k.Client, Tailnet: k.Tailnet, Scopes: words(k.Scopes), ExpiresAt: micros(k.Expires),
	})
	if err != nil {
		return fmt.Errorf("add embedded token: %w", err)
	}
	return nil
}

func (t embeddedTx) SweepTokens(ctx context.Context, before time.Time) error {
	if err := t.q.SweepEmbeddedTokens(ctx, micros(before)); err != nil {
		return fmt.Errorf("sweep embedded tokens: %w", err)
	}
	return nil
}

func (t embeddedTx) KeepParent(ctx context.Context, client, secret string) (bool, error) {
	sealed, err := t.keys.Seal([]byte(secret), parentContext)
	if err != nil {
		return false, fmt.Errorf("keep the embedded organisation's client: %w", err)
	}
	rows, err := t.q.AddEmbeddedParent(ctx, db.AddEmbeddedParentParams{Client: client, Secret: sealed})
	return changed(rows, err, "keep the embedded organisation's client")
}

func (t embeddedTx) AddUser(ctx context.Context, u embedded.User) (embedded.User, error) {
	err := t.q.AddEmbeddedUser(ctx, db.AddEmbeddedUserParams{Tailnet: u.Tailnet, ID: u.ID, LoginName: u.LoginName, CreatedAt: micros(u.CreatedAt)})
	if err != nil {
		return embedded.User{}, fmt.Errorf("add embedded user: %w", err)
	}
	row, err := t.q.GetEmbeddedUser(ctx, db.GetEmbeddedUserParams{Tailnet: u.Tailnet, ID: u.ID})
	if err != nil {
		return embedded.User{}, fmt.Errorf("add embedded user: %w", err)
	}
	return toEmbeddedUser(row), nil
}

func (t embeddedTx) AddNode(ctx context.Context, n embedded.Node) (embedded.Node, error) {
	err := t.q.AddEmbeddedNode(ctx, db.AddEmbeddedNodeParams{
		ID: n.ID, Tailnet: n.Tailnet, Hostname: n.Hostname, LoginName: n.LoginName, Tags: words(n.Tags),
		Ephemeral: flag(n.Ephemeral), External: flag(n.External), Authorized: flag(n.Authorized), CreatedAt: micros(n.CreatedAt),
	})
	if err != nil {
		return embedded.Node{}, fmt.Errorf("add embedded node: %w", err)
	}
	row, err := t.q.GetEmbeddedNode(ctx, n.ID)
	if err != nil {
		return embedded.Node{}, fmt.Errorf("add embedded node: %w", err)
	}
	return toEmbeddedNode(row), nil
}

func (t embeddedTx) EndUser(ctx context.Context, tailnet, id string, at time.Time) (bool, error) {
	rows, err := t.q.EndEmbeddedUser(ctx, db.EndEmbeddedUserParams{Tailnet: tailnet, ID: id, LeftAt: micros(at)})
	return changed(rows, err, "end embedded user")
}

func (t embeddedTx) EndNode(ctx context.Context, tailnet, id string, at time.Time) (bool, error) {
	rows, err := t.q.EndEmbeddedNode(ctx, db.EndEmbeddedNodeParams{Tailnet: tailnet, ID: id, LeftAt: micros(at)})
	return changed(rows, err, "end embedded node")
}

func (t embeddedTx) AuthorizeNode(ctx context.Context, tailnet, id string, authorized bool) (bool, error) {
	rows, err := t.q.AuthorizeEmbeddedNode(ctx, db.AuthorizeEmbeddedNodeParams{Tailnet: tailnet, ID: id, Authorized: flag(authorized)})
	return changed(rows, err, "authorize embedded node")
}

func (s embeddedStore) FindTailnet(ctx context.Context, ref string) (embedded.Tailnet, bool, error) {
	row, found, err := find(ctx, s.Store, func(q *db.Queries) (db.EmbeddedTailnet, error) { return q.GetEmbeddedTailnet(ctx, ref) })
	return toEmbeddedTailnet(row), found, err
}

func (s embeddedStore) ListTailnets(ctx context.Context, after string, limit int) ([]embedded.Tailnet, int, error) {
	q, err := s.query(ctx)
	if err != nil {
		return nil, 0, err
	}
	total, err := q.CountEmbeddedTailnets(ctx)
	if err != nil {
		return nil, 0, fmt.Errorf("count embedded tailnets: %w", err)
	}
	rows, err := q.ListEmbeddedTailnets(ctx, db.ListEmbeddedTailnetsParams{ID: after, Limit: int32(min(max(limit, 1), 100))})
	if err != nil {
		return nil, 0, fmt.Errorf("list embedded tailnets: %w", err)
	}
	out := make([]embedded.Tailnet, len(rows))
	for i, r := range rows {
		out[i] = toEmbeddedTailnet(r)
	}
	return out, int(total), nil
}

func (s embeddedStore) FindKey(ctx context.Context, id string) (embedded.Key, bool, error) {
	row, found, err := find(ctx, s.Store, func(q *db.Queries) (db.EmbeddedKey, error) { return q.GetEmbeddedKey(ctx, id) })
	return toEmbeddedKey(row), found, err
}

func (s embeddedStore) FindKeyBySecret(ctx context.Context, hash []byte) (embedded.Key, bool, error) {
	row, found, err := find(ctx, s.Store, func(q *db.Queries) (db.EmbeddedKey, error) { return q.GetEmbeddedKeyBySecret(ctx, hash) })
	return toEmbeddedKey(row), found, err
}

func (s embeddedStore) ListKeys(ctx context.Context, tailnet string) ([]embedded.Key, error) {
	q, err := s.query(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := q.ListEmbeddedKeys(ctx, tailnet)
	if err != nil {
		return nil, fmt.Errorf("list embedded keys: %w", err)
	}
	out := make([]embedded.Key, len(rows))
	for i, r := range rows {
		out[i] = toEmbeddedKey(r)
	}
	return out, nil
}

func (s embeddedStore) FindToken(ctx context.Context, hash []byte, wall time.Time) (embedded.Token, bool, error) {
	row, found, err := find(ctx, s.Store, func(q *db.Queries) (db.GetEmbeddedTokenRow, error) {
		return q.GetEmbeddedToken(ctx, db.GetEmbeddedTokenParams{TokenHash: hash, ExpiresAt: micros(wall)})
	})
	return embedded.Token{Hash: hash, Client: row.Client, Tailnet: row.Tailnet, Scopes: strings.Fields(row.Scopes)}, found, err
}

func (s embeddedStore) Parent(ctx context.Context) (client, secret string, ok bool, err error) {
	row, found, err := find(ctx, s.Store, func(q *db.Queries) (db.GetEmbeddedParentRow, error) { return q.GetEmbeddedParent(ctx) })
	if err != nil || !found {
		return "", "", false, err
	}
	plain, err := s.keys.Open(row.Secret, parentContext)
	if err != nil {
		return "", "", false, fmt.Errorf("read the embedded organisation's client: %w", err)
	}
	return row.Client, string(plain), true, nil
}

func (s embeddedStore) FindUser(ctx context.Context, tailnet, id string) (embedded.User, bool, error) {
	row, found, err := find(ctx, s.Store, func(q *db.Queries) (db.EmbeddedUser, error) {
		return q.GetEmbeddedUser(ctx, db.GetEmbeddedUserParams{Tailnet: tailnet, ID: id})
	})
	return toEmbeddedUser(row), found, err
}

func (s embeddedStore) FindNode(ctx context.Context, id string) (embedded.Node, bool, error) {
	row, found, err := find(ctx, s.Store, func(q *db.Queries) (db.EmbeddedNode, error) { return q.GetEmbeddedNode(ctx, id) })
	return toEmbeddedNode(row), found, err
}

func (s embeddedStore) ListUsers(ctx context.Context, tailnet string, at time.Time) ([]embedded.User, error) {
	q, err := s.query(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := q.ListEmbeddedUsers(ctx, db.ListEmbeddedUsersParams{Tailnet: tailnet, CreatedAt: micros(at)})
	if err != nil {
		return nil, fmt.Errorf("list embedded users: %w", err)
	}
	out := make([]embedded.User, len(rows))
	for i, r := range rows {
		out[i] = toEmbeddedUser(r)
	}
	return out, nil
}

func (s embeddedStore) ListNodes(ctx context.Context, tailnet string, at time.Time) ([]embedded.Node, error) {
	q, err := s.query(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := q.ListEmbeddedNodes(ctx, db.ListEmbeddedNodesParams{Tailnet: tailnet, CreatedAt: micros(at)})
	if err != nil {
		return nil, fmt.Errorf("list embedded nodes: %w", err)
	}
	out := make([]embedded.Node, len(rows))
	for i, r := range rows {
		out[i] = toEmbeddedNode(r)
	}
	return out, nil
}

// find reads one row outside a transaction; false when there is none.
func find[T any](ctx context.Context, s *Store, get func(*db.Queries) (T, error)) (row T, found bool, err error) {
	q, err := s.query(ctx)
	if err != nil {
		return row, false, err
	}
	row, err = get(q)
	switch {
	case noRows(err):
		return row, false, nil
	case err != nil:
		return row, false, fmt.Errorf("read from the embedded control plane: %w", err)
	}
	return row, true, nil
}

func changed(rows int64, err error, doing string) (bool, error) {
	if err != nil {
		return false, fmt.Errorf("%s: %w", doing, err)
	}
	return rows == 1, nil
}

func words(list []string) string { return strings.Join(list, " ") }

func toEmbeddedTailnet(r db.EmbeddedTailnet) embedded.Tailnet {
	return embedded.Tailnet{ID: r.ID, DisplayName: r.DisplayName, DNSName: r.DnsName, CreatedAt: fromMicros(r.CreatedAt), Policy: r.Policy, Settings: r.Settings, Parent: r.Parent == 1}
}

func toEmbeddedKey(r db.EmbeddedKey) embedded.Key {
	return embedded.Key{
		ID: r.ID, Tailnet: r.Tailnet, Kind: embedded.KeyKind(r.Kind), SecretHash: r.SecretHash, Description: r.Description,
		Scopes: strings.Fields(r.Scopes), Tags: strings.Fields(r.Tags), Reusable: r.Reusable == 1, Ephemeral: r.Ephemeral == 1, Preauthorized: r.Preauthorized == 1,
		CreatedAt: fromMicros(r.CreatedAt), ExpiresAt: fromMicros(r.ExpiresAt), RevokedAt: fromMicros(r.RevokedAt), UsedAt: fromMicros(r.UsedAt),
	}
}

func toEmbeddedUser(r db.EmbeddedUser) embedded.User {
	return embedded.User{Tailnet: r.Tailnet, ID: r.ID, LoginName: r.LoginName, CreatedAt: fromMicros(r.CreatedAt), LeftAt: fromMicros(r.LeftAt)}
}

func toEmbeddedNode(r db.EmbeddedNode) embedded.Node {
	return embedded.Node{
		ID: r.ID, Tailnet: r.Tailnet, Hostname: r.Hostname, LoginName: r.LoginName, Tags: strings.Fields(r.Tags),
		Ephemeral: r.Ephemeral == 1, External: r.External == 1, Authorized: r.Authorized == 1, CreatedAt: fromMicros(r.CreatedAt), LeftAt: fromMicros(r.LeftAt),
	}
}
