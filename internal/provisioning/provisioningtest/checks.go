package provisioningtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/provisioning"
)

// Checks lists what every driver must do.
func Checks() []Check {
	return []Check{
		{"a purchase becomes one usable tailnet, however often it is run", becomesTailnet},
		{"a run killed at any call to make a tailnet is finished by the next", killedCalls(provisioning.DoFull, provisioning.DoFull)},
		{"a run killed at any write while making a tailnet is finished by the next", killedWrites(provisioning.DoFull, provisioning.DoFull)},
		{"a purchase that ends while its tailnet is being made leaves nobody in", killedCalls(provisioning.DoFull, provisioning.DoRevoke)},
		{"a run killed at any call to suspend is finished by the next", killedCalls(provisioning.DoSuspend, provisioning.DoSuspend)},
		{"a run killed at any call to suspend is undone by a resume", killedCalls(provisioning.DoSuspend, provisioning.DoFull)},
		{"a run killed at any call to revoke is finished by the next", killedCalls(provisioning.DoRevoke, provisioning.DoRevoke)},
		{"a run killed at any write while revoking is finished by the next", killedWrites(provisioning.DoRevoke, provisioning.DoRevoke)},
		{"a policy is replaced only by who has read it", policyIsGuarded},
		{"a suspension cuts, and a resume restores the policy with a new key", suspendsAndResumes},
		{"a revocation cuts and takes every key", revokes},
		{"the join key is shown once, and a new one ends it", revealsOnce},
		{"a lost credential is replaced, and the ones before it end", recovers},
		{"a successor keeps the tailnet, and its predecessor's end does not cut it", inherits},
		{"what was seen is counted, once, and nothing more", collects},
		{"a deleted tailnet is gone, and deleting it again is harmless", deletes},
	}
}

const sub = id.Subscription("sub_provisioningtest")

// usable requires the end state of a tailnet that was made: one of it, active, its
// policy open, one key that works, and the purchase told.
func (w *world) usable(ctx context.Context) error {
	s := w.service()
	v, err := s.View(ctx, sub)
	if err != nil {
		return err
	}
	n, err := w.World.Tailnets(ctx)
	if err != nil {
		return err
	}
	at, err := w.access(ctx, sub)
	if err != nil {
		return err
	}
	p, err := w.driver.Policy(ctx, at)
	if err != nil {
		return fmt.Errorf("read the policy: %w", err)
	}
	keys, err := w.driver.Keys(ctx, at)
	if err != nil {
		return fmt.Errorf("list keys: %w", err)
	}
	switch {
	case n != 1:
		return fmt.Errorf("%d tailnets were made for one purchase", n)
	case v.State != provisioning.StateActive || v.Step != provisioning.StepNone || v.WaitingFor != "":
		return fmt.Errorf("the tailnet is %s at step %q, waiting for %q", v.State, v.Step, v.WaitingFor)
	case v.DNSName == "" || v.RemoteID == "" || v.Name != "Bo's network":
		return fmt.Errorf("the view misses names: %+v", v)
	case w.ready[sub] == 0:
		return errors.New("the purchase was not told that its tailnet is ready")
	case !strings.Contains(p.Text, provisioning.ClientTag):
		return fmt.Errorf("the policy in force is not ours: %s", p.Text)
	case len(keys) != 1:
		return fmt.Errorf("%d join keys are valid, want 1", len(keys))
	case !v.KeyReady:
		return errors.New("the join key cannot be revealed")
	}
	key, err := s.Reveal(ctx, sub, "bo")
	if err != nil {
		return fmt.Errorf("reveal: %w", err)
	}
	if err := w.World.Join(ctx, at.Remote, "node-"+random(key), key); err != nil {
		return fmt.Errorf("join with the revealed key: %w", err)
	}
	return nil
}

// random is some of a key's end: node ids must differ.
func random(key string) string { return strings.ToLower(key[len(key)-8:]) }

// cut requires that nobody can join or reach anybody.
func (w *world) cut(ctx context.Context, state provisioning.State, oldKey string) error {
	t, _, ok, err := w.Store.TailnetUsedBy(ctx, sub)
	if err != nil || !ok {
		return errors.Join(err, errors.New("the tailnet is gone from the store"))
	}
	if t.State != state || t.Step != provisioning.StepNone {
		return fmt.Errorf("the tailnet is %s at step %q, want %s", t.State, t.Step, state)
	}
	if !t.HasSecret { // it was never made
		return w.none(ctx)
	}
	at, err := w.access(ctx, sub)
	if err != nil {
		return err
	}
	p, err := w.driver.Policy(ctx, at)
	if err != nil {
		return fmt.Errorf("read the policy: %w", err)
	}
	var file map[string]json.RawMessage
	if err := json.Unmarshal([]byte(p.Text), &file); err != nil {
		return fmt.Errorf("read the policy: %w", err)
	}
	if string(file["acls"]) != "[]" || file["grants"] != nil {
		return fmt.Errorf("the policy does not deny all by an explicit empty list: %s", p.Text)
	}
	keys, err := w.driver.Keys(ctx, at)
	if err != nil {
		return fmt.Errorf("list keys: %w", err)
	}
	if len(keys) != 0 {
		return fmt.Errorf("%d join keys are still valid", len(keys))
	}
	if oldKey != "" && w.World.Join(ctx, at.Remote, "late", oldKey) == nil {
		return errors.New("a machine joined with a key that was taken back")
	}
	return nil
}

func (w *world) none(ctx context.Context) error {
	n, err := w.World.Tailnets(ctx)
	if err == nil && n != 0 {
		err = fmt.Errorf("%d tailnets are left that nobody knows", n)
	}
	return err
}

func becomesTailnet(ctx context.Context, fresh func() Harness) error {
	w := open(fresh())
	for range 2 {
		if _, err := w.run(ctx, sub, provisioning.DoFull); err != nil {
			return err
		}
	}
	return w.usable(ctx)
}

// begin brings a tailnet to where a run towards do starts; it answers a key that
// must not work after it.
func (w *world) begin(ctx context.Context, do provisioning.Do) (oldKey string, err error) {
	w.want(sub, do)
	if do == provisioning.DoFull {
		return "", nil
	}
	s, err := w.run(ctx, sub, provisioning.DoFull)
	if err != nil {
		return "", err
	}
	if oldKey, err = s.Reveal(ctx, sub, "bo"); err != nil {
		return "", err
	}
	w.want(sub, do)
	return oldKey, nil
}

// end looks whether what is wanted is so.
func (w *world) end(ctx context.Context, do provisioning.Do, oldKey string) error {
	switch do {
	case provisioning.DoSuspend:
		return w.cut(ctx, provisioning.StateSuspended, oldKey)
	case provisioning.DoRevoke:
		if w.revoked[sub] == 0 {
			return errors.New("the purchase was not told that access is revoked")
		}
		if _, _, ok, err := w.Store.TailnetUsedBy(ctx, sub); err != nil || !ok {
			return errors.Join(err, w.none(ctx))
		}
		return w.cut(ctx, provisioning.StateRevoked, oldKey)
	}
	return w.afterResume(ctx)
}

// afterResume is usable, whether or not the key was revealed before a suspension
// that was killed before it took the key.
func (w *world) afterResume(ctx context.Context) error {
	v, err := w.service().View(ctx, sub)
	if err != nil {
		return err
	}
	if v.KeyRevealed {
		if err := w.service().NewKey(ctx, sub, "bo"); err != nil {
			return err
		}
		if _, err := w.run(ctx, sub, provisioning.DoFull); err != nil {
			return err
		}
	}
	return w.usable(ctx)
}

const manyCalls = 60 // no run makes so many

// killed runs towards one thing, kills the run at its nth chance, then runs towards
// another in a process that lives; for every n, and on both sides of the chance.
func killed(first, then provisioning.Do, plant func(w *world, n int, after bool) (*provisioning.Service, func() int)) func(context.Context, func() Harness) error {
	return func(ctx context.Context, fresh func() Harness) error {
		for _, after := range []bool{false, true} {
			for n := 1; ; n++ {
				w := open(fresh())
				oldKey, err := w.begin(ctx, first)
				if err != nil {
					return err
				}
				dying, seen := plant(w, n, after)
				_, err = dying.Run(ctx, sub)
				if seen() < n { // it ran to its end without having n chances
					if err != nil {
						return fmt.Errorf("a run that was not killed: %w", err)
					}
					if n == 1 || n > manyCalls {
						return fmt.Errorf("a run has %d chances to be killed", n-1)
					}
					break
				}
				if err == nil {
					return fmt.Errorf("killed at %d (after: %v), and it said it was done", n, after)
				}
				if _, err := w.run(ctx, sub, then); err != nil {
					return fmt.Errorf("killed at %d (after: %v): %w", n, after, err)
				}
				if err := w.end(ctx, then, oldKey); err != nil {
					return fmt.Errorf("killed at %d (after: %v): %w", n, after, err)
				}
			}
		}
		return nil
	}
}

func killedCalls(first, then provisioning.Do) func(context.Context, func() Harness) error {
	return killed(first, then, func(w *world, n int, after bool) (*provisioning.Service, func() int) {
		f := &failing{next: http.DefaultTransport, nth: n, after: after}
		return w.process(w.Store, w.Driver(&http.Client{Transport: f})), func() int { return f.seen }
	})
}

func killedWrites(first, then provisioning.Do) func(context.Context, func() Harness) error {
	return killed(first, then, func(w *world, n int, after bool) (*provisioning.Service, func() int) {
		f := &failingStore{Store: w.Store, nth: n, after: after}
		return w.process(f, w.driver), func() int { return f.seen }
	})
}

func policyIsGuarded(ctx context.Context, fresh func() Harness) error {
	w := open(fresh())
	if _, err := w.run(ctx, sub, provisioning.DoFull); err != nil {
		return err
	}
	at, err := w.access(ctx, sub)
	if err != nil {
		return err
	}
	read, err := w.driver.Policy(ctx, at)
	if err != nil {
		return err
	}
	if len(read.TagOwners) == 0 || read.ETag == "" {
		return fmt.Errorf("the policy was read without its tag owners or its ETag: %+v", read)
	}
	theirs := "// theirs\n" + read.Text
	if err := w.driver.PutPolicy(ctx, at, provisioning.Policy{Text: theirs, ETag: read.ETag}); err != nil {
		return fmt.Errorf("the first writer: %w", err)
	}
	err = w.driver.PutPolicy(ctx, at, provisioning.Policy{Text: "// ours\n" + read.Text, ETag: read.ETag})
	if !fault.Is(err, fault.Conflict) {
		return fmt.Errorf("the second writer got %w, want a conflict", err)
	}
	now, err := w.driver.Policy(ctx, at)
	if err != nil || now.Text != theirs {
		return errors.Join(err, fmt.Errorf("the policy is %q", now.Text))
	}
	err = w.driver.PutPolicy(ctx, at, provisioning.Policy{Text: `{"acls": [{"action": "accept", "src": ["tag:nobody"], "dst": ["*:*"]}]}`, ETag: now.ETag})
	if !fault.Is(err, fault.Invalid) {
		return fmt.Errorf("a policy that names an undefined tag got %w, want invalid", err)
	}
	return nil
}

func suspendsAndResumes(ctx context.Context, fresh func() Harness) error {
	w := open(fresh())
	oldKey, err := w.begin(ctx, provisioning.DoSuspend)
	if err != nil {
		return err
	}
	at, err := w.access(ctx, sub)
	if err != nil {
		return err
	}
	before, err := w.driver.Policy(ctx, at)
	if err != nil {
		return err
	}
	edited := "// a person wrote this, with a comment\n" + before.Text
	if err := w.driver.PutPolicy(ctx, at, provisioning.Policy{Text: edited, ETag: before.ETag}); err != nil {
		return err
	}
	if _, err := w.run(ctx, sub, provisioning.DoSuspend); err != nil {
		return err
	}
	if err := w.cut(ctx, provisioning.StateSuspended, oldKey); err != nil {
		return err
	}
	if _, err := w.run(ctx, sub, provisioning.DoFull); err != nil {
		return err
	}
	after, err := w.driver.Policy(ctx, at)
	if err != nil {
		return err
	}
	if after.Text != edited {
		return fmt.Errorf("the policy came back as %q", after.Text)
	}
	if err := w.usable(ctx); err != nil {
		return err
	}
	if w.World.Join(ctx, at.Remote, "old", oldKey) == nil {
		return errors.New("the key from before the suspension works again")
	}
	return nil
}

func revokes(ctx context.Context, fresh func() Harness) error {
	w := open(fresh())
	oldKey, err := w.begin(ctx, provisioning.DoRevoke)
	if err != nil {
		return err
	}
	for range 2 {
		if _, err := w.run(ctx, sub, provisioning.DoRevoke); err != nil {
			return err
		}
	}
	if _, err := w.service().Reveal(ctx, sub, "bo"); err == nil {
		return errors.New("a key of a revoked tailnet was revealed")
	}
	return w.end(ctx, provisioning.DoRevoke, oldKey)
}

func revealsOnce(ctx context.Context, fresh func() Harness) error {
	w := open(fresh())
	s, err := w.run(ctx, sub, provisioning.DoFull)
	if err != nil {
		return err
	}
	var keys [8]string // two browser tabs and an impatient buyer
	var all sync.WaitGroup
	for i := range keys {
		all.Go(func() { keys[i], _ = w.service().Reveal(ctx, sub, "bo") })
	}
	all.Wait()
	first := ""
	for _, key := range keys {
		if first != "" && key != "" {
			return errors.New("the key was shown twice")
		}
		first = max(first, key)
	}
	if first == "" {
		return errors.New("the key was shown to nobody")
	}
	_, err = s.Reveal(ctx, sub, "bo")
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || f.Class != fault.Gone || !strings.Contains(f.Public, "new one") {
		return fmt.Errorf("the second reveal said %w, want gone, and how to get a new one", err)
	}
	if v, err := s.View(ctx, sub); err != nil || !v.KeyRevealed || v.KeyReady || !v.CanAskKey {
		return errors.Join(err, fmt.Errorf("the view after the reveal: %+v", v))
	}
	for range 2 {
		if err := s.NewKey(ctx, sub, "bo"); err != nil {
			return err
		}
	}
	if _, err := s.Reveal(ctx, sub, "bo"); !fault.Is(err, fault.Conflict) {
		return fmt.Errorf("revealed before it was made: %w", err)
	}
	if _, err := w.run(ctx, sub, provisioning.DoFull); err != nil {
		return err
	}
	second, err := s.Reveal(ctx, sub, "bo")
	if err != nil {
		return err
	}
	at, err := w.access(ctx, sub)
	if err != nil {
		return err
	}
	if first == second || w.World.Join(ctx, at.Remote, "first", first) == nil {
		return errors.New("the key before still works")
	}
	return w.World.Join(ctx, at.Remote, "second", second)
}

func recovers(ctx context.Context, fresh func() Harness) error {
	w := open(fresh())
	const name = "tnt-lost"
	made, _, err := w.driver.Create(ctx, name)
	if err != nil {
		return err
	}
	if _, _, err := w.driver.Create(ctx, name); !fault.Is(err, fault.Conflict) {
		return fmt.Errorf("a second create got %w, want a conflict", err)
	}
	found, ok, err := w.driver.Find(ctx, name)
	if err != nil || !ok || found.ID != made.ID {
		return errors.Join(err, fmt.Errorf("found %v %+v, want %s", ok, found, made.ID))
	}
	var creds []provisioning.Credential
	for range 2 {
		r, c, err := w.driver.Recover(ctx, name, found)
		if err != nil {
			return err
		}
		if r != made {
			return fmt.Errorf("recovered %+v, want %+v", r, made)
		}
		creds = append(creds, c)
	}
	if _, err := w.driver.Policy(ctx, provisioning.Access{Remote: made, Credential: creds[1]}); err != nil {
		return fmt.Errorf("the recovered credential: %w", err)
	}
	if _, err := w.driver.Policy(ctx, provisioning.Access{Remote: made, Credential: creds[0]}); err == nil {
		return errors.New("the credential before it still works")
	}
	if _, ok, err := w.driver.Find(ctx, "tnt-never-made"); ok || err != nil {
		return fmt.Errorf("found what was never made: %w", err)
	}
	return nil
}

func inherits(ctx context.Context, fresh func() Harness) error {
	w := open(fresh())
	const heir = id.Subscription("sub_heir")
	if _, err := w.run(ctx, sub, provisioning.DoFull); err != nil {
		return err
	}
	w.wanted[heir] = provisioning.Wanted{Do: provisioning.DoFull, Name: "Bo's network", TailnetOf: sub}
	w.Clock.Advance(provisioning.SampleEvery)
	if _, err := w.service().Run(ctx, heir); err != nil {
		return err
	}
	if _, err := w.run(ctx, sub, provisioning.DoRevoke); err != nil {
		return err
	}
	if w.revoked[sub] == 0 || w.ready[heir] == 0 {
		return fmt.Errorf("the predecessor was told %d times, the successor %d times", w.revoked[sub], w.ready[heir])
	}
	if n, err := w.World.Tailnets(ctx); err != nil || n != 1 {
		return errors.Join(err, fmt.Errorf("%d tailnets", n))
	}
	v, err := w.service().View(ctx, heir)
	if err != nil || v.State != provisioning.StateActive || !v.KeyReady {
		return errors.Join(err, fmt.Errorf("the successor's tailnet: %+v", v))
	}
	if _, err := w.service().Reveal(ctx, sub, "bo"); !fault.Is(err, fault.Refused) {
		return fmt.Errorf("the predecessor revealed the successor's key: %w", err)
	}
	return nil
}

func deletes(ctx context.Context, fresh func() Harness) error {
	w := open(fresh())
	r, c, err := w.driver.Create(ctx, "tnt-short-lived")
	if err != nil {
		return err
	}
	for range 2 {
		if err := w.driver.Delete(ctx, provisioning.Access{Remote: r, Credential: c}); err != nil {
			return err
		}
	}
	return w.none(ctx)
}
