package usage_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tailmarket/tailmarket/pkg/usage"
)

var used = time.Date(2026, 11, 3, 7, 0, 0, 0, time.UTC)

func fact(id string) usage.Event {
	return usage.Event{ID: id, Subject: "sub_1", Time: used, Meter: "api_request", Quantity: "1.5"}
}

// server counts an identity once, as ours does, and has weather.
type server struct {
	mu      sync.Mutex
	bodies  [][]byte
	counted map[string]string // identity → content
	times   map[string]int    // how often it was sent
	weather func(call int, n int) *http.Response
	after   func(call int) error // the answer is lost
}

func newServer() *server {
	return &server{counted: map[string]string{}, times: map[string]int{}}
}

func (s *server) calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.bodies)
}

func (s *server) facts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.counted)
}

func answer(status int, body string, header ...string) *http.Response {
	r := &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body)), Header: http.Header{}}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

func (s *server) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bodies = append(s.bodies, body)
	call := len(s.bodies)
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	var events []struct {
		ID, Source string
		Data       json.RawMessage
	}
	if err := json.NewDecoder(z).Decode(&events); err != nil {
		return nil, err
	}
	if r.URL.String() != "https://sell.example/v1/usage" || r.Header.Get("Authorization") != "Bearer k" || r.Header.Get("Content-Type") != "application/cloudevents-batch+json" {
		return answer(http.StatusNotFound, "no such page"), nil
	}
	if s.weather != nil {
		if res := s.weather(call, len(events)); res != nil {
			return res, nil
		}
	}
	results := make([]usage.Result, len(events))
	for i, e := range events {
		name := e.Source + "|" + e.ID
		s.times[name]++
		results[i] = usage.Result{Source: e.Source, ID: e.ID, Outcome: usage.Accepted, Stored: true}
		switch content, known := s.counted[name]; {
		case strings.HasPrefix(e.ID, "bad"):
			results[i].Outcome, results[i].Stored = usage.Invalid, false
		case known && content != string(e.Data):
			results[i].Outcome, results[i].Stored = usage.Conflict, false
		case known:
			results[i].Outcome = usage.Duplicate
		default:
			s.counted[name] = string(e.Data)
		}
	}
	if s.after != nil {
		if err := s.after(call); err != nil {
			return nil, err
		}
	}
	out, err := json.Marshal(map[string]any{"results": results})
	return answer(http.StatusMultiStatus, string(out)), err
}

func client(t *testing.T, s *server, batch int) *usage.Client {
	t.Helper()
	c, err := usage.New(usage.Options{URL: "https://sell.example/", Key: "k", Source: "meter", Batch: batch, HTTP: &http.Client{Transport: s}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestACallIsRepeatedWithTheSameIDs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		s.weather = func(call, _ int) *http.Response {
			switch call {
			case 1:
				return answer(http.StatusServiceUnavailable, "", "Retry-After", "7")
			case 2:
				return answer(http.StatusTooManyRequests, "", "Retry-After", "40")
			case 3:
				return answer(http.StatusOK, `{"results":[]}`) // not ours: it answers for nobody
			}
			return nil
		}
		s.after = func(call int) error {
			if call == 4 {
				return errors.New("cut")
			}
			return nil
		}
		begun := time.Now()
		e := fact("")
		e.Source = "other"
		got, err := client(t, s, 0).Send(t.Context(), fact("1"), e)
		if err != nil || len(got) != 2 || got[0].Outcome != usage.Duplicate || got[1].ID == "" || got[1].Source != "other" {
			t.Fatalf("%+v %v", got, err)
		}
		for _, b := range s.bodies {
			if !bytes.Equal(b, s.bodies[0]) {
				t.Error("a repetition sends something else")
			}
		}
		if len(s.bodies) != 5 || len(s.counted) != 2 {
			t.Errorf("%d calls, %d facts", len(s.bodies), len(s.counted))
		}
		if d := time.Since(begun); d < 47*time.Second || d > 60*time.Second {
			t.Errorf("it took %s, though it was told to wait 7 and 40 seconds", d)
		}
	})
}

func TestWhatIsRefusedWholeIsNotRepeated(t *testing.T) {
	t.Parallel()
	s := newServer()
	s.weather = func(int, int) *http.Response {
		return answer(http.StatusForbidden, `{"type":"urn:tailmarket:problem:source_not_allowed","title":"This key is for other sources","status":403,"detail":"1 place"}`)
	}
	_, err := client(t, s, 0).Send(t.Context(), fact("1"))
	var refused *usage.Error
	if !errors.As(err, &refused) || refused.Status != http.StatusForbidden || refused.Type != "urn:tailmarket:problem:source_not_allowed" || refused.Detail != "1 place" || len(s.bodies) != 1 {
		t.Fatalf("%v after %d calls", err, len(s.bodies))
	}
}

func TestABatchThatIsTooLargeIsHalved(t *testing.T) {
	t.Parallel()
	s := newServer()
	s.weather = func(_, n int) *http.Response {
		if n > 3 {
			return answer(http.StatusRequestEntityTooLarge, "{}")
		}
		return nil
	}
	var events []usage.Event
	for i := range 10 {
		events = append(events, fact(fmt.Sprint(i)))
	}
	got, err := client(t, s, 10).Send(t.Context(), events...)
	if err != nil || len(got) != 10 || len(s.counted) != 10 || got[9].ID != "9" {
		t.Fatalf("%d results, %d facts, %v", len(got), len(s.counted), err)
	}
}

func TestSendEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		s.weather = func(int, int) *http.Response { return answer(http.StatusBadGateway, "<html>") }
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_, err := client(t, s, 0).Send(ctx, fact("1"))
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "502") || len(s.bodies) < 100 || len(s.bodies) > 400 {
			t.Fatalf("%v after %d calls", err, len(s.bodies))
		}
	})
}

func TestAnEventNeedsItsFacts(t *testing.T) {
	t.Parallel()
	c := client(t, newServer(), 0)
	for name, edit := range map[string]func(*usage.Event){
		"quantity": func(e *usage.Event) { e.Quantity = "" },
		"subject":  func(e *usage.Event) { e.Subject = "" },
		"meter":    func(e *usage.Event) { e.Meter = "" },
		"time":     func(e *usage.Event) { e.Time = time.Time{} },
	} {
		e := fact("1")
		edit(&e)
		if _, err := c.Send(t.Context(), e); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
	if got, err := c.Send(t.Context(), usage.Event{Quantity: "0", Corrects: &usage.Ref{Source: "meter", ID: "1"}}); err != nil || got[0].Outcome != usage.Accepted {
		t.Errorf("a correction inherits what it corrects: %+v %v", got, err)
	}
	for _, o := range []usage.Options{{}, {URL: "u"}, {URL: "u", Key: "k", Batch: usage.MaxBatch + 1}} {
		if _, err := usage.New(o); err == nil {
			t.Errorf("%+v makes a client", o)
		}
	}
}
