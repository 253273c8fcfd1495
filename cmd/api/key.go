package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tailmarket/tailmarket/internal/app"
	"github.com/tailmarket/tailmarket/internal/id"
)

const keyUsage = `write one of:
  api key list
  api key add    -name NAME -source SOURCE [-source …]   SOURCE: of CloudEvents, or the beginning of several and a *
  api key revoke -key ID`

// keys keeps the keys with which producers send usage.
func keys(ctx context.Context, e env) error {
	acts := map[string]func(context.Context, env) error{"list": listKeys, "add": addKey, "revoke": revokeKey}
	if len(e.args) == 0 || acts[e.args[0]] == nil {
		return errors.New(keyUsage)
	}
	act := acts[e.args[0]]
	e.command, e.args = "key "+e.args[0], e.args[1:]
	return act(ctx, e)
}

func listKeys(ctx context.Context, e env) error {
	return e.with(ctx, nil, func(b *app.Base) error {
		all, err := b.Keys().List(ctx)
		if err != nil {
			return err
		}
		text := "id\tname\tsources\tmade\tlast used\tstate\n"
		for _, k := range all {
			state := "works"
			if !k.RevokedAt.IsZero() {
				state = "revoked " + k.RevokedAt.Format(time.RFC3339) + " by " + k.RevokedBy
			}
			used := ""
			if !k.LastUsedAt.IsZero() {
				used = k.LastUsedAt.Format(time.RFC3339)
			}
			text += fmt.Sprintf("%s\t%s\t%s\t%s by %s\t%s\t%s\n", k.ID, k.Name, strings.Join(k.Sources, " "), k.CreatedAt.Format(time.RFC3339), k.CreatedBy, cmp.Or(used, "never"), state)
		}
		w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
		_, werr := io.WriteString(w, text)
		return errors.Join(werr, w.Flush())
	})
}

func addKey(ctx context.Context, e env) error {
	var name string
	var sources []string
	return e.with(ctx, func(fs *flag.FlagSet) {
		fs.StringVar(&name, "name", "", "what the key is for")
		fs.Func("source", "a source of CloudEvents it may send, or the beginning of several and a *; may be repeated", func(s string) error {
			sources = append(sources, s)
			return nil
		})
	}, func(b *app.Base) error {
		secret, k, err := b.Keys().Add(ctx, name, sources, actor)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(e.stdout, "%s\n%s\nThe second line is the key. It is shown once and kept nowhere: store it now.\n", k.ID, secret)
		return err
	})
}

func revokeKey(ctx context.Context, e env) error {
	var key string
	return e.with(ctx, func(fs *flag.FlagSet) { fs.StringVar(&key, "key", "", "the key's id, as “api key list” shows it") }, func(b *app.Base) error {
		return b.Keys().Revoke(ctx, id.APIKey(key), actor)
	})
}
