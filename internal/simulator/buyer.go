package simulator

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	visitPatience = 30 * time.Second // wall: how long one visit bears an app that is away
	mailPatience  = time.Hour        // virtual: then the buyer asks for another link
	mostVisits    = 400              // then a buyer gives up
	goneAfter     = 6 * time.Hour    // virtual: after the end of the agreement nobody looks any more
	lostAfter     = 5                // looks at an active page without a key or a button to show it
)

// Steps of the pages' contract.
const (
	stepEmail   = "email"
	stepSignIn  = "sign-in"
	stepConfirm = "confirm"
	stepName    = "name"
	stepReveal  = "reveal"
	stepOn      = "continue"
)

const mostSignIns = 4 // in vain, one after another; then an address does

// buyer walks through the app's pages. Each visit happens at a virtual time, is an activity the clock waits for, and
// goes as far as the pages allow; then the buyer leaves and comes back later. Visits of one buyer never overlap, so only
// the fields in its Buyer need the lock.
type buyer struct {
	s      *Simulator
	n      int // of the purchase in its marketplace
	stall  *stall
	deal   deal  // the newest of its chain; guarded by the lock
	seen   Buyer // what others may look at; guarded by the lock
	habits Habits

	browser    *browser
	way        arrival // the last way from the marketplace, at first that of the day of the purchase
	here       string  // the page to come back to
	registered bool
	again      bool // has registered twice
	asked      time.Time
	signIns    int // since the last that led on
	confirmed  bool
	named      bool
	names      int // tried
	revealed   bool
	looks      int // without anything to do
	tokens     int
}

func (s *Simulator) newBuyer(st *stall, d deal, p Purchase) *buyer {
	number, n := d.purchase()
	b := &buyer{s: s, n: n, stall: st, deal: d, browser: newBrowser(s.roots), way: d.arrive(0)}
	b.habits = s.habits(n, b.way.life)
	if p.Habits != nil {
		b.habits = *p.Habits
	}
	b.seen = Buyer{ID: buyerID(number), Marketplace: st.name, Bought: s.now, Email: p.Email, TailnetName: p.Tailnet, Habits: b.habits}
	if b.seen.Email == "" {
		b.seen.Email = fmt.Sprintf("ana@company-%d.example", number+1)
	}
	if b.seen.TailnetName == "" {
		b.seen.TailnetName = fmt.Sprintf("company-%d", number+1)
	}
	return b
}

// habits draws how buyer n of a marketplace goes about it. Five timings take turns from a seeded start, so any five buyers
// show them all.
func (s *Simulator) habits(n int, tokenLife time.Duration) Habits {
	h := Habits{After: 93 * time.Second}
	if s.faults.weather != WeatherHostile {
		return h
	}
	turn, who := int(s.faults.draw("habits")%5)+n, strconv.Itoa(n)
	switch turn % 5 {
	case 0:
		h.After = 3 * time.Second // before any event
	case 1:
		h.After = 30 * time.Second // between Created and License Updated
	case 2:
	case 3:
		h.After = s.faults.between(5*time.Minute, 30*time.Minute, "after", who)
	case 4:
		h.After = s.faults.between(2*time.Hour, 9*time.Hour, "after", who)
		h.Stale = h.After > tokenLife
	}
	h.Twice = turn%3 == 0
	h.NeverReveal = turn%5 == 1
	return h
}

func (b *buyer) snapshot() Buyer {
	out := b.seen
	b.deal.describe(&out)
	return out
}

func (b *buyer) finished() bool { return b.seen.Finished != "" || b.habits.Absent }

// next schedules the next visit; the lock is held.
func (b *buyer) next(after time.Duration) {
	b.s.schedule(b.s.now.Add(after), "visit of "+b.seen.ID, func() {
		b.s.spawn(func(ctx context.Context) {
			wait := b.visit(ctx)
			b.s.mu.Lock()
			defer b.s.mu.Unlock()
			if b.seen.Visits++; b.seen.Visits >= mostVisits && b.seen.Finished == "" {
				b.seen.Finished = "gave up"
			}
			if ended := b.deal.over(); b.seen.Finished == "" && !ended.IsZero() && b.s.now.After(ended.Add(goneAfter)) {
				b.seen.Finished = "the purchase is over"
			}
			if b.seen.Finished == "" {
				b.next(wait)
			}
		})
	})
}

// follow takes a referral link before anything else, with the cookies it sets; the lock is held.
func (b *buyer) follow(link string) {
	b.s.schedule(b.s.now, "referral of "+b.seen.ID, func() {
		b.s.spawn(func(ctx context.Context) {
			ctx, cancel := context.WithTimeout(ctx, visitPatience)
			defer cancel()
			if strings.HasPrefix(link, "/") {
				link = b.s.app() + link
			}
			for { // a page that does not load is loaded again
				p, err := b.browser.get(ctx, link)
				switch {
				case err == nil && p.status < http.StatusInternalServerError:
					if p.status >= http.StatusBadRequest {
						b.problem(fmt.Sprintf("referral link answered %d", p.status))
					}
					return
				case err != nil:
					b.problem(err.Error())
				}
				select {
				case <-ctx.Done():
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
		})
	})
}

// visit does what can be done now and says after which virtual time to come back.
func (b *buyer) visit(ctx context.Context) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, visitPatience)
	defer cancel()
	p, err := b.enter(ctx)
	for err == nil && p != nil {
		b.note(p)
		step, ok := b.choose(p)
		if !ok {
			break
		}
		p, err = b.act(ctx, p, step)
	}
	switch {
	case err != nil:
		b.problem(err.Error())
		return 5 * time.Minute
	case p == nil:
		return 10 * time.Minute
	case !b.asked.IsZero() && !b.confirmed:
		return time.Minute // mail takes a while
	}
	return min(time.Minute<<min(b.looks, 4), 15*time.Minute)
}

// enter opens the page to continue on: the registration, the link in the mail, or the page last seen.
func (b *buyer) enter(ctx context.Context) (*page, error) {
	app := b.s.app()
	if app == "" {
		return nil, fmt.Errorf("the app has no address yet")
	}
	if !b.registered {
		return b.register(ctx, app)
	}
	if b.habits.Twice && !b.again {
		b.again = true
		who := b.browser
		if b.n%2 == 0 {
			who = newBrowser(b.s.roots) // from another machine
		}
		if _, err := who.arrive(ctx, app, b.way); err != nil {
			return nil, err
		}
	}
	if !b.asked.IsZero() && !b.confirmed {
		if p, err := b.openMail(ctx); p != nil || err != nil {
			return p, err
		}
	}
	p, err := b.browser.get(ctx, b.here)
	if err == nil && p.status >= 400 {
		b.registered = false
		b.problem(fmt.Sprintf("status page answered %d", p.status))
		return nil, nil
	}
	return p, err
}

// register posts a token, a fresh one unless the habit is to use an old one first.
func (b *buyer) register(ctx context.Context, app string) (*page, error) {
	if !b.habits.Stale || b.tokens > 0 {
		b.s.mu.Lock()
		b.way = b.deal.arrive(b.tokens + 1)
		b.s.mu.Unlock()
	}
	b.tokens++
	p, err := b.browser.arrive(ctx, app, b.way)
	if err != nil {
		return nil, err
	}
	if p.status >= 400 || p.state == "" && len(p.forms) == 0 {
		b.problem(fmt.Sprintf("registration answered %d without a next step", p.status))
		return nil, nil
	}
	b.registered, b.here = true, p.url.String()
	return p, nil
}

// openMail follows the link of the newest mail; no page when there is none yet.
func (b *buyer) openMail(ctx context.Context) (*page, error) {
	b.s.mu.Lock()
	read, now := b.s.mail, b.s.now
	b.s.mu.Unlock()
	link, err := read(ctx, b.seen.Email)
	if err != nil {
		return nil, fmt.Errorf("read mail: %w", err)
	}
	if link == "" {
		if now.Sub(b.asked) > mailPatience {
			b.asked = time.Time{}
		}
		return nil, nil
	}
	p, err := b.browser.get(ctx, link)
	if err != nil {
		return nil, err
	}
	if _, ok := p.form(stepConfirm); !ok {
		b.problem(fmt.Sprintf("mail link answered %d without a form to confirm", p.status))
		b.confirmed = p.status < 400
		b.asked = time.Time{}
		return nil, nil
	}
	return p, nil
}

// choose picks the form to act on, in the page's order.
func (b *buyer) choose(p *page) (form, bool) {
	for _, f := range p.forms {
		switch f.step {
		case stepSignIn, stepOn:
			if b.signIns >= mostSignIns {
				continue
			}
		case stepEmail:
			if !b.asked.IsZero() || b.confirmed {
				continue
			}
		case stepConfirm:
			if b.confirmed {
				continue
			}
		case stepName:
			if b.named || b.names > 3 {
				continue
			}
		case stepReveal:
			if b.habits.NeverReveal || b.revealed {
				continue
			}
		default:
			continue
		}
		return f, true
	}
	return form{}, false
}

func (b *buyer) act(ctx context.Context, p *page, f form) (*page, error) {
	b.looks = 0
	switch f.step {
	case stepEmail:
		f.values.Set("email", b.seen.Email)
	case stepName:
		name := b.seen.TailnetName
		if b.names > 0 { // the first one was refused
			name += "-" + strconv.Itoa(b.names+1)
		}
		f.values.Set("tailnet_name", name)
	}
	answer, err := b.browser.submit(ctx, p, f)
	if err != nil {
		return nil, err
	}
	if answer.status >= 400 {
		b.problem(fmt.Sprintf("form %s answered %d", f.step, answer.status))
	}
	switch f.step {
	case stepSignIn, stepOn:
		_, again := answer.form(f.step)
		if b.signIns++; answer.status < 400 && !again {
			b.signIns, b.confirmed = 0, true
		}
	case stepEmail:
		b.asked = b.s.Now()
	case stepConfirm:
		b.confirmed = answer.status < 400 || answer.status == http.StatusConflict
		if !b.confirmed {
			b.asked = time.Time{} // the link is spent or too old: ask for another
			return nil, nil
		}
	case stepName:
		b.names++
		if b.named = answer.status < 400; b.named {
			b.s.mu.Lock()
			b.seen.TailnetName = f.values.Get("tailnet_name")
			b.s.mu.Unlock()
		}
	case stepReveal:
		b.revealed = true
	}
	if answer.status >= 400 && len(answer.forms) == 0 {
		return b.browser.get(ctx, b.here) // an error page leads nowhere: back
	}
	return answer, nil
}

// note remembers what the page shows and decides whether the buyer is done.
func (b *buyer) note(p *page) {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	if p.joinKey != "" {
		b.seen.JoinKeySeen = true
	}
	if p.state == "" {
		return
	}
	b.seen.State = p.state
	if p.status < 400 {
		b.here = p.url.String()
	}
	_, button := p.form(stepReveal)
	if b.looks++; b.seen.State != "active" || button {
		b.looks = min(b.looks, lostAfter-1)
	}
	switch {
	case p.state == "ended", p.state == "rejected":
		b.seen.Finished = p.state
	case p.state != "active":
	case b.seen.JoinKeySeen:
		b.seen.Finished = "has the join key"
	case b.habits.NeverReveal && b.confirmed:
		b.seen.Finished = "active, never asked for the key"
	case b.revealed && !button || b.looks >= lostAfter:
		// The answer that showed the key was lost with the app; it is shown once only.
		b.seen.Finished = "active, the key was not seen"
	}
}

func (b *buyer) problem(text string) {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	b.seen.Problem = text
}
