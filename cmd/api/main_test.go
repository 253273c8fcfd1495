package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestCommands(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	environ := []string{"TAILMARKET_DATA_DIR=" + dir, "TAILMARKET_AWS_EVENT_KEY=a-key-that-must-not-show"}
	cases := map[string]struct {
		args    []string
		environ []string
		out     string // on standard output
		err     string
	}{
		"migrate makes the schema":      {[]string{"migrate"}, []string{"TAILMARKET_DATA_DIR=" + dir + "/m"}, "the schema is at version", ""},
		"config hides secrets":          {[]string{"config"}, append(environ, "TAILMARKET_AWS_SELLER_ACCOUNT=111122223333"), "[set, hidden]", ""},
		"an unknown command is refused": {[]string{"mirgate"}, nil, "", `no command "mirgate"`},
		"no command is refused":         {nil, nil, "", "name a command"},
		"a misspelt setting is named":   {[]string{"config"}, []string{"TAILMARKET_DATADIR=x"}, "", "TAILMARKET_DATA_DIR"},
		"an argument too many":          {[]string{"migrate", "now"}, nil, "", `no argument "now"`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out, errs bytes.Buffer
			err := run(t.Context(), c.args, c.environ, &out, &errs)
			switch {
			case c.err == "" && err != nil:
				t.Fatal(err)
			case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
				t.Fatalf("error %v, want one about %q", err, c.err)
			}
			if !strings.Contains(out.String(), c.out) || strings.Contains(out.String()+errs.String(), "must-not-show") {
				t.Fatalf("output %q", out.String())
			}
		})
	}
}
