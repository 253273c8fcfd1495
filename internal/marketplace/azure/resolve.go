package azure

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

const maxToken = 16 << 10

// Resolve makes one resolve call. The token must be decoded from the landing
// address exactly once, which whoever parsed the address has done; it lives for
// 24 hours ("SaaS fulfillment Subscription APIs", 2022) and may be resolved
// again. Invalid: not one, or too old. Denied: for an offer that is not ours.
// Unavailable: Microsoft did not answer, or not to our app.
func (a *Adapter) Resolve(ctx context.Context, t marketplace.Token) (marketplace.Arrival, error) {
	if t.Value == "" || len(t.Value) > maxToken || strings.ContainsFunc(t.Value, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return marketplace.Arrival{}, fault.New(fault.Invalid, "%s", textStartAgain)
	}
	var out struct {
		ID           word         `json:"id"`
		OfferID      word         `json:"offerId"`
		Subscription subscription `json:"subscription"`
	}
	err := a.client.do(ctx, call{
		method: http.MethodPost, base: a.c.Endpoint, path: "/saas/subscriptions/resolve", header: map[string]string{"X-Ms-Marketplace-Token": t.Value},
	}, &out)
	if err != nil {
		return marketplace.Arrival{}, resolveError(err)
	}
	s := out.Subscription
	if s.ID == "" {
		s.ID = out.ID
	}
	if s.OfferID == "" {
		s.OfferID = out.OfferID
	}
	product, ok := a.c.product(string(s.OfferID))
	if !ok {
		return marketplace.Arrival{}, fault.Wrap(fault.Denied, fmt.Errorf("offer %q is not in the listings", s.OfferID), "This Microsoft subscription is for a product that is not sold here. Please ask the seller.")
	}
	if !vendorID.MatchString(string(s.ID)) || s.Beneficiary.TenantID == "" {
		return marketplace.Arrival{}, fault.Wrap(fault.Unavailable, fmt.Errorf("resolve azure marketplace token: the answer names no subscription or no beneficiary"), textTryLater)
	}
	ref := s.ref(product)
	return marketplace.Arrival{Account: ref.Account, Purchases: []marketplace.Ref{ref}, Trial: s.IsFreeTrial, Buyers: s.buyers()}, nil
}

// ref names a subscription; its customer is the beneficiary's tenant, whoever
// paid.
func (s subscription) ref(product string) marketplace.Ref {
	return marketplace.Ref{Purchase: s.ID.lower(), Account: s.Beneficiary.TenantID.lower(), Product: product}
}

// buyers are tenant/object of who uses and who bought: never their addresses,
// which change and may be masked.
func (s subscription) buyers() []string {
	var out []string
	for _, p := range []person{s.Beneficiary, s.Purchaser} {
		name := p.TenantID.lower() + "/" + p.ObjectID.lower()
		if p.TenantID != "" && p.ObjectID != "" && (len(out) == 0 || out[0] != name) {
			out = append(out, name)
		}
	}
	return out
}
