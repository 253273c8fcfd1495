package config_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tailmarket/tailmarket/internal/config"
)

func TestNoSettingIsNeededToStart(t *testing.T) {
	t.Parallel()
	c, err := config.Load([]string{"HOME=/root", "PATH=/bin", "TAILMARKET_LISTEN="}, "")
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != "127.0.0.1:8080" || c.DatabaseURL.IsSet() || c.RedisURL.IsSet() || c.RedisName != "tailmarket" || c.Replicas != 1 || c.AWS.Enabled() || c.Metering.SweepEvery != 5*time.Minute ||
		c.Limits.UsageBodyBytes != 8<<20 || c.OperatorKeyFile() != "data/operator.key" {
		t.Errorf("defaults: %+v", c)
	}
}

func TestEnvironmentMirrorsTheStruct(t *testing.T) {
	t.Parallel()
	c, err := config.Load([]string{
		"TAILMARKET_PUBLIC_URL=https://sell.example.com/",
		"TAILMARKET_DATABASE_URL=postgres://tm:hunter2@db:5432/tm",
		"TAILMARKET_CLOCK_URL=http://127.0.0.1:9000",
		"TAILMARKET_LOG_LEVEL=debug",
		"TAILMARKET_AWS_SELLER_ACCOUNT=123456789012",
		"TAILMARKET_AWS_EVENT_KEY=0123456789abcdef",
		"TAILMARKET_AWS_ACCESS_KEY_ID=AKIDEXAMPLE",
		"TAILMARKET_AWS_SECRET_ACCESS_KEY=very-secret",
		"TAILMARKET_METERING_BACKOFF_BASE=20ms",
		"TAILMARKET_LIMITS_BODY_BYTES=2MiB",
		"TAILMARKET_TEST_POSTGRES_URL=postgres://ignored",
	}, "")
	if err != nil {
		t.Fatal(err)
	}
	got := []any{
		c.PublicURL, c.DatabaseURL.Reveal(), c.ClockURL, c.LogLevel, c.AWS.SellerAccount, c.AWS.EventKey.Reveal(),
		c.AWS.AccessKeyID, c.AWS.SecretAccessKey.Reveal(), c.Metering.BackoffBase, c.Limits.BodyBytes, c.AWS.Enabled(),
	}
	want := []any{
		"https://sell.example.com", "postgres://tm:hunter2@db:5432/tm", "http://127.0.0.1:9000", slog.LevelDebug,
		"123456789012", "0123456789abcdef", "AKIDEXAMPLE", "very-secret", 20 * time.Millisecond, config.Size(2 << 20), true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestEnvironmentWinsOverTheFile(t *testing.T) {
	t.Parallel()
	secret := write(t, "key", "from-a-file-0123456789\n")
	file := write(t, "tailmarket.yaml", `
# a comment
listen: "127.0.0.1:9090"
log_format: json
aws:
  seller_account: 012345678901
  event_key_file: `+secret+`
  secret_access_key_env: DEPLOY_SECRET
  access_key_id: AKIDEXAMPLE
metering: {sweep_every: 7m}
`)
	c, err := config.Load([]string{"TAILMARKET_CONFIG=" + file, "TAILMARKET_LISTEN=127.0.0.1:7070", "DEPLOY_SECRET=abc"}, "")
	if err != nil {
		t.Fatal(err)
	}
	got := []any{c.Listen, c.LogFormat, c.AWS.SellerAccount, c.AWS.EventKey.Reveal(), c.AWS.SecretAccessKey.Reveal(), c.Metering.SweepEvery}
	want := []any{"127.0.0.1:7070", "json", "012345678901", "from-a-file-0123456789", "abc", 7 * time.Minute}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var out bytes.Buffer
	if err := c.Print(&out); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"TAILMARKET_LISTEN 127.0.0.1:7070 environment", "TAILMARKET_LOG_FORMAT json " + file + ":4", "TAILMARKET_AWS_REGION us-east-1 default"} {
		if !strings.Contains(strings.Join(strings.Fields(out.String()), " "), line) {
			t.Errorf("no line %q in\n%s", line, &out)
		}
	}

	// The same secret from the environment replaces the file's way of giving it.
	c, err = config.Load([]string{"TAILMARKET_AWS_EVENT_KEY=from-the-environment", "DEPLOY_SECRET=abc"}, file)
	if err != nil || c.AWS.EventKey.Reveal() != "from-the-environment" {
		t.Errorf("event key %q, %v", c.AWS.EventKey.Reveal(), err)
	}
}

func TestEveryProblemIsListedAtOnce(t *testing.T) {
	t.Parallel()
	file := write(t, "tailmarket.yaml", `
listen: 127.0.0.1:1
listen: 127.0.0.1:2
nonsense: 3
metering:
  swep_every: 10m
  sweep_every: [1, 2]
aws:
  event_key: plain-in-the-file
`)
	_, err := config.Load([]string{
		"TAILMARKET_LISTNE=1",
		"TAILMARKET_ADMIN_LISTEN=somewhere",
		"TAILMARKET_PUBLIC_URL=sell.example.com",
		"TAILMARKET_CLOCK_URL=http://10.0.0.1:9000",
		"TAILMARKET_DATABASE_URL=mysql://me:hunter2@db/x?password=hunter2",
		"TAILMARKET_REDIS_URL=memcached://me:hunter2@cache:11211",
		"TAILMARKET_REDIS_NAME=two words",
		"TAILMARKET_REPLICAS=0",
		"TAILMARKET_CA_FILE=" + file,
		"TAILMARKET_LOG_LEVEL=loud",
		"TAILMARKET_LOG_FORMAT=xml",
		"TAILMARKET_SMTP_FROM=someone",
		"TAILMARKET_SELLER_SUPPORT=http://help.example.com",
		"TAILMARKET_EMBEDDED_LISTEN=0.0.0.0:0",
		"TAILMARKET_AWS_SELLER_ACCOUNT=12",
		"TAILMARKET_AWS_ENDPOINT=http://simulator.example.com",
		"TAILMARKET_AWS_SECRET_ACCESS_KEY_FILE=/no/such/secret",
		"TAILMARKET_METERING_BACKOFF_MAX=1ms",
		"TAILMARKET_LIMITS_BODY_BYTES=lots",
		"TAILMARKET_LIMITS_REQUEST_TIMEOUT=-1s",
	}, file)
	problems, ok := errors.AsType[config.Problems](err)
	if !ok {
		t.Fatalf("%T %v", err, err)
	}
	var got []string
	for _, p := range problems {
		got = append(got, p.Setting)
		if !strings.ContainsAny(p.Text, ";") && !strings.Contains(p.Text, "write") {
			t.Errorf("%s does not say what would be accepted: %s", p.Setting, p.Text)
		}
	}
	want := []string{
		"TAILMARKET_ADMIN_LISTEN",
		"TAILMARKET_AWS_ENDPOINT",
		"TAILMARKET_AWS_EVENT_KEY",
		"TAILMARKET_AWS_SECRET_ACCESS_KEY_FILE",
		"TAILMARKET_AWS_SELLER_ACCOUNT",
		"TAILMARKET_CA_FILE",
		"TAILMARKET_CLOCK_URL",
		"TAILMARKET_DATABASE_URL",
		"TAILMARKET_EMBEDDED_LISTEN",
		"TAILMARKET_LIMITS_BODY_BYTES",
		"TAILMARKET_LIMITS_REQUEST_TIMEOUT",
		"TAILMARKET_LISTNE",
		"TAILMARKET_LOG_FORMAT",
		"TAILMARKET_LOG_LEVEL",
		"TAILMARKET_METERING_BACKOFF_MAX",
		"TAILMARKET_PUBLIC_URL",
		"TAILMARKET_REDIS_NAME",
		"TAILMARKET_REDIS_URL",
		"TAILMARKET_REPLICAS",
		"TAILMARKET_SELLER_SUPPORT",
		"TAILMARKET_SMTP_ADDR",
		"aws.event_key",
		"listen",
		"metering.sweep_every",
		"metering.swep_every",
		"nonsense",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s\n%v", diff, err)
	}
	text := err.Error()
	for _, advice := range []string{"nearest is TAILMARKET_LISTEN", "nearest is metering.sweep_every", "event_key_file: PATH", file + ":6"} {
		if !strings.Contains(text, advice) {
			t.Errorf("no %q in\n%s", advice, text)
		}
	}
	for _, secret := range []string{"hunter2", "plain-in-the-file"} {
		if strings.Contains(text, secret) {
			t.Errorf("the problems show a secret:\n%s", text)
		}
	}
}

func TestBrokenFilesAreProblemsAndNotShown(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]string{
		"a file that is missing":  "/no/such/file.yaml",
		"a file that is not YAML": write(t, "a.yaml", "aws: {event_key: hunter2\n  ]"),
		"a file that is a list":   write(t, "b.yaml", "- hunter2"),
		"a file with an anchor":   write(t, "c.yaml", "listen: &a hunter2\nlog_format: *a"),
		"a file over a megabyte":  write(t, "d.yaml", "# hunter2"+strings.Repeat("#", 1<<20)),
	} {
		_, err := config.Load(nil, path)
		if _, ok := errors.AsType[config.Problems](err); !ok {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s is quoted: %v", name, err)
		}
	}
	if _, err := config.Load(nil, write(t, "empty.yaml", "")); err != nil {
		t.Errorf("an empty file: %v", err)
	}
}

func TestASecretIsGivenOneWay(t *testing.T) {
	t.Parallel()
	_, err := config.Load([]string{
		"TAILMARKET_DATABASE_URL=postgres://a/b", "TAILMARKET_DATABASE_URL_FILE=" + write(t, "db", "postgres://c/d"),
	}, "")
	if err == nil || !strings.Contains(err.Error(), "more than one way") {
		t.Errorf("two ways: %v", err)
	}
	_, err = config.Load([]string{"TAILMARKET_DATABASE_URL_ENV=NOT_THERE"}, "")
	if err == nil || !strings.Contains(err.Error(), "NOT_THERE is not set") {
		t.Errorf("a missing variable: %v", err)
	}
}

// Every way of printing settings that we or a careless caller could use.
func TestSecretsAreMaskedEverywhere(t *testing.T) {
	t.Parallel()
	c, err := config.Load([]string{
		"TAILMARKET_DATABASE_URL=postgres://tm:hunter2@db/tm?sslpassword=hunter2",
		"TAILMARKET_REDIS_URL=rediss://tm:hunter2@cache:6380/1?addr=cache2:6380", "TAILMARKET_REDIS_NAME=shop-1", "TAILMARKET_REPLICAS=3",
		"TAILMARKET_SMTP_ADDR=mail:25", "TAILMARKET_SMTP_FROM=a@example.com",
		"TAILMARKET_SMTP_USERNAME=a", "TAILMARKET_SMTP_PASSWORD=hunter2",
		"TAILMARKET_AWS_SELLER_ACCOUNT=123456789012", "TAILMARKET_AWS_EVENT_KEY=hunter2hunter2hunter2",
	}, "")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := c.Print(&out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "postgres://tm:xxxxx@db/tm") {
		t.Error("Print does not say which database is used")
	}
	if !strings.Contains(out.String(), "rediss://tm:xxxxx@cache:6380/1") || c.RedisName != "shop-1" || c.Replicas != 3 {
		t.Errorf("Print does not say which Redis is used: %s, %d replicas", c.RedisName, c.Replicas)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb, c)
		fmt.Fprintf(&out, verb, c.SMTP.Password)
		fmt.Fprintf(&out, verb, struct{ inner config.Secret }{c.SMTP.Password})
	}
	if err := json.NewEncoder(&out).Encode(c); err != nil {
		t.Fatal(err)
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("settings", "password", c.SMTP.Password, "all", c, "smtp", &c.SMTP)
	}
	for _, shown := range []string{"hunter2", "68756e74657232"} {
		if strings.Contains(out.String(), shown) {
			t.Errorf("a secret is printed:\n%s", &out)
		}
	}
}

func TestBaseURLFollowsTheListener(t *testing.T) {
	t.Parallel()
	for listening, want := range map[string]string{
		"127.0.0.1:4711": "http://127.0.0.1:4711",
		"0.0.0.0:80":     "http://localhost:80",
		"[::]:8080":      "http://localhost:8080",
		"[::1]:8080":     "http://[::1]:8080",
		":8080":          "http://localhost:8080",
	} {
		if got := config.Default().BaseURL(listening); got != want {
			t.Errorf("listening on %s: %s, want %s", listening, got, want)
		}
	}
	if got := (config.Config{PublicURL: "https://sell.example.com"}).BaseURL("127.0.0.1:1"); got != "https://sell.example.com" {
		t.Errorf("public address: %s", got)
	}
}

func TestSizes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]config.Size{"0": 0, "17": 17, "17B": 17, "1KiB": 1024, "8MiB": 8 << 20, "3 GiB": 3 << 30} {
		got, err := config.ParseSize(text)
		if err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
		if again, err := config.ParseSize(got.String()); err != nil || again != got {
			t.Errorf("%q reads back as %v, %v", got.String(), again, err)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "1.5MiB", "1MB", "9223372036854775807GiB"} {
		if got, err := config.ParseSize(text); err == nil {
			t.Errorf("%q is read as %v", text, got)
		}
	}
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
