package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/up"
)

// TestAnswersOfTheWholeTrack combines the answers of three windows: the key by rule, the description through the stages once more, on a window that the
// encoder knows already.
func TestAnswersOfTheWholeTrack(t *testing.T) {
	s := start(t, options{data: t.TempDir()})
	sub := client.Submission{Questions: []string{"What key is it in?", "Describe the music in one sentence."}, Plan: client.PlanAll, Options: client.Options{Combine: true}}
	job, outcomes := s.finish(t, s.submit(t, melody(seedOf(t), 70), sub).ID)
	require.Equal(t, client.StateSucceeded, job.State, "%+v", outcomes)
	const windows = 3
	require.Len(t, job.Windows, windows)
	require.Equal(t, windows, job.Counts.WindowsDone)
	require.Equal(t, job.Counts.Expected, (windows+1)*len(sub.Questions))
	require.Equal(t, windows, s.encoderRuns(t), "the question about the whole track never reaches the encoder")
	rules := map[int]string{}
	for _, o := range outcomes {
		require.Equal(t, sub.Questions[o.QuestionIndex], o.Question)
		require.Equal(t, o.Window.Index == windows, o.Combined != nil)
		if o.Combined != nil {
			require.NotEmpty(t, o.Answer)
			require.NotEmpty(t, o.Combined.Windows)
			require.Equal(t, []float64{0, 70}, []float64{o.Window.StartS, o.Window.EndS})
			rules[o.QuestionIndex] = o.Combined.Rule
		}
	}
	require.Len(t, rules, 2)
	require.Equal(t, "vote", rules[0])
	require.Contains(t, []string{"model", "joined"}, rules[1])
	require.Zero(t, s.metric(t, up.Gateway, "lark_ledger_imbalance"))
}
