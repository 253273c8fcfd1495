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
	"github.com/tailmarket/tailmarket/internal/clock"
)

// conservation prints where every unit is.
func conservation(ctx context.Context, e env) error {
	var asJSON bool
	return e.with(ctx, func(fs *flag.FlagSet) { fs.BoolVar(&asJSON, "json", false, "print JSON") }, func(b *app.Base) error {
		r, err := b.Conservation(ctx)
		if err != nil {
			return err
		}
		if asJSON {
			enc := json.NewEncoder(e.stdout)
			enc.SetIndent("", "  ")
			err = enc.Encode(r)
		} else {
			text := row("marketplace", "subscription", "meter", "measured", "credit_left", "=", "open", "carried", "included", "queued", "sent", "unsure", "held", "accepted", "written_off")
			for _, m := range r.Meters {
				text += row(string(m.Marketplace), string(m.Subscription), m.Meter, m.Measured, m.CreditLeft, "=", m.Open, m.Carried, m.Included, m.Queued, m.Sent, m.Unsure, m.Held, m.Accepted, m.WrittenOff)
			}
			for _, p := range r.Problems {
				text += "broken: " + p + "\n"
			}
			w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
			_, werr := io.WriteString(w, text)
			err = errors.Join(werr, w.Flush())
		}
		if r.Broken > 0 {
			err = errors.Join(err, fmt.Errorf("conservation is broken in %d places: stop submitting and look at them", r.Broken))
		}
		return err
	})
}

func row(cells ...string) string { return strings.Join(cells, "\t") + "\t\n" }

// product go-live ends a product's observe mode.
func product(ctx context.Context, e env) error {
	if len(e.args) == 0 || e.args[0] != "go-live" {
		return errors.New("write: api product go-live -from HOUR [-product ID]")
	}
	e.command, e.args = "product go-live", e.args[1:]
	var from, which string
	flags := func(fs *flag.FlagSet) {
		fs.StringVar(&from, "from", "", "the first hour we meter, such as 2026-12-01T00:00:00Z; whoever reported usage before must have stopped by then")
		fs.StringVar(&which, "product", "tailnet", "the product's id in the catalog")
	}
	return e.with(ctx, flags, func(b *app.Base) error {
		at, err := time.Parse(time.RFC3339, from)
		if err != nil || !at.Equal(at.Truncate(time.Hour)) {
			return fmt.Errorf("-from %q is no full hour; write it like %s", from, b.Clock.Now().UTC().Truncate(time.Hour).Add(time.Hour).Format(time.RFC3339))
		}
		s, err := b.OpenSelling(ctx)
		if err != nil {
			return err
		}
		if err := s.Subscriptions.GoLive(ctx, which, clock.HourOf(at), "operator"); err != nil {
			return err
		}
		_, err = fmt.Fprintf(e.stdout, "%s is live from %s\n", which, at.UTC().Format(time.RFC3339))
		return err
	})
}
