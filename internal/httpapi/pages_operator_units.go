package httpapi

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/billing/ledger"
	"github.com/tailmarket/tailmarket/internal/console"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
)

// unitsVerdict is the overview's figure that takes its time.
func (s *Server) unitsVerdict(c echo.Context) error {
	if c.Request().Header.Get("Hx-Request") == "" {
		return c.Redirect(http.StatusSeeOther, "/operator/units")
	}
	rep, err := s.Metering.Conservation(c.Request().Context())
	if err != nil {
		return err
	}
	return s.page(c, http.StatusOK, console.UnitsVerdict(console.Units{Broken: rep.Broken, Unsure: rep.Unsure}))
}

// unitsPage says where every unit is, and which wait for a person.
func (s *Server) unitsPage(c echo.Context) error {
	return s.showUnits(c, http.StatusOK, console.Units{Only: c.QueryParam("subscription"), Done: rulingDone[ledger.Answer(c.QueryParam("done"))]})
}

func (s *Server) showUnits(c echo.Context, status int, v console.Units) error {
	ctx := c.Request().Context()
	rep, err := s.Metering.Conservation(ctx)
	if err != nil {
		return err
	}
	v.Site, v.Broken, v.Unsure, v.Problems = s.Site, rep.Broken, rep.Unsure, rep.Problems
	if err := s.doubts(ctx, &v, id.Record(c.QueryParam("doubts"))); err != nil {
		return err
	}
	if v.Totals, err = totals(rep.Meters); err != nil {
		return err
	}
	meters := rep.Meters
	if v.Only != "" {
		if _, err := s.Purchases.Get(ctx, id.Subscription(v.Only)); err != nil {
			return err
		}
		meters = slices.DeleteFunc(slices.Clone(meters), func(m billing.MeterReport) bool { return string(m.Subscription) != v.Only })
	}
	page, next := cut(meters, func(m billing.MeterReport) string { return string(m.Subscription) + "|" + m.Meter }, c.QueryParam("after"), 2*pageRows)
	names := map[id.Subscription]string{}
	for _, m := range page {
		if _, ok := names[m.Subscription]; !ok {
			sub, err := s.Purchases.Get(ctx, m.Subscription)
			if err != nil && !fault.Is(err, fault.NotFound) {
				return err
			}
			names[m.Subscription] = sub.TailnetName
		}
		v.Rows = append(v.Rows, unitRow(m, names[m.Subscription]))
	}
	v.Next = next
	return s.page(c, status, console.UnitsPage(v))
}

func unitRow(m billing.MeterReport, name string) console.UnitRow {
	if name == "" {
		name = string(m.Subscription)
	}
	return console.UnitRow{
		Subscription: string(m.Subscription), Name: name, Marketplace: strings.TrimSuffix(markets[m.Marketplace].Name, " Marketplace"), Meter: m.Meter, Measured: m.Measured, CreditLeft: m.CreditLeft,
		Places: [...]string{m.Open, m.Carried, m.Queued, m.Sent, m.Unsure, m.Held, m.Accepted, m.Included, m.WrittenOff},
	}
}

// findingsPage lists what somebody must look at.
func (s *Server) findingsPage(c echo.Context) error {
	done := ""
	if c.QueryParam("done") == "closed" {
		done = "It is closed."
	}
	return s.showFindings(c, http.StatusOK, console.Findings{Done: done})
}

func (s *Server) showFindings(c echo.Context, status int, v console.Findings) error {
	v.Site, v.All = s.Site, c.QueryParam("show") == "all"
	found, err := s.Metering.Findings(c.Request().Context(), !v.All)
	if err != nil {
		return err
	}
	page, next := cut(found, func(f billing.Finding) string { return string(f.ID) }, c.QueryParam("after"), pageRows)
	v.Next = next
	for _, f := range page {
		v.Rows = append(v.Rows, console.FindingRow{
			ID: string(f.ID), Class: string(f.Class), Subscription: string(f.Subscription), Meter: f.Meter, Record: string(f.Record), Worth: f.Quantity, Owner: f.Owner,
			Detail: f.Detail, OpenedAt: f.OpenedAt, ClosedAt: f.ClosedAt, ClosedBy: f.ClosedBy, ClosedWhy: f.ClosedWhy,
		})
	}
	return s.page(c, status, console.FindingsPage(v))
}

// closeFindingPage closes a finding, with who and why.
func (s *Server) closeFindingPage(c echo.Context) error {
	form, err := readForm(c)
	if err != nil {
		return err
	}
	ctx, why := c.Request().Context(), strings.TrimSpace(form.Get("why"))
	if why == "" {
		return s.showFindings(c, http.StatusBadRequest, console.Findings{Problem: "Say why it is settled; whoever looks later needs to know.", Failed: c.Param("id")})
	}
	if err := s.Metering.CloseFinding(ctx, id.Finding(c.Param("id")), principal(ctx).Actor, why); err != nil {
		return err
	}
	return c.Redirect(http.StatusSeeOther, "/operator/findings?done=closed")
}

func (s *Server) backToFindings(c echo.Context) error {
	return c.Redirect(http.StatusSeeOther, "/operator/findings")
}

// totals adds up each meter over all purchases.
func totals(meters []billing.MeterReport) ([]console.UnitRow, error) {
	var out []console.UnitRow
	at := map[string]int{}
	for _, m := range meters {
		row := unitRow(m, "")
		i, ok := at[m.Meter]
		if !ok {
			at[m.Meter] = len(out)
			row.Subscription, row.Name, row.Marketplace = "", "", ""
			out = append(out, row)
			continue
		}
		sums := []*string{&out[i].Measured, &out[i].CreditLeft}
		adds := []string{row.Measured, row.CreditLeft}
		for j := range row.Places {
			sums, adds = append(sums, &out[i].Places[j]), append(adds, row.Places[j])
		}
		for j := range sums {
			sum, err := console.Sum(*sums[j], adds[j])
			if err != nil {
				return nil, fmt.Errorf("add up %s: %w", m.Meter, err)
			}
			*sums[j] = sum
		}
	}
	slices.SortFunc(out, func(a, b console.UnitRow) int { return strings.Compare(a.Meter, b.Meter) })
	return out, nil
}
