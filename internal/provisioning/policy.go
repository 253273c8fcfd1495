package provisioning

import (
	"bytes"
	"encoding/json"
	"reflect"
)

// ClientTag is the tag of what joins with our key: a key made by a client and not
// by a person must be tagged (docs "Trust credentials", 2026-01-30).
const ClientTag = "tag:client"

type policyFile struct {
	TagOwners map[string][]string `json:"tagOwners,omitempty"`
	ACLs      []policyRule        `json:"acls"` // never omitted: see denyAll
}

type policyRule struct {
	Action string   `json:"action"`
	Src    []string `json:"src"`
	Dst    []string `json:"dst"`
}

// openPolicy is a new tailnet's: everything inside it reaches everything inside it.
func openPolicy() string {
	return write(policyFile{
		TagOwners: map[string][]string{ClientTag: {"autogroup:admin"}},
		ACLs:      []policyRule{{Action: "accept", Src: []string{"*"}, Dst: []string{"*:*"}}},
	})
}

// denyAll is the policy under which nobody reaches anybody. It must be the
// explicit empty list: an empty object, or an empty grants list, allows everything
// on Headscale (observed on 0.29.2).
func denyAll(owners map[string][]string) string {
	return write(policyFile{TagOwners: owners, ACLs: []policyRule{}})
}

func write(p policyFile) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	if err := e.Encode(p); err != nil { // strings and lists: cannot fail
		panic(err)
	}
	return b.String()
}

// samePolicy compares texts, and what they say where both are plain JSON.
func samePolicy(a, b string) bool {
	if a == b {
		return true
	}
	var x, y any
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && reflect.DeepEqual(x, y)
}
