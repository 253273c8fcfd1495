package console_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/a-h/templ"
	"golang.org/x/net/html"
	"pgregory.net/rapid"

	"github.com/tailmarket/tailmarket/internal/console"
	"github.com/tailmarket/tailmarket/internal/money"
)

// operatorPages are the operator's pages with nothing, one and many.
func operatorPages() map[string]templ.Component {
	out := map[string]templ.Component{"welcome": console.WelcomePage(site, market), "welcome, bare": console.WelcomePage(console.Site{}, console.Market{})}
	acts := []console.Acts{console.ActsYou, console.ActsBuyer, console.ActsMarketplace, console.ActsItself, console.ActsNobody}
	states := []string{"pending", "awaiting_buyer", "awaiting_marketplace", "provisioning", "active", "suspended", "ending", "ended", "rejected"}
	for _, n := range []int{0, 1, 60} {
		o := console.Overview{Site: site, Findings: n, Purchases: n, Part: n > 1, Received: int64(n), Waiting: int64(n), Groups: []console.WaitingGroup{{ID: "you", Title: "Needs you", Empty: "Nothing."}}}
		list := console.Purchases{Site: site, States: []console.Choice{{Value: "active", Label: "active"}}}
		row := console.PurchaseRow{ID: "sub_1", Name: hostile, Marketplace: "AWS Marketplace", Account: hostile, State: "active", Acts: console.ActsNobody}
		story, hours := console.Story{Site: site, Purchase: row}, console.Hours{Site: site, Purchase: row}
		units, found := console.Units{Site: site, Unsure: "0", Broken: n}, console.Findings{Site: site, All: n == 1}
		var points []console.ChartPoint
		for i := range n {
			r := console.PurchaseRow{ID: fmt.Sprint("sub_", i), Name: hostile, State: states[i%len(states)], Acts: acts[i%len(acts)], Why: hostile, Waiting: hostile, BoughtAt: at, EndsAt: at}
			list.Rows = append(list.Rows, r)
			o.States = append(o.States, console.StateCount{State: r.State, Count: i})
			o.Stations = append(o.Stations, console.Station{Name: "Sent", Holds: "records", Waiting: i, Oldest: time.Duration(i) * time.Hour})
			o.Groups[0].Rows = append(o.Groups[0].Rows, console.WaitingRow{What: hostile, About: hostile, Why: hostile, Note: hostile, State: r.State, Href: "javascript:alert(1)", Since: at})
			points = append(points, console.ChartPoint{Hour: at.Add(time.Duration(i*i) * time.Hour), Used: fmt.Sprint(i), Billed: "1"})
			h := console.HourRow{Hour: at, Meter: hostile, Measured: "1234.5", Corrected: "1", State: "accepted"}
			if i%2 == 0 {
				h.Record, h.Reason, h.Answer, h.Parked, h.Final = "rec_1", "slot_taken", "Accepted", true, true
				h.Attempts = []console.AttemptRow{{N: 1, BegunAt: at, Answer: hostile, Detail: hostile, Receipt: hostile}}
				h.Periods = []console.Fact{{Name: "Period", Value: "5"}}
			}
			hours.Rows = append(hours.Rows, h)
			u := console.UnitRow{Subscription: fmt.Sprint("sub_", i/2), Name: hostile, Meter: hostile, Measured: "12.5", CreditLeft: "0"}
			for j := range u.Places {
				u.Places[j] = fmt.Sprint(i * j)
			}
			u.Places[0] = "-3"
			units.Doubts = append(units.Doubts, console.DoubtRow{ID: fmt.Sprint("rec_", i), Subscription: "sub_1", Name: hostile, Meter: hostile, Hour: at, Worth: "1", State: "unsure", Why: hostile, Acts: acts[i%len(acts)], Words: []string{"released", "ruled_accepted", "ruled_unrecorded"}, Late: i%2 == 0, Forgets: i%3 == 0})
			units.Problem, units.Failed, units.Typed = hostile, "rec_0", console.Ruling{Word: "ruled_accepted", Quantity: hostile, Why: hostile, Evidence: hostile}
			units.Rows, units.Totals, units.Problems = append(units.Rows, u), append(units.Totals, u), append(units.Problems, hostile)
			f := console.FindingRow{ID: fmt.Sprint("fnd_", i), Class: []string{"held", "written_off", "news_to_us"}[i%3], Subscription: "sub_1", Meter: hostile, Record: "rec_1", Worth: "1", Owner: hostile, Detail: hostile, OpenedAt: at}
			if i%2 == 1 {
				f.ClosedAt, f.ClosedBy, f.ClosedWhy = at, hostile, hostile
			}
			found.Rows = append(found.Rows, f)
		}
		if n > 0 {
			c, err := console.NewChart("chart-1", hostile, hostile, points, console.Span{}, n > 1)
			if err != nil {
				panic(err)
			}
			story.Charts, hours.Charts = []console.Chart{c}, []console.Chart{c}
			story.Facts, story.Network, story.People = []console.Fact{{Name: "A", Value: hostile}, {Name: "B", At: at}}, []console.Fact{{Name: "C", Value: hostile, Code: true}}, []console.Fact{{Name: "D", Value: hostile}}
			story.Dry, story.Usually, story.Typed, story.Problem = hostile, "a minute", hostile, hostile
			if n > 1 {
				story.Purchase.Change = hostile
			}
			day := console.StoryDay{Day: at}
			for i, k := range console.StoryKinds {
				day.Lines = append(day.Lines, console.StoryLine{At: at, Kind: k, Title: hostile, Detail: hostile, Code: hostile, Effect: at, Quiet: i%2 == 0, Href: "javascript:alert(1)", HrefFor: "There", Usage: []console.DayUse{{Meter: hostile, Used: "1", Billed: "2", Note: hostile}}})
			}
			story.Days = []console.StoryDay{day, {Day: at.AddDate(0, 0, -1), Lines: day.Lines}}
			found.Failed, found.Problem, found.Typed, found.Done = "fnd_0", "say why", hostile, "closed"
			list.Query = console.PurchaseQuery{Text: hostile, State: "active", Acts: "you", After: "sub_0"}
			hours.Meters = []console.Choice{{Value: "m", Label: "m"}}
		}
		if n > 1 {
			list.Next, story.Earlier, hours.Next, units.Next, found.Next, units.Only = "sub_59", "150", "x", "sub_1|m", "fnd_59", "sub_1"
			o.Groups[0].More = "/operator/subscriptions?act=you"
		}
		for name, page := range map[string]templ.Component{
			"overview": console.OverviewPage(o), "purchases": console.PurchasesPage(list), "story": console.StoryPage(story), "hours": console.HoursPage(hours),
			"units": console.UnitsPage(units), "findings": console.FindingsPage(found),
		} {
			out[fmt.Sprint(name, " ", n)] = page
		}
	}
	return out
}

// Every table has a caption and headed columns; a picture has
// words.
func TestTablesAndPicturesCanBeRead(t *testing.T) {
	t.Parallel()
	for name, page := range pages() {
		root, _ := render(t, page)
		for n := range root.Descendants() {
			if n.Type != html.ElementNode {
				continue
			}
			switch n.Data {
			case "table":
				caption := false
				for x := range n.Descendants() {
					caption = caption || x.Data == "caption"
				}
				if !caption {
					t.Errorf("%s: a table without a caption", name)
				}
			case "th":
				if scope, _ := attr(n, "scope"); scope == "" {
					t.Errorf("%s: a heading of nothing", name)
				}
			case "svg":
				role, _ := attr(n, "role")
				if label, _ := attr(n, "aria-label"); role != "img" || label == "" {
					t.Errorf("%s: a picture without words", name)
				}
			}
		}
	}
}

// The page finds what is not where it should be by itself: no number is hidden.
func TestTheOverviewShowsWhatItWasGiven(t *testing.T) {
	t.Parallel()
	_, raw := render(t, operatorPages()["overview 0"])
	for _, says := range []string{"Nothing.", "nothing to look at", `hx-get="/operator/units/verdict"`, `hx-trigger="every 30s, live from:body"`, `<noscript><meta http-equiv="refresh"`} {
		if !strings.Contains(raw, says) {
			t.Errorf("the empty overview lacks %q", says)
		}
	}
	for says, u := range map[string]console.Units{"All found": {Unsure: "0"}, "12,000.5 unsure": {Unsure: "12000.5"}, "2 wrong": {Broken: 2, Unsure: "1"}} {
		if _, raw := render(t, console.UnitsVerdict(u)); !strings.Contains(raw, says) {
			t.Errorf("%+v is shown as %s", u, raw)
		}
	}
}

func TestAChartDrawsEveryHourOnce(t *testing.T) {
	t.Parallel()
	hour := at.Truncate(time.Hour)
	c, err := console.NewChart("c", "Requests", "api_request", []console.ChartPoint{
		{Hour: hour.Add(3 * time.Hour), Used: "7.5", Billed: "7"}, {Hour: hour, Used: "2.5", Billed: ""}, {Hour: hour.Add(3 * time.Hour), Used: "0.5", Billed: "0"},
	}, console.Span{}, false)
	if err != nil {
		t.Fatal(err)
	}
	want := []console.ChartRow{{At: hour, Used: "2.5", Billed: "0"}, {At: hour.Add(3 * time.Hour), Used: "8", Billed: "7"}}
	if c.Bars != 4 || !slices.Equal(c.Rows, want) || c.Used != "10.5" || c.Billed != "7" || c.Per() != "hour" {
		t.Errorf("drawn as %+v", c)
	}
	if _, err := console.NewChart("c", "", "m", []console.ChartPoint{{Hour: hour, Used: "many"}}, console.Span{}, false); err == nil {
		t.Error("what is no number was drawn")
	}
	empty, err := console.NewChart("c", "", "m", nil, console.Span{}, false)
	if err != nil || len(empty.Rows) != 0 {
		t.Errorf("nothing was drawn as %+v, %v", empty, err)
	}
}

// Only a part of the oldest day is known when older hours were left out: a bar
// of it would be too short.
func TestAChartOfDaysLeavesAnUnknownDayOut(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 11, 1, 20, 0, 0, 0, time.UTC)
	var points []console.ChartPoint
	for i := range 10 * 24 {
		points = append(points, console.ChartPoint{Hour: begin.Add(time.Duration(i) * time.Hour), Used: "1", Billed: "1"})
	}
	for partial, want := range map[bool]int{false: 11, true: 10} {
		c, err := console.NewChart("c", "", "m", points, console.Span{}, partial)
		if err != nil || c.Per() != "day" || c.Bars != want {
			t.Fatalf("partial %v: %d bars by %s, %v", partial, c.Bars, c.Per(), err)
		}
		if first := c.Rows[0].Used; partial && first != "24" || !partial && first != "4" {
			t.Errorf("partial %v: the first day has %s", partial, first)
		}
	}
}

func TestSumsOfTextAreExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Int64Range(-1<<60, 1<<60).Draw(t, "a"), rapid.Int64Range(-1<<60, 1<<60).Draw(t, "b")
		scale := rapid.IntRange(0, money.MaxScale).Draw(t, "scale")
		got, err := console.Sum(money.Format(a, scale), "", money.Format(b, scale))
		if want := money.Format(a+b, scale); err != nil || got != want {
			t.Fatalf("%d + %d at scale %d is %s, want %s (%v)", a, b, scale, got, want, err)
		}
	})
	if got, err := console.Sum("9000000000000000000", "9000000000000000000"); err != nil || got != "18000000000000000000" {
		t.Errorf("large sums: %s, %v", got, err)
	}
	for _, bad := range []string{"x", "1e3", ".5", "1.2345678", "--1"} {
		if _, err := console.Sum(bad); err == nil {
			t.Errorf("%q was added", bad)
		}
	}
	for text, want := range map[string]string{"0": "0", "999": "999", "1000": "1,000", "-1234567.25": "−1,234,567.25", "": "", "many": "many"} {
		if got := console.Grouped(text); got != want {
			t.Errorf("%q is grouped as %q", text, got)
		}
	}
}
