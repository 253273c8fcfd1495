package marketplace

import (
	"errors"
	"fmt"
	"time"

	"github.com/tailmarket/tailmarket/internal/fault"
)

// Quota is how many calls of one of its APIs a vendor takes from one account, from
// all who call for it together. Adapters name the quota of a request; whoever
// gives them their way out keeps to it (internal/app).
type Quota struct {
	Account string // whom the vendor counts
	API     string // what it counts, in its word
	// Calls in Per. Zero: the vendor gives no figure, and only a pause that it asks
	// for counts.
	Calls  int
	Per    time.Duration
	Source string // page title and date
}

// Withheld is what an adapter answers when its way out did not let a call leave,
// because a quota is used up: Throttled whatever the method, for nothing was done.
// nil: err is something else.
func Withheld(err error, doing, public string) error {
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || f.Class != fault.Throttled {
		return nil
	}
	return &fault.Error{Class: fault.Throttled, Public: public, RetryAfter: f.RetryAfter, Err: fmt.Errorf("%s: %w", doing, err)}
}
