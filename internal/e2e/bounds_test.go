package e2e

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/simulator"
	"github.com/tailmarket/tailmarket/internal/store"
)

// nasty are texts on which databases, logs and pages have opinions of their own.
var nasty = map[string]string{
	"NUL": "a\x00b", "half a rune": "a\xffb", "a lone surrogate": "a\xed\xa0\x80b", "SQL": "'; DROP TABLE due; --", "a pattern": "%_\\", "markup": "<script>alert(1)</script>",
	"newlines": "a\r\nX-Evil: 1\r\n", "a path": "../../etc/passwd", "long": strings.Repeat("é", 200), "far too long": incompressible(9000), "a direction": "a\u202eb",
}

// incompressible is text that no database makes small enough for an index.
func incompressible(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%x", sha256.Sum256([]byte{byte(i), byte(i >> 8)}))
	}
	return b.String()[:n]
}

// Nothing that a marketplace, a buyer or a program may send is answered as our
// own trouble: 5xx would be sent again for ever, and a queue would never drain.
func TestNastyTextIsNobodysTrouble(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, engine store.Engine) {
		s := open(t, engine, simulator.Options{Weather: simulator.WeatherGood}, silent)
		_, p := s.active()
		send := s.queue()
		webForm := []string{"Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin", "Accept", "text/html"}
		token, err := s.sim.Token("buyer-1")
		if err != nil {
			t.Fatal(err)
		}
		claim := s.do(http.MethodPost, "/aws/register", form("x-amzn-marketplace-token", token, "x-amzn-marketplace-offer-type", "a\x00b"), webForm...).header.Get("Location")
		if !strings.HasPrefix(claim, "/claim/") {
			t.Fatalf("no claim: %q", claim)
		}
		fine := func(what string, got answer) {
			t.Helper()
			if got.status >= 500 || got.status == 0 {
				t.Errorf("%s: %d %s", what, got.status, got.body)
			}
		}
		for name, text := range nasty {
			escaped := strings.Trim(string(mustJSON(t, text)), `"`) // NUL as backslash u0000
			path := form("", text)[1:]
			// Messages, with the text wherever it may stand.
			for _, place := range []string{"id", "detail-type", "source", "account", "time", "agreement.id", "acceptor.accountId", "proposer.accountId", "offer.id", "product.code", "product.id", "license.arn", "agreement.startTime"} {
				mark := "PLACE"
				if place == "license.arn" {
					mark = "arn:aws:license-manager::294406891311:license:l-PLACE"
				}
				body := licensed(s.sim, fmt.Sprintf("n-%s-%s", place, name), func(e, d map[string]any) {
					group, field, nested := strings.Cut(place, ".")
					if !nested {
						e[place] = mark
						return
					}
					inner, _ := d[group].(map[string]any)
					inner[field] = mark
				})
				for form, value := range map[string]string{"escaped": escaped, "raw": text} {
					got := s.genuine(strings.ReplaceAll(body, "PLACE", value))
					if got.status != http.StatusOK {
						t.Errorf("event with %s %s in %s: %d %s", form, name, place, got.status, got.body)
					}
				}
				if place == "id" || place == "license.arn" {
					send(strings.ReplaceAll(body, "PLACE", escaped))
				}
			}
			// Usage: every event has an answer of its own.
			batch := fmt.Sprintf(`[{"specversion":"1.0","id":"%[1]s","source":"e2e","type":"tailmarket.usage.v1","subject":"%[2]s","time":"%[4]s","data":{"meter":"api_request","quantity":"1"}},
				{"specversion":"1.0","id":"s-%[3]d","source":"%[1]s","type":"tailmarket.usage.v1","subject":"%[2]s","time":"%[4]s","data":{"meter":"api_request","quantity":"1"}},
				{"specversion":"1.0","id":"b-%[3]d","source":"e2e","type":"tailmarket.usage.v1","subject":"%[1]s","time":"%[4]s","data":{"meter":"api_request","quantity":"1"}},
				{"specversion":"1.0","id":"m-%[3]d","source":"e2e","type":"tailmarket.usage.v1","subject":"%[2]s","time":"%[4]s","data":{"meter":"%[1]s","quantity":"1"}},
				{"specversion":"1.0","id":"q-%[3]d","source":"e2e","type":"tailmarket.usage.v1","subject":"%[2]s","time":"%[4]s","data":{"meter":"api_request","quantity":"%[1]s"}},
				{"specversion":"1.0","id":"o-%[3]d","source":"e2e","type":"tailmarket.usage.v1","subject":"%[2]s","time":"%[4]s","data":{"meter":"active_user","quantity":"1","of":"%[1]s"}},
				{"specversion":"1.0","id":"c-%[3]d","source":"e2e","type":"tailmarket.usage.v1","subject":"%[2]s","time":"%[4]s","data":{"meter":"api_request","quantity":"1","corrects":{"source":"%[1]s","id":"%[1]s"}}},
				{"specversion":"1.0","id":"last-%[3]d","source":"e2e","type":"tailmarket.usage.v1","subject":"%[2]s","time":"%[4]s","data":{"meter":"api_request","quantity":"1"}}]`, escaped, p.ID, len(name), s.sim.Now().Format(time.RFC3339))
			got := s.call(http.MethodPost, "/v1/usage", cloudBatch, []byte(batch))
			var results struct {
				Results []struct{ Outcome, Detail string }
			}
			if err := json.Unmarshal([]byte(got.body), &results); err != nil || got.status != http.StatusMultiStatus || len(results.Results) != 8 || results.Results[7].Outcome != "accepted" && results.Results[7].Outcome != "duplicate" {
				t.Errorf("usage with %s: %d %s", name, got.status, got.body)
			}
			fine("raw usage with "+name, s.call(http.MethodPost, "/v1/usage", cloudBatch, []byte(strings.ReplaceAll(batch, escaped, text))))
			// Pages and questions.
			fine("e-mail "+name, s.do(http.MethodPost, claim+"/email", form("email", text+"@company.example"), webForm...))
			fine("invite "+name, s.do(http.MethodPost, claim+"/invite", form("email", "b@"+text+".example"), webForm...))
			fine("token "+name, s.do(http.MethodPost, "/aws/register", form("x-amzn-marketplace-token", text), webForm...))
			for _, u := range []string{
				"/v1/subscriptions?marketplace=aws&purchase=" + path, "/v1/subscriptions?marketplace=" + path, "/v1/subscriptions?product=" + path, "/v1/subscriptions?after=" + path,
				"/v1/subscriptions/" + path, "/v1/subscriptions/" + path + "/story", "/v1/subscriptions/" + path + "/hours", "/v1/outbox?after=" + path, "/v1/quarantine/deliveries?after=" + path,
				"/v1/findings?after=" + path, "/v1/products/" + path, "/claim/" + path, "/verify/" + path, "/purchases/" + path,
			} {
				fine(u, s.call(http.MethodGet, u, "", nil))
			}
			fine("replay "+name, s.call(http.MethodPost, "/v1/quarantine/deliveries/"+path+"/replay", "", nil))
			fine("go live "+name, s.call(http.MethodPost, "/v1/products/"+path+"/go-live", "application/json", mustJSON(t, map[string]string{"from": text})))
		}
		s.eventually("the queue is drained", func() bool { return s.sim.Rest().Queue == 0 })
		s.advance(2 * time.Hour)
		var ledger struct {
			Broken   int `json:"conservation_broken"`
			Problems []string
		}
		if s.get("/v1/conservation", &ledger); ledger.Broken != 0 {
			t.Errorf("conservation: %+v", ledger)
		}
		var stuck struct {
			Items []struct{ Kind, Subject, Error string }
		}
		if s.get("/v1/stuck", &stuck); len(stuck.Items) != 0 {
			t.Errorf("stuck: %+v", stuck.Items)
		}
	})
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// The limits that are set are those that hold, at every door, and whatever is
// refused is a problem document that names the request.
func TestSetLimitsHold(t *testing.T) {
	t.Parallel()
	s := open(t, store.SQLite, simulator.Options{Weather: simulator.WeatherGood}, silent,
		"TAILMARKET_LIMITS_BODY_BYTES=4KiB", "TAILMARKET_LIMITS_USAGE_BODY_BYTES=16KiB", "TAILMARKET_LIMITS_HEADER_TIMEOUT=300ms", "TAILMARKET_LIMITS_REQUEST_TIMEOUT=5s")
	header, secret := s.sim.EventKey()
	bearer := []string{"Authorization", "Bearer " + s.key}
	for name, c := range map[string]struct {
		method, path, body string
		header             []string
		status             int
		kind               string
	}{
		"an event over the limit":        {"POST", "/aws/events", strings.Repeat("a", 5<<10), []string{header, secret}, 413, "too_large"},
		"a registration over the limit":  {"POST", "/aws/register", strings.Repeat("a", 5<<10), []string{"Content-Type", "application/x-www-form-urlencoded"}, 413, "too_large"},
		"usage over the limit":           {"POST", "/v1/usage", strings.Repeat(" ", 17<<10), append(bearer, "Content-Type", cloudBatch), 413, "too_large"},
		"usage of another content type":  {"POST", "/v1/usage", "[]", append(bearer, "Content-Type", "text/plain"), 400, "invalid"},
		"a form of another content type": {"POST", "/aws/register", "{}", []string{"Content-Type", "application/json"}, 415, "unsupported_media_type"},
		"an unknown address":             {"GET", "/v1/nothing", "", bearer, 404, "not_found"},
		"an unknown page":                {"GET", "/nowhere", "", nil, 404, "not_found"},
		"an unknown method":              {"DELETE", "/v1/usage", "", bearer, 405, "method_not_allowed"},
		"metrics on the public side":     {"GET", "/metrics", "", nil, 404, "not_found"},
		"profiles on the public side":    {"GET", "/debug/pprof/", "", nil, 404, "not_found"},
		"no key":                         {"GET", "/v1/stuck", "", nil, 401, "not_authentic"},
	} {
		got := s.do(c.method, c.path, c.body, c.header...)
		if p := got.problem(t); got.status != c.status || p.Type != "urn:tailmarket:problem:"+c.kind {
			t.Errorf("%s: %d %+v", name, got.status, p)
		}
	}
	if got := s.do("POST", "/v1/usage", "["+strings.Repeat(" ", 10<<10)+"]", append(bearer, "Content-Type", cloudBatch)...); got.status != http.StatusOK {
		t.Errorf("usage within the limit: %d %s", got.status, got.body)
	}
	if c := s.counts(); c.Received != 0 {
		t.Errorf("kept %+v", c)
	}
	c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(patience)) // only so that a failure does not hang
	if _, err := io.WriteString(c, "POST /aws/events HTTP/1.1\r\nHost: x\r\nX-Slow: "); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(c); err != nil { // ends when the server cuts
		t.Errorf("slow headers were not cut: %v", err)
	}
}
