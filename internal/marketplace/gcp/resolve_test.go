package gcp_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

const second = "b7d7b3d0-0000-4000-8000-000000000002"

func named(id string) string { return "providers/" + provider + "/entitlements/" + id }

func (g *google) signUpToken(t testing.TB, change map[string]any) marketplace.Token {
	return marketplace.Token{Value: signed(t, keyPair(t, 1), jose.RS256, "key-1", with(signUpClaims(), change))}
}

// TestResolve: the token names the account, the API its purchases.
func TestResolve(t *testing.T) {
	t.Parallel()
	g := open(t)
	a := g.adapter(t)
	first := marketplace.Ref{Purchase: entitlement, Account: account, Product: product}
	other := marketplace.Ref{Purchase: second, Account: account, Product: "minutes"}
	listed := []string{
		entity(map[string]any{"state": "ENTITLEMENT_ACTIVATION_REQUESTED", "usageReportingId": nil}),
		entity(map[string]any{"name": named(second), "productExternalName": "minutes.endpoints.tailvendor-public.cloud.goog", "orderId": "order-2"}),
		entity(map[string]any{"name": named("over"), "state": "ENTITLEMENT_CANCELLED"}),
		entity(map[string]any{"name": named("anothers"), "account": "providers/" + provider + "/accounts/somebody"}),
		entity(map[string]any{"name": named("unlisted"), "productExternalName": "another.endpoints.tailvendor-public.cloud.goog"}),
	}
	for name, c := range map[string]struct {
		change map[string]any
		listed []string
		want   marketplace.Arrival
	}{
		"every purchase that is not over": {nil, listed, marketplace.Arrival{Account: account, Person: "108200000000000000001", Purchases: []marketplace.Ref{first, other}}},
		"an older token names no person":  {map[string]any{"google": nil}, listed, marketplace.Arrival{Account: account, Purchases: []marketplace.Ref{first, other}}},
		"none yet":                        {map[string]any{"google": nil}, nil, marketplace.Arrival{Account: account}},
		"a second audience":               {map[string]any{"google": nil, "aud": "signup2.tailvendor.example"}, nil, marketplace.Arrival{Account: account}},
		"the order it is about, by id": {
			map[string]any{"google": map[string]any{"orders": []any{second}}}, listed, marketplace.Arrival{Account: account, Purchases: []marketplace.Ref{other}},
		},
		"the order it is about, as an object": {
			map[string]any{"google": map[string]any{"orders": []any{7, map[string]any{"orderId": "order-2"}, map[string]any{}}}}, listed, marketplace.Arrival{Account: account, Purchases: []marketplace.Ref{other}},
		},
		"an order nobody knows": {
			map[string]any{"google": map[string]any{"orders": []any{"order-9"}}}, listed, marketplace.Arrival{Account: account, Purchases: []marketplace.Ref{first, other}},
		},
		"orders in no form we know": {
			map[string]any{"google": map[string]any{"orders": "order-2"}}, listed, marketplace.Arrival{Account: account, Purchases: []marketplace.Ref{first, other}},
		},
		"an account of the older form": {map[string]any{"google": nil, "sub": "E-1234-5678-9ABC-DEF0"}, nil, marketplace.Arrival{Account: "E-1234-5678-9ABC-DEF0"}},
		"a little late":                {map[string]any{"google": nil, "exp": noon.Add(-59 * time.Second).Unix()}, nil, marketplace.Arrival{Account: account}},
	} {
		g.says(200, `{"entitlements":[`+strings.Join(c.listed, ",")+`]}`)
		for range 2 { // it may be resolved again
			got, err := a.Resolve(t.Context(), g.signUpToken(t, c.change))
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s: (-want +got):\n%s", name, diff)
			}
		}
		want := []asked{{"GET", "/v1/providers/" + provider + "/entitlements", "filter=account%3D%22" + c.want.Account + "%22&pageSize=200", ""}}
		if diff := cmp.Diff(append(want, want...), g.calls()); diff != "" {
			t.Errorf("%s: calls (-want +got):\n%s", name, diff)
		}
	}
}

// TestResolveRefuses: a bad token makes no API call, and says what the buyer can do.
func TestResolveRefuses(t *testing.T) {
	t.Parallel()
	g := open(t)
	a := g.adapter(t)
	g.says(200, `{}`)
	genuine := g.signUpToken(t, nil).Value
	parts := strings.Split(genuine, ".")
	cases := map[string]struct {
		token string
		want  fault.Class
	}{
		"nothing":              {"", fault.Invalid},
		"spaces":               {"  ", fault.Invalid},
		"no token":             {"hello", fault.Invalid},
		"two parts":            {parts[0] + "." + parts[1], fault.Invalid},
		"huge":                 {strings.Repeat("a", 17<<10), fault.Invalid},
		"unsigned":             {base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + parts[1] + ".", fault.Invalid},
		"a shared secret":      {signed(t, []byte(strings.Repeat("s", 32)), jose.HS256, "key-1", signUpClaims()), fault.Invalid},
		"the right key, PS256": {signed(t, keyPair(t, 1), jose.PS256, "key-1", signUpClaims()), fault.Invalid},
		"another's key":        {signed(t, keyPair(t, 2), jose.RS256, "key-1", signUpClaims()), fault.Invalid},
		"an unknown key":       {signed(t, keyPair(t, 2), jose.RS256, "key-2", signUpClaims()), fault.Invalid},
		"expired":              {g.signUpToken(t, map[string]any{"exp": noon.Add(-61 * time.Second).Unix()}).Value, fault.Gone},
		"no expiry":            {g.signUpToken(t, map[string]any{"exp": nil}).Value, fault.Gone},
		"expired and not ours": {g.signUpToken(t, map[string]any{"exp": noon.Add(-time.Hour).Unix(), "aud": "another.example"}).Value, fault.Invalid},
		"another audience":     {g.signUpToken(t, map[string]any{"aud": "signup.another.example"}).Value, fault.Invalid},
		"a URL as audience":    {g.signUpToken(t, map[string]any{"aud": "https://" + signUpDomain}).Value, fault.Invalid},
		"two audiences":        {g.signUpToken(t, map[string]any{"aud": []string{signUpDomain, "another.example"}}).Value, fault.Invalid},
		"no audience":          {g.signUpToken(t, map[string]any{"aud": nil}).Value, fault.Invalid},
		"another issuer":       {g.signUpToken(t, map[string]any{"iss": g.URL + "/robot/v1/metadata/x509/attacker@system.gserviceaccount.com"}).Value, fault.Invalid},
		"no account":           {g.signUpToken(t, map[string]any{"sub": ""}).Value, fault.Invalid},
		"a path as account":    {g.signUpToken(t, map[string]any{"sub": account + "/../x"}).Value, fault.Invalid},
		"a push's token":       {g.pushToken(t, nil), fault.Invalid},
	}
	for name, c := range cases {
		got, err := a.Resolve(t.Context(), marketplace.Token{Value: c.token})
		f := asFault(err)
		if f == nil || f.Class != c.want || f.Public == "" {
			t.Errorf("%s: %+v, error %v of class %q, want %q and a text", name, got, err, fault.ClassOf(err), c.want)
		}
		if err != nil && len(c.token) > 20 && strings.Contains(err.Error(), c.token) {
			t.Errorf("%s: the error repeats the token", name)
		}
	}
	if calls := g.calls(); len(calls) > 0 {
		t.Errorf("calls %+v", calls)
	}
}

// TestResolveTrouble: what is Google's trouble is not the buyer's.
func TestResolveTrouble(t *testing.T) {
	t.Parallel()
	g := open(t)
	a := g.adapter(t)
	for status, want := range map[int]fault.Class{500: fault.Unavailable, 429: fault.Throttled, 403: fault.Unavailable} {
		g.says(status, refusal(status, "X"))
		if _, err := a.Resolve(t.Context(), g.signUpToken(t, nil)); !fault.Is(err, want) || asFault(err).Public == "" {
			t.Errorf("%s: %v of class %q, want %q", http.StatusText(status), err, fault.ClassOf(err), want)
		}
	}
	g.set(func() { g.keysDown, g.now = true, g.now.Add(24*time.Hour) })
	late := g.signUpToken(t, map[string]any{"exp": noon.Add(25 * time.Hour).Unix()})
	if _, err := a.Resolve(t.Context(), late); !fault.Is(err, fault.Unavailable) || asFault(err).Public == "" {
		t.Errorf("keys away: %v of class %q", err, fault.ClassOf(err))
	}
}
