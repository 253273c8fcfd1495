// Command api is the server and the operator's tool.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/tailmarket/tailmarket/internal/app"
	"github.com/tailmarket/tailmarket/internal/config"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "api:", err)
		os.Exit(1)
	}
}

// command is one word after "api".
type command struct {
	name, help string
	run        func(ctx context.Context, e env) error
}

// env is what a command may use.
type env struct {
	args           []string
	environ        []string
	stdout, stderr io.Writer
}

func commands() []command {
	return []command{
		{"migrate", "bring the database's schema to the newest version", migrate},
		{"config", "show the effective settings, secrets hidden", showConfig},
	}
}

func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	if len(args) > 0 {
		for _, c := range commands() {
			if c.name == args[0] {
				err := c.run(ctx, env{args[1:], environ, stdout, stderr})
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
	if len(args) == 0 {
		return errors.New("name a command")
	}
	return fmt.Errorf("there is no command %q", args[0])
}

// settings parses a command's flags and loads the settings.
func (e env) settings(name string, more func(*flag.FlagSet)) (config.Config, error) {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(e.stderr)
	path := fs.String("config", "", "path of a YAML file with settings")
	if more != nil {
		more(fs)
	}
	if err := fs.Parse(e.args); err != nil {
		return config.Config{}, err
	}
	if fs.NArg() > 0 {
		return config.Config{}, fmt.Errorf("%s takes no argument %q", name, fs.Arg(0))
	}
	return config.Load(e.environ, *path)
}

func (e env) logger() *slog.Logger { return slog.New(slog.NewTextHandler(e.stderr, nil)) }

func migrate(ctx context.Context, e env) error {
	c, err := e.settings("migrate", nil)
	if err != nil {
		return err
	}
	b, err := app.OpenBase(ctx, c, e.logger())
	if err != nil {
		return err
	}
	defer func() { _ = b.Close() }()
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
}

func showConfig(_ context.Context, e env) error {
	c, err := e.settings("config", nil)
	if err != nil {
		return err
	}
	return c.Print(e.stdout)
}
