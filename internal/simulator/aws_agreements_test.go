package simulator_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/marketplaceagreement"
	"github.com/aws/aws-sdk-go-v2/service/marketplaceagreement/types"
	"github.com/aws/aws-sdk-go-v2/service/marketplaceentitlementservice"
	"github.com/aws/aws-sdk-go-v2/service/marketplaceentitlementservice/schemas"
	enttypes "github.com/aws/aws-sdk-go-v2/service/marketplaceentitlementservice/types"
	"github.com/aws/smithy-go/transport/http/protocol/awsjson"
	"github.com/google/go-cmp/cmp"

	"github.com/tailmarket/tailmarket/internal/simulator"
)

// search pages to the end, trying each page up to four times.
func (w *world) search(filters ...string) []types.AgreementViewSummary {
	w.t.Helper()
	in := &marketplaceagreement.SearchAgreementsInput{Catalog: awssdk.String("AWSMarketplace")}
	for i := 0; i < len(filters); i += 2 {
		in.Filters = append(in.Filters, types.Filter{Name: &filters[i], Values: filters[i+1 : i+2]})
	}
	var all []types.AgreementViewSummary
	for try := 0; ; {
		out, err := w.agreement.SearchAgreements(w.t.Context(), in)
		if err != nil {
			if try++; try == 4 {
				w.t.Fatalf("search: %v", err)
			}
			continue
		}
		try = 0
		all = append(all, out.AgreementViewSummaries...)
		if in.NextToken = out.NextToken; in.NextToken == nil {
			return all
		}
	}
}

func TestSearchAgreementsIsTheSweep(t *testing.T) {
	t.Parallel()
	for _, weather := range []simulator.Weather{simulator.WeatherGood, simulator.WeatherHostile} {
		t.Run(string(weather), func(t *testing.T) {
			t.Parallel()
			w := setup(t, simulator.Options{Seed: 5, Weather: weather})
			var buyers []simulator.Buyer
			for range 9 {
				buyers = append(buyers, w.buy(simulator.Purchase{Habits: absent()}))
			}
			w.advance(time.Hour)
			cursor := w.sim.Now()
			w.advance(time.Hour)
			if _, err := w.sim.Cancel(t.Context(), buyers[4].LicenseArn, ""); err != nil {
				t.Fatal(err)
			}
			base := []string{"PartyType", "Proposer", "AgreementType", "PurchaseAgreement", "ResourceType", "SaaSProduct"}
			var ids, want []string
			for _, a := range w.search(base...) {
				ids = append(ids, *a.AgreementId)
			}
			for _, b := range buyers {
				want = append(want, b.AgreementID)
			}
			slices.Sort(ids)
			slices.Sort(want)
			if diff := cmp.Diff(want, ids); diff != "" {
				t.Error(diff)
			}
			for _, c := range []struct {
				filter []string
				want   int
			}{
				{[]string{"AfterLastUpdateTime", cursor.Format(time.RFC3339Nano)}, 1},
				{[]string{"BeforeLastUpdateTime", cursor.Format(time.RFC3339Nano)}, 8},
				{[]string{"LicenseArn", buyers[2].LicenseArn}, 1},
				{[]string{"AcceptorAccountId", buyers[2].Account, "Status", "ACTIVE"}, 1},
				{[]string{"Status", "CANCELLED"}, 1},
				{[]string{"InitialAgreementId", buyers[1].AgreementID}, 1},
				{[]string{"ResourceIdentifier", "prod-unknown"}, 0},
			} {
				if got := w.search(append(slices.Clone(base), c.filter...)...); len(got) != c.want {
					t.Errorf("%v: %d agreements, want %d", c.filter, len(got), c.want)
				}
			}
			gone := w.search(append(base, "LicenseArn", buyers[4].LicenseArn)...)[0]
			if gone.Status != types.AgreementStatusCancelled || !awssdk.ToTime(gone.EndTime).Equal(w.sim.Now()) || *gone.Entitlements[0].LicenseArn != buyers[4].LicenseArn {
				t.Errorf("cancelled agreement %+v", gone)
			}
			if weather == simulator.WeatherHostile && (w.sim.Faults()["empty_page"] == 0 || w.sim.Faults()["read_fault"] == 0) {
				t.Errorf("faults %v", w.sim.Faults())
			}
		})
	}
}

func TestSearchAgreementsRefusesWhatItCannotRead(t *testing.T) {
	t.Parallel()
	w := good(t)
	for name, in := range map[string]*marketplaceagreement.SearchAgreementsInput{
		"no agreement type": {},
		"unknown filter":    {Filters: []types.Filter{{Name: awssdk.String("Colour"), Values: []string{"x"}}}},
		"two values":        {Filters: []types.Filter{{Name: awssdk.String("Status"), Values: []string{"ACTIVE", "EXPIRED"}}}},
		"51 results":        {MaxResults: awssdk.Int32(51)},
		"foreign token":     {NextToken: awssdk.String("x")},
		"bad time":          {Filters: []types.Filter{{Name: awssdk.String("AfterEndTime"), Values: []string{"yesterday"}}}},
	} {
		if _, err := w.agreement.SearchAgreements(t.Context(), in); code(err) != "ValidationException" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.agreement.DescribeAgreement(t.Context(), &marketplaceagreement.DescribeAgreementInput{AgreementId: awssdk.String("agmt-none")}); code(err) != "ResourceNotFoundException" {
		t.Errorf("unknown agreement: %v", err)
	}
}

func TestAnAgreementFromPurchaseToEnd(t *testing.T) {
	t.Parallel()
	w := good(t)
	b := w.buy(simulator.Purchase{Habits: absent()})
	describe := func(id string) *marketplaceagreement.DescribeAgreementOutput {
		t.Helper()
		out, err := w.agreement.DescribeAgreement(t.Context(), &marketplaceagreement.DescribeAgreementInput{AgreementId: &id})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	entitlement := func(id string) types.AgreementEntitlement {
		t.Helper()
		out, err := w.agreement.GetAgreementEntitlements(t.Context(), &marketplaceagreement.GetAgreementEntitlementsInput{AgreementId: &id})
		if err != nil || len(out.AgreementEntitlements) != 1 {
			t.Fatalf("%v %v", out, err)
		}
		return out.AgreementEntitlements[0]
	}
	if e := entitlement(b.AgreementID); e.Status != types.AgreementEntitlementStatusPending || e.LicenseArn != nil {
		t.Errorf("before the licence: %+v", e)
	}
	w.advance(72 * time.Second)
	if e := entitlement(b.AgreementID); e.Status != types.AgreementEntitlementStatusProvisioned || *e.LicenseArn != b.LicenseArn {
		t.Errorf("with the licence: %+v", e)
	}
	d := describe(b.AgreementID)
	if d.EndTime != nil || d.EndTimeBehavior != nil || *d.InitialAgreementId != b.AgreementID || *d.EstimatedCharges.AgreementValue != "0" ||
		*d.Acceptor.AccountId != b.Account || *d.ProposalSummary.Resources[0].Id != "prod-1" || d.Status != types.AgreementStatusActive {
		t.Errorf("pay as you go: %+v", d)
	}
	terms, err := w.agreement.GetAgreementTerms(t.Context(), &marketplaceagreement.GetAgreementTermsInput{AgreementId: &b.AgreementID})
	if err != nil {
		t.Fatal(err)
	}
	usage, ok := terms.AcceptedTerms[0].(*types.AcceptedTermMemberUsageBasedPricingTerm)
	if !ok || *usage.Value.RateCards[0].RateCard[0].DimensionKey != "active_user" {
		t.Errorf("terms %+v", terms.AcceptedTerms)
	}

	renewed, err := w.sim.Change(t.Context(), b.ID, simulator.Change{Kind: simulator.ChangeRenew})
	if err != nil {
		t.Fatal(err)
	}
	moved, err := w.sim.Change(t.Context(), b.ID, simulator.Change{Kind: simulator.ChangeReplace, Prices: map[string]string{"active_user": "9.00"}})
	if err != nil {
		t.Fatal(err)
	}
	if renewed.LicenseArn != b.LicenseArn || renewed.AgreementID == b.AgreementID || moved.LicenseArn == b.LicenseArn {
		t.Errorf("renewed %+v, replaced %+v", renewed, moved)
	}
	w.advance(2 * time.Minute)
	if e := entitlement(renewed.AgreementID); e.Status != types.AgreementEntitlementStatusDeprovisioned {
		t.Errorf("the licence that was replaced: %+v", e)
	}
	if d := describe(moved.AgreementID); *d.InitialAgreementId != b.AgreementID || describe(b.AgreementID).Status != types.AgreementStatusRenewed {
		t.Errorf("chain: %+v", d)
	}
	var intents []string
	for _, e := range w.app.seen() {
		if a, ok := e.Detail["agreement"].(map[string]any); ok && a["intent"] != nil {
			intents = append(intents, fmt.Sprint(a["intent"], " ", a["previousAgreementId"]))
		}
	}
	slices.Sort(intents)
	want := []string{"NEW <nil>", "RENEW " + b.AgreementID, "REPLACE " + renewed.AgreementID}
	if diff := cmp.Diff(want, intents); diff != "" {
		t.Error(diff)
	}
}

func TestAContractEndsByItself(t *testing.T) {
	t.Parallel()
	w := good(t)
	end := start.Add(3 * time.Hour)
	b := w.buy(simulator.Purchase{Product: "code2", Contract: map[string]int64{"seats": 250}, End: end, Habits: absent()})
	for _, proto := range []string{"cbor", "json"} {
		w.advance(time.Hour)
		got := w.entitlements(proto, map[string][]string{"LICENSE_ARN": {b.LicenseArn}})
		if len(got) != 1 || *got[0].Value.IntegerValue != 250 || !awssdk.ToTime(got[0].ExpirationDate).Equal(end) || *got[0].Dimension != "seats" {
			t.Errorf("%s: %+v", proto, got)
		}
		if got := w.entitlements(proto, map[string][]string{"CUSTOMER_AWS_ACCOUNT_ID": {"000000000000"}}); len(got) != 0 {
			t.Errorf("%s: entitlements of a stranger: %+v", proto, got)
		}
	}
	w.advance(2 * time.Hour)
	if got := w.entitlements("cbor", nil); len(got) != 0 || w.buyer(b.ID).Status != "EXPIRED" {
		t.Errorf("after the end: %+v %s", got, w.buyer(b.ID).Status)
	}
}

// entitlements pages through GetEntitlements over one of the two protocols.
func (w *world) entitlements(proto string, filter map[string][]string) []enttypes.Entitlement {
	w.t.Helper()
	var all []enttypes.Entitlement
	in := &marketplaceentitlementservice.GetEntitlementsInput{ProductCode: awssdk.String("code2"), Filter: filter}
	for {
		out, err := w.entitlement.GetEntitlements(w.t.Context(), in, func(o *marketplaceentitlementservice.Options) {
			if proto == "json" {
				o.Protocol = awsjson.New11(schemas.AWSMPEntitlementService)
			}
		})
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, out.Entitlements...)
		if in.NextToken = out.NextToken; in.NextToken == nil {
			return all
		}
	}
}

func TestEntitlementPagesMayBeEmptyBeforeMoreFollows(t *testing.T) {
	t.Parallel()
	w := good(t)
	for range 3 {
		w.buy(simulator.Purchase{Product: "code2", Contract: map[string]int64{"seats": 1}, Habits: absent()})
	}
	w.advance(time.Hour)
	w.sim.Force(simulator.Force{Kind: simulator.KindEmptyPage})
	if got := w.entitlements("cbor", nil); len(got) != 3 || w.sim.Faults()["empty_page"] != 1 {
		t.Errorf("%d entitlements, faults %v", len(got), w.sim.Faults())
	}
	_, err := w.entitlement.GetEntitlements(t.Context(), &marketplaceentitlementservice.GetEntitlementsInput{ProductCode: awssdk.String("nope")})
	if code(err) != "InvalidParameterException" {
		t.Errorf("unknown product: %v", err)
	}
	w.sim.Force(simulator.Force{Kind: simulator.KindReadFault, Subject: "GetEntitlements"})
	_, err = w.entitlement.GetEntitlements(t.Context(), &marketplaceentitlementservice.GetEntitlementsInput{ProductCode: awssdk.String("code2")})
	if c := code(err); c != "ThrottlingException" && c != "InternalServiceErrorException" {
		t.Errorf("forced read fault: %v", err)
	}
}
