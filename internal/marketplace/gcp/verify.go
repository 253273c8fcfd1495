package gcp

import (
	"bytes"
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
	pushIssuer = "https://accounts.google.com" // go-oidc takes it without the scheme too, as Google writes both
	skew       = time.Minute                   // between Google's clock and ours; our choice

	authorization = "authorization"
	publishTime   = "publish-time" // what a pulled message's own field says; not part of its data
)

// pushed is the wrapped form of a push. Pub/Sub writes two names for one thing.
type pushed struct {
	Message *struct {
		Data         []byte `json:"data"`
		PublishTime  string `json:"publishTime"`
		PublishTime2 string `json:"publish_time"`
	} `json:"message"`
	Subscription string `json:"subscription"`
}

// notice is what a message says. Only eventId, eventType and one of account and
// entitlement with its id and updateTime are sure; the rest are hints.
type notice struct {
	EventID     string  `json:"eventId"`
	EventType   string  `json:"eventType"`
	ProviderID  string  `json:"providerId"` // missing in some of Google's own examples
	Account     *entity `json:"account"`
	Entitlement *entity `json:"entitlement"`

	text []byte    // the message without its envelope
	sent time.Time // when it was published, if the envelope says
	at   time.Time // the entity's updateTime
}

type entity struct {
	ID         string `json:"id"`
	UpdateTime string `json:"updateTime"`

	Plan            string `json:"plan"`
	NewPendingPlan  string `json:"newPendingPlan"`
	NewPendingOffer string `json:"newPendingOffer"`
}

// Verify checks a push's OIDC token, which may fetch Google's keys; who may publish
// to a pulled subscription is settled by IAM. The id is made of event type, event
// id and entity: one purchase's messages share an event id (seen 2026-09).
// Forged: the token is not Pub/Sub's for our subscription. Unavailable: the keys
// could not be had. Unreadable: not a message for us.
func (a *Adapter) Verify(ctx context.Context, d marketplace.Delivery) (marketplace.Verified, error) {
	switch d.Channel {
	case marketplace.HTTPS:
		if err := a.pushToken(ctx, d.Header[authorization]); err != nil {
			return marketplace.Verified{}, err
		}
	case marketplace.Pull:
		if a.c.PullSubscription == "" || d.Source != a.c.PullSubscription {
			return marketplace.Verified{}, fault.Wrap(fault.Forged, errors.New("nothing is pulled from there"), "")
		}
	default:
		return marketplace.Verified{}, fault.Wrap(fault.Forged, fmt.Errorf("google does not deliver by %q", d.Channel), "")
	}
	n, err := a.open(d)
	if err != nil {
		return marketplace.Verified{}, err
	}
	v := marketplace.Verified{Delivery: d, ID: n.id(), Kind: n.EventType, SentAt: n.at}
	if !n.sent.IsZero() {
		v.SentAt = n.sent
	}
	if !bytes.Equal(n.text, d.Body) {
		v.Content = n.text // a redelivery's envelope differs, by its count of attempts
	}
	return v, nil
}

// pushToken checks the token of a push. The library checks signature, algorithm,
// issuer, audience and expiry; who was authenticated it leaves to us. The same token may
// come with many messages.
func (a *Adapter) pushToken(ctx context.Context, header string) error {
	forged := func(err error) error {
		return fault.Wrap(fault.Forged, fmt.Errorf("token of a push: %w", err), "")
	}
	scheme, token, _ := strings.Cut(header, " ")
	if a.c.PushSubscription == "" || !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxToken {
		return forged(errors.New("it is missing, or no push is expected"))
	}
	t := &trial{keys: a.pushKeys}
	verifier := oidc.NewVerifier(pushIssuer, t, &oidc.Config{
		ClientID: a.c.PushAudience, SupportedSigningAlgs: []string{oidc.RS256}, Now: func() time.Time { return a.now().Add(-skew) },
	})
	got, err := verifier.Verify(ctx, token)
	switch {
	case t.unreachable != nil:
		return fault.Wrap(fault.Unavailable, fmt.Errorf("token of a push: %w", t.unreachable), "")
	case err != nil:
		return forged(err)
	case !slices.Equal(got.Audience, []string{a.c.PushAudience}):
		return forged(errors.New("it is for others too"))
	}
	var who struct {
		Email    string `json:"email"`
		Verified bool   `json:"email_verified"`
	}
	if err := got.Claims(&who); err != nil {
		return forged(errors.New("its claims cannot be read"))
	}
	if who.Email != a.c.PushAccount || !who.Verified {
		return forged(errors.New("it is another account's"))
	}
	return nil
}

// open reads a message that is for us: wrapped or bare.
func (a *Adapter) open(d marketplace.Delivery) (notice, error) {
	n := notice{text: d.Body}
	if d.Channel == marketplace.HTTPS {
		if err := a.unwrap(&n); err != nil {
			return n, err
		}
	} else if at, err := time.Parse(time.RFC3339, d.Header[publishTime]); err == nil {
		n.sent = at.UTC()
	}
	if err := json.Unmarshal(n.text, &n); err != nil {
		return n, fault.Wrap(fault.Unreadable, err, "the message is not the JSON of a marketplace notification; the operator must look at what publishes here")
	}
	return n, a.complete(&n)
}

// unwrap takes the message out of the body of a push. A subscription without the
// wrapper pushes the bare message.
func (a *Adapter) unwrap(n *notice) error {
	var p pushed
	if err := json.Unmarshal(n.text, &p); err != nil {
		return fault.Wrap(fault.Unreadable, err, "the body is not a Pub/Sub push; the operator must look at what sends here")
	}
	if p.Message == nil {
		return nil
	}
	if p.Subscription != a.c.PushSubscription {
		return fault.New(fault.Unreadable, "the push is of subscription %.200q, not ours; the operator must check who pushes here", p.Subscription)
	}
	n.text = p.Message.Data
	for _, text := range []string{p.Message.PublishTime, p.Message.PublishTime2} {
		if at, err := time.Parse(time.RFC3339, text); err == nil {
			n.sent = at.UTC()
		}
	}
	return nil
}

// complete checks what every notification has.
func (a *Adapter) complete(n *notice) error {
	for _, f := range []struct{ name, value string }{{"eventId", n.EventID}, {"eventType", n.EventType}} {
		if f.value == "" || len(f.value) > 255 {
			return fault.New(fault.Unreadable, "the message's %s is missing or too long; the operator must look at what publishes here", f.name)
		}
	}
	if n.ProviderID != "" && n.ProviderID != a.c.Provider {
		return fault.New(fault.Unreadable, "the message is for provider %.100q, not for us; the operator must check the subscription's topic and the provider set here", n.ProviderID)
	}
	if (n.Account == nil) == (n.Entitlement == nil) {
		return fault.New(fault.Unreadable, "the message has not exactly one of account and entitlement; the operator must look, and replay it after an update")
	}
	e := n.entity()
	if !resourceID.MatchString(e.ID) {
		return unknown("id", e.ID)
	}
	at, err := time.Parse(time.RFC3339, e.UpdateTime)
	if err != nil {
		return unknown("updateTime", e.UpdateTime)
	}
	n.at = at.UTC()
	return nil
}

func (n notice) entity() *entity {
	if n.Account != nil {
		return n.Account
	}
	return n.Entitlement
}

// id is what a repetition of the message has in common with it.
func (n notice) id() string { return n.EventType + "|" + n.EventID + "|" + n.entity().ID }

func unknown(field, value string) error {
	return fault.New(fault.Unreadable, "the message's %s is %.80q, which we do not know; the operator must look, and replay it after an update", field, value)
}
