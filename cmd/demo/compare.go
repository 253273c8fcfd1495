package main

import (
	"encoding/json"
	"fmt"
	"os"
)

// units is where a meter's units ended, without what depends on chance: names that a
// run makes up, and how often something was sent.
func (m meter) units() string {
	return fmt.Sprintf("expected %s, measured %s (by period %v), included %s, credit %s, carried %s, held %s, unsure %s, written off %s, accepted %s, billed %s",
		m.Expected, m.Measured, m.Periods, m.Included, m.CreditLeft, m.Carried, m.Held, m.Unsure, m.WrittenOff, m.Accepted, m.Billed)
}

// compare tells where this run's units are others than those of an earlier run of the
// same seed, by the marketplace's name of the purchase.
func (r *report) compare(file string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var earlier report
	if err := json.Unmarshal(raw, &earlier); err != nil {
		return fmt.Errorf("read the report %s: %w", file, err)
	}
	type key struct{ marketplace, purchase, meter string }
	was := map[key]string{}
	for _, m := range earlier.Meters {
		was[key{m.Marketplace, m.Purchase, m.Meter}] = m.units()
	}
	for _, m := range r.Meters {
		k := key{m.Marketplace, m.Purchase, m.Meter}
		if is := m.units(); is != was[k] {
			r.mistaken = append(r.mistaken, fmt.Sprintf("%s of %s at %s: now %s; before %s", k.meter, k.purchase, k.marketplace, is, was[k]))
		}
		delete(was, k)
	}
	for k, units := range was {
		r.mistaken = append(r.mistaken, fmt.Sprintf("%s of %s at %s is missing: before %s", k.meter, k.purchase, k.marketplace, units))
	}
	return nil
}
