package main

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tailmarket/tailmarket/internal/simulator"
)

// good is a report with nothing wrong in it.
func good() (report, options) {
	r := report{Purchases: map[string]int{"aws": 4}, TailnetsActive: 3, Unsure: "0", Met: map[string]int{"cancellations": 1, "late": 1, "corrections": 1, "kills_in_flight": 1}, Kills: 2}
	for _, k := range simulator.Kinds() {
		r.Met[string(k)] = 1
	}
	for name := range scales {
		r.Meters = append(r.Meters, meter{
			Marketplace: "aws", Subscription: "sub_1", Meter: name, Expected: "12.5", Measured: "12.5", Open: "0", Included: "1", Submitted: "11", Accepted: "11",
			Carried: "0.5", Held: "0", Unsure: "0", WrittenOff: "0", CreditLeft: "0", Billed: "11",
		})
	}
	return r, options{buyers: 4, kills: 2, dedup: simulator.DedupOn, markets: []string{simulator.AWS}, weather: string(simulator.WeatherHostile)}
}

// A comparison that passes whatever it is given would prove nothing.
func TestTheReportNoticesWhatIsWrong(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		spoil func(*report)
		says  string
	}{
		"nothing is wrong":               {func(*report) {}, ""},
		"billed twice":                   {func(r *report) { r.Meters[0].Billed = "22" }, "drift is 11"},
		"billed and not known":           {func(r *report) { r.Meters[0].Billed, r.Meters[0].Accepted, r.Meters[0].Carried = "11", "0", "11.5" }, "drift is 11"},
		"lost between use and ledger":    {func(r *report) { r.Meters[0].Measured, r.Meters[0].Carried = "12.4", "0.4" }, "drift is 0.1"},
		"one gains what another lost":    {func(r *report) { r.Meters[0].Billed, r.Meters[1].Billed = "12", "10" }, "drift is 2"},
		"a unit in no place":             {func(r *report) { r.Meters[0].Carried = "0" }, "conservation is broken in 1 places"},
		"a unit in two places":           {func(r *report) { r.Meters[0].Held = "1" }, "conservation is broken in 1 places"},
		"the app says it is broken":      {func(r *report) { r.Broken = 3 }, "conservation is broken in 3 places"},
		"something is unsure":            {func(r *report) { r.Unsure = "4" }, "unsure is 4"},
		"a purchase nobody heard of":     {func(r *report) { r.Purchases["aws"] = 1 }, "1 of 4 purchases"},
		"a tailnet that was not revoked": {func(r *report) { r.TailnetsActive = 4 }, "4 tailnets are active"},
		"a quarantined delivery":         {func(r *report) { r.Deliveries.Quarantined = 1 }, "in quarantine"},
		"a kill that did not happen":     {func(r *report) { r.Kills = 1 }, "1 of 2 kills"},
		"kills at harmless moments":      {func(r *report) { r.Met["kills_in_flight"] = 0 }, "only 0 of 2 kills"},
		"a meter that billed nothing": {func(r *report) {
			r.Meters[0].Billed, r.Meters[0].Accepted, r.Meters[0].Carried = "0", "0", "11.5"
		}, "nothing was billed for"},
		"a kind of fault not met": {func(r *report) { r.Met["drop"] = 0 }, "no drop was met"},
		"no correction":           {func(r *report) { delete(r.Met, "corrections") }, "no corrections was met"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, o := good()
			c.spoil(&r)
			if err := r.add(o.dedup); err != nil {
				t.Fatal(err)
			}
			got := strings.Join(r.wrong(o), "\n")
			if (c.says == "") != (got == "") || !strings.Contains(got, c.says) {
				t.Errorf("want %q, got %q", c.says, got)
			}
		})
	}
}

// Without de-duplication Google may have booked what is unsure, and no more than that.
func TestDoubtIsBoundedByWhatIsUnsure(t *testing.T) {
	t.Parallel()
	row := func(market, accepted, unsure, billed string) meter {
		return meter{
			Marketplace: market, Meter: "m", Expected: "10", Measured: "10", Open: "0", Included: "0", Accepted: accepted, Carried: "0", Held: "0",
			Unsure: unsure, WrittenOff: "0", CreditLeft: "0", Billed: billed,
		}
	}
	for name, c := range map[string]struct {
		m     meter
		dedup simulator.Dedup
		drift string
	}{
		"booked":                     {row("gcp", "7", "3", "10"), simulator.DedupOff, "0"},
		"not booked":                 {row("gcp", "7", "3", "7"), simulator.DedupOff, "0"},
		"booked twice":               {row("gcp", "7", "3", "13"), simulator.DedupOff, "3"},
		"less than was accepted":     {row("gcp", "7", "3", "6"), simulator.DedupOff, "1"},
		"no doubt elsewhere":         {row("azure", "7", "3", "10"), simulator.DedupOff, "3"},
		"no doubt where it is known": {row("gcp", "7", "3", "10"), simulator.DedupOn, "3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := report{Meters: []meter{c.m}}
			if err := r.add(c.dedup); err != nil || r.Drift != c.drift || r.Broken != 0 {
				t.Errorf("drift %s, want %s; %d broken, %v", r.Drift, c.drift, r.Broken, err)
			}
		})
	}
}

func TestRunsOfASeedAreCompared(t *testing.T) {
	t.Parallel()
	r, _ := good()
	for i := range r.Meters {
		r.Meters[i].Purchase, r.Meters[i].Periods = "arn:1", map[string]string{"2026-11": "12", "2026-12": "0.5"}
	}
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "earlier.json")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*report)
		says   int
	}{
		"the same":         {func(r *report) { r.Meters[0].Subscription, r.Meters[0].Submitted = "sub_2", "99" }, 0},
		"another period":   {func(r *report) { r.Meters[0].Periods = map[string]string{"2026-11": "11.5", "2026-12": "1"} }, 1},
		"another bill":     {func(r *report) { r.Meters[0].Billed = "12" }, 1},
		"a meter is gone":  {func(r *report) { r.Meters = r.Meters[1:] }, 1},
		"another purchase": {func(r *report) { r.Meters[0].Purchase = "arn:2" }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var now report
			if err := json.Unmarshal(raw, &now); err != nil {
				t.Fatal(err)
			}
			c.change(&now)
			if err := now.compare(file); err != nil || len(now.mistaken) != c.says {
				t.Errorf("%d differences, want %d: %q, %v", len(now.mistaken), c.says, now.mistaken, err)
			}
		})
	}
}

func TestARecordBilledTwiceIsNoticed(t *testing.T) {
	t.Parallel()
	line := simulator.BillLine{Marketplace: "gcp", Dimension: "m", Slots: []simulator.Slot{{RecordID: "a"}, {RecordID: "b"}}}
	other := line
	other.Dimension = "n" // one report may have several metrics
	if got := twice(simulator.Bill{Lines: []simulator.BillLine{line, other}}); len(got) > 0 {
		t.Error(got)
	}
	line.Slots = append(line.Slots, simulator.Slot{RecordID: "a"})
	if got := twice(simulator.Bill{Lines: []simulator.BillLine{line, other}}); len(got) != 1 {
		t.Error(got)
	}
}

func TestGoodWeatherNeedsNoFaults(t *testing.T) {
	t.Parallel()
	r, o := good()
	o.weather = string(simulator.WeatherGood)
	maps.DeleteFunc(r.Met, func(k string, _ int) bool {
		return k != "cancellations" && k != "late" && k != "corrections" && k != "kills_in_flight"
	})
	if err := r.add(o.dedup); err != nil {
		t.Fatal(err)
	}
	if got := r.wrong(o); len(got) > 0 {
		t.Error(got)
	}
}

func TestBilledLicencesNobodyKnowsAreRows(t *testing.T) {
	t.Parallel()
	rows := map[string]*meter{}
	err := bill(simulator.Bill{Lines: []simulator.BillLine{
		{Marketplace: "gcp", Purchase: "known", Dimension: "tailnet.example/active_user", Quantity: 1},
		{Marketplace: "gcp", Purchase: "known", Dimension: "tailnet.example/enterprise_active_user", Quantity: 2},
		{Marketplace: "aws", Purchase: "arn:stray", Dimension: "active_user", Quantity: 4},
	}}, map[string]string{"gcp known": "sub_1"}, func(_, sub, name string) *meter {
		if rows[sub+" "+name] == nil {
			rows[sub+" "+name] = &meter{Billed: "0"}
		}
		return rows[sub+" "+name]
	})
	if err != nil {
		t.Fatal(err)
	}
	if rows["sub_1 active_user"] == nil || rows["sub_1 active_user"].Billed != "3" || rows["arn:stray active_user"] == nil || rows["arn:stray active_user"].Billed != "4" {
		t.Errorf("%v", rows)
	}
}

func TestFlagsAreChecked(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-buyers", "0"}, {"-days", "0"}, {"-kill", "-1"}, {"-weather", "sunny"}, {"now"}, {"-gcp-dedup", "perhaps"}, {"-markets", "aws,aws"}, {"-replicas", "0"}, {"-replicas", "2"}} {
		var out strings.Builder
		if err := demo(t.Context(), args, &out, &out); err == nil {
			t.Errorf("%v was taken", args)
		}
	}
}
