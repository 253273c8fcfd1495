package httpapi

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/tailmarket/tailmarket/internal/console"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

func (s *Server) productTitle(product string) string {
	if p, ok := s.Catalog.Product(product); ok && p.Title != "" {
		return p.Title
	}
	return product
}

// claimPage asks whoever came from the marketplace for an address.
func (s *Server) claimPage(c echo.Context) error {
	return s.showClaim(c, http.StatusOK, claimForm{})
}

// claimForm is what was typed into the forms of a claim page, and what is wrong
// with it.
type claimForm struct{ typed, emailError, answer, answerError, inviteError string }

func (s *Server) showClaim(c echo.Context, status int, f claimForm) error {
	ctx, token := c.Request().Context(), c.Param("token")
	v, err := s.Claims.Visit(ctx, token)
	if err != nil {
		return placed(atClaim, err)
	}
	view := console.Claim{
		Site: s.Site, Token: token, Product: s.productTitle(v.Subscription.Product), Marketplace: markets[v.Subscription.Marketplace].Name, Button: markets[v.Subscription.Marketplace].Button,
		State: string(v.State), Holder: v.Holder, KnownAs: v.KnownAs, SignIn: v.SignIn && s.SignIn != nil, Email: f.typed, Error: f.emailError, Answer: f.answer, AnswerError: f.answerError, InviteError: f.inviteError,
	}
	if view.SignIn {
		view.Trouble = troubles[trouble(c.QueryParam("sign-in"))]
		c.Response().Header().Set("Content-Security-Policy", signInPolicy)
	}
	switch v.Claim.State {
	case subscription.ClaimHolder, subscription.ClaimAdmitted, subscription.ClaimSecond:
		view.Purchase = "/purchases/" + string(v.Subscription.ID)
	case subscription.ClaimOpen, subscription.ClaimMailed:
	}
	if !open(v) {
		return s.page(c, status, console.AlreadyClaimedPage(view))
	}
	referred, err := s.Partners.Arrived(ctx, v.Subscription.ID, v.Claim.ID, referrals(c))
	if err != nil {
		return placed(atClaim, err)
	}
	view.Ask = !referred
	return s.page(c, status, console.ClaimPage(view))
}

// claimEmail queues the mail that proves an address.
func (s *Server) claimEmail(c echo.Context) error {
	form, err := readForm(c)
	if err != nil {
		return err
	}
	typed, answer := form.Get("email"), form.Get(referredBy)
	if err := s.said(c, answer); err != nil {
		return s.askAgain(c, err, typed, answer)
	}
	err = s.Claims.Email(c.Request().Context(), c.Param("token"), typed)
	if fault.Is(err, fault.Invalid) {
		return s.showClaim(c, http.StatusBadRequest, claimForm{typed: typed, answer: answer, emailError: problemOf(err).detail})
	}
	if err != nil {
		return placed(atClaim, err)
	}
	return c.Redirect(http.StatusSeeOther, "/claim/"+url.PathEscape(c.Param("token"))+"/sent")
}

// claimInvite sends a visit on to a colleague.
func (s *Server) claimInvite(c echo.Context) error {
	form, err := readForm(c)
	if err != nil {
		return err
	}
	err = s.Claims.Invite(c.Request().Context(), c.Param("token"), form.Get("email"))
	if fault.Is(err, fault.Invalid) {
		return s.showClaim(c, http.StatusBadRequest, claimForm{inviteError: problemOf(err).detail})
	}
	if err != nil {
		return placed(atClaim, err)
	}
	return c.Redirect(http.StatusSeeOther, "/claim/"+url.PathEscape(c.Param("token"))+"/sent?to=colleague")
}

func (s *Server) backToClaim(c echo.Context) error {
	return c.Redirect(http.StatusSeeOther, "/claim/"+url.PathEscape(c.Param("token")))
}

func (s *Server) claimSent(c echo.Context) error {
	v, err := s.Claims.Visit(c.Request().Context(), c.Param("token"))
	if err != nil {
		return placed(atClaim, err)
	}
	invite := c.QueryParam("to") == "colleague"
	view := console.MailSent{Site: s.Site, Token: c.Param("token"), State: string(v.State), Invite: invite, Held: !s.SendsMail}
	if invite {
		view.Back = "/claim/" + url.PathEscape(c.Param("token"))
	}
	return s.page(c, http.StatusOK, console.MailSentPage(view))
}

// verifyPage only asks: mail scanners open links, so a visit must not spend one.
func (s *Server) verifyPage(c echo.Context) error {
	if err := s.Claims.MailLink(c.Request().Context(), c.Param("token")); err != nil {
		return placed(atVerify, err)
	}
	return s.page(c, http.StatusOK, console.ConfirmPage(console.Confirm{Site: s.Site, Token: c.Param("token")}))
}

// verify confirms an address and starts the session of its purchase.
func (s *Server) verify(c echo.Context) error {
	who, err := s.Claims.Confirm(c.Request().Context(), c.Param("token"))
	if err != nil {
		if who.State == subscription.ClaimSecond {
			return placed(atSecond, err)
		}
		return placed(atVerify, err)
	}
	return s.startBuyer(c, who)
}

func (s *Server) purchasePage(c echo.Context) error { return s.showPurchase(c, http.StatusOK, "", "") }

func (s *Server) showPurchase(c echo.Context, status int, typed, nameError string) error {
	ctx, sub := c.Request().Context(), id.Subscription(c.Param("id"))
	got, err := s.Purchases.Get(ctx, sub)
	if err != nil {
		return placed(atPurchase, err)
	}
	net, err := s.Tailnets.View(ctx, sub)
	if err != nil {
		return placed(atPurchase, err)
	}
	people, err := s.Claims.People(ctx, sub)
	if err != nil {
		return placed(atPurchase, err)
	}
	st, market := subscription.StatusOf(got, s.Now()), markets[got.Marketplace].Name
	view := console.Purchase{
		Site: s.Site, ID: string(sub), State: string(st.State), Product: s.productTitle(got.Product), Marketplace: market, Account: got.Account,
		Steps: steps(got.Facts, st.State, market, net.KeyRevealed), Reason: named(reason(got.Facts, st, market), market), Waiting: named(st.Waiting, market),
		Act: string(st.Act), Usually: named(st.Usually, market), MayLeave: st.MayLeave, EndsAt: st.EndsAt,
		Closed: st.State == subscription.StateEnded && subscription.AccessOf(got.Facts, s.Now()) == subscription.AccessRevoked,
		Name:   got.TailnetName, NameChosen: got.NameChosen, NameTyped: typed, NameError: nameError,
		NoTraffic: net.Dry, CanReveal: st.State == subscription.StateActive && net.KeyReady, Revealed: net.KeyRevealed, CanAskKey: net.CanAskKey,
		Asking: asking(people, principal(ctx).Actor),
	}
	// What the control plane waits for is said in an operator's words; a buyer
	// needs to know that a person must act, and that it is not them.
	if st.State == subscription.StateProvisioning && st.Reason == "" && net.WaitingFor != "" && net.Usually == 0 {
		view.Reason, view.Waiting, view.Usually = "something is in the way that a person on our side must clear; your purchase is safe", "a person on our side", "one working day"
	}
	if c.Request().Header.Get("Hx-Request") != "" && c.QueryParam("shown") == view.Shown() {
		return c.NoContent(http.StatusNoContent) // htmx leaves the page as it is
	}
	return s.page(c, status, console.PurchasePage(view))
}

// named says which marketplace is meant.
func named(text, market string) string { return strings.ReplaceAll(text, "the marketplace", market) }

// reason says in words why a purchase is as it is; a marketplace's codes stay out
// of pages.
func reason(f subscription.Facts, st subscription.Status, market string) string {
	switch {
	case st.State == subscription.StateEnded && f.Replaced.By != "":
		return "it goes on as a renewed purchase; the network stays"
	case st.State == subscription.StateRejected:
		return "usually because a payment failed" // the headline says the rest
	case st.Reason == "CANCELLED":
		return "it was cancelled in " + market
	case st.Reason == "EXPIRED":
		return "it ran to its agreed end and was not renewed"
	case st.Reason == "TERMINATED":
		return market + " ended it before its agreed end"
	case st.Reason == strings.ToUpper(st.Reason):
		return ""
	}
	return st.Reason
}

// steps are the way from a purchase to a network in use; whoever has gone it
// needs no map.
func steps(f subscription.Facts, state subscription.State, marketName string, keyRevealed bool) []console.Step {
	switch state {
	case subscription.StateEnding, subscription.StateEnded, subscription.StateRejected, subscription.StateSuspended:
		return nil
	case subscription.StatePending, subscription.StateAwaitingBuyer, subscription.StateAwaitingMarketplace, subscription.StateProvisioning, subscription.StateActive:
	}
	if state == subscription.StateActive && keyRevealed {
		return nil
	}
	done := []bool{!f.ClaimedAt.IsZero(), !f.Granted.IsZero(), !f.ReadyAt.IsZero(), keyRevealed}
	out := []console.Step{
		{Label: "You confirm who you are"}, {Label: marketName + " confirms the purchase"}, {Label: "We set up your network"}, {Label: "You get your join key"},
	}
	current := false
	for i := range out {
		switch {
		case done[i]:
			out[i].State = console.StepDone
		case !current:
			out[i].State, current = console.StepCurrent, true
		default:
			out[i].State = console.StepTodo
		}
	}
	return out
}

// asking are the people whom the holder may let in.
func asking(people []subscription.Claim, actor string) []console.Person {
	holder := false
	var out []console.Person
	for _, p := range people {
		switch p.State {
		case subscription.ClaimHolder:
			holder = holder || string(p.ID) == actor
		case subscription.ClaimSecond:
			out = append(out, console.Person{Claim: string(p.ID), Address: p.Email})
		case subscription.ClaimOpen, subscription.ClaimMailed, subscription.ClaimAdmitted:
		}
	}
	if !holder {
		return nil
	}
	return out
}

func (s *Server) namePage(c echo.Context) error {
	got, err := s.Purchases.Get(c.Request().Context(), id.Subscription(c.Param("id")))
	if err != nil {
		return placed(atPurchase, err)
	}
	return s.page(c, http.StatusOK, console.NamePage(console.Name{Site: s.Site, Purchase: c.Param("id"), State: string(got.State(s.Now())), Typed: got.TailnetName}))
}

func (s *Server) name(c echo.Context) error {
	form, err := readForm(c)
	if err != nil {
		return err
	}
	ctx := c.Request().Context()
	typed := form.Get("tailnet_name")
	err = s.Purchases.Name(ctx, id.Subscription(c.Param("id")), principal(ctx).Actor, typed)
	if fault.Is(err, fault.Invalid) || fault.Is(err, fault.Conflict) {
		p := problemOf(err)
		return s.showPurchase(c, p.status, typed, p.detail)
	}
	if err != nil {
		return placed(atPurchase, err)
	}
	return s.backToPurchase(c)
}

func (s *Server) backToPurchase(c echo.Context) error {
	return c.Redirect(http.StatusSeeOther, "/purchases/"+url.PathEscape(c.Param("id")))
}

// reveal is the one answer that holds the join key.
func (s *Server) reveal(c echo.Context) error {
	ctx, sub := c.Request().Context(), id.Subscription(c.Param("id"))
	net, err := s.Tailnets.View(ctx, sub)
	if err != nil {
		return placed(atPurchase, err)
	}
	key, err := s.Tailnets.Reveal(ctx, sub, principal(ctx).Actor)
	if err != nil {
		return placed(atPurchase, err)
	}
	command := "tailscale up "
	if s.LoginServer != "" {
		command += "--login-server=" + s.LoginServer + " "
	}
	return s.page(c, http.StatusOK, console.JoinKeyPage(console.JoinKey{
		Site: s.Site, Purchase: string(sub), State: string(subscription.StateActive), Key: key, Command: command + "--auth-key=" + key, NoTraffic: net.Dry,
	}))
}

// newKey asks for another join key.
func (s *Server) newKey(c echo.Context) error {
	ctx := c.Request().Context()
	if err := s.Tailnets.NewKey(ctx, id.Subscription(c.Param("id")), principal(ctx).Actor); err != nil {
		return placed(atPurchase, err)
	}
	return s.backToPurchase(c)
}

func (s *Server) invitePage(c echo.Context) error { return s.showInvite(c, http.StatusOK, "", "") }

func (s *Server) showInvite(c echo.Context, status int, typed, problem string) error {
	return s.page(c, status, console.InvitePage(console.Invite{Site: s.Site, Purchase: c.Param("id"), Email: typed, Error: problem}))
}

// invite sends the purchase on to a colleague.
func (s *Server) invite(c echo.Context) error {
	form, err := readForm(c)
	if err != nil {
		return err
	}
	err = s.Claims.InviteFrom(c.Request().Context(), id.Subscription(c.Param("id")), form.Get("email"))
	if fault.Is(err, fault.Invalid) {
		return s.showInvite(c, http.StatusBadRequest, form.Get("email"), problemOf(err).detail)
	}
	if err != nil {
		return placed(atPurchase, err)
	}
	return s.page(c, http.StatusOK, console.MailSentPage(console.MailSent{Site: s.Site, Invite: true, Held: !s.SendsMail, Back: "/purchases/" + c.Param("id")}))
}

// admit lets a colleague in; only the holder's own page offers it.
func (s *Server) admit(c echo.Context) error {
	form, err := readForm(c)
	if err != nil {
		return err
	}
	ctx, sub := c.Request().Context(), id.Subscription(c.Param("id"))
	people, err := s.Claims.People(ctx, sub)
	if err != nil {
		return placed(atPurchase, err)
	}
	for _, p := range asking(people, principal(ctx).Actor) {
		if p.Claim == form.Get("claim") {
			if err := s.Claims.Admit(ctx, sub, id.Claim(p.Claim)); err != nil {
				return placed(atPurchase, err)
			}
		}
	}
	return s.backToPurchase(c)
}
