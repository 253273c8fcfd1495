package identity

// Role says how much somebody may do. Viewer to Admin contain one another in
// this order; Partner stands beside them and sees its own customers only.
type Role string

const (
	Viewer   Role = "viewer"
	Analyst  Role = "analyst"
	Finance  Role = "finance"
	Operator Role = "operator"
	Admin    Role = "admin"
	Partner  Role = "partner"
)

var rank = map[Role]int{Viewer: 1, Analyst: 2, Finance: 3, Operator: 4, Admin: 5}

// May reports whether r includes what needed may do.
func (r Role) May(needed Role) bool {
	if needed == Partner || r == Partner {
		return r == needed
	}
	return rank[r] != 0 && rank[needed] != 0 && rank[r] >= rank[needed]
}

// Principal is who is asking.
type Principal struct {
	Role  Role
	Actor string // in the audit trail: "operator key", "operator", a claim's id, an API key's id
	// Sources says whose usage it may send; nil: whose ever its role allows.
	Sources func(source string) bool
}
