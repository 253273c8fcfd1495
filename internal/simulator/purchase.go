package simulator

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Purchase is what a new buyer buys. The zero value is a pay-as-you-go purchase of the first product by a buyer whose
// habits come from the seed.
type Purchase struct {
	Product  string           `json:"product,omitempty"`  // code or id
	Contract map[string]int64 `json:"contract,omitempty"` // dimension to granted quantity
	End      time.Time        `json:"end,omitzero"`       // agreed end; zero for none
	Email    string           `json:"email,omitempty"`    // work address; default from the number
	Tailnet  string           `json:"tailnet_name,omitempty"`
	Habits   *Habits          `json:"habits,omitempty"` // nil: by seed
}

// Habits is how a buyer goes about the registration.
type Habits struct {
	After       time.Duration `json:"after"`        // from the purchase to the first visit
	Twice       bool          `json:"twice"`        // registers a second time
	Stale       bool          `json:"stale"`        // first tries a token from the day of the purchase
	NeverReveal bool          `json:"never_reveal"` // never asks for the join key
	Absent      bool          `json:"absent"`       // never registers
}

// Buyer is how far a buyer has come.
type Buyer struct {
	ID          string    `json:"id"`
	Account     string    `json:"account"`
	AgreementID string    `json:"agreement_id"`
	LicenseArn  string    `json:"license_arn"`
	Product     string    `json:"product"`
	Status      string    `json:"status"` // of the agreement
	Bought      time.Time `json:"bought"`
	Email       string    `json:"email"`
	TailnetName string    `json:"tailnet_name"`
	State       string    `json:"state"` // the data-state of the page last seen
	JoinKeySeen bool      `json:"join_key_seen"`
	Finished    string    `json:"finished,omitempty"` // why there is nothing left to do
	Visits      int       `json:"visits"`
	Problem     string    `json:"problem,omitempty"` // what last went wrong
	Habits      Habits    `json:"habits"`
}

// Kinds of change.
const (
	ChangeAmend           = "amend"             // same agreement, new terms
	ChangeRenew           = "renew"             // new agreement, same licence
	ChangeRenewNewLicense = "renew_new_license" // new agreement, new licence
	ChangeReplace         = "replace"           // new agreement on another offer, new licence
)

// Change is a change of an agreement.
type Change struct {
	Kind     string            `json:"kind"` // default amend
	Offer    string            `json:"offer,omitempty"`
	Prices   map[string]string `json:"prices,omitempty"`
	Contract map[string]int64  `json:"contract,omitempty"`
	End      time.Time         `json:"end,omitzero"`
}

// Slot is one accepted record.
type Slot struct {
	Hour     time.Time `json:"hour"`
	Quantity int64     `json:"quantity"`
	RecordID string    `json:"record_id"`
	At       time.Time `json:"at"` // virtual time of acceptance
}

// BillLine is everything accepted for one meter of one licence.
type BillLine struct {
	Account    string `json:"account"`
	LicenseArn string `json:"license_arn"`
	Product    string `json:"product"`
	Dimension  string `json:"dimension"`
	Quantity   int64  `json:"quantity"`
	Slots      []Slot `json:"slots"`
}

// Bill is what the marketplace will charge.
type Bill struct {
	Lines []BillLine `json:"lines"`
}

func buyerID(n int) string { return fmt.Sprintf("buyer-%d", n+1) }

// Buy makes a purchase at now for a new account, with its events and a buyer who registers in virtual time to come.
func (s *Simulator) Buy(_ context.Context, p Purchase) (Buyer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.buyers)
	a, err := s.aws.buy(n, p)
	if err != nil {
		return Buyer{}, fmt.Errorf("buy: %w", err)
	}
	b := s.newBuyer(n, a, p)
	s.buyers = append(s.buyers, b)
	if !b.habits.Absent {
		b.next(b.habits.After)
	}
	return b.snapshot(), nil
}

// Cancel ends the agreement that id names (agreement, licence or buyer) now. Status is CANCELLED (also ""), EXPIRED or
// TERMINATED.
func (s *Simulator) Cancel(_ context.Context, id, status string) (Buyer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.aws.cancel(id, status)
	if err != nil {
		return Buyer{}, fmt.Errorf("cancel: %w", err)
	}
	return s.buyers[a.n].snapshot(), nil
}

// Change amends, renews or replaces the agreement that id names.
func (s *Simulator) Change(_ context.Context, id string, c Change) (Buyer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.aws.change(id, c)
	if err != nil {
		return Buyer{}, fmt.Errorf("change: %w", err)
	}
	s.buyers[a.n].agreement = a
	return s.buyers[a.n].snapshot(), nil
}

// Suspend makes metering answer CustomerNotSubscribed for the licence that id names, or lifts that. No event tells of it.
func (s *Simulator) Suspend(_ context.Context, id string, on bool) (Buyer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.aws.find(id)
	if err != nil {
		return Buyer{}, fmt.Errorf("suspend: %w", err)
	}
	a.licence.suspended = on
	return s.buyers[a.n].snapshot(), nil
}

// Token mints a fresh registration token for the purchase that id names, as the console's button does.
func (s *Simulator) Token(id string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.aws.find(id)
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	return s.aws.register(a, len(s.aws.tokens)), nil
}

// Bill is everything accepted so far, sorted.
func (s *Simulator) Bill() Bill {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := map[slotKey]*BillLine{}
	for k, slot := range s.aws.slots {
		of := k
		of.hour = time.Time{}
		line := lines[of]
		if line == nil {
			line = &BillLine{Account: k.account, LicenseArn: k.licence, Product: slot.product, Dimension: k.dimension}
			lines[of] = line
		}
		line.Quantity += slot.quantity
		line.Slots = append(line.Slots, Slot{Hour: k.hour, Quantity: slot.quantity, RecordID: slot.id, At: slot.at})
	}
	keys := make([]slotKey, 0, len(lines))
	for k, line := range lines {
		keys = append(keys, k)
		slices.SortFunc(line.Slots, func(a, b Slot) int { return a.Hour.Compare(b.Hour) })
	}
	slices.SortFunc(keys, func(a, b slotKey) int {
		if a.String() < b.String() {
			return -1
		}
		return 1
	})
	bill := Bill{Lines: make([]BillLine, 0, len(keys))}
	for _, k := range keys {
		bill.Lines = append(bill.Lines, *lines[k])
	}
	return bill
}
