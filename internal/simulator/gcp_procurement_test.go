package simulator_test

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/api/cloudcommerceprocurement/v1"
	"google.golang.org/api/option"

	"github.com/tailmarket/tailmarket/internal/simulator"
)

type (
	approveAccount     = cloudcommerceprocurement.ApproveAccountRequest
	rejectAccount      = cloudcommerceprocurement.RejectAccountRequest
	approveEntitlement = cloudcommerceprocurement.ApproveEntitlementRequest
	rejectEntitlement  = cloudcommerceprocurement.RejectEntitlementRequest
	approvePlan        = cloudcommerceprocurement.ApproveEntitlementPlanChangeRequest
	rejectPlan         = cloudcommerceprocurement.RejectEntitlementPlanChangeRequest
)

func (g *gcpWorld) accounts() *cloudcommerceprocurement.ProvidersAccountsService {
	return g.procurement.Providers.Accounts
}

func (g *gcpWorld) entitlements() *cloudcommerceprocurement.ProvidersEntitlementsService {
	return g.procurement.Providers.Entitlements
}

func accountName(b simulator.Buyer) string     { return gcpProvider + "/accounts/" + b.Account }
func entitlementName(b simulator.Buyer) string { return gcpProvider + "/entitlements/" + b.Purchase }

// gcpTime reads a time; its text cannot be compared, because fractions come and go.
func gcpTime(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestAnAccountIsActiveBeforeItIsApproved(t *testing.T) {
	t.Parallel()
	g := goodGoogle(t)
	b := g.buy(simulator.Purchase{Marketplace: simulator.GCP, Reseller: true, Habits: absent()})
	state := func(view string) *cloudcommerceprocurement.Account {
		a, err := g.accounts().Get(accountName(b)).View(view).Do()
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	a := state("ACCOUNT_VIEW_BASIC")
	if a.State != "ACCOUNT_ACTIVE" || len(a.Approvals) != 1 || a.Approvals[0].Name != "signup" || a.Approvals[0].State != "PENDING" || a.ResellerParentBillingAccount != "" {
		t.Errorf("account %+v", a)
	}
	if a = state("ACCOUNT_VIEW_FULL"); !strings.HasPrefix(a.ResellerParentBillingAccount, "billingAccounts/") {
		t.Errorf("reseller %q", a.ResellerParentBillingAccount)
	}
	// The order waits for the account.
	_, err := g.entitlements().Approve(entitlementName(b), &approveEntitlement{}).Do()
	if gcpCode(err) != http.StatusBadRequest || !strings.Contains(err.Error(), "FAILED_PRECONDITION") && !strings.Contains(err.Error(), "not approved") {
		t.Errorf("approved before its account: %v", err)
	}
	long := strings.Repeat("r", 300)
	if _, err := g.accounts().Reject(accountName(b), &rejectAccount{ApprovalName: "signup", Reason: long}).Do(); err != nil {
		t.Fatal(err)
	}
	if a = state(""); a.Approvals[0].State != "REJECTED" || len(a.Approvals[0].Reason) != 256 {
		t.Errorf("approval %+v", a.Approvals[0])
	}
	if _, err := g.accounts().Approve(accountName(b), &approveAccount{ApprovalName: "signup"}).Do(); err != nil {
		t.Errorf("rejected may become approved: %v", err)
	}
	if a = state(""); a.Approvals[0].State != "APPROVED" {
		t.Errorf("approval %+v", a.Approvals[0])
	}
	_, err = g.accounts().Reject(accountName(b), &rejectAccount{ApprovalName: "signup"}).Do()
	if gcpCode(err) != http.StatusBadRequest {
		t.Errorf("approved became rejected: %v", err)
	}
}

func TestWhatProcurementRefuses(t *testing.T) {
	t.Parallel()
	g := goodGoogle(t)
	b := g.active(simulator.Purchase{})
	waiting := g.buy(simulator.Purchase{Marketplace: simulator.GCP, Customer: b.ID, Habits: absent()})
	plain, err := cloudcommerceprocurement.NewService(t.Context(), option.WithHTTPClient(g.http), option.WithEndpoint(g.sim.GCPURL()+"/"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		want int
		do   func() error
	}{
		"no token": {401, func() error { _, err := plain.Providers.Accounts.List(gcpProvider).Do(); return err }},
		"another provider": {403, func() error {
			_, err := g.accounts().List("providers/somebody-else").Do()
			return err
		}},
		"no such account":     {404, func() error { _, err := g.accounts().Get(gcpProvider + "/accounts/none").Do(); return err }},
		"no such entitlement": {404, func() error { _, err := g.entitlements().Get(gcpProvider + "/entitlements/none").Do(); return err }},
		"no such approval": {400, func() error {
			_, err := g.accounts().Approve(accountName(b), &approveAccount{ApprovalName: "party"}).Do()
			return err
		}},
		"reset of a customer": {403, func() error {
			_, err := g.accounts().Reset(accountName(b), &cloudcommerceprocurement.ResetAccountRequest{}).Do()
			return err
		}},
		"suspend": {501, func() error {
			_, err := g.entitlements().Suspend(entitlementName(b), &cloudcommerceprocurement.SuspendEntitlementRequest{}).Do()
			return err
		}},
		"approve what is active": {400, func() error {
			_, err := g.entitlements().Approve(entitlementName(b), &approveEntitlement{}).Do()
			return err
		}},
		"a plan nobody asked for": {400, func() error {
			_, err := g.entitlements().ApprovePlanChange(entitlementName(b), &approvePlan{PendingPlanName: "enterprise"}).Do()
			return err
		}},
		"a note while nothing is pending": {400, func() error {
			_, err := g.entitlements().Patch(entitlementName(b), &cloudcommerceprocurement.Entitlement{MessageToUser: "hi"}).UpdateMask("messageToUser").Do()
			return err
		}},
		"another field": {400, func() error {
			_, err := g.entitlements().Patch(entitlementName(waiting), &cloudcommerceprocurement.Entitlement{Plan: "x"}).UpdateMask("plan").Do()
			return err
		}},
		"a filter with an unquoted path": {400, func() error {
			_, err := g.entitlements().List(gcpProvider).Filter("product_external_name=" + gcpService).Do()
			return err
		}},
		"a page token of another kind": {400, func() error { _, err := g.accounts().List(gcpProvider).PageToken("9").Do(); return err }},
	} {
		if got := gcpCode(c.do()); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestAnOrderIsRefusedAndANoteIsClearedWithTheState(t *testing.T) {
	t.Parallel()
	g := goodGoogle(t)
	b := g.buy(simulator.Purchase{Marketplace: simulator.GCP, Habits: absent()})
	e, err := g.entitlements().Patch(entitlementName(b), &cloudcommerceprocurement.Entitlement{MessageToUser: "Setting up"}).UpdateMask("messageToUser").Do()
	if err != nil || e.MessageToUser != "Setting up" {
		t.Fatalf("%+v %v", e, err)
	}
	if e.NewOfferStartTime != "" || e.OfferEndTime != "" {
		t.Errorf("before the approval: %+v", e)
	}
	if _, err := g.entitlements().Reject(entitlementName(b), &rejectEntitlement{Reason: "not for you"}).Do(); err != nil {
		t.Fatal(err)
	}
	if e = g.entitlement(b.Purchase); e.State != "ENTITLEMENT_CANCELLED" || e.MessageToUser != "" || e.OfferEndTime != "" {
		t.Errorf("after reject %+v", e)
	}
	g.advance(time.Minute)
	if got := g.kinds(b.Purchase); !slices.Contains(got, "ENTITLEMENT_CANCELLED") {
		t.Errorf("events %v", got)
	}
}

func TestAPlanChangeTakesTwoSteps(t *testing.T) {
	t.Parallel()
	g := goodGoogle(t)
	b := g.active(simulator.Purchase{})
	change := func(c simulator.Change) {
		t.Helper()
		if _, err := g.sim.Change(t.Context(), b.ID, c); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(state, plan, pending string) *cloudcommerceprocurement.Entitlement {
		t.Helper()
		e := g.entitlement(b.Purchase)
		if e.State != "ENTITLEMENT_"+state || e.Plan != plan || e.NewPendingPlan != pending {
			t.Fatalf("state %s plan %s pending %s", e.State, e.Plan, e.NewPendingPlan)
		}
		return e
	}
	approve := func(plan string) error {
		_, err := g.entitlements().ApprovePlanChange(entitlementName(b), &approvePlan{PendingPlanName: plan}).Do()
		return err
	}
	change(simulator.Change{Plan: "enterprise"})
	before := expect("PENDING_PLAN_CHANGE_APPROVAL", "standard", "enterprise")
	if gcpCode(approve("standard")) != http.StatusBadRequest {
		t.Error("another plan than the pending one was approved")
	}
	if err := approve("enterprise"); err != nil {
		t.Fatal(err)
	}
	after := expect("ACTIVE", "enterprise", "")
	if after.Offer != before.NewPendingOffer || after.Offer == before.Offer || !gcpTime(t, after.UpdateTime).After(gcpTime(t, before.UpdateTime)) {
		t.Errorf("offers %s %s, updated %s %s", before.NewPendingOffer, after.Offer, before.UpdateTime, after.UpdateTime)
	}

	// One that takes effect later.
	from := g.sim.Now().Add(90 * time.Minute)
	change(simulator.Change{Plan: "standard", From: from})
	if err := approve("standard"); err != nil {
		t.Fatal(err)
	}
	if e := expect("PENDING_PLAN_CHANGE", "enterprise", "standard"); e.NewOfferStartTime != from.Format(time.RFC3339) {
		t.Errorf("starts %q", e.NewOfferStartTime)
	}
	g.advance(2 * time.Hour)
	expect("ACTIVE", "standard", "")

	// One that is refused, one that is taken back.
	change(simulator.Change{Plan: "enterprise"})
	if _, err := g.entitlements().RejectPlanChange(entitlementName(b), &rejectPlan{PendingPlanName: "enterprise"}).Do(); err != nil {
		t.Fatal(err)
	}
	expect("ACTIVE", "standard", "")
	change(simulator.Change{Plan: "enterprise"})
	change(simulator.Change{Kind: simulator.ChangeWithdraw})
	expect("ACTIVE", "standard", "")
	g.advance(time.Minute)
	got := g.kinds(b.Purchase)
	want := []string{
		"ENTITLEMENT_PLAN_CHANGE_REQUESTED", "ENTITLEMENT_PLAN_CHANGED", "ENTITLEMENT_PLAN_CHANGE_REQUESTED", "ENTITLEMENT_PLAN_CHANGED",
		"ENTITLEMENT_PLAN_CHANGE_REQUESTED", "ENTITLEMENT_PLAN_CHANGE_CANCELLED", "ENTITLEMENT_PLAN_CHANGE_REQUESTED", "ENTITLEMENT_PLAN_CHANGE_CANCELLED",
	}
	slices.Sort(want)
	if got = got[3:]; !slices.Equal(slices.Sorted(slices.Values(got)), want) {
		t.Errorf("events %v", got)
	}
	if _, err := g.sim.Change(t.Context(), b.ID, simulator.Change{Plan: "gold"}); err == nil {
		t.Error("there is no plan gold")
	}
}

func TestAutomaticApprovalLeavesOutTheQuestion(t *testing.T) {
	t.Parallel()
	g := googleWorld(t, simulator.Options{Weather: simulator.WeatherGood, GCP: simulator.GCPOptions{Products: []simulator.GCPProduct{{
		Service: gcpService, AutoApprove: true, Plans: []simulator.GCPPlan{{ID: "a", Metrics: []string{"m"}}, {ID: "b", Metrics: []string{"n"}}},
	}}}})
	b := g.buy(simulator.Purchase{Marketplace: simulator.GCP, PrivateOffer: true, Habits: absent()})
	g.advance(5 * time.Minute)
	if e := g.entitlement(b.Purchase); e.State != "ENTITLEMENT_ACTIVE" || !strings.Contains(e.Offer, "/privateOffers/") || e.OfferDuration != "P1Y" {
		t.Errorf("entitlement %+v", e)
	}
	if _, err := g.sim.Change(t.Context(), b.ID, simulator.Change{Plan: "b"}); err != nil {
		t.Fatal(err)
	}
	g.advance(time.Minute)
	got := g.kinds(b.Purchase)
	if slices.Contains(got, "ENTITLEMENT_CREATION_REQUESTED") || slices.Contains(got, "ENTITLEMENT_PLAN_CHANGE_REQUESTED") || !slices.Contains(got, "ENTITLEMENT_PLAN_CHANGED") {
		t.Errorf("events %v", got)
	}
	a, err := g.accounts().Get(accountName(b)).Do()
	if err != nil || a.Approvals[0].State != "PENDING" {
		t.Errorf("the account still needs its own: %+v %v", a, err)
	}
}

func TestTheEndsOfAnEntitlement(t *testing.T) {
	t.Parallel()
	g := goodGoogle(t)
	kinds := func(b simulator.Buyer) string { return strings.Join(g.kinds(b.Purchase)[3:], " ") }
	cancel := func(b simulator.Buyer, status string) {
		t.Helper()
		if _, err := g.sim.Cancel(t.Context(), b.Purchase, status); err != nil {
			t.Fatal(err)
		}
	}
	now := g.active(simulator.Purchase{})
	later := g.active(simulator.Purchase{End: start.Add(6 * time.Hour)})
	fixed := g.active(simulator.Purchase{End: start.Add(5 * time.Hour)})
	back := g.active(simulator.Purchase{})
	cancel(now, "")
	if e := g.entitlement(now.Purchase); e.State != "ENTITLEMENT_ACTIVE" {
		t.Errorf("while it is being cancelled: %s", e.State)
	}
	if _, err := g.sim.Cancel(t.Context(), now.ID, ""); err == nil {
		t.Error("cancelled twice")
	}
	cancel(later, "PENDING_CANCELLATION")
	cancel(back, "PENDING_CANCELLATION")
	if _, err := g.sim.Change(t.Context(), back.ID, simulator.Change{Kind: simulator.ChangeRevert}); err != nil {
		t.Fatal(err)
	}
	g.advance(7 * time.Hour)
	if got := kinds(now); got != "ENTITLEMENT_CANCELLING ENTITLEMENT_CANCELLED" {
		t.Errorf("at once: %s", got)
	}
	if e := g.entitlement(now.Purchase); e.CancellationReason != "user-cancelled" || e.OfferEndTime != e.UpdateTime || e.UsageReportingId == "" {
		t.Errorf("ended %+v", e)
	}
	if got := kinds(later); got != "ENTITLEMENT_PENDING_CANCELLATION ENTITLEMENT_CANCELLED" {
		t.Errorf("at the end of its term: %s", got)
	}
	if got, e := kinds(fixed), g.entitlement(fixed.Purchase); got != "ENTITLEMENT_CANCELLED" || e.CancellationReason != "expired" {
		t.Errorf("a fixed end: %s %s", got, e.CancellationReason)
	}
	if got, e := kinds(back), g.entitlement(back.Purchase); !strings.Contains(got, "REVERTED") || e.State != "ENTITLEMENT_ACTIVE" {
		t.Errorf("taken back: %s %s", got, e.State)
	}
	if r := g.sim.Rest(); !r.AtRest {
		t.Errorf("what is yet to be renewed or purged is no unrest: %+v %v", r, g.sim.Agenda())
	}
}

func TestAnAccountIsDeletedWithAllItHas(t *testing.T) {
	t.Parallel()
	g := goodGoogle(t)
	one := g.active(simulator.Purchase{})
	two := g.active(simulator.Purchase{Customer: one.ID})
	if _, err := g.sim.Cancel(t.Context(), one.ID, "ACCOUNT_DELETED"); err != nil {
		t.Fatal(err)
	}
	if _, err := g.accounts().Get(accountName(one)).Do(); gcpCode(err) != http.StatusNotFound {
		t.Errorf("the account is still there: %v", err)
	}
	for _, b := range []simulator.Buyer{one, two} {
		if e := g.entitlement(b.Purchase); e.State != "ENTITLEMENT_CANCELLED" || e.CancellationReason != "account-closed" {
			t.Errorf("entitlement %+v", e)
		}
	}
	g.advance(time.Minute)
	if got := g.kinds(one.Account); !slices.Equal(got, []string{"ACCOUNT_ACTIVE", "ACCOUNT_DELETED"}) {
		t.Errorf("events %v", got)
	}
}

func TestListsAndTheirFilters(t *testing.T) {
	t.Parallel()
	g := goodGoogle(t)
	a := g.active(simulator.Purchase{})
	b := g.buy(simulator.Purchase{Marketplace: simulator.GCP, Plan: "enterprise", PrivateOffer: true, Habits: absent()})
	c := g.buy(simulator.Purchase{Marketplace: simulator.GCP, Customer: a.ID, Habits: absent()})
	offer := g.entitlement(b.Purchase).Offer
	for filter, want := range map[string][]simulator.Buyer{
		"":                                       {a, b, c},
		`account="` + a.Account + `"`:            {a, c},
		`state=active`:                           {a},
		`state=ENTITLEMENT_Activation_Requested`: {b, c},
		`account="` + a.Account + `" state!=active`:         {c},
		`plan=enterprise OR state=active`:                   {a, b},
		`NOT (plan=enterprise)`:                             {a, c},
		`plan=standard AND plan=enterprise OR state=active`: {a}, // OR binds tighter
		`change_history.new_offer:"` + offer + `"`:          {b},
		`product_external_name="` + gcpService + `"`:        {a, b, c},
		`account="providers/example-public/accounts/x"`:     nil,
	} {
		var ids, wanted []string
		for _, e := range g.list(t.Context(), filter) {
			ids = append(ids, strings.TrimPrefix(e.Name, gcpProvider+"/entitlements/"))
		}
		for _, w := range want {
			wanted = append(wanted, w.Purchase)
		}
		if !slices.Equal(ids, wanted) {
			t.Errorf("filter %s: %v, want %v", filter, ids, wanted)
		}
	}
	for _, filter := range []string{"colour=red", "state:active", "state=", "(state=active", `state="a" OR`, "plan=a)", "a$b=c"} {
		if _, err := g.entitlements().List(gcpProvider).Filter(filter).Do(); gcpCode(err) != http.StatusBadRequest {
			t.Errorf("filter %s: %v", filter, err)
		}
	}
	page, err := g.accounts().List(gcpProvider).PageSize(1).Do()
	if err != nil || len(page.Accounts) != 1 || page.NextPageToken == "" {
		t.Fatalf("%+v %v", page, err)
	}
	page, err = g.accounts().List(gcpProvider).PageSize(1).PageToken(page.NextPageToken).Do()
	if err != nil || len(page.Accounts) != 1 || page.NextPageToken != "" || page.Accounts[0].Name != accountName(b) {
		t.Errorf("%+v %v", page, err)
	}
}

func TestAPrivateOfferEndsAndTheOrderGoesOnAtListPrice(t *testing.T) {
	t.Parallel()
	g := goodGoogle(t)
	b, public := g.active(simulator.Purchase{PrivateOffer: true}), g.active(simulator.Purchase{})
	before := g.entitlement(b.Purchase)
	if _, err := g.sim.Change(t.Context(), b.ID, simulator.Change{Kind: simulator.ChangeOfferEnds}); err != nil {
		t.Fatal(err)
	}
	if _, err := g.sim.Change(t.Context(), public.ID, simulator.Change{Kind: simulator.ChangeOfferEnds}); err == nil {
		t.Error("a public offer ended")
	}
	g.advance(time.Hour)
	after := g.entitlement(b.Purchase)
	if !strings.Contains(before.Offer, "/privateOffers/") || !strings.Contains(after.Offer, "/standardOffers/") || after.State != "ENTITLEMENT_ACTIVE" ||
		after.Plan != before.Plan || !gcpTime(t, after.OfferEndTime).Before(g.sim.Now()) {
		t.Errorf("before %+v\nafter %+v", before, after)
	}
	if got := g.kinds(b.Purchase); got[len(got)-1] != "ENTITLEMENT_OFFER_ENDED" {
		t.Errorf("events %v", got)
	}
	if found := g.list(t.Context(), `change_history.new_offer:"`+before.Offer+`"`); len(found) != 1 {
		t.Errorf("the offer it had is forgotten: %v", found)
	}
}

func TestATermIsRenewedUntilItIsNot(t *testing.T) {
	t.Parallel()
	g := goodGoogle(t)
	b := g.active(simulator.Purchase{})
	first := g.entitlement(b.Purchase).OfferEndTime
	if _, err := g.sim.Change(t.Context(), b.ID, simulator.Change{Kind: simulator.ChangeRenew, End: start.Add(3 * time.Hour)}); err != nil {
		t.Fatal(err)
	}
	e := g.entitlement(b.Purchase)
	if e.OfferEndTime == first || e.OfferEndTime != start.Add(3*time.Hour).Format(time.RFC3339) {
		t.Errorf("term %s then %s", first, e.OfferEndTime)
	}
	g.advance(4 * time.Hour)
	if got := g.kinds(b.Purchase)[3:]; !slices.Equal(got, []string{"ENTITLEMENT_RENEWED", "ENTITLEMENT_CANCELLED"}) {
		t.Errorf("events %v", got)
	}
}

// Which fields an entitlement has depends on its state (gcp.md 2.5), and empty ones are not there.
func TestAnEntitlementShowsWhatItsStateHas(t *testing.T) {
	t.Parallel()
	g := goodGoogle(t)
	b := g.buy(simulator.Purchase{Marketplace: simulator.GCP, Habits: absent()})
	always := "account createTime entitlementBenefitIds name offer offerDuration orderId plan product productExternalName provider state updateTime"
	expect := func(when, more string) {
		t.Helper()
		var e map[string]any
		if err := g.get("/v1/"+entitlementName(b), &e); err != nil {
			t.Fatal(err)
		}
		want := strings.Fields(always + " " + more)
		slices.Sort(want)
		if got := slices.Sorted(maps.Keys(e)); !slices.Equal(got, want) {
			t.Errorf("%s:\n got %v\nwant %v", when, got, want)
		}
	}
	change := func(c simulator.Change) {
		t.Helper()
		if _, err := g.sim.Change(t.Context(), b.ID, c); err != nil {
			t.Fatal(err)
		}
	}
	const live = "consumers offerEndTime usageReportingId"
	expect("ordered", "")
	g.approveAll(t.Context(), b.Account)
	expect("approved", "newOfferStartTime offerEndTime")
	g.advance(2 * time.Minute)
	expect("active", live)
	change(simulator.Change{Plan: "enterprise", From: g.sim.Now().Add(time.Hour)})
	expect("a change waits", live+" newPendingOffer newPendingOfferDuration newPendingPlan")
	if _, err := g.entitlements().ApprovePlanChange(entitlementName(b), &approvePlan{PendingPlanName: "enterprise"}).Do(); err != nil {
		t.Fatal(err)
	}
	expect("a change is to come", live+" newOfferStartTime newPendingOffer newPendingOfferDuration newPendingPlan")
	g.advance(time.Hour)
	expect("active again", live)
	if _, err := g.sim.Cancel(t.Context(), b.ID, "PENDING_CANCELLATION"); err != nil {
		t.Fatal(err)
	}
	expect("an end is to come", live+" subscriptionEndTime")
	change(simulator.Change{Kind: simulator.ChangeRevert})
	if _, err := g.sim.Cancel(t.Context(), b.ID, ""); err != nil {
		t.Fatal(err)
	}
	g.advance(2 * time.Minute)
	expect("cancelled", live+" subscriptionEndTime cancellationReason")
}

func TestGoogleEventsHaveTheDocumentedShape(t *testing.T) {
	t.Parallel()
	g := goodGoogle(t)
	b := g.active(simulator.Purchase{PrivateOffer: true})
	if _, err := g.sim.Change(t.Context(), b.ID, simulator.Change{Plan: "enterprise"}); err != nil {
		t.Fatal(err)
	}
	g.advance(time.Minute)
	if _, err := g.entitlements().ApprovePlanChange(entitlementName(b), &approvePlan{PendingPlanName: "enterprise"}).Do(); err != nil {
		t.Fatal(err)
	}
	g.advance(time.Minute)
	if _, err := g.sim.Cancel(t.Context(), b.ID, "ACCOUNT_DELETED"); err != nil {
		t.Fatal(err)
	}
	g.advance(time.Minute)
	want := map[string]string{
		"ACCOUNT_ACTIVE": "id updateTime", "ACCOUNT_DELETED": "id updateTime",
		"ENTITLEMENT_CREATION_REQUESTED":    "id newOfferEndTime newPendingOfferDuration newPlan updateTime",
		"ENTITLEMENT_OFFER_ACCEPTED":        "entitlementBenefitIds id newOffer newOfferEndTime newPendingOfferDuration newPlan newProduct orderId updateTime",
		"ENTITLEMENT_ACTIVE":                "id updateTime",
		"ENTITLEMENT_PLAN_CHANGE_REQUESTED": "id newPendingOffer newPendingOfferDuration newPendingPlan plan updateTime",
		"ENTITLEMENT_PLAN_CHANGED":          "id updateTime",
		"ENTITLEMENT_CANCELLED":             "id updateTime",
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, e := range g.events {
		about := e.Entitlement
		if strings.HasPrefix(e.EventType, "ACCOUNT") {
			about = e.Account
		}
		if got := strings.Join(slices.Sorted(maps.Keys(about)), " "); got != want[e.EventType] {
			t.Errorf("%s has %s, want %s", e.EventType, got, want[e.EventType])
		}
		delete(want, e.EventType)
	}
	if len(want) > 0 {
		t.Errorf("never came: %v", slices.Sorted(maps.Keys(want)))
	}
}
