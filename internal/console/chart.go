package console

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// Chart is one meter of one purchase over time: what was used in each hour or
// day, and what the marketplace accepted in its slot.
type Chart struct {
	ID      string
	Title   string
	Meter   string
	Per     string // hour or day
	Bars    []ChartBar
	Top     string // the scale's upper end
	Middle  string
	Times   []string // under the plot, at equal distances
	Used    string   // in total
	Billed  string
	Partial bool // older hours are not in it
}

// ChartBar is one hour or day.
type ChartBar struct {
	Label        string
	Used, Billed string
	used, billed float64 // share of the scale
}

// ChartPoint is one hour of a meter, as decimal text.
type ChartPoint struct {
	Hour         time.Time
	Used, Billed string
}

const (
	hourBars   = 7 * 24 // more hours than this are drawn as days
	chartWidth = 1000.0
	chartTall  = 100.0
)

// NewChart draws points, in any order. Hours without a point are empty bars:
// nothing was used in them. Partial says that older points exist; then the
// oldest day is left out of a chart of days, since only a part of it is known.
func NewChart(id, title, meter string, points []ChartPoint, span Span, partial bool) (Chart, error) {
	c := Chart{ID: id, Title: title, Meter: meter, Per: "hour", Used: "0", Billed: "0", Top: "1", Partial: partial}
	if len(points) == 0 {
		return c, nil
	}
	first, last := span.First, span.Last
	for _, p := range points {
		first, last = earliest(first, p.Hour), latest(last, p.Hour)
	}
	step := time.Hour
	if last.Sub(first) >= hourBars*time.Hour {
		c.Per, step = "day", 24*time.Hour
		first, last = first.Truncate(step), last.Truncate(step)
		if partial {
			first = first.Add(step)
		}
	}
	n := int(last.Sub(first)/step) + 1
	if over := n % (ticks - 1); n >= 2*ticks && over != 0 { // so that every label stands under a bar's edge
		add := ticks - 1 - over
		if partial {
			add = -over
		}
		first, n = first.Add(-time.Duration(add)*step), n+add
	}
	used, billed := make([]amount, n), make([]amount, n)
	var allUsed, allBilled amount
	for _, p := range points {
		if p.Hour.Before(first) {
			continue
		}
		i := int(p.Hour.Sub(first) / step)
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
	highest := 0.0
	for i := range used {
		highest = max(highest, used[i].float(), billed[i].float())
	}
	top := niceTop(highest)
	for i := range used {
		at := first.Add(time.Duration(i) * step)
		label := at.UTC().Format("2 Jan 15:04")
		if step > time.Hour {
			label = at.UTC().Format("2 Jan 2006")
		}
		c.Bars = append(c.Bars, ChartBar{
			Label: label, Used: Grouped(used[i].String()), Billed: Grouped(billed[i].String()), used: used[i].float() / top, billed: billed[i].float() / top,
		})
	}
	c.Used, c.Billed = Grouped(allUsed.String()), Grouped(allBilled.String())
	c.Top, c.Middle = Grouped(strconv.FormatFloat(top, 'f', -1, 64)), Grouped(strconv.FormatFloat(top/2, 'f', -1, 64))
	c.Times = chartTimes(first, step, n)
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

// niceTop is the scale's end: the next round number above.
func niceTop(highest float64) float64 {
	if highest <= 1 {
		return 1
	}
	order := math.Pow(10, math.Floor(math.Log10(highest)))
	for _, f := range []float64{1, 2, 4, 6, 8} {
		if order*f >= highest {
			return order * f
		}
	}
	return order * 10
}

const ticks = 5 // labels under a plot

// chartTimes are instants at equal distances, from the beginning to the end.
func chartTimes(from time.Time, step time.Duration, n int) []string {
	format, parts := "2 Jan 15:04", ticks-1
	if step > time.Hour {
		format = "2 Jan"
	}
	if n%parts != 0 {
		parts = 1
	}
	var out []string
	for i := range parts + 1 {
		out = append(out, from.Add(time.Duration(n/parts*i)*step).UTC().Format(format))
	}
	return out
}

// box is a bar's place: x, y, width, height in the picture.
type box struct{ X, Y, W, H string }

func (c Chart) box(i int, share, inset float64) box {
	slot := chartWidth / float64(len(c.Bars))
	h := math.Max(0, math.Min(1, share)) * chartTall
	return box{number(slot * (float64(i) + inset)), number(chartTall - h), number(slot * (1 - 2*inset)), number(h)}
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) }

func (c Chart) says(b ChartBar) string {
	return fmt.Sprintf("%s: %s used, %s billed", b.Label, b.Used, b.Billed)
}

func (c Chart) summary() string {
	return fmt.Sprintf("%s by %s: %s used and %s billed in all. The table of hours has every value.", c.Title, c.Per, c.Used, c.Billed)
}
