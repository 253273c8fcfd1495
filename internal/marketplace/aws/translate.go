package aws

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// translation turns one opened event of one family into ours. base has what
// every event has: kind, time, version, message id.
type translation func(a *Adapter, e envelope, name string, base marketplace.Event) (marketplace.Event, error)

// families are the events we know, by source and detail-type without its role.
// Seller Guide "Amazon EventBridge events", 2026; the quirks that it does not
// show are from a purchase captured on 2026-08-20.
var families = map[string]map[string]translation{
	sourceAgreements: {
		"Purchase Agreement Created": agreementEvent(marketplace.PurchaseSeen),
		"Purchase Agreement Amended": agreementEvent(marketplace.Changed),
		"Purchase Agreement Ended":   agreementEvent(marketplace.Ending),

		"License Updated":       licenceEvent(marketplace.Entitled),
		"License Deprovisioned": licenceEvent(marketplace.Ending),

		"Purchase Agreement Advisory Issued":         notice,
		"Purchase Agreement Advisory Resolved":       notice,
		"Purchase Agreement Ending":                  notice,
		"Purchase Agreement Renewal Terms Finalized": notice,
		"Purchase Agreement Renewal Upcoming":        notice,

		"Agreement Cancellation Request Pending Approval":  notice,
		"Agreement Cancellation Request Approved":          notice,
		"Agreement Cancellation Request Rejected":          notice,
		"Agreement Cancellation Request Cancelled":         notice,
		"Agreement Cancellation Request Validation Failed": notice,

		"Purchase Agreement Billing Adjustment Completed": notice,
		"Purchase Agreement Billing Adjustment Failed":    notice,
	},
	sourceCatalog: {
		"Offer Released":    offerEvent,
		"OfferSet Released": offerEvent,
	},
	sourceSeller: {
		"Disbursement Paused": notice,
	},
}

// Translate reads an event's detail. Pure: it depends on the body and the
// settings alone. What AWS says in words we do not know is Unreadable with the
// words quoted, never guessed.
func (a *Adapter) Translate(v marketplace.Verified) ([]marketplace.Event, error) {
	e, err := a.open(v.Delivery.Body)
	if err != nil {
		return nil, err
	}
	name := withoutRole(e.DetailType)
	translate, known := families[e.Source][name]
	if !known {
		return nil, fault.New(fault.Unreadable, "AWS sent %.80q, which we do not know; the operator must look, and replay it after an update", e.DetailType)
	}
	ev, err := translate(a, e, name, marketplace.Event{At: e.at, Version: e.at, MessageID: e.ID})
	if err != nil {
		return nil, err
	}
	return []marketplace.Event{ev}, nil
}

// withoutRole strips who we are in an event. The delivery's kind keeps it:
// agreement events come to a Manufacturer only when somebody else sold, licence
// events always do.
func withoutRole(detailType string) string {
	name, _ := strings.CutSuffix(detailType, " - Manufacturer")
	name, _ = strings.CutSuffix(name, " - Proposer")
	return name
}

// Parts that several families share.
type (
	named struct {
		ID string `json:"id"`
	}
	party struct {
		AccountID string `json:"accountId"`
	}
	agreement struct {
		ID                  string `json:"id"`
		Intent              string `json:"intent"`
		Status              string `json:"status"`
		AcceptanceTime      string `json:"acceptanceTime"`
		StartTime           string `json:"startTime"`
		EndTime             string `json:"endTime"`
		PreviousAgreementID string `json:"previousAgreementId"`
	}
)

// agreementDetail is what Created, Amended and Ended carry: no licence, and a
// product only in Amended. resaleAuthorization is there on a direct sale too,
// with an id that is null.
type agreementDetail struct {
	Agreement agreement `json:"agreement"`
	Acceptor  party     `json:"acceptor"`
	Proposer  party     `json:"proposer"`
	Offer     named     `json:"offer"`
	Product   named     `json:"product"`
}

func agreementEvent(kind marketplace.EventKind) translation {
	return func(a *Adapter, e envelope, _ string, ev marketplace.Event) (marketplace.Event, error) {
		var d agreementDetail
		if err := e.read(&d); err != nil {
			return ev, err
		}
		ev.Kind, ev.Replaces = kind, d.Agreement.PreviousAgreementID
		ev.Ref = marketplace.Ref{Agreement: d.Agreement.ID, Account: d.Acceptor.AccountID}
		if err := a.complete(&ev, d.Proposer, "", d.Product.ID); err != nil {
			return ev, err
		}
		switch kind {
		case marketplace.Ending:
			return ended(ev, d.Agreement.Status)
		case marketplace.PurchaseSeen:
			if !slices.Contains([]string{"NEW", "RENEW", "REPLACE"}, d.Agreement.Intent) {
				return ev, unknown("intent", d.Agreement.Intent)
			}
		case marketplace.Changed:
			if d.Agreement.Intent != "AMEND" {
				return ev, unknown("intent", d.Agreement.Intent)
			}
		}
		var err error
		ev.Terms, err = terms(d.Agreement, d.Offer.ID)
		return ev, err
	}
}

// ended: RENEWED and REPLACED come with a new agreement; they end nothing.
func ended(ev marketplace.Event, status string) (marketplace.Event, error) {
	ev.Reason = status
	switch {
	case over(status):
		ev.Kind = marketplace.Ending
	case status == "RENEWED", status == "REPLACED":
		ev.Kind = marketplace.Renewed
	default:
		return ev, unknown("status", status)
	}
	return ev, nil
}

// over says which statuses of an agreement are an end.
func over(status string) bool {
	return status == "CANCELLED" || status == "EXPIRED" || status == "TERMINATED"
}

// licenceDetail is what License Updated and License Deprovisioned carry.
type licenceDetail struct {
	Agreement agreement `json:"agreement"`
	Acceptor  party     `json:"acceptor"`
	Proposer  party     `json:"proposer"`
	Offer     named     `json:"offer"`
	Product   struct {
		Code string `json:"code"`
		ID   string `json:"id"`
	} `json:"product"`
	License struct {
		ARN string `json:"arn"`
	} `json:"license"`
}

func licenceEvent(kind marketplace.EventKind) translation {
	return func(a *Adapter, e envelope, _ string, ev marketplace.Event) (marketplace.Event, error) {
		var d licenceDetail
		if err := e.read(&d); err != nil {
			return ev, err
		}
		ev.Kind = kind
		ev.Ref = marketplace.Ref{Purchase: d.License.ARN, Agreement: d.Agreement.ID, Account: d.Acceptor.AccountID}
		if err := a.complete(&ev, d.Proposer, d.Product.Code, d.Product.ID); err != nil {
			return ev, err
		}
		switch {
		case ev.Ref.Product == "":
			return ev, lacks("product")
		case !strings.HasPrefix(licenceID(d.License.ARN), "l-"):
			return ev, lacks("license.arn")
		case !strings.HasPrefix(d.License.ARN, "arn:"):
			// A shortened name, as in the guide's samples, would make a second purchase of the
			// same licence: the agreement leads to its full name.
			ev.Ref.Purchase = ""
		}
		if kind == marketplace.Ending {
			ev.Reason = "DEPROVISIONED"
			return ev, nil
		}
		var err error
		ev.Terms, err = terms(d.Agreement, d.Offer.ID)
		return ev, err
	}
}

// noticeDetail has what the families of notices carry; a notice of cancellation
// has the buyer and the product inside the agreement.
type noticeDetail struct {
	Agreement struct {
		ID         string      `json:"id"`
		AcceptorID string      `json:"acceptorId"`
		ProductID  string      `json:"productId"`
		EndTime    string      `json:"endTime"`
		DaysBefore json.Number `json:"daysBeforeEndTime"`
	} `json:"agreement"`
	Acceptor     party `json:"acceptor"`
	Proposer     party `json:"proposer"`
	Product      named `json:"product"`
	Cancellation struct {
		StatusCode string `json:"statusCode"`
		ReasonCode string `json:"reasonCode"`
	} `json:"agreementCancellationRequest"`
	Adjustment struct {
		Amount     string `json:"adjustmentAmount"`
		Currency   string `json:"currencyCode"`
		ReasonCode string `json:"adjustmentReasonCode"`
	} `json:"billingAdjustmentRequest"`
}

// notice is kept for the story of a purchase; its reason is what AWS said in a
// line. Nothing follows from it: what it announces comes as an event of its own.
func notice(a *Adapter, e envelope, name string, ev marketplace.Event) (marketplace.Event, error) {
	var d noticeDetail
	if err := e.read(&d); err != nil {
		return ev, err
	}
	ev.Kind = marketplace.Noted
	c, b := d.Cancellation, d.Adjustment
	ev.Reason = line(name, c.StatusCode, c.ReasonCode, b.Amount, b.Currency, b.ReasonCode)
	if days := d.Agreement.DaysBefore.String(); days != "" {
		ev.Reason = line(name, days, "days before", d.Agreement.EndTime)
	}
	ev.Ref.Agreement = cmp.Or(d.Agreement.ID, agreementOf(e.Resources))
	if ev.Ref.Agreement == "" {
		if e.Source == sourceAgreements {
			return ev, lacks("agreement.id")
		}
		return ev, nil // about the seller's own account
	}
	ev.Ref.Account = cmp.Or(d.Acceptor.AccountID, d.Agreement.AcceptorID)
	return ev, a.complete(&ev, d.Proposer, "", cmp.Or(d.Product.ID, d.Agreement.ProductID))
}

// offerDetail is what the catalog says of an offer: the seller of record is the
// best record of who sold.
type offerDetail struct {
	Offer          named    `json:"offer"`
	OfferSet       named    `json:"offerSet"`
	Product        named    `json:"product"`
	SellerOfRecord party    `json:"sellerOfRecord"`
	Targets        []string `json:"targetedBuyerAccountIds"`
}

// offerEvent names no purchase: nobody has bought yet, so it refers to nothing
// and is kept to be found by its offer.
func offerEvent(a *Adapter, e envelope, name string, ev marketplace.Event) (marketplace.Event, error) {
	var d offerDetail
	if err := e.read(&d); err != nil {
		return ev, err
	}
	ev.Kind, ev.Reason = marketplace.Noted, line(name, cmp.Or(d.Offer.ID, d.OfferSet.ID))
	if d.Product.ID != "" {
		if _, ok := a.c.byID(d.Product.ID); !ok {
			return ev, unsold(d.Product.ID)
		}
	}
	if s := d.SellerOfRecord.AccountID; s != a.c.SellerAccount {
		ev.Reseller = s
	}
	ev.Terms = &marketplace.Terms{Offer: cmp.Or(d.Offer.ID, d.OfferSet.ID), Private: len(d.Targets) > 0}
	if ev.Terms.Offer == "" {
		return ev, lacks("offer.id")
	}
	return ev, nil
}

// complete checks what names a purchase and adds product and reseller.
func (a *Adapter) complete(ev *marketplace.Event, proposer party, code, productID string) error {
	switch {
	case ev.Ref.Agreement == "":
		return lacks("agreement.id")
	case ev.Ref.Account == "" && ev.Ref.Purchase != "":
		// Of agreement events only the agreement's id is certain (captured 2026-08-20): an
		// end must not wait in quarantine for want of an account.
		return lacks("acceptor.accountId")
	case ev.Ref.Account != "" && !accountID.MatchString(ev.Ref.Account):
		return unknown("acceptor account", ev.Ref.Account)
	}
	if p := proposer.AccountID; p != "" && p != a.c.SellerAccount {
		ev.Reseller = p
	}
	if code == "" && productID == "" {
		return nil
	}
	listing, ok := a.c.byCode(code)
	if code == "" {
		listing, ok = a.c.byID(productID)
	}
	if !ok || productID != "" && productID != listing.ProductID {
		return unsold(cmp.Or(code, productID))
	}
	ev.Ref.Product = listing.Product
	return nil
}

func terms(of agreement, offer string) (*marketplace.Terms, error) {
	from, err := readTime("agreement.startTime", cmp.Or(of.StartTime, of.AcceptanceTime))
	if err != nil {
		return nil, err
	}
	to, err := readTime("agreement.endTime", of.EndTime)
	if err != nil {
		return nil, err
	}
	return &marketplace.Terms{Offer: offer, Agreement: of.ID, From: from, To: to}, nil
}

// read reads the detail in the shape of its family.
func (e envelope) read(into any) error {
	if err := json.Unmarshal(e.Detail, into); err != nil {
		return fault.Wrap(fault.Unreadable, err, "the event's detail is not in the form AWS documents; the operator must look, and replay it after an update")
	}
	return nil
}

// agreementOf reads arn:aws:aws-marketplace::aws:agreement:<id>.
func agreementOf(resources []string) string {
	for _, r := range resources {
		if _, id, ok := strings.Cut(r, ":agreement:"); ok {
			return id
		}
	}
	return ""
}

func line(name string, words ...string) string {
	said := strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " ")
	if said == "" {
		return name
	}
	return name + ": " + said
}

func lacks(field string) error {
	return fault.New(fault.Unreadable, "the event has no %s; the operator must look, and replay it after an update", field)
}

func unknown(field, value string) error {
	return fault.New(fault.Unreadable, "the event's %s is %.80q, which we do not know; the operator must look, and replay it after an update", field, value)
}

func unsold(product string) error {
	return fault.New(fault.Unreadable, "product %.80q is not in the listings; the seller must add it to the catalog, then replay", product)
}
