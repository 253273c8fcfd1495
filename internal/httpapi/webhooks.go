package httpapi

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/tailmarket/tailmarket/internal/console"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// awsEvents is the EventBridge API destination. The answer leaves after the
// commit; what it means is decided at the error edge.
func (s *Server) awsEvents(c echo.Context) error {
	d, err := s.readDelivery(c, marketplace.AWS)
	if err != nil {
		return err
	}
	if err := s.Intake.Accept(c.Request().Context(), d); err != nil {
		return err
	}
	return c.NoContent(http.StatusOK)
}

// readDelivery takes the raw body and the headers that verification may need.
func (s *Server) readDelivery(c echo.Context, m marketplace.ID) (marketplace.Delivery, error) {
	r := c.Request()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return marketplace.Delivery{}, fmt.Errorf("read a delivery: %w", err)
	}
	header := make(map[string]string, len(s.EventHeaders))
	for _, name := range s.EventHeaders {
		if v := r.Header.Get(name); v != "" {
			header[strings.ToLower(name)] = v
		}
	}
	return marketplace.Delivery{Marketplace: m, Channel: marketplace.HTTPS, Header: header, Body: body, ReceivedAt: s.Now(), Source: r.URL.Path}, nil
}

const (
	awsToken   = "x-amzn-marketplace-token" // AWS Marketplace's form field
	maxFields  = 32
	maxToken   = 8 << 10
	needsToken = "This address takes a registration token from AWS Marketplace, and none came with the request."
)

// awsRegister takes a buyer whom AWS Marketplace sends with a token.
func (s *Server) awsRegister(c echo.Context) error {
	form, err := readForm(c)
	if err != nil {
		return err
	}
	t := marketplace.Token{Value: form.Get(awsToken), Form: map[string]string{}}
	for name := range form {
		if name != awsToken {
			t.Form[name] = form.Get(name)
		}
	}
	if t.Value == "" || len(t.Value) > maxToken {
		return s.registerHelp(c, http.StatusBadRequest, needsToken)
	}
	claim, err := s.Intake.Arrive(c.Request().Context(), marketplace.AWS, t)
	switch {
	case fault.Is(err, fault.Invalid) && wantsPage(c.Request()):
		return s.registerHelp(c, http.StatusBadRequest, problemOf(err).detail)
	case err != nil:
		return placed(atRegister, err)
	}
	return c.Redirect(http.StatusSeeOther, "/claim/"+url.PathEscape(claim))
}

// awsHelp is what a plain visit sees.
func (s *Server) awsHelp(c echo.Context) error { return s.registerHelp(c, http.StatusOK, "") }

func (s *Server) registerHelp(c echo.Context, status int, problem string) error {
	return s.page(c, status, console.HelpPage(s.Site, problem))
}

// readForm reads a bounded form body; fields of the address are not looked at.
func readForm(c echo.Context) (url.Values, error) {
	if kind, _, _ := strings.Cut(c.Request().Header.Get(echo.HeaderContentType), ";"); strings.TrimSpace(strings.ToLower(kind)) != echo.MIMEApplicationForm {
		return nil, echo.NewHTTPError(http.StatusUnsupportedMediaType)
	}
	body, err := io.ReadAll(c.Request().Body)
	if err != nil {
		return nil, fmt.Errorf("read a form: %w", err)
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || len(form) > maxFields {
		return nil, fault.New(fault.Invalid, "The form cannot be read.")
	}
	return form, nil
}
