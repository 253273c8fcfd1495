package simulator_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/simulator"
)

// bare is a simulator without any app.
func bare(t *testing.T, o simulator.Options) *simulator.Simulator {
	t.Helper()
	s, err := simulator.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestTheClockStandsStillWithoutAnIdleReport(t *testing.T) {
	t.Parallel()
	s := bare(t, simulator.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := s.Advance(ctx, start.Add(time.Hour))
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no idle report") {
		t.Errorf("advance: %v", err)
	}
	if !s.Now().Equal(start) {
		t.Errorf("the clock went to %s alone", s.Now())
	}
}

// report keeps reporting idle, as an app without work does, and gives the times it was told in the end.
func report(t *testing.T, s *simulator.Simulator, replica string) (told func() []string) {
	ctx, cancel := context.WithCancel(t.Context())
	var times []string
	done := make(chan struct{})
	go func() {
		defer close(done)
		for now, last := s.Now(), (time.Time{}); ctx.Err() == nil; now = s.Idle(ctx, replica, now) {
			if !now.Equal(last) {
				times = append(times, now.Format("04:05"))
			}
			last = now
		}
	}()
	told = func() []string {
		cancel()
		<-done
		return times
	}
	t.Cleanup(func() { told() })
	return told
}

func TestTheClockGoesInStepsOfFiveMinutesAndStopsAtItsOwnEvents(t *testing.T) {
	t.Parallel()
	s := bare(t, simulator.Options{Weather: simulator.WeatherGood})
	told := report(t, s, "r")
	if err := s.Advance(t.Context(), start.Add(12*time.Minute)); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(told(), " "); got != "00:00 05:00 10:00 12:00" {
		t.Errorf("a quiet clock went %s", got)
	}
	w := setup(t, simulator.Options{Weather: simulator.WeatherGood})
	b := w.buy(simulator.Purchase{Habits: absent()})
	w.advance(11 * time.Second)
	if n := len(w.app.seen()); n != 1 {
		t.Errorf("%d events 11 seconds after purchase %s", n, b.ID)
	}
	w.advance(time.Hour)
	if w.app.seen()[1].Time != "2026-11-03T00:01:12Z" {
		t.Errorf("events %v", w.app.seen())
	}
}

func TestTheClockWaitsForEachReplica(t *testing.T) {
	t.Parallel()
	s := bare(t, simulator.Options{Weather: simulator.WeatherGood, Replicas: 2})
	report(t, s, "a")
	again := report(t, s, "a") // a second report of the same replica is not the other's
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Advance(ctx, start.Add(time.Hour)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one of two replicas reported, and the clock moved to %s: %v", s.Now(), err)
	}
	again()
	told := report(t, s, "b")
	if err := s.Advance(t.Context(), start.Add(10*time.Minute)); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(told(), " "); got != "00:00 05:00 10:00" {
		t.Errorf("with both, the clock went %s", got)
	}
}

func TestAnIdleReportMadeBeforeAnActivityIsNotBelieved(t *testing.T) {
	t.Parallel()
	s := bare(t, simulator.Options{Weather: simulator.WeatherGood})
	answered := func(ctx context.Context) <-chan time.Time {
		c := make(chan time.Time, 1)
		go func() { c <- s.Idle(ctx, "r", start) }()
		return c
	}
	wait := func(c <-chan time.Time) {
		t.Helper()
		select {
		case got := <-c:
			if !got.Equal(start) {
				t.Errorf("the clock moved to %s", got)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("the report was held")
		}
	}
	wait(answered(t.Context())) // the first is a greeting: nothing is known of when it looked
	held := answered(t.Context())
	s.Activity()
	wait(held)
	s.Activity() // between the answer and the next report: it may have looked before
	wait(answered(t.Context()))

	ctx, cancel := context.WithCancel(t.Context())
	held = answered(ctx)
	cancel() // the app died
	wait(held)
	report(t, s, "r")
	if err := s.Advance(t.Context(), start.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
}

func TestAConnectionThatDiesIsDeliveredAgainWhileTheClockWaits(t *testing.T) {
	t.Parallel()
	w := setup(t, simulator.Options{Weather: simulator.WeatherGood, Channel: simulator.ChannelHTTPS})
	w.buy(simulator.Purchase{Habits: absent()})
	w.app.setDown(true)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := w.sim.Advance(ctx, start.Add(time.Hour)); err == nil {
		t.Fatal("the clock passed a delivery that nobody took")
	}
	if now := w.sim.Now(); !now.Equal(start.Add(11 * time.Second)) {
		t.Errorf("the clock stands at %s", now)
	}
	w.app.setDown(false)
	w.advance(time.Hour)
	if n := len(w.app.seen()); n != 2 {
		t.Errorf("%d events", n)
	}
	if d := w.sim.Rest().Totals; d.Attempts <= d.Accepted || d.Accepted != 2 {
		t.Errorf("deliveries %+v", d)
	}
}

func TestADayCostsFewReports(t *testing.T) {
	t.Parallel()
	w := setup(t, simulator.Options{Weather: simulator.WeatherGood})
	w.advance(24 * time.Hour)
	w.app.mu.Lock()
	defer w.app.mu.Unlock()
	if w.app.idles > 300 { // 288 steps
		t.Errorf("%d idle reports for a quiet day", w.app.idles)
	}
}

func TestControlAPI(t *testing.T) {
	t.Parallel()
	w := setup(t, simulator.Options{Seed: 2})
	ask := func(method, path, body string, into any) int {
		t.Helper()
		req, _ := http.NewRequestWithContext(t.Context(), method, w.sim.ControlURL()+path, bytes.NewBufferString(body))
		resp, err := w.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		if into != nil {
			if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
		}
		return resp.StatusCode
	}
	var b simulator.Buyer
	ask("POST", "/buy", `{"email":"bo@example.com","tailnet_name":"bo","habits":{"after":30000000000}}`, &b)
	ask("POST", "/faults", `{"weather":"good","off":["drop"],"force":[{"kind":"repeat","times":1}]}`, nil)
	var at struct{ Now time.Time }
	if code := ask("POST", "/clock/advance", `{"by":"1h"}`, &at); code != 200 || !at.Now.Equal(start.Add(time.Hour)) {
		t.Fatalf("advance %d %v", code, at)
	}
	ask("POST", "/change", `{"id":"buyer-1","kind":"renew"}`, &b)
	ask("POST", "/suspend", `{"id":"buyer-1"}`, nil)
	ask("POST", "/suspend", `{"id":"buyer-1","lift":true}`, nil)
	ask("POST", "/cancel", `{"id":"buyer-1"}`, &b)
	if b.Status != "CANCELLED" || b.Email != "bo@example.com" || !b.JoinKeySeen {
		t.Errorf("buyer %+v", b)
	}
	ask("POST", "/clock/advance", `{"to":"2026-11-03T03:00:00Z"}`, &at)
	var rest simulator.RestReport
	if ask("GET", "/rest", "", &rest); !rest.AtRest {
		t.Errorf("rest %+v %v", rest, w.sim.Agenda())
	}
	faults := map[string]int{}
	if ask("GET", "/faults", "", &faults); faults["repeat"] == 0 {
		t.Errorf("faults %v", faults)
	}
	for _, k := range simulator.Kinds(simulator.AWS, simulator.Azure) {
		if _, ok := faults[string(k)]; !ok {
			t.Errorf("faults %v: no %s", faults, k)
		}
	}
	for path, body := range map[string]string{
		"/buy": `{"colour":"red"}`, "/cancel": `{"id":"buyer-9"}`, "/faults": `{"off":["rain"]}`, "/clock/idle": `{}`,
		"/clock/advance": `{}`, "/change": `{"id":"buyer-1"}`,
	} {
		var e struct{ Error string }
		if code := ask("POST", path, body, &e); code != http.StatusBadRequest || e.Error == "" {
			t.Errorf("%s %s: %d %q", path, body, code, e.Error)
		}
	}
	for _, path := range []string{"/bill", "/clock", "/healthz", "/buyers", "/agenda"} {
		if code := ask("GET", path, "", new(any)); code != 200 {
			t.Errorf("%s: %d", path, code)
		}
	}
}

func TestOptionsAreCheckedTogether(t *testing.T) {
	t.Parallel()
	_, err := simulator.New(simulator.Options{
		Weather: "rainy", Channel: "pigeon", Products: []simulator.Product{{}}, Listen: simulator.Listen{AWS: "0.0.0.0:0", Control: "x"},
	})
	for _, part := range []string{"rainy", "pigeon", "product 0", "loopback only", `"x"`} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error does not tell of %s: %v", part, err)
		}
	}
}
