package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"time"
)

const (
	// startWait is how long Open waits for a database that cannot be reached.
	startWait = 30 * time.Second
	startPoll = 500 * time.Millisecond
)

// CheckURL tells whether databaseURL names a database that Open knows. The error does not show the URL, which may hold a password.
func CheckURL(databaseURL string) error {
	if _, _, err := opener(databaseURL); err != nil {
		return err
	}
	return nil
}

type openFunc func(ctx context.Context, address string, wrap wrapper) (*SQL, error)

// opener is what opens the database of a URL, and the address that it needs.
func opener(databaseURL string) (openFunc, string, error) {
	if path, ok := strings.CutPrefix(databaseURL, "sqlite://"); ok && path != "" {
		return openSQLite, path, nil
	}
	if strings.HasPrefix(databaseURL, "postgres://") || strings.HasPrefix(databaseURL, "postgresql://") {
		return openPostgres, databaseURL, nil
	}
	scheme, _, _ := strings.Cut(databaseURL, ":")
	return nil, "", fmt.Errorf("DATABASE_URL scheme %.20q is not supported, want sqlite:///path or postgres://user:password@host:5432/database", scheme)
}

// Open opens the database of databaseURL, sqlite:///absolute/path.db or postgres://user:password@host:5432/database, and brings its schema up to
// date. It waits a while for a database that cannot be reached. It fails with ErrNewer if the schema is one of a later version.
func Open(ctx context.Context, databaseURL string) (*SQL, error) {
	return OpenOn(ctx, databaseURL, nil)
}

// OpenOn is Open with wrap, which may be nil, before each connection to the database.
func OpenOn(ctx context.Context, databaseURL string, wrap func(driver.Connector) driver.Connector) (*SQL, error) {
	open, address, err := opener(databaseURL)
	if err != nil {
		return nil, fmt.Errorf("opening job store: %w", err)
	}
	s, err := open(ctx, address, wrap)
	if err != nil {
		return nil, err
	}
	s.creates, s.lookups = s.newCreates(), s.newLookups()
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("opening job store: %w", remedy(err)), s.Close())
	}
	return s, nil
}

// start migrates the database once it can be reached.
func (s *SQL) start(ctx context.Context) error {
	deadline := time.NewTimer(startWait)
	defer deadline.Stop()
	for {
		err := s.dialect.mark(s.migrate(ctx))
		if !errors.Is(err, ErrUnavailable) {
			return err
		}
		poll := time.NewTimer(startPoll)
		select {
		case <-poll.C:
		case <-deadline.C:
			poll.Stop()
			return fmt.Errorf("the database has not answered for %s; check that it runs, and that DATABASE_URL has its host and port: %w", startWait, err)
		case <-ctx.Done():
			poll.Stop()
			return err
		}
	}
}
