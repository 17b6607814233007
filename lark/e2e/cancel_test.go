package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/shared/event"
)

func TestCancelWithWindowsInAllStages(t *testing.T) {
	s := tester(t)
	before := s.encoderRuns(t)
	job := s.many(t)
	s.reach(t, job.ID, manyWindows/5)
	_, err := s.Cancel(t.Context(), job.ID)
	require.NoError(t, err)

	job, outcomes := s.finish(t, job.ID)
	require.Equal(t, client.StateCancelled, job.State)
	require.Positive(t, job.Counts.Answered)
	require.Zero(t, job.Counts.Failed)
	for _, o := range outcomes {
		if o.State != client.OutcomeAnswered {
			require.Equal(t, client.OutcomeCancelled, o.State)
			require.Equal(t, event.CodeCancelled, o.Error.Code)
		}
	}

	// What had not been begun is never done: the encoder has not seen all windows, and does nothing but the next job's.
	after := s.encoderRuns(t)
	require.Less(t, after-before, manyWindows)
	s.requireWorks(t)
	require.Equal(t, after+1, s.encoderRuns(t))
}

func TestCancelOfAnEndedJobChangesNothing(t *testing.T) {
	s := tester(t)
	job := s.submit(t, melody(seedOf(t), 2), client.Submission{Questions: []string{"Any drums?"}})
	ended, outcomes := s.finish(t, job.ID)
	require.Equal(t, client.StateSucceeded, ended.State)
	_, _ = s.Cancel(t.Context(), job.ID) // accepted or refused, as the API says
	again, same := s.finish(t, job.ID)
	require.Equal(t, client.StateSucceeded, again.State)
	require.Equal(t, outcomes, same)
}
