package clock

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// Remote follows the business clock of a simulator on loopback. The simulator
// moves time only after it heard from us that nothing is due; see
// docs/simulator.md.
type Remote struct {
	url  string
	http *http.Client

	mu    sync.Mutex
	now   time.Time
	moved chan struct{}
}

// NewRemote asks the clock at url once, so that the first Now is a true one.
func NewRemote(ctx context.Context, url string, hc *http.Client) (*Remote, error) {
	r := &Remote{url: url, http: hc, moved: make(chan struct{})}
	if err := r.ask(ctx, http.MethodGet, "/clock", nil); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Remote) Now() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

func (r *Remote) Moved() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.moved
}

// Idle reports that nothing was due at the instant at, and returns when the
// clock has moved past it or when something happened that may have made work;
// look again after every return. It blocks for about ten seconds at most. The
// simulator believes a report only when nothing happened since it last answered
// this replica, so work that arrives between looking and reporting is not missed.
func (r *Remote) Idle(ctx context.Context, at time.Time, replica string) error {
	body, err := json.Marshal(map[string]any{"now": at, "replica": replica})
	if err != nil {
		return err
	}
	return r.ask(ctx, http.MethodPost, "/clock/idle", body)
}

func (r *Remote) ask(ctx context.Context, method, path string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, method, r.url+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("ask the clock: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := r.http.Do(req)
	if err != nil {
		return fmt.Errorf("ask the clock: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	var answer struct {
		Now time.Time `json:"now"`
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("ask the clock: status %d", res.StatusCode)
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, 4096)).Decode(&answer); err != nil {
		return fmt.Errorf("ask the clock: %w", err)
	}
	r.set(answer.Now.UTC())
	return nil
}

func (r *Remote) set(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !now.After(r.now) {
		return // business time never goes back
	}
	r.now = now
	close(r.moved)
	r.moved = make(chan struct{})
}
