package embedded

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"
)

// tokenLife is fixed, as at Tailscale (docs "OAuth clients", 2026-06-30).
const tokenLife = time.Hour

func (s *Server) newClient(tailnet, description string, scopes, tags []string) (Key, string) {
	id := "k" + random()[:16] + "CNTRL"
	secret := "tskey-client-" + id + "-" + random()
	return Key{
		ID: id, Tailnet: tailnet, Kind: KeyClient, SecretHash: hash(secret), Description: description,
		Scopes: scopes, Tags: tags, CreatedAt: s.Now(),
	}, secret
}

// token exchanges a client's secret for a token. With the form field tailnet, the
// organisation's client gets a token of one of its children.
func (s *Server) token(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return &refusal{status: http.StatusBadRequest, message: "the form cannot be read", oauth: "invalid_request"}
	}
	id, secret := r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	if user, pass, basic := r.BasicAuth(); basic {
		id, secret = user, pass
	}
	if g := r.PostForm.Get("grant_type"); g != "" && g != "client_credentials" {
		return &refusal{status: http.StatusBadRequest, message: "grant_type must be client_credentials", oauth: "unsupported_grant_type"}
	}
	k, found, err := s.Store.FindKeyBySecret(r.Context(), hash(secret))
	if err != nil {
		return err
	}
	if !found || k.Kind != KeyClient || !k.RevokedAt.IsZero() || id != "" && id != k.ID {
		return &refusal{status: http.StatusUnauthorized, message: "API token invalid", oauth: "invalid_client"}
	}
	own, found, err := s.Store.FindTailnet(r.Context(), k.Tailnet)
	if err != nil || !found {
		return err
	}
	scopes := k.Scopes
	if asked := strings.Fields(r.PostForm.Get("scope")); len(asked) > 0 {
		c := caller{Token: Token{Scopes: k.Scopes}}
		for _, scope := range asked {
			if c.may(scope) != nil {
				return &refusal{status: http.StatusBadRequest, message: "the client does not have the scope " + scope, oauth: "invalid_scope"}
			}
		}
		scopes = asked
	}
	of := own
	if child := r.PostForm.Get("tailnet"); child != "" {
		switch of, found, err = s.Store.FindTailnet(r.Context(), child); {
		case err != nil:
			return err
		case !own.Parent || !slices.Contains(k.Scopes, "all"):
			return deny(http.StatusForbidden, "client does not have the all scope")
		case !found || of.ID != child || of.Parent:
			return deny(http.StatusNotFound, "tailnet not found")
		}
	}
	t := "tskey-api-" + random() + random()
	wall := s.Wall()
	err = s.Store.EmbeddedTx(r.Context(), func(ctx context.Context, tx Tx) error {
		if err := tx.SweepTokens(ctx, wall); err != nil {
			return err
		}
		return tx.AddToken(ctx, Token{Hash: hash(t), Client: k.ID, Tailnet: of.ID, Scopes: scopes, Expires: wall.Add(tokenLife)})
	})
	if err != nil {
		return err
	}
	return ok(w, map[string]any{
		"access_token": t, "token_type": "Bearer", "expires_in": int(tokenLife / time.Second), "scope": strings.Join(scopes, " "),
	})
}
