package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tailmarket/tailmarket/internal/app"
)

const catalogUsage = `write one of:
  api catalog check FILE [-json]     what is wrong with a catalog, or cannot be carried by a marketplace
  api catalog diff [FROM] FILE       what it changes, against FROM or the one in force, and for whom
  api catalog apply FILE [-reason R] put it in force; a reason forces what changes bills that are counting
  api catalog show [VERSION]         the text of the one in force, or of one that was
  api catalog list                   what was in force when
  api catalog schema                 the JSON Schema of a catalog file, for your editor`

// catalogs judges what is sold and puts it in force.
func catalogs(ctx context.Context, e env) error {
	acts := map[string]struct {
		least, most int // words behind the command
		run         func(ctx context.Context, e env, words []string) error
	}{
		"check": {1, 1, checkCatalog}, "diff": {1, 2, diffCatalogs}, "apply": {1, 1, applyCatalog}, "show": {0, 1, showCatalog},
		"list": {0, 0, listCatalogs}, "schema": {0, 0, printSchema},
	}
	if len(e.args) == 0 {
		return errors.New(catalogUsage)
	}
	act, ok := acts[e.args[0]]
	e.command, e.args = "catalog "+e.args[0], e.args[1:]
	var words []string
	for len(e.args) > 0 && !strings.HasPrefix(e.args[0], "-") {
		words, e.args = append(words, e.args[0]), e.args[1:]
	}
	if !ok || len(words) < act.least || len(words) > act.most {
		return errors.New(catalogUsage)
	}
	return act.run(ctx, e, words)
}

func printSchema(_ context.Context, e env, _ []string) error {
	_, err := e.stdout.Write(app.CatalogSchema())
	return err
}

func applyCatalog(ctx context.Context, e env, words []string) error {
	var reason string
	return e.with(ctx, func(fs *flag.FlagSet) {
		fs.StringVar(&reason, "reason", "", "why bills that are counting may change; kept with the catalog")
	}, func(b *app.Base) error {
		a, changes, err := b.ApplyCatalog(ctx, words[0], actor, reason)
		if err != nil {
			return err
		}
		text := fmt.Sprintf("catalog %s is in force since %s\n", a.Version, a.At.UTC().Format(time.RFC3339))
		for _, c := range changes {
			text += change(c.String(), c.Bills, c.Purchases, c.Note)
		}
		_, err = io.WriteString(e.stdout, text)
		return err
	})
}

func diffCatalogs(ctx context.Context, e env, words []string) error {
	if len(words) == 2 {
		if _, err := e.settings(nil); err != nil {
			return err
		}
		changes, err := app.DiffCatalogs(words[0], words[1])
		if err != nil {
			return err
		}
		text := ""
		for _, c := range changes {
			text += change(c.String(), c.Bills, -1, c.Note)
		}
		_, err = io.WriteString(e.stdout, text)
		return err
	}
	return e.with(ctx, nil, func(b *app.Base) error {
		changes, err := b.CompareCatalog(ctx, words[0])
		if err != nil {
			return err
		}
		text := ""
		for _, c := range changes {
			text += change(c.String(), c.Bills, c.Purchases, c.Note)
		}
		_, err = io.WriteString(e.stdout, text)
		return err
	})
}

// change writes a line for what changes; purchases are not known when negative.
func change(text string, bills bool, purchases int, note string) string {
	switch {
	case bills && purchases < 0:
		text += "  [changes bills that are counting]"
	case bills && purchases > 0:
		text += fmt.Sprintf("  [changes bills that are counting: %d purchases]", purchases)
	case purchases > 0:
		text += fmt.Sprintf("  [%d purchases]", purchases)
	}
	if note != "" {
		text += "\n    " + note
	}
	return text + "\n"
}

func showCatalog(ctx context.Context, e env, words []string) error {
	return e.with(ctx, nil, func(b *app.Base) error {
		text, err := b.Catalogs().Text(ctx, strings.Join(words, ""))
		if err != nil {
			return err
		}
		_, err = e.stdout.Write(text)
		return err
	})
}

func listCatalogs(ctx context.Context, e env, _ []string) error {
	return e.with(ctx, nil, func(b *app.Base) error {
		history, err := b.Catalogs().History(ctx, 100)
		if err != nil {
			return err
		}
		text := "version\tin force since\tby\thash\treason\n"
		for _, a := range history {
			text += fmt.Sprintf("%s\t%s\t%s\t%.12s\t%s\n", a.Version, a.At.UTC().Format(time.RFC3339), a.By, a.Hash, a.Reason)
		}
		if len(history) == 0 {
			text = "none was applied: the shipped catalog is in force\n"
		}
		w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
		_, werr := io.WriteString(w, text)
		return errors.Join(werr, w.Flush())
	})
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
