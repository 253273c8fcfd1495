package console

import (
	"fmt"
	"time"
)

// Chart is one meter of one purchase over time: what was used in each hour or
// day, and what the marketplace accepted in its slot. A page shows it as a table;
// charts.js draws that table.
type Chart struct {
	ID      string
	Title   string
	Meter   string
	Step    time.Duration // an hour or a day
	From    time.Time     // of the first bar
	Bars    int
	Rows    []ChartRow // the bars that are not empty, oldest first
	Used    string     // in total
	Billed  string
	Partial bool // older hours are not in it
}

// ChartRow is one hour or day, as decimal text.
type ChartRow struct {
	At           time.Time
	Used, Billed string
}

// ChartPoint is one hour of a meter, as decimal text.
type ChartPoint struct {
	Hour         time.Time
	Used, Billed string
}

// hourBars: more hours than this are drawn as days.
const hourBars = 7 * 24

// NewChart gathers points, which may come in any order. Hours without a point are
// empty bars: nothing was used in them. Partial says that older points exist;
// then the oldest day is left out of a chart of days, since only a part of it is
// known.
func NewChart(id, title, meter string, points []ChartPoint, span Span, partial bool) (Chart, error) {
	c := Chart{ID: id, Title: title, Meter: meter, Step: time.Hour, Used: "0", Billed: "0", Partial: partial}
	if len(points) == 0 {
		return c, nil
	}
	first, last := span.First, span.Last
	for _, p := range points {
		first, last = earliest(first, p.Hour), latest(last, p.Hour)
	}
	if last.Sub(first) >= hourBars*time.Hour {
		c.Step = 24 * time.Hour
		first, last = first.Truncate(c.Step), last.Truncate(c.Step)
		if partial {
			first = first.Add(c.Step)
		}
	}
	c.From, c.Bars = first, int(last.Sub(first)/c.Step)+1
	used, billed := make([]amount, c.Bars), make([]amount, c.Bars)
	var allUsed, allBilled amount
	for _, p := range points {
		if p.Hour.Before(first) {
			continue
		}
		i := int(p.Hour.Sub(first) / c.Step)
		u, err := parseAmount(p.Used)
		if err != nil {
			return Chart{}, fmt.Errorf("chart of %s: %w", meter, err)
		}
		b, err := parseAmount(p.Billed)
		if err != nil {
			return Chart{}, fmt.Errorf("chart of %s: %w", meter, err)
		}
		used[i], billed[i] = used[i].plus(u), billed[i].plus(b)
		allUsed, allBilled = allUsed.plus(u), allBilled.plus(b)
	}
	for i := range used {
		if r := (ChartRow{first.Add(time.Duration(i) * c.Step), used[i].String(), billed[i].String()}); !isZero(r.Used) || !isZero(r.Billed) {
			c.Rows = append(c.Rows, r)
		}
	}
	c.Used, c.Billed = Grouped(allUsed.String()), Grouped(allBilled.String())
	return c, nil
}

// Span is the first and the last hour of several charts, so that they have one
// scale of time.
type Span struct{ First, Last time.Time }

// Add makes the span reach an hour.
func (s Span) Add(hour time.Time) Span {
	return Span{earliest(s.First, hour), latest(s.Last, hour)}
}

func earliest(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// Per names what a bar is.
func (c Chart) Per() string {
	if c.Step > time.Hour {
		return "day"
	}
	return "hour"
}

func (c Chart) label(at time.Time) string {
	if c.Step > time.Hour {
		return at.UTC().Format("2 Jan 2006")
	}
	return at.UTC().Format("2 Jan 15:04")
}

func (c Chart) summary() string {
	return fmt.Sprintf("%s by %s: %s used and %s billed in all. The table below has every value.", c.Title, c.Per(), c.Used, c.Billed)
}
