package httpapi

import (
	"github.com/labstack/echo/v4"

	"github.com/tailmarket/tailmarket/internal/console"
	"github.com/tailmarket/tailmarket/internal/httpapi/api"
	"github.com/tailmarket/tailmarket/internal/identity"
)

// routes mounts every route with its guard. There are no others; /metrics and
// the profiles are on the private listener (telemetry).
func (s *Server) routes() {
	e := s.echo
	e.Use(s.identify, s.recover, s.headers, s.deadline, s.readable)

	// Anybody, about us.
	e.GET("/healthz", s.health)
	e.GET("/readyz", s.ready)
	e.GET("/assets/*", echo.WrapHandler(console.Assets()))
	e.GET("/", s.home)

	// Marketplaces, and browsers that come from one: other origins are expected.
	s.mount(e)

	// Whoever follows a partner's link, on the way to a listing.
	e.GET("/r/:token", s.referral, s.private)

	// Buyers. The link is the guard of a claim, the session that of a purchase.
	visit := e.Group("/claim/:token", s.bound(s.Limits.Body), s.sameOrigin, s.private)
	visit.GET("", s.claimPage)
	visit.POST("/email", s.claimEmail)
	visit.POST("/invite", s.claimInvite)
	visit.POST("/continue", s.continueClaim)
	visit.POST("/sign-in", s.signIn)
	visit.GET("/sent", s.claimSent)
	visit.GET("/email", s.backToClaim) // where a form was shown again
	visit.GET("/invite", s.backToClaim)
	visit.GET("/continue", s.backToClaim)
	visit.GET("/sign-in", s.backToClaim)
	if s.SignIn != nil {
		e.GET(SignedInPath, s.signedIn, s.private)
	}
	proof := e.Group("/verify/:token", s.bound(s.Limits.Body), s.sameOrigin, s.private)
	proof.GET("", s.verifyPage)
	proof.POST("", s.verify)
	owner := e.Group("/purchases/:id", s.bound(s.Limits.Body), s.sameOrigin, s.private, s.requireBuyer)
	owner.GET("", s.purchasePage)
	owner.GET(livePath, s.live)
	owner.GET("/name", s.namePage)
	owner.POST("/name", s.name)
	owner.POST("/reveal", s.reveal)
	owner.POST("/new-key", s.newKey)
	owner.GET("/invite", s.invitePage)
	owner.POST("/invite", s.invite)
	owner.POST("/admit", s.admit)
	owner.GET("/reveal", s.backToPurchase) // where the key was shown

	// Operators in a browser.
	door := e.Group("/operator", s.bound(s.Limits.Body), s.sameOrigin, s.private)
	door.GET("/enter/:token", s.enterPage)
	door.POST("/enter/:token", s.enter)
	operator := door.Group("", s.requireOperator)
	operator.GET("", s.overviewPage)
	operator.GET(livePath, s.live)
	operator.GET("/subscriptions", s.purchasesPage)
	operator.GET("/subscriptions/:id", s.storyPage)
	operator.GET("/subscriptions/:id"+livePath, s.live)
	operator.GET("/subscriptions/:id/hours", s.hoursPage)
	operator.POST("/subscriptions/:id/change", s.decideChangePage)
	operator.GET("/subscriptions/:id/change", s.backToStory) // where a form was shown again
	operator.GET("/units", s.unitsPage)
	operator.GET("/units/verdict", s.unitsVerdict)
	operator.POST("/records/:id/ruling", s.rulePage)
	operator.GET("/records/:id/ruling", s.backToUnits) // where a form was shown again
	operator.GET("/findings", s.findingsPage)
	operator.POST("/findings/:id/close", s.closeFindingPage)
	operator.GET("/findings/:id/close", s.backToFindings) // where a form was shown again
	operator.GET("/outbox", s.outboxPage)
	operator.GET("/channels", s.channelsPage)
	operator.GET("/quarantine", s.quarantinePage)
	operator.POST("/quarantine/deliveries/:id/replay", s.replayDeliveryPage)
	operator.POST("/quarantine/usage/:id/replay", s.replayUsagePage)
	operator.POST("/leave", s.leave)

	// Programs, with the operator's key; usage also with a key of its sources. What openapi.yaml describes is generated.
	e.POST("/v1/usage", s.usage, s.bound(s.Limits.UsageBody), s.requireProducer)
	api.RegisterHandlers(guarded{e, []echo.MiddlewareFunc{s.bound(s.Limits.Body), s.requireKey(identity.Operator)}}, api.NewStrictHandler(operations{s}, []api.StrictMiddlewareFunc{asksRight}))
}

// guarded puts guards before generated routes. A group without a prefix would
// put them before every unknown address too.
type guarded struct {
	*echo.Echo
	guards []echo.MiddlewareFunc
}

func (g guarded) GET(path string, h echo.HandlerFunc, m ...echo.MiddlewareFunc) *echo.Route {
	return g.Echo.GET(path, h, append(g.guards, m...)...)
}

func (g guarded) POST(path string, h echo.HandlerFunc, m ...echo.MiddlewareFunc) *echo.Route {
	return g.Echo.POST(path, h, append(g.guards, m...)...)
}
