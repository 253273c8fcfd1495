package simulator

import (
	"cmp"
	"encoding/json"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// slotKey is what AWS de-duplicates by in this mode: account, licence, dimension and UTC hour.
type slotKey struct {
	account, licence, dimension string
	hour                        time.Time
}

func (k slotKey) String() string {
	return k.account + "|" + k.licence + "|" + k.dimension + "|" + k.hour.Format(time.RFC3339)
}

// slot is an accepted record: the first one written wins.
type slot struct {
	product  string
	quantity int64
	id       string
	at       time.Time
}

type usageRecord struct {
	Timestamp            *stamp            `json:"Timestamp,omitempty"`
	CustomerIdentifier   string            `json:"CustomerIdentifier,omitempty"`
	Dimension            string            `json:"Dimension,omitempty"`
	Quantity             *int64            `json:"Quantity,omitempty"`
	UsageAllocations     []usageAllocation `json:"UsageAllocations,omitempty"`
	CustomerAWSAccountID string            `json:"CustomerAWSAccountId,omitempty"`
	LicenseArn           string            `json:"LicenseArn,omitempty"`
}

type usageAllocation struct {
	AllocatedUsageQuantity *int64 `json:"AllocatedUsageQuantity,omitempty"`
	Tags                   []tag  `json:"Tags,omitempty"`
}

type tag struct {
	Key   string `json:"Key"`
	Value string `json:"Value"`
}

func (r usageRecord) quantity() int64 {
	if r.Quantity == nil {
		return 0
	}
	return *r.Quantity
}

func (r usageRecord) key() slotKey {
	k := slotKey{account: r.CustomerAWSAccountID, licence: r.LicenseArn, dimension: r.Dimension}
	if r.Timestamp != nil {
		k.hour = r.Timestamp.UTC().Truncate(time.Hour)
	}
	return k
}

type usageResult struct {
	UsageRecord      usageRecord `json:"UsageRecord"`
	MeteringRecordID string      `json:"MeteringRecordId,omitempty"`
	Status           string      `json:"Status"`
}

type batchOutput struct {
	Results            []usageResult `json:"Results"`
	UnprocessedRecords []usageRecord `json:"UnprocessedRecords"`
}

func (m *awsMarket) resolveCustomer(c *call) (any, error) {
	var in struct {
		RegistrationToken string `json:"RegistrationToken"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	t, ok := m.tokens[in.RegistrationToken]
	if !ok {
		return nil, refuse("InvalidTokenException", "Registration token is invalid.")
	}
	if f := m.s.faults; !m.resolved[t.n] && f.fated(KindTokenFault, 3, t.n) {
		f.forced = append(f.forced, Force{Kind: KindTokenFault, Subject: in.RegistrationToken, Times: 1})
	}
	m.resolved[t.n] = true
	if err := m.weather(KindTokenFault, in.RegistrationToken, "InternalServiceErrorException"); err != nil {
		return nil, err
	}
	if !m.s.now.Before(t.until) {
		return nil, refuse("ExpiredTokenException", "The submitted registration token has expired.")
	}
	// No CustomerIdentifier: this is a listing of the concurrent-agreements kind. No agreement and no offer either.
	return map[string]any{
		"CustomerAWSAccountId": t.licence.account, "LicenseArn": t.licence.arn, "ProductCode": t.licence.product.Code,
	}, nil
}

func (m *awsMarket) batchMeterUsage(c *call) (any, error) {
	var in struct {
		ProductCode  *string       `json:"ProductCode"`
		UsageRecords []usageRecord `json:"UsageRecords"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if in.UsageRecords == nil || len(in.UsageRecords) > 25 {
		return nil, refuse("ValidationException", "1 validation error detected: Value at 'usageRecords' failed to satisfy constraint: Member must have length less than or equal to 25")
	}
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	tries := make(map[slotKey]int, len(in.UsageRecords))
	definite := false
	for _, r := range in.UsageRecords {
		if k := r.key(); tries[k] == 0 {
			m.attempts[k]++
			tries[k] = m.attempts[k]
			definite = definite || tries[k] >= definiteAttempt
		}
	}
	bad, cut := m.checkBatch(in.ProductCode, in.UsageRecords), false
	if !definite && len(tries) > 0 {
		f, k := m.s.faults, m.deciding(tries)
		switch {
		case f.happens(KindThrottle, k.String(), tries[k]):
			return nil, refuse("ThrottlingException", "Rate exceeded")
		case f.happens(Kind5xx, k.String(), tries[k]):
			return nil, &awsError{status: http.StatusInternalServerError, code: "InternalServiceErrorException", message: "try again"}
		}
		cut = bad == nil && f.happens(KindAcceptThenClose, k.String(), tries[k])
	}
	if bad != nil {
		return nil, bad
	}
	out := batchOutput{Results: []usageResult{}, UnprocessedRecords: []usageRecord{}}
	for _, r := range in.UsageRecords {
		k := r.key()
		if !definite && m.s.faults.happens(KindUnprocessed, k.String(), tries[k]) {
			out.UnprocessedRecords = append(out.UnprocessedRecords, r)
			continue
		}
		out.Results = append(out.Results, m.meter(k, r, tries[k]))
	}
	if cut {
		return nil, errCut
	}
	// Results are not promised in input order, so they never come in it.
	slices.SortFunc(out.Results, func(a, b usageResult) int {
		return cmp.Compare(m.s.faults.draw("order", a.UsageRecord.key().String()), m.s.faults.draw("order", b.UsageRecord.key().String()))
	})
	return out, nil
}

// deciding is the record of a batch whose hash is smallest: what befalls the call is decided from it.
func (m *awsMarket) deciding(tries map[slotKey]int) slotKey {
	var best slotKey
	low := uint64(math.MaxUint64)
	for k := range tries {
		if h := m.s.faults.draw("deciding", k.String()); h <= low {
			best, low = k, h
		}
	}
	return best
}

// meter books one valid record: first write wins.
func (m *awsMarket) meter(k slotKey, r usageRecord, nth int) usageResult {
	l := m.licences[r.LicenseArn]
	now := m.s.now
	switch {
	case l.suspended, l.provisioned.IsZero(), now.Before(l.provisioned), !l.to.IsZero() && now.After(l.to.Add(finalWindow)):
		return usageResult{UsageRecord: r, Status: "CustomerNotSubscribed"}
	}
	have, ok := m.slots[k]
	if !ok {
		have = &slot{product: l.product.Code, quantity: r.quantity(), id: m.s.faults.uuid("record", k.String()), at: now}
		m.slots[k] = have
		return usageResult{UsageRecord: r, MeteringRecordID: have.id, Status: "Success"}
	}
	status := "DuplicateRecord"
	if have.quantity == r.quantity() && !m.s.faults.happens(KindDuplicateAnswer, k.String(), nth) {
		status = "Success"
	}
	return usageResult{UsageRecord: r, MeteringRecordID: have.id, Status: status}
}

// checkBatch finds the one bad record that refuses the whole batch.
func (m *awsMarket) checkBatch(productCode *string, records []usageRecord) error {
	product := ""
	for i, r := range records {
		if productCode != nil {
			if r.LicenseArn != "" {
				return refuse("InvalidProductCodeException", "ProductCode must not be sent together with LicenseArn")
			}
			if p, err := m.product(*productCode); err != nil || p.Code != *productCode {
				return refuse("InvalidProductCodeException", "The product code is not valid")
			}
		}
		if r.Timestamp == nil || r.Dimension == "" || len(r.Dimension) > 255 || r.quantity() < 0 || r.quantity() > math.MaxInt32 {
			return refuse("ValidationException", "1 validation error detected at 'usageRecords.%d.member'", i+1)
		}
		if r.CustomerIdentifier != "" {
			return refuse("InvalidCustomerIdentifierException", "CustomerIdentifier is not accepted for this product")
		}
		l := m.licences[r.LicenseArn]
		if l == nil || l.account != r.CustomerAWSAccountID {
			return refuse("InvalidLicenseException", "The license is not valid for the customer")
		}
		if product == "" {
			product = l.product.Code
		}
		if l.product.Code != product {
			return refuse("InvalidLicenseException", "All records of a request must be for one product")
		}
		if err := m.checkTime(r.Timestamp.Time, l); err != nil {
			return err
		}
		if !slices.Contains(l.product.Dimensions, r.Dimension) {
			return refuse("InvalidUsageDimensionException", "Usage dimension: %s not found", r.Dimension)
		}
		if err := checkAllocations(r); err != nil {
			return err
		}
	}
	return nil
}

// checkTime applies the window (24 hours back, previous month until 06:00 UTC on the 1st, nothing in the future) and the
// period of the licence, both of which count whole hours.
func (m *awsMarket) checkTime(t time.Time, l *licence) error {
	now := m.s.now
	month := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
	if t.After(now) || t.Before(now.Add(-24*time.Hour)) || t.Before(month) && !now.Before(month.Add(6*time.Hour)) {
		return refuse("TimestampOutOfBoundsException", "Timestamp %s is out of bounds", t.Format(time.RFC3339))
	}
	hour := t.Truncate(time.Hour)
	if hour.Before(l.from.Truncate(time.Hour)) || !l.to.IsZero() && !hour.Before(l.to) {
		return refuse("InvalidLicenseException", "The usage is outside the period of the license")
	}
	return nil
}

var tagPattern = regexp.MustCompile(`^[a-zA-Z0-9+ -=._:/@]+$`)

func checkAllocations(r usageRecord) error {
	if r.UsageAllocations == nil {
		return nil
	}
	if n := len(r.UsageAllocations); n < 1 || n > 2500 {
		return refuse("InvalidUsageAllocationsException", "want 1 to 2500 usage allocations, got %d", n)
	}
	var sum int64
	seen := map[string]bool{}
	for _, a := range r.UsageAllocations {
		if a.AllocatedUsageQuantity == nil || *a.AllocatedUsageQuantity < 0 || *a.AllocatedUsageQuantity > math.MaxInt32 {
			return refuse("InvalidUsageAllocationsException", "AllocatedUsageQuantity must be 0 to 2147483647")
		}
		sum += *a.AllocatedUsageQuantity
		if a.Tags != nil && (len(a.Tags) < 1 || len(a.Tags) > 5) {
			return refuse("InvalidTagException", "want 1 to 5 tags, got %d", len(a.Tags))
		}
		for _, t := range a.Tags {
			if len(t.Key) > 100 || len(t.Value) > 256 || !tagPattern.MatchString(t.Key) || !tagPattern.MatchString(t.Value) {
				return refuse("InvalidTagException", "a tag key or value is not valid")
			}
		}
		if set := tagSet(a.Tags); seen[set] {
			return refuse("InvalidUsageAllocationsException", "usage allocations must have distinct tag sets")
		} else {
			seen[set] = true
		}
	}
	if sum != r.quantity() {
		return refuse("InvalidUsageAllocationsException", "usage allocations sum to %d, quantity is %d", sum, r.quantity())
	}
	return nil
}

func tagSet(tags []tag) string {
	sorted := slices.Clone(tags)
	slices.SortFunc(sorted, func(a, b tag) int { return strings.Compare(a.Key, b.Key) })
	b, err := json.Marshal(sorted)
	if err != nil {
		return ""
	}
	return string(b)
}

func (m *awsMarket) bill() []BillLine {
	lines := map[slotKey]*BillLine{}
	for k, slot := range m.slots {
		of := k
		of.hour = time.Time{}
		line := lines[of]
		if line == nil {
			line = &BillLine{
				Marketplace: AWS, Purchase: k.licence, Account: k.account, LicenseArn: k.licence,
				Product: slot.product, Dimension: k.dimension,
			}
			lines[of] = line
		}
		line.Quantity += slot.quantity
		line.Slots = append(line.Slots, Slot{Hour: k.hour, Quantity: slot.quantity, RecordID: slot.id, At: slot.at})
	}
	keys := make([]slotKey, 0, len(lines))
	for k, line := range lines {
		keys = append(keys, k)
		slices.SortFunc(line.Slots, func(a, b Slot) int { return a.Hour.Compare(b.Hour) })
	}
	slices.SortFunc(keys, func(a, b slotKey) int { return strings.Compare(a.String(), b.String()) })
	out := make([]BillLine, 0, len(keys))
	for _, k := range keys {
		out = append(out, *lines[k])
	}
	return out
}
