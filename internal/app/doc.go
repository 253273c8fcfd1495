// Package app puts the rooms together: it is the only one that knows every
// concrete type but the simulator's. It owns construction, which implementation
// a setting chooses, which function works which due row, and the order of
// starting and stopping. Arrows that would point upwards between rooms
// (collector to ingest, worker to facts) are closures made here.
//
// It decides nothing about purchases, quantities or money; a line that does
// belongs to a room (docs/flow.md says which).
//
// The invariant that would cost money: work stops before the store closes, and
// the clock is told "nothing is due" only after the store was asked.
package app
