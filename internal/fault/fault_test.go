package fault_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/tailmarket/tailmarket/internal/fault"
)

func TestClassSurvivesWrapping(t *testing.T) {
	cause := errors.New("dial tcp: refused")
	err := fmt.Errorf("submit aws batch of 3: %w", fault.Wrap(fault.Unsure, cause, ""))
	if got := fault.ClassOf(err); got != fault.Unsure {
		t.Fatalf("class %q, want unsure", got)
	}
	if !errors.Is(err, cause) {
		t.Fatal("the cause was lost")
	}
	if fault.ClassOf(cause) != "" {
		t.Fatal("an unclassified error has a class")
	}
}

func TestOnlyDefiniteClassesAreFinal(t *testing.T) {
	final := map[fault.Class]bool{
		fault.Invalid: true, fault.Forged: true, fault.Denied: true, fault.NotFound: true, fault.Refused: true,
		fault.Gone: true, fault.Unreadable: true,
		fault.Conflict: false, fault.Throttled: false, fault.Unavailable: false, fault.Unsure: false, "": false,
	}
	for c, want := range final {
		if c.Final() != want {
			t.Errorf("%q.Final() = %v, want %v", c, !want, want)
		}
	}
}
