package aws

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/marketplaceagreement"
	"github.com/aws/aws-sdk-go-v2/service/marketplaceagreement/types"
	"github.com/aws/aws-sdk-go-v2/service/marketplaceentitlementservice"
	entitlements "github.com/aws/aws-sdk-go-v2/service/marketplaceentitlementservice/types"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

const (
	statusActive        = types.AgreementStatusActive
	statusProvisioned   = types.AgreementEntitlementStatusProvisioned
	statusDeprovisioned = types.AgreementEntitlementStatusDeprovisioned
)

// Purchase reads the agreements of one licence, or one agreement. An agreement
// that somebody else proposed (a channel partner's sale) cannot be read by us:
// then there is no event, and messages alone tell of it.
func (a *Adapter) Purchase(ctx context.Context, ref marketplace.Ref) ([]marketplace.Event, error) {
	var out []marketplace.Event
	keep := func(page marketplace.Page) error { out = append(out, page.Events...); return nil }
	switch {
	case ref.Purchase != "":
		err := a.search(ctx, found{wanted: every, page: keep}, filter("LicenseArn", ref.Purchase))
		return out, err
	case ref.Agreement != "":
		// No search finds an agreement by its id, and DescribeAgreement knows neither
		// licence nor update time; but it knows the buyer.
		d, err := a.agreement.DescribeAgreement(ctx, &marketplaceagreement.DescribeAgreementInput{AgreementId: awssdk.String(ref.Agreement)})
		switch {
		case err == nil:
		case closed(err):
			// Not ours to read, or our role lacks this one permission; asking again mends neither,
			// and the sweep finds every agreement of ours without it.
			a.log.WarnContext(ctx, "agreement cannot be read", "agreement", ref.Agreement, "error", readError(err, "describe agreement"))
			return nil, nil
		default:
			return nil, readError(err, "describe agreement")
		}
		if d.Acceptor == nil {
			return nil, nil
		}
		this := func(s types.AgreementViewSummary) bool { return awssdk.ToString(s.AgreementId) == ref.Agreement }
		err = a.search(ctx, found{wanted: this, page: keep}, filter("AcceptorAccountId", awssdk.ToString(d.Acceptor.AccountId)))
		return out, err
	}
	return nil, fault.New(fault.Invalid, "a purchase of AWS is read by its licence or its agreement")
}

// Purchases reads every agreement of ours that changed after since, the oldest
// change first, so that one which changes meanwhile comes again and not never.
func (a *Adapter) Purchases(ctx context.Context, from marketplace.Mark, page func(marketplace.Page) error) error {
	f := found{wanted: every, page: page, next: from.Next, skips: new(marketplace.Skips)}
	if from.Since.IsZero() {
		return a.search(ctx, f)
	}
	return a.search(ctx, f, filter("AfterLastUpdateTime", from.Since.UTC().Format(time.RFC3339)))
}

// found is what a search is for, and what to do with what it finds.
type found struct {
	wanted func(types.AgreementViewSummary) bool
	page   func(marketplace.Page) error
	next   string             // where to begin
	skips  *marketplace.Skips // go on past an agreement that cannot be read; nil: do not
}

func every(types.AgreementViewSummary) bool { return true }

func filter(name, value string) types.Filter {
	return types.Filter{Name: awssdk.String(name), Values: []string{value}}
}

// search hands on what is true of the agreements found. Only an absent token ends
// it: a page may be empty and still lead on.
func (a *Adapter) search(ctx context.Context, f found, filters ...types.Filter) error {
	in := &marketplaceagreement.SearchAgreementsInput{
		Catalog: awssdk.String("AWSMarketplace"),
		Filters: append([]types.Filter{filter("PartyType", "Proposer"), filter("AgreementType", "PurchaseAgreement"), filter("ResourceType", "SaaSProduct")}, filters...),
		Sort:    &types.Sort{SortBy: awssdk.String("LastUpdateTime"), SortOrder: types.SortOrderAscending},
	}
	for {
		if f.next != "" {
			in.NextToken = awssdk.String(f.next)
		}
		out, err := a.agreement.SearchAgreements(ctx, in)
		if err != nil {
			return readError(err, "search agreements")
		}
		page := marketplace.Page{Next: awssdk.ToString(out.NextToken)}
		for _, s := range out.AgreementViewSummaries {
			if !f.wanted(s) {
				continue
			}
			of, err := a.observe(ctx, s)
			switch {
			case err == nil && f.skips != nil:
				f.skips.Read()
			case err == nil:
			case f.skips != nil && f.skips.Skip(ctx, err):
				page.Unread = append(page.Unread, marketplace.Ref{Agreement: awssdk.ToString(s.AgreementId)})
			default:
				return err
			}
			page.Events = append(page.Events, of...)
		}
		if err := f.page(page); err != nil {
			return err
		}
		if f.next = page.Next; f.next == "" {
			return nil
		}
	}
}

// observe tells what is true of an agreement's purchases: one for each licence of
// a product of ours.
func (a *Adapter) observe(ctx context.Context, s types.AgreementViewSummary) ([]marketplace.Event, error) {
	base := a.summary(s)
	found, err := a.licences(ctx, s)
	if err != nil {
		return nil, err
	}
	var out []marketplace.Event
	for _, l := range found {
		listing, ok := a.c.byID(l.product)
		if !ok {
			a.log.DebugContext(ctx, "agreement of another product", "agreement", base.Ref.Agreement, "product_id", l.product)
			continue
		}
		ev, o, terms := base, *base.Observed, *base.Terms
		ev.Observed, ev.Terms, ev.Ref.Product, ev.Ref.Purchase = &o, &terms, listing.Product, l.arn
		o.Entitled = s.Status == statusActive && l.arn != "" && l.status == statusProvisioned
		if o.Ended, err = a.isOver(ctx, s, l); err != nil {
			return nil, err
		}
		switch {
		case o.Ended:
			o.EndsAt = lastInstant(terms.To, ev.Version)
		case o.Entitled:
			if terms.Quantities, err = a.contract(ctx, listing, ev.Ref); err != nil {
				return nil, err
			}
		}
		out = append(out, ev)
	}
	return out, nil
}

// summary is what a search says by itself.
func (a *Adapter) summary(s types.AgreementViewSummary) marketplace.Event {
	at := awssdk.ToTime(s.LastUpdateTime).UTC()
	from := awssdk.ToTime(cmp.Or(s.StartTime, s.AcceptanceTime)).UTC()
	to := orNone(awssdk.ToTime(s.EndTime))
	ev := marketplace.Event{
		Kind: marketplace.Observed, Ref: marketplace.Ref{Agreement: awssdk.ToString(s.AgreementId)}, At: at, Version: at, Reason: string(s.Status),
		Terms:    &marketplace.Terms{Agreement: awssdk.ToString(s.AgreementId), From: from, To: to},
		Observed: &marketplace.Observation{StartsAt: from, EndsAt: to},
	}
	if s.Acceptor != nil {
		ev.Ref.Account = awssdk.ToString(s.Acceptor.AccountId)
	}
	if s.Proposer != nil && awssdk.ToString(s.Proposer.AccountId) != a.c.SellerAccount {
		ev.Reseller = awssdk.ToString(s.Proposer.AccountId)
	}
	if s.ProposalSummary != nil {
		ev.Terms.Offer = awssdk.ToString(s.ProposalSummary.OfferId)
	}
	return ev
}

// lastInstant of an ended agreement: its end, or when it was last changed if it
// ended before the end that was agreed.
func lastInstant(end, changed time.Time) time.Time {
	if end.IsZero() || end.After(changed) {
		return changed
	}
	return end
}

// licence is what an agreement grants of one product; arn is empty until there is one.
type licence struct {
	arn, product string
	status       types.AgreementEntitlementStatus
}

// licences reads what the agreement grants. Before anything is granted it is
// known by the product it is about.
func (a *Adapter) licences(ctx context.Context, s types.AgreementViewSummary) ([]licence, error) {
	var out []licence
	in := &marketplaceagreement.GetAgreementEntitlementsInput{AgreementId: s.AgreementId}
	for {
		page, err := a.agreement.GetAgreementEntitlements(ctx, in)
		if err != nil {
			return nil, readError(err, "read the entitlements of an agreement")
		}
		for _, e := range page.AgreementEntitlements {
			if e.Resource != nil {
				out = append(out, licence{awssdk.ToString(e.LicenseArn), awssdk.ToString(e.Resource.Id), e.Status})
			}
		}
		if awssdk.ToString(page.NextToken) == "" {
			break
		}
		in.NextToken = page.NextToken
	}
	if len(out) == 0 && s.ProposalSummary != nil {
		for _, r := range s.ProposalSummary.Resources {
			out = append(out, licence{product: awssdk.ToString(r.Id)})
		}
	}
	return out, nil
}

// isOver: an agreement that was renewed or replaced may be deprovisioned while its
// licence goes on under the next one; then the purchase has not ended.
func (a *Adapter) isOver(ctx context.Context, s types.AgreementViewSummary, l licence) (bool, error) {
	if over(string(s.Status)) {
		return true, nil
	}
	if l.status != statusDeprovisioned || l.arn == "" {
		return false, nil
	}
	if s.Status != types.AgreementStatusRenewed && s.Status != types.AgreementStatusReplaced {
		return true, nil
	}
	in := &marketplaceagreement.SearchAgreementsInput{
		Catalog: awssdk.String("AWSMarketplace"),
		Filters: []types.Filter{filter("PartyType", "Proposer"), filter("AgreementType", "PurchaseAgreement"), filter("LicenseArn", l.arn), filter("Status", string(statusActive))},
	}
	for {
		out, err := a.agreement.SearchAgreements(ctx, in)
		if err != nil {
			return false, readError(err, "search the next agreement of a licence")
		}
		if len(out.AgreementViewSummaries) > 0 {
			return false, nil
		}
		if awssdk.ToString(out.NextToken) == "" {
			return true, nil
		}
		in.NextToken = out.NextToken
	}
}

// contract reads the quantities that a contract grants, by AWS's dimension. Pay
// as you go grants none: an empty answer is normal.
func (a *Adapter) contract(ctx context.Context, l Listing, ref marketplace.Ref) (map[string]int64, error) {
	var out map[string]int64
	in := &marketplaceentitlementservice.GetEntitlementsInput{
		ProductCode: awssdk.String(l.ProductCode),
		Filter:      map[string][]string{string(entitlements.GetEntitlementFilterNameLicenseArn): {ref.Purchase}},
	}
	for {
		page, err := a.entitlement.GetEntitlements(ctx, in)
		if err != nil {
			return nil, readError(err, "get entitlements")
		}
		for _, e := range page.Entitlements {
			if licenceID(awssdk.ToString(e.LicenseArn)) != licenceID(ref.Purchase) || e.ExpirationDate != nil && !e.ExpirationDate.After(a.now()) {
				continue
			}
			n, err := granted(e.Value)
			if err != nil {
				a.log.WarnContext(ctx, "entitlement not understood", "dimension", awssdk.ToString(e.Dimension), "agreement", ref.Agreement, "error", err)
				continue
			}
			if out == nil {
				out = map[string]int64{}
			}
			out[awssdk.ToString(e.Dimension)] += n
		}
		if awssdk.ToString(page.NextToken) == "" {
			return out, nil
		}
		in.NextToken = page.NextToken
	}
}

func granted(v *entitlements.EntitlementValue) (int64, error) {
	switch {
	case v == nil:
	case v.IntegerValue != nil:
		return int64(*v.IntegerValue), nil
	case v.DoubleValue != nil && *v.DoubleValue == math.Trunc(*v.DoubleValue) && math.Abs(*v.DoubleValue) < 1<<53:
		return int64(*v.DoubleValue), nil
	case v.BooleanValue != nil && *v.BooleanValue:
		return 1, nil
	case v.BooleanValue != nil:
		return 0, nil
	}
	return 0, fmt.Errorf("want a whole number or a boolean")
}
