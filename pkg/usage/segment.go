package usage

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A segment is a file of lines: a checksum, a space, the event as it is sent.
// Lines are only added at the end of the newest segment; a segment is deleted when
// all of it was answered.

const (
	segmentEnd = ".seg"
	cursorFile = "sent"
	sumLen     = 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func line(event json.RawMessage) []byte {
	return fmt.Appendf(nil, "%08x %s\n", crc32.Checksum(event, castagnoli), event)
}

// event reads a line, without its end; false when it is not one that was written whole.
func event(line []byte) (json.RawMessage, bool) {
	if len(line) < sumLen+2 || line[sumLen] != ' ' {
		return nil, false
	}
	sum, err := strconv.ParseUint(string(line[:sumLen]), 16, 32)
	body := line[sumLen+1:]
	return body, err == nil && crc32.Checksum(body, castagnoli) == uint32(sum)
}

func segmentPath(dir string, n int) string {
	return filepath.Join(dir, fmt.Sprintf("%08d%s", n, segmentEnd))
}

// segments lists the numbers of a folder's segments, in order.
func segments(dir string) ([]int, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []int
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), segmentEnd); ok {
			n, err := strconv.Atoi(name)
			if err != nil {
				return nil, fmt.Errorf("%s is no segment", e.Name())
			}
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out, nil
}

// count reads a segment from an offset: how many events it has, and where the last
// whole one ends. What follows is a write that was cut: its Add never returned. A
// whole event after it means that the file was damaged otherwise.
func count(path string, from int64) (events int, end int64, err error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0, 0, err
	}
	if from > int64(len(raw)) {
		return 0, 0, fmt.Errorf("%s ends before what was sent of it", path)
	}
	end = from
	broken := false
	for rest := raw[from:]; len(rest) > 0; {
		one, after, whole := bytes.Cut(rest, []byte("\n"))
		_, ok := event(one)
		switch {
		case ok && whole && broken:
			return 0, 0, fmt.Errorf("%s is damaged at byte %d", path, end)
		case ok && whole:
			events, end = events+1, end+int64(len(one))+1
		default:
			broken = true
		}
		rest = after
	}
	return events, end, nil
}

// cursor is how far everything was answered.
type cursor struct {
	segment int
	offset  int64
}

func readCursor(dir string) (c cursor, err error) {
	raw, err := os.ReadFile(filepath.Join(dir, cursorFile))
	if errors.Is(err, os.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	if _, err := fmt.Sscanf(string(raw), "%d %d\n", &c.segment, &c.offset); err != nil {
		return c, fmt.Errorf("%s cannot be read: %w", cursorFile, err)
	}
	return c, nil
}

// save replaces the cursor in one step: a kill leaves the old one or the new one.
func (c cursor) save(dir string) error {
	path := filepath.Join(dir, cursorFile)
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, werr := fmt.Fprintf(f, "%d %d\n", c.segment, c.offset)
	if err := errors.Join(werr, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes names in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
