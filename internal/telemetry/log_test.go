package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/telemetry"
)

func TestIdsTravelInTheContext(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := telemetry.NewLogger(&out, "json", slog.LevelInfo).With(telemetry.Marketplace, "aws")
	ctx := telemetry.WithDelivery(telemetry.WithRequest(t.Context(), "req-1"), id.Delivery("dlv_1"))
	log.DebugContext(ctx, "not shown")
	log.InfoContext(ctx, "delivery kept", telemetry.Count, 3, "at", time.Unix(0, 0).UTC(), "took", time.Second)
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%v in %s", err, &out)
	}
	want := map[string]any{
		"level": "INFO", "msg": "delivery kept", "request_id": "req-1", "delivery_id": "dlv_1", "marketplace": "aws", "count": 3.0,
		"at": "1970-01-01T00:00:00Z", "took": 1e9,
	}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s is %v, want %v", name, got[name], value)
		}
	}
}

// secret is what must never be printed; the test greps for it.
const secret = "hunter2hunter2"

type loud struct{ Inner string }

func (l loud) Error() string  { return "refused " + l.Inner }
func (l loud) String() string { return l.Inner }

type valuer struct{}

func (valuer) LogValue() slog.Value { return slog.GroupValue(slog.String("join_key", secret)) }

func TestNoSecretReachesALog(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"text", "json"} {
		var out bytes.Buffer
		log := telemetry.NewLogger(&out, format, slog.LevelDebug)
		ctx := context.Background()
		for _, name := range []string{
			"token", "authorization", "Authorization", "email", "body", "key", "secret", "join_key", "JoinKey", "x-api-key",
			"password", "set-cookie", "raw.payload", "signature", "credentials", "accessKeyID",
		} {
			log.InfoContext(ctx, "fed", name, secret)
			log.With(name, secret).InfoContext(ctx, "fed")
			log.WithGroup(name).InfoContext(ctx, "fed", "a", secret)
			log.InfoContext(ctx, "fed", slog.Group(name, "inner", secret))
			log.InfoContext(ctx, "fed", name, []byte(secret), name, 4711)
		}
		for _, text := range []string{
			"dial postgres://me:" + secret + "@db/x: refused",
			"mail to " + secret + "@example.co.uk bounced",
			"header Authorization: Bearer " + secret,
			"POST /?x-amzn-marketplace-token=" + secret + "&a=b",
			`{"accessToken": "` + secret + `"}`,
			"host=db password=" + secret + " user=me",
		} {
			err := errors.New(text)
			log.InfoContext(ctx, text)
			log.InfoContext(ctx, "fed", "detail", text, telemetry.Error, err, "wrapped", fmt.Errorf("send: %w", err))
			log.InfoContext(ctx, "fed", "list", []string{text}, "a stringer", loud{text}, "a pointer", &loud{text})
		}
		log.InfoContext(ctx, "fed",
			"struct", struct{ Plain string }{secret}, "map", map[string]string{"a": secret}, "bytes", []byte(secret),
			"header", http.Header{"X-Api-Key": {secret}}, "form", url.Values{"t": {secret}}, "raw", json.RawMessage(secret),
			"valuer", valuer{}, "request", &http.Request{Header: http.Header{"Cookie": {secret}}})
		if out.Len() == 0 {
			t.Fatal("nothing was logged")
		}
		for line := range strings.Lines(out.String()) {
			if strings.Contains(line, secret) || strings.Contains(line, "4711") {
				t.Errorf("%s: a secret is logged: %s", format, line)
			}
		}
	}
}

func TestWhatIsNoSecretStaysReadable(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := telemetry.NewLogger(&out, "text", slog.LevelInfo)
	for _, text := range []string{
		"open /data/tailmarket.db: permission denied",
		"verify token: signature does not match",
		"get http://127.0.0.1:8080/healthz: EOF",
		"module example.com/a/b@v1.2.3",
		"arn:aws:license-manager::123456789012:license:l-0123",
	} {
		out.Reset()
		log.Info("failed", telemetry.Error, errors.New(text))
		if !strings.Contains(out.String(), text) {
			t.Errorf("%q became %s", text, &out)
		}
	}
}
