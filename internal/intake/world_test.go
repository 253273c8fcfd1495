package intake_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/catalog"
	"github.com/tailmarket/tailmarket/internal/due"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/intake"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

var t0 = time.Date(2026, 11, 3, 7, 0, 0, 0, time.UTC)

const (
	account   = "004455667788"
	license   = "arn:aws:license-manager::294406891311:license:l-0f1e"
	agreement = "agmt-1"
)

// message is the wire form of the fake marketplace.
type message struct {
	ID         string
	Events     []marketplace.Event
	Unreadable string
	Envelope   string `json:",omitzero"` // changes with every sending; the rest is the message itself
}

// fake is a marketplace whose messages are our own events in JSON.
type fake struct {
	mu     sync.Mutex
	truth  map[string][]marketplace.Event // by purchase or agreement
	since  []time.Time                    // of sweeps
	broken error                          // what Verify answers
	shut   error                          // what reading answers

	paged  bool             // a page for each purchase
	from   []string         // where sweeps began
	unread map[string]error // purchases that are listed and cannot be read
	ends   map[int]error    // pages that cannot be read
}

var _ marketplace.Reader = (*fake)(nil)

func (f *fake) ID() marketplace.ID                     { return marketplace.AWS }
func (f *fake) Rules(string) marketplace.Rules         { return marketplace.Rules{} }
func (f *fake) set(ref string, e ...marketplace.Event) { f.mu.Lock(); f.truth[ref] = e; f.mu.Unlock() }

func (f *fake) Verify(_ context.Context, d marketplace.Delivery) (marketplace.Verified, error) {
	if f.broken != nil {
		return marketplace.Verified{}, f.broken
	}
	if d.Channel == marketplace.HTTPS && d.Header["x-api-key"] != "right" {
		return marketplace.Verified{}, fault.New(fault.Forged, "the key is wrong")
	}
	var m message
	if err := json.Unmarshal(d.Body, &m); err != nil {
		return marketplace.Verified{}, fault.Wrap(fault.Unreadable, err, "")
	}
	v := marketplace.Verified{Delivery: d, ID: m.ID, Kind: "test", SentAt: t0}
	if m.Envelope != "" {
		m.Envelope = ""
		var err error
		if v.Content, err = json.Marshal(m); err != nil {
			return v, fault.Wrap(fault.Unreadable, err, "")
		}
	}
	return v, nil
}

func (f *fake) Translate(v marketplace.Verified) ([]marketplace.Event, error) {
	var m message
	if err := json.Unmarshal(v.Delivery.Body, &m); err != nil {
		return nil, fault.Wrap(fault.Unreadable, err, "")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if m.Unreadable != "" && f.truth["adapter updated"] == nil {
		return nil, fault.New(fault.Unreadable, "%s", m.Unreadable)
	}
	return m.Events, nil
}

func (f *fake) Resolve(_ context.Context, t marketplace.Token) (marketplace.Arrival, error) {
	switch t.Value {
	case "good":
		return marketplace.Arrival{Account: account, Purchases: []marketplace.Ref{{Purchase: license, Product: "tailnet"}}}, nil
	case "old":
		return marketplace.Arrival{}, fault.New(fault.Gone, "expired: press the button again")
	}
	return marketplace.Arrival{}, fault.New(fault.Invalid, "not a token: start again from AWS")
}

func (f *fake) Decide(context.Context, marketplace.Decision) (marketplace.Outcome, error) {
	return "", errors.New("not asked here")
}

func (f *fake) Submit(context.Context, []marketplace.Record) ([]marketplace.Receipt, error) {
	return nil, errors.New("not asked here")
}

func (f *fake) Purchase(_ context.Context, ref marketplace.Ref) ([]marketplace.Event, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.shut != nil {
		return nil, f.shut
	}
	if err := f.unread[ref.Purchase]; err != nil {
		return nil, err
	}
	return f.truth[ref.Purchase+ref.Agreement], nil
}

// Purchases lists the truth by name, a purchase on a page when paged is set.
func (f *fake) Purchases(_ context.Context, from marketplace.Mark, page func(marketplace.Page) error) error {
	f.mu.Lock()
	f.since, f.from = append(f.since, from.Since), append(f.from, from.Next)
	var all []marketplace.Page
	var one marketplace.Page
	for _, name := range slices.Sorted(maps.Keys(f.truth)) {
		switch {
		case f.unread[name] != nil && f.paged:
			all = append(all, marketplace.Page{Unread: []marketplace.Ref{{Purchase: name}}})
		case f.unread[name] != nil:
			one.Unread = append(one.Unread, marketplace.Ref{Purchase: name})
		case f.paged:
			all = append(all, marketplace.Page{Events: f.truth[name]})
		default:
			one.Events = append(one.Events, f.truth[name]...)
		}
	}
	if !f.paged {
		all = []marketplace.Page{one}
	}
	first, shut, ends := 0, f.shut, f.ends
	f.mu.Unlock()
	if shut != nil {
		return shut
	}
	if from.Next != "" {
		var err error
		if first, err = strconv.Atoi(from.Next); err != nil || first >= len(all) {
			return fault.New(fault.Invalid, "no such page")
		}
	}
	for n := first; n < len(all); n++ {
		if err := ends[n]; err != nil {
			return err
		}
		if n+1 < len(all) {
			all[n].Next = strconv.Itoa(n + 1)
		}
		if err := page(all[n]); err != nil {
			return err
		}
	}
	return nil
}

// failing makes the nth transaction fail at its very end.
type failing struct {
	*store.Store
	fail func() bool
}

var errPlanted = errors.New("planted: the machine died before the commit")

func (f failing) IntakeTx(ctx context.Context, fn func(context.Context, intake.Tx) error) error {
	return f.Store.IntakeTx(ctx, func(ctx context.Context, t intake.Tx) error {
		if err := fn(ctx, t); err != nil {
			return err
		}
		if f.fail() {
			return errPlanted
		}
		return nil
	})
}

type world struct {
	t      *testing.T
	s      *store.Store
	aws    *fake
	in     *intake.Service
	subs   *subscription.Service
	log    *bytes.Buffer
	mu     sync.Mutex
	now    time.Time
	forged int
	fail   bool
}

func (w *world) DeliveryForged(marketplace.ID, marketplace.Channel) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.forged++
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) wait(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func newWorld(t *testing.T, s *store.Store) *world {
	t.Helper()
	w := &world{t: t, s: s, now: t0, aws: &fake{truth: map[string][]marketplace.Event{}}, log: &bytes.Buffer{}}
	log := slog.New(slog.NewTextHandler(&locked{w: w.log}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	cat := catalog.Catalog{Products: []catalog.Product{{ID: "tailnet", Plans: []catalog.Plan{{ID: "standard", Default: true}, {ID: "team", Names: map[string]string{"aws": "team_plan"}}}}}}
	w.subs = subscription.New(s, cat, w.clock, log)
	w.in = intake.New(failing{s, func() bool { return w.fail }}, w.subs, map[marketplace.ID]marketplace.Adapter{marketplace.AWS: w.aws}, w, w.clock, log)
	return w
}

// locked lets two goroutines log.
type locked struct {
	mu sync.Mutex
	w  *bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func event(kind marketplace.EventKind, minute int) marketplace.Event {
	at := t0.Add(time.Duration(minute) * time.Minute)
	return marketplace.Event{Kind: kind, At: at, Version: at, Ref: marketplace.Ref{Purchase: license, Agreement: agreement, Account: account, Product: "tailnet"}}
}

// agreementOnly is an event that does not know the purchase.
func agreementOnly(kind marketplace.EventKind, minute int, agreement string) marketplace.Event {
	e := event(kind, minute)
	e.Ref = marketplace.Ref{Agreement: agreement, Account: account}
	return e
}

func delivery(t *testing.T, m message) marketplace.Delivery {
	t.Helper()
	body, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return marketplace.Delivery{Marketplace: marketplace.AWS, Channel: marketplace.SQS, Body: body, Source: "queue"}
}

func (w *world) accept(m message) {
	w.t.Helper()
	if err := w.in.Accept(w.t.Context(), delivery(w.t, m)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) counts() intake.Counts {
	w.t.Helper()
	c, err := w.in.Counts(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) sub(purchase string) subscription.Subscription {
	w.t.Helper()
	s, ok, err := w.subs.Find(w.t.Context(), marketplace.AWS, purchase)
	if err != nil || !ok {
		w.t.Fatalf("no subscription of %s: %v", purchase, err)
	}
	return s
}

// marked lists the due rows as "kind subject".
func (w *world) marked() string {
	w.t.Helper()
	rows, err := w.s.DB().QueryContext(w.t.Context(), "SELECT kind, subject FROM due ORDER BY kind, subject")
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var out []string
	for rows.Next() {
		var k, s string
		if err := rows.Scan(&k, &s); err != nil {
			w.t.Fatal(err)
		}
		if k != string(due.Notify) {
			out = append(out, k+" "+s)
		}
	}
	return strings.Join(out, "\n")
}

// clear takes all work as done.
func (w *world) clear() {
	w.t.Helper()
	if _, err := w.s.DB().ExecContext(w.t.Context(), "DELETE FROM due"); err != nil {
		w.t.Fatal(err)
	}
}

// mail returns the link of the newest mail.
func (w *world) mail() (link, to string) {
	w.t.Helper()
	mails, err := w.s.Notify().Mails(w.t.Context(), "", 10)
	if err != nil || len(mails) == 0 {
		w.t.Fatalf("no mail: %v", err)
	}
	return mails[0].Link[strings.LastIndex(mails[0].Link, "/")+1:], mails[0].Address
}

func (w *world) arrive() string {
	w.t.Helper()
	token, err := w.in.Arrive(w.t.Context(), marketplace.AWS, marketplace.Token{Value: "good"})
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

// confirm goes from a claim link to a verified person.
func (w *world) confirm(token, email string) (subscription.Confirmed, error) {
	w.t.Helper()
	if err := w.subs.Email(w.t.Context(), token, email); err != nil {
		w.t.Fatal(err)
	}
	link, to := w.mail()
	if to != email {
		w.t.Fatalf("mail to %q", to)
	}
	return w.subs.Confirm(w.t.Context(), link)
}

func (w *world) quarantined() []intake.Kept {
	w.t.Helper()
	k, err := w.in.Quarantine(w.t.Context(), id.Delivery(""), 10)
	if err != nil {
		w.t.Fatal(err)
	}
	return k
}
