package embedded

import (
	"context"
	"encoding/base64"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var displayName = regexp.MustCompile(`^[A-Za-z0-9 '-]{1,50}$`)

func (s *Server) newTailnet(name string) Tailnet {
	return Tailnet{
		ID: "T" + random()[:16] + "CNTRL", DisplayName: name, DNSName: "tail" + strings.ToLower(random()[:10]) + ".tailmarket.internal",
		CreatedAt: s.Now(), Policy: defaultPolicy, Settings: "{}",
	}
}

type tailnetBody struct {
	ID            string    `json:"id"`
	DisplayName   string    `json:"displayName"`
	OrgID         string    `json:"orgId"`
	DNSName       string    `json:"dnsName,omitempty"`
	CreatedAt     time.Time `json:"createdAt"`
	OAuthClient   any       `json:"oauthClient,omitempty"`
	AlreadyExists bool      `json:"alreadyExists,omitempty"`
}

// createTailnet answers the new tailnet's client once. For a name that is taken it
// answers the tailnet that has it, without a secret.
func (s *Server) createTailnet(w http.ResponseWriter, r *http.Request, c caller) error {
	var in struct {
		DisplayName string `json:"displayName"`
	}
	if err := decode(r, &in); err != nil {
		return err
	}
	if !displayName.MatchString(in.DisplayName) {
		return deny(http.StatusBadRequest, "displayName must be 1 to 50 letters, digits, spaces, apostrophes or hyphens")
	}
	_, total, err := s.Store.ListTailnets(r.Context(), "", 1)
	if err != nil {
		return err
	}
	t := s.newTailnet(in.DisplayName)
	k, secret := s.newClient(t.ID, "organisation client", []string{"all"}, nil)
	exists, found, err := s.Store.FindTailnet(r.Context(), in.DisplayName)
	if err != nil {
		return err
	}
	if !found && s.Limit > 0 && total >= s.Limit {
		return deny(http.StatusForbidden, "organization has reached its limit of %d tailnets", s.Limit)
	}
	added := false
	if !found {
		err = s.Store.EmbeddedTx(r.Context(), func(ctx context.Context, tx Tx) error {
			var err error
			if added, err = tx.AddTailnet(ctx, t); err != nil || !added {
				return err
			}
			return tx.AddKey(ctx, k)
		})
		if err != nil {
			return err
		}
	}
	if added {
		return ok(w, tailnetBody{
			ID: t.ID, DisplayName: t.DisplayName, OrgID: c.tailnet.ID, DNSName: t.DNSName, CreatedAt: t.CreatedAt,
			OAuthClient: map[string]string{"id": k.ID, "secret": secret},
		})
	}
	if !found {
		if exists, found, err = s.Store.FindTailnet(r.Context(), in.DisplayName); err != nil || !found {
			return err
		}
	}
	return ok(w, tailnetBody{ID: exists.ID, DisplayName: exists.DisplayName, OrgID: c.tailnet.ID, DNSName: exists.DNSName, CreatedAt: exists.CreatedAt, AlreadyExists: true})
}

// listTailnets is the one list with pages. It names no DNS names.
func (s *Server) listTailnets(w http.ResponseWriter, r *http.Request, c caller) error {
	const most = 100
	limit := most
	if q := r.URL.Query().Get("limit"); q != "" {
		n, err := strconv.Atoi(q)
		if err != nil || n < 1 || n > most {
			return deny(http.StatusBadRequest, "limit must be 1 to %d", most)
		}
		limit = n
	}
	after, err := base64.RawURLEncoding.DecodeString(r.URL.Query().Get("cursor"))
	if err != nil {
		return deny(http.StatusBadRequest, "cursor is not one of ours")
	}
	page, total, err := s.Store.ListTailnets(r.Context(), string(after), limit)
	if err != nil {
		return err
	}
	out := struct {
		Tailnets   []tailnetBody `json:"tailnets"`
		Cursor     string        `json:"cursor,omitempty"`
		TotalCount int           `json:"totalCount"`
	}{Tailnets: []tailnetBody{}, TotalCount: total}
	for _, t := range page {
		out.Tailnets = append(out.Tailnets, tailnetBody{ID: t.ID, DisplayName: t.DisplayName, OrgID: c.tailnet.ID, CreatedAt: t.CreatedAt})
	}
	if len(page) == limit {
		out.Cursor = base64.RawURLEncoding.EncodeToString([]byte(page[len(page)-1].ID))
	}
	return ok(w, out)
}

func (s *Server) deleteTailnet(w http.ResponseWriter, r *http.Request, c caller) error {
	if c.tailnet.Parent {
		return deny(http.StatusForbidden, "the organization's own tailnet cannot be deleted")
	}
	err := s.Store.EmbeddedTx(r.Context(), func(ctx context.Context, tx Tx) error {
		_, err := tx.DeleteTailnet(ctx, c.tailnet.ID)
		return err
	})
	if err != nil {
		return err
	}
	return ok(w, struct{}{})
}
