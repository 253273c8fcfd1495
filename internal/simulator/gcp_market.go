package simulator

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// States of an entitlement (gcp.md 2.6), without their prefix.
const (
	entActivationRequested = "ACTIVATION_REQUESTED"
	entActive              = "ACTIVE"
	entPendingCancellation = "PENDING_CANCELLATION"
	entCancelled           = "CANCELLED"
	entPendingPlanChange   = "PENDING_PLAN_CHANGE"
	entPlanChangeApproval  = "PENDING_PLAN_CHANGE_APPROVAL"
)

const (
	approvalPending  = "PENDING"
	approvalApproved = "APPROVED"
	approvalRejected = "REJECTED"
)

// Kinds of change on Google beside ChangePlan (another plan or offer, waits for approval) and ChangeRenew (a new term).
const (
	ChangeWithdraw  = "withdraw"   // the customer takes a plan change back
	ChangeRevert    = "revert"     // the customer takes a cancellation at the end of the term back
	ChangeOfferEnds = "offer_ends" // a private offer is over and the order goes on at list price
)

const (
	gcpTellAfter   = 2 * time.Second     // from what happened to its message; a guess
	gcpActivates   = time.Minute         // from approval to ACTIVE in good weather
	gcpActivates1  = 10 * time.Minute    // otherwise at least (OBSERVED)
	gcpActivates2  = 20 * time.Minute    // and at most
	gcpCancelling  = time.Minute         // from CANCELLING to CANCELLED; a guess
	gcpFinalWindow = time.Hour           // for reports after the end
	gcpForgotten   = 60 * 24 * time.Hour // from CANCELLED to purged
)

// gcpMarket is Google Cloud Marketplace: procurement accounts and entitlements, sign-up tokens, the topic's subscription
// and Service Control. Everything in it is guarded by the simulator's lock.
type gcpMarket struct {
	s    *Simulator
	o    GCPOptions
	keys gcpKeys
	push struct {
		token, audience string
		minted          time.Time
	}
	accounts     []*gcpAccount
	entitlements []*gcpEntitlement
	consumers    map[string]*gcpEntitlement
	sub          *subscription
	operations   map[string]*gcpOperation // by service and operation id
	billed       []*gcpOperation
	attempts     map[string]int
	messages     int // published
}

type gcpAccount struct {
	id, identity string // of the account, and of the person who clicks
	billing      string // billingAccounts/…
	reseller     string // billingAccounts/… of the reseller, or ""
	approval     string
	reason       string
	approved     time.Time
	created      time.Time
	updated      time.Time
	deleted      bool
}

// gcpEntitlement is one purchase.
type gcpEntitlement struct {
	m           *gcpMarket
	number, n   int // of the purchase among all, and among Google's, from 0
	id, orderID string
	account     *gcpAccount
	product     *GCPProduct
	plan, offer string
	newPlan     string // pending
	newOffer    string
	duration    string // ISO 8601, "" for a fixed end
	newDuration string
	state       string
	message     string
	approved    bool
	cancelling  bool
	suspended   bool // billing is disabled: no state tells of it
	deleted     bool
	created     time.Time
	updated     time.Time
	starts      time.Time // of the offer, known once it is approved
	started     time.Time // zero: never active
	ends        time.Time // of the term; the actual end once cancelled
	changes     time.Time // when an approved change takes effect; zero: at once
	cancelled   time.Time
	reason      string
	consumer    string    // usageReportingId
	identified  time.Time // from when it is shown
	spans       []gcpSpan
	offers      []string // all it ever had
	events      int
}

// gcpSpan is a plan and the time it was in force.
type gcpSpan struct {
	plan     string
	from, to time.Time // to is zero while it lasts
}

func newGCPMarket(s *Simulator) *gcpMarket {
	m := &gcpMarket{
		s: s, o: s.o.GCP, keys: gcpKeys{certs: map[string]string{}}, consumers: map[string]*gcpEntitlement{},
		operations: map[string]*gcpOperation{}, attempts: map[string]int{},
	}
	m.sub = &subscription{m: m}
	return m
}

// find returns the newest entitlement with this id, order id or usage reporting id, or of this account.
func (m *gcpMarket) find(id string) deal {
	for _, e := range slices.Backward(m.entitlements) {
		if e.id == id || e.orderID == id || e.consumer == id || e.account.id == id {
			return e
		}
	}
	return nil
}

func (m *gcpMarket) entitlement(id string) *gcpEntitlement {
	for _, e := range m.entitlements {
		if e.id == id && !e.deleted {
			return e
		}
	}
	return nil
}

func (m *gcpMarket) account(id string) *gcpAccount {
	for _, a := range m.accounts {
		if a.id == id && !a.deleted {
			return a
		}
	}
	return nil
}

// buy makes the entitlement of purchase n, and its account unless the customer has one.
func (m *gcpMarket) buy(number, n int, p Purchase) (deal, error) {
	i := slices.IndexFunc(m.o.Products, func(one GCPProduct) bool { return p.Product == "" || one.Service == p.Product })
	if i < 0 {
		return nil, fmt.Errorf("no product %q", p.Product)
	}
	product := &m.o.Products[i]
	plan := product.plan(p.Plan)
	if plan == nil {
		return nil, fmt.Errorf("product %s has no plan %q", product.Service, p.Plan)
	}
	if !p.End.IsZero() && !p.End.After(m.s.now) {
		return nil, fmt.Errorf("end %s is not in the future", p.End.Format(time.RFC3339))
	}
	f, who := m.s.faults, strconv.Itoa(n)
	e := &gcpEntitlement{
		m: m, number: number, n: n, id: f.uuid("entitlement", who), product: product, plan: plan.ID,
		offer: m.offer(product, p.PrivateOffer || p.Reseller, "offer", who), duration: "P1M", ends: p.End,
		state: entActivationRequested, created: m.s.now.Add(time.Duration(1+f.draw("ns", who)%998) * time.Millisecond),
		consumer: fmt.Sprintf("project_number:%d", 60000000000+f.draw("consumer", who)%1e10),
	}
	if p.PrivateOffer {
		e.duration = "P1Y"
	}
	if !p.End.IsZero() {
		e.duration = ""
	}
	// Equal to the entitlement's id for a simple order, which nobody promises.
	if e.orderID = e.id; f.chance("order", who) < 0.5 {
		e.orderID = f.uuid("order", who)
	}
	e.updated, e.offers = e.created, []string{e.offer}
	isNew := p.customer == nil
	if isNew {
		e.account = m.open(who, p.Reseller, e.created)
	} else {
		e.account = p.customer.(*gcpEntitlement).account
	}
	m.entitlements = append(m.entitlements, e)
	m.consumers[e.consumer] = e
	m.ordered(e, isNew)
	return e, nil
}

func (m *gcpMarket) open(who string, resold bool, at time.Time) *gcpAccount {
	f := m.s.faults
	billing := func(parts ...string) string {
		h := f.hex(9, parts...)
		return "billingAccounts/" + h[:6] + "-" + h[6:12] + "-" + h[12:]
	}
	a := &gcpAccount{
		id: f.uuid("account", who), identity: fmt.Sprintf("1%020d", f.draw("identity", who)%1e18),
		billing: billing("billing", who), approval: approvalPending, created: at, updated: at,
	}
	if resold {
		a.reseller = billing("reseller")
	}
	m.accounts = append(m.accounts, a)
	return a
}

func (m *gcpMarket) offer(p *GCPProduct, private bool, parts ...string) string {
	kind := "standardOffers"
	if private {
		kind = "privateOffers"
	}
	return fmt.Sprintf("projects/%d/services/%s/%s/%s", 500000000000+m.s.faults.draw("project")%1e10, p.Service, kind, m.s.faults.uuid(parts...))
}

// ordered schedules what follows an order: its messages, which share one event id, and with automatic approval the rest.
func (m *gcpMarket) ordered(e *gcpEntitlement, isNew bool) {
	at := e.created.Truncate(time.Second).Add(gcpTellAfter)
	shared := "CREATE_ENTITLEMENT-" + m.s.faults.uuid("create", e.id)
	if isNew {
		m.emit(e, eventAccountActive, shared, at)
	}
	if !e.product.AutoApprove {
		m.emit(e, eventCreationRequested, shared, at.Add(time.Second))
	}
	m.emit(e, eventOfferAccepted, shared, at.Add(2*time.Second))
	if e.product.AutoApprove {
		m.approve(e)
	}
}

// touched marks a change: its update time is later than every earlier one.
func (e *gcpEntitlement) touched() time.Time {
	if now := e.m.s.now; now.After(e.updated) {
		e.updated = now
	} else {
		e.updated = e.updated.Add(time.Microsecond)
	}
	return e.updated
}

func (e *gcpEntitlement) become(state string) {
	e.state, e.message = state, "" // Google clears the note on any change of state
	e.touched()
}

// inService says whether the customer is served and pays.
func (e *gcpEntitlement) inService() bool {
	return e.state != entActivationRequested && e.state != entCancelled
}

// approve lets an order become active after a while.
func (m *gcpMarket) approve(e *gcpEntitlement) {
	e.approved = true
	e.touched()
	f, lag := m.s.faults, gcpActivates
	if f.weather == WeatherHostile {
		lag = f.between(gcpActivates1, gcpActivates2, "activates", e.id)
	}
	e.starts = m.s.now.Add(lag)
	m.s.schedule(e.starts, "activation of "+e.id, func() {
		if e.state != entActivationRequested || e.account.deleted {
			return
		}
		e.become(entActive)
		e.started, e.identified = m.s.now, m.s.now
		e.spans = []gcpSpan{{plan: e.plan, from: m.s.now}}
		if f.happens(KindLateIdentity, e.id, 1) {
			e.identified = m.s.now.Add(f.between(time.Minute, 10*time.Minute, "identity", e.id))
		}
		m.emit(e, eventActive, "", m.s.now.Add(gcpTellAfter))
		m.term(e)
	})
}

// term schedules the end of the running term. A fixed end is one; a duration renews itself.
func (m *gcpMarket) term(e *gcpEntitlement) {
	later := m.s.schedule
	if e.duration != "" {
		e.ends, later = e.lasts(m.s.now), m.s.quietly
	}
	ends := e.ends
	later(ends, "term of "+e.id, func() {
		switch {
		case !e.inService() || !e.ends.Equal(ends):
		case e.state == entPendingCancellation:
			m.finish(e, "user-cancelled")
		case e.duration == "":
			m.finish(e, "expired")
		default:
			m.renew(e)
		}
	})
}

// lasts is the end of a term of the offer's duration.
func (e *gcpEntitlement) lasts(from time.Time) time.Time {
	if e.duration == "P1Y" {
		return from.AddDate(1, 0, 0)
	}
	return from.AddDate(0, 1, 0)
}

func (m *gcpMarket) renew(e *gcpEntitlement) {
	e.touched()
	m.emit(e, eventRenewed, "", m.s.now.Add(gcpTellAfter))
	m.term(e)
}

// finish ends e now. Its record is purged 60 days later.
func (m *gcpMarket) finish(e *gcpEntitlement, reason string) {
	e.become(entCancelled)
	e.cancelled, e.reason, e.newPlan, e.newOffer, e.newDuration = e.updated, reason, "", "", ""
	e.ends = e.updated
	if e.started.IsZero() {
		e.ends = time.Time{}
	}
	e.close()
	m.emit(e, eventCancelled, "", m.s.now.Add(gcpTellAfter))
	m.s.quietly(m.s.now.Add(gcpForgotten), "record of "+e.id, func() {
		e.deleted = true
		e.touched()
		m.emit(e, eventDeleted, "", m.s.now.Add(gcpTellAfter))
	})
}

func (e *gcpEntitlement) close() {
	if n := len(e.spans); n > 0 && e.spans[n-1].to.IsZero() {
		e.spans[n-1].to = e.updated
	}
}

// cancel ends an entitlement: CANCELLED (also "") now, PENDING_CANCELLATION at the end of its term, ACCOUNT_DELETED with
// everything the customer has.
func (m *gcpMarket) cancel(d deal, status string) error {
	e := d.(*gcpEntitlement)
	if e.state == entCancelled || e.cancelling {
		return fmt.Errorf("entitlement %s is %s", e.id, e.state)
	}
	switch status {
	case "", entCancelled:
		if e.state == entActivationRequested {
			m.finish(e, "user-aborted")
			return nil
		}
		lag := gcpCancelling
		if f := m.s.faults; f.weather == WeatherHostile {
			lag = f.between(time.Minute, 5*time.Minute, "cancelling", e.id)
		}
		e.cancelling = true
		m.emit(e, eventCancelling, "", m.s.now.Add(gcpTellAfter))
		m.s.schedule(m.s.now.Add(lag), "end of "+e.id, func() {
			if e.state != entCancelled {
				m.finish(e, "user-cancelled")
			}
		})
	case entPendingCancellation:
		if e.state != entActive {
			return fmt.Errorf("entitlement %s is %s", e.id, e.state)
		}
		if !e.ends.After(m.s.now) { // at list price after a private offer: from month to month
			m.term(e)
		}
		e.become(entPendingCancellation)
		m.emit(e, eventPendingCancellation, "", m.s.now.Add(gcpTellAfter))
	case "ACCOUNT_DELETED":
		for _, one := range m.entitlements {
			if one.account == e.account && one.state != entCancelled {
				m.finish(one, "account-closed")
			}
		}
		e.account.deleted, e.account.updated = true, m.s.now
		m.emit(e, eventAccountDeleted, "", m.s.now.Add(gcpTellAfter))
	default:
		return fmt.Errorf("status %q: want CANCELLED, PENDING_CANCELLATION or ACCOUNT_DELETED", status)
	}
	return nil
}

func (m *gcpMarket) change(d deal, c Change) (deal, error) {
	e := d.(*gcpEntitlement)
	at := m.s.now.Add(gcpTellAfter)
	wants := map[string]string{
		ChangePlan: entActive, ChangeWithdraw: entPlanChangeApproval, ChangeRevert: entPendingCancellation, ChangeRenew: entActive,
		ChangeOfferEnds: entActive,
	}
	kind := cmp.Or(c.Kind, ChangePlan)
	if want, ok := wants[kind]; !ok {
		return nil, fmt.Errorf("change %q: want %s, %s, %s, %s or %s", c.Kind, ChangePlan, ChangeWithdraw, ChangeRevert, ChangeRenew, ChangeOfferEnds)
	} else if e.state != want || e.cancelling {
		return nil, fmt.Errorf("entitlement %s is %s", e.id, e.state)
	}
	switch kind {
	case ChangePlan:
		return e, m.requestPlan(e, c)
	case ChangeWithdraw:
		m.dropPlan(e)
	case ChangeRevert:
		e.become(entActive)
		m.emit(e, eventCancellationReverted, "", at)
	case ChangeRenew:
		if !c.End.IsZero() {
			if !c.End.After(m.s.now) {
				return nil, fmt.Errorf("end %s is not in the future", c.End.Format(time.RFC3339))
			}
			e.duration, e.ends = "", c.End
		}
		m.renew(e)
	case ChangeOfferEnds:
		if !strings.Contains(e.offer, "/privateOffers/") {
			return nil, fmt.Errorf("entitlement %s has no private offer", e.id)
		}
		// The end of the offer stays in the past (gcp.md 5.1); nothing renews and nothing expires.
		e.offer, e.duration = m.offer(e.product, false, "offer", e.id, "list"), "P1M"
		e.offers = append(e.offers, e.offer)
		e.ends = e.touched()
		m.emit(e, eventOfferEnded, "", at)
	}
	return e, nil
}

// requestPlan asks for another plan or offer; with automatic approval it takes effect without a question.
func (m *gcpMarket) requestPlan(e *gcpEntitlement, c Change) error {
	plan := e.product.plan(cmp.Or(c.Plan, e.plan))
	if plan == nil || plan.ID == e.plan && c.Offer == "" {
		return fmt.Errorf("product %s has no other plan %q", e.product.Service, c.Plan)
	}
	e.newPlan, e.newDuration, e.changes = plan.ID, e.duration, c.From
	e.newOffer = cmp.Or(c.Offer, m.offer(e.product, false, "offer", e.id, plan.ID, strconv.Itoa(e.events)))
	at := m.s.now.Add(gcpTellAfter)
	if e.product.AutoApprove {
		e.become(entPendingPlanChange)
		m.emit(e, eventOfferAccepted, "", at)
		m.applyPlan(e)
		return nil
	}
	e.become(entPlanChangeApproval)
	m.emit(e, eventPlanChangeRequested, "", at)
	return nil
}

// applyPlan puts the approved plan into force, at once or when its time has come.
func (m *gcpMarket) applyPlan(e *gcpEntitlement) {
	plan := e.newPlan
	effective := func() {
		if e.newPlan != plan || !e.inService() {
			return
		}
		e.become(entActive)
		e.close()
		e.plan, e.offer, e.duration, e.newPlan, e.newOffer, e.newDuration = e.newPlan, e.newOffer, e.newDuration, "", "", ""
		e.offers = append(e.offers, e.offer)
		e.spans = append(e.spans, gcpSpan{plan: e.plan, from: e.updated})
		m.emit(e, eventPlanChanged, "", m.s.now.Add(gcpTellAfter))
	}
	if !e.changes.After(m.s.now) {
		effective()
		return
	}
	e.become(entPendingPlanChange)
	m.s.schedule(e.changes, "plan of "+e.id, effective)
}

// dropPlan forgets a requested plan: it was refused or taken back.
func (m *gcpMarket) dropPlan(e *gcpEntitlement) {
	e.newPlan, e.newOffer, e.newDuration = "", "", ""
	e.become(entActive)
	m.emit(e, eventPlanChangeCancelled, "", m.s.now.Add(gcpTellAfter))
}

// suspend disables the customer's billing: check says so, reports are refused, and no message tells of it.
func (m *gcpMarket) suspend(d deal, on bool) { d.(*gcpEntitlement).suspended = on }

func (m *gcpMarket) pending() int { return m.sub.pending() }

func (m *gcpMarket) stop() { m.sub.stop() }

func (e *gcpEntitlement) purchase() (number, nth int) { return e.number, e.n }

func (e *gcpEntitlement) over() time.Time { return e.cancelled }

func (e *gcpEntitlement) describe(b *Buyer) {
	b.Purchase, b.Account, b.Product, b.Plan, b.Status = e.id, e.account.id, e.product.Service, e.plan, e.state
}

// arrive is the console's button "Register with …": a POST with a fresh token, good for five minutes.
func (e *gcpEntitlement) arrive(int) arrival {
	t := e.m.signUp(e)
	return arrival{
		method: http.MethodPost, path: "/gcp/register", origin: "https://console.cloud.google.com",
		values: url.Values{"x-gcp-marketplace-token": {t}}, token: t, life: signUpLife,
	}
}
