package httpapi

import (
	"context"
	"errors"
	"math"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/httpapi/api"
	"github.com/tailmarket/tailmarket/internal/telemetry"
)

// answer is how a class leaves. The type is stable: programs may rely on it.
type answer struct {
	status int
	kind   string
	title  string
}

var answers = map[fault.Class]answer{
	fault.Invalid:     {http.StatusBadRequest, "invalid", "The request is not right"},
	fault.Forged:      {http.StatusUnauthorized, "not_authentic", "Who is asking could not be confirmed"},
	fault.Denied:      {http.StatusForbidden, "denied", "This is not allowed"},
	fault.NotFound:    {http.StatusNotFound, "not_found", "There is no such thing"},
	fault.Conflict:    {http.StatusConflict, "conflict", "It is not as the request expects"},
	fault.Refused:     {http.StatusUnprocessableEntity, "refused", "The request was understood and refused"},
	fault.Gone:        {http.StatusGone, "gone", "It existed and does not any more"},
	fault.Throttled:   {http.StatusTooManyRequests, "throttled", "Too many requests"},
	fault.Unavailable: {http.StatusServiceUnavailable, "unavailable", "This cannot be answered now"},
	fault.Unsure:      {http.StatusServiceUnavailable, "unavailable", "This cannot be answered now"},
	// Intake quarantines what it cannot read; elsewhere it is the sender's form.
	fault.Unreadable: {http.StatusBadRequest, "unreadable", "The request cannot be read"},
	"":               {http.StatusInternalServerError, "internal", "Something went wrong on our side"},
}

const (
	problemType  = "urn:tailmarket:problem:"
	retryDefault = 5 * time.Second
)

// problem is an error as it leaves: its answer, the text that may be shown, and
// when to come back.
type problem struct {
	answer
	class  fault.Class // whose words fit a page; noClass when only the title does
	detail string
	retry  time.Duration
	errors []api.ProblemItem // what is wrong where, when that is known
}

const noClass fault.Class = "-"

// pointed is an error with a type of its own, or with places in the request where
// it is; its class and text are those of err.
type pointed struct {
	kind, title string // empty: the class's
	items       []api.ProblemItem
	err         error
}

func (n *pointed) Error() string { return n.err.Error() }
func (n *pointed) Unwrap() error { return n.err }

// problemOf classifies whatever a handler returned. Nothing else here switches
// on errors.
func problemOf(err error) problem {
	p := classified(err)
	if n, ok := errors.AsType[*pointed](err); ok {
		p.errors = n.items
		if n.kind != "" {
			p.kind, p.title = n.kind, n.title
		}
	}
	return p
}

func classified(err error) problem {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		p := problem{answer: answers[f.Class], class: f.Class, detail: f.Public, retry: f.RetryAfter}
		if p.status == 0 {
			p.answer, p.class = answers[""], ""
		}
		if p.retry == 0 && (p.status == http.StatusTooManyRequests || p.status == http.StatusServiceUnavailable) {
			p.retry = retryDefault
		}
		return p
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return problem{answer: answer{http.StatusRequestEntityTooLarge, "too_large", "The request is too large"}, class: noClass, detail: "The largest body taken here has " + strconv.FormatInt(tooLarge.Limit, 10) + " bytes."}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return problem{answer: answer{http.StatusRequestTimeout, "timeout", "The request came too slowly"}, class: noClass}
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return problem{answer: answers[fault.Unavailable], class: fault.Unavailable, retry: retryDefault}
	}
	if he, ok := errors.AsType[*echo.HTTPError](err); ok {
		a := echoAnswer(he.Code)
		switch a.status {
		case http.StatusNotFound:
			return problem{answer: a, class: fault.NotFound}
		case http.StatusInternalServerError:
			return problem{answer: a}
		}
		return problem{answer: a, class: noClass}
	}
	return problem{answer: answers[""]}
}

// echoAnswer reads the router's and binder's own errors; their texts may quote
// the request and stay here.
func echoAnswer(code int) answer {
	switch code {
	case http.StatusNotFound:
		return answers[fault.NotFound]
	case http.StatusMethodNotAllowed:
		return answer{code, "method_not_allowed", "This address does not take that method"}
	case http.StatusUnsupportedMediaType:
		return answer{code, "unsupported_media_type", "This content type is not taken here"}
	}
	if code >= 400 && code < 500 {
		return answers[fault.Invalid]
	}
	return answers[""]
}

// fail is the one error edge: problem documents for programs, pages for people,
// and a log line for what is our trouble.
func (s *Server) fail(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	// The answer is written even when the request's time is over.
	ctx := context.WithoutCancel(c.Request().Context())
	c.SetRequest(c.Request().WithContext(ctx))
	p := problemOf(err)
	switch {
	case p.status == http.StatusServiceUnavailable: // somebody else's trouble, and it passes
		s.Log.WarnContext(ctx, "request postponed", "route", c.Path(), "status", p.status, telemetry.Error, err)
	case p.status >= http.StatusInternalServerError:
		s.Log.ErrorContext(ctx, "request failed", "route", c.Path(), "status", p.status, telemetry.Error, err)
	default:
		s.Log.DebugContext(ctx, "request refused", "route", c.Path(), "status", p.status, "class", string(fault.ClassOf(err)))
	}
	if p.retry > 0 {
		c.Response().Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(p.retry.Seconds()))))
	}
	c.Response().Header().Set("Cache-Control", "no-store")
	rid := c.Response().Header().Get(requestIDHeader)
	switch {
	case c.Request().Method == http.MethodHead:
		err = c.NoContent(p.status)
	case wantsPage(c.Request()):
		err = s.failPage(c, err, p, rid)
	default:
		c.Response().Header().Set(echo.HeaderContentType, "application/problem+json")
		c.Response().WriteHeader(p.status)
		err = c.Echo().JSONSerializer.Serialize(c, api.Problem{Type: problemType + p.kind, Title: p.title, Status: p.status, Detail: p.detail, RequestId: rid, Errors: p.errors}, "")
	}
	if err != nil {
		s.Log.DebugContext(ctx, "answer not written", telemetry.Error, err)
	}
}

// wantsPage reports that a person's browser is asking.
func wantsPage(r *http.Request) bool {
	return strings.Contains(r.Header.Get(echo.HeaderAccept), "text/html") && !strings.HasPrefix(r.URL.Path, "/v1/") && !strings.HasSuffix(r.URL.Path, "/events")
}
