package provisioning

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/id"
)

// The meters that are collected here; catalog and marketplaces have their own names.
const (
	MeterUsers     = "active_user"
	MeterTagged    = "tagged_resource"
	MeterEphemeral = "ephemeral_minute"
)

// SampleEvery is how often a tailnet is looked at, in business time.
const SampleEvery = 5 * time.Minute

// NextSample is the sampling instant after t: samples lie on multiples of
// SampleEvery, whenever the one before was taken.
func NextSample(t time.Time) time.Time { return LastSample(t).Add(SampleEvery) }

// LastSample is the newest sampling instant that is not after t.
func LastSample(t time.Time) time.Time { return t.UTC().Truncate(SampleEvery) }

// UsageEvent is one fact of use, as this room tells it.
type UsageEvent struct {
	Source   string
	ID       string
	Meter    string
	Quantity string // decimal
	Of       string // who was counted, for unique meters
	UsedAt   time.Time
}

// Sample is what one look at a tailnet says: after it, the collected meters are
// known for (From, To]. The coverage is stored with the last of the events or after
// all of them. Looks at sampling instants tell one fact by one id, so one that is
// repeated, killed half-way or overtaken leaves nothing twice, whatever part of its
// events was stored. An empty interval (To not after From) says that there is
// nothing to store.
type Sample struct {
	From, To time.Time
	Events   []UsageEvent
}

// Collect looks at the tailnet of a purchase and says what was used after covered,
// the instant up to which usage is stored (zero: none is), until at. At is the last
// sampling instant, or the purchase's end when that has passed. Harmless to repeat.
// A purchase without a tailnet used nothing; one whose tailnet is cut, or in a
// successor's hands, uses nothing any more.
//
// It never says more than was seen:
//   - a person is counted in the hour in which the look saw them connected, or in
//     which the control plane saw them last;
//   - tagged resources are those connected at the instant. Ephemeral nodes are not
//     among them, tagged or not: they are metered by the minute;
//   - an ephemeral node that is connected at the look counts from its creation, or
//     from covered: it is removed when it goes, and its id does not come back. One
//     that has gone counts to the last look that saw it;
//   - a node that waits for approval reaches nobody and is not counted, nor is one
//     shared in from another tailnet;
//   - who came after at is of the next sample.
func (s *Service) Collect(ctx context.Context, sub id.Subscription, covered, at time.Time) (Sample, error) {
	covered, at = micro(covered), micro(at)
	sample := Sample{From: covered, To: at}
	if !at.After(covered) {
		sample.To = covered
		return sample, nil
	}
	t, use, ok, err := s.Store.TailnetUsedBy(ctx, sub)
	switch {
	case err != nil:
		return Sample{}, err
	case !ok, t.Holder != sub, t.State != StateActive, !at.After(use.Since):
		return sample, nil
	}
	d, err := s.driver(t)
	if err != nil {
		return Sample{}, err
	}
	cred, err := s.Store.TailnetCredential(ctx, t.ID)
	if err != nil {
		return Sample{}, err
	}
	access := Access{Remote: t.Remote, Credential: cred}
	var people []User
	if d.Capabilities().HumanUsers {
		if people, err = d.Users(ctx, access); err != nil {
			return Sample{}, fmt.Errorf("list the people of %s: %w", t.ID, err)
		}
	}
	nodes, err := d.Devices(ctx, access)
	if err != nil {
		return Sample{}, fmt.Errorf("list the nodes of %s: %w", t.ID, err)
	}
	from := use.Since
	if covered.After(from) {
		from = covered
	}
	sample.Events = Count(Look{Subscription: sub, Tailnet: t.ID, Since: use.Since, From: from, At: at, Users: people, Devices: nodes})
	return sample, nil
}

// Look is what Count needs: what was seen at At, and since when nothing is known.
type Look struct {
	Subscription id.Subscription
	Tailnet      id.Tailnet
	Since        time.Time // the purchase uses the tailnet
	From, At     time.Time
	Users        []User
	Devices      []Device
}

// Count turns a look into usage events. Pure: the same look gives the same events,
// and what identifies an event decides its content. Every event is used inside
// (From, At], so before the end when At is the end.
func Count(l Look) []UsageEvent {
	var out []UsageEvent
	last := l.At.Add(-time.Microsecond) // the last instant of the interval; on the hour it is of the hour that is over
	add := func(meter, id, quantity, of string, usedAt time.Time) {
		out = append(out, UsageEvent{
			Source: "provisioning/" + string(l.Subscription), ID: fmt.Sprintf("%s/%s/%s", l.Tailnet, meter, id),
			Meter: meter, Quantity: quantity, Of: of, UsedAt: usedAt,
		})
	}
	for _, u := range l.Users {
		seen := u.LastSeen
		if u.Connected {
			seen = last
		}
		if !u.Active || !u.Created.Before(l.At) || !seen.After(l.From) && !u.Connected || !seen.Before(l.At) {
			continue
		}
		hour := clock.HourOf(seen)
		// From facts that do not change, so that a later look in this hour says the same.
		add(MeterUsers, u.ID+"/"+hour.String(), "1", u.ID, latest(hour.Start(), u.Created, l.Since))
	}
	tagged := 0
	for _, n := range l.Devices {
		switch {
		case n.External || n.Waiting || !n.Connected || !n.Created.Before(l.At):
		case n.Ephemeral:
			for from := latest(l.From, n.Created); from.Before(l.At); {
				// A part lies between two sampling instants, and so in one hour: a look that
				// begins where an earlier one began says of each part what that one said.
				to := NextSample(from)
				if to.After(l.At) {
					to = l.At
				}
				if q := hundredths(to.Sub(n.Created)) - hundredths(from.Sub(n.Created)); q > 0 {
					add(MeterEphemeral, n.ID+"/"+stamp(to), fmt.Sprintf("%d.%02d", q/100, q%100), n.ID, to.Add(-time.Microsecond))
				}
				from = to
			}
		case len(n.Tags) > 0:
			tagged++
		}
	}
	if tagged > 0 {
		add(MeterTagged, stamp(l.At), strconv.Itoa(tagged), "", last)
	}
	slices.SortFunc(out, func(a, b UsageEvent) int { return a.UsedAt.Compare(b.UsedAt) })
	return out
}

// hundredths of a minute, whole ones only. Differences of it add up to the whole
// life of a node, however it was cut into samples.
func hundredths(d time.Duration) int64 {
	if d < 0 {
		return 0
	}
	return int64(d / (600 * time.Millisecond))
}

// micro is the resolution of what is stored.
func micro(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

func latest(t time.Time, more ...time.Time) time.Time {
	for _, m := range more {
		if m.After(t) {
			t = m
		}
	}
	return t.UTC()
}
