package aws

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/aws/smithy-go"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// Texts for whoever must act.
const (
	textStartAgain  = "This link from AWS is not valid. Please open your subscription in AWS Marketplace and press “Set up your account” again."
	textExpired     = "This link from AWS has expired. Please press “Set up your account” again in AWS Marketplace; you need not subscribe again."
	textTryLater    = "AWS Marketplace did not answer. Please try again in a minute."
	textCredentials = "AWS refuses our credentials; the operator must check the access key or role and the clock"
	textAsked       = "AWS does not take the question about this purchase; the operator must look at the ids it came with"
	textRegion      = "this AWS API is not enabled in the configured region; the operator must check TAILMARKET_AWS_REGION"
)

// codes says what the vendor's error codes mean for each kind of call; an empty
// class is Unsure for Submit and Unavailable elsewhere, as for a code that is not
// listed. API Reference "BatchMeterUsage", "ResolveCustomer", "GetEntitlements",
// "SearchAgreements" and "Common errors", 2026.
var codes = map[string]meaning{
	// About one record of a batch; each refuses the whole call.
	"TimestampOutOfBoundsException":      {submit: fault.Refused, record: marketplace.OutcomeExpired},
	"InvalidUsageDimensionException":     {submit: fault.Refused, record: marketplace.OutcomeInvalid},
	"InvalidLicenseException":            {submit: fault.Refused, record: marketplace.OutcomeInvalid},
	"InvalidCustomerIdentifierException": {submit: fault.Refused, record: marketplace.OutcomeInvalid},
	"InvalidTagException":                {submit: fault.Refused, record: marketplace.OutcomeInvalid},
	"InvalidUsageAllocationsException":   {submit: fault.Refused, record: marketplace.OutcomeInvalid},
	"ValidationException":                {submit: fault.Refused, read: fault.Refused, record: marketplace.OutcomeInvalid, asked: textAsked},

	// About the call.
	"InvalidProductCodeException":    {submit: fault.Refused},
	"RequestEntityTooLargeException": {submit: fault.Refused},
	"SerializationException":         {submit: fault.Refused},
	"DisabledApiException":           {submit: fault.Throttled, operator: textRegion}, // nothing is wrong with any record: no bisecting
	"ThrottlingException":            {submit: fault.Throttled, resolve: fault.Throttled, read: fault.Throttled},
	"InvalidTokenException":          {resolve: fault.Invalid, buyer: textStartAgain},
	"ExpiredTokenException":          {resolve: fault.Gone, buyer: textExpired},
	"ResourceNotFoundException":      {read: fault.NotFound},
	"InvalidParameterException":      {read: fault.Refused, asked: textAsked},

	// About us. Nothing was recorded and nothing is wrong with the records, so these
	// must not free a unit: for Submit they are "none recorded, send again".
	"AccessDeniedException":               ours,
	"UnrecognizedClientException":         ours,
	"InvalidClientTokenId":                ours,
	"InvalidSignatureException":           ours,
	"IncompleteSignatureException":        ours,
	"MissingAuthenticationTokenException": ours,
	codeSessionExpired:                    ours,
}

// codeSessionExpired is our name for an ExpiredTokenException that is about our
// own session and not about a buyer's token; AWS uses one code for both.
const codeSessionExpired = "our session has expired"

var ours = meaning{submit: fault.Throttled, operator: textCredentials}

type meaning struct {
	submit, resolve, read fault.Class
	record                marketplace.ReceiptOutcome // of a record that stood alone in the call
	buyer, operator       string
	asked                 string // what the operator is told of a question; for Submit the record says it
}

// meaningOf is what the vendor's word for an error means, if it answered with one.
func meaningOf(err error) (code string, m meaning) {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return "", meaning{}
	}
	code = api.ErrorCode()
	if strings.HasPrefix(code, "ExpiredToken") && strings.Contains(api.ErrorMessage(), "security token included in the request") {
		code = codeSessionExpired
	}
	return code, codes[code]
}

// readError classifies the error of a call that only reads; nothing was done.
func readError(err error, doing string) error {
	if held := marketplace.Withheld(err, doing, ""); held != nil {
		return held
	}
	_, m := meaningOf(err)
	return fault.Wrap(cmp.Or(m.read, fault.Unavailable), fmt.Errorf("%s: %w", doing, err), cmp.Or(m.asked, m.operator))
}

// closed reports that one agreement cannot be read by us. AWS does not document
// how it answers about one that somebody else proposed; the service shows an
// agreement to its parties only, so both of these can mean it.
func closed(err error) bool {
	code, _ := meaningOf(err)
	return code == "ResourceNotFoundException" || code == "AccessDeniedException"
}

// resolveError classifies ResolveCustomer's error; its text is for the buyer.
func resolveError(err error) error {
	const doing = "resolve aws registration token"
	if held := marketplace.Withheld(err, doing, textTryLater); held != nil {
		return held
	}
	_, m := meaningOf(err)
	return fault.Wrap(cmp.Or(m.resolve, fault.Unavailable), fmt.Errorf(doing+": %w", err), cmp.Or(m.buyer, textTryLater))
}

// submitError classifies the error of a whole call: Refused and Throttled mean
// that nothing was recorded, and are given only where that is proven.
func submitError(err error, sent *handed, n int) error {
	doing := fmt.Sprintf("submit aws batch of %d", n)
	if held := marketplace.Withheld(err, doing, ""); held != nil {
		return held
	}
	err = fmt.Errorf("%s: %w", doing, err)
	if notSent(err, sent) {
		return fault.Wrap(fault.Throttled, err, "")
	}
	code, m := meaningOf(err)
	if m.record != "" {
		err = fmt.Errorf("%w: %w", &marketplace.Refusal{Outcome: m.record, Detail: code}, err)
	}
	return fault.Wrap(cmp.Or(m.submit, fault.Unsure), err, m.operator)
}

// notSent: the call provably never left. Either it was not handed to the
// connection at all (no credentials, not encodable), or there was none to hand it to.
func notSent(err error, sent *handed) bool {
	if !sent.Load() {
		return true
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && (op.Op == "dial" || op.Op == "proxyconnect") {
		return true
	}
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	return untrusted
}

// handed is set when a request is handed to the connection.
type handed struct{ atomic.Bool }

type handedKey struct{}

func withHanded(ctx context.Context) (context.Context, *handed) {
	h := new(handed)
	return context.WithValue(ctx, handedKey{}, h), h
}

// handover notes that a request is about to leave.
type handover struct{ next http.RoundTripper }

func (h handover) RoundTrip(r *http.Request) (*http.Response, error) {
	if sent, ok := r.Context().Value(handedKey{}).(*handed); ok {
		sent.Store(true)
	}
	return h.next.RoundTrip(r)
}
