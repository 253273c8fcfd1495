package terraform_test

import (
	"bytes"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/tailmarket/tailmarket/internal/config"
	"github.com/tailmarket/tailmarket/internal/telemetry"
)

// TestAlike wants what a caller learnt of one module to be true of the others.
func TestAlike(t *testing.T) {
	t.Parallel()
	type face struct {
		Files, Outputs []string
		Variables      map[string]string // types
	}
	tree := os.DirFS(".")
	faces := map[string]face{}
	for _, m := range loadAll(t, tree) {
		if path.Dir(m.dir) != "modules" {
			continue
		}
		entries, err := fs.ReadDir(tree, m.dir)
		if err != nil {
			t.Fatal(err)
		}
		f := face{Outputs: slices.Sorted(maps.Keys(m.outputs)), Variables: map[string]string{}}
		for _, e := range entries {
			f.Files = append(f.Files, e.Name())
		}
		for name, v := range m.variables {
			f.Variables[name] = typeexpr.TypeString(v.typ)
		}
		faces[m.dir] = f
	}
	if len(faces) != 3 {
		t.Fatalf("%d modules found, want 3", len(faces))
	}
	for dir, f := range faces {
		if diff := gocmp.Diff(faces["modules/aws-marketplace"], f); diff != "" {
			t.Errorf("modules/aws-marketplace and %s differ:\n%s", dir, diff)
		}
	}
}

var setting = regexp.MustCompile(`^TAILMARKET_[A-Z0-9_]+$`)

// TestSettingsAreKnown wants every setting that a module hands out to be one that
// the server reads: it refuses to start with any other.
func TestSettingsAreKnown(t *testing.T) {
	t.Parallel()
	var printed bytes.Buffer
	if err := config.Default().Print(&printed); err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for line := range strings.Lines(printed.String()) {
		known[strings.Fields(line)[0]] = true
	}
	n := 0
	for _, m := range loadAll(t, os.DirFS(".")) {
		for _, body := range m.files {
			_ = hclsyntax.VisitAll(body, func(node hclsyntax.Node) hcl.Diagnostics {
				var name string
				switch node := node.(type) {
				case *hclsyntax.ObjectConsKeyExpr:
					name = literal(node)
				case *hclsyntax.TemplateExpr:
					name = literal(node)
				}
				if setting.MatchString(name) {
					if n++; !known[name] {
						t.Errorf("%s: the server has no setting %s%s", m.dir, name, nearest(name, known))
					}
				}
				return nil
			})
		}
	}
	if n < 15 {
		t.Errorf("only %d settings found: the test looks in the wrong place", n)
	}
}

var metric = regexp.MustCompile(`\btailmarket_\w+`)

// TestAlarmsWatchWhatExists wants every metric of the server that an alarm names to
// be one that the server tells, with those labels.
func TestAlarmsWatchWhatExists(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics(telemetry.Build{Version: "1", Revision: "1", Go: "1"})
	m.WebhookAnswered("azure", http.StatusServiceUnavailable)
	told := httptest.NewRecorder()
	m.Private().ServeHTTP(told, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	text, err := os.ReadFile("modules/azure-marketplace/alarms.tf")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(told.Body.String(), `tailmarket_webhook_answers_total{marketplace="azure",status="503"} 1`) {
		t.Error("the server tells its webhook's answers in another way than the alarm reads them")
	}
	names := metric.FindAllString(string(text), -1)
	for _, name := range names {
		if !strings.Contains(told.Body.String(), "\n"+name+"{") {
			t.Errorf("the server tells no metric %s", name)
		}
	}
	if len(names) < 2 {
		t.Errorf("%d metrics found: the test looks in the wrong place", len(names))
	}
}

var (
	sdkCall    = regexp.MustCompile(`\ba\.(metering|entitlement|agreement|queue)\.([A-Z]\w+)\(`)
	sqsAction  = regexp.MustCompile(`"sqs:(\w+)"`)
	saleAction = regexp.MustCompile(`"aws-marketplace:(\w+)"`)
)

// TestExactlyTheNeededActions wants the role in the seller's account to allow what
// the adapter calls, and nothing else.
func TestExactlyTheNeededActions(t *testing.T) {
	t.Parallel()
	const adapter = "../internal/marketplace/aws"
	calls := map[string]bool{}
	sources, err := fs.Glob(os.DirFS(adapter), "*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range sources {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(path.Join(adapter, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, call := range sdkCall.FindAllSubmatch(text, -1) {
			prefix := "aws-marketplace:"
			if string(call[1]) == "queue" {
				prefix = "sqs:"
			}
			calls[prefix+string(call[2])] = true
		}
	}
	text, err := os.ReadFile("modules/aws-marketplace/identity.tf")
	if err != nil {
		t.Fatal(err)
	}
	allowed := map[string]bool{}
	for prefix, of := range map[string]*regexp.Regexp{"sqs:": sqsAction, "aws-marketplace:": saleAction} {
		for _, action := range of.FindAllSubmatch(text, -1) {
			allowed[prefix+string(action[1])] = true
		}
	}
	if diff := gocmp.Diff(slices.Sorted(maps.Keys(calls)), slices.Sorted(maps.Keys(allowed))); diff != "" || len(calls) < 8 {
		t.Errorf("internal/marketplace/aws calls (-), the role may (+):\n%s", diff)
	}
}
