package httpapi

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/console"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/identity"
)

// enterPage only asks: a preview of the link must not spend it.
func (s *Server) enterPage(c echo.Context) error {
	return s.page(c, http.StatusOK, console.EnterPage(s.Site, c.Param("token")))
}

// enter spends a one-time link and starts the operator's session.
func (s *Server) enter(c echo.Context) error {
	token, session, err := s.Sessions.Enter(c.Request().Context(), c.Param("token"))
	if err != nil {
		return placed(atEnter, err)
	}
	c.SetCookie(s.cookie(operatorCookie, "/operator", token, session))
	return c.Redirect(http.StatusSeeOther, "/operator")
}

// leave signs the operator out.
func (s *Server) leave(c echo.Context) error {
	if k, err := c.Cookie(operatorCookie); err == nil {
		if err := s.Sessions.End(c.Request().Context(), k.Value); err != nil {
			return err
		}
	}
	c.SetCookie(s.cookie(operatorCookie, "/operator", "", identity.Session{}))
	return c.Redirect(http.StatusSeeOther, "/operator")
}

const pageRows = 50

func (s *Server) outboxPage(c echo.Context) error {
	mails, err := s.Mail.Outbox(c.Request().Context(), id.Message(c.QueryParam("after")), pageRows)
	if err != nil {
		return err
	}
	v := console.Outbox{Site: s.Site, Sends: s.SendsMail}
	for _, m := range mails {
		v.Mails = append(v.Mails, console.OutboxMail{
			ID: string(m.ID), Purpose: string(m.Purpose), To: m.Address, Subject: m.Subject, Text: m.Text, Link: m.URL(s.Base), State: string(m.State), Note: m.Note, QueuedAt: m.At,
		})
	}
	if len(mails) == pageRows {
		v.Next = string(mails[pageRows-1].ID)
	}
	return s.page(c, http.StatusOK, console.OutboxPage(v))
}

func (s *Server) quarantinePage(c echo.Context) error {
	done := ""
	if c.QueryParam("done") == "replayed" {
		done = "It was read again and applied."
	}
	return s.showQuarantine(c, http.StatusOK, done, "")
}

func (s *Server) showQuarantine(c echo.Context, status int, done, problem string) error {
	ctx := c.Request().Context()
	kept, err := s.Intake.Quarantine(ctx, id.Delivery(c.QueryParam("deliveries")), pageRows)
	if err != nil {
		return err
	}
	usage, err := s.Metering.Quarantined(ctx)
	if err != nil {
		return err
	}
	page, next := cut(usage, func(q billing.Quarantined) string { return identText(q.Ident) }, c.QueryParam("usage"), pageRows)
	v := console.Quarantine{Site: s.Site, Done: done, Problem: problem, UsageNext: next}
	for _, k := range kept {
		v.Deliveries = append(v.Deliveries, console.QuarantinedDelivery{
			ID: string(k.ID), Marketplace: markets[k.Marketplace].Name, Kind: k.Kind, Channel: string(k.Channel), Reason: k.Reason, ReceivedAt: k.ReceivedAt, Copies: k.Copies,
		})
	}
	if len(kept) == pageRows {
		v.DeliveriesNext = string(kept[pageRows-1].ID)
	}
	for _, q := range page {
		v.Usage = append(v.Usage, console.QuarantinedEvent{
			ID: identText(q.Ident), Source: q.Event.Source, Event: q.Event.ID, Subject: q.Event.Subject, Meter: q.Event.Meter, Quantity: q.Event.Quantity,
			Reason: string(q.Reason), UsedAt: q.Event.UsedAt, ReceivedAt: q.ReceivedAt,
		})
	}
	return s.page(c, status, console.QuarantinePage(v))
}

func (s *Server) replayDeliveryPage(c echo.Context) error {
	ctx := c.Request().Context()
	return s.replayed(c, s.Intake.Replay(ctx, id.Delivery(c.Param("id")), principal(ctx).Actor))
}

func (s *Server) replayUsagePage(c echo.Context) error {
	ident, err := parseIdent(c.Param("id"))
	if err != nil {
		return err
	}
	got, err := s.Metering.Replay(c.Request().Context(), ident)
	if err == nil && got.Result != billing.Accepted && got.Result != billing.Duplicate {
		err = fault.New(fault.Refused, "It still waits: %s.", got.Reason)
	}
	return s.replayed(c, err)
}

// replayed says on the page what became of a replay; our own trouble goes to the
// error edge.
func (s *Server) replayed(c echo.Context, err error) error {
	if err == nil {
		return c.Redirect(http.StatusSeeOther, "/operator/quarantine?done=replayed")
	}
	if p := problemOf(err); p.status < http.StatusInternalServerError && p.detail != "" {
		return s.showQuarantine(c, p.status, "", p.detail)
	}
	return err
}
