package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite" // also the database/sql driver "sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

const sqliteReadConns = 4

// openSQLite opens the file, whose folder is made if it is missing.
func openSQLite(_ context.Context, path string, wrap wrapper) (*SQL, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("making folder of job store: %w", err)
	}
	// synchronous(FULL): a 202 and a committed Kafka offset both promise that a power cut forgets
	// nothing. Group commit (Record takes many entries) pays for the fsync.
	params := url.Values{"_pragma": {
		"journal_mode(WAL)", "synchronous(FULL)", "busy_timeout(5000)", "foreign_keys(1)",
	}}
	readDSN := "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + params.Encode()
	s := &SQL{dialect: dialect{goose: goose.DialectSQLite3, kind: sqliteFault}, now: time.Now}
	s.write = wrap.open(keeper(readDSN + "&_txlock=immediate"))
	s.write.SetMaxOpenConns(1)
	s.read = wrap.open(keeper(readDSN))
	s.read.SetMaxOpenConns(sqliteReadConns)
	s.read.SetMaxIdleConns(sqliteReadConns) // a new connection reads the schema and compiles its statements again
	return s, nil
}

// wrapper stands before each connection to the database; it may be nil.
type wrapper func(driver.Connector) driver.Connector

func (w wrapper) open(connector driver.Connector) *sql.DB {
	if w != nil {
		connector = w(connector)
	}
	return sql.OpenDB(connector)
}

// sqliteFault reads the primary code of an error; the rest of the code tells details.
func sqliteFault(err error) fault {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return otherFault
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_FULL:
		return diskFull
	case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG:
		return refusedRow
	}
	return otherFault
}
