package httpapi

import (
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/tailmarket/tailmarket/internal/console"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/partner"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

const (
	referralCookie = "tm_ref_" // and the end of the link's id: one browser may have followed several
	maxReferrals   = 10        // that are looked at of one browser
	referredBy     = "referred_by"
)

// referral takes whoever follows a partner's link: the browser keeps it, and
// goes on to the listing. Nothing can ride through a marketplace's POST, so the
// cookie is read when the buyer comes back, on the GET of the claim page: Lax
// lets it travel there and nowhere with a form of another site.
func (s *Server) referral(c echo.Context) error {
	f, err := s.Partners.Follow(c.Request().Context(), c.Param("token"))
	if err != nil {
		return placed(atReferral, err)
	}
	c.SetCookie(&http.Cookie{
		Name: referralCookie + tail(string(f.Link)), Value: f.Value, Path: "/claim", MaxAge: int(partner.LinkLife.Seconds()),
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: s.secure(),
	})
	return c.Redirect(http.StatusSeeOther, f.Listing)
}

// tail is the part of an id that tells it from its neighbours.
func tail(s string) string { return s[max(0, len(s)-10):] }

// referrals are the links this browser says it followed.
func referrals(c echo.Context) (kept []string) {
	for _, k := range c.Cookies() {
		if strings.HasPrefix(k.Name, referralCookie) && len(kept) < maxReferrals {
			kept = append(kept, k.Value)
		}
	}
	return kept
}

// open reports that nobody holds the visit's purchase yet, so that the visit may
// still tell who brought the buyer.
func open(v subscription.Visit) bool {
	return v.Holder == "" && (v.Claim.State == subscription.ClaimOpen || v.Claim.State == subscription.ClaimMailed)
}

// said keeps the buyer's answer to who referred them, if one was given.
func (s *Server) said(c echo.Context, answer string) error {
	if strings.TrimSpace(answer) == "" {
		return nil
	}
	ctx := c.Request().Context()
	v, err := s.Claims.Visit(ctx, c.Param("token"))
	if err != nil || !open(v) {
		return err
	}
	return s.Partners.Said(ctx, v.Subscription.ID, v.Claim.ID, answer)
}

// shownCustomers bounds a page; the API has them all.
const shownCustomers = 200

// channelsPage answers what each channel has brought, and by which customers.
func (s *Server) channelsPage(c echo.Context) error {
	values, customers, err := s.Partners.Channels(c.Request().Context())
	if err != nil {
		return err
	}
	route, of, one := partner.Route(c.QueryParam("route")), id.Partner(c.QueryParam("partner")), c.QueryParams().Has("route")
	v := console.Channels{Site: s.Site}
	for _, r := range values {
		v.Rows = append(v.Rows, console.ChannelRow{
			Channel: r.Channel(), Route: string(r.Route), Partner: string(r.Partner), Customers: r.Customers, Unpriced: r.Unpriced, Revenue: r.Revenue, Currency: r.Currency,
			Open: one && r.Route == route && r.Partner == of,
		})
	}
	for _, a := range customers {
		if one && (a.Route != route || a.Source.Partner != of) {
			continue
		}
		if len(v.Customers) == shownCustomers {
			v.More = true
			break
		}
		v.Customers = append(v.Customers, console.ChannelCustomer{
			ID: string(a.Customer), Marketplace: markets[marketplaceOf(a)].Name, Account: a.Account, Route: string(a.Route), RouteEvidence: a.RouteEvidence.Text,
			Partner: a.Source.Name, SourceEvidence: a.Source.Evidence.Text, Unknown: texts(a.Unknown),
		})
	}
	if one {
		v.Only = partner.ChannelValue{Route: route, Partner: of, Name: nameOf(customers, of)}.Channel()
	}
	return s.page(c, http.StatusOK, console.ChannelsPage(v))
}

func nameOf(customers []partner.Attribution, of id.Partner) string {
	for _, a := range customers {
		if a.Source.Partner == of {
			return a.Source.Name
		}
	}
	return string(of)
}

func texts(of []partner.Evidence) []string {
	out := make([]string, len(of))
	for i, e := range of {
		out[i] = e.Text
	}
	return out
}

// askAgain shows the claim form again when the answer was the trouble.
func (s *Server) askAgain(c echo.Context, err error, typed, answer string) error {
	if !fault.Is(err, fault.Invalid) {
		return placed(atClaim, err)
	}
	return s.showClaim(c, http.StatusBadRequest, claimForm{typed: typed, answer: answer, answerError: problemOf(err).detail})
}
