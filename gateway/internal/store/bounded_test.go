package store_test

import (
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"modernc.org/sqlite"

	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/gateway/pgtest"
	"github.com/larkstream/larkstream/shared/event"
)

// rowsRead counts how often row_read was called. Who reads it holds rowsMu.
var (
	rowsRead atomic.Int64
	rowsMu   sync.Mutex
)

func init() {
	// row_read(x) is true. It is called with each row that a query looks at.
	sqlite.MustRegisterScalarFunction("row_read", 1, func(*sqlite.FunctionContext, []driver.Value) (driver.Value, error) {
		rowsRead.Add(1)
		return int64(1), nil
	})
}

// readBySQLite tells how many rows of a table a query looks at: a view that calls row_read stands in for the table.
func readBySQLite(t *testing.T, path, table, key string) func(query string, args ...any) int {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	db.SetMaxOpenConns(1) // the view is of the connection
	_, err = db.ExecContext(t.Context(), fmt.Sprintf(`CREATE TEMP VIEW %[1]s AS SELECT * FROM main.%[1]s WHERE row_read(%[2]s)`, table, key))
	require.NoError(t, err)
	return func(query string, args ...any) int {
		rowsRead.Store(0)
		rows, err := db.QueryContext(t.Context(), query, args...)
		require.NoError(t, err)
		for rows.Next() { // what it reads is counted
		}
		require.NoError(t, rows.Err())
		require.NoError(t, rows.Close())
		return int(rowsRead.Load())
	}
}

// readByPostgres tells how many rows of a table a query looks at, by the plan with what its steps have done.
func readByPostgres(t *testing.T, db *sql.DB, table string) func(query string, args ...any) int {
	t.Helper()
	_, err := db.ExecContext(t.Context(), "ANALYZE "+table)
	require.NoError(t, err)
	return func(query string, args ...any) int {
		var raw string
		for _, arg := range args {
			text := fmt.Sprint(arg)
			if word, ok := arg.(string); ok {
				text = "'" + word + "'"
			}
			query = strings.Replace(query, "?", text, 1)
		}
		require.NoError(t, db.QueryRowContext(t.Context(), "EXPLAIN (ANALYZE, FORMAT JSON) "+query).Scan(&raw))
		var plans []struct {
			Plan planStep `json:"Plan"`
		}
		require.NoError(t, json.Unmarshal([]byte(raw), &plans))
		return plans[0].Plan.rows(table)
	}
}

// planStep is a step of PostgreSQL's plan.
type planStep struct {
	Relation string     `json:"Relation Name"`
	Rows     float64    `json:"Actual Rows"`
	Removed  float64    `json:"Rows Removed by Filter"`
	Loops    float64    `json:"Actual Loops"`
	Plans    []planStep `json:"Plans"`
}

func (p planStep) rows(table string) int {
	n := 0
	if p.Relation == table {
		n = int((p.Rows + p.Removed) * p.Loops)
	}
	for _, below := range p.Plans {
		n += below.rows(table)
	}
	return n
}

// manyWaiting makes two admitted jobs of a tenant and so many that wait.
func manyWaiting(t *testing.T, s *store.SQL, n int) {
	t.Helper()
	for i := range 2 {
		submit(t, s, bulkJob(fmt.Sprint("admitted", i)), "a", 100)
	}
	var all errgroup.Group // the store makes jobs together that come at the same time
	for i := range n {
		all.Go(func() error {
			job := bulkJob(fmt.Sprint("waits", i))
			job.Tenant = "a"
			return s.Create(t.Context(), job, nil, store.CreateOptions{MaxWindows: 1})
		})
	}
	require.NoError(t, all.Wait())
	waiting, err := s.Waiting(t.Context(), event.LaneBulk)
	require.NoError(t, err)
	require.Equal(t, n, waiting)
}

// onBoth runs a check on both databases, with a function that tells how many rows of a table a query looks at. fill writes what is read.
func onBoth(t *testing.T, table, key string, fill func(t *testing.T, s *store.SQL), check func(t *testing.T, read func(query string, args ...any) int)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "jobs.db")
		s := open(t, "sqlite://"+path)
		fill(t, s)
		rowsMu.Lock()
		defer rowsMu.Unlock()
		check(t, readBySQLite(t, path, table, key))
	})
	t.Run("postgres", func(t *testing.T) {
		s := open(t, pgtest.PreparedDatabase(t, migrate))
		fill(t, s)
		check(t, readByPostgres(t, s.Reader(), table))
	})
}

// bounded checks that no query reads more rows than it may.
func bounded(t *testing.T, read func(query string, args ...any) int, queries map[string]store.Bounded) {
	t.Helper()
	for query, bound := range queries {
		n := read(query, bound.Args...)
		t.Logf("%d rows: %s", n, query)
		require.Positive(t, n)
		require.LessOrEqual(t, n, bound.Rows, query)
	}
}

// What a round of admission asks does not read all jobs that wait, however many they are.
func TestAdmissionReadsFewOfTheJobsThatWait(t *testing.T) {
	t.Parallel()
	const many = 600
	onBoth(t, "jobs", "job_id", func(t *testing.T, s *store.SQL) {
		t.Helper()
		manyWaiting(t, s, many)
	}, func(t *testing.T, read func(query string, args ...any) int) {
		t.Helper()
		all := read(`SELECT COUNT(*) FROM jobs WHERE lane = ? AND ended_ms = 0 AND admitted_ms = 0`, event.LaneBulk)
		require.GreaterOrEqual(t, all, many, "a count of them all reads them all")
		bounded(t, read, store.BoundedQueries(event.LaneBulk, "a"))
	})
}

// The backlog of webhooks is told without reading all deliveries: neither those that are pending, beyond the most that are counted, nor those of before.
func TestTheBacklogOfWebhooksReadsFewDeliveries(t *testing.T) {
	t.Parallel()
	onBoth(t, "webhook_deliveries", "delivery_id", func(t *testing.T, s *store.SQL) {
		t.Helper()
		w := newWebhook(t, s, "*")
		for i, state := range []string{"delivered", "failed", "pending"} {
			require.NoError(t, s.Exec(t.Context(), fmt.Sprintf(`INSERT INTO webhook_deliveries
				(delivery_id, endpoint_id, message_id, event, subject, url, body, state, attempts, next_ms, created_ms, ended_ms, log)
				WITH RECURSIVE numbers(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < 600)
				SELECT '%[1]s' || i, '%[2]s', 'm', 'job.succeeded', 's', 'u', '{}', '%[1]s', 1, %[3]d + i, %[3]d + i, 0, '[]' FROM numbers`, state, w.ID, 1000*i)))
		}
		b, err := s.WebhookBacklog(t.Context())
		require.NoError(t, err)
		require.Equal(t, []int64{600, 2001, 2001}, []int64{int64(b.Pending), b.Oldest.UnixMilli(), b.Due.UnixMilli()})
	}, func(t *testing.T, read func(query string, args ...any) int) {
		t.Helper()
		require.GreaterOrEqual(t, read(`SELECT MAX(attempts) FROM webhook_deliveries WHERE state = 'pending'`), 600)
		bounded(t, read, store.BoundedWebhooks())
	})
}
