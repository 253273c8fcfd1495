package terraform_test

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// module is one folder of files, by what it declares.
type module struct {
	dir       string
	files     map[string]*hclsyntax.Body
	settings  *hclsyntax.Body             // the block "terraform"
	requires  map[string]required         // providers, by the name they have here
	aliases   map[string]bool             // google.linked, that a caller must hand over
	set       map[string]*hclsyntax.Block // providers that are set up here, by name.alias
	variables map[string]*variable
	outputs   map[string]*hclsyntax.Block
	locals    map[string]*hclsyntax.Attribute
	things    map[string]*thing // resources and data sources, by address
	calls     map[string]*hclsyntax.Block
	problems  []string
	broken    bool // a file is no HCL
}

type required struct{ source, version string }

type variable struct {
	block    *hclsyntax.Block
	typ      cty.Type
	optional bool // it has a default
}

// thing is a resource or a data source.
type thing struct {
	kind, typ, name string // kind is resource or data
	block           *hclsyntax.Block
}

func (r *thing) address() string {
	if r.kind == "data" {
		return "data." + r.typ + "." + r.name
	}
	return r.typ + "." + r.name
}

func (m *module) say(at hcl.Range, format string, args ...any) {
	m.problems = append(m.problems, fmt.Sprintf("%s:%d: %s", at.Filename, at.Start.Line, fmt.Sprintf(format, args...)))
}

// loadAll loads every folder of modules/ and environments/.
func loadAll(t *testing.T, tree fs.FS) []*module {
	t.Helper()
	var out []*module
	for _, pattern := range []string{"modules/*", "environments/*"} {
		dirs, err := fs.Glob(tree, pattern)
		if err != nil || len(dirs) == 0 {
			t.Fatalf("nothing is in %s (%v): the check would be empty", pattern, err)
		}
		for _, dir := range dirs {
			out = append(out, load(t, tree, dir))
		}
	}
	return out
}

// load reads the .tf files of a folder and sorts what they declare.
func load(t *testing.T, tree fs.FS, dir string) *module {
	t.Helper()
	names, err := fs.Glob(tree, path.Join(dir, "*.tf"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no .tf file is in %s (%v)", dir, err)
	}
	m := newModule(dir)
	for _, name := range names {
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			t.Fatal(err)
		}
		m.parse(name, text)
	}
	return m
}

func newModule(dir string) *module {
	return &module{
		dir: dir, files: map[string]*hclsyntax.Body{}, requires: map[string]required{}, aliases: map[string]bool{}, set: map[string]*hclsyntax.Block{},
		variables: map[string]*variable{}, outputs: map[string]*hclsyntax.Block{}, locals: map[string]*hclsyntax.Attribute{},
		things: map[string]*thing{}, calls: map[string]*hclsyntax.Block{},
	}
}

func (m *module) parse(name string, text []byte) {
	file, diags := hclsyntax.ParseConfig(text, name, hcl.InitialPos)
	for _, d := range diags {
		m.problems = append(m.problems, d.Error())
		m.broken = true
	}
	if body, ok := file.Body.(*hclsyntax.Body); ok && !diags.HasErrors() {
		m.add(name, body)
	}
}

// add takes in what a file declares.
func (m *module) add(name string, body *hclsyntax.Body) {
	m.files[name] = body
	for _, a := range body.Attributes {
		m.say(a.SrcRange, "%s stands outside of any block", a.Name)
	}
	for _, b := range body.Blocks {
		m.declare(b)
	}
}

// labels are how many names each block at the top has.
var labels = map[string]int{"terraform": 0, "provider": 1, "variable": 1, "output": 1, "locals": 0, "resource": 2, "data": 2, "module": 1}

func (m *module) declare(b *hclsyntax.Block) {
	n, known := labels[b.Type]
	switch {
	case !known:
		m.say(b.TypeRange, "%s is no block%s", b.Type, nearest(b.Type, labels))
		return
	case len(b.Labels) != n:
		m.say(b.TypeRange, "%s has %d names, want %d", b.Type, len(b.Labels), n)
		return
	}
	switch b.Type {
	case "terraform":
		m.require(b)
	case "provider":
		key := b.Labels[0]
		if alias := text(b.Body.Attributes["alias"]); alias != "" {
			key += "." + alias
		}
		once(m, m.set, key, b, b)
	case "variable":
		once(m, m.variables, b.Labels[0], m.variable(b), b)
	case "output":
		once(m, m.outputs, b.Labels[0], b, b)
	case "locals":
		for _, a := range b.Body.Attributes {
			once(m, m.locals, a.Name, a, b)
		}
	case "module":
		once(m, m.calls, b.Labels[0], b, b)
	default:
		r := &thing{kind: b.Type, typ: b.Labels[0], name: b.Labels[1], block: b}
		once(m, m.things, r.address(), r, b)
	}
}

func once[V any](m *module, in map[string]V, key string, v V, b *hclsyntax.Block) {
	if _, twice := in[key]; twice {
		m.say(b.TypeRange, "%s %s is declared twice", b.Type, key)
	}
	in[key] = v
}

// require reads required_providers.
func (m *module) require(b *hclsyntax.Block) {
	m.settings = b.Body
	for _, inner := range b.Body.Blocks {
		if inner.Type != "required_providers" {
			m.say(inner.TypeRange, "%s: only required_providers is expected here", inner.Type)
			continue
		}
		for _, a := range inner.Body.Attributes {
			object, ok := a.Expr.(*hclsyntax.ObjectConsExpr)
			if !ok {
				m.say(a.SrcRange, "provider %s: want source and version", a.Name)
				continue
			}
			var r required
			for _, item := range object.Items {
				switch key := hcl.ExprAsKeyword(item.KeyExpr); key {
				case "source":
					r.source = literal(item.ValueExpr)
				case "version":
					r.version = literal(item.ValueExpr)
				case "configuration_aliases":
					aliases, _ := hcl.ExprList(item.ValueExpr)
					for _, alias := range aliases {
						m.aliases[address(alias)] = true
					}
				default:
					m.say(a.SrcRange, "provider %s: %s is not known here", a.Name, key)
				}
			}
			m.requires[a.Name] = r
		}
	}
}

func (m *module) variable(b *hclsyntax.Block) *variable {
	v := &variable{block: b, typ: cty.DynamicPseudoType}
	if a, ok := b.Body.Attributes["type"]; ok {
		typ, _, diags := typeexpr.TypeConstraintWithDefaults(a.Expr)
		for _, d := range diags {
			m.say(a.SrcRange, "variable %s: %s", b.Labels[0], d.Detail)
		}
		v.typ = typ
	}
	if a, ok := b.Body.Attributes["default"]; ok {
		v.optional = true
		value, diags := a.Expr.Value(nil)
		if diags.HasErrors() {
			m.say(a.SrcRange, "variable %s: its default is not a plain value", b.Labels[0])
		} else if _, err := convert.Convert(value, v.typ); err != nil {
			m.say(a.SrcRange, "variable %s: its default is not of its type: %v", b.Labels[0], err)
		}
	}
	return v
}

// literal is the value of a text that is written out, or "".
func literal(e hclsyntax.Expression) string {
	if v, diags := e.Value(nil); !diags.HasErrors() && v.Type() == cty.String && v.IsKnown() && !v.IsNull() {
		return v.AsString()
	}
	return ""
}

func text(a *hclsyntax.Attribute) string {
	if a == nil {
		return ""
	}
	return literal(a.Expr)
}

// address is a reference as it is written, such as google.linked, or "".
func address(e hcl.Expression) string {
	steps, diags := hcl.AbsTraversalForExpr(e)
	if diags.HasErrors() {
		return ""
	}
	var names []string
	for _, s := range steps {
		switch s := s.(type) {
		case hcl.TraverseRoot:
			names = append(names, s.Name)
		case hcl.TraverseAttr:
			names = append(names, s.Name)
		}
	}
	return strings.Join(names, ".")
}

// admits says whether "~> 6.25" admits 6.25.0.
func admits(constraint, version string) bool {
	least, ok := strings.CutPrefix(constraint, "~> ")
	var major, minor, haveMajor, haveMinor, patch int
	if _, err := fmt.Sscanf(least, "%d.%d", &major, &minor); err != nil || !ok {
		return false
	}
	if _, err := fmt.Sscanf(version, "%d.%d.%d", &haveMajor, &haveMinor, &patch); err != nil {
		return false
	}
	return major == haveMajor && minor <= haveMinor
}

func sorted(problems []string) []string {
	slices.Sort(problems)
	return slices.Compact(problems)
}
