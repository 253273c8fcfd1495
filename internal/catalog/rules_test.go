package catalog_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tailmarket/tailmarket/internal/catalog"
)

var can = []string{"human_users", "device_approval"}

// Every rule has a file in testdata/rules that breaks it alone, in the line that
// says so.
func TestEveryRuleIsBrokenAlone(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/rules/*.yaml")
	if err != nil || len(files) != len(catalog.Rules()) {
		t.Errorf("%d files for %d rules, %v", len(files), len(catalog.Rules()), err)
	}
	for _, r := range catalog.Rules() {
		t.Run(r.ID, func(t *testing.T) {
			t.Parallel()
			raw, err := os.ReadFile(filepath.Join("testdata", "rules", r.ID+".yaml"))
			if err != nil {
				t.Fatal(err)
			}
			_, problems := catalog.Check(raw, can)
			if len(problems) != 1 {
				t.Fatalf("%d problems: %v", len(problems), problems)
			}
			p := problems[0]
			line := 1 + slices.IndexFunc(strings.Split(string(raw), "\n"), func(l string) bool { return strings.HasSuffix(l, "# !") })
			if p.Rule.ID != r.ID || p.Line != line || p.Text == "" {
				t.Errorf("line %d, rule %s: %s; want line %d", p.Line, p.Rule.ID, p, line)
			}
			if p.Refuses() == r.Unconfirmed || p.Accepted != "" || r.Source == "" || r.Act == "" || r.Says == "" {
				t.Errorf("%+v", p)
			}
			if !r.Unconfirmed {
				return
			}
			accepted := strings.Replace(string(raw), "    title: Network\n", "    title: Network\n    accept: { "+r.ID+": asked on 2026-11-20 }\n", 1)
			if _, problems = catalog.Check([]byte(accepted), can); len(problems) != 1 || problems[0].Accepted != "asked on 2026-11-20" || len(problems.Open()) != 0 {
				t.Errorf("accepted, it is %+v", problems)
			}
		})
	}
}

func TestSoundCatalogsHaveNoProblem(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"testdata/sound.yaml", "testdata/everything.yaml", "catalog.yaml"} {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, problems := catalog.Check(raw, can); len(problems.Open()) != 0 {
			t.Errorf("%s: %v", path, problems)
		}
	}
}

func TestProblemsComeInTheOrderOfTheFile(t *testing.T) {
	t.Parallel()
	_, problems := catalog.Check([]byte("version: \"1\"\nproducts:\n  - id: Net\n    meters: [{ id: a, unit: u, kind: sum, source: reported }]\n    plans:\n      - id: p\n        prices: { a: 0.1 }\n        colour: red\n  - id: b\n    plans: []\n"), nil)
	lines := make([]int, len(problems))
	for i, p := range problems {
		lines[i] = p.Line
	}
	if len(lines) < 4 || !slices.IsSorted(lines) {
		t.Errorf("%v", problems)
	}
	for _, want := range []string{"products[0].plans[0].prices.a: is of type number and must be string: write it in quotes", "products[0].plans[0].colour: is no field", "products[0].id: \"Net\" is not a name"} {
		if !strings.Contains(problems.Error(), want) {
			t.Errorf("not said: %s\nin %v", want, problems)
		}
	}
}

func TestWhatIsNoYAMLIsOneProblem(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"a: b: c", "- 1", "\t", "version: \"1\"\nversion: \"2\"\n", "", "null"} {
		if c, problems := catalog.Check([]byte(text), can); len(problems) == 0 {
			t.Errorf("%q was taken as %+v", text, c)
		}
	}
}
