package httpapi

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/billing/ledger"
	"github.com/tailmarket/tailmarket/internal/console"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
)

// doubts adds the records that are held or unsure, with the forms to rule on them.
func (s *Server) doubts(ctx context.Context, v *console.Units, after id.Record) error {
	found, err := s.Metering.Doubts(ctx, id.Subscription(v.Only), after, pageRows)
	if err != nil {
		return err
	}
	names := map[id.Subscription]string{}
	for _, d := range found {
		if _, ok := names[d.Subscription]; !ok {
			sub, err := s.Purchases.Get(ctx, d.Subscription)
			if err != nil && !fault.Is(err, fault.NotFound) {
				return err
			}
			names[d.Subscription] = sub.TailnetName
		}
		v.Doubts = append(v.Doubts, doubtRow(d, names[d.Subscription]))
	}
	if len(found) == pageRows {
		v.DoubtsNext = string(found[pageRows-1].ID)
	}
	return nil
}

func doubtRow(d billing.Doubt, name string) console.DoubtRow {
	if name == "" {
		name = string(d.Subscription)
	}
	r := console.DoubtRow{
		ID: string(d.ID), Subscription: string(d.Subscription), Name: name, Marketplace: strings.TrimSuffix(markets[d.Marketplace].Name, " Marketplace"), Meter: d.Meter, Hour: d.Hour, Slot: d.Slot,
		Worth: d.Quantity, State: string(d.State), Deadline: d.Deadline, Answer: answerOf(d.RecordView), Seen: len(d.Attempts), Acts: console.ActsYou, Late: d.Late, Forgets: d.Forgets,
	}
	switch {
	case d.Reason == ledger.SuspendedHold:
		r.Acts, r.Why = console.ActsBuyer, "the marketplace says that the purchase is suspended; it is sent again by itself when it goes on"
	case d.State == ledger.RecordHeld:
		r.Why = "the marketplace refused it: " + refusalOf(d)
	case len(d.Words) == 0:
		r.Acts, r.Why = console.ActsItself, "a call was cut off, and nobody knows whether it was recorded; the identical record is sent again until the marketplace answers"
	case d.Foreign:
		r.Why = "the marketplace says that it has a record in this slot, and none of our calls explains it"
	case d.Late:
		r.Why = "it may have been recorded, and the marketplace takes nothing for this hour any more"
	default:
		r.Why = "it may have been recorded, and the marketplace might bill the same record a second time"
	}
	for _, w := range d.Words {
		r.Words = append(r.Words, string(w))
	}
	return r
}

// refusalOf is what the marketplace said when it refused a record last.
func refusalOf(d billing.Doubt) string {
	for i := len(d.Attempts) - 1; i >= 0; i-- {
		if a := d.Attempts[i]; a.Answer.Refuses() {
			if a.Detail != "" {
				return answerWord(a.Answer) + ", “" + a.Detail + "”"
			}
			return answerWord(a.Answer)
		}
	}
	return spaced(string(d.Reason))
}

var rulingDone = map[ledger.Answer]string{
	ledger.Released:   "The record is released: it is sent again, unchanged, and the marketplace's answer decides.",
	ledger.RuledThere: "The record counts as accepted, at the quantity you gave. It is never sent again.",
	ledger.RuledGone:  "The record counts as not recorded: it is sent again, unchanged, and the marketplace's answer decides.",
}

// rulePage takes a person's word about a record.
func (s *Server) rulePage(c echo.Context) error {
	form, err := readForm(c)
	if err != nil {
		return err
	}
	ctx, rec := c.Request().Context(), c.Param("id")
	x := billing.Ruling{
		Word: ledger.Answer(form.Get("word")), Quantity: strings.TrimSpace(form.Get("quantity")), Actor: principal(ctx).Actor,
		Why: strings.TrimSpace(form.Get("why")), Evidence: strings.TrimSpace(form.Get("evidence")),
	}
	only := form.Get("only")
	if x.Seen, err = strconv.Atoi(form.Get("seen")); err != nil {
		return fault.New(fault.Invalid, "The form cannot be read.")
	}
	if _, err = s.Metering.Rule(ctx, id.Record(rec), x); err == nil {
		back := url.Values{"done": {string(x.Word)}}
		if only != "" {
			back.Set("subscription", only)
		}
		return c.Redirect(http.StatusSeeOther, "/operator/units?"+back.Encode())
	}
	if p := problemOf(err); (p.status == http.StatusBadRequest || p.status == http.StatusConflict) && p.detail != "" {
		return s.showUnits(c, p.status, console.Units{Only: only, Problem: p.detail, Failed: rec, Typed: console.Ruling{Word: string(x.Word), Quantity: x.Quantity, Why: x.Why, Evidence: x.Evidence}})
	}
	return err
}

func (s *Server) backToUnits(c echo.Context) error {
	return c.Redirect(http.StatusSeeOther, "/operator/units")
}
