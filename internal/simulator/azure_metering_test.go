package simulator_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tailmarket/tailmarket/internal/simulator"
)

// use is one usage event of the plan standard.
func use(b simulator.Buyer, at time.Time, dimension, quantity string) string {
	return useOf(b.Purchase, at, dimension, quantity, "standard")
}

func useOf(resource string, at time.Time, dimension, quantity, plan string) string {
	return fmt.Sprintf(`{"resourceId":%q,"quantity":%s,"dimension":%q,"effectiveStartTime":%q,"planId":%q}`,
		resource, quantity, dimension, at.Format("2006-01-02T15:04:05"), plan)
}

func (w *azureWorld) batch(events ...string) answered {
	return w.call("POST", "/batchUsageEvent", `{"request":[`+strings.Join(events, ",")+`]}`)
}

// metered sends one event in a batch and gives its item.
func (w *azureWorld) metered(event string) answered {
	w.t.Helper()
	a := w.batch(event)
	items, _ := a.at("result").([]any)
	if a.status != 200 || len(items) != 1 || fmt.Sprint(a.at("count")) != "1" {
		w.t.Fatalf("%d %s", a.status, a.text)
	}
	return answered{body: items[0], text: a.text}
}

func TestTheFirstEventOfASlotWins(t *testing.T) {
	t.Parallel()
	w := calm(t)
	b := w.subscribed(simulator.Purchase{})
	w.advance(3 * time.Hour)
	at := start.Add(2 * time.Hour)
	first := w.metered(use(b, at, "active_user", "7"))
	id, _ := first.at("usageEventId").(string)
	if first.at("status") != "Accepted" || len(id) != 36 || first.at("effectiveStartTime") != "2026-11-03T02:00:00" {
		t.Errorf("%s", first.text)
	}
	for _, later := range []string{use(b, at, "active_user", "7"), use(b, at.Add(59*time.Minute), "active_user", "8.5")} {
		again := w.metered(later)
		won := answered{body: again.at("error", "additionalInfo", "acceptedMessage")}
		if again.at("status") != "Duplicate" || again.at("messageTime") != "0001-01-01T00:00:00" || again.at("usageEventId") != nil ||
			won.at("usageEventId") != id || fmt.Sprint(won.at("quantity")) != "7" || won.at("status") != "Duplicate" {
			t.Errorf("%s", again.text)
		}
		single := w.call("POST", "/usageEvent", later)
		if single.status != 409 || single.at("code") != "Conflict" || single.at("additionalInfo", "acceptedMessage", "usageEventId") != id {
			t.Errorf("%d %s", single.status, single.text)
		}
	}
	if got := w.metered(use(b, at.Add(time.Hour), "active_user", "2.25")); got.at("status") != "Accepted" {
		t.Errorf("the next hour: %s", got.text)
	}
	if got := w.call("POST", "/usageEvent", use(b, at, "api_request", "1")); got.status != 200 || got.at("status") != "Accepted" {
		t.Errorf("another dimension: %d %s", got.status, got.text)
	}
	lines := w.sim.Bill().Lines
	if len(lines) != 2 || lines[0].Marketplace != simulator.Azure || lines[0].Purchase != b.Purchase || lines[0].Account != b.Account ||
		lines[0].Quantity != 9 || lines[0].Exact != "9.25" || len(lines[0].Slots) != 2 || lines[0].Slots[0].Quantity != 7 || lines[0].Slots[0].Exact != "" {
		t.Errorf("bill %+v", lines)
	}
}

func TestEveryStatusOfAUsageEvent(t *testing.T) {
	t.Parallel()
	offers := []simulator.AzureOffer{
		{ID: "tailnet", Plans: []simulator.AzurePlan{
			{ID: "standard", Dimensions: []string{"active_user", "api_request"}}, {ID: "small", Dimensions: []string{"api_request"}},
		}},
		{ID: "other", Client: "b7000000-0000-4000-8000-00000000000b", Plans: []simulator.AzurePlan{{ID: "standard", Auto: true, Dimensions: []string{"active_user"}}}},
	}
	w := azureSetup(t, simulator.Options{Weather: simulator.WeatherGood, Azure: simulator.AzureOptions{Offers: offers}})
	b, changed := w.subscribed(simulator.Purchase{}), w.subscribed(simulator.Purchase{})
	pending, other := w.buy(simulator.Purchase{Habits: absent()}), w.buy(simulator.Purchase{Product: "other", Habits: absent()})
	w.advance(30 * time.Hour)
	w.ask(changed, simulator.Change{Plan: "small"})
	w.advance(time.Minute)
	now := w.sim.Now()
	for name, c := range map[string]struct {
		event, status string
		http          int
		target        string
	}{
		"accepted":            {use(b, now, "active_user", "0.5"), "Accepted", 200, ""},
		"the oldest":          {use(b, now.Add(-24*time.Hour), "active_user", "1"), "Accepted", 200, ""},
		"too old":             {use(b, now.Add(-24*time.Hour-time.Second), "active_user", "1"), "Expired", 400, "effectiveStartTime"},
		"in the future":       {use(b, now.Add(time.Second), "active_user", "1"), "Expired", 400, "effectiveStartTime"},
		"unknown resource":    {useOf("7c1e0000-0000-4000-8000-000000000001", now, "active_user", "1", "standard"), "ResourceNotFound", 400, "ResourceId"},
		"of another":          {use(other, now, "active_user", "1"), "ResourceNotAuthorized", 403, ""},
		"not activated":       {use(pending, now, "active_user", "1"), "ResourceNotActive", 400, "ResourceId"},
		"unknown dimension":   {use(b, now, "Active_User", "1"), "InvalidDimension", 400, "dimension"},
		"not in the new plan": {useOf(changed.Purchase, now, "active_user", "1", "small"), "InvalidDimension", 400, "dimension"},
		"old plan, this hour": {useOf(changed.Purchase, now, "active_user", "1", "standard"), "Accepted", 200, ""},
		"old plan, earlier":   {useOf(changed.Purchase, now.Add(-2*time.Hour), "active_user", "1", "standard"), "Accepted", 200, ""},
		"unknown plan":        {useOf(b.Purchase, now, "active_user", "1", "gold"), "BadArgument", 400, "planId"},
		"nothing":             {use(b, now, "active_user", "0"), "InvalidQuantity", 400, "quantity"},
		"less than nothing":   {use(b, now, "active_user", "-1"), "InvalidQuantity", 400, "quantity"},
		"quantity as text":    {use(b, now, "active_user", `"1"`), "BadArgument", 400, "quantity"},
		"no time":             {strings.Replace(use(b, now, "active_user", "1"), "effectiveStartTime", "time", 1), "BadArgument", 400, "effectiveStartTime"},
		"two resources":       {strings.Replace(use(b, now, "active_user", "1"), "{", `{"resourceUri":"/subscriptions/x",`, 1), "BadArgument", 400, "resourceId"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.status != "Accepted" {
				a := w.call("POST", "/usageEvent", c.event)
				details, _ := a.at("details").([]any)
				if a.status != c.http || c.target != "" && (len(details) != 1 || details[0].(map[string]any)["target"] != c.target) {
					t.Errorf("alone: %d %s", a.status, a.text)
				}
			}
			if got := w.metered(c.event); got.at("status") != c.status {
				t.Errorf("in a batch: %s, want %s", got.text, c.status)
			}
		})
	}
	if a := w.batch(use(b, now, "api_request", "1"), use(b, now, "nope", "1"), use(b, now, "api_request", "2")); a.status != 200 || strings.Count(a.text, `"Duplicate"`) != 2 {
		t.Errorf("a bad event and two of one slot: %d %s", a.status, a.text) // the word stands in the item and in its accepted message
	}
	if a := w.batch(); a.status != 400 {
		t.Errorf("an empty batch: %d", a.status)
	}
	many := make([]string, 26)
	for i := range many {
		many[i] = use(b, now.Add(-time.Duration(i)*time.Hour), "api_request", "1")
	}
	if a := w.batch(many...); a.status != 400 {
		t.Errorf("26 events: %d", a.status)
	}
	if a := w.batch(many[1:24]...); a.status != 200 || strings.Count(a.text, `"Accepted"`) != 23 {
		t.Errorf("23 events: %d %s", a.status, a.text)
	}
	if a := w.call("POST", "/usageEvent", `{"request":[]}`); a.status != 400 {
		t.Errorf("a wrapper: %d", a.status)
	}
	if a := w.call("POST", "/batchUsageEvent", use(b, now, "active_user", "1")); a.status != 400 {
		t.Errorf("no wrapper: %d", a.status)
	}
}

func TestMeteringFollowsTheSubscription(t *testing.T) {
	t.Parallel()
	w := calm(t)
	b := w.subscribed(simulator.Purchase{})
	w.advance(3 * time.Hour)
	status := func(event string) string {
		t.Helper()
		s, _ := w.metered(event).at("status").(string)
		return s
	}
	if got := status(use(b, start.Add(-time.Hour), "active_user", "1")); got != "ResourceNotActive" && got != "BadArgument" {
		t.Errorf("an hour before activation: %s", got)
	}
	if _, err := w.sim.Suspend(t.Context(), b.ID, true); err != nil {
		t.Fatal(err)
	}
	if got := status(use(b, start.Add(time.Hour), "active_user", "1")); got != "ResourceNotActive" {
		t.Errorf("suspended: %s", got)
	}
	w.force(simulator.KindInactiveMissing, b.Purchase)
	if got := status(use(b, start.Add(time.Hour), "active_user", "1")); got != "ResourceNotFound" {
		t.Errorf("suspended, the captured answer: %s", got)
	}
	w.advance(time.Hour)
	if _, err := w.sim.Suspend(t.Context(), b.ID, false); err != nil {
		t.Fatal(err)
	}
	for h := range 4 { // the hours of the suspension too
		if got := status(use(b, start.Add(time.Duration(h)*time.Hour), "active_user", "1")); got != "Accepted" {
			t.Errorf("reinstated, hour %d: %s", h, got)
		}
	}
	if _, err := w.sim.Cancel(t.Context(), b.ID, ""); err != nil {
		t.Fatal(err)
	}
	end := w.sim.Now()
	w.advance(3 * time.Hour)
	if got := status(use(b, end.Add(-time.Second), "api_request", "1")); got != "Accepted" {
		t.Errorf("before the end, three hours later: %s", got)
	}
	if got := status(use(b, end, "tagged_resource", "1")); got != "ResourceNotActive" {
		t.Errorf("at the end: %s", got)
	}
	w.advance(22 * time.Hour)
	if got := status(use(b, end.Add(-time.Second), "ephemeral_minute", "1")); got != "Expired" {
		t.Errorf("before the end, a day later: %s", got)
	}
}

func TestAnotherEmitterMayHaveTheSlot(t *testing.T) {
	t.Parallel()
	w := calm(t)
	b := w.subscribed(simulator.Purchase{})
	w.advance(3 * time.Hour)
	for kind, want := range map[simulator.Kind]struct{ dimension, quantity string }{
		simulator.KindSlotTaken:     {"active_user", "4"},
		simulator.KindSlotTakenMore: {"api_request", "8"},
	} {
		w.force(kind, "|"+want.dimension+"|")
		got := w.metered(use(b, start.Add(time.Hour), want.dimension, "7"))
		won := answered{body: got.at("error", "additionalInfo", "acceptedMessage")}
		if got.at("status") != "Duplicate" || fmt.Sprint(won.at("quantity")) != want.quantity {
			t.Errorf("%s: %s", kind, got.text)
		}
	}
	w.force(simulator.KindSlotTaken, "|tagged_resource|")
	if got := w.metered(use(b, start.Add(time.Hour), "tagged_resource", "1")); got.at("status") != "Accepted" {
		t.Errorf("one unit has no part: %s", got.text)
	}
	for _, line := range w.sim.Bill().Lines[:2] {
		if !line.Slots[0].Foreign {
			t.Errorf("bill %+v", line)
		}
	}
}

func TestTheUsageReportIsDailyAndLate(t *testing.T) {
	t.Parallel()
	w := calm(t)
	b := w.subscribed(simulator.Purchase{})
	w.advance(30 * time.Hour)
	for h := range 24 {
		if got := w.metered(use(b, start.Add(time.Duration(h+7)*time.Hour), "api_request", "1.5")); got.at("status") != "Accepted" {
			t.Fatalf("hour %d: %s", h+7, got.text)
		}
	}
	rows := func(query string) []any {
		t.Helper()
		out, _ := w.must(200, "GET", "/usageEvents?"+query, "").body.([]any)
		return out
	}
	report := func(query string) string {
		text := ""
		for _, r := range rows(query) {
			row := answered{body: r}
			text += fmt.Sprintln(row.at("usageDate"), row.at("dimension"), row.at("planId"), row.at("reconStatus"), row.at("submittedQuantity"), row.at("processedQuantity"), row.at("submittedCount"), row.at("planName"))
		}
		return text
	}
	want := "2026-11-03T00:00:00Z api_request standard Submitted 25.5 0 17 \n2026-11-04T00:00:00Z api_request standard Submitted 10.5 0 7 \n"
	if diff := cmp.Diff(want, report("usageStartDate=2026-11-01")); diff != "" {
		t.Error(diff)
	}
	w.advance(48 * time.Hour)
	want = "2026-11-03T00:00:00Z api_request standard Accepted 25.5 25.5 17 Standard\n"
	if diff := cmp.Diff(want, report("usageStartDate=2026-11-01&UsageEndDate=2026-11-03&dimension=api_request&offerId=tailnet")); diff != "" {
		t.Error(diff)
	}
	for _, none := range []string{"usageStartDate=2026-11-05", "usageStartDate=2026-11-01&reconStatus=Rejected", "usageStartDate=2026-11-01&planId=premium"} {
		if got := rows(none); len(got) != 0 {
			t.Errorf("%s: %v", none, got)
		}
	}
	w.must(400, "GET", "/usageEvents", "")
}

func TestEveryUsageEventIsDefiniteByItsFourthTry(t *testing.T) {
	t.Parallel()
	w := azureSetup(t, simulator.Options{Seed: 3})
	w.sim.Stop(simulator.KindSlotTaken)
	b := w.subscribed(simulator.Purchase{})
	w.advance(2 * time.Hour)
	w.sim.Force(simulator.Force{Kind: simulator.KindAcceptThenClose, Subject: "|active_user|", Times: 3})
	event := use(b, start.Add(time.Hour), "active_user", "9")
	for try := range 3 {
		if a := w.batch(event); a.err == nil && a.status != 429 && a.status != 500 {
			t.Fatalf("try %d: %d %s", try+1, a.status, a.text)
		}
	}
	if got := w.metered(event); got.at("status") != "Accepted" && got.at("status") != "Duplicate" {
		t.Fatalf("fourth try: %s", got.text)
	}
	if lines := w.sim.Bill().Lines; len(lines) != 1 || lines[0].Quantity != 9 {
		t.Fatalf("bill %+v", lines)
	}
}

func TestAzureFaultsAreDecidedByTheSeedAndNotByTheOrderOfCalls(t *testing.T) {
	t.Parallel()
	run := func(backwards bool) (map[string]string, map[string]int) {
		w := azureSetup(t, simulator.Options{Seed: 12})
		b := w.subscribed(simulator.Purchase{})
		w.advance(23 * time.Hour)
		outcome := map[string]string{}
		for i := range 60 {
			if backwards {
				i = 59 - i
			}
			hour, dim := start.Add(time.Duration(i/3+1)*time.Hour), []string{"active_user", "api_request", "tagged_resource"}[i%3]
			for try := range 4 {
				a := w.batch(use(b, hour, dim, fmt.Sprint(i+2)))
				got := fmt.Sprint("no answer ", a.status)
				if items, ok := a.at("result").([]any); ok {
					got = items[0].(map[string]any)["status"].(string)
				}
				outcome[fmt.Sprint(hour.Hour(), dim, try)] = got
			}
		}
		return outcome, w.sim.Faults()
	}
	forwards, counts := run(false)
	back, countsBack := run(true)
	if diff := cmp.Diff(forwards, back); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(counts, countsBack); diff != "" {
		t.Error(diff)
	}
	for _, k := range []simulator.Kind{simulator.KindThrottle, simulator.Kind5xx, simulator.KindAcceptThenClose, simulator.KindItemError, simulator.KindSlotTaken} {
		if counts[string(k)] == 0 {
			t.Errorf("240 calls did not meet %s: %v", k, counts)
		}
	}
}
