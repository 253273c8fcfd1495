package main

import (
	"slices"

	"github.com/tailmarket/tailmarket/internal/simulator"
)

// The weather is the seed's, and what a run must show is not left to it: each kind of
// trouble is planted, so that it happens at its first opportunity, and demanded where
// the buyers give it one.

// events are the misfortunes of a message. The simulator is sure to play them to four
// purchases of a marketplace; planted, all would fall on the first message.
var events = []simulator.Kind{simulator.KindRepeat, simulator.KindReorder, simulator.KindDelay, simulator.KindDrop}

// always are the kinds that the usage of any one purchase meets.
var always = []simulator.Kind{
	simulator.KindThrottle, simulator.Kind5xx, simulator.KindAcceptThenClose, simulator.KindReadFault, simulator.KindOperationError, simulator.KindSlotTaken,
}

func planted(o options) []simulator.Force {
	var out []simulator.Force
	if o.weather != string(simulator.WeatherHostile) {
		return out
	}
	for _, k := range simulator.Kinds(o.markets...) {
		if !slices.Contains(events, k) {
			out = append(out, simulator.Force{Kind: k})
		}
	}
	return out
}

// sure lists what a run must meet.
func sure(o options) []string {
	must := []string{"late", "corrections"}
	if o.buyers > len(o.markets) { // a second buyer of a marketplace
		must = append(must, "cancellations")
	}
	for _, market := range o.markets {
		buyers := o.at(market)
		if buyers == 0 {
			continue
		}
		if market != simulator.AWS {
			must = append(must, twoPhases(market))
		}
		if market == simulator.Azure && o.days > 1 {
			must = append(must, "suspended", "reinstated")
		}
		if o.weather != string(simulator.WeatherHostile) {
			continue
		}
		for _, k := range simulator.Kinds(market) {
			switch {
			case k == simulator.KindInactiveMissing: // met only by who meters a suspended purchase, and we hold
			case k == simulator.KindAckLate: // met only by an answer that finds the operation still open
			case buyers >= 4 || slices.Contains(always, k):
				must = append(must, string(k))
			}
		}
	}
	slices.Sort(must)
	return slices.Compact(must)
}

// twoPhases is the change of a plan that is asked for, agreed to by the seller, and then
// in force.
func twoPhases(market string) string { return "plan_change_" + market }

// at is how many buy at a marketplace.
func (o options) at(market string) int {
	i := slices.Index(o.markets, market)
	if i < 0 {
		return 0
	}
	return (o.buyers + len(o.markets) - 1 - i) / len(o.markets)
}
