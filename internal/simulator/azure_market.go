package simulator

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Statuses of a SaaS subscription (azure.md 2.3).
const (
	saasPending      = "PendingFulfillmentStart"
	saasSubscribed   = "Subscribed"
	saasSuspended    = "Suspended"
	saasUnsubscribed = "Unsubscribed"
)

const (
	azureTokenLife  = 24 * time.Hour      // of a landing token
	azureGrace      = 30 * 24 * time.Hour // until an unactivated or suspended subscription is dropped
	azureTellAfter  = 5 * time.Second     // from what happened to its webhook; not documented, a guess
	azureActivates  = 5 * time.Second     // from Activate's 200 to Subscribed, at least; "a few minutes"
	azureActivates2 = 3 * time.Minute     // at most
)

// azureMarket is the Microsoft commercial marketplace: SaaS subscriptions and their operations, landing tokens, the
// metering slots, and the directory whose tokens both sides show. Everything in it is guarded by the simulator's lock.
type azureMarket struct {
	s        *Simulator
	o        AzureOptions
	entra    *entra
	subs     []*saas
	byID     map[string]*saas
	tokens   map[string]azureToken
	resolved map[string]bool // subscriptions whose token was shown once
	slots    map[azureSlotKey]*azureSlot
	attempts map[azureSlotKey]int
	calls    int
}

// saas is one SaaS subscription.
type saas struct {
	m                      *azureMarket
	number, n              int // of the purchase among all, and among those of this marketplace, from 0
	id, name               string
	offer                  *AzureOffer
	plan                   *AzurePlan
	private                *AzurePlan // made for this buyer alone; nil for most
	seats                  int64      // 0 on flat plans
	beneficiary, purchaser azureParty
	status                 string
	activating             bool      // Activate was received, Subscribed is to come
	bought, modified       time.Time // modified is zero until something was
	active                 time.Time // when billing began
	suspended              time.Time
	ended                  time.Time
	termStart, termNext    time.Time // termNext is the first day of the next term
	autoRenew              bool
	privateOffer           string
	operations             []*azureOperation
	plans                  []azurePlanSpan
	events                 int
}

type azureParty struct{ email, object, tenant string }

// azurePlanSpan says from when a plan was in force.
type azurePlanSpan struct {
	plan *AzurePlan
	from time.Time
}

type azureToken struct {
	sub   *saas
	until time.Time
}

func newAzureMarket(s *Simulator) *azureMarket {
	o := &s.o.Azure
	if o.Secret == "" {
		o.Secret = "secret-" + s.faults.hex(16, "azure secret")
	}
	return &azureMarket{
		s: s, o: *o, entra: newEntra(), byID: map[string]*saas{}, tokens: map[string]azureToken{}, resolved: map[string]bool{},
		slots: map[azureSlotKey]*azureSlot{}, attempts: map[azureSlotKey]int{},
	}
}

func (m *azureMarket) find(id string) deal {
	if sub := m.byID[strings.ToLower(id)]; sub != nil {
		return sub
	}
	return nil
}

func (m *azureMarket) pending() int { return 0 }

func (m *azureMarket) stop() {}

// buy makes the subscription of purchase n. In the classic way nobody tells the publisher of it; a plan with auto
// activation is billed from now and tells. An agreed end is the end of the first term, which does not renew.
func (m *azureMarket) buy(number, n int, p Purchase) (deal, error) {
	var offer *AzureOffer
	for i := range m.o.Offers {
		if one := &m.o.Offers[i]; offer == nil && (p.Product == "" || one.ID == p.Product) {
			offer = one
		}
	}
	if offer == nil {
		return nil, fmt.Errorf("no offer %q", p.Product)
	}
	plan := offer.plan(p.Plan)
	var private *AzurePlan
	if plan == nil && p.PrivateOffer { // a private offer may make a plan of its own, for one buyer (azure.md 6.2)
		own := offer.Plans[0]
		own.ID, own.Title = p.Plan, "Private plan"
		plan, private = &own, &own
	}
	if plan == nil {
		return nil, fmt.Errorf("offer %s has no plan %q", offer.ID, p.Plan)
	}
	if plan.perSeat() && p.Seats == 0 {
		p.Seats = max(plan.MinSeats, 1)
	}
	if err := plan.checkSeats(p.Seats); err != nil {
		return nil, err
	}
	if !p.End.IsZero() && !p.End.After(m.s.now) {
		return nil, fmt.Errorf("end %s is not in the future", p.End.Format(time.RFC3339))
	}
	f, who := m.s.faults, strconv.Itoa(n)
	sub := &saas{
		m: m, number: number, n: n, id: f.uuid("saas", who), name: "Tailnet of company " + strconv.Itoa(number+1),
		offer: offer, plan: plan, private: private, seats: p.Seats,
		beneficiary: azureParty{
			email: cmp.Or(p.Email, fmt.Sprintf("ana@company-%d.example", number+1)), object: f.uuid("object", who), tenant: f.uuid("tenant", who),
		},
		status: saasPending, bought: m.s.now, autoRenew: p.End.IsZero(), termNext: p.End,
	}
	sub.purchaser = sub.beneficiary
	if p.Reseller {
		sub.purchaser = azureParty{email: "orders@reseller.example", object: f.uuid("reseller object"), tenant: f.uuid("reseller tenant")}
	}
	if p.PrivateOffer {
		sub.privateOffer = f.uuid("private offer", who)
	}
	m.subs = append(m.subs, sub)
	m.byID[sub.id] = sub
	if plan.Auto {
		m.subscribe(sub)
		m.notify(m.operate(sub, actionSubscribe, sourceAzure, opSucceeded))
		return sub, nil
	}
	m.s.quietly(sub.bought.Add(azureGrace), "end of "+sub.id, func() {
		if sub.status == saasPending {
			m.unsubscribe(sub)
		}
	})
	return sub, nil
}

// find is the plan of that id among those sub may have.
func (sub *saas) find(id string) *AzurePlan {
	if sub.private != nil && sub.private.ID == id {
		return sub.private
	}
	return sub.offer.plan(id)
}

func (p *AzurePlan) checkSeats(n int64) error {
	if !p.perSeat() && n != 0 {
		return fmt.Errorf("plan %s is not per user", p.ID)
	}
	if p.perSeat() && (n < p.MinSeats || n > p.MaxSeats) {
		return fmt.Errorf("plan %s has %d to %d users, not %d", p.ID, p.MinSeats, p.MaxSeats, n)
	}
	return nil
}

// subscribe begins billing now.
func (m *azureMarket) subscribe(sub *saas) {
	sub.status, sub.activating, sub.active, sub.modified = saasSubscribed, false, m.s.now, m.s.now
	sub.plans = append(sub.plans, azurePlanSpan{sub.plan, m.s.now})
	sub.termStart = m.s.now.Truncate(24 * time.Hour)
	if sub.termNext.IsZero() {
		sub.termNext = addTerm(sub.termStart, sub.plan.term())
	}
	m.renewAt(sub)
}

// renewAt schedules the end of the current term, which renews it or ends the subscription.
func (m *azureMarket) renewAt(sub *saas) {
	due := sub.termNext
	m.s.quietly(due, "term of "+sub.id, func() {
		if sub.status != saasSubscribed || !sub.termNext.Equal(due) {
			return
		}
		if !sub.autoRenew {
			m.unsubscribe(sub)
			return
		}
		m.nextTerm(sub)
		m.notify(m.operate(sub, actionRenew, sourceAzure, opSucceeded))
	})
}

func (m *azureMarket) nextTerm(sub *saas) {
	sub.termStart, sub.modified = sub.termNext, m.s.now
	sub.termNext = addTerm(sub.termStart, sub.plan.term())
	m.renewAt(sub)
}

// unsubscribe ends sub for good.
func (m *azureMarket) unsubscribe(sub *saas) {
	m.end(m.operate(sub, actionUnsubscribe, sourceAzure, opSucceeded))
}

// end lets the operation that ends a subscription take effect; what else is under way fails.
func (m *azureMarket) end(ending *azureOperation) {
	sub := ending.sub
	ending.status = opSucceeded
	for _, op := range sub.operations {
		if op.status == opInProgress {
			op.status, op.message = opFailed, "The subscription was unsubscribed."
		}
	}
	sub.status, sub.activating, sub.ended, sub.modified = saasUnsubscribed, false, m.s.now, m.s.now
	m.notify(ending)
}

// suspend is what a failed payment does, with a webhook; it gives the customer 30 days. Only what is subscribed can be
// suspended, and only what is suspended reinstated.
func (m *azureMarket) suspend(d deal, on bool) {
	sub := d.(*saas)
	switch {
	case on && sub.status == saasSubscribed:
		m.hold(sub)
	case !on && sub.status == saasSuspended:
		m.reinstate(sub)
	}
}

func (m *azureMarket) hold(sub *saas) {
	sub.status, sub.suspended, sub.modified = saasSuspended, m.s.now, m.s.now
	m.notify(m.operate(sub, actionSuspend, sourceAzure, opSucceeded))
	since := m.s.now
	m.s.quietly(since.Add(azureGrace), "end of "+sub.id, func() {
		if sub.status == saasSuspended && sub.suspended.Equal(since) {
			m.unsubscribe(sub)
		}
	})
}

func (m *azureMarket) reinstate(sub *saas) {
	sub.status, sub.modified = saasSubscribed, m.s.now
	for !sub.termNext.After(m.s.now) { // a term that ended meanwhile was paid late
		m.nextTerm(sub)
	}
	m.notify(m.operate(sub, actionReinstate, sourceAzure, opSucceeded))
}

// cancel is the customer's cancellation; there is only one kind of end.
func (m *azureMarket) cancel(d deal, status string) error {
	sub := d.(*saas)
	if status != "" && status != saasUnsubscribed {
		return fmt.Errorf("status %q: want %s", status, saasUnsubscribed)
	}
	if sub.status == saasUnsubscribed {
		return fmt.Errorf("subscription %s is %s", sub.id, sub.status)
	}
	m.unsubscribe(sub)
	return nil
}

// Kinds of change on Azure.
const (
	ChangePlan      = "plan"       // another plan of the offer: the publisher is asked
	ChangeSeats     = "seats"      // another number of users: the publisher is asked
	ChangeAutoRenew = "auto_renew" // renewal is turned off, or on again: nobody is told
)

func (m *azureMarket) change(d deal, c Change) (deal, error) {
	sub := d.(*saas)
	if sub.status != saasSubscribed {
		return nil, fmt.Errorf("subscription %s is %s", sub.id, sub.status)
	}
	var err error
	switch c.Kind {
	case "", ChangePlan:
		err = m.ask(sub, c.Plan, 0)
	case ChangeSeats:
		err = m.ask(sub, "", c.Seats)
	case ChangeAutoRenew:
		sub.autoRenew, sub.modified = !sub.autoRenew, m.s.now
	default:
		err = fmt.Errorf("change %q: want %s, %s or %s", c.Kind, ChangePlan, ChangeSeats, ChangeAutoRenew)
	}
	return sub, err
}

// ask is the customer's wish for another plan or number of users. It holds when the publisher accepts it.
func (m *azureMarket) ask(sub *saas, plan string, seats int64) error {
	if op := sub.pending(); op != nil {
		return fmt.Errorf("subscription %s is locked by a pending %s", sub.id, op.action)
	}
	to := sub.plan
	if plan != "" {
		if to = sub.find(plan); to == nil {
			return fmt.Errorf("offer %s has no plan %q", sub.offer.ID, plan)
		}
	}
	if (to == sub.plan) == (seats == 0) {
		return fmt.Errorf("want another plan or a number of users, one of them")
	}
	op := m.operate(sub, actionChangePlan, sourceAzure, opInProgress)
	if op.plan = to; to == sub.plan {
		if err := to.checkSeats(seats); err != nil {
			sub.operations = sub.operations[:len(sub.operations)-1]
			return err
		}
		op.action, op.seats = actionChangeQuantity, seats
	}
	m.notify(op)
	return nil
}

func (sub *saas) purchase() (number, nth int) { return sub.number, sub.n }

func (sub *saas) over() time.Time { return sub.ended }

func (sub *saas) describe(b *Buyer) {
	b.Purchase, b.Account, b.Product, b.Plan, b.Status = sub.id, sub.beneficiary.tenant, sub.offer.ID, sub.plan.ID, sub.status
}

// arrive is "Configure account" in the portal, and later "Manage account": the landing page with a token.
func (sub *saas) arrive(nth int) arrival {
	if nth < 0 {
		nth = len(sub.m.tokens)
	}
	t := sub.m.landing(sub, nth)
	return arrival{
		method: http.MethodGet, path: "/azure/register", origin: "https://portal.azure.com",
		values: url.Values{"token": {t}}, token: t, life: azureTokenLife,
		site: sub.m.s.url(Azure), signedIn: &http.Cookie{Name: signedIn, Value: sub.beneficiary.object, Path: "/"},
	}
}

// landing mints a landing token.
func (m *azureMarket) landing(sub *saas, nth int) string {
	f, which := m.s.faults, strconv.Itoa(nth)
	t := fmt.Sprintf("%s+%s/%s+%s==", f.lower(24, "landing", sub.id, which), f.lower(20, "landing2", sub.id, which),
		f.lower(16, "landing3", sub.id), f.lower(18, "landing4", sub.id))
	m.tokens[t] = azureToken{sub: sub, until: m.s.now.Add(azureTokenLife)}
	return t
}

var termPattern = regexp.MustCompile(`^P([0-9]+)([MY])$`)

// addTerm is the first day of the next term: the same day of the month, or its last where it has none. A unit without a
// length, such as PAY, is a month.
func addTerm(from time.Time, unit string) time.Time {
	months := 1
	if p := termPattern.FindStringSubmatch(unit); p != nil {
		n, err := strconv.Atoi(p[1])
		if err == nil && n > 0 && n < 1200 {
			months = n
		}
		if p[2] == "Y" {
			months *= 12
		}
	}
	to := from.AddDate(0, months, 0)
	if to.Day() != from.Day() {
		to = to.AddDate(0, 0, -to.Day())
	}
	return to
}
