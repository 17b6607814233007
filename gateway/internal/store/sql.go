package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
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
	lookups *batch.Batcher[string, knownJob]
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
func (t *tx) insert(ctx context.Context, into string, rows [][]any, suffix string) (total int64, err error) {
	err = t.chunks(rows, len(into)+len(suffix), func(source string, args []any) error {
		n, err := t.exec(ctx, `INSERT INTO `+into+` `+source+suffix, args...)
		total += n
		return err
	})
	return total, err
}

// update changes rows, each by a row of values of which the first is that of the column key, a text or a number. set names the others v.column2, v.column3 and so on.
// where ends the statement and may return something for scan. The keys stand in the statement a second time as a list: for a join alone, PostgreSQL may read the
// whole table.
func (t *tx) update(ctx context.Context, scan func(*sql.Rows) error, set string, setArgs []any, key string, values [][]any, where string, whereArgs []any) error {
	done := 0
	return t.chunks(values, len(set)+len(where), func(source string, args []any) error {
		keys := args[:1] // PostgreSQL's array of the first column
		n := 1
		if !t.dialect.arrays {
			n = len(args) / len(values[0])
			keys = make([]any, n)
			for i := range keys {
				keys[i] = values[done+i][0]
			}
		}
		done += n
		in := t.dialect.among(key, typeOf(values[0][0]), n)
		return t.each(ctx, scan, set+` FROM (`+source+`) AS v WHERE `+key+` = v.column1 AND `+in+` AND `+where, slices.Concat(setArgs, args, keys, whereArgs)...)
	})
}

// chunks hands rows to write as what a statement selects from, named column1, column2 and so on, with its arguments. On PostgreSQL that is one statement for any number of rows,
// with an array for each column. SQLite has no arrays: it gets the values of as many rows as a statement of keptBytes has room for beside so many other bytes.
func (t *tx) chunks(rows [][]any, otherBytes int, write func(source string, args []any) error) error {
	if len(rows) == 0 {
		return nil
	}
	types := make([]string, len(rows[0]))
	for i, v := range rows[0] {
		if types[i] = typeOf(v); types[i] == "" {
			return fmt.Errorf("a column of a statement has values of type %T", v)
		}
	}
	if t.dialect.arrays {
		args, err := columns(rows)
		if err != nil {
			return err
		}
		names := make([]string, len(types))
		for i, typ := range types {
			names[i] = "column" + strconv.Itoa(i+1)
			types[i] = "CAST(? AS " + typ + "[])"
		}
		return write(`SELECT * FROM UNNEST(`+strings.Join(types, ", ")+`) AS a (`+strings.Join(names, ", ")+`)`, args)
	}
	row := "(" + marks(len(types)) + ")"
	for len(rows) > 0 {
		n := rowsAtOnce(len(rows), len(types)+1, len(row)+3, otherBytes)
		if err := write(`VALUES `+row+strings.Repeat(", "+row, n-1), slices.Concat(rows[:n]...)); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

// columns are the columns of rows as arrays for PostgreSQL.
func columns(rows [][]any) ([]any, error) {
	out := make([]any, len(rows[0]))
	for i := range out {
		var ok bool
		switch rows[0][i].(type) {
		case string:
			out[i], ok = column[string](rows, i)
		case float64:
			out[i], ok = column[float64](rows, i)
		case bool:
			out[i], ok = column[bool](rows, i)
		case []byte:
			out[i], ok = column[[]byte](rows, i)
		default:
			out[i], ok = numbers(rows, i)
		}
		if !ok {
			return nil, fmt.Errorf("column %d of a statement has values of different types", i+1)
		}
	}
	return out, nil
}

func column[T any](rows [][]any, i int) ([]T, bool) {
	out := make([]T, len(rows))
	for k, row := range rows {
		var ok bool
		if out[k], ok = row[i].(T); !ok {
			return nil, false
		}
	}
	return out, true
}

func numbers(rows [][]any, i int) ([]int64, bool) {
	out := make([]int64, len(rows))
	for k, row := range rows {
		switch n := row[i].(type) {
		case int:
			out[k] = int64(n)
		case int64:
			out[k] = n
		case uint32:
			out[k] = int64(n)
		default:
			return nil, false
		}
	}
	return out, true
}

// typeOf is the type in SQL of a value, "" if it has none. Both databases know these types.
func typeOf(v any) string {
	switch v.(type) {
	case string:
		return "TEXT"
	case int, int64, uint32:
		return "BIGINT"
	case float64:
		return "DOUBLE PRECISION"
	case bool:
		return "BOOLEAN"
	case []byte:
		return "BYTEA"
	}
	return ""
}

// rowsAtOnce is how many of so many rows one statement writes: a power of two, and no more than fit into a statement of keptBytes, so that there are few different
// statements, which the connections of both databases keep.
func rowsAtOnce(rows, columns, rowBytes, otherBytes int) int {
	n := min(rows, max(1, maxParams/columns), max(1, (keptBytes-otherBytes-100)/(rowBytes+2)))
	return 1 << (bits.Len(uint(n)) - 1)
}

// marks are n placeholders.
func marks(n int) string { return "?" + strings.Repeat(", ?", n-1) }

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
