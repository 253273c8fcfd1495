package httpapi

import (
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
)

const (
	livePath    = "/live"          // below the page it is for, so that the page's own guard and cookie serve it
	liveStreams = 1000             // at once; more pages ask again by themselves, as without JavaScript's help
	liveLife    = 5 * time.Minute  // then the browser connects again, and is asked again who it is
	liveBeat    = 20 * time.Second // keeps proxies from hanging up
	liveRest    = time.Second      // between two words to the page of a purchase: what happens meanwhile is one
)

// Topic is under which the replicas tell each other that a purchase has changed.
func Topic(sub id.Subscription) string { return "subscription/" + string(sub) }

// live tells a page that what it shows may have changed, until it is closed; the
// page of one purchase hears of that one, all others of any. It says nothing of
// what: the page reads itself again, past its own guard.
func (s *Server) live(c echo.Context) error {
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		return fault.New(fault.Unavailable, "Too many pages are watched at once. This one asks by itself from time to time.")
	}
	topic, rest := "", 5*liveRest // such a page reads a lot
	if sub := c.Param("id"); sub != "" {
		topic, rest = Topic(id.Subscription(sub)), liveRest
	}
	changed, stop := s.Fleet.Bus.Watch(topic)
	defer stop()
	control := http.NewResponseController(c.Response())
	_ = control.SetWriteDeadline(time.Time{}) // the server's limit is for answers that end
	c.Response().Header().Set(echo.HeaderContentType, "text/event-stream")
	c.Response().Header().Set("X-Accel-Buffering", "no")
	c.Response().WriteHeader(http.StatusOK)
	say := func(text string) error {
		if _, err := io.WriteString(c.Response(), text); err != nil {
			return err
		}
		return control.Flush()
	}
	end, beat, rested := time.NewTimer(liveLife), time.NewTicker(liveBeat), time.NewTimer(0)
	defer end.Stop()
	defer beat.Stop()
	defer rested.Stop()
	// The first word is for what changed while the page was on its way.
	word, hear := "data: changed\n\n", (<-chan struct{})(nil)
	for {
		if word != "" {
			if err := say(word); err != nil {
				return nil //nolint:nilerr // the page was closed
			}
		}
		word = ""
		select {
		case <-hear:
			word, hear = "data: changed\n\n", nil
			rested.Reset(rest)
		case <-rested.C:
			hear = changed
		case <-beat.C:
			word = ":\n\n"
		case <-end.C:
			return nil
		case <-c.Request().Context().Done():
			return nil
		case <-s.stopping:
			return nil
		}
	}
}

// lasting reports that an answer has no end of its own.
func lasting(c echo.Context) bool { return strings.HasSuffix(c.Path(), livePath) }
