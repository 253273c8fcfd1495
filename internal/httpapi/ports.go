package httpapi

import (
	"context"
	"time"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/intake"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/notify"
	"github.com/tailmarket/tailmarket/internal/partner"
	"github.com/tailmarket/tailmarket/internal/provisioning"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

// What this room needs of the others, each as small as its handlers are.

// Intake takes what marketplaces send.
type Intake interface {
	Accept(ctx context.Context, d marketplace.Delivery) error
	Arrive(ctx context.Context, m marketplace.ID, t marketplace.Token) (claimToken string, err error)
	Quarantine(ctx context.Context, before id.Delivery, limit int) ([]intake.Kept, error)
	Replay(ctx context.Context, d id.Delivery, actor string) error
	Counts(ctx context.Context) (intake.Counts, error)
}

// Purchases tells what purchases are.
type Purchases interface {
	Get(ctx context.Context, sub id.Subscription) (subscription.Subscription, error)
	Find(ctx context.Context, m marketplace.ID, purchase string) (subscription.Subscription, bool, error)
	List(ctx context.Context, f subscription.Filter) ([]subscription.Subscription, error)
	Story(ctx context.Context, sub id.Subscription) ([]subscription.Line, error)
	Agreements(ctx context.Context, sub id.Subscription) ([]subscription.Agreement, error)
	Name(ctx context.Context, sub id.Subscription, actor, name string) error
	Product(ctx context.Context, product string) (subscription.ProductState, error)
	GoLive(ctx context.Context, product string, from clock.Hour, actor string) error
	Due(sub subscription.Subscription) []subscription.Wish
	DecideChange(ctx context.Context, sub id.Subscription, actor string, agree bool, reason string) error
}

// Claims binds people to purchases.
type Claims interface {
	Visit(ctx context.Context, token string) (subscription.Visit, error)
	Email(ctx context.Context, token, address string) error
	MailLink(ctx context.Context, mailToken string) error
	Confirm(ctx context.Context, mailToken string) (subscription.Confirmed, error)
	Continue(ctx context.Context, token string) (subscription.Confirmed, error)
	SignIn(ctx context.Context, token, person, address string) (subscription.Confirmed, error)
	Invite(ctx context.Context, token, address string) error
	InviteFrom(ctx context.Context, sub id.Subscription, address string) error
	People(ctx context.Context, sub id.Subscription) ([]subscription.Claim, error)
	Admit(ctx context.Context, sub id.Subscription, second id.Claim) error
}

// Tailnets tells of a purchase's network and gives its join key away, once.
type Tailnets interface {
	View(ctx context.Context, sub id.Subscription) (provisioning.View, error)
	Reveal(ctx context.Context, sub id.Subscription, by string) (key string, err error)
	NewKey(ctx context.Context, sub id.Subscription, by string) error
}

// Metering takes usage and tells what became of it.
type Metering interface {
	Ingest(ctx context.Context, events []billing.UsageEvent) ([]billing.Outcome, error)
	IngestOnce(ctx context.Context, c billing.Call, events []billing.UsageEvent) (out []billing.Outcome, repeated bool, err error)
	Pressure() billing.Pressure
	Hours(ctx context.Context, sub id.Subscription) ([]billing.HourView, error)
	Conservation(ctx context.Context) (billing.Report, error)
	Ages(ctx context.Context) (map[billing.Station]billing.Age, error)
	Findings(ctx context.Context, open bool) ([]billing.Finding, error)
	CloseFinding(ctx context.Context, f id.Finding, actor, why string) error
	Doubts(ctx context.Context, sub id.Subscription, after id.Record, limit int) ([]billing.Doubt, error)
	Rule(ctx context.Context, rec id.Record, x billing.Ruling) (billing.Doubt, error)
	Quarantined(ctx context.Context) ([]billing.Quarantined, error)
	Replay(ctx context.Context, event billing.Ident) (billing.Outcome, error)
}

// Partners tells who brought customers, and takes what buyers' visits tell of it.
type Partners interface {
	Follow(ctx context.Context, token string) (partner.Followed, error)
	Arrived(ctx context.Context, sub id.Subscription, claim id.Claim, kept []string) (referred bool, err error)
	Said(ctx context.Context, sub id.Subscription, claim id.Claim, answer string) error
	Partners(ctx context.Context) ([]partner.Partner, error)
	Add(ctx context.Context, name, actor string) (partner.Partner, error)
	Know(ctx context.Context, of id.Partner, marketplace string, kind partner.KeyKind, value, actor string) error
	MakeLink(ctx context.Context, of id.Partner, marketplace, product, actor string) (partner.Link, string, error)
	Attributions(ctx context.Context, after id.Customer, limit int) ([]partner.Attribution, error)
	Channels(ctx context.Context) ([]partner.ChannelValue, []partner.Attribution, error)
}

// Mail shows the outbox.
type Mail interface {
	Outbox(ctx context.Context, after id.Message, limit int) ([]notify.Entry, error)
}

// Work tells what is stuck.
type Work interface {
	Stuck(ctx context.Context, limit int) ([]StuckRow, error)
}

// StuckRow is work that stopped or keeps failing.
type StuckRow struct {
	Kind, Subject string
	DueAt         time.Time
	Attempts      int
	Class         fault.Class
	Error         string // may be shown
	Stopped       bool
}
