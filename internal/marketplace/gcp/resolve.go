package gcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

const (
	maxToken     = 16 << 10
	signUpIssuer = "https://www.googleapis.com/robot/v1/metadata/x509/cloud-commerce-partner@system.gserviceaccount.com"
)

// orders are the orders a token is about. The shape of an element is not
// confirmed: an id, or an object that has one.
type orders []string

// UnmarshalJSON takes what it knows and leaves the rest.
func (o *orders) UnmarshalJSON(text []byte) error {
	var all []json.RawMessage
	if err := json.Unmarshal(text, &all); err != nil {
		return nil
	}
	for _, one := range all {
		var id string
		if json.Unmarshal(one, &id) != nil {
			var object struct {
				ID      string `json:"id"`
				OrderID string `json:"orderId"`
			}
			if json.Unmarshal(one, &object) != nil {
				continue
			}
			id = object.ID
			if id == "" {
				id = object.OrderID
			}
		}
		if id != "" {
			*o = append(*o, id)
		}
	}
	return nil
}

// Resolve checks a sign-up token ("Integrate your app's frontend", 2026), which may
// fetch Google's keys, and lists the account's purchases that are not over: the token
// names only the account, and with several orders of one product the one it is about.
// A token may be resolved again while it lives. Unavailable: Google did not answer;
// the buyer may try again.
func (a *Adapter) Resolve(ctx context.Context, t marketplace.Token) (marketplace.Arrival, error) {
	token := strings.TrimSpace(t.Value)
	if token == "" || len(token) > maxToken {
		return marketplace.Arrival{}, fault.New(fault.Invalid, "%s", textStartAgain)
	}
	keys := &trial{keys: a.signUpKeys}
	verifier := oidc.NewVerifier(signUpIssuer, keys, &oidc.Config{
		SupportedSigningAlgs: []string{oidc.RS256}, SkipClientIDCheck: true, SkipExpiryCheck: true, // both below: several audiences, and expired is not forged
	})
	got, err := verifier.Verify(ctx, token)
	invalid := func(why error) (marketplace.Arrival, error) {
		return marketplace.Arrival{}, fault.Wrap(fault.Invalid, fmt.Errorf("sign-up token: %w", why), textStartAgain)
	}
	switch {
	case keys.unreachable != nil:
		return marketplace.Arrival{}, fault.Wrap(fault.Unavailable, fmt.Errorf("sign-up token: %w", keys.unreachable), textTryLater)
	case err != nil:
		return invalid(err)
	case len(got.Audience) != 1 || !slices.Contains(a.c.Audiences, got.Audience[0]):
		return invalid(fmt.Errorf("it is for %.100q", got.Audience))
	case !resourceID.MatchString(got.Subject):
		return invalid(errors.New("it names no account"))
	case a.now().Add(-skew).After(got.Expiry):
		return marketplace.Arrival{}, fault.Wrap(fault.Gone, fmt.Errorf("sign-up token: it expired at %s", got.Expiry.UTC().Format(time.RFC3339)), textExpired)
	}
	var said struct {
		Google struct {
			UserIdentity string `json:"user_identity"` // said only here, and optional
			Orders       orders `json:"orders"`
		} `json:"google"`
	}
	if err := got.Claims(&said); err != nil {
		return invalid(errors.New("its claims cannot be read"))
	}
	arrival := marketplace.Arrival{Account: got.Subject, Person: said.Google.UserIdentity}
	arrival.Purchases, err = a.waiting(ctx, got.Subject, said.Google.Orders)
	if err != nil {
		return marketplace.Arrival{}, fault.Wrap(fault.ClassOf(err), err, textTryLater)
	}
	return arrival, nil
}

// waiting are an account's purchases that are not over; of those that the token's
// orders name, only these.
func (a *Adapter) waiting(ctx context.Context, account string, about orders) (all []marketplace.Ref, err error) {
	var named []marketplace.Ref
	err = a.list(ctx, account, "", func(page listed) error {
		for _, e := range page.read {
			if e.Observed.Ended {
				continue
			}
			all = append(all, e.Ref)
			if slices.Contains(about, e.Ref.Purchase) || slices.Contains(about, e.order) {
				named = append(named, e.Ref)
			}
		}
		return nil
	})
	if len(named) > 0 {
		return named, err
	}
	return all, err
}
