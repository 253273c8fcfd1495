package gcp

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/httptransport"
	procurement "google.golang.org/api/cloudcommerceprocurement/v1"
	"google.golang.org/api/option"
	"google.golang.org/api/servicecontrol/v1"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// Addresses of Google. The two of keys are constants: a token is never asked where
// the keys to it are (LAB's sample does, and fetches what an attacker names).
const (
	procurementHost = "https://cloudcommerceprocurement.googleapis.com"
	controlHost     = "https://servicecontrol.googleapis.com"
	keysHost        = "https://www.googleapis.com"

	signUpKeysPath = "/robot/v1/metadata/x509/cloud-commerce-partner@system.gserviceaccount.com"
	pushKeysPath   = "/oauth2/v3/certs"
)

// Config is what an operator sets to sell on Google Cloud Marketplace.
type Config struct {
	Provider  string   // the partner id that Google assigned; usually the listing project's id
	Audiences []string // domains as registered for sign-up, bare hosts

	PullSubscription string // projects/…/subscriptions/…; empty: nothing is pulled
	PushSubscription string // the same for push, or the same one while it changes over; empty: no delivery by HTTPS is genuine
	PushAudience     string // of its OIDC token; Pub/Sub's default is the endpoint's URL
	PushAccount      string // e-mail address of the service account in its OIDC token

	CredentialsFile string         // a service account's key, a federation's or impersonation's settings; empty means Google's usual places
	Endpoint        string         // one base URL for all services and keys, Pub/Sub's gRPC too; empty means Google itself
	Roots           *x509.CertPool // what Pub/Sub's connection trusts, as it has none of the HTTP client's settings; nil: the system's
	Anonymous       bool           // calls carry no credentials; only to an Endpoint of one's own

	// ResendFor is how long an identical report counts as de-duplicated (no page of
	// Google's says for how long it does); 0 is never.
	ResendFor time.Duration
	Listings  []Listing
}

// Listing is one product on Google Cloud Marketplace.
type Listing struct {
	Product string   // our product
	Service string   // its service name, which entitlements call the product's external name
	Metrics []string // what it meters: full names, copied from Producer Portal
	Double  bool     // its metrics are declared DOUBLE; else INT64
}

// Adapter is Google Cloud Marketplace. What it keeps are keys and credentials that
// it could fetch again; it may be used concurrently.
type Adapter struct {
	c    Config
	log  *slog.Logger
	now  func() time.Time
	look time.Duration     // lookLimit, but in tests
	auth *auth.Credentials // nil when anonymous

	procurement *procurement.Service
	control     *servicecontrol.Service
	signUpKeys  *keys
	pushKeys    *keys
}

var (
	_ marketplace.Adapter  = (*Adapter)(nil)
	_ marketplace.Listener = (*Adapter)(nil)
	_ marketplace.Reader   = (*Adapter)(nil)
)

// Open checks c completely and returns a ready adapter. It makes no calls; a
// credentials file is read. now is business time.
func (c Config) Open(ctx context.Context, hc *http.Client, log *slog.Logger, now func() time.Time) (*Adapter, error) {
	c.Listings, c.Audiences = slices.Clone(c.Listings), slices.Clone(c.Audiences)
	c.Endpoint = strings.TrimRight(c.Endpoint, "/")
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("gcp settings: %w", err)
	}
	once := *hc
	once.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // a second request that nobody recorded
	plain := once
	once.Transport = handover{hc.Transport}
	if hc.Transport == nil {
		once.Transport = handover{http.DefaultTransport}
	}
	a := &Adapter{
		c: c, log: log.With("marketplace", string(marketplace.GCP)), now: now, look: lookLimit,
		signUpKeys: newKeys(c.at(keysHost)+signUpKeysPath, certificates, &plain, now),
		pushKeys:   newKeys(c.at(keysHost)+pushKeysPath, webKeys, &plain, now),
	}
	if !c.Anonymous {
		var err error
		if a.auth, err = credentialsFrom(c.CredentialsFile, &plain); err != nil {
			return nil, fmt.Errorf("gcp settings: %w", err)
		}
		// Outside of handover: a token that cannot be had sends nothing.
		if err := httptransport.AddAuthorizationMiddleware(&once, a.auth); err != nil {
			return nil, fmt.Errorf("gcp settings: %w", err)
		}
	}
	var err error
	if a.procurement, err = procurement.NewService(ctx, option.WithHTTPClient(&once), option.WithEndpoint(c.at(procurementHost)+"/")); err != nil {
		return nil, fmt.Errorf("gcp settings: %w", err)
	}
	if a.control, err = servicecontrol.NewService(ctx, option.WithHTTPClient(&once), option.WithEndpoint(c.at(controlHost)+"/")); err != nil {
		return nil, fmt.Errorf("gcp settings: %w", err)
	}
	return a, nil
}

// at is where a service of Google is.
func (c Config) at(host string) string {
	if c.Endpoint != "" {
		return c.Endpoint
	}
	return host
}

var (
	resourceID   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$`) // one segment of a resource name, whatever Google writes into it
	subscription = regexp.MustCompile(`^projects/[a-z0-9.:-]+/subscriptions/[A-Za-z][A-Za-z0-9._~+%-]{2,254}$`)
	serviceName  = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)
	bareHost     = regexp.MustCompile(`^[A-Za-z0-9.-]+(:[0-9]+)?$`)
)

// check reports every problem at once.
func (c Config) check() error {
	var errs []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	want(resourceID.MatchString(c.Provider), "provider %q: want the partner id that Google assigned", c.Provider)
	want(len(c.Audiences) > 0, "audiences: want the domain registered for sign-up")
	for _, a := range c.Audiences {
		want(bareHost.MatchString(a), "audience %q: want a bare host, without scheme and path", a)
	}
	want(c.PullSubscription == "" || subscription.MatchString(c.PullSubscription), "pull subscription %q: want projects/…/subscriptions/…, or nothing", c.PullSubscription)
	want(c.PushSubscription == "" || subscription.MatchString(c.PushSubscription), "push subscription %q: want projects/…/subscriptions/…, or nothing", c.PushSubscription)
	want(c.PullSubscription != "" || c.PushSubscription != "", "pull subscription, push subscription: want one of them, which lets the marketplace's events in")
	set := 0
	for _, s := range []string{c.PushSubscription, c.PushAudience, c.PushAccount} {
		if s != "" {
			set++
		}
	}
	want(set == 0 || set == 3, "push subscription, push audience, push account: want all of them or none")
	want(c.PushAccount == "" || strings.Count(c.PushAccount, "@") == 1, "push account: want the e-mail address of a service account")
	want(c.Endpoint == "" || absolute(c.Endpoint), "endpoint: want a base URL, or nothing for Google itself")
	want(!c.Anonymous || c.Endpoint != "", "anonymous: want an endpoint of your own beside it; Google answers nobody it does not know")
	want(!c.Anonymous || c.CredentialsFile == "", "anonymous, credentials file: want one of them")
	want(c.Anonymous || c.PullSubscription == "" || !strings.HasPrefix(c.Endpoint, "http://"), "endpoint: want https, or anonymous beside it; credentials are for a connection that hides them")
	want(c.ResendFor >= 0, "resend for %s: want 0, which is never, or longer", c.ResendFor)
	want(len(c.Listings) > 0, "listings: want at least one product")
	taken := map[string]bool{}
	for _, l := range c.Listings {
		want(l.Product != "", "listing with service %q: want our product", l.Service)
		want(serviceName.MatchString(l.Service), "product %q, service %q: want its service name, such as tailnet.endpoints.vendor-public.cloud.goog", l.Product, l.Service)
		want(len(l.Metrics) > 0, "product %q: want at least one metric", l.Product)
		for _, name := range []string{"product " + l.Product, "service " + l.Service} {
			want(!taken[name], "%s: want it in one listing", name)
			taken[name] = true
		}
		seen := map[string]bool{}
		for _, m := range l.Metrics {
			want(m != "" && len(m) <= maxMetric, "product %q, metric %q: want 1 to %d characters", l.Product, m, maxMetric)
			want(!seen[m], "product %q, metric %q: want it once; two meters would share one slot", l.Product, m)
			seen[m] = true
		}
	}
	return errors.Join(errs...)
}

func absolute(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.RawQuery == "" && u.Fragment == ""
}

// ID is the marketplace's name.
func (a *Adapter) ID() marketplace.ID { return marketplace.GCP }

// byService finds our name of a listing.
func (c Config) byService(name string) (Listing, bool) {
	return c.find(func(l Listing) bool { return l.Service == name })
}

func (c Config) byProduct(product string) (Listing, bool) {
	return c.find(func(l Listing) bool { return l.Product == product })
}

func (c Config) find(is func(Listing) bool) (Listing, bool) {
	if i := slices.IndexFunc(c.Listings, is); i >= 0 {
		return c.Listings[i], true
	}
	return Listing{}, false
}

// provider, account and entitlement are resource names. An id that is not one
// segment would call another method than was meant.
func (a *Adapter) provider() string { return "providers/" + a.c.Provider }

func (a *Adapter) account(id string) (string, error) { return a.resource("accounts", id) }

func (a *Adapter) entitlement(id string) (string, error) { return a.resource("entitlements", id) }

func (a *Adapter) resource(kind, id string) (string, error) {
	if !resourceID.MatchString(id) {
		return "", fault.Wrap(fault.Invalid, fmt.Errorf("%q is not the id of one of Google's %s", id, kind), "")
	}
	return a.provider() + "/" + kind + "/" + id, nil
}

// last is the last segment of a resource name, or the bare id.
func last(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }
