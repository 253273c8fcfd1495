package simulator

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind is one way of misbehaving.
type Kind string

const (
	KindRepeat          Kind = "repeat"            // an event is delivered more than once
	KindReorder         Kind = "reorder"           // an event arrives after a later one
	KindDelay           Kind = "delay"             // an event arrives minutes or hours late
	KindDrop            Kind = "drop"              // an event never arrives
	KindThrottle        Kind = "throttle"          // usage: throttled, nothing recorded
	Kind5xx             Kind = "5xx"               // usage: the service's own error, nothing recorded
	KindAcceptThenClose Kind = "accept_then_close" // usage: recorded, then the connection is cut
	KindUnprocessed     Kind = "unprocessed"       // a record comes back in UnprocessedRecords
	KindDuplicateAnswer Kind = "duplicate_answer"  // an identical resend is answered DuplicateRecord
	KindTokenFault      Kind = "token_fault"       // ResolveCustomer: throttled or 5xx
	KindReadFault       Kind = "read_fault"        // a reading call: throttled or 5xx
	KindEmptyPage       Kind = "empty_page"        // an empty page with a NextToken
)

// kinds lists every kind with the share of opportunities it takes in hostile weather, and the marketplaces that know it. A
// share of 0 happens only when forced.
var kinds = []struct {
	kind Kind
	rate float64
	of   string
}{
	{KindRepeat, 0.25, "aws gcp azure"},
	{KindReorder, 0.20, "aws gcp azure"},
	{KindDelay, 0.20, "aws gcp azure"},
	{KindDrop, 0.10, "aws gcp azure"},
	{KindThrottle, 0.08, "aws gcp azure"},
	{Kind5xx, 0.08, "aws gcp azure"},
	{KindAcceptThenClose, 0.10, "aws gcp azure"},
	{KindUnprocessed, 0.06, "aws"},
	{KindDuplicateAnswer, 0.50, "aws"},
	{KindTokenFault, 0.25, "aws azure"},
	{KindReadFault, 0.10, "aws gcp azure"},
	{KindEmptyPage, 0.35, "aws gcp"},
	{KindForgedWebhook, 0.15, "gcp azure"},
	{KindOperationError, 0.05, "gcp"},
	{KindNamelessError, 0.04, "gcp"},
	{KindAcceptThen5xx, 0.08, "gcp"},
	{KindCheckTrouble, 0.10, "gcp"},
	{KindDecisionFault, 0.20, "gcp"},
	{KindLateIdentity, 0.25, "gcp"},
	{KindKeyRotation, 1, "gcp"}, // whenever its time has come
	{KindItemError, 0.06, "azure"},
	{KindSlotTaken, 0.04, "azure"},
	{KindSlotTakenMore, 0, "azure"},
	{KindInactiveMissing, 0.50, "azure"},
	{KindOldBody, 0.30, "azure"},
	{KindAckLate, 0.25, "azure"},
	{KindKeyRollover, 0.20, "azure"},
	{KindActivationFails, 0, "azure"},
	{KindTokenRevoked, 0, "azure"},
}

// Kinds lists the kinds that these marketplaces meet by seed; of AWS when none is named.
func Kinds(marketplaces ...string) []Kind {
	if len(marketplaces) == 0 {
		marketplaces = []string{AWS}
	}
	var out []Kind
	for _, k := range kinds {
		if k.rate > 0 && slices.ContainsFunc(marketplaces, func(name string) bool { return strings.Contains(k.of, name) }) {
			out = append(out, k.kind)
		}
	}
	return out
}

// allKinds lists every kind there is.
func allKinds() []Kind {
	out := make([]Kind, 0, len(kinds))
	for _, k := range kinds {
		out = append(out, k.kind)
	}
	return out
}

// definiteAttempt is the attempt from which every answer is definite.
const definiteAttempt = 4

// faults decides which fault happens. Its decisions are functions of (seed, kind, subject, nth); only forced faults
// depend on what came before. Methods need the simulator's lock.
type faults struct {
	seed    uint64
	weather Weather
	off     map[Kind]bool
	forced  []Force
	met     map[Kind]int
	tries   map[string]*streak
}

// Force makes the next Times opportunities of Kind happen for subjects that contain Subject, in any weather.
type Force struct {
	Kind    Kind   `json:"kind"`
	Subject string `json:"subject,omitempty"`
	Times   int    `json:"times"`
}

// streak counts the tries of one call since its last definite answer, and how many such answers there were.
type streak struct{ calls, tries int }

func newFaults(seed uint64, w Weather) *faults {
	return &faults{seed: seed, weather: w, off: map[Kind]bool{}, met: map[Kind]int{}, tries: map[string]*streak{}}
}

// happens decides kind for the nth attempt at subject, and counts it.
func (f *faults) happens(kind Kind, subject string, nth int) bool {
	if f.force(kind, subject) || f.weather == WeatherHostile && !f.off[kind] &&
		f.chance(string(kind), subject, strconv.Itoa(nth)) < rate(kind) {
		f.met[kind]++
		return true
	}
	return false
}

// fated makes a kind certain for one purchase in four, so that a run with four purchases meets every kind of event fault
// whatever the seed. Kinds with different slots never fall on the same purchase. It does not count.
func (f *faults) fated(kind Kind, slot, purchase int) bool {
	return f.weather == WeatherHostile && !f.off[kind] && (int(f.draw("fated")%4)+slot)%4 == purchase%4
}

func (f *faults) force(kind Kind, subject string) bool {
	for i := range f.forced {
		if f.forced[i].Kind == kind && strings.Contains(subject, f.forced[i].Subject) {
			f.forced[i].Times--
			if f.forced[i].Times <= 0 {
				f.forced = slices.Delete(f.forced, i, i+1)
			}
			return true
		}
	}
	return false
}

// try counts a call to subject and says whether this try fails with kind. A call is definite at its fourth try; the next
// call to the same subject is a new one.
func (f *faults) try(kind Kind, subject string) bool {
	t := f.tries[subject]
	if t == nil {
		t = &streak{}
		f.tries[subject] = t
	}
	t.tries++
	if t.tries < definiteAttempt && f.happens(kind, subject+"#"+strconv.Itoa(t.calls), t.tries) {
		return true
	}
	t.calls, t.tries = t.calls+1, 0
	return false
}

func rate(kind Kind) float64 {
	for _, k := range kinds {
		if k.kind == kind {
			return k.rate
		}
	}
	return 0
}

// digest is the one source of randomness: a hash of the seed and the parts.
func (f *faults) digest(parts ...string) [32]byte {
	h := sha256.New()
	h.Write(strconv.AppendUint(nil, f.seed, 10))
	for _, p := range parts { // with its length, so that no two lists of parts read alike
		h.Write([]byte("|" + strconv.Itoa(len(p)) + ":" + p))
	}
	return [32]byte(h.Sum(nil))
}

func (f *faults) draw(parts ...string) uint64 {
	d := f.digest(parts...)
	return binary.BigEndian.Uint64(d[:8])
}

// chance is a number in [0, 1).
func (f *faults) chance(parts ...string) float64 {
	return float64(f.draw(parts...)>>11) / (1 << 53)
}

// between is a whole number of seconds in [from, to).
func (f *faults) between(from, to time.Duration, parts ...string) time.Duration {
	d := from + time.Duration(f.chance(parts...)*float64(to-from))
	return d.Truncate(time.Second)
}

// lower is n characters of lower-case letters and digits.
func (f *faults) lower(n int, parts ...string) string {
	d := f.digest(parts...)
	s := new(big.Int).SetBytes(d[:]).Text(36)
	return s[:n]
}

// hex is 2n hexadecimal digits, at most 64.
func (f *faults) hex(n int, parts ...string) string {
	d := f.digest(parts...)
	return hex.EncodeToString(d[:n])
}

// uuid is a version 4 UUID in shape.
func (f *faults) uuid(parts ...string) string {
	d := f.digest(parts...)
	d[6], d[8] = d[6]&0x0f|0x40, d[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", d[:4], d[4:6], d[6:8], d[8:10], d[10:16])
}
