package gcp

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"google.golang.org/api/googleapi"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// Texts for whoever must act.
const (
	textStartAgain  = "This link from Google Cloud is not valid. Please open your order in Google Cloud Marketplace and press “Register” again."
	textExpired     = "This link from Google Cloud has expired; it is good for five minutes. Please press “Register” again in Google Cloud Marketplace; you need not order again."
	textTryLater    = "Google Cloud Marketplace did not answer. Please try again in a minute."
	textCredentials = "Google refuses our credentials; the operator must check them, and that the service account is linked in Producer Portal (IAM alone is not enough)"
	textService     = "Google knows no such service, or not for us; the operator must check the service name and the role servicemanagement.serviceController on it"
)

// statusOf is the HTTP status Google answered with; 0 when it did not answer.
func statusOf(err error) int {
	if e, ok := errors.AsType[*googleapi.Error](err); ok {
		return e.Code
	}
	return 0
}

// classified makes a fault of an error, with how long Google asked to wait.
func classified(c fault.Class, err error, public string) error {
	f := fault.Wrap(c, err, public)
	if e, ok := errors.AsType[*googleapi.Error](err); ok {
		if seconds, err := strconv.Atoi(e.Header.Get("Retry-After")); err == nil && seconds > 0 {
			f.RetryAfter = time.Duration(seconds) * time.Second
		}
	}
	return f
}

// readError classifies the error of a call that only reads; nothing was done.
func readError(err error, doing string) error {
	if held := marketplace.Withheld(err, doing, ""); held != nil {
		return held
	}
	err = fmt.Errorf("%s: %w", doing, err)
	switch statusOf(err) {
	case http.StatusNotFound:
		return classified(fault.NotFound, err, "")
	case http.StatusTooManyRequests:
		return classified(fault.Throttled, err, "")
	case http.StatusUnauthorized, http.StatusForbidden:
		// Right after linking it may take a while; so it is tried again.
		return classified(fault.Unavailable, err, textCredentials)
	}
	return classified(fault.Unavailable, err, "")
}

// decideError classifies the error of a call that decides. It may be repeated, but
// for what was not understood.
func decideError(err error, doing string) error {
	if held := marketplace.Withheld(err, doing, ""); held != nil {
		return held
	}
	err = fmt.Errorf("%s: %w", doing, err)
	switch status := statusOf(err); {
	case status == http.StatusTooManyRequests:
		return classified(fault.Throttled, err, "")
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return classified(fault.Unavailable, err, textCredentials)
	case status == http.StatusNotFound:
		return classified(fault.NotFound, err, "")
	case status == http.StatusBadRequest, status == http.StatusConflict, status == http.StatusPreconditionFailed:
		// Which status a wrong state answers with is not confirmed: look again, and decide again.
		return classified(fault.Conflict, err, "")
	case status >= 400 && status < 500 && status != http.StatusRequestTimeout:
		return classified(fault.Refused, err, "")
	}
	return classified(fault.Unsure, err, "")
}

// submitError classifies the error of a whole report. Service Control's text calls
// a failed status non-deterministic, so that only a refusal with 4xx, 408 and 429
// apart, proves that nothing was recorded (an integrator's rule, 2026-09).
func submitError(err error, sent *handed, n int) error {
	doing := fmt.Sprintf("submit gcp batch of %d", n)
	if held := marketplace.Withheld(err, doing, ""); held != nil {
		return held
	}
	err = fmt.Errorf("%s: %w", doing, err)
	if notSent(err, sent) {
		return classified(fault.Throttled, err, "")
	}
	switch status := statusOf(err); {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		// Nothing is wrong with any record, so none may be freed.
		return classified(fault.Throttled, err, textCredentials)
	case status == http.StatusNotFound:
		return classified(fault.Throttled, err, textService)
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests:
		return classified(fault.Unsure, err, "")
	case status == http.StatusRequestEntityTooLarge:
		return classified(fault.Refused, err, "")
	case status >= 400 && status < 500:
		e, _ := errors.AsType[*googleapi.Error](err)
		refusal := &marketplace.Refusal{Outcome: marketplace.OutcomeInvalid, Detail: cmp.Or(brief(e.Message), strconv.Itoa(status))}
		return classified(fault.Refused, fmt.Errorf("%w: %w", refusal, err), "")
	}
	return classified(fault.Unsure, err, "")
}

// notSent: the call provably never left. Either it was not handed to the
// connection at all (no credentials, an ended context), or there was none to hand it to.
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

// brief bounds a vendor's sentence.
func brief(text string) string {
	if r := []rune(text); len(r) > 200 {
		return string(r[:200]) + "…"
	}
	return text
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
