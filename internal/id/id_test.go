package id_test

import (
	"testing"

	"github.com/tailmarket/tailmarket/internal/id"
)

func TestIdsSortByBirthAndSayTheirKind(t *testing.T) {
	last := ""
	for range 100 {
		s := string(id.NewSubscription())
		if err := id.Check("sub", s); err != nil {
			t.Fatal(err)
		}
		if s <= last {
			t.Fatalf("%s does not sort after %s", s, last)
		}
		last = s
	}
	for _, bad := range []string{"", "sub_", "cus_" + last[4:], last[:len(last)-1], "sub_!!!!"} {
		if id.Check("sub", bad) == nil {
			t.Errorf("%q passed as a subscription id", bad)
		}
	}
}
