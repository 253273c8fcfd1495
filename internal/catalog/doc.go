// Package catalog says what is sold: products, plans, meters, what a plan
// includes, and each marketplace's names for them. One versioned YAML file, a
// shipped default, checked completely when it is loaded.
//
// It leaves to billing how usage becomes a quantity, to the adapters how a
// vendor's rules limit a plan, to subscription which plan a purchase has.
//
// The invariant that costs money: a dimension belongs to exactly one meter of a
// product. Two meters on one dimension would fight for the same slot.
package catalog
