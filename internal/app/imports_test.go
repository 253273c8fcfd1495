package app_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/tailmarket/tailmarket/"

// rule says what the files of a room, tests aside, may import besides the
// standard library. A folder without a rule of its own follows its nearest
// parent's, and may import within that parent. Rooms that do not exist yet have
// their rule already.
type rule struct {
	room string
	may  string // rooms without "internal/", groups and kinds, separated by commas
	why  string // what the border protects
}

// Groups keep the table short. A kind of library is a group too.
var groups = map[string]string{
	"leaves":   "fault, id, money, clock, decimal, uuid",
	"domain":   "marketplace, catalog, subscription, intake, provisioning, billing, billing/ledger, billing/usagefile, billing/finance, partner, ltv, notify, identity",
	"all":      "leaves, telemetry, domain, config, due, fleet, store, httpapi, console, adapters, drivers, Echo, pages, sessions, metrics, AWS SDK, Google SDK, Azure SDK, Redis, rate limiter, token checks",
	"adapters": "marketplace/aws, marketplace/gcp, marketplace/azure",
	"drivers":  "provisioning/tailscale, provisioning/headscale, provisioning/embedded",
}

// Kinds of libraries, by the beginning of their import path. A library of no
// kind is refused everywhere: a dependency is a colleague, and an ADR hires it.
var kinds = map[string][]string{
	"AWS SDK":          {"github.com/aws/aws-sdk-go-v2", "github.com/aws/smithy-go"},
	"Azure SDK":        {"github.com/Azure/azure-sdk-for-go"},
	"Google SDK":       {"cloud.google.com/go", "google.golang.org/api"},
	"tailnet clients":  {"tailscale.com/client/tailscale", "github.com/tailscale/hujson"},
	"Echo":             {"github.com/labstack/echo"},
	"OpenAPI":          {"github.com/oapi-codegen", "github.com/getkin/kin-openapi"},
	"pages":            {"github.com/a-h/templ"},
	"sessions":         {"github.com/alexedwards/scs"},
	"token checks":     {"github.com/coreos/go-oidc", "github.com/go-jose/go-jose", "golang.org/x/oauth2"},
	"SQL drivers":      {"database/sql", "github.com/jackc/pgx", "modernc.org/sqlite", "github.com/pressly/goose"},
	"Redis":            {"github.com/redis/go-redis", "github.com/go-redis/redis_rate"},
	"rate limiter":     {"golang.org/x/time/rate"},
	"metrics":          {"github.com/prometheus/client_golang"},
	"wire codecs":      {"github.com/fxamacker/cbor", "golang.org/x/net/html"},
	"gRPC":             {"google.golang.org/grpc", "google.golang.org/protobuf", "cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"},
	"YAML":             {"github.com/goccy/go-yaml", "github.com/santhosh-tekuri/jsonschema"},
	"statistics":       {"gonum.org/v1/gonum"},
	"columnar files":   {"github.com/parquet-go/parquet-go"},
	"decimal":          {"github.com/govalues/decimal"},
	"uuid":             {"github.com/google/uuid"},
	"currencies":       {"golang.org/x/text/currency"},
	"testing packages": {"testing", "net/http/httptest", "github.com/google/go-cmp", "pgregory.net/rapid", "go.uber.org/goleak", "github.com/chromedp"},
}

var table = []rule{
	{"internal/fault", "", "every room speaks its words, so it stands on nothing"},
	{"internal/id", "uuid", "every room speaks its words, so it stands on nothing"},
	{"internal/money", "fault, decimal, currencies", "every room counts with it, so it stands on nothing"},
	{"internal/clock", "fault", "every room asks it for the hour, so it stands on nothing"},
	{"internal/telemetry", "leaves, metrics", "every room may log and count, so it knows none of them"},
	{"internal/config", "leaves, YAML", "settings are text and numbers; internal/app turns them into things"},

	{"internal/marketplace", "leaves, telemetry", "the three adapters and everything above them meet here; it takes no side"},
	{"internal/marketplace/aws", "marketplace, leaves, telemetry, AWS SDK", "an adapter translates and decides nothing, and two adapters that share code cannot be compared"},
	{"internal/marketplace/gcp", "marketplace, leaves, telemetry, Google SDK, gRPC, token checks", "an adapter translates and decides nothing, and two adapters that share code cannot be compared"},
	{"internal/marketplace/azure", "marketplace, leaves, telemetry, Azure SDK, token checks", "an adapter translates and decides nothing, and two adapters that share code cannot be compared"},
	{"internal/marketplace/marketplacetest", "marketplace, leaves, telemetry, testing packages", "one suite judges three adapters, so it knows none of them"},
	{"internal/simulator", "leaves, wire codecs, gRPC", "two readings of the vendors' documents must meet on the wire and nowhere else"},

	{"internal/catalog", "leaves, YAML", "what is sold is data that every room reads"},
	{"internal/subscription", "marketplace, catalog, leaves, telemetry", "state is a function of facts; who stores, serves or schedules them must not matter"},
	{"internal/intake", "subscription, marketplace, leaves, telemetry", "the one door for outside messages knows no vendor and no database"},
	{"internal/provisioning", "subscription, catalog, leaves, telemetry", "a tailnet's life must not depend on what is billed for it"},
	{"internal/provisioning/tailscale", "provisioning, leaves, telemetry, tailnet clients, token checks", "a driver translates and decides nothing"},
	{"internal/provisioning/headscale", "provisioning, leaves, telemetry, tailnet clients", "a driver translates and decides nothing"},
	{"internal/provisioning/embedded", "provisioning, leaves, telemetry, tailnet clients", "a driver translates and decides nothing"},
	{"internal/provisioning/provisioningtest", "provisioning, leaves, telemetry, testing packages", "one suite judges all drivers, so it knows none of them"},

	{"internal/billing", "catalog, billing/ledger, marketplace, leaves, telemetry", "a bill must be computable again from records and terms alone"},
	{"internal/billing/ledger", "leaves", "the only maker of billing facts is pure, so that a model can check it"},
	{"internal/billing/usagefile", "billing, leaves, YAML", "a file's columns are somebody else's words; they end where an event begins"},
	{"internal/billing/finance", "billing, billing/ledger, catalog, marketplace, leaves, telemetry", "finance reads what billing says and never asks an adapter or a table"},
	{"internal/ltv", "leaves, statistics", "numbers in, numbers out"},
	{"internal/partner", "subscription, billing/finance, provisioning, ltv, leaves, telemetry", "credit follows evidence and revenue facts, whichever marketplace they came from"},

	{"internal/notify", "leaves, telemetry", "it carries messages and does not know what they are about"},
	{"internal/identity", "leaves, telemetry, sessions, token checks", "who may do what is asked by every door and knows none"},
	{"internal/fleet", "leaves, telemetry, Redis, rate limiter", "what replicas may lose must hold nothing of the domain"},
	{"internal/due", "leaves, telemetry", "it runs work and does not know what the work is"},

	{"internal/store", "domain, due, provisioning/embedded, leaves, telemetry, SQL drivers", "it keeps what the rooms tell it; vendors and pages never reach a table"},
	{"internal/store/storetest", "store, domain, due, provisioning/embedded, leaves, telemetry, SQL drivers, testing packages", "one suite judges both engines"},
	{"internal/httpapi", "domain, fleet, console, leaves, telemetry, Echo, OpenAPI, pages, sessions", "a handler decodes, calls one method and encodes"},
	{"internal/console", "domain, fleet, leaves, telemetry, Echo, pages, sessions", "a page shows what a room says"},
	{"internal/app", "all", "it runs against real marketplaces; a simulator inside it could answer for one"},
	{"internal/e2e", "", "it is tests only"},

	{"pkg/usage", "", "whoever is metered imports it, and takes nothing else of ours along"},

	{"cmd/api", "app, config, leaves, telemetry", "the operator's tool is the app under a name"},
	{"cmd/demo", "app, config, simulator, leaves, telemetry", "it compares the simulator's bill with the app's ledger and so reads both only over HTTP"},
	{"cmd/simulator", "simulator, leaves, telemetry", "the marketplaces alone"},
}

// Advice for what is refused most often, by room or kind. The first that fits
// counts, so the longer names come first.
var advice = []struct{ target, instead string }{
	{"store", "declare the few methods you need as Store and Tx in your own room; internal/store implements them and internal/app passes them"},
	{"SQL drivers", "put the statement into internal/store/queries and the engines' differences into internal/store/dialect.go, behind your room's own interface"},
	{"simulator", "start it in a test or in cmd/demo and talk to it over the wire"},
	{"adapters", "use marketplace.Adapter; internal/app chooses and passes the concrete one"},
	{"AWS SDK", "put the vendor's call into internal/marketplace/aws and speak marketplace's words here"},
	{"Google SDK", "put the vendor's call into internal/marketplace/gcp and speak marketplace's words here"},
	{"Azure SDK", "put the vendor's call into internal/marketplace/azure and speak marketplace's words here"},
	{"Echo", "take and return plain values; internal/httpapi decodes and encodes them"},
	{"due", "call Mark of your room's own Tx interface; internal/app says which function works the row"},
	{"app", "take what you need as an argument; only cmd and the e2e tests construct"},
	{"testing packages", "move it into a _test.go file or into a room whose name ends in test"},
}

const (
	otherRoom    = "declare what you need as an interface in your own room and let internal/app pass the implementation"
	otherLibrary = "do it in the room whose work this library is"
	newLibrary   = "if nothing at hand does it, write an ADR (docs/adr) that says what it replaces and who keeps it, and give it a kind here"
)

// file is a Go file and what it imports.
type file struct {
	path    string
	imports []string
}

// refusals judges files by the table, one text for each import that is not
// allowed.
func refusals(files []file) []string {
	var out []string
	for _, f := range files {
		r, ok := ruleOf(path.Dir(f.path))
		if !ok {
			out = append(out, fmt.Sprintf("%s is in a room without a rule\n  why:     every room says what it may lean on before anything leans on it\n  instead: add the room to the table in internal/app/imports_test.go", f.path))
			continue
		}
		allowed := expand(r.may)
		for _, imported := range f.imports {
			target, instead := judge(r, allowed, imported)
			if target == "" {
				continue
			}
			may := r.may
			if may == "" {
				may = "the standard library only"
			}
			out = append(out, fmt.Sprintf("%s imports %s (%s)\n  rule:    %s may import %s\n  why:     %s\n  instead: %s",
				f.path, strings.TrimPrefix(imported, module), target, r.room, may, r.why, instead))
		}
	}
	return out
}

// judge names what kind of thing imported is and what to do instead, or
// returns "" when it is allowed.
func judge(r rule, allowed map[string]bool, imported string) (target, instead string) {
	if inside, ours := strings.CutPrefix(imported, module); ours {
		to, ok := ruleOf(inside)
		if ok && to.room == r.room {
			return "", ""
		}
		room := strings.TrimPrefix(inside, "internal/")
		if ok {
			room = strings.TrimPrefix(to.room, "internal/")
		}
		if allowed[room] {
			return "", ""
		}
		return "room " + room, instructed(room, otherRoom)
	}
	kind, longest := "", 0 // wire types may lie inside an SDK: the closest name counts
	for name, paths := range kinds {
		for _, p := range paths {
			if within(imported, p) && len(p) > longest {
				kind, longest = name, len(p)
			}
		}
	}
	switch {
	case kind == "":
	case allowed[kind]:
		return "", ""
	default:
		return kind, instructed(kind, otherLibrary)
	}
	if first, _, _ := strings.Cut(imported, "/"); strings.Contains(first, ".") {
		return "a library nobody has asked for", newLibrary
	}
	return "", ""
}

func instructed(target, otherwise string) string {
	for _, a := range advice {
		if target == a.target || expand(a.target)[target] {
			return a.instead
		}
	}
	return otherwise
}

// ruleOf finds the rule of a folder or of its nearest parent.
func ruleOf(folder string) (rule, bool) {
	for dir := folder; dir != "." && dir != "/"; dir = path.Dir(dir) {
		if i := slices.IndexFunc(table, func(r rule) bool { return r.room == dir }); i >= 0 {
			return table[i], true
		}
	}
	return rule{}, false
}

func expand(list string) map[string]bool {
	out := map[string]bool{}
	for name := range strings.SplitSeq(list, ", ") {
		out[name] = true
		for member := range expandGroup(name) {
			out[member] = true
		}
	}
	return out
}

func expandGroup(name string) map[string]bool {
	if members, ok := groups[name]; ok {
		return expand(members)
	}
	return nil
}

// within matches major versions too: github.com/labstack/echo/v4 is within
// github.com/labstack/echo.
func within(imported, p string) bool { return imported == p || strings.HasPrefix(imported, p+"/") }

func TestImports(t *testing.T) {
	t.Parallel()
	files := tree(t, os.DirFS("../.."))
	if len(files) < 10 {
		t.Fatalf("only %d files found: the test looks in the wrong place", len(files))
	}
	for _, text := range refusals(files) {
		t.Error(text)
	}
}

// tree reads the imports of every file of the rooms that is not a test.
func tree(t *testing.T, root fs.FS) []file {
	t.Helper()
	var files []file
	for _, top := range []string{"cmd", "internal"} {
		err := fs.WalkDir(root, top, func(name string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && d.Name() == "testdata":
				return fs.SkipDir
			case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
				return nil
			}
			text, err := fs.ReadFile(root, name)
			if err != nil {
				return err
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ImportsOnly)
			if err != nil {
				return err
			}
			f := file{path: name}
			for _, spec := range parsed.Imports {
				imported, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					return err
				}
				f.imports = append(f.imports, imported)
			}
			files = append(files, f)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// A table that refuses nothing would pass TestImports too.
func TestTheTableRefuses(t *testing.T) {
	t.Parallel()
	cases := []struct {
		file, imports string
		says          string // part of the refusal; empty when it must pass
	}{
		{"internal/billing/seal.go", module + "internal/subscription", "declare what you need as an interface"},
		{"internal/billing/seal.go", module + "internal/billing/ledger", ""},
		{"internal/billing/seal.go", module + "internal/store", "declare the few methods you need as Store"},
		{"internal/billing/ledger/entry.go", module + "internal/billing", "only maker of billing facts"},
		{"internal/billing/ledger/entry.go", "github.com/google/uuid", ""},
		{"internal/subscription/service.go", module + "internal/due", "call Mark"},
		{"internal/subscription/service.go", "database/sql", "internal/store/queries"},
		{"internal/intake/accept.go", module + "internal/marketplace/aws", "use marketplace.Adapter"},
		{"internal/intake/accept.go", "github.com/labstack/echo/v4", "plain values"},
		{"internal/marketplace/aws/submit.go", "github.com/aws/aws-sdk-go-v2/service/sqs", ""},
		{"internal/marketplace/aws/submit.go", module + "internal/marketplace/gcp", "use marketplace.Adapter"},
		{"internal/marketplace/aws/submit.go", module + "internal/simulator", "over the wire"},
		{"internal/marketplace/aws/wire/wire.go", module + "internal/marketplace/aws", ""},
		{"internal/marketplace/marketplacetest/run.go", "testing", ""},
		{"internal/marketplace/run.go", "testing", "_test.go"},
		{"internal/simulator/bill.go", module + "internal/marketplace", "meet on the wire"},
		{"internal/simulator/bill.go", "github.com/aws/aws-sdk-go-v2/aws", "internal/marketplace/aws"},
		{"internal/simulator/bill.go", module + "internal/telemetry", "meet on the wire"},
		{"internal/simulator/bill.go", "github.com/fxamacker/cbor/v2", ""},
		{"internal/store/usage.go", module + "internal/marketplace/aws", "vendors and pages never reach a table"},
		{"internal/store/usage.go", "github.com/jackc/pgx/v5/pgxpool", ""},
		{"internal/httpapi/usage.go", module + "internal/store/db", "declare the few methods"},
		{"internal/app/adapters.go", module + "internal/simulator", "over the wire"},
		{"internal/app/adapters.go", module + "internal/marketplace/aws", ""},
		{"internal/console/page.go", module + "internal/app", "only cmd and the e2e tests construct"},
		{"cmd/demo/main.go", module + "internal/store", "reads both only over HTTP"},
		{"cmd/demo/main.go", module + "internal/simulator", ""},
		{"internal/catalog/catalog.go", "gopkg.in/yaml.v3", "write an ADR"},
		{"internal/helpers/helpers.go", "fmt", "room without a rule"},
		{"internal/ltv/fit.go", "math", ""},
	}
	for _, c := range cases {
		got := strings.Join(refusals([]file{{c.file, []string{c.imports}}}), "\n")
		if (c.says == "") != (got == "") || !strings.Contains(got, c.says) {
			t.Errorf("%s importing %s: want %q, got %q", c.file, c.imports, c.says, got)
		}
	}
}

// A misspelt name in the table would allow nothing and warn nobody.
func TestTheTableNamesOnlyWhatExists(t *testing.T) {
	t.Parallel()
	known := func(name string) bool {
		_, isKind := kinds[name]
		_, isGroup := groups[name]
		return isKind || isGroup || name == "" ||
			slices.ContainsFunc(table, func(r rule) bool { return strings.TrimPrefix(r.room, "internal/") == name })
	}
	lists := map[string]string{}
	for _, r := range table {
		if _, twice := lists[r.room]; twice {
			t.Errorf("%s has two rules", r.room)
		}
		lists[r.room] = r.may
	}
	for name, members := range groups {
		lists["group "+name] = members
	}
	for _, a := range advice {
		lists["advice on "+a.target] = a.target
	}
	for where, list := range lists {
		for name := range strings.SplitSeq(list, ", ") {
			if !known(name) {
				t.Errorf("%s: there is no room, group or kind %q", where, name)
			}
		}
	}
}
