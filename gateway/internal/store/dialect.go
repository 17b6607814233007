package store

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"github.com/pressly/goose/v3"
)

// dialect is all that differs between the databases: everything else is SQL that both take.
type dialect struct {
	goose goose.Dialect
	// numbered: placeholders are $1, $2 rather than ?.
	numbered bool
	// arrays: an argument may be an array.
	arrays bool
	// lock ends a SELECT inside a transaction that holds the rows until its end. SQLite needs none: it has one writer. On PostgreSQL an update that
	// changes nothing would lock as well, but it writes the row again; on SQLite, one that sets a key reads all rows that refer to it.
	lock string
	// claim ends a SELECT inside a transaction whose rows no other gateway's claim may take meanwhile.
	claim string
	// txTimeout bounds a transaction; 0 leaves it to the caller's context.
	txTimeout time.Duration
	// kind tells what an error of the driver means.
	kind func(error) fault
}

// fault is what an error of a database means to callers.
type fault int

const (
	otherFault fault = iota
	// diskFull: the disk of the database is full.
	diskFull
	// away: the database cannot be reached or cannot be written at the moment.
	away
	// refusedRow: the database works but does not take the record.
	refusedRow
	// conflict: the transaction was given up in favour of another and would succeed now.
	conflict
)

// rebind turns ? placeholders into the dialect's. No statement has a ? in a literal.
func (d dialect) rebind(query string) string {
	if !d.numbered {
		return query
	}
	var b strings.Builder
	n := 0
	for _, r := range query {
		if r != '?' {
			b.WriteRune(r)
			continue
		}
		n++
		b.WriteString("$" + strconv.Itoa(n))
	}
	return b.String()
}

// among is the condition that a column is one of n values of a type. It takes n parameters, or an array as one.
func (d dialect) among(column, typ string, n int) string {
	if d.arrays {
		return column + ` = ANY(CAST(? AS ` + typ + `[]))`
	}
	return column + ` IN (` + marks(n) + `)`
}

// oneOf is the condition that a column is one of some texts, with its arguments. On SQLite the arguments are filled up with the last one to a power of two, so that there are few
// different statements.
func (d dialect) oneOf(column string, texts []string) (condition string, args []any) {
	if d.arrays {
		return d.among(column, "TEXT", len(texts)), []any{texts}
	}
	args = make([]any, 1<<bits.Len(uint(len(texts)-1)))
	for i := range args {
		args[i] = texts[min(i, len(texts)-1)]
	}
	return d.among(column, "TEXT", len(args)), args
}

// maxIDs is how many ids one statement names: a power of two.
const maxIDs = 256

// mark makes an error tell callers what it means.
func (d dialect) mark(err error) error {
	if err == nil {
		return nil
	}
	switch d.kind(err) {
	case diskFull:
		return fmt.Errorf("%w: %w", ErrFull, err)
	case away, conflict:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

// again tells whether a transaction that ended with err should be tried again.
func (d dialect) again(err error) bool { return d.kind(err) == conflict }

// refused marks an error that is the record's own fault and not the database's: it would come again whenever the record is written.
func (d dialect) refused(err error) error {
	if err != nil && d.kind(err) == refusedRow {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}
