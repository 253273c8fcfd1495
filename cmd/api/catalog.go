package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/tailmarket/tailmarket/internal/app"
)

const catalogUsage = `write one of:
  api catalog check FILE [-json]   what is wrong with a catalog, or cannot be carried by a marketplace
  api catalog schema               the JSON Schema of a catalog file, for your editor`

// catalogs judges what is sold.
func catalogs(ctx context.Context, e env) error {
	acts := map[string]struct {
		files int
		run   func(ctx context.Context, e env, files []string) error
	}{"check": {1, checkCatalog}, "schema": {0, printSchema}}
	if len(e.args) == 0 {
		return errors.New(catalogUsage)
	}
	act, ok := acts[e.args[0]]
	e.command, e.args = "catalog "+e.args[0], e.args[1:]
	var files []string
	for len(e.args) > 0 && !strings.HasPrefix(e.args[0], "-") {
		files, e.args = append(files, e.args[0]), e.args[1:]
	}
	if !ok || len(files) != act.files && (len(e.args) == 0 || !strings.Contains(e.args[0], "help") && e.args[0] != "-h") {
		return errors.New(catalogUsage)
	}
	return act.run(ctx, e, files)
}

func printSchema(_ context.Context, e env, _ []string) error {
	_, err := e.stdout.Write(app.CatalogSchema())
	return err
}

// problem is a problem of a catalog as JSON.
type problem struct {
	Line        int    `json:"line"`
	Path        string `json:"path"`
	Rule        string `json:"rule"`
	Text        string `json:"text"`
	Refuses     bool   `json:"refuses"`
	Accepted    string `json:"accepted,omitempty"`
	Marketplace string `json:"marketplace,omitempty"`
	Source      string `json:"source"`
	Act         string `json:"act"`
}

func checkCatalog(_ context.Context, e env, files []string) error {
	var asJSON bool
	if _, err := e.settings(func(fs *flag.FlagSet) { fs.BoolVar(&asJSON, "json", false, "print JSON") }); err != nil {
		return err
	}
	problems, err := app.CheckCatalog(files[0])
	if err != nil {
		return err
	}
	refused, open, text, list := len(problems.Refusing()), 0, "", []problem{}
	for _, p := range problems {
		list = append(list, problem{p.Line, p.Path, p.Rule.ID, p.Text, p.Refuses(), p.Accepted, p.Rule.Marketplace, p.Rule.Source, p.Rule.Act})
		word := "refused"
		switch {
		case p.Accepted != "":
			word = "accepted"
		case !p.Refuses():
			word = "warning"
			open++
		}
		text += fmt.Sprintf("%s:%d: %s by %s: %s\n    source: %s\n", files[0], p.Line, word, p.Rule.ID, p, p.Rule.Source)
		if p.Accepted != "" {
			text += "    reason: " + p.Accepted + "\n"
		} else {
			text += "    act:    " + p.Rule.Act + "\n"
		}
	}
	text += fmt.Sprintf("%d refused, %d to accept before it is applied\n", refused, open)
	if asJSON {
		enc := json.NewEncoder(e.stdout)
		enc.SetIndent("", "  ")
		err = enc.Encode(list)
	} else {
		_, err = io.WriteString(e.stdout, text)
	}
	if refused > 0 {
		err = errors.Join(err, fmt.Errorf("%s is refused: %d problems", files[0], refused))
	}
	return err
}
