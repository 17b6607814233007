package e2e

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
)

// submit sends audio with its questions and returns the accepted job.
func (s *stack) submit(t *testing.T, audio []byte, sub client.Submission) client.Job {
	t.Helper()
	job, err := s.trySubmit(t.Context(), audio, sub)
	require.NoError(t, err)
	return job
}

func (s *stack) trySubmit(ctx context.Context, audio []byte, sub client.Submission) (client.Job, error) {
	upload := client.Upload{Name: "track", Reader: bytes.NewReader(audio)}
	return s.Submit(ctx, sub, &upload, client.SubmitOptions{})
}

// finish waits until a job has ended and returns it with all its outcomes, after checking the ledger's law on them. The
// gateway may be away in the meantime.
func (s *stack) finish(t *testing.T, id string) (client.Job, []client.Outcome) {
	t.Helper()
	var job client.Job
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		now, err := s.Get(ctx, id)
		if err == nil {
			job = now
		}
		return err == nil && client.Terminal(job.State)
	}, patience, poll, "job %s has not ended: %v", id, &job)
	outcomes, err := s.Outcomes(t.Context(), id)
	require.NoError(t, err)
	requireWhole(t, job, outcomes)
	return job, outcomes
}

// requireWhole is the ledger's law: every question of every window has exactly one outcome.
func requireWhole(t *testing.T, job client.Job, outcomes []client.Outcome) {
	t.Helper()
	require.Positive(t, job.Counts.Windows)
	require.Equal(t, job.Counts.Expected, job.Counts.Windows*job.Counts.Questions)
	require.Equal(t, job.Counts.Expected, job.Counts.Answered+job.Counts.Failed+job.Counts.Cancelled)
	seen := map[string]bool{}
	for _, o := range outcomes {
		place := fmt.Sprintf("question %d of window %d", o.QuestionIndex, o.Window.Index)
		require.False(t, seen[place], "%s has two outcomes", place)
		seen[place] = true
		require.Less(t, o.QuestionIndex, job.Counts.Questions)
		require.Less(t, o.Window.Index, job.Counts.Windows)
		require.Equal(t, job.ID, o.JobID)
		if o.State == client.OutcomeAnswered {
			require.NotEmpty(t, o.Answer, place)
			require.Nil(t, o.Error, place)
		} else {
			require.NotNil(t, o.Error, place)
			require.NotEmpty(t, o.Error.Code, place)
		}
	}
	require.Len(t, outcomes, job.Counts.Expected)
}

// ended counts the outcomes that a job has so far; -1 while the gateway does not answer.
func (s *stack) ended(t *testing.T, id string) int {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	job, err := s.Get(ctx, id)
	if err != nil {
		return -1
	}
	return job.Counts.Answered + job.Counts.Failed + job.Counts.Cancelled
}

// reach waits until a job has that many outcomes.
func (s *stack) reach(t *testing.T, id string, outcomes int) {
	t.Helper()
	require.Eventually(t, func() bool { return s.ended(t, id) >= outcomes }, patience, poll, "job %s has not %d outcomes", id, outcomes)
}

// spans are n windows of one second, side by side.
func spans(n int) []client.Span {
	out := make([]client.Span, n)
	for i := range out {
		out[i] = client.Span{StartS: float64(i), EndS: float64(i + 1)}
	}
	return out
}
