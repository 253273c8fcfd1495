// Command api is the server and the operator's tool.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/tailmarket/tailmarket/internal/app"
	"github.com/tailmarket/tailmarket/internal/config"
	"github.com/tailmarket/tailmarket/internal/telemetry"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "api:", err)
		os.Exit(1)
	}
}

// command is one word, or two, after "api".
type command struct {
	name, help string
	run        func(ctx context.Context, e env) error
}

// env is what a command may use.
type env struct {
	command        string
	args           []string
	environ        []string
	stdout, stderr io.Writer
}

func commands() []command {
	return []command{
		{"serve", "run everything until stopped; no setting is needed", serve},
		{"migrate", "bring the database's schema to the newest version (serve does it too)", migrate},
		{"config", "show the effective settings, secrets hidden", showConfig},
		{"conservation", "show where every unit is; fails when one is nowhere, or in two places", conservation},
		{"product", "product go-live -from HOUR ends observe mode: from that hour on we provision and meter", product},
		{"catalog", "catalog check | diff | apply | show | list | schema: what is sold, and what a marketplace cannot carry of it", catalogs},
		{"partner", "partner list | add | know | link: who brings customers, and a signed link for each", partners},
		{"key", "key list | add | revoke: keys with which producers send usage of their own sources", keys},
		{"usage", "usage upload FILE: what a file of usage would count, and with -store counts it, once", usage},
		{"operator-link", "print a one-time link to the operator's pages", operatorLink},
	}
}

func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	if len(args) > 0 {
		for _, c := range commands() {
			if c.name == args[0] {
				err := c.run(ctx, env{args[0], args[1:], environ, stdout, stderr})
				if errors.Is(err, flag.ErrHelp) {
					return nil
				}
				return err
			}
		}
	}
	usage := "usage: api COMMAND [flags]\n"
	for _, c := range commands() {
		usage += fmt.Sprintf("  %-14s %s\n", c.name, c.help)
	}
	if _, err := io.WriteString(stderr, usage); err != nil {
		return err
	}
	switch {
	case len(args) == 0:
		return errors.New("name a command")
	case slices.Contains([]string{"help", "-h", "-help", "--help"}, args[0]):
		return nil
	}
	return fmt.Errorf("there is no command %q", args[0])
}

// settings parses a command's flags and loads the settings.
func (e env) settings(more func(*flag.FlagSet)) (config.Config, error) {
	fs := flag.NewFlagSet(e.command, flag.ContinueOnError)
	fs.SetOutput(e.stderr)
	path := fs.String("config", "", "path of a YAML file with settings")
	if more != nil {
		more(fs)
	}
	if err := fs.Parse(e.args); err != nil {
		return config.Config{}, err
	}
	if fs.NArg() > 0 {
		return config.Config{}, fmt.Errorf("%s takes no argument %q", e.command, fs.Arg(0))
	}
	return config.Load(e.environ, *path)
}

// with opens what the settings describe for do, and closes it again.
func (e env) with(ctx context.Context, more func(*flag.FlagSet), do func(*app.Base) error) error {
	c, err := e.settings(more)
	if err != nil {
		return err
	}
	b, err := app.OpenBase(ctx, c, telemetry.NewLogger(e.stderr, c.LogFormat, c.LogLevel))
	if err != nil {
		return err
	}
	if err = do(b); err != nil && e.command != "serve" && e.command != "migrate" {
		if v, verr := b.Store.Version(ctx); verr == nil && v == 0 { // such as from another folder than the server's
			err = fmt.Errorf("%w\nthe database of these settings is empty: “api config” shows where it is, “api migrate” makes its schema", err)
		}
	}
	return errors.Join(err, b.Close())
}

func serve(ctx context.Context, e env) error {
	return e.with(ctx, nil, func(b *app.Base) error { return b.Serve(ctx, e.stdout) })
}

func migrate(ctx context.Context, e env) error {
	return e.with(ctx, nil, func(b *app.Base) error {
		n, err := b.Store.Migrate(ctx)
		if err != nil {
			return err
		}
		v, err := b.Store.Version(ctx)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(e.stdout, "%d migrations applied; the schema is at version %d\n", n, v)
		return err
	})
}

func showConfig(_ context.Context, e env) error {
	c, err := e.settings(nil)
	if err != nil {
		return err
	}
	return c.Print(e.stdout)
}

func operatorLink(ctx context.Context, e env) error {
	return e.with(ctx, nil, func(b *app.Base) error {
		link, err := b.OperatorLink(ctx)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(e.stdout, link)
		return err
	})
}
