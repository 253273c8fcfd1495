package azure_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

func TestBothVersionsOfATokenAreGenuine(t *testing.T) {
	t.Parallel()
	o := open(t)
	o.answer("GET "+onOp, http.StatusOK, operation)
	a := o.adapter()
	for _, version := range []string{"1.0", "2.0"} {
		for _, scheme := range []string{"Bearer ", "bearer "} {
			d := o.deliver(webhook, scheme+o.sign(o.claims(version), nil, 0, "key-1"))
			v, err := a.Verify(t.Context(), d)
			if err != nil {
				t.Fatalf("version %s: %v", version, err)
			}
			want := marketplace.Verified{Delivery: d, ID: op, Kind: "ChangePlan", SentAt: time.Date(2026, 11, 20, 18, 48, 58, 444993700, time.UTC)}
			if diff := cmp.Diff(want, v); diff != "" {
				t.Errorf("version %s (-want +got):\n%s", version, diff)
			}
		}
	}
	if n := o.count("GET /keys"); n != 2 {
		t.Errorf("the keys were fetched %d times, want once for each version", n)
	}
}

func TestATokenThatIsNotMicrosoftsForUsIsForged(t *testing.T) {
	t.Parallel()
	o := open(t)
	o.answer("GET "+onOp, http.StatusOK, operation)
	a := o.adapter()
	v1, v2 := o.claims("1.0"), o.claims("2.0")
	good := o.sign(v2, nil, 0, "key-1")
	head, rest, _ := strings.Cut(good, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	for why, authorization := range map[string]string{
		"nothing":                     "",
		"no scheme":                   good,
		"another scheme":              "Basic " + good,
		"no token":                    "Bearer ",
		"no JWT":                      "Bearer x.y.z",
		"unsigned":                    "Bearer eyJhbGciOiJub25lIn0." + payload + ".",
		"signature of nothing":        "Bearer " + head + "." + payload + ".",
		"another signature":           "Bearer " + head + "." + payload + "." + strings.ToUpper(signature),
		"other claims":                "Bearer " + head + ".e30." + signature,
		"another key under that id":   "Bearer " + o.sign(v2, nil, 1, "key-1"),
		"a key nobody published":      "Bearer " + o.sign(v2, nil, 1, "key-9"),
		"no key id":                   "Bearer " + o.sign(v2, nil, 0, ""),
		"another audience":            "Bearer " + o.sign(v2, map[string]any{"aud": microsoft}, 0, "key-1"),
		"another directory":           "Bearer " + o.sign(v2, map[string]any{"tid": buyer}, 0, "key-1"),
		"no directory":                "Bearer " + o.sign(v2, map[string]any{"tid": nil}, 0, "key-1"),
		"another issuer":              "Bearer " + o.sign(v2, map[string]any{"iss": o.issuer("/v2.0") + "/"}, 0, "key-1"),
		"the issuer of version 1":     "Bearer " + o.sign(v2, map[string]any{"iss": o.issuer("")}, 0, "key-1"),
		"another caller":              "Bearer " + o.sign(v2, map[string]any{"azp": app}, 0, "key-1"),
		"the wrong id of old samples": "Bearer " + o.sign(v2, map[string]any{"azp": "62d94f6c-d599-489b-a797-3e10e42fbe22"}, 0, "key-1"),
		"no caller":                   "Bearer " + o.sign(v1, map[string]any{"appid": nil}, 0, "key-1"),
		"version 1's caller in 2":     "Bearer " + o.sign(v2, map[string]any{"azp": nil, "appid": microsoft}, 0, "key-1"),
		"no version":                  "Bearer " + o.sign(v2, map[string]any{"ver": nil}, 0, "key-1"),
		"expired":                     "Bearer " + o.sign(v2, map[string]any{"exp": now.Add(-3 * time.Minute).Unix()}, 0, "key-1"),
		"not yet":                     "Bearer " + o.sign(v2, map[string]any{"nbf": now.Add(6 * time.Minute).Unix()}, 0, "key-1"),
	} {
		_, err := a.Verify(t.Context(), o.deliver(webhook, authorization))
		if !fault.Is(err, fault.Forged) {
			t.Errorf("%s: error %v, want forged", why, err)
		}
		if err != nil && strings.Contains(err.Error(), good) {
			t.Errorf("%s: the error repeats the token", why)
		}
	}
	if n := o.count(""); n != 0 {
		t.Errorf("a forged webhook made %d calls of the marketplace", n)
	}
	pulled := o.delivery(webhook)
	pulled.Channel = marketplace.Pull
	if _, err := a.Verify(t.Context(), pulled); !fault.Is(err, fault.Forged) {
		t.Errorf("pulled: error %v, want forged", err)
	}
	for why, change := range map[string]map[string]any{
		"just expired": {"exp": now.Add(-time.Minute).Unix()}, "nearly valid": {"nbf": now.Add(time.Minute).Unix()},
	} {
		if _, err := a.Verify(t.Context(), o.deliver(webhook, "Bearer "+o.sign(v2, change, 0, "key-1"))); err != nil {
			t.Errorf("%s, inside the skew of two clocks: %v", why, err)
		}
	}
}

func TestKeysAreRotatedAndForgotten(t *testing.T) {
	t.Parallel()
	o := open(t)
	o.answer("GET "+onOp, http.StatusOK, operation)
	clock := now
	a := o.at(func() time.Time { return clock })
	verify := func(key int, id string) error {
		t.Helper()
		life := map[string]any{"iat": clock.Unix(), "nbf": clock.Unix(), "exp": clock.Add(time.Hour).Unix()}
		_, err := a.Verify(t.Context(), o.deliver(webhook, "Bearer "+o.sign(o.claims("2.0"), life, key, id)))
		return err
	}
	if err := verify(0, "key-1"); err != nil {
		t.Fatal(err)
	}
	o.publish("key-1", "key-2")
	if err := verify(1, "key-2"); err != nil {
		t.Errorf("a new key, without a pause: %v", err)
	}
	if n := o.count("GET /keys"); n != 2 {
		t.Errorf("the keys were fetched %d times, want 2", n)
	}
	o.publish("key-1")
	clock = clock.Add(25 * time.Hour)
	if err := verify(1, "key-2"); !fault.Is(err, fault.Forged) {
		t.Errorf("a key that was taken back yesterday: %v, want forged", err)
	}

	before := o.count("GET /keys")
	for n := range 60 {
		switch err := verify(0, "invented-"+strconv.Itoa(n)); fault.ClassOf(err) {
		case fault.Forged:
		case fault.Unavailable:
			if n < 10 {
				t.Errorf("after %d unknown keys: %v", n, err)
			}
		default:
			t.Fatalf("an invented key: %v", err)
		}
	}
	if n := o.count("GET /keys") - before; n > 20 {
		t.Errorf("60 invented keys made %d fetches", n)
	}
	if err := verify(0, "invented"); !fault.Is(err, fault.Unavailable) {
		t.Errorf("an unknown key that nobody may ask for: %v, want unavailable: it may be a new one", err)
	}
	if err := verify(0, "key-1"); err != nil {
		t.Errorf("a known key meanwhile: %v", err)
	}

	clock = clock.Add(10 * time.Minute)
	o.answer("GET /keys", http.StatusBadGateway, "")
	if err := verify(1, "key-2"); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a new key, and a directory in trouble: %v, want unavailable", err)
	}
	if err := verify(0, "key-1"); err != nil {
		t.Errorf("a known key, and a directory in trouble: %v", err)
	}
}

func TestADirectoryThatCannotBeAskedForgesNothing(t *testing.T) {
	t.Parallel()
	discovery := "GET /" + tenant + "/v2.0/.well-known/openid-configuration"
	for why, set := range map[string]func(*office){
		"trouble": func(o *office) { o.answer(discovery, http.StatusServiceUnavailable, "") },
		"no JSON": func(o *office) { o.answer(discovery, http.StatusOK, "<html>") },
		"another tenant": func(o *office) {
			o.answer(discovery, http.StatusOK, map[string]string{"issuer": o.srv.URL, "jwks_uri": o.srv.URL + "/keys"})
		},
		"keys in the open": func(o *office) {
			o.answer(discovery, http.StatusOK, map[string]string{"issuer": o.issuer("/v2.0"), "jwks_uri": "http://127.0.0.1/keys"})
		},
		"no keys":       func(o *office) { o.answer("GET /keys", http.StatusOK, `{"keys":[]}`) },
		"keys' trouble": func(o *office) { o.answer("GET /keys", http.StatusInternalServerError, "") },
	} {
		t.Run(why, func(t *testing.T) {
			t.Parallel()
			o := open(t)
			set(o)
			_, err := o.adapter().Verify(t.Context(), o.delivery(webhook))
			if !fault.Is(err, fault.Unavailable) {
				t.Errorf("error %v, want unavailable", err)
			}
		})
	}
}

// TestWhatAWebhookSaysIsAsked: the token does not cover the body, so the API is
// the witness; "" is forged, and 4xx must never follow from trouble.
func TestWhatAWebhookSaysIsAsked(t *testing.T) {
	t.Parallel()
	type object = map[string]any
	kind := func(k string) string { return k }
	for _, c := range []struct {
		why     string
		body    any
		op, sub object // nil: 404
		status  int    // of the operation's answer, when not 200
		want    string // kind, or the class of the error
		asked   int    // calls
	}{
		{why: "as it says", body: webhook, op: operation, want: "ChangePlan", asked: 1},
		{why: "in another spelling", body: with(webhook, object{"action": "changeplan"}), op: operation, want: "ChangePlan", asked: 1},
		{why: "accepted by silence", body: webhook, op: with(operation, object{"status": "Succeeded"}), want: "ChangePlan, Succeeded", asked: 1},
		{why: "refused before", body: webhook, op: with(operation, object{"status": "Failed"}), want: "ChangePlan, Failed", asked: 1},
		{why: "same as before", body: webhook, op: with(operation, object{"status": " Conflict "}), want: "ChangePlan, Conflict", asked: 1},
		{why: "begun by us", body: webhook, op: with(operation, object{"operationRequestSource": "Partner"}), want: "ChangePlan, ours", asked: 1},
		{why: "no status", body: webhook, op: with(operation, object{"status": nil}), want: "ChangePlan, not confirmed", asked: 1},
		{why: "another plan", body: webhook, op: with(operation, object{"planId": "starter"}), want: "forged", asked: 1},
		{why: "another action", body: webhook, op: with(operation, object{"action": "Unsubscribe"}), want: "forged", asked: 1},
		{why: "another subscription", body: webhook, op: with(operation, object{"subscriptionId": op}), want: "forged", asked: 1},
		{why: "no such operation", body: webhook, want: "forged", asked: 1},
		{why: "no such operation, as the live API says it", body: webhook, status: http.StatusBadRequest, want: "forged", asked: 1},
		{why: "a change without an id", body: with(webhook, object{"id": ""}), want: "forged"},
		{why: "throttled", body: webhook, status: http.StatusTooManyRequests, want: "unavailable", asked: 1},
		{why: "their trouble", body: webhook, status: http.StatusInternalServerError, want: "unavailable", asked: 1},
		{why: "not for our app", body: webhook, status: http.StatusForbidden, want: "unavailable", asked: 1},
		{
			why: "seats", body: with(webhook, object{"action": "ChangeQuantity", "planId": "starter", "quantity": 10}),
			op: with(operation, object{"action": "ChangeQuantity", "planId": "starter", "quantity": "10"}), want: "ChangeQuantity", asked: 1,
		},
		{
			why: "other seats", body: with(webhook, object{"action": "ChangeQuantity", "planId": "starter", "quantity": 10}),
			op: with(operation, object{"action": "ChangeQuantity", "planId": "starter", "quantity": 12}), want: "forged", asked: 1,
		},
		{
			why: "seats that are not said", body: object{"id": op, "subscriptionId": sub, "action": "ChangeQuantity", "timeStamp": "2026-11-20T18:48:58Z"},
			op: with(operation, object{"action": "ChangeQuantity", "quantity": 12}), want: "ChangeQuantity", asked: 1,
		},
		{why: "an end", body: with(webhook, object{"action": "Unsubscribe"}), op: with(operation, object{"action": "Unsubscribe", "status": "Succeeded"}), want: "Unsubscribe", asked: 1},
		{why: "an end that is another's operation", body: with(webhook, object{"action": "Unsubscribe"}), op: operation, want: "forged", asked: 1},
		{
			why: "an end without an operation", body: with(webhook, object{"action": "Unsubscribe"}), status: http.StatusBadRequest,
			sub: with(subscription, object{"saasSubscriptionStatus": "Unsubscribed"}), want: "Unsubscribe", asked: 2,
		},
		{why: "an end that the subscription does not know", body: with(webhook, object{"action": "Unsubscribe"}), sub: subscription, want: "Unsubscribe, not confirmed", asked: 2},
		{why: "suspended", body: with(webhook, object{"action": "Suspend"}), sub: with(subscription, object{"saasSubscriptionStatus": " Suspended "}), want: "Suspend", asked: 2},
		{why: "of a subscription nobody knows", body: with(webhook, object{"action": "Suspend"}), want: "Suspend, not confirmed", asked: 2},
		{why: "the old Reinstate", body: object{"subscriptionId": sub, "operationType": "Reinstate"}, sub: subscription, want: "Reinstate", asked: 1},
		{why: "a word nobody knows", body: with(webhook, object{"action": "Transfer"}), want: "Transfer"},
		{why: "another offer", body: with(webhook, object{"offerId": "other"}), want: "unreadable"},
		{why: "another publisher", body: with(webhook, object{"publisherId": "other"}), want: "unreadable"},
		{why: "no subscription", body: with(webhook, object{"subscriptionId": nil}), want: "unreadable"},
		{why: "a path for a subscription", body: with(webhook, object{"subscriptionId": "../x"}), want: "unreadable"},
		{why: "a path for an id", body: with(webhook, object{"id": "../x"}), want: "unreadable"},
		{why: "no action", body: with(webhook, object{"action": ""}), want: "unreadable"},
		{why: "no JSON", body: "nothing", want: "unreadable"},
		{why: "null", body: "null", want: "unreadable"},
	} {
		t.Run(c.why, func(t *testing.T) {
			t.Parallel()
			o := open(t)
			switch {
			case c.status != 0:
				o.answer("GET "+onOp, c.status, `{"message":"no"}`)
			case c.op != nil:
				o.answer("GET "+onOp, http.StatusOK, c.op)
			}
			if c.sub != nil {
				o.answer("GET "+onSub, http.StatusOK, c.sub)
			}
			v, err := o.adapter().Verify(t.Context(), o.delivery(c.body))
			got := kind(v.Kind)
			if err != nil {
				got = string(fault.ClassOf(err))
			}
			if got != c.want {
				t.Errorf("got %q (%v), want %q", got, err, c.want)
			}
			if n := o.count(""); n != c.asked {
				t.Errorf("%d calls, want %d", n, c.asked)
			}
			if err == nil && (v.ID == "" || v.SentAt.IsZero()) {
				t.Errorf("verified without id or time: %q %s", v.ID, v.SentAt)
			}
		})
	}
}
