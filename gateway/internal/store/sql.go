package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"embed"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"

	"modernc.org/sqlite" // also the database/sql driver "sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

//go:embed migrations/*.sql
var migrations embed.FS

// dialect is all that differs between the databases: everything else is SQL that both take.
type dialect struct {
	driver string
	// numbered: placeholders are $1, $2 rather than ?.
	numbered bool
}

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

// SQL is the job store on a database. It is safe for concurrent use.
//
// Writes go through one connection, one transaction at a time: SQLite allows one writer, and
// queueing in Go is cheaper and fairer than its busy loop. Reads run beside them on snapshots.
type SQL struct {
	dialect dialect
	write   *sql.DB
	read    *sql.DB
	now     func() time.Time
}

const readConns = 4

// Open opens the database of databaseURL, today sqlite:///absolute/path.db, and brings its schema
// up to date. The folder of the file is made if it is missing.
func Open(ctx context.Context, databaseURL string) (*SQL, error) {
	return OpenOn(ctx, databaseURL, nil)
}

// OpenOn is Open with wrap, which may be nil, before each connection to the database.
func OpenOn(ctx context.Context, databaseURL string, wrap func(driver.Connector) driver.Connector) (*SQL, error) {
	path, ok := strings.CutPrefix(databaseURL, "sqlite://")
	if !ok || path == "" {
		scheme, _, _ := strings.Cut(databaseURL, ":")
		return nil, fmt.Errorf("opening job store: DATABASE_URL scheme %.20q is not supported, want sqlite:///path", scheme)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("making folder of job store: %w", err)
	}
	// synchronous(FULL): a 202 and a committed Kafka offset both promise that a power cut forgets
	// nothing. Group commit (Record takes many entries) pays for the fsync.
	params := url.Values{"_pragma": {
		"journal_mode(WAL)", "synchronous(FULL)", "busy_timeout(5000)", "foreign_keys(1)",
	}}
	readDSN := "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + params.Encode()
	s := &SQL{dialect: dialect{driver: "sqlite"}, now: time.Now}
	s.write = open(readDSN+"&_txlock=immediate", wrap)
	s.write.SetMaxOpenConns(1)
	s.read = open(readDSN, wrap)
	s.read.SetMaxOpenConns(readConns)
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("migrating job store: %w", err), s.Close())
	}
	return s, nil
}

// source opens connections to the database of a data source name.
type source string

func (s source) Connect(context.Context) (driver.Conn, error) {
	return new(sqlite.Driver).Open(string(s))
}

func (s source) Driver() driver.Driver { return new(sqlite.Driver) }

func open(dsn string, wrap func(driver.Connector) driver.Connector) *sql.DB {
	var connector driver.Connector = source(dsn)
	if wrap != nil {
		connector = wrap(connector)
	}
	return sql.OpenDB(connector)
}

// Close closes the database.
func (s *SQL) Close() error { return errors.Join(s.read.Close(), s.write.Close()) }

// migrate applies, each in a transaction of its own, the migrations that are not applied yet.
func (s *SQL) migrate(ctx context.Context) error {
	const table = `CREATE TABLE IF NOT EXISTS schema_migrations (version TEXT PRIMARY KEY, applied_ms BIGINT NOT NULL)`
	if _, err := s.write.ExecContext(ctx, table); err != nil {
		return err
	}
	files, err := migrations.ReadDir("migrations")
	if err != nil {
		return err
	}
	sort.Slice(files, func(i, j int) bool { return files[i].Name() < files[j].Name() })
	for _, f := range files {
		if err := s.applyMigration(ctx, f.Name()); err != nil {
			return fmt.Errorf("applying %s: %w", f.Name(), err)
		}
	}
	return nil
}

func (s *SQL) applyMigration(ctx context.Context, name string) error {
	return s.inTx(ctx, func(tx *tx) error {
		var n int
		if err := tx.row(ctx, `SELECT COUNT(*) FROM schema_migrations WHERE version = ?`, name).Scan(&n); err != nil || n > 0 {
			return err
		}
		text, err := migrations.ReadFile("migrations/" + name)
		if err != nil {
			return err
		}
		for _, statement := range statements(string(text)) {
			if _, err := tx.exec(ctx, statement); err != nil {
				return err
			}
		}
		_, err = tx.exec(ctx, `INSERT INTO schema_migrations (version, applied_ms) VALUES (?, ?)`, name, s.now().UnixMilli())
		return err
	})
}

// statements splits a migration at semicolons that end a line; comments go.
func statements(text string) []string {
	var kept []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(strings.TrimSpace(line), "--") {
			kept = append(kept, line)
		}
	}
	var out []string
	for part := range strings.SplitSeq(strings.Join(kept, ""), ";\n") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

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

// inTx runs fn in a write transaction; an error rolls it back.
func (s *SQL) inTx(ctx context.Context, fn func(*tx) error) (err error) {
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
		return full(err)
	}
	if err = raw.Commit(); err != nil {
		return fmt.Errorf("committing: %w", full(err))
	}
	return nil
}

// full marks an error that says that the disk is full.
func full(err error) error {
	var fault *sqlite.Error
	if errors.As(err, &fault) && fault.Code()&0xff == sqlite3.SQLITE_FULL {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

// refused marks an error that is the record's own fault and not the database's: it would come again whenever the record is written.
func refused(err error) error {
	var fault *sqlite.Error
	if !errors.As(err, &fault) {
		return err
	}
	switch fault.Code() & 0xff { // the primary code; the rest tells details
	case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG:
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}

// queryRead runs a query on a read connection and hands each row to scan.
func (s *SQL) queryRead(ctx context.Context, scan func(*sql.Rows) error, query string, args ...any) error {
	rows, err := s.read.QueryContext(ctx, s.dialect.rebind(query), args...)
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
