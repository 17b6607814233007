package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

const (
	postgresConns = 16
	// postgresIdle is how long an idle connection is kept.
	postgresIdle = 5 * time.Minute
	// connectTimeout bounds one connection, unless the URL has a connect_timeout.
	connectTimeout = 5 * time.Second
	// postgresTx bounds a transaction: a server that has vanished without closing its connections must not hold a request for longer.
	postgresTx = 20 * time.Second
)

// openPostgres opens a pool on the database of a postgres:// URL.
func openPostgres(_ context.Context, databaseURL string, wrap wrapper) (*SQL, error) {
	cfg, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		return nil, fmt.Errorf("opening job store: DATABASE_URL cannot be read, want postgres://user:password@host:5432/database: %w", withoutURL(err))
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectTimeout
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "larkstream-gateway"
	}
	cfg.StatementCacheCapacity = keptStatements
	s := &SQL{
		dialect: dialect{goose: goose.DialectPostgres, numbered: true, arrays: true, lock: " FOR NO KEY UPDATE", claim: " FOR UPDATE SKIP LOCKED", txTimeout: postgresTx, kind: postgresFault},
		now:     time.Now,
	}
	s.write = wrap.open(stdlib.GetConnector(*cfg))
	s.write.SetMaxOpenConns(postgresConns)
	s.write.SetMaxIdleConns(postgresConns)
	s.write.SetConnMaxIdleTime(postgresIdle)
	s.read = s.write
	return s, nil
}

// withoutURL is the cause of an error about a URL: the URL has a password in it.
func withoutURL(err error) error {
	var parse *url.Error
	if errors.As(err, &parse) {
		return parse.Err
	}
	var config *pgconn.ParseConfigError
	if errors.As(err, &config) {
		if cause := errors.Unwrap(config); cause != nil {
			return cause
		}
		return errors.New("it has an unknown or wrong setting")
	}
	return err
}

// postgresFault reads the class of an error's SQLSTATE: https://www.postgresql.org/docs/current/errcodes-appendix.html.
func postgresFault(err error) fault {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return faultOfState(e.Code)
	}
	var connect *pgconn.ConnectError
	var network net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return otherFault
	case errors.As(err, &connect), errors.As(err, &network), errors.Is(err, driver.ErrBadConn), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF),
		strings.Contains(err.Error(), "conn closed"): // pgconn has no value for it
		return away
	}
	return otherFault
}

func faultOfState(code string) fault {
	switch code {
	case "53100": // disk_full
		return diskFull
	case "40001", "40P01": // serialization_failure, deadlock_detected
		return conflict
	case "25006": // read_only_sql_transaction: a standby after a failover
		return away
	}
	switch code[:2] {
	case "22", "23", "54": // data exception, integrity constraint violation, program limit exceeded
		return refusedRow
	case "08", "53", "57", "58": // connection exception, insufficient resources, operator intervention, system error
		return away
	}
	return otherFault
}

// remedy adds what to do about an error of the first connection.
func remedy(err error) error {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code {
	case "28P01", "28000":
		return fmt.Errorf("%w; check the user and the password of DATABASE_URL, and the server's pg_hba.conf", err)
	case "3D000":
		return fmt.Errorf("%w; create the database (createdb), or name another in DATABASE_URL", err)
	case "42501", "3F000":
		return fmt.Errorf("%w; the user of DATABASE_URL must be allowed to create tables: make it the owner of the database", err)
	}
	return err
}
