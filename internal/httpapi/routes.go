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
	e.Use(s.identify, s.recover, s.headers, s.deadline)

	// Anybody, about us.
	e.GET("/healthz", s.health)
	e.GET("/readyz", s.ready)
	e.GET("/assets/*", echo.WrapHandler(console.Assets()))
	e.GET("/", s.home)

	// Marketplaces, and browsers that come from one: other origins are expected.
	aws := e.Group("/aws", s.bound(s.Limits.Body))
	aws.POST("/events", s.awsEvents, s.counted("aws"))
	aws.POST("/register", s.awsRegister)
	aws.GET("/register", s.awsHelp)

	// Buyers. The link is the guard of a claim, the session that of a purchase.
	buyer := e.Group("", s.bound(s.Limits.Body), s.sameOrigin, s.private)
	buyer.GET("/claim/:token", s.claimPage)
	buyer.POST("/claim/:token/email", s.claimEmail)
	buyer.POST("/claim/:token/invite", s.claimInvite)
	buyer.GET("/claim/:token/sent", s.claimSent)
	buyer.GET("/verify/:token", s.verifyPage)
	buyer.POST("/verify/:token", s.verify)
	owner := buyer.Group("/purchases/:id", s.requireBuyer)
	owner.GET("", s.purchasePage)
	owner.GET("/name", s.namePage)
	owner.POST("/name", s.name)
	owner.POST("/reveal", s.reveal)
	owner.POST("/new-key", s.newKey)
	owner.GET("/invite", s.invitePage)
	owner.POST("/invite", s.invite)
	owner.POST("/admit", s.admit)

	// Operators in a browser.
	door := e.Group("/operator", s.bound(s.Limits.Body), s.sameOrigin, s.private)
	door.GET("/enter/:token", s.enterPage)
	door.POST("/enter/:token", s.enter)
	operator := door.Group("", s.requireOperator)
	operator.GET("", s.stuckPage)
	operator.GET("/outbox", s.outboxPage)
	operator.GET("/quarantine", s.quarantinePage)
	operator.POST("/quarantine/deliveries/:id/replay", s.replayDeliveryPage)
	operator.POST("/quarantine/usage/:id/replay", s.replayUsagePage)
	operator.POST("/leave", s.leave)

	// Programs, with the operator's key. What openapi.yaml describes is generated.
	e.POST("/v1/usage", s.usage, s.bound(s.Limits.UsageBody), s.requireKey(identity.Operator))
	v1 := e.Group("", s.bound(s.Limits.Body), s.requireKey(identity.Operator))
	api.RegisterHandlers(v1, api.NewStrictHandler(operations{s}, nil))
}
