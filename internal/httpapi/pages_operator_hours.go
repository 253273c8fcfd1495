package httpapi

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/billing/ledger"
	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/console"
	"github.com/tailmarket/tailmarket/internal/id"
)

// charts draws every meter of a product that has hours.
func (s *Server) charts(product string, hours []billing.HourView) ([]console.Chart, error) {
	points, span := map[string][]console.ChartPoint{}, console.Span{}
	for _, h := range hours {
		used, err := netOf(h)
		if err != nil {
			return nil, fmt.Errorf("chart of %s: %w", h.Meter, err)
		}
		p := console.ChartPoint{Hour: h.Starts, Used: used}
		if h.Record != nil && h.Record.State == ledger.RecordAccepted {
			p.Billed = h.Record.Placed
		}
		points[h.Meter], span = append(points[h.Meter], p), span.Add(h.Starts)
	}
	var out []console.Chart
	for _, m := range metersOf(hours) {
		c, err := console.NewChart("chart-"+m, s.meterTitle(product, m), m, points[m], span, len(hours) >= console.HourLimit)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// netOf is what was used in an hour, corrections taken off.
func netOf(h billing.HourView) (string, error) { return console.Sum(h.Measured, "-"+h.Corrected) }

func metersOf(hours []billing.HourView) []string {
	var out []string
	for _, h := range hours {
		if !slices.Contains(out, h.Meter) {
			out = append(out, h.Meter)
		}
	}
	slices.Sort(out)
	return out
}

func (s *Server) meterTitle(product, meter string) string {
	if p, ok := s.Catalog.Product(product); ok {
		if m, ok := p.Meter(meter); ok && m.Title != "" {
			return m.Title
		}
	}
	return meter
}

// hoursPage shows what was metered, hour by hour, with every call and answer.
func (s *Server) hoursPage(c echo.Context) error {
	ctx, sub := c.Request().Context(), id.Subscription(c.Param("id"))
	got, err := s.Purchases.Get(ctx, sub)
	if err != nil {
		return err
	}
	row, err := s.purchaseRow(ctx, got)
	if err != nil {
		return err
	}
	hours, err := s.Metering.Hours(ctx, sub)
	if err != nil {
		return err
	}
	v := console.Hours{Site: s.Site, Purchase: row, Meter: c.QueryParam("meter"), Day: c.QueryParam("day")}
	for _, m := range metersOf(hours) {
		v.Meters = append(v.Meters, console.Choice{Value: m, Label: m})
	}
	partial := len(hours) >= console.HourLimit
	hours = slices.DeleteFunc(slices.Clone(hours), func(h billing.HourView) bool {
		return v.Meter != "" && h.Meter != v.Meter || v.Day != "" && h.Starts.UTC().Format(time.DateOnly) != v.Day
	})
	if v.Charts, err = s.charts(got.Product, hours); err != nil {
		return err
	}
	for i := range v.Charts {
		v.Charts[i].Partial = partial && v.Day == ""
	}
	page, next := cut(hours, hourKey, c.QueryParam("after"), 2*pageRows)
	v.Next = next
	for _, h := range page {
		v.Rows = append(v.Rows, hourRow(h))
	}
	return s.page(c, http.StatusOK, console.HoursPage(v))
}

// hourKey names a row: an hour of one meter may hold several records.
func hourKey(h billing.HourView) string {
	key := clock.HourOf(h.Starts).String() + "/" + h.Meter
	if h.Record != nil {
		key += "/" + string(h.Record.ID)
	}
	return key
}

func hourRow(h billing.HourView) console.HourRow {
	out := console.HourRow{Hour: h.Starts, Meter: h.Meter, Measured: h.Measured, Corrected: h.Corrected}
	r := h.Record
	if r == nil {
		return out
	}
	out.Record, out.Slot, out.Quantity, out.Placed, out.State, out.Reason = string(r.ID), r.Slot, r.Quantity, r.Placed, string(r.State), string(r.Reason)
	out.Tone, out.Answer, out.Deadline, out.FrozenAt, out.SettledAt, out.Final, out.Parked = recordTone(r.State), answerOf(*r), r.Deadline, r.FrozenAt, r.SettledAt, r.Final, r.Parked
	for _, a := range r.Attempts {
		out.Attempts = append(out.Attempts, console.AttemptRow{N: a.N, BegunAt: a.BegunAt, AnsweredAt: a.AnsweredAt, Answer: answerWord(a.Answer), Detail: a.Detail, Receipt: a.Receipt, Tone: answerTone(a.Answer)})
	}
	for _, a := range r.Allocations {
		name := "Period " + a.Period
		if a.Plan != "" {
			name += ", plan " + a.Plan
		}
		out.Periods = append(out.Periods, console.Fact{Name: name, Value: a.Quantity})
	}
	return out
}

func recordTone(s ledger.RecordState) string {
	switch s {
	case ledger.RecordAccepted:
		return "good"
	case ledger.RecordQueued, ledger.RecordSent:
		return "busy"
	case ledger.RecordUnsure, ledger.RecordHeld:
		return "attention"
	case ledger.RecordFreed:
	}
	return "over"
}

// answers for people; what has none is shown as it is.
var attemptWords = map[ledger.Answer]string{
	ledger.Unanswered: "no answer", ledger.CallUnsure: "no clear answer", ledger.NotSent: "never left", ledger.CallRefused: "the whole call was refused",
	ledger.Throttled: "too fast", ledger.RefusedHere: "refused", ledger.TookIt: "accepted", ledger.Duplicate: "already there", ledger.Unprocessed: "not processed",
	ledger.NoSubscriber: "not subscribed", ledger.InvalidHere: "not valid", ledger.TooOld: "too late", ledger.SuspendedHere: "suspended", ledger.VendorFailed: "failed there",
	ledger.NotMentioned: "not mentioned", ledger.Released: "released by a person", ledger.RuledThere: "a person found it recorded", ledger.RuledGone: "a person found it unrecorded",
}

func answerWord(a ledger.Answer) string {
	if w, ok := attemptWords[a]; ok {
		return w
	}
	return spaced(string(a))
}

func answerTone(a ledger.Answer) string {
	switch a {
	case ledger.TookIt, ledger.Duplicate, ledger.RuledThere:
		return "good"
	case ledger.NoSubscriber, ledger.InvalidHere, ledger.TooOld, ledger.SuspendedHere, ledger.RefusedHere, ledger.CallRefused:
		return "attention"
	default:
		return "busy"
	}
}

// answerOf is a record's attempts in a few words: the last answer, and how many
// calls it took.
func answerOf(r billing.RecordView) string {
	n := len(r.Attempts)
	if n == 0 {
		return "Not sent yet"
	}
	last := capitalised(answerWord(r.Attempts[n-1].Answer))
	if n == 1 {
		return last
	}
	return fmt.Sprintf("%s, at the %s call", last, ordinal(n))
}

func ordinal(n int) string {
	suffix := "th"
	if n%100 < 11 || n%100 > 13 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return fmt.Sprintf("%d%s", n, suffix)
}

// dayUse gathers one meter on one day.
type dayUse struct {
	used, billed     []string
	records, retried int
	states           map[ledger.RecordState]int
}

// tellUsage tells usage day by day, and each record that somebody may have to
// look at by itself.
func tellUsage(sub string, hours []billing.HourView, now time.Time) []console.StoryLine {
	type key struct {
		day   time.Time
		meter string
	}
	uses, last := map[key]*dayUse{}, map[time.Time]time.Time{}
	var order []time.Time
	var out []console.StoryLine
	for _, h := range hours {
		k := key{h.Starts.UTC().Truncate(24 * time.Hour), h.Meter}
		u := uses[k]
		if u == nil {
			u = &dayUse{states: map[ledger.RecordState]int{}}
			uses[k] = u
		}
		if !slices.Contains(order, k.day) {
			order = append(order, k.day)
		}
		if end := h.Starts.Add(time.Hour - time.Second); end.After(last[k.day]) {
			last[k.day] = end
			if end.After(now) {
				last[k.day] = now
			}
		}
		u.used = append(u.used, h.Measured, "-"+h.Corrected)
		r := h.Record
		if r == nil {
			continue
		}
		u.records++
		u.states[r.State]++
		if r.State == ledger.RecordAccepted {
			u.billed = append(u.billed, r.Placed)
		}
		if len(r.Attempts) > 1 {
			u.retried++
		}
		if r.State == ledger.RecordUnsure || r.State == ledger.RecordHeld || r.State == ledger.RecordFreed {
			out = append(out, tellRecord(sub, h.Starts, *r))
		}
	}
	for _, day := range order {
		l := console.StoryLine{
			At: last[day], Kind: console.FromUsage, Title: "Usage of the day", Href: fmt.Sprintf("/operator/subscriptions/%s/hours?day=%s", sub, day.Format(time.DateOnly)), HrefFor: "Every hour and answer", AllDay: true,
		}
		for _, m := range metersOf(hours) {
			if u := uses[key{day, m}]; u != nil {
				if row := u.row(m); row.Used != "0" || row.Records > 0 {
					l.Usage = append(l.Usage, row)
				}
			}
		}
		if len(l.Usage) > 0 {
			out = append(out, l)
		}
	}
	return out
}

func (u *dayUse) row(meter string) console.DayUse {
	used, err1 := console.Sum(u.used...)
	billed, err2 := console.Sum(u.billed...)
	if err1 != nil || err2 != nil {
		used, billed = "?", "?" // a page of evidence is not lost for a sum
	}
	out := console.DayUse{Meter: meter, Used: used, Billed: billed, Records: u.records}
	var say []string
	for _, st := range []ledger.RecordState{ledger.RecordUnsure, ledger.RecordHeld, ledger.RecordFreed, ledger.RecordQueued, ledger.RecordSent} {
		if n := u.states[st]; n > 0 {
			say = append(say, fmt.Sprintf("%d %s", n, st))
			if out.Tone == "" || recordTone(st) == "attention" {
				out.Tone = recordTone(st)
			}
		}
	}
	if n := u.states[ledger.RecordAccepted]; n > 0 && n == u.records {
		say = append(say, "all accepted")
	}
	if u.retried > 0 {
		say = append(say, fmt.Sprintf("%d took more than one call", u.retried))
	}
	out.Note = strings.Join(say, ", ")
	return out
}

// tellRecord tells of a record that is not simply accepted.
func tellRecord(sub string, hour time.Time, r billing.RecordView) console.StoryLine {
	at := r.FrozenAt
	for _, a := range r.Attempts {
		for _, t := range []time.Time{a.BegunAt, a.AnsweredAt} {
			if t.After(at) {
				at = t
			}
		}
	}
	l := console.StoryLine{
		At: at, Kind: console.FromUsage, Tone: recordTone(r.State), Code: string(r.ID), Title: fmt.Sprintf("%s %s of %s: %s", console.Grouped(r.Quantity), r.Meter, hour.UTC().Format("2 Jan 15:04"), r.State),
		Href: fmt.Sprintf("/operator/subscriptions/%s/hours?day=%s&meter=%s", sub, hour.UTC().Format(time.DateOnly), r.Meter), HrefFor: "Every call",
	}
	l.Detail = answerOf(r)
	if r.Reason != "" {
		l.Detail += " · " + spaced(string(r.Reason))
	}
	return l
}
