package gcp

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/api/servicecontrol/v1"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// operations is the namespace of operation ids. It never changes: another one would
// give usage that Google may have a second id.
var operations = uuid.MustParse("6b1f3a52-0c84-4e5d-9b7e-2f6d8c41a907")

// operationName is reserved, and the server requires it (UBB, 2026-08).
const operationName = "tailmarket hourly usage"

// operationID is the same for the same usage, for ever: UUIDv5 of the record's key.
func operationID(key string) string { return uuid.NewSHA1(operations, []byte(key)).String() }

// Submit checks each customer of the batch and sends the batch in one report, or in
// none when nothing of it can be reported. A record that cannot be written in Google's form gets
// OutcomeInvalid without being sent; the others go. A final record goes without a
// check, which would say no. A 200 is no success: each operation may have failed by
// itself. Allocations are not sent: one operation has one set of labels.
func (a *Adapter) Submit(ctx context.Context, batch []marketplace.Record) ([]marketplace.Receipt, error) {
	if err := checkBatch(batch); err != nil {
		return nil, fault.Wrap(fault.Refused, fmt.Errorf("submit gcp batch of %d: nothing was sent: %w", len(batch), err), "")
	}
	if err := ctx.Err(); err != nil {
		return nil, submitError(err, new(handed), len(batch))
	}
	s := submission{a: a, batch: batch, receipts: make([]marketplace.Receipt, len(batch)), at: map[string]int{}, how: standings{}}
	s.write()
	s.check(ctx)
	if len(s.in.Operations) == 0 {
		return s.receipts, nil
	}
	reporting, sent := withHanded(ctx)
	if err := ctx.Err(); err != nil {
		return nil, submitError(err, sent, len(batch))
	}
	out, err := a.control.Services.Report(batch[0].Identity.ProductCode, &s.in).Context(reporting).Do()
	if err != nil {
		return nil, submitError(err, sent, len(batch))
	}
	s.fill(ctx, out.ReportErrors)
	return s.receipts, nil
}

// checkBatch refuses what the caller must not ask for in one call.
func checkBatch(batch []marketplace.Record) error {
	if len(batch) == 0 || len(batch) > batchRecords {
		return fmt.Errorf("a call takes 1 to %d records", batchRecords)
	}
	keys := map[string]bool{}
	for _, r := range batch {
		if r.Identity.ProductCode != batch[0].Identity.ProductCode || !serviceName.MatchString(r.Identity.ProductCode) {
			return fmt.Errorf("a call takes one service, not %q and %q", batch[0].Identity.ProductCode, r.Identity.ProductCode)
		}
		if keys[r.Key] || r.Key == "" {
			return fmt.Errorf("key %q is empty or in the batch twice", r.Key)
		}
		keys[r.Key] = true
	}
	return nil
}

// submission is one batch on its way.
type submission struct {
	a        *Adapter
	batch    []marketplace.Record
	receipts []marketplace.Receipt
	in       servicecontrol.ReportRequest
	at       map[string]int // where in batch the record of an operation is
	how      standings
}

// write makes the operations.
func (s *submission) write() {
	for i, r := range s.batch {
		l, _ := s.a.c.byService(r.Identity.ProductCode)
		o, err := fromRecord(r, l.Double)
		if err != nil {
			s.receipts[i] = marketplace.Receipt{Key: r.Key, Outcome: marketplace.OutcomeInvalid, Detail: "not sent: " + err.Error()}
			continue
		}
		s.receipts[i] = marketplace.Receipt{Key: r.Key, Outcome: marketplace.OutcomeMissing, ID: o.OperationId}
		s.at[o.OperationId] = i
		s.in.Operations = append(s.in.Operations, o)
	}
}

// check takes out of the report what Google says not to report.
func (s *submission) check(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, s.a.look)
	defer cancel()
	service := s.batch[0].Identity.ProductCode
	var ask []*servicecontrol.Operation
	for _, o := range s.in.Operations {
		if !s.batch[s.at[o.OperationId]].Final {
			ask = append(ask, o)
		}
	}
	codes := s.a.checks(ctx, service, ask)
	kept := s.in.Operations[:0]
	for _, o := range s.in.Operations {
		i := s.at[o.OperationId]
		r := s.batch[i]
		code := codes[o.ConsumerId]
		if code == "" || r.Final {
			kept = append(kept, o)
			continue
		}
		how := unread
		if stops(code) {
			how = s.how.of(ctx, s.a, r.Identity.License)
		}
		receipt, aside := unchecked(code, how)
		if !aside {
			s.receipts[i].StopsService = true
			kept = append(kept, o)
			continue
		}
		receipt.Key = r.Key
		s.receipts[i] = receipt
		delete(s.at, o.OperationId)
	}
	s.in.Operations = kept
}

// fill writes what the answer says into the receipts of what was sent. An error that
// names none of it leaves unknown what became of the rest.
func (s *submission) fill(ctx context.Context, errs []*servicecontrol.ReportError) {
	ctx, cancel := context.WithTimeout(ctx, s.a.look)
	defer cancel()
	rest := marketplace.Receipt{Outcome: marketplace.OutcomeAccepted}
	failed := map[int][]*servicecontrol.ReportError{}
	for _, e := range errs {
		if i, ok := s.at[e.OperationId]; ok {
			failed[i] = append(failed[i], e)
			continue
		}
		s.a.log.WarnContext(ctx, "report answered about an operation that was not sent", "operation", e.OperationId)
		rest = marketplace.Receipt{Outcome: marketplace.OutcomeFailed, Detail: "the answer has an error that names no operation that was sent: " + words(e.Status)}
	}
	for id, i := range s.at {
		said := rest
		if of := failed[i]; len(of) > 0 {
			said = s.refused(ctx, s.batch[i], of[0].Status)
			for _, again := range of[1:] {
				if other := s.refused(ctx, s.batch[i], again.Status); other.Outcome != said.Outcome {
					said = marketplace.Receipt{Outcome: marketplace.OutcomeFailed, Detail: fmt.Sprintf("answered twice: %s and %s", said.Detail, other.Detail)}
				}
			}
		}
		said.Key, said.ID = s.batch[i].Key, id
		said.StopsService = said.StopsService || s.receipts[i].StopsService
		s.receipts[i] = said
	}
}

// Codes of google.rpc.Code.
var codeNames = []string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED",
	"FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

func words(s *servicecontrol.Status) string {
	if s == nil {
		return "an error without a status"
	}
	name := strconv.FormatInt(s.Code, 10)
	if s.Code >= 0 && s.Code < int64(len(codeNames)) {
		name = codeNames[s.Code]
	}
	return strings.TrimSuffix(name+": "+brief(s.Message), ": ")
}

// refused is the receipt of an operation that failed: an error with its id says that
// it was not recorded (REST reference "services.report"). What ended is told from
// what a person must mend by asking how the purchase stands.
func (s *submission) refused(ctx context.Context, r marketplace.Record, status *servicecontrol.Status) marketplace.Receipt {
	out := marketplace.Receipt{Outcome: marketplace.OutcomeFailed, Detail: words(status)}
	if status == nil || status.Code <= 0 || status.Code >= int64(len(codeNames)) {
		return out
	}
	switch codeNames[status.Code] {
	case "ALREADY_EXISTS":
		out.Outcome = marketplace.OutcomeDuplicate
	case "OUT_OF_RANGE":
		out.Outcome = marketplace.OutcomeExpired
	case "UNIMPLEMENTED":
		out.Outcome = marketplace.OutcomeInvalid
	case "INVALID_ARGUMENT", "NOT_FOUND":
		out.Outcome = marketplace.OutcomeInvalid
		if s.how.of(ctx, s.a, r.Identity.License) == over {
			out.Outcome, out.StopsService = marketplace.OutcomeNotSubscribed, true
		}
	case "PERMISSION_DENIED", "FAILED_PRECONDITION":
		out.Outcome, out.StopsService = marketplace.OutcomeSuspended, true
		if s.how.of(ctx, s.a, r.Identity.License) == over {
			out.Outcome = marketplace.OutcomeNotSubscribed
		}
	default:
		out.Outcome = marketplace.OutcomeUnprocessed
	}
	return out
}

// fromRecord writes a record in Google's form; it depends on the record alone.
func fromRecord(r marketplace.Record, double bool) (*servicecontrol.Operation, error) {
	errs := missing(r.Identity)
	if r.Dimension == "" || len(r.Dimension) > maxMetric {
		errs = append(errs, fmt.Errorf("dimension %q: want 1 to %d characters", r.Dimension, maxMetric))
	}
	if r.From.IsZero() || !r.From.Before(r.To) || r.To.Sub(r.From) > maxWindow {
		errs = append(errs, fmt.Errorf("window %s to %s: want one of at most an hour", r.From, r.To))
	}
	value, err := quantity(r.Quantity, double)
	if err != nil {
		errs = append(errs, err)
	}
	to := r.To
	if r.Final {
		// Nothing may be dated at or after the end: "Best practices for usage reporting", 2026.
		if to = to.Add(-time.Second); to.Before(r.From) {
			to = r.From
		}
	}
	return &servicecontrol.Operation{
		OperationId: operationID(r.Key), OperationName: operationName, ConsumerId: r.Identity.Customer,
		StartTime: r.From.UTC().Format(time.RFC3339Nano), EndTime: to.UTC().Format(time.RFC3339Nano),
		MetricValueSets: []*servicecontrol.MetricValueSet{{MetricName: r.Dimension, MetricValues: []*servicecontrol.MetricValue{value}}},
	}, errors.Join(errs...)
}

// quantity writes decimal text as the metric's type: a double for an INT64 metric, or
// the reverse, fails the operation.
func quantity(text string, double bool) (*servicecontrol.MetricValue, error) {
	whole, fraction, dotted := strings.Cut(text, ".")
	fraction = strings.TrimRight(fraction, "0")
	n, err := strconv.ParseInt(whole, 10, 64)
	plain := strings.Trim(whole+fraction, "0123456789") == "" && !(dotted && strings.HasSuffix(text, "."))
	if err != nil || !plain || n > maxQuantity || n == maxQuantity && fraction != "" || fraction != "" && !double {
		kind := "whole number"
		if double {
			kind = "decimal number"
		}
		return nil, fmt.Errorf("quantity %q: want a %s from 0 to %d", text, kind, int64(maxQuantity))
	}
	if !double {
		return &servicecontrol.MetricValue{Int64Value: &n}, nil
	}
	exact := strings.TrimSuffix(strconv.FormatInt(n, 10)+"."+fraction, ".")
	f, err := strconv.ParseFloat(exact, 64)
	if err != nil || strconv.FormatFloat(f, 'f', -1, 64) != exact {
		return nil, fmt.Errorf("quantity %q: a double cannot hold it exactly", text)
	}
	return &servicecontrol.MetricValue{DoubleValue: &f}, nil
}
