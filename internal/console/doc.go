// Package console is the pages: what a buyer sees between the marketplace's
// button and a working network, and what an operator looks at: what is stuck and
// who must act, a purchase's whole story, every hour with its calls and answers,
// where every unit is. Every page works without JavaScript; scripts only save
// reloads and copying, and draw a chart of a table that is on the page anyway.
//
// It owns markup, style and the words on pages. It leaves sessions, forms'
// effects and status codes to httpapi, and every fact on a page to the room that
// knows it: a page gets a view and shows it.
//
// Pages a buyer reaches from one marketplace never link to another one. Nothing
// is loaded from elsewhere, and no script or style is inline, so that the
// strictest content security policy holds.
//
// The invariant that costs trust: a page never shows a join key but the one
// answer that reveals it.
package console

//go:generate go tool -modfile=../../tools.mod templ generate
