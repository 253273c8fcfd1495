package aws

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// Sources of the events we are sent (Seller Guide "Amazon EventBridge events", 2026).
const (
	sourceAgreements = "aws.agreement-marketplace"
	sourceCatalog    = "aws.marketplacecatalog"
	sourceSeller     = "aws.marketplace"
)

// envelope is EventBridge's; the same on both channels.
type envelope struct {
	ID         string          `json:"id"`
	DetailType string          `json:"detail-type"`
	Source     string          `json:"source"`
	Account    string          `json:"account"`
	Time       string          `json:"time"`
	Resources  []string        `json:"resources"`
	Detail     json.RawMessage `json:"detail"`

	at time.Time
}

// Verify makes no calls. By HTTPS the API destination's key is the only proof,
// because EventBridge signs nothing; a queue's policy is the proof of what is in
// it. Forged: the key is wrong or missing. Unreadable: not an event for us.
func (a *Adapter) Verify(_ context.Context, d marketplace.Delivery) (marketplace.Verified, error) {
	switch d.Channel {
	case marketplace.HTTPS:
		if !sameKey(d.Header[a.c.EventKeyHeader], a.c.EventKey) {
			return marketplace.Verified{}, fault.Wrap(fault.Forged, errors.New("the event key is wrong or missing"), "")
		}
	case marketplace.SQS:
	default:
		return marketplace.Verified{}, fault.Wrap(fault.Forged, fmt.Errorf("AWS does not deliver by %q", d.Channel), "")
	}
	e, err := a.open(d.Body)
	if err != nil {
		return marketplace.Verified{}, err
	}
	return marketplace.Verified{Delivery: d, ID: e.ID, Kind: e.DetailType, SentAt: e.at}, nil
}

// sameKey takes as long whatever differs. No key set: nothing may come this way.
func sameKey(got, want string) bool {
	g, w := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(want))
	return subtle.ConstantTimeCompare(g[:], w[:]) == 1 && want != ""
}

// open reads an envelope that is for us.
func (a *Adapter) open(body []byte) (envelope, error) {
	var e envelope
	if err := json.Unmarshal(body, &e); err != nil {
		return e, fault.Wrap(fault.Unreadable, err, "the body is not an EventBridge event; the operator must look at what sends here")
	}
	for _, f := range []struct{ name, value string }{{"id", e.ID}, {"detail-type", e.DetailType}, {"source", e.Source}, {"account", e.Account}, {"time", e.Time}} {
		if f.value == "" || len(f.value) > 255 || strings.ContainsRune(f.value, 0) {
			return e, fault.New(fault.Unreadable, "the event's %s is missing, too long or no text; the operator must look at what sends here", f.name)
		}
	}
	switch e.Source {
	case sourceAgreements, sourceCatalog, sourceSeller:
	default:
		return e, fault.New(fault.Unreadable, "source %q is not AWS Marketplace; the operator must narrow the EventBridge rule", e.Source)
	}
	if e.Account != a.c.SellerAccount {
		return e, fault.New(fault.Unreadable, "the event is for account %q, not the seller's; the operator must check the EventBridge rule and the seller account set here", e.Account)
	}
	at, err := readTime("time", e.Time)
	if err == nil && at.IsZero() {
		err = unknown("time", e.Time)
	}
	e.at = at
	return e, err
}

// readTime reads RFC 3339 with or without a fraction. Absent, and the year 9999
// by which events say that there is no end, are the zero time.
func readTime(name, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fault.New(fault.Unreadable, "the event's %s %.40q is not an RFC 3339 time; the operator must look", name, text)
	}
	return orNone(at), nil
}

func orNone(t time.Time) time.Time {
	if t.Year() >= 9999 {
		return time.Time{}
	}
	return t.UTC()
}
