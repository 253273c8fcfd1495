// Package billing turns facts of use into the marketplace's bill, a file for
// each station:
//
//	ingest ─► aggregate (seal) ─► submit ─► acknowledge ─► ledger
//	                └──────── close ────────┘      conservation
//
// It owns what a usage event means, when an hour is sealed, what is frozen into a
// record, when it is sent and what an answer proves. It leaves the arithmetic
// and the state of a record to ledger, vendor fields to the adapters, when a
// purchase starts and ends to subscription (through Terms), and SQL to store.
//
// used_at decides the counting period and the hour; received_at decides nothing
// but findings. Every method may be killed at any line and run again.
//
// The invariant that costs money: what is sent is frozen first, and an attempt is
// stored before its call. So a second run, a second machine or a late answer
// can only repeat an identical record, which the vendor's slot makes harmless.
package billing
