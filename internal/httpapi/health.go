package httpapi

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/tailmarket/tailmarket/internal/console"
	"github.com/tailmarket/tailmarket/internal/fault"
)

// health says that the process answers.
func (s *Server) health(c echo.Context) error {
	return c.JSON(http.StatusOK, map[string]string{"status": "ok"})
}

// ready says that it can work: the database is there, at the newest schema.
func (s *Server) ready(c echo.Context) error {
	if err := s.Ready(c.Request().Context()); err != nil {
		return fault.Wrap(fault.Unavailable, err, "not ready")
	}
	return c.JSON(http.StatusOK, map[string]string{"status": "ready"})
}

// home leads whoever opens the bare address on: a buyer who strayed, or the
// operator.
func (s *Server) home(c echo.Context) error {
	return s.page(c, http.StatusOK, console.WelcomePage(s.Site, s.market("")))
}
