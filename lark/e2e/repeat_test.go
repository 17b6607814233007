package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/up"
)

// TestRepeatQuestionSkipsTheEncoder runs lark-nano: a new question about a known track never reaches the encoder, also
// after everything has been stopped and started again, with an empty Redis.
func TestRepeatQuestionSkipsTheEncoder(t *testing.T) {
	opts := options{data: t.TempDir()}
	track := melody(seedOf(t), 30)
	s := start(t, opts)

	first := s.ask(t, track, "What is the tempo?")
	require.Equal(t, "miss", first.Cache)
	require.Equal(t, 1, s.encoderRuns(t))
	require.Contains(t, first.Model, "lark-nano")

	second := s.ask(t, track, "Which instruments do you hear?")
	require.Equal(t, "hit", second.Cache)
	require.Equal(t, 1, s.encoderRuns(t))
	require.NotEqual(t, first.TraceID, second.TraceID)

	s.halt()
	if world.redis != nil {
		_, err := world.redis.do(t.Context(), "FLUSHALL")
		require.NoError(t, err)
	}
	if world.kafka != nil {
		s.kill(t, up.Broker)
	}
	again := start(t, opts)
	third := again.ask(t, track, "What is the tempo?")
	require.Equal(t, "hit", third.Cache)
	require.Equal(t, first.Answer, third.Answer, "greedy decoding of the same embedding")
	require.Zero(t, again.encoderRuns(t))

	other := again.ask(t, melody(seedOf(t), 30), "What is the tempo?")
	require.Equal(t, "miss", other.Cache)
	require.Equal(t, 1, again.encoderRuns(t))
}

// ask asks one question about one window of a track and returns its outcome.
func (s *stack) ask(t *testing.T, track []byte, question string) client.Outcome {
	t.Helper()
	job := s.submit(t, track, client.Submission{Questions: []string{question}})
	job, outcomes := s.finish(t, job.ID)
	require.Equal(t, client.StateSucceeded, job.State, "%+v", outcomes)
	require.Len(t, outcomes, 1)
	return outcomes[0]
}
