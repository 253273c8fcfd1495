package terraform_test

import (
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// TestRed breaks the real files, one word at a time. A check that nothing fails
// would pass everything.
func TestRed(t *testing.T) {
	t.Parallel()
	const events, example = "modules/aws-marketplace/main.tf", "environments/example/main.tf"
	cases := map[string]struct {
		file, old, new string
		says           string
	}{
		"a misspelt argument":                {events, "visibility_timeout_seconds", "visibility_timeout_second", "aws_sqs_queue.events takes no argument visibility_timeout_second (nearest is visibility_timeout_seconds)"},
		"a misspelt argument of a block":     {events, "maximum_retry_attempts", "maximum_retries", "aws_cloudwatch_event_target.server › retry_policy takes no argument maximum_retries"},
		"an argument that is missing":        {events, `http_method                      = "POST"`, "", "aws_cloudwatch_event_api_destination.server: http_method is missing"},
		"an argument that can only be read":  {events, "receive_wait_time_seconds  = 20", `arn = "x"`, "aws_sqs_queue.events: arn can only be read"},
		"a value of another type":            {events, "receive_wait_time_seconds  = 20", "receive_wait_time_seconds = [20]", "receive_wait_time_seconds is a list, want number"},
		"an unknown resource":                {events, `"aws_sqs_queue_policy" "dead"`, `"aws_sqs_queue_polic" "dead"`, "resource aws_sqs_queue_polic is not in the provider's schema (nearest is aws_sqs_queue_policy)"},
		"an unknown data source":             {events, `data "aws_caller_identity"`, `data "aws_caller"`, "data aws_caller is not in the provider's schema"},
		"an unknown block":                   {events, "retry_policy {", "retry {", "aws_cloudwatch_event_target.server takes no block retry"},
		"an unknown block at the top":        {events, `resource "aws_sqs_queue" "dead"`, `resourcex "aws_sqs_queue" "dead"`, "resourcex is no block (nearest is resource)"},
		"a block that is missing":            {events, "auth_parameters {", "lifecycle {", "block auth_parameters is missing"},
		"a block as an argument":             {events, "retry_policy {", "retry_policy = {", "retry_policy is a block, without ="},
		"a block twice":                      {events, "retry_policy {", "retry_policy {}\n  retry_policy {", "takes one block retry_policy"},
		"a resource that is not there":       {events, "aws_sqs_queue.dead.arn\n    maxReceiveCount", "aws_sqs_queue.deadly.arn\n    maxReceiveCount", "aws_sqs_queue.deadly is not declared (nearest is aws_sqs_queue.dead)"},
		"an attribute that is not there":     {events, "queue_url = aws_sqs_queue.dead.url", "queue_url = aws_sqs_queue.dead.uri", "aws_sqs_queue.dead has no uri (nearest is url)"},
		"an attribute, behind a loop":        {events, ": rule.arn]", ": rule.arm]", "rule has no arm (nearest is arn)"},
		"a list without its index":           {events, "queue_url = aws_sqs_queue.events[0].url", "queue_url = aws_sqs_queue.events.url", "is a list: url needs an index"},
		"a variable that is not there":       {events, "tags          = var.labels", "tags          = var.lables", "variable lables is not declared (nearest is labels)"},
		"a local that is not there":          {events, "message_retention_seconds = local.keep_seconds", "message_retention_seconds = local.keep", "local keep is not declared"},
		"a local that nobody reads":          {events, "  event_key_header = ", "  event_header = ", "local event_header is never used"},
		"a provider that is not handed over": {example, "    google.linked = google.linked\n", "", "module gcp needs provider google.linked"},
		"an unknown function":                {events, "contains(var.delivery", "contain(var.delivery", "contain is no function (nearest is contains)"},
		"each where there is none":           {events, `name                      = "${var.name}-dead"`, `name                      = "${each.key}-dead"`, "each stands where there is none"},
		"something declared twice":           {events, `resource "aws_sqs_queue" "events"`, `resource "aws_sqs_queue" "dead"`, "resource aws_sqs_queue.dead is declared twice"},
		"two that wait for one another":      {events, `name                      = "${var.name}-dead"`, `name                      = "${var.name}-${aws_sqs_queue.events[0].name}"`, "wait for one another"},
		"a file that is no HCL":              {events, "retry_policy {", "retry_policy {{", "Argument or block definition required"},
		"an input that nobody takes":         {example, "public_url ", "public_uri ", "module aws takes no argument public_uri (nearest is public_url)"},
		"an input that is missing":           {example, "public_url ", "# ", "module aws: public_url is missing"},
		"an output that is not there":        {"environments/example/outputs.tf", "module.aws.settings", "module.aws.setting", "module.aws has no setting (nearest is settings)"},
		"a module that is not there":         {example, "modules/aws-marketplace", "modules/aws", `no module is in "../../modules/aws"`},
		"another version of a provider":      {example, "~> 6.25", "~> 7.0", "does not admit"},
	}
	known := readSchemas(t, schemaDir)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tree := files(t)
			text := string(tree[c.file].Data)
			if !strings.Contains(text, c.old) {
				t.Fatalf("%s has no %q: nothing would be broken", c.file, c.old)
			}
			tree[c.file] = &fstest.MapFile{Data: []byte(strings.Replace(text, c.old, c.new, 1))}
			problems, _ := check(t, tree, known)
			if all := strings.Join(problems, "\n"); !strings.Contains(all, c.says) {
				t.Errorf("got:\n%s\nwant a problem that says %q", all, c.says)
			}
		})
	}
}

// TestEveryMisspelling adds a letter to every argument's name and to the last name of
// every reference, each alone: the check must see all of them. A name that stands in a
// file many times is misspelt in one place of it.
func TestEveryMisspelling(t *testing.T) {
	t.Parallel()
	known := readSchemas(t, schemaDir)
	texts, modules := files(t), map[string]*module{}
	for _, m := range loadAll(t, texts) {
		modules[m.dir] = m
	}
	for dir, right := range modules {
		t.Run(dir, func(t *testing.T) {
			t.Parallel()
			with := func(name string, text []byte) []string {
				m := newModule(dir)
				for file, body := range right.files {
					if file == name {
						m.parse(name, text)
					} else {
						m.add(file, body)
					}
				}
				c := &checker{module: m, schemas: known, modules: maps.Clone(modules)}
				c.modules[dir] = m
				return c.check()
			}
			if problems := with("", nil); len(problems) > 0 {
				t.Fatalf("red before anything is misspelt: %q", problems)
			}
			names := map[string]bool{}
			for _, at := range spellings(right) {
				text := texts[at.Filename].Data
				name := at.Filename + string(at.SliceBytes(text))
				if names[name] {
					continue
				}
				names[name] = true
				if len(with(at.Filename, slices.Concat(text[:at.End.Byte], []byte("x"), text[at.End.Byte:]))) == 0 {
					t.Errorf("%s:%d: %sx is not seen", at.Filename, at.Start.Line, at.SliceBytes(text))
				}
			}
			if len(names) < 30 {
				t.Errorf("only %d names were misspelt", len(names))
			}
		})
	}
}

// spellings are the names of a module's arguments, and the last names of what its
// expressions refer to. Names that the module gives away to labels and metrics
// (the keys of maps) are not among them.
func spellings(m *module) (out []hcl.Range) {
	for _, body := range m.files {
		_ = hclsyntax.VisitAll(body, func(node hclsyntax.Node) hcl.Diagnostics {
			switch node := node.(type) {
			case *hclsyntax.Attribute:
				out = append(out, node.NameRange)
			case *hclsyntax.ScopeTraversalExpr:
				last := slices.IndexFunc(node.Traversal[1:], func(step hcl.Traverser) bool { _, name := step.(hcl.TraverseAttr); return !name })
				end := node.Traversal[len(node.Traversal)-1]
				if attr, ok := end.(hcl.TraverseAttr); ok && last < 0 {
					at := attr.SrcRange
					at.Start.Byte++ // the dot
					out = append(out, at)
				}
			}
			return nil
		})
	}
	return out
}

// files are the real ones, in memory.
func files(t *testing.T) fstest.MapFS {
	t.Helper()
	out := fstest.MapFS{}
	tree := os.DirFS(".")
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(name) != ".tf" {
			return err
		}
		text, err := fs.ReadFile(tree, name)
		out[name] = &fstest.MapFile{Data: text}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
