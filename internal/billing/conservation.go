package billing

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tailmarket/tailmarket/internal/billing/ledger"
	"github.com/tailmarket/tailmarket/internal/catalog"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/money"
)

// Report says where every unit is.
type Report struct {
	Meters []MeterReport `json:"meters"`
	Broken int           `json:"conservation_broken"` // how many things are not as they must be
	Unsure string        `json:"unsure"`              // records that may have been recorded
	// Problems says what is broken, at most maxProblems of them.
	Problems []string `json:"problems,omitempty"`
}

const maxProblems = 100

// MeterReport is one meter of one subscription over all its periods, as decimal
// text in the meter's unit.
type MeterReport struct {
	Marketplace  marketplace.ID  `json:"marketplace"`
	Subscription id.Subscription `json:"subscription"`
	Meter        string          `json:"meter"`
	Measured     string          `json:"measured"` // net of corrections
	Gross        string          `json:"gross"`
	Corrected    string          `json:"corrected"`
	CreditLeft   string          `json:"credit_left"`
	Open         string          `json:"open"`
	Carried      string          `json:"carried"`
	Included     string          `json:"included"`
	Queued       string          `json:"queued"`
	Sent         string          `json:"sent"`
	Unsure       string          `json:"unsure"`
	Held         string          `json:"held"`
	Accepted     string          `json:"accepted"`
	WrittenOff   string          `json:"written_off"`
	Submitted    string          `json:"submitted"` // in records that went out at least once and were not freed
}

// cell is one bucket of one meter of one subscription.
type cell struct {
	sub    id.Subscription
	meter  string
	period string
	plan   string
}

func compareCells(a, b cell) int {
	return cmp.Or(strings.Compare(string(a.sub), string(b.sub)), strings.Compare(a.meter, b.meter), strings.Compare(a.period, b.period), strings.Compare(a.plan, b.plan))
}

// audit collects what the database says, and what is wrong with it.
type audit struct {
	Report
	accounts map[id.Subscription]Account
	cells    map[cell]ledger.Balances
	placed   map[cell]ledger.Balances // what the records say
	sent     map[cell]int64
}

func (a *audit) broken(format string, args ...any) {
	if a.Broken++; len(a.Problems) < maxProblems {
		a.Problems = append(a.Problems, fmt.Sprintf(format, args...))
	}
}

// Conservation checks the whole ledger: each balance against its entries, each
// period's equation, what was measured against the usage events, the places of
// records against the records, and each record against its attempts. It reads in
// one transaction, so that it compares one moment with itself.
func (s *Service) Conservation(ctx context.Context) (Report, error) {
	var rep Report
	err := s.Store.BillingSnapshot(ctx, func(ctx context.Context, snap Snapshot) error {
		a := &audit{accounts: map[id.Subscription]Account{}, cells: map[cell]ledger.Balances{}, placed: map[cell]ledger.Balances{}, sent: map[cell]int64{}}
		for _, step := range []func(context.Context, Snapshot) error{a.readBalances, a.checkRecords, func(ctx context.Context, snap Snapshot) error { return a.checkUsage(ctx, snap, s.Catalog) }} {
			if err := step(ctx, snap); err != nil {
				return err
			}
		}
		a.checkCells()
		var err error
		rep, err = a.report(s)
		return err
	})
	if err != nil {
		return Report{}, fmt.Errorf("check conservation: %w", err)
	}
	return rep, nil
}

func (a *audit) readBalances(ctx context.Context, snap Snapshot) error {
	accounts, err := snap.BillingAccounts(ctx)
	if err != nil {
		return err
	}
	for _, x := range accounts {
		a.accounts[x.Subscription] = x
	}
	stored, err := snap.AllBalances(ctx)
	if err != nil {
		return err
	}
	for _, b := range stored {
		a.at(a.cells, b)[b.Place] = b.Quantity
	}
	sums, err := snap.EntrySums(ctx)
	if err != nil {
		return err
	}
	summed := map[cell]ledger.Balances{}
	for _, b := range sums {
		a.at(summed, b)[b.Place] += b.Quantity
	}
	for _, c := range slices.SortedFunc(maps.Keys(union(a.cells, summed)), compareCells) {
		for _, p := range places {
			if have, want := a.cells[c][p], summed[c][p]; have != want {
				a.broken("%s %s %s: the balance of %s is %d, its entries add up to %d", c.sub, c.meter, c.period, p, have, want)
			}
		}
	}
	return nil
}

var places = append([]ledger.Place{ledger.Measured, ledger.Corrected, ledger.CreditLeft}, ledger.Places...)

func (a *audit) at(m map[cell]ledger.Balances, b Balance) ledger.Balances {
	c := cell{b.Subscription, b.Meter, b.Period, b.Plan}
	if m[c] == nil {
		m[c] = ledger.Balances{}
	}
	return m[c]
}

func union(a, b map[cell]ledger.Balances) map[cell]bool {
	out := make(map[cell]bool, len(a))
	for c := range a {
		out[c] = true
	}
	for c := range b {
		out[c] = true
	}
	return out
}

func (a *audit) checkCells() {
	for _, c := range slices.SortedFunc(maps.Keys(union(a.cells, a.placed)), compareCells) {
		if err := ledger.Conservation(a.cells[c]); err != nil {
			a.broken("%s %s %s: %v", c.sub, c.meter, c.period, err)
		}
		for _, p := range []ledger.Place{ledger.Queued, ledger.Sent, ledger.Unsure, ledger.Held, ledger.Accepted} {
			if have, want := a.cells[c][p], a.placed[c][p]; have != want {
				a.broken("%s %s %s: %s is %d, the records there hold %d", c.sub, c.meter, c.period, p, have, want)
			}
		}
	}
}

const recordPage = 500

// checkRecords compares each record with its attempts and allocations.
func (a *audit) checkRecords(ctx context.Context, snap Snapshot) error {
	after := id.Record("")
	for {
		page, err := snap.RecordPage(ctx, after, recordPage)
		if err != nil || len(page) == 0 {
			return err
		}
		after = page[len(page)-1].ID
		for _, r := range page {
			a.checkRecord(r)
		}
	}
}

func (a *audit) checkRecord(r Record) {
	var frozenSum, placedSum int64
	tried := slices.ContainsFunc(r.Attempts, func(x Attempt) bool { return x.Call != "" && x.Answer != ledger.NotSent })
	for _, x := range r.Allocations {
		frozenSum, placedSum = frozenSum+x.Quantity, placedSum+x.Placed
		c := cell{r.Subscription, r.Meter, x.Period, x.Plan}
		if a.placed[c] == nil {
			a.placed[c] = ledger.Balances{}
		}
		if p, ok := placeOf[r.State]; ok {
			a.placed[c][p] += x.Placed
		}
		if tried && r.State != ledger.RecordFreed {
			a.sent[c] += x.Quantity
		}
	}
	if frozenSum != r.Quantity || placedSum != r.Placed {
		a.broken("record %s: frozen %d and placed %d, its allocations %d and %d", r.ID, r.Quantity, r.Placed, frozenSum, placedSum)
	}
	out := judge(r)
	waiting := r.State == ledger.RecordSent && slices.ContainsFunc(r.Attempts, func(x Attempt) bool { return x.Answer == ledger.Unanswered })
	givenUp := r.State == ledger.RecordFreed && out.State == ledger.RecordHeld
	if out.State != r.State && !waiting && !givenUp {
		a.broken("record %s is %s, its attempts say %s", r.ID, r.State, out.State)
	}
	if out.State == ledger.RecordAccepted && r.State == out.State && out.Quantity != r.Placed {
		a.broken("record %s counts %d as accepted, its attempts say %d", r.ID, r.Placed, out.Quantity)
	}
	if _, err := thaw(r); err != nil {
		a.broken("%v", err)
	}
}

// checkUsage compares what was measured with the meter function over the live
// usage events. Unique and peak meters belong to a lineage, the others to a
// subscription.
func (a *audit) checkUsage(ctx context.Context, snap Snapshot, cat *catalog.Catalog) error {
	type scope struct {
		lineage id.Subscription
		meter   string
		period  string
	}
	members := map[id.Subscription][]id.Subscription{}
	for _, sub := range slices.Sorted(maps.Keys(a.accounts)) {
		members[a.accounts[sub].Lineage] = append(members[a.accounts[sub].Lineage], sub)
	}
	nets := map[cell]int64{}
	for c, b := range a.cells {
		c.plan = ""
		nets[c] += b.Net()
	}
	done := map[scope]bool{}
	for _, sub := range slices.Sorted(maps.Keys(a.accounts)) {
		acct := a.accounts[sub]
		p, ok := cat.Product(acct.Product)
		if !ok {
			continue // nothing can be said about meters nobody describes
		}
		used, err := snap.UsagePeriods(ctx, sub)
		if err != nil {
			return err
		}
		for _, u := range used {
			m, ok := p.Meter(u.Meter)
			if !ok {
				continue
			}
			of, sc := []id.Subscription{sub}, scope{sub, m.ID, u.Period}
			if m.Kind == catalog.Unique || m.Kind == catalog.PeakPeriod {
				of, sc.lineage = members[acct.Lineage], acct.Lineage
			}
			if done[sc] {
				continue
			}
			done[sc] = true
			want, err := snap.TotalUsage(ctx, ledger.Kind(m.Kind), of, m.ID, u.Period)
			if err != nil {
				return err
			}
			var have int64
			for _, x := range of {
				have += nets[cell{sub: x, meter: m.ID, period: u.Period}] // under whatever plans
			}
			if have != want {
				a.broken("%s %s %s: %d is measured, the usage events make %d", sc.lineage, m.ID, u.Period, have, want)
			}
		}
	}
	return nil
}

// report adds up the periods of each meter.
func (a *audit) report(s *Service) (Report, error) {
	type row struct {
		sub   id.Subscription
		meter string
	}
	sums, sent := map[row]ledger.Balances{}, map[row]int64{}
	for c, b := range a.cells {
		r := row{c.sub, c.meter}
		var err error
		if sums[r], err = sums[r].Plus(b); err != nil {
			return Report{}, err
		}
		sent[r] += a.sent[c]
	}
	unsure := map[int]int64{} // by scale: units of different meters are added as plain numbers
	for _, r := range slices.SortedFunc(maps.Keys(sums), func(x, y row) int {
		return cmp.Or(strings.Compare(string(x.sub), string(y.sub)), strings.Compare(x.meter, y.meter))
	}) {
		acct, b := a.accounts[r.sub], sums[r]
		m := s.meterOf(acct.Product, r.meter, 0)
		unsure[m.Scale] += b[ledger.Unsure]
		f := func(p ledger.Place) string { return m.Format(b[p]) }
		a.Meters = append(a.Meters, MeterReport{
			Marketplace: acct.Marketplace, Subscription: r.sub, Meter: r.meter, Measured: m.Format(b.Net()), Gross: f(ledger.Measured), Corrected: f(ledger.Corrected),
			CreditLeft: f(ledger.CreditLeft), Open: f(ledger.Open), Carried: f(ledger.Carried), Included: f(ledger.Included), Queued: f(ledger.Queued), Sent: f(ledger.Sent),
			Unsure: f(ledger.Unsure), Held: f(ledger.Held), Accepted: f(ledger.Accepted), WrittenOff: f(ledger.WrittenOff), Submitted: m.Format(sent[r]),
		})
	}
	var total int64
	for scale, q := range unsure {
		total += q * money.Unit(money.MaxScale-scale)
	}
	a.Unsure = money.Format(total, money.MaxScale)
	return a.Report, nil
}
