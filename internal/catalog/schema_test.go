package catalog_test

import (
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/tailmarket/tailmarket/internal/catalog"
)

// The words of our string types, as the schema must list them.
var words = map[reflect.Type][]string{
	reflect.TypeFor[catalog.Kind]():      {string(catalog.Sum), string(catalog.Unique), string(catalog.PeakPeriod), string(catalog.UnitHours)},
	reflect.TypeFor[catalog.Basis]():     {string(catalog.Pool), string(catalog.Level), string(catalog.PerSeat)},
	reflect.TypeFor[catalog.Source]():    {string(catalog.Collected), string(catalog.Reported)},
	reflect.TypeFor[catalog.NettedBy]():  {string(catalog.Us), string(catalog.Marketplace)},
	reflect.TypeFor[catalog.Counting]():  {string(catalog.CalendarMonth), string(catalog.PacificMonth), string(catalog.TermMonth), string(catalog.TermYear)},
	reflect.TypeFor[catalog.Interval]():  {string(catalog.PerHour), string(catalog.PerDay), string(catalog.PerPeriod), string(catalog.Ever)},
	reflect.TypeFor[catalog.Fractions](): {string(catalog.Carried)},
}

type node struct {
	Ref        string           `json:"$ref"`
	Type       string           `json:"type"`
	Enum       []string         `json:"enum"`
	Items      *node            `json:"items"`
	Properties map[string]*node `json:"properties"`
	Required   []string         `json:"required"`
	Additional json.RawMessage  `json:"additionalProperties"`
	Defs       map[string]*node `json:"$defs"`
}

// The shipped schema and the Go types say the same, both ways.
func TestTheSchemaIsTheTypes(t *testing.T) {
	t.Parallel()
	var root node
	if err := json.Unmarshal(catalog.Schema(), &root); err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{"decimal": true}
	var same func(at string, n *node, typ reflect.Type)
	same = func(at string, n *node, typ reflect.Type) {
		if name, ok := strings.CutPrefix(n.Ref, "#/$defs/"); ok {
			n = root.Defs[name]
			if typ.Kind() == reflect.Pointer {
				typ = typ.Elem()
			}
			if n == nil || name != "decimal" && name != typ.Name() {
				t.Errorf("%s refers to %s and is a %s", at, name, typ)
				return
			}
			if used[name] && name != "decimal" {
				return
			}
			used[name] = true
		}
		kind := map[reflect.Kind]string{
			reflect.Struct: "object", reflect.Map: "object", reflect.Slice: "array", reflect.String: "string", reflect.Bool: "boolean", reflect.Int: "integer", reflect.Int64: "integer",
		}[typ.Kind()]
		if w, ok := words[typ]; ok {
			if !slices.Equal(n.Enum, w) {
				t.Errorf("%s: the schema lists %v, the type %v", at, n.Enum, w)
			}
			return
		}
		if n.Type != kind || kind == "" {
			t.Errorf("%s is %q in the schema and a %s", at, n.Type, typ)
			return
		}
		switch typ.Kind() {
		case reflect.Slice:
			same(at+"[]", n.Items, typ.Elem())
		case reflect.Map:
			var of node
			if err := json.Unmarshal(n.Additional, &of); err != nil {
				t.Errorf("%s: %v", at, err)
				return
			}
			same(at+".*", &of, typ.Elem())
		case reflect.Struct:
			if string(n.Additional) != "false" {
				t.Errorf("%s allows unknown fields", at)
			}
			var fields, required []string
			for f := range typ.Fields() {
				name, option, _ := strings.Cut(f.Tag.Get("yaml"), ",")
				fields = append(fields, name)
				if option != "omitempty" {
					required = append(required, name)
				}
				if p := n.Properties[name]; p != nil {
					same(at+"."+name, p, f.Type)
				} else {
					t.Errorf("%s.%s is not in the schema", at, name)
				}
			}
			for name := range n.Properties {
				if !slices.Contains(fields, name) {
					t.Errorf("%s.%s is only in the schema", at, name)
				}
			}
			if !slices.Equal(required, n.Required) {
				t.Errorf("%s: the schema wants %v, the type %v", at, n.Required, required)
			}
		}
	}
	same("", &root, reflect.TypeFor[catalog.Catalog]())
	for name := range root.Defs {
		if !used[name] {
			t.Errorf("nothing is a %s", name)
		}
	}
}

// testdata/everything.yaml leaves no field out, and no float is between a price and its text.
func TestEveryFieldIsInUse(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/everything.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := catalog.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	out, err := yaml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	back, err := catalog.Parse(out)
	if err != nil || !reflect.DeepEqual(c, back) {
		t.Errorf("written and read again: %v\n%s", err, out)
	}
	c.Products[0].Azure = &catalog.AzureListing{OfferID: "elsewhere"} // Microsoft cannot carry the rest
	set := map[string]bool{}
	var walk func(at string, v reflect.Value)
	walk = func(at string, v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer:
			if !v.IsNil() {
				walk(at, v.Elem())
			}
		case reflect.Slice:
			for i := range v.Len() {
				walk(at, v.Index(i))
			}
		case reflect.Map:
			for _, k := range v.MapKeys() {
				walk(at, v.MapIndex(k))
			}
		case reflect.Struct:
			for f, field := range v.Fields() {
				name := v.Type().Name() + "." + f.Name
				set[name] = set[name] || !field.IsZero()
				walk(at+"."+f.Name, field)
			}
		case reflect.Float32, reflect.Float64:
			t.Errorf("%s is a float", at)
		}
	}
	walk("", reflect.ValueOf(*c))
	for name, used := range set {
		if !used {
			t.Errorf("%s is not in use", name)
		}
	}
}
