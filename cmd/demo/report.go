package main

import (
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/tailmarket/tailmarket/internal/money"
	"github.com/tailmarket/tailmarket/internal/simulator"
)

// report is the demo's one JSON document.
type report struct {
	Seed           uint64         `json:"seed"`
	Purchases      map[string]int `json:"purchases"`
	TailnetsActive int            `json:"tailnets_active"`
	Meters         []meter        `json:"meters"`
	Drift          string         `json:"drift"`
	Unsure         string         `json:"unsure"`
	Broken         int            `json:"conservation_broken"`
	Deliveries     struct {
		Received    int `json:"received"`
		Duplicates  int `json:"duplicates"`
		Quarantined int `json:"quarantined"`
	} `json:"deliveries"`
	Kills       int            `json:"kills"`
	Met         map[string]int `json:"met"`
	Attribution []attribution  `json:"attribution"`
	Value       []channelValue `json:"value_by_channel"`

	problems []string
	mistaken []string // tags that are not what the buyers did
}

// meter is one meter of one purchase: what the script did, where the app has it,
// and what the marketplace billed.
type meter struct {
	Marketplace  string `json:"marketplace"`
	Subscription string `json:"subscription"`
	Meter        string `json:"meter"`
	Expected     string `json:"expected"`
	Measured     string `json:"measured"`
	Open         string `json:"open"`
	Included     string `json:"included"`
	Submitted    string `json:"submitted"`
	Accepted     string `json:"accepted"`
	Carried      string `json:"carried"`
	Held         string `json:"held"`
	Unsure       string `json:"unsure"`
	WrittenOff   string `json:"written_off"`
	CreditLeft   string `json:"credit_left"`
	Billed       string `json:"simulator_billed"`
	// Purchase is the marketplace's own name, the same in every run of a seed; Periods is
	// Measured by counting period.
	Purchase string            `json:"purchase"`
	Periods  map[string]string `json:"periods"`
}

// exact is the scale in which the report calculates: no meter has a finer one.
const exact = 6

// scales are those of the script's own units.
var scales = map[string]int{"active_user": 0, "tagged_resource": 0, "ephemeral_minute": 2, "api_request": 1}

func (s *stage) report() (report, error) {
	ctx := s.play.ctx
	r := report{Seed: s.o.seed, Purchases: map[string]int{}, Met: map[string]int{}, Kills: s.apps.killed()}
	faults := s.sim.Faults()
	for _, k := range simulator.Kinds(s.o.markets...) {
		r.Met[string(k)] = faults[string(k)]
	}
	all, err := s.client.subscriptions(ctx)
	if err != nil {
		return r, err
	}
	l, err := s.client.ledger(ctx)
	if err != nil {
		return r, err
	}
	if err := s.client.get(ctx, "/v1/deliveries/counts", &r.Deliveries); err != nil {
		return r, err
	}
	r.Unsure, r.Broken, r.problems = l.Unsure, l.Broken, l.Problems
	m := s.play.met
	maps.Copy(r.Met, map[string]int{
		"cancellations": m.Cancellations, "late": m.Late, "corrections": m.Corrections, "repeated_usage": m.Repeats, "conflicting_usage": m.Conflicts,
		"changes": m.Changes, "suspended": m.Suspended, "reinstated": m.Reinstated, "kills_in_flight": s.killer.inFlight(),
	})

	r.mistaken = s.play.mistaken
	for _, market := range s.o.markets {
		if market == simulator.AWS {
			continue // its changes ask nobody
		}
		n, missing := s.play.planned(market)
		r.Met[twoPhases(market)] = n
		r.mistaken = append(r.mistaken, missing...)
	}

	rows := map[[2]string]*meter{}
	row := func(market, sub, name string) *meter {
		at := [2]string{sub, name}
		if rows[at] == nil {
			rows[at] = &meter{
				Marketplace: market, Subscription: sub, Meter: name, Expected: "0", Measured: "0", Open: "0", Included: "0", Submitted: "0", Accepted: "0",
				Carried: "0", Held: "0", Unsure: "0", WrittenOff: "0", CreditLeft: "0", Billed: "0",
			}
		}
		return rows[at]
	}
	for _, b := range s.play.buyers {
		if b.sub == "" {
			continue
		}
		month := periodOf(b.market)
		want := b.use.expected(month)
		got, err := s.client.used(ctx, b.sub, month)
		if err != nil {
			return r, err
		}
		for name, scale := range scales {
			m := row(b.market, b.sub, name)
			m.Purchase, m.Expected, m.Periods = b.purchase, money.Format(want.total(name), scale), map[string]string{}
			for in, q := range got[name] {
				m.Periods[in] = money.Format(q, scale)
				want.add(name, in, -q)
			}
			for in, q := range want[name] {
				if q != 0 && s.o.days <= 7 { // the app lists the newest thousand hours of meters
					r.mistaken = append(r.mistaken, fmt.Sprintf("%s of %s in period %q: %s more are expected than measured", name, b.purchase, in, money.Format(q, scale)))
				}
			}
		}
	}
	for _, x := range l.Meters {
		v := row(x.Marketplace, x.Subscription, x.Meter)
		v.Measured, v.Open, v.Included, v.Submitted, v.Accepted, v.Carried = x.Measured, x.Open, x.Included, x.Submitted, x.Accepted, x.Carried
		v.Held, v.Unsure, v.WrittenOff, v.CreditLeft = x.Held, x.Unsure, x.WrittenOff, x.CreditLeft
	}
	of := map[string]string{}
	for _, m := range s.o.markets {
		r.Purchases[m] = 0
	}
	for _, p := range all {
		of[p.Marketplace+" "+p.Purchase] = p.ID
		r.Purchases[p.Marketplace]++
		if p.State == "active" {
			r.TailnetsActive++
		}
	}
	billed := s.sim.Bill()
	if err := bill(billed, of, row); err != nil {
		return r, err
	}
	r.mistaken = append(r.mistaken, twice(billed)...)
	for _, at := range slices.SortedFunc(maps.Keys(rows), func(a, b [2]string) int { return strings.Compare(a[0]+a[1], b[0]+b[1]) }) {
		r.Meters = append(r.Meters, *rows[at])
	}
	if err := s.attribute(&r); err != nil {
		return r, err
	}
	return r, r.add(s.o.dedup)
}

// bill puts the marketplaces' lines beside the app's; a purchase that the app does
// not know keeps its own name. A meter may have had several dimensions.
func bill(b simulator.Bill, of map[string]string, row func(market, sub, name string) *meter) error {
	for _, line := range b.Lines {
		sub := of[line.Marketplace+" "+line.Purchase]
		if sub == "" {
			sub = line.Purchase
		}
		// Google's metrics have their service in front, and each plan has its own.
		m := row(line.Marketplace, sub, strings.TrimPrefix(path.Base(line.Dimension), "enterprise_"))
		quantity := strconv.FormatInt(line.Quantity, 10)
		if line.Exact != "" {
			quantity = line.Exact
		}
		before, err := money.Parse(m.Billed, exact)
		if err != nil {
			return err
		}
		more, err := money.Parse(quantity, exact)
		if err != nil {
			return err
		}
		m.Billed = money.Format(before+more, exact)
	}
	return nil
}

// twice tells of what a marketplace charges twice under one name.
func twice(b simulator.Bill) []string {
	var out []string
	for _, line := range b.Lines {
		seen := map[string]bool{}
		for _, slot := range line.Slots {
			if seen[slot.RecordID] {
				out = append(out, fmt.Sprintf("%s bills record %s of %s twice", line.Marketplace, slot.RecordID, line.Dimension))
			}
			seen[slot.RecordID] = true
		}
	}
	return out
}

// add sums the drift and checks each row's equation. Where Google knows no report again,
// what is unsure may or may not be on its bill.
func (r *report) add(dedup simulator.Dedup) error {
	drift := int64(0)
	for _, m := range r.Meters {
		var v [11]int64
		for i, text := range []string{m.Expected, m.Measured, m.CreditLeft, m.Open, m.Included, m.Accepted, m.Carried, m.Held, m.Unsure, m.WrittenOff, m.Billed} {
			var err error
			if v[i], err = money.Parse(text, exact); err != nil {
				return fmt.Errorf("the app's report of %s %s: %w", m.Subscription, m.Meter, err)
			}
		}
		expected, measured, credit, accepted, billed := v[0], v[1], v[2], v[5], v[10]
		doubt := int64(0)
		if m.Marketplace == simulator.GCP && dedup == simulator.DedupOff {
			doubt = v[8]
		}
		drift += max(billed-accepted-doubt, accepted-billed, 0) + max(expected-measured, measured-expected)
		if measured+credit != v[3]+v[4]+accepted+v[6]+v[7]+v[8]+v[9] {
			r.Broken++
			r.problems = append(r.problems, fmt.Sprintf("%s %s: measured %s + credit_left %s is not where it must be", m.Subscription, m.Meter, m.Measured, m.CreditLeft))
		}
	}
	r.Drift = money.Format(drift, exact)
	return nil
}

// wrong lists what keeps the run from being a proof.
func (r *report) wrong(o options) []string {
	var out []string
	want := func(ok bool, format string, args ...any) {
		if !ok {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	want(r.Drift == "0", "drift is %s", r.Drift)
	if o.dedup != simulator.DedupOff {
		want(r.Unsure == "0", "unsure is %s", r.Unsure)
	}
	for _, m := range r.Meters {
		want(m.Unsure == "0" || m.Marketplace == simulator.GCP, "unsure is %s for %s of %s", m.Unsure, m.Meter, m.Subscription)
	}
	if o.dedup == simulator.DedupOff && o.weather == string(simulator.WeatherHostile) && o.at(simulator.GCP) >= 4 {
		want(r.Unsure != "0", "nothing is unsure, although Google's answers were lost and it knows no report again")
	}
	want(r.Broken == 0, "conservation is broken in %d places: %s", r.Broken, strings.Join(r.problems, "; "))
	purchases := 0
	for _, n := range r.Purchases {
		purchases += n
	}
	want(purchases == o.buyers, "%d of %d purchases are known", purchases, o.buyers)
	want(r.TailnetsActive == o.buyers-r.Met["cancellations"], "%d tailnets are active after %d of %d buyers cancelled", r.TailnetsActive, r.Met["cancellations"], o.buyers)
	want(r.Deliveries.Quarantined == 0, "%d deliveries are in quarantine", r.Deliveries.Quarantined)
	want(r.Kills == o.kills, "%d of %d kills happened", r.Kills, o.kills)
	want(2*r.Met["kills_in_flight"] >= o.kills, "only %d of %d kills fell between a call and its answer", r.Met["kills_in_flight"], o.kills)
	for name := range scales {
		for _, market := range o.markets {
			// One or two purchases may stay below the free level of resources.
			if n := o.at(market); n == 0 || n < 3 && name == "tagged_resource" {
				continue
			}
			billed := slices.ContainsFunc(r.Meters, func(m meter) bool { return m.Marketplace == market && m.Meter == name && m.Billed != "0" })
			want(billed, "nothing was billed for %s at %s", name, market)
		}
	}
	for _, k := range sure(o) {
		want(r.Met[k] > 0, "no %s was met", k)
	}
	slices.Sort(out)
	return append(out, r.mistaken...)
}

// table prints the report for people.
func (r *report) table(out io.Writer) error {
	text := "\nmarketplace\tsubscription\tmeter\texpected\tmeasured\tcredit left\tincluded\tcarried\twritten off\taccepted\tbilled\t\n"
	for _, m := range r.Meters {
		text += strings.Join([]string{m.Marketplace, m.Subscription, m.Meter, m.Expected, m.Measured, m.CreditLeft, m.Included, m.Carried, m.WrittenOff, m.Accepted, m.Billed}, "\t") + "\t\n"
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	if _, err := io.WriteString(w, text); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := r.channels(out); err != nil {
		return err
	}
	var met []string
	for _, k := range slices.Sorted(maps.Keys(r.Met)) {
		met = append(met, fmt.Sprintf("%s %d", k, r.Met[k]))
	}
	var bought []string
	for _, m := range slices.Sorted(maps.Keys(r.Purchases)) {
		bought = append(bought, fmt.Sprintf("%d on %s", r.Purchases[m], m))
	}
	_, err := fmt.Fprintf(out, "\npurchases: %s; %d tailnets active, %d deliveries (%d of them copies), %d kills\nmet: %s\ndrift %s, unsure %s, conservation broken %d\n",
		strings.Join(bought, ", "), r.TailnetsActive, r.Deliveries.Received, r.Deliveries.Duplicates, r.Kills, strings.Join(met, ", "), r.Drift, r.Unsure, r.Broken)
	return err
}

// channels prints who brought the customers, and what they are worth.
func (r *report) channels(out io.Writer) error {
	text := "\nchannel\tcustomers\trevenue to date\t\n"
	for _, v := range r.Value {
		text += fmt.Sprintf("%s\t%d\t%s %s\t%s\n", v.Channel, v.Customers, v.Revenue, v.Currency, v.Reason)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if _, err := io.WriteString(w, text); err != nil {
		return err
	}
	return w.Flush()
}
