package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/console"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

// groupRows is how many purchases of one group the overview shows.
const groupRows = 20

// overviewPage answers what is stuck and who must act.
func (s *Server) overviewPage(c echo.Context) error {
	ctx := c.Request().Context()
	v := console.Overview{Site: s.Site}
	you := console.WaitingGroup{ID: "you", Title: "Needs you", Lead: "Nothing of this goes on until somebody does something.", Empty: "Nothing needs you."}
	market := console.WaitingGroup{ID: "marketplace", Title: "Waits for a marketplace", Lead: "We ask again by ourselves.", Empty: "Nothing waits for a marketplace."}
	buyer := console.WaitingGroup{ID: "buyer", Title: "Waits for its buyer", Lead: "Whoever gave an address finds the link in their mail; the outbox has it too.", Empty: "Nothing waits for a buyer."}
	itself := console.WaitingGroup{ID: "itself", Title: "Goes on by itself", Lead: "Under way, or tried again until it works.", Empty: "Nothing is under way."}
	if err := s.waitingWork(ctx, &you, &itself); err != nil {
		return err
	}
	if err := s.waitingFindings(ctx, &v, &you); err != nil {
		return err
	}
	counts, err := s.Intake.Counts(ctx)
	if err != nil {
		return err
	}
	v.Received, v.Copies, v.Conflicts, v.Waiting = counts.Received, counts.Duplicates, counts.Conflicts, counts.Quarantined
	if err := s.waitingMessages(ctx, &you); err != nil {
		return err
	}
	groups := map[console.Acts]*console.WaitingGroup{console.ActsYou: &you, console.ActsMarketplace: &market, console.ActsBuyer: &buyer, console.ActsItself: &itself}
	if err := s.waitingPurchases(ctx, &v, groups); err != nil {
		return err
	}
	v.Groups = []console.WaitingGroup{you, market, buyer, itself}
	v.RedisLost, _ = s.Fleet.Lost()
	if v.Stations, err = s.stations(ctx); err != nil {
		return err
	}
	return s.page(c, http.StatusOK, console.OverviewPage(v))
}

// waitingWork adds work that stopped, which is the operator's, and work that
// keeps failing, which goes on.
func (s *Server) waitingWork(ctx context.Context, you, itself *console.WaitingGroup) error {
	rows, err := s.Work.Stuck(ctx, pageRows)
	if err != nil {
		return err
	}
	for _, w := range rows {
		r := console.WaitingRow{What: "Work: " + w.Kind, About: w.Subject, Why: w.Error, Since: w.DueAt, Note: fmt.Sprintf("%s, %s", strings.ReplaceAll(string(w.Class), "_", " "), tries(w.Attempts))}
		if strings.HasPrefix(w.Subject, "sub_") {
			r.Href = "/operator/subscriptions/" + w.Subject
		}
		if w.Class == "" {
			r.Note = tries(w.Attempts)
		}
		if w.Stopped {
			r.State, r.Tone = "stopped", "attention"
			you.Rows = append(you.Rows, r)
		} else {
			r.State, r.Tone = "trying", "busy"
			itself.Rows = append(itself.Rows, r)
		}
	}
	return nil
}

func tries(n int) string {
	if n == 1 {
		return "tried once"
	}
	return fmt.Sprintf("tried %d times", n)
}

func (s *Server) waitingFindings(ctx context.Context, v *console.Overview, you *console.WaitingGroup) error {
	open, err := s.Metering.Findings(ctx, true)
	if err != nil {
		return err
	}
	v.Findings = len(open)
	if len(open) > 0 {
		oldest := open[len(open)-1] // newest first
		you.Rows = append(you.Rows, console.WaitingRow{
			What: many(len(open), "open finding", "open findings"), About: "for " + owners(open), Href: "/operator/findings", State: "open", Tone: "attention",
			Why: "somebody must look at each and say why it is settled", Since: oldest.OpenedAt,
		})
	}
	return nil
}

func owners(all []billing.Finding) string {
	var out []string
	for _, f := range all {
		if f.Owner != "" && !slices.Contains(out, f.Owner) {
			out = append(out, f.Owner)
		}
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func many(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

// waitingMessages adds what is in quarantine, as one line each.
func (s *Server) waitingMessages(ctx context.Context, you *console.WaitingGroup) error {
	kept, err := s.Intake.Quarantine(ctx, "", pageRows)
	if err != nil {
		return err
	}
	if len(kept) > 0 {
		newest := kept[0]
		you.Rows = append(you.Rows, console.WaitingRow{
			What: upTo(len(kept), "message in quarantine", "messages in quarantine"), About: string(newest.ID), Href: "/operator/quarantine", State: "quarantined", Tone: "attention",
			Why: newest.Reason, Note: "the newest, of " + markets[newest.Marketplace].Name, Since: newest.ReceivedAt,
		})
	}
	usage, err := s.Metering.Quarantined(ctx)
	if err != nil {
		return err
	}
	if len(usage) > 0 {
		oldest := usage[0]
		you.Rows = append(you.Rows, console.WaitingRow{
			What: many(len(usage), "usage event in quarantine", "usage events in quarantine"), About: oldest.Event.Source, Href: "/operator/quarantine#usage", State: "quarantined", Tone: "attention",
			Why: strings.ReplaceAll(string(oldest.Reason), "_", " "), Note: "the oldest", Since: oldest.ReceivedAt,
		})
	}
	return nil
}

// upTo counts a list that was cut at pageRows.
func upTo(n int, one, more string) string {
	if n == pageRows {
		return fmt.Sprintf("%d or more %s", n, more)
	}
	return many(n, one, more)
}

// waitingPurchases counts purchases by state and puts those that wait into the
// group of who must act.
func (s *Server) waitingPurchases(ctx context.Context, v *console.Overview, groups map[console.Acts]*console.WaitingGroup) error {
	states, waiting := map[subscription.State]int{}, map[console.Acts]int{}
	looked, next, err := s.scan(ctx, subscription.Filter{}, func(sub subscription.Subscription) (bool, error) {
		st := sub.State(s.Now())
		states[st]++
		if st == subscription.StateRejected {
			return false, nil // nobody waits for it; it lives on if the buyer tries again
		}
		row, err := s.purchaseRow(ctx, sub)
		if err != nil {
			return false, err
		}
		g := groups[row.Acts]
		if g == nil {
			return false, nil
		}
		if waiting[row.Acts]++; waiting[row.Acts] <= groupRows {
			g.Rows = append(g.Rows, waitingPurchase(row))
		} else {
			g.More = console.PurchaseQuery{Acts: g.ID}.Href("")
		}
		return false, nil
	})
	if err != nil {
		return err
	}
	v.Purchases, v.Part = looked, next != ""
	for _, st := range subscription.States {
		if states[st] > 0 {
			v.States = append(v.States, console.StateCount{State: string(st), Count: states[st]})
		}
	}
	return nil
}

func waitingPurchase(row console.PurchaseRow) console.WaitingRow {
	r := console.WaitingRow{What: row.Name, About: row.ID, Href: "/operator/subscriptions/" + row.ID, State: row.State, Tone: row.Tone(), Why: row.Why, Note: row.Marketplace, Since: row.BoughtAt}
	switch {
	case row.Why == "":
		r.Why = "waits for " + row.Waiting
	case row.Waiting != "":
		r.Note = "Waits for " + row.Waiting + " · " + row.Marketplace
	}
	return r
}

var stationWords = []struct {
	station     billing.Station
	name, holds string
}{
	{billing.StationIngest, "Quarantined", "usage events"},
	{billing.StationSeal, "To be sealed", "meters with open units"},
	{billing.StationSubmit, "To be sent", "frozen records"},
	{billing.StationAcknowledge, "To be answered", "records without a clear answer"},
}

func (s *Server) stations(ctx context.Context) ([]console.Station, error) {
	ages, err := s.Metering.Ages(ctx)
	if err != nil {
		return nil, err
	}
	var out []console.Station
	for _, w := range stationWords {
		a := ages[w.station]
		out = append(out, console.Station{Name: w.name, Holds: w.holds, Waiting: a.Waiting, Oldest: a.Oldest})
	}
	return out, nil
}
