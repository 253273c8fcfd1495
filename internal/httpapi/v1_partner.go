package httpapi

import (
	"context"

	"github.com/tailmarket/tailmarket/internal/console"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/httpapi/api"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/partner"
)

func errNoBody() error { return fault.New(fault.Invalid, "The request has no body.") }

func marketplaceOf(a partner.Attribution) marketplace.ID { return marketplace.ID(a.Marketplace) }

func partnerOf(p partner.Partner) api.Partner {
	out := api.Partner{Id: string(p.ID), Name: p.Name, Keys: make([]api.PartnerKey, len(p.Keys)), Links: make([]string, len(p.Links)), CreatedAt: p.CreatedAt}
	for i, k := range p.Keys {
		out.Keys[i] = api.PartnerKey{Marketplace: k.Marketplace, Kind: api.PartnerKeyKind(k.Kind), Value: k.Value}
	}
	for i, l := range p.Links {
		out.Links[i] = string(l.ID)
	}
	return out
}

// ListPartners implements api.StrictServerInterface.
func (o operations) ListPartners(ctx context.Context, _ api.ListPartnersRequestObject) (api.ListPartnersResponseObject, error) {
	all, err := o.Partners.Partners(ctx)
	if err != nil {
		return nil, err
	}
	out := api.ListPartners200JSONResponse{Items: make([]api.Partner, len(all))}
	for i, p := range all {
		out.Items[i] = partnerOf(p)
	}
	return out, nil
}

// AddPartner implements api.StrictServerInterface.
func (o operations) AddPartner(ctx context.Context, r api.AddPartnerRequestObject) (api.AddPartnerResponseObject, error) {
	if r.Body == nil {
		return nil, errNoBody()
	}
	p, err := o.Partners.Add(ctx, r.Body.Name, principal(ctx).Actor)
	if err != nil {
		return nil, err
	}
	return api.AddPartner200JSONResponse(partnerOf(p)), nil
}

// AddPartnerKey implements api.StrictServerInterface.
func (o operations) AddPartnerKey(ctx context.Context, r api.AddPartnerKeyRequestObject) (api.AddPartnerKeyResponseObject, error) {
	if r.Body == nil {
		return nil, errNoBody()
	}
	k := r.Body
	if err := o.Partners.Know(ctx, id.Partner(r.Id), k.Marketplace, partner.KeyKind(k.Kind), k.Value, principal(ctx).Actor); err != nil {
		return nil, err
	}
	return api.AddPartnerKey204Response{}, nil
}

// MakePartnerLink implements api.StrictServerInterface.
func (o operations) MakePartnerLink(ctx context.Context, r api.MakePartnerLinkRequestObject) (api.MakePartnerLinkResponseObject, error) {
	if r.Body == nil {
		return nil, errNoBody()
	}
	l, path, err := o.Partners.MakeLink(ctx, id.Partner(r.Id), r.Body.Marketplace, r.Body.Product, principal(ctx).Actor)
	if err != nil {
		return nil, err
	}
	return api.MakePartnerLink200JSONResponse{Id: string(l.ID), Marketplace: l.Marketplace, Product: l.Product, Url: o.Base + path}, nil
}

func evidenceOf(e partner.Evidence) api.Evidence {
	return api.Evidence{Kind: api.EvidenceKind(e.Kind), Ref: e.Ref, At: e.At, Text: e.Text}
}

func attributionOf(a partner.Attribution) api.Attribution {
	out := api.Attribution{
		Customer: string(a.Customer), Marketplace: a.Marketplace, Account: a.Account, Route: api.AttributionRoute(a.Route), Partner: a.Source.Name, PartnerId: string(a.Source.Partner),
		Evidence: a.Evidence(), Unknown: make([]api.Evidence, len(a.Unknown)),
	}
	if a.Route != "" {
		out.RouteEvidence = evidenceOf(a.RouteEvidence)
	}
	if a.Source.Partner != "" {
		out.SourceEvidence = evidenceOf(a.Source.Evidence)
	}
	for i, e := range a.Unknown {
		out.Unknown[i] = evidenceOf(e)
	}
	return out
}

// ListAttribution implements api.StrictServerInterface.
func (o operations) ListAttribution(ctx context.Context, r api.ListAttributionRequestObject) (api.ListAttributionResponseObject, error) {
	limit := size(r.Params.Limit)
	all, err := o.Partners.Attributions(ctx, id.Customer(r.Params.After), limit)
	if err != nil {
		return nil, err
	}
	out := api.ListAttribution200JSONResponse{Items: make([]api.Attribution, len(all))}
	for i, a := range all {
		out.Items[i] = attributionOf(a)
	}
	if len(all) == limit {
		out.Next = string(all[limit-1].Customer)
	}
	return out, nil
}

// ListValueByChannel implements api.StrictServerInterface.
func (o operations) ListValueByChannel(ctx context.Context, _ api.ListValueByChannelRequestObject) (api.ListValueByChannelResponseObject, error) {
	values, _, err := o.Partners.Channels(ctx)
	if err != nil {
		return nil, err
	}
	out := api.ListValueByChannel200JSONResponse{Label: console.ChannelsLabel, Items: make([]api.ChannelValue, len(values))}
	for i, v := range values {
		out.Items[i] = api.ChannelValue{
			Channel: v.Channel(), Route: string(v.Route), Partner: v.Name, Customers: v.Customers, Revenue: v.Revenue, Currency: v.Currency, Unpriced: v.Unpriced,
		}
	}
	return out, nil
}
