package provisioning_test

import (
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tailmarket/tailmarket/internal/provisioning"
)

var day = time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)

func TestAim(t *testing.T) {
	t.Parallel()
	type place struct {
		state provisioning.State
		step  provisioning.Step
	}
	cases := map[string]struct {
		from   place
		secret bool
		do     provisioning.Do
		want   place
	}{
		"a requested tailnet is created":                    {place{"requested", "create"}, false, "full", place{"creating", "create"}},
		"a requested tailnet that is not wanted is nothing": {place{"requested", "create"}, false, "revoked", place{"revoked", ""}},
		"one being created goes on, to be found and cut":    {place{"creating", "create"}, false, "revoked", place{"creating", "create"}},
		"a suspension begins at the door":                   {place{"active", ""}, true, "suspended", place{"suspending", "door"}},
		"a suspension that runs goes on":                    {place{"suspending", "keys"}, true, "suspended", place{"suspending", "keys"}},
		"a revocation begins with the policy":               {place{"active", ""}, true, "revoked", place{"revoking", "cut"}},
		"a suspended tailnet is revoked too":                {place{"suspended", ""}, true, "revoked", place{"revoking", "cut"}},
		"a resume begins with the policy":                   {place{"suspended", ""}, true, "full", place{"configuring", "policy"}},
		"a suspension called off is a resume":               {place{"suspending", "keys"}, true, "full", place{"configuring", "policy"}},
		"a new key is made":                                 {place{"active", "key"}, true, "full", place{"active", "key"}},
		"what is to be kept is left alone":                  {place{"active", ""}, true, "keep", place{"active", ""}},
		"a revoked tailnet is not suspended":                {place{"revoked", ""}, true, "suspended", place{"revoked", ""}},
		"a revoked tailnet stays revoked":                   {place{"revoked", ""}, true, "revoked", place{"revoked", ""}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			state, step := provisioning.Aim(provisioning.Tailnet{State: c.from.state, Step: c.from.step, HasSecret: c.secret}, c.do)
			if got := (place{state, step}); got != c.want {
				t.Errorf("from %v with %s wanted it goes to %v, want %v", c.from, c.do, got, c.want)
			}
		})
	}
}

// However a node's life is cut into looks, its minutes add up to its life until the
// last look that saw it, each part lies in one hour, and no two events share an id.
func TestMinutesAddUp(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		created := day.Add(time.Duration(rapid.Int64Range(0, int64(3*time.Hour)).Draw(r, "created"))).Truncate(time.Microsecond)
		gone := created.Add(time.Duration(rapid.Int64Range(1, int64(6*time.Hour)).Draw(r, "life"))).Truncate(time.Microsecond)
		from, last, sum := day, time.Time{}, int64(0)
		ids := map[string]bool{}
		for range 12 {
			at := from.Add(time.Duration(rapid.Int64Range(1, int64(2*time.Hour)).Draw(r, "gap"))).Truncate(time.Microsecond).Add(time.Microsecond)
			var nodes []provisioning.Device
			if created.Before(at) && gone.After(at) {
				nodes = append(nodes, provisioning.Device{ID: "n", Created: created, Ephemeral: true, Connected: true, Tags: []string{"tag:client"}})
				last = at
			}
			for _, e := range provisioning.Count(provisioning.Look{Subscription: "sub_1", Tailnet: "tnt_1", Since: day, From: from, At: at, Devices: nodes}) {
				if e.Meter != provisioning.MeterEphemeral {
					r.Fatalf("an ephemeral node was counted as %s", e.Meter)
				}
				if ids[e.ID] {
					r.Fatalf("two events are %s", e.ID)
				}
				ids[e.ID] = true
				if e.UsedAt.Before(from) || !e.UsedAt.Before(at) || e.UsedAt.Before(created) {
					r.Fatalf("used at %s, outside %s to %s", e.UsedAt, from, at)
				}
				q, err := strconv.ParseInt(strings.Replace(e.Quantity, ".", "", 1), 10, 64)
				if err != nil {
					r.Fatal(err)
				}
				sum += q
			}
			from = at
		}
		want := int64(0)
		if !last.IsZero() {
			want = int64(last.Sub(created) / (600 * time.Millisecond))
		}
		if sum != want {
			r.Fatalf("%d hundredths were counted, %d were lived", sum, want)
		}
	})
}

func TestCount(t *testing.T) {
	t.Parallel()
	from, at := day.Add(10*time.Hour-5*time.Minute), day.Add(10*time.Hour)
	cases := map[string]struct {
		users   []provisioning.User
		devices []provisioning.Device
		want    int
	}{
		"a connected member":                  {users: []provisioning.User{{ID: "u", Created: day, Active: true, Connected: true}}, want: 1},
		"a member seen since the last look":   {users: []provisioning.User{{ID: "u", Created: day, Active: true, LastSeen: from.Add(time.Minute)}}, want: 1},
		"a member not seen since":             {users: []provisioning.User{{ID: "u", Created: day, Active: true, LastSeen: from}}},
		"a suspended member":                  {users: []provisioning.User{{ID: "u", Created: day, Connected: true}}},
		"a member who came after":             {users: []provisioning.User{{ID: "u", Created: at, Active: true, Connected: true}}},
		"a tagged node":                       {devices: []provisioning.Device{{ID: "n", Created: day, Tags: []string{"tag:a"}, Connected: true}}, want: 1},
		"a node without a tag":                {devices: []provisioning.Device{{ID: "n", Created: day, Connected: true}}},
		"a node shared in":                    {devices: []provisioning.Device{{ID: "n", Created: day, Tags: []string{"tag:a"}, Connected: true, External: true}}},
		"an ephemeral node shared in":         {devices: []provisioning.Device{{ID: "n", Created: day, Ephemeral: true, Connected: true, External: true}}},
		"a tagged node that is not there":     {devices: []provisioning.Device{{ID: "n", Created: day, Tags: []string{"tag:a"}}}},
		"a tagged node that waits":            {devices: []provisioning.Device{{ID: "n", Created: day, Tags: []string{"tag:a"}, Connected: true, Waiting: true}}},
		"an ephemeral node that waits":        {devices: []provisioning.Device{{ID: "n", Created: day, Ephemeral: true, Connected: true, Waiting: true}}},
		"an ephemeral, tagged node":           {devices: []provisioning.Device{{ID: "n", Created: day, Ephemeral: true, Connected: true, Tags: []string{"tag:a"}}}, want: 1},
		"an ephemeral node that is not there": {devices: []provisioning.Device{{ID: "n", Created: day, Ephemeral: true, Tags: []string{"tag:a"}}}},
		"a tagged node that came after":       {devices: []provisioning.Device{{ID: "n", Created: at, Tags: []string{"tag:a"}, Connected: true}}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := provisioning.Count(provisioning.Look{Subscription: "sub_1", Tailnet: "tnt_1", Since: day, From: from, At: at, Users: c.users, Devices: c.devices})
			if len(got) != c.want {
				t.Fatalf("%d events, want %d: %+v", len(got), c.want, got)
			}
			for _, e := range got {
				if e.UsedAt.Hour() != 9 { // on the hour, the hour that is over is the one that was looked at
					t.Errorf("used at %s", e.UsedAt)
				}
			}
		})
	}
}

// Three people and machines come and go, looks fail at any point, a look that was
// overtaken stores late: by source and id, everything is there once. What is expected
// is computed from who was seen when, as docs/rooms.md says, not from events.
func TestKeptOnceWhateverFails(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		instant := func(label string, from time.Time) time.Time { // never on a sampling instant
			n := rapid.Int64Range(0, 23).Draw(r, label)
			return from.Truncate(provisioning.SampleEvery).Add(time.Duration(n)*provisioning.SampleEvery + 7*time.Second)
		}
		start := day.Add(9*time.Hour + 42*time.Minute)
		type life struct{ from, until time.Time }
		var lives [3]life
		for i := range lives {
			lives[i].from = instant("comes", start.Add(5*time.Minute))
			lives[i].until = instant("goes", lives[i].from.Add(5*time.Minute))
		}

		stored := map[string]provisioning.UsageEvent{}
		store := func(events []provisioning.UsageEvent) {
			for _, e := range events {
				key := e.Source + " " + e.ID
				if was, twice := stored[key]; twice && was != e {
					r.Fatalf("%s is told as %+v and as %+v", key, was, e)
				}
				stored[key] = e
			}
		}
		covered := time.Time{}
		var late []provisioning.UsageEvent // of a look that was overtaken
		people, minutes, peak := map[string]bool{}, [3]time.Time{}, 0
		for at := provisioning.LastSample(start); at.Before(start.Add(5 * time.Hour)); at = provisioning.NextSample(at) {
			outcome := rapid.SampledFrom([]string{"stored", "stored", "not covered", "lost", "overtaken"}).Draw(r, "outcome")
			look := provisioning.Look{Subscription: "sub_1", Tailnet: "tnt_1", Since: start, From: start, At: at}
			if covered.After(start) {
				look.From = covered
			}
			if !at.After(start) {
				continue
			}
			var there []int
			for i, l := range lives {
				if !l.from.Before(at) || !l.until.After(at) {
					continue
				}
				there = append(there, i)
				id := strconv.Itoa(i)
				look.Users = append(look.Users, provisioning.User{ID: id, Created: l.from, Active: true, Connected: true})
				look.Devices = append(
					look.Devices,
					provisioning.Device{ID: "e" + id, Created: l.from, Ephemeral: true, Connected: true},
					provisioning.Device{ID: "t" + id, Created: l.from, Tags: []string{"tag:a"}, Connected: true},
				)
			}
			events := provisioning.Count(look)
			switch outcome {
			case "lost":
				continue
			case "overtaken":
				late = append(late, events...)
			case "not covered":
				store(events)
			case "stored":
				store(events)
				covered = at
			}
			peak = max(peak, len(there))
			for _, i := range there {
				people[strconv.Itoa(i)], minutes[i] = true, at
			}
		}
		store(late)

		gotPeople, gotMinutes, gotPeak := map[string]bool{}, [3]int64{}, 0
		for _, e := range stored {
			switch e.Meter {
			case provisioning.MeterUsers:
				gotPeople[e.Of] = true
			case provisioning.MeterTagged:
				n, _ := strconv.Atoi(e.Quantity)
				gotPeak = max(gotPeak, n)
			case provisioning.MeterEphemeral:
				q, _ := strconv.ParseInt(strings.Replace(e.Quantity, ".", "", 1), 10, 64)
				gotMinutes[e.Of[1]-'0'] += q
			}
		}
		want := [3]int64{}
		for i, last := range minutes {
			if !last.IsZero() {
				want[i] = int64(last.Sub(lives[i].from) / (600 * time.Millisecond))
			}
		}
		if !reflect.DeepEqual(gotPeople, people) || gotMinutes != want || gotPeak != peak {
			r.Fatalf("kept: people %v, minutes %v, peak %d\nseen: people %v, minutes %v, peak %d", gotPeople, gotMinutes, gotPeak, people, want, peak)
		}
	})
}
