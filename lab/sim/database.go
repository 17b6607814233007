//go:build synctests

package sim

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"strings"

	"github.com/larkstream/larkstream/shared/event"
)

// database stands before each connection to the job store.
func (p *process) database(inner driver.Connector) driver.Connector { return connector{inner, p} }

type connector struct {
	driver.Connector
	p *process
}

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	if c.p.dead.Load() {
		return nil, errKilled
	}
	inner, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: inner, p: c.p}, nil
}

// conn is a connection that can break. It passes on what database/sql asks of a connection.
type conn struct {
	driver.Conn
	p  *process
	tx string // what the open transaction has done so far, as its name
	// cleared are the records that the open transaction takes from the outbox.
	cleared []string
}

var (
	_ driver.ConnBeginTx    = (*conn)(nil)
	_ driver.ExecerContext  = (*conn)(nil)
	_ driver.QueryerContext = (*conn)(nil)
)

func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	c.p.awake() // not within a transaction: the other gateway would wait for it, and by the machine's clock
	if err := c.fault(); err != nil {
		return nil, err
	}
	inner, err := c.Conn.(driver.ConnBeginTx).BeginTx(ctx, opts)
	if err != nil {
		return nil, err
	}
	c.tx, c.cleared = "", nil
	return transaction{inner, c}, nil
}

func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if c.p.dead.Load() {
		return nil, errKilled
	}
	c.note(query, args)
	c.outbox(query, args)
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
}

func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if c.p.dead.Load() {
		return nil, errKilled
	}
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
}

// note names the transaction after its statements and their first argument, which is the id of a job or an outcome: times would make
// each attempt another transaction.
func (c *conn) note(query string, args []driver.NamedValue) {
	h := fnv.New64a()
	_, _ = h.Write([]byte(c.tx + query))
	if len(args) > 0 && !strings.Contains(query, "outbox") { // its ids are random
		if id, ok := args[0].Value.(string); ok {
			_, _ = h.Write([]byte(id))
		}
	}
	c.tx = fmt.Sprintf("%016x", h.Sum64())
}

// outbox notes which records come into the outbox, and which leave it.
func (c *conn) outbox(query string, args []driver.NamedValue) {
	rows := &c.p.slot.w.outbox
	switch {
	case strings.HasPrefix(query, "INSERT INTO outbox "):
		const columns = 7 // the id, the topic, the key, the headers and three more
		for row := args; len(row) >= columns; row = row[columns:] {
			var rec event.Record
			headers, _ := row[3].Value.(string)
			if json.Unmarshal([]byte(headers), &rec.Headers) != nil {
				continue
			}
			rec.Topic, _ = row[1].Value.(string)
			rows.Store(row[0].Value, name(rec))
		}
	case strings.HasPrefix(query, "DELETE FROM outbox "):
		for _, id := range args {
			if rec, ok := rows.Load(id.Value); ok {
				c.cleared = append(c.cleared, rec.(string))
			}
		}
	}
}

// fault is the state of the database.
func (c *conn) fault() error {
	if c.p.dead.Load() {
		return errKilled
	}
	if down := c.p.slot.w.databaseDown.Load(); down != nil {
		return *down
	}
	return nil
}

type transaction struct {
	driver.Tx
	c *conn
}

// Commit may be refused, may be lost on the way back, and the process may die of it.
func (t transaction) Commit() error {
	p, what := t.c.p, "transaction "+t.c.tx
	f := p.slot.w.faults
	n := f.attempt("commit", what)
	if p.dead.Load() || f.strike(failTx, what, n) {
		_ = t.Tx.Rollback() // the fault is the answer
		return errInjected
	}
	if err := t.Tx.Commit(); err != nil {
		return err
	}
	for _, rec := range t.c.cleared {
		p.slot.w.history.add(entry{who: p.name, what: cleared, id: rec})
	}
	p.awake()
	switch {
	case p.strike(killTx, what, n):
		return errKilled
	case f.strike(loseTxAck, what, n):
		return errInjected
	}
	return nil
}
