package usage

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Event is one fact of use.
type Event struct {
	ID        string    // of the fact; together with Source it is counted once. Empty: one is made
	Source    string    // who reports; empty: the client's
	Subject   string    // the purchase (sub_…) or its tailnet (tnt_…)
	Time      time.Time // when it was used, not when it is sent
	Meter     string
	Quantity  string // decimal text in the meter's unit, such as "12.5"
	Of        string // who or what was counted; unique meters need it
	Operation string // what was done, the same in every retry; meters with a natural key need it
	Seconds   int    // time covered; unit_hours meters need it
	Corrects  *Ref   // the event whose quantity this one replaces
}

// Ref names an event.
type Ref struct {
	Source string `json:"source"`
	ID     string `json:"id"`
}

// Outcome is what became of one event.
type Outcome string

const (
	Accepted    Outcome = "accepted"    // stored and counted
	Duplicate   Outcome = "duplicate"   // was stored before
	Quarantined Outcome = "quarantined" // stored, not counted until the operator has mended the cause
	Conflict    Outcome = "conflict"    // other content has its identity, operation or target; not stored
	Invalid     Outcome = "invalid"     // cannot be stored; mend it
)

// Result is the server's answer for one event.
type Result struct {
	Source  string  `json:"source"`
	ID      string  `json:"id"`
	Outcome Outcome `json:"outcome"`
	Stored  bool    `json:"stored"`
	Event   string  `json:"event,omitempty"` // the server's name of what was counted
	Detail  string  `json:"detail,omitempty"`
}

// wire is a CloudEvent 1.0.
type wire struct {
	SpecVersion string    `json:"specversion"`
	ID          string    `json:"id"`
	Source      string    `json:"source"`
	Type        string    `json:"type"`
	Subject     string    `json:"subject,omitempty"`
	Time        time.Time `json:"time,omitzero"`
	Data        wireData  `json:"data"`
}

type wireData struct {
	Meter     string `json:"meter,omitempty"`
	Quantity  string `json:"quantity"`
	Of        string `json:"of,omitempty"`
	Operation string `json:"operation,omitempty"`
	Seconds   int    `json:"seconds,omitempty"`
	Corrects  *Ref   `json:"corrects,omitempty"`
}

// encode checks what would be refused anyway, fills in what may be left out, and
// makes the bytes that every try sends.
func (e Event) encode(source string) (raw json.RawMessage, err error) {
	if e.ID == "" {
		e.ID = rand.Text()
	}
	if e.Source == "" {
		e.Source = source
	}
	switch {
	case e.Source == "":
		return nil, errors.New("usage: an event has no source, and neither has its client")
	case e.Quantity == "":
		return nil, fmt.Errorf("usage: event %s has no quantity", e.ID)
	case e.Corrects == nil && (e.Subject == "" || e.Meter == "" || e.Time.IsZero()):
		return nil, fmt.Errorf("usage: event %s needs a subject, a meter and a time", e.ID)
	}
	w := wire{SpecVersion: "1.0", ID: e.ID, Source: e.Source, Type: "tailmarket.usage.v1", Subject: e.Subject, Data: wireData{e.Meter, e.Quantity, e.Of, e.Operation, e.Seconds, e.Corrects}}
	if !e.Time.IsZero() {
		w.Time = e.Time.UTC()
	}
	if raw, err = json.Marshal(w); err != nil {
		return nil, fmt.Errorf("usage: write event %s: %w", e.ID, err)
	}
	return raw, nil
}
