package simulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Codes of google.rpc.Status.
const (
	rpcInvalidArgument    = 3
	rpcNotFound           = 5
	rpcPermissionDenied   = 7
	rpcFailedPrecondition = 9
	rpcInternal           = 13
	rpcUnavailable        = 14
)

const serviceConfig = "2026-11-01r0"

// gcpOperation is one accepted report of an operation.
type gcpOperation struct {
	id          string
	entitlement *gcpEntitlement
	from, to    time.Time
	values      map[string]int64 // by metric id
	at          time.Time
}

// operationWire is an operation as both clients write it. What marketplace usage never has is read and left alone.
type operationWire struct {
	OperationID     string            `json:"operationId"`
	OperationName   string            `json:"operationName"`
	ConsumerID      string            `json:"consumerId"`
	StartTime       string            `json:"startTime"`
	EndTime         string            `json:"endTime"`
	MetricValueSets []metricSet       `json:"metricValueSets"`
	UserLabels      map[string]string `json:"userLabels"`
	Labels          map[string]string `json:"labels"`
	LogEntries      json.RawMessage   `json:"logEntries"`
	Importance      json.RawMessage   `json:"importance"`
	Resources       json.RawMessage   `json:"resources"`
	TraceSpans      json.RawMessage   `json:"traceSpans"`
	QuotaProperties json.RawMessage   `json:"quotaProperties"`
	Extensions      json.RawMessage   `json:"extensions"`
}

type metricSet struct {
	MetricName   string        `json:"metricName"`
	MetricValues []metricValue `json:"metricValues"`
}

type metricValue struct {
	StartTime         string            `json:"startTime"`
	EndTime           string            `json:"endTime"`
	Labels            map[string]string `json:"labels"`
	Int64Value        json.RawMessage   `json:"int64Value"` // a JSON string; a number is a known mistake
	DoubleValue       json.RawMessage   `json:"doubleValue"`
	BoolValue         json.RawMessage   `json:"boolValue"`
	StringValue       json.RawMessage   `json:"stringValue"`
	DistributionValue json.RawMessage   `json:"distributionValue"`
	MoneyValue        json.RawMessage   `json:"moneyValue"`
}

type checkRequest struct {
	ServiceName            string          `json:"serviceName"` // the gRPC library's REST transport repeats it
	ServiceConfigID        string          `json:"serviceConfigId"`
	Operation              *operationWire  `json:"operation"`
	RequestProjectSettings bool            `json:"requestProjectSettings"`
	SkipActivationCheck    bool            `json:"skipActivationCheck"`
	Extensions             json.RawMessage `json:"extensions"`
}

type reportRequest struct {
	ServiceName     string          `json:"serviceName"`
	ServiceConfigID string          `json:"serviceConfigId"`
	Operations      []operationWire `json:"operations"`
	Extensions      json.RawMessage `json:"extensions"`
}

// subject is what an operation is about, whatever its id: misfortunes go by it.
func (o *operationWire) subject() string {
	metrics := make([]string, 0, len(o.MetricValueSets))
	for _, set := range o.MetricValueSets {
		metrics = append(metrics, set.MetricName)
	}
	return o.ConsumerID + "|" + strings.Join(metrics, ",") + "|" + o.StartTime
}

func (m *gcpMarket) service(c *gcpCall, named string) (*GCPProduct, error) {
	for i := range m.o.Products {
		if p := &m.o.Products[i]; p.Service == c.resource && (named == "" || named == p.Service) {
			return p, nil
		}
	}
	return nil, gcpRefuse(http.StatusForbidden, "PERMISSION_DENIED", "Permission denied on service %q, or it does not exist.", c.resource)
}

// check says whether a consumer may be served.
func (m *gcpMarket) check(c *gcpCall) (any, error) {
	var in checkRequest
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	product, err := m.service(c, in.ServiceName)
	if err != nil {
		return nil, err
	}
	switch op := in.Operation; {
	case op == nil || op.OperationID == "" || op.ConsumerID == "":
		return nil, invalidArgument("The operation needs an operationId and a consumerId.")
	case len(op.UserLabels) > 0:
		return nil, invalidArgument("User labels are not allowed in check.")
	}
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	if err := m.weather(c); err != nil {
		return nil, err
	}
	out := map[string]any{"operationId": in.Operation.OperationID, "serviceConfigId": serviceConfig}
	e := m.consumers[in.Operation.ConsumerID]
	code := m.refusal(e, product)
	if code == "" && m.s.faults.try(KindCheckTrouble, in.Operation.ConsumerID) {
		code = []string{"SERVICE_STATUS_UNAVAILABLE", "BILLING_STATUS_UNAVAILABLE", "NAMESPACE_LOOKUP_UNAVAILABLE"}[m.s.faults.draw("trouble", e.id)%3]
	}
	if code != "" {
		out["checkErrors"] = []any{map[string]any{"code": code, "subject": in.Operation.ConsumerID, "detail": "See the code."}}
		return out, nil
	}
	number := strings.TrimPrefix(e.consumer, "project_number:")
	out["checkInfo"] = map[string]any{"consumerInfo": map[string]any{"projectNumber": number, "consumerNumber": number, "type": "PROJECT"}}
	return out, nil
}

// refusal is the code with which check refuses a consumer of a service, or "".
func (m *gcpMarket) refusal(e *gcpEntitlement, p *GCPProduct) string {
	switch {
	case e == nil || e.product != p:
		return "CONSUMER_INVALID"
	case e.account.deleted:
		return "PROJECT_DELETED"
	case !e.inService():
		return "SERVICE_NOT_ACTIVATED"
	case e.suspended:
		return "BILLING_DISABLED"
	default:
		return ""
	}
}

// report books usage. What befalls the call is decided by its one operation whose hash is smallest.
func (m *gcpMarket) report(c *gcpCall) (any, error) {
	var in reportRequest
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	product, err := m.service(c, in.ServiceName)
	if err != nil {
		return nil, err
	}
	if err := checkOperations(in.Operations); err != nil {
		return nil, err
	}
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	tries, definite := map[string]int{}, len(in.Operations) == 0
	for i := range in.Operations {
		k := in.Operations[i].subject()
		if tries[k] == 0 {
			m.attempts[k]++
			tries[k] = m.attempts[k]
			definite = definite || tries[k] >= definiteAttempt
		}
	}
	f := m.s.faults
	var fate Kind
	if !definite {
		fate = m.fate(in.Operations, tries)
	}
	switch fate {
	case KindThrottle:
		return nil, gcpRefuse(http.StatusTooManyRequests, "RESOURCE_EXHAUSTED", "Quota exceeded for quota metric 'Report requests'.")
	case Kind5xx:
		return nil, unavailable()
	}
	var failed []any
	nameless := false
	for i := range in.Operations {
		op := &in.Operations[i]
		k := op.subject()
		if fate == KindAcceptThen5xx && f.chance("landed", k) < 0.5 {
			continue
		}
		booked, code, message := m.valid(op, product)
		switch {
		case code != 0:
		case !definite && booked.entitlement.inService() && m.unlucky(KindOperationError, op, booked.entitlement, tries[k]):
			code, message = []int{rpcInternal, rpcUnavailable}[f.draw("rpc", k)%2], "The operation was not processed."
		case fate == KindNamelessError && !nameless && booked.entitlement.inService():
			nameless = true
			failed = append(failed, map[string]any{"status": map[string]any{"code": rpcInternal, "message": "An operation was not processed."}})
			continue
		}
		if code != 0 {
			failed = append(failed, map[string]any{"operationId": op.OperationID, "status": map[string]any{"code": code, "message": message}})
			continue
		}
		m.book(booked)
	}
	switch fate {
	case KindAcceptThenClose:
		return nil, errCut
	case KindAcceptThen5xx:
		return nil, unavailable()
	}
	out := map[string]any{"serviceConfigId": serviceConfig, "serviceRolloutId": "2026-11-01r0"}
	if len(failed) > 0 {
		slices.Reverse(failed) // their order is not promised
		out["reportErrors"] = failed
	}
	return out, nil
}

// fate decides what befalls a whole call, if anything.
func (m *gcpMarket) fate(ops []operationWire, tries map[string]int) Kind {
	f := m.s.faults
	deciding, low := &ops[0], uint64(math.MaxUint64)
	for i := range ops {
		if h := f.draw("deciding", ops[i].subject()); h < low {
			deciding, low = &ops[i], h
		}
	}
	e := m.consumers[deciding.ConsumerID]
	for _, kind := range []Kind{KindThrottle, Kind5xx, KindAcceptThenClose, KindAcceptThen5xx, KindNamelessError} {
		if m.unlucky(kind, deciding, e, tries[deciding.subject()]) {
			return kind
		}
	}
	return ""
}

// reportFates are what the first report for some purchase of four is sure to meet, so that a run with four shows them all.
var reportFates = map[Kind]int{KindAcceptThenClose: 0, KindAcceptThen5xx: 1, KindNamelessError: 2, KindThrottle: 3}

// unlucky decides a misfortune of an operation. The second report for every second purchase is sure to fail inside a 200.
func (m *gcpMarket) unlucky(kind Kind, op *operationWire, e *gcpEntitlement, try int) bool {
	f, subject := m.s.faults, op.subject()
	if e != nil && try == 1 {
		slot, listed := reportFates[kind]
		sure := listed && f.fated(kind, slot, e.n)
		if kind == KindOperationError {
			sure = f.fated(kind, 0, e.n) || f.fated(kind, 2, e.n)
		}
		if mark := string(kind) + "|" + e.id; sure && m.attempts[mark] == 0 {
			m.attempts[mark]++
			f.met[kind]++
			return true
		}
	}
	return f.happens(kind, subject, try)
}

// checkOperations finds what refuses a whole request.
func checkOperations(ops []operationWire) error {
	for i := range ops {
		op := &ops[i]
		if op.OperationID == "" {
			return invalidArgument("operations[%d]: operationId is required.", i)
		}
		seen := map[string]bool{}
		for _, set := range op.MetricValueSets {
			for _, v := range set.MetricValues {
				labels, err := json.Marshal(v.Labels)
				if err != nil {
					return invalidArgument("operations[%d]: labels: %v", i, err)
				}
				key := set.MetricName + string(labels)
				if seen[key] {
					return invalidArgument("operations[%d]: metric %s appears twice with the same labels.", i, set.MetricName)
				}
				seen[key] = true
				if len(v.Int64Value) > 0 && v.Int64Value[0] != '"' {
					return invalidArgument("operations[%d]: int64Value must be a string.", i)
				}
			}
		}
	}
	return nil
}

var labelValue = regexp.MustCompile(`^[a-z0-9_-]{0,63}$`)

// valid reads an operation, or says why it alone is refused.
func (m *gcpMarket) valid(op *operationWire, p *GCPProduct) (*gcpOperation, int, string) {
	e := m.consumers[op.ConsumerID]
	if e == nil || e.product != p {
		return nil, rpcNotFound, "The consumer does not exist."
	}
	out := &gcpOperation{id: op.OperationID, entitlement: e, at: m.s.now, values: map[string]int64{}}
	var err error
	if out.from, out.to, err = window(op.StartTime, op.EndTime); err != nil {
		return nil, rpcInvalidArgument, err.Error()
	}
	switch now := m.s.now; {
	case op.OperationName == "":
		return nil, rpcInvalidArgument, "operationName is required."
	case out.to.After(now):
		return nil, rpcInvalidArgument, "endTime is in the future."
	case len(op.MetricValueSets) == 0:
		return nil, rpcInvalidArgument, "The operation has no metric."
	case e.started.IsZero() || out.to.Before(e.started):
		return nil, rpcFailedPrecondition, "The service is not active for the consumer."
	case !e.cancelled.IsZero() && !out.to.Before(e.cancelled):
		return nil, rpcFailedPrecondition, "The usage is not before the cancellation."
	case !e.cancelled.IsZero() && now.After(e.cancelled.Add(gcpFinalWindow)):
		return nil, rpcFailedPrecondition, "The service is not active for the consumer."
	case e.suspended && e.cancelled.IsZero():
		return nil, rpcPermissionDenied, "Billing is disabled for the consumer."
	}
	for k, v := range op.UserLabels {
		if k == "" || !labelValue.MatchString(v) {
			return nil, rpcInvalidArgument, "A user label is not valid."
		}
	}
	for _, set := range op.MetricValueSets {
		id, ok := strings.CutPrefix(set.MetricName, p.Service+"/")
		if !ok || !m.metered(e, id, out.from, out.to) {
			return nil, rpcInvalidArgument, "Metric " + set.MetricName + " is not defined for the plan."
		}
		for i := range set.MetricValues {
			n, err := set.MetricValues[i].units()
			if err != nil {
				return nil, rpcInvalidArgument, err.Error()
			}
			out.values[id] += n
		}
	}
	return out, 0, ""
}

func window(start, end string) (from, to time.Time, err error) {
	if from, err = time.Parse(time.RFC3339Nano, start); err != nil {
		return from, to, errors.New("startTime is not valid")
	}
	if to, err = time.Parse(time.RFC3339Nano, end); err != nil {
		return from, to, errors.New("endTime is not valid")
	}
	if to.Before(from) {
		return from, to, errors.New("endTime is before startTime")
	}
	return from, to, nil
}

// metered says whether a plan in force in the window has the metric. Nothing says that Google looks; who reports the
// units of one plan under another's price has billed them wrongly, so here it does.
func (m *gcpMarket) metered(e *gcpEntitlement, metric string, from, to time.Time) bool {
	for _, span := range e.spans {
		if plan := e.product.plan(span.plan); !span.from.After(to) && (span.to.IsZero() || span.to.After(from)) && slices.Contains(plan.Metrics, metric) {
			return true
		}
	}
	return false
}

// units reads the value of an int64 metric. Corrections by negative numbers are nowhere documented.
func (v *metricValue) units() (int64, error) {
	for _, other := range [][]byte{v.DoubleValue, v.BoolValue, v.StringValue, v.DistributionValue, v.MoneyValue} {
		if len(other) > 0 {
			return 0, errors.New("the value type must be int64")
		}
	}
	n, err := strconv.ParseInt(string(bytes.Trim(v.Int64Value, `"`)), 10, 64)
	if err != nil || n < 0 {
		return 0, errors.New("int64Value is not valid")
	}
	return n, nil
}

// book keeps an operation: an id that was booked is billed once if Google knows it again, otherwise each time.
func (m *gcpMarket) book(op *gcpOperation) {
	key := op.entitlement.product.Service + "|" + op.id
	if m.o.Dedup == DedupOn && m.operations[key] != nil {
		return
	}
	m.operations[key] = op
	m.billed = append(m.billed, op)
}

func (m *gcpMarket) bill() []BillLine {
	type key struct{ entitlement, metric string }
	lines := map[key]*BillLine{}
	for _, op := range m.billed {
		for metric, n := range op.values {
			k := key{op.entitlement.id, op.entitlement.product.Service + "/" + metric}
			if lines[k] == nil {
				lines[k] = &BillLine{
					Marketplace: GCP, Purchase: k.entitlement, Account: op.entitlement.account.id,
					Product: op.entitlement.product.Service, Dimension: k.metric,
				}
			}
			lines[k].Quantity += n
			lines[k].Slots = append(lines[k].Slots, Slot{Hour: op.from.UTC(), Quantity: n, RecordID: op.id, At: op.at})
		}
	}
	out := make([]BillLine, 0, len(lines))
	for _, line := range lines {
		slices.SortFunc(line.Slots, func(a, b Slot) int {
			if c := a.Hour.Compare(b.Hour); c != 0 {
				return c
			}
			return strings.Compare(a.RecordID, b.RecordID)
		})
		out = append(out, *line)
	}
	slices.SortFunc(out, func(a, b BillLine) int {
		return strings.Compare(a.Purchase+"|"+a.Dimension, b.Purchase+"|"+b.Dimension)
	})
	return out
}
