package azure

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/google/uuid"

	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// Microsoft's own addresses ("Register a SaaS application" and "SaaS fulfillment
// Subscription APIs", 2022).
const (
	publicAuthority = "https://login.microsoftonline.com"
	publicEndpoint  = "https://marketplaceapi.microsoft.com/api"
)

// marketplaceApp is both what our tokens are for and who calls the webhook. Two
// other ids are in circulation; both are wrong.
const marketplaceApp = "20e940b3-4c77-4b0b-9a53-9e16a1b010a7"

// Config is what an operator sets to sell on the Microsoft marketplace.
type Config struct {
	TenantID string // the directory of the app in the offers' technical configuration
	ClientID string // that app; the same for all offers of a publisher

	// One of these proves that we are the app.
	ClientSecret       string
	Certificate        []byte // PEM, with its private key
	FederatedTokenFile string // a workload identity's token

	Authority        string // who issues tokens; empty means Microsoft Entra itself
	Endpoint         string // of the fulfilment API; empty means Microsoft itself
	MeteringEndpoint string // of the metering API; empty means Endpoint

	PublisherID string // empty: webhooks are not compared with it
	Listings    []Listing
}

// Listing is one SaaS offer.
type Listing struct {
	Product    string   // our product
	OfferID    string   // what the marketplace calls it
	Dimensions []string // what it meters, in the offer's names
}

// Adapter is the Microsoft marketplace. Of what it knows nothing must survive it:
// a session's token and the directory's public keys. It may be used concurrently.
type Adapter struct {
	c      Config
	log    *slog.Logger
	now    func() time.Time
	client *client
	rings  map[string]*keyring // by the version of tokens
}

var (
	_ marketplace.Adapter = (*Adapter)(nil)
	_ marketplace.Reader  = (*Adapter)(nil)
)

// Open checks c completely and returns a ready adapter. It makes no calls; now is
// business time.
func (c Config) Open(hc *http.Client, log *slog.Logger, now func() time.Time) (*Adapter, error) {
	c.Authority = strings.TrimSuffix(cmp.Or(c.Authority, publicAuthority), "/")
	c.Endpoint = strings.TrimSuffix(cmp.Or(c.Endpoint, publicEndpoint), "/")
	c.MeteringEndpoint = strings.TrimSuffix(cmp.Or(c.MeteringEndpoint, c.Endpoint), "/")
	c.Listings = slices.Clone(c.Listings)
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("azure settings: %w", err)
	}
	log = log.With("marketplace", string(marketplace.Azure))
	client, err := newClient(hc, func(plain *http.Client) (azcore.TokenCredential, error) { return c.credential(plain) }, log)
	if err != nil {
		return nil, fmt.Errorf("azure settings: %w", err)
	}
	return &Adapter{
		c: c, log: log, now: now, client: client,
		rings: map[string]*keyring{
			"1.0": newKeyring(c, "", client.plain, now),
			"2.0": newKeyring(c, "/v2.0", client.plain, now),
		},
	}, nil
}

// credential makes no calls; a token is asked for by the first request that needs
// one, and never twice by itself.
func (c Config) credential(hc *http.Client) (azcore.TokenCredential, error) {
	options := policy.ClientOptions{
		Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: c.Authority},
		Retry:     policy.RetryOptions{MaxRetries: -1},
		Telemetry: policy.TelemetryOptions{Disabled: true},
		Transport: hc,
	}
	elsewhere := c.Authority != publicAuthority // then Microsoft need not be asked whether it exists
	switch {
	case c.ClientSecret != "":
		return azidentity.NewClientSecretCredential(c.TenantID, c.ClientID, c.ClientSecret,
			&azidentity.ClientSecretCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: elsewhere})
	case len(c.Certificate) > 0:
		certs, key, err := azidentity.ParseCertificates(c.Certificate, nil)
		if err != nil {
			return nil, errors.New("certificate: want PEM with a certificate and its private key") // the cause may quote the key
		}
		return azidentity.NewClientCertificateCredential(c.TenantID, c.ClientID, certs, key,
			&azidentity.ClientCertificateCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: elsewhere})
	default:
		return azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
			ClientOptions: options, DisableInstanceDiscovery: elsewhere, TenantID: c.TenantID, ClientID: c.ClientID, TokenFilePath: c.FederatedTokenFile,
		})
	}
}

// check reports every problem at once.
func (c Config) check() error {
	var errs []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	want(guid(c.TenantID), "tenant id %q: want the GUID of the publisher's directory", c.TenantID)
	want(guid(c.ClientID), "client id %q: want the GUID of the app in the offers' technical configuration", c.ClientID)
	proofs := 0
	for _, set := range []bool{c.ClientSecret != "", len(c.Certificate) > 0, c.FederatedTokenFile != ""} {
		if set {
			proofs++
		}
	}
	want(proofs == 1, "client secret, certificate, federated token file: want one of them")
	want(secure(c.Authority), "authority: want an https base URL, or nothing for Microsoft Entra itself")
	want(secure(c.Endpoint), "endpoint: want an https base URL, or nothing for Microsoft itself")
	want(secure(c.MeteringEndpoint), "metering endpoint: want an https base URL, or nothing for the same as the endpoint")
	want(len(c.Listings) > 0, "listings: want at least one product")
	taken := map[string]bool{}
	for _, l := range c.Listings {
		want(l.Product != "", "listing with offer id %q: want our product", l.OfferID)
		want(l.OfferID != "", "product %q: want its offer id", l.Product)
		want(len(l.Dimensions) > 0, "product %q: want at least one dimension", l.Product)
		for _, name := range []string{"product " + l.Product, "offer id " + strings.ToLower(l.OfferID)} {
			want(!taken[name], "%s: want it in one listing", name)
			taken[name] = true
		}
		seen := map[string]bool{}
		for _, d := range l.Dimensions {
			want(d != "", "product %q: want dimensions with a name", l.Product)
			want(!seen[d], "product %q, dimension %q: want it once; two meters would share one slot", l.Product, d)
			seen[d] = true
		}
	}
	return errors.Join(errs...)
}

// ID is the marketplace's name.
func (a *Adapter) ID() marketplace.ID { return marketplace.Azure }

// product is our name of an offer.
func (c Config) product(offer string) (string, bool) {
	i := slices.IndexFunc(c.Listings, func(l Listing) bool { return offer != "" && strings.EqualFold(l.OfferID, offer) })
	if i < 0 {
		return "", false
	}
	return c.Listings[i].Product, true
}

// guid takes the 36-character form only; subscriptions, operations, tenants and
// apps are all named by one.
func guid(s string) bool {
	_, err := uuid.Parse(s)
	return err == nil && len(s) == 36
}

func secure(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Scheme == "https" && u.Host != "" && u.RawQuery == "" && u.Fragment == ""
}
