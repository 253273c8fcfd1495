package console

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// HourLimit is how many hours of one purchase pages read at most.
const HourLimit = 1000

// Acts is who must act next, as an operator reads it.
type Acts string

const (
	ActsYou         Acts = "you"
	ActsBuyer       Acts = "the buyer"
	ActsMarketplace Acts = "the marketplace"
	ActsItself      Acts = "nobody: it goes on by itself"
	ActsNobody      Acts = "nobody"
)

// PurchaseRow is one purchase in a line.
type PurchaseRow struct {
	ID, Name, Marketplace, Account, Product string
	State                                   string
	Why                                     string // why it is as it is; empty when there is nothing to say
	Waiting                                 string // for what
	Change                                  string // the plan of a change that waits for the operator
	Acts                                    Acts
	BoughtAt, EndsAt                        time.Time
}

func (p PurchaseRow) path(rest string) string { return "/operator/subscriptions/" + p.ID + rest }

// Tone colours a state as an operator sees it.
func (p PurchaseRow) Tone() string {
	switch {
	case p.Acts == ActsYou, p.State == "suspended", p.State == "rejected":
		return "attention"
	case p.State == "active":
		return "good"
	case p.State == "ended", p.State == "ending":
		return "over"
	}
	return "busy"
}

// Overview answers "what is stuck, and who must act?".
type Overview struct {
	Site
	States    []StateCount
	Purchases int
	Part      bool // not every purchase was looked at: only the first ones
	Findings  int
	Received  int64
	Copies    int64
	Conflicts int64
	Waiting   int64 // messages in quarantine
	Stations  []Station
	Groups    []WaitingGroup
	RedisLost time.Time // since when; zero: it is not
}

// calm says of which parties nothing waits.
func (o Overview) calm() string {
	var out []string
	for _, g := range o.Groups {
		if len(g.Rows) == 0 && g.ID != "you" {
			out = append(out, g.Empty)
		}
	}
	return strings.Join(out, " ")
}

// StateCount is how many purchases are in a state.
type StateCount struct {
	State string
	Count int
}

func (s StateCount) row() PurchaseRow { return PurchaseRow{State: s.State, Acts: ActsNobody} }

// Station is what waits at one station of the metering pipeline.
type Station struct {
	Name, Holds string
	Waiting     int
	Oldest      time.Duration
}

func (s Station) says() string {
	if s.Waiting == 0 {
		return s.Holds
	}
	return s.Holds + "; the oldest: " + age(s.Oldest)
}

// WaitingGroup is what waits for one party.
type WaitingGroup struct {
	ID, Title, Lead, Empty string
	Rows                   []WaitingRow
	More                   string // address of the whole list
}

// WaitingRow is one thing that waits.
type WaitingRow struct {
	What  string
	About string // an id, or the subject of the work
	Name  string
	Href  string
	State string
	Tone  string
	Why   string
	Note  string
	Since time.Time
}

// Purchases is the list of purchases.
type Purchases struct {
	Site
	Query        PurchaseQuery
	Marketplaces []Choice
	States       []Choice
	Rows         []PurchaseRow
	Looked       int    // how many were read to find these
	Next         string // cursor
}

// Choice is one line of a select field.
type Choice struct{ Value, Label string }

// PurchaseQuery is the filter of the list.
type PurchaseQuery struct{ Marketplace, State, Acts, Text, After string }

// Href is the list by this filter, after a cursor.
func (q PurchaseQuery) Href(after string) string {
	v := url.Values{}
	for key, value := range map[string]string{"marketplace": q.Marketplace, "state": q.State, "act": q.Acts, "q": q.Text, "after": after} {
		if value != "" {
			v.Set(key, value)
		}
	}
	if len(v) == 0 {
		return "/operator/subscriptions"
	}
	return "/operator/subscriptions?" + v.Encode()
}

func (q PurchaseQuery) narrowed() bool {
	return q.Marketplace != "" || q.State != "" || q.Acts != "" || q.Text != ""
}

// Story is everything that is known of one purchase.
type Story struct {
	Site
	Purchase PurchaseRow
	Usually  string
	Typed    string // the reason of a decision that was not taken
	Problem  string // and why not
	Facts    []Fact
	Network  []Fact
	Dry      string
	People   []Fact
	Charts   []Chart
	Filter   string // which lines; empty: all
	Days     []StoryDay
	Earlier  string // cursor of what came before
	Partial  bool   // older usage is not in the story
	Past     bool   // the page begins with older lines: what is new is not for it
}

// Fact is a name and a value.
type Fact struct {
	Name, Value string
	Code        bool
	At          time.Time // instead of a value
}

// StoryKind is where a line of the story comes from.
type StoryKind string

const (
	FromMessage StoryKind = "message"
	FromReader  StoryKind = "answer"
	FromUs      StoryKind = "fact"
	FromNetwork StoryKind = "network"
	FromPerson  StoryKind = "person"
	FromUsage   StoryKind = "usage"
	FromFinding StoryKind = "finding"
)

// StoryKinds lists every kind in the order of the filter.
var StoryKinds = []StoryKind{FromMessage, FromReader, FromUs, FromPerson, FromNetwork, FromUsage, FromFinding}

func (k StoryKind) word() string {
	switch k {
	case FromMessage:
		return "Message"
	case FromReader:
		return "Asked"
	case FromUs:
		return "Fact"
	case FromNetwork:
		return "Network"
	case FromPerson:
		return "Person"
	case FromUsage:
		return "Usage"
	case FromFinding:
		return "Finding"
	}
	return capital(string(k))
}

func (k StoryKind) plural() string {
	switch k {
	case FromMessage:
		return "Messages"
	case FromReader:
		return "Asked the marketplace"
	case FromUs:
		return "Facts"
	case FromPerson:
		return "People"
	case FromFinding:
		return "Findings"
	case FromNetwork, FromUsage:
	}
	return k.word()
}

// StoryDay is one day, newest line first.
type StoryDay struct {
	Day   time.Time
	Lines []StoryLine
}

// StoryLine is one line of a purchase's story.
type StoryLine struct {
	At      time.Time
	Kind    StoryKind
	Tone    string // good, busy, attention, over; empty: plain
	Title   string
	Detail  string
	Code    string    // an id somebody may look for
	Effect  time.Time // when it took effect, where that is another time
	Quiet   bool      // it changed nothing
	AllDay  bool      // it sums up its day
	Usage   []DayUse
	Href    string
	HrefFor string // the link's words
}

// DayUse is one meter on one day.
type DayUse struct {
	Meter, Used, Billed string
	Records             int
	Note                string // what did not go smoothly
	Tone                string
}

func (s Story) href(filter, before string) string {
	v := url.Values{}
	if filter != "" {
		v.Set("show", filter)
	}
	if before != "" {
		v.Set("before", before)
	}
	if len(v) == 0 {
		return s.Purchase.path("")
	}
	return s.Purchase.path("?" + v.Encode())
}

// Hours is what was metered, hour by hour.
type Hours struct {
	Site
	Purchase PurchaseRow
	Meter    string // only this one
	Day      string // only this one
	Meters   []Choice
	Charts   []Chart
	Rows     []HourRow
	Next     string
}

func (h Hours) href(meter, day, after string) string {
	v := url.Values{}
	for key, value := range map[string]string{"meter": meter, "day": day, "after": after} {
		if value != "" {
			v.Set(key, value)
		}
	}
	if len(v) == 0 {
		return h.Purchase.path("/hours")
	}
	return h.Purchase.path("/hours?" + v.Encode())
}

// HourRow is one hour of one meter.
type HourRow struct {
	Hour                  time.Time
	Meter                 string
	Measured, Corrected   string
	Record                string // id; empty: nothing was told in this slot
	Slot                  string
	Quantity, Placed      string
	State, Reason, Tone   string
	Answer                string // the newest, in words
	Deadline              time.Time
	FrozenAt, SettledAt   time.Time
	Final, Parked         bool
	Attempts              []AttemptRow
	Periods               []Fact
	AnsweredBy, Dimension string
}

// AttemptRow is one call made for a record.
type AttemptRow struct {
	N                       int
	BegunAt, AnsweredAt     time.Time
	Answer, Detail, Receipt string
	Tone                    string
}

// Units is where every unit is.
type Units struct {
	Site
	Broken   int
	Unsure   string
	Problems []string
	Only     string // one purchase
	Totals   []UnitRow
	Rows     []UnitRow
	Next     string

	Doubts     []DoubtRow
	DoubtsNext string
	Done       string // what was just ruled
	Problem    string // or why it was not
	Failed     string // the record whose form had the problem
	Typed      Ruling
}

func (u Units) href(cursor, value string) string {
	v := url.Values{cursor: {value}}
	if u.Only != "" {
		v.Set("subscription", u.Only)
	}
	return "/operator/units?" + v.Encode()
}

// UnitRow is one meter of one purchase, or in total.
type UnitRow struct {
	Subscription, Name, Marketplace, Meter string
	Measured, CreditLeft                   string
	Places                                 [len(PlaceNames)]string
}

// PlaceNames are the places a unit can be in, on its way.
var PlaceNames = [...]string{"Open", "Carried", "Queued", "Sent", "Unsure", "Held", "Billed", "Included", "Written off"}

var placeClasses = [...]string{"moving", "moving", "moving", "moving", "doubt", "doubt", "billed", "included", "lost"}

// share is a part of a bar: where it begins and how wide it is, of shareWidth.
type share struct{ X, W, Class, Says string }

const shareWidth = 1000.0

// shares are the places as parts of a bar; what is open may be below zero and
// then has no part.
func (u UnitRow) shares() []share {
	var all float64
	parts := [len(PlaceNames)]float64{}
	for i, text := range u.Places {
		v, err := parseAmount(text)
		if err != nil {
			continue // a bar is not worth a page
		}
		parts[i] = max(0, v.float())
		all += parts[i]
	}
	var out []share
	x := 0.0
	for i, p := range parts {
		if p == 0 {
			continue
		}
		w := p / all * shareWidth
		out = append(out, share{strconv.FormatFloat(x, 'f', 2, 64), strconv.FormatFloat(w, 'f', 2, 64), placeClasses[i], fmt.Sprintf("%s: %s", PlaceNames[i], Grouped(u.Places[i]))})
		x += w
	}
	return out
}

func (u UnitRow) says() string {
	words := make([]string, 0, len(PlaceNames))
	for i, text := range u.Places {
		if !isZero(text) {
			words = append(words, strings.ToLower(PlaceNames[i])+" "+Grouped(text))
		}
	}
	if len(words) == 0 {
		return "nothing yet"
	}
	return strings.Join(words, ", ")
}

func isZero(text string) bool { return strings.Trim(text, "0.") == "" }

// Findings is what somebody must look at.
type Findings struct {
	Site
	All     bool // closed ones too
	Done    string
	Problem string
	Failed  string // the finding whose form had the problem
	Typed   string
	Rows    []FindingRow
	Next    string
}

func (f Findings) href(all bool, after string) string {
	v := url.Values{}
	if all {
		v.Set("show", "all")
	}
	if after != "" {
		v.Set("after", after)
	}
	if len(v) == 0 {
		return "/operator/findings"
	}
	return "/operator/findings?" + v.Encode()
}

// FindingRow is one finding.
type FindingRow struct {
	ID, Class, Subscription, Meter, Record string
	Worth, Owner, Detail                   string
	OpenedAt, ClosedAt                     time.Time
	ClosedBy, ClosedWhy                    string
}

// finding is what a class means and what to do about it.
type finding struct{ title, means string }

var findingWords = map[string]finding{
	"unexplained_duplicate": {"A slot is taken by somebody else", "The marketplace says that it has a record in this slot, and none of our attempts explains it. Find out who else reports to the listing."},
	"unsure_past_window":    {"Nobody can ask any more", "It may have been recorded, and the time in which sending again is harmless is over. Look it up in the marketplace's report."},
	"unsure_not_repeated":   {"Sending it again could bill it twice", "It may have been recorded, and the marketplace might take the same record for a second one. Look it up in its report."},
	"ruled_unrecorded":      {"Billed again on somebody's word", "A person ruled that the marketplace has nothing of a record. Compare with its next report: if both are on it, refund one through the marketplace."},
	"other_quantity":        {"The marketplace holds another quantity", "Its quantity counts now; the difference went back to open, or is credit."},
	"contradiction":         {"An answer contradicts what is settled", "A late answer says something else than the record's state. Compare with the marketplace's report."},
	"held":                  {"A record is held", "The marketplace refused it for a reason that can be mended. Mend it, then release the record."},
	"written_off":           {"Units were written off", "They were used and will not be billed, for the reason given."},
	"credit_left":           {"More was billed than was used", "No later usage will consume it; refund it through the marketplace."},
	"missing_identity":      {"The buyer's identity is missing", "Records cannot be made until the marketplace names who is metered."},
	"coverage_gap":          {"A stretch was not collected", "Nobody looked at the network in that time, and nothing was filled in."},
	"foreign_receipt":       {"A receipt for something we did not send", "The marketplace answered for a record that is not in the call."},
	"broken_freeze":         {"A record was changed after it was frozen", "It is not sent. Find out what wrote to the database."},
}

// ruled reports whether a ruling on the record settles the finding.
func (f FindingRow) ruled() bool {
	switch f.Class {
	case "held", "unexplained_duplicate", "unsure_past_window", "unsure_not_repeated":
		return f.ClosedAt.IsZero()
	}
	return false
}

func (f FindingRow) words() finding {
	if w, ok := findingWords[f.Class]; ok {
		return w
	}
	return finding{title: capital(spaced(f.Class))}
}

// age is a duration for people.
func age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "just now"
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

func clockTime(t time.Time) string { return t.UTC().Format("15:04") }

func dayName(t time.Time) string { return t.UTC().Format("Monday, 2 January 2006") }

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return Grouped(fmt.Sprint(n)) + " " + many
}
