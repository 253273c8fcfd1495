package store_test

import (
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

func TestMetering(t *testing.T) {
	t.Parallel()
	stories(t, map[string]func(w *meterWorld){
		"fractions are carried and written off at the end": func(w *meterWorld) {
			for range 5 {
				w.use("api_request", "0.7", "", w.now)
				w.now = w.now.Add(time.Hour)
				w.seal()
				w.send()
			}
			w.want("api_request", "3.5", "3", "0.5", "0", "0")
			x := w.term[w.sub]
			x.EndsAt = w.now
			w.term[w.sub] = x
			w.cover()
			for range 3 {
				if _, err := w.Close(w.t.Context(), w.sub); err != nil {
					w.t.Fatal(err)
				}
				w.send()
			}
			w.want("api_request", "3.5", "3", "0", "0.5", "0")
			late := w.use("api_request", "2", "", w.now.Add(-time.Hour))
			w.want("api_request", "5.5", "3", "0", "2.5", "0")
			w.use("api_request", "0", "", w.now, late)
			w.want("api_request", "3.5", "3", "0", "0.5", "0")
		},
		"answer lost after acceptance, then a duplicate": func(w *meterWorld) {
			w.v.weather = func(call int, _ []marketplace.Record) string { return map[int]string{1: "lost"}[call] }
			w.use("api_request", "5", "", w.now)
			w.now = w.now.Add(time.Hour)
			w.seal()
			w.send()
			w.want("api_request", "5", "5", "0", "0", "0")
		},
		"a duplicate that no attempt explains is unsure, and never sent again": func(w *meterWorld) {
			w.use("api_request", "5", "", w.now)
			w.v.slots[string(w.sub)+"|api_request|"+clock.HourOf(w.now).String()] = "77"
			w.now = w.now.Add(time.Hour)
			w.seal()
			w.send()
			w.v.weather = func(int, []marketplace.Record) string { return "lost" }
			w.send()
			if m := w.row("api_request"); m.Unsure != "5" || m.Accepted != "0" {
				w.t.Fatalf("%+v", m)
			}
			if f, err := w.Findings(w.t.Context(), true); err != nil || len(f) != 1 || f[0].Class != billing.FindUnexplainedDuplicate {
				w.t.Fatalf("%+v %v", f, err)
			}
		},
		"unique, peak and what is included": func(w *meterWorld) {
			for i, of := range []string{"ann", "bob", "ann"} {
				w.use("active_user", "1", of, w.now.Add(time.Duration(i)*time.Minute))
			}
			w.use("tagged_resource", "53", "", w.now)
			w.use("tagged_resource", "51", "", w.now)
			w.use("ephemeral_minute", "1002.25", "", w.now)
			w.now = w.now.Add(time.Hour)
			w.cover()
			w.seal()
			w.send()
			w.want("active_user", "2", "2", "0", "0", "0")
			w.want("tagged_resource", "53", "3", "0", "0", "0")
			w.want("ephemeral_minute", "1002.25", "2", "0.25", "0", "0")
		},
		"one bad record does not stop the others, unprocessed ones are sent again": func(w *meterWorld) {
			h := clock.HourOf(w.now)
			w.v.bad, w.v.single = string(w.sub)+"|api_request|"+h.Next().String(), marketplace.OutcomeExpired
			w.v.weather = func(call int, _ []marketplace.Record) string {
				return map[int]string{1: "throttle", 3: "unprocessed"}[call]
			}
			for range 6 {
				w.use("api_request", "1", "", w.now)
				w.now = w.now.Add(time.Hour)
				w.seal()
			}
			w.send()
			w.now = w.now.Add(time.Hour)
			w.seal()
			w.send()
			w.want("api_request", "6", "6", "0", "0", "0")
			if n := len(w.billed("api_request")); n != 6 { // five hours and the one that took the bad one's unit
				w.t.Fatalf("%d slots; a record was refused for another one's fault", n)
			}
		},
	})
}
