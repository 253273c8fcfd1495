package azure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

const (
	skew = 2 * time.Minute // how far the issuer's clock may be ahead of or behind ours
	// After ten seconds Microsoft accepts a change by itself ("Implementing a webhook
	// on the SaaS service", 2026); what asks longer has lost the right to refuse.
	verifyTime = 7 * time.Second
)

// What became of asking for a delivery's operation; Kind is the action, or the
// action, a comma and one of these.
const (
	notConfirmed = "not confirmed" // the API could not tell; believe nothing, read the subscription
	ours         = "ours"          // a change that a call of ours began: applied or not, the subscription tells
)

// Verify checks the caller's token and then asks for the operation that the body
// names, because the token does not cover the body. Forged: the token is not
// Microsoft's for us, or the API contradicts the body. Unreadable: the body is
// not a webhook for us. Unavailable: keys or API could not be asked.
func (a *Adapter) Verify(ctx context.Context, d marketplace.Delivery) (marketplace.Verified, error) {
	ctx, cancel := context.WithTimeout(ctx, verifyTime)
	defer cancel()
	if d.Channel != marketplace.HTTPS {
		return marketplace.Verified{}, fault.Wrap(fault.Forged, fmt.Errorf("Microsoft does not deliver by %q", d.Channel), "") //nolint:staticcheck // a name
	}
	if err := a.authentic(ctx, d.Header["authorization"]); err != nil {
		return marketplace.Verified{}, err
	}
	n, err := a.open(d.Body)
	if err != nil {
		return marketplace.Verified{}, err
	}
	kind, err := a.confirm(ctx, n)
	if err != nil {
		return marketplace.Verified{}, err
	}
	v := marketplace.Verified{Delivery: d, ID: string(n.ID), Kind: kind, SentAt: n.TimeStamp.Time}
	if v.SentAt.IsZero() {
		v.SentAt = d.ReceivedAt.UTC()
	}
	if v.ID == "" {
		// Nothing tells two of these from one that came twice. As they are only hints,
		// each may count.
		v.ID = fmt.Sprintf("%s/%s/%s", n.SubscriptionID, n.action(), d.ReceivedAt.UTC().Format(time.RFC3339Nano))
	}
	return v, nil
}

// authentic checks a token as "Implementing a webhook on the SaaS service", 2026,
// says: issued by our directory, to the marketplace's app, for our app.
func (a *Adapter) authentic(ctx context.Context, header string) error {
	scheme, token, _ := strings.Cut(header, " ")
	if token = strings.TrimSpace(token); !strings.EqualFold(scheme, "bearer") || token == "" {
		return forged(errors.New("no bearer token came with the webhook; if that never changes, something before us takes the header away"))
	}
	ring, err := a.ringOf(token)
	if err != nil {
		return forged(err)
	}
	issuer, err := ring.Issuer(ctx)
	if err != nil {
		return verifyError(err, "ask who issues webhook tokens")
	}
	keys := remembered{keyring: ring}
	checked, err := oidc.NewVerifier(issuer, &keys, &oidc.Config{
		ClientID: a.c.ClientID, SupportedSigningAlgs: []string{oidc.RS256},
		Now: func() time.Time { return a.now().Add(-skew) }, // the library is lenient about nbf and strict about exp
	}).Verify(ctx, token)
	switch {
	case fault.Is(keys.err, fault.Unavailable):
		return verifyError(keys.err, "check a webhook token")
	case err != nil:
		return forged(err)
	}
	var who struct {
		TID   string `json:"tid"`
		AppID string `json:"appid"` // version 1
		AZP   string `json:"azp"`   // version 2
	}
	if err := checked.Claims(&who); err != nil {
		return forged(err)
	}
	caller := who.AppID
	if ring == a.rings["2.0"] {
		caller = who.AZP
	}
	switch {
	case !strings.EqualFold(who.TID, a.c.TenantID):
		return forged(errors.New("the token is of another directory"))
	case !strings.EqualFold(caller, marketplaceApp):
		return forged(errors.New("the caller is not the marketplace"))
	}
	return nil
}

// ringOf chooses by the version that a token claims; whether it is true, its
// issuer and signature tell. Which one comes follows from our app's manifest.
func (a *Adapter) ringOf(token string) (*keyring, error) {
	jws, err := jose.ParseSignedCompact(token, signatures)
	if err != nil {
		return nil, fmt.Errorf("parse the token: %w", err)
	}
	var claims struct {
		Version string `json:"ver"`
	}
	if err := json.Unmarshal(jws.UnsafePayloadWithoutVerification(), &claims); err != nil {
		return nil, errors.New("the token's claims are not JSON")
	}
	ring, ok := a.rings[claims.Version]
	if !ok {
		return nil, fmt.Errorf("the token has version %.20q, not 1.0 or 2.0", claims.Version)
	}
	return ring, nil
}

// remembered keeps the error of a keyring, which the library turns into text.
type remembered struct {
	*keyring
	err error
}

func (r *remembered) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	claims, err := r.keyring.VerifySignature(ctx, token)
	r.err = err
	return claims, err
}

func forged(err error) error {
	return fault.Wrap(fault.Forged, fmt.Errorf("check a webhook token: %w", err), "")
}

// vendorID is a name that may stand in a path; Microsoft's are GUIDs.
var vendorID = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)

// open reads a webhook that is for us.
func (a *Adapter) open(body []byte) (operation, error) {
	var n operation
	if err := json.Unmarshal(body, &n); err != nil {
		return n, fault.Wrap(fault.Unreadable, err, "the body is not in the form of a marketplace webhook; the operator must look, and replay it after an update")
	}
	switch {
	case !vendorID.MatchString(string(n.SubscriptionID)):
		return n, lacks("subscriptionId")
	case n.action() == "":
		return n, lacks("action")
	case n.ID != "" && !vendorID.MatchString(string(n.ID)):
		return n, fault.New(fault.Unreadable, "the webhook's id is not the id of an operation; the operator must look at what sends here")
	case n.PublisherID != "" && a.c.PublisherID != "" && !n.PublisherID.is(a.c.PublisherID):
		return n, fault.New(fault.Unreadable, "the webhook is for publisher %.80q; the operator must check the webhook addresses in Partner Center and the publisher set here", n.PublisherID)
	}
	if n.OfferID != "" { // an old Unsubscribe says nothing
		if _, ok := a.c.product(string(n.OfferID)); !ok {
			return n, unsold(n.OfferID)
		}
	}
	return n, nil
}

// action is the documented spelling of a known action, else the word as it came.
func (n operation) action() string {
	w := n.Action
	if w == "" {
		w = n.OperationType
	}
	for _, known := range []string{actionSubscribe, actionChangePlan, actionChangeQuantity, actionRenew, actionSuspend, actionUnsubscribe, actionReinstate} {
		if w.is(known) {
			return known
		}
	}
	return string(w)
}

func (n operation) changes() bool {
	return n.action() == actionChangePlan || n.action() == actionChangeQuantity
}

// confirm asks the API whether it is as the body says. A change must be an
// operation that can be read and that says the same. Of the others Microsoft
// does not document that an operation can be read, so there the subscription's
// state is the second witness; if that cannot tell either, the delivery is kept
// as a hint.
func (a *Adapter) confirm(ctx context.Context, n operation) (kind string, err error) {
	action := n.action()
	state, known := leads[action]
	switch {
	case !known && !n.changes():
		return action, nil // nobody knows it; Translate says so
	case n.ID == "" && n.changes():
		return "", contradicted("the change names no operation")
	}
	if n.ID != "" {
		op, err := a.operation(ctx, n.SubscriptionID, n.ID)
		switch {
		case err == nil:
			return confirmed(n, op)
		case !absent(err):
			return "", verifyError(err, "read the operation of a webhook")
		case n.changes():
			return "", contradicted("there is no such operation")
		}
	}
	s, err := a.subscription(ctx, n.SubscriptionID)
	switch {
	case err == nil && s.Status.is(state):
		return action, nil
	case err == nil || absent(err):
		return action + ", " + notConfirmed, nil
	}
	return "", verifyError(err, "read the subscription of a webhook")
}

// leads is the state in which an action leaves a subscription.
var leads = map[string]string{
	actionSubscribe: statusSubscribed, actionRenew: statusSubscribed, actionReinstate: statusSubscribed,
	actionSuspend: statusSuspended, actionUnsubscribe: statusUnsubscribed,
}

// confirmed compares what a webhook says with the operation of its id.
func confirmed(n, op operation) (kind string, err error) {
	action := n.action()
	switch {
	case op.action() != action:
		return "", contradicted("the operation is another")
	case op.SubscriptionID != "" && !op.SubscriptionID.is(string(n.SubscriptionID)):
		return "", contradicted("the operation is of another subscription")
	case !n.changes():
		return action, nil
	case op.PlanID != "" && n.PlanID != "" && op.PlanID != n.PlanID, action == actionChangePlan && op.PlanID == "":
		return "", contradicted("the operation has another plan")
	case action == actionChangeQuantity && n.Quantity != "" && op.Quantity != n.Quantity:
		return "", contradicted("the operation has another quantity")
	}
	waits := op.Status.is(opInProgress) || op.Status.is(opNotStarted)
	switch {
	case waits && (op.Source.is(sourcePartner) || n.Source.is(sourcePartner)):
		return action + ", " + ours, nil
	case waits:
		return action, nil
	case op.Status == "":
		return action + ", " + notConfirmed, nil
	}
	return action + ", " + string(op.Status), nil
}

func contradicted(why string) error {
	return fault.Wrap(fault.Forged, fmt.Errorf("ask for the operation of a webhook: %s", why), "")
}

// operation reads one operation.
func (a *Adapter) operation(ctx context.Context, sub, id word) (operation, error) {
	var op operation
	err := a.client.do(ctx, call{method: http.MethodGet, base: a.c.Endpoint, path: "/saas/subscriptions/" + string(sub) + "/operations/" + string(id)}, &op)
	return op, err
}
