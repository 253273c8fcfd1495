package gcp

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"google.golang.org/api/servicecontrol/v1"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

const (
	// lookLimit bounds all checks and questions before a report, and again all after
	// it: who waits longer may find that another worker took the batch over.
	lookLimit    = 5 * time.Second // of a check, as Google's own client does
	checksAtOnce = 8
)

// troubles are codes of a check that are about Google and never about the customer
// (REST reference "services.check", revision 20261015).
func troubles(code string) bool {
	return code == "INJECTED_ERROR" || strings.HasSuffix(code, "_UNAVAILABLE")
}

// checks asks for each customer whether its usage may be reported, once a call
// ("Configure usage reporting to Google", 2026), and returns the code that says no. It is
// asked about the first operation of each. Trouble with a check, Google's or ours, says
// nothing about the customer: then the report decides.
func (a *Adapter) checks(ctx context.Context, service string, operations []*servicecontrol.Operation) map[string]string {
	var (
		mu   sync.Mutex
		said = map[string]string{}
		done sync.WaitGroup
		free = make(chan struct{}, checksAtOnce)
	)
	asked := map[string]bool{}
	for _, o := range operations {
		if asked[o.ConsumerId] {
			continue
		}
		asked[o.ConsumerId] = true
		free <- struct{}{}
		done.Go(func() {
			defer func() { <-free }()
			code := a.check(ctx, service, o)
			mu.Lock()
			defer mu.Unlock()
			said[o.ConsumerId] = code
		})
	}
	done.Wait()
	return said
}

func (a *Adapter) check(ctx context.Context, service string, o *servicecontrol.Operation) string {
	about := *o
	about.UserLabels = nil // refused in a check
	out, err := a.control.Services.Check(service, &servicecontrol.CheckRequest{Operation: &about}).Context(ctx).Do()
	if err != nil {
		a.log.WarnContext(ctx, "check not made", "error", err)
		return ""
	}
	for _, e := range out.CheckErrors {
		if !troubles(e.Code) {
			return e.Code
		}
	}
	return ""
}

// stops reports a code under which service ends: the customer's billing, project or
// order is at fault. Every other code may pass by itself (as UBB treats them, 2026-08).
func stops(code string) bool {
	return code == "BILLING_DISABLED" || code == "SERVICE_NOT_ACTIVATED" || code == "PROJECT_DELETED"
}

// standing is how a purchase stands of which Google refuses a record.
type standing string

const (
	served  standing = "served"
	closing standing = "closing" // over, and its last usage is still taken
	over    standing = "over"
	unread  standing = "unread" // it cannot be told now
)

// standings asks how purchases stand, each once.
type standings map[string]standing

func (s standings) of(ctx context.Context, a *Adapter, entitlement string) standing {
	if known, ok := s[entitlement]; ok {
		return known
	}
	s[entitlement] = a.standing(ctx, entitlement)
	return s[entitlement]
}

func (a *Adapter) standing(ctx context.Context, id string) standing {
	e, err := a.getEntitlement(ctx, id)
	if fault.Is(err, fault.NotFound) {
		return over
	}
	var t times
	if err == nil {
		end := lastInstant(t.read("offerEndTime", e.OfferEndTime), t.read("updateTime", e.UpdateTime))
		switch {
		case e.State != stateCancelled && t.err == nil:
			return served
		case t.err == nil && a.now().After(end.Add(finalUsage)):
			return over
		case t.err == nil:
			return closing
		}
		err = t.err
	}
	a.log.WarnContext(ctx, "entitlement not read", "entitlement", id, "error", err)
	return unread
}

// unchecked is the receipt of a record that is not reported, because the check of its
// customer said no; false: it is reported all the same. After the end a check says no,
// and final usage is taken for an hour without one.
func unchecked(code string, s standing) (marketplace.Receipt, bool) {
	r := marketplace.Receipt{Outcome: marketplace.OutcomeUnprocessed, Detail: fmt.Sprintf("not reported: the check said %s", code)}
	if !stops(code) {
		return r, true
	}
	switch s {
	case closing:
		return r, false
	case over:
		r.Outcome = marketplace.OutcomeNotSubscribed
	case served:
		r.Outcome = marketplace.OutcomeSuspended // to be sent again when the customer recovers
	case unread:
	}
	r.StopsService = true
	return r, true
}
