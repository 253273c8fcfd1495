// Package ledger says where every unit is. It owns the places a measured unit
// can be in, the legal moves between them, the state of a record as a function
// of the attempts made for it, and the seal formula. It is pure: no clock, no
// store, no log. It leaves to billing when to measure, seal and send.
//
//	measured ─► open ─► included
//	                 ─► carried ─► open
//	                 ─► queued ─► sent ─► accepted
//	                                  ─► unsure ─► accepted, queued, freed
//	                 ─► written_off
//	corrected and credit_left balance what falls below zero.
//
// The invariant that costs money: measured − corrected + credit_left is at any
// moment the sum of all places, and no place but open is below zero. A unit is
// in one place, so it is billed once or it is somewhere to be seen.
package ledger
