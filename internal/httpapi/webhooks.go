package httpapi

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/tailmarket/tailmarket/internal/console"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// door is how one marketplace's messages and buyers come in.
type door struct {
	id    marketplace.ID
	field string // carries a buyer's token: of a form that the marketplace posts, or of the address
	posts bool
	// strict: a 4xx to a message is a decision about a purchase, so only a decision
	// and a message that failed its check may have one.
	strict bool
}

var doors = []door{
	{id: marketplace.AWS, field: "x-amzn-marketplace-token", posts: true},
	{id: marketplace.GCP, field: "x-gcp-marketplace-token", posts: true},
	// A buyer comes by GET, and a 4xx refuses a change ("Implement a webhook on the SaaS
	// service", 2025).
	{id: marketplace.Azure, field: "token", strict: true},
}

// mount gives the marketplaces that are set up their addresses.
func (s *Server) mount(e *echo.Echo) {
	for _, d := range doors {
		if !slices.Contains(s.Markets, d.id) {
			continue
		}
		at, bound := "/"+string(d.id), s.bound(s.Limits.Body)
		e.POST(at+"/events", s.events(d), s.counted(string(d.id)), d.onlyDecisions, bound)
		e.GET(at+"/register", s.register(d), bound)
		if d.posts {
			e.POST(at+"/register", s.register(d), bound)
		}
	}
}

// marketOf is the marketplace of a door's address, or none.
func (*Server) marketOf(c echo.Context) marketplace.ID {
	first, _, _ := strings.Cut(strings.TrimPrefix(c.Request().URL.Path, "/"), "/")
	if _, ok := markets[marketplace.ID(first)]; ok {
		return marketplace.ID(first)
	}
	return ""
}

// events takes a marketplace's message. The answer leaves after the commit; what it
// means is decided at the error edge.
func (s *Server) events(d door) echo.HandlerFunc {
	return func(c echo.Context) error {
		message, err := s.readDelivery(c, d.id)
		if err != nil {
			return err
		}
		if err := s.Intake.Accept(c.Request().Context(), message); err != nil {
			return err
		}
		return c.NoContent(http.StatusOK)
	}
}

// onlyDecisions keeps a strict door from refusing what was only not understood.
func (d door) onlyDecisions(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		err := next(c)
		if err == nil || !d.strict || fault.Is(err, fault.Forged) || fault.Is(err, fault.Refused) {
			return err
		}
		return fault.Wrap(fault.Unavailable, err, "The message was not taken. Please send it again.")
	}
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
	maxFields  = 32
	maxToken   = 8 << 10
	needsToken = "This address takes a {token} from {market}, and none came with the request."
)

// register takes a buyer whom a marketplace sends with a token; without one it is help.
func (s *Server) register(d door) echo.HandlerFunc {
	return func(c echo.Context) error {
		t, came, err := readToken(c, d)
		switch {
		case err != nil:
			return err
		case !came:
			return s.registerHelp(c, d, http.StatusOK, "")
		case t.Value == "" || len(t.Value) > maxToken:
			return s.registerHelp(c, d, http.StatusBadRequest, worded(s.market(d.id), needsToken))
		}
		claim, err := s.Intake.Arrive(c.Request().Context(), d.id, t)
		switch {
		case fault.Is(err, fault.Invalid) && wantsPage(c.Request()):
			return s.registerHelp(c, d, http.StatusBadRequest, problemOf(err).detail)
		case err != nil:
			return placed(atRegister, err)
		}
		return c.Redirect(http.StatusSeeOther, "/claim/"+url.PathEscape(claim))
	}
}

// readToken reads what the browser brought. A token in an address is decoded once, by
// the parsing of the address; came is false for a plain visit.
func readToken(c echo.Context, d door) (t marketplace.Token, came bool, err error) {
	fields := c.Request().URL.Query()
	if c.Request().Method == http.MethodPost {
		if fields, err = readForm(c); err != nil {
			return t, false, err
		}
	} else if d.posts || !fields.Has(d.field) {
		return t, false, nil
	}
	t = marketplace.Token{Value: fields.Get(d.field), Form: map[string]string{}}
	for name := range fields {
		if name != d.field {
			t.Form[name] = fields.Get(name)
		}
	}
	return t, true, nil
}

func (s *Server) registerHelp(c echo.Context, d door, status int, problem string) error {
	return s.page(c, status, console.HelpPage(s.Site, s.market(d.id), problem))
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
