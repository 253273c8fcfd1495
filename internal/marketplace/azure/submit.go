package azure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/money"
)

// Submit sends the batch in one batchUsageEvent call, or in none when no record
// of it can be sent. A record that cannot be written in Microsoft's form gets
// OutcomeInvalid without being sent; the others go. The call answers for each
// record by itself.
func (a *Adapter) Submit(ctx context.Context, batch []marketplace.Record) ([]marketplace.Receipt, error) {
	if err := checkBatch(batch); err != nil {
		return nil, fault.Wrap(fault.Refused, fmt.Errorf("submit azure batch of %d: nothing was sent: %w", len(batch), err), "")
	}
	receipts := make([]marketplace.Receipt, len(batch))
	at := make(map[string]int, len(batch)) // where in batch the record of a slot is
	var in struct {
		Request []usageEvent `json:"request"`
	}
	for i, r := range batch {
		u, err := fromRecord(r)
		if err != nil {
			receipts[i] = marketplace.Receipt{Key: r.Key, Outcome: marketplace.OutcomeInvalid, Detail: "not sent: " + err.Error()}
			continue
		}
		receipts[i] = marketplace.Receipt{Key: r.Key, Outcome: marketplace.OutcomeMissing}
		at[slot(r)] = i
		in.Request = append(in.Request, u)
	}
	if len(in.Request) == 0 {
		return receipts, nil
	}
	ctx, sent := withHanded(ctx)
	if err := ctx.Err(); err != nil {
		return nil, submitError(err, sent, len(batch))
	}
	var out struct {
		Result []usageResult `json:"result"`
	}
	if err := a.client.do(ctx, call{method: http.MethodPost, base: a.c.MeteringEndpoint, path: "/batchUsageEvent", body: in}, &out); err != nil {
		return nil, submitError(err, sent, len(batch))
	}
	a.fill(ctx, batch, receipts, at, out.Result)
	return receipts, nil
}

// usageEvent is one record on the wire.
type usageEvent struct {
	ResourceID string      `json:"resourceId"`
	Quantity   json.Number `json:"quantity"`
	Dimension  string      `json:"dimension"`
	Start      string      `json:"effectiveStartTime"`
	PlanID     string      `json:"planId"`
}

// usageResult is one answer; the event is repeated in it.
type usageResult struct {
	ResourceID word     `json:"resourceId"`
	Quantity   quantity `json:"quantity"`
	Dimension  word     `json:"dimension"`
	Start      instant  `json:"effectiveStartTime"`
	Status     word     `json:"status"`
	EventID    word     `json:"usageEventId"`
	Error      *struct {
		Code           word `json:"code"`
		Message        word `json:"message"`
		AdditionalInfo struct {
			Accepted *struct {
				Quantity quantity `json:"quantity"`
				EventID  word     `json:"usageEventId"`
			} `json:"acceptedMessage"`
		} `json:"additionalInfo"`
	} `json:"error"`
}

// fill writes what the answer says into the receipts. The answer's order is not
// documented, and a record it names twice with different outcomes is not known.
func (a *Adapter) fill(ctx context.Context, batch []marketplace.Record, receipts []marketplace.Receipt, at map[string]int, results []usageResult) {
	for _, u := range results {
		i, ok := at[u.slot()]
		if !ok {
			a.log.WarnContext(ctx, "metering answered about a record that was not sent", "outcome", string(u.Status))
			continue
		}
		said := toReceipt(u, batch[i].Quantity)
		said.Key = receipts[i].Key
		if had := receipts[i]; had.Outcome != marketplace.OutcomeMissing && had.Outcome != said.Outcome {
			said = marketplace.Receipt{Key: had.Key, Outcome: marketplace.OutcomeFailed, ID: had.ID, Detail: fmt.Sprintf("answered twice: %s and %s", had.Outcome, said.Outcome)}
		}
		receipts[i] = said
	}
}

func (u usageResult) slot() string {
	return slot(marketplace.Record{Identity: marketplace.VendorIdentity{Resource: string(u.ResourceID)}, Dimension: string(u.Dimension), Hour: clock.HourOf(u.Start.Time)})
}

// statuses are what the metering API says of one event ("Marketplace metering
// service APIs", 2025). All but Accepted, Duplicate and Error prove that it was
// not recorded.
var statuses = map[string]marketplace.Receipt{
	"Accepted":  {Outcome: marketplace.OutcomeAccepted},
	"Duplicate": {Outcome: marketplace.OutcomeDuplicate},
	"Expired":   {Outcome: marketplace.OutcomeExpired},
	"Error":     {Outcome: marketplace.OutcomeFailed},
	// Not found is said of what is not active too (captured answers of the Metered
	// Billing Accelerator, 2025), so neither may write a unit off: it is held, and
	// the subscription is asked for.
	"ResourceNotFound":      {Outcome: marketplace.OutcomeSuspended, StopsService: true},
	"ResourceNotActive":     {Outcome: marketplace.OutcomeSuspended, StopsService: true},
	"ResourceNotAuthorized": {Outcome: marketplace.OutcomeInvalid},
	"InvalidDimension":      {Outcome: marketplace.OutcomeInvalid},
	"InvalidQuantity":       {Outcome: marketplace.OutcomeInvalid},
	"BadArgument":           {Outcome: marketplace.OutcomeInvalid},
}

// toReceipt compares, where the slot was taken, what it holds with what we sent:
// equal is our own earlier try, or somebody's who writes the same.
func toReceipt(u usageResult, sent string) marketplace.Receipt {
	out, ok := statuses[string(u.Status)]
	if !ok {
		return marketplace.Receipt{Outcome: marketplace.OutcomeFailed, Detail: fmt.Sprintf("unknown status %.80q", u.Status)}
	}
	out.Detail = string(u.Status)
	if u.Error != nil && u.Error.Message != "" {
		out.Detail = fmt.Sprintf("%s: %.200s", u.Status, u.Error.Message)
	}
	switch out.Outcome {
	case marketplace.OutcomeAccepted:
		out.ID, out.Quantity = string(u.EventID), string(u.Quantity)
	case marketplace.OutcomeDuplicate:
		if u.Error == nil || u.Error.AdditionalInfo.Accepted == nil || u.Error.AdditionalInfo.Accepted.Quantity == "" {
			return out // the quantity beside the status is ours, repeated
		}
		held := u.Error.AdditionalInfo.Accepted
		out.ID, out.Quantity, out.Detail = string(held.EventID), string(held.Quantity), "Duplicate: holds what was sent"
		if mine, err := amount(sent); err != nil || string(mine) != out.Quantity {
			out.Detail = fmt.Sprintf("Duplicate: holds %s, %s was sent", out.Quantity, sent)
		}
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
		s := slot(r)
		if slots[s] {
			return fmt.Errorf("slot %s is in the batch twice", s)
		}
		slots[s] = true
	}
	return nil
}

// fromRecord writes a record in Microsoft's form, the same for every sending.
func fromRecord(r marketplace.Record) (usageEvent, error) {
	errs := missing(r.Identity)
	if r.Dimension == "" {
		errs = append(errs, errors.New("dimension: want one"))
	}
	if r.Hour.IsZero() || r.Part != 0 {
		errs = append(errs, fmt.Errorf("hour %s, part %d: want an hour and no parts", r.Hour, r.Part))
	}
	n, err := amount(r.Quantity)
	if err != nil {
		errs = append(errs, err)
	}
	return usageEvent{
		ResourceID: r.Identity.Resource, Quantity: n, Dimension: r.Dimension, Start: startOf(r).Format("2006-01-02T15:04:05"), PlanID: r.Identity.Plan,
	}, errors.Join(errs...)
}

// startOf is when the use began: in the hour in which a subscription began that
// is after its start, because usage from before is not taken. In whole seconds,
// rounded up inside the hour.
func startOf(r marketplace.Record) time.Time {
	at := r.From.UTC().Add(time.Second - time.Nanosecond).Truncate(time.Second)
	if !r.Hour.Contains(at) {
		return r.Hour.Start()
	}
	return at
}

// amount reads decimal text as a quantity that Microsoft takes: more than 0, and
// with no more digits than a double holds.
func amount(text string) (json.Number, error) {
	const scale = 6
	n, err := money.Parse(text, scale)
	if err != nil || n <= 0 || n > maxQuantity*1_000_000 || strings.HasPrefix(text, "+") {
		return "", fmt.Errorf("quantity %q: want more than 0, at most %d, and at most %d decimals", text, maxQuantity, scale)
	}
	digits := fmt.Sprintf("%d.%06d", n/1_000_000, n%1_000_000)
	return json.Number(strings.TrimRight(strings.TrimRight(digits, "0"), ".")), nil
}
