package terraform_test

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// checker holds one module against the schemas and the modules that it calls.
type checker struct {
	*module
	schemas  schemas
	modules  map[string]*module // by folder
	used     map[string]bool    // var.x, local.x, data.x.y, and aliases
	edges    map[string]map[string]bool
	from     string // whose expressions are being read
	shapes   map[string]*shape
	resolved map[string]bool // locals whose shape is being found
	counted  struct{ arguments, references int }
}

// names is the type of an argument that holds names and no value; what is wrong with
// them is found elsewhere.
const names = "names"

// plain is what may stand in a block that is no provider's, beside what check knows.
var plain = map[string]*block{
	"variable": {Arguments: arguments("type "+names, "default any", "description string", "sensitive boolean", "nullable boolean", "ephemeral boolean"), Blocks: map[string]*block{"validation": condition}},
	"output":   {Arguments: arguments("value! any", "description string", "sensitive boolean", "ephemeral boolean", "depends_on any"), Blocks: map[string]*block{"precondition": condition}},
	"settings": {Arguments: arguments("required_version! string")},

	// What a call and a thing take beside their own.
	"call": {Arguments: arguments("source! string", "count number", "for_each any", "providers "+names, "depends_on any")},
	"thing": {Arguments: arguments("count number", "for_each any", "provider "+names, "depends_on any"), Blocks: map[string]*block{"lifecycle": {
		Arguments: arguments("create_before_destroy boolean", "prevent_destroy boolean", "ignore_changes "+names, "replace_triggered_by any"),
		Blocks:    map[string]*block{"precondition": condition, "postcondition": condition},
	}}},
}

var condition = &block{Arguments: arguments("condition! any", "error_message! string"), Repeatable: true}

// providerSettings are the settings of providers that are used here, as their
// documentation ("Provider configuration") has them; the schemas leave them out.
var providerSettings = map[string]*block{
	"aws":     {Arguments: arguments("alias string", "region string", "allowed_account_ids string[]")},
	"google":  {Arguments: arguments("alias string", "project string", "region string", "impersonate_service_account string")},
	"azurerm": {Arguments: arguments("alias string", "subscription_id string"), Blocks: map[string]*block{"features": {Required: true}}},
	"azuread": {Arguments: arguments("alias string", "tenant_id string")},
}

// arguments reads "name! type", where the mark is of what is required.
func arguments(each ...string) map[string]argument {
	out := map[string]argument{}
	for _, text := range each {
		name, typ, _ := strings.Cut(text, " ")
		bare := strings.TrimSuffix(name, "!")
		out[bare] = argument{Required: bare != name, Type: typ}
	}
	return out
}

// check returns what is wrong with the module.
func (c *checker) check() []string {
	if c.broken {
		return sorted(c.problems) // what follows from a file that cannot be read says nothing
	}
	c.used, c.edges, c.shapes, c.resolved = map[string]bool{}, map[string]map[string]bool{}, map[string]*shape{}, map[string]bool{}
	c.checkSettings()
	for name, v := range c.variables {
		c.from = "var." + name
		c.body(v.block.Body, plain["variable"], "variable "+name, scope{})
		if v.block.Body.Attributes["description"] == nil || v.block.Body.Attributes["type"] == nil {
			c.say(v.block.TypeRange, "variable %s: want a type and a description", name)
		}
	}
	for name, a := range c.locals {
		c.from = "local." + name
		c.infer(a.Expr, scope{})
	}
	for _, r := range c.things {
		c.checkThing(r)
	}
	for name, b := range c.calls {
		c.checkCall(name, b)
	}
	for name, b := range c.outputs {
		c.from = "output." + name
		c.body(b.Body, plain["output"], "output "+name, scope{})
		if b.Body.Attributes["description"] == nil {
			c.say(b.TypeRange, "output %s: want a description", name)
		}
	}
	c.checkUnused()
	c.checkCycles()
	return sorted(c.problems)
}

func (c *checker) checkSettings() {
	if c.settings == nil {
		c.problems = append(c.problems, c.dir+": no block says which versions are required")
		return
	}
	c.body(&hclsyntax.Body{Attributes: c.settings.Attributes, SrcRange: c.settings.SrcRange}, plain["settings"], "terraform", scope{})
	for name, r := range c.requires {
		p, ok := c.schemas[name]
		switch {
		case !ok:
			c.say(c.settings.SrcRange, "provider %s has no schema%s", name, nearest(name, c.schemas))
		case r.source != p.Source:
			c.say(c.settings.SrcRange, "provider %s comes from %q, want %q", name, r.source, p.Source)
		case !admits(r.version, p.Version):
			c.say(c.settings.SrcRange, "provider %s: %q does not admit %s, of which the schema is", name, r.version, p.Version)
		}
	}
	for key, b := range c.set {
		name, _, _ := strings.Cut(key, ".")
		if _, ok := c.requires[name]; !ok {
			c.say(b.TypeRange, "provider %s is not in required_providers", name)
		}
		if strings.HasPrefix(c.dir, "modules/") {
			c.say(b.TypeRange, "provider %s is set up in a module, which its callers could not change", name)
		}
		if known, ok := providerSettings[name]; ok {
			c.from = "provider." + key
			c.body(b.Body, known, "provider "+name, scope{})
		}
	}
}

// with is a block that takes what both take.
func with(a, b *block) *block {
	both := &block{Arguments: map[string]argument{}, Attributes: a.Attributes, Blocks: map[string]*block{}}
	for _, of := range []*block{a, b} {
		maps.Copy(both.Arguments, of.Arguments)
		maps.Copy(both.Blocks, of.Blocks)
	}
	return both
}

func (c *checker) checkThing(r *thing) {
	c.from = r.address()
	known, ok := c.schemas.find(r.kind, r.typ)
	prefix, _, _ := strings.Cut(r.typ, "_")
	if _, required := c.requires[prefix]; !required {
		c.say(r.block.TypeRange, "%s: provider %s is not in required_providers", r.address(), prefix)
	}
	if !ok {
		var near string
		if p := c.schemas[prefix]; p != nil && r.kind == "data" {
			near = nearest(r.typ, p.Data)
		} else if p != nil {
			near = nearest(r.typ, p.Resources)
		}
		c.say(r.block.TypeRange, "%s %s is not in the provider's schema%s", r.kind, r.typ, near)
		return
	}
	c.checkRepetition(r.block)
	c.checkProvider(r.block.Body.Attributes["provider"], prefix)
	in := scope{"self": shapeOf(known)}
	if r.block.Body.Attributes["for_each"] != nil {
		in["each"] = c.each(r.block.Body.Attributes["for_each"].Expr)
	}
	if r.block.Body.Attributes["count"] != nil {
		in["count"] = &shape{attrs: map[string]*shape{"index": scalar}}
	}
	c.body(r.block.Body, with(known, plain["thing"]), r.address(), in)
}

func (c *checker) checkRepetition(b *hclsyntax.Block) {
	if b.Body.Attributes["for_each"] != nil && b.Body.Attributes["count"] != nil {
		c.say(b.TypeRange, "count and for_each stand together")
	}
}

// checkProvider wants the name of a provider that is set up here or handed over.
func (c *checker) checkProvider(a *hclsyntax.Attribute, prefix string) {
	if a == nil {
		return
	}
	name := address(a.Expr)
	if !c.aliases[name] && c.set[name] == nil && (name != prefix || strings.HasPrefix(c.dir, "environments/")) {
		c.say(a.SrcRange, "provider %s is not set up here and not handed over", name)
	}
	if first, _, _ := strings.Cut(name, "."); first != prefix {
		c.say(a.SrcRange, "provider %s is not of %s_…", name, prefix)
	}
	c.used[name] = true
}

// checkCall holds a call against the variables of the module that it calls.
func (c *checker) checkCall(name string, b *hclsyntax.Block) {
	c.from = "module." + name
	c.checkRepetition(b)
	callee, ok := c.callee(b)
	if !ok {
		c.say(b.TypeRange, "module %s: no module is in %q", name, text(b.Body.Attributes["source"]))
		return
	}
	takes := &block{Arguments: map[string]argument{}}
	for variable, v := range callee.variables {
		takes.Arguments[variable] = argument{Required: !v.optional, Type: look(v.typ)}
	}
	c.body(b.Body, with(takes, plain["call"]), "module "+name, scope{})
	given := map[string]bool{}
	if a := b.Body.Attributes["providers"]; a != nil {
		object, _ := a.Expr.(*hclsyntax.ObjectConsExpr)
		for _, item := range object.Items {
			key, value := address(item.KeyExpr), address(item.ValueExpr)
			given[key] = true
			c.used[value] = true
			first, _, _ := strings.Cut(key, ".")
			if _, required := callee.requires[first]; !required || strings.Contains(key, ".") && !callee.aliases[key] {
				c.say(a.SrcRange, "module %s takes no provider %s", name, key)
			}
			if c.set[value] == nil {
				c.say(a.SrcRange, "provider %s is not set up here", value)
			}
		}
	}
	for alias := range callee.aliases {
		if !given[alias] {
			c.say(b.TypeRange, "module %s needs provider %s", name, alias)
		}
	}
	for needed := range callee.requires {
		if c.set[needed] == nil && !given[needed] {
			c.say(b.TypeRange, "module %s needs provider %s, and none is set up here", name, needed)
		}
	}
}

func (c *checker) callee(b *hclsyntax.Block) (*module, bool) {
	m, ok := c.modules[path.Join(c.dir, text(b.Body.Attributes["source"]))]
	return m, ok
}

// body holds what stands in a block against what may stand there. Expressions are
// read in the given scope.
func (c *checker) body(b *hclsyntax.Body, known *block, where string, in scope) {
	for _, a := range b.Attributes {
		want, ok := known.Arguments[a.Name]
		c.counted.arguments++
		switch {
		case ok:
		case known.Blocks[a.Name] != nil:
			c.say(a.NameRange, "%s: %s is a block, without =", where, a.Name)
		case slices.Contains(known.Attributes, a.Name):
			c.say(a.NameRange, "%s: %s can only be read", where, a.Name)
		default:
			c.say(a.NameRange, "%s takes no argument %s%s", where, a.Name, nearest(a.Name, known.Arguments))
			continue
		}
		if want.Type == names {
			continue
		}
		if wrong := want.fits(lookOf(a.Expr)); wrong != "" {
			c.say(a.SrcRange, "%s: %s %s", where, a.Name, wrong)
		}
		c.infer(a.Expr, in)
	}
	seen := map[string]int{}
	for _, inner := range b.Blocks {
		name, content, innerScope := inner.Type, inner.Body, in
		if inner.Type == "dynamic" {
			if name, content, innerScope = c.dynamic(inner, in); content == nil {
				continue
			}
		}
		what, ok := known.Blocks[name]
		switch {
		case !ok && known.Arguments[name].Type != "":
			c.say(inner.TypeRange, "%s: %s is an argument, with =", where, name)
		case !ok:
			c.say(inner.TypeRange, "%s takes no block %s%s", where, name, nearest(name, known.Blocks))
		case seen[name] == 1 && !what.Repeatable:
			c.say(inner.TypeRange, "%s takes one block %s", where, name)
		default:
			c.body(content, what, where+" › "+name, innerScope)
			c.checkIgnored(name, content, known)
		}
		seen[name]++
	}
	for name, want := range known.Arguments {
		if want.Required && b.Attributes[name] == nil {
			c.say(b.SrcRange, "%s: %s is missing", where, name)
		}
	}
	for name, want := range known.Blocks {
		if want.Required && seen[name] == 0 {
			c.say(b.SrcRange, "%s: block %s is missing", where, name)
		}
	}
}

// dynamic opens a block that stands for many.
func (c *checker) dynamic(b *hclsyntax.Block, in scope) (string, *hclsyntax.Body, scope) {
	each, iterator := b.Body.Attributes["for_each"], ""
	if a := b.Body.Attributes["iterator"]; a != nil {
		iterator = address(a.Expr)
	}
	if len(b.Labels) != 1 || each == nil || len(b.Body.Blocks) != 1 || b.Body.Blocks[0].Type != "content" {
		c.say(b.TypeRange, "dynamic wants a name, for_each and one block content")
		return "", nil, nil
	}
	if iterator == "" {
		iterator = b.Labels[0]
	}
	inner := maps.Clone(in)
	inner[iterator] = &shape{attrs: map[string]*shape{"key": scalar, "value": element(c.infer(each.Expr, in))}}
	return b.Labels[0], b.Body.Blocks[0].Body, inner
}

// checkIgnored wants names of the thing itself in ignore_changes.
func (c *checker) checkIgnored(name string, b *hclsyntax.Body, of *block) {
	a := b.Attributes["ignore_changes"]
	if name != "lifecycle" || a == nil {
		return
	}
	names, diags := hcl.ExprList(a.Expr)
	for _, d := range diags {
		c.say(a.SrcRange, "ignore_changes: %s", d.Detail)
	}
	for _, e := range names {
		first, _, _ := strings.Cut(address(e), ".")
		if _, ok := of.Arguments[first]; !ok && of.Blocks[first] == nil {
			c.say(a.SrcRange, "ignore_changes names %s, which is nothing here%s", first, nearest(first, of.Arguments))
		}
	}
}

// checkUnused finds what is declared and never read: often the other half of a
// misspelt name.
func (c *checker) checkUnused() {
	for name, v := range c.variables {
		if !c.used["var."+name] && !hasBlock(v.block.Body, "validation") {
			c.say(v.block.TypeRange, "variable %s is never used", name)
		}
	}
	for name, a := range c.locals {
		if !c.used["local."+name] {
			c.say(a.SrcRange, "local %s is never used", name)
		}
	}
	for address, r := range c.things {
		if r.kind == "data" && !c.used[address] {
			c.say(r.block.TypeRange, "%s is never used", address)
		}
	}
	for alias := range c.aliases {
		if !c.used[alias] {
			c.say(c.settings.SrcRange, "provider %s is asked for and never used", alias)
		}
	}
}

func hasBlock(b *hclsyntax.Body, typ string) bool {
	return slices.ContainsFunc(b.Blocks, func(inner *hclsyntax.Block) bool { return inner.Type == typ })
}

// checkCycles finds things that wait for one another.
func (c *checker) checkCycles() {
	const busy, done = 1, 2
	state := map[string]int{}
	var visit func(node string) bool
	visit = func(node string) bool {
		if state[node] != 0 {
			return state[node] == busy
		}
		state[node] = busy
		for _, next := range slices.Sorted(maps.Keys(c.edges[node])) {
			if next != node && visit(next) {
				c.problems = append(c.problems, c.dir+": "+node+" and "+next+" wait for one another")
				break
			}
		}
		state[node] = done
		return false
	}
	for _, node := range slices.Sorted(maps.Keys(c.edges)) {
		visit(node)
	}
}
