package store_test

import (
	"context"
	"database/sql/driver"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

func TestAdopt(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		got, err := s.Adopt(t.Context(), newJob("fed", "q"))
		require.NoError(t, err)
		require.Equal(t, store.Adopted{New: true}, got)
		got, err = s.Adopt(t.Context(), newJob("fed", "q"))
		require.NoError(t, err)
		require.Equal(t, store.Adopted{}, got)
		finish(t, s, "fed", 1, 1)
		got, err = s.Adopt(t.Context(), newJob("fed", "another"))
		require.NoError(t, err)
		require.False(t, got.New)
		require.False(t, got.Ended.IsZero())
	})
}

// TestAdoptedJobsDoNotShutPeopleOut: the limit of open jobs is for those that Create makes.
func TestAdoptedJobsDoNotShutPeopleOut(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		for i := range 5 {
			_, err := s.Adopt(t.Context(), newJob(fmt.Sprint("fed", i), "q"))
			require.NoError(t, err)
		}
		opts := store.CreateOptions{MaxOpen: 1}
		require.NoError(t, s.Create(t.Context(), newJob("own", "q"), nil, opts))
		finish(t, s, "fed0", 1, 1)
		require.ErrorIs(t, s.Create(t.Context(), newJob("second", "q"), nil, opts), store.ErrTooManyJobs, "the end of an adopted job makes no room")
		finish(t, s, "own", 1, 1)
		require.NoError(t, s.Create(t.Context(), newJob("second", "q"), nil, opts))
	})
}

// TestRefusedRecordsAreToldFromASickDatabase: only the first are a reason to give a record up.
func TestRefusedRecordsAreToldFromASickDatabase(t *testing.T) {
	t.Parallel()
	s := implementations["sqlite"](t)
	create(t, s, newJob("j1", "q"))
	write := func() error {
		big := outcome("j1", 0, 0, eventpb.State_STATE_ANSWERED)
		big.Answer = strings.Repeat("a", 1<<20)
		_, err := s.Record(t.Context(), []store.Entry{{Plan: plan("j1", 1, 1)}, {Outcome: big}})
		return err
	}
	require.NoError(t, s.Pragma(t.Context(), "max_page_count = 1"))
	require.ErrorContains(t, write(), "full")
	require.NotErrorIs(t, write(), store.ErrRefused, "a full disk")
	require.NoError(t, s.Pragma(t.Context(), "max_page_count = 1000000"))
	require.NoError(t, s.Pragma(t.Context(), "query_only = on"))
	require.Error(t, write())
	require.NotErrorIs(t, write(), store.ErrRefused, "a database that cannot be written")
	require.NoError(t, s.Pragma(t.Context(), "query_only = off"))
	twice := outcome("j1", 0, 0, eventpb.State_STATE_ANSWERED)
	twice.Question.Text = "\xff"
	_, err := s.Record(t.Context(), []store.Entry{{Outcome: twice}})
	require.ErrorIs(t, err, store.ErrRefused, "text that is not UTF-8")
	err = s.Create(t.Context(), newJob("j1", "q"), nil, store.CreateOptions{})
	require.ErrorIs(t, s.Refused(err), store.ErrRefused, "a constraint")
	_, err = s.Adopt(t.Context(), newJob("j2", "q"))
	require.NoError(t, err)
	require.NoError(t, write())
}

// lookups holds each lookup of jobs in a SQLite database until it may go on, and counts them.
type lookups struct {
	begun atomic.Int32
	goOn  chan struct{}
}

type lookupConnector struct {
	driver.Connector
	of *lookups
}

func (c lookupConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return lookupConn{conn.(fullConn), c.of}, nil
}

// fullConn is what database/sql uses of a connection.
type fullConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.SessionResetter
	driver.Validator
}

type lookupConn struct {
	fullConn
	of *lookups
}

func (c lookupConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if strings.HasPrefix(query, "SELECT job_id, ended_ms FROM jobs") {
		c.of.begun.Add(1)
		<-c.of.goOn
	}
	return c.fullConn.QueryContext(ctx, query, args)
}

// Job records come by the hundred when a catalogue runs: those that come while a lookup runs are looked for with one statement.
func TestJobsOnTheLogAreLookedForTogether(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		held := &lookups{goOn: make(chan struct{})}
		s, err := store.OpenOn(t.Context(), "sqlite://"+filepath.Join(dir, "jobs.db"), func(c driver.Connector) driver.Connector {
			return lookupConnector{c, held}
		})
		require.NoError(t, err)
		defer func() { require.NoError(t, s.Close()) }()
		const jobs = 100
		for i := range jobs {
			create(t, s, newJob(fmt.Sprint("own", i), "q"))
		}
		finish(t, s, "own7", 1, 1)
		found := make([]store.Adopted, jobs)
		var all errgroup.Group
		for i := range jobs {
			all.Go(func() (err error) {
				found[i], err = s.Adopt(t.Context(), newJob(fmt.Sprint("own", i), "q"))
				return err
			})
			synctest.Wait()
		}
		require.EqualValues(t, 1, held.begun.Load(), "the others wait")
		close(held.goOn)
		require.NoError(t, all.Wait())
		require.EqualValues(t, 2, held.begun.Load())
		for i, got := range found {
			require.False(t, got.New, i)
			require.Equal(t, i == 7, !got.Ended.IsZero(), i)
		}
	})
}
