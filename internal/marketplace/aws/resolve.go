package aws

import (
	"context"
	"fmt"
	"strings"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/marketplacemetering"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

const maxToken = 16 << 10

// formFields are sent beside the token, or read as if they were by other sellers'
// integrations. A buyer can write anything into them: they are kept to be looked
// at, and nothing follows from them.
var formFields = []string{
	"x-amzn-marketplace-offer-type", "x-amzn-marketplace-agreement-id",
	"x-amzn-marketplace-product-id", "x-amzn-marketplace-fulfillment-url",
}

// Resolve makes one ResolveCustomer call. A token may be resolved again while it
// lives. The answer names neither agreement nor offer; the reader tells those.
// Denied: the token is for a product that is not ours. Unavailable: AWS did not
// answer, or not to our credentials; the buyer may try again.
func (a *Adapter) Resolve(ctx context.Context, t marketplace.Token) (marketplace.Arrival, error) {
	token := strings.TrimSpace(t.Value)
	if token == "" || len(token) > maxToken {
		return marketplace.Arrival{}, fault.New(fault.Invalid, "%s", textStartAgain)
	}
	out, err := a.metering.ResolveCustomer(ctx, &marketplacemetering.ResolveCustomerInput{RegistrationToken: awssdk.String(token)})
	if err != nil {
		return marketplace.Arrival{}, resolveError(err)
	}
	code, account, licence := awssdk.ToString(out.ProductCode), awssdk.ToString(out.CustomerAWSAccountId), awssdk.ToString(out.LicenseArn)
	listing, ok := a.c.byCode(code)
	if !ok {
		return marketplace.Arrival{}, fault.Wrap(fault.Denied, fmt.Errorf("product code %q is not in the listings", code), "This AWS subscription is for a product that is not sold here. Please ask the seller.")
	}
	who := marketplace.VendorIdentity{Account: account, License: licence}
	if errs := missing(who); len(errs) > 0 {
		return marketplace.Arrival{}, fault.Wrap(fault.Refused, fmt.Errorf("resolve aws registration token: %w", errs[0]),
			"AWS did not name your purchase completely. The seller must move this listing to concurrent agreements.")
	}
	arrival := marketplace.Arrival{
		Account: account, Purchases: []marketplace.Ref{{Purchase: licence, Account: account, Product: listing.Product}},
	}
	for _, name := range formFields {
		if v := t.Form[name]; v != "" && len(v) <= 255 {
			if arrival.Extra == nil {
				arrival.Extra = map[string]string{}
			}
			arrival.Extra[name] = v
		}
	}
	return arrival, nil
}
