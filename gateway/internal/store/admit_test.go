package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
)

// bulkJob is a job of one window in the bulk lane, without a deadline.
func bulkJob(id string) store.Job {
	j := newJob(id, "q")
	j.Lane, j.Plan, j.Spans, j.Deadline = event.LaneBulk, event.PlanAuto, nil, time.Time{}
	return j
}

func recordOf(j store.Job) (event.Record, error) {
	return event.Record{Topic: "jobs", Key: j.ID + " " + strings.Join(j.Questions, ",")}, nil
}

// submit creates a job of the tenant where the lane may have so many windows in Kafka.
func submit(t *testing.T, s *store.SQL, job store.Job, tenant string, most int) {
	t.Helper()
	job.Tenant = tenant
	rec, err := recordOf(job)
	require.NoError(t, err)
	require.NoError(t, s.Create(t.Context(), job, []event.Record{rec}, store.CreateOptions{MaxWindows: most}))
}

// sent are the keys of what is in the outbox, which it empties.
func sent(t *testing.T, s *store.SQL) (keys []string) {
	t.Helper()
	pending, err := s.Pending(t.Context(), 1000)
	require.NoError(t, err)
	for _, o := range pending {
		keys = append(keys, o.Record.Key)
	}
	require.NoError(t, s.Sent(t.Context(), pending))
	return keys
}

// admit admits jobs of the bulk lane and returns the keys of their records.
func admit(t *testing.T, s *store.SQL, most, limit int) (keys []string) {
	t.Helper()
	return admitOn(t, s, store.Admission{Lane: event.LaneBulk, MaxWindows: most, Limit: limit})
}

func admitOn(t *testing.T, s *store.SQL, a store.Admission) (keys []string) {
	t.Helper()
	a.Record = recordOf
	n, err := s.Admit(t.Context(), a)
	require.NoError(t, err)
	keys = sent(t, s)
	require.Len(t, keys, n)
	return keys
}

func TestJobsWaitWhileTheirLaneIsFull(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		for i := range 5 {
			submit(t, s, bulkJob(fmt.Sprint("j", i)), "", 2)
		}
		require.Equal(t, []string{"j0 q", "j1 q"}, sent(t, s))
		n, err := s.Waiting(t.Context(), event.LaneBulk)
		require.NoError(t, err)
		require.Equal(t, 3, n)
		submit(t, s, newJob("person", "q"), "", 2)
		require.Equal(t, []string{"person q"}, sent(t, s), "the other lane is free")
		j, err := s.Get(t.Context(), "j2")
		require.NoError(t, err)
		require.True(t, j.Waiting)
		require.Equal(t, store.Queued, j.State)

		keys := admit(t, s, 2, 10)
		require.Empty(t, keys)
		finish(t, s, "j1", 3, 1)
		keys = admit(t, s, 2, 10)
		require.Equal(t, []string{"j2 q"}, keys, "an ended job makes room")
		record(t, s, all("j2", 4, 1, 1)[:3]...) // planned, and two of its four windows answered
		keys = admit(t, s, 4, 10)
		require.Equal(t, []string{"j3 q"}, keys, "one window of j0 and two of j2 leave room for one")
		keys = admit(t, s, 100, 10)
		require.Equal(t, []string{"j4 q"}, keys)
		submit(t, s, bulkJob("last"), "", 100)
		require.Equal(t, []string{"last q"}, sent(t, s))
	})
}

// How many jobs wait is told from what is kept: it is the same as what is there, whatever has become of the jobs.
func TestHowManyJobsWait(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		waiting := func(want int) {
			t.Helper()
			n, err := s.Waiting(t.Context(), event.LaneBulk)
			require.NoError(t, err)
			require.Equal(t, want, n)
			n, err = s.Waiting(t.Context(), event.LaneInteractive)
			require.NoError(t, err)
			require.Zero(t, n)
		}
		waiting(0)
		create(t, s, newJob("person", "q"))
		submit(t, s, bulkJob("goes"), "", 1)
		require.Len(t, sent(t, s), 2)
		waiting(0)
		for i := range 5 {
			submit(t, s, bulkJob(fmt.Sprint("j", i)), "", 1)
		}
		_, err := s.Adopt(t.Context(), bulkJob("adopted"))
		require.NoError(t, err)
		waiting(5)
		finish(t, s, "j4", 1, 1) // it ends while it waits
		waiting(4)
		require.NoError(t, s.Delete(t.Context(), "j4"))
		waiting(4)
		require.Equal(t, []string{"j0 q", "j1 q"}, admit(t, s, 3, 10))
		waiting(2)
		finish(t, s, "goes", 1, 1)
		finish(t, s, "j0", 2, 1)
		finish(t, s, "adopted", 1, 1)
		waiting(2)
		_, err = s.Cancel(t.Context(), "j3", nil, nil)
		require.NoError(t, err)
		waiting(1)
	})
}

func TestAJobCountsForTheWindowsThatAreExpected(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		explicit, whole := bulkJob("explicit"), bulkJob("whole")
		explicit.Plan, explicit.Spans = event.PlanExplicit, make([]event.Span, 4)
		whole.Plan = event.PlanAll
		submit(t, s, whole, "", 1)
		submit(t, s, bulkJob("waits"), "", 12)
		require.Equal(t, []string{"whole q"}, sent(t, s), "a track has about twelve windows")
		finish(t, s, "whole", 1, 1)
		keys := admit(t, s, 12, 10)
		require.Equal(t, []string{"waits q"}, keys)
		submit(t, s, explicit, "", 2)
		submit(t, s, bulkJob("also"), "", 5)
		require.Equal(t, []string{"explicit q"}, sent(t, s))
	})
}

func TestTenantsTakeTurns(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		submit(t, s, bulkJob("a0"), "a", 1)
		sent(t, s)
		for i := 1; i < 6; i++ {
			submit(t, s, bulkJob(fmt.Sprint("a", i)), "a", 1)
		}
		submit(t, s, bulkJob("b1"), "b", 1)
		submit(t, s, bulkJob("b2"), "b", 1)
		submit(t, s, bulkJob("c1"), "c", 1)
		require.Equal(t, []string{"a1 q", "b1 q", "c1 q", "a2 q"}, admit(t, s, 100, 4))
		require.Equal(t, []string{"b2 q", "a3 q", "a4 q", "a5 q"}, admit(t, s, 100, 100), "the turns go on where they were")
		submit(t, s, bulkJob("b3"), "b", 1)
		submit(t, s, bulkJob("a6"), "a", 1)
		require.Equal(t, []string{"b3 q", "a6 q"}, admit(t, s, 100, 100))
	})
}

// TestTurnsAreOfSeconds: who submits long tracks has fewer of them admitted than who submits short ones, whatever the moments at which there is room.
func TestTurnsAreOfSeconds(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		submit(t, s, bulkJob("first"), "x", 1)
		sent(t, s)
		long := func(id string) store.Job {
			j := bulkJob(id)
			j.Plan, j.Spans = event.PlanExplicit, []event.Span{{EndS: 100}}
			return j
		}
		for i := range 10 {
			submit(t, s, long(fmt.Sprint("long", i)), "long", 1)
		}
		for i := range 40 {
			submit(t, s, bulkJob(fmt.Sprintf("short%02d", i)), "short", 1)
		}
		counts := map[string]int{}
		for range 20 { // one place at a time
			for _, key := range admit(t, s, 100, 1) {
				counts[key[:4]]++
			}
		}
		require.Equal(t, map[string]int{"long": 4, "shor": 16}, counts)
	})
}

func TestWeightsAndBoundsOfTenants(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		for name, weight := range map[string]float64{"a": 3, "b": 0} { // 0 is 1
			_, err := s.CreateTenant(t.Context(), store.Tenant{Name: name, Limits: client.TenantLimits{Weight: weight}})
			require.NoError(t, err)
		}
		submit(t, s, bulkJob("first"), "x", 1)
		sent(t, s)
		for i := range 20 {
			submit(t, s, bulkJob(fmt.Sprintf("a%02d", i)), "a", 1)
			submit(t, s, bulkJob(fmt.Sprintf("b%02d", i)), "b", 1)
		}
		tenants := func(keys []string) string {
			var out strings.Builder
			for _, k := range keys {
				out.WriteString(k[:1])
			}
			return out.String()
		}
		got := tenants(admitOn(t, s, store.Admission{Lane: event.LaneBulk, MaxWindows: 100, Limit: 8}))
		require.Equal(t, "aaabaaab", got)
		const bound = 7
		got = tenants(admitOn(t, s, store.Admission{Lane: event.LaneBulk, MaxWindows: 100, Limit: 50, MaxTenantWindows: bound}))
		require.Equal(t, 1, strings.Count(got, "a"), "six are in Kafka")
		require.Equal(t, 5, strings.Count(got, "b"), "two are in Kafka")
		require.Empty(t, admitOn(t, s, store.Admission{Lane: event.LaneBulk, MaxWindows: 100, Limit: 50, MaxTenantWindows: bound}))
		finish(t, s, "a00", 1, 1)
		require.Equal(t, []string{"a07 q"}, admitOn(t, s, store.Admission{Lane: event.LaneBulk, MaxWindows: 100, Limit: 50, MaxTenantWindows: bound}))
	})
}

// TestATenantAtItsBoundWaits although its lane has room.
func TestATenantAtItsBoundWaits(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		for i := range 3 {
			job := bulkJob(fmt.Sprint("j", i))
			require.NoError(t, s.Create(t.Context(), job, []event.Record{{Topic: "jobs", Key: job.ID}}, store.CreateOptions{MaxTenantWindows: 2}))
		}
		require.Equal(t, []string{"j0", "j1"}, sent(t, s))
	})
}

// TestATenantThatComesNeedNotWaitForPlaces: a tenant at its own bound has left room in the lane, and its many jobs that wait stand before nobody.
func TestATenantThatComesNeedNotWaitForPlaces(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		const all, ofTenant = 8, 7
		for i := range 20 {
			job := bulkJob(fmt.Sprintf("large%02d", i))
			job.Tenant = "large"
			require.NoError(t, s.Create(t.Context(), job, []event.Record{{Topic: "jobs", Key: job.ID}}, store.CreateOptions{MaxWindows: all, MaxTenantWindows: ofTenant}))
		}
		require.Len(t, sent(t, s), ofTenant)
		admission := store.Admission{Lane: event.LaneBulk, MaxWindows: all, Limit: 50, MaxTenantWindows: ofTenant}
		require.Empty(t, admitOn(t, s, admission))
		submit(t, s, bulkJob("small"), "small", all)
		require.Equal(t, []string{"small q"}, admitOn(t, s, admission))
	})
}

func TestCancellingAJobThatWaitsCostsNothing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		submit(t, s, bulkJob("j1"), "", 1)
		submit(t, s, bulkJob("j2"), "", 1)
		sent(t, s)
		stop, ends := []event.Record{{Topic: "control", Key: "stop"}}, []event.Record{{Topic: "answers", Key: "ends"}}
		for id, want := range map[string]string{"j1": "stop", "j2": "ends"} {
			j, err := s.Cancel(t.Context(), id, stop, ends)
			require.NoError(t, err)
			require.Equal(t, store.Cancelling, j.State)
			require.Equal(t, []string{want}, sent(t, s))
		}
		keys := admit(t, s, 100, 100)
		require.Empty(t, keys, "no stage hears of it")
	})
}

func TestWhatCannotBeAdmittedHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		now := created
		s.SetNow(func() time.Time { return now })
		submit(t, s, bulkJob("first"), "", 1)
		late, givenUp := bulkJob("late"), bulkJob("given up")
		late.Deadline = created.Add(time.Second)
		for _, j := range []store.Job{late, givenUp, bulkJob("odd"), bulkJob("good")} {
			submit(t, s, j, "", 1)
		}
		sent(t, s)
		require.NoError(t, s.GiveUp(t.Context(), "given up"))
		now = created.Add(time.Hour)
		idle, err := s.Idle(t.Context(), now, 10)
		require.NoError(t, err)
		require.Equal(t, []store.Idle{{ID: "first", Since: created}}, idle, "who waits is not idle")
		n, err := s.Admit(t.Context(), store.Admission{
			Lane: event.LaneBulk, MaxWindows: 100, Limit: 100, Record: func(j store.Job) (event.Record, error) {
				if j.ID == "odd" {
					return event.Record{}, errors.New("no record can be made of it")
				}
				return recordOf(j)
			},
		})
		require.NoError(t, err)
		require.Equal(t, 2, n)
		require.Equal(t, []string{"good q"}, sent(t, s))
		idle, err = s.Idle(t.Context(), now.Add(time.Hour), 10)
		require.NoError(t, err)
		require.Contains(t, idle, store.Idle{ID: "odd", Since: now}, "the reaper ends it")
	})
}

func TestOpenJobsAreLimitedLaneByLane(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		opts := store.CreateOptions{MaxOpen: 1}
		require.NoError(t, s.Create(t.Context(), bulkJob("j1"), nil, opts))
		require.ErrorIs(t, s.Create(t.Context(), bulkJob("j2"), nil, opts), store.ErrTooManyJobs)
		require.NoError(t, s.Create(t.Context(), newJob("person", "q"), nil, opts), "a catalogue shuts nobody out")
		finish(t, s, "j1", 1, 1)
		require.NoError(t, s.Create(t.Context(), bulkJob("j2"), nil, opts))
	})
}

// The questions that each submission asks of the database must not take longer the more jobs wait.
func TestWaitingJobsAreFoundByIndex(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "jobs.db")
	s := open(t, "sqlite://"+path)
	submit(t, s, bulkJob("j"), "", 1)
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	for query, index := range store.AdmissionQueries() {
		rows, err := db.QueryContext(context.WithoutCancel(t.Context()), "EXPLAIN QUERY PLAN "+strings.ReplaceAll(query, "?", "'1'"))
		require.NoError(t, err)
		var plan []string
		for rows.Next() {
			var a, b, c any
			var step string
			require.NoError(t, rows.Scan(&a, &b, &c, &step))
			plan = append(plan, step)
		}
		require.NoError(t, rows.Err())
		require.NoError(t, rows.Close())
		require.Contains(t, strings.Join(plan, "\n"), index, query)
		require.NotContains(t, strings.Join(plan, "\n"), "TEMP B-TREE", query)
	}
}

// A job that ends while it waits is over: it can be deleted, and is never published, not even when it is opened again.
func TestAJobThatEndsWhileItWaitsIsNeverPublished(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		submit(t, s, bulkJob("first"), "a", 1)
		submit(t, s, bulkJob("waits"), "a", 1)
		require.Equal(t, []string{"first q"}, sent(t, s))
		require.ErrorIs(t, s.Delete(t.Context(), "waits"), store.ErrOpen)

		finish(t, s, "waits", 1, 1)
		j, err := s.Peek(t.Context(), "waits")
		require.NoError(t, err)
		require.False(t, j.Waiting)
		require.NoError(t, s.Delete(t.Context(), "waits"))
		keys := admit(t, s, 100, 10)
		require.Empty(t, keys)
	})
}
