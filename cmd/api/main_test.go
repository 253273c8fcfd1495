package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

// migrated is the environment of a database of its own.
func migrated(t *testing.T) []string {
	t.Helper()
	environ := []string{"TAILMARKET_DATA_DIR=" + t.TempDir()}
	if err := run(t.Context(), []string{"migrate"}, environ, io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	return environ
}

// Serve needs no setting but where it may write and listen, and ends in order.
func TestServe(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	pr, pw := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, []string{"serve"}, []string{"TAILMARKET_DATA_DIR=" + t.TempDir(), "TAILMARKET_LISTEN=127.0.0.1:0", "TAILMARKET_ADMIN_LISTEN=127.0.0.1:0"}, pw, io.Discard)
		ended <- errors.Join(err, pw.Close())
	}()
	public, private := "", ""
	lines := bufio.NewScanner(pr)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		switch {
		case strings.HasPrefix(lines.Text(), "tailmarket serves"):
			public = f[2]
		case f[0] == "metrics":
			private = f[1]
		}
		if f[0] != "sign" { // the last line
			continue
		}
		for address, want := range map[string]string{public + "/readyz": "ready", private: "tailmarket_station_in_total", f[len(f)-1]: "operator"} {
			res, err := http.Get(address)
			if err != nil {
				t.Error(err)
				continue
			}
			body, err := io.ReadAll(res.Body)
			if err = errors.Join(err, res.Body.Close()); err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
				t.Errorf("%s answered %d %v, no %q in %.300s", address, res.StatusCode, err, want, body)
			}
		}
		cancel()
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if public == "" || private == "" {
		t.Fatal("it did not say where it is")
	}
}

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
		"conservation of nothing":       {[]string{"conservation"}, migrated(t), "written_off", ""},
		"conservation as JSON":          {[]string{"conservation", "-json"}, migrated(t), `"conservation_broken": 0`, ""},
		"a product goes live":           {[]string{"product", "go-live", "-from", "2126-12-01T00:00:00Z"}, migrated(t), "tailnet is live from 2126-12-01T00:00:00Z", ""},
		"not within an hour":            {[]string{"product", "go-live", "-from", "2126-12-01T00:30:00Z"}, migrated(t), "", "no full hour"},
		"not without an hour":           {[]string{"product", "go-live"}, migrated(t), "", "no full hour"},
		"not an unknown product":        {[]string{"product", "go-live", "-from", "2126-12-01T00:00:00Z", "-product", "tialnet"}, migrated(t), "", "tialnet"},
		"product alone is refused":      {[]string{"product"}, nil, "", "go-live -from HOUR"},
		"a link for the operator":       {[]string{"operator-link"}, migrated(t), "http://127.0.0.1:8080/operator/enter/", ""},
		"an unknown command is refused": {[]string{"mirgate"}, nil, "", `no command "mirgate"`},
		"an empty database is named":    {[]string{"conservation"}, []string{"TAILMARKET_DATA_DIR=" + dir + "/e"}, "", "“api migrate”"},
		"help is no error":              {[]string{"-h"}, nil, "", ""},
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
