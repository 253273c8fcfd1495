package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/tailmarket/tailmarket/internal/simulator"
)

// play drives the marketplace, the buyers' tailnets and the vendor's product
// through the script.
type play struct {
	ctx     context.Context // of the whole run
	sim     *simulator.Simulator
	app     *appClient
	log     *slog.Logger
	r       *rand.Rand
	agenda  agenda
	stop    time.Time // when usage stops
	killer  *killer
	markets []string
	doubts  bool              // Google knows no report again: what is unsure stays so
	links   map[string]string // a partner's, by marketplace
	dealer  string            // the id of the partner who resells

	buyers   []*buyer
	met      met
	mistaken []string // what the app was asked on the way and said wrongly
}

// met counts what the script itself caused.
type met struct{ Cancellations, Late, Corrections, Repeats, Conflicts, Changes, Suspended, Reinstated int }

// buyer is one purchase and what its tailnet is used for.
type buyer struct {
	n        int
	market   string
	id       string // at the simulator
	account  string
	purchase string // the marketplace's key of it
	r        *rand.Rand

	sub, tailnet string // known once the app has made the tailnet
	since        time.Time
	plan         string // asked for; "" for none
	away         bool   // nobody is there for a while
	left         bool
	nodes        int
	events       int
	sent         []request
	late         []request
	use          usage
}

// request is one usage event of the vendor's product.
type request struct {
	id     string
	usedAt time.Time
	tenths int64
	fixed  bool // was corrected, or is a correction
}

// schedule puts the purchases and each buyer's fate on the agenda.
func (p *play) schedule(buyers int) {
	start := p.sim.Now()
	for i := range buyers {
		b := &buyer{n: i, market: p.markets[i%len(p.markets)], r: rand.New(rand.NewPCG(p.r.Uint64(), uint64(i)))} //nolint:gosec // a script, repeatable by seed
		b.use.requests = map[string]request{}
		p.buyers = append(p.buyers, b)
		at := start.Add(time.Duration(i*25+pick(b.r, 5, 25)) * time.Minute)
		p.agenda.add(at, func() error { return p.buy(b) })
	}
}

func (p *play) buy(b *buyer) error {
	bought, err := p.sim.Buy(p.ctx, p.purchaseBy(b))
	if err != nil {
		return err
	}
	b.id, b.account, b.purchase = bought.ID, bought.Account, bought.Purchase
	p.fate(b)
	p.agenda.add(p.sim.Now().Add(sample), func() error { return p.await(b) })
	return nil
}

// await looks every five minutes whether the buyer's tailnet is there, and
// starts its use.
func (p *play) await(b *buyer) error {
	sub, err := p.app.subscription(p.ctx, b.market, b.purchase)
	if err != nil {
		return err
	}
	now := p.sim.Now()
	if sub == nil || sub.State != "active" || sub.TailnetID == "" {
		if now.Add(sample).Before(p.stop) {
			p.agenda.add(now.Add(sample), func() error { return p.await(b) })
		}
		return nil
	}
	b.sub, b.tailnet, b.since = sub.ID, sub.TailnetID, now
	p.log.Info("tailnet in use", "buyer", b.n, "subscription", b.sub)
	p.agenda.add(between(now), func() error { return p.settle(b) })
	return nil
}

// settle moves the first people and machines in, and starts the hourly life.
func (p *play) settle(b *buyer) error {
	if p.over(b) {
		return nil
	}
	for range pick(b.r, 3, 8) {
		if err := p.join(b, &b.use.people, person); err != nil {
			return err
		}
	}
	// Some stay under the free level of 50 resources, some are above it.
	for range []int{pick(b.r, 52, 64), pick(b.r, 5, 48), pick(b.r, 40, 70)}[p.turn(b)%3] {
		if err := p.join(b, &b.use.tagged, tagged); err != nil {
			return err
		}
	}
	return p.hour(b)
}

func (p *play) over(b *buyer) bool {
	return b.left || b.away || !p.sim.Now().Before(p.stop)
}

// hour is one hour of a buyer's life; it schedules the next.
func (p *play) hour(b *buyer) error {
	if p.over(b) {
		return nil
	}
	now := p.sim.Now()
	if b.r.IntN(6) == 0 {
		if err := p.join(b, &b.use.people, person); err != nil {
			return err
		}
	}
	if b.r.IntN(8) == 0 {
		if err := p.part(b, b.use.people, b.r.IntN(len(b.use.people)), person); err != nil {
			return err
		}
	}
	if b.r.IntN(4) == 0 {
		for range pick(b.r, 1, 4) {
			if err := p.join(b, &b.use.tagged, tagged); err != nil {
				return err
			}
		}
	} else if b.r.IntN(4) == 0 {
		if err := p.part(b, b.use.tagged, b.r.IntN(len(b.use.tagged)), tagged); err != nil {
			return err
		}
	}
	for range pick(b.r, 0, 3) { // machines of a CI system
		start := between(now.Add(time.Duration(pick(b.r, 0, 50)) * time.Minute))
		life := time.Duration(pick(b.r, 1, 30)) * sample
		count := pick(b.r, 1, 5)
		p.agenda.add(start, func() error { return p.job(b, count, life) })
	}
	p.agenda.add(now.Add(time.Duration(pick(b.r, 10, 55))*time.Minute).Truncate(time.Second), func() error { return p.report(b) })
	p.agenda.add(between(now.Add(time.Hour)), func() error { return p.hour(b) })
	return nil
}

func (p *play) job(b *buyer, count int, life time.Duration) error {
	if p.over(b) {
		return nil
	}
	for range count {
		if err := p.join(b, &b.use.ephemeral, ephemeral); err != nil {
			return err
		}
		i := len(b.use.ephemeral) - 1
		p.agenda.add(between(p.sim.Now().Add(life)), func() error { return p.part(b, b.use.ephemeral, i, ephemeral) })
	}
	return nil
}

// presence is what may be in a tailnet.
type presence string

const (
	person    presence = "person"
	tagged    presence = "node"
	ephemeral presence = "job"
)

// join adds a person or a node to a list.
func (p *play) join(b *buyer, list *[]span, kind presence) error {
	b.nodes++
	s := span{id: fmt.Sprintf("%s-%d-%d", kind, b.n, b.nodes), from: p.sim.Now()}
	var err error
	if kind == person {
		err = p.app.addUser(p.ctx, b.tailnet, s.id, s.from)
	} else {
		err = p.app.addNode(p.ctx, b.tailnet, s.id, kind == ephemeral, s.from)
	}
	if err != nil {
		return err
	}
	*list = append(*list, s)
	return nil
}

// part ends the presence of one of a list; who has gone has gone.
func (p *play) part(b *buyer, list []span, i int, kind presence) error {
	if !list[i].until.IsZero() {
		return nil
	}
	at, path := p.sim.Now(), "nodes"
	if kind == person {
		path = "users"
	}
	if err := p.app.remove(p.ctx, path, b.tailnet, list[i].id, at); err != nil {
		return err
	}
	list[i].until = at
	return nil
}

// report sends usage events of the vendor's product: fresh ones, some twice,
// some late, and corrections of earlier ones.
func (p *play) report(b *buyer) error {
	if p.over(b) {
		return nil
	}
	now := p.sim.Now()
	var batch []usageEvent
	for range pick(b.r, 1, 6) {
		b.events++
		usedAt := now.Add(-time.Duration(b.r.IntN(300)) * time.Second)
		if usedAt.Before(b.since) {
			usedAt = now
		}
		req := request{id: fmt.Sprintf("req-%d-%d", b.n, b.events), usedAt: usedAt, tenths: int64(pick(b.r, 1, 400))}
		if b.r.IntN(5) == 0 || b.events == 2 {
			b.late = append(b.late, req) // kept back for some hours
			continue
		}
		batch = append(batch, b.event(req, ""))
		b.sent = append(b.sent, req)
		b.use.requests[req.id] = req
	}
	for len(b.late) > 0 && now.Sub(b.late[0].usedAt) > 3*time.Hour {
		req := b.late[0]
		b.late = b.late[1:]
		batch = append(batch, b.event(req, ""))
		b.sent = append(b.sent, req)
		b.use.requests[req.id] = req
		p.met.Late++
	}
	if len(b.sent) > 0 && (b.r.IntN(4) == 0 || p.met.Corrections == 0) {
		if i := b.r.IntN(len(b.sent)); !b.sent[i].fixed {
			b.sent[i].fixed = true
			b.events++
			fix := request{id: fmt.Sprintf("fix-%d-%d", b.n, b.events), usedAt: b.sent[i].usedAt, tenths: int64(pick(b.r, 0, 300))}
			batch = append(batch, b.event(fix, b.sent[i].id))
			b.use.requests[b.sent[i].id] = fix // of the same instant
			p.met.Corrections++
		}
	}
	if len(batch) == 0 {
		return nil
	}
	if err := p.app.usage(p.ctx, batch, "accepted"); err != nil {
		return err
	}
	if b.r.IntN(3) == 0 { // a producer that tries again
		p.met.Repeats++
		if err := p.app.usage(p.ctx, batch, "duplicate"); err != nil {
			return err
		}
	}
	if b.r.IntN(6) == 0 { // a producer that uses an id for something else
		p.met.Conflicts++
		clash := batch[0]
		clash.Data.Quantity = "999.9"
		if err := p.app.usage(p.ctx, []usageEvent{clash}, "conflict"); err != nil {
			return err
		}
	}
	return nil
}

func (b *buyer) event(r request, corrects string) usageEvent {
	e := usageEvent{SpecVersion: "1.0", ID: r.id, Source: "demo/product", Type: "tailmarket.usage.v1", Subject: b.sub, Time: r.usedAt.UTC().Format(time.RFC3339Nano)}
	e.Data.Meter, e.Data.Quantity = "api_request", tenths(r.tenths)
	if corrects != "" {
		e.Data.Corrects = &eventRef{Source: "demo/product", ID: corrects}
	}
	return e
}

// run plays the script until everything is billed and quiet.
func (p *play) run() error {
	p.agenda.add(between(p.stop), func() error {
		for _, b := range p.buyers {
			if err := p.leave(b); err != nil {
				return err
			}
		}
		return nil
	})
	// Usage stops, then time goes on until the last hour is sealed and sent and
	// no delayed message is on its way.
	end := between(p.stop).Add(4 * time.Hour)
	for now := p.sim.Now(); now.Before(end); now = p.sim.Now() {
		p.killer.tick(now)
		next := now.Truncate(sample).Add(sample)
		if a, ok := p.agenda.next(next); ok {
			if err := p.advance(a.at); err != nil {
				return err
			}
			if err := a.do(); err != nil {
				return fmt.Errorf("at %s: %w", p.sim.Now().Format(time.RFC3339), err)
			}
			continue
		}
		if err := p.advance(next); err != nil {
			return err
		}
	}
	for deadline := end.Add(24 * time.Hour); p.sim.Now().Before(deadline); {
		p.killer.tick(p.sim.Now())
		quiet, err := p.quiet()
		if err != nil || quiet && p.killer.done() {
			return err
		}
		if err := p.advance(p.sim.Now().Add(sample)); err != nil {
			return err
		}
	}
	return fmt.Errorf("not at rest a virtual day after the last use: %+v", p.sim.Rest())
}

// quiet reports that nothing is on its way, neither at the marketplace nor in
// the app, and that every purchase is what its marketplace says it is.
func (p *play) quiet() (bool, error) {
	if r := p.sim.Rest(); r.Busy > 0 || r.Queue > 0 || r.Scheduled > 0 {
		return false, nil
	}
	all, err := p.app.subscriptions(p.ctx)
	if err != nil {
		return false, err
	}
	for _, s := range all {
		if s.State != "active" && s.State != "ended" {
			return false, nil
		}
	}
	l, err := p.app.ledger(p.ctx)
	if err != nil {
		return false, err
	}
	for _, m := range l.Meters {
		if p.doubts && m.Marketplace == simulator.GCP {
			m.Unsure = "0"
		}
		for _, q := range []string{m.Open, m.Queued, m.Sent, m.Held, m.Unsure} {
			if q != "0" {
				return false, nil
			}
		}
	}
	return true, nil
}

// advance moves the clock; each step is bounded in wall time.
func (p *play) advance(to time.Time) error {
	if !to.After(p.sim.Now()) {
		return nil
	}
	ctx, cancel := context.WithTimeout(p.ctx, 60*time.Second)
	defer cancel()
	if err := p.sim.Advance(ctx, to); err != nil {
		return err
	}
	return nil
}
