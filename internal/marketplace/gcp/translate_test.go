package gcp_test

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
	"github.com/tailmarket/tailmarket/internal/marketplace/gcp"
)

var update = flag.Bool("update", false, "rewrite what the golden files expect; read the diff")

// wantMark stands between a message and what it must be translated to.
const wantMark = "-- want --\n"

func asFault(err error) *fault.Error {
	f, _ := errors.AsType[*fault.Error](err)
	return f
}

// TestTranslate reads testdata/translate: where the message's form is from, the
// message, and its events or why it is unreadable.
func TestTranslate(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/translate/*.txt")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d golden files, error %v", len(files), err)
	}
	a := open(t).adapter(t)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			given, want, ok := strings.Cut(string(text), wantMark)
			source, body, _ := strings.Cut(given, "\n")
			if !ok || !strings.HasPrefix(source, "# ") {
				t.Fatalf("want a line that names the source, the message, and %q", wantMark)
			}
			got := translated(t, a, body)
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

// fromQueue is a message as the subscription gives it.
func fromQueue(body []byte) marketplace.Delivery {
	return marketplace.Delivery{Marketplace: marketplace.GCP, Channel: marketplace.Pull, Body: body, Source: pulled}
}

// translated is what a message becomes, as text.
func translated(t *testing.T, a *gcp.Adapter, body string) string {
	t.Helper()
	v, err := a.Verify(t.Context(), fromQueue([]byte(body)))
	if f := asFault(err); f != nil {
		return string(f.Class) + ": " + f.Public + "\n"
	}
	events, err := a.Translate(v)
	if f := asFault(err); f != nil {
		return string(f.Class) + ": " + f.Public + "\n"
	}
	var out bytes.Buffer
	for _, e := range events {
		text, err := json.MarshalIndent(said(reflect.ValueOf(e)), "", " ")
		if err != nil {
			t.Fatal(err)
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

// FuzzDelivery: whatever comes, Verify and Translate answer with events that are
// complete or an error of a class that intake knows, and never panic.
func FuzzDelivery(f *testing.F) {
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
		_, body, _ := strings.Cut(given, "\n")
		f.Add([]byte(body))
	}
	a := open(f).adapter(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		kept := bytes.Clone(body)
		v, err := a.Verify(t.Context(), fromQueue(body))
		if err != nil {
			if !fault.Is(err, fault.Unreadable) {
				t.Fatalf("verify: %v", err)
			}
			return
		}
		if v.ID == "" || v.Kind == "" || v.SentAt.IsZero() {
			t.Errorf("verified as %q %q %s", v.ID, v.Kind, v.SentAt)
		}
		events, err := a.Translate(v)
		again, errAgain := a.Translate(v)
		if fmt.Sprint(err) != fmt.Sprint(errAgain) || !reflect.DeepEqual(events, again) || !bytes.Equal(body, kept) {
			t.Error("translate is not pure")
		}
		if err != nil {
			if f := asFault(err); f == nil || f.Class != fault.Unreadable || f.Public == "" {
				t.Fatalf("translate: %v", err)
			}
			return
		}
		for _, e := range events {
			if e.Kind == "" || e.MessageID != v.ID || e.At.IsZero() || (e.Ref.Purchase == "") == (e.Ref.Account == "") {
				t.Errorf("event %+v", e)
			}
		}
	})
}
