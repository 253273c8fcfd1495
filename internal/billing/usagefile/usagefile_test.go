package usagefile_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tailmarket/tailmarket/internal/billing/usagefile"
	"github.com/tailmarket/tailmarket/internal/fault"
)

func mapping(t *testing.T, name string) usagefile.Mapping {
	t.Helper()
	m, err := usagefile.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	if name != "tailmarket" {
		m.Meters = map[string]string{"api_calls": "api_request"}
		m.Subjects = map[string]string{"cus_A": "sub_1"}
	}
	return m
}

func said(rows []usagefile.Row) (out []string) {
	for _, r := range rows {
		e := r.Event
		if r.Wrong != "" {
			out = append(out, fmt.Sprintf("%d: %s", r.Line, r.Wrong))
			continue
		}
		out = append(out, fmt.Sprintf("%d: %s %s %s %s %s %s", r.Line, e.Source, e.ID, e.Subject, e.Meter, e.UsedAt.Format("15:04:05.999"), e.Quantity))
	}
	return out
}

// Each embedded mapping, on a small made-up file in the form its own comment names.
func TestMappings(t *testing.T) {
	t.Parallel()
	want := map[string][]string{
		"tailmarket": nil, // rows of its own identity: see below
		"stripe":     {"2: stripe idmp_1 sub_1 api_request 07:00:00 25", `3: customer "cus_B" is no purchase here; say which it is`},
		"orb":        {"2: orb k1 sub_1 api_request 07:00:00 25", "3: orb k2 sub_1 api_request 07:01:00 1.5"},
		"metronome":  {"2: metronome t1 sub_1 api_request 07:00:00 25"},
		"lago":       {"2: lago t1 sub_1 api_request 07:00:00 25", "3: lago t2 sub_1 api_request 07:00:00 1"},
		"openmeter":  {"1: openmeter:service-0 1 sub_1 api_request 07:00:00.001 25", "2: openmeter:service-1 1 sub_1 api_request 07:00:00 1"},
	}
	for _, name := range usagefile.Names() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lines, ok := want[name]
			files, err := filepath.Glob("testdata/" + name + ".*")
			if !ok || err != nil || len(files) != 1 {
				t.Fatalf("%s has no sample: %v %v", name, files, err)
			}
			f, err := os.Open(files[0])
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = f.Close() }()
			rows, err := usagefile.Read(f, mapping(t, name))
			if err != nil {
				t.Fatal(err)
			}
			if got := said(rows); lines != nil && !slices.Equal(got, lines) {
				t.Errorf("read\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(lines, "\n"))
			}
		})
	}
}

func read(t *testing.T, m usagefile.Mapping, text string) []usagefile.Row {
	t.Helper()
	rows, err := usagefile.Read(strings.NewReader(text), m)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func ids(rows []usagefile.Row) (out []string) {
	for _, r := range rows {
		out = append(out, r.Event.ID)
	}
	return out
}

func TestARowIsItsOwnIdentity(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/tailmarket.csv")
	if err != nil {
		t.Fatal(err)
	}
	m := mapping(t, "tailmarket")
	rows := read(t, m, string(raw))
	first := ids(rows)
	if len(first) != 3 || first[0] == first[1] || !strings.HasPrefix(first[1], first[0]) || first[2] != "fact 3" || rows[2].Event.Operation != "job-7" {
		t.Fatalf("%q", first)
	}
	// Other order of columns, other line ends, a spreadsheet's mark, more rows: the same rows keep their names.
	other := "\xef\xbb\xbfquantity,meter,time,subject\r\n12.5,api_request,2026-11-03T08:00:00+01:00,sub_1\r\n9,api_request,2026-11-03T07:00:00Z,sub_1\r\n12.5,api_request,2026-11-03T07:00:00Z,sub_1\r\n"
	if got := ids(read(t, m, other)); got[0] != first[0] || got[2] != first[1] || slices.Contains(first, got[1]) {
		t.Errorf("%q, before %q", got, first)
	}
	for what, row := range map[string]string{
		"subject": "sub_2,2026-11-03T07:00:00Z,api_request,12.5,", "time": "sub_1,2026-11-03T07:00:01Z,api_request,12.5,", "meter": "sub_1,2026-11-03T07:00:00Z,other,12.5,",
		"quantity": "sub_1,2026-11-03T07:00:00Z,api_request,12.6,", "of": "sub_1,2026-11-03T07:00:00Z,api_request,12.5,ann",
	} {
		if got := ids(read(t, m, "subject,time,meter,quantity,of\n"+row+"\n")); got[0] == first[0] {
			t.Errorf("another %s has the same name", what)
		}
	}
}

func TestWhatIsWrongIsSaidByLine(t *testing.T) {
	t.Parallel()
	got := said(read(t, mapping(t, "tailmarket"), "subject,time,meter,quantity,seconds\nsub_1,yesterday,m,1,\nacme,2026-11-03T07:00:00Z,m,1,\nsub_1,2026-11-03T07:00:00Z,m,,\nsub_1,2026-11-03T07:00:00Z,m,1,x\n"))
	want := []string{`2: "yesterday" is no time (rfc3339)`, `3: customer "acme" is no purchase here; say which it is`, "4: there is no quantity in quantity", `5: "x" is no number of seconds`}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	for text, why := range map[string]string{
		"":                                   "no header",
		"subject,time,meter\n":               "no column quantity",
		"subject,time,meter,quantity\na,b\n": "not CSV as its header says",
		"{\"a\":1}\n[]\n":                    "line 2 is no JSON object",
	} {
		if _, err := usagefile.Read(strings.NewReader(text), mapping(t, "tailmarket")); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v, want %q", text, err, why)
		}
	}
}

func TestAMappingOfOnesOwn(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "own.yaml")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("name: own\nabout: mine\nsource: own\ntime: unix\ncolumns: {subject: who, time: when, meter: what, quantity: n}\nmeters: {calls: api_request}\nsubjects: {acme: sub_1}\n")
	m, err := usagefile.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := said(read(t, m, "who,when,what,n\nacme,1793689200,calls,4\n")); !strings.HasSuffix(got[0], "sub_1 api_request 07:00:00 4") {
		t.Errorf("%q", got)
	}
	for text, why := range map[string]string{
		"colums: {}":                         "cannot be read",
		"name: own\ntime: unix":              "no source",
		"name: own\nsource: s\ntime: mayan":  "none of rfc3339",
		"name: own\nsource: s\ntime: unix\n": "must say which columns",
	} {
		write(text)
		if _, err := usagefile.Load(path); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v, want %q", text, err, why)
		}
	}
	if _, err := usagefile.Load("chargebee"); err == nil || !strings.Contains(err.Error(), "openmeter, orb, stripe") {
		t.Errorf("%v", err)
	}
}
