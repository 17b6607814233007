package store_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

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
