package tailscale_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/provisioning"
	"github.com/tailmarket/tailmarket/internal/provisioning/provisioningtest"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/store/storetest"
)

type always provisioning.Wanted

func (w always) Wanted(context.Context, id.Subscription) (provisioning.Wanted, error) {
	return provisioning.Wanted(w), nil
}

// A process that dies between a look and its storing is replaced by one that knows
// nothing but the database: control plane, tokens, people and nodes are all there, and
// the look says the same again, event by event.
func TestALookAfterARestartSaysTheSame(t *testing.T) {
	t.Parallel()
	for _, engine := range []store.Engine{store.SQLite, store.Postgres} {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			const sub = id.Subscription("sub_restart")
			ctx, s, clock := t.Context(), storetest.Open(t, engine), provisioningtest.NewClock()
			process := func() (*provisioning.Service, provisioningtest.World) {
				h, _, _ := startAt(t, s, 0, clock)
				d := h.Driver(http.DefaultClient)
				told := func(context.Context, id.Subscription) error { return nil }
				return provisioning.New(provisioning.Options{
					Store: h.Store, Drivers: map[string]provisioning.Driver{d.Name(): d}, Default: d.Name(), Now: clock.Now, Log: slog.New(slog.DiscardHandler),
					Subscriptions: always{Do: provisioning.DoFull, Name: "Bo's", TailnetOf: sub}, Ready: told, Revoked: told,
				}), h.World
			}
			first, world := process()
			if again, err := first.Run(ctx, sub); err != nil || !again.IsZero() {
				t.Fatalf("again at %s, %v", again, err)
			}
			v := must(first.View(ctx, sub))
			r := provisioning.Remote{ID: v.RemoteID}
			people := func(w provisioningtest.World) error {
				return errors.Join(w.AddUser(ctx, r, "ann"), w.AddNode(ctx, r, "db", false, provisioning.ClientTag), w.AddNode(ctx, r, "job", true), w.AddNode(ctx, r, "brief", true))
			}
			clock.Advance(90 * time.Second)
			if err := people(world); err != nil {
				t.Fatal(err)
			}
			at := clock.Advance(210 * time.Second)
			before := must(first.Collect(ctx, sub, time.Time{}, at))

			second, world := process()
			clock.Advance(time.Second) // in production time goes on meanwhile
			if after := must(second.Collect(ctx, sub, time.Time{}, provisioning.LastSample(clock.Now()))); !reflect.DeepEqual(before, after) || len(after.Events) != 4 {
				t.Errorf("before the restart:\n%+v\nafter it:\n%+v", before, after)
			}
			clock.Advance(time.Minute)
			if err := world.RemoveNode(ctx, r, "brief"); err != nil {
				t.Fatal(err)
			}
			if err := world.AddUser(ctx, r, "ann"); err != nil { // asked for again, since no answer came
				t.Fatal(err)
			}
			third, _ := process()
			next := provisioning.NextSample(at)
			clock.Advance(next.Sub(clock.Now()))
			got := map[string]string{}
			for _, e := range must(third.Collect(ctx, sub, at, next)).Events {
				got[e.Meter+" "+e.Of] = e.Quantity
			}
			want := map[string]string{"active_user ann": "1", "tagged_resource ": "1", "ephemeral_minute job": "5.00"}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("the next look said %v, want %v", got, want)
			}
		})
	}
}
