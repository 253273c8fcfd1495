// Package catalog says what is sold: products, offers, plans, meters, what a plan
// includes and costs, and each marketplace's names for them. One versioned YAML
// file with a JSON Schema, a shipped default.
//
//	Parse  makes sense by itself: what the server needs
//	Check  and each marketplace can carry it, and the control plane can do it
//
// It leaves to billing how usage becomes a quantity, to the adapters how a
// vendor is spoken to, to subscription which plan a purchase has.
//
// The invariant that costs money: a dimension belongs to exactly one meter of a
// product. Two meters on one dimension would fight for the same slot.
package catalog
