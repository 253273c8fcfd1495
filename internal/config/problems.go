package config

import (
	"fmt"
	"slices"
	"strings"
)

// Problem is one setting that is not accepted.
type Problem struct {
	Setting string // the name by which it can be mended
	Text    string // what is wrong and what would be accepted; never a secret
}

// Problems is every problem at once, as an error.
type Problems []Problem

func (p Problems) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of the settings cannot be used:", len(p))
	if len(p) == 1 {
		b.Reset()
		b.WriteString("a setting cannot be used:")
	}
	for _, one := range p {
		fmt.Fprintf(&b, "\n  %s: %s", one.Setting, one.Text)
	}
	return b.String()
}

// join sorts the problems by setting and returns nil when there are none.
func join(lists ...Problems) error {
	all := slices.Concat(lists...)
	if len(all) == 0 {
		return nil
	}
	slices.SortStableFunc(all, func(a, b Problem) int { return strings.Compare(a.Setting, b.Setting) })
	return slices.Compact(all)
}

// nearest finds the known name with the fewest letters to change; the first in
// order wins a tie, so the advice is the same at every start.
func nearest(name string, known map[string]bool) string {
	best, least := "", 1<<30
	for k := range known {
		if d := distance(name, k); d < least || d == least && k < best {
			best, least = k, d
		}
	}
	return best
}

// distance is Levenshtein's, one row at a time.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
