package usagefile

import (
	"bytes"
	"embed"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/tailmarket/tailmarket/internal/fault"
)

//go:embed mappings/*.yaml
var shipped embed.FS

// Mapping says what the columns of a file are.
type Mapping struct {
	Name   string `yaml:"name"`
	About  string `yaml:"about"`
	Source string `yaml:"source"` // of the events; a source column is appended to it
	Time   Clock  `yaml:"time"`
	// Columns: a header's name, or name.key for a value inside a column of JSON;
	// alternatives are separated by |, and the first that has a value counts.
	Columns  Columns           `yaml:"columns"`
	Meters   map[string]string `yaml:"meters,omitempty"`   // the file's name → ours; absent: the same
	Subjects map[string]string `yaml:"subjects,omitempty"` // the file's customer → sub_… or tnt_…
}

// Columns name the parts of an event. ID may be empty: the row is its own identity.
type Columns struct {
	ID        string `yaml:"id"`
	Source    string `yaml:"source"`
	Subject   string `yaml:"subject"`
	Time      string `yaml:"time"`
	Meter     string `yaml:"meter"`
	Quantity  string `yaml:"quantity"`
	Of        string `yaml:"of"`
	Operation string `yaml:"operation"`
	Seconds   string `yaml:"seconds"`
}

// Clock is how times are written.
type Clock string

const (
	RFC3339 Clock = "rfc3339"
	Unix    Clock = "unix" // seconds, with a fraction or without
	Either  Clock = "either"
)

// Names are the embedded mappings.
func Names() []string {
	entries, err := shipped.ReadDir("mappings")
	if err != nil {
		panic(err) // it is embedded
	}
	var out []string
	for _, e := range entries {
		out = append(out, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return out
}

// Load reads an embedded mapping by its name, or one of a file's path.
func Load(name string) (m Mapping, err error) {
	raw, err := shipped.ReadFile(path.Join("mappings", name+".yaml"))
	if err != nil {
		if !strings.HasSuffix(name, ".yaml") {
			return m, fault.New(fault.Invalid, "there is no mapping %q; there are %s, or write the path of a .yaml file", name, strings.Join(Names(), ", "))
		}
		if raw, err = os.ReadFile(name); err != nil {
			return m, fmt.Errorf("read a mapping: %w", err)
		}
	}
	if err := yaml.NewDecoder(bytes.NewReader(raw), yaml.Strict()).Decode(&m); err != nil {
		return m, fault.New(fault.Invalid, "the mapping %s cannot be read: %s", name, strings.TrimSpace(yaml.FormatError(err, false, false)))
	}
	return m, m.check()
}

func (m Mapping) check() error {
	switch c := m.Columns; {
	case m.Source == "":
		return fault.New(fault.Invalid, "the mapping %s has no source", m.Name)
	case !slices.Contains([]Clock{RFC3339, Unix, Either}, m.Time):
		return fault.New(fault.Invalid, "the mapping %s: time %q is none of rfc3339, unix, either", m.Name, m.Time)
	case c.Subject == "" || c.Time == "" || c.Meter == "" || c.Quantity == "":
		return fault.New(fault.Invalid, "the mapping %s must say which columns are subject, time, meter and quantity", m.Name)
	}
	return nil
}
