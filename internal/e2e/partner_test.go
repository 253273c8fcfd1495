package e2e

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tailmarket/tailmarket/internal/simulator"
	"github.com/tailmarket/tailmarket/internal/store"
)

// kept is a log that many goroutines write and a test reads.
type kept struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (k *kept) Write(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.b.Write(p)
}

func (k *kept) String() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.b.String()
}

// Buyers with browsers of their own follow a partner's link, or none, buy, and
// come back by the marketplace's POST. In the end each is tagged with what it
// did, whatever the weather did to the messages.
func TestEveryCustomerIsTaggedWithWhoBroughtIt(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, engine store.Engine) {
		var log kept
		s := open(t, engine, simulator.Options{Seed: 3, Weather: simulator.WeatherHostile}, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
		links := map[string]string{}
		for _, name := range []string{"Hawk", "Owl"} {
			var made struct{ ID, URL string }
			s.post("/v1/partners", map[string]string{"name": name}, &made)
			s.post("/v1/partners/"+made.ID+"/links", map[string]string{"marketplace": "aws", "product": "tailnet"}, &made)
			links[name] = made.URL
		}
		want := map[string]string{}
		for i, partner := range []string{"Hawk", "", "Owl", "Hawk", ""} {
			b, err := s.sim.Buy(context.Background(), simulator.Purchase{Referral: links[partner], Habits: &simulator.Habits{After: 90 * time.Second, Twice: i%2 == 0}})
			if err != nil {
				t.Fatal(err)
			}
			want[b.Account] = "public_listing by " + partner
			s.advance(10 * time.Minute)
		}
		s.advance(2 * time.Hour)

		var tags struct {
			Items []struct{ Account, Route, Partner, Evidence string }
		}
		s.get("/v1/attribution", &tags)
		got := map[string]string{}
		for _, a := range tags.Items {
			got[a.Account] = a.Route + " by " + a.Partner
			if a.Evidence == "" || (a.Partner != "") != strings.Contains(a.Evidence, "referral link lnk_") {
				t.Errorf("%s of %q is tagged by %q", a.Account, a.Partner, a.Evidence)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-what they did +how they are tagged)\n%s", diff)
		}
		var values struct {
			Items []struct {
				Channel   string
				Customers int
			}
		}
		s.get("/v1/value-by-channel", &values)
		channels := map[string]int{}
		for _, v := range values.Items {
			channels[v.Channel] = v.Customers
		}
		if diff := cmp.Diff(map[string]int{"Hawk, public listing": 2, "Owl, public listing": 1, "no partner, public listing": 2}, channels); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		for name, link := range links {
			if token := link[strings.LastIndex(link, "/")+1:]; strings.Contains(log.String(), token) {
				t.Errorf("the link of %s is in the log", name)
			}
		}
		if !strings.Contains(log.String(), "/r/:token") {
			t.Error("nobody followed a link, by the log")
		}
	})
}
