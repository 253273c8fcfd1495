package main

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tailmarket/tailmarket/internal/simulator"
)

// The script is what the demo's buyers do, and the only source of what it
// expects to be measured. It never asks the app for a quantity.

// sample is how often tailnets are sampled; presence is counted at multiples of
// it (docs/exactly-once.md, "What a collector may say").
const sample = 5 * time.Minute

// span is the presence of one person or node. A zero until is still present.
type span struct {
	id          string
	from, until time.Time
}

// seen returns the first and last sampling instant at which s was present.
func (s span) seen() (first, last time.Time, ok bool) {
	first = s.from.Truncate(sample)
	if first.Before(s.from) {
		first = first.Add(sample)
	}
	last = s.until.Truncate(sample)
	if !last.Before(s.until) {
		last = last.Add(-sample)
	}
	return first, last, !last.Before(first)
}

// usage is what one buyer's tailnet was used for.
type usage struct {
	people, tagged, ephemeral []span
	requests                  map[string]request // by event id, after corrections
}

// period names the counting period of an instant at a marketplace: a month of UTC on
// AWS, of the Pacific coast on Google. On Azure it is the purchase's own month, which
// outlasts the script.
type period func(t time.Time) string

func periodOf(market string) period {
	switch market {
	case simulator.GCP:
		return func(t time.Time) string { return t.In(pacific).Format("2006-01") }
	case simulator.Azure:
		return func(time.Time) string { return "" }
	}
	return func(t time.Time) string { return t.UTC().Format("2006-01") }
}

// pacific is the winter time of the month's end that the script plays at.
var pacific = time.FixedZone("PST", -8*60*60)

// measured is units by meter and counting period, in the meter's smallest unit: whole
// people, whole resources, hundredths of a minute, tenths of a request.
type measured map[string]map[string]int64

func (m measured) add(meter, period string, units int64) {
	if m[meter] == nil {
		m[meter] = map[string]int64{}
	}
	m[meter][period] += units
}

func (m measured) total(meter string) (sum int64) {
	for _, units := range m[meter] {
		sum += units
	}
	return sum
}

// expected says what must have been measured.
func (u usage) expected(month period) measured {
	out := measured{}
	people := map[[2]string]bool{}
	for _, s := range u.people {
		first, last, ok := s.seen()
		for at := first; ok && !at.After(last); at = at.Add(sample) {
			people[[2]string{month(at), s.id}] = true
		}
	}
	for seen := range people {
		out.add("active_user", seen[0], 1)
	}

	count := map[time.Time]int64{}
	for _, s := range u.tagged {
		first, last, ok := s.seen()
		for at := first; ok && !at.After(last); at = at.Add(sample) {
			count[at]++
		}
	}
	peak := map[string]int64{}
	for at, n := range count {
		peak[month(at)] = max(peak[month(at)], n)
	}
	for in, n := range peak {
		out.add("tagged_resource", in, n)
	}

	for _, s := range u.ephemeral {
		const hundredth = 600 * time.Millisecond // of a minute
		first, last, ok := s.seen()
		counted := int64(0)
		for at := first; ok && !at.After(last); at = at.Add(sample) {
			so := int64(at.Sub(s.from) / hundredth)
			out.add("ephemeral_minute", month(at.Add(-time.Microsecond)), so-counted) // used just before it was seen
			counted = so
		}
	}
	for _, r := range u.requests {
		out.add("api_request", month(r.usedAt), r.tenths)
	}
	return out
}

// action is something the script does at an instant.
type action struct {
	at  time.Time
	seq int
	do  func() error
}

type agenda struct {
	items []action
	seq   int
}

func (a *agenda) Len() int { return len(a.items) }
func (a *agenda) Less(i, j int) bool {
	if !a.items[i].at.Equal(a.items[j].at) {
		return a.items[i].at.Before(a.items[j].at)
	}
	return a.items[i].seq < a.items[j].seq
}
func (a *agenda) Swap(i, j int) { a.items[i], a.items[j] = a.items[j], a.items[i] }
func (a *agenda) Push(x any)    { a.items = append(a.items, x.(action)) }
func (a *agenda) Pop() any {
	last := a.items[len(a.items)-1]
	a.items = a.items[:len(a.items)-1]
	return last
}

func (a *agenda) add(at time.Time, do func() error) {
	a.seq++
	heap.Push(a, action{at: at, seq: a.seq, do: do})
}

// next takes the earliest action at or before until.
func (a *agenda) next(until time.Time) (action, bool) {
	if len(a.items) == 0 || a.items[0].at.After(until) {
		return action{}, false
	}
	return heap.Pop(a).(action), true
}

// between returns an instant half-way between two sampling instants, so that
// what happens there is never simultaneous with a sample. Around midnight, in UTC and
// on the Pacific coast, it moves away: which month a simultaneous sample belongs to is
// not the script's to say.
func between(t time.Time) time.Time {
	at := t.Truncate(sample).Add(sample / 2)
	if at.Before(t) {
		at = at.Add(sample)
	}
	switch h, m := at.Hour()%8, at.Minute(); {
	case h == 7 && m >= 45:
		at = at.Add(35 * time.Minute)
	case h == 0 && m < 15:
		at = at.Add(20 * time.Minute)
	}
	return at
}

func tenths(q int64) string { return fmt.Sprintf("%d.%d", q/10, q%10) }

func pick(r *rand.Rand, lo, hi int) int { return lo + r.IntN(hi-lo+1) }
