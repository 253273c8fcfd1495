package httpapi

import (
	"context"
	"encoding/hex"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/httpapi/api"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

// operations implements what openapi.yaml describes. Errors are returned as they
// are: the error edge makes the problem document.
type operations struct{ *Server }

var _ api.StrictServerInterface = operations{}

const (
	pageSize    = 100
	maxPageSize = 500
)

// asksRight refuses parameters that openapi.yaml does not describe: a misspelt filter
// that is passed over answers with everybody's purchases.
func asksRight(next api.StrictHandlerFunc, _ string) api.StrictHandlerFunc {
	return func(c echo.Context, request any) (any, error) {
		known := parameters(request)
		for name := range c.QueryParams() {
			switch {
			case slices.Contains(known, name):
			case len(known) == 0:
				return nil, fault.New(fault.Invalid, "%.60q is not a parameter of this address, which takes none.", name)
			default:
				return nil, fault.New(fault.Invalid, "%.60q is not a parameter of this address, which takes: %s.", name, strings.Join(known, ", "))
			}
		}
		if limit := c.QueryParam("limit"); c.QueryParams().Has("limit") {
			if n, err := strconv.Atoi(limit); err != nil || n < 1 || n > maxPageSize {
				return nil, fault.New(fault.Invalid, "%.20q is not a limit: write a number from 1 to %d.", limit, maxPageSize)
			}
		}
		return next(c, request)
	}
}

// parameters are the names that the generated code reads from the query.
func parameters(request any) (names []string) {
	params, ok := reflect.TypeOf(request).FieldByName("Params")
	if !ok {
		return nil
	}
	for i := range params.Type.NumField() {
		name, _, _ := strings.Cut(params.Type.Field(i).Tag.Get("form"), ",")
		names = append(names, name)
	}
	return names
}

func size(limit int) int {
	if limit == 0 {
		return pageSize
	}
	return limit
}

// cut takes the page after a key out of a list that is read whole. A key that is
// not in it (any more) ends the list.
func cut[T any](all []T, key func(T) string, after string, limit int) (page []T, next string) {
	if after != "" {
		rest := []T(nil)
		for i, x := range all {
			if key(x) == after {
				rest = all[i+1:]
				break
			}
		}
		all = rest
	}
	if len(all) <= limit {
		return all, ""
	}
	return all[:limit], key(all[limit-1])
}

func (o operations) subscription(ctx context.Context, sub subscription.Subscription) (api.Subscription, error) {
	net, err := o.Tailnets.View(ctx, sub.ID)
	if err != nil {
		return api.Subscription{}, err
	}
	st := subscription.StatusOf(sub, o.Now())
	return api.Subscription{
		Id: string(sub.ID), Marketplace: string(sub.Marketplace), Purchase: sub.Purchase, Account: sub.Account, Product: sub.Product, Plan: sub.Plan,
		Customer: string(sub.Customer), Lineage: string(sub.Lineage), State: api.SubscriptionState(st.State), Reason: st.Reason, WaitingFor: st.Waiting,
		Act: api.SubscriptionAct(st.Act), Usually: st.Usually, TailnetId: string(net.Tailnet), TailnetName: sub.TailnetName,
		StartsAt: sub.StartsAt(), EndsAt: sub.EndsAt(), CreatedAt: sub.CreatedAt,
	}, nil
}

// ListSubscriptions implements api.StrictServerInterface.
func (o operations) ListSubscriptions(ctx context.Context, r api.ListSubscriptionsRequestObject) (api.ListSubscriptionsResponseObject, error) {
	p, limit := r.Params, size(r.Params.Limit)
	subs, err := o.find(ctx, p, limit)
	if err != nil {
		return nil, err
	}
	out := api.ListSubscriptions200JSONResponse{Items: make([]api.Subscription, len(subs))}
	for i, sub := range subs {
		if out.Items[i], err = o.subscription(ctx, sub); err != nil {
			return nil, err
		}
	}
	if len(subs) == limit {
		out.Next = string(subs[limit-1].ID)
	}
	return out, nil
}

func (o operations) find(ctx context.Context, p api.ListSubscriptionsParams, limit int) ([]subscription.Subscription, error) {
	if p.Purchase == "" {
		return o.Purchases.List(ctx, subscription.Filter{Marketplace: marketplace.ID(p.Marketplace), Product: p.Product, After: id.Subscription(p.After), Limit: limit})
	}
	if p.Marketplace == "" {
		return nil, fault.New(fault.Invalid, "A purchase is found by its marketplace's key, so name the marketplace too.")
	}
	sub, ok, err := o.Purchases.Find(ctx, marketplace.ID(p.Marketplace), p.Purchase)
	if err != nil || !ok {
		return nil, err
	}
	return []subscription.Subscription{sub}, nil
}

// GetSubscription implements api.StrictServerInterface.
func (o operations) GetSubscription(ctx context.Context, r api.GetSubscriptionRequestObject) (api.GetSubscriptionResponseObject, error) {
	sub, err := o.Purchases.Get(ctx, id.Subscription(r.Id))
	if err != nil {
		return nil, err
	}
	out, err := o.subscription(ctx, sub)
	return api.GetSubscription200JSONResponse(out), err
}

// GetStory implements api.StrictServerInterface.
func (o operations) GetStory(ctx context.Context, r api.GetStoryRequestObject) (api.GetStoryResponseObject, error) {
	if _, err := o.Purchases.Get(ctx, id.Subscription(r.Id)); err != nil {
		return nil, err
	}
	lines, err := o.Purchases.Story(ctx, id.Subscription(r.Id))
	if err != nil {
		return nil, err
	}
	out := api.GetStory200JSONResponse{Items: make([]api.StoryLine, len(lines))}
	for i, l := range lines {
		out.Items[i] = api.StoryLine{Id: string(l.ID), Kind: l.Kind, Agreement: l.Agreement, Delivery: string(l.Delivery), RecordedAt: l.RecordedAt, HappenedAt: l.HappenedAt, Changed: l.Changed}
	}
	return out, nil
}

// ListHours implements api.StrictServerInterface.
func (o operations) ListHours(ctx context.Context, r api.ListHoursRequestObject) (api.ListHoursResponseObject, error) {
	if _, err := o.Purchases.Get(ctx, id.Subscription(r.Id)); err != nil {
		return nil, err
	}
	hours, err := o.Metering.Hours(ctx, id.Subscription(r.Id))
	if err != nil {
		return nil, err
	}
	key := func(h billing.HourView) string { return clock.HourOf(h.Starts).String() + "/" + h.Meter }
	page, next := cut(hours, key, r.Params.After, size(r.Params.Limit))
	out := api.ListHours200JSONResponse{Items: make([]api.HourOfUse, len(page)), Next: next}
	for i, h := range page {
		out.Items[i] = api.HourOfUse{Meter: h.Meter, Hour: clock.HourOf(h.Starts).String(), Measured: h.Measured, Corrected: h.Corrected}
		if h.Record != nil {
			out.Items[i].Record = toRecord(*h.Record)
		}
	}
	return out, nil
}

func toRecord(v billing.RecordView) api.Record {
	out := api.Record{
		Id: string(v.ID), Slot: v.Slot, Dimension: v.Dimension, Quantity: v.Quantity, Placed: v.Placed, State: api.RecordState(v.State), Reason: string(v.Reason),
		Parked: v.Parked, Final: v.Final, Deadline: v.Deadline, FrozenAt: v.FrozenAt, SettledAt: v.SettledAt, Attempts: make([]api.Attempt, len(v.Attempts)),
	}
	for i, a := range v.Attempts {
		out.Attempts[i] = api.Attempt{N: a.N, BegunAt: a.BegunAt, Answer: string(a.Answer), AnsweredAt: a.AnsweredAt, Receipt: a.Receipt, Detail: a.Detail}
	}
	return out
}

// GetConservation implements api.StrictServerInterface.
func (o operations) GetConservation(ctx context.Context, _ api.GetConservationRequestObject) (api.GetConservationResponseObject, error) {
	rep, err := o.Metering.Conservation(ctx)
	if err != nil {
		return nil, err
	}
	out := api.GetConservation200JSONResponse{
		ConservationBroken: rep.Broken, Unsure: rep.Unsure, Problems: append([]string{}, rep.Problems...), Meters: make([]api.MeterReport, len(rep.Meters)),
	}
	for i, m := range rep.Meters {
		out.Meters[i] = api.MeterReport{
			Marketplace: string(m.Marketplace), Subscription: string(m.Subscription), Meter: m.Meter, Measured: m.Measured, Gross: m.Gross, Corrected: m.Corrected,
			CreditLeft: m.CreditLeft, Open: m.Open, Carried: m.Carried, Held: m.Held, Queued: m.Queued, Sent: m.Sent, Unsure: m.Unsure, Accepted: m.Accepted,
			Included: m.Included, WrittenOff: m.WrittenOff, Submitted: m.Submitted,
		}
	}
	return out, nil
}

// ListFindings implements api.StrictServerInterface.
func (o operations) ListFindings(ctx context.Context, r api.ListFindingsRequestObject) (api.ListFindingsResponseObject, error) {
	all, err := o.Metering.Findings(ctx, true)
	if err != nil {
		return nil, err
	}
	page, next := cut(all, func(f billing.Finding) string { return string(f.ID) }, r.Params.After, size(r.Params.Limit))
	out := api.ListFindings200JSONResponse{Items: make([]api.Finding, len(page)), Next: next}
	for i, f := range page {
		out.Items[i] = api.Finding{
			Id: string(f.ID), Class: string(f.Class), Cause: f.Cause, Detail: f.Detail, Subscription: string(f.Subscription), Meter: f.Meter, Record: string(f.Record),
			Quantity: f.Quantity, Owner: f.Owner, OpenedAt: f.OpenedAt,
		}
	}
	return out, nil
}

// CountDeliveries implements api.StrictServerInterface.
func (o operations) CountDeliveries(ctx context.Context, _ api.CountDeliveriesRequestObject) (api.CountDeliveriesResponseObject, error) {
	n, err := o.Intake.Counts(ctx)
	if err != nil {
		return nil, err
	}
	return api.CountDeliveries200JSONResponse{Received: n.Received, Duplicates: n.Duplicates, Quarantined: n.Quarantined, Conflicts: n.Conflicts}, nil
}

// ListQuarantinedDeliveries implements api.StrictServerInterface.
func (o operations) ListQuarantinedDeliveries(ctx context.Context, r api.ListQuarantinedDeliveriesRequestObject) (api.ListQuarantinedDeliveriesResponseObject, error) {
	limit := size(r.Params.Limit)
	kept, err := o.Intake.Quarantine(ctx, id.Delivery(r.Params.After), limit)
	if err != nil {
		return nil, err
	}
	out := api.ListQuarantinedDeliveries200JSONResponse{Items: make([]api.QuarantinedDelivery, len(kept))}
	for i, k := range kept {
		out.Items[i] = api.QuarantinedDelivery{
			Id: string(k.ID), Marketplace: string(k.Marketplace), VendorId: k.VendorID, Kind: k.Kind, Channel: string(k.Channel), Source: k.Source,
			ReceivedAt: k.ReceivedAt, Copies: k.Copies, Reason: k.Reason,
		}
	}
	if len(kept) == limit {
		out.Next = string(kept[limit-1].ID)
	}
	return out, nil
}

// ReplayDelivery implements api.StrictServerInterface.
func (o operations) ReplayDelivery(ctx context.Context, r api.ReplayDeliveryRequestObject) (api.ReplayDeliveryResponseObject, error) {
	if err := o.Intake.Replay(ctx, id.Delivery(r.Id), principal(ctx).Actor); err != nil {
		return nil, err
	}
	return api.ReplayDelivery204Response{}, nil
}

// ListQuarantinedUsage implements api.StrictServerInterface.
func (o operations) ListQuarantinedUsage(ctx context.Context, r api.ListQuarantinedUsageRequestObject) (api.ListQuarantinedUsageResponseObject, error) {
	all, err := o.Metering.Quarantined(ctx)
	if err != nil {
		return nil, err
	}
	page, next := cut(all, func(q billing.Quarantined) string { return identText(q.Ident) }, r.Params.After, size(r.Params.Limit))
	out := api.ListQuarantinedUsage200JSONResponse{Items: make([]api.QuarantinedEvent, len(page)), Next: next}
	for i, q := range page {
		out.Items[i] = api.QuarantinedEvent{
			Id: identText(q.Ident), Source: q.Event.Source, EventId: q.Event.ID, Subject: q.Event.Subject, Meter: q.Event.Meter, Quantity: q.Event.Quantity,
			UsedAt: q.Event.UsedAt, ReceivedAt: q.ReceivedAt, Reason: string(q.Reason),
		}
	}
	return out, nil
}

// ReplayUsage implements api.StrictServerInterface.
func (o operations) ReplayUsage(ctx context.Context, r api.ReplayUsageRequestObject) (api.ReplayUsageResponseObject, error) {
	ident, err := parseIdent(r.Id)
	if err != nil {
		return nil, err
	}
	got, err := o.Metering.Replay(ctx, ident)
	if err != nil {
		return nil, err
	}
	return api.ReplayUsage200JSONResponse{Outcome: api.UsageOutcomeOutcome(got.Result), Detail: got.Reason}, nil
}

// identText is how an event in quarantine is named in addresses.
func identText(i billing.Ident) string { return hex.EncodeToString(i[:]) }

func parseIdent(s string) (billing.Ident, error) {
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw) != len(billing.Ident{}) {
		return billing.Ident{}, fault.New(fault.NotFound, "There is no such event in quarantine.")
	}
	return billing.Ident(raw), nil
}

// ListOutbox implements api.StrictServerInterface.
func (o operations) ListOutbox(ctx context.Context, r api.ListOutboxRequestObject) (api.ListOutboxResponseObject, error) {
	limit := size(r.Params.Limit)
	mails, err := o.Mail.Outbox(ctx, id.Message(r.Params.After), limit)
	if err != nil {
		return nil, err
	}
	out := api.ListOutbox200JSONResponse{Items: make([]api.OutboxMail, len(mails))}
	for i, m := range mails {
		out.Items[i] = api.OutboxMail{
			Id: string(m.ID), Purpose: string(m.Purpose), About: m.About, To: m.Address, Subject: m.Subject, Text: m.Text, Link: m.URL(o.Base),
			State: api.OutboxMailState(m.State), Note: m.Note, QueuedAt: m.At, SettledAt: m.SettledAt,
		}
	}
	if len(mails) == limit {
		out.Next = string(mails[limit-1].ID)
	}
	return out, nil
}

// GetProduct implements api.StrictServerInterface.
func (o operations) GetProduct(ctx context.Context, r api.GetProductRequestObject) (api.GetProductResponseObject, error) {
	p, err := o.product(ctx, r.Product)
	return api.GetProduct200JSONResponse(p), err
}

func (o operations) product(ctx context.Context, product string) (api.Product, error) {
	if _, ok := o.Catalog.Product(product); !ok {
		return api.Product{}, fault.New(fault.NotFound, "The catalog has no product %q.", product)
	}
	p, err := o.Purchases.Product(ctx, product)
	if err != nil {
		return api.Product{}, err
	}
	out := api.Product{Product: product, Mode: api.ProductMode(p.Mode), ChangedBy: p.Actor, ChangedAt: p.ChangedAt}
	if !p.CutOver.IsZero() {
		out.From = p.CutOver.String()
	}
	return out, nil
}

// GoLive implements api.StrictServerInterface.
func (o operations) GoLive(ctx context.Context, r api.GoLiveRequestObject) (api.GoLiveResponseObject, error) {
	if r.Body == nil || r.Body.From == "" {
		return nil, fault.New(fault.Invalid, "from is missing: the first hour we meter, such as 2026-11-03T07Z.")
	}
	from, err := clock.ParseHour(r.Body.From)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "from is not an hour such as 2026-11-03T07Z.")
	}
	if err := o.Purchases.GoLive(ctx, r.Product, from, principal(ctx).Actor); err != nil {
		return nil, err
	}
	p, err := o.product(ctx, r.Product)
	return api.GoLive200JSONResponse(p), err
}

const maxStuck = 500

// ListStuck implements api.StrictServerInterface.
func (o operations) ListStuck(ctx context.Context, _ api.ListStuckRequestObject) (api.ListStuckResponseObject, error) {
	rows, err := o.Work.Stuck(ctx, maxStuck)
	if err != nil {
		return nil, err
	}
	out := api.ListStuck200JSONResponse{Items: make([]api.StuckRow, len(rows))}
	for i, w := range rows {
		out.Items[i] = api.StuckRow{Kind: w.Kind, Subject: w.Subject, DueAt: w.DueAt, Attempts: w.Attempts, Class: string(w.Class), Error: w.Error, Stopped: w.Stopped}
	}
	return out, nil
}

// MakeOperatorLink implements api.StrictServerInterface.
func (o operations) MakeOperatorLink(ctx context.Context, _ api.MakeOperatorLinkRequestObject) (api.MakeOperatorLinkResponseObject, error) {
	path, err := o.Sessions.OperatorLink(ctx)
	if err != nil {
		return nil, err
	}
	return api.MakeOperatorLink201JSONResponse{Url: o.Base + path}, nil
}
