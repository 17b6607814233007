package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/larkstream/larkstream/gateway/internal/batch"
)

// SQL is the job store on a database, SQLite or PostgreSQL. It is safe for concurrent use, and on PostgreSQL any number of gateways may have
// one on the same database.
//
// On SQLite, writes go through one connection, one transaction at a time: SQLite allows one writer, and queueing in Go is cheaper and fairer than
// its busy loop. Reads run beside them on snapshots. On PostgreSQL reads and writes share a pool.
type SQL struct {
	dialect dialect
	write   *sql.DB
	read    *sql.DB
	now     func() time.Time
	creates *batch.Batcher[creation, error]
}

// SetNow has the store tell the time by now instead of the machine's clock. It must come before any other call.
func (s *SQL) SetNow(now func() time.Time) { s.now = now }

// Close closes the database.
func (s *SQL) Close() error {
	if s.read == s.write {
		return s.write.Close()
	}
	return errors.Join(s.read.Close(), s.write.Close())
}

// Ping tells whether the database answers, and takes at most pingTimeout.
func (s *SQL) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	if err := s.read.PingContext(ctx); err != nil {
		return fmt.Errorf("asking the database of the job store whether it is there: %w", s.dialect.mark(err))
	}
	return nil
}

const (
	pingTimeout = 2 * time.Second
	// maxTries is how often a transaction is tried that the database has given up in favour of another.
	maxTries = 5
)

// tx is a transaction that speaks the dialect.
type tx struct {
	*sql.Tx
	dialect dialect
}

func (t *tx) exec(ctx context.Context, query string, args ...any) (int64, error) {
	res, err := t.ExecContext(ctx, t.dialect.rebind(query), args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (t *tx) row(ctx context.Context, query string, args ...any) *sql.Row {
	return t.QueryRowContext(ctx, t.dialect.rebind(query), args...)
}

// each runs a query and hands each row to scan.
func (t *tx) each(ctx context.Context, scan func(*sql.Rows) error, query string, args ...any) error {
	rows, err := t.QueryContext(ctx, t.dialect.rebind(query), args...)
	return eachRow(rows, err, scan)
}

// maxParams is how many placeholders one statement may have: SQLite takes 32,766.
const maxParams = 30_000

// insert inserts rows into a table, given with its columns, and returns how many were new. suffix ends each statement.
func (t *tx) insert(ctx context.Context, into string, rows [][]any, suffix string) (int64, error) {
	var total int64
	for len(rows) > 0 {
		row := "(" + marks(len(rows[0])) + ")"
		n := rowsAtOnce(len(rows), len(rows[0]), len(row), len(into)+len(suffix))
		added, err := t.exec(ctx, `INSERT INTO `+into+` VALUES `+row+strings.Repeat(", "+row, n-1)+suffix, slices.Concat(rows[:n]...)...)
		if err != nil {
			return total, err
		}
		total, rows = total+added, rows[n:]
	}
	return total, nil
}

// update changes rows, each by a row of values of which the first is that of the column key. set names the others v.column2, v.column3 and so on, as both databases
// do. where ends the statement and may return something for scan. types are the values' types. The keys stand in the statement a second time as a list: for a
// join alone, PostgreSQL may read the whole table.
func (t *tx) update(ctx context.Context, scan func(*sql.Rows) error, set string, setArgs []any, key string, types []string, values [][]any, where string, whereArgs []any) error {
	row := "(CAST(? AS " + strings.Join(types, "), CAST(? AS ") + "))"
	for len(values) > 0 {
		n := rowsAtOnce(len(values), len(types)+1, len(row)+3, len(set)+len(where))
		args := slices.Concat(setArgs, slices.Concat(values[:n]...))
		for _, v := range values[:n] {
			args = append(args, v[0])
		}
		query := set + ` FROM (VALUES ` + row + strings.Repeat(", "+row, n-1) + `) AS v WHERE ` + key + ` = v.column1 AND ` + key + ` IN (` + marks(n) + `) AND ` + where
		if err := t.each(ctx, scan, query, append(args, whereArgs...)...); err != nil {
			return err
		}
		values = values[n:]
	}
	return nil
}

// rowsAtOnce is how many of so many rows one statement writes: a power of two, and no more than fit into a statement of keptBytes, so that there are few different
// statements, which the connections of both databases keep.
func rowsAtOnce(rows, columns, rowBytes, otherBytes int) int {
	n := min(rows, max(1, maxParams/columns), max(1, (keptBytes-otherBytes-100)/(rowBytes+2)))
	return 1 << (bits.Len(uint(n)) - 1)
}

// marks are n placeholders.
func marks(n int) string { return "?" + strings.Repeat(", ?", n-1) }

// maxIDs is how many ids one statement names: a power of two.
const maxIDs = 256

// padded are up to maxIDs ids as arguments, filled up with the last one to a power of two, so that there are few different statements.
func padded(ids []string) []any {
	args := make([]any, 1<<bits.Len(uint(len(ids)-1)))
	for i := range args {
		args[i] = ids[min(i, len(ids)-1)]
	}
	return args
}

// inTx runs fn in a write transaction; an error rolls it back. fn may run several times, so it must set what it reports afresh each time.
func (s *SQL) inTx(ctx context.Context, fn func(*tx) error) error {
	for try := 1; ; try++ {
		err := s.tryTx(ctx, fn)
		if err == nil || try == maxTries || ctx.Err() != nil || !s.dialect.again(err) {
			return s.dialect.mark(err)
		}
	}
}

func (s *SQL) tryTx(ctx context.Context, fn func(*tx) error) (err error) {
	if s.dialect.txTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.dialect.txTimeout)
		defer cancel()
	}
	raw, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("starting transaction: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreDone(raw.Rollback()))
		}
	}()
	if err = fn(&tx{Tx: raw, dialect: s.dialect}); err != nil {
		return err
	}
	if err = raw.Commit(); err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	return nil
}

func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

// queryRead runs a query outside a transaction and hands each row to scan.
func (s *SQL) queryRead(ctx context.Context, scan func(*sql.Rows) error, query string, args ...any) error {
	rows, err := s.read.QueryContext(ctx, s.dialect.rebind(query), args...)
	return s.dialect.mark(eachRow(rows, err, scan))
}

func eachRow(rows *sql.Rows, err error, scan func(*sql.Rows) error) error {
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // rows.Err tells
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// rowRead runs a query of one row outside a transaction.
func (s *SQL) rowRead(ctx context.Context, query string, args ...any) scanner {
	return markedRow{row: s.read.QueryRowContext(ctx, s.dialect.rebind(query), args...), dialect: s.dialect}
}

type scanner interface{ Scan(dest ...any) error }

type markedRow struct {
	row     *sql.Row
	dialect dialect
}

func (r markedRow) Scan(dest ...any) error { return r.dialect.mark(r.row.Scan(dest...)) }

// millis stores a time; the zero time is 0.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
