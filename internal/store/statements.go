package store

import (
	"context"
	"database/sql/driver"
	"fmt"
	"strings"

	"modernc.org/sqlite"
)

// Parsing SQL again for every query was a third of the process's time on SQLite.
// PostgreSQL's driver keeps its statements; this keeps SQLite's, per connection,
// where database/sql cannot: a transaction's statements die with it.

// keptStatements is the most that one connection keeps; the queries are fewer,
// but a list of n values makes a text of its own for each n.
const keptStatements = 1000

// sqliteConn is what the driver's connections are besides driver.Conn.
type sqliteConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// connector opens connections that keep their statements.
type connector struct {
	dsn    string
	driver *sqlite.Driver
}

func (c connector) Driver() driver.Driver { return c.driver }

func (c connector) Connect(context.Context) (driver.Conn, error) {
	opened, err := c.driver.Open(c.dsn)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", c.dsn, err)
	}
	inner, ok := opened.(sqliteConn)
	if !ok {
		return opened, nil
	}
	return &keepingConn{sqliteConn: inner, kept: map[string]driver.Stmt{}}, nil
}

// keepingConn is used by one goroutine at a time, as database/sql promises.
type keepingConn struct {
	sqliteConn
	kept map[string]driver.Stmt
}

// statement returns the kept statement of a query with a name, as the generated ones
// have; nil for any other text, such as a migration's.
func (c *keepingConn) statement(ctx context.Context, query string) (driver.Stmt, error) {
	if st := c.kept[query]; st != nil {
		return st, nil
	}
	if len(c.kept) == keptStatements || !strings.HasPrefix(query, "-- name: ") {
		return nil, nil //nolint:nilnil // nothing is kept, and that is no error
	}
	st, err := c.PrepareContext(ctx, query)
	if err == nil {
		c.kept[query] = st
	}
	return st, err
}

func (c *keepingConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	st, err := c.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	if own, ok := st.(driver.StmtExecContext); ok {
		return own.ExecContext(ctx, args)
	}
	return c.sqliteConn.ExecContext(ctx, query, args)
}

// QueryContext must not run a statement whose rows are still open: the generated
// queries read all their rows before they return.
func (c *keepingConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	st, err := c.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	if own, ok := st.(driver.StmtQueryContext); ok {
		return own.QueryContext(ctx, args)
	}
	return c.sqliteConn.QueryContext(ctx, query, args)
}

// Close finalises what is kept, or the database file would stay open.
func (c *keepingConn) Close() error {
	for _, st := range c.kept {
		_ = st.Close()
	}
	c.kept = nil
	return c.sqliteConn.Close()
}
