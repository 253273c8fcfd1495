// Package id names things. Every kind of thing we make has its own type, a
// three-letter prefix and a UUIDv7 in base32: sortable by time, and a log line
// says what it is about. Ids of vendors are kept verbatim elsewhere and never
// parsed for meaning.
package id
