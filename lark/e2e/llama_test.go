package e2e

import (
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/llamabundle"
	"github.com/larkstream/larkstream/engine/native/nativetest"
	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/up"
	"github.com/larkstream/larkstream/shared/event"
)

// The chaos: so many jobs of so many windows with so many questions each.
const (
	chaosJobs    = 10
	chaosWindows = 5
)

func chaosQuestions() []string {
	return []string{"What is the tempo?", "Which key is it in?", "Any drums?", "Describe the music."}
}

// TestLlama runs llama.cpp on random weights, behind the test engine of the encoder.
func TestLlama(t *testing.T) {
	if world.kafka != nil {
		t.Skip("the other tests meet the same broker; this one is of the decoder, and on the embedded broker")
	}
	bundle := randomLlama(t)
	s := start(t, options{data: t.TempDir(), env: llamaEnv(t, bundle)})
	t.Run("kills, cancels and deadlines", s.testChaos)
	t.Run("tags", s.testLlamaTags)
	t.Run("a question that fills the context", s.testTooLong)
	t.Run("a soft prompt of no numbers", func(t *testing.T) { s.testPoisonedPrompt(t, bundle) })
	t.Run("a model that is cut off while it runs", func(t *testing.T) { s.testCutOff(t, bundle) })
}

// randomLlama is a bundle of random weights with lark-nano's encoder. Its answers may be long enough for every tag.
func randomLlama(t *testing.T) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "llama")
	shape := llamabundle.Shape{Layers: 2, Hidden: 128, Heads: 4, KVHeads: 2, FFN: 256, Vocab: 512, Context: 2048, RopeBase: 10000, NormEps: 1e-5}
	m, err := llamabundle.RandomOf(t.Context(), shape, llamabundle.RandomConfig{
		Seed: 5, Quant: "f32", Encoder: filepath.Join(world.root, "models", "lark-nano"), Out: out,
	}, func(int64, int64) {})
	require.NoError(t, err)
	m.Prompt.MaxTokens = 1200
	require.NoError(t, m.Write(out))
	_, err = model.LoadComplete(out)
	require.NoError(t, err)
	return out
}

func llamaEnv(t *testing.T, bundle string) []string {
	t.Helper()
	return []string{
		"LARK_MODEL_DIR=" + bundle, "LARK_NATIVE_DIR=" + nativetest.Dir(t),
		"LARK_LLM_THREADS=1", // more would wait for one another in a loop of spins, on a machine that has other work
		"LARK_ENCODER_ENGINE=test",
	}
}

// testChaos asks 200 questions over 50 windows. Some jobs are cancelled at random moments, some run out of time, and in the
// middle llm-svc is killed: every question has one outcome, and what nobody cancelled is answered.
func (s *stack) testChaos(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 2026))
	pids := s.pids()
	plain, cancelled, timed := s.submitChaos(t, r)
	for n, id := range cancelled {
		if n == len(cancelled)/2 {
			s.streams(t, plain[0])
			s.kill(t, up.LLM)
			require.Less(t, s.total(t, plain), len(plain)*chaosWindows*len(chaosQuestions()), "the jobs were over before the kill")
		}
		s.reachAll(t, plain, 1+10*n+r.IntN(10))
		_, err := s.Cancel(t.Context(), id)
		require.NoError(t, err)
	}

	fates := map[string]int{}
	for _, id := range plain {
		job := s.fates(t, id, fates)
		require.Equal(t, client.StateSucceeded, job.State)
	}
	for _, id := range append(cancelled, timed...) {
		job := s.fates(t, id, fates)
		require.Zero(t, job.Counts.Failed)
	}
	t.Logf("outcomes: %v", fates)
	require.Equal(t, chaosJobs*chaosWindows*len(chaosQuestions()), fates[client.OutcomeAnswered]+fates[event.CodeCancelled]+fates[event.CodeExpired])
	require.Positive(t, fates[event.CodeCancelled])
	require.Positive(t, fates[event.CodeExpired])
	require.Zero(t, s.metric(t, up.Gateway, "lark_ledger_imbalance"))
	s.ready(t)
	s.requireSurvived(t, pids)
}

// submitChaos submits jobs that nobody touches, jobs to be cancelled, and jobs whose time does not suffice.
func (s *stack) submitChaos(t *testing.T, r *rand.Rand) (plain, cancelled, timed []string) {
	t.Helper()
	for i := range chaosJobs {
		sub := client.Submission{
			Questions: chaosQuestions(), Plan: client.PlanExplicit, Spans: spans(chaosWindows), Decode: &client.Decode{MaxTokens: 300},
		}
		list := &plain
		switch i % 5 {
		case 0: // time enough to be cut into windows, not to be answered at such length
			list, sub.Decode, sub.DeadlineS = &timed, nil, 3+r.Float64()
		case 2, 4:
			list = &cancelled
		}
		*list = append(*list, s.submit(t, melody(seedOf(t), chaosWindows), sub).ID)
	}
	return plain, cancelled, timed
}

// requireSurvived checks that every process but llm-svc is still the same process as before.
func (s *stack) requireSurvived(t *testing.T, before map[string]int) {
	t.Helper()
	now := s.pids()
	require.NotEqual(t, before[up.LLM], now[up.LLM])
	before[up.LLM] = now[up.LLM]
	require.Equal(t, before, now, "a stage has died that nobody killed")
}

// fates waits for the end of a job and counts its outcomes, by the code of their error or as answered.
func (s *stack) fates(t *testing.T, id string, counts map[string]int) client.Job {
	t.Helper()
	job, outcomes := s.finish(t, id)
	for _, o := range outcomes {
		if o.Error != nil {
			counts[o.Error.Code]++
		} else {
			counts[o.State]++
		}
	}
	return job
}

// streams waits for a piece of an answer that is not yet ended.
func (s *stack) streams(t *testing.T, id string) {
	t.Helper()
	seen := errors.New("a token has come")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := s.Events(ctx, id, "", func(ev client.Event) error {
		if ev.Token != nil {
			return seen
		}
		return nil
	})
	require.ErrorIs(t, err, seen)
}

// total counts the outcomes that jobs have so far.
func (s *stack) total(t *testing.T, ids []string) int {
	t.Helper()
	n := 0
	for _, id := range ids {
		n += max(0, s.ended(t, id))
	}
	return n
}

func (s *stack) reachAll(t *testing.T, ids []string, outcomes int) {
	t.Helper()
	require.Eventually(t, func() bool { return s.total(t, ids) >= outcomes }, patience, poll, "the jobs have not %d outcomes", outcomes)
}
