package simulator

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

type entitlementRow struct {
	ProductCode          string           `json:"ProductCode"`
	Dimension            string           `json:"Dimension"`
	CustomerAWSAccountID string           `json:"CustomerAWSAccountId"`
	LicenseArn           string           `json:"LicenseArn"`
	Value                map[string]int64 `json:"Value"`
	ExpirationDate       *stamp           `json:"ExpirationDate"`
}

// getEntitlements lists what contracts grant. Pay as you go grants nothing, so its list is empty.
func (m *awsMarket) getEntitlements(c *call) (any, error) {
	var in struct {
		ProductCode string
		Filter      map[string][]string
		NextToken   string
		MaxResults  *int
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	limit := 25
	if in.MaxResults != nil {
		limit = *in.MaxResults
	}
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	product, err := m.product(in.ProductCode)
	if err != nil || in.ProductCode != product.Code || limit < 1 || limit > 25 {
		return nil, refuse("InvalidParameterException", "ProductCode or MaxResults is not valid")
	}
	if in.Filter["CUSTOMER_IDENTIFIER"] != nil && in.Filter["CUSTOMER_AWS_ACCOUNT_ID"] != nil {
		return nil, refuse("InvalidParameterException", "CUSTOMER_IDENTIFIER and CUSTOMER_AWS_ACCOUNT_ID exclude each other")
	}
	for name, values := range in.Filter {
		if len(values) == 0 || !slices.Contains([]string{"CUSTOMER_IDENTIFIER", "CUSTOMER_AWS_ACCOUNT_ID", "LICENSE_ARN", "DIMENSION"}, name) {
			return nil, refuse("InvalidParameterException", "filter %q is not valid", name)
		}
	}
	subject := fmt.Sprintf("GetEntitlements|%s|%v|%s", in.ProductCode, in.Filter, in.NextToken)
	if err := m.weather(KindReadFault, subject, "InternalServiceErrorException"); err != nil {
		return nil, err
	}
	match := func(name, value string) bool {
		return in.Filter[name] == nil || slices.Contains(in.Filter[name], value)
	}
	rows := []entitlementRow{}
	for _, a := range m.agreements {
		if a.product.Code != product.Code || a.status != statusActive || !a.provisioned || in.Filter["CUSTOMER_IDENTIFIER"] != nil ||
			!match("CUSTOMER_AWS_ACCOUNT_ID", a.account) || !match("LICENSE_ARN", a.licence.arn) {
			continue
		}
		expires := a.end
		if expires.IsZero() {
			expires = m.s.now.Truncate(24*time.Hour).AddDate(1, 0, 0)
		}
		for _, d := range sortedKeys(a.contract) {
			if match("DIMENSION", d) {
				rows = append(rows, entitlementRow{product.Code, d, a.account, a.licence.arn, map[string]int64{"IntegerValue": a.contract[d]}, stampOf(expires)})
			}
		}
	}
	from, to, next, err := m.page(subject, in.NextToken, len(rows), limit)
	if err != nil {
		return nil, refuse("InvalidParameterException", "NextToken is not valid")
	}
	out := map[string]any{"Entitlements": rows[from:to]}
	if next != "" {
		out["NextToken"] = next
	}
	return out, nil
}

// page cuts a list of n rows: which rows come on this page and which token leads on. In hostile weather pages are
// shorter than asked for and may be empty before more follow, but never two empty ones in a row.
func (m *awsMarket) page(subject, nextToken string, n, limit int) (from, to int, next string, err error) {
	wasEmpty := false
	if nextToken != "" {
		rest, ok := strings.CutPrefix(nextToken, "page-")
		wasEmpty = strings.HasSuffix(rest, "e")
		from, err = strconv.Atoi(strings.TrimSuffix(rest, "e"))
		if !ok || err != nil || from < 0 {
			return 0, 0, "", fmt.Errorf("next token %q", nextToken)
		}
		from = min(from, n)
	}
	f := m.s.faults
	if !wasEmpty && f.happens(KindEmptyPage, subject, from) {
		return from, from, "page-" + strconv.Itoa(from) + "e", nil
	}
	if f.weather == WeatherHostile {
		limit = min(limit, 1+int(f.draw("page", subject)%4))
	}
	to = min(from+limit, n)
	if to < n {
		next = "page-" + strconv.Itoa(to)
	}
	return from, to, next, nil
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
