package httpapi

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"runtime/debug"
	"strings"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/identity"
	"github.com/tailmarket/tailmarket/internal/telemetry"
)

const requestIDHeader = "X-Request-Id"

// saneRequestID is what a caller may name a request.
var saneRequestID = regexp.MustCompile(`^[A-Za-z0-9_.-]{8,64}$`)

// identify gives every request an id, the caller's if it is a sane one, and logs
// the answer by its route: paths hold tokens.
func (s *Server) identify(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		rid := c.Request().Header.Get(requestIDHeader)
		if !saneRequestID.MatchString(rid) {
			rid = "req_" + strings.ToLower(rand.Text())
		}
		c.Response().Header().Set(requestIDHeader, rid)
		ctx := telemetry.WithRequest(c.Request().Context(), rid)
		c.SetRequest(c.Request().WithContext(ctx))
		err := next(c)
		if err != nil {
			s.fail(err, c)
		}
		s.Log.DebugContext(ctx, "request answered", "method", c.Request().Method, "route", c.Path(), "status", c.Response().Status, "bytes", c.Response().Size)
		return nil
	}
}

// recover turns a panic into a 500 that says nothing; the stack goes to the log.
func (s *Server) recover(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			switch r := recover(); {
			case r == nil:
			case r == http.ErrAbortHandler: //nolint:errorlint,err113 // net/http's sentinel is panicked as is
				panic(r)
			default:
				// The value may hold anything; its type and the stack's functions do not.
				s.Log.ErrorContext(c.Request().Context(), "handler panicked", "route", c.Path(), "kind", fmt.Sprintf("%T", r), "stack", functions(debug.Stack()))
				err = errPanic
			}
		}()
		return next(c)
	}
}

var errPanic = errors.New("a handler panicked")

// functions keeps the lines of a stack that hold no argument.
func functions(stack []byte) string {
	var out []string
	for line := range strings.Lines(string(stack)) {
		if strings.HasPrefix(line, "\t") {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return strings.Join(out[:min(len(out), 24)], " < ")
}

// contentPolicy lets pages load from here only; Pico draws its icons as data
// images.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func (s *Server) headers(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		h := c.Response().Header()
		h.Set("Content-Security-Policy", contentPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer") // links hold tokens
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		if s.secure() {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		return next(c)
	}
}

// private keeps pages out of caches.
func (s *Server) private(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		c.Response().Header().Set("Cache-Control", "no-store")
		return next(c)
	}
}

// readable refuses an address that no database keeps: ids and cursors go there.
func (s *Server) readable(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		query, err := url.QueryUnescape(c.Request().URL.RawQuery)
		if text := c.Request().URL.Path + query; err != nil || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
			return fault.New(fault.Invalid, "The address holds something that is not text. Please open the link as it was given.")
		}
		return next(c)
	}
}

// deadline bounds the work of one request. A service that is cut answers its
// context's error, which is our trouble: 503.
func (s *Server) deadline(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if lasting(c) {
			return next(c)
		}
		ctx, cancel := context.WithTimeout(c.Request().Context(), s.Limits.Request)
		defer cancel()
		c.SetRequest(c.Request().WithContext(ctx))
		return next(c)
	}
}

// bound refuses bodies over n bytes, announced or not.
func (s *Server) bound(n int64) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			r := c.Request()
			if r.ContentLength > n {
				return &http.MaxBytesError{Limit: n}
			}
			r.Body = http.MaxBytesReader(c.Response(), r.Body, n)
			return next(c)
		}
	}
}

// sameOrigin refuses forms that another site sends in a visitor's name.
func (s *Server) sameOrigin(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if err := s.origin.Check(c.Request()); err != nil {
			return fault.Wrap(fault.Denied, err, "This form was sent from another site, so nothing was done. Open the page here and send it again.")
		}
		return next(c)
	}
}

// counted counts the answers to a marketplace's webhook.
func (s *Server) counted(marketplace string) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			err := next(c)
			if err != nil {
				s.fail(err, c) // so that the status is known
			}
			if s.Answered != nil {
				s.Answered(marketplace, c.Response().Status)
			}
			return nil
		}
	}
}

type principalKey struct{}

// principal is who is asking, as a guard found out.
func principal(ctx context.Context) identity.Principal {
	p, _ := ctx.Value(principalKey{}).(identity.Principal)
	return p
}

func withPrincipal(c echo.Context, p identity.Principal) {
	c.SetRequest(c.Request().WithContext(context.WithValue(c.Request().Context(), principalKey{}, p)))
}

// bearer is the token that a program presents.
func bearer(r *http.Request) string {
	scheme, presented, _ := strings.Cut(r.Header.Get(echo.HeaderAuthorization), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(presented)
}

// requireProducer lets a producer's key pass for its own sources, and the
// operator's for all.
func (s *Server) requireProducer(next echo.HandlerFunc) echo.HandlerFunc {
	operator := s.requireKey(identity.Operator)(next)
	return func(c echo.Context) error {
		k, ok, err := s.Keys.Check(c.Request().Context(), bearer(c.Request()))
		switch {
		case err != nil:
			return err
		case !ok:
			return operator(c)
		}
		withPrincipal(c, identity.Principal{Actor: string(k.ID), Sources: k.May})
		return next(c)
	}
}

// requireKey lets the operator's key pass, as admin, where role is enough.
func (s *Server) requireKey(role identity.Role) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if !s.Key.Check(bearer(c.Request())) {
				c.Response().Header().Set("WWW-Authenticate", `Bearer realm="tailmarket"`)
				return fault.New(fault.Forged, "This needs the operator's key as a bearer token.")
			}
			p := identity.Principal{Role: identity.Admin, Actor: "operator key"}
			if !p.Role.May(role) {
				return fault.New(fault.Denied, "This needs the role %s.", role)
			}
			withPrincipal(c, p)
			return next(c)
		}
	}
}

const (
	operatorCookie = "tm_operator"
	buyerCookie    = "tm_purchase_" // and the end of the purchase's id: one browser may hold several
)

// cookie lives as long as its session: by age, since browsers' clocks differ.
func (s *Server) cookie(name, path, value string, of identity.Session) *http.Cookie {
	c := &http.Cookie{Name: name, Value: value, Path: path, HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: s.secure()}
	if c.MaxAge = int(of.ExpiresAt.Sub(of.CreatedAt).Seconds()); value == "" {
		c.MaxAge = -1
	}
	return c
}

func (s *Server) requireOperator(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		session, ok, err := s.session(c, identity.OperatorSession, operatorCookie)
		if err != nil {
			return err
		}
		if !ok {
			return placed(atOperator, fault.New(fault.Forged, "These pages are for the operator of this server, and nobody is signed in."))
		}
		withPrincipal(c, identity.Principal{Role: identity.Operator, Actor: session.Actor})
		return next(c)
	}
}

// requireBuyer lets the session of this purchase pass, and no other one.
func (s *Server) requireBuyer(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		session, ok, err := s.session(c, identity.BuyerSession, buyerCookieOf(c.Param("id")))
		if err != nil {
			return err
		}
		if ok && session.Subject == c.Param("id") {
			withPrincipal(c, identity.Principal{Role: "", Actor: session.Actor})
			return next(c)
		}
		if ok || s.hasOtherPurchase(c) {
			return placed(atPurchase, errWrongAccount())
		}
		return placed(atPurchase, fault.New(fault.Forged, "This page opens in the browser in which you confirmed your e-mail address. In this browser nobody is signed in for it."))
	}
}

func buyerCookieOf(purchase string) string {
	return buyerCookie + purchase[max(0, len(purchase)-10):]
}

func (s *Server) hasOtherPurchase(c echo.Context) bool {
	for _, k := range c.Cookies() {
		if strings.HasPrefix(k.Name, buyerCookie) {
			return true
		}
	}
	return false
}

func (s *Server) session(c echo.Context, kind identity.Kind, name string) (identity.Session, bool, error) {
	k, err := c.Cookie(name)
	if err != nil {
		return identity.Session{}, false, nil // no such cookie
	}
	return s.Sessions.Find(c.Request().Context(), kind, k.Value)
}
