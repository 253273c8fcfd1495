package usage

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// MaxBatch is the most events that one call may have.
	MaxBatch = 10_000

	defaultBatch = 1000
	minBackoff   = 500 * time.Millisecond
	maxBackoff   = 30 * time.Second
	maxAnswer    = 64 << 20
)

// Options are what a Client is made of; URL and Key are required.
type Options struct {
	URL    string       // of the server, such as https://sell.vendor.example
	Key    string       // a producer's key, as “api key add” printed it
	Source string       // of events that name none
	Batch  int          // events a call; 0: 1000
	HTTP   *http.Client // nil: one with a time-out of 60 seconds
}

// Client sends events. Safe for concurrent use.
type Client struct {
	o    Options
	http *http.Client
}

// New makes a client; it calls nobody yet.
func New(o Options) (*Client, error) {
	if o.URL == "" || o.Key == "" {
		return nil, errors.New("usage: a client needs the server's URL and a key")
	}
	if o.Batch == 0 {
		o.Batch = defaultBatch
	}
	if o.Batch < 1 || o.Batch > MaxBatch {
		return nil, fmt.Errorf("usage: a batch has 1 to %d events", MaxBatch)
	}
	c := &Client{o: o, http: o.HTTP}
	if c.http == nil {
		c.http = &http.Client{Timeout: time.Minute}
	}
	c.o.URL = strings.TrimSuffix(o.URL, "/") + "/v1/usage"
	return c, nil
}

// Error is a call that was refused as a whole, so that nothing of it was stored.
// Trying again does not help before somebody mends what Detail says.
type Error struct {
	Status int
	Type   string // of the problem document; stable
	Title  string
	Detail string
}

func (e *Error) Error() string {
	return fmt.Sprintf("usage: the server refused the call: %d %s: %s", e.Status, e.Title, e.Detail)
}

// Send sends events and answers for each of them, in order. A call that is not
// answered is repeated with the same bytes, with pauses, until ctx ends. With an
// error the results are those of the events that were answered before it; sending
// all again is harmless if the events have ids of their own.
func (c *Client) Send(ctx context.Context, events ...Event) ([]Result, error) {
	raw := make([]json.RawMessage, len(events))
	for i, e := range events {
		var err error
		if raw[i], err = e.encode(c.o.Source); err != nil {
			return nil, err
		}
	}
	return c.send(ctx, raw)
}

func (c *Client) send(ctx context.Context, events []json.RawMessage) ([]Result, error) {
	out := make([]Result, 0, len(events))
	batch := c.o.Batch
	for len(events) > 0 {
		n := min(batch, len(events))
		got, err := c.batch(ctx, events[:n])
		if refused, ok := errors.AsType[*Error](err); ok && refused.Status == http.StatusRequestEntityTooLarge && n > 1 {
			batch = n / 2
			continue
		}
		if err != nil {
			return out, err
		}
		out, events = append(out, got...), events[n:]
	}
	return out, nil
}

// batch repeats one call until it is answered.
func (c *Client) batch(ctx context.Context, events []json.RawMessage) ([]Result, error) {
	body, err := pack(events)
	if err != nil {
		return nil, err
	}
	for n := 0; ; n++ {
		got, wait, err := c.call(ctx, body, len(events))
		if err == nil {
			return got, nil
		}
		if _, final := errors.AsType[*Error](err); final {
			return nil, err
		}
		t := time.NewTimer(max(wait, backoff(n)))
		select {
		case <-ctx.Done():
			t.Stop()
			return nil, errors.Join(ctx.Err(), err)
		case <-t.C:
		}
	}
}

// backoff grows and is spread, so that many clients do not come back at once.
func backoff(n int) time.Duration {
	d := min(minBackoff<<min(n, 10), maxBackoff)
	return d/2 + rand.N(d/2) //nolint:gosec // it spreads load, it keeps no secret
}

func pack(events []json.RawMessage) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if err := errors.Join(json.NewEncoder(z).Encode(events), z.Close()); err != nil {
		return nil, fmt.Errorf("usage: write a batch: %w", err)
	}
	return b.Bytes(), nil
}

// call makes one try. An *Error is final; anything else is tried again, after
// wait when the server has named a time.
func (c *Client) call(ctx context.Context, body []byte, n int) (got []Result, wait time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.o.URL, bytes.NewReader(body))
	if err != nil {
		return nil, 0, &Error{Title: "the address cannot be called", Detail: err.Error()}
	}
	req.Header.Set("Authorization", "Bearer "+c.o.Key)
	req.Header.Set("Content-Type", "application/cloudevents-batch+json")
	req.Header.Set("Content-Encoding", "gzip")
	res, err := c.http.Do(req)
	if err != nil {
		return nil, 0, fmt.Errorf("usage: call the server: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, 0, fmt.Errorf("usage: read the answer: %w", err)
	}
	switch {
	case res.StatusCode == http.StatusOK || res.StatusCode == http.StatusMultiStatus:
		var answer struct {
			Results []Result `json:"results"`
		}
		if err := json.Unmarshal(raw, &answer); err != nil || len(answer.Results) != n {
			return nil, 0, fmt.Errorf("usage: the server answered for %d of %d events: %w", len(answer.Results), n, errors.Join(err, io.ErrUnexpectedEOF))
		}
		return answer.Results, 0, nil
	case res.StatusCode >= 500, res.StatusCode == http.StatusTooManyRequests, res.StatusCode == http.StatusConflict, res.StatusCode == http.StatusRequestTimeout:
		if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s > 0 {
			wait = time.Duration(s) * time.Second
		}
		return nil, wait, fmt.Errorf("usage: the server answered %d", res.StatusCode)
	}
	e := &Error{Status: res.StatusCode, Title: http.StatusText(res.StatusCode)}
	_ = json.Unmarshal(raw, e) // a problem document, or a proxy's page
	e.Status = res.StatusCode
	return nil, 0, e
}
