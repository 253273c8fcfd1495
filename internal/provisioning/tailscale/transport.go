package tailscale

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tailmarket/tailmarket/internal/fault"
)

// tokens exchanges a client's secret for tokens and keeps the newest.
type tokens struct {
	ClientID, Secret string
	child            string // with it, the organisation's client gets tokens of this tailnet

	http *http.Client
	url  string
	wall func() time.Time

	mu      sync.Mutex
	token   string
	expires time.Time
}

// early is how long before its end a token is not used any more.
const early = time.Minute

// get answers a token; not is one that was refused.
func (t *tokens) get(ctx context.Context, not string) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token != "" && t.token != not && t.wall().Before(t.expires) {
		return t.token, nil
	}
	form := url.Values{"client_id": {t.ClientID}, "client_secret": {t.Secret}, "grant_type": {"client_credentials"}}
	if t.child != "" {
		form.Set("tailnet", t.child)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := t.http.Do(req)
	if err != nil {
		return "", &tokenError{err}
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return "", &tokenError{refused(res)}
	}
	var out struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<16)).Decode(&out); err != nil || out.AccessToken == "" {
		return "", &tokenError{errors.New("the token endpoint answered no token")}
	}
	t.token, t.expires = out.AccessToken, t.wall().Add(time.Duration(out.ExpiresIn)*time.Second-early)
	return t.token, nil
}

// tokenError says that a call was not made, since there was no token for it.
type tokenError struct{ err error }

func (e *tokenError) Error() string { return "get a token: " + e.err.Error() }
func (e *tokenError) Unwrap() error { return e.err }

// transport adds the token, and turns every answer that is not 2xx into an
// *apiError, so that the official client and ours see the same thing.
type transport struct {
	next   http.RoundTripper
	tokens *tokens
}

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer func() { _ = r.Body.Close() }()
	}
	not := ""
	for {
		token, err := t.tokens.get(r.Context(), not)
		if err != nil {
			return nil, err
		}
		req := r.Clone(r.Context())
		if r.Body != nil && r.GetBody != nil {
			if req.Body, err = r.GetBody(); err != nil {
				return nil, err
			}
		}
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := t.next.RoundTrip(req)
		if err != nil {
			return nil, err
		}
		if res.StatusCode/100 == 2 {
			return res, nil
		}
		err = refused(res)
		_ = res.Body.Close()
		// A token that was revoked before its time: nothing was done, once more with a new one.
		if res.StatusCode != http.StatusUnauthorized || not != "" || r.Body != nil && r.GetBody == nil {
			return nil, err
		}
		not = token
	}
}

// apiError is an answer that is not 2xx.
type apiError struct {
	status  int
	message string
	after   time.Duration // Retry-After
}

func (e *apiError) Error() string { return fmt.Sprintf("answered %d: %s", e.status, e.message) }

// refused reads an answer that is not 2xx. Bodies are {"message"}, RFC 6749 errors
// at the token endpoint, or anything a proxy on the way makes up.
func refused(res *http.Response) *apiError {
	raw, _ := io.ReadAll(io.LimitReader(res.Body, 1<<14)) // the status says enough
	e := &apiError{status: res.StatusCode, message: http.StatusText(res.StatusCode)}
	var body struct {
		Message     string `json:"message"`
		Description string `json:"error_description"`
		Error       string `json:"error"`
	}
	if json.Unmarshal(raw, &body) == nil {
		for _, text := range []string{body.Error, body.Description, body.Message} {
			if text != "" {
				e.message = text
			}
		}
	}
	if len(e.message) > 300 {
		e.message = e.message[:300]
	}
	if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s > 0 {
		e.after = time.Duration(s) * time.Second
	}
	return e
}

// how says whether a call can have changed something.
type how bool

const (
	read  how = false
	write how = true
)

// classes of the answers the API declares. What is not in the table is unclassified
// below 500 and Unavailable from there on.
var classes = map[int]fault.Class{
	http.StatusBadRequest:          fault.Invalid,
	http.StatusUnauthorized:        fault.Denied,
	http.StatusForbidden:           fault.Denied,
	http.StatusNotFound:            fault.NotFound,
	http.StatusConflict:            fault.Conflict,
	http.StatusPreconditionFailed:  fault.Conflict, // the policy changed since it was read
	http.StatusUnprocessableEntity: fault.Refused,
	http.StatusTooManyRequests:     fault.Throttled,
	http.StatusNotImplemented:      fault.Refused,
}

// classify gives an error of a call its class.
func classify(h how, err error) error {
	if err == nil {
		return nil
	}
	if fault.ClassOf(err) != "" {
		return err
	}
	if a, ok := errors.AsType[*apiError](err); ok {
		class, known := classes[a.status]
		switch {
		case a.status >= 500 && !known && h == write && !isToken(err):
			class = fault.Unsure // a gateway answers 502 and 504 for what was done, too
		case a.status >= 500 && !known:
			class = fault.Unavailable
		case !known:
			return err
		}
		return &fault.Error{Class: class, Err: err, RetryAfter: a.after}
	}
	if h == write && !isToken(err) {
		return fault.Wrap(fault.Unsure, err, "")
	}
	return fault.Wrap(fault.Unavailable, err, "")
}

func isToken(err error) bool {
	_, ok := errors.AsType[*tokenError](err)
	return ok
}
