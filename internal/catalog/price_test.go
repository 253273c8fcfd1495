package catalog_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tailmarket/tailmarket/internal/catalog"
)

func TestListPricesAndPages(t *testing.T) {
	t.Parallel()
	c := catalog.Default()
	if amount, currency, ok := c.ListPrice("tailnet", "standard", "api_request"); amount != "0.40" || currency != "USD" || !ok {
		t.Errorf("api_request costs %q %q %v", amount, currency, ok)
	}
	for _, unknown := range [][3]string{{"none", "standard", "api_request"}, {"tailnet", "none", "api_request"}, {"tailnet", "standard", "none"}, {}} {
		if _, _, ok := c.ListPrice(unknown[0], unknown[1], unknown[2]); ok {
			t.Errorf("%v has a price", unknown)
		}
	}
	for _, cloud := range []string{"aws", "gcp", "azure"} {
		if page, ok := c.Page(cloud, "tailnet"); !ok || !strings.HasPrefix(page, "https://") {
			t.Errorf("the page on %s is %q %v", cloud, page, ok)
		}
	}
	if _, ok := c.Page("aws", "none"); ok {
		t.Error("an unknown product has a page")
	}
}

func TestAPriceOrPageThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	_, err := catalog.Parse([]byte(`
version: "1"
products:
  - id: tailnet
    azure: { offer_id: tailnet }
    pages: { aws: "https://a.example", azure: "http://b.example" }
    meters:
      - { id: minute, title: Minutes, unit: minute, kind: sum, scale: 0, source: reported, dimensions: { azure: minute } }
    plans:
      - { id: standard, title: Standard, default: true, currency: dollar, prices: { minute: "-1", hour: "1", day: "free" } }
`))
	if err == nil {
		t.Fatal("it was taken")
	}
	text := errors.Unwrap(err).Error()
	for _, want := range []string{"pages.aws: the product is not listed there", "pages.azure: is not an https address", `"dollar" is not a currency`, "prices.minute: \"-1\" is negative", "prices.hour: there is no meter", "prices.day: \"free\" is not a decimal"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not said: %s", want, text)
		}
	}
}
