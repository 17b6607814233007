package store_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/gateway/internal/storetest"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// newRun is a run of three items that has started.
func newRun(t *testing.T, s *store.SQL, id string) store.Run {
	t.Helper()
	require.NoError(t, s.CreateRun(t.Context(), store.Run{ID: id, Tenant: event.TenantDefault, Name: "albums", Created: created, Spec: store.RunSpec{Questions: []string{"q"}, Plan: event.PlanAuto}}))
	items := []store.Item{{ID: "a", URI: "file:///a", Fields: map[string]string{"title": "A"}}, {ID: "b", URI: "file:///b"}, {ID: "a", URI: "file:///a"}, {ID: "c", URI: "file:///c"}}
	added, err := s.AddItems(t.Context(), id, items)
	require.NoError(t, err)
	require.Equal(t, 3, added, "an id that is there already changes nothing")
	run, err := s.SealRun(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, store.RunRunning, run.State)
	_, err = s.AddItems(t.Context(), id, items)
	require.ErrorIs(t, err, store.ErrRunState)
	return run
}

// settleRun settles what has ended and returns how many items that were.
func settleRun(t *testing.T, s *store.SQL, run string) int {
	t.Helper()
	items, err := s.EndedItems(t.Context(), run, 10)
	require.NoError(t, err)
	n, err := s.SettleItems(t.Context(), run, items)
	require.NoError(t, err)
	return n
}

func itemJob(id string) store.Job {
	return store.NewJob(event.TenantDefault, event.JobSpec{
		ID: id, Plan: event.PlanAuto, Questions: []string{"q"}, Created: created, Options: event.Options{Lane: event.LaneBulk},
		Audio: event.AudioFile{SHA256: "00ff", Bytes: 7, URI: "file:///a"},
	}, "abc")
}

// answer ends a job of one window and one question.
func answer(t *testing.T, s *store.SQL, job string, state eventpb.State, code string) {
	t.Helper()
	o := &eventpb.Outcome{
		OutcomeId: job + "-o", JobId: job, Question: &eventpb.Question{Text: "q"}, State: state, Window: &eventpb.Window{Hash: "h", HeardS: 3}, Cache: eventpb.Cache_CACHE_MISS,
		Timings: &eventpb.Timings{EncodeMs: 2000}, Tokens: &eventpb.Tokens{Prompt: 10},
	}
	if code != "" {
		o.Error = &eventpb.Error{Code: code}
	}
	_, err := s.Record(t.Context(), []store.Entry{
		{Plan: &eventpb.JobPlan{JobId: job, Questions: 1, Track: &eventpb.Track{DurationS: 10}, Windows: []*eventpb.Window{{Hash: "h", Span: &eventpb.Span{EndS: 10}, HeardS: 3}}}},
		{Outcome: o},
	})
	require.NoError(t, err)
}

func TestARunCountsEveryItemOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		ctx := t.Context()
		newRun(t, s, "r1")
		lead, err := s.LeadRuns(ctx, "g1", time.Now().Add(time.Minute), 10)
		require.NoError(t, err)
		require.Len(t, lead, 1)
		other, err := s.LeadRuns(ctx, "g2", time.Now().Add(time.Minute), 10)
		require.NoError(t, err)
		require.Empty(t, other, "a run is led by one gateway")

		starts := []store.ItemStart{{N: 1, SHA256: "00ff", Bytes: 7, Job: itemJob("j1")}, {N: 2, SHA256: "00ff", Bytes: 7, Job: itemJob("j2")}}
		ends := []store.ItemEnd{{N: 3, State: store.ItemFailed, Code: event.CodeSourceMissing, Message: "gone"}}
		for range 2 { // the second time changes nothing
			_, err := s.StartItems(ctx, "r1", starts, ends, client.TenantLimits{})
			require.NoError(t, err)
		}
		run, err := s.FindRun(ctx, event.TenantDefault, "albums")
		require.NoError(t, err)
		require.Equal(t, map[store.ItemState]int{"pending": 0, "running": 2, "failed": 1, "succeeded": 0, "partial": 0, "cancelled": 0, "skipped": 0}, run.Counts)
		job, err := s.Get(ctx, "j1")
		require.NoError(t, err)
		require.True(t, job.Waiting)
		require.Equal(t, "file:///a", job.Audio.URI)
		owns, err := s.OwnsAudio(ctx, event.TenantDefault, "00ff")
		require.NoError(t, err)
		require.False(t, owns, "a manifest may tell the hash of what others have sent")

		answer(t, s, "j1", eventpb.State_STATE_ANSWERED, "")
		answer(t, s, "j2", eventpb.State_STATE_FAILED, event.CodeEngineError)
		n := settleRun(t, s, "r1")
		require.Equal(t, 2, n)
		n = settleRun(t, s, "r1")
		require.Zero(t, n)
		run, err = s.FinishRun(ctx, "r1")
		require.NoError(t, err)
		require.Equal(t, store.RunPartial, run.State)
		require.Equal(t, []any{20.0, 2, 2, 1}, []any{run.AudioS, run.Windows, run.Encoded, run.Answers})
		failures, err := s.RunFailures(ctx, "r1")
		require.NoError(t, err)
		require.Equal(t, map[string]int{event.CodeSourceMissing: 1, event.CodeEngineError: 1}, failures)

		failed, err := s.FailedItems(ctx, "r1", 0, 10)
		require.NoError(t, err)
		require.Equal(t, []string{"c", "b"}, []string{failed[0].ID, failed[1].ID}, "in the order in which they failed")
		failed, err = s.FailedItems(ctx, "r1", failed[0].Seq, 10)
		require.NoError(t, err)
		require.Len(t, failed, 1)
		require.Equal(t, store.Cost{AudioS: 6, EncoderS: 4, PromptTokens: 20}, run.Cost)

		run, n, err = s.RetryRun(ctx, "r1", event.CodeEngineError)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		require.Equal(t, []any{store.RunRunning, 1, 1, 10.0}, []any{run.State, run.Counts[store.ItemPending], run.Counts[store.ItemFailed], run.AudioS})
		failures, err = s.RunFailures(ctx, "r1")
		require.NoError(t, err)
		require.Equal(t, map[string]int{event.CodeSourceMissing: 1}, failures)

		run, err = s.CancelRun(ctx, "r1")
		require.NoError(t, err)
		require.Equal(t, 1, run.Counts[store.ItemCancelled])
		run, err = s.FinishRun(ctx, "r1")
		require.NoError(t, err)
		require.Equal(t, store.RunCancelled, run.State)
		_, err = s.PauseRun(ctx, "r1", "")
		require.ErrorIs(t, err, store.ErrRunState)

		items, err := s.RunItems(ctx, "r1", "", 1, 1)
		require.NoError(t, err)
		require.Equal(t, "b", items[0].ID)
		outcomes, err := s.OutcomesOf(ctx, []string{"j1", "j2", "none"})
		require.NoError(t, err)
		require.Len(t, outcomes, 2)
		found, err := s.ItemsOf(ctx, "r1", []string{"c", "none", "a"})
		require.NoError(t, err)
		require.Len(t, found, 2)
		require.Equal(t, []any{1, "file:///a", "A", 3}, []any{found["a"].N, found["a"].URI, found["a"].Fields["title"], found["c"].N})
		same, err := s.UnchangedSince(ctx, "r1", "file:///a", "00ff")
		require.NoError(t, err)
		require.True(t, same)
	})
}

// TestAnIdleGatewayLeavesTheWriterAlone: with neither a run nor a batch, looking for work to lead does not wait for SQLite's only writer.
func TestAnIdleGatewayLeavesTheWriterAlone(t *testing.T) {
	t.Parallel()
	s, err := store.Open(t.Context(), storetest.URL(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	release, err := s.HoldWriter(t.Context())
	require.NoError(t, err)
	defer release()
	runs, err := s.LeadRuns(t.Context(), "g1", time.Now().Add(time.Minute), 10)
	require.NoError(t, err)
	require.Empty(t, runs)
	batches, err := s.LeadBatches(t.Context(), "g1", time.Now().Add(time.Minute), 10)
	require.NoError(t, err)
	require.Empty(t, batches)
}

func TestAPausedRunStartsNothing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		ctx := t.Context()
		newRun(t, s, "r1")
		run, err := s.PauseRun(ctx, "r1", "too many failures")
		require.NoError(t, err)
		require.Equal(t, store.RunPaused, run.State)
		_, err = s.StartItems(ctx, "r1", []store.ItemStart{{N: 1, Job: itemJob("j1")}}, nil, client.TenantLimits{})
		require.NoError(t, err)
		_, err = s.Peek(ctx, "j1")
		require.ErrorIs(t, err, store.ErrNotFound)
		run, err = s.ResumeRun(ctx, "r1")
		require.NoError(t, err)
		require.Equal(t, []any{store.RunRunning, ""}, []any{run.State, run.Reason})
		require.NoError(t, s.NoteRun(ctx, "r1", "waiting"))
		run, err = s.GetRun(ctx, "r1")
		require.NoError(t, err)
		require.Equal(t, "waiting", run.Reason)
		_, err = s.GetRun(ctx, "none")
		require.ErrorIs(t, err, store.ErrRunNotFound)
	})
}

// TestAnItemWhoseJobIsGoneIsToldSo: somebody has deleted the job before its results were taken.
func TestAnItemWhoseJobIsGoneIsToldSo(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		newRun(t, s, "r1")
		_, err := s.StartItems(t.Context(), "r1", []store.ItemStart{{N: 1, Job: itemJob("j1")}}, nil, client.TenantLimits{})
		require.NoError(t, err)
		answer(t, s, "j1", eventpb.State_STATE_ANSWERED, "")
		require.NoError(t, s.Delete(t.Context(), "j1"))
		n := settleRun(t, s, "r1")
		require.Equal(t, 1, n)
		failures, err := s.RunFailures(t.Context(), "r1")
		require.NoError(t, err)
		require.Equal(t, map[string]int{store.CodeJobDeleted: 1}, failures)
	})
}
