package tailscale_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	ts "tailscale.com/client/tailscale/v2"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/provisioning"
	"github.com/tailmarket/tailmarket/internal/provisioning/embedded"
	"github.com/tailmarket/tailmarket/internal/provisioning/tailscale"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/store/storetest"
)

// The official client, with its own OAuth type and nothing of ours, is the peer
// that was not written by us.
func TestTheOfficialClientAgainstEmbedded(t *testing.T) {
	t.Parallel()
	h, _, url := start(t, storetest.Open(t, store.SQLite), 0)
	ctx := t.Context()
	made, cred, err := h.Driver(http.DefaultClient).Create(ctx, "tnt-peer")
	if err != nil {
		t.Fatal(err)
	}
	client := func(c provisioning.Credential, scopes ...string) *ts.Client {
		base := must(http.NewRequest(http.MethodGet, url, nil)).URL
		return &ts.Client{BaseURL: base, Auth: &ts.OAuth{ClientID: c.ClientID, ClientSecret: c.Secret, Scopes: scopes}}
	}
	c := client(cred)
	status := func(err error) int {
		var a ts.APIError
		if errors.As(err, &a) && a.Message != "" {
			return a.Status
		}
		return 0
	}

	raw := must(c.PolicyFile().Raw(ctx))
	if !strings.HasPrefix(raw.ETag, `"`) || !strings.HasPrefix(raw.HuJSON, "//") {
		t.Errorf("the policy is %q with ETag %s, want HuJSON and a quoted ETag", raw.HuJSON, raw.ETag)
	}
	owned := `{"tagOwners": {"tag:a": []}, "acls": []}`
	if err := c.PolicyFile().Set(ctx, owned, "ts-default"); err != nil {
		t.Errorf("writing over the untouched default: %v", err)
	}
	if err := c.PolicyFile().Set(ctx, owned, raw.ETag); status(err) != 412 {
		t.Errorf("a stale ETag answered %v, want 412", err)
	}
	if err := c.PolicyFile().Set(ctx, `{"acls": "no"}`, ""); status(err) != 400 {
		t.Errorf("a bad policy answered %v, want 400", err)
	}
	if err := c.PolicyFile().Validate(ctx, `{"acls": "no"}`); err == nil || status(err) != 0 {
		t.Errorf("validation answered %v, want 200 with a complaint", err)
	}
	if err := c.PolicyFile().Validate(ctx, owned); err != nil {
		t.Errorf("validation refused a good policy: %v", err)
	}

	var req ts.CreateKeyRequest
	req.ExpirySeconds, req.Capabilities.Devices.Create.Tags = 3600, []string{"tag:a"}
	key := must(c.Keys().CreateAuthKey(ctx, req))
	// The client puts seconds into nanoseconds; that 3600 arrives shows that seconds were sent.
	if *key.ExpirySeconds != 3600 || key.Expires.Sub(key.Created) != time.Hour || !strings.HasPrefix(key.Key, "tskey-auth-") {
		t.Errorf("the key: %+v", key)
	}
	req.Capabilities.Devices.Create.Tags = []string{"tag:unknown"}
	if _, err := c.Keys().CreateAuthKey(ctx, req); status(err) != 400 {
		t.Errorf("a tag nobody owns answered %v, want 400", err)
	}
	if some, all := must(c.Keys().List(ctx, false)), must(c.Keys().List(ctx, true)); len(some) != 1 || len(all) != 2 {
		t.Errorf("%d keys without all, %d with; want the client, then both", len(some), len(all))
	}
	if err := c.Keys().Delete(ctx, key.ID); err != nil {
		t.Fatal(err)
	}
	if got := must(c.Keys().Get(ctx, key.ID)); !got.Invalid || got.Key != "" {
		t.Errorf("a deleted key answers %+v, want invalid, without its secret", got)
	}

	narrow := must(c.Keys().CreateOAuthClient(ctx, ts.CreateOAuthClientRequest{Scopes: []string{"devices:core:read"}, Tags: []string{"tag:a"}}))
	n := client(provisioning.Credential{ClientID: narrow.ID, Secret: narrow.Key})
	if _, err := n.Devices().List(ctx); err != nil {
		t.Errorf("what its scope allows: %v", err)
	}
	if _, err := n.PolicyFile().Raw(ctx); status(err) != 403 {
		t.Errorf("a missing scope answered %v, want 403", err)
	}
	if err := c.Keys().Delete(ctx, narrow.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Devices().List(ctx); status(err) != 401 {
		t.Errorf("a token of a deleted client answered %v, want 401", err)
	}

	days := 30
	if err := c.TailnetSettings().Update(ctx, ts.UpdateTailnetSettingsRequest{DevicesKeyDurationDays: &days}); err != nil {
		t.Fatal(err)
	}
	if s := must(c.TailnetSettings().Get(ctx)); s.DevicesKeyDurationDays != 30 || s.DevicesApprovalOn {
		t.Errorf("settings after a partial change: %+v", s)
	}
	days = 181
	if err := c.TailnetSettings().Update(ctx, ts.UpdateTailnetSettingsRequest{DevicesKeyDurationDays: &days}); status(err) != 400 {
		t.Errorf("181 days answered %v, want 400", err)
	}

	for node, ephemeral := range map[string]bool{"lasting": false, "passing": true} {
		if err := h.World.AddNode(ctx, made, node, ephemeral, "tag:a"); err != nil {
			t.Fatal(err)
		}
	}
	passing := must(c.Devices().List(ctx, ts.WithFields(ts.IncludeFieldsAll), ts.WithFilter("isEphemeral", []string{"true"})))
	if len(passing) != 1 || passing[0].NodeID != "passing" || !passing[0].ConnectedToControl || passing[0].LastSeen != nil {
		t.Errorf("the filter answered %+v", passing)
	}
	if err := c.Devices().SetAuthorized(ctx, "passing", false); err != nil {
		t.Fatal(err)
	}
	if d := must(c.Devices().Get(ctx, "passing")); d.Authorized {
		t.Error("it is still authorized")
	}
	if err := c.Devices().Delete(ctx, "passing"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Devices().Get(ctx, "passing"); !ts.IsNotFound(err) {
		t.Errorf("a deleted device answered %v", err)
	}

	other, _, err := h.Driver(http.DefaultClient).Create(ctx, "tnt-other")
	if err != nil {
		t.Fatal(err)
	}
	c = client(cred)
	c.Tailnet = other.ID
	if _, err := c.PolicyFile().Raw(ctx); status(err) != 404 {
		t.Errorf("another tailnet answered %v, want 404", err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestEmbeddedSaysItCarriesNoTraffic(t *testing.T) {
	t.Parallel()
	_, _, url := start(t, storetest.Open(t, store.SQLite), 0)
	res := must(http.Get(url + "/api/v2/tailnet/-/devices"))
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusUnauthorized || res.Header.Get(embedded.Header) != "no" || !embedded.Capabilities().Dry {
		t.Errorf("%d, %s: %q", res.StatusCode, embedded.Header, res.Header.Get(embedded.Header))
	}
}

func TestTheControlRefusesBrowsersAndBadKeys(t *testing.T) {
	t.Parallel()
	h, _, url := start(t, storetest.Open(t, store.SQLite), 0)
	r, _, err := h.Driver(http.DefaultClient).Create(t.Context(), "tnt-control")
	if err != nil {
		t.Fatal(err)
	}
	post := func(set func(*http.Request)) int {
		req := must(http.NewRequest(http.MethodPost, url+"/sim/users", strings.NewReader(`{"tailnet": "tnt_control", "id": "ann"}`)))
		set(req)
		res := must(http.DefaultClient.Do(req))
		defer func() { _ = res.Body.Close() }()
		return res.StatusCode
	}
	if got := post(func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") }); got != 403 {
		t.Errorf("a page answered %d, want 403", got)
	}
	if got := post(func(r *http.Request) { r.Host = "evil.example" }); got != 403 {
		t.Errorf("a rebound name answered %d, want 403", got)
	}
	for range 2 { // our own id is understood, and a repeat is harmless
		if got := post(func(*http.Request) {}); got != 200 {
			t.Errorf("a program answered %d, want 200", got)
		}
	}
	if err := h.World.Join(t.Context(), r, "n", "tskey-auth-wrong"); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("a wrong key answered %v, want 403", err)
	}
	for range 2 {
		if err := h.World.RemoveUser(t.Context(), r, "ann"); err != nil {
			t.Errorf("leaving twice: %v", err)
		}
	}
	if got := post(func(*http.Request) {}); got != 409 {
		t.Errorf("an id that left answered %d, want 409", got)
	}
}

func TestAFullQuotaIsParkedForTheOperator(t *testing.T) {
	t.Parallel()
	h, _, _ := start(t, storetest.Open(t, store.SQLite), 1)
	d := h.Driver(http.DefaultClient)
	if _, _, err := d.Create(t.Context(), "tnt-first"); err != nil {
		t.Fatal(err)
	}
	_, _, err := d.Create(t.Context(), "tnt-second")
	b, ok := errors.AsType[*provisioning.Blocked](err)
	if !ok || !b.Quota || !strings.Contains(b.Who, "operator") {
		t.Errorf("got %v", err)
	}
}

type answers func(*http.Request) (*http.Response, error)

func (f answers) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestWhatAnAnswerMeans(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		status      int
		body        string
		read, write fault.Class
	}{
		"a gateway's page":     {502, "<html>bad gateway</html>", fault.Unavailable, fault.Unsure},
		"throttled":            {429, `{"message":"slow down"}`, fault.Throttled, fault.Throttled},
		"changed meanwhile":    {412, `{"message":"precondition failed"}`, fault.Conflict, fault.Conflict},
		"forbidden":            {403, `{"message":"no"}`, fault.Denied, fault.Denied},
		"not there":            {404, `404 page not found`, fault.NotFound, fault.NotFound},
		"invalid":              {400, `{"message":"no"}`, fault.Invalid, fault.Invalid},
		"no answer":            {0, "", fault.Unavailable, fault.Unsure},
		"a redirect, as empty": {304, "", "", ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hc := &http.Client{Transport: answers(func(r *http.Request) (*http.Response, error) {
				if strings.HasSuffix(r.URL.Path, "/oauth/token") {
					return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(`{"access_token":"t","expires_in":3600}`)), Header: http.Header{}}, nil
				}
				if c.status == 0 {
					return nil, errors.New("connection reset")
				}
				return &http.Response{StatusCode: c.status, Body: io.NopCloser(strings.NewReader(c.body)), Header: http.Header{"Retry-After": {"7"}}}, nil
			})}
			d := must(tailscale.Config{BaseURL: "http://127.0.0.1:1", ClientID: "k", ClientSecret: "s"}.Open(hc, time.Now))
			at := provisioning.Access{Remote: provisioning.Remote{ID: "T1"}, Credential: provisioning.Credential{ClientID: "c", Secret: "s"}}
			_, err := d.Devices(context.Background(), at)
			if err == nil || fault.ClassOf(err) != c.read {
				t.Errorf("reading: %v is %q, want %q", err, fault.ClassOf(err), c.read)
			}
			if f, ok := errors.AsType[*fault.Error](err); ok && c.status == 429 && f.RetryAfter != 7*time.Second {
				t.Errorf("it asked for 7 s, kept was %s", f.RetryAfter)
			}
			if err := d.PutPolicy(context.Background(), at, provisioning.Policy{Text: "{}", ETag: "x"}); err == nil || fault.ClassOf(err) != c.write {
				t.Errorf("writing: %v is %q, want %q", err, fault.ClassOf(err), c.write)
			}
		})
	}
}
