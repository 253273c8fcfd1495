package app

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/tailmarket/tailmarket/internal/catalog"
	"github.com/tailmarket/tailmarket/internal/httpapi"
	"github.com/tailmarket/tailmarket/internal/identity"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/marketplace/aws"
	"github.com/tailmarket/tailmarket/internal/marketplace/azure"
	"github.com/tailmarket/tailmarket/internal/marketplace/gcp"
)

// openAdapters opens the marketplaces that settings were made for.
func (b *Base) openAdapters(ctx context.Context, s *Selling) error {
	if b.Config.AWS.Enabled() {
		c := b.awsConfig(s.Catalog)
		a, err := c.Open(ctx, b.wayOut(marketplace.AWS, c.Quota), b.Log, b.Clock.Now)
		if err != nil {
			return err
		}
		s.Adapters[marketplace.AWS] = a
	}
	if b.Config.GCP.Enabled() {
		c, err := b.gcpConfig(s.Catalog)
		if err != nil {
			return err
		}
		a, err := c.Open(ctx, b.wayOut(marketplace.GCP, c.Quota), b.Log, b.Clock.Now)
		if err != nil {
			return err
		}
		s.Adapters[marketplace.GCP] = a
	}
	if b.Config.Azure.Enabled() {
		c, err := b.azureConfig(s.Catalog)
		if err != nil {
			return err
		}
		a, err := c.Open(b.wayOut(marketplace.Azure, c.Quota), b.Log, b.Clock.Now)
		if err != nil {
			return err
		}
		s.Adapters[marketplace.Azure] = a
	}
	return nil
}

func (b *Base) awsConfig(c *catalog.Catalog) aws.Config {
	set := b.Config.AWS
	out := aws.Config{
		Region: set.Region, SellerAccount: set.SellerAccount, Endpoint: set.Endpoint, QueueURL: set.QueueURL,
		EventKeyHeader: set.EventKeyHeader, EventKey: set.EventKey.Reveal(), AccessKeyID: set.AccessKeyID, SecretAccessKey: set.SecretAccessKey.Reveal(),
	}
	for _, p := range c.Products {
		if p.AWS != nil {
			out.Listings = append(out.Listings, aws.Listing{Product: p.ID, ProductCode: p.AWS.ProductCode, ProductID: p.AWS.ProductID, Dimensions: p.AllDimensions(string(marketplace.AWS))})
		}
	}
	return out
}

func (b *Base) gcpConfig(c *catalog.Catalog) (gcp.Config, error) {
	set := b.Config.GCP
	roots, err := b.Config.Roots()
	if err != nil {
		return gcp.Config{}, err
	}
	out := gcp.Config{
		Provider: set.Provider, Audiences: []string{set.Audience}, PullSubscription: set.PullSubscription, PushSubscription: set.PushSubscription,
		PushAudience: set.PushAudience, PushAccount: set.PushAccount, CredentialsFile: set.CredentialsFile, Endpoint: set.Endpoint, Roots: roots,
		Anonymous: set.Endpoint != "" && set.CredentialsFile == "", ResendFor: set.ResendFor,
	}
	for _, p := range c.Products {
		if p.GCP != nil {
			out.Listings = append(out.Listings, gcp.Listing{Product: p.ID, Service: p.GCP.Service, Metrics: p.AllDimensions(string(marketplace.GCP)), Double: p.GCP.Double})
		}
	}
	return out, nil
}

// openSignIn opens the sign-in of Microsoft's buyers, or answers nil when none is set.
func (b *Base) openSignIn(base string) (*identity.Microsoft, error) {
	set := b.Config.Azure
	if set.SignInClientID == "" {
		return nil, nil //nolint:nilnil // buyers confirm an address instead
	}
	c := identity.MicrosoftConfig{
		ClientID: set.SignInClientID, ClientSecret: set.SignInClientSecret.Reveal(), Authority: set.Authority, Redirect: strings.TrimSuffix(base, "/") + httpapi.SignedInPath,
	}
	switch {
	case set.SignInCertificateFile != "":
		var err error
		if c.Certificate, err = os.ReadFile(set.SignInCertificateFile); err != nil {
			return nil, fmt.Errorf("read the sign-in app's certificate: %w", err)
		}
	case c.ClientSecret == "":
		c.FederatedTokenFile = set.FederatedTokenFile
	}
	return c.Open(b.HTTP, b.keys, b.Clock.Now, time.Now)
}

func (b *Base) azureConfig(c *catalog.Catalog) (azure.Config, error) {
	set := b.Config.Azure
	out := azure.Config{
		TenantID: set.TenantID, ClientID: set.ClientID, ClientSecret: set.ClientSecret.Reveal(), FederatedTokenFile: set.FederatedTokenFile,
		Authority: set.Authority, Endpoint: set.Endpoint, PublisherID: set.PublisherID,
	}
	if set.CertificateFile != "" {
		var err error
		if out.Certificate, err = os.ReadFile(set.CertificateFile); err != nil {
			return out, fmt.Errorf("read the Azure app's certificate: %w", err)
		}
	}
	for _, p := range c.Products {
		if p.Azure != nil {
			out.Listings = append(out.Listings, azure.Listing{Product: p.ID, OfferID: p.Azure.OfferID, Dimensions: p.AllDimensions(string(marketplace.Azure))})
		}
	}
	return out, nil
}
