package runs_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// answerAll ends every job in hand; each has taken a second of the encoder.
func answerAll(t *testing.T, jobs *store.SQL) {
	t.Helper()
	items, err := jobs.RunItems(t.Context(), "r", store.ItemRunning, 0, 100)
	require.NoError(t, err)
	for _, it := range items {
		w := &eventpb.Window{Hash: "h", Span: &eventpb.Span{EndS: 10}}
		_, err := jobs.Record(t.Context(), []store.Entry{
			{Plan: &eventpb.JobPlan{JobId: it.JobID, Questions: 1, Track: &eventpb.Track{DurationS: 10}, Windows: []*eventpb.Window{w}}},
			{Outcome: &eventpb.Outcome{
				OutcomeId: it.JobID, JobId: it.JobID, Question: &eventpb.Question{Text: "q"}, Window: w, State: eventpb.State_STATE_ANSWERED, Cache: eventpb.Cache_CACHE_MISS,
				Timings: &eventpb.Timings{EncodeMs: 1000},
			}},
		})
		require.NoError(t, err)
	}
}

// TestARunSpendsNoMoreThanItMay: items in hand count as much as those that have ended, the run says why it stops, and goes on when somebody resumes it.
func TestARunSpendsNoMoreThanItMay(t *testing.T) {
	t.Parallel()
	var names []string
	for n := range 20 {
		names = append(names, fmt.Sprint("item", n))
	}
	jobs, _, c := setup(t, store.RunSpec{MaxCost: 7.5}, names...)
	var run store.Run
	for range 100 {
		if run = once(t, jobs, c); run.State == store.RunPaused {
			break
		}
		answerAll(t, jobs)
	}
	require.Equal(t, []any{store.RunPaused, 7, 7.0}, []any{run.State, run.Counts[store.ItemSucceeded], run.Cost.EncoderS})
	require.Contains(t, run.Reason, "7 were spent of the 7.5 that the run may cost")
	_, err := jobs.ResumeRun(t.Context(), "r")
	require.NoError(t, err)
	for range 100 {
		if run = once(t, jobs, c); run.State.Terminal() {
			break
		}
		answerAll(t, jobs)
	}
	require.Equal(t, []any{store.RunSucceeded, 20.0}, []any{run.State, run.Cost.EncoderS})
}
