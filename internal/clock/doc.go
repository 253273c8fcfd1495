// Package clock owns business time and the hour.
//
// Business time decides hours, windows, terms, ages, inbound expiry and due_at.
// Wall time (leases, back-off, time-outs, outbound credentials) never comes
// from here. In the demo and in tests the simulator owns business time and
// Remote follows it over loopback.
//
// The invariant that costs money: an Hour is made only by truncating UTC, so
// two machines cannot disagree about the slot a unit belongs to.
package clock
