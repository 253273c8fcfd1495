package e2e

import (
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/billing/ledger"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/simulator"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/store/storetest"
)

// The pains that are an adapter's, each by its number and with where it was told:
// billing, over both engines, through the adapter and the marketplace's wire. The
// others are in internal/store; docs/exactly-once.md lists them all.

// pained is one purchase in good weather: what goes wrong is forced.
type pained struct {
	*meteredWorld
	b *meteredBuyer
}

func painedAt(t *testing.T, s *store.Store, m marketplace.ID, o simulator.Options, resendFor time.Duration) *pained {
	t.Helper()
	o.Seed, o.Weather = 5, simulator.WeatherGood
	var p *pained
	if m == marketplace.AWS {
		w := openMetered(t, s, o)
		p = &pained{w, w.buy()}
	} else {
		w := openCloud(t, s, m, o, resendFor)
		p = &pained{w.meteredWorld, w.take()}
	}
	p.advance(50 * time.Minute)
	return p
}

// pains tells a story at marketplaces, on both engines.
func pains(t *testing.T, o simulator.Options, story func(p *pained), at ...marketplace.ID) {
	t.Helper()
	for _, m := range at {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			storetest.Each(t, func(t *testing.T, s *store.Store) { story(painedAt(t, s, m, o, 50*time.Minute)) })
		})
	}
}

// spend uses requests now, and lets the hour be over and sealed.
func (p *pained) spend(quantity string) {
	p.t.Helper()
	p.n++
	got, err := p.bill.Ingest(p.t.Context(), []billing.UsageEvent{{
		Source: "product", ID: p.b.ID + quantity, Subject: string(p.b.sub), Meter: "api_request", Quantity: quantity, UsedAt: p.sim.Now().Add(-time.Second),
	}})
	if p.ok(err); got[0].Result != billing.Accepted {
		p.t.Fatalf("%+v", got)
	}
	p.pass(time.Hour)
}

func (p *pained) pass(d time.Duration) {
	p.t.Helper()
	p.advance(d)
	_, err := p.bill.Seal(p.t.Context(), p.b.sub)
	p.ok(err)
}

// try submits once; what it says is for the due row.
func (p *pained) try() error {
	_, err := p.bill.Submit(p.t.Context(), string(p.m))
	return err
}

// stands wants the units in these places, and what the marketplace charges.
func (p *pained) stands(charges string, want map[ledger.Place]string) {
	p.t.Helper()
	rep, err := p.bill.Conservation(p.t.Context())
	if p.ok(err); rep.Broken != 0 {
		p.t.Fatalf("broken: %v", rep.Problems)
	}
	got := map[ledger.Place]string{}
	for _, m := range rep.Meters {
		if m.Meter != "api_request" {
			continue
		}
		for place, q := range map[ledger.Place]string{
			ledger.Open: m.Open, ledger.Queued: m.Queued, ledger.Sent: m.Sent, ledger.Unsure: m.Unsure, ledger.Held: m.Held, ledger.Accepted: m.Accepted, ledger.WrittenOff: m.WrittenOff,
		} {
			if q != "0" && q != "" {
				got[place] = q
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		p.t.Fatalf("the units are not where they should be (-want +got):\n%s", diff)
	}
	if bill := p.billed()[billLine{p.b.Purchase, "api_request"}]; bill != charges {
		p.t.Fatalf("the marketplace charges %q, want %q", bill, charges)
	}
}

// Pain 1: rejected usage is recorded as delivered: that there is a result was
// looked at, and not its status (flexprice PR #2255; rhsm-subscriptions PR #6496).
func TestPain01AResultIsNotASuccess(t *testing.T) {
	t.Parallel()
	pains(t, simulator.Options{}, func(p *pained) {
		p.spend("5")
		_, err := p.sim.Cancel(t.Context(), p.b.LicenseArn, "") // and nobody told us
		p.ok(err)
		p.pass(2 * time.Hour)
		p.ok(p.try()) // a 200, and in it CustomerNotSubscribed
		p.stands("", map[ledger.Place]string{ledger.WrittenOff: "5"})
	}, marketplace.AWS)
	pains(t, simulator.Options{}, func(p *pained) {
		p.spend("5")
		p.sim.Force(simulator.Force{Kind: simulator.KindItemError, Times: 1})
		if err := p.try(); err == nil { // a 200, and in it Error
			t.Fatal("nothing was recorded, and submit is content")
		}
		p.stands("", map[ledger.Place]string{ledger.Unsure: "5"})
		p.submit()
		p.stands("5", map[ledger.Place]string{ledger.Accepted: "5"})
	}, marketplace.Azure)
	pains(t, simulator.Options{}, func(p *pained) {
		p.spend("5")
		_, err := p.sim.Suspend(p.t.Context(), p.b.ID, true)
		p.ok(err)
		p.ok(p.try()) // a 200, and in it ResourceNotActive
		p.stands("", map[ledger.Place]string{ledger.Held: "5"})
	}, marketplace.Azure)
}

// Pain 2: one record with a bad timestamp makes AWS refuse all 25 (SDK reference,
// TimestampOutOfBoundsException).
func TestPain02OneBadTimestampRefusesNoOther(t *testing.T) {
	t.Parallel()
	old := func(p *pained) {
		p.spend("5")
		p.pass(20 * time.Hour)
		p.spend("1")
		p.spend("2")
		p.spend("3")
		p.advance(2 * time.Hour) // the first is a day old
	}
	booked := func(p *pained) {
		p.stands("6", map[ledger.Place]string{ledger.Open: "5", ledger.Accepted: "6"})
		p.pass(time.Hour)
		p.submit()
		p.stands("11", map[ledger.Place]string{ledger.Accepted: "11"})
	}
	t.Run("we know that it is too old", func(t *testing.T) {
		pains(t, simulator.Options{}, func(p *pained) {
			old(p)
			p.ok(p.try())
			all, err := p.bill.Records(p.t.Context(), p.b.sub)
			p.ok(err)
			for _, r := range all { // it stood alone, and the others were never refused with it
				if len(r.Attempts) != 1 {
					p.t.Fatalf("%+v", r)
				}
			}
			booked(p)
		}, marketplace.AWS)
	})
	t.Run("our clock is slow", func(t *testing.T) {
		pains(t, simulator.Options{}, func(p *pained) {
			old(p)
			right, o := p.bill, p.bill.Options
			o.Now = func() time.Time { return p.sim.Now().Add(-10 * time.Hour) }
			p.bill = billing.New(o)
			p.ok(p.try())
			p.bill = right
			booked(p)
		}, marketplace.AWS)
	})
}

// Pain 3: UnprocessedRecords is never looked at, and the failure clears the mark of
// what waits (AWS sample metering-sqs.js).
func TestPain03UnprocessedRecordsAreSentAgain(t *testing.T) {
	t.Parallel()
	pains(t, simulator.Options{}, func(p *pained) {
		p.spend("5")
		p.sim.Force(simulator.Force{Kind: simulator.KindUnprocessed, Times: 1})
		if err := p.try(); !fault.Is(err, fault.Unavailable) {
			t.Fatalf("a record was handed back, and submit says %v", err)
		}
		p.stands("", map[ledger.Place]string{ledger.Queued: "5"}) // proven unrecorded, and still to be sent
		p.ok(p.try())
		p.stands("5", map[ledger.Place]string{ledger.Accepted: "5"})
	}, marketplace.AWS)
}

// Pain 9: Google answers 200 with errors inside, and the reference code ignores the
// reply (future-agi gcp-marketplace-implementation.md §9; codelab report.py).
func TestPain09AnErrorInsideA200IsAnError(t *testing.T) {
	t.Parallel()
	for _, kind := range []simulator.Kind{simulator.KindOperationError, simulator.KindNamelessError} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			pains(t, simulator.Options{}, func(p *pained) {
				p.spend("5")
				p.sim.Force(simulator.Force{Kind: kind, Times: 1})
				if err := p.try(); err == nil {
					t.Fatal("nothing was recorded, and submit is content")
				}
				place := ledger.Queued // named, it is proven
				if kind == simulator.KindNamelessError {
					place = ledger.Unsure
				}
				p.stands("", map[ledger.Place]string{place: "5"})
				p.submit()
				p.stands("5", map[ledger.Place]string{ledger.Accepted: "5"})
			}, marketplace.GCP)
		})
	}
}

// Pain 10: a retry at Google with a random operation id may charge twice (future-agi
// gcp-marketplace-implementation.md §5, §9).
func TestPain10ARetryIsTheSameOperation(t *testing.T) {
	t.Parallel()
	pains(t, simulator.Options{}, func(p *pained) {
		p.spend("5")
		p.sim.Force(simulator.Force{Kind: simulator.KindAcceptThenClose, Times: 1})
		if err := p.try(); !fault.Is(err, fault.Unsure) {
			t.Fatalf("the answer was cut off, and submit says %v", err)
		}
		p.stands("5", map[ledger.Place]string{ledger.Unsure: "5"})
		p.bill = billing.New(p.bill.Options) // a process started anew
		p.ok(p.try())
		p.stands("5", map[ledger.Place]string{ledger.Accepted: "5"})
	}, marketplace.GCP)
	t.Run("Google forgets", func(t *testing.T) {
		t.Parallel()
		storetest.Each(t, func(t *testing.T, s *store.Store) {
			p := painedAt(t, s, marketplace.GCP, simulator.Options{GCP: simulator.GCPOptions{Dedup: simulator.DedupOff}}, 0)
			p.spend("5")
			p.sim.Force(simulator.Force{Kind: simulator.KindAcceptThenClose, Times: 1})
			_ = p.try()
			p.ok(p.try()) // not a second time: a person looks
			p.stands("5", map[ledger.Place]string{ledger.Unsure: "5"})
			all, err := p.bill.Findings(t.Context(), true)
			if p.ok(err); len(all) != 1 || all[0].Class != billing.FindUnsureNotRepeated {
				t.Fatalf("%+v", all)
			}
		})
	})
}

// Pain 12: missing cloud credentials are logged and the usage is then marked
// successful (SWATCH AwsBillableUsageAggregateConsumer.java).
func TestPain12WithoutCredentialsNothingIsSettled(t *testing.T) {
	t.Parallel()
	o := simulator.Options{Credentials: simulator.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "not-a-secret"}, GCP: simulator.GCPOptions{VerifyCredentials: true}}
	pains(t, o, func(p *pained) {
		p.spend("5")
		right, set := p.bill, p.bill.Options
		for why, seller := range strangers(p) {
			set.Vendors = map[marketplace.ID]billing.Submitter{p.m: seller}
			if seller == nil {
				set.Vendors = nil
			}
			p.bill = billing.New(set)
			if err := p.try(); err == nil {
				p.t.Fatalf("%s: nothing was sent, and submit is content", why)
			}
			p.bill = right
			p.stands("", map[ledger.Place]string{ledger.Queued: "5"})
		}
		p.ok(p.try())
		p.stands("5", map[ledger.Place]string{ledger.Accepted: "5"})
	}, marketplace.AWS, marketplace.GCP, marketplace.Azure)
}

// strangers are sellers whom the marketplace does not know; nil: none is set up.
func strangers(p *pained) map[string]billing.Submitter {
	p.t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	out := map[string]billing.Submitter{"nothing is set up": nil}
	var err error
	switch p.m {
	case marketplace.AWS:
		c := atAWS(p.sim)
		c.SecretAccessKey = "another"
		out["another secret"], err = c.Open(p.t.Context(), p.client, quiet, p.sim.Now)
	case marketplace.GCP:
		c := atGoogle(p.t, p.sim, p.roots)
		c.Anonymous, c.CredentialsFile = true, ""
		out["no key"], err = c.Open(p.t.Context(), p.client, quiet, p.sim.Now)
	case marketplace.Azure:
		c := atMicrosoft(p.sim)
		c.ClientSecret = "another"
		out["another secret"], err = c.Open(p.client, quiet, p.sim.Now)
	}
	p.ok(err)
	return out
}
