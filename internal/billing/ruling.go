package billing

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tailmarket/tailmarket/internal/billing/ledger"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/money"
)

// Ruling is a person's word about a record that the marketplace's answers leave open.
type Ruling struct {
	Word     ledger.Answer // Released, RuledThere or RuledGone
	Quantity string        // RuledThere: what the marketplace's report shows, as decimal text
	Actor    string
	Why      string
	Evidence string // where it can be read again, such as a line of the vendor's invoice
	Seen     int    // how many attempts of the record the person had seen
}

// Doubt is a record that is held or unsure, with what a person may say about it.
type Doubt struct {
	RecordView
	Subscription id.Subscription
	Marketplace  marketplace.ID
	Words        []ledger.Answer // what may be ruled now; none: it goes on by itself
	Late         bool            // the marketplace takes nothing for this hour any more
	Forgets      bool            // the marketplace might bill the same record a second time
	Foreign      bool            // its slot holds a record that no attempt of ours explains
}

// Doubts lists records that are held or unsure after an id, of one subscription or of all.
func (s *Service) Doubts(ctx context.Context, sub id.Subscription, after id.Record, limit int) ([]Doubt, error) {
	recs, err := s.Store.DoubtfulRecords(ctx, sub, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list records in doubt: %w", err)
	}
	out := make([]Doubt, len(recs))
	for i, r := range recs {
		out[i] = s.doubt(r)
	}
	return out, nil
}

func (s *Service) doubt(r Record) Doubt {
	return Doubt{
		RecordView: view(r), Subscription: r.Subscription, Marketplace: r.Marketplace, Words: s.words(r),
		Late: s.Now().After(r.Deadline), Forgets: s.forgets(r), Foreign: judge(r).Conflict,
	}
}

// words are what a person may say about a record. As long as it makes sense to send
// an unsure record again, the marketplace's own answer is better than anybody's.
func (s *Service) words(r Record) []ledger.Answer {
	switch {
	case r.State == ledger.RecordHeld:
		return []ledger.Answer{ledger.Released}
	case r.State == ledger.RecordUnsure && (r.Parked || s.Now().After(r.Deadline) || !s.repeatable(r)):
		return []ledger.Answer{ledger.RuledThere, ledger.RuledGone}
	}
	return nil
}

// forgets reports that no slot keeps a marketplace from billing the same record again.
func (s *Service) forgets(r Record) bool {
	v, ok := s.Vendors[r.Marketplace]
	return ok && v.Rules(r.Product).ResendFor != 0
}

const (
	maxWhy      = 500
	maxEvidence = 300
)

// Rule stores what a person says about a record as an attempt of its own kind, and
// moves the units where all attempts together put them:
//
//   - Released: the cause of a refusal is mended. The record is queued again,
//     unchanged, and the marketplace's answer decides.
//   - RuledThere: the marketplace has it. It is accepted at the quantity given, for good.
//   - RuledGone: the marketplace has nothing of it. It is queued again, unchanged; refused
//     as too late, its units are billed in a later hour. Where a wrong word could bill twice,
//     a finding keeps finance looking until the next report is compared.
//
// A ruling is about the record as the person saw it. The same one again is harmless; when
// anything else happened to the record since, it is a Conflict and changes nothing.
func (s *Service) Rule(ctx context.Context, rec id.Record, x Ruling) (Doubt, error) {
	if err := x.check(); err != nil {
		return Doubt{}, err
	}
	var after Record
	err := s.Store.BillingTx(ctx, func(ctx context.Context, tx Tx) error {
		r, err := tx.GetRecord(ctx, rec)
		if err != nil {
			return err
		}
		if err := lockRecords(ctx, tx, []Record{r}); err != nil {
			return err
		}
		if r, err = tx.GetRecord(ctx, rec); err != nil {
			return err
		}
		a, err := x.attempt(r)
		if err != nil {
			return err
		}
		if x.Seen < len(r.Attempts) && said(r.Attempts[x.Seen], a) {
			after = r
			return nil
		}
		if x.Seen != len(r.Attempts) || !slices.Contains(s.words(r), x.Word) {
			return movedOn(r, x)
		}
		if err := s.rule(ctx, tx, r, a, x); err != nil {
			return err
		}
		after, err = tx.GetRecord(ctx, rec)
		return err
	})
	if err != nil {
		return Doubt{}, fmt.Errorf("rule on record %s: %w", rec, err)
	}
	return s.doubt(after), nil
}

// rule stores the word and lets all attempts decide. The scope is locked.
func (s *Service) rule(ctx context.Context, tx Tx, r Record, a Attempt, x Ruling) error {
	now := s.Now()
	a.ID, a.N, a.BegunAt, a.WallAt, a.AnsweredAt = id.NewAttempt(), len(r.Attempts)+1, now, s.Wall(), now
	if err := tx.CloseDoubts(ctx, r.ID, x.Actor, x.says(), now); err != nil {
		return err
	}
	if x.Word == ledger.RuledGone && (now.After(r.Deadline) || s.forgets(r)) {
		if err := s.raise(ctx, tx, Finding{
			Class: FindRuledUnrecorded, Cause: fmt.Sprintf("%s %d", r.ID, a.N), Subscription: r.Subscription, Meter: r.Meter, Record: r.ID, Quantity: text(r.Quantity, r.Scale), Owner: "finance",
			Detail: fmt.Sprintf("billed again on the word of %s: %s; compare with the marketplace's next report before closing this, since nothing else would notice that it was billed twice", x.Actor, x.says()),
		}); err != nil {
			return err
		}
	}
	if err := tx.AddAttempt(ctx, a); err != nil {
		return err
	}
	if _, err := s.apply(ctx, tx, r.ID, now); err != nil {
		return err
	}
	return tx.Mark(ctx, "submit", string(r.Marketplace), now)
}

func (x Ruling) says() string { return fmt.Sprintf("%s (%s)", x.Why, x.Evidence) }

func (x Ruling) check() error {
	switch {
	case !slices.Contains([]ledger.Answer{ledger.Released, ledger.RuledThere, ledger.RuledGone}, x.Word):
		return fault.New(fault.Invalid, "A ruling is one of %s, %s and %s.", ledger.Released, ledger.RuledThere, ledger.RuledGone)
	case x.Actor == "" || x.Why == "":
		return fault.New(fault.Invalid, "Say why you decide so; whoever looks later needs to know.")
	case x.Evidence == "":
		return fault.New(fault.Invalid, "Say where it can be read again: a line of the marketplace's report or invoice, or a ticket.")
	case len(x.Why) > maxWhy || len(x.Evidence) > maxEvidence:
		return fault.New(fault.Invalid, "The reason may have %d bytes, the reference %d.", maxWhy, maxEvidence)
	case !utf8.ValidString(x.Why+x.Evidence) || strings.ContainsRune(x.Why+x.Evidence, 0):
		return fault.New(fault.Invalid, "The reason or the reference is no text.")
	}
	return nil
}

func (x Ruling) attempt(r Record) (Attempt, error) {
	a := Attempt{Record: r.ID, Answer: x.Word, Receipt: x.Evidence, Detail: x.Actor + ": " + x.Why}
	if x.Word != ledger.RuledThere {
		return a, nil
	}
	q, err := money.Parse(x.Quantity, r.Scale)
	if err != nil || q < 0 {
		return a, fault.New(fault.Invalid, "Give the quantity that the marketplace shows as a number with at most %d decimal places.", r.Scale)
	}
	a.Quantity, a.Says = q, true
	return a, nil
}

// said reports whether an attempt is this very word.
func said(was, a Attempt) bool {
	return was.Answer == a.Answer && was.Quantity == a.Quantity && was.Says == a.Says && was.Receipt == a.Receipt && was.Detail == a.Detail
}

// movedOn tells who was too late what happened instead.
func movedOn(r Record, x Ruling) error {
	since := r.Attempts[min(max(x.Seen, 0), len(r.Attempts)):]
	for _, a := range since {
		if ruled := a.Call == ""; ruled {
			return fault.New(fault.Conflict, "Nothing was changed: somebody ruled on it since you looked. %s; the record is %s now.", a.Detail, r.State)
		}
	}
	if r.State == ledger.RecordHeld || r.State == ledger.RecordUnsure {
		return fault.New(fault.Conflict, "Nothing was changed: the record is %s, and it went on since you looked, or goes on by itself. Look at it again.", r.State)
	}
	return fault.New(fault.Conflict, "Nothing was changed: the record is %s now, and waits for nobody.", r.State)
}

// cause names what a finding about a doubt is about. A new doubt after a word of a
// person is another one, so that nobody takes the settled finding for it.
func cause(r *Record) string {
	words := 0
	for _, a := range r.Attempts {
		if a.Answer == ledger.Released || a.Answer == ledger.RuledGone {
			words++
		}
	}
	if words == 0 {
		return string(r.ID)
	}
	return fmt.Sprintf("%s after %d rulings", r.ID, words)
}
