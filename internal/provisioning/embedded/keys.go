package embedded

import (
	"context"
	"net/http"
	"regexp"
	"time"
)

const longestKey = 90 * 24 * time.Hour

var description = regexp.MustCompile(`^[A-Za-z0-9 -]{0,50}$`)

type capabilities struct {
	Devices struct {
		Create struct {
			Reusable      bool     `json:"reusable"`
			Ephemeral     bool     `json:"ephemeral"`
			Preauthorized bool     `json:"preauthorized"`
			Tags          []string `json:"tags"`
		} `json:"create"`
	} `json:"devices"`
}

type keyBody struct {
	ID            string        `json:"id"`
	KeyType       KeyKind       `json:"keyType"`
	Key           string        `json:"key,omitempty"`
	Description   string        `json:"description"`
	ExpirySeconds int64         `json:"expirySeconds,omitempty"` // seconds, whatever the official client makes of them
	Created       time.Time     `json:"created"`
	Updated       time.Time     `json:"updated"`
	Expires       time.Time     `json:"expires,omitzero"`
	Revoked       time.Time     `json:"revoked,omitzero"`
	Invalid       bool          `json:"invalid"`
	Capabilities  *capabilities `json:"capabilities,omitempty"`
	Scopes        []string      `json:"scopes,omitempty"`
	Tags          []string      `json:"tags,omitempty"`
}

func (s *Server) body(k Key) keyBody {
	b := keyBody{
		ID: k.ID, KeyType: k.Kind, Description: k.Description, Created: k.CreatedAt, Updated: k.CreatedAt, Expires: k.ExpiresAt, Revoked: k.RevokedAt,
		Invalid: !k.usable(s.Now()), Scopes: k.Scopes, Tags: k.Tags,
	}
	if k.Kind == KeyAuth {
		b.ExpirySeconds = int64(k.ExpiresAt.Sub(k.CreatedAt) / time.Second)
		b.Capabilities = &capabilities{}
		b.Capabilities.Devices.Create.Reusable, b.Capabilities.Devices.Create.Ephemeral = k.Reusable, k.Ephemeral
		b.Capabilities.Devices.Create.Preauthorized, b.Capabilities.Devices.Create.Tags = k.Preauthorized, k.Tags
	}
	return b
}

func (k Key) usable(now time.Time) bool {
	return k.RevokedAt.IsZero() && (k.Kind == KeyClient || k.ExpiresAt.After(now) && (k.Reusable || k.UsedAt.IsZero()))
}

// scopeOf is the scope a kind of key is worked with.
func scopeOf(kind KeyKind, read bool) string {
	scope := "auth_keys"
	if kind == KeyClient {
		scope = "oauth_keys"
	}
	if read {
		scope += ":read"
	}
	return scope
}

func (s *Server) createKey(w http.ResponseWriter, r *http.Request, c caller) error {
	var in struct {
		KeyType       KeyKind      `json:"keyType"`
		Description   string       `json:"description"`
		ExpirySeconds int64        `json:"expirySeconds"`
		Capabilities  capabilities `json:"capabilities"`
		Scopes        []string     `json:"scopes"`
		Tags          []string     `json:"tags"`
	}
	if err := decode(r, &in); err != nil {
		return err
	}
	if in.KeyType == "" {
		in.KeyType = KeyAuth
	}
	if in.KeyType != KeyAuth && in.KeyType != KeyClient {
		return deny(http.StatusUnprocessableEntity, "keyType %q is not offered here", in.KeyType)
	}
	if err := c.may(scopeOf(in.KeyType, false)); err != nil {
		return err
	}
	if !description.MatchString(in.Description) {
		return deny(http.StatusBadRequest, "description must be at most 50 letters, digits, spaces or hyphens")
	}
	var k Key
	var secret string
	switch in.KeyType {
	case KeyClient:
		for _, scope := range in.Scopes {
			if err := c.may(scope); err != nil {
				return err
			}
		}
		if len(in.Scopes) == 0 {
			return deny(http.StatusBadRequest, "a client needs scopes")
		}
		k, secret = s.newClient(c.tailnet.ID, in.Description, in.Scopes, in.Tags)
	case KeyAuth:
		life := time.Duration(in.ExpirySeconds) * time.Second
		if in.ExpirySeconds == 0 {
			life = longestKey
		}
		if life < time.Second || life > longestKey {
			return deny(http.StatusBadRequest, "expirySeconds must be 1 to %d", int(longestKey/time.Second))
		}
		do := in.Capabilities.Devices.Create
		if len(do.Tags) == 0 {
			return deny(http.StatusBadRequest, "a key made by a client must be tagged")
		}
		k = Key{
			ID: "k" + random()[:16] + "CNTRL", Tailnet: c.tailnet.ID, Kind: KeyAuth, Description: in.Description, Tags: do.Tags,
			Reusable: do.Reusable, Ephemeral: do.Ephemeral, Preauthorized: do.Preauthorized, CreatedAt: s.Now(),
		}
		k.ExpiresAt = k.CreatedAt.Add(life)
		secret = "tskey-auth-" + k.ID + "-" + random()
		k.SecretHash = hash(secret)
	}
	if !definesTags(c.tailnet.Policy, k.Tags) {
		return deny(http.StatusBadRequest, "requested tags %v are invalid or not permitted", k.Tags)
	}
	err := s.Store.EmbeddedTx(r.Context(), func(ctx context.Context, tx Tx) error { return tx.AddKey(ctx, k) })
	if err != nil {
		return err
	}
	b := s.body(k)
	b.Key = secret
	return ok(w, b)
}

// listKeys shows clients only to a client's token, unless all is asked for.
func (s *Server) listKeys(w http.ResponseWriter, r *http.Request, c caller) error {
	all := r.URL.Query().Get("all") == "true"
	scope := scopeOf(KeyClient, true)
	if all {
		scope = "all:read"
	}
	if err := c.may(scope); err != nil {
		return err
	}
	keys, err := s.Store.ListKeys(r.Context(), c.tailnet.ID)
	if err != nil {
		return err
	}
	out := []keyBody{}
	for _, k := range keys {
		if all || k.Kind == KeyClient {
			out = append(out, s.body(k))
		}
	}
	return ok(w, map[string]any{"keys": out})
}

// keyIn finds the key a call is about; it is of the caller's tailnet or not found.
func (s *Server) keyIn(r *http.Request, c caller, read bool) (Key, error) {
	k, found, err := s.Store.FindKey(r.Context(), r.PathValue("id"))
	if err != nil {
		return Key{}, err
	}
	if !found || k.Tailnet != c.tailnet.ID {
		return Key{}, deny(http.StatusNotFound, "key not found")
	}
	if read && k.ID == c.Client { // every scope may look at the key in use
		return k, nil
	}
	return k, c.may(scopeOf(k.Kind, read))
}

func (s *Server) getKey(w http.ResponseWriter, r *http.Request, c caller) error {
	k, err := s.keyIn(r, c, true)
	if err != nil {
		return err
	}
	return ok(w, s.body(k))
}

// deleteKey revokes: the key answers on, as invalid. What a client minted dies with it.
func (s *Server) deleteKey(w http.ResponseWriter, r *http.Request, c caller) error {
	k, err := s.keyIn(r, c, false)
	if err != nil {
		return err
	}
	err = s.Store.EmbeddedTx(r.Context(), func(ctx context.Context, tx Tx) error {
		_, err := tx.RevokeKey(ctx, c.tailnet.ID, k.ID, s.Now())
		return err
	})
	if err != nil {
		return err
	}
	return ok(w, struct{}{})
}
