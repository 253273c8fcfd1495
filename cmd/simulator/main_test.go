package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRunPrintsWhatAnAppNeeds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // it prints, and stops at once
	ca := filepath.Join(t.TempDir(), "ca.pem")
	var out, logs bytes.Buffer
	if err := run(ctx, []string{"-control", "127.0.0.1:0", "-aws", "127.0.0.1:0", "-ca", ca, "-seed", "9"}, &out, &logs); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"seed 9", "TAILMARKET_AWS_ENDPOINT=https://127.0.0.1:", "TAILMARKET_AWS_EVENT_KEY=key-", "TAILMARKET_CA_FILE=" + ca, "active_user"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("output lacks %q:\n%s", want, out.String())
		}
	}
	pem, err := os.ReadFile(ca)
	if err != nil || !x509.NewCertPool().AppendCertsFromPEM(pem) {
		t.Errorf("certificate file: %v", err)
	}
}

func TestRunRefusesWhatItDoesNotUnderstand(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-weather", "wet"}, {"-start", "today"}, {"-control", "0.0.0.0:0"}, {"surplus"}} {
		var out, logs bytes.Buffer
		if err := run(t.Context(), args, &out, &logs); err == nil {
			t.Errorf("%v was accepted", args)
		}
	}
}
