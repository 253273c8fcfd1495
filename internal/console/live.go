package console

import (
	"fmt"

	"github.com/a-h/templ"
)

// again is when a part of a page reads itself again: when word comes that it
// changed, and every so many seconds while no word can come (console.js).
func again(seconds int) string { return fmt.Sprintf("every %ds, live from:body", seconds) }

// live makes a part of an operator's page keep itself at the present: stream is
// where word comes from, self the page, part its selector.
func live(stream, self, part string) templ.Attributes {
	return templ.Attributes{
		"data-live": stream, "hx-get": self, "hx-select": part, "hx-swap": "outerHTML", "hx-trigger": again(30), "hx-disinherit": "*",
	}
}

// live keeps the newest page of the story at the present; its charts have hours
// and stay as they are.
func (s Story) live() templ.Attributes {
	if s.Past {
		return nil
	}
	a := live(s.Purchase.path("/live"), s.href(s.Filter, ""), "#at-present")
	a["hx-select-oob"] = "#all-lines"
	return a
}
