package store

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// keeping is a database of one connection that keeps its statements.
func keeping(t *testing.T) (db *sql.DB, conn func() *keepingConn) {
	t.Helper()
	db = sql.OpenDB(keeper("file:" + filepath.Join(t.TempDir(), "kept.db")))
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	db.SetMaxOpenConns(1)
	_, err := db.ExecContext(t.Context(), `CREATE TABLE numbers (n INTEGER PRIMARY KEY, name TEXT)`)
	require.NoError(t, err)
	return db, func() (kept *keepingConn) {
		one, err := db.Conn(t.Context())
		require.NoError(t, err)
		require.NoError(t, one.Raw(func(c any) error {
			kept, _ = c.(*keepingConn)
			return nil
		}))
		require.NoError(t, one.Close())
		return kept
	}
}

func TestAStatementIsCompiledOnce(t *testing.T) {
	t.Parallel()
	db, conn := keeping(t)
	for n := range 5 {
		res, err := db.ExecContext(t.Context(), `INSERT INTO numbers (n, name) VALUES (?, ?)`, n, fmt.Sprint("number ", n))
		require.NoError(t, err)
		added, err := res.RowsAffected()
		require.NoError(t, err)
		require.EqualValues(t, 1, added)
		var name string
		require.NoError(t, db.QueryRowContext(t.Context(), `SELECT name FROM numbers WHERE n = ?`, n).Scan(&name))
		require.Equal(t, fmt.Sprint("number ", n), name, "the arguments are those of this call")
	}
	require.Len(t, conn().kept, 3)
	_, err := db.ExecContext(t.Context(), `INSERT INTO numbers (n, name) VALUES (?, ?)`, 1, "again")
	require.ErrorContains(t, err, "UNIQUE")
	_, err = db.ExecContext(t.Context(), `INSERT INTO numbers (n, name) VALUES (?, ?)`, 6, "after a fault")
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), `ALTER TABLE numbers ADD COLUMN more TEXT DEFAULT 'new'`)
	require.NoError(t, err)
	rows, err := db.QueryContext(t.Context(), `SELECT name FROM numbers WHERE n = ?`, 6)
	require.NoError(t, err)
	require.True(t, rows.Next(), "a kept statement is compiled again when the tables change")
	require.NoError(t, rows.Close())
	require.NoError(t, rows.Err())
}

func TestAStatementWhoseRowsAreReadRunsBesideItself(t *testing.T) {
	t.Parallel()
	db, conn := keeping(t)
	for n := range 3 {
		_, err := db.ExecContext(t.Context(), `INSERT INTO numbers (n) VALUES (?)`, n)
		require.NoError(t, err)
	}
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	const query = `SELECT n FROM numbers ORDER BY n`
	outer, err := tx.QueryContext(t.Context(), query)
	require.NoError(t, err)
	var pairs int
	for outer.Next() {
		var a int
		require.NoError(t, outer.Scan(&a))
		inner, err := tx.QueryContext(t.Context(), query)
		require.NoError(t, err)
		for inner.Next() {
			pairs++
		}
		require.NoError(t, inner.Err())
		require.NoError(t, inner.Close())
	}
	require.NoError(t, outer.Err())
	require.NoError(t, outer.Close())
	require.Equal(t, 9, pairs)
	require.NoError(t, tx.Commit())
	require.False(t, conn().kept[query].busy)
}

func TestKeptStatementsAreBounded(t *testing.T) {
	t.Parallel()
	db, conn := keeping(t)
	const often = `SELECT COUNT(*) FROM numbers`
	for n := range 2 * keptStatements {
		for _, query := range []string{often, fmt.Sprintf(`SELECT n + %d FROM numbers`, n)} {
			rows, err := db.QueryContext(t.Context(), query)
			require.NoError(t, err)
			require.NoError(t, rows.Close())
			require.NoError(t, rows.Err())
		}
	}
	kept := conn().kept
	require.Len(t, kept, keptStatements)
	require.Contains(t, kept, often)
	long := `SELECT n FROM numbers WHERE name = '` + fmt.Sprintf("%*d", keptBytes, 1) + `'`
	rows, err := db.QueryContext(t.Context(), long)
	require.NoError(t, err)
	require.NoError(t, rows.Close())
	require.NoError(t, rows.Err())
	require.NotContains(t, conn().kept, long)
}

// A lock reads and never writes: on SQLite, an update that sets a key to what it is reads every row that refers to it, such as the million items of a run.
func TestALockDoesNotWrite(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	update := regexp.MustCompile(`UPDATE \w+ SET (\w+) = (\w+) (?:WHERE|RETURNING)`)
	for _, name := range files {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		for _, m := range update.FindAllStringSubmatch(string(text), -1) {
			require.NotEqual(t, m[1], m[2], "%s: %s", name, m[0])
		}
	}
}

// Connections that read together stay open for the next time, with their compiled statements.
func TestConnectionsThatReadAreKept(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), "sqlite://"+filepath.Join(t.TempDir(), "lark.db"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	conns := make([]*sql.Conn, sqliteReadConns)
	for i := range conns {
		conns[i], err = s.read.Conn(t.Context())
		require.NoError(t, err)
	}
	for _, conn := range conns {
		require.NoError(t, conn.Close())
	}
	require.Equal(t, sqliteReadConns, s.read.Stats().Idle)
}
