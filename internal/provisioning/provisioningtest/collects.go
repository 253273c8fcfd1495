package provisioningtest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/tailmarket/tailmarket/internal/provisioning"
)

// collects lives through three looks at a tailnet. It starts at 9:20.
func collects(ctx context.Context, fresh func() Harness) error {
	w := open(fresh())
	s, err := w.run(ctx, sub, provisioning.DoFull)
	if err != nil {
		return err
	}
	start := w.Clock.Now()
	at, err := w.access(ctx, sub)
	if err != nil {
		return err
	}
	people := w.driver.Capabilities().HumanUsers
	w.Clock.Advance(150 * time.Second) // 9:22:30
	var errs []error
	if people {
		errs = append(errs, w.World.AddUser(ctx, at.Remote, "ann"))
	}
	errs = append(
		errs,
		w.World.AddNode(ctx, at.Remote, "db", false, provisioning.ClientTag),
		w.World.AddNode(ctx, at.Remote, "laptop", false),
		w.World.AddNode(ctx, at.Remote, "job", true, provisioning.ClientTag),
	)
	if err := errors.Join(errs...); err != nil {
		return err
	}

	first := w.Clock.Advance(150 * time.Second) // 9:25
	want := map[string]string{provisioning.MeterTagged: "1 at 9:24:59.999999", provisioning.MeterEphemeral: "2.50 at 9:24:59.999999"}
	if people {
		want[provisioning.MeterUsers] = "1 at 9:22:30"
	}
	one, err := look(ctx, s, time.Time{}, first, want)
	if err != nil {
		return fmt.Errorf("the first look: %w", err)
	}
	again, err := s.Collect(ctx, sub, time.Time{}, first)
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(one, again) {
		return fmt.Errorf("the same look said something else:\n%+v\n%+v", one, again)
	}
	if empty, err := s.Collect(ctx, sub, first, first); err != nil || len(empty.Events) != 0 || empty.To.After(empty.From) {
		return errors.Join(err, fmt.Errorf("a look at what is covered said %+v", empty))
	}

	// The job goes between two looks: what nobody saw of it is not invented.
	w.Clock.Advance(150 * time.Second)
	if err := w.World.RemoveNode(ctx, at.Remote, "job"); err != nil {
		return err
	}
	if err := w.World.AddNode(ctx, at.Remote, "long", true); err != nil {
		return err
	}
	second := w.Clock.Advance(150 * time.Second) // 9:30
	want = map[string]string{provisioning.MeterTagged: "1 at 9:29:59.999999", provisioning.MeterEphemeral: "2.50 at 9:29:59.999999"}
	if people { // the same event as before: the same person in the same hour
		want[provisioning.MeterUsers] = "1 at 9:22:30"
	}
	two, err := look(ctx, s, first, second, want)
	if err != nil {
		return fmt.Errorf("the second look: %w", err)
	}
	if people && !reflect.DeepEqual(find(one, provisioning.MeterUsers), find(two, provisioning.MeterUsers)) {
		return errors.New("a person's hour is two different events")
	}

	// Nobody looked for a while, over the full hour; ann has left, db was replaced.
	w.Clock.Advance(30 * time.Minute)
	if people {
		errs = append(errs, w.World.RemoveUser(ctx, at.Remote, "ann"))
	}
	errs = append(errs, w.World.RemoveNode(ctx, at.Remote, "db"), w.World.AddNode(ctx, at.Remote, "db2", false, provisioning.ClientTag))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	third := w.Clock.Advance(10 * time.Minute) // 10:10
	late, err := s.Collect(ctx, sub, second, third)
	if err != nil {
		return err
	}
	got := map[string]string{}
	for _, e := range late.Events {
		got[e.Meter+e.UsedAt.Format(" 15:04:05.999999")] = e.Quantity
	}
	wanted := map[string]string{provisioning.MeterTagged + " 10:09:59.999999": "1"}
	for at := second; at.Before(third); at = provisioning.NextSample(at) {
		wanted[provisioning.MeterEphemeral+provisioning.NextSample(at).Add(-time.Microsecond).Format(" 15:04:05.999999")] = "5.00"
	}
	if len(late.Events) != len(wanted) || !reflect.DeepEqual(got, wanted) {
		return fmt.Errorf("the late look said %v, want %v", got, wanted)
	}

	// At an end that has passed, who came after it is not counted.
	end := third.Add(time.Minute)
	w.Clock.Advance(2 * time.Minute)
	if err := w.World.AddNode(ctx, at.Remote, "after", true); err != nil {
		return err
	}
	want = map[string]string{provisioning.MeterTagged: "1 at 10:10:59.999999", provisioning.MeterEphemeral: "1.00 at 10:10:59.999999"}
	if _, err := look(ctx, s, third, end, want); err != nil {
		return fmt.Errorf("the last look: %w", err)
	}
	if start.After(first) {
		return errors.New("time went backwards")
	}

	// A cut tailnet is covered and used by nobody.
	if _, err := w.run(ctx, sub, provisioning.DoSuspend); err != nil {
		return err
	}
	cut := w.Clock.Now()
	if _, err = look(ctx, w.service(), end, cut, map[string]string{}); err != nil {
		return err
	}
	if !w.driver.Capabilities().DeviceApproval {
		return nil
	}

	// Who came to the shut door waits for approval after a resume, too.
	if err := errors.Join(w.World.AddNode(ctx, at.Remote, "shut-out", false, provisioning.ClientTag), w.World.AddNode(ctx, at.Remote, "shut-out-job", true)); err != nil {
		return err
	}
	for _, gone := range []string{"long", "after"} {
		if err := w.World.RemoveNode(ctx, at.Remote, gone); err != nil {
			return err
		}
	}
	if _, err := w.run(ctx, sub, provisioning.DoFull); err != nil {
		return err
	}
	w.Clock.Advance(3 * time.Minute) // 10:15
	want = map[string]string{provisioning.MeterTagged: "1 at 10:14:59.999999"}
	if _, err := look(ctx, w.service(), cut, w.Clock.Now(), want); err != nil {
		return fmt.Errorf("the look after a suspension: %w", err)
	}
	return nil
}

// look collects and compares quantity and instant by meter.
func look(ctx context.Context, s *provisioning.Service, from, to time.Time, want map[string]string) (provisioning.Sample, error) {
	sample, err := s.Collect(ctx, sub, from, to)
	if err != nil {
		return sample, err
	}
	if !sample.From.Equal(from) || !sample.To.Equal(to) {
		return sample, fmt.Errorf("it covers %s to %s, want %s to %s", sample.From, sample.To, from, to)
	}
	got := map[string]string{}
	for _, e := range sample.Events {
		if got[e.Meter] != "" || e.Source == "" || e.ID == "" {
			return sample, fmt.Errorf("an event too many, or without identity: %+v", e)
		}
		got[e.Meter] = fmt.Sprintf("%s at %s", e.Quantity, e.UsedAt.Format("3:04:05.999999"))
	}
	if !reflect.DeepEqual(got, want) {
		return sample, fmt.Errorf("it said %v, want %v", got, want)
	}
	return sample, nil
}

func find(s provisioning.Sample, meter string) (out []provisioning.UsageEvent) {
	for _, e := range s.Events {
		if e.Meter == meter {
			out = append(out, e)
		}
	}
	return out
}
