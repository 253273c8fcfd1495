package fleet

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestGateLetsOneTryAfterALoss(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)
	var log bytes.Buffer
	l := &link{wall: func() time.Time { return now }, log: slog.New(slog.NewTextHandler(&log, nil)), within: time.Minute, pause: 2 * time.Second}
	var g gate
	asked := 0
	ask := func(ctx context.Context, answer error) error {
		return l.ask(ctx, &g, func(context.Context) error { asked++; return answer })
	}
	broken := errors.New("connection refused")
	left, leave := context.WithCancel(t.Context())
	leave()
	for i, step := range []struct {
		ctx    context.Context
		later  time.Duration
		answer error
		asked  bool
		lost   bool
	}{
		{t.Context(), 0, nil, true, false},
		{t.Context(), 0, redis.Nil, true, false}, // nothing there is an answer
		{left, 0, context.Canceled, true, false}, // the caller left; Redis is not to blame
		{t.Context(), 0, broken, true, true},
		{t.Context(), time.Second, nil, false, true},      // left alone
		{left, time.Second, context.Canceled, true, true}, // one tries, and leaves
		{t.Context(), time.Second, nil, false, true},      // the others wait for the next turn
		{t.Context(), time.Second, broken, true, true},
		{t.Context(), 2 * time.Second, nil, true, true}, // answers, and may only be one node of a Cluster
		{t.Context(), 0, nil, true, true},               // open for everybody
		{t.Context(), 8 * time.Second, nil, true, false},
	} {
		now = now.Add(step.later)
		before := asked
		err := ask(step.ctx, step.answer)
		if (asked > before) != step.asked {
			t.Fatalf("step %d: asked is %v", i, asked > before)
		}
		if !step.asked && !errors.Is(err, errLost) {
			t.Errorf("step %d: %v", i, err)
		}
		if _, lost := l.state(); lost != step.lost {
			t.Errorf("step %d: lost is %v", i, lost)
		}
	}
	if text := log.String(); strings.Count(text, "\n") != 2 || !strings.Contains(text, "redis was lost") || !strings.Contains(text, "duration=14s") {
		t.Errorf("said:\n%s", text)
	}
}
