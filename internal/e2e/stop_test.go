package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/simulator"
	"github.com/tailmarket/tailmarket/internal/store"
)

// slowly begins a request and returns once its handler reads the body, of which
// finish sends the rest.
func (s *shop) slowly(path, contentType, body string) (finish func() (*http.Response, error), drop func()) {
	s.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience)) // only so that a failure does not hang
	_, err = fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n",
		path, strings.TrimPrefix(s.url, "http://"), s.key, contentType, len(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r := bufio.NewReader(c)
	if line, err := r.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		s.t.Fatalf("no handler reads: %q %v", line, err)
	}
	if _, err := r.ReadString('\n'); err != nil {
		s.t.Fatal(err)
	}
	return func() (*http.Response, error) {
		if _, err := io.WriteString(c, body); err != nil {
			return nil, err
		}
		return http.ReadResponse(r, nil)
	}, func() { _ = c.Close() }
}

// An app that is told to stop while a producer is sending, a queue is being
// polled and a bill is on its way lets the producer finish, does not wait for the
// marketplace, and leaves everything else to its successor.
func TestStoppingLosesNothing(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, engine store.Engine) {
		var holding atomic.Bool
		held, release := make(chan struct{}, 64), make(chan struct{})
		s := open(t, engine, simulator.Options{
			Weather: simulator.WeatherGood, Channel: simulator.ChannelSQS,
			OnAnswer: func(op, phase string) {
				if op == "BatchMeterUsage" && phase == "received" && holding.Load() {
					held <- struct{}{}
					<-release
				}
			},
		}, silent)
		t.Cleanup(func() { // before the simulator closes, which waits for its calls
			if holding.Swap(false) {
				close(release)
			}
		})
		_, p := s.active()
		send := s.queue()
		batch := func(id, quantity string) string {
			return string(mustJSON(t, []any{usage(p.ID, id, "api_request", quantity, s.sim.Now())}))
		}
		if got := s.call(http.MethodPost, "/v1/usage", cloudBatch, []byte(batch("early", "40"))); got.status != http.StatusOK {
			t.Fatalf("%d %s", got.status, got.body)
		}

		// Time goes on until the bill of that hour is at the marketplace, which takes its time.
		holding.Store(true)
		advanced := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			advanced <- s.sim.Advance(ctx, s.sim.Now().Add(3*time.Hour))
		}()
		select {
		case <-held:
		case <-time.After(patience):
			t.Fatal("nothing was billed")
		}
		finish, drop := s.slowly("/v1/usage", cloudBatch, batch("late", "2"))
		defer drop()

		stopped := make(chan error, 1)
		go func() { stopped <- s.stop() }()
		s.eventually("nobody is let in any more", func() bool {
			c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
			if err == nil {
				_ = c.Close()
			}
			return err != nil
		})
		res, err := finish()
		if err != nil {
			t.Fatalf("a request under way was cut: %v", err)
		}
		raw, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(raw), `"accepted"`) {
			t.Errorf("a request under way: %d %s %v", res.StatusCode, raw, err)
		}
		send(licensed(s.sim, "meanwhile", nil)) // while nobody listens, or somebody still does
		if err := <-stopped; err != nil {
			t.Fatalf("stopped with %v", err)
		}

		// The marketplace's answer comes to nobody. The successor finds out.
		holding.Store(false)
		close(release)
		s.start()
		if err := <-advanced; err != nil {
			t.Fatal(err)
		}
		s.advance(3 * time.Hour)
		s.eventually("the queue is drained", func() bool { return s.sim.Rest().Queue == 0 })
		var ledger struct {
			Broken int `json:"conservation_broken"`
			Unsure string
			Meters []struct{ Subscription, Meter, Measured, Accepted, Open, Queued, Sent, Unsure string }
		}
		s.get("/v1/conservation", &ledger)
		billed := map[string]int64{}
		for _, l := range s.sim.Bill().Lines {
			billed[l.Dimension] = l.Quantity
			for _, slot := range l.Slots { // the row that was cut is worked next, not when something else marks it
				if late := slot.At.Sub(slot.Hour.Add(time.Hour)); l.Dimension == "api_request" && late > time.Minute {
					t.Errorf("%s of %s was billed %s late", l.Dimension, slot.Hour, late)
				}
			}
		}
		found := false
		for _, m := range ledger.Meters {
			if m.Meter == "api_request" {
				found = m.Measured == "42" && m.Accepted == "42" && m.Open == "0" && m.Queued == "0" && m.Sent == "0" && m.Unsure == "0"
			}
		}
		if !found || ledger.Broken != 0 || ledger.Unsure != "0" || billed["api_request"] != 42 {
			t.Errorf("ledger %+v, billed %v", ledger, billed)
		}
		known := false
		for _, q := range s.purchases() {
			known = known || strings.HasSuffix(q.Purchase, ":l-meanwhile")
		}
		if c := s.counts(); !known || c.Quarantined != 0 {
			t.Errorf("the message that came meanwhile is lost: %+v", s.purchases())
		}
	})
}

// Who sends half a request and then nothing does not keep the app from stopping.
func TestStoppingWaitsForNobodyWhoHangs(t *testing.T) {
	t.Parallel()
	s := open(t, store.SQLite, simulator.Options{Weather: simulator.WeatherGood}, silent, "TAILMARKET_LIMITS_REQUEST_TIMEOUT=1s", "TAILMARKET_LIMITS_HEADER_TIMEOUT=1s")
	_, drop := s.slowly("/v1/usage", cloudBatch, "[]")
	defer drop()
	if err := s.stop(); err != nil { // gives up after a minute
		t.Error(err)
	}
}
