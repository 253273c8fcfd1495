package main

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

func TestAPartnerGetsALink(t *testing.T) {
	t.Parallel()
	environ := migrated(t)
	say := func(args ...string) string {
		t.Helper()
		var out bytes.Buffer
		if err := run(t.Context(), append([]string{"partner"}, args...), environ, &out, io.Discard); err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		return strings.TrimSpace(out.String())
	}
	hawk := say("add", "-name", "Hawk Networks")
	if again := say("add", "-name", "hawk networks"); again != hawk || !strings.HasPrefix(hawk, "prt_") {
		t.Fatalf("added twice: %q and %q", hawk, again)
	}
	say("know", "-partner", hawk, "-marketplace", "aws", "-reseller", "444455556666")
	say("know", "-partner", hawk, "-marketplace", "gcp", "-offer", "offers/1")
	link := say("link", "-partner", hawk, "-marketplace", "azure")
	if !strings.HasPrefix(link, "http://127.0.0.1:8080/r/lnk_") || say("link", "-partner", hawk, "-marketplace", "azure") != link {
		t.Errorf("the link is %q", link)
	}
	if list := say("list"); !strings.Contains(list, hawk+"  Hawk Networks  aws reseller 444455556666  gcp offer offers/1") || strings.Contains(list, link) {
		t.Errorf("the list is\n%s", list)
	}
	for refusal, args := range map[string]string{
		"api partner link":      "",
		"api partner know":      "make",
		"1 to 100 characters":   "add",
		"either -reseller or":   "know -partner " + hawk + " -marketplace aws",
		"no listing":            "link -partner " + hawk + " -marketplace ebay",
		"no partner prt_0":      "link -partner prt_0 -marketplace aws",
		"knows partner " + hawk: "know -partner " + say("add", "-name", "Owl") + " -marketplace aws -reseller 444455556666",
	} {
		err := run(t.Context(), append([]string{"partner"}, strings.Fields(args)...), environ, io.Discard, io.Discard)
		if err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(refusal)) {
			t.Errorf("partner %s: %v, want %q", args, err, refusal)
		}
	}
}
