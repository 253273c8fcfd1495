package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Problem is one thing in a catalog that is wrong or, by an unconfirmed rule, may be.
type Problem struct {
	Rule     Rule
	Path     string // such as products[0].meters[1].scale
	Line     int    // of the file; 0 when the catalog was not read from text
	Text     string
	Accepted string // why the catalog goes ahead; unconfirmed rules only
}

// Refuses reports that a catalog with this problem cannot be applied, in check's
// words; what is unconfirmed only warns.
func (p Problem) Refuses() bool { return !p.Rule.Unconfirmed }

func (p Problem) String() string { return p.Path + ": " + p.Text }

// Problems are in the order of the file.
type Problems []Problem

func (ps Problems) Error() string {
	texts := make([]string, len(ps))
	for i, p := range ps {
		texts[i] = p.String()
	}
	return strings.Join(texts, "; ")
}

// Refusing are the problems that refuse.
func (ps Problems) Refusing() Problems {
	return slices.DeleteFunc(slices.Clone(ps), func(p Problem) bool { return !p.Refuses() })
}

// Open are the problems that keep a catalog from being applied: what refuses, and
// what only warns and was not accepted.
func (ps Problems) Open() Problems {
	return slices.DeleteFunc(slices.Clone(ps), func(p Problem) bool { return p.Accepted != "" })
}

// checker collects problems.
type checker struct {
	problems Problems
	accept   map[string]string // of the product that is looked at
}

func (k *checker) add(rule, path, format string, args ...any) {
	p := Problem{Rule: ruleOf(rule), Path: path, Text: fmt.Sprintf(format, args...)}
	if p.Rule.Unconfirmed {
		p.Accepted = k.accept[rule]
	}
	k.problems = append(k.problems, p)
}

// locate gives every problem its line and puts them into the file's order.
func (ps Problems) locate(raw []byte) {
	lines := linesOf(raw)
	for i := range ps {
		for path := ps[i].Path; ; path = path[:strings.LastIndexAny(path, ".[")] { // what is missing is missing in its parent
			if line, ok := lines[path]; ok {
				ps[i].Line = line
				break
			}
			if !strings.ContainsAny(path, ".[") {
				ps[i].Line = 1
				break
			}
		}
	}
	slices.SortStableFunc(ps, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
}

// linesOf is the line of every key and element by its path.
func linesOf(raw []byte) map[string]int {
	out := map[string]int{}
	file, err := parser.ParseBytes(raw, 0)
	if err != nil {
		return out
	}
	var walk func(n ast.Node, path string)
	entry := func(n *ast.MappingValueNode, path string) {
		at := n.Key.GetToken().Value
		if path != "" {
			at = path + "." + at
		}
		out[at] = n.Key.GetToken().Position.Line
		walk(n.Value, at)
	}
	walk = func(n ast.Node, path string) {
		switch n := n.(type) {
		case *ast.MappingNode:
			for _, v := range n.Values {
				entry(v, path)
			}
		case *ast.MappingValueNode: // a mapping of one
			entry(n, path)
		case *ast.SequenceNode:
			for i, v := range n.Values {
				at := path + "[" + strconv.Itoa(i) + "]"
				out[at] = v.GetToken().Position.Line
				walk(v, at)
			}
		case *ast.AnchorNode:
			walk(n.Value, path)
		}
	}
	for _, d := range file.Docs {
		walk(d.Body, "")
	}
	return out
}
