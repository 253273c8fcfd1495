package store

import (
	"database/sql"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Engine is the kind of database. What differs between the engines is here and
// nowhere else.
type Engine string

const (
	SQLite   Engine = "sqlite"
	Postgres Engine = "postgres"
)

// skipLocked ends a SELECT that claims rows. SQLite has one writer anyway.
func (e Engine) skipLocked() string {
	if e == Postgres {
		return " FOR UPDATE SKIP LOCKED"
	}
	return ""
}

// snapshot are the options of a transaction that reads one moment. SQLite's
// deferred transaction does so by itself.
func (e Engine) snapshot() *sql.TxOptions {
	if e == Postgres {
		return &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
	}
	return nil
}

// Database errors are recognised by code, never by message.

func sqlState(err error) string {
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pe.Code
	}
	return ""
}

func sqliteCode(err error) int {
	if se, ok := errors.AsType[*sqlite.Error](err); ok {
		return se.Code()
	}
	return 0
}

// retryable reports that running the transaction again may work: serialisation
// failure or deadlock on PostgreSQL, a busy file on SQLite.
func retryable(err error) bool {
	switch sqliteCode(err) & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return true
	}
	s := sqlState(err)
	return s == "40001" || s == "40P01"
}

func noRows(err error) bool { return errors.Is(err, sql.ErrNoRows) }
