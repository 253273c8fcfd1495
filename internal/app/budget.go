package app

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tailmarket/tailmarket/internal/fleet"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

const (
	// callPatience is how long a call waits for its turn. It is far more than a
	// quota of some calls a second makes anybody wait, and leaves most of the time
	// that a page, a webhook or an attempt has; a longer pause is the caller's.
	callPatience = 5 * time.Second
	// A vendor that says "too fast" and not until when is left alone for this long;
	// one that asks for longer than longestPause is asked again then.
	shortestPause = time.Second
	longestPause  = 10 * time.Minute
)

// budgeted is the way out to one marketplace. Every call takes its turn in the
// vendor's quota, which all replicas count together, and a pause that the vendor
// asks one replica for holds for all.
//
// It stands here and not around the adapters: one method of theirs makes several
// calls of different quotas, page by page, and only what leaves can be counted.
// A call whose turn does not come never leaves; adapters call it Throttled
// (marketplace.Withheld).
type budgeted struct {
	next   http.RoundTripper
	budget fleet.Budget
	wall   func() time.Time
	market marketplace.ID
	quota  func(*http.Request) (marketplace.Quota, bool)
}

// wayOut is the client for one marketplace. Quotas are the vendor's, by its wall
// clock. Where the business clock is a simulator's there is no vendor, and waiting
// would only tell its clock to stand still: no quota counts.
func (b *Base) wayOut(m marketplace.ID, quota func(*http.Request) (marketplace.Quota, bool)) *http.Client {
	if b.Config.ClockURL != "" {
		return b.HTTP
	}
	c := *b.HTTP
	c.Transport = budgeted{next: b.HTTP.Transport, budget: b.Fleet.Budget, wall: time.Now, market: m, quota: quota}
	return &c
}

func (t budgeted) RoundTrip(r *http.Request) (*http.Response, error) {
	q, counts := t.quota(r)
	if !counts {
		return t.next.RoundTrip(r)
	}
	name := strings.Join([]string{string(t.market), q.Account, q.API}, ":")
	if err := fleet.Wait(r.Context(), t.budget, name, fleet.Limit{Calls: q.Calls, Per: q.Per}, callPatience); err != nil {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, err
	}
	resp, err := t.next.RoundTrip(r)
	if err == nil {
		if pause := t.asked(resp); pause > 0 {
			t.budget.Pause(r.Context(), name, pause)
		}
	}
	return resp, err
}

// asked is how long a vendor asks to be left alone (RFC 9110, "Retry-After").
func (t budgeted) asked(resp *http.Response) time.Duration {
	if resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusServiceUnavailable {
		return 0
	}
	pause := time.Duration(0)
	said := resp.Header.Get("Retry-After")
	if seconds, err := strconv.Atoi(said); err == nil {
		pause = time.Duration(min(max(seconds, 0), 3600)) * time.Second
	} else if at, err := http.ParseTime(said); err == nil {
		pause = at.Sub(t.wall())
	}
	if resp.StatusCode == http.StatusTooManyRequests {
		pause = max(pause, shortestPause)
	}
	return min(pause, longestPause)
}
