package telemetry

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/tailmarket/tailmarket/internal/id"
)

// NewLogger makes the program's logger. Format is "text" or "json", as package
// config has checked.
func NewLogger(w io.Writer, format string, level slog.Leveler) *slog.Logger {
	o := &slog.HandlerOptions{Level: level, ReplaceAttr: mask}
	var h slog.Handler = slog.NewTextHandler(w, o)
	if format == "json" {
		h = slog.NewJSONHandler(w, o)
	}
	return slog.New(handler{h})
}

type contextKey int

const (
	requestKey contextKey = iota
	deliveryKey
)

// WithRequest puts the id of an HTTP request into ctx, for the log.
func WithRequest(ctx context.Context, requestID string) context.Context {
	return context.WithValue(ctx, requestKey, requestID)
}

// RequestOf returns the id of the HTTP request that ctx belongs to, or "".
func RequestOf(ctx context.Context) string {
	s, _ := ctx.Value(requestKey).(string)
	return s
}

// WithDelivery puts the id of an inbound message into ctx, for the log.
func WithDelivery(ctx context.Context, d id.Delivery) context.Context {
	return context.WithValue(ctx, deliveryKey, d)
}

// handler adds the ids of the context and masks messages; attributes are masked
// by the handler it stands on.
type handler struct{ next slog.Handler }

func (h handler) Enabled(ctx context.Context, l slog.Level) bool { return h.next.Enabled(ctx, l) }

func (h handler) Handle(ctx context.Context, r slog.Record) error {
	r = r.Clone()
	r.Message = maskText(r.Message)
	if s := RequestOf(ctx); s != "" {
		r.AddAttrs(slog.String(RequestID, s))
	}
	if d, ok := ctx.Value(deliveryKey).(id.Delivery); ok {
		r.AddAttrs(slog.String(DeliveryID, string(d)))
	}
	if err := h.next.Handle(ctx, r); err != nil {
		return fmt.Errorf("write a log line: %w", err)
	}
	return nil
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler { return handler{h.next.WithAttrs(attrs)} }

func (h handler) WithGroup(name string) slog.Handler { return handler{h.next.WithGroup(name)} }
