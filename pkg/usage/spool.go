package usage

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// ErrFull says that the spool has no room: the server has not taken what waits.
// The events were not kept; keep them yourself, or let the work wait.
var ErrFull = errors.New("usage: the spool is full")

const (
	defaultSpool = 256 << 20
	maxSegment   = 4 << 20
	refusedFile  = "refused.jsonl"
)

// SpoolOptions may all be left out.
type SpoolOptions struct {
	MaxBytes int64         // on disk; 0: 256 MiB
	Wait     time.Duration // how long Run gathers events before it sends fewer than a batch; 0: a second
	// Refused is told of events that the server will never store. They are appended
	// to refused.jsonl in the spool's folder first.
	Refused func(Result)
}

// Spool keeps events on disk until the server has answered for them. Safe for
// concurrent use; one process has it at a time.
type Spool struct {
	dir    string
	client *Client
	o      SpoolOptions
	unlock func() error
	wake   chan struct{}
	turn   chan struct{} // whoever sends

	mu     sync.Mutex
	active *os.File // the newest segment
	number int      // its number
	end    int64    // its length
	bytes  int64    // of all segments
	events int      // not answered yet
	at     cursor
	broken error // a write whose outcome is not known; opening again finds out
}

// OpenSpool opens the spool in dir and makes the folder when there is none. What
// waits there from before a crash is sent first.
func OpenSpool(dir string, c *Client, o SpoolOptions) (_ *Spool, err error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultSpool
	}
	if o.Wait == 0 {
		o.Wait = time.Second
	}
	s := &Spool{dir: dir, client: c, o: o, wake: make(chan struct{}, 1), turn: make(chan struct{}, 1)}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("usage: make the spool: %w", err)
	}
	if s.unlock, err = lock(filepath.Join(dir, "lock")); err != nil {
		return nil, fmt.Errorf("usage: the spool %s is in use: %w", dir, err)
	}
	if err := s.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("usage: open the spool %s: %w", dir, err), s.unlock())
	}
	return s, nil
}

func (s *Spool) load() (err error) {
	if s.at, err = readCursor(s.dir); err != nil {
		return err
	}
	all, err := segments(s.dir)
	if err != nil {
		return err
	}
	for i, n := range all {
		path := segmentPath(s.dir, n)
		if n < s.at.segment { // answered whole; we were killed before deleting it
			if err := os.Remove(path); err != nil {
				return err
			}
			continue
		}
		from := int64(0)
		if n == s.at.segment {
			from = s.at.offset
		}
		events, end, err := count(path, from)
		if err != nil {
			return err
		}
		if info, err := os.Stat(path); err != nil {
			return err
		} else if info.Size() > end && i < len(all)-1 {
			return fmt.Errorf("%s is damaged at byte %d", path, end)
		}
		s.number, s.end, s.bytes, s.events = n, end, s.bytes+end, s.events+events
	}
	if s.number < s.at.segment || len(all) == 0 {
		s.number = max(s.at.segment, 1)
		s.end = 0
		return s.begin()
	}
	if s.active, err = os.OpenFile(segmentPath(s.dir, s.number), os.O_RDWR, 0o600); err != nil {
		return err
	}
	return errors.Join(s.active.Truncate(s.end), s.active.Sync())
}

// begin makes the segment with the current number.
func (s *Spool) begin() (err error) {
	if s.active, err = os.OpenFile(segmentPath(s.dir, s.number), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600); err != nil {
		return err
	}
	return syncDir(s.dir)
}

// Add keeps events, all or none; when it returns nil they are on disk and will be
// sent. ErrFull and an event without what it needs keep none. After a failed write
// it is not known whether they were kept: open the spool again and add them again
// under the same ids.
func (s *Spool) Add(events ...Event) error {
	var buf []byte
	for _, e := range events {
		raw, err := e.encode(s.client.o.Source)
		if err != nil {
			return err
		}
		buf = append(buf, line(raw)...)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch n := int64(len(buf)); {
	case s.broken != nil:
		return s.broken
	case n == 0:
		return nil
	case s.bytes+n > s.o.MaxBytes:
		return fmt.Errorf("%w: %d events (%d bytes) wait in %s, and %d bytes may", ErrFull, s.events, s.bytes, s.dir, s.o.MaxBytes)
	}
	if err := s.write(buf); err != nil {
		s.broken = fmt.Errorf("usage: write to the spool; open it again: %w", err)
		return s.broken
	}
	s.events += len(events)
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return nil
}

func (s *Spool) write(buf []byte) error {
	if s.end > 0 && s.end+int64(len(buf)) > min(maxSegment, s.o.MaxBytes/4) {
		if err := s.active.Close(); err != nil {
			return err
		}
		s.number, s.end = s.number+1, 0
		if err := s.begin(); err != nil {
			return err
		}
	}
	if _, err := s.active.WriteAt(buf, s.end); err != nil {
		return err
	}
	if err := s.active.Sync(); err != nil {
		return err
	}
	s.end, s.bytes = s.end+int64(len(buf)), s.bytes+int64(len(buf))
	return nil
}

// Waiting tells how many events the server has not answered for.
func (s *Spool) Waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.events
}

// Run sends what is added until ctx ends, and answers nil then. An *Error means
// that the server refused a whole call (a key that was revoked, say): everything is
// still in the spool, and Run may be called again when that is mended.
func (s *Spool) Run(ctx context.Context) error {
	for {
		t := time.NewTimer(s.o.Wait)
		for gathering := true; gathering && s.Waiting() < s.client.o.Batch; {
			select {
			case <-ctx.Done():
				t.Stop()
				return nil
			case <-s.wake:
			case <-t.C:
				gathering = false
			}
		}
		t.Stop()
		if err := s.Flush(ctx); err != nil {
			if ctx.Err() != nil {
				return nil //nolint:nilerr // it was told to end
			}
			return err
		}
		if s.Waiting() > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		}
	}
}

// Flush sends until nothing waits, ctx ends or the server refuses a whole call.
func (s *Spool) Flush(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		batch, to, err := s.next()
		if err != nil {
			return fmt.Errorf("usage: read the spool: %w", err)
		}
		if len(batch) == 0 {
			return nil
		}
		results, err := s.client.send(ctx, batch)
		if err != nil {
			return err
		}
		// Killed here, it sends the same events again and is told that they are duplicates.
		if err := s.settle(batch, results, to); err != nil {
			return fmt.Errorf("usage: note what was sent: %w", err)
		}
	}
}

// next reads a batch from the cursor, and where it ends.
func (s *Spool) next() (batch []json.RawMessage, to cursor, err error) {
	s.mu.Lock()
	at, number, end := s.at, s.number, s.end
	s.mu.Unlock()
	if at.segment == 0 {
		all, err := segments(s.dir)
		if err != nil {
			return nil, at, err
		}
		at = cursor{all[0], 0}
	}
	for {
		limit := end
		if at.segment < number {
			info, err := os.Stat(segmentPath(s.dir, at.segment))
			if err != nil {
				return nil, at, err
			}
			limit = info.Size()
		}
		if at.offset < limit {
			batch, at.offset, err = read(segmentPath(s.dir, at.segment), at.offset, limit, s.client.o.Batch)
			return batch, at, err
		}
		if at.segment == number {
			return nil, at, nil
		}
		at = cursor{at.segment + 1, 0}
	}
}

func read(path string, from, limit int64, n int) (batch []json.RawMessage, end int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, from, err
	}
	defer func() { _ = f.Close() }()
	r := bufio.NewReader(io.NewSectionReader(f, from, limit-from))
	for end = from; len(batch) < n && end < limit; {
		one, err := r.ReadBytes('\n')
		if err != nil {
			return nil, from, fmt.Errorf("%s at byte %d: %w", path, end, err)
		}
		raw, ok := event(one[:len(one)-1])
		if !ok {
			return nil, from, fmt.Errorf("%s is damaged at byte %d", path, end)
		}
		batch, end = append(batch, raw), end+int64(len(one))
	}
	return batch, end, nil
}

// settle notes a batch as answered: what was refused first, then the cursor, then
// segments that are no longer needed.
func (s *Spool) settle(batch []json.RawMessage, results []Result, to cursor) error {
	if err := s.keepRefused(batch, results); err != nil {
		return err
	}
	if err := to.save(s.dir); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at, s.events = to, s.events-len(batch)
	all, err := segments(s.dir)
	if err != nil {
		return err
	}
	for _, n := range all {
		if n >= to.segment {
			break
		}
		info, err := os.Stat(segmentPath(s.dir, n))
		if err != nil {
			return err
		}
		if err := os.Remove(segmentPath(s.dir, n)); err != nil {
			return err
		}
		s.bytes -= info.Size()
	}
	if to.segment == s.number && to.offset == s.end && s.end > 0 { // all is answered: begin anew
		if err := s.restart(); err != nil {
			s.broken = fmt.Errorf("usage: begin a segment; open the spool again: %w", err)
			return err
		}
	}
	return nil
}

// restart gives the room of an answered segment back. A kill in between leaves an
// answered segment and an empty one, or an answered one before the cursor, which
// opening deletes.
func (s *Spool) restart() error {
	old := s.number
	if err := s.active.Close(); err != nil {
		return err
	}
	s.number, s.end = old+1, 0
	if err := s.begin(); err != nil {
		return err
	}
	s.at = cursor{s.number, 0}
	if err := s.at.save(s.dir); err != nil {
		return err
	}
	s.bytes = 0
	return os.Remove(segmentPath(s.dir, old))
}

// keepRefused appends what the server will never store, with its answer.
func (s *Spool) keepRefused(batch []json.RawMessage, results []Result) error {
	var out []byte
	for i, r := range results {
		if r.Outcome == Accepted || r.Outcome == Duplicate || r.Outcome == Quarantined {
			continue
		}
		raw, err := json.Marshal(struct {
			Result Result          `json:"result"`
			Event  json.RawMessage `json:"event"`
		}{r, batch[i]})
		if err != nil {
			return err
		}
		out = append(append(out, raw...), '\n')
	}
	if out == nil {
		return nil
	}
	f, err := os.OpenFile(filepath.Join(s.dir, refusedFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, werr := f.Write(out)
	if err := errors.Join(werr, f.Sync(), f.Close()); err != nil {
		return err
	}
	for _, r := range results {
		if s.o.Refused != nil && (r.Outcome == Conflict || r.Outcome == Invalid) {
			s.o.Refused(r)
		}
	}
	return nil
}

// Close lets the spool go; what waits stays on disk. Run and Flush must have ended.
func (s *Spool) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == nil {
		s.broken = errors.New("usage: the spool is closed")
	}
	return errors.Join(s.active.Close(), s.unlock())
}
