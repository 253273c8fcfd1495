package httpapi

import (
	"net/http"
	"net/url"

	"github.com/labstack/echo/v4"

	"github.com/tailmarket/tailmarket/internal/console"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/subscription"
	"github.com/tailmarket/tailmarket/internal/telemetry"
)

// SignedInPath is where Microsoft sends the browser back to; the app of the sign-in is
// registered with it.
const SignedInPath = "/azure/signed-in"

// signInPolicy is the content policy of a page with the button: browsers hold
// form-action against every redirect that follows, and an organisation's own sign-in
// may be anywhere.
const signInPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self' https:; base-uri 'none'; frame-ancestors 'none'"

// trouble is what went wrong with a sign-in, as the claim page's address tells it:
// the page can be loaded again, and nothing that Microsoft sent stays in the address.
type trouble string

const (
	troubleDeclined trouble = "declined"
	troubleConsent  trouble = "consent"
	troubleLate     trouble = "late"
	troubleUnproved trouble = "unproved"
	troubleAway     trouble = "away"
	troubleBroken   trouble = "broken"
	troubleOther    trouble = "other"
	troubleAddress  trouble = "address"
)

// troubles say who must act; the page below has the ways to go on.
var troubles = map[trouble]console.Trouble{
	troubleDeclined: {Title: "You did not sign in", Text: "Microsoft tells us that the sign-in was cancelled. Nothing was done and nothing is lost: try again, or confirm your e-mail address instead."},
	troubleConsent: {
		Title: "Your organisation's administrator must agree first", Choose: true,
		Text: "Your organisation lets people sign in to a new application only after an administrator has agreed to it, or has let you in. Ask your administrator and then try again, or confirm your e-mail address instead, which needs nobody. Nothing is lost.",
	},
	troubleLate:     {Title: "That sign-in took too long", Text: "It was interrupted, or the page was loaded twice. Nothing is lost: sign in once more."},
	troubleUnproved: {Title: "We could not confirm that sign-in", Text: "What came back is not Microsoft's answer to us, so nothing was done. Try again; if it stays so, confirm your e-mail address instead and tell us."},
	troubleAway:     {Title: "Microsoft does not answer right now", Text: "Nothing is lost. Wait a minute and try again, or confirm your e-mail address instead."},
	troubleBroken:   {Title: "Signing in does not work right now", Text: "This is our trouble, not yours, and a person on our side must mend it. You need not wait: confirm your e-mail address instead."},
	troubleOther: {
		Title: "This account neither bought nor uses the subscription", Choose: true,
		Text: "You signed in with another Microsoft account than the ones that the purchase names. Choose the other account if you have one. If a colleague bought it, confirm your e-mail address instead.",
	},
	troubleAddress: {Title: "Your account has no e-mail address", Text: "You are signed in, but Microsoft tells us no address to which we can write about your network. Confirm one instead.", Mail: true},
}

// signIn sends a visit to Microsoft's sign-in.
func (s *Server) signIn(c echo.Context) error {
	form, err := readForm(c)
	if err != nil {
		return err
	}
	ctx, token := c.Request().Context(), c.Param("token")
	v, err := s.Claims.Visit(ctx, token)
	if err != nil {
		return placed(atClaim, err)
	}
	if s.SignIn == nil || !v.SignIn {
		return s.backToClaim(c)
	}
	answer := form.Get(referredBy)
	if err := s.said(c, answer); err != nil {
		return s.askAgain(c, err, "", answer)
	}
	a, err := s.SignIn.Begin(token, form.Has("choose"))
	if err != nil {
		return err
	}
	c.SetCookie(s.attemptCookie(a.Name, a.Value, int(a.Life.Seconds())))
	return c.Redirect(http.StatusSeeOther, a.Address)
}

// attemptCookie comes back with the redirect from Microsoft, which Lax lets it.
func (s *Server) attemptCookie(name, value string, age int) *http.Cookie {
	return &http.Cookie{Name: name, Value: value, Path: SignedInPath, MaxAge: age, HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: s.secure()}
}

// signedIn takes the browser back from Microsoft, and on to the purchase. What went
// wrong is told on the page of the visit. A repetition, as after a lost answer, finds
// its code spent and leads there too.
func (s *Server) signedIn(c echo.Context) error {
	ctx, answer := c.Request().Context(), c.QueryParams()
	kept := ""
	visit, person, err := s.SignIn.Finish(ctx, answer, func(name string) string {
		if k, err := c.Cookie(name); err == nil {
			kept = name
			return k.Value
		}
		return ""
	})
	if kept != "" {
		c.SetCookie(s.attemptCookie(kept, "", -1))
	}
	if err != nil && visit == "" {
		return placed(atSignIn, err)
	}
	if err != nil {
		t := troubleOf(err)
		if t == troubleBroken || t == troubleUnproved {
			s.Log.WarnContext(ctx, "sign-in not confirmed", "route", c.Path(), telemetry.Error, err)
		}
		return s.tellTrouble(c, visit, t)
	}
	who, err := s.Claims.SignIn(ctx, visit, person.ID, person.Address)
	switch {
	case err == nil:
		return s.startBuyer(c, who)
	case who.State == subscription.ClaimSecond:
		return placed(atSignedSecond, err)
	case fault.Is(err, fault.Denied):
		return s.tellTrouble(c, visit, troubleOther)
	case fault.Is(err, fault.Invalid):
		return s.tellTrouble(c, visit, troubleAddress)
	}
	return placed(atClaim, err)
}

func troubleOf(err error) trouble {
	switch fault.ClassOf(err) { //nolint:exhaustive // the classes that Finish answers
	case fault.Denied:
		return troubleDeclined
	case fault.Refused:
		return troubleConsent
	case fault.Gone, fault.Conflict:
		return troubleLate
	case fault.Forged:
		return troubleUnproved
	case fault.Unavailable:
		return troubleAway
	}
	return troubleBroken
}

func (s *Server) tellTrouble(c echo.Context, visit string, t trouble) error {
	return c.Redirect(http.StatusSeeOther, "/claim/"+url.PathEscape(visit)+"?sign-in="+string(t))
}

// continueClaim goes on without a mail, for whom the marketplace has just proved.
func (s *Server) continueClaim(c echo.Context) error {
	form, err := readForm(c)
	if err != nil {
		return err
	}
	answer := form.Get(referredBy)
	if err := s.said(c, answer); err != nil {
		return s.askAgain(c, err, "", answer)
	}
	who, err := s.Claims.Continue(c.Request().Context(), c.Param("token"))
	switch {
	case err == nil:
		return s.startBuyer(c, who)
	case who.State == subscription.ClaimSecond:
		return placed(atSecond, err)
	case fault.Is(err, fault.Denied):
		return s.backToClaim(c) // it took too long: the page asks for an address
	}
	return placed(atClaim, err)
}

// startBuyer starts the session of the purchase that a person was confirmed for.
func (s *Server) startBuyer(c echo.Context, who subscription.Confirmed) error {
	token, session, err := s.Sessions.StartBuyer(c.Request().Context(), string(who.Claim), string(who.Subscription))
	if err != nil {
		return err
	}
	c.SetCookie(s.cookie(buyerCookieOf(string(who.Subscription)), "/purchases", token, session))
	return c.Redirect(http.StatusSeeOther, "/purchases/"+string(who.Subscription))
}
