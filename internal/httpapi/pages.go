package httpapi

import (
	"errors"

	"github.com/a-h/templ"
	"github.com/labstack/echo/v4"

	"github.com/tailmarket/tailmarket/internal/console"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

// page renders a page.
func (s *Server) page(c echo.Context, status int, p templ.Component) error {
	c.Response().Header().Set(echo.HeaderContentType, echo.MIMETextHTMLCharsetUTF8)
	c.Response().WriteHeader(status)
	return p.Render(c.Request().Context(), c.Response())
}

// place is where on a buyer's way an error happened: the same class needs other
// words there.
type place string

const (
	atRegister place = "register"
	atClaim    place = "claim"
	atVerify   place = "verify"
	atSecond   place = "second person"
	atSignIn   place = "sign-in"

	atSignedSecond place = "second person, signed in"
	atPurchase     place = "purchase"
	atReferral     place = "referral"
	atEnter        place = "enter"
	atOperator     place = "operator"
)

type placedError struct {
	place place
	err   error
}

func (p *placedError) Error() string { return string(p.place) + ": " + p.err.Error() }
func (p *placedError) Unwrap() error { return p.err }

// placed says where on a buyer's way err happened.
func placed(where place, err error) error {
	if err == nil {
		return nil
	}
	return &placedError{where, err}
}

func errWrongAccount() error { return subscription.ErrWrongAccount() }

// notice is the title of a page about an error, and what to do.
type notice struct {
	title string
	todo  []string
	text  string // instead of the error's own
}

var startAgain = []string{
	"Sign in to the {account} that bought the product.",
	"Open {menu} and choose the product.",
	"Press “{button}”. There is no need to subscribe again.",
}

const brokenLink = "Open the link exactly as it is in the mail: some mail programs break long links."

var operatorLink = []string{"Print a new one: run “api operator-link” where the server runs, or restart the server.", "Open it, and press “Sign in”."}

var notices = map[place]map[fault.Class]notice{
	atRegister: {
		fault.Gone:        {title: "This visit took too long", todo: startAgain, text: "{market}'s {token} lives for {lives}, and this one has expired. Your purchase is safe."},
		fault.NotFound:    {title: "We cannot place this purchase", todo: []string{"Check that you bought the product you meant to.", "Press “{button}” in {market} again.", "If this page comes back, write to us with the number below."}},
		fault.Denied:      {title: "We cannot place this purchase", todo: []string{"Check that you bought the product you meant to.", "If this page comes back, write to us with the number below."}},
		fault.Unavailable: {title: "{market} does not answer yet", todo: []string{"Wait a minute.", "Press “{button}” again, or reload this page."}},
		fault.Throttled:   {title: "{market} is busy", todo: []string{"Wait a minute.", "Press “{button}” again, or reload this page."}},
	},
	atClaim: {
		fault.NotFound:  {title: "We do not know this link", todo: append([]string{brokenLink + " If that does not help:"}, startAgain...), text: "It is not complete, or it is too old. Nothing is lost."},
		fault.Gone:      {title: "This link has expired", todo: startAgain, text: "Links work for 24 hours. Nothing is lost: get a new one where you got the first."},
		fault.Conflict:  {title: "This visit is confirmed already", todo: []string{"Open the link in the mail you got first.", "Or press “{button}” in {market} again, and confirm the same address."}},
		fault.Throttled: {title: "Too many mails for now"},
	},
	atVerify: {
		fault.NotFound: {title: "We do not know this link", todo: append([]string{brokenLink + " If that does not help:"}, startAgain...), text: "It is not complete, or it is too old. Nothing is lost."},
		fault.Gone:     {title: "This link has expired", todo: startAgain, text: "Links in our mails work for 24 hours. Nothing is lost: get a new one where you got the first."},
		fault.Denied:   {title: "This link belongs to another address", todo: append([]string{"Open the newest mail we sent to the address you want to use."}, startAgain...)},
	},
	atSecond: {
		fault.Denied: {title: "A colleague has set this up already", todo: []string{
			"Ask your colleague to open the page of the purchase. Your request waits for them there: they press “Let them in”.",
			"Then open the link in your mail again. You come straight to the purchase.",
		}},
	},
	atSignIn: {
		fault.Gone: {title: "We have lost the thread", todo: startAgain, text: "This sign-in was begun in another browser, or more than a quarter of an hour ago, so we cannot tell which purchase it is for. Nothing was done, and nothing is lost."},
	},
	atSignedSecond: {
		fault.Denied: {title: "A colleague has set this up already", todo: []string{
			"Is the address your own? Then press “{button}” in {market} again, and confirm it by mail instead of signing in.",
			"Otherwise ask your colleague to open the page of the purchase. Your request waits for them there: they press “Let them in”.",
			"Then press “{button}” in {market} again and sign in. You come straight to the purchase.",
		}},
	},
	atPurchase: {
		fault.Denied: {title: "This page is of another purchase", todo: append([]string{"Have you set up both? Then open the link in the mail we sent for this one. Otherwise:"}, startAgain...), text: "In this browser you are signed in for a different purchase, perhaps of a different {account}."},
		fault.Forged: {title: "Nobody is signed in here", todo: append([]string{"Open this page in the browser you used before, or open the link in our mail again. If neither works:"}, startAgain...), text: "The page of a purchase opens only in a browser in which you confirmed who you are, for 30 days."},
		fault.Gone:   {title: "The join key was shown already", todo: []string{"Look where you copied it to.", "If it is lost, make a new one on the purchase page."}},
	},
	atReferral: {
		fault.NotFound:    {title: "We do not know this link", todo: []string{"Open the link exactly as it was given to you.", "Or ask whoever gave it to you."}, text: "It is not complete, or it is not one of ours."},
		fault.Unavailable: {title: "The listing is not open right now", todo: []string{"Try the link again later.", "Or ask the seller."}},
	},
	atEnter: {fault.Gone: {title: "This sign-in link is used up", todo: operatorLink, text: "Each link works once, and for a day."}},
	atOperator: {fault.Forged: {
		title: "Operators only", todo: append([]string{"Open the one-time link that the server printed when it started, unless it was used."}, operatorLink...),
		text: "These pages are for the operator of this server, and nobody is signed in. If you have bought something, press “{button}” in {market} instead.",
	}},
}

var commonNotices = map[fault.Class]notice{
	fault.NotFound:    {title: "There is no such page", text: "The address is not one of ours.", todo: []string{"If it is from a mail, open it exactly as it is there.", "To reach your purchase otherwise, press “{button}” in {market} again."}},
	fault.Throttled:   {title: "A little too fast", text: "Please wait a moment, then try again."},
	fault.Unavailable: {title: "We cannot answer right now", text: "This is our trouble or the marketplace's, not yours. Nothing is lost; please try again in a minute."},
	fault.Unsure:      {title: "We cannot answer right now", text: "This is our trouble or the marketplace's, not yours. Nothing is lost; please try again in a minute."},
	"":                {title: "Something went wrong on our side", text: "It is recorded, and nothing is lost. Please try again in a minute."},
}

// failPage shows an error to a person.
func (s *Server) failPage(c echo.Context, err error, p problem, rid string) error {
	n, found := notice{}, false
	if at, ok := errors.AsType[*placedError](err); ok {
		n, found = notices[at.place][p.class]
	}
	if !found {
		n, found = commonNotices[p.class]
	}
	v := console.Notice{Site: s.Site, Status: p.status, Title: p.title, Text: p.detail, RequestID: rid}
	if found {
		m := s.market(s.marketOf(c))
		v.Title, v.Todo = worded(m, n.title), make([]string, len(n.todo))
		for i, step := range n.todo {
			v.Todo[i] = worded(m, step)
		}
		if n.text != "" {
			v.Text = worded(m, n.text)
		}
	}
	if v.Text == "" {
		v.Text = "Nothing was done."
	}
	if p.class == fault.Gone && c.Param("id") != "" {
		v.LinkText, v.LinkHref = "Back to the purchase", "/purchases/"+c.Param("id")
	}
	return s.page(c, p.status, console.NoticePage(v))
}
