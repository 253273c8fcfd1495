package config

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Print writes the effective settings: name, value, and where the value came
// from. Secrets are masked; of the database's address the password is.
func (c Config) Print(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range fields {
		text := fmt.Sprint(f.value(&c).Interface())
		if f.secret() && f.show == "url" {
			text = showURL(c.reveal(f))
		}
		if text == "" {
			text = "-"
		}
		from := c.origin[f.env]
		if from == "" {
			from = "default"
		}
		if _, err := fmt.Fprintf(tw, "%s\t%s\t%s\n", f.env, text, from); err != nil {
			return err
		}
	}
	return tw.Flush()
}

func (c Config) reveal(f field) string {
	s, _ := f.value(&c).Interface().(Secret)
	return s.Reveal()
}
