package ledger

import "fmt"

// Kind is the way usage becomes a quantity; the words are the catalog's.
type Kind string

const (
	Sum        Kind = "sum"
	Unique     Kind = "unique"
	PeakPeriod Kind = "peak_period"
	UnitHours  Kind = "unit_hours"
)

// Sample is one live usage event: one that no correction replaced.
type Sample struct {
	Of       string // who or what was counted
	Quantity int64
	Seconds  int64 // covered time, for unit_hours
}

// Count is what the live samples of a counting period amount to. Adding a sample
// or correcting one changes Count; the change of Value is the rise or fall.
type Count struct {
	Sum         int64
	Peak        int64
	Unique      int64 // different Of with a quantity above zero
	UnitSeconds int64
}

// CountOf counts samples; the store counts the same in SQL.
func CountOf(samples []Sample) Count {
	var c Count
	seen := map[string]bool{}
	for _, s := range samples {
		c.Sum += s.Quantity
		c.Peak = max(c.Peak, s.Quantity)
		c.UnitSeconds += s.Quantity * s.Seconds
		if s.Quantity > 0 && !seen[s.Of] {
			seen[s.Of] = true
			c.Unique++
		}
	}
	return c
}

const secondsPerHour = 3600

// Value is the meter function: the quantity of the period so far.
func (c Count) Value(k Kind) (int64, error) {
	switch k {
	case Sum:
		return c.Sum, nil
	case Unique:
		return c.Unique, nil
	case PeakPeriod:
		return c.Peak, nil
	case UnitHours:
		// Rounded down once for the period, never for a sample: the fraction waits for the next one.
		return c.UnitSeconds / secondsPerHour, nil
	}
	return 0, fmt.Errorf("there is no meter function %q", k)
}

// Change is the rise and the fall of the meter function between two counts; one
// of them is zero.
func Change(k Kind, before, after Count) (rise, fall int64, err error) {
	b, err := before.Value(k)
	if err != nil {
		return 0, 0, err
	}
	a, err := after.Value(k)
	if err != nil {
		return 0, 0, err
	}
	return max(a-b, 0), max(b-a, 0), nil
}
