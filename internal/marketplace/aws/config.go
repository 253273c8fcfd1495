package aws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/marketplaceagreement"
	"github.com/aws/aws-sdk-go-v2/service/marketplaceentitlementservice"
	"github.com/aws/aws-sdk-go-v2/service/marketplacemetering"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// home is the only region of the agreement and entitlement services (Developer
// Guide "Supported AWS Regions", 2026).
const home = "us-east-1"

// Config is what an operator sets to sell on AWS Marketplace.
type Config struct {
	Region          string // of metering; one for good, because AWS de-duplicates per region
	SellerAccount   string // the account that published the listings
	Endpoint        string // one base URL for all services; empty means AWS itself
	QueueURL        string // the SQS queue that an EventBridge rule fills; empty: none
	EventKeyHeader  string // the header an EventBridge connection proves itself with; empty means x-api-key
	EventKey        string // its value; empty: no delivery by HTTPS is genuine
	AccessKeyID     string // with its secret; both empty means the SDK's usual chain
	SecretAccessKey string
	Listings        []Listing
}

// Listing is one product on AWS Marketplace.
type Listing struct {
	Product     string   // our product
	ProductCode string   // what metering and entitlements call it
	ProductID   string   // what agreements and events call it (prod-…)
	Dimensions  []string // what it meters, in AWS's names
}

// Adapter is AWS Marketplace. It holds no state and may be used concurrently.
type Adapter struct {
	c    Config
	log  *slog.Logger
	now  func() time.Time
	wait time.Duration // of one long poll

	metering    *marketplacemetering.Client
	entitlement *marketplaceentitlementservice.Client
	agreement   *marketplaceagreement.Client
	queue       *sqs.Client
}

var (
	_ marketplace.Adapter  = (*Adapter)(nil)
	_ marketplace.Listener = (*Adapter)(nil)
	_ marketplace.Reader   = (*Adapter)(nil)
)

// Open checks c completely and returns a ready adapter. It makes no calls. hc
// should allow a long poll of 20 seconds; now is business time.
func (c Config) Open(ctx context.Context, hc *http.Client, log *slog.Logger, now func() time.Time) (*Adapter, error) {
	c.EventKeyHeader = strings.ToLower(cmp.Or(c.EventKeyHeader, "x-api-key"))
	c.Listings = slices.Clone(c.Listings)
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("aws settings: %w", err)
	}
	once := *hc
	once.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // a second request that nobody recorded
	once.Transport = handover{hc.Transport}
	if hc.Transport == nil {
		once.Transport = handover{http.DefaultTransport}
	}
	options := []func(*config.LoadOptions) error{
		config.WithRegion(c.Region),
		config.WithRetryer(func() awssdk.Retryer { return awssdk.NopRetryer{} }), // one call is one recorded attempt
	}
	if c.AccessKeyID != "" {
		options = append(options, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, "")))
	}
	if c.Endpoint != "" {
		options = append(options, config.WithBaseEndpoint(c.Endpoint))
	}
	sdk, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("aws settings: %w", err)
	}
	// Set afterwards: with AWS_CA_BUNDLE in the environment the loader refuses any client but its own.
	sdk.HTTPClient = &once
	return &Adapter{
		c: c, log: log.With("marketplace", string(marketplace.AWS)), now: now, wait: longPoll(hc.Timeout),
		metering:    marketplacemetering.NewFromConfig(sdk),
		entitlement: marketplaceentitlementservice.NewFromConfig(sdk, func(o *marketplaceentitlementservice.Options) { o.Region = home }),
		agreement:   marketplaceagreement.NewFromConfig(sdk, func(o *marketplaceagreement.Options) { o.Region = home }),
		queue:       sqs.NewFromConfig(sdk, func(o *sqs.Options) { o.Region = queueRegion(c.QueueURL, home) }),
	}, nil
}

var (
	accountID  = regexp.MustCompile(`^[0-9]{12}$`)
	region     = regexp.MustCompile(`^[a-z]{2,4}(-[a-z]+)+-[0-9]$`)
	headerName = regexp.MustCompile(`^[a-z0-9!#$%&'*+.^_|~-]+$`)
	queueHost  = regexp.MustCompile(`^sqs\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?$`)
)

// check reports every problem at once.
func (c Config) check() error {
	var errs []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	want(region.MatchString(c.Region), "region %q: want one such as us-east-1", c.Region)
	want(accountID.MatchString(c.SellerAccount), "seller account %q: want 12 digits", c.SellerAccount)
	want(c.Endpoint == "" || absolute(c.Endpoint), "endpoint: want a base URL, or nothing for AWS itself")
	want(c.QueueURL == "" || absolute(c.QueueURL), "queue URL: want the URL of an SQS queue, or nothing")
	want(headerName.MatchString(c.EventKeyHeader), "event key header %q: want the name of an HTTP header", c.EventKeyHeader)
	want(c.QueueURL != "" || c.EventKey != "", "event key, queue URL: want one of them, which lets the marketplace's events in")
	want((c.AccessKeyID == "") == (c.SecretAccessKey == ""), "access key id and its secret: want both or neither")
	want(len(c.Listings) > 0, "listings: want at least one product")
	taken := map[string]bool{}
	for _, l := range c.Listings {
		want(l.Product != "", "listing with product code %q: want our product", l.ProductCode)
		want(l.ProductCode != "" && len(l.ProductCode) <= 255, "product %q: want its AWS product code", l.Product)
		want(l.ProductID != "", "product %q: want its AWS product id, such as prod-…", l.Product)
		want(len(l.Dimensions) > 0, "product %q: want at least one dimension", l.Product)
		for _, name := range []string{"product " + l.Product, "product code " + l.ProductCode, "product id " + l.ProductID} {
			want(!taken[name], "%s: want it in one listing", name)
			taken[name] = true
		}
		seen := map[string]bool{}
		for _, d := range l.Dimensions {
			want(d != "" && len(d) <= 255, "product %q, dimension %q: want 1 to 255 characters", l.Product, d)
			want(!seen[d], "product %q, dimension %q: want it once; two meters would share one slot", l.Product, d)
			seen[d] = true
		}
	}
	return errors.Join(errs...)
}

func absolute(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != ""
}

// queueRegion is written in the queue's URL; EventBridge's marketplace events
// start out in one region, but a rule may forward them.
func queueRegion(queue, otherwise string) string {
	if u, err := url.Parse(queue); err == nil {
		if m := queueHost.FindStringSubmatch(u.Hostname()); m != nil {
			return m[1]
		}
	}
	return otherwise
}

// longPoll stays inside the client's own limit.
func longPoll(limit time.Duration) time.Duration {
	if limit > 0 && limit < 25*time.Second {
		return max(limit-5*time.Second, 0).Truncate(time.Second)
	}
	return 20 * time.Second // API Reference "ReceiveMessage", 2026: the longest
}

// ID is the marketplace's name.
func (a *Adapter) ID() marketplace.ID { return marketplace.AWS }

// Decide refuses: with concurrent agreements AWS asks a seller for no decision
// and takes none. It makes no call.
func (a *Adapter) Decide(_ context.Context, d marketplace.Decision) (marketplace.Outcome, error) {
	return "", fault.New(fault.Refused, "AWS Marketplace takes no %q from a seller: there, buyers and AWS decide about agreements", d.Kind)
}

// byID and byCode find our name of a listing.
func (c Config) byID(productID string) (Listing, bool) {
	return c.find(func(l Listing) bool { return l.ProductID == productID })
}

func (c Config) byCode(code string) (Listing, bool) {
	return c.find(func(l Listing) bool { return l.ProductCode == code })
}

func (c Config) find(is func(Listing) bool) (Listing, bool) {
	if i := slices.IndexFunc(c.Listings, is); i >= 0 {
		return c.Listings[i], true
	}
	return Listing{}, false
}

// licenceID is the part of a licence's name by which two spellings of it are
// compared: l-…. AWS's samples of events write the name without "arn:" and
// "license:", its services and captured events write the full ARN.
func licenceID(arn string) string {
	return arn[strings.LastIndexByte(arn, ':')+1:]
}
