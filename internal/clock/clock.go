package clock

import (
	"fmt"
	"time"
)

// Clock tells business time. Implementations are safe for concurrent use.
type Clock interface {
	Now() time.Time
	// Moved is closed when business time has moved by more than the passing of
	// wall time; it is never closed by Wall.
	Moved() <-chan struct{}
}

// Wall is the Clock of production: business time is wall time.
type Wall struct{ now func() time.Time }

// NewWall makes a Wall from the process's clock.
func NewWall(now func() time.Time) Wall { return Wall{now: now} }

func (w Wall) Now() time.Time         { return w.now().UTC() }
func (w Wall) Moved() <-chan struct{} { return nil }

// Hour is a UTC hour. The zero Hour is not a valid one.
type Hour struct{ t time.Time }

// HourOf returns the hour t falls into.
func HourOf(t time.Time) Hour { return Hour{t.UTC().Truncate(time.Hour)} }

// HourFromUnix returns the hour that starts at or before the unix second s.
func HourFromUnix(s int64) Hour { return HourOf(time.Unix(s, 0)) }

func (h Hour) Start() time.Time          { return h.t }
func (h Hour) End() time.Time            { return h.t.Add(time.Hour) }
func (h Hour) Next() Hour                { return Hour{h.t.Add(time.Hour)} }
func (h Hour) Prev() Hour                { return Hour{h.t.Add(-time.Hour)} }
func (h Hour) Add(n int) Hour            { return Hour{h.t.Add(time.Duration(n) * time.Hour)} }
func (h Hour) Before(o Hour) bool        { return h.t.Before(o.t) }
func (h Hour) After(o Hour) bool         { return h.t.After(o.t) }
func (h Hour) Contains(t time.Time) bool { return !t.Before(h.t) && t.Before(h.End()) }
func (h Hour) IsZero() bool              { return h.t.IsZero() }
func (h Hour) Unix() int64               { return h.t.Unix() }
func (h Hour) String() string            { return h.t.Format("2006-01-02T15Z") }
func (h Hour) Equal(o Hour) bool         { return h.t.Equal(o.t) }

// ParseHour reads an hour in the form 2026-11-03T07Z or as an RFC 3339 instant
// on the hour.
func ParseHour(s string) (Hour, error) {
	for _, layout := range []string{"2006-01-02T15Z", time.RFC3339} {
		if t, err := time.Parse(layout, s); err == nil {
			h := HourOf(t)
			if !h.t.Equal(t) {
				return Hour{}, fmt.Errorf("%q is not on the hour", s)
			}
			return h, nil
		}
	}
	return Hour{}, fmt.Errorf("%q is not an hour such as 2026-11-03T07Z", s)
}
