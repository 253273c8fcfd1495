package simulator

import (
	"errors"
	"fmt"
	"slices"
)

// AzureOptions is the publisher's account at the Microsoft commercial marketplace; the zero value is complete.
type AzureOptions struct {
	Tenant    string // the publisher's Entra tenant
	Client    string // the service app of the Technical configuration: calls the APIs, audience of webhook tokens
	Secret    string // its client secret; default: a value made from the seed
	Landing   string // the app with which a landing page signs buyers in; it shares the secret
	Publisher string
	Offers    []AzureOffer // default: tailnet, flat with the shipped meters, and tailnet-seats, per user
	// TokenVersion is the version of webhook tokens, 1 or 2. The default is 2 in good weather and either by seed otherwise.
	TokenVersion int
}

// AzureOffer is one SaaS offer. All its plans share a pricing model: flat with dimensions, or per user.
type AzureOffer struct {
	ID     string      `json:"id"`
	Client string      `json:"client,omitempty"` // another service app than the account's
	Plans  []AzurePlan `json:"plans"`
}

// AzurePlan is one plan of an offer.
type AzurePlan struct {
	ID         string           `json:"id"`
	Title      string           `json:"title,omitempty"`
	Term       string           `json:"term,omitempty"`       // ISO 8601 duration, default P1M
	Dimensions []string         `json:"dimensions,omitempty"` // enabled in this plan
	Included   map[string]int64 `json:"included,omitempty"`   // per dimension and term
	MinSeats   int64            `json:"min_seats,omitempty"`
	MaxSeats   int64            `json:"max_seats,omitempty"` // above 0 the plan is per user
	Auto       bool             `json:"auto,omitempty"`      // activated by Microsoft at the purchase
}

func (p *AzurePlan) perSeat() bool { return p.MaxSeats > 0 }

func (p *AzurePlan) term() string {
	if p.Term == "" {
		return "P1M"
	}
	return p.Term
}

func (o *AzureOffer) plan(id string) *AzurePlan {
	for i := range o.Plans {
		if id == "" || o.Plans[i].ID == id {
			return &o.Plans[i]
		}
	}
	return nil
}

func (o *AzureOptions) complete() error {
	for field, value := range map[*string]string{
		&o.Tenant: "5b0c7e1d-3f2a-4c86-9e57-1d2f8a6b4c90", &o.Client: "c2a9f6e4-8b17-4d03-a5ee-6f71b03d9a28",
		&o.Landing: "1f6d3b8a-02c5-4e79-b6d4-93a8e7c05f12", &o.Publisher: "example",
	} {
		if *field == "" {
			*field = value
		}
	}
	if len(o.Offers) == 0 {
		meters := []string{"active_user", "tagged_resource", "ephemeral_minute", "api_request"}
		included := map[string]int64{"tagged_resource": 50, "ephemeral_minute": 1000}
		o.Offers = []AzureOffer{
			{ID: "tailnet", Plans: []AzurePlan{
				{ID: "standard", Title: "Standard", Dimensions: meters, Included: included},
				{ID: "premium", Title: "Premium", Dimensions: meters, Included: included},
				{ID: "instant", Title: "Instant", Dimensions: meters, Included: included, Auto: true},
			}},
			{ID: "tailnet-seats", Plans: []AzurePlan{
				{ID: "team", Title: "Team", MinSeats: 1, MaxSeats: 100},
				{ID: "company", Title: "Company", MinSeats: 10, MaxSeats: 5000},
			}},
		}
	}
	var errs []error
	if o.TokenVersion < 0 || o.TokenVersion > 2 {
		errs = append(errs, fmt.Errorf("azure token version %d: want 1, 2, or 0 for either", o.TokenVersion))
	}
	seen := []string{}
	for _, offer := range o.Offers {
		if offer.ID == "" || len(offer.Plans) == 0 || slices.Contains(seen, offer.ID) {
			errs = append(errs, fmt.Errorf("azure offer %q: want an id of its own and at least one plan", offer.ID))
		}
		seen = append(seen, offer.ID)
		for _, p := range offer.Plans {
			if p.ID == "" || p.perSeat() != offer.Plans[0].perSeat() || p.perSeat() && len(p.Dimensions) > 0 || len(p.Dimensions) > 30 {
				errs = append(errs, fmt.Errorf("azure plan %s/%s: want an id, one pricing model per offer, and at most 30 dimensions on flat plans only", offer.ID, p.ID))
			}
			if p.MinSeats < 0 || p.MinSeats > p.MaxSeats {
				errs = append(errs, fmt.Errorf("azure plan %s/%s: want 0 <= min_seats <= max_seats", offer.ID, p.ID))
			}
		}
	}
	return errors.Join(errs...)
}
