package usagefile

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/fault"
)

const (
	maxBytes = 64 << 20
	maxRows  = 500_000
)

// Row is one line of a file as an event.
type Row struct {
	Line  int // in the file, from 1
	Event billing.UsageEvent
	Wrong string // why it is no event
}

// Read reads a file by a mapping: CSV with a header, or a JSON object on each line.
func Read(r io.Reader, m Mapping) ([]Row, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(r, maxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read a file of usage: %w", err)
	}
	if len(raw) > maxBytes {
		return nil, fault.New(fault.Invalid, "the file is larger than %d MiB; cut it in parts", maxBytes>>20)
	}
	raw = bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf")) // as spreadsheets begin
	read := readCSV
	if bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{")) {
		read = readLines
	}
	var out []Row
	names := map[string]int{} // how often a row said the same
	err = read(raw, m.Columns, func(line int, cell func(string) string) error {
		if len(out) == maxRows {
			return fault.New(fault.Invalid, "the file has more than %d rows; cut it in parts", maxRows)
		}
		row := Row{Line: line}
		row.Event, row.Wrong = m.event(cell)
		if row.Wrong == "" && row.Event.ID == "" {
			row.Event.ID = name(row.Event, names)
		}
		out = append(out, row)
		return nil
	})
	return out, err
}

// name makes an identity of what a row says. Rows that say the same are told apart
// by how many of them came before.
func name(e billing.UsageEvent, names map[string]int) string {
	h := sha256.New()
	for _, f := range []string{e.Subject, e.Meter, e.UsedAt.Format(time.RFC3339Nano), e.Quantity, e.Of, e.Operation, fmt.Sprint(e.Seconds)} {
		_, _ = fmt.Fprintf(h, "%d %s\n", len(f), f)
	}
	sum := "row-" + hex.EncodeToString(h.Sum(nil)[:16])
	names[sum]++
	if n := names[sum]; n > 1 {
		return fmt.Sprintf("%s/%d", sum, n)
	}
	return sum
}

func (m Mapping) event(cell func(string) string) (e billing.UsageEvent, wrong string) {
	c := m.Columns
	e = billing.UsageEvent{ID: cell(c.ID), Source: m.Source, Subject: cell(c.Subject), Meter: cell(c.Meter), Quantity: cell(c.Quantity), Of: cell(c.Of), Operation: cell(c.Operation)}
	if from := cell(c.Source); from != "" {
		e.Source += ":" + from
	}
	if ours, ok := m.Meters[e.Meter]; ok {
		e.Meter = ours
	}
	if !strings.HasPrefix(e.Subject, "sub_") && !strings.HasPrefix(e.Subject, "tnt_") {
		ours, ok := m.Subjects[e.Subject]
		if !ok {
			return e, fmt.Sprintf("customer %q is no purchase here; say which it is", e.Subject)
		}
		e.Subject = ours
	}
	if text := cell(c.Seconds); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return e, fmt.Sprintf("%q is no number of seconds", text)
		}
		e.Seconds = n
	}
	at, ok := m.Time.parse(cell(c.Time))
	if !ok {
		return e, fmt.Sprintf("%q is no time (%s)", cell(c.Time), m.Time)
	}
	e.UsedAt = at
	if e.Quantity == "" {
		return e, "there is no quantity in " + c.Quantity
	}
	return e, ""
}

func (c Clock) parse(text string) (time.Time, bool) {
	if c != Unix {
		if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
			return at.UTC(), true
		}
	}
	if c == RFC3339 {
		return time.Time{}, false
	}
	whole, fraction, _ := strings.Cut(text, ".")
	s, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || len(fraction) > 9 {
		return time.Time{}, false
	}
	ns, err := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
	return time.Unix(s, ns).UTC(), err == nil && s > 0
}

func readCSV(raw []byte, c Columns, each func(line int, cell func(string) string) error) error {
	r := csv.NewReader(bytes.NewReader(raw))
	r.ReuseRecord = true
	header, err := r.Read()
	if err != nil {
		return fault.Wrap(fault.Invalid, err, "the file has no header")
	}
	at := map[string]int{}
	for i, h := range header {
		at[strings.TrimSpace(h)] = i
	}
	for what, col := range map[string]string{"subject": c.Subject, "time": c.Time, "meter": c.Meter, "quantity": c.Quantity} {
		found := false
		for one := range strings.SplitSeq(col, "|") {
			column, _, _ := strings.Cut(one, ".")
			_, whole := at[one]
			_, outer := at[column]
			found = found || whole || outer
		}
		if !found {
			return fault.New(fault.Invalid, "the file has no column %s, which is the %s", col, what)
		}
	}
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fault.Wrap(fault.Invalid, err, "the file is not CSV as its header says")
		}
		line, _ := r.FieldPos(0)
		err = each(line, func(col string) string {
			return first(col, func(name string) (string, bool) {
				i, ok := at[name]
				if !ok {
					return "", false
				}
				return record[i], true
			})
		})
		if err != nil {
			return err
		}
	}
}

func readLines(raw []byte, _ Columns, each func(line int, cell func(string) string) error) error {
	lines := bufio.NewScanner(bytes.NewReader(raw))
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var object map[string]json.RawMessage
		if err := json.Unmarshal(lines.Bytes(), &object); err != nil {
			return fault.Wrap(fault.Invalid, err, fmt.Sprintf("line %d is no JSON object", n))
		}
		err := each(n, func(col string) string {
			return first(col, func(name string) (string, bool) {
				v, ok := object[name]
				return text(v), ok
			})
		})
		if err != nil {
			return err
		}
	}
	return lines.Err()
}

// first is the first alternative that has a value.
func first(col string, cell func(name string) (string, bool)) string {
	for one := range strings.SplitSeq(col, "|") {
		if v, ok := cell(one); ok && v != "" {
			return strings.TrimSpace(v)
		}
		column, path, inside := strings.Cut(one, ".")
		if !inside {
			continue
		}
		v, _ := cell(column)
		for key := range strings.SplitSeq(path, ".") {
			var object map[string]json.RawMessage
			if json.Unmarshal([]byte(v), &object) != nil {
				v = ""
				break
			}
			v = text(object[key])
		}
		if v != "" {
			return v
		}
	}
	return ""
}

// text is a JSON value as a cell: numbers by their digits, never as floats.
func text(v json.RawMessage) string {
	var s string
	if json.Unmarshal(v, &s) == nil {
		return s
	}
	if string(v) == "null" {
		return ""
	}
	return string(v)
}
