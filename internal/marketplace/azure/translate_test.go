package azure_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/marketplace/azure"
)

var update = flag.Bool("update", false, "rewrite what the golden files expect; read the diff")

// wantMark stands between a delivery and what it must be translated to.
const wantMark = "-- want --\n"

// TestTranslate reads testdata/translate: where the message's form is from, what
// Verify made of it, the message, and its events or why it is unreadable.
func TestTranslate(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/translate/*.txt")
	if err != nil || len(files) < 25 {
		t.Fatalf("%d golden files, error %v", len(files), err)
	}
	a := open(t).adapter()
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			given, want, ok := strings.Cut(string(text), wantMark)
			source, rest, _ := strings.Cut(given, "\n")
			kind, body, _ := strings.Cut(rest, "\n")
			if !ok || !strings.HasPrefix(source, "# ") || !strings.HasPrefix(kind, "as ") {
				t.Fatalf("want a line that names the source, one with the kind, the message, and %q", wantMark)
			}
			got := translated(a, strings.TrimPrefix(kind, "as "), body)
			if *update {
				if err := os.WriteFile(file, []byte(given+wantMark+got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// translated is what a message becomes, as text. It was received a minute before
// now, so that a time of the message's own is told from that.
func translated(a *azure.Adapter, kind, body string) string {
	events, err := a.Translate(marketplace.Verified{
		Delivery: marketplace.Delivery{Marketplace: marketplace.Azure, Channel: marketplace.HTTPS, Body: []byte(body), ReceivedAt: now.Add(-time.Minute)},
		ID:       "message", Kind: kind,
	})
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return string(f.Class) + ": " + f.Public + "\n"
	}
	var out bytes.Buffer
	for _, e := range events {
		text, err := json.MarshalIndent(said(reflect.ValueOf(e)), "", " ")
		if err != nil {
			return err.Error()
		}
		out.Write(append(text, '\n'))
	}
	return out.String()
}

// said is a value without what is zero in it.
func said(v reflect.Value) any {
	switch {
	case v.Kind() == reflect.Pointer && !v.IsNil():
		return said(v.Elem())
	case v.Kind() != reflect.Struct || v.Type() == reflect.TypeFor[time.Time]():
		return v.Interface()
	}
	out := map[string]any{}
	for i := range v.NumField() {
		if f := v.Field(i); !f.IsZero() {
			out[v.Type().Field(i).Name] = said(f)
		}
	}
	return out
}

// FuzzTranslate: whatever a webhook says, under whatever kind, Translate answers
// with events that are complete or an error that says who must act, the same
// each time, and never panics.
func FuzzTranslate(f *testing.F) {
	files, err := filepath.Glob("testdata/translate/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		given, _, _ := strings.Cut(string(text), wantMark)
		_, rest, _ := strings.Cut(given, "\n")
		kind, body, _ := strings.Cut(rest, "\n")
		f.Add(strings.TrimPrefix(kind, "as "), []byte(body))
	}
	a := open(f).adapter()
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		v := marketplace.Verified{Delivery: marketplace.Delivery{Channel: marketplace.HTTPS, Body: body, ReceivedAt: now}, ID: "message", Kind: kind}
		kept := bytes.Clone(body)
		events, err := a.Translate(v)
		again, errAgain := a.Translate(v)
		if fmt.Sprint(err) != fmt.Sprint(errAgain) || !reflect.DeepEqual(events, again) || !bytes.Equal(body, kept) {
			t.Error("translate is not pure")
		}
		if err != nil {
			f, ok := errors.AsType[*fault.Error](err)
			if !ok || f.Class != fault.Unreadable || f.Public == "" {
				t.Fatalf("translate: %v", err)
			}
			return
		}
		for _, e := range events {
			if e.Kind == "" || e.MessageID != v.ID || e.Ref.Purchase == "" || e.At.IsZero() || e.Version.IsZero() || e.Ref.Account != "" {
				t.Errorf("event %+v", e)
			}
			if e.Kind == marketplace.Ending && v.Kind != "" && strings.Contains(v.Kind, ", ") {
				t.Errorf("an end by %q", v.Kind)
			}
		}
	})
}
