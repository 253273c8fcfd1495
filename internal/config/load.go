package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// FileVariable names the settings file when the -config flag does not.
const FileVariable = prefix + "CONFIG"

// Variables of our name that are nobody's setting: they steer the tests.
const testPrefix = prefix + "TEST_"

const maxFileBytes = 1 << 20

// source is one value that was given, and where.
type source struct{ text, from string }

// Load builds the settings from the environment (as os.Environ gives it) and
// the optional YAML file at path; an empty path means what TAILMARKET_CONFIG
// says. The error is a Problems with everything that is wrong, including what
// Validate finds. It takes the whole environment and not a look-up function
// because a misspelt name can only be met by reading all of them.
func Load(environ []string, path string) (Config, error) {
	env := make(map[string]string, len(environ))
	for _, kv := range environ {
		if name, value, ok := strings.Cut(kv, "="); ok {
			env[name] = value
		}
	}
	l := loader{env: env, given: map[string]source{}}
	if path == "" {
		path = env[FileVariable]
	}
	if path != "" {
		l.readFile(path)
	}
	l.readEnvironment()
	c := l.build()
	return c, join(l.problems, c.problems())
}

type loader struct {
	env      map[string]string
	given    map[string]source // by environment name, with _FILE and _ENV where those were given
	problems Problems
}

func (l *loader) complain(setting, format string, args ...any) {
	l.problems = append(l.problems, Problem{setting, fmt.Sprintf(format, args...)})
}

// readEnvironment takes what is set; an empty variable counts as not set, as
// compose files and unit files leave them.
func (l *loader) readEnvironment() {
	known := names()
	for name, value := range l.env {
		switch {
		case !strings.HasPrefix(name, prefix), strings.HasPrefix(name, testPrefix), name == FileVariable, value == "":
		case known[name]:
			l.given[name] = source{value, "environment"}
			// One secret is given in one way; the environment's way wins.
			l.dropOtherWays(name)
		default:
			l.complain(name, "there is no such setting; the nearest is %s", nearest(name, known))
		}
	}
}

func (l *loader) dropOtherWays(name string) {
	for _, f := range fields {
		if !f.secret() || (name != f.env && name != f.env+"_FILE" && name != f.env+"_ENV") {
			continue
		}
		for _, way := range []string{f.env, f.env + "_FILE", f.env + "_ENV"} {
			if way != name && l.given[way].from != "environment" {
				delete(l.given, way)
			}
		}
	}
}

// names lists every variable that may be set.
func names() map[string]bool {
	out := map[string]bool{}
	for _, f := range fields {
		out[f.env] = true
		if f.secret() {
			out[f.env+"_FILE"], out[f.env+"_ENV"] = true, true
		}
	}
	return out
}

// readFile takes the settings of a YAML file. It walks the syntax tree and not
// decoded values: numbers keep their text, and a problem names its line.
func (l *loader) readFile(path string) {
	text, err := readBounded(path)
	if err != nil {
		l.complain(FileVariable, "%s; name a readable YAML file of at most 1MiB", err)
		return
	}
	file, err := parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		// FormatError without source: a line of the file may hold anything.
		l.complain(FileVariable, "%s is not YAML; mend this place: %s", path, strings.TrimSpace(yaml.FormatError(err, false, false)))
		return
	}
	for _, doc := range file.Docs {
		if doc.Body != nil {
			l.readNode(path, "", doc.Body)
		}
	}
}

func (l *loader) readNode(path, key string, node ast.Node) {
	at := fmt.Sprintf("%s:%d", path, node.GetToken().Position.Line)
	switch n := node.(type) {
	case *ast.MappingNode:
		for _, v := range n.Values {
			l.readNode(path, key, v)
		}
	case *ast.MappingValueNode:
		name := n.Key.GetToken().Value
		if key != "" {
			name = key + "." + name
		}
		if n.Value.Type() == ast.NullType {
			return
		}
		l.readNode(path, name, n.Value)
	case *ast.CommentGroupNode:
	case ast.ScalarNode:
		text := n.GetToken().Value
		if quoted, ok := n.(*ast.StringNode); ok {
			text = quoted.Value
		}
		l.readScalar(at, key, text)
	default:
		l.complain(key, "%s: a %s is not accepted here; write key: value", at, strings.ToLower(node.Type().String()))
	}
}

func (l *loader) readScalar(at, key, value string) {
	keys := map[string]bool{}
	for _, f := range fields {
		ways := map[string]string{f.key: f.env}
		if f.secret() {
			if key == f.key {
				l.complain(key, "%s: a secret does not stand in a file; write %s_file: PATH or %s_env: NAME", at, f.key, f.key)
				return
			}
			ways = map[string]string{f.key + "_file": f.env + "_FILE", f.key + "_env": f.env + "_ENV"}
		}
		for way, env := range ways {
			keys[way] = true
			if way != key {
				continue
			}
			if _, twice := l.given[env]; twice {
				l.complain(key, "%s: set twice; keep one", at)
			}
			l.given[env] = source{value, at}
			return
		}
	}
	l.complain(key, "%s: there is no such setting; the nearest is %s", at, nearest(key, keys))
}

// build turns what was given into settings.
func (l *loader) build() Config {
	c := Default()
	c.origin = map[string]string{}
	for _, f := range fields {
		s, ok := l.given[f.env]
		if f.secret() {
			s, ok = l.readSecret(f)
		}
		if !ok {
			continue
		}
		if err := f.set(&c, s.text); err != nil {
			// The text is quoted only where it cannot be a secret.
			l.complain(f.env, "%q (%s) is not accepted; write %s", s.text, s.from, f.accepts)
			f.value(&c).Set(f.value(&defaults))
			continue
		}
		c.origin[f.env] = s.from
	}
	c.PublicURL = strings.TrimRight(c.PublicURL, "/")
	return c
}

// readSecret follows the one way in which the secret was given.
func (l *loader) readSecret(f field) (source, bool) {
	var found source
	ways := 0
	if s, ok := l.given[f.env]; ok {
		found, ways = s, ways+1
	}
	if s, ok := l.given[f.env+"_FILE"]; ok {
		ways++
		text, err := readBounded(s.text)
		switch {
		case err != nil:
			l.complain(f.env+"_FILE", "%s; name a readable file that holds %s", err, f.accepts)
		case strings.TrimSpace(string(text)) == "":
			l.complain(f.env+"_FILE", "%s is empty; write into it %s", s.text, f.accepts)
		}
		found = source{strings.TrimSpace(string(text)), "file " + s.text}
	}
	if s, ok := l.given[f.env+"_ENV"]; ok {
		ways++
		if l.env[s.text] == "" {
			l.complain(f.env+"_ENV", "the variable %s is not set; it should hold %s", s.text, f.accepts)
		}
		found = source{l.env[s.text], "variable " + s.text}
	}
	if ways > 1 {
		l.complain(f.env, "given in more than one way; keep one of %s, %s_FILE and %s_ENV", f.env, f.env, f.env)
	}
	return found, ways > 0
}

func readBounded(path string) (_ []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	text, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFileBytes {
		return nil, fmt.Errorf("%s is larger than 1MiB", path)
	}
	return text, nil
}
