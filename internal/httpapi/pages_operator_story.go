package httpapi

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/console"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/provisioning"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

// storyLines is how many lines of a story one page shows.
const storyLines = 150

// storyPage tells all that is known of one purchase, from every room that knows
// something.
func (s *Server) storyPage(c echo.Context) error { return s.showStory(c, http.StatusOK, "", "") }

func (s *Server) showStory(c echo.Context, status int, typed, problem string) error {
	ctx, sub := c.Request().Context(), id.Subscription(c.Param("id"))
	got, err := s.Purchases.Get(ctx, sub)
	if err != nil {
		return err
	}
	net, err := s.Tailnets.View(ctx, sub)
	if err != nil {
		return err
	}
	lines, err := s.Purchases.Story(ctx, sub)
	if err != nil {
		return err
	}
	agreements, err := s.Purchases.Agreements(ctx, sub)
	if err != nil {
		return err
	}
	people, err := s.Claims.People(ctx, sub)
	if err != nil {
		return err
	}
	hours, err := s.Metering.Hours(ctx, sub)
	if err != nil {
		return err
	}
	findings, err := s.Metering.Findings(ctx, false)
	if err != nil {
		return err
	}
	v := console.Story{
		Site: s.Site, Purchase: s.rowOf(got, net), Usually: operatorUsually(got, net, s.Now()), Facts: purchaseFacts(got, agreements), Network: networkFacts(net),
		People: personFacts(people), Typed: typed, Problem: problem, Filter: c.QueryParam("show"), Partial: len(hours) >= console.HourLimit, Past: c.QueryParam("before") != "",
	}
	if net.Dry {
		v.Dry = provisioning.DryText
	}
	if v.Charts, err = s.charts(got.Product, hours); err != nil {
		return err
	}
	all := slices.Concat(tellLines(lines, v.Purchase.Marketplace), tellNetwork(net), tellPeople(people), tellUsage(v.Purchase.ID, hours, s.Now()), tellFindings(findings, sub))
	slices.SortStableFunc(all, func(a, b console.StoryLine) int { return cmp.Or(a.At.Compare(b.At), rank(a.Kind)-rank(b.Kind)) })
	slices.Reverse(all)
	if v.Filter != "" {
		all = slices.DeleteFunc(all, func(l console.StoryLine) bool { return string(l.Kind) != v.Filter })
	}
	v.Days, v.Earlier = days(after(all, c.QueryParam("before")))
	return s.page(c, status, console.StoryPage(v))
}

// decideChangePage is the operator's word about a change that nobody here can
// judge: agreed, or refused for a reason that the buyer reads.
func (s *Server) decideChangePage(c echo.Context) error {
	form, err := readForm(c)
	if err != nil {
		return err
	}
	ctx, agree, reason := c.Request().Context(), form.Get("decision") == "agree", strings.TrimSpace(form.Get("reason"))
	if agree {
		reason = ""
	} else if reason == "" {
		return s.showStory(c, http.StatusBadRequest, "", "Say why; the buyer reads it.")
	}
	err = s.Purchases.DecideChange(ctx, id.Subscription(c.Param("id")), principal(ctx).Actor, agree, reason)
	if fault.Is(err, fault.Conflict) {
		p := problemOf(err)
		return s.showStory(c, p.status, reason, p.detail)
	}
	if err != nil {
		return err
	}
	return s.backToStory(c)
}

func (s *Server) backToStory(c echo.Context) error {
	return c.Redirect(http.StatusSeeOther, "/operator/subscriptions/"+url.PathEscape(c.Param("id")))
}

// rank orders what happened at one instant: what we did follows from what we
// were told.
func rank(k console.StoryKind) int {
	return slices.Index([]console.StoryKind{console.FromMessage, console.FromReader, console.FromPerson, console.FromNetwork, console.FromUs, console.FromUsage, console.FromFinding}, k)
}

// after leaves out what an earlier page has shown: the first n lines.
func after(all []console.StoryLine, before string) (rest []console.StoryLine, shown int) {
	n, err := strconv.Atoi(before)
	if err != nil || n < 0 {
		n = 0
	}
	n = min(n, len(all))
	return all[n:], n
}

// days groups lines, and tells how many were shown when more are left.
func days(all []console.StoryLine, shown int) (out []console.StoryDay, earlier string) {
	if len(all) > storyLines {
		all, earlier = all[:storyLines], strconv.Itoa(shown+storyLines)
	}
	for _, l := range all {
		day := l.At.UTC().Truncate(24 * time.Hour)
		if len(out) == 0 || !out[len(out)-1].Day.Equal(day) {
			out = append(out, console.StoryDay{Day: day})
		}
		out[len(out)-1].Lines = append(out[len(out)-1].Lines, l)
	}
	return out, earlier
}

// operatorUsually is how long the purchase usually waits.
func operatorUsually(sub subscription.Subscription, net provisioning.View, now time.Time) string {
	st := subscription.StatusOf(sub, now)
	switch st.State {
	case subscription.StateProvisioning:
		if net.Usually > 0 {
			return net.Usually.String()
		}
		return ""
	case subscription.StateAwaitingMarketplace, subscription.StateEnding, subscription.StateSuspended:
		return named(st.Usually, markets[sub.Marketplace].Name)
	case subscription.StatePending, subscription.StateAwaitingBuyer, subscription.StateActive, subscription.StateEnded, subscription.StateRejected:
	}
	return ""
}

func purchaseFacts(sub subscription.Subscription, agreements []subscription.Agreement) []console.Fact {
	out := []console.Fact{{Name: "Bought", At: sub.CreatedAt}, {Name: "Account", Value: sub.Account, Code: true}, {Name: "Purchase", Value: sub.Purchase, Code: true}}
	for _, a := range agreements {
		out = append(out, console.Fact{Name: "Agreement", Value: a.Agreement, Code: true})
	}
	out = append(out, console.Fact{Name: "Plan", Value: sub.Plan}, console.Fact{Name: "Customer", Value: string(sub.Customer), Code: true})
	if sub.Predecessor != "" {
		out = append(out, console.Fact{Name: "Continues", Value: string(sub.Predecessor), Code: true})
	}
	out = append(out, console.Fact{Name: "Entitled", At: sub.StartsAt()})
	if !sub.CutOver.IsZero() {
		out = append(out, console.Fact{Name: "Metered", Value: "from " + sub.CutOver.Start().Format("2 Jan 2006 15:04 UTC")})
	}
	out = append(out, console.Fact{Name: "Agreed end", At: sub.Facts.Agreed.At}, console.Fact{Name: "Ended", At: sub.EndsAt()})
	return slices.DeleteFunc(out, func(f console.Fact) bool { return f.Value == "" && f.At.IsZero() })
}

func networkFacts(net provisioning.View) []console.Fact {
	if net.Tailnet == "" {
		return nil
	}
	out := []console.Fact{{Name: "State", Value: spaced(string(net.State))}}
	if net.Step != provisioning.StepNone {
		out = append(out, console.Fact{Name: "Step", Value: string(net.Step) + ": " + net.WaitingFor})
	}
	key := "not made yet"
	switch {
	case !net.RevokedAt.IsZero():
		key = ""
	case net.KeyReady:
		key = "waits for the buyer"
	case net.KeyRevealed:
		key = "shown to the buyer"
	}
	out = append(out, console.Fact{Name: "Join key", Value: key}, console.Fact{Name: "DNS name", Value: net.DNSName, Code: true},
		console.Fact{Name: "Id", Value: string(net.Tailnet), Code: true}, console.Fact{Name: "Remote id", Value: net.RemoteID, Code: true}, console.Fact{Name: "Driver", Value: net.Driver})
	return slices.DeleteFunc(out, func(f console.Fact) bool { return f.Value == "" })
}

func personFacts(people []subscription.Claim) []console.Fact {
	roles := map[subscription.ClaimState]string{subscription.ClaimHolder: "Holds it", subscription.ClaimAdmitted: "Was let in", subscription.ClaimSecond: "Asks to be let in"}
	var out []console.Fact
	for _, p := range people {
		out = append(out, console.Fact{Name: cmp.Or(roles[p.State], capitalised(spaced(string(p.State)))), Value: p.Email})
	}
	return out
}

func spaced(code string) string { return strings.ReplaceAll(code, "_", " ") }

func capitalised(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// eventWords says what an event or fact means; a kind without words is shown as
// it is.
var eventWords = map[string]string{
	string(marketplace.PurchaseSeen):    "The purchase was announced",
	string(marketplace.Claimed):         "The buyer came from the marketplace",
	string(marketplace.Entitled):        "The buyer is entitled",
	string(marketplace.Denied):          "The purchase was refused",
	string(marketplace.ChangeRequested): "A change of terms was asked for",
	string(marketplace.Changed):         "The terms changed",
	string(marketplace.ChangeWithdrawn): "A change of terms was withdrawn",
	string(marketplace.Renewed):         "It goes on under another agreement",
	string(marketplace.Suspended):       "It was suspended",
	string(marketplace.Resumed):         "The suspension was lifted",
	string(marketplace.EndScheduled):    "An end was agreed",
	string(marketplace.EndReverted):     "The agreed end was taken back",
	string(marketplace.Ending):          "It begins to end",
	string(marketplace.Ended):           "It ended",
	string(marketplace.AccountChanged):  "The account changed",
	string(marketplace.AccountDeleted):  "The account was deleted",
	string(marketplace.OfferChanged):    "The offer changed",
	string(marketplace.Observed):        "We looked at the marketplace",
	string(marketplace.Noted):           "A message that asks for nothing",

	factMark + string(subscription.FactClaimed):   "Somebody confirmed their address",
	factMark + string(subscription.FactLive):      "We meter this purchase",
	factMark + string(subscription.FactReady):     "The network was reported ready",
	factMark + string(subscription.FactConfirmed): "The marketplace took our activation",
	factMark + string(subscription.FactRevoked):   "Access was taken away",
	factMark + string(subscription.FactClosed):    "Closed: nothing is left to send",
	factMark + string(subscription.FactReplaced):  "Another purchase continues it",
	factMark + string(subscription.FactBlocked):   "It was held back",
	factMark + string(subscription.FactVerdict):   "A change was decided",
	factMark + string(subscription.FactTold):      "The marketplace was told what we decided",
}

// factMark begins the kind of a line that is a fact of ours.
const factMark = "fact:"

// tellLines tells deliveries, what the marketplace answered when asked, facts
// and decisions.
func tellLines(lines []subscription.Line, market string) []console.StoryLine {
	out := make([]console.StoryLine, 0, len(lines))
	for _, l := range lines {
		t := console.StoryLine{At: l.RecordedAt, Kind: console.FromReader, Title: eventWords[l.Kind], Code: string(l.Delivery), Quiet: !l.Changed}
		if t.Title == "" {
			t.Title = capitalised(spaced(strings.TrimPrefix(l.Kind, factMark)))
		}
		if d := l.HappenedAt.Sub(l.RecordedAt); !l.HappenedAt.IsZero() && d.Abs() >= time.Minute {
			t.Effect = l.HappenedAt
		}
		switch {
		case strings.HasPrefix(l.Kind, factMark):
			t.Kind = console.FromUs
			var f subscription.Fact
			if json.Unmarshal(l.Body, &f) == nil {
				t.Detail = factDetail(f)
			}
		default:
			if l.Delivery != "" {
				t.Kind = console.FromMessage
			}
			var e marketplace.Event
			if json.Unmarshal(l.Body, &e) == nil {
				t.Detail = eventDetail(e, market)
			}
		}
		t.Tone = toneOf[strings.TrimPrefix(l.Kind, factMark)]
		out = append(out, t)
	}
	return out
}

var toneOf = map[string]string{
	string(marketplace.Entitled): "good", string(subscription.FactReady): "good", string(subscription.FactClaimed): "good", string(marketplace.Resumed): "good",
	string(subscription.FactConfirmed): "good", string(marketplace.Denied): "attention", string(marketplace.Suspended): "attention", string(subscription.FactBlocked): "attention",
	string(marketplace.Ending): "over", string(marketplace.Ended): "over", string(subscription.FactRevoked): "over", string(subscription.FactClosed): "over",
}

func factDetail(f subscription.Fact) string {
	what, _, _ := strings.Cut(spaced(f.Decision), "@") // the rest is the version of what it answers
	switch {
	case f.Kind == subscription.FactTold:
		return capitalised(what) + ": " + spaced(string(f.Outcome)) + "."
	case f.Kind == subscription.FactVerdict && f.Reason == "":
		return capitalised(what) + ": agreed" + by(f.By) + "."
	case f.Kind == subscription.FactVerdict:
		return capitalised(what) + ": refused" + by(f.By) + ", since " + f.Reason + "."
	case f.Kind == subscription.FactBlocked && f.Reason == "":
		return "The hold was lifted."
	case f.Reason != "":
		return capitalised(f.Reason) + "."
	case f.By != "":
		return "By " + f.By + "."
	}
	return ""
}

func by(actor string) string {
	if actor == "" {
		return ""
	}
	return " by " + actor
}

// eventDetail is what the marketplace said beyond the kind, in few words.
func eventDetail(e marketplace.Event, market string) string {
	var say []string
	if o := e.Observed; o != nil {
		switch {
		case o.Ended:
			say = append(say, market+" says: ended")
		case o.Suspended:
			say = append(say, market+" says: suspended")
		case o.Entitled:
			say = append(say, market+" says: entitled")
		default:
			say = append(say, market+" says: not entitled")
		}
		if o.Awaits != "" {
			say = append(say, "waits for us to "+spaced(string(o.Awaits)))
		}
	}
	if t := e.Terms; t != nil {
		if t.Plan != "" {
			say = append(say, "plan "+t.Plan)
		}
		if t.Offer != "" {
			say = append(say, "offer "+t.Offer)
		}
		if t.Private {
			say = append(say, "a private offer")
		}
		if !t.To.IsZero() {
			say = append(say, "until "+t.To.UTC().Format("2 Jan 2006"))
		}
	}
	switch {
	case e.Reason == "":
	case e.Observed != nil:
		say = append(say, "“"+e.Reason+"”")
	default:
		say = append(say, "reason "+e.Reason)
	}
	if e.Reseller != "" {
		say = append(say, "sold by "+e.Reseller)
	}
	if e.Replaces != "" {
		say = append(say, "continues "+e.Replaces)
	}
	return strings.Join(say, " · ")
}

// tellNetwork tells the turns of the network's life that are known.
func tellNetwork(net provisioning.View) []console.StoryLine {
	var out []console.StoryLine
	add := func(at time.Time, tone, title, detail string) {
		if !at.IsZero() {
			out = append(out, console.StoryLine{At: at, Kind: console.FromNetwork, Tone: tone, Title: title, Detail: detail})
		}
	}
	add(net.ReadyAt, "good", "The network was set up", net.DNSName)
	closed := "attention"
	if !net.RevokedAt.IsZero() {
		closed = "over"
	}
	add(net.SuspendedAt, closed, "The network was closed for all", "")
	add(net.RevokedAt, "over", "The network was taken away", "")
	if net.Step != provisioning.StepNone {
		tone := "busy"
		if net.Usually == 0 {
			tone = "attention"
		}
		add(net.Since, tone, "Step "+string(net.Step)+" is under way", net.WaitingFor)
	}
	return out
}

func tellPeople(people []subscription.Claim) []console.StoryLine {
	var out []console.StoryLine
	for _, p := range people {
		out = append(out, console.StoryLine{At: p.VerifiedAt, Kind: console.FromPerson, Title: p.Email + " confirmed their address"})
	}
	return out
}

func tellFindings(all []billing.Finding, sub id.Subscription) []console.StoryLine {
	var out []console.StoryLine
	for _, f := range all {
		if f.Subscription != sub {
			continue
		}
		out = append(out, console.StoryLine{
			At: f.OpenedAt, Kind: console.FromFinding, Tone: "attention", Title: "Found: " + spaced(string(f.Class)), Detail: strings.TrimSpace(console.Grouped(f.Quantity) + " " + f.Meter), Code: string(f.ID),
			Href: "/operator/findings?show=all#" + string(f.ID), HrefFor: "The finding",
		})
		if !f.ClosedAt.IsZero() {
			out = append(out, console.StoryLine{At: f.ClosedAt, Kind: console.FromFinding, Tone: "over", Title: "Settled: " + spaced(string(f.Class)), Detail: fmt.Sprintf("By %s: %s", f.ClosedBy, f.ClosedWhy), Code: string(f.ID)})
		}
	}
	return out
}
