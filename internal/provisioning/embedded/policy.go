package embedded

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/tailscale/hujson"
)

// defaultPolicy is a new tailnet's: it allows everything among its members.
const defaultPolicy = `// Everything in this tailnet reaches everything in it.
{
	"acls": [
		{"action": "accept", "src": ["*"], "dst": ["*:*"]},
	],
}
`

// etag of a policy, quoted.
func etag(text string) string {
	h := sha256.Sum256([]byte(text))
	return `"` + hex.EncodeToString(h[:]) + `"`
}

func (s *Server) getPolicy(w http.ResponseWriter, r *http.Request, c caller) error {
	text := c.tailnet.Policy
	w.Header().Set("ETag", etag(text))
	if r.URL.Query().Get("details") == "true" {
		return ok(w, map[string]any{"acl": base64.StdEncoding.EncodeToString([]byte(text)), "warnings": []string{}, "errors": []string{}})
	}
	kind, body := "application/hujson", []byte(text)
	if r.Header.Get("Accept") == "application/json" {
		var err error
		if body, err = hujson.Standardize(body); err != nil {
			return err
		}
		kind = "application/json"
	}
	w.Header().Set("Content-Type", kind)
	_, _ = w.Write(body) // the reader has gone
	return nil
}

func (s *Server) setPolicy(w http.ResponseWriter, r *http.Request, c caller) error {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return deny(http.StatusBadRequest, "the body cannot be read")
	}
	match := r.Header.Get("If-Match")
	if match != "" && match != etag(c.tailnet.Policy) && !(match == `"ts-default"` && c.tailnet.Policy == defaultPolicy) {
		return deny(http.StatusPreconditionFailed, "precondition failed, invalid old hash")
	}
	if message, data := checkPolicy(raw); message != "" {
		return &refusal{status: http.StatusBadRequest, message: message, data: data}
	}
	written := false
	err = s.Store.EmbeddedTx(r.Context(), func(ctx context.Context, tx Tx) error {
		var err error
		written, err = tx.SetPolicy(ctx, c.tailnet.ID, c.tailnet.Policy, string(raw))
		return err
	})
	if err != nil {
		return err
	}
	if !written { // somebody wrote between our reading and our writing
		return deny(http.StatusPreconditionFailed, "precondition failed, invalid old hash")
	}
	c.tailnet.Policy = string(raw)
	return s.getPolicy(w, r, c)
}

// validatePolicy answers 200 whatever it finds; an empty object is success. An
// array is tests against the file in force: there is no traffic to test here, so
// only their shape is looked at.
func (s *Server) validatePolicy(w http.ResponseWriter, r *http.Request, _ caller) error {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return deny(http.StatusBadRequest, "the body cannot be read")
	}
	var tests []any
	if strings.HasPrefix(strings.TrimSpace(string(raw)), "[") {
		if plain, err := hujson.Standardize(raw); err == nil && json.Unmarshal(plain, &tests) == nil {
			return ok(w, struct{}{})
		}
		return ok(w, map[string]any{"message": "the tests are not a list"})
	}
	if message, data := checkPolicy(raw); message != "" {
		return ok(w, map[string]any{"message": message, "data": data})
	}
	return ok(w, struct{}{})
}

// sections a policy may have (docs "Syntax reference for the tailnet policy file").
var sections = strings.Fields("acls grants groups hosts ipsets tagOwners autoApprovers nodeAttrs ssh postures defaultSrcPosture attrConfig derpMap tests sshTests disableIPv4 oneCGNATRoute randomizeClientPort")

type complaint struct {
	User   string   `json:"user"`
	Errors []string `json:"errors"`
}

// checkPolicy says what is wrong with a policy; an empty message when nothing is.
func checkPolicy(raw []byte) (message string, data []complaint) {
	plain, err := hujson.Standardize(bytes.Clone(raw)) // it blanks comments in place
	if err != nil {
		return fmt.Sprintf("the policy is not JSON with comments: %v", err), nil
	}
	var file map[string]json.RawMessage
	if err := json.Unmarshal(plain, &file); err != nil || file == nil {
		return "the policy is not an object", nil
	}
	var wrong []string
	defined := map[string]bool{}
	for name, body := range file {
		if !slices.ContainsFunc(sections, func(s string) bool { return strings.EqualFold(s, name) }) {
			wrong = append(wrong, fmt.Sprintf("unknown section %q", name))
		}
		if strings.EqualFold(name, "tagOwners") || strings.EqualFold(name, "groups") {
			var names map[string][]string
			if err := json.Unmarshal(body, &names); err != nil {
				wrong = append(wrong, fmt.Sprintf("section %q is not lists by name", name))
			}
			for n := range names {
				defined[n] = true
			}
		}
	}
	for _, name := range []string{"acls", "grants", "ssh", "nodeAttrs"} {
		var rules []map[string]any
		if body, has := file[name]; has {
			if err := json.Unmarshal(body, &rules); err != nil {
				wrong = append(wrong, fmt.Sprintf("section %q is not a list of rules", name))
			}
		}
		for _, rule := range rules {
			for _, field := range []string{"src", "dst", "target", "via"} {
				list, _ := rule[field].([]any)
				for _, entry := range list {
					if who, _ := entry.(string); !knownSubject(who, defined) {
						wrong = append(wrong, fmt.Sprintf("%s: %s names %q, which is not defined", name, field, who))
					}
				}
			}
		}
	}
	if len(wrong) == 0 {
		return "", nil
	}
	slices.Sort(wrong)
	return "the policy is not valid: " + wrong[0], []complaint{{User: "policy", Errors: wrong}}
}

// knownSubject refuses tags and groups nobody defined. A destination may end in a port.
func knownSubject(who string, defined map[string]bool) bool {
	for _, kind := range []string{"tag:", "group:"} {
		if rest, is := strings.CutPrefix(who, kind); is {
			name, _, _ := strings.Cut(rest, ":")
			return defined[kind+name]
		}
	}
	return who != ""
}

// definesTags reports whether a policy gives every one of tags an owner.
func definesTags(policy string, tags []string) bool {
	plain, err := hujson.Standardize([]byte(policy))
	if err != nil {
		return false
	}
	var file struct {
		TagOwners map[string][]string `json:"tagOwners"`
	}
	if err := json.Unmarshal(plain, &file); err != nil {
		return false
	}
	for _, t := range tags {
		if _, has := file.TagOwners[t]; !has {
			return false
		}
	}
	return true
}
