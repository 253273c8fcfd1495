// Package usagefile reads usage from files: CSV or JSON lines that people made, or
// that another billing system exported. A mapping (YAML; one for each system is
// embedded) says which column is what.
//
// It leaves to billing what counts, and to docs/usage.md what of the mappings is
// unconfirmed.
//
// The invariant that costs money: a row's identity is made of the row, never of
// the file's name, the moment or the place in the file, so the same file again,
// whole, in part or continued, adds nothing.
package usagefile
