package store

import (
	"context"
	"database/sql/driver"
	"errors"

	"modernc.org/sqlite"
)

const (
	// keptStatements is how many compiled statements a connection keeps, to either database. The store has about 300 different ones, of which few are used again and again.
	keptStatements = 128
	// keptBytes is the longest statement that is kept. Longer ones insert many rows at once, each time another number of them.
	keptBytes = 4 << 10
)

// keeper opens SQLite connections that keep their compiled statements. Compiling took a third of the gateway's processor time: SQLite compiles a
// statement of ours in about the time it then takes to run it.
type keeper string

func (k keeper) Connect(context.Context) (driver.Conn, error) {
	conn, err := k.Driver().Open(string(k))
	if err != nil {
		return nil, err
	}
	plain, ok := conn.(sqliteConn)
	if !ok {
		return nil, errors.Join(errors.New("the SQLite driver lacks a part of database/sql that the job store needs"), conn.Close())
	}
	return &keepingConn{sqliteConn: plain, kept: make(map[string]*keptStatement)}, nil
}

func (k keeper) Driver() driver.Driver { return new(sqlite.Driver) }

// sqliteConn is what database/sql uses of a connection of the SQLite driver.
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

// keepingConn is a connection that keeps compiled statements. Like every driver.Conn it is used by one goroutine at a time.
type keepingConn struct {
	sqliteConn
	kept  map[string]*keptStatement
	clock uint64 // grows with each use of a statement
}

type keptStatement struct {
	sqliteStatement
	used uint64 // when it was used last
	busy bool   // its rows are being read
}

// sqliteStatement is what is used of a statement of the SQLite driver.
type sqliteStatement interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// ExecContext runs a statement that returns no rows.
func (c *keepingConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	s, err := c.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return c.sqliteConn.ExecContext(ctx, query, args)
	}
	return s.ExecContext(ctx, args)
}

// QueryContext runs a statement that returns rows. The statement is taken until the rows are closed.
func (c *keepingConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	s, err := c.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return c.sqliteConn.QueryContext(ctx, query, args)
	}
	rows, err := s.QueryContext(ctx, args)
	if err != nil {
		return nil, err
	}
	s.busy = true
	return &keptRows{Rows: rows, of: s}, nil
}

// statement is the compiled statement of a query; nil if it is not to be kept, or if its rows are being read.
func (c *keepingConn) statement(ctx context.Context, query string) (*keptStatement, error) {
	if len(query) > keptBytes {
		return nil, nil //nolint:nilnil // "not kept" is no fault
	}
	c.clock++
	if s, ok := c.kept[query]; ok {
		if s.busy {
			return nil, nil //nolint:nilnil // the same statement runs twice at once
		}
		s.used = c.clock
		return s, nil
	}
	if err := c.makeRoom(); err != nil {
		return nil, err
	}
	prepared, err := c.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	plain, ok := prepared.(sqliteStatement)
	if !ok {
		return nil, errors.Join(errors.New("the SQLite driver's statements take no context"), prepared.Close())
	}
	s := &keptStatement{sqliteStatement: plain, used: c.clock}
	c.kept[query] = s
	return s, nil
}

// makeRoom closes the statement that has been idle for longest, if as many are kept as may be.
func (c *keepingConn) makeRoom() error {
	if len(c.kept) < keptStatements {
		return nil
	}
	oldest := ""
	for query, s := range c.kept {
		if !s.busy && (oldest == "" || s.used < c.kept[oldest].used) {
			oldest = query
		}
	}
	if oldest == "" {
		return nil
	}
	s := c.kept[oldest]
	delete(c.kept, oldest)
	return s.Close()
}

// Close closes the statements and the connection.
func (c *keepingConn) Close() error {
	var errs []error
	for _, s := range c.kept {
		errs = append(errs, s.Close())
	}
	c.kept = nil
	return errors.Join(append(errs, c.sqliteConn.Close())...)
}

// keptRows gives the statement back when it is closed.
type keptRows struct {
	driver.Rows
	of *keptStatement
}

// Close ends the reading.
func (r *keptRows) Close() error {
	r.of.busy = false
	return r.Rows.Close()
}
