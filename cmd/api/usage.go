package main

import (
	"context"
	"encoding/csv"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/tailmarket/tailmarket/internal/app"
)

const usageUsage = `write:
  api usage upload [-store] [-mapping NAME|FILE.yaml] [-source S] [-quantity COLUMN] [-meter THEIRS=OURS …] [-subjects FILE.csv] FILE
it tells what would be counted; -store counts it, and the same file again adds nothing`

// usage uploads files of usage.
func usage(ctx context.Context, e env) error {
	if len(e.args) < 2 || e.args[0] != "upload" || strings.HasPrefix(e.args[len(e.args)-1], "-") {
		return errors.New(usageUsage)
	}
	path := e.args[len(e.args)-1]
	e.command, e.args = "usage upload", e.args[1:len(e.args)-1]
	u := app.Upload{Actor: actor, Meters: map[string]string{}}
	subjects := ""
	flags := func(fs *flag.FlagSet) {
		fs.BoolVar(&u.Store, "store", false, "count it; without, only tell what would be counted")
		fs.StringVar(&u.Mapping, "mapping", "tailmarket", "what the columns are: tailmarket, stripe, orb, metronome, lago, openmeter, or the path of a .yaml file")
		fs.StringVar(&u.Source, "source", "", "the events' source, instead of the mapping's")
		fs.StringVar(&u.Quantity, "quantity", "", "the column of the quantity, such as properties.gb, instead of the mapping's")
		fs.StringVar(&subjects, "subjects", "", "path of a CSV file without a header: their customer, our purchase or tailnet")
		fs.Func("meter", "THEIRS=OURS: a meter that is named otherwise in the file; may be repeated", func(s string) error {
			theirs, ours, ok := strings.Cut(s, "=")
			if !ok {
				return errors.New("write THEIRS=OURS")
			}
			u.Meters[theirs] = ours
			return nil
		})
	}
	return e.with(ctx, flags, func(b *app.Base) (err error) {
		if u.Subjects, err = readSubjects(subjects); err != nil {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		r, err := b.UploadUsage(ctx, f, u)
		if err != nil {
			return err
		}
		would := ""
		if !u.Store {
			would = "would be "
		}
		text := fmt.Sprintf("%d rows: %d %scounted, %d counted before, %d %skept until their cause is mended, %d refused\n\n", r.Rows, r.Accepted, would, r.Again, r.Waiting, would, r.Refused)
		text += "subject\tmeter\tevents\tquantity\n"
		for _, t := range r.Totals {
			text += fmt.Sprintf("%s\t%s\t%d\t%s\n", t.Subject, t.Meter, t.Events, t.Quantity)
		}
		const shown = 50
		for i, p := range r.Problems {
			if i == shown {
				text += fmt.Sprintf("and %d more\n", len(r.Problems)-shown)
				break
			}
			text += fmt.Sprintf("line %d: %s: %s\n", p.Line, p.Outcome, p.Why)
		}
		if !u.Store {
			text += "\nNothing was stored. Add -store to count it.\n"
		}
		w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
		_, werr := io.WriteString(w, text)
		err = errors.Join(werr, w.Flush())
		if r.Refused > 0 {
			err = errors.Join(err, fmt.Errorf("%d rows are refused; mend them and upload the file again", r.Refused))
		}
		return err
	})
}

func readSubjects(path string) (map[string]string, error) {
	out := map[string]string{}
	if path == "" {
		return out, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	r := csv.NewReader(f)
	r.FieldsPerRecord, r.TrimLeadingSpace = 2, true
	all, err := r.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, line := range all {
		out[line[0]] = line[1]
	}
	return out, nil
}
