package azure

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// The vendor's objects. Microsoft extends them at any time and writes one value
// in several ways ("Implementing a webhook on the SaaS service", 2026), so a
// field that we do not use cannot make an object unreadable, and one that we use
// is read in every way that was seen.
type (
	subscription struct {
		ID          word     `json:"id"`
		OfferID     word     `json:"offerId"`
		PlanID      word     `json:"planId"`
		Quantity    quantity `json:"quantity"`
		Beneficiary person   `json:"beneficiary"`
		Purchaser   person   `json:"purchaser"`
		Term        struct {
			StartDate instant `json:"startDate"`
			EndDate   instant `json:"endDate"`
		} `json:"term"`
		AutoRenew    *bool   `json:"autoRenew"`
		IsFreeTrial  bool    `json:"isFreeTrial"`
		Allowed      []word  `json:"allowedCustomerOperations"`
		Status       word    `json:"saasSubscriptionStatus"`
		Created      instant `json:"created"`
		LastModified instant `json:"lastModified"`
	}
	person struct {
		ObjectID word `json:"objectId"`
		TenantID word `json:"tenantId"`
	}
	// operation is also what a webhook says; there it may have the subscription as
	// it was before.
	operation struct {
		ID             word     `json:"id"`
		SubscriptionID word     `json:"subscriptionId"`
		PublisherID    word     `json:"publisherId"`
		OfferID        word     `json:"offerId"`
		PlanID         word     `json:"planId"`
		Quantity       quantity `json:"quantity"`
		Action         word     `json:"action"`
		OperationType  word     `json:"operationType"` // an old form of action
		TimeStamp      instant  `json:"timeStamp"`
		Status         word     `json:"status"`
		Source         word     `json:"operationRequestSource"`
		Subscription   *struct {
			PlanID   word     `json:"planId"`
			Quantity quantity `json:"quantity"`
		} `json:"subscription"`
	}
	plan struct {
		PlanID       word `json:"planId"`
		IsPrivate    bool `json:"isPrivate"`
		SourceOffers []struct {
			ExternalID word `json:"externalId"`
		} `json:"sourceOffers"`
	}
)

// Statuses of a subscription and of an operation; actions of a webhook.
const (
	statusPending      = "PendingFulfillmentStart"
	statusSubscribed   = "Subscribed"
	statusSuspended    = "Suspended"
	statusUnsubscribed = "Unsubscribed"

	opNotStarted = "NotStarted"
	opInProgress = "InProgress"
	opSucceeded  = "Succeeded"
	opFailed     = "Failed"
	opConflict   = "Conflict"

	actionSubscribe      = "Subscribe"
	actionChangePlan     = "ChangePlan"
	actionChangeQuantity = "ChangeQuantity"
	actionRenew          = "Renew"
	actionSuspend        = "Suspend"
	actionUnsubscribe    = "Unsubscribe"
	actionReinstate      = "Reinstate"

	sourcePartner = "Partner" // started by a call of ours
)

// word is text without the blanks that some of Microsoft's answers have around
// it; null is none.
type word string

func (w *word) UnmarshalJSON(b []byte) error {
	var s *string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	*w = ""
	if s != nil {
		*w = word(strings.TrimSpace(*s))
	}
	return nil
}

// is compares as Microsoft's older texts force us to: without regard to case.
func (w word) is(s string) bool { return strings.EqualFold(string(w), s) }

// lower is the one spelling of a GUID.
func (w word) lower() string { return strings.ToLower(string(w)) }

// quantity is decimal text, "" when there is none: a number, a number in a
// string, an empty string, null and nothing were all seen.
type quantity string

func (q *quantity) UnmarshalJSON(b []byte) error {
	s := strings.Trim(string(bytes.TrimSpace(b)), `"`)
	*q = ""
	if s = strings.TrimSpace(s); s == "" || s == "null" {
		return nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return fmt.Errorf("quantity %.40q is no number", s)
	}
	*q = quantity(strconv.FormatFloat(f, 'f', -1, 64))
	return nil
}

// seats is a whole number of them.
func (q quantity) seats() (int64, bool) {
	n, err := strconv.ParseInt(string(q), 10, 64)
	return n, err == nil && n > 0
}

// instant is a time in UTC, zero when there is none: with a zone, without one
// (then UTC), with seven digits of a second, a date alone, and the first instant
// of the year 1 for "never", which is zero in Go too, were all seen.
type instant struct{ time.Time }

var layouts = []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", time.DateOnly}

func (i *instant) UnmarshalJSON(b []byte) error {
	var s *string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	i.Time = time.Time{}
	if s == nil || strings.TrimSpace(*s) == "" {
		return nil
	}
	for _, layout := range layouts {
		if t, err := time.Parse(layout, strings.TrimSpace(*s)); err == nil {
			i.Time = t.UTC()
			return nil
		}
	}
	return fmt.Errorf("time %.40q is in no form that was seen", *s)
}
