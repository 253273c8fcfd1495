package simulator

import (
	"cmp"
	"errors"
	"fmt"
)

// Dedup says whether Service Control knows an operation again by its id. Google ties operationId to de-duplication and
// promises no window (gcp.md 4.5), so both are played.
type Dedup string

const (
	DedupOn  Dedup = "on"  // a repeated operation id is accepted and billed once, the first body wins
	DedupOff Dedup = "off" // every report is billed
)

// GCPPlan is one plan of a product. Metric ids are unique in a product, so plans that share a dimension name it twice.
type GCPPlan struct {
	ID      string   `json:"id"`
	Metrics []string `json:"metrics"` // ids, without the service name
}

// GCPProduct is one listing on Google Cloud Marketplace.
type GCPProduct struct {
	Service     string    `json:"service"` // the service domain; also the external name of the product
	Title       string    `json:"title"`
	Plans       []GCPPlan `json:"plans"`
	AutoApprove bool      `json:"auto_approve"` // automatic approval of offers is switched on in the portal
}

// GCPOptions configures Google Cloud Marketplace; the zero value is complete.
type GCPOptions struct {
	Provider string       // partner id; default example-public
	Products []GCPProduct // default: one with two plans
	// Audience is the domain registered for sign-up, the aud of its tokens; default signup.tailvendor.example.
	Audience string
	// Subscription receives the events, by push and by pull; default projects/example-backend/subscriptions/marketplace-events.
	Subscription string
	// PushAccount is the service account whose tokens a push carries; PushAudience their aud, by default the push endpoint.
	PushAccount  string
	PushAudience string
	Channel      Channel // default Options.Channel; here sqs means pull
	Dedup        Dedup   // default on
	// VerifyCredentials accepts only access tokens made from Simulator.GCPCredentials; otherwise any bearer token will do.
	VerifyCredentials bool
	// Anonymous lets calls come without a token, which Google never does.
	Anonymous bool
}

func (o *GCPOptions) complete(channel Channel) error {
	var errs []error
	o.Provider = cmp.Or(o.Provider, "example-public")
	o.Audience = cmp.Or(o.Audience, "signup.tailvendor.example")
	o.Subscription = cmp.Or(o.Subscription, "projects/example-backend/subscriptions/marketplace-events")
	o.PushAccount = cmp.Or(o.PushAccount, "marketplace-push@example-backend.iam.gserviceaccount.com")
	switch o.Channel = cmp.Or(o.Channel, channel); o.Channel {
	case ChannelBoth, ChannelHTTPS, ChannelSQS:
	default:
		errs = append(errs, fmt.Errorf("google channel %q: want both, https or sqs", o.Channel))
	}
	switch o.Dedup = cmp.Or(o.Dedup, DedupOn); o.Dedup {
	case DedupOn, DedupOff:
	default:
		errs = append(errs, fmt.Errorf("google dedup %q: want on or off", o.Dedup))
	}
	if len(o.Products) == 0 {
		o.Products = []GCPProduct{{
			Service: "tailnet.endpoints." + o.Provider + ".cloud.goog", Title: "Example Tailnets",
			Plans: []GCPPlan{
				{ID: "standard", Metrics: []string{"active_user", "tagged_resource", "ephemeral_minute", "api_request"}},
				{ID: "enterprise", Metrics: []string{"enterprise_active_user", "enterprise_tagged_resource", "enterprise_ephemeral_minute", "enterprise_api_request"}},
			},
		}}
	}
	for i, p := range o.Products {
		if p.Service == "" || len(p.Plans) == 0 {
			errs = append(errs, fmt.Errorf("google product %d: want a service and at least one plan", i))
		}
		for j, plan := range p.Plans {
			if plan.ID == "" {
				errs = append(errs, fmt.Errorf("google product %d: plan %d has no id", i, j))
			}
		}
	}
	return errors.Join(errs...)
}

func (p *GCPProduct) plan(id string) *GCPPlan {
	for i := range p.Plans {
		if id == "" || p.Plans[i].ID == id {
			return &p.Plans[i]
		}
	}
	return nil
}
