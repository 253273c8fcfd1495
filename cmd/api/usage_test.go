package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAFileOfUsageIsToldBeforeItIsStored(t *testing.T) {
	t.Parallel()
	environ, dir := migrated(t), t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	stripe := write("stripe.csv", "identifier,timestamp,event_name,payload_stripe_customer_id,payload_value\ni1,1793689200,calls,cus_A,25\n")
	subjects := write("subjects.csv", "cus_A, sub_0123456789abcdefghjkmnpqrs\n")
	say := func(args ...string) (string, error) {
		t.Helper()
		var out bytes.Buffer
		err := run(t.Context(), append([]string{"usage", "upload", "-mapping", "stripe", "-meter", "calls=api_request"}, args...), environ, &out, io.Discard)
		return out.String(), err
	}
	// Nobody has bought it here: the row would wait, and then does, once.
	for _, c := range []struct{ flag, want string }{{"-store=false", "0 would be counted, 0 counted before, 1 would be kept"}, {"-store", "1 kept until"}, {"-store", "1 kept until"}} {
		out, err := say(c.flag, "-subjects", subjects, stripe)
		if err != nil || !strings.Contains(out, c.want) || !strings.Contains(out, "line 2: quarantined: unknown_subject") || strings.Contains(out, "Nothing was stored") != (c.flag == "-store=false") {
			t.Fatalf("%s: %v\n%s", c.flag, err, out)
		}
	}
	out, err := say(stripe)
	if err == nil || !strings.Contains(err.Error(), "1 rows are refused") || !strings.Contains(out, `line 2: invalid: customer "cus_A" is no purchase here`) {
		t.Errorf("%v\n%s", err, out)
	}
	for args, want := range map[string]string{
		"":                            "api usage upload",
		"upload":                      "api usage upload",
		"upload -store":               "api usage upload",
		"upload -mapping x " + stripe: "there is no mapping",
		"upload -meter x " + stripe:   "THEIRS=OURS",
		"upload " + dir + "/none":     "none",
		"upload " + stripe:            "has no column",
	} {
		if err := run(t.Context(), append([]string{"usage"}, strings.Fields(args)...), environ, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("usage %s: %v, want %q", args, err, want)
		}
	}
}
