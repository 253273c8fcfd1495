package terraform_test

import (
	"fmt"
	"maps"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// shape is what is known of a value before anything exists: which names can be read
// of it, or what its elements are. The nil shape is a value nothing is known of.
type shape struct {
	attrs map[string]*shape // of an object
	elem  *shape            // of a list or a map
	list  bool              // of a list: attributes need an index first
}

// scalar has nothing to read in it.
var scalar = &shape{attrs: map[string]*shape{}}

// scope are the names that a block or a for expression adds.
type scope map[string]*shape

// shapeOf is the shape of what a schema describes.
func shapeOf(b *block) *shape {
	s := &shape{attrs: map[string]*shape{}}
	for _, name := range b.Attributes {
		s.attrs[name] = nil
	}
	for name, a := range b.Arguments {
		if s.attrs[name] = nil; a.Type == "string" || a.Type == "number" || a.Type == "boolean" {
			s.attrs[name] = scalar
		}
	}
	for name, inner := range b.Blocks {
		if name != "timeouts" {
			s.attrs[name] = &shape{elem: shapeOf(inner), list: true}
		}
	}
	return s
}

func shapeOfType(t cty.Type) *shape {
	switch {
	case t.IsPrimitiveType():
		return scalar
	case t.IsObjectType():
		s := &shape{attrs: map[string]*shape{}}
		for name, of := range t.AttributeTypes() {
			s.attrs[name] = shapeOfType(of)
		}
		return s
	case t.IsCollectionType():
		return &shape{elem: shapeOfType(t.ElementType()), list: !t.IsMapType()}
	}
	return nil
}

// element is what a loop over s takes in hand.
func element(s *shape) *shape {
	if s == nil {
		return nil
	}
	return s.elem
}

// each is what for_each makes of a collection.
func (c *checker) each(e hclsyntax.Expression) *shape {
	return &shape{attrs: map[string]*shape{"key": scalar, "value": element(c.infer(e, scope{}))}}
}

// infer reads an expression: it finds the shape of its value, and says what it
// refers to that is not there.
func (c *checker) infer(e hclsyntax.Expression, in scope) *shape {
	switch e := e.(type) {
	case *hclsyntax.LiteralValueExpr:
		return shapeOfType(e.Val.Type())
	case *hclsyntax.TemplateExpr:
		c.all(in, e.Parts...)
		return scalar
	case *hclsyntax.TemplateWrapExpr:
		return c.infer(e.Wrapped, in)
	case *hclsyntax.TemplateJoinExpr:
		c.infer(e.Tuple, in)
		return scalar
	case *hclsyntax.ParenthesesExpr:
		return c.infer(e.Expression, in)
	case *hclsyntax.BinaryOpExpr:
		c.all(in, e.LHS, e.RHS)
		return scalar
	case *hclsyntax.UnaryOpExpr:
		c.infer(e.Val, in)
		return scalar
	case *hclsyntax.ConditionalExpr:
		c.all(in, e.Condition, e.TrueResult, e.FalseResult)
		return nil
	case *hclsyntax.FunctionCallExpr:
		if !functions[e.Name] {
			c.say(e.NameRange, "%s is no function%s", e.Name, nearest(e.Name, functions))
		}
		c.all(in, e.Args...)
		return nil
	case *hclsyntax.TupleConsExpr:
		return &shape{elem: c.all(in, e.Exprs...), list: true}
	case *hclsyntax.ObjectConsExpr:
		return c.object(e, in)
	case *hclsyntax.ForExpr:
		return c.loop(e, in)
	case *hclsyntax.SplatExpr:
		inner := maps.Clone(in)
		inner[anonymous(e.Item)] = element(c.infer(e.Source, in))
		return &shape{elem: c.infer(e.Each, inner), list: true}
	case *hclsyntax.AnonSymbolExpr:
		return in[anonymous(e)]
	case *hclsyntax.IndexExpr:
		c.infer(e.Key, in)
		return element(c.infer(e.Collection, in))
	case *hclsyntax.RelativeTraversalExpr:
		return c.steps(c.infer(e.Source, in), e.Traversal, "the value")
	case *hclsyntax.ScopeTraversalExpr:
		c.counted.references++
		return c.traversal(e.Traversal, in)
	}
	c.say(e.Range(), "an expression of kind %T is not understood by this check", e)
	return nil
}

// all reads several expressions; the last one's shape stands for all.
func (c *checker) all(in scope, es ...hclsyntax.Expression) (last *shape) {
	for _, e := range es {
		last = c.infer(e, in)
	}
	return last
}

func anonymous(e *hclsyntax.AnonSymbolExpr) string { return fmt.Sprintf("%p", e) }

func (c *checker) object(e *hclsyntax.ObjectConsExpr, in scope) *shape {
	s := &shape{attrs: map[string]*shape{}}
	for _, item := range e.Items {
		value := c.infer(item.ValueExpr, in)
		name := hcl.ExprAsKeyword(item.KeyExpr)
		if name == "" {
			name = literal(item.KeyExpr)
		}
		if name == "" { // computed
			if key, ok := item.KeyExpr.(*hclsyntax.ObjectConsKeyExpr); ok {
				c.infer(key.Wrapped, in)
			}
			s = nil
		}
		if s != nil {
			s.attrs[name] = value
			s.elem = value
		}
	}
	return s
}

func (c *checker) loop(e *hclsyntax.ForExpr, in scope) *shape {
	inner := maps.Clone(in)
	if e.KeyVar != "" {
		inner[e.KeyVar] = scalar
	}
	inner[e.ValVar] = element(c.infer(e.CollExpr, in))
	if e.CondExpr != nil {
		c.infer(e.CondExpr, inner)
	}
	if e.KeyExpr == nil {
		return &shape{elem: c.infer(e.ValExpr, inner), list: true}
	}
	c.infer(e.KeyExpr, inner)
	return &shape{elem: c.infer(e.ValExpr, inner)}
}

// traversal follows a reference from its first name.
func (c *checker) traversal(t hcl.Traversal, in scope) *shape {
	root, rest := t.RootName(), t[1:]
	if s, ok := in[root]; ok {
		return c.steps(s, rest, root)
	}
	names := make([]string, 0, 2)
	for _, step := range rest {
		attr, ok := step.(hcl.TraverseAttr)
		if !ok || len(names) == 2 {
			break
		}
		names = append(names, attr.Name)
	}
	need := map[string]int{"var": 1, "local": 1, "module": 1, "data": 2, "path": 1, "terraform": 1}
	n, special := need[root]
	if !special {
		n = 1
	}
	if len(names) < n {
		c.say(t.SourceRange(), "%s is no reference", root)
		return nil
	}
	key := strings.Join(append([]string{root}, names[:n]...), ".")
	c.note(key)
	switch root {
	case "var":
		v, ok := c.variables[names[0]]
		if !ok {
			c.say(t.SourceRange(), "variable %s is not declared%s", names[0], nearest(names[0], c.variables))
			return nil
		}
		return c.steps(shapeOfType(v.typ), rest[1:], key)
	case "local":
		return c.steps(c.local(t, names[0]), rest[1:], key)
	case "module":
		return c.called(t, names[0], rest[1:])
	case "path", "terraform":
		return scalar
	case "each", "count", "self":
		c.say(t.SourceRange(), "%s stands where there is none", root)
		return nil
	}
	r, ok := c.things[key]
	if !ok {
		c.say(t.SourceRange(), "%s is not declared%s", key, nearest(key, c.things))
		return nil
	}
	known, ok := c.schemas.find(r.kind, r.typ)
	if !ok {
		return nil // said where it is declared
	}
	s := shapeOf(known)
	switch {
	case r.block.Body.Attributes["count"] != nil:
		s = &shape{elem: s, list: true}
	case r.block.Body.Attributes["for_each"] != nil:
		s = &shape{elem: s}
	}
	return c.steps(s, rest[n:], key)
}

// note remembers that what is being read refers to key.
func (c *checker) note(key string) {
	if key == c.from {
		return
	}
	c.used[key] = true
	if c.edges[c.from] == nil {
		c.edges[c.from] = map[string]bool{}
	}
	c.edges[c.from][key] = true
}

// local is the shape of a local value; problems in it are said at its declaration.
func (c *checker) local(t hcl.Traversal, name string) *shape {
	a, ok := c.locals[name]
	if !ok {
		c.say(t.SourceRange(), "local %s is not declared%s", name, nearest(name, c.locals))
		return nil
	}
	if _, known := c.shapes[name]; !known && !c.resolved[name] {
		c.resolved[name] = true
		from := c.from
		c.from = "local." + name
		c.shapes[name] = c.infer(a.Expr, scope{})
		c.from = from
	}
	return c.shapes[name]
}

// called is the shape of a module's output.
func (c *checker) called(t hcl.Traversal, name string, rest hcl.Traversal) *shape {
	b, ok := c.calls[name]
	if !ok {
		c.say(t.SourceRange(), "module %s is not called here%s", name, nearest(name, c.calls))
		return nil
	}
	s := &shape{attrs: map[string]*shape{}}
	if callee, ok := c.callee(b); ok {
		for output := range callee.outputs {
			s.attrs[output] = nil
		}
	}
	switch {
	case b.Body.Attributes["count"] != nil:
		s = &shape{elem: s, list: true}
	case b.Body.Attributes["for_each"] != nil:
		s = &shape{elem: s}
	}
	return c.steps(s, rest, "module."+name)
}

// steps follows the rest of a reference.
func (c *checker) steps(s *shape, rest hcl.Traversal, where string) *shape {
	for _, step := range rest {
		if s == nil {
			return nil
		}
		switch step := step.(type) {
		case hcl.TraverseAttr:
			switch next, ok := s.attrs[step.Name]; {
			case ok:
				s = next
			case s.elem != nil && s.list:
				c.say(step.SrcRange, "%s is a list: %s needs an index before it", where, step.Name)
				return nil
			case s.attrs == nil:
				s = s.elem // a key of a map
			default:
				c.say(step.SrcRange, "%s has no %s%s", where, step.Name, nearest(step.Name, s.attrs))
				return nil
			}
			where += "." + step.Name
		case hcl.TraverseIndex:
			if s.attrs != nil && s.elem == nil {
				c.say(step.SrcRange, "%s is one, and has no index", where)
				return nil
			}
			s = s.elem
		}
	}
	return s
}

// lookOf is the type of an expression that can be seen without knowing more.
func lookOf(e hclsyntax.Expression) string {
	switch e := e.(type) {
	case *hclsyntax.TupleConsExpr:
		return "list"
	case *hclsyntax.ObjectConsExpr:
		return "map"
	case *hclsyntax.ForExpr:
		if e.KeyExpr == nil {
			return "list"
		}
		return "map"
	case *hclsyntax.TemplateExpr:
		return "string"
	case *hclsyntax.LiteralValueExpr:
		if e.Val.IsNull() {
			return ""
		}
		return look(e.Val.Type())
	}
	return ""
}

// look names a type as the schemas do.
func look(t cty.Type) string {
	switch {
	case t == cty.String:
		return "string"
	case t == cty.Number:
		return "number"
	case t == cty.Bool:
		return "boolean"
	case t.IsListType(), t.IsSetType(), t.IsTupleType():
		return "string[]"
	case t.IsMapType(), t.IsObjectType():
		return "map"
	}
	return "any"
}

// functions of Terraform ("Built-in Functions", 2025).
var functions = func() map[string]bool {
	out := map[string]bool{}
	for name := range strings.FieldsSeq(`abs abspath alltrue anytrue base64decode base64encode base64gzip base64sha256 base64sha512 basename
		bcrypt can ceil chomp chunklist cidrhost cidrnetmask cidrsubnet cidrsubnets coalesce coalescelist compact concat contains csvdecode
		dirname distinct element endswith file filebase64 filebase64sha256 filebase64sha512 fileexists filemd5 fileset filesha1 filesha256
		filesha512 flatten floor format formatdate formatlist indent index issensitive join jsondecode jsonencode keys length log lookup
		lower matchkeys max md5 merge min nonsensitive one parseint pathexpand plantimestamp pow range regex regexall replace reverse rsadecrypt
		sensitive setintersection setproduct setsubtract setunion sha1 sha256 sha512 signum slice sort split startswith strcontains strrev
		substr sum templatefile templatestring textdecodebase64 textencodebase64 timeadd timecmp timestamp title tobool tolist tomap tonumber
		toset tostring transpose trim trimprefix trimspace trimsuffix try type upper urlencode uuid uuidv5 values yamldecode yamlencode zipmap`) {
		out[name] = true
	}
	return out
}()
