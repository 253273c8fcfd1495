package gcp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	procurement "google.golang.org/api/cloudcommerceprocurement/v1"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// States of an entitlement (REST reference "providers.entitlements", revision 20251012).
const (
	statePrefix        = "ENTITLEMENT_"
	stateRequested     = "ENTITLEMENT_ACTIVATION_REQUESTED"
	stateActive        = "ENTITLEMENT_ACTIVE"
	stateEnding        = "ENTITLEMENT_PENDING_CANCELLATION"
	stateCancelled     = "ENTITLEMENT_CANCELLED"
	stateChanging      = "ENTITLEMENT_PENDING_PLAN_CHANGE"
	stateChangeWaiting = "ENTITLEMENT_PENDING_PLAN_CHANGE_APPROVAL"
	stateSuspended     = "ENTITLEMENT_SUSPENDED" // in the list of states, and documented as not supported
)

// inService: a customer whose cancellation or change is pending still pays and is served.
func inService(state string) bool {
	switch state {
	case stateActive, stateEnding, stateChanging, stateChangeWaiting:
		return true
	}
	return false
}

const pageSize = 200 // of entitlements; the default, and no maximum is stated

// Purchase reads one entitlement, or every one of an account. One that Google has
// forgotten (some 60 days after its end) or that is of a product not listed here brings
// no event. What is read of one entitlement says too who sold it, when a reseller did.
func (a *Adapter) Purchase(ctx context.Context, ref marketplace.Ref) ([]marketplace.Event, error) {
	switch {
	case ref.Purchase != "":
		e, err := a.getEntitlement(ctx, ref.Purchase)
		if fault.Is(err, fault.NotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		ev, ok, err := a.observe(ctx, e)
		if err != nil || !ok {
			return nil, err
		}
		ev.Reseller = a.reseller(ctx, ev.Ref.Account)
		return []marketplace.Event{ev}, nil
	case ref.Account != "":
		var out []marketplace.Event
		err := a.list(ctx, ref.Account, "", func(page listed) error {
			for _, e := range page.read {
				out = append(out, e.Event)
			}
			return nil
		})
		return out, err
	}
	return nil, fault.New(fault.Invalid, "a purchase of Google is read by its entitlement or its account")
}

// Purchases reads every entitlement of ours; Google filters by no time, so what did
// not change since is left out here. An ended one is found for some 60 days.
func (a *Adapter) Purchases(ctx context.Context, from marketplace.Mark, page func(marketplace.Page) error) error {
	return a.list(ctx, "", from.Next, func(part listed) error {
		p := marketplace.Page{Unread: part.unread, Next: part.next}
		for _, e := range part.read {
			if !e.Version.Before(from.Since) {
				p.Events = append(p.Events, e.Event)
			}
		}
		return page(p)
	})
}

// listed is a page of a list.
type listed struct {
	read   []entitled
	unread []marketplace.Ref
	next   string
}

// entitled is what is true of one entitlement, and its order, by which a sign-up
// token may name it.
type entitled struct {
	marketplace.Event
	order string
}

// list hands on what is true of entitlements, of one account or of all, from a page
// on. Only an absent token ends it: a page may be empty and still lead on. An entitlement
// that cannot be read does not hide the others.
func (a *Adapter) list(ctx context.Context, account, next string, page func(listed) error) error {
	call := a.procurement.Providers.Entitlements.List(a.provider()).PageSize(pageSize)
	if account != "" {
		if !resourceID.MatchString(account) {
			return fault.Wrap(fault.Invalid, fmt.Errorf("%q is not the id of an account", account), "")
		}
		call.Filter(fmt.Sprintf("account=%q", account))
	}
	var skips marketplace.Skips
	for {
		if next != "" {
			call.PageToken(next)
		}
		out, err := call.Context(ctx).Do()
		if err != nil {
			return readError(err, "list entitlements")
		}
		part := listed{next: out.NextPageToken}
		for _, e := range out.Entitlements {
			if account != "" && last(e.Account) != account {
				continue // whether the filter takes the bare id is not written everywhere
			}
			ev, ok, err := a.observe(ctx, e)
			if err != nil {
				a.log.WarnContext(ctx, "entitlement not understood", "entitlement", last(e.Name), "error", err)
				if !skips.Skip(ctx, err) {
					return err
				}
				part.unread = append(part.unread, marketplace.Ref{Purchase: last(e.Name)})
				continue
			}
			if skips.Read(); ok {
				part.read = append(part.read, entitled{ev, e.OrderId})
			}
		}
		if err := page(part); err != nil {
			return err
		}
		if next = part.next; next == "" {
			return nil
		}
	}
}

// observe tells what is true of one entitlement; false: it is of a product that is
// not listed here.
func (a *Adapter) observe(ctx context.Context, e *procurement.Entitlement) (marketplace.Event, bool, error) {
	listing, ok := a.c.byService(e.ProductExternalName)
	if !ok {
		a.log.DebugContext(ctx, "entitlement of another product", "entitlement", last(e.Name), "service", e.ProductExternalName)
		return marketplace.Event{}, false, nil
	}
	t := times{}
	updated, created := t.read("updateTime", e.UpdateTime), t.read("createTime", e.CreateTime)
	start, end := t.read("newOfferStartTime", e.NewOfferStartTime), t.read("offerEndTime", e.OfferEndTime)
	lapses, newEnd := t.read("subscriptionEndTime", e.SubscriptionEndTime), t.read("newOfferEndTime", e.NewOfferEndTime)
	if t.err == nil && updated.IsZero() {
		t.err = fault.Wrap(fault.Unavailable, errors.New("an entitlement without an update time"), "")
	}
	if t.err != nil {
		return marketplace.Event{}, false, t.err
	}
	o := &marketplace.Observation{StartsAt: created}
	ev := marketplace.Event{
		Kind: marketplace.Observed, At: updated, Version: updated, Reason: strings.TrimPrefix(e.State, statePrefix), Consumer: e.UsageReportingId, Observed: o,
		Ref:   marketplace.Ref{Purchase: last(e.Name), Account: last(e.Account), Product: listing.Product},
		Terms: &marketplace.Terms{Plan: e.Plan, Offer: e.Offer, Private: private(e.Offer), To: end},
	}
	switch e.State {
	case stateRequested:
		o.Awaits = marketplace.Approve
		if agreed(e) { // it waits for its date
			o.Awaits = ""
		}
		if !start.IsZero() {
			o.StartsAt, ev.Terms.From = start, start
		}
	case stateActive, stateChanging, stateChangeWaiting, stateEnding:
		// When it became active is not told; it was so by its last change at the latest.
		o.Entitled, o.StartsAt = true, updated
		o.EndsAt = lapses
		if e.State == stateEnding {
			o.EndsAt = cmp.Or(end, lapses)
		}
	case stateCancelled:
		o.Ended, o.EndsAt = true, lastInstant(end, updated)
		ev.Reason = cmp.Or(e.CancellationReason, ev.Reason)
	case stateSuspended:
		o.Suspended = true
	default:
		a.log.WarnContext(ctx, "entitlement in a state we do not know", "entitlement", ev.Ref.Purchase, "state", e.State)
	}
	if e.State == stateChangeWaiting || e.State == stateChanging {
		o.Change = &marketplace.Terms{
			Plan: cmp.Or(e.NewPendingPlan, e.Plan), Offer: cmp.Or(e.NewPendingOffer, e.Offer), From: start, To: newEnd,
		}
		o.Change.Private = private(o.Change.Offer)
		if e.State == stateChangeWaiting {
			o.Awaits = marketplace.ApproveChange
		}
	}
	return ev, true, nil
}

// agreed reports that an order that is not active yet was approved: its start is told
// only then, and so is its end when the offer has a duration and no date. An order with
// a fixed end that begins at once looks the same before and after.
func agreed(e *procurement.Entitlement) bool {
	return e.NewOfferStartTime != "" || e.OfferDuration != "" && e.OfferEndTime != ""
}

// private: Google warns not to read the rest of an offer's name.
func private(offer string) bool { return strings.Contains(offer, "/privateOffers/") }

// lastInstant of an ended entitlement: the actual end, which is empty if it never
// began, and not after its last change.
func lastInstant(end, changed time.Time) time.Time {
	if end.IsZero() || end.After(changed) {
		return changed
	}
	return end
}

// times reads RFC 3339 with 0 to 9 digits of fraction, and keeps the first that is not.
type times struct{ err error }

func (t *times) read(name, text string) time.Time {
	if text == "" {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		if t.err == nil {
			t.err = fault.Wrap(fault.Unavailable, fmt.Errorf("%s %.40q is not an RFC 3339 time", name, text), "")
		}
		return time.Time{}
	}
	return at.UTC()
}

// getEntitlement reads one; NotFound when Google does not know it.
func (a *Adapter) getEntitlement(ctx context.Context, id string) (*procurement.Entitlement, error) {
	name, err := a.entitlement(id)
	if err != nil {
		return nil, err
	}
	e, err := a.procurement.Providers.Entitlements.Get(name).Context(ctx).Do()
	if err != nil {
		return nil, readError(err, "get entitlement")
	}
	return e, nil
}

// reseller is the billing account of the reseller whose customer the account is. It is
// evidence and not truth about the purchase: when it cannot be had, the next reading tells.
func (a *Adapter) reseller(ctx context.Context, id string) string {
	name, err := a.account(id)
	if err != nil {
		return ""
	}
	// The default view has no reseller since revision 20251012.
	got, err := a.procurement.Providers.Accounts.Get(name).View("ACCOUNT_VIEW_FULL").Context(ctx).Do()
	if err != nil {
		a.log.WarnContext(ctx, "account not read", "error", readError(err, "get account"))
		return ""
	}
	return got.ResellerParentBillingAccount
}
