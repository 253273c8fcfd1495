package main

import (
	"fmt"
	"time"

	"github.com/tailmarket/tailmarket/internal/simulator"
)

// What befalls a buyer on the way: everybody changes the terms, the second of each
// three at a marketplace cancels later, and on Azure the first of each three does not
// pay for some hours. Who stands in for whom is fixed, so that every seed tells all of it.

// turn is the buyer's number at the marketplace, from 0.
func (p *play) turn(b *buyer) int { return b.n / len(p.markets) }

func (p *play) fate(b *buyer) {
	bought, span := p.sim.Now(), p.stop.Sub(p.sim.Now())
	at := func(lo, hi int) time.Time {
		return between(bought.Add(span*time.Duration(pick(b.r, lo, hi))/100 + time.Duration(pick(b.r, 0, 59))*time.Minute))
	}
	p.inUse(b, at(25, 40), p.change)
	switch turn := p.turn(b) % 3; {
	case turn == 1:
		p.inUse(b, at(55, 80), p.cancel)
	case turn == 0 && b.market == simulator.Azure:
		p.inUse(b, at(45, 55), p.suspend)
	}
}

// inUse does something at an instant, or when the buyer's tailnet is in use, whichever
// is later.
func (p *play) inUse(b *buyer, at time.Time, do func(*buyer) error) {
	p.agenda.add(at, func() error {
		switch again := between(p.sim.Now().Add(time.Hour)); {
		case b.left:
		case b.sub != "":
			return do(b)
		case again.Before(p.stop):
			p.inUse(b, again, do)
		}
		return nil
	})
}

// change asks for other terms: on Google and Azure another plan, which the seller must
// agree to before it is in force.
func (p *play) change(b *buyer) error {
	c := simulator.Change{Kind: simulator.ChangeAmend}
	switch {
	case b.market == simulator.GCP:
		c = simulator.Change{Kind: simulator.ChangePlan, Plan: "enterprise"}
	case b.market == simulator.Azure:
		c = simulator.Change{Kind: simulator.ChangePlan, Plan: "premium"}
	case p.turn(b)%2 == 0:
		c.Kind = simulator.ChangeRenew
	}
	p.met.Changes++
	b.plan = c.Plan
	_, err := p.sim.Change(p.ctx, b.id, c)
	return err
}

// planned counts the buyers of a marketplace whose new plan is in force there, and tells
// of those whose plan is not.
func (p *play) planned(market string) (n int, missing []string) {
	plans := map[string]string{}
	for _, seen := range p.sim.Buyers() {
		plans[seen.ID] = seen.Plan
	}
	for _, b := range p.buyers {
		switch {
		case b.market != market || b.plan == "":
		case plans[b.id] == b.plan:
			n++
		default:
			missing = append(missing, fmt.Sprintf("buyer %d of %s asked for plan %s and has %s", b.n, b.market, b.plan, plans[b.id]))
		}
	}
	return n, missing
}

// suspend is a bill that was not paid. The tailnet is emptied a little before, because
// when exactly the seller hears of it is the weather's to say; what is expected does not
// depend on it.
func (p *play) suspend(b *buyer) error {
	now := p.sim.Now()
	lift := between(now.Add(time.Duration(pick(b.r, 6, 9))*time.Hour + time.Duration(pick(b.r, 0, 59))*time.Minute))
	if !lift.Add(3 * time.Hour).Before(p.stop) {
		return nil // too late in the story
	}
	if err := p.empty(b); err != nil {
		return err
	}
	b.away = true
	p.agenda.add(now.Add(2*sample), func() error {
		_, err := p.sim.Suspend(p.ctx, b.id, true)
		return err
	})
	p.knock(b, lift)
	p.agenda.add(lift, func() error { return p.reinstate(b) })
	return nil
}

// knock lets a person and a machine in while the tailnet is shut. Nobody expects them to
// be measured.
func (p *play) knock(b *buyer, lift time.Time) {
	in, out := whileShut(lift)
	stranger := usage{}
	p.agenda.add(in, func() error {
		if err := p.join(b, &stranger.people, person); err != nil {
			return err
		}
		return p.join(b, &stranger.ephemeral, ephemeral)
	})
	p.agenda.add(out, func() error {
		if err := p.part(b, stranger.people, 0, person); err != nil {
			return err
		}
		return p.part(b, stranger.ephemeral, 0, ephemeral)
	})
}

// whileShut is a stay in a tailnet that opens at lift: long after the seller has heard
// that it is shut, and over long before, though between may move either end by half an hour.
func whileShut(lift time.Time) (in, out time.Time) {
	return between(lift.Add(-3 * time.Hour)), between(lift.Add(-90 * time.Minute))
}

// reinstate is the bill being paid.
func (p *play) reinstate(b *buyer) error {
	sub, err := p.app.subscription(p.ctx, b.market, b.purchase)
	if err != nil {
		return err
	}
	if sub == nil || sub.State != "suspended" {
		p.mistaken = append(p.mistaken, fmt.Sprintf("buyer %d of %s was suspended for hours, and the app does not say so", b.n, b.market))
	} else {
		p.met.Suspended++
	}
	if _, err := p.sim.Suspend(p.ctx, b.id, false); err != nil {
		return err
	}
	p.agenda.add(p.sim.Now().Add(sample), func() error { return p.back(b) })
	return nil
}

// back looks every five minutes whether the buyer is served again, and starts a new
// life in the tailnet: an id that left does not come back.
func (p *play) back(b *buyer) error {
	sub, err := p.app.subscription(p.ctx, b.market, b.purchase)
	if err != nil {
		return err
	}
	now := p.sim.Now()
	if sub == nil || sub.State != "active" {
		if again := now.Add(sample); again.Before(p.stop) {
			p.agenda.add(again, func() error { return p.back(b) })
		}
		return nil
	}
	p.met.Reinstated++
	b.away = false
	p.agenda.add(between(now), func() error { return p.settle(b) })
	return nil
}

// cancel disconnects everything and ends the purchase at the marketplace.
func (p *play) cancel(b *buyer) error {
	if err := p.leave(b); err != nil {
		return err
	}
	p.met.Cancellations++
	_, err := p.sim.Cancel(p.ctx, b.id, "")
	return err
}

// leave is for good.
func (p *play) leave(b *buyer) error {
	if b.left || b.sub == "" {
		return nil
	}
	b.left = true
	return p.empty(b)
}

// empty disconnects everybody and everything.
func (p *play) empty(b *buyer) error {
	for _, all := range []struct {
		list []span
		kind presence
	}{{b.use.people, person}, {b.use.tagged, tagged}, {b.use.ephemeral, ephemeral}} {
		for i := range all.list {
			if err := p.part(b, all.list, i, all.kind); err != nil {
				return err
			}
		}
	}
	return nil
}
