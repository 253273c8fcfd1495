package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/marketplacemetering"
	"github.com/aws/aws-sdk-go-v2/service/marketplacemetering/types"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// Submit sends the batch in one BatchMeterUsage call, or in none when no record
// of it can be sent. A record that cannot be written in AWS's form gets
// OutcomeInvalid without being sent; the others go. An exception about one record
// refuses the whole call: Refused, with a marketplace.Refusal that says what a
// record that stood alone in it suffers.
func (a *Adapter) Submit(ctx context.Context, batch []marketplace.Record) ([]marketplace.Receipt, error) {
	if err := checkBatch(batch); err != nil {
		return nil, fault.Wrap(fault.Refused, fmt.Errorf("submit aws batch of %d: nothing was sent: %w", len(batch), err), "")
	}
	receipts := make([]marketplace.Receipt, len(batch))
	at := make(map[slotKey]int, len(batch)) // where in batch the record of a slot is
	var in marketplacemetering.BatchMeterUsageInput
	for i, r := range batch {
		u, err := fromRecord(r)
		if err != nil {
			receipts[i] = marketplace.Receipt{Key: r.Key, Outcome: marketplace.OutcomeInvalid, Detail: "not sent: " + err.Error()}
			continue
		}
		receipts[i] = marketplace.Receipt{Key: r.Key, Outcome: marketplace.OutcomeMissing}
		at[keyOf(u)] = i
		in.UsageRecords = append(in.UsageRecords, u)
	}
	if len(in.UsageRecords) == 0 {
		return receipts, nil
	}
	if n := wireBytes(in.UsageRecords); n >= batchBytes {
		return nil, fault.Wrap(fault.Refused, fmt.Errorf("submit aws batch of %d: nothing was sent: it has %d bytes, AWS takes fewer than %d", len(batch), n, batchBytes), "")
	}
	ctx, sent := withHanded(ctx)
	if err := ctx.Err(); err != nil {
		return nil, submitError(err, sent, len(batch))
	}
	out, err := a.metering.BatchMeterUsage(ctx, &in)
	if err != nil {
		return nil, submitError(err, sent, len(batch))
	}
	a.fill(ctx, receipts, at, out)
	return receipts, nil
}

// fill writes what the answer says into the receipts. The answer's order means
// nothing, and a record it names twice with different outcomes is not known.
func (a *Adapter) fill(ctx context.Context, receipts []marketplace.Receipt, at map[slotKey]int, out *marketplacemetering.BatchMeterUsageOutput) {
	put := func(u *types.UsageRecord, said marketplace.Receipt) {
		i, ok := -1, false
		if u != nil {
			i, ok = at[keyOf(*u)]
		}
		if !ok {
			a.log.WarnContext(ctx, "metering answered about a record that was not sent", "outcome", string(said.Outcome))
			return
		}
		said.Key = receipts[i].Key
		if had := receipts[i]; had.Outcome != marketplace.OutcomeMissing && had.Outcome != said.Outcome {
			said = marketplace.Receipt{Key: had.Key, Outcome: marketplace.OutcomeFailed, ID: had.ID, Detail: fmt.Sprintf("answered twice: %s and %s", had.Outcome, said.Outcome)}
		}
		receipts[i] = said
	}
	for _, r := range out.Results {
		put(r.UsageRecord, toReceipt(r))
	}
	for _, u := range out.UnprocessedRecords {
		put(&u, marketplace.Receipt{Outcome: marketplace.OutcomeUnprocessed, Detail: "UnprocessedRecords"})
	}
}

func toReceipt(r types.UsageRecordResult) marketplace.Receipt {
	out := marketplace.Receipt{ID: awssdk.ToString(r.MeteringRecordId), Detail: string(r.Status)}
	switch r.Status {
	case types.UsageRecordResultStatusSuccess:
		out.Outcome = marketplace.OutcomeAccepted
		if r.UsageRecord != nil && r.UsageRecord.Quantity != nil {
			out.Quantity = strconv.FormatInt(int64(*r.UsageRecord.Quantity), 10)
		}
	case types.UsageRecordResultStatusDuplicateRecord:
		out.Outcome = marketplace.OutcomeDuplicate // the echoed quantity is ours, not the stored one
	case types.UsageRecordResultStatusCustomerNotSubscribed:
		out.Outcome, out.StopsService = marketplace.OutcomeNotSubscribed, true
	default:
		out.Outcome, out.Detail = marketplace.OutcomeFailed, fmt.Sprintf("unknown status %q", r.Status)
	}
	return out
}

// checkBatch refuses what the caller must not ask for in one call.
func checkBatch(batch []marketplace.Record) error {
	if len(batch) == 0 || len(batch) > batchRecords {
		return fmt.Errorf("a call takes 1 to %d records", batchRecords)
	}
	slots := map[string]bool{}
	for _, r := range batch {
		if r.Product != batch[0].Product {
			return fmt.Errorf("a call takes one product, not %q and %q", batch[0].Product, r.Product)
		}
		if s := slot(r); slots[s] {
			return fmt.Errorf("slot %s is in the batch twice", s)
		} else {
			slots[s] = true
		}
	}
	return nil
}

// slotKey is what a result is matched by.
type slotKey struct {
	account, licence, dimension string
	hour                        int64
}

func keyOf(u types.UsageRecord) slotKey {
	return slotKey{
		awssdk.ToString(u.CustomerAWSAccountId), licenceID(awssdk.ToString(u.LicenseArn)), awssdk.ToString(u.Dimension),
		awssdk.ToTime(u.Timestamp).UTC().Truncate(time.Hour).Unix(),
	}
}

// fromRecord writes a record in AWS's form. The timestamp is the start of the
// hour, so that a second sending is the same record.
func fromRecord(r marketplace.Record) (types.UsageRecord, error) {
	errs := missing(r.Identity)
	if r.Dimension == "" || len(r.Dimension) > 255 {
		errs = append(errs, fmt.Errorf("dimension %q: want 1 to 255 characters", r.Dimension))
	}
	if r.Hour.IsZero() || r.Part != 0 {
		errs = append(errs, fmt.Errorf("hour %s, part %d: want an hour and no parts", r.Hour, r.Part))
	}
	quantity, err := whole(r.Quantity)
	if err != nil {
		errs = append(errs, err)
	}
	shares, err := fromAllocations(r.Allocations, quantity)
	if err != nil {
		errs = append(errs, err)
	}
	return types.UsageRecord{
		Timestamp: awssdk.Time(r.Hour.Start()), Dimension: awssdk.String(r.Dimension), Quantity: awssdk.Int32(quantity),
		CustomerAWSAccountId: awssdk.String(r.Identity.Account), LicenseArn: awssdk.String(r.Identity.License), UsageAllocations: shares,
	}, errors.Join(errs...)
}

func fromAllocations(shares []marketplace.Allocation, quantity int32) ([]types.UsageAllocation, error) {
	if len(shares) == 0 {
		return nil, nil
	}
	var sum int64
	out := make([]types.UsageAllocation, 0, len(shares))
	for _, s := range shares {
		n, err := whole(s.Quantity)
		if err != nil {
			return nil, fmt.Errorf("allocation: %w", err)
		}
		sum += int64(n)
		var tags []types.Tag
		for k, v := range s.Tags {
			tags = append(tags, types.Tag{Key: awssdk.String(k), Value: awssdk.String(v)})
		}
		slices.SortFunc(tags, func(a, b types.Tag) int { return strings.Compare(*a.Key, *b.Key) })
		out = append(out, types.UsageAllocation{AllocatedUsageQuantity: awssdk.Int32(n), Tags: tags})
	}
	if sum != int64(quantity) {
		return nil, fmt.Errorf("allocations sum to %d, the record to %d", sum, quantity)
	}
	return out, nil
}

// whole reads decimal text as a quantity AWS takes: whole, 0 to 2147483647.
func whole(text string) (int32, error) {
	digits, fraction, _ := strings.Cut(text, ".")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt32 || strings.Trim(fraction, "0") != "" || strings.HasPrefix(digits, "+") || strings.HasPrefix(digits, "-") {
		return 0, fmt.Errorf("quantity %q: want a whole number from 0 to %d", text, math.MaxInt32)
	}
	return int32(n), nil
}

// wireBytes bounds the size of the request from above: names, punctuation and
// numbers rounded up, text as long as JSON can make it.
func wireBytes(records []types.UsageRecord) int {
	n := 64
	for _, r := range records {
		n += 256 + 6*len(*r.Dimension) + len(*r.CustomerAWSAccountId) + 6*len(*r.LicenseArn)
		for _, s := range r.UsageAllocations {
			n += 64
			for _, t := range s.Tags {
				n += 32 + quoted(*t.Key) + quoted(*t.Value)
			}
		}
	}
	return n
}

// quoted is the length of s in JSON.
func quoted(s string) int {
	b, err := json.Marshal(s)
	if err != nil {
		return 6 * len(s)
	}
	return len(b)
}
