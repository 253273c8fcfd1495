package simulator

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

const keptSnapshots = 256

type searchInput struct {
	Catalog string `json:"catalog"`
	Filters []struct {
		Name   string   `json:"name"`
		Values []string `json:"values"`
	} `json:"filters"`
	MaxResults *int   `json:"maxResults"`
	NextToken  string `json:"nextToken"`
	Sort       *struct {
		SortBy    string `json:"sortBy"`
		SortOrder string `json:"sortOrder"`
	} `json:"sort"`
}

func invalid(field, format string, args ...any) *awsError {
	e := refuse("ValidationException", format, args...)
	e.extra = map[string]any{"reason": "INVALID_VALUE", "fields": []map[string]any{{"name": field, "message": e.message}}}
	return e
}

// get reads one agreement for an operation that names it.
func (m *awsMarket) get(c *call) (*agreement, error) {
	var in struct {
		AgreementID string `json:"agreementId"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if in.AgreementID == "" {
		return nil, invalid("agreementId", "agreementId is required")
	}
	if err := m.weather(KindReadFault, c.op+"|"+in.AgreementID, "InternalServerException"); err != nil {
		return nil, err
	}
	a, ok := m.byID[in.AgreementID]
	if !ok || a.reseller != "" { // one may read what one proposed or accepted; a channel partner proposed this
		e := refuse("ResourceNotFoundException", "Agreement %s was not found", in.AgreementID)
		e.extra = map[string]any{"resourceId": in.AgreementID, "resourceType": "Agreement"}
		return nil, e
	}
	return a, nil
}

func (m *awsMarket) describeAgreement(c *call) (any, error) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	a, err := m.get(c)
	if err != nil {
		return nil, err
	}
	out := m.summary(a)
	delete(out, "entitlements")
	delete(out, "lastUpdateTime")
	if kind, ok := out["endTimeBehaviorType"]; ok {
		out["endTimeBehavior"] = map[string]any{"type": kind, "reasonCode": out["endTimeBehaviorReasonCode"]}
	}
	delete(out, "endTimeBehaviorType")
	delete(out, "endTimeBehaviorReasonCode")
	out["estimatedCharges"] = map[string]any{"currencyCode": "USD", "agreementValue": m.committed(a)}
	return out, nil
}

// committed is the known commitment: what the contract grants, one dollar a unit; "0" for pure usage pricing.
func (m *awsMarket) committed(a *agreement) string {
	var n int64
	for _, v := range a.contract {
		n += v
	}
	return strconv.FormatInt(n, 10)
}

// summary is an agreement as SearchAgreements shows it. endTime stays out while there is none; whether a cancelled
// pay-as-you-go agreement gets one is not in the documents: here it does.
func (m *awsMarket) summary(a *agreement) map[string]any {
	out := map[string]any{
		"agreementId": a.id, "agreementType": "PurchaseAgreement", "initialAgreementId": a.initial, "status": a.status,
		"acceptor": map[string]any{"accountId": a.account}, "proposer": map[string]any{"accountId": m.s.o.SellerAccount},
		"acceptanceTime": stampOf(a.accepted), "startTime": stampOf(a.accepted), "lastUpdateTime": stampOf(a.updated),
		"proposalSummary": map[string]any{
			"offerId": a.offer, "resources": []map[string]any{{"id": a.product.ID, "type": "SaaSProduct"}},
		},
	}
	switch {
	case !a.ended.IsZero():
		out["endTime"] = stampOf(a.ended)
	case !a.end.IsZero():
		out["endTime"] = stampOf(a.end)
		out["endTimeBehaviorType"], out["endTimeBehaviorReasonCode"] = "EXPIRE", "NO_RENEWAL_TERM"
	}
	if a.provisioned {
		out["entitlements"] = []map[string]any{{"licenseArn": a.licence.arn}}
	}
	return out
}

func (m *awsMarket) getAgreementTerms(c *call) (any, error) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	a, err := m.get(c)
	if err != nil {
		return nil, err
	}
	termID := func(kind string) string { return "term-" + m.s.faults.lower(20, kind, a.id, a.offer) }
	card := make([]map[string]any, 0, len(a.prices))
	for _, d := range sortedKeys(a.prices) {
		card = append(card, map[string]any{"dimensionKey": d, "price": a.prices[d]})
	}
	terms := []map[string]any{
		{"usageBasedPricingTerm": map[string]any{
			"type": "UsageBasedPricingTerm", "id": termID("usage"), "currencyCode": "USD",
			"rateCards": []map[string]any{{"rateCard": card}},
		}},
		{"legalTerm": map[string]any{
			"type": "LegalTerm", "id": termID("legal"), "documents": []map[string]any{{"type": "StandardEula", "version": "2022-07-14"}},
		}},
		{"supportTerm": map[string]any{"type": "SupportTerm", "id": termID("support"), "refundPolicy": "No refunds."}},
	}
	if len(a.contract) > 0 {
		dims := make([]map[string]any, 0, len(a.contract))
		for _, d := range sortedKeys(a.contract) {
			dims = append(dims, map[string]any{"dimensionKey": d, "dimensionValue": a.contract[d]})
		}
		terms = append(terms, map[string]any{"configurableUpfrontPricingTerm": map[string]any{
			"type": "ConfigurableUpfrontPricingTerm", "id": termID("upfront"), "currencyCode": "USD",
			"configuration": map[string]any{"selectorValue": "P1Y", "dimensions": dims},
		}})
	}
	if !a.end.IsZero() {
		terms = append(terms, map[string]any{"validityTerm": map[string]any{
			"type": "ValidityTerm", "id": termID("validity"), "agreementStartDate": stampOf(a.accepted), "agreementEndDate": stampOf(a.end),
		}})
	}
	return map[string]any{"acceptedTerms": terms}, nil
}

func (m *awsMarket) getAgreementEntitlements(c *call) (any, error) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	a, err := m.get(c)
	if err != nil {
		return nil, err
	}
	e := map[string]any{"resource": map[string]any{"id": a.product.ID, "type": "SaaSProduct"}}
	switch {
	case a.deprovisioned:
		e["status"], e["statusReasonCode"], e["licenseArn"] = "DEPROVISIONED", "AGREEMENT_INACTIVE", a.licence.arn
	case a.provisioned:
		e["status"], e["statusReasonCode"], e["licenseArn"] = "PROVISIONED", "AGREEMENT_ACTIVE", a.licence.arn
	default:
		e["status"], e["statusReasonCode"] = "PENDING", "PROVISIONING_IN_PROGRESS"
	}
	return map[string]any{"agreementEntitlements": []any{e}}, nil
}

func (m *awsMarket) searchAgreements(c *call) (any, error) {
	var in searchInput
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	limit := 50
	if in.MaxResults != nil {
		limit = *in.MaxResults
	}
	if limit < 1 || limit > 50 {
		return nil, invalid("maxResults", "maxResults must be 1 to 50")
	}
	if in.Catalog != "" && in.Catalog != "AWSMarketplace" {
		return nil, invalid("catalog", "catalog %q is not valid", in.Catalog)
	}
	subject := fmt.Sprintf("SearchAgreements|%v|%v|%s", in.Filters, in.Sort, in.NextToken)
	if err := m.weather(KindReadFault, subject, "InternalServerException"); err != nil {
		return nil, err
	}
	// The pages of one search are cut from one list, so that an agreement which changes meanwhile is not skipped.
	name, token, _ := strings.Cut(in.NextToken, ":")
	list, ok := m.snapshots[name]
	if in.NextToken == "" {
		var err error
		if list, err = m.search(in); err != nil {
			return nil, err
		}
		name = "search-" + strconv.Itoa(m.calls)
	} else if !ok {
		return nil, invalid("nextToken", "nextToken is not valid")
	}
	from, to, next, err := m.page(subject, token, len(list), limit)
	if err != nil {
		return nil, invalid("nextToken", "nextToken is not valid")
	}
	rows := make([]map[string]any, 0, to-from)
	for _, a := range list[from:to] {
		rows = append(rows, m.summary(a))
	}
	out := map[string]any{"agreementViewSummaries": rows}
	if next != "" {
		m.keep(name, list)
		out["nextToken"] = name + ":" + next
	}
	return out, nil
}

func (m *awsMarket) keep(name string, list []*agreement) {
	if _, ok := m.snapshots[name]; !ok && len(m.snapshots) >= keptSnapshots {
		clear(m.snapshots) // searches under way get an error and start again
	}
	m.snapshots[name] = list
}

// search applies filters and sort.
func (m *awsMarket) search(in searchInput) ([]*agreement, error) {
	if len(in.Filters) > 10 {
		return nil, invalid("filters", "at most 10 filters")
	}
	var tests []func(*agreement) bool
	typed, acceptor := false, false
	for _, f := range in.Filters {
		if len(f.Values) != 1 {
			return nil, invalid("filters", "filter %s takes exactly one value", f.Name)
		}
		typed = typed || f.Name == "AgreementType"
		acceptor = acceptor || f.Name == "PartyType" && f.Values[0] == "Acceptor"
		test, err := filter(f.Name, f.Values[0])
		if err != nil {
			return nil, err
		}
		tests = append(tests, test)
	}
	if !typed {
		return nil, invalid("filters", "the AgreementType filter is required")
	}
	var out []*agreement
	for _, a := range m.agreements {
		if !acceptor && a.reseller == "" && !slices.ContainsFunc(tests, func(test func(*agreement) bool) bool { return !test(a) }) {
			out = append(out, a)
		}
	}
	key, descending := endKey, true
	if in.Sort != nil {
		switch in.Sort.SortBy {
		case "", "EndTime":
		case "StartTime":
			key = func(a *agreement) time.Time { return a.accepted }
		case "LastUpdateTime":
			key = func(a *agreement) time.Time { return a.updated }
		default:
			return nil, invalid("sort", "sortBy %q is not valid", in.Sort.SortBy)
		}
		descending = in.Sort.SortOrder != "ASCENDING"
	}
	slices.SortStableFunc(out, func(a, b *agreement) int {
		order := cmp.Or(key(a).Compare(key(b)), strings.Compare(a.id, b.id))
		if descending {
			return -order
		}
		return order
	})
	return out, nil
}

// endKey sorts agreements without an end last.
func endKey(a *agreement) time.Time {
	switch {
	case !a.ended.IsZero():
		return a.ended
	case a.end.IsZero():
		return time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	default:
		return a.end
	}
}

func filter(name, value string) (func(*agreement) bool, error) {
	equal := func(get func(*agreement) string) (func(*agreement) bool, error) {
		return func(a *agreement) bool { return get(a) == value }, nil
	}
	all := func(ok bool) (func(*agreement) bool, error) { return func(*agreement) bool { return ok }, nil }
	compare := func(get func(*agreement) time.Time, sign int) (func(*agreement) bool, error) {
		t, err := time.Parse(time.RFC3339, value)
		if err != nil {
			return nil, invalid("filters", "filter %s: %q is not an ISO 8601 time", name, value)
		}
		return func(a *agreement) bool { return get(a).Compare(t) == sign }, nil
	}
	end := func(a *agreement) time.Time { return endKey(a) }
	start := func(a *agreement) time.Time { return a.accepted }
	updated := func(a *agreement) time.Time { return a.updated }
	switch name {
	case "AgreementType":
		return all(value == "PurchaseAgreement")
	case "PartyType":
		if value != "Proposer" && value != "Acceptor" {
			return nil, invalid("filters", "PartyType %q is not valid", value)
		}
		return all(true)
	case "ResourceType":
		return all(value == "SaaSProduct")
	case "OfferSetId":
		return all(false)
	case "ResourceIdentifier":
		return equal(func(a *agreement) string { return a.product.ID })
	case "AcceptorAccountId":
		return equal(func(a *agreement) string { return a.account })
	case "OfferId":
		return equal(func(a *agreement) string { return a.offer })
	case "Status":
		return equal(func(a *agreement) string { return a.status })
	case "InitialAgreementId":
		return equal(func(a *agreement) string { return a.initial })
	case "LicenseArn":
		return func(a *agreement) bool { return a.provisioned && a.licence.arn == value }, nil
	case "BeforeEndTime":
		return compare(end, -1)
	case "AfterEndTime":
		return compare(end, 1)
	case "BeforeStartTime":
		return compare(start, -1)
	case "AfterStartTime":
		return compare(start, 1)
	case "BeforeLastUpdateTime":
		return compare(updated, -1)
	case "AfterLastUpdateTime":
		return compare(updated, 1)
	default:
		return nil, invalid("filters", "filter %q is not supported", name)
	}
}
