package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/tailmarket/tailmarket/internal/catalog"
	"github.com/tailmarket/tailmarket/internal/simulator"
	"github.com/tailmarket/tailmarket/internal/store"
)

// licensed is EventBridge's message that a licence was granted, changed by edit.
func licensed(sim *simulator.Simulator, id string, edit func(event, detail map[string]any)) string {
	p := sim.Options().Products[0]
	detail := map[string]any{
		"catalog":   "AWSMarketplace",
		"agreement": map[string]any{"id": "agmt-of-" + id}, "acceptor": map[string]any{"accountId": "210987654321"},
		"proposer": map[string]any{"accountId": sim.Options().SellerAccount}, "offer": map[string]any{"id": "offer-1"},
		"product": map[string]any{"code": p.Code, "id": p.ID},
		"license": map[string]any{"arn": "arn:aws:license-manager::294406891311:license:l-" + id},
	}
	event := map[string]any{
		"version": "0", "id": id, "detail-type": "License Updated - Manufacturer", "source": "aws.agreement-marketplace",
		"account": sim.Options().SellerAccount, "time": sim.Now().Format(time.RFC3339), "region": "us-east-1", "resources": []string{}, "detail": detail,
	}
	if edit != nil {
		edit(event, detail)
	}
	raw, err := json.Marshal(event)
	if err != nil {
		panic(err) // maps of text
	}
	return string(raw)
}

// Who does not know the API destination's key gets 401 and leaves nothing but
// one more in a counter; the same message with the key is taken.
func TestAForgedDeliveryLeavesOnlyACounter(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, engine store.Engine) {
		s := open(t, engine, simulator.Options{Weather: simulator.WeatherGood}, silent)
		_, key := s.sim.EventKey()
		body := licensed(s.sim, "ev-1", nil)
		before, purchases := s.counts(), len(s.purchases())
		for name, wrong := range map[string]string{"no key": "", "another key": strings.Repeat("x", len(key)), "half a key": key[:len(key)/2], "more than the key": key + "x"} {
			got := s.event(body, wrong)
			if p := got.problem(t); got.status != http.StatusUnauthorized || p.Type != "urn:tailmarket:problem:not_authentic" {
				t.Errorf("%s: %d %+v", name, got.status, p)
			}
		}
		if got := s.counts(); got != before {
			t.Errorf("deliveries were %+v and are %+v", before, got)
		}
		if q := s.quarantine(); len(q) != 0 {
			t.Errorf("kept in quarantine: %+v", q)
		}
		if n := len(s.purchases()); n != purchases {
			t.Errorf("%d purchases came of forged messages", n-purchases)
		}
		if forged, taken := s.answers(401), s.answers(200); forged != 4 || taken != 0 {
			t.Errorf("counted %d of 4 forged and %d taken", forged, taken)
		}
		if got := s.event(body, key); got.status != http.StatusOK || got.body != "" {
			t.Fatalf("the same with the key: %d %s", got.status, got.body)
		}
		if c, forged, taken := s.counts(), s.answers(401), s.answers(200); c.Received != before.Received+1 || c.Quarantined != 0 || forged != 4 || taken != 1 {
			t.Errorf("afterwards %+v, %d forged, %d taken", c, forged, taken)
		}
	})
}

// The queue's policy is what makes its messages genuine; what is not about us
// waits for a person, says why, and does not stop the queue.
func TestForeignQueueMessagesAreQuarantined(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, engine store.Engine) {
		s := open(t, engine, simulator.Options{Weather: simulator.WeatherGood}, silent)
		send := s.queue()
		foreign := map[string]string{
			`source "aws.ec2"`:       licensed(s.sim, "q-1", func(e, _ map[string]any) { e["source"] = "aws.ec2" }),
			`account "999988887777"`: licensed(s.sim, "q-2", func(e, _ map[string]any) { e["account"] = "999988887777" }),
			`product "somebody-els`:  licensed(s.sim, "q-3", func(_, d map[string]any) { d["product"] = map[string]any{"code": "somebody-elses"} }),
			"not an EventBridge":     "hello",
		}
		for _, body := range foreign {
			send(body)
			send(body) // a queue repeats itself
		}
		send(licensed(s.sim, "q-5", nil))
		s.eventually("the queue is drained", func() bool { return s.sim.Rest().Queue == 0 })
		if deleted := s.sim.Rest().Totals.Deleted; deleted != 9 {
			t.Errorf("%d of 9 messages were deleted", deleted)
		}
		q := s.quarantine()
		if len(q) != len(foreign) {
			t.Fatalf("in quarantine: %+v", q)
		}
		for why := range foreign {
			found := 0
			for _, k := range q {
				if strings.Contains(k.Reason, why) && k.Channel == "sqs" && k.Copies >= 1 {
					found++
				}
			}
			if found != 1 {
				t.Errorf("nothing in quarantine says %s: %+v", why, q)
			}
		}
		// A queue may show a message again before it was deleted.
		if c := s.counts(); c.Received < 9 || c != (counts{Received: c.Received, Duplicates: c.Received - 5, Quarantined: 4}) {
			t.Errorf("deliveries %+v", c)
		}
		for _, p := range s.purchases() {
			if !strings.HasSuffix(p.Purchase, ":l-q-5") {
				t.Errorf("a purchase came of a foreign message: %+v", p)
			}
		}
		// It stays while its cause stays, and says so to whoever tries.
		for _, k := range q {
			got := s.call(http.MethodPost, "/v1/quarantine/deliveries/"+k.ID+"/replay", "", nil)
			if p := got.problem(t); got.status/100 != 4 || got.status == http.StatusUnauthorized || p.Detail == "" {
				t.Errorf("replay of %s: %d %+v", k.Reason, got.status, p)
			}
		}
		if after := s.quarantine(); len(after) != len(q) {
			t.Errorf("after replaying in vain: %+v", after)
		}
	})
}

// queue returns what puts a body on the simulator's queue, as anybody may whom
// its policy lets.
func (s *shop) queue() func(body string) {
	s.t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.sim.CAPEM())
	c := sqs.New(sqs.Options{
		Region: "us-east-1", BaseEndpoint: awssdk.String(s.sim.AWSURL()), Credentials: credentials.NewStaticCredentialsProvider("AKIDSENDER", "sender", ""),
		HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}},
	})
	return func(body string) {
		s.t.Helper()
		_, err := c.SendMessage(context.Background(), &sqs.SendMessageInput{QueueUrl: awssdk.String(s.sim.QueueURL()), MessageBody: awssdk.String(body)})
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

// A genuine message that cannot be read is answered like a success, because
// sending it again would not help; it waits where an operator sees it and is
// applied once what was wrong here has been put right.
func TestAnUnreadableDeliveryWaitsAndIsReplayed(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, engine store.Engine) {
		s := open(t, engine, simulator.Options{Weather: simulator.WeatherGood}, silent)
		ours := s.sim.Options().SellerAccount
		cases := map[string]string{
			"an unknown type": licensed(s.sim, "u-1", func(e, _ map[string]any) { e["detail-type"] = "License Teleported - Manufacturer" }),
			"no licence":      licensed(s.sim, "u-2", func(_, d map[string]any) { delete(d, "license") }),
			"not an event":    `{"hello":"world"}`,
			// The operator set the wrong seller account: the message is right and we are not.
			"another account": licensed(s.sim, "u-4", func(e, _ map[string]any) { e["account"] = "444455556666" }),
			// The listing is not in the catalog yet.
			"another product": licensed(s.sim, "u-5", func(_, d map[string]any) {
				d["product"] = map[string]any{"code": "code-of-tomorrow", "id": "prod-tomorrow"}
			}),
		}
		waiting := map[string]string{} // case → delivery
		for name, body := range cases {
			for range 2 { // AWS repeats itself
				if got := s.genuine(body); got.status != http.StatusOK {
					t.Fatalf("%s: %d %s", name, got.status, got.body)
				}
			}
			for _, k := range s.quarantine() {
				if _, known := waiting[k.ID]; !known && k.Reason != "" && k.Channel == "https" && k.Copies == 1 {
					waiting[k.ID] = name
				}
			}
		}
		if c := s.counts(); len(waiting) != len(cases) || c != (counts{Received: 10, Duplicates: 5, Quarantined: 5}) {
			t.Fatalf("in quarantine %v, deliveries %+v", waiting, c)
		}
		if n := len(s.purchases()); n != 0 {
			t.Fatalf("%d purchases were guessed", n)
		}

		replay := func() (applied []string) {
			for id, name := range waiting {
				got := s.call(http.MethodPost, "/v1/quarantine/deliveries/"+id+"/replay", "", nil)
				if got.status == http.StatusNoContent {
					applied = append(applied, name)
					continue
				}
				if p := got.problem(t); got.status/100 != 4 || got.status == http.StatusUnauthorized || p.Detail == "" {
					t.Errorf("replay of %s: %d %+v", name, got.status, p)
				}
			}
			return applied
		}
		if applied := replay(); len(applied) != 0 {
			t.Errorf("nothing was mended, and applied were %v", applied)
		}
		if q := s.quarantine(); len(q) != len(cases) {
			t.Errorf("replaying in vain left %+v", q)
		}

		// The operator corrects the catalog, then the account for a moment.
		restart := func(more ...string) {
			if err := s.stop(); err != nil {
				t.Fatal(err)
			}
			env := s.env
			s.env = append(append([]string(nil), env...), more...)
			s.start()
			s.env = env
		}
		s.sells("code-of-tomorrow", "prod-tomorrow")
		if applied := replay(); len(applied) != 1 || applied[0] != "another product" {
			t.Errorf("with the catalog mended, applied were %v", applied)
		}
		s.applies(filepath.Join("..", "catalog", "catalog.yaml"), catalog.Default().Version) // and back
		restart("TAILMARKET_AWS_SELLER_ACCOUNT=444455556666")
		if applied := replay(); len(applied) != 2 { // with the one before: once applied, it stays so
			t.Errorf("with the account mended, applied were %v", applied)
		}
		restart("TAILMARKET_AWS_SELLER_ACCOUNT=" + ours)
		left := s.quarantine()
		got := map[string]bool{}
		for _, p := range s.purchases() {
			got[p.Purchase[strings.LastIndexByte(p.Purchase, ':')+1:]] = true
		}
		if len(left) != 3 || len(got) != 2 || !got["l-u-4"] || !got["l-u-5"] {
			t.Errorf("left %+v, purchases %v", left, got)
		}
	})
}

// A registration that cannot be one gets help a person can follow, and nothing
// is kept of it.
func TestABadRegistrationGetsHelpAndIsNotKept(t *testing.T) {
	t.Parallel()
	s := open(t, store.SQLite, simulator.Options{Weather: simulator.WeatherGood, Channel: simulator.ChannelSQS}, silent, "TAILMARKET_LIMITS_BODY_BYTES=16KiB")
	b, err := s.sim.Buy(t.Context(), simulator.Purchase{Habits: &simulator.Habits{Absent: true}})
	if err != nil {
		t.Fatal(err)
	}
	stale, err := s.sim.Token(b.ID)
	if err != nil {
		t.Fatal(err)
	}
	s.advance(10 * time.Hour) // far over a token's life
	before, known := s.counts(), len(s.purchases())

	browser := []string{"Content-Type", "application/x-www-form-urlencoded", "Accept", "text/html", "Origin", "https://aws.amazon.com", "Sec-Fetch-Site", "cross-site"}
	const field = "x-amzn-marketplace-token"
	for name, c := range map[string]struct {
		body   string
		status int
		says   string
	}{
		"made up":       {form(field, "not-a-token"), 400, "Set up your account"},
		"empty":         {form(field, ""), 400, "Set up your account"},
		"none":          {form("other", "x"), 400, "Set up your account"},
		"far too long":  {form(field, strings.Repeat("a", 9<<10)), 400, "Set up your account"},
		"expired":       {form(field, stale), 410, "Set up your account"},
		"not a form":    {"x-amzn-marketplace-token=%zz", 400, "cannot be read"},
		"over the size": {form(field, strings.Repeat("a", 17<<10)), 413, "large"},
	} {
		got := s.do(http.MethodPost, "/aws/register", c.body, browser...)
		if got.status != c.status || !strings.Contains(got.body, c.says) || !strings.HasPrefix(got.header.Get("Content-Type"), "text/html") || len(got.header["Set-Cookie"]) != 0 {
			t.Errorf("%s: %d %v %s", name, got.status, got.header, got.body)
		}
		if strings.Contains(got.body, stale) {
			t.Errorf("%s: the page quotes the token", name)
		}
	}
	if help := s.do(http.MethodGet, "/aws/register", "", browser...); help.status != http.StatusOK || !strings.Contains(help.body, "Set up your account") {
		t.Errorf("a plain visit: %d %s", help.status, help.body)
	}
	if after, n := s.counts(), len(s.purchases()); after != before || n != known || len(s.quarantine()) != 0 {
		t.Errorf("kept: deliveries %+v, were %+v; %d purchases, were %d", after, before, n, known)
	}
	var outbox struct{ Items []any }
	if s.get("/v1/outbox", &outbox); len(outbox.Items) != 0 {
		t.Errorf("mail was written: %v", outbox.Items)
	}
	// The same door opens for a good one.
	fresh, err := s.sim.Token(b.ID)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.do(http.MethodPost, "/aws/register", form(field, fresh), browser...); got.status != http.StatusSeeOther || !strings.HasPrefix(got.header.Get("Location"), "/claim/") {
		t.Errorf("a good token: %d %s", got.status, got.header.Get("Location"))
	}
}
