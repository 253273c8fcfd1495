package simulator

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// filterTokens: parentheses, operators, quoted values, and words. A word with more than letters, digits and underscores in
// it is an attribute path; as a value it must be quoted.
var (
	filterTokens = regexp.MustCompile(`\s*(\(|\)|!=|=|:|"(?:[^"\\]|\\.)*"|[A-Za-z0-9_.]+)`)
	plainValue   = regexp.MustCompile(`^[A-Za-z0-9_]+$`)
)

type predicate func(*gcpEntitlement) bool

// parseFilter reads the filter of entitlements.list (gcp.md 2.3). OR binds tighter than AND, as in all of Google's list
// filters; AND may be left out.
func parseFilter(text string) (predicate, error) {
	p := &filterParser{}
	for rest := strings.TrimSpace(text); rest != ""; {
		at := filterTokens.FindStringSubmatchIndex(rest)
		if at == nil || at[0] != 0 {
			return nil, fmt.Errorf("cannot read %q", rest)
		}
		p.tokens = append(p.tokens, rest[at[2]:at[3]])
		rest = strings.TrimSpace(rest[at[1]:])
	}
	if len(p.tokens) == 0 {
		return func(*gcpEntitlement) bool { return true }, nil
	}
	match, err := p.all()
	if err == nil && len(p.tokens) > 0 {
		err = fmt.Errorf("unexpected %q", p.tokens[0])
	}
	return match, err
}

type filterParser struct{ tokens []string }

func (p *filterParser) next() string {
	if len(p.tokens) == 0 {
		return ""
	}
	return p.tokens[0]
}

func (p *filterParser) skip(token string) bool {
	if p.next() != token || token == "" {
		return false
	}
	p.tokens = p.tokens[1:]
	return true
}

func (p *filterParser) all() (predicate, error) {
	left, err := p.any()
	for err == nil && p.next() != "" && p.next() != ")" {
		p.skip("AND")
		var right predicate
		a := left
		if right, err = p.any(); err == nil {
			left = func(e *gcpEntitlement) bool { return a(e) && right(e) }
		}
	}
	return left, err
}

func (p *filterParser) any() (predicate, error) {
	left, err := p.one()
	for err == nil && p.skip("OR") {
		var right predicate
		a := left
		if right, err = p.one(); err == nil {
			left = func(e *gcpEntitlement) bool { return a(e) || right(e) }
		}
	}
	return left, err
}

func (p *filterParser) one() (predicate, error) {
	if p.skip("NOT") {
		match, err := p.one()
		return func(e *gcpEntitlement) bool { return !match(e) }, err
	}
	if p.skip("(") {
		match, err := p.all()
		if err == nil && !p.skip(")") {
			err = fmt.Errorf("a parenthesis is not closed")
		}
		return match, err
	}
	if len(p.tokens) < 3 {
		return nil, fmt.Errorf("want an attribute, an operator and a value")
	}
	name, op, value := p.tokens[0], p.tokens[1], p.tokens[2]
	p.tokens = p.tokens[3:]
	if quoted, ok := strings.CutPrefix(value, `"`); ok {
		value = strings.ReplaceAll(strings.TrimSuffix(quoted, `"`), `\"`, `"`)
	} else if !plainValue.MatchString(value) {
		return nil, fmt.Errorf("value %s must be in double quotes", value)
	}
	return compared(name, op, value)
}

// compared is one comparison. Repeated attributes take ":" (membership), the others "=" and "!=".
func compared(name, op, value string) (predicate, error) {
	attribute, repeated := map[string]func(*gcpEntitlement) []string{
		"account":                  func(e *gcpEntitlement) []string { return []string{e.account.id} },
		"customer_billing_account": func(e *gcpEntitlement) []string { return []string{e.account.billing} },
		"product_external_name":    func(e *gcpEntitlement) []string { return []string{e.product.Service} },
		"quote_external_name":      func(*gcpEntitlement) []string { return []string{""} },
		"offer":                    func(e *gcpEntitlement) []string { return []string{e.offer} },
		"new_pending_offer":        func(e *gcpEntitlement) []string { return []string{e.newOffer} },
		"plan":                     func(e *gcpEntitlement) []string { return []string{e.plan} },
		"newPendingPlan":           func(e *gcpEntitlement) []string { return []string{e.newPlan} },
		"new_pending_plan":         func(e *gcpEntitlement) []string { return []string{e.newPlan} },
		"state":                    func(e *gcpEntitlement) []string { return []string{e.state} },
		"services":                 func(e *gcpEntitlement) []string { return []string{e.product.Service} },
		"consumers.project": func(e *gcpEntitlement) []string {
			return []string{"projects/" + strings.TrimPrefix(e.consumer, "project_number:")}
		},
		"change_history.new_offer": func(e *gcpEntitlement) []string { return e.offers },
	}[name], slices.Contains([]string{"consumers.project", "change_history.new_offer"}, name)
	switch {
	case attribute == nil:
		return nil, fmt.Errorf("attribute %q is not supported", name)
	case repeated != (op == ":"), !slices.Contains([]string{"=", "!=", ":"}, op):
		return nil, fmt.Errorf("operator %q is not supported for %s", op, name)
	}
	if name == "state" {
		value = strings.TrimPrefix(strings.ToUpper(value), "ENTITLEMENT_")
	}
	return func(e *gcpEntitlement) bool { return slices.Contains(attribute(e), value) == (op != "!=") }, nil
}
