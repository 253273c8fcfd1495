package catalog

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

//go:embed catalog.schema.json
var schemaText []byte

// Schema is the JSON Schema (draft 2020-12) of a catalog file, for editors.
func Schema() []byte { return bytes.Clone(schemaText) }

var schema = sync.OnceValue(func() *jsonschema.Schema {
	const at = "urn:tailmarket:catalog"
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schemaText))
	if err != nil {
		panic(fmt.Sprintf("the shipped schema is no JSON: %v", err)) // a test compiles it
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(at, doc); err != nil {
		panic(fmt.Sprintf("the shipped schema is broken: %v", err))
	}
	return c.MustCompile(at)
})

// checkShape adds what in a decoded file the schema does not allow.
func (k *checker) checkShape(file any) {
	err, broken := errors.AsType[*jsonschema.ValidationError](schema().Validate(file))
	if !broken {
		return
	}
	known := map[string]bool{} // our own words are better than the schema's
	for _, p := range k.problems {
		known[p.Path] = true
	}
	var leaves func(e *jsonschema.ValidationError)
	leaves = func(e *jsonschema.ValidationError) {
		for _, c := range e.Causes {
			leaves(c)
		}
		if len(e.Causes) > 0 {
			return
		}
		for path, text := range shapeTexts(e) {
			if !known[path] {
				k.add("shape", path, "%s", text)
			}
		}
	}
	leaves(err)
}

func shapeTexts(e *jsonschema.ValidationError) map[string]string {
	at := pathOf(e.InstanceLocation)
	below := func(name string) string { return strings.TrimPrefix(at+"."+name, ".") }
	switch w := e.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		out := map[string]string{}
		for _, name := range w.Properties {
			out[below(name)] = "is no field of a catalog"
		}
		return out
	case *kind.Required:
		out := map[string]string{}
		for _, name := range w.Missing {
			out[below(name)] = "is missing"
		}
		return out
	case *kind.Type:
		want := strings.Join(w.Want, " or ")
		if want == "string" && (w.Got == "number" || w.Got == "integer") {
			want += ": write it in quotes, so that no digit is lost"
		}
		return map[string]string{at: fmt.Sprintf("is of type %s and must be %s", w.Got, want)}
	case *kind.Enum:
		return map[string]string{at: fmt.Sprintf("%v is none of %s", w.Got, strings.Trim(fmt.Sprint(w.Want), "[]"))}
	case *kind.Pattern:
		return map[string]string{at: fmt.Sprintf("%q does not look like %s", w.Got, w.Want)}
	}
	return map[string]string{at: "breaks the schema's rule " + strings.Join(e.ErrorKind.KeywordPath(), ".")}
}

// pathOf writes a location as our paths are.
func pathOf(location []string) string {
	var b strings.Builder
	for _, part := range location {
		switch _, err := strconv.Atoi(part); {
		case err == nil:
			b.WriteString("[" + part + "]")
		case b.Len() == 0:
			b.WriteString(part)
		default:
			b.WriteString("." + part)
		}
	}
	return b.String()
}
