// Package marketplacetest is the one suite that every adapter passes. An adapter
// brings a Harness: itself, a vendor it can be tried on (the simulator), and its
// declared differences.
//
// A difference between vendors is declared in Traits and then tested as declared;
// no case is skipped because of one. What a case needs of a vendor it asks of the
// Vendor interface, in our words, and what it judges is the vendor's bill, never
// the adapter's opinion of it.
//
//	Run        the suite, over an adapter
//	RunBroken  the suite over the same adapter broken on purpose: the case that
//	           guards against each kind of damage must fail
//
// It owns what an adapter promises to intake and billing (package marketplace). It
// leaves each vendor's wire to that adapter's own tests.
//
// The invariant that costs money: a record that an adapter calls not recorded is
// not on the bill, and what is on the bill is there once.
package marketplacetest
