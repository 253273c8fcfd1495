package tailscale

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/tailscale/hujson"
	ts "tailscale.com/client/tailscale/v2"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/provisioning"
)

// Config is what an operator sets to make tailnets at Tailscale.
type Config struct {
	Name         string // of the driver; "tailscale" when empty
	BaseURL      string // empty means Tailscale itself
	ClientID     string // OAuth client of the organisation, scopes tailnets and, to recover lost secrets, all
	ClientSecret string
	// Capabilities are those of Tailscale's API-only tailnets when nil.
	Capabilities *provisioning.Capabilities
}

// Open checks c completely and returns a ready driver. It makes no calls. wall is
// the process's clock, by which tokens expire.
func (c Config) Open(hc *http.Client, wall func() time.Time) (provisioning.Driver, error) {
	if c.Name == "" {
		c.Name = "tailscale"
	}
	if c.BaseURL == "" {
		c.BaseURL = "https://api.tailscale.com"
	}
	u, err := url.Parse(c.BaseURL)
	if err != nil || u.Scheme == "" || u.Host == "" {
		return nil, fmt.Errorf("the address of the control plane %q is not a URL", c.BaseURL)
	}
	if c.ClientID == "" || c.ClientSecret == "" {
		return nil, errors.New("the organisation's OAuth client needs an id and a secret")
	}
	d := &driver{name: c.Name, base: u, http: hc, wall: wall, sessions: map[string]*session{}}
	if d.can = (provisioning.Capabilities{DeviceApproval: true}); c.Capabilities != nil {
		d.can = *c.Capabilities
	}
	d.parent = d.newSession("-", &tokens{ClientID: c.ClientID, Secret: c.ClientSecret})
	return d, nil
}

type driver struct {
	name   string
	base   *url.URL
	http   *http.Client
	wall   func() time.Time
	can    provisioning.Capabilities
	parent *session

	mu       sync.Mutex
	sessions map[string]*session // by client id; tokens live in them
}

var _ provisioning.Driver = (*driver)(nil)

func (d *driver) Name() string                            { return d.name }
func (d *driver) Capabilities() provisioning.Capabilities { return d.can }

// mostSessions bounds the cache of tokens; beyond it the cache begins anew.
const mostSessions = 4096

// session is a client whose calls carry the token of one credential.
type session struct {
	*ts.Client
	http *http.Client
}

func (d *driver) newSession(tailnet string, t *tokens) *session {
	t.http, t.url, t.wall = d.http, d.base.JoinPath("/api/v2/oauth/token").String(), d.wall
	base := d.http.Transport
	if base == nil {
		base = http.DefaultTransport
	}
	hc := *d.http
	hc.Transport = &transport{next: base, tokens: t}
	hc.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &session{Client: &ts.Client{BaseURL: d.base, Tailnet: tailnet, HTTP: &hc, UserAgent: "tailmarket"}, http: &hc}
}

// in is the session of a tailnet's own credential. The tailnet is named by id and
// not by "-": a credential of another tailnet is refused, instead of working there.
func (d *driver) in(t provisioning.Access) *session {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s, ok := d.sessions[t.Credential.ClientID]; ok {
		return s
	}
	if len(d.sessions) >= mostSessions {
		clear(d.sessions)
	}
	s := d.newSession(t.ID, &tokens{ClientID: t.Credential.ClientID, Secret: t.Credential.Secret})
	d.sessions[t.Credential.ClientID] = s
	return s
}

func (d *driver) Policy(ctx context.Context, t provisioning.Access) (provisioning.Policy, error) {
	raw, err := d.in(t).PolicyFile().Raw(ctx)
	if err != nil {
		return provisioning.Policy{}, classify(read, err)
	}
	if raw.ETag == "" {
		return provisioning.Policy{}, fault.Wrap(fault.Unreadable, errors.New("the policy came without an ETag: it could not be replaced safely"), "")
	}
	plain, err := hujson.Standardize([]byte(raw.HuJSON))
	var file struct {
		TagOwners map[string][]string `json:"tagOwners"`
	}
	if err == nil {
		err = json.Unmarshal(plain, &file)
	}
	if err != nil {
		return provisioning.Policy{}, fault.Wrap(fault.Unreadable, fmt.Errorf("read the policy: %w", err), "")
	}
	return provisioning.Policy{Text: raw.HuJSON, ETag: raw.ETag, TagOwners: file.TagOwners}, nil
}

// PutPolicy sends the text as it is: the client's ACL type leaves out an empty acls
// list, and the policy that denies all is exactly that list.
func (d *driver) PutPolicy(ctx context.Context, t provisioning.Access, p provisioning.Policy) error {
	if p.ETag == "" {
		return fault.New(fault.Invalid, "a policy is replaced only by who has read the one before")
	}
	return classify(write, d.in(t).PolicyFile().Set(ctx, p.Text, p.ETag))
}

func (d *driver) PutSettings(ctx context.Context, t provisioning.Access, s provisioning.Settings) error {
	var patch ts.UpdateTailnetSettingsRequest
	if d.can.DeviceApproval {
		patch.DevicesApprovalOn = &s.ApproveDevices
	}
	if d.can.HumanUsers {
		patch.UsersApprovalOn = &s.ApproveUsers
	}
	return classify(write, d.in(t).TailnetSettings().Update(ctx, patch))
}

func (d *driver) Keys(ctx context.Context, t provisioning.Access) ([]provisioning.Key, error) {
	keys, err := d.in(t).Keys().List(ctx, true) // without all, a client sees clients only
	if err != nil {
		return nil, classify(read, err)
	}
	var out []provisioning.Key
	for _, k := range keys {
		if k.KeyType == "auth" && !k.Invalid && k.Revoked.IsZero() {
			out = append(out, provisioning.Key{ID: k.ID, Description: k.Description, Expires: k.Expires})
		}
	}
	return out, nil
}

func (d *driver) CreateKey(ctx context.Context, t provisioning.Access, spec provisioning.KeySpec) (provisioning.Key, error) {
	req := ts.CreateKeyRequest{Description: spec.Description, ExpirySeconds: int64(spec.Expiry / time.Second)}
	do := &req.Capabilities.Devices.Create
	do.Reusable, do.Ephemeral, do.Preauthorized, do.Tags = spec.Reusable, spec.Ephemeral, true, spec.Tags
	k, err := d.in(t).Keys().CreateAuthKey(ctx, req)
	if err != nil {
		return provisioning.Key{}, classify(write, err)
	}
	// Expires is read, not ExpirySeconds: the client puts seconds into nanoseconds.
	return provisioning.Key{ID: k.ID, Description: k.Description, Secret: k.Key, Expires: k.Expires}, nil
}

func (d *driver) RevokeKey(ctx context.Context, t provisioning.Access, keyID string) error {
	err := classify(write, d.in(t).Keys().Delete(ctx, keyID))
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	return err
}

func (d *driver) Users(ctx context.Context, t provisioning.Access) ([]provisioning.User, error) {
	member := ts.UserTypeMember
	users, err := d.in(t).Users().List(ctx, &member, nil)
	if err != nil {
		return nil, classify(read, err)
	}
	out := make([]provisioning.User, len(users))
	for i, u := range users {
		out[i] = provisioning.User{
			ID: u.ID, Created: u.Created.UTC(), LastSeen: u.LastSeen.UTC(), Connected: u.CurrentlyConnected,
			Active: u.Type == ts.UserTypeMember && (u.Status == ts.UserStatusActive || u.Status == ts.UserStatusIdle),
		}
	}
	return out, nil
}

func (d *driver) Devices(ctx context.Context, t provisioning.Access) ([]provisioning.Device, error) {
	devices, err := d.in(t).Devices().List(ctx)
	if err != nil {
		return nil, classify(read, err)
	}
	out := make([]provisioning.Device, len(devices))
	for i, n := range devices {
		out[i] = provisioning.Device{
			ID: n.NodeID, Created: n.Created.UTC(), Tags: n.Tags, Ephemeral: n.IsEphemeral, External: n.IsExternal,
			Waiting: !n.Authorized, Connected: n.ConnectedToControl,
		}
	}
	return out, nil
}
