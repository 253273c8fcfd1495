package simulator

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Purchase is what a new buyer buys. The zero value is a pay-as-you-go purchase on AWS of the first product by a buyer
// whose habits come from the seed.
type Purchase struct {
	Marketplace string `json:"marketplace,omitempty"` // default aws
	// Referral is a link of the app that the buyer follows before buying; "" for none.
	Referral     string           `json:"referral,omitempty"`
	Customer     string           `json:"customer,omitempty"`      // AWS, Google: the buyer of an earlier purchase buys again
	Product      string           `json:"product,omitempty"`       // code or id; Google: service name; Azure: offer; default the first
	Plan         string           `json:"plan,omitempty"`          // Google, Azure; default the product's first
	Seats        int64            `json:"seats,omitempty"`         // Azure
	PrivateOffer bool             `json:"private_offer,omitempty"` // sold by a private offer
	Reseller     bool             `json:"reseller,omitempty"`      // sold by a reseller
	Contract     map[string]int64 `json:"contract,omitempty"`      // dimension to granted quantity
	End          time.Time        `json:"end,omitzero"`            // agreed end; zero for none
	Email        string           `json:"email,omitempty"`         // work address; default from the number
	Tailnet      string           `json:"tailnet_name,omitempty"`
	Habits       *Habits          `json:"habits,omitempty"` // nil: by seed
	customer     deal
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
	Marketplace string    `json:"marketplace"`
	Purchase    string    `json:"purchase"` // the id that access and metering go by; AWS: the licence ARN
	Account     string    `json:"account"`
	AgreementID string    `json:"agreement_id,omitempty"` // AWS only
	LicenseArn  string    `json:"license_arn,omitempty"`  // AWS only
	Product     string    `json:"product"`
	Plan        string    `json:"plan,omitempty"`
	Status      string    `json:"status"` // at the marketplace
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

// Kinds of change on AWS.
const (
	ChangeAmend           = "amend"             // same agreement, new terms
	ChangeRenew           = "renew"             // new agreement, same licence
	ChangeRenewNewLicense = "renew_new_license" // new agreement, new licence
	ChangeReplace         = "replace"           // new agreement on another offer, new licence
)

// Change is a change of a purchase.
type Change struct {
	Kind     string            `json:"kind"` // default the marketplace's first; AWS: amend
	Offer    string            `json:"offer,omitempty"`
	Prices   map[string]string `json:"prices,omitempty"`
	Contract map[string]int64  `json:"contract,omitempty"`
	Plan     string            `json:"plan,omitempty"`  // Google, Azure
	Seats    int64             `json:"seats,omitempty"` // Azure
	End      time.Time         `json:"end,omitzero"`
	From     time.Time         `json:"from,omitzero"` // Google: when an approved plan takes effect; zero for at once
}

// Slot is one accepted record.
type Slot struct {
	Hour     time.Time `json:"hour"`
	Quantity int64     `json:"quantity"`        // whole units
	Exact    string    `json:"exact,omitempty"` // Azure, when it is not a whole number
	RecordID string    `json:"record_id"`
	At       time.Time `json:"at"`                // virtual time of acceptance
	Foreign  bool      `json:"foreign,omitempty"` // Azure: another emitter of the seller wrote it
}

// BillLine is everything accepted for one meter of one purchase.
type BillLine struct {
	Marketplace string `json:"marketplace"`
	Purchase    string `json:"purchase"`
	Account     string `json:"account"`
	LicenseArn  string `json:"license_arn,omitempty"` // AWS only, and then the same as Purchase
	Product     string `json:"product"`
	Dimension   string `json:"dimension"`
	Quantity    int64  `json:"quantity"`
	Exact       string `json:"exact,omitempty"` // Azure, when it is not a whole number
	Slots       []Slot `json:"slots"`
}

// Bill is what the marketplaces will charge.
type Bill struct {
	Lines []BillLine `json:"lines"`
}

func buyerID(n int) string { return fmt.Sprintf("buyer-%d", n+1) }

// Buy makes a purchase at now for a new account, with its events and a buyer who registers in virtual time to come.
func (s *Simulator) Buy(_ context.Context, p Purchase) (Buyer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, err := s.stall(p.Marketplace)
	if err != nil {
		return Buyer{}, fmt.Errorf("buy: %w", err)
	}
	if p.Customer != "" {
		of, d, earlier, err := s.find(p.Customer)
		if err == nil && of != st {
			err = fmt.Errorf("customer %s is one of %s", p.Customer, of.name)
		}
		if err != nil {
			return Buyer{}, fmt.Errorf("buy: %w", err)
		}
		p.customer, p.Email = d, cmp.Or(p.Email, earlier.seen.Email)
	}
	d, err := st.buy(len(s.buyers), st.sold, p)
	if err != nil {
		return Buyer{}, fmt.Errorf("buy: %w", err)
	}
	st.sold++
	b := s.newBuyer(st, d, p)
	s.buyers = append(s.buyers, b)
	if p.Referral != "" {
		b.follow(p.Referral)
	}
	if !b.habits.Absent {
		b.next(b.habits.After)
	}
	return b.snapshot(), nil
}

// Cancel ends the purchase that id names (a buyer or a vendor's id) now. What status may be is the marketplace's; "" is a
// cancellation by the buyer.
func (s *Simulator) Cancel(_ context.Context, id, status string) (Buyer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, d, b, err := s.find(id)
	if err == nil {
		err = st.cancel(d, status)
	}
	if err != nil {
		return Buyer{}, fmt.Errorf("cancel: %w", err)
	}
	return b.snapshot(), nil
}

// Change changes the purchase that id names; which kinds there are is the marketplace's.
func (s *Simulator) Change(_ context.Context, id string, c Change) (Buyer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, d, b, err := s.find(id)
	if err == nil {
		d, err = st.change(d, c)
	}
	if err != nil {
		return Buyer{}, fmt.Errorf("change: %w", err)
	}
	b.deal = d
	return b.snapshot(), nil
}

// Suspend takes the purchase that id names out of service, or lifts that. On AWS metering answers CustomerNotSubscribed
// and no event tells of it.
func (s *Simulator) Suspend(_ context.Context, id string, on bool) (Buyer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, d, b, err := s.find(id)
	if err != nil {
		return Buyer{}, fmt.Errorf("suspend: %w", err)
	}
	st.suspend(d, on)
	return b.snapshot(), nil
}

// Token mints a fresh registration token for the purchase that id names, as the console's button does.
func (s *Simulator) Token(id string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, d, _, err := s.find(id)
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	return d.arrive(-1).token, nil
}

// Way is how a marketplace's console sends a buyer's browser to the app.
type Way struct {
	Method string // of the form behind the button
	URL    string // of the app
	Values url.Values
	Site   string       // where the buyer signs in with the vendor; "" where nobody need to
	Cookie *http.Cookie // by which that site knows the buyer
}

// Way is the button of the purchase that id names, with a fresh token: for a real browser, where the scripted buyer is not
// enough.
func (s *Simulator) Way(id string) (Way, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, d, _, err := s.find(id)
	if err != nil {
		return Way{}, fmt.Errorf("way: %w", err)
	}
	a := d.arrive(-1)
	return Way{Method: a.method, URL: s.appURL + a.path, Values: a.values, Site: a.site, Cookie: a.signedIn}, nil
}

// Bill is everything accepted so far: the marketplaces in a fixed order, each one's lines sorted.
func (s *Simulator) Bill() Bill {
	s.mu.Lock()
	defer s.mu.Unlock()
	bill := Bill{Lines: []BillLine{}}
	for _, st := range s.stalls {
		bill.Lines = append(bill.Lines, st.bill()...)
	}
	return bill
}
