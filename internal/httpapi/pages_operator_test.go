package httpapi_test

import (
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/billing/ledger"
	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/httpapi"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/intake"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/provisioning"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

// like is the world's purchase under another id, with other facts.
func like(name string, change func(*subscription.Subscription)) subscription.Subscription {
	s := granted()
	s.ID, s.TailnetName = id.Subscription("sub_"+name), "Net of "+name
	change(&s)
	return s
}

func provisioningSince(s *subscription.Subscription) { s.Facts.ReadyAt = time.Time{} }

func says(t *testing.T, r reply, texts ...string) {
	t.Helper()
	if r.StatusCode != http.StatusOK || r.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s answered %d with %v", r.Request.URL, r.StatusCode, r.Header)
	}
	body := html.UnescapeString(r.body)
	for _, text := range texts {
		if !strings.Contains(body, text) {
			t.Errorf("%s does not say %q:\n%s", r.Request.URL, text, body)
		}
	}
}

// Operators' pages open in an operator's session, and a buyer's is none.
func TestOnlyOperatorsSeeTheConsole(t *testing.T) {
	t.Parallel()
	w := setup(t)
	paths := []string{"/operator", "/operator/subscriptions", "/operator/subscriptions/" + sub, "/operator/subscriptions/" + sub + "/hours", "/operator/units", "/operator/units/verdict", "/operator/findings", "/operator/quarantine", "/operator/outbox"}
	buyer := w.signedIn(t)
	for _, k := range buyer.c.Jar.Cookies(mustURL(t, w.server.URL+"/purchases/"+sub)) {
		buyer.c.Jar.SetCookies(mustURL(t, w.server.URL), []*http.Cookie{{Name: k.Name, Value: k.Value, Path: "/"}, {Name: "tm_operator", Value: k.Value, Path: "/"}})
	}
	operator := w.operator(t)
	for _, path := range paths {
		for who, b := range map[string]*browser{"nobody": w.browser(t), "a buyer": buyer} {
			if r := b.get(path); r.StatusCode != http.StatusUnauthorized || !strings.Contains(r.body, "Operators only") {
				t.Errorf("%s opens for %s: %d", path, who, r.StatusCode)
			}
		}
		if r := operator.get(path); r.StatusCode != http.StatusOK {
			t.Errorf("%s answers its operator %d:\n%s", path, r.StatusCode, r.body)
		}
	}
	if r := buyer.post("/operator/findings/fnd_1/close", url.Values{"why": {"because"}}); r.StatusCode != http.StatusUnauthorized || len(w.closed) != 0 {
		t.Errorf("a buyer closes a finding: %d %v", r.StatusCode, w.closed)
	}
}

func mustURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestTheBareAddressLeadsOn(t *testing.T) {
	t.Parallel()
	r := setup(t).browser(t).get("/")
	if r.StatusCode != http.StatusOK || r.Request.URL.Path != "/" {
		t.Fatalf("ended at %s with %d", r.Request.URL, r.StatusCode)
	}
	for _, text := range []string{"Set up your account", `href="/operator"`, "api operator-link", "Acme Networks"} {
		if !strings.Contains(r.body, text) {
			t.Errorf("the page does not say %q", text)
		}
	}
}

// What is stuck stands under who must act.
func TestTheOverviewSaysWhoMustAct(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.stuck = []httpapi.StuckRow{
		{Kind: "submit", Subject: "aws", Error: "the credentials are refused", Class: fault.Denied, Attempts: 9, Stopped: true}, {Kind: "refresh", Subject: "aws|licence|x", Error: "too fast", Attempts: 4},
	}
	w.kept = []intake.Kept{{ID: "dlv_1", Marketplace: "aws", Reason: "no such product", ReceivedAt: now}}
	w.quarantined = []billing.Quarantined{{Reason: billing.UnknownMeter, Event: billing.UsageEvent{Source: "urn:producer"}, ReceivedAt: now}}
	w.list = []subscription.Subscription{
		like("a", func(s *subscription.Subscription) {
			provisioningSince(s)
			s.Facts.Blocked.Reason = "the plan is unknown"
		}),
		like("b", func(s *subscription.Subscription) { s.Facts.Granted = time.Time{} }),
		like("c", func(s *subscription.Subscription) { s.Facts.ClaimedAt, s.Facts.ReadyAt = time.Time{}, time.Time{} }),
		like("d", provisioningSince),
		like("e", func(*subscription.Subscription) {}),
		like("f", func(s *subscription.Subscription) { s.Facts.Denied, s.Facts.ReadyAt = now, time.Time{} }),
	}
	w.view = provisioning.View{WaitingFor: "the control plane makes the network", Usually: time.Second}
	r := w.operator(t).get("/operator")
	says(t, r, "The credentials are refused.", "No such product.", "Unknown meter", "urn:producer", "1 open finding", "The plan is unknown.", "the oldest: 90 min", "2 of them copies")
	sections := map[string][]string{
		"you": {"Work: submit", "sub_a", "dlv_1"}, "marketplace": {"sub_b"}, "buyer": {"sub_c"}, "itself": {"Work: refresh", "sub_d", "the control plane makes the network"},
	}
	for group, has := range sections {
		section := regexp.MustCompile(`(?s)<section aria-labelledby="` + group + `">.*?</section>`).FindString(r.body)
		for _, text := range has {
			if !strings.Contains(section, text) {
				t.Errorf("%q is not under %s:\n%s", text, group, section)
			}
		}
	}
	if strings.Contains(r.body, "sub_e") || strings.Contains(r.body, "sub_f") {
		t.Error("what waits for nobody is listed")
	}
	if n := strings.Count(r.body, "/operator/subscriptions?state="); n != 5 {
		t.Errorf("%d states are counted, want 5", n)
	}
}

// A ledger is checked by itself, so that a large one does not hold the overview up.
func TestTheOverviewAsksForTheUnitsByItself(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.report = billing.Report{Broken: 3, Unsure: "2", Meters: []billing.MeterReport{}}
	b := w.operator(t)
	if r := b.get("/operator"); strings.Contains(r.body, "3 wrong") || !strings.Contains(r.body, `hx-get="/operator/units/verdict"`) {
		t.Error("the overview checks the ledger itself, or never")
	}
	if r := b.get("/operator/units/verdict", "HX-Request", "true"); !strings.Contains(r.body, "3 wrong") || strings.Contains(r.body, "<html") {
		t.Errorf("the verdict is %s", r.body)
	}
	if r := b.get("/operator/units/verdict"); r.Request.URL.Path != "/operator/units" {
		t.Errorf("a person who opens the part ends at %s", r.Request.URL)
	}
}

func TestPurchasesAreFilteredAndPaged(t *testing.T) {
	t.Parallel()
	w := setup(t)
	for i := range 1203 { // more than is read at a time
		w.list = append(w.list, like(fmt.Sprintf("%05d", i), func(s *subscription.Subscription) {
			s.Account = fmt.Sprint(700000 + i)
			switch i % 3 {
			case 0:
				provisioningSince(s)
				s.Facts.LiveFrom = time.Time{}
			case 1:
				s.Facts.Granted = time.Time{}
			}
			if i%2 == 1 {
				s.Marketplace, s.Facts.Marketplace = marketplace.GCP, marketplace.GCP
			}
		}))
	}
	b := w.operator(t)
	row, more := regexp.MustCompile(`href="/operator/subscriptions/(sub_\d+)"`), regexp.MustCompile(`href="(/operator/subscriptions\?[^"]*after=[^"]*)"`)
	for query, want := range map[string]int{
		"": 1203, "state=active": 401, "act=you": 401, "act=marketplace&state=awaiting_marketplace": 401, "marketplace=gcp": 601, "marketplace=gcp&state=active": 200,
		"q=700017": 1, "q=NET+of+00012": 1, "q=nobody": 0, "state=ended": 0, "marketplace=other": 0, "act=nonsense": 0,
	} {
		seen := map[string]bool{}
		for path := "/operator/subscriptions?" + query; path != ""; {
			r := b.get(path)
			if r.StatusCode != http.StatusOK {
				t.Fatalf("%s answered %d", path, r.StatusCode)
			}
			for _, m := range row.FindAllStringSubmatch(r.body, -1) {
				if seen[m[1]] {
					t.Fatalf("%q shows %s twice", query, m[1])
				}
				seen[m[1]] = true
			}
			path = ""
			if m := more.FindStringSubmatch(r.body); m != nil {
				path = html.UnescapeString(m[1])
			}
		}
		if len(seen) != want {
			t.Errorf("%q shows %d purchases, want %d", query, len(seen), want)
		}
	}
	says(t, b.get("/operator/subscriptions?q=nobody"), "No purchase is like that.")
	says(t, b.get("/operator/subscriptions?act=you"), "api product go-live", `<option value="you" selected>`)
}

// An operator reads whose turn it is, in every state.
func TestEveryStateNamesWhoMustAct(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*subscription.Subscription)
		view   provisioning.View
		says   []string
	}{
		"nobody came":   {func(s *subscription.Subscription) { s.Facts.ClaimedAt, s.Facts.ReadyAt = time.Time{}, time.Time{} }, provisioning.View{}, []string{"awaiting buyer", "the buyer", "press “Set up your account”"}},
		"not confirmed": {func(s *subscription.Subscription) { s.Facts.Granted = time.Time{} }, provisioning.View{}, []string{"awaiting marketplace", "AWS Marketplace to confirm the purchase"}},
		"starts later":  {func(s *subscription.Subscription) { s.Facts.StartsAt = now.Add(time.Hour) }, provisioning.View{}, []string{"the agreed start on 3 November 2026 08:30 UTC", "by itself"}},
		"only watched":  {func(s *subscription.Subscription) { provisioningSince(s); s.Facts.LiveFrom = time.Time{} }, provisioning.View{}, []string{"you", "api product go-live"}},
		"opens later":   {func(s *subscription.Subscription) { provisioningSince(s); s.Facts.LiveFrom = now.Add(time.Hour) }, provisioning.View{}, []string{"its first hour, 3 November 2026 08:30 UTC"}},
		"under way":     {provisioningSince, provisioning.View{WaitingFor: "a join key is made", Usually: 5 * time.Second}, []string{"its network: a join key is made", "by itself", "Usually 5s"}},
		"quota":         {provisioningSince, provisioning.View{WaitingFor: "the quota is used up", WhoActs: "operator"}, []string{"The quota is used up.", "whoever can clear it: operator", "you"}},
		"held":          {func(s *subscription.Subscription) { s.Facts.Blocked.Reason = "two plans fit" }, provisioning.View{}, []string{"Two plans fit.", "you"}},
		"active":        {func(*subscription.Subscription) {}, provisioning.View{}, []string{"nothing", "nobody"}},
		"suspended":     {func(s *subscription.Subscription) { s.Facts.Pause = subscription.Switch{On: true, Version: now} }, provisioning.View{}, []string{"suspended", "AWS Marketplace to lift the suspension", "the marketplace"}},
		"ending": {func(s *subscription.Subscription) {
			s.Facts.Ends = []subscription.End{{At: now.Add(-time.Hour), Version: now, Reason: "EXPIRED"}}
		}, provisioning.View{}, []string{"ending", "EXPIRED", "the last usage to be sent to AWS Marketplace"}},
		"ended, continued": {func(s *subscription.Subscription) { s.Facts.ClosedAt, s.Facts.Replaced.By = now, "sub_next" }, provisioning.View{}, []string{"ended", "Continued by sub_next"}},
		"refused":          {func(s *subscription.Subscription) { provisioningSince(s); s.Facts.Denied = now }, provisioning.View{}, []string{"rejected", "AWS Marketplace refused it"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := setup(t)
			c.change(&w.purchase)
			w.view = c.view
			says(t, w.operator(t).get("/operator/subscriptions/"+sub), c.says...)
		})
	}
}

// A change that nobody here can judge is the operator's, who agrees, or refuses
// with a reason.
func TestTheOperatorDecidesAChange(t *testing.T) {
	t.Parallel()
	w := setup(t)
	b, path := w.operator(t), "/operator/subscriptions/"+sub
	w.due = []subscription.Wish{{Decision: marketplace.Decision{Kind: marketplace.ApproveChange, Subject: "enterprise-2"}, Held: true}}
	says(t, b.get(path), "A change waits for your decision", "enterprise-2", "you to agree or to refuse")
	w.list = []subscription.Subscription{w.purchase}
	says(t, b.get("/operator"), "A change to the plan “enterprise-2” was asked for")
	if r := b.post(path+"/change", url.Values{"decision": {"refuse"}, "reason": {" "}}); r.StatusCode != http.StatusBadRequest || !strings.Contains(r.body, "Say why; the buyer reads it.") {
		t.Errorf("a refusal without a reason answered %d", r.StatusCode)
	}
	if r := b.post(path+"/change", url.Values{"decision": {"agree"}}, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"); r.StatusCode != http.StatusForbidden {
		t.Errorf("from another site: %d", r.StatusCode)
	}
	if r := w.signedIn(t).post(path+"/change", url.Values{"decision": {"agree"}}); r.StatusCode != http.StatusUnauthorized || len(w.decided) != 0 {
		t.Errorf("a buyer decides: %d %v", r.StatusCode, w.decided)
	}
	b.post(path+"/change", url.Values{"decision": {"agree"}, "reason": {"left in the field"}})
	b.post(path+"/change", url.Values{"decision": {"refuse"}, "reason": {"not sold any more"}})
	if got := strings.Join(w.decided, "; "); got != sub+" by operator: true ; "+sub+" by operator: false not sold any more" {
		t.Errorf("decided %s", got)
	}
	w.err = fault.New(fault.Conflict, "no change of this purchase waits for a decision")
	w.due = nil
	if r := b.get(path + "/change"); r.Request.URL.Path != path {
		t.Errorf("the form's address leads to %s", r.Request.URL)
	}
	w.purchase.Facts.Granted, w.err = time.Time{}, nil
	w.due = []subscription.Wish{{Decision: marketplace.Decision{Kind: marketplace.ApproveAccount}}}
	says(t, b.get(path), "to take our word: approve account", "by itself")
}

func lineOf(kind string, at time.Time, delivery id.Delivery, body any) subscription.Line {
	raw, _ := json.Marshal(body) //nolint:errchkjson // plain structs of a test
	return subscription.Line{Kind: kind, RecordedAt: at, HappenedAt: at.Add(-time.Hour), Delivery: delivery, Changed: delivery != "dlv_again", Body: raw}
}

func hourOf(at time.Time, meter, used string, state ledger.RecordState, answers ...ledger.Answer) billing.HourView {
	h := billing.HourView{Meter: meter, Hour: clock.HourOf(at), Starts: at, Measured: used, Corrected: "0"}
	if state == "" {
		return h
	}
	h.Record = &billing.RecordView{ID: "rec_1", Meter: meter, Hour: at, Slot: "aws|slot", Quantity: "12", Placed: "12", State: state, FrozenAt: at.Add(time.Hour), Deadline: at.Add(6 * time.Hour), Allocations: []billing.AllocationView{{Period: "2026-11", Plan: "standard", Quantity: "12"}}}
	for i, a := range answers {
		h.Record.Attempts = append(h.Record.Attempts, billing.AttemptView{N: i + 1, BegunAt: at.Add(time.Hour), AnsweredAt: at.Add(time.Hour), Answer: a, Detail: "the vendor's word", Receipt: map[bool]string{true: "receipt-7"}[a == ledger.TookIt]})
	}
	return h
}

// The story is told by every room that knows something, newest first.
func TestTheStoryIsWhole(t *testing.T) {
	t.Parallel()
	w := setup(t)
	day := time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC)
	w.story = []subscription.Line{
		lineOf("purchase_seen", day, "dlv_first", marketplace.Event{Terms: &marketplace.Terms{Plan: "standard", Offer: "offer-9", Private: true}}),
		lineOf("purchase_seen", day.Add(time.Minute), "dlv_again", marketplace.Event{}),
		lineOf("observed", day.Add(2*time.Minute), "", marketplace.Event{Observed: &marketplace.Observation{Entitled: true, Awaits: marketplace.Approve}}),
		lineOf("fact:blocked", day.Add(3*time.Minute), "", subscription.Fact{Kind: subscription.FactBlocked, Reason: "two plans fit"}),
		lineOf("fact:told", day.Add(3*time.Minute), "", subscription.Fact{Kind: subscription.FactTold, Decision: "approve_change pro@1700", Outcome: marketplace.Pending}),
		lineOf("fact:verdict", day.Add(3*time.Minute), "", subscription.Fact{Kind: subscription.FactVerdict, Decision: "approve_change pro@1700", By: "operator", Reason: "not sold"}),
		lineOf("decided_by_committee", day.Add(4*time.Minute), "", map[string]string{}),
	}
	w.people = []subscription.Claim{{ID: "clm_1", State: subscription.ClaimHolder, Email: "a…@company.example", VerifiedAt: day.Add(5 * time.Minute)}}
	w.view.ReadyAt, w.view.DNSName = day.Add(6*time.Minute), "tail1234.ts.net"
	w.hours = []billing.HourView{
		hourOf(day.Add(2*time.Hour), "api_request", "1234.5", ledger.RecordAccepted, ledger.Throttled, ledger.TookIt), hourOf(day.Add(3*time.Hour), "api_request", "10", ledger.RecordHeld, ledger.InvalidHere), hourOf(day.Add(3*time.Hour), "active_user", "2", ""),
	}
	w.findings = []billing.Finding{{ID: "fnd_mine", Class: billing.FindHeld, Subscription: sub, OpenedAt: day.Add(7 * time.Minute)}, {ID: "fnd_other", Class: billing.FindHeld, Subscription: other, OpenedAt: day}}
	b := w.operator(t)
	r := b.get("/operator/subscriptions/" + sub)
	says(t, r, "agmt-1", "plan standard · offer offer-9 · a private offer", "Changed nothing", "dlv_first", "AWS Marketplace says: entitled · waits for us to approve", "It was held back", "Two plans fit.",
		"Decided by committee", "Approve change pro: pending.", "Approve change pro: refused by operator, since not sold.", "a…@company.example confirmed their address", "The network was set up", "tail1234.ts.net", "1,244.5", "1 held, 1 took more than one call", "12 api_request of 2 Nov 13:00: held", "Not valid",
		"fnd_mine", "In effect", "Monday, 2 November 2026", "Thousands of API requests")
	if strings.Contains(r.body, "fnd_other") || strings.Contains(r.body, secret) {
		t.Error("the story tells what is not its own")
	}
	last := -1
	for _, text := range []string{"The buyer is entitled", "12 api_request of", "fnd_mine", "The network was set up", "a…@company.example confirmed", "Decided by committee", "It was held back", "AWS Marketplace says", "Changed nothing", "offer offer-9"} {
		at := strings.Index(r.body, text)
		if at < last {
			t.Errorf("%q is not in its place", text)
		}
		last = at
	}
	facts := b.get("/operator/subscriptions/" + sub + "?show=fact")
	if says(t, facts, "It was held back"); strings.Contains(facts.body, "dlv_first") {
		t.Error("the filter lets messages through")
	}
	if r := b.get("/operator/subscriptions/" + other); r.StatusCode != http.StatusNotFound {
		t.Errorf("an unknown purchase answered %d", r.StatusCode)
	}
}

func TestALongStoryIsPaged(t *testing.T) {
	t.Parallel()
	w := setup(t)
	for i := range 400 {
		w.story = append(w.story, lineOf("noted", now.Add(-time.Duration(i)*time.Hour), id.Delivery(fmt.Sprintf("dlv_%03d", i)), marketplace.Event{}))
	}
	b := w.operator(t)
	seen, more := map[string]bool{}, regexp.MustCompile(`href="([^"]*before=\d+[^"]*)"`)
	pages := 0
	for path := "/operator/subscriptions/" + sub + "?show=message"; path != ""; pages++ {
		r := b.get(path)
		for _, d := range regexp.MustCompile(`dlv_\d+`).FindAllString(r.body, -1) {
			if seen[d] {
				t.Fatalf("%s is told twice", d)
			}
			seen[d] = true
		}
		path = ""
		if m := more.FindStringSubmatch(r.body); m != nil {
			path = html.UnescapeString(m[1])
		}
	}
	if len(seen) != 400 || pages != 3 {
		t.Errorf("%d lines on %d pages", len(seen), pages)
	}
	for _, odd := range []string{"x", "-5", "999999"} {
		if r := b.get("/operator/subscriptions/" + sub + "?before=" + odd); r.StatusCode != http.StatusOK {
			t.Errorf("before=%s answered %d", odd, r.StatusCode)
		}
	}
}

// Whoever asks what we told the marketplace for an hour, and what it said, reads it.
func TestHoursShowEveryCall(t *testing.T) {
	t.Parallel()
	w := setup(t)
	day := time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC)
	w.hours = []billing.HourView{hourOf(day, "api_request", "12.5", ledger.RecordAccepted, ledger.CallUnsure, ledger.Unprocessed, ledger.TookIt), hourOf(day, "active_user", "3", ""), hourOf(day.AddDate(0, 0, -1), "api_request", "7", ledger.RecordUnsure, ledger.Unanswered)}
	w.hours[0].Corrected, w.hours[0].Record.Final = "2", true
	b := w.operator(t)
	path := "/operator/subscriptions/" + sub + "/hours"
	all := b.get(path)
	says(t, all, "Accepted, at the 3rd call", "no clear answer", "not processed", "receipt-7", "the vendor's word", "aws|slot", "final record", "−2 corrected", "none in this slot", "Period 2026-11, plan standard", "No answer", "17.5 used, 12 billed")
	if one := b.get(path + "?day=2026-11-01"); !strings.Contains(one.body, "No answer") || strings.Contains(one.body, "receipt-7") {
		t.Error("one day shows another one")
	}
	if one := b.get(path + "?meter=active_user"); strings.Contains(one.body, "receipt-7") || !strings.Contains(one.body, "People who used the network this month") {
		t.Error("one meter shows another one")
	}
	w.hours = nil
	for i := range 250 {
		w.hours = append(w.hours, hourOf(day.Add(-time.Duration(i)*time.Hour), "api_request", "1", ""))
	}
	r, more := b.get(path), regexp.MustCompile(`href="([^"]*after=[^"]*)"`)
	rows := strings.Count(r.body, "none in this slot")
	for m := more.FindStringSubmatch(r.body); m != nil; m = more.FindStringSubmatch(r.body) {
		r = b.get(html.UnescapeString(m[1]))
		rows += strings.Count(r.body, "none in this slot")
	}
	if rows != 250 {
		t.Errorf("%d hours are shown", rows)
	}
	w.hours[0].Measured = "a lot"
	if r := b.get(path); r.StatusCode != http.StatusInternalServerError || strings.Contains(r.body, "a lot") {
		t.Errorf("a quantity that is none answered %d", r.StatusCode)
	}
}

func TestUnitsAreShownAndAddedUp(t *testing.T) {
	t.Parallel()
	w := setup(t)
	zero := billing.MeterReport{Marketplace: "aws", CreditLeft: "0", Open: "0", Carried: "0", Included: "0", Queued: "0", Sent: "0", Unsure: "0", Held: "0", Accepted: "0", WrittenOff: "0"}
	a, b := zero, zero
	a.Subscription, a.Meter, a.Measured, a.Accepted, a.Carried = sub, "api_request", "1500.7", "1500", "0.7"
	b.Subscription, b.Meter, b.Measured, b.Accepted, b.WrittenOff = other, "api_request", "2000.5", "2000", "0.5"
	w.report = billing.Report{Unsure: "4", Broken: 1, Problems: []string{"the balance of open is 3"}, Meters: []billing.MeterReport{a, b}}
	op := w.operator(t)
	r := op.get("/operator/units")
	says(t, r, "3,501.2", "3,500", "1,500.7", "Tailnet 9012", other, "1 thing is", "the balance of open is 3", "carried 0.7")
	one := op.get("/operator/units?subscription=" + sub)
	if says(t, one, "1,500.7"); strings.Contains(one.body, "2,000.5") || strings.Contains(one.body, "3,501.2") {
		t.Error("one purchase shows another one")
	}
	if r := op.get("/operator/units?subscription=sub_none"); r.StatusCode != http.StatusNotFound {
		t.Errorf("an unknown purchase answered %d", r.StatusCode)
	}
	w.report = billing.Report{Unsure: "0", Meters: []billing.MeterReport{a}}
	says(t, op.get("/operator/units"), "is in exactly one place")
}

func TestFindingsAreClosedWithAReason(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.findings = []billing.Finding{{ID: "fnd_1", Class: billing.FindOtherQuantity, Subscription: sub, Meter: "api_request", Quantity: "-1200", Owner: "finance", Detail: "the slot holds 12", OpenedAt: now}}
	b := w.operator(t)
	says(t, b.get("/operator/findings"), "The marketplace holds another quantity", "−1,200", "for finance", "The slot holds 12.", "/operator/subscriptions/"+sub)
	if r := b.post("/operator/findings/fnd_1/close", url.Values{"why": {"  "}}); r.StatusCode != http.StatusBadRequest || !strings.Contains(r.body, "Say why it is settled") || len(w.closed) != 0 {
		t.Errorf("without a reason: %d %v", r.StatusCode, w.closed)
	}
	if r := b.post("/operator/findings/fnd_1/close", url.Values{"why": {"refunded"}}, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"); r.StatusCode != http.StatusForbidden || len(w.closed) != 0 {
		t.Errorf("from another site: %d %v", r.StatusCode, w.closed)
	}
	says(t, b.post("/operator/findings/fnd_1/close", url.Values{"why": {"refunded"}}), "It is closed.")
	if len(w.closed) != 1 || w.closed[0] != "fnd_1 by operator: refunded" {
		t.Errorf("closed %v", w.closed)
	}
	if r := b.get("/operator/findings/fnd_1/close"); r.Request.URL.Path != "/operator/findings" {
		t.Errorf("the form's address leads to %s", r.Request.URL)
	}
	w.findings[0].ClosedAt, w.findings[0].ClosedBy, w.findings[0].ClosedWhy = now, "operator", "refunded"
	says(t, b.get("/operator/findings?show=all"), "by operator: refunded")
}

// Trouble of ours is said as such, on every page.
func TestAConsoleWithoutADatabaseSaysSo(t *testing.T) {
	t.Parallel()
	w := setup(t)
	b := w.operator(t)
	w.err = fault.New(fault.Unavailable, "the database does not answer")
	for _, path := range []string{"/operator", "/operator/subscriptions", "/operator/subscriptions/" + sub, "/operator/subscriptions/" + sub + "/hours"} {
		if r := b.get(path); r.StatusCode != http.StatusServiceUnavailable || !strings.Contains(r.body, "We cannot answer right now") {
			t.Errorf("%s answered %d", path, r.StatusCode)
		}
	}
}
