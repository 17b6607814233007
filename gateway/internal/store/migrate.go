package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var migrations embed.FS

const versionTable = "goose_db_version"

// ErrNewer says that the database was migrated by a later version of the gateway.
var ErrNewer = errors.New("the job store was migrated by a newer version of Larkstream")

// migrate applies, each in a transaction of its own, the migrations that are not applied yet. Of several gateways that start at once on
// PostgreSQL, one migrates and the others wait.
func (s *SQL) migrate(ctx context.Context) error {
	if err := s.takeOverVersions(ctx); err != nil {
		return err
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	options := []goose.ProviderOption{goose.WithTableName(versionTable), goose.WithDisableGlobalRegistry(true), goose.WithAllowOutofOrder(true)}
	if s.dialect.goose == goose.DialectPostgres {
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 120))
		if err != nil {
			return err
		}
		options = append(options, goose.WithSessionLocker(locker))
	}
	provider, err := goose.NewProvider(s.dialect.goose, s.write, files, options...)
	if err != nil {
		return err
	}
	if _, err := provider.Up(ctx); err != nil { // does nothing to a newer database
		return fmt.Errorf("migrating: %w", err)
	}
	return checkVersion(ctx, provider)
}

// checkVersion refuses a database that this binary does not know: it would write rows without the columns that a newer version needs.
func checkVersion(ctx context.Context, provider *goose.Provider) error {
	found, known, err := provider.GetVersions(ctx)
	if err != nil {
		return err
	}
	if found > known {
		return fmt.Errorf("%w: its schema is version %d, and this binary knows %d; start the newer version again, or restore a backup from before the upgrade", ErrNewer, found, known)
	}
	return nil
}

// takeOverVersions notes in goose's table what earlier versions noted in a table of their own, which goes: a binary that still knows the old
// table finds none and fails instead of running on a schema that it does not know.
func (s *SQL) takeOverVersions(ctx context.Context) error {
	if s.dialect.goose != goose.DialectSQLite3 {
		return nil
	}
	versions, err := database.NewStore(database.DialectSQLite3, versionTable)
	if err != nil {
		return err
	}
	return s.inTx(ctx, func(tx *tx) error {
		var tables int
		if err := tx.row(ctx, `SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'schema_migrations'`).Scan(&tables); err != nil || tables == 0 {
			return err
		}
		applied := []int64{0}
		err := tx.each(ctx, func(rows *sql.Rows) error {
			var name string
			if err := rows.Scan(&name); err != nil {
				return err
			}
			version, err := goose.NumericComponent(name)
			applied = append(applied, version)
			return err
		}, `SELECT version FROM schema_migrations ORDER BY version`)
		if err != nil {
			return err
		}
		if err := versions.CreateVersionTable(ctx, tx.Tx); err != nil {
			return err
		}
		for _, version := range applied {
			if err := versions.Insert(ctx, tx.Tx, database.InsertRequest{Version: version}); err != nil {
				return err
			}
		}
		_, err = tx.exec(ctx, `DROP TABLE schema_migrations`)
		return err
	})
}
