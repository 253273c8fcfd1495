package simulator

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"time"
)

const (
	deliveryTimeout = 5 * time.Second        // wall: an API destination's limit
	retryFirst      = 20 * time.Millisecond  // wall: first pause after an unreachable app
	retryMost       = 500 * time.Millisecond // wall: longest pause
)

// deliver posts body to the app until it takes or finally refuses it: an unreachable app, a 5xx and the few 4xx that ask
// for another try are retried in short wall time while the clock stands still.
func (s *Simulator) deliver(ctx context.Context, path string, header http.Header, body []byte) {
	for pause := retryFirst; ; pause = min(2*pause, retryMost) {
		status := s.post(ctx, path, header, body)
		s.mu.Lock()
		s.deliveries.Attempts++
		done := true
		switch {
		case status >= 200 && status < 300:
			s.deliveries.Accepted++
		case status == 0, status >= 500, status == http.StatusRequestTimeout, status == http.StatusConflict,
			status == http.StatusTooEarly, status == http.StatusTooManyRequests:
			done = false
		default:
			s.deliveries.Refused++
			s.log.Warn("delivery refused", "status", status)
		}
		s.mu.Unlock()
		if done || !sleep(ctx, pause) {
			return
		}
	}
}

// post makes one attempt and returns its status, or 0 if there was no answer.
func (s *Simulator) post(ctx context.Context, path string, header http.Header, body []byte) int {
	ctx, cancel := context.WithTimeout(ctx, deliveryTimeout)
	defer cancel()
	app := s.app()
	if app == "" {
		return 0
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, app+path, bytes.NewReader(body))
	if err != nil {
		s.log.Error("delivery address is not usable", "error", err)
		return 0
	}
	req.Header = header.Clone()
	resp, err := s.client.Do(req)
	if err != nil {
		return 0
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode
}

// sleep waits in wall time and says whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
