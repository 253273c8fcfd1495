package ledger_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tailmarket/tailmarket/internal/billing/ledger"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

func entry(from, to ledger.Place, q int64, r ledger.Reason) ledger.Entry {
	return ledger.Entry{From: from, To: to, Quantity: q, Reason: r}
}

func apply(t interface{ Fatal(...any) }, b ledger.Balances, entries ...ledger.Entry) ledger.Balances {
	out, err := b.Apply(entries...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestOnlyLegalMoves(t *testing.T) {
	t.Parallel()
	all := append([]ledger.Place{ledger.Measured, ledger.Corrected, ledger.CreditLeft}, ledger.Places...)
	legal := 0
	for _, from := range all {
		for _, to := range all {
			bare, reasoned := entry(from, to, 1, ""), entry(from, to, 1, ledger.Operator)
			if bare.Check() == nil && reasoned.Check() != nil {
				t.Errorf("%s → %s is legal only without a reason", from, to)
			}
			if reasoned.Check() != nil {
				continue
			}
			legal++
			if from == ledger.Accepted {
				t.Errorf("accepted units moved to %s: what the marketplace has cannot be taken back", to)
			}
			if to == ledger.WrittenOff && bare.Check() == nil {
				t.Errorf("%s → written_off without a reason", from)
			}
			if to == ledger.Measured {
				t.Errorf("%s → measured: usage is measured once", from)
			}
		}
	}
	if legal == 0 {
		t.Fatal("nothing may move")
	}
	for _, q := range []int64{0, -1} {
		if entry(ledger.Measured, ledger.Open, q, "").Check() == nil {
			t.Errorf("a move of %d units passed", q)
		}
	}
}

func TestConservationSeesEveryKindOfLoss(t *testing.T) {
	t.Parallel()
	sound := ledger.Balances{ledger.Measured: 100, ledger.Corrected: 10, ledger.CreditLeft: 5, ledger.Accepted: 60, ledger.Included: 30, ledger.Carried: 5}
	if err := ledger.Conservation(sound); err != nil {
		t.Fatal(err)
	}
	for name, broken := range map[string]ledger.Balances{
		"a unit lost":          {ledger.Measured: 10, ledger.Accepted: 9},
		"a unit billed twice":  {ledger.Measured: 10, ledger.Accepted: 11},
		"a place below zero":   {ledger.Measured: 10, ledger.Accepted: 11, ledger.Queued: -1},
		"an unknown place":     {ledger.Measured: 10, ledger.Accepted: 10, "elsewhere": 0},
		"a negative credit":    {ledger.Measured: 10, ledger.CreditLeft: -1, ledger.Accepted: 9},
		"corrected below zero": {ledger.Measured: 10, ledger.Corrected: -1, ledger.Accepted: 11},
	} {
		if ledger.Conservation(broken) == nil {
			t.Errorf("%s was not seen", name)
		}
	}
	if err := ledger.Conservation(ledger.Balances{ledger.Measured: 10, ledger.Accepted: 12, ledger.Open: -2}); err != nil {
		t.Errorf("open is signed between ingest and seal: %v", err)
	}
}

func TestOverflowIsAnError(t *testing.T) {
	t.Parallel()
	const most = int64(^uint64(0) >> 1)
	b := ledger.Balances{ledger.Measured: most - 1, ledger.Open: most - 1}
	if _, err := b.Apply(entry(ledger.Measured, ledger.Open, 2, "")); err == nil {
		t.Fatal("the sum wrapped around")
	}
}

func TestSeal(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		p    ledger.Position
		s    ledger.Scale
		want ledger.Sealed
	}{
		"fractions wait":                         {ledger.Position{Net: 125}, 10, ledger.Sealed{Post: 120, Carried: 5}},
		"a carried fraction becomes a unit":      {ledger.Position{Net: 130, Placed: 120}, 10, ledger.Sealed{Post: 10}},
		"what is included is not billed":         {ledger.Position{Net: 80, Included: 100}, 1, ledger.Sealed{Included: 80}},
		"only what is above it":                  {ledger.Position{Net: 130, Included: 100}, 1, ledger.Sealed{Included: 100, Post: 30}},
		"included fractions do not round":        {ledger.Position{Net: 1255, Included: 1000}, 10, ledger.Sealed{Included: 1000, Post: 250, Carried: 5}},
		"too much placed is credit":              {ledger.Position{Net: 50, Placed: 80}, 1, ledger.Sealed{CreditLeft: 30}},
		"credit keeps the fraction":              {ledger.Position{Net: 55, Placed: 80}, 10, ledger.Sealed{Carried: 5, CreditLeft: 30}},
		"later usage consumes credit":            {ledger.Position{Net: 85, Placed: 80}, 1, ledger.Sealed{Post: 5}},
		"a vendor that takes fractions":          {ledger.Position{Net: 125}, 1, ledger.Sealed{Post: 125}},
		"nothing used":                           {ledger.Position{Included: 100}, 10, ledger.Sealed{}},
		"everything corrected away after a seal": {ledger.Position{Net: 0, Included: 10, Placed: 40}, 10, ledger.Sealed{CreditLeft: 40}},
	}
	for name, c := range cases {
		if got := ledger.Seal(c.p, c.s); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// world is a vendor, a meter and our ledger of them in memory.
type world struct {
	b      ledger.Balances
	used   int64            // what a perfect observer measured
	events []int64          // effective quantities
	vendor map[string]int64 // the vendor's slots: first write wins
	recs   map[string]*rec
	hour   int
}

type rec struct {
	q        int64
	state    ledger.RecordState
	place    ledger.Place
	attempts []ledger.Attempt
}

// judge is what decides from attempts; tests put broken ones in its place.
type judge func(frozen int64, attempts []ledger.Attempt) ledger.Outcome

func sound(frozen int64, attempts []ledger.Attempt) ledger.Outcome {
	return ledger.Judge(frozen, attempts, false)
}

func (w *world) post(t *rapid.T, entries ...ledger.Entry) { w.b = apply(t, w.b, entries...) }

func (w *world) placed() int64 {
	n := w.b[ledger.WrittenOff]
	for _, r := range w.recs {
		if r.state != ledger.RecordFreed {
			n += r.q
		}
	}
	return n
}

// seal is one hour's seal with an included pool of 300 and tenths as units.
func (w *world) seal(t *rapid.T) {
	w.hour++
	out := ledger.Seal(ledger.Position{Net: w.b.Net(), Included: 300, Placed: w.placed()}, 10)
	w.post(t, ledger.Settle(w.b, out, func(from, to ledger.Place, q int64) ledger.Entry { return entry(from, to, q, "") })...)
	if w.b[ledger.Open] != 0 {
		t.Fatalf("after a seal %d units are still open", w.b[ledger.Open])
	}
	if out.Post > 0 {
		w.recs[fmt.Sprint(w.hour)] = &rec{q: out.Post, state: ledger.RecordQueued, place: ledger.Queued}
	}
}

// call sends one record to the vendor and learns, or does not learn, its answer.
func (w *world) call(t *rapid.T, key string, decide judge) {
	r := w.recs[key]
	answer := ledger.Unanswered
	reach := rapid.SampledFrom([]string{"answered", "lost", "vanished", "unsent", "throttled", "unprocessed", "not subscribed"}).Draw(t, "call")
	held, taken := w.vendor[key]
	switch reach {
	case "answered", "lost":
		if !taken {
			w.vendor[key] = r.q
			answer = ledger.FromReceipt(marketplace.OutcomeAccepted)
		} else if held == r.q && rapid.Bool().Draw(t, "idempotent") {
			answer = ledger.FromReceipt(marketplace.OutcomeAccepted)
		} else {
			answer = ledger.FromReceipt(marketplace.OutcomeDuplicate)
		}
		if reach == "lost" {
			answer = ledger.Unanswered
		}
	case "unsent":
		answer = ledger.NotSent
	case "throttled":
		answer = ledger.Throttled
	case "unprocessed":
		answer = ledger.FromReceipt(marketplace.OutcomeUnprocessed)
	case "not subscribed":
		// The vendor's word is about now; an earlier call may have taken the slot.
		answer = ledger.FromReceipt(marketplace.OutcomeNotSubscribed)
	}
	if r.place != ledger.Sent {
		w.post(t, entry(r.place, ledger.Sent, r.q, ""))
	}
	r.attempts = append(r.attempts, ledger.Attempt{Answer: answer, Quantity: r.q})
	out := decide(r.q, r.attempts)
	r.state, r.place = out.State, map[ledger.RecordState]ledger.Place{
		ledger.RecordQueued: ledger.Queued, ledger.RecordUnsure: ledger.Unsure, ledger.RecordAccepted: ledger.Accepted,
		ledger.RecordFreed: out.Goes, ledger.RecordHeld: ledger.Held,
	}[out.State]
	w.post(t, entry(ledger.Sent, r.place, r.q, out.Reason))
	if r.state == ledger.RecordFreed && r.place == ledger.WrittenOff {
		r.place = "" // nothing more happens to it
	}
}

// history plays a random life of one meter and says what went wrong with money.
func history(t *rapid.T, decide judge) error {
	w := &world{b: ledger.Balances{}, vendor: map[string]int64{}, recs: map[string]*rec{}}
	rise := func(q int64) {
		if q > 0 {
			w.used += q
			w.post(t, entry(ledger.Measured, ledger.Open, q, ""))
		}
	}
	for range rapid.IntRange(1, 60).Draw(t, "steps") {
		switch rapid.SampledFrom([]string{"use", "use", "correct", "seal", "send", "send"}).Draw(t, "step") {
		case "use":
			q := int64(rapid.IntRange(1, 200).Draw(t, "quantity"))
			w.events = append(w.events, q)
			rise(q)
		case "correct":
			if len(w.events) == 0 {
				continue
			}
			i := rapid.IntRange(0, len(w.events)-1).Draw(t, "which")
			q := int64(rapid.IntRange(0, 200).Draw(t, "becomes"))
			if fall := w.events[i] - q; fall > 0 {
				w.used -= fall
				w.post(t, entry(ledger.Open, ledger.Corrected, fall, ""))
			} else {
				rise(-fall)
			}
			w.events[i] = q
		case "seal":
			w.seal(t)
		case "send":
			w.sendAll(t, decide)
		}
		if err := ledger.Conservation(w.b); err != nil {
			return err
		}
	}
	w.seal(t)
	for range 200 { // until every record has a definite answer
		w.sendAll(t, decide)
	}
	return w.audit()
}

func (w *world) sendAll(t *rapid.T, decide judge) {
	for h := 1; h <= w.hour; h++ {
		key := fmt.Sprint(h)
		if r := w.recs[key]; r != nil && (r.state == ledger.RecordQueued || r.state == ledger.RecordUnsure) {
			w.call(t, key, decide)
		}
	}
}

// audit compares the ledger with the vendor's bill.
func (w *world) audit() error {
	if w.used != w.b.Net() {
		return fmt.Errorf("measured %d, used %d", w.b.Net(), w.used)
	}
	for key, r := range w.recs {
		billed := w.vendor[key]
		switch {
		case r.state == ledger.RecordAccepted && billed != r.q:
			return fmt.Errorf("record %s counts as accepted with %d, the vendor has %d", key, r.q, billed)
		case r.state == ledger.RecordFreed && billed != 0:
			return fmt.Errorf("record %s was freed, and the vendor bills %d for it", key, billed)
		case r.state == ledger.RecordQueued || r.state == ledger.RecordUnsure:
			return fmt.Errorf("record %s is %s for ever, the vendor has %d", key, r.state, billed)
		}
	}
	return ledger.Conservation(w.b)
}

func TestRandomHistoriesLoseAndDoubleNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		if err := history(t, sound); err != nil {
			t.Fatal(err)
		}
	})
}

// The histories above would be worth nothing if they passed a ledger that is wrong.
func TestHistoriesFindBrokenJudgements(t *testing.T) {
	t.Parallel()
	lastWins := func(frozen int64, a []ledger.Attempt) ledger.Outcome { return sound(frozen, a[len(a)-1:]) }
	for name, broken := range map[string]judge{
		"the last answer wins": lastWins,
		"silence is failure": func(frozen int64, a []ledger.Attempt) ledger.Outcome {
			var heard []ledger.Attempt
			for _, x := range a {
				if x.Answer != ledger.Unanswered {
					heard = append(heard, x)
				}
			}
			return sound(frozen, heard)
		},
		"silence is success": func(frozen int64, a []ledger.Attempt) ledger.Outcome {
			if a[len(a)-1].Answer == ledger.Unanswered {
				return ledger.Outcome{State: ledger.RecordAccepted, Quantity: frozen}
			}
			return sound(frozen, a)
		},
	} {
		found := false
		for seed := 0; seed < 400 && !found; seed++ {
			found = fails(seed, broken)
		}
		if !found {
			t.Errorf("%s: no history noticed", name)
		}
	}
}

// fails plays one history by seed and reports whether anything was noticed.
func fails(seed int, decide judge) (found bool) {
	defer func() {
		if recover() != nil {
			found = true
		}
	}()
	err := rapid.Custom(func(t *rapid.T) string {
		if err := history(t, decide); err != nil {
			return err.Error()
		}
		return ""
	}).Example(seed)
	return err != ""
}

func TestJudge(t *testing.T) {
	t.Parallel()
	ok, dup := ledger.FromReceipt(marketplace.OutcomeAccepted), ledger.FromReceipt(marketplace.OutcomeDuplicate)
	gone, late := ledger.FromReceipt(marketplace.OutcomeNotSubscribed), ledger.FromReceipt(marketplace.OutcomeExpired)
	missing, again := ledger.FromReceipt(marketplace.OutcomeMissing), ledger.FromReceipt(marketplace.OutcomeUnprocessed)
	cases := map[string]struct {
		answers []ledger.Answer
		fenced  bool
		want    ledger.Outcome
	}{
		"nothing was tried":                                {nil, false, ledger.Outcome{State: ledger.RecordQueued}},
		"only speed was refused":                           {[]ledger.Answer{ledger.Throttled, ledger.NotSent, again}, false, ledger.Outcome{State: ledger.RecordQueued}},
		"a call without an answer may have been recorded":  {[]ledger.Answer{ledger.Unanswered}, false, ledger.Outcome{State: ledger.RecordUnsure}},
		"a record the answer does not mention, too":        {[]ledger.Answer{missing}, false, ledger.Outcome{State: ledger.RecordUnsure}},
		"accepted once is accepted":                        {[]ledger.Answer{ledger.Unanswered, gone, ok}, false, ledger.Outcome{State: ledger.RecordAccepted, Quantity: 7}},
		"a duplicate of our own lost call":                 {[]ledger.Answer{ledger.Unanswered, dup}, false, ledger.Outcome{State: ledger.RecordAccepted, Quantity: 7}},
		"a duplicate of nobody's call":                     {[]ledger.Answer{dup}, false, ledger.Outcome{State: ledger.RecordUnsure, Conflict: true}},
		"a duplicate after calls that recorded nothing":    {[]ledger.Answer{ledger.Throttled, again, dup}, false, ledger.Outcome{State: ledger.RecordUnsure, Conflict: true}},
		"a duplicate behind a restore proves nothing":      {[]ledger.Answer{ledger.Unanswered, dup}, true, ledger.Outcome{State: ledger.RecordUnsure, Conflict: true}},
		"refused, and every other call proven":             {[]ledger.Answer{ledger.Throttled, gone}, false, ledger.Outcome{State: ledger.RecordFreed, Goes: ledger.WrittenOff, Reason: ledger.NotSubscribed}},
		"refused, but another call is unproven":            {[]ledger.Answer{gone, ledger.Unanswered}, false, ledger.Outcome{State: ledger.RecordUnsure}},
		"too old goes back":                                {[]ledger.Answer{late}, false, ledger.Outcome{State: ledger.RecordFreed, Goes: ledger.Open, Reason: ledger.Expired}},
		"a whole call refused says nothing of one of many": {[]ledger.Answer{ledger.CallRefused}, false, ledger.Outcome{State: ledger.RecordQueued}},
		"refused alone is held":                            {[]ledger.Answer{ledger.CallRefused, ledger.RefusedHere}, false, ledger.Outcome{State: ledger.RecordHeld, Goes: ledger.Held, Reason: ledger.InvalidRecord}},
		"an answer nobody knows may have been recorded":    {[]ledger.Answer{"NewStatus"}, false, ledger.Outcome{State: ledger.RecordUnsure}},
	}
	for name, c := range cases {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			attempts := make([]ledger.Attempt, len(c.answers))
			for i, a := range c.answers {
				attempts[i] = ledger.Attempt{Answer: a, Quantity: 7}
			}
			for range len(attempts) + 1 { // every rotation, and the reverse
				if got := ledger.Judge(7, attempts, c.fenced); got != c.want {
					t.Fatalf("%v: %+v, want %+v", attempts, got, c.want)
				}
				if len(attempts) > 1 {
					attempts = append(attempts[1:], attempts[0])
				}
			}
		})
	}
}

// What may be sent (again): never a record that is settled or waits for a
// person, and never into a slot whose content nobody explains, because a later
// lost call would then look like the explanation.
func TestMaySend(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		answers []ledger.Answer
		want    bool
	}{
		{nil, true},
		{[]ledger.Answer{ledger.Throttled}, true},
		{[]ledger.Answer{ledger.CallRefused}, true},
		{[]ledger.Answer{ledger.Unprocessed}, true},
		{[]ledger.Answer{ledger.Unanswered}, true},
		{[]ledger.Answer{ledger.CallUnsure, ledger.TooOld}, true},
		{[]ledger.Answer{ledger.InvalidHere, ledger.Released}, true},
		{[]ledger.Answer{ledger.Duplicate}, false},
		{[]ledger.Answer{ledger.Unprocessed, ledger.Duplicate}, false},
		{[]ledger.Answer{ledger.Unanswered, ledger.Duplicate}, false}, // accepted
		{[]ledger.Answer{ledger.TookIt}, false},
		{[]ledger.Answer{ledger.InvalidHere}, false},
		{[]ledger.Answer{ledger.TooOld}, false},
		{[]ledger.Answer{ledger.NoSubscriber}, false},
	} {
		var attempts []ledger.Attempt
		for i, a := range c.answers {
			attempts = append(attempts, ledger.Attempt{N: i + 1, Answer: a, Quantity: 5})
		}
		if out := ledger.Judge(5, attempts, false); out.MaySend() != c.want {
			t.Errorf("after %v the record is %+v, and may be sent: %v", c.answers, out, !c.want)
		}
	}
}

// What a marketplace says its slot holds is on the bill, whoever wrote it; an
// attempt of ours must explain it, or somebody looks.
func TestJudgeWhatTheSlotHolds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		others   []ledger.Answer
		fenced   bool
		conflict bool
	}{
		"our lost call":               {[]ledger.Answer{ledger.CallUnsure}, false, false},
		"our lost call, restored":     {[]ledger.Answer{ledger.CallUnsure}, true, true},
		"nobody's call":               {nil, false, true},
		"calls that recorded nothing": {[]ledger.Answer{ledger.Throttled, ledger.SuspendedHere, ledger.Released}, false, true},
	} {
		attempts := []ledger.Attempt{{N: 9, Answer: ledger.Duplicate, Quantity: 3, Says: true}}
		for i, a := range c.others {
			attempts = append(attempts, ledger.Attempt{N: i + 1, Answer: a, Quantity: 7})
		}
		want := ledger.Outcome{State: ledger.RecordAccepted, Quantity: 3, Conflict: c.conflict}
		if got := ledger.Judge(7, attempts, c.fenced); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}

func TestDoubtSince(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 3, 7, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		answers  []ledger.Answer
		minute   int
		doubtful bool
	}{
		{nil, 0, false},
		{[]ledger.Answer{ledger.Throttled, ledger.CallRefused, ledger.Unprocessed, ledger.NotSent, ledger.SuspendedHere, ledger.Released}, 0, false},
		{[]ledger.Answer{ledger.Throttled, ledger.Unanswered, ledger.CallUnsure}, 1, true},
		{[]ledger.Answer{ledger.NotMentioned, ledger.Throttled}, 0, true},
		{[]ledger.Answer{ledger.Throttled, ledger.Throttled, ledger.VendorFailed}, 2, true},
		{[]ledger.Answer{ledger.Unanswered, ledger.RuledGone}, 0, false},
		{[]ledger.Answer{ledger.Unanswered, ledger.RuledGone, ledger.CallUnsure}, 2, true},
	} {
		var attempts []ledger.Attempt
		for i, a := range c.answers {
			attempts = append(attempts, ledger.Attempt{N: i + 1, Answer: a, Wall: start.Add(time.Duration(i) * time.Minute)})
		}
		since, doubtful := ledger.DoubtSince(attempts)
		if doubtful != c.doubtful || doubtful && !since.Equal(start.Add(time.Duration(c.minute)*time.Minute)) {
			t.Errorf("%v: %s %v", c.answers, since, doubtful)
		}
		if slices.Reverse(attempts); doubtful {
			if again, _ := ledger.DoubtSince(attempts); !again.Equal(since) {
				t.Errorf("%v: in another order %s", c.answers, again)
			}
		}
	}
}

func TestDisproved(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answers []ledger.Answer
		want    bool
	}{
		"nobody ruled":                           {[]ledger.Answer{ledger.CallUnsure, ledger.TookIt}, false},
		"taken after the ruling":                 {[]ledger.Answer{ledger.CallUnsure, ledger.RuledGone, ledger.TookIt}, false},
		"taken before the ruling, as told later": {[]ledger.Answer{ledger.TookIt, ledger.RuledGone, ledger.TookIt}, true},
		"refused before the ruling":              {[]ledger.Answer{ledger.TooOld, ledger.RuledGone}, false},
	} {
		attempts := make([]ledger.Attempt, len(c.answers))
		for i, a := range c.answers {
			attempts[i] = ledger.Attempt{N: i + 1, Answer: a}
		}
		if got := ledger.Disproved(attempts); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
