package gcp_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

const active = `{"eventId":"e-1","eventType":"ENTITLEMENT_ACTIVE","providerId":"` + provider + `","entitlement":{"id":"` + entitlement + `","updateTime":"2026-11-20T09:15:03.4Z"}}`

// push is a message as Pub/Sub pushes it.
func push(t testing.TB, token, data string, change map[string]any) marketplace.Delivery {
	t.Helper()
	at := "2026-11-23T11:59:00.5Z"
	body := with(map[string]any{
		"message": map[string]any{
			"data": base64.StdEncoding.EncodeToString([]byte(data)), "attributes": map[string]any{}, "messageId": "1", "message_id": "1", "publishTime": at, "publish_time": at,
		},
		"subscription": subscription,
	}, change)
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return marketplace.Delivery{
		Marketplace: marketplace.GCP, Channel: marketplace.HTTPS, Header: map[string]string{"authorization": "Bearer " + token}, Body: text, Source: "/gcp/events",
	}
}

func (g *google) pushToken(t testing.TB, change map[string]any) string {
	return signed(t, keyPair(t, 1), jose.RS256, "key-1", with(pushClaims(), change))
}

// TestVerifyPush: who sends is told by the token alone.
func TestVerifyPush(t *testing.T) {
	t.Parallel()
	g := open(t)
	a := g.adapter(t)
	v, err := a.Verify(t.Context(), push(t, g.pushToken(t, nil), active, nil))
	if err != nil {
		t.Fatal(err)
	}
	if want := "ENTITLEMENT_ACTIVE|e-1|" + entitlement; v.ID != want || v.Kind != "ENTITLEMENT_ACTIVE" || v.Signed || string(v.Content) != active {
		t.Errorf("verified %q %q, signed %v, content %s", v.ID, v.Kind, v.Signed, v.Content)
	}
	if want := time.Date(2026, 11, 23, 11, 59, 0, 500_000_000, time.UTC); !v.SentAt.Equal(want) {
		t.Errorf("sent at %s, want %s", v.SentAt, want)
	}
	good := map[string]map[string]any{
		"an issuer without scheme": {"iss": "accounts.google.com"},
		"a minute late":            {"exp": noon.Add(-59 * time.Second).Unix()},
		"claims nobody reads":      {"azp": "another", "sub": "another"},
	}
	for name, change := range good {
		if _, err := a.Verify(t.Context(), push(t, g.pushToken(t, change), active, nil)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	bad := map[string]map[string]any{
		"another issuer":            {"iss": "https://accounts.google.com.attacker.example"},
		"no issuer":                 {"iss": nil},
		"another audience":          {"aud": "https://attacker.example"},
		"no audience":               {"aud": nil},
		"several audiences":         {"aud": []string{pushAudience, "https://attacker.example"}},
		"expired":                   {"exp": noon.Add(-61 * time.Second).Unix()},
		"no expiry":                 {"exp": nil},
		"another account":           {"email": "pubsub-push@attacker.iam.gserviceaccount.com"},
		"no account":                {"email": nil},
		"an account not verified":   {"email_verified": false},
		"nothing said of that":      {"email_verified": nil},
		"a text where a yes is due": {"email_verified": "true"},
		"not valid yet":             {"nbf": noon.Add(time.Hour).Unix()},
	}
	for name, change := range bad {
		if _, err := a.Verify(t.Context(), push(t, g.pushToken(t, change), active, nil)); !fault.Is(err, fault.Forged) {
			t.Errorf("%s: %v of class %q, want forged", name, err, fault.ClassOf(err))
		}
	}
	header := func(value string) marketplace.Delivery {
		d := push(t, "", active, nil)
		d.Header = map[string]string{"authorization": value}
		return d
	}
	genuine := g.pushToken(t, nil)
	parts := strings.Split(genuine, ".")
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"key-1"}`)) + "." + parts[1] + "."
	elsewhere := push(t, genuine, active, nil)
	elsewhere.Channel = marketplace.SQS
	otherPull := fromQueue([]byte(active))
	otherPull.Source = "projects/attacker/subscriptions/marketplace"
	deliveries := map[string]marketplace.Delivery{
		"no token":                      header(""),
		"a scheme alone":                header("Bearer "),
		"another scheme":                header("Basic " + genuine),
		"no token at all":               header("Bearer x.y.z"),
		"a huge token":                  header("Bearer " + strings.Repeat("a", 20<<10)),
		"unsigned":                      header("Bearer " + unsigned),
		"another signature":             header("Bearer " + parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2]))),
		"another payload":               header("Bearer " + parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{}`)) + "." + parts[2]),
		"another's key under our id":    header("Bearer " + signed(t, keyPair(t, 2), jose.RS256, "key-1", pushClaims())),
		"a key nobody published":        header("Bearer " + signed(t, keyPair(t, 2), jose.RS256, "key-2", pushClaims())),
		"no key id":                     header("Bearer " + signed(t, keyPair(t, 1), jose.RS256, "", pushClaims())),
		"the right key, another way":    header("Bearer " + signed(t, keyPair(t, 1), jose.PS256, "key-1", pushClaims())),
		"a shared secret":               header("Bearer " + signed(t, []byte(strings.Repeat("s", 32)), jose.HS256, "key-1", pushClaims())),
		"a sign-up token":               header("Bearer " + signed(t, keyPair(t, 1), jose.RS256, "key-1", signUpClaims())),
		"a queue that Google has not":   elsewhere,
		"a subscription we do not pull": otherPull,
	}
	for name, d := range deliveries {
		if _, err := a.Verify(t.Context(), d); !fault.Is(err, fault.Forged) {
			t.Errorf("%s: %v of class %q, want forged", name, err, fault.ClassOf(err))
		}
	}
	c := settings()
	c.Endpoint, c.PushSubscription, c.PushAudience, c.PushAccount = g.URL, "", "", ""
	if _, err := g.reopen(t, c).Verify(t.Context(), push(t, genuine, active, nil)); !fault.Is(err, fault.Forged) {
		t.Errorf("without a push subscription: %v", err)
	}
}

// TestVerifyWhileKeysAreAway: a token that cannot be checked is not forged.
func TestVerifyWhileKeysAreAway(t *testing.T) {
	t.Parallel()
	g := open(t)
	a := g.adapter(t)
	g.set(func() { g.keysDown = true })
	d := push(t, g.pushToken(t, nil), active, nil)
	for _, d := range []marketplace.Delivery{d, push(t, signed(t, keyPair(t, 2), jose.RS256, "key-2", pushClaims()), active, nil)} {
		if _, err := a.Verify(t.Context(), d); !fault.Is(err, fault.Unavailable) {
			t.Errorf("keys away: %v of class %q, want unavailable", err, fault.ClassOf(err))
		}
	}
	g.set(func() { g.keysDown = false })
	if _, err := a.Verify(t.Context(), d); err != nil {
		t.Errorf("keys back: %v", err)
	}
}

// TestKeysAreKept: as long as Google says. An id nobody knows is asked for at once, for keys change
// without notice, but not for ever; and who may not ask does not call it forged.
func TestKeysAreKept(t *testing.T) {
	t.Parallel()
	g := open(t)
	a := g.adapter(t)
	try := func(key int, id string) error {
		claims := with(pushClaims(), map[string]any{"exp": noon.Add(48 * time.Hour).Unix()})
		_, err := a.Verify(t.Context(), push(t, signed(t, keyPair(t, key), jose.RS256, id, claims), active, nil))
		return err
	}
	fetched := func(why string, want int) {
		t.Helper()
		n := 0
		if g.set(func() { n = g.fetches }); n != want {
			t.Errorf("%s: %d fetches, want %d", why, n, want)
		}
	}
	var many sync.WaitGroup
	for range 20 {
		many.Go(func() {
			if err := try(1, "key-1"); err != nil {
				t.Error(err)
			}
		})
	}
	many.Wait()
	fetched("twenty at once", 1)
	g.set(func() { g.keys["key-2"] = keyPair(t, 2) })
	if err := try(2, "key-2"); err != nil {
		t.Errorf("a new key, at once: %v", err)
	}
	fetched("a new key", 2)
	for range 18 {
		if err := try(2, "key-3"); !fault.Is(err, fault.Forged) {
			t.Fatal(err)
		}
	}
	fetched("a key nobody has", 20)
	for range 18 {
		if err := try(2, "key-3"); !fault.Is(err, fault.Unavailable) {
			t.Fatalf("not asked any more: %v of class %q", err, fault.ClassOf(err))
		}
	}
	if err := try(1, "key-1"); err != nil {
		t.Errorf("a known key meanwhile: %v", err)
	}
	fetched("too often", 20)
	g.set(func() { g.now = g.now.Add(5 * time.Minute) })
	if err := try(2, "key-3"); !fault.Is(err, fault.Forged) {
		t.Error(err)
	}
	g.set(func() { g.now = g.now.Add(5 * time.Hour); delete(g.keys, "key-1") })
	if err := try(1, "key-1"); err != nil {
		t.Errorf("still kept: %v", err)
	}
	fetched("within max-age", 21)
	g.set(func() { g.now, g.maxAge = g.now.Add(time.Hour), "" })
	if err := try(1, "key-1"); !fault.Is(err, fault.Forged) {
		t.Errorf("a withdrawn key, after max-age: %v", err)
	}
	fetched("after max-age", 22)
	g.set(func() { g.now = g.now.Add(4 * time.Minute) })
	if err := try(2, "key-2"); err != nil {
		t.Error(err)
	}
	fetched("no word on how long", 22)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	g.set(func() { g.now = g.now.Add(time.Hour) })
	if _, err := a.Verify(ctx, push(t, g.pushToken(t, map[string]any{"exp": noon.Add(48 * time.Hour).Unix()}), active, nil)); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a request that is over: %v of class %q", err, fault.ClassOf(err))
	}
}

// TestPushes: what is wrapped is unwrapped, and what is not for us is said to be so.
func TestPushes(t *testing.T) {
	t.Parallel()
	g := open(t)
	a := g.adapter(t)
	token := g.pushToken(t, nil)
	verify := func(d marketplace.Delivery) (marketplace.Verified, error) { return a.Verify(t.Context(), d) }

	first, err := verify(push(t, token, active, nil))
	if err != nil {
		t.Fatal(err)
	}
	again, err := verify(push(t, token, active, map[string]any{"deliveryAttempt": 5}))
	if err != nil {
		t.Fatal(err)
	}
	if first.ID != again.ID || string(first.Content) != string(again.Content) || string(first.Delivery.Body) == string(again.Delivery.Body) {
		t.Errorf("a redelivery is another message: %q %q", first.ID, again.ID)
	}
	pull, err := verify(fromQueue([]byte(active)))
	if err != nil || pull.ID != first.ID || pull.Content != nil || !pull.SentAt.Equal(time.Date(2026, 11, 20, 9, 15, 3, 400_000_000, time.UTC)) {
		t.Errorf("pulled: %q, content %s, sent %s, error %v", pull.ID, pull.Content, pull.SentAt, err)
	}
	bare := push(t, token, active, nil)
	bare.Body = []byte(active)
	if v, err := verify(bare); err != nil || v.ID != first.ID || v.Content != nil {
		t.Errorf("without wrapper: %q, error %v", v.ID, err)
	}
	created := strings.Replace(active, "ENTITLEMENT_ACTIVE", "ENTITLEMENT_CREATION_REQUESTED", 1)
	if v, err := verify(push(t, token, created, nil)); err != nil || v.ID == first.ID {
		t.Errorf("another type under the same event id: %q, error %v", v.ID, err)
	}
	for name, d := range map[string]marketplace.Delivery{
		"another subscription": push(t, token, active, map[string]any{"subscription": "projects/tailvendor-prod/subscriptions/another"}),
		"no subscription":      push(t, token, active, map[string]any{"subscription": nil}),
		"no data":              push(t, token, "", nil),
		"data that is no JSON": push(t, token, "hello", nil),
		"data that is a list":  push(t, token, "[]", nil),
		"no base64":            push(t, token, "", map[string]any{"message": map[string]any{"data": "%%%"}}),
		"a message of text":    push(t, token, "", map[string]any{"message": "hello"}),
	} {
		if _, err := verify(d); !fault.Is(err, fault.Unreadable) || asFault(err).Public == "" {
			t.Errorf("%s: %v of class %q, want unreadable and a text", name, err, fault.ClassOf(err))
		}
	}
}

// TestTranslateLongAfter: replaying needs no token and no clock.
func TestTranslateLongAfter(t *testing.T) {
	t.Parallel()
	g := open(t)
	a := g.adapter(t)
	v, err := a.Verify(t.Context(), push(t, g.pushToken(t, nil), active, nil))
	if err != nil {
		t.Fatal(err)
	}
	g.set(func() { g.now, g.keysDown = g.now.AddDate(1, 0, 0), true })
	v = marketplace.Verified{Delivery: v.Delivery, ID: v.ID, Kind: v.Kind, SentAt: v.SentAt} // as intake makes it from what it kept
	v.Delivery.Header = nil
	got, err := a.Translate(v)
	if err != nil || len(got) != 1 || got[0].Kind != marketplace.Entitled || got[0].Ref != (marketplace.Ref{Purchase: entitlement}) || got[0].MessageID != v.ID {
		t.Errorf("%+v %v", got, err)
	}
}

// TestWhenItEnds: an entitlement that is being cancelled need not have changed yet, and so its
// update time is no end; the one of a cancelled one is.
func TestWhenItEnds(t *testing.T) {
	t.Parallel()
	g := open(t)
	a := g.adapter(t)
	sent, updated := instant("2026-11-23T11:59:00.5Z"), instant("2026-11-20T09:15:03.4Z")
	for word, want := range map[string]time.Time{"CANCELLING": sent, "CANCELLED": updated, "ACTIVE": updated, "DELETED": updated} {
		v, err := a.Verify(t.Context(), push(t, g.pushToken(t, nil), strings.Replace(active, "ENTITLEMENT_ACTIVE", "ENTITLEMENT_"+word, 1), nil))
		if err != nil {
			t.Fatal(err)
		}
		got, err := a.Translate(v)
		if err != nil || !got[0].At.Equal(want) || !got[0].Version.Equal(want) {
			t.Errorf("%s: %+v %v, want %s", word, got, err, want)
		}
	}
}
