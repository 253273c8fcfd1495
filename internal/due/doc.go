// Package due makes happen what must happen: rows (kind, subject, due_at) that
// are claimed with a lease, worked, and finished, postponed or stopped.
//
// It owns leases, back-off and the one function from an error's class to a
// verdict. It leaves to app which function works a kind, and to the rooms what
// the work is. Rows are level-triggered: marking a row that is being worked makes
// it run once more, so no wake-up is lost. The same subject of a kind is never
// worked twice at once.
//
// Two clocks: due_at is business time, which may be virtual; leases and back-off
// are wall time, because a dead process must be replaced in seconds whatever the
// business clock says.
//
// The invariant that costs money: a row is deleted only by the run that claimed
// its newest generation. A lost row would be usage that is never billed.
package due
