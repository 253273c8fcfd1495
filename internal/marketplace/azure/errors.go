package azure

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// Texts for whoever must act.
const (
	textStartAgain = "This link from Microsoft is not valid or has expired. Please open your subscription in the Azure portal or the Microsoft 365 admin center and press “Configure account” again; you need not buy again."
	textTryLater   = "Microsoft did not answer. Please try again in a minute."
	textMismatch   = "Microsoft refuses our app; the operator must compare tenant and client id with the offer's technical configuration, see that the app has a service principal, and check its secret"
	textEndpoint   = "Microsoft does not know the metering address; the operator must check the endpoint"
)

// answer is an error that Microsoft answered with. Its texts are for the log and
// the operator; they hold ids and never a token, because that of Resolve is left out.
type answer struct {
	status                int
	code, message, target string
	details               []string // targets
	retryAfter            time.Duration
	requestID             string
}

func (e *answer) Error() string {
	said := strings.Trim(strings.Join([]string{e.code, e.message}, ": "), ": ")
	return fmt.Sprintf("answered %d %.200q (request %s)", e.status, said, e.requestID)
}

// errorBody has every form of an error that was seen: flat, in "error", in
// "Error", with details as a list or as an object. A bare string is the sixth.
type errorBody struct {
	Code    json.RawMessage `json:"code"`
	Message json.RawMessage `json:"message"`
	Target  json.RawMessage `json:"target"`
	Details json.RawMessage `json:"details"`
	Error   *errorBody      `json:"error"`
}

func readAnswer(resp *http.Response, body []byte, requestID string) *answer {
	e := &answer{status: resp.StatusCode, requestID: requestID, retryAfter: retryAfter(resp.Header.Get("Retry-After"))}
	var b errorBody
	if readJSON(body, &b) != nil {
		e.message = plain(body)
		return e
	}
	if b.Error != nil {
		b = *b.Error
	}
	e.code, e.message, e.target = plain(b.Code), plain(b.Message), plain(b.Target)
	var list []errorBody
	if json.Unmarshal(b.Details, &list) != nil {
		list = make([]errorBody, 1)
		if json.Unmarshal(b.Details, &list[0]) != nil {
			list = nil
		}
	}
	for _, d := range list {
		e.details = append(e.details, plain(d.Target))
	}
	return e
}

// plain is a JSON string's text, and "" for anything else.
func plain(raw []byte) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return strings.TrimSpace(s)
}

// retryAfter reads seconds; the date form would need the wall clock and was not seen.
func retryAfter(s string) time.Duration {
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil || n < 0 {
		return 0
	}
	return time.Duration(min(n, 3600)) * time.Second
}

func answerOf(err error) (*answer, bool) { return errors.AsType[*answer](err) }

// absent: it does not exist, for a call about one subscription or operation. The
// documents say 404; the live service says 400 for an operation.
func absent(err error) bool {
	e, ok := answerOf(err)
	return ok && (e.status == http.StatusNotFound || e.status == http.StatusBadRequest)
}

// isEmpty: a 200 without a body, which Microsoft gives for an empty list.
func isEmpty(err error) bool { return errors.Is(err, errEmpty) }

func hasStatus(err error, status int) bool {
	e, ok := answerOf(err)
	return ok && e.status == status
}

// readError classifies the error of a call that changes nothing: whatever it is,
// it may be asked again.
func readError(err error, doing string) error {
	if held := marketplace.Withheld(err, doing, ""); held != nil {
		return held
	}
	class := fault.Unavailable
	if hasStatus(err, http.StatusTooManyRequests) {
		class = fault.Throttled
	}
	return classified(class, err, doing)
}

// verifyError is readError for a webhook, where a 4xx of ours would refuse the
// buyer's change: so never Throttled.
func verifyError(err error, doing string) error { return classified(fault.Unavailable, err, doing) }

// decideReadError classifies the error of what a decision reads first.
func decideReadError(err error, doing string) error {
	if hasStatus(err, http.StatusNotFound) {
		return decideError(err, doing)
	}
	return readError(err, doing)
}

// decideError classifies the error of a call that changes something and may be
// repeated. A refusal is Microsoft's own word, with its reason.
func decideError(err error, doing string) error {
	if held := marketplace.Withheld(err, doing, ""); held != nil {
		return held
	}
	e, ok := answerOf(err)
	switch {
	case !ok:
		return classified(fault.Unsure, err, doing)
	case e.status == http.StatusBadRequest:
		return fault.Wrap(fault.Refused, fmt.Errorf("%s: %w", doing, err), "Microsoft refuses it: "+e.message)
	case e.status == http.StatusNotFound:
		return fault.Wrap(fault.NotFound, fmt.Errorf("%s: %w", doing, err), "Microsoft does not know the subscription or operation")
	case e.status == http.StatusConflict:
		return classified(fault.Conflict, err, doing)
	}
	return readError(err, doing)
}

// resolveError classifies Resolve's error; its text is for the buyer. Microsoft
// answers 400 for every token it does not take ("SaaS fulfillment Subscription
// APIs", 2022), so nobody can tell an expired one; what to do is the same.
func resolveError(err error) error {
	const doing = "resolve azure marketplace token"
	if held := marketplace.Withheld(err, doing, textTryLater); held != nil {
		return held
	}
	class, text := fault.Unavailable, textTryLater
	if e, ok := answerOf(err); ok {
		switch e.status {
		case http.StatusBadRequest, http.StatusNotFound:
			class, text = fault.Invalid, textStartAgain
		case http.StatusTooManyRequests:
			class = fault.Throttled
		}
		err = fmt.Errorf("answered %d %.80q (request %s)", e.status, e.code, e.requestID) // its message may repeat the token
	}
	return fault.Wrap(class, fmt.Errorf(doing+": %w", err), text)
}

// submitError classifies the error of a whole call: Refused and Throttled mean
// that nothing was recorded, and are given only where that is proven.
func submitError(err error, sent *handed, n int) error {
	doing := fmt.Sprintf("submit azure batch of %d", n)
	if held := marketplace.Withheld(err, doing, ""); held != nil {
		return held
	}
	err = fmt.Errorf("%s: %w", doing, err)
	e, ok := answerOf(err)
	if !ok {
		if notSent(err, sent) {
			return fault.Wrap(fault.Throttled, err, tokenText(err))
		}
		return fault.Wrap(fault.Unsure, err, "")
	}
	out := &fault.Error{Class: fault.Unsure, Err: err, RetryAfter: e.retryAfter}
	switch e.status {
	case http.StatusBadRequest: // "Marketplace metering service APIs", 2025: the whole call is malformed
		out.Class = fault.Refused
		out.Err = fmt.Errorf("%w: %w", &marketplace.Refusal{Outcome: refused(e), Detail: strings.Trim(e.code+" "+strings.Join(e.details, " "), " ")}, err)
	case http.StatusTooManyRequests:
		out.Class = fault.Throttled
	case http.StatusUnauthorized, http.StatusForbidden:
		// Nothing was recorded and nothing is wrong with the records, so no unit may be
		// freed: "none recorded, send again".
		out.Class, out.Public = fault.Throttled, textMismatch
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		out.Class, out.Public = fault.Throttled, textEndpoint
	}
	return out
}

// refused is what a record that stood alone in a refused call suffers.
func refused(e *answer) marketplace.ReceiptOutcome {
	for _, target := range append(e.details, e.target) {
		switch strings.ToLower(target) {
		case "effectivestarttime":
			return marketplace.OutcomeExpired
		case "resourceid":
			return marketplace.OutcomeSuspended
		}
	}
	return marketplace.OutcomeInvalid
}

// classified wraps with the time to wait that Microsoft asked for.
func classified(class fault.Class, err error, doing string) error {
	out := &fault.Error{Class: class, Err: fmt.Errorf("%s: %w", doing, err), Public: tokenText(err)}
	if e, ok := answerOf(err); ok {
		out.RetryAfter = e.retryAfter
		if e.status == http.StatusUnauthorized || e.status == http.StatusForbidden {
			out.Public = textMismatch
		}
	}
	return out
}

// tokenText tells of a directory that gives us no token.
func tokenText(err error) string {
	if _, ok := errors.AsType[*azidentity.AuthenticationFailedError](err); ok {
		return textMismatch
	}
	return ""
}

// notSent: the call provably never left. Either it was not handed to the
// connection at all (no token, not encodable), or there was none to hand it to.
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
