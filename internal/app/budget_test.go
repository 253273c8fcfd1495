package app

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tailmarket/tailmarket/internal/catalog"
	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/config"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/fleet"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// ledgerOfCalls is a budget that notes what is asked of it, and refuses when told to.
type ledgerOfCalls struct {
	mu     sync.Mutex
	refuse bool
	spare  int // calls that are let through all the same
	taken  map[string]fleet.Limit
	paused map[string]time.Duration
}

func (l *ledgerOfCalls) Take(_ context.Context, name string, of fleet.Limit) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.spare--; l.refuse && l.spare < 0 {
		return &fault.Error{Class: fault.Throttled, RetryAfter: time.Minute}
	}
	l.taken[name] = of
	return nil
}

func (l *ledgerOfCalls) Pause(_ context.Context, name string, d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paused[name] = d
}

// vendor answers everything with "too fast", and the directory with a token.
type vendor struct {
	mu    sync.Mutex
	calls int  // but the directory's
	tells bool // what it is asked about: an account or a subscription that waits
}

func (v *vendor) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := func(status int, body string) (*http.Response, error) {
		return &http.Response{
			StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}, "Retry-After": {"7"}},
			Body: io.NopCloser(strings.NewReader(body)), Request: r, ProtoMajor: 1, ProtoMinor: 1,
		}, nil
	}
	base := "https://directory.example/" + tenant
	switch {
	case strings.HasSuffix(r.URL.Path, "/openid-configuration"):
		return answer(http.StatusOK, `{"issuer":"`+base+`/v2.0","authorization_endpoint":"`+base+`/a","token_endpoint":"`+base+`/t"}`)
	case r.URL.Host == "directory.example":
		return answer(http.StatusOK, `{"token_type":"Bearer","expires_in":3600,"access_token":"any"}`)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.calls++
	if v.tells && r.Method == http.MethodGet {
		return answer(http.StatusOK, `{"name":"providers/seller/accounts/account-1","id":"`+tenant+`","planId":"team","saasSubscriptionStatus":"PendingFulfillmentStart"}`)
	}
	return answer(http.StatusTooManyRequests, `{"__type":"ThrottlingException","message":"slow down"}`)
}

const tenant = "11111111-2222-4333-8444-555555555555"

var budgetedMarkets = []struct {
	market   marketplace.ID
	settings []string
	names    map[string]fleet.Limit
	token    string // that Resolve asks the marketplace about; empty: it asks nobody
	ref      marketplace.Ref
	decision marketplace.DecisionKind // empty: none that calls
	record   marketplace.VendorIdentity
}{
	{
		market: marketplace.AWS,
		settings: []string{
			"TAILMARKET_AWS_SELLER_ACCOUNT=123456789012", "TAILMARKET_AWS_ENDPOINT=https://aws.example", "TAILMARKET_AWS_EVENT_KEY=0123456789abcdef",
			"TAILMARKET_AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "TAILMARKET_AWS_SECRET_ACCESS_KEY=secret",
		},
		names: map[string]fleet.Limit{
			"aws:123456789012:SearchAgreements":  {Calls: 5, Per: time.Second},
			"aws:123456789012:DescribeAgreement": {Calls: 5, Per: time.Second},
			"aws:123456789012:BatchMeterUsage":   {Calls: 10, Per: time.Second},
		},
		ref:    marketplace.Ref{Agreement: "agmt-1"},
		record: marketplace.VendorIdentity{Account: "210987654321", License: "arn:aws:license-manager::294406891311:license:l-1"},
	},
	{
		market: marketplace.GCP,
		settings: []string{
			"TAILMARKET_GCP_PROVIDER=seller", "TAILMARKET_GCP_AUDIENCE=sell.example", "TAILMARKET_GCP_ENDPOINT=https://gcp.example",
			"TAILMARKET_GCP_PULL_SUBSCRIPTION=projects/seller/subscriptions/messages",
		},
		names: map[string]fleet.Limit{
			"gcp:seller:procurement":    {},
			"gcp:seller:servicecontrol": {Calls: 200_000, Per: 100 * time.Second},
		},
		ref: marketplace.Ref{Purchase: "entitlement-1", Account: "account-1"}, decision: marketplace.ApproveAccount,
		record: marketplace.VendorIdentity{ProductCode: "SERVICE", License: "entitlement-1", Customer: "project_number:1"},
	},
	{
		market: marketplace.Azure,
		settings: []string{
			"TAILMARKET_AZURE_TENANT_ID=" + tenant, "TAILMARKET_AZURE_CLIENT_ID=" + tenant, "TAILMARKET_AZURE_CLIENT_SECRET=secret",
			"TAILMARKET_AZURE_AUTHORITY=https://directory.example", "TAILMARKET_AZURE_ENDPOINT=https://azure.example/api",
		},
		names: map[string]fleet.Limit{"azure:" + tenant + ":fulfilment": {}, "azure:" + tenant + ":metering": {}},
		token: "any-token", ref: marketplace.Ref{Purchase: tenant}, decision: marketplace.Activate,
		record: marketplace.VendorIdentity{Resource: tenant, Plan: "team"},
	},
}

// Whatever a method of an adapter asks its marketplace goes by the budget, under
// the name of what the vendor counts; what is held back is Throttled with a time,
// whatever the method, and never leaves.
func TestEveryCallOfAMarketplaceTakesItsTurn(t *testing.T) {
	t.Parallel()
	for _, m := range budgetedMarkets {
		t.Run(string(m.market), func(t *testing.T) {
			t.Parallel()
			l := &ledgerOfCalls{taken: map[string]fleet.Limit{}, paused: map[string]time.Duration{}}
			out := &vendor{}
			s := sellingThrough(t, out, l, m.settings...)
			a := s.Adapters[m.market]
			calls := map[string]func() error{
				"Purchases": func() error {
					return a.(marketplace.Reader).Purchases(t.Context(), marketplace.Mark{}, func(marketplace.Page) error { return nil })
				},
				"Purchase": func() error { _, err := a.(marketplace.Reader).Purchase(t.Context(), m.ref); return err },
				"Submit": func() error {
					of, product := m.record, s.Catalog.Products[0]
					if of.ProductCode != "" {
						of.ProductCode = product.GCP.Service
					}
					h := clock.HourOf(time.Now()).Prev()
					r := marketplace.Record{Product: product.ID, Identity: of, Dimension: product.AllDimensions(string(m.market))[0], Hour: h, From: h.Start(), To: h.End(), Quantity: "1"}
					r.Key = a.Rules(r.Product).Slot(r)
					_, err := a.Submit(t.Context(), []marketplace.Record{r})
					return err
				},
			}
			if m.token != "" {
				calls["Resolve"] = func() error { _, err := a.Resolve(t.Context(), marketplace.Token{Value: m.token}); return err }
			}
			if m.decision != "" {
				calls["Decide"] = func() error {
					_, err := a.Decide(t.Context(), marketplace.Decision{Kind: m.decision, Ref: m.ref})
					return err
				}
			}
			for name, call := range calls {
				if err := call(); err == nil {
					t.Errorf("%s: a vendor that answers nothing but 429 was understood", name)
				}
			}
			if diff := cmp.Diff(m.names, l.taken); diff != "" {
				t.Errorf("names and limits:\n%s", diff)
			}
			if len(l.paused) != len(m.names) {
				t.Errorf("paused %v", l.paused)
			}
			for name, d := range l.paused {
				if d != 7*time.Second {
					t.Errorf("%s paused for %v", name, d)
				}
			}
			l.refuse = true
			left := out.calls
			for name, call := range calls {
				err := call()
				if f, ok := errors.AsType[*fault.Error](err); !ok || f.Class != fault.Throttled || f.RetryAfter != time.Minute {
					t.Errorf("%s, held back: %v, class %q", name, err, fault.ClassOf(err))
				}
			}
			if out.calls != left {
				t.Errorf("%d calls left that were held back", out.calls-left)
			}
			if decide := calls["Decide"]; decide != nil { // which looks first, and is held back where it acts
				out.tells, l.spare = true, 1
				if err := decide(); !fault.Is(err, fault.Throttled) || out.calls != left+1 {
					t.Errorf("Decide, held back after its look: %v, class %q, %d calls", err, fault.ClassOf(err), out.calls-left)
				}
			}
		})
	}
}

// With a simulator's clock there is no vendor whose quota could be used up.
func TestASimulatorHasNoQuota(t *testing.T) {
	t.Parallel()
	b := &Base{HTTP: &http.Client{}, Fleet: &fleet.Fleet{Budget: &ledgerOfCalls{}}, Config: config.Config{ClockURL: "http://127.0.0.1:1"}}
	if b.wayOut(marketplace.AWS, nil) != b.HTTP {
		t.Error("the way out to a simulator is counted")
	}
}

func TestAPauseIsWhatTheVendorSaid(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	for said, want := range map[string]time.Duration{
		"429 7": 7 * time.Second, "503 7": 7 * time.Second, "429": time.Second, "503": 0, "429 0": time.Second, "503 soon": 0, "500 7": 0, "200 7": 0,
		"429 99999": 10 * time.Minute, "429 -5": time.Second, "503 " + now.Add(90*time.Second).Format(http.TimeFormat): 90 * time.Second,
	} {
		code, after, _ := strings.Cut(said, " ")
		status, err := strconv.Atoi(code)
		if err != nil {
			t.Fatal(err)
		}
		got := budgeted{wall: func() time.Time { return now }}.asked(&http.Response{StatusCode: status, Header: http.Header{"Retry-After": slices.DeleteFunc([]string{after}, func(s string) bool { return s == "" })}})
		if got != want {
			t.Errorf("%s: paused for %v, want %v", said, got, want)
		}
	}
}

// sellingThrough opens the marketplaces of settings over a way out of the test's.
func sellingThrough(t *testing.T, out http.RoundTripper, budget fleet.Budget, settings ...string) *Selling {
	t.Helper()
	c, err := config.Load(settings, "")
	if err != nil {
		t.Fatal(err)
	}
	b := &Base{Config: c, Log: slog.New(slog.DiscardHandler), Clock: clock.NewWall(time.Now), HTTP: &http.Client{Transport: out}, Fleet: &fleet.Fleet{Budget: budget}}
	s := &Selling{base: b, Catalog: catalog.Default(), Adapters: map[marketplace.ID]marketplace.Adapter{}}
	if err := b.openAdapters(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	return s
}
