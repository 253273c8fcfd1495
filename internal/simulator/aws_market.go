package simulator

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Statuses of an agreement (DescribeAgreement).
const (
	statusActive     = "ACTIVE"
	statusCancelled  = "CANCELLED"
	statusExpired    = "EXPIRED"
	statusTerminated = "TERMINATED"
	statusRenewed    = "RENEWED"
	statusReplaced   = "REPLACED"
)

// Intents of an agreement event.
const (
	intentNew     = "NEW"
	intentAmend   = "AMEND"
	intentRenew   = "RENEW"
	intentReplace = "REPLACE"
)

// Delays of one captured purchase (third party, 2026-08-20).
const (
	createdAfter       = 11 * time.Second // after acceptance
	licensedAfter      = 61 * time.Second // after Created
	endedAfter         = 5 * time.Second  // after the end; not captured, a guess
	deprovisionedAfter = 31 * time.Second // after Ended
	finalWindow        = time.Hour        // BatchMeterUsage after the end
	awsTokenLife       = 4 * time.Hour    // of a registration token
)

// awsMarket is AWS Marketplace in concurrent-agreements mode: agreements, licences, registration tokens, the metering
// slots and the queue. Everything in it is guarded by the simulator's lock.
type awsMarket struct {
	s          *Simulator
	agreements []*agreement
	byID       map[string]*agreement
	licences   map[string]*licence
	tokens     map[string]token
	slots      map[slotKey]*slot
	attempts   map[slotKey]int
	snapshots  map[string][]*agreement
	resolved   map[int]bool // purchases whose token was shown once
	queue      *queue
	calls      int
}

type agreement struct {
	m                 *awsMarket
	number, n         int // of the purchase among all, and among those of AWS, from 0
	id, initial, prev string
	offer             string
	intent, status    string
	account           string
	reseller          string // the account of a channel partner who sold it, or ""
	private           bool   // by a private offer
	product           Product
	licence           *licence
	accepted          time.Time
	end               time.Time // the agreed end; zero for pay as you go
	ended             time.Time // when it did end
	updated           time.Time
	provisioned       bool
	deprovisioned     bool
	prices            map[string]string
	contract          map[string]int64
	autoRenew         bool
	revision          int
	events            int
}

type licence struct {
	arn, account string
	product      Product
	from         time.Time // start of the first agreement
	provisioned  time.Time // zero: not yet
	to           time.Time // zero: open
	suspended    bool
}

type token struct {
	licence *licence
	until   time.Time
	n       int
}

func newAWSMarket(s *Simulator) *awsMarket {
	m := &awsMarket{
		s: s, byID: map[string]*agreement{}, licences: map[string]*licence{}, tokens: map[string]token{},
		slots: map[slotKey]*slot{}, attempts: map[slotKey]int{}, snapshots: map[string][]*agreement{},
		resolved: map[int]bool{},
	}
	m.queue = newQueue(m)
	return m
}

func (m *awsMarket) product(code string) (Product, error) {
	for _, p := range m.s.o.Products {
		if code == "" || p.Code == code || p.ID == code {
			return p, nil
		}
	}
	return Product{}, fmt.Errorf("no product %q", code)
}

// find returns the newest agreement with this id or licence ARN.
func (m *awsMarket) find(id string) deal {
	for i := len(m.agreements) - 1; i >= 0; i-- {
		if a := m.agreements[i]; a.id == id || a.licence.arn == id {
			return a
		}
	}
	return nil
}

// buy makes the agreement of purchase n and schedules its events; the lock is held.
func (m *awsMarket) buy(number, n int, p Purchase) (deal, error) {
	product, err := m.product(p.Product)
	if err != nil {
		return nil, err
	}
	if !p.End.IsZero() && !p.End.After(m.s.now) {
		return nil, fmt.Errorf("end %s is not in the future", p.End.Format(time.RFC3339))
	}
	f := m.s.faults
	who := fmt.Sprint(n)
	account := fmt.Sprintf("%012d", f.draw("account", who)%1e12)
	if n%5 == 2 {
		account = "00" + account[2:] // leading zeros occur, and a number type would lose them
	}
	if p.customer != nil {
		account = p.customer.(*agreement).account
	}
	a := &agreement{
		m: m, number: number, n: n, id: "agmt-" + f.lower(25, "agreement", who), offer: "offer-" + f.lower(13, "offer", who),
		intent: intentNew, status: statusActive, account: account, product: product,
		accepted: m.s.now.Add(time.Duration(1+f.draw("ms", who)%998) * time.Millisecond),
		end:      p.End, contract: p.Contract, prices: map[string]string{},
	}
	if a.private = p.PrivateOffer || p.Reseller; p.Reseller {
		a.reseller = fmt.Sprintf("%012d", f.draw("reseller")%1e12)
	}
	a.initial, a.updated = a.id, a.accepted
	for i, d := range product.Dimensions {
		a.prices[d] = fmt.Sprintf("0.%02d", i+1)
	}
	a.licence = m.newLicence(a, "")
	m.add(a)
	if a.private {
		m.emit(a, eventOffer, m.s.now)
	}
	m.created(a)
	return a, nil
}

func (m *awsMarket) newLicence(a *agreement, salt string) *licence {
	l := &licence{
		arn:     "arn:aws:license-manager::294406891311:license:l-" + m.s.faults.hex(16, "licence", fmt.Sprint(a.n), salt),
		account: a.account, product: a.product, from: a.accepted,
	}
	m.licences[l.arn] = l
	return l
}

func (m *awsMarket) add(a *agreement) {
	m.agreements = append(m.agreements, a)
	m.byID[a.id] = a
}

// created schedules what follows acceptance: the Created event, the licence, License Updated, and the agreed end.
func (m *awsMarket) created(a *agreement) {
	at := a.accepted.Truncate(time.Second).Add(createdAfter)
	m.emit(a, eventCreated, at)
	m.license(a, at.Add(licensedAfter))
	m.expire(a)
}

// expire schedules the agreed end, if there is one; an amendment may move it.
func (m *awsMarket) expire(a *agreement) {
	if a.end.IsZero() {
		return
	}
	m.s.schedule(a.end, "end of "+a.id, func() {
		if a.status == statusActive && a.end.Equal(m.s.now) {
			m.finish(a, statusExpired)
		}
	})
}

// license makes the licence ready at at and tells of it.
func (m *awsMarket) license(a *agreement, at time.Time) {
	m.s.schedule(at, "licence of "+a.id, func() {
		if a.licence.provisioned.IsZero() {
			a.licence.provisioned = m.s.now
		}
		if a.status == statusActive {
			a.provisioned, a.updated = true, m.s.now
		}
	})
	m.emit(a, eventLicensed, at)
}

// finish ends a now. Unless it lives on under the same licence, the licence ends with it.
func (m *awsMarket) finish(a *agreement, status string) {
	a.status, a.ended, a.updated = status, m.s.now, m.s.now
	at := m.s.now.Truncate(time.Second).Add(endedAfter)
	m.emit(a, eventEnded, at)
	if next := m.agreements[len(m.agreements)-1]; (status == statusRenewed || status == statusReplaced) && next.prev == a.id && next.licence == a.licence {
		return
	}
	if a.licence.to.IsZero() {
		a.licence.to = m.s.now
	}
	at = at.Add(deprovisionedAfter)
	m.s.schedule(at, "licence of "+a.id, func() { a.deprovisioned, a.updated = true, m.s.now })
	m.emit(a, eventDeprovisioned, at)
}

// cancel ends an agreement as CANCELLED (also ""), EXPIRED or TERMINATED.
func (m *awsMarket) cancel(d deal, status string) error {
	a := d.(*agreement)
	switch status {
	case "":
		status = statusCancelled
	case statusCancelled, statusExpired, statusTerminated:
	default:
		return fmt.Errorf("status %q: want CANCELLED, EXPIRED or TERMINATED", status)
	}
	if a.status != statusActive {
		return fmt.Errorf("agreement %s is %s", a.id, a.status)
	}
	m.finish(a, status)
	return nil
}

// suspend makes metering answer CustomerNotSubscribed for the licence; no event tells of it.
func (m *awsMarket) suspend(d deal, on bool) { d.(*agreement).licence.suspended = on }

func (m *awsMarket) pending() int { return m.queue.pending() }

func (m *awsMarket) stop() { m.queue.stop() }

func (m *awsMarket) change(d deal, c Change) (deal, error) {
	a := d.(*agreement)
	if a.status != statusActive {
		return nil, fmt.Errorf("agreement %s is %s", a.id, a.status)
	}
	if !c.End.IsZero() && !c.End.After(m.s.now) {
		return nil, fmt.Errorf("end %s is not in the future", c.End.Format(time.RFC3339))
	}
	for d := range c.Prices {
		if _, ok := a.prices[d]; !ok {
			return nil, fmt.Errorf("product %s has no dimension %q", a.product.Code, d)
		}
	}
	switch c.Kind {
	case "", ChangeAmend:
		m.amend(a, c)
		return a, nil
	case ChangeRenew:
		return m.succeed(a, c, intentRenew, statusRenewed, true), nil
	case ChangeRenewNewLicense:
		return m.succeed(a, c, intentRenew, statusRenewed, false), nil
	case ChangeReplace:
		return m.succeed(a, c, intentReplace, statusReplaced, false), nil
	default:
		return nil, fmt.Errorf("change %q: want %s, %s, %s or %s", c.Kind, ChangeAmend, ChangeRenew, ChangeRenewNewLicense, ChangeReplace)
	}
}

// amend changes the terms of a in place.
func (m *awsMarket) amend(a *agreement, c Change) {
	a.revision++
	a.updated = m.s.now
	a.terms(c)
	if !c.End.IsZero() {
		a.end = c.End
		m.expire(a)
	}
	at := m.s.now.Truncate(time.Second).Add(createdAfter)
	m.emit(a, eventAmended, at)
	m.emit(a, eventLicensed, at.Add(licensedAfter))
}

// succeed ends a in favour of a new agreement that names it.
func (m *awsMarket) succeed(a *agreement, c Change, intent, status string, sameLicence bool) *agreement {
	f := m.s.faults
	next := *a
	next.prev, next.intent, next.revision, next.events = a.id, intent, 0, 0
	next.id = "agmt-" + f.lower(25, "agreement", a.id, intent)
	next.offer = "offer-" + f.lower(13, "offer", next.id)
	next.accepted, next.updated, next.end = m.s.now, m.s.now, c.End
	next.provisioned = false
	next.prices = map[string]string{}
	for d, p := range a.prices {
		next.prices[d] = p
	}
	next.terms(c)
	if !sameLicence {
		next.licence = m.newLicence(&next, next.id)
	}
	m.add(&next)
	m.finish(a, status)
	m.created(&next)
	return &next
}

func (a *agreement) terms(c Change) {
	if c.Offer != "" {
		a.offer = c.Offer
	}
	for d, p := range c.Prices {
		a.prices[d] = p
	}
	if c.Contract != nil {
		a.contract = c.Contract
	}
}

// seller is who sold it: the proposer of the agreement.
func (a *agreement) seller() string { return cmp.Or(a.reseller, a.m.s.o.SellerAccount) }

func (a *agreement) purchase() (number, nth int) { return a.number, a.n }

func (a *agreement) over() time.Time { return a.ended }

func (a *agreement) describe(b *Buyer) {
	b.Purchase, b.Account, b.AgreementID, b.LicenseArn = a.licence.arn, a.account, a.id, a.licence.arn
	b.Product, b.Status = a.product.Code, a.status
}

// arrive is what the console's button "Set up your account" does: a POST with a registration token.
func (a *agreement) arrive(nth int) arrival {
	if nth < 0 {
		nth = len(a.m.tokens)
	}
	t := a.m.register(a, nth)
	return arrival{
		method: http.MethodPost, path: "/aws/register", origin: "https://aws.amazon.com",
		values: url.Values{"x-amzn-marketplace-token": {t}}, token: t, life: awsTokenLife,
	}
}

// register mints a registration token.
func (m *awsMarket) register(a *agreement, nth int) string {
	f := m.s.faults
	t := fmt.Sprintf("%s+%s/%s%%2B%s==", f.lower(20, "token", a.id, fmt.Sprint(nth)), f.lower(20, "token2", a.id, fmt.Sprint(nth)),
		f.lower(16, "token3", a.id), f.lower(8, "token4", a.id))
	m.tokens[t] = token{licence: a.licence, until: m.s.now.Add(awsTokenLife), n: a.n}
	return t
}
