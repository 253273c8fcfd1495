package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestACatalogIsChecked(t *testing.T) {
	t.Parallel()
	rules := filepath.Join("..", "..", "internal", "catalog", "testdata", "rules")
	check := func(args ...string) (string, error) {
		var out bytes.Buffer
		err := run(t.Context(), append([]string{"catalog", "check"}, args...), nil, &out, io.Discard)
		return out.String(), err
	}
	if out, err := check(filepath.Join("..", "..", "internal", "catalog", "catalog.yaml")); err != nil || out != "0 refused, 0 to accept before it is applied\n" {
		t.Errorf("the shipped catalog: %v\n%s", err, out)
	}
	out, err := check(filepath.Join(rules, "gcp.quantities.yaml"))
	if err == nil || !strings.Contains(err.Error(), "is refused: 1 problem") {
		t.Errorf("seats at Google: %v", err)
	}
	for _, want := range []string{"gcp.quantities.yaml:23: refused by gcp.quantities: products[0].plans[0].quantities: standard contracts seat", "source: Google REST reference", "act:    author: a plan for each size", "1 refused, 0 to accept"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not said:\n%s", want, out)
		}
	}
	if out, err = check(filepath.Join(rules, "azure.term.yaml")); err != nil || !strings.Contains(out, "warning by azure.term") || !strings.Contains(out, "0 refused, 1 to accept") {
		t.Errorf("a warning: %v\n%s", err, out)
	}
	if out, err = check(filepath.Join(rules, "aws.tags.yaml"), "-json"); err == nil {
		t.Error("six tags were taken")
	}
	var list []problem
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 1 || list[0].Rule != "aws.tags" || !list[0].Refuses || list[0].Marketplace != "aws" {
		t.Errorf("%v: %s", err, out)
	}
	// A promise that the embedded control plane cannot keep.
	if out, err = check(filepath.Join(rules, "capability.yaml")); err == nil || !strings.Contains(out, `needs "teleport"`) {
		t.Errorf("%v\n%s", err, out)
	}
	for _, args := range [][]string{{}, {"a", "b"}, {"-json", "a"}} {
		if _, err := check(args...); err == nil || !strings.Contains(err.Error(), "api catalog check FILE") {
			t.Errorf("%v: %v", args, err)
		}
	}
	var schema bytes.Buffer
	if err := run(t.Context(), []string{"catalog", "schema"}, nil, &schema, io.Discard); err != nil || !json.Valid(schema.Bytes()) {
		t.Errorf("the schema: %v", err)
	}
}

func TestACatalogIsApplied(t *testing.T) {
	t.Parallel()
	environ := migrated(t)
	say := func(args ...string) (string, error) {
		var out bytes.Buffer
		err := run(t.Context(), append([]string{"catalog"}, args...), environ, &out, io.Discard)
		return out.String(), err
	}
	expect := func(want string, args ...string) string {
		t.Helper()
		out, err := say(args...)
		if err != nil || !strings.Contains(out, want) {
			t.Fatalf("%v: %v\n%s\nwant %s", args, err, out, want)
		}
		return out
	}
	expect("the shipped catalog is in force", "list")
	shipped := expect("version:", "show")
	file := filepath.Join(t.TempDir(), "catalog.yaml")
	write := func(pairs ...string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(strings.NewReplacer(pairs...).Replace(shipped)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before := filepath.Join(t.TempDir(), "before.yaml")
	if err := os.WriteFile(before, []byte(shipped), 0o600); err != nil {
		t.Fatal(err)
	}
	write(`"2026-11"`, `"spring"`, "title: Standard", "title: Regular", `active_user: "10.00"`, `active_user: "12.00"`)
	expect("tailnet enterprise active_user: price 10 USD → 12 USD  [changes bills that are counting]\n", "diff", before, file)
	expect("tailnet enterprise active_user: price 10 USD → 12 USD\n", "diff", file) // nobody has bought
	if out, err := say("diff", file, file); err != nil || out != "" {
		t.Errorf("with itself it differs in %s, %v", out, err)
	}
	expect("catalog spring is in force since", "apply", file)
	expect("spring   20", "list")
	if out := expect("Regular", "show"); !strings.Contains(out, "spring") {
		t.Error(out)
	}
	if out := expect("Standard", "show", "2026-11"); out != shipped {
		t.Error("the shipped text is another")
	}
	write(`"2026-11"`, `"spring"`)
	if _, err := say("apply", file); err == nil || !strings.Contains(err.Error(), "raise the version") {
		t.Errorf("two texts of one version: %v", err)
	}
	write("offer_id: tailnet", "offer_id: ''")
	if _, err := say("apply", file, "-reason", "whatever"); err == nil || !strings.Contains(err.Error(), "says who must act") {
		t.Errorf("an unsound catalog: %v", err)
	}
	for _, args := range [][]string{{}, {"apply"}, {"show", "a", "b"}, {"diff", "a", "b", "c"}, {"make"}} {
		if _, err := say(args...); err == nil || !strings.Contains(err.Error(), "write one of") {
			t.Errorf("%v: %v", args, err)
		}
	}
}
