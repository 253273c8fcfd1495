package billing

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/tailmarket/tailmarket/internal/id"
)

// UsageEvent is one fact of use in normal form: a CloudEvent that was read. Two
// events with one (Source, ID) are one fact.
type UsageEvent struct {
	Source   string     `json:"source"`
	ID       string     `json:"id"`
	Subject  string     `json:"subject,omitempty"` // sub_… or tnt_…
	UsedAt   time.Time  `json:"used_at,omitzero"`
	Meter    string     `json:"meter,omitempty"`
	Quantity string     `json:"quantity"`           // decimal text in the meter's unit
	Of       string     `json:"of,omitempty"`       // who or what was counted; unique meters need it
	Seconds  int64      `json:"seconds,omitempty"`  // time covered; unit_hours meters need it
	Corrects *EventName `json:"corrects,omitempty"` // the event whose quantity this one replaces
	// Operation names what was done, the same in every retry of it; meters with a
	// natural key need it.
	Operation string `json:"operation,omitempty"`
}

// EventName names a usage event by its producer's words.
type EventName struct {
	Source string `json:"source"`
	ID     string `json:"id"`
}

// Result is what became of one event.
type Result string

const (
	Accepted    Result = "accepted"    // stored and counted
	Duplicate   Result = "duplicate"   // the same event is stored already
	Conflict    Result = "conflict"    // its identity, or its target, is taken by other content; nothing was stored
	Quarantine  Result = "quarantined" // stored, not counted; see the reason
	InvalidForm Result = "invalid"     // cannot be stored; the producer must change it
)

// QuarantineReason says why an event is not counted, and so who must act.
type QuarantineReason string

const (
	UnknownSubject QuarantineReason = "unknown_subject"
	UnknownMeter   QuarantineReason = "unknown_meter"
	UnknownPlan    QuarantineReason = "unknown_plan"
	InFuture       QuarantineReason = "used_in_future"
	BeforeStart    QuarantineReason = "used_before_start"
	BeforeCutOver  QuarantineReason = "used_before_cut_over"
	TooOld         QuarantineReason = "too_old"
	AfterEnd       QuarantineReason = "used_after_end"
	WaitsForTarget QuarantineReason = "waits_for_target"
)

// Outcome is the answer for one event, in the order in which they came.
type Outcome struct {
	Source, ID string
	Result     Result
	Reason     string // for quarantined, conflict and invalid
	Event      id.UsageEvent
}

const (
	maxAhead = 5 * time.Minute
	maxAge   = 35 * 24 * time.Hour

	maxName     = 512  // bytes of source, id, subject, of
	maxQuantity = 1e15 // in the meter's smallest unit
	maxSeconds  = 3600
)

// fault says what is wrong with the form of e; "" when it can be stored.
func (e UsageEvent) fault() string {
	for _, f := range []struct {
		name, value string
		needed      bool
	}{
		{"source", e.Source, true},
		{"id", e.ID, true},
		{"subject", e.Subject, e.Corrects == nil},
		{"data.meter", e.Meter, e.Corrects == nil},
		{"data.of", e.Of, false},
		{"data.operation", e.Operation, false},
	} {
		switch {
		case f.needed && f.value == "":
			return f.name + " is missing"
		case len(f.value) > maxName:
			return fmt.Sprintf("%s is longer than %d bytes", f.name, maxName)
		case !utf8.ValidString(f.value) || hasNUL(f.value):
			return f.name + " is not text"
		}
	}
	switch {
	case e.Corrects == nil && e.UsedAt.IsZero():
		return "time is missing: it is when the use happened"
	case !e.UsedAt.IsZero() && (e.UsedAt.Year() < 2000 || e.UsedAt.Year() > 2200):
		return "time is not in this age"
	case e.Seconds < 0 || e.Seconds > maxSeconds:
		return fmt.Sprintf("data.seconds is not 0 to %d", maxSeconds)
	case e.Corrects != nil && (e.Corrects.Source == "" || e.Corrects.ID == ""):
		return "data.corrects names no event: it needs source and id"
	case e.Corrects != nil && e.Corrects.Source == e.Source && e.Corrects.ID == e.ID:
		return "data.corrects names the event itself"
	}
	return quantityFault(e.Quantity)
}

func hasNUL(s string) bool {
	for i := range len(s) {
		if s[i] == 0 {
			return true
		}
	}
	return false
}

// quantityFault checks what does not depend on the meter.
func quantityFault(q string) string {
	if len(q) == 0 || len(q) > 40 {
		return "data.quantity is not decimal text such as \"12.5\""
	}
	dots := 0
	for i := range len(q) {
		switch c := q[i]; {
		case c == '.' && i > 0 && i < len(q)-1 && dots == 0:
			dots++
		case c < '0' || c > '9':
			return "data.quantity is not decimal text such as \"12.5\"; it is never negative, use corrects"
		}
	}
	return ""
}

// IdentOf is the identity of an event.
func IdentOf(source, eventID string) Ident { return Ident(hashFields(source, eventID)) }

// content is what the event says, without its identity. The quantity is taken as
// its digits say, so "12.50" says what "12.5" says.
func (e UsageEvent) content() [32]byte {
	corrects := []string{"", ""}
	if e.Corrects != nil {
		corrects = []string{e.Corrects.Source, e.Corrects.ID}
	}
	used := ""
	if !e.UsedAt.IsZero() {
		used = e.UsedAt.UTC().Truncate(time.Microsecond).Format(time.RFC3339Nano)
	}
	fields := []string{e.Subject, used, e.Meter, canonical(e.Quantity), e.Of, fmt.Sprint(e.Seconds), corrects[0], corrects[1]}
	if e.Operation != "" { // hashes of events without one stay what they were
		fields = append(fields, e.Operation)
	}
	return hashFields(fields...)
}

// said is what an event says of its operation: a retry says the same, though
// under another id and perhaps later.
func (e UsageEvent) said() [32]byte {
	return hashFields(canonical(e.Quantity), e.Of, fmt.Sprint(e.Seconds))
}

// canonical drops zeros that say nothing.
func canonical(q string) string {
	whole, fraction := q, ""
	for i := range len(q) {
		if q[i] == '.' {
			whole, fraction = q[:i], q[i+1:]
		}
	}
	for len(whole) > 1 && whole[0] == '0' {
		whole = whole[1:]
	}
	for len(fraction) > 0 && fraction[len(fraction)-1] == '0' {
		fraction = fraction[:len(fraction)-1]
	}
	if fraction == "" {
		return whole
	}
	return whole + "." + fraction
}

// hashFields hashes fields with their lengths, so that no two lists read alike.
func hashFields(fields ...string) [32]byte {
	h := sha256.New()
	for _, f := range fields {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(f)))
		h.Write(n[:])
		h.Write([]byte(f))
	}
	return [32]byte(h.Sum(nil))
}
