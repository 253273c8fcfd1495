package simulator_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/marketplacemetering"
	"github.com/aws/aws-sdk-go-v2/service/marketplacemetering/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/tailmarket/tailmarket/internal/simulator"
)

func record(b simulator.Buyer, at time.Time, dimension string, quantity int32) types.UsageRecord {
	return types.UsageRecord{
		Timestamp: awssdk.Time(at), Dimension: awssdk.String(dimension), Quantity: awssdk.Int32(quantity),
		CustomerAWSAccountId: awssdk.String(b.Account), LicenseArn: awssdk.String(b.LicenseArn),
	}
}

func (w *world) meter(records ...types.UsageRecord) (*marketplacemetering.BatchMeterUsageOutput, error) {
	return w.metering.BatchMeterUsage(w.t.Context(), &marketplacemetering.BatchMeterUsageInput{UsageRecords: records})
}

// status meters one record and gives its status, or the code of the refusal.
func (w *world) status(r types.UsageRecord) string {
	w.t.Helper()
	out, err := w.meter(r)
	if err != nil {
		return code(err)
	}
	if len(out.Results) != 1 {
		w.t.Fatalf("%d results, %d unprocessed", len(out.Results), len(out.UnprocessedRecords))
	}
	return string(out.Results[0].Status)
}

func code(err error) string {
	if err == nil {
		return ""
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return "no answer"
}

func good(t *testing.T) *world {
	return setup(t, simulator.Options{Weather: simulator.WeatherGood, Products: []simulator.Product{
		{Code: "code1", ID: "prod-1", Dimensions: []string{"active_user", "api_request"}},
		{Code: "code2", ID: "prod-2", Dimensions: []string{"seats"}},
	}})
}

func TestResolveCustomer(t *testing.T) {
	t.Parallel()
	w := good(t)
	b := w.buy(simulator.Purchase{Habits: absent()})
	token, err := w.sim.Token(b.ID)
	if err != nil {
		t.Fatal(err)
	}
	resolve := func(token string) (*marketplacemetering.ResolveCustomerOutput, error) {
		return w.metering.ResolveCustomer(t.Context(), &marketplacemetering.ResolveCustomerInput{RegistrationToken: &token})
	}
	for range 2 { // reusable
		out, err := resolve(token)
		if err != nil {
			t.Fatal(err)
		}
		got := []any{awssdk.ToString(out.CustomerAWSAccountId), awssdk.ToString(out.LicenseArn), awssdk.ToString(out.ProductCode), out.CustomerIdentifier}
		if diff := cmp.Diff([]any{b.Account, b.LicenseArn, "code1", (*string)(nil)}, got); diff != "" {
			t.Error(diff)
		}
	}
	if _, err := resolve(token + "x"); code(err) != "InvalidTokenException" {
		t.Errorf("unknown token: %v", err)
	}
	w.advance(4 * time.Hour)
	if _, err := resolve(token); code(err) != "ExpiredTokenException" {
		t.Errorf("old token: %v", err)
	}
}

func TestFirstWriteWinsASlot(t *testing.T) {
	t.Parallel()
	w := good(t)
	b := w.buy(simulator.Purchase{Habits: absent()})
	w.advance(3 * time.Hour)
	at := start.Add(time.Hour)
	out, err := w.meter(record(b, at, "active_user", 7), record(b, at, "api_request", 0), record(b, at.Add(time.Hour), "active_user", 1))
	if err != nil || len(out.Results) != 3 {
		t.Fatalf("%v %v", out, err)
	}
	again, err := w.meter(record(b, at.Add(59*time.Minute), "active_user", 7))
	if err != nil || again.Results[0].Status != types.UsageRecordResultStatusSuccess {
		t.Fatalf("identical resend in the same hour: %v %v", again, err)
	}
	same := false
	for _, r := range out.Results {
		same = same || awssdk.ToString(r.MeteringRecordId) == awssdk.ToString(again.Results[0].MeteringRecordId)
	}
	if !same {
		t.Error("an identical resend has another record id")
	}
	if got := w.status(record(b, at, "active_user", 8)); got != "DuplicateRecord" {
		t.Errorf("another quantity: %s", got)
	}
	bill := w.sim.Bill()
	if len(bill.Lines) != 2 || bill.Lines[0].Quantity != 8 || len(bill.Lines[0].Slots) != 2 || bill.Lines[1].Quantity != 0 {
		t.Errorf("bill %+v", bill)
	}
	w.sim.Force(simulator.Force{Kind: simulator.KindDuplicateAnswer})
	if got := w.status(record(b, at, "active_user", 7)); got != "DuplicateRecord" {
		t.Errorf("identical resend, the other documented answer: %s", got)
	}
}

func TestOneBadRecordRefusesTheWholeBatch(t *testing.T) {
	t.Parallel()
	w := good(t)
	b, other := w.buy(simulator.Purchase{Habits: absent()}), w.buy(simulator.Purchase{Product: "code2", Habits: absent()})
	w.advance(26 * time.Hour)
	now := w.sim.Now()
	with := func(change func(*types.UsageRecord)) types.UsageRecord {
		r := record(b, now, "active_user", 3)
		change(&r)
		return r
	}
	alloc := func(n int32, tags ...types.Tag) types.UsageAllocation {
		return types.UsageAllocation{AllocatedUsageQuantity: awssdk.Int32(n), Tags: tags}
	}
	tag := func(k, v string) types.Tag { return types.Tag{Key: &k, Value: &v} }
	for name, c := range map[string]struct {
		bad  types.UsageRecord
		want string
	}{
		"in the future":          {with(func(r *types.UsageRecord) { r.Timestamp = awssdk.Time(now.Add(time.Second)) }), "TimestampOutOfBoundsException"},
		"older than 24 hours":    {with(func(r *types.UsageRecord) { r.Timestamp = awssdk.Time(now.Add(-24*time.Hour - time.Second)) }), "TimestampOutOfBoundsException"},
		"unknown dimension":      {with(func(r *types.UsageRecord) { r.Dimension = awssdk.String("Active_User") }), "InvalidUsageDimensionException"},
		"unknown licence":        {with(func(r *types.UsageRecord) { r.LicenseArn = awssdk.String("arn:aws:license-manager::1:license:l-0") }), "InvalidLicenseException"},
		"licence of another":     {with(func(r *types.UsageRecord) { r.LicenseArn = awssdk.String(other.LicenseArn) }), "InvalidLicenseException"},
		"no licence":             {with(func(r *types.UsageRecord) { r.LicenseArn = nil }), "InvalidLicenseException"},
		"another product":        {record(other, now, "seats", 1), "InvalidLicenseException"},
		"customer identifier":    {with(func(r *types.UsageRecord) { r.CustomerIdentifier = awssdk.String("X01") }), "InvalidCustomerIdentifierException"},
		"negative quantity":      {with(func(r *types.UsageRecord) { r.Quantity = awssdk.Int32(-1) }), "ValidationException"},
		"allocations do not sum": {with(func(r *types.UsageRecord) { r.UsageAllocations = []types.UsageAllocation{alloc(2)} }), "InvalidUsageAllocationsException"},
		"two untagged buckets":   {with(func(r *types.UsageRecord) { r.UsageAllocations = []types.UsageAllocation{alloc(2), alloc(1)} }), "InvalidUsageAllocationsException"},
		"tag with a bad letter":  {with(func(r *types.UsageRecord) { r.UsageAllocations = []types.UsageAllocation{alloc(3, tag("k", "é"))} }), "InvalidTagException"},
		"six tags on one bucket": {with(func(r *types.UsageRecord) {
			a := alloc(3)
			for i := range 6 {
				a.Tags = append(a.Tags, tag(fmt.Sprint("k", i), "v"))
			}
			r.UsageAllocations = []types.UsageAllocation{a}
		}), "InvalidTagException"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := w.meter(record(b, now, "api_request", 5), c.bad); code(err) != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
	if bill := w.sim.Bill(); len(bill.Lines) != 0 {
		t.Errorf("a refused batch was billed: %+v", bill)
	}
	ok := with(func(r *types.UsageRecord) {
		r.UsageAllocations = []types.UsageAllocation{alloc(2, tag("Tailnet", "corp")), alloc(1)}
	})
	if got := w.status(ok); got != "Success" {
		t.Errorf("tagged record: %s", got)
	}
}

func TestACallIsBounded(t *testing.T) {
	t.Parallel()
	w := good(t)
	b := w.buy(simulator.Purchase{Habits: absent()})
	w.advance(time.Hour)
	many := make([]types.UsageRecord, 26)
	for i := range many {
		many[i] = record(b, w.sim.Now(), "active_user", 1)
	}
	if _, err := w.meter(many...); code(err) != "ValidationException" {
		t.Errorf("26 records: %v", err)
	}
	big := record(b, w.sim.Now(), "active_user", 0)
	for i := range 2500 {
		long := strings.Repeat("v", 250)
		big.UsageAllocations = append(big.UsageAllocations, types.UsageAllocation{AllocatedUsageQuantity: awssdk.Int32(0), Tags: []types.Tag{
			{Key: awssdk.String("a"), Value: awssdk.String(fmt.Sprint(long, i))}, {Key: awssdk.String("b"), Value: awssdk.String(long)},
		}})
	}
	if _, err := w.meter(big); code(err) != "RequestEntityTooLargeException" {
		t.Errorf("over 1 MB: %v", err)
	}
	_, err := w.metering.BatchMeterUsage(t.Context(), &marketplacemetering.BatchMeterUsageInput{
		ProductCode: awssdk.String("code1"), UsageRecords: []types.UsageRecord{record(b, w.sim.Now(), "active_user", 1)},
	})
	if code(err) != "InvalidProductCodeException" {
		t.Errorf("ProductCode with LicenseArn: %v", err)
	}
}

func TestThePreviousMonthClosesAtSixUTC(t *testing.T) {
	t.Parallel()
	w := setup(t, simulator.Options{Weather: simulator.WeatherGood, Start: time.Date(2026, 11, 30, 20, 0, 0, 0, time.UTC)})
	b := w.buy(simulator.Purchase{Habits: absent()})
	last := time.Date(2026, 11, 30, 23, 0, 0, 0, time.UTC)
	w.advance(10*time.Hour - time.Second) // 05:59:59 on the 1st
	if got := w.status(record(b, last, "active_user", 1)); got != "Success" {
		t.Errorf("before 06:00: %s", got)
	}
	w.advance(time.Second)
	if got := w.status(record(b, last, "api_request", 1)); got != "TimestampOutOfBoundsException" {
		t.Errorf("at 06:00: %s", got)
	}
	if got := w.status(record(b, last.Add(time.Hour), "api_request", 1)); got != "Success" {
		t.Errorf("first hour of the new month: %s", got)
	}
}

func TestMeteringFollowsTheLicence(t *testing.T) {
	t.Parallel()
	w := good(t)
	b := w.buy(simulator.Purchase{Habits: absent()})
	if got := w.status(record(b, start, "active_user", 1)); got != "CustomerNotSubscribed" {
		t.Errorf("before License Updated: %s", got)
	}
	w.advance(2 * time.Hour)
	if got := w.status(record(b, start.Add(-time.Hour), "active_user", 1)); got != "InvalidLicenseException" {
		t.Errorf("an hour before the licence: %s", got)
	}
	if _, err := w.sim.Suspend(t.Context(), b.LicenseArn, true); err != nil {
		t.Fatal(err)
	}
	if got := w.status(record(b, start, "active_user", 1)); got != "CustomerNotSubscribed" {
		t.Errorf("suspended: %s", got)
	}
	if _, err := w.sim.Suspend(t.Context(), b.LicenseArn, false); err != nil {
		t.Fatal(err)
	}
	w.advance(30 * time.Minute)
	if _, err := w.sim.Cancel(t.Context(), b.ID, ""); err != nil {
		t.Fatal(err)
	}
	w.advance(time.Hour)
	if got := w.status(record(b, start.Add(2*time.Hour), "active_user", 1)); got != "Success" {
		t.Errorf("the part hour, within the hour after the end: %s", got)
	}
	if got := w.status(record(b, start.Add(3*time.Hour), "active_user", 1)); got != "InvalidLicenseException" {
		t.Errorf("an hour after the end: %s", got)
	}
	w.advance(time.Second)
	if got := w.status(record(b, start, "active_user", 1)); got != "CustomerNotSubscribed" {
		t.Errorf("more than an hour after the end: %s", got)
	}
}

func TestEveryRecordIsDefiniteByItsFourthAttempt(t *testing.T) {
	t.Parallel()
	w := setup(t, simulator.Options{Seed: 3})
	w.sim.Force(simulator.Force{Kind: simulator.KindAcceptThenClose, Times: 3})
	b := w.buy(simulator.Purchase{Habits: absent()})
	w.advance(2 * time.Hour)
	r := record(b, start.Add(time.Hour), "active_user", 9)
	for try := range 3 {
		if _, err := w.meter(r); code(err) != "no answer" && code(err) != "ThrottlingException" && code(err) != "InternalServiceErrorException" {
			t.Fatalf("try %d: %v", try+1, err)
		}
	}
	if got := w.status(r); got != "Success" && got != "DuplicateRecord" {
		t.Fatalf("fourth try: %s", got)
	}
	if bill := w.sim.Bill(); len(bill.Lines) != 1 || bill.Lines[0].Quantity != 9 {
		t.Fatalf("bill %+v", bill)
	}
}

func TestFaultsAreDecidedByTheSeedAndNotByTheOrderOfCalls(t *testing.T) {
	t.Parallel()
	run := func(backwards bool) (map[string]string, map[string]int) {
		w := setup(t, simulator.Options{Seed: 11})
		b := w.buy(simulator.Purchase{Habits: absent()})
		w.advance(20 * time.Hour)
		outcome := map[string]string{}
		for i := range 60 {
			if backwards {
				i = 59 - i
			}
			hour, dim := start.Add(time.Duration(i/3+1)*time.Hour).Add(-time.Hour), []string{"active_user", "api_request", "tagged_resource"}[i%3]
			r := record(b, hour, dim, int32(i))
			for try := range 4 {
				out, err := w.meter(r)
				got := code(err)
				if err == nil && len(out.UnprocessedRecords) > 0 {
					got = "unprocessed"
				} else if err == nil {
					got = string(out.Results[0].Status)
				}
				outcome[fmt.Sprint(hour.Hour(), dim, try)] = got
			}
		}
		return outcome, w.sim.Faults()
	}
	forwards, counts := run(false)
	back, countsBack := run(true)
	if diff := cmp.Diff(forwards, back); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(counts, countsBack); diff != "" {
		t.Error(diff)
	}
	for _, k := range []simulator.Kind{simulator.KindThrottle, simulator.Kind5xx, simulator.KindAcceptThenClose, simulator.KindUnprocessed, simulator.KindDuplicateAnswer} {
		if counts[string(k)] == 0 {
			t.Errorf("240 calls did not meet %s: %v", k, counts)
		}
	}
}

func TestOnAnswerComesBeforeAndAfterTheAnswer(t *testing.T) {
	t.Parallel()
	phases := make(chan string, 8)
	w := setup(t, simulator.Options{Weather: simulator.WeatherGood, OnAnswer: func(op, phase string) {
		if op == "BatchMeterUsage" {
			phases <- phase
		}
	}})
	b := w.buy(simulator.Purchase{Habits: absent()})
	w.advance(time.Hour)
	if _, err := w.meter(record(b, start, "active_user", 1)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for _, want := range []string{"received", "answered"} {
		select {
		case got := <-phases:
			if got != want {
				t.Errorf("phase %s, want %s", got, want)
			}
		case <-ctx.Done():
			t.Fatalf("phase %s never came", want)
		}
	}
}
