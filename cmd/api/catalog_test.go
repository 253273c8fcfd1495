package main

import (
	"bytes"
	"encoding/json"
	"io"
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
	for _, args := range [][]string{{}, {"a", "b"}, {"-json"}} {
		if _, err := check(args...); err == nil || !strings.Contains(err.Error(), "api catalog check FILE") {
			t.Errorf("%v: %v", args, err)
		}
	}
	var schema bytes.Buffer
	if err := run(t.Context(), []string{"catalog", "schema"}, nil, &schema, io.Discard); err != nil || !json.Valid(schema.Bytes()) {
		t.Errorf("the schema: %v", err)
	}
}
