package main

import (
	"slices"
	"testing"

	"github.com/tailmarket/tailmarket/internal/simulator"
)

func TestWhatIsDemandedHasAnOpportunity(t *testing.T) {
	t.Parallel()
	all := []string{simulator.AWS, simulator.GCP, simulator.Azure}
	hostile := string(simulator.WeatherHostile)
	cases := map[string]struct {
		o    options
		want []string
		not  []string
	}{
		"the default": {
			options{buyers: 12, days: 3, markets: all, weather: hostile},
			[]string{"operation_error", "slot_taken", "plan_change_gcp", "plan_change_azure", "suspended", "reinstated", "drop", "cancellations", "key_rotation"},
			[]string{"plan_change_aws", string(simulator.KindInactiveMissing), string(simulator.KindTokenRevoked)},
		},
		"one buyer each": {
			options{buyers: 3, days: 3, markets: all, weather: hostile},
			[]string{"operation_error", "slot_taken", "plan_change_gcp", "reinstated", "throttle"},
			[]string{"drop", "ack_late", "cancellations", "key_rollover"},
		},
		"two buyers for three": {options{buyers: 2, days: 3, markets: all, weather: hostile}, []string{"operation_error"}, []string{"slot_taken", "plan_change_azure", "suspended"}},
		"one day":              {options{buyers: 12, days: 1, markets: all, weather: hostile}, []string{"plan_change_azure"}, []string{"reinstated"}},
		"AWS alone":            {options{buyers: 5, days: 3, markets: all[:1], weather: hostile}, []string{"unprocessed", "cancellations"}, []string{"operation_error", "plan_change_gcp", "suspended"}},
		"good weather demands no fault": {
			options{buyers: 12, days: 3, markets: all, weather: string(simulator.WeatherGood)},
			[]string{"plan_change_gcp", "suspended", "late", "corrections"},
			[]string{"operation_error", "slot_taken", "throttle", "drop"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := sure(c.o)
			for _, k := range c.want {
				if !slices.Contains(got, k) {
					t.Errorf("%s is not demanded", k)
				}
			}
			for _, k := range c.not {
				if slices.Contains(got, k) {
					t.Errorf("%s is demanded", k)
				}
			}
		})
	}
}

// What no purchase is fated to meet must be planted, or a seed could miss it.
func TestWhatIsDemandedIsPlantedOrFated(t *testing.T) {
	t.Parallel()
	o := options{buyers: 12, days: 3, markets: []string{simulator.AWS, simulator.GCP, simulator.Azure}, weather: string(simulator.WeatherHostile)}
	var will []string
	for _, f := range planted(o) {
		will = append(will, string(f.Kind))
	}
	for _, k := range events {
		will = append(will, string(k))
	}
	will = append(will, "late", "corrections", "cancellations", "suspended", "reinstated", "plan_change_gcp", "plan_change_azure")
	for _, k := range sure(o) {
		if !slices.Contains(will, k) {
			t.Errorf("%s is demanded and left to chance", k)
		}
	}
	if o.weather = string(simulator.WeatherGood); len(planted(o)) > 0 {
		t.Error("good weather was spoilt")
	}
}

func TestEachMarketplaceAndChannelHasItsShare(t *testing.T) {
	t.Parallel()
	for _, markets := range [][]string{{simulator.AWS}, {simulator.AWS, simulator.GCP}, {simulator.AWS, simulator.GCP, simulator.Azure}} {
		for buyers := range 25 {
			o, at, by := options{buyers: buyers, markets: markets}, map[string]int{}, map[channel]int{}
			for n := range buyers {
				at[markets[n%len(markets)]]++
				by[channelOf(n, markets)]++
			}
			for _, m := range markets {
				if o.at(m) != at[m] {
					t.Errorf("%d buyers over %v: %d at %s, want %d", buyers, markets, o.at(m), m, at[m])
				}
			}
			if buyers%(3*len(markets)) == 0 && (by[byLink] != buyers/3 || by[byPartner] != buyers/3) {
				t.Errorf("%d buyers over %v came by %v", buyers, markets, by)
			}
		}
	}
	if n := (options{buyers: 5, markets: []string{simulator.AWS}}).at(simulator.GCP); n != 0 {
		t.Errorf("%d buy where nothing is sold", n)
	}
}
