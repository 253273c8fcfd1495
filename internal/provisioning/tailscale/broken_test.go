package tailscale_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/tailmarket/tailmarket/internal/provisioning"
	"github.com/tailmarket/tailmarket/internal/provisioning/provisioningtest"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/store/storetest"
)

// Drivers broken on purpose, each in one way that would cost money or a network.
type (
	blindWriter    struct{ provisioning.Driver } // replaces a policy whatever it has become
	forgetful      struct{ provisioning.Driver } // does not find what it made
	keyKeeper      struct{ provisioning.Driver } // says a key is revoked and leaves it
	emptyDeny      struct{ provisioning.Driver } // leaves out an empty list, as the client's ACL type does
	deaf           struct{ provisioning.Driver } // shows nobody
	ephemeralBlind struct{ provisioning.Driver } // takes every node for a lasting one
)

func (d blindWriter) PutPolicy(ctx context.Context, t provisioning.Access, p provisioning.Policy) error {
	now, err := d.Policy(ctx, t)
	if err != nil {
		return err
	}
	p.ETag = now.ETag
	return d.Driver.PutPolicy(ctx, t, p)
}

func (d forgetful) Find(context.Context, string) (provisioning.Remote, bool, error) {
	return provisioning.Remote{}, false, nil
}

func (d keyKeeper) RevokeKey(context.Context, provisioning.Access, string) error { return nil }

func (d emptyDeny) PutPolicy(ctx context.Context, t provisioning.Access, p provisioning.Policy) error {
	if p.Text == fmt.Sprintf("{\n  \"tagOwners\": {\n    %q: [\n      \"autogroup:admin\"\n    ]\n  },\n  \"acls\": []\n}\n", provisioning.ClientTag) {
		p.Text = "{}"
	}
	return d.Driver.PutPolicy(ctx, t, p)
}

func (d deaf) Devices(context.Context, provisioning.Access) ([]provisioning.Device, error) {
	return nil, nil
}

func (d ephemeralBlind) Devices(ctx context.Context, t provisioning.Access) ([]provisioning.Device, error) {
	out, err := d.Driver.Devices(ctx, t)
	for i := range out {
		out[i].Ephemeral = false
	}
	return out, err
}

func TestTheSuiteFailsBrokenDrivers(t *testing.T) {
	t.Parallel()
	checks := map[string]provisioningtest.Check{}
	for _, c := range provisioningtest.Checks() {
		checks[c.Name] = c
	}
	cases := map[string]struct {
		breaks func(provisioning.Driver) provisioning.Driver
		caught string
	}{
		"a blind writer": {func(d provisioning.Driver) provisioning.Driver { return blindWriter{d} }, "a policy is replaced only by who has read it"},
		"one that forgets what it made": {
			func(d provisioning.Driver) provisioning.Driver { return forgetful{d} },
			"a run killed at any call to make a tailnet is finished by the next",
		},
		"one that leaves keys":           {func(d provisioning.Driver) provisioning.Driver { return keyKeeper{d} }, "a revocation cuts and takes every key"},
		"one that empties the deny list": {func(d provisioning.Driver) provisioning.Driver { return emptyDeny{d} }, "a revocation cuts and takes every key"},
		"one that sees nobody":           {func(d provisioning.Driver) provisioning.Driver { return deaf{d} }, "what was seen is counted, once, and nothing more"},
		"one blind to ephemeral nodes":   {func(d provisioning.Driver) provisioning.Driver { return ephemeralBlind{d} }, "what was seen is counted, once, and nothing more"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check, ok := checks[c.caught]
			if !ok {
				t.Fatalf("there is no check %q", c.caught)
			}
			err := check.Run(t.Context(), func() provisioningtest.Harness {
				h, _, _ := start(t, storetest.Open(t, store.SQLite), 0)
				whole := h.Driver
				h.Driver = func(hc *http.Client) provisioning.Driver { return c.breaks(whole(hc)) }
				return h
			})
			if err == nil {
				t.Errorf("%q passed it", c.caught)
			}
		})
	}
}
