// Package store keeps everything that must survive: SQLite in a file by default,
// PostgreSQL by URL, one SQL text for both.
//
// It owns the schema (migrations), the queries (queries, generated into db by
// sqlc), the few engine differences (dialect.go), transactions and encryption at
// rest. Each room declares the small Store interface it needs; the methods are
// here, a file per room. It leaves every decision to the rooms.
//
// Rules: every write goes through Tx, which may run its function again after a
// serialisation failure; no network inside a transaction (Tx marks its context,
// GuardTransport and the read pool refuse a marked one); times are BIGINT
// microseconds UTC; no NULL where a zero value will do.
//
// The invariant that costs money: an exactly-once key is a UNIQUE constraint,
// never a lock and never a cache.
package store
