package main

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

func TestAKeyIsShownOnceAndRevoked(t *testing.T) {
	t.Parallel()
	environ := migrated(t)
	say := func(args ...string) string {
		t.Helper()
		var out bytes.Buffer
		if err := run(t.Context(), append([]string{"key"}, args...), environ, &out, io.Discard); err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		return out.String()
	}
	lines := strings.Split(say("add", "-name", "meter", "-source", "https://eu.example/*", "-source", "s"), "\n")
	key, secret := lines[0], lines[1]
	if !strings.HasPrefix(key, "key_") || !strings.HasPrefix(secret, "tmus_") {
		t.Fatalf("made %q", lines)
	}
	if list := say("list"); !strings.Contains(list, key+"  meter  https://eu.example/* s") || !strings.Contains(list, "never      works") || strings.Contains(list, secret) {
		t.Errorf("the list is\n%s", list)
	}
	say("revoke", "-key", key)
	if list := say("list"); !strings.Contains(list, "revoked ") || !strings.Contains(list, " by operator") {
		t.Errorf("the list is\n%s", list)
	}
	for refusal, args := range map[string]string{
		"api key revoke":  "",
		"1 to 100 char":   "add -source s",
		"1 to 50 sources": "add -name n",
		"there is no key": "revoke -key key_none",
	} {
		err := run(t.Context(), append([]string{"key"}, strings.Fields(args)...), environ, io.Discard, io.Discard)
		if err == nil || !strings.Contains(strings.ToLower(err.Error()), refusal) {
			t.Errorf("key %s: %v, want %q", args, err, refusal)
		}
	}
}
