package azure

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// Purchase reads one SaaS subscription.
func (a *Adapter) Purchase(ctx context.Context, ref marketplace.Ref) ([]marketplace.Event, error) {
	if ref.Purchase == "" {
		return nil, fault.New(fault.Invalid, "a purchase of the Microsoft marketplace is read by its SaaS subscription")
	}
	if !vendorID.MatchString(ref.Purchase) {
		return nil, nil // nothing of Microsoft's has such a name
	}
	asked := a.now()
	s, err := a.subscription(ctx, word(ref.Purchase))
	switch {
	case hasStatus(err, http.StatusNotFound):
		return nil, nil
	case err != nil:
		return nil, readError(err, "read a subscription")
	}
	ev, ok, err := a.observe(ctx, s, asked)
	if err != nil || !ok {
		return nil, err
	}
	return []marketplace.Event{ev}, nil
}

// Purchases reads every subscription to an offer of ours that changed after
// since. Microsoft lists all there ever were, so what did not change is only
// left out.
func (a *Adapter) Purchases(ctx context.Context, from marketplace.Mark, page func(marketplace.Page) error) error {
	var skips marketplace.Skips
	seen := map[string]bool{}
	for at := from.Next; ; {
		var query url.Values
		if at != "" {
			query = url.Values{"continuationToken": {at}}
		}
		var out struct {
			Subscriptions []json.RawMessage `json:"subscriptions"`
			NextLink      string            `json:"@nextLink"`
		}
		asked := a.now()
		err := a.client.do(ctx, call{method: http.MethodGet, base: a.c.Endpoint, path: "/saas/subscriptions", query: query}, &out)
		if err != nil && !isEmpty(err) {
			return readError(err, "list subscriptions")
		}
		// The link's host is not to be trusted and its form was seen malformed; only the
		// token counts.
		p := marketplace.Page{Next: continuation(out.NextLink)}
		for _, raw := range out.Subscriptions {
			ev, ok, err := a.listed(ctx, raw, from.Since, asked)
			if err != nil {
				a.log.WarnContext(ctx, "subscription not understood", "error", err)
				if !skips.Skip(ctx, err) {
					return err
				}
				if ref, named := named(raw); named {
					p.Unread = append(p.Unread, ref)
				}
				continue
			}
			if skips.Read(); ok {
				p.Events = append(p.Events, ev)
			}
		}
		if err := page(p); err != nil {
			return err
		}
		switch {
		case p.Next == "" && out.NextLink != "":
			return fault.Wrap(fault.Unavailable, fmt.Errorf("list subscriptions: the link to the next page has no token"), "")
		case p.Next == "":
			return nil
		case seen[p.Next]:
			return fault.Wrap(fault.Unavailable, fmt.Errorf("list subscriptions: the pages go round in a circle"), "")
		}
		seen[p.Next] = true
		at = p.Next
	}
}

// listed tells what is true of one subscription of a list; not ok when it did not
// change since then, or is none of ours.
func (a *Adapter) listed(ctx context.Context, raw json.RawMessage, since, asked time.Time) (ev marketplace.Event, ok bool, err error) {
	var s subscription
	if err := json.Unmarshal(raw, &s); err != nil {
		return ev, false, fault.Wrap(fault.Unavailable, fmt.Errorf("read a subscription of the list: %w", err), "")
	}
	if at := s.version(asked); !since.IsZero() && at.Before(since) {
		return ev, false, nil
	}
	return a.observe(ctx, s, asked)
}

// named finds the id of a subscription whose other fields cannot be read.
func named(raw json.RawMessage) (marketplace.Ref, bool) {
	var s struct {
		ID word `json:"id"`
	}
	if json.Unmarshal(raw, &s) != nil || !vendorID.MatchString(string(s.ID)) {
		return marketplace.Ref{}, false
	}
	return marketplace.Ref{Purchase: s.ID.lower()}, true
}

func continuation(link string) string {
	_, query, _ := strings.Cut(link, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return ""
	}
	return values.Get("continuationToken")
}

// subscription reads one.
func (a *Adapter) subscription(ctx context.Context, id word) (subscription, error) {
	var s subscription
	err := a.client.do(ctx, call{method: http.MethodGet, base: a.c.Endpoint, path: path(id)}, &s)
	return s, err
}

// observe tells what is true of a subscription; not ok when it is to an offer
// that is not ours.
func (a *Adapter) observe(ctx context.Context, s subscription, asked time.Time) (ev marketplace.Event, ok bool, err error) {
	product, ok := a.c.product(string(s.OfferID))
	if !ok {
		a.log.DebugContext(ctx, "subscription to another offer", "offer", string(s.OfferID))
		return ev, false, nil
	}
	if s.ID == "" || s.Beneficiary.TenantID == "" {
		a.log.WarnContext(ctx, "subscription names no beneficiary", "purchase", s.ID.lower())
		return ev, false, nil
	}
	at := s.version(asked)
	ev = marketplace.Event{
		Kind: marketplace.Observed, Ref: s.ref(product), At: at, Version: at, Reason: string(s.Status),
		Terms: s.terms(), Observed: s.observation(at),
	}
	if payer := s.Purchaser.TenantID.lower(); payer != "" && payer != ev.Ref.Account {
		ev.Payer, ev.Reseller = payer, payer // a CSP bought for its customer and bills it
	}
	if !ev.Observed.Ended {
		if err := a.offered(ctx, s, ev.Terms); err != nil {
			return ev, false, err
		}
	}
	return ev, true, nil
}

// version is when the subscription was last changed. Where Microsoft does not
// say (the year 1), it is when we asked: what it is now is not older than that.
func (s subscription) version(asked time.Time) time.Time {
	if s.LastModified.IsZero() {
		return asked.UTC()
	}
	return s.LastModified.Time
}

func (s subscription) terms() *marketplace.Terms {
	t := &marketplace.Terms{Plan: string(s.PlanID), Offer: string(s.OfferID), From: s.Term.StartDate.Time, To: s.termEnd()}
	if seats, ok := s.Quantity.seats(); ok {
		t.Quantities = map[string]int64{seat: seats}
	}
	return t
}

// termEnd: Microsoft names the term's last day; it ends when that day does.
func (s subscription) termEnd() time.Time {
	if s.Term.EndDate.IsZero() {
		return time.Time{}
	}
	return s.Term.EndDate.Truncate(24 * time.Hour).Add(24 * time.Hour)
}

// observation: a term that is not renewed has a known end, at which nothing ends
// before Microsoft says so. The term's start is a date; nothing began before the
// purchase.
func (s subscription) observation(at time.Time) *marketplace.Observation {
	o := &marketplace.Observation{StartsAt: s.Term.StartDate.Time}
	if s.Created.After(o.StartsAt) {
		o.StartsAt = s.Created.Time
	}
	if o.StartsAt.IsZero() {
		o.StartsAt = at
	}
	if s.AutoRenew != nil && !*s.AutoRenew {
		o.EndsAt = s.termEnd()
	}
	switch {
	case s.Status.is(statusPending):
		o.Awaits = marketplace.Activate
	case s.Status.is(statusSubscribed):
		o.Entitled = true
	case s.Status.is(statusSuspended):
		o.Suspended = true
	case s.Status.is(statusUnsubscribed):
		o.Ended, o.EndsAt = true, at
		if end := s.termEnd(); s.LastModified.IsZero() && !end.IsZero() && end.Before(at) {
			o.EndsAt = end
		}
	}
	return o
}

// offered says whether the plan was offered to this buyer alone. A plan that is
// missing among those that the buyer may have is a retired one: then the public
// offer is all we know.
func (a *Adapter) offered(ctx context.Context, s subscription, t *marketplace.Terms) error {
	var out struct {
		Plans []plan `json:"plans"`
	}
	err := a.client.do(ctx, call{
		method: http.MethodGet, base: a.c.Endpoint, path: path(s.ID) + "/listAvailablePlans", query: url.Values{"planId": {string(s.PlanID)}},
	}, &out)
	if err != nil && !isEmpty(err) && !absent(err) {
		return readError(err, "list the plans of a subscription")
	}
	for _, p := range out.Plans {
		if p.PlanID != s.PlanID {
			continue
		}
		t.Private = p.IsPrivate
		for _, o := range p.SourceOffers {
			if o.ExternalID != "" {
				t.Private, t.Offer = true, string(o.ExternalID)
				break
			}
		}
	}
	return nil
}
