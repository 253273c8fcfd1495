package tailscale

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"

	ts "tailscale.com/client/tailscale/v2"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/provisioning"
)

// The tailnets of an organisation: calls the official client v2.9.0 does not have
// (docs "Tailnets API", 2026-08-25, alpha).

const tailnetsPath = "/api/v2/organizations/-/tailnets"

type tailnetBody struct {
	ID          string `json:"id"`
	DisplayName string `json:"displayName"`
	DNSName     string `json:"dnsName"`
	OAuthClient struct {
		ID     string `json:"id"`
		Secret string `json:"secret"`
	} `json:"oauthClient"`
	AlreadyExists bool `json:"alreadyExists"`
}

// call makes one JSON call; out may be nil.
func (d *driver) call(ctx context.Context, s *session, method, path string, query url.Values, in, out any) error {
	how := write
	if method == http.MethodGet {
		how = read
	}
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(raw)
	}
	u := d.base.JoinPath(path)
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := s.http.Do(req)
	if err != nil {
		return classify(how, err)
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(res.Body, 8<<20))
	if err == nil && out != nil {
		err = json.Unmarshal(raw, out)
	}
	if err != nil { // it answered 2xx: what it did, it did
		return classify(how, fmt.Errorf("read the answer: %w", err))
	}
	return nil
}

// list walks the pages of the organisation's tailnets until see says stop.
func (d *driver) list(ctx context.Context, see func(tailnetBody) (stop bool)) error {
	for cursor := ""; ; {
		q := url.Values{"limit": {"100"}}
		if cursor != "" {
			q.Set("cursor", cursor)
		}
		var page struct {
			Tailnets []tailnetBody `json:"tailnets"`
			Cursor   string        `json:"cursor"`
		}
		if err := d.call(ctx, d.parent, http.MethodGet, tailnetsPath, q, nil, &page); err != nil {
			return err
		}
		if slices.ContainsFunc(page.Tailnets, see) || page.Cursor == "" || page.Cursor == cursor {
			return nil
		}
		cursor = page.Cursor
	}
}

func (d *driver) Find(ctx context.Context, displayName string) (r provisioning.Remote, found bool, err error) {
	err = d.list(ctx, func(t tailnetBody) bool {
		if found = t.DisplayName == displayName; found {
			r = provisioning.Remote{ID: t.ID, DNSName: t.DNSName}
		}
		return found
	})
	return r, found, err
}

func (d *driver) post(ctx context.Context, displayName string) (tailnetBody, error) {
	var out tailnetBody
	err := d.call(ctx, d.parent, http.MethodPost, tailnetsPath, nil, map[string]string{"displayName": displayName}, &out)
	if a, ok := errors.AsType[*apiError](err); ok && a.status == http.StatusForbidden {
		// Neither a probe nor the token's scope tells the two reasons apart.
		return out, &provisioning.Blocked{
			For: "the control plane makes no further network: its quota is used up, or the organisation's client may not make any",
			Who: "the operator: have the quota raised, or give the client the scope tailnets", Quota: true, Err: err,
		}
	}
	return out, err
}

func (d *driver) Create(ctx context.Context, displayName string) (provisioning.Remote, provisioning.Credential, error) {
	t, err := d.post(ctx, displayName)
	switch {
	case err != nil:
		return provisioning.Remote{}, provisioning.Credential{}, err
	case t.AlreadyExists:
		// Whether a secret comes with it is not documented: it is taken as absent.
		return provisioning.Remote{}, provisioning.Credential{}, fault.New(fault.Conflict, "a tailnet %q exists already", displayName)
	case t.ID == "" || t.OAuthClient.Secret == "":
		return provisioning.Remote{}, provisioning.Credential{}, fault.Wrap(fault.Unsure, errors.New("the tailnet was made, its credential was not told"), "")
	}
	return provisioning.Remote{ID: t.ID, DNSName: t.DNSName}, provisioning.Credential{ClientID: t.OAuthClient.ID, Secret: t.OAuthClient.Secret}, nil
}

// recovered describes the clients Recover makes.
const recovered = "tailmarket recovered client"

// Recover gets a token of the child with the organisation's client, which needs the
// scope all for it, and makes the child a new client. The list names no DNS names;
// creating a name that exists tells it.
func (d *driver) Recover(ctx context.Context, displayName string, r provisioning.Remote) (provisioning.Remote, provisioning.Credential, error) {
	fail := func(err error) (provisioning.Remote, provisioning.Credential, error) {
		if a, ok := errors.AsType[*apiError](err); ok && a.status == http.StatusForbidden {
			err = &provisioning.Blocked{
				For: fmt.Sprintf("the network %s was made, but its credential was lost on the way, and the organisation's client may not replace it", r.ID),
				Who: "the operator: give the organisation's client the scope all, or have the network deleted", Err: err,
			}
		}
		return provisioning.Remote{}, provisioning.Credential{}, err
	}
	if r.DNSName == "" {
		t, err := d.post(ctx, displayName)
		switch {
		case err != nil:
			return fail(err)
		case !t.AlreadyExists && t.OAuthClient.Secret != "": // it was deleted meanwhile, so this is a new one
			return provisioning.Remote{ID: t.ID, DNSName: t.DNSName}, provisioning.Credential{ClientID: t.OAuthClient.ID, Secret: t.OAuthClient.Secret}, nil
		}
		r.DNSName = t.DNSName
	}
	p := d.parent.http.Transport.(*transport).tokens
	child := d.newSession(r.ID, &tokens{ClientID: p.ClientID, Secret: p.Secret, child: r.ID})
	keys, err := child.Keys().List(ctx, true)
	if err != nil {
		return fail(classify(read, err))
	}
	for _, k := range keys {
		if k.KeyType == "client" && k.Description == recovered && !k.Invalid {
			if err := classify(write, child.Keys().Delete(ctx, k.ID)); err != nil && !fault.Is(err, fault.NotFound) {
				return fail(err)
			}
		}
	}
	k, err := child.Keys().CreateOAuthClient(ctx, ts.CreateOAuthClientRequest{Scopes: []string{"all"}, Tags: []string{}, Description: recovered})
	if err != nil {
		return fail(classify(write, err))
	}
	if k.Key == "" {
		return fail(fault.Wrap(fault.Unsure, errors.New("a client was made, its secret was not told"), ""))
	}
	return r, provisioning.Credential{ClientID: k.ID, Secret: k.Key}, nil
}

// Delete needs a token of the tailnet itself. A tailnet that is gone refuses its
// own credential, so the organisation's list decides.
func (d *driver) Delete(ctx context.Context, t provisioning.Access) error {
	err := d.call(ctx, d.in(t), http.MethodDelete, "/api/v2/tailnet/"+url.PathEscape(t.ID), nil, nil, nil)
	if err == nil {
		return nil
	}
	there := false
	if lerr := d.list(ctx, func(b tailnetBody) bool { there = b.ID == t.ID; return there }); lerr != nil {
		return errors.Join(err, lerr)
	}
	if !there {
		return nil
	}
	return err
}
