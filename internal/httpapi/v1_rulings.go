package httpapi

import (
	"context"
	"strings"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/billing/ledger"
	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/httpapi/api"
	"github.com/tailmarket/tailmarket/internal/id"
)

func toDoubt(d billing.Doubt) api.Doubt {
	out := api.Doubt{
		Subscription: string(d.Subscription), Marketplace: string(d.Marketplace), Meter: d.Meter, Hour: clock.HourOf(d.Hour).String(), Record: toRecord(d.RecordView),
		May: make([]api.Word, len(d.Words)), Late: d.Late, Forgets: d.Forgets, Foreign: d.Foreign,
	}
	for i, w := range d.Words {
		out.May[i] = api.Word(w)
	}
	return out
}

// ListDoubts implements api.StrictServerInterface.
func (o operations) ListDoubts(ctx context.Context, r api.ListDoubtsRequestObject) (api.ListDoubtsResponseObject, error) {
	limit := size(r.Params.Limit)
	found, err := o.Metering.Doubts(ctx, id.Subscription(r.Params.Subscription), id.Record(r.Params.After), limit)
	if err != nil {
		return nil, err
	}
	out := api.ListDoubts200JSONResponse{Items: make([]api.Doubt, len(found))}
	for i, d := range found {
		out.Items[i] = toDoubt(d)
	}
	if len(found) == limit {
		out.Next = string(found[limit-1].ID)
	}
	return out, nil
}

// RuleOnRecord implements api.StrictServerInterface.
func (o operations) RuleOnRecord(ctx context.Context, r api.RuleOnRecordRequestObject) (api.RuleOnRecordResponseObject, error) {
	if r.Body == nil {
		return nil, errNoBody()
	}
	d, err := o.Metering.Rule(ctx, id.Record(r.Id), billing.Ruling{
		Word: ledger.Answer(r.Body.Word), Quantity: strings.TrimSpace(r.Body.Quantity), Actor: principal(ctx).Actor,
		Why: strings.TrimSpace(r.Body.Why), Evidence: strings.TrimSpace(r.Body.Evidence), Seen: r.Body.Seen,
	})
	if err != nil {
		return nil, err
	}
	return api.RuleOnRecord200JSONResponse(toDoubt(d)), nil
}
