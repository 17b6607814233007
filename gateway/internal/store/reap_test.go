package store_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// jobRecord is the record of a job as the outbox knows it.
func jobRecord(id string) event.Record {
	return event.Record{Topic: event.TopicJobs, Key: id, Headers: []event.Header{{Key: event.HeaderSubject, Value: []byte(id)}}}
}

func TestOverdueJobs(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		ctx, now := t.Context(), created
		s.SetNow(func() time.Time { return now })
		late, free, ended := newJob("late", "q"), newJob("cancelled", "q"), newJob("ended", "q")
		free.Deadline = time.Time{}
		for _, j := range []store.Job{late, free, ended} {
			create(t, s, j)
		}
		finish(t, s, "ended", 1, 1)
		_, err := s.Cancel(ctx, "cancelled", nil, nil)
		require.NoError(t, err)
		overdue := func(due, again time.Time) []string {
			ids, err := s.GiveUpOverdue(ctx, due, again, 10)
			require.NoError(t, err)
			return ids
		}
		require.Empty(t, overdue(created, now))
		require.Equal(t, []string{"cancelled"}, overdue(created.Add(time.Second), now))
		require.Equal(t, []string{"late"}, overdue(late.Deadline.Add(time.Second), now), "another gateway has the cancelled one")
		require.ElementsMatch(t, []string{"cancelled", "late"}, overdue(late.Deadline.Add(time.Second), now.Add(time.Minute)), "it may have died")
		require.NoError(t, s.TakeUp(ctx, "late"))
		require.Equal(t, []string{"late"}, overdue(late.Deadline.Add(time.Second), now), "its end could not be published")
		b, err := s.Backlog(ctx, late.Deadline.Add(time.Second))
		require.NoError(t, err)
		require.Equal(t, store.Backlog{Open: 2, Oldest: created, Overdue: 2}, b)
		finish(t, s, "late", 1, 1)
		finish(t, s, "cancelled", 1, 1)
		b, err = s.Backlog(ctx, late.Deadline.Add(time.Second))
		require.NoError(t, err)
		require.Equal(t, store.Backlog{}, b)
	})
}

func TestIdleJobs(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		ctx, now := t.Context(), created
		s.SetNow(func() time.Time { return now })
		require.NoError(t, s.Create(ctx, newJob("j1", "q"), []event.Record{jobRecord("j1")}, store.CreateOptions{}))
		idle := func() []store.Idle {
			jobs, err := s.Idle(ctx, now, 10)
			require.NoError(t, err)
			return jobs
		}
		sent := func() {
			pending, err := s.Pending(ctx, 10)
			require.NoError(t, err)
			require.NoError(t, s.Sent(ctx, pending))
		}
		again := func(jobs []store.Idle) bool {
			require.Len(t, jobs, 1)
			done, err := s.Republish(ctx, jobs[0], jobRecord("j1"))
			require.NoError(t, err)
			return done
		}
		now = now.Add(time.Minute)
		require.Empty(t, idle(), "the broker has not been given it yet")
		sent()
		found := idle()
		require.Equal(t, []store.Idle{{ID: "j1", Since: created}}, found)
		require.True(t, again(found))
		require.False(t, again(found), "another gateway was as fast")
		sent()
		require.Empty(t, idle())
		published := now
		now = now.Add(time.Minute)
		require.Equal(t, []store.Idle{{ID: "j1", Republished: 1, Since: published}}, idle())

		record(t, s, store.Entry{Plan: plan("j1", 2, 1)})
		require.Empty(t, idle(), "it came forward")
		planned := now
		now = now.Add(time.Minute)
		require.Equal(t, []store.Idle{{ID: "j1", Since: planned}}, idle(), "and is counted from 0 again")
		record(t, s, store.Entry{Outcome: outcome("j1", 0, 0, eventpb.State_STATE_ANSWERED)})
		require.Empty(t, idle())
		now = now.Add(time.Minute)
		record(t, s, store.Entry{Outcome: outcome("j1", 0, 0, eventpb.State_STATE_ANSWERED)}, store.Entry{Plan: plan("j1", 2, 1)})
		found = idle()
		require.Len(t, found, 1, "what was known already is no step forward")
		record(t, s, store.Entry{Outcome: outcome("j1", 0, 1, eventpb.State_STATE_ANSWERED)})
		now = now.Add(time.Minute)
		require.Empty(t, idle(), "it has ended")
		require.False(t, again(found), "an ended job is not published")
		n, _, err := s.OutboxDepth(ctx)
		require.NoError(t, err)
		require.Zero(t, n)
	})
}

// TestUnbegunJobs: a job with start_within_s that waits is given up when its time is over, one that is in Kafka some time later, and one that is
// planned not at all.
func TestUnbegunJobs(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		now := created
		s.SetNow(func() time.Time { return now })
		for _, id := range []string{"planned", "sent", "waits", "patient"} {
			job := bulkJob(id)
			if id != "patient" {
				job.StartWithinS = 10
			}
			most := 2
			submit(t, s, job, "a", most)
		}
		require.Len(t, sent(t, s), 2)
		record(t, s, store.Entry{Plan: plan("planned", 1, 1)})
		unbegun := func(due time.Time) []string {
			ids, err := s.GiveUpUnbegun(t.Context(), due, now, 10)
			require.NoError(t, err)
			return ids
		}
		require.Empty(t, unbegun(now))
		now = created.Add(11 * time.Second)
		require.Equal(t, []string{"waits"}, unbegun(now.Add(-15*time.Second)))
		require.Equal(t, []string{"patient q"}, admit(t, s, 100, 10), "it is never admitted then")
		now = created.Add(26 * time.Second)
		require.ElementsMatch(t, []string{"sent", "waits"}, unbegun(now.Add(-15*time.Second)))
	})
}
