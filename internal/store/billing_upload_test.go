package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/billing/ledger"
	"github.com/tailmarket/tailmarket/internal/billing/usagefile"
	"github.com/tailmarket/tailmarket/internal/catalog"
)

// upload reads a file and stores it, or tells what that would do.
func (w *meterWorld) upload(text string, store bool) usagefile.Report {
	w.t.Helper()
	m, err := usagefile.Load("tailmarket")
	w.ok(err)
	rows, err := usagefile.Read(strings.NewReader("id,operation,subject,time,meter,quantity\n"+text), m)
	w.ok(err)
	rep, err := usagefile.Upload(w.t.Context(), w, rows, store)
	w.ok(err)
	return rep
}

func (w *meterWorld) rows(n int) string {
	var b strings.Builder
	for i := range n {
		_, _ = fmt.Fprintf(&b, ",,%s,%s,api_request,0.5\n", w.sub, w.now.Add(-time.Duration(i/2)*time.Second).Format(time.RFC3339))
	}
	return b.String()
}

func TestMeteringUploads(t *testing.T) {
	t.Parallel()
	stories(t, map[string]func(w *meterWorld){
		"tried, stored, and stored again": func(w *meterWorld) {
			w.now = w.now.Add(40 * time.Minute)
			file := w.rows(400)
			for range 2 {
				rep := w.upload(file, false)
				if rep.Rows != 400 || rep.Accepted != 400 || len(rep.Totals) != 1 || rep.Totals[0].Quantity != "200" || rep.Totals[0].Events != 400 {
					w.t.Fatalf("tried: %+v", rep)
				}
				w.places("api_request", map[ledger.Place]string{}) // nothing was kept
			}
			if rep := w.upload(file, true); rep.Accepted != 400 || rep.Totals[0].Quantity != "200" {
				w.t.Fatalf("stored: %+v", rep)
			}
			w.places("api_request", map[ledger.Place]string{ledger.Open: "200"})
			if rep := w.upload(file, false); rep.Accepted != 0 || rep.Again != 400 {
				w.t.Fatalf("tried again: %+v", rep)
			}
			longer := file + fmt.Sprintf(",,%s,%s,api_request,7\n", w.sub, w.now.Format(time.RFC3339))
			if rep := w.upload(longer, true); rep.Accepted != 1 || rep.Again != 400 || rep.Totals[0].Quantity != "7" {
				w.t.Fatalf("stored again, with a row more: %+v", rep)
			}
			w.places("api_request", map[ledger.Place]string{ledger.Open: "207"})
		},
		"a try tells what storing does": func(w *meterWorld) {
			w.natural(catalog.Ever)
			at := w.now.Format(time.RFC3339)
			row := func(id, op, sub, meter, q string) string {
				return strings.Join([]string{id, op, sub, at, meter, q}, ",") + "\n"
			}
			file := row("a", "one", string(w.sub), "api_request", "1") + row("b", "two", string(w.sub), "api_request", "2") +
				row("w", "six", "sub_nobody", "api_request", "1")
			for i := range 170 { // so that what follows stands in another chunk
				file += row(fmt.Sprint("f", i), fmt.Sprint("f", i), string(w.sub), "api_request", "1")
			}
			file += row("a", "one", string(w.sub), "api_request", "1") + // the same again
				row("a", "one", string(w.sub), "api_request", "9") + // the same name, another quantity
				row("c", "one", string(w.sub), "api_request", "1") + // the same operation, another name
				row("d", "two", string(w.sub), "api_request", "9") + // the same operation, another quantity
				row("e", "", string(w.sub), "api_request", "1") + // no operation
				row("w", "six", "sub_nobody", "api_request", "1") // waits, as it does
			tried := w.upload(file, false)
			w.places("api_request", map[ledger.Place]string{})
			stored := w.upload(file, true)
			w.places("api_request", map[ledger.Place]string{ledger.Open: "173"})
			lines := func(r usagefile.Report) (out []string) {
				for _, p := range r.Problems {
					out = append(out, fmt.Sprint(p.Line, " ", p.Outcome))
				}
				return out
			}
			if tried.Accepted != stored.Accepted || tried.Again != stored.Again || tried.Waiting != stored.Waiting || tried.Refused != stored.Refused || !slices.Equal(lines(tried), lines(stored)) {
				w.t.Errorf("tried  %+v\nstored %+v", tried, stored)
			}
			if stored.Accepted != 172 || stored.Again != 2 || stored.Waiting != 2 || stored.Refused != 3 || stored.Problems[0].Line != 4 || stored.Problems[0].Outcome != billing.Quarantine {
				w.t.Errorf("stored %+v", stored)
			}
		},
	})
}
