package subscription_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

// The table of states at AWS Marketplace. The first row that fits a cell of the
// product of all facts says its state and what the network should be; "-" fits
// anything. Every cell must fit, every row must be needed.
//
//	granted   no · yes · future: entitled, but not started
//	end       no · past · future: a confirmed end
//	denied    no · old: before the grant · new: since the grant
//
//nolint:dupword // a table repeats its words
const stateTable = `
closed end    revoked denied granted claimed ready paused live | state                access
yes    -      -       -      -       -       -     -      -    | ended                revoked
no     past   -       -      -       -       -     -      -    | ending               revoked
no     -      yes     -      -       -       -     -      -    | ending               revoked
no     -      no      new    -       -       no    -      -    | rejected             none
no     -      no      new    -       -       yes   -      -    | ending               revoked
no     -      no      -      no      no      -     -      -    | pending              none
no     -      no      -      no      yes     -     -      -    | awaiting_marketplace none
no     -      no      -      -       no      no    -      -    | awaiting_buyer       none
no     -      no      -      future  -       -     -      -    | awaiting_marketplace none
no     -      no      -      yes     -       -     yes    -    | suspended            suspended
no     -      no      -      yes     yes     no    no     no   | provisioning         none
no     -      no      -      yes     yes     no    no     yes  | provisioning         full
no     -      no      -      yes     -       yes   no     -    | active               full
`

// The same at Google: an account's message ends it too; nothing else differs. Its
// purchases wait for our approval, which is a decision and no state.
const googleTable = stateTable

// The same at Azure. reserved: bought, and entitled once we activate it, which the
// marketplace took when it is confirmed. What is entitled is served before somebody
// came. Nothing is denied there.
//
//nolint:dupword // a table repeats its words
const azureTable = `
closed end    revoked granted reserved claimed ready confirmed paused live | state                access
yes    -      -       -       -        -       -     -         -      -    | ended                revoked
no     past   -       -       -        -       -     -         -      -    | ending               revoked
no     -      yes     -       -        -       -     -         -      -    | ending               revoked
no     -      no      no      no       no      -     -         -      -    | pending              none
no     -      no      no      no       yes     -     -         -      -    | awaiting_marketplace none
no     -      no      no      yes      no      no    -         -      -    | awaiting_buyer       none
no     -      no      future  -        -       -     -         -      -    | awaiting_marketplace none
no     -      no      -       -        -       -     -         yes    -    | suspended            suspended
no     -      no      -       -        -       no    -         no     no   | provisioning         none
no     -      no      -       -        -       no    -         no     yes  | provisioning         full
no     -      no      yes     -        -       yes   no        no     no   | provisioning         none
no     -      no      yes     -        -       yes   no        no     yes  | provisioning         full
no     -      no      no      yes      -       yes   -         no     no   | provisioning         none
no     -      no      no      yes      -       yes   -         no     yes  | provisioning         full
no     -      no      yes     -        -       yes   yes       no     -    | active               full
`

type cell map[string]string

type dimension struct {
	name   string
	values []string
}

var noYes = []string{"no", "yes"}

var azureDimensions = []dimension{
	{"closed", noYes},
	{"end", []string{"no", "past", "future"}},
	{"revoked", noYes},
	{"granted", []string{"no", "yes", "future"}},
	{"reserved", noYes},
	{"claimed", noYes},
	{"ready", noYes},
	{"confirmed", noYes},
	{"paused", noYes},
	{"live", noYes},
}

var dimensions = []dimension{
	{"closed", []string{"no", "yes"}},
	{"end", []string{"no", "past", "future"}},
	{"revoked", []string{"no", "yes"}},
	{"denied", []string{"no", "old", "new"}},
	{"granted", []string{"no", "yes", "future"}},
	{"claimed", []string{"no", "yes"}},
	{"ready", []string{"no", "yes"}},
	{"paused", []string{"no", "yes"}},
	{"live", []string{"no", "yes"}},
}

func (c cell) facts(m marketplace.ID, now time.Time) subscription.Facts {
	f := subscription.Facts{Marketplace: m}
	event := func(kind marketplace.EventKind, version, at time.Time) {
		f = subscription.Apply(f, marketplace.Event{Kind: kind, At: at, Version: version, Reason: "CANCELLED"})
	}
	fact := func(name string, kind subscription.FactKind) {
		if c[name] == "yes" {
			f = subscription.Note(f, subscription.Fact{Kind: kind, At: now.Add(-time.Minute)})
		}
	}
	if c["reserved"] == "yes" {
		f = subscription.Apply(f, marketplace.Event{Kind: marketplace.Observed, At: now.Add(-3 * time.Hour), Version: now.Add(-3 * time.Hour), Observed: &marketplace.Observation{Awaits: marketplace.Activate}})
	}
	switch c["granted"] {
	case "yes":
		event(marketplace.Entitled, now.Add(-time.Hour), now.Add(-time.Hour))
	case "future":
		event(marketplace.Entitled, now.Add(-time.Hour), now.Add(time.Hour))
	}
	switch c["denied"] {
	case "old":
		event(marketplace.Denied, now.Add(-2*time.Hour), now.Add(-2*time.Hour))
	case "new":
		event(marketplace.Denied, now.Add(-time.Minute), now.Add(-time.Minute))
	}
	switch c["end"] {
	case "past":
		event(marketplace.Ended, now.Add(-time.Minute), now.Add(-time.Minute))
	case "future":
		event(marketplace.Ended, now.Add(-time.Minute), now.Add(time.Hour))
	}
	if c["paused"] == "yes" {
		event(marketplace.Suspended, now.Add(-time.Minute), now.Add(-time.Minute))
	}
	fact("claimed", subscription.FactClaimed)
	fact("ready", subscription.FactReady)
	fact("revoked", subscription.FactRevoked)
	fact("confirmed", subscription.FactConfirmed)
	fact("closed", subscription.FactClosed)
	fact("live", subscription.FactLive)
	return f
}

func TestStateOfEveryCell(t *testing.T) {
	t.Parallel()
	everyCell(t, marketplace.AWS, stateTable, dimensions)
	everyCell(t, marketplace.GCP, googleTable, dimensions)
	everyCell(t, marketplace.Azure, azureTable, azureDimensions)
}

func everyCell(t *testing.T, m marketplace.ID, table string, dimensions []dimension) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(table), "\n")
	names := strings.Fields(strings.Split(lines[0], "|")[0])
	used := make([]int, len(lines))
	now := at(0)
	var walk func(d int, c cell)
	cells := 0
	walk = func(d int, c cell) {
		if d < len(dimensions) {
			for _, v := range dimensions[d].values {
				c[dimensions[d].name] = v
				walk(d+1, c)
			}
			return
		}
		cells++
		// Denied before a grant that never came is the newest word there is.
		if c["denied"] == "old" && c["granted"] == "no" {
			return
		}
		f := c.facts(m, now)
		for i, line := range lines[1:] {
			left, right, _ := strings.Cut(line, "|")
			fits := true
			for n, want := range strings.Fields(left) {
				fits = fits && (want == "-" || want == c[names[n]])
			}
			if !fits {
				continue
			}
			used[i+1]++
			want := strings.Fields(right)
			if got := string(subscription.StateOf(f, now)); got != want[0] {
				t.Errorf("%s %v: state %s, the table says %s", m, c, got, want[0])
			}
			if got := string(subscription.AccessOf(f, now)); got != want[1] {
				t.Errorf("%s %v: access %s, the table says %s", m, c, got, want[1])
			}
			return
		}
		t.Errorf("%s %v: no row of the table fits; state is %s", m, c, subscription.StateOf(f, now))
	}
	walk(0, cell{})
	for i, n := range used[1:] {
		if n == 0 {
			t.Errorf("%s: no cell fits row %q", m, lines[i+1])
		}
	}
	t.Logf("%s: %d cells", m, cells)
}

// What each event does in each state, when it is the newest word: "." leaves the
// state. Nothing is refused: a message is genuine or it does not get here.
//
//nolint:dupword // a table repeats its words
const eventTable = `
event            pending              awaiting_buyer awaiting_marketplace provisioning active    suspended ending       ended rejected
purchase_seen    .                    .              .                    .            .         .         .            .     .
claimed          awaiting_marketplace provisioning   .                    .            .         .         .            .     .
entitled         awaiting_buyer       .              provisioning         .            .         .         active       .     provisioning
denied           rejected             rejected       rejected             rejected     ending    ending    .            .     .
change_requested .                    .              .                    .            .         .         .            .     .
changed          .                    .              .                    .            .         .         .            .     .
change_withdrawn .                    .              .                    .            .         .         .            .     .
renewed          .                    .              .                    .            .         .         .            .     .
suspended        .                    .              .                    suspended    suspended .         .            .     .
resumed          .                    .              .                    .            .         active    .            .     .
end_scheduled    .                    .              .                    .            .         .         .            .     .
end_reverted     .                    .              .                    .            .         .         .            .     .
ending           ending               ending         ending               ending       ending    ending    .            .     ending
ended            ending               ending         ending               ending       ending    ending    .            .     ending
account_changed  .                    .              .                    .            .         .         .            .     .
account_deleted  .                    .              .                    .            .         .         .            .     .
offer_changed    .                    .              .                    .            .         .         .            .     .
observed         awaiting_buyer       .              provisioning         .            .         active    active       .     provisioning
noted            .                    .              .                    .            .         .         .            .     .
`

// Google differs in what a deleted account means.
var googleEvents = regexp.MustCompile(`account_deleted.*`).ReplaceAllStringFunc(eventTable, func(string) string {
	return "account_deleted" + strings.Repeat(" ending", 6) + " . . ending"
})

// At Azure what is entitled needs nobody to come for it.
//
//nolint:dupword // a table repeats its words
const azureEvents = `
event            pending              awaiting_buyer awaiting_marketplace provisioning active    suspended ending       ended rejected
purchase_seen    .                    .              .                    .            .         .         .            .     .
claimed          awaiting_marketplace provisioning   .                    .            .         .         .            .     .
entitled         provisioning         provisioning   provisioning         .            .         .         active       .     provisioning
denied           rejected             rejected       rejected             rejected     ending    ending    .            .     .
change_requested .                    .              .                    .            .         .         .            .     .
changed          .                    .              .                    .            .         .         .            .     .
change_withdrawn .                    .              .                    .            .         .         .            .     .
renewed          .                    .              .                    .            .         .         .            .     .
suspended        .                    .              .                    suspended    suspended .         .            .     .
resumed          .                    .              .                    .            .         active    .            .     .
end_scheduled    .                    .              .                    .            .         .         .            .     .
end_reverted     .                    .              .                    .            .         .         .            .     .
ending           ending               ending         ending               ending       ending    ending    .            .     ending
ended            ending               ending         ending               ending       ending    ending    .            .     ending
account_changed  .                    .              .                    .            .         .         .            .     .
account_deleted  .                    .              .                    .            .         .         .            .     .
offer_changed    .                    .              .                    .            .         .         .            .     .
observed         provisioning         provisioning   provisioning         .            .         active    active       .     provisioning
noted            .                    .              .                    .            .         .         .            .     .
`

func TestEveryEventInEveryState(t *testing.T) {
	t.Parallel()
	everyEvent(t, marketplace.AWS, eventTable)
	everyEvent(t, marketplace.GCP, googleEvents)
	everyEvent(t, marketplace.Azure, azureEvents)
}

func everyEvent(t *testing.T, m marketplace.ID, table string) {
	t.Helper()
	event := func(kind marketplace.EventKind) step {
		return step{event: &marketplace.Event{Kind: kind, At: at(1), Version: at(1)}}
	}
	fact := func(kind subscription.FactKind) step { return step{fact: &subscription.Fact{Kind: kind, At: at(1)}} }
	active := []step{event(marketplace.Entitled), fact(subscription.FactClaimed), fact(subscription.FactConfirmed), fact(subscription.FactReady)}
	bought := []step{event(marketplace.Entitled)}
	if m == marketplace.Azure {
		bought[0].event.Kind, bought[0].event.Observed = marketplace.Observed, &marketplace.Observation{Awaits: marketplace.Activate}
	}
	start := map[subscription.State][]step{
		subscription.StatePending:             nil,
		subscription.StateAwaitingBuyer:       bought,
		subscription.StateAwaitingMarketplace: {fact(subscription.FactClaimed)},
		subscription.StateProvisioning:        active[:3],
		subscription.StateActive:              active,
		subscription.StateSuspended:           append(active[:4:4], event(marketplace.Suspended)),
		subscription.StateEnding:              append(active[:4:4], event(marketplace.Ended)),
		subscription.StateEnded:               append(active[:4:4], fact(subscription.FactClosed)),
		subscription.StateRejected:            {fact(subscription.FactClaimed), event(marketplace.Denied)},
	}
	lines := strings.Split(strings.TrimSpace(table), "\n")
	head := strings.Fields(lines[0])[1:]
	if len(head) != len(subscription.States) || len(lines)-1 != len(marketplace.EventKinds) {
		t.Fatalf("the table has %d states and %d events; there are %d and %d", len(head), len(lines)-1, len(subscription.States), len(marketplace.EventKinds))
	}
	now := at(10)
	for i, kind := range marketplace.EventKinds {
		row := strings.Fields(lines[i+1])
		if row[0] != string(kind) {
			t.Fatalf("row %d is %s, want %s", i+1, row[0], kind)
		}
		for j, want := range row[1:] {
			t.Run(fmt.Sprintf("%s %s in %s", m, kind, head[j]), func(t *testing.T) {
				state := subscription.State(head[j])
				f := runAt(m, start[state])
				if got := subscription.StateOf(f, now); got != state {
					t.Fatalf("the cell begins in %s", got)
				}
				e := marketplace.Event{Kind: kind, At: at(2), Version: at(2)}
				if kind == marketplace.Observed {
					e.Observed = &marketplace.Observation{Entitled: true}
				}
				if want == "." {
					want = head[j]
				}
				if got := subscription.StateOf(subscription.Apply(f, e), now); string(got) != want {
					t.Errorf("becomes %s, the table says %s", got, want)
				}
			})
		}
	}
}

func TestWhatWasRevokedDoesNotComeBack(t *testing.T) {
	t.Parallel()
	f := run([]step{
		{event: &marketplace.Event{Kind: marketplace.Ended, At: at(1), Version: at(1)}},
		{fact: &subscription.Fact{Kind: subscription.FactRevoked, At: at(2)}},
		{event: &marketplace.Event{Kind: marketplace.Entitled, At: at(3), Version: at(3)}},
		{fact: &subscription.Fact{Kind: subscription.FactClaimed, At: at(3)}},
		{fact: &subscription.Fact{Kind: subscription.FactLive, At: at(0)}},
	})
	if got := subscription.StateOf(f, at(5)); got != subscription.StateEnding {
		t.Errorf("state %s after access was revoked and granted again", got)
	}
	for _, e := range subscription.Effects(subscription.Facts{Marketplace: marketplace.AWS}, f, at(5)) {
		if e.Kind == subscription.DueProvision {
			t.Error("a revoked network would be made again")
		}
	}
}

func TestASuccessorKeepsTheNetwork(t *testing.T) {
	t.Parallel()
	base := []step{
		{event: &marketplace.Event{Kind: marketplace.Entitled, At: at(1), Version: at(1)}},
		{fact: &subscription.Fact{Kind: subscription.FactClaimed, At: at(1)}},
		{fact: &subscription.Fact{Kind: subscription.FactReady, At: at(1)}},
		{event: &marketplace.Event{Kind: marketplace.Ended, At: at(2), Version: at(2), Reason: "RENEWED"}},
		{event: &marketplace.Event{Kind: marketplace.Ending, At: at(3), Version: at(3)}}, // the old licence is deprovisioned
	}
	f := run(base)
	if got := subscription.AccessOf(f, at(10)); got != subscription.AccessKeep {
		t.Errorf("access %s while the successor is not known yet, want keep", got)
	}
	if got := subscription.AccessOf(f, at(10).Add(40*time.Hour)); got != subscription.AccessRevoked {
		t.Errorf("access %s when no successor ever came, want revoked", got)
	}
	f = run(append(base, step{fact: &subscription.Fact{Kind: subscription.FactReplaced, At: at(2), By: "sub_next"}}))
	if got := subscription.AccessOf(f, at(10).Add(40*time.Hour)); got != subscription.AccessKeep {
		t.Errorf("access %s with a successor, want keep", got)
	}
	if got := f.EndsAt(); !got.Equal(at(2)) {
		t.Errorf("ends at %s, want the successor's start", got)
	}
}

func TestEffects(t *testing.T) {
	t.Parallel()
	now := at(10)
	event := func(kind marketplace.EventKind) step {
		return step{event: &marketplace.Event{Kind: kind, At: at(1), Version: at(1)}}
	}
	fact := func(kind subscription.FactKind, m int) step {
		return step{fact: &subscription.Fact{Kind: kind, At: at(m)}}
	}
	entitled, claimed, live, ready := event(marketplace.Entitled), fact(subscription.FactClaimed, 2), fact(subscription.FactLive, 0), fact(subscription.FactReady, 5)
	cases := map[string]struct {
		before []step
		next   step
		want   string
	}{
		"claimed after entitled":       {[]step{live, entitled}, claimed, "provision@10"},
		"entitled after claimed":       {[]step{live, claimed}, entitled, "provision@10"},
		"observed: nothing happens":    {[]step{claimed}, entitled, ""},
		"going live releases":          {[]step{claimed, entitled}, live, "provision@10"},
		"going live at a later hour":   {[]step{claimed, entitled}, fact(subscription.FactLive, 60), "provision@60"},
		"the same again does nothing":  {[]step{live, claimed, entitled}, claimed, ""},
		"ready":                        {[]step{live, claimed, entitled}, ready, "collect@10 seal@10"},
		"the end":                      {[]step{live, claimed, entitled, ready}, event(marketplace.Ended), "close@10"},
		"an end of what was never set": {[]step{entitled}, event(marketplace.Ended), "close@10"},
		"a second word of the end":     {[]step{live, claimed, entitled, ready, event(marketplace.Ended)}, event(marketplace.Ending), ""},
		"suspended":                    {[]step{live, claimed, entitled, ready}, event(marketplace.Suspended), "provision@10"},
		"blocked lifted": {
			[]step{live, {fact: &subscription.Fact{Kind: subscription.FactBlocked, At: at(1), Reason: "x"}}, claimed, entitled},
			step{fact: &subscription.Fact{Kind: subscription.FactBlocked, At: at(3)}},
			"provision@10",
		},
		"an agreed end is asked about": {
			[]step{live, claimed, entitled},
			step{event: &marketplace.Event{Kind: marketplace.Observed, At: at(3), Version: at(3), Observed: &marketplace.Observation{Entitled: true, EndsAt: at(90)}}},
			"refresh@91",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			before := run(c.before)
			after := run(append(append([]step(nil), c.before...), c.next))
			var got []string
			for _, e := range subscription.Effects(before, after, now) {
				got = append(got, fmt.Sprintf("%s@%d", e.Kind, int(e.At.Sub(t0).Minutes())))
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("effects %q, want %q", s, c.want)
			}
		})
	}
}
