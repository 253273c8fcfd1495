package httpapi_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

type madeKey struct {
	Key struct {
		ID         string `json:"id"`
		LastUsedAt string `json:"last_used_at"`
		RevokedBy  string `json:"revoked_by"`
	}
	Secret string
}

func (w *world) producer(t *testing.T, body string) madeKey {
	t.Helper()
	r := w.call(t, http.MethodPost, "/v1/keys", "application/json", body)
	var made madeKey
	if err := json.Unmarshal([]byte(r.body), &made); err != nil || r.StatusCode != http.StatusCreated || !strings.HasPrefix(made.Secret, "tmus_") {
		t.Fatalf("answered %d %s", r.StatusCode, r.body)
	}
	return made
}

func TestAProducersKey(t *testing.T) {
	t.Parallel()
	w := setup(t)
	made := w.producer(t, `{"name":"meter of eu","sources":["s","https://eu.example/*"]}`)
	send := func(body string, header ...string) reply {
		t.Helper()
		return w.call(t, http.MethodPost, "/v1/usage", batch, body, append([]string{"Authorization", "Bearer " + made.Secret}, header...)...)
	}
	from := func(id, source string) string { return strings.Replace(event(id), `"s"`, `"`+source+`"`, 1) }
	corrects := strings.Replace(event("c"), `"quantity"`, `"corrects":{"source":"other","id":"1"},"quantity"`, 1)

	if r := send("[" + event("1") + "," + from("2", "https://eu.example/7") + "]"); r.StatusCode != http.StatusOK || outcomes(t, r) != "1 accepted, 2 accepted" {
		t.Fatalf("answered %d %s", r.StatusCode, r.body)
	}
	for body, pointer := range map[string]string{
		"[" + event("3") + "," + from("4", "https://us.example/7") + "]": "/1/source",
		"[" + from("5", "provisioning/sub_1") + "]":                      "/0/source",
		"[{}," + corrects + "]":                                          "/1/data/corrects/source",
	} {
		p := refused(t, send(body), http.StatusForbidden, "source_not_allowed")
		if len(p.Errors) != 1 || p.Errors[0].Pointer != pointer {
			t.Errorf("%s: %+v", body, p.Errors)
		}
	}
	if len(w.ingested) != 1 {
		t.Errorf("stored %d calls", len(w.ingested))
	}
	send("["+event("6")+"]", "Idempotency-Key", "k")
	w.call(t, http.MethodPost, "/v1/usage", batch, "["+event("6")+"]", "Idempotency-Key", "k")
	if len(w.calls) != 2 || w.calls[0].Owner != made.Key.ID || w.calls[1].Owner == w.calls[0].Owner {
		t.Errorf("two senders share a key: %+v", w.calls)
	}
	for _, path := range []string{"/v1/keys", "/v1/conservation", "/v1/quarantine/usage"} {
		if r := w.call(t, http.MethodGet, path, "", "", "Authorization", "Bearer "+made.Secret); r.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s answered a producer %d", path, r.StatusCode)
		}
	}
	list := w.call(t, http.MethodGet, "/v1/keys", "", "")
	if !strings.Contains(list.body, `"last_used_at":"2026-11-03`) || !strings.Contains(list.body, "meter of eu") || strings.Contains(list.body, made.Secret) {
		t.Errorf("listed %s", list.body)
	}
	for range 2 {
		if r := w.call(t, http.MethodPost, "/v1/keys/"+made.Key.ID+"/revoke", "", ""); r.StatusCode != http.StatusNoContent {
			t.Fatalf("answered %d %s", r.StatusCode, r.body)
		}
		if r := send("[]"); r.StatusCode != http.StatusUnauthorized {
			t.Fatalf("a revoked key was answered %d", r.StatusCode)
		}
	}
	if r := w.call(t, http.MethodPost, "/v1/keys/key_none/revoke", "", ""); r.StatusCode != http.StatusNotFound {
		t.Errorf("answered %d", r.StatusCode)
	}
	if strings.Contains(w.log.String(), made.Secret) {
		t.Error("the key is in the log")
	}
}

func TestAKeyMustSayWhoseUsageItSends(t *testing.T) {
	t.Parallel()
	w := setup(t)
	for _, body := range []string{
		`{"name":"","sources":["s"]}`, `{"name":"n","sources":[]}`, `{"name":"n"}`, `{"name":"n","sources":["a*b"]}`, `{"name":"n","sources":[""]}`,
		`{"name":"n","sources":["provisioning/sub_1"]}`, `{"name":"n","sources":["provisioning/*"]}`, `{"name":"` + strings.Repeat("n", 101) + `","sources":["s"]}`,
	} {
		if r := w.call(t, http.MethodPost, "/v1/keys", "application/json", body); r.StatusCode != http.StatusBadRequest {
			t.Errorf("%s was answered %d %s", body, r.StatusCode, r.body)
		}
	}
}
