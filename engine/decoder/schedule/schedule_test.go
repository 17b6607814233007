package schedule_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/decoder/decodertest"
	"github.com/larkstream/larkstream/engine/decoder/reference"
	"github.com/larkstream/larkstream/engine/decoder/schedule"
	"github.com/larkstream/larkstream/engine/model/modeltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func setup(t *testing.T, cfg reference.Config) *schedule.Engine {
	t.Helper()
	e, err := reference.Open(modeltest.Bundle(t), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

var errGone = errors.New("the user has gone")

func questions(n int) []contract.Question {
	var list []contract.Question
	for i := range n {
		list = append(list, contract.Question{Index: i, Text: strings.Repeat("the key ", i%3+1)})
	}
	return list
}

func TestThePrefixIsComputedOncePerWindow(t *testing.T) {
	t.Parallel()
	e := setup(t, reference.Config{})
	_, err := e.Answer(t.Context(), contract.Request{Soft: decodertest.Soft(1, 30, 32), Questions: questions(10)})
	require.NoError(t, err)
	require.EqualValues(t, 1, e.Stats().Prefixes)
	require.GreaterOrEqual(t, e.Stats().Widest, int64(4), "questions of one window decode together")
}

func TestQuestionsOfManyWindowsDecodeTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := setup(t, reference.Config{MaxBatch: 8})
		submitted := make(chan struct{})
		var group sync.WaitGroup
		for i := range 8 {
			group.Go(func() {
				_, err := e.Answer(t.Context(), contract.Request{
					Soft: decodertest.Soft(i, 30, 32), Questions: questions(1),
					OnToken: func(int, string) { <-submitted }, // the first token of all waits for the last window
				})
				require.NoError(t, err)
			})
		}
		synctest.Wait()
		close(submitted)
		group.Wait()
		require.EqualValues(t, 8, e.Stats().Prefixes)
		require.EqualValues(t, 8, e.Stats().Widest)
	})
}

func TestAPromptTooLongFailsAlone(t *testing.T) {
	t.Parallel()
	e := setup(t, reference.Config{})
	results, err := e.Answer(t.Context(), contract.Request{Soft: decodertest.Soft(1, 60, 32), Questions: []contract.Question{
		{Index: 0, Text: "the key"}, {Index: 1, Text: strings.Repeat("zz", 5000)}, {Index: 2, Text: "tempo"},
	}})
	require.NoError(t, err)
	require.ErrorIs(t, results[1].Err, contract.ErrPromptTooLong)
	require.NoError(t, results[0].Err)
	require.NoError(t, results[2].Err)
	require.Positive(t, results[2].OutputTokens)

	results, err = e.Answer(t.Context(), contract.Request{Soft: decodertest.Soft(1, 1000, 32), Questions: questions(2)})
	require.NoError(t, err)
	require.ErrorIs(t, results[0].Err, contract.ErrPromptTooLong)
	require.ErrorIs(t, results[1].Err, contract.ErrPromptTooLong)
}

func TestTheAnswerEndsWithTheContext(t *testing.T) {
	t.Parallel()
	e := setup(t, reference.Config{})
	base, err := e.Answer(t.Context(), contract.Request{Soft: decodertest.Soft(1, 10, 32), Questions: questions(1)})
	require.NoError(t, err)
	frames := 160 - (base[0].PromptTokens - 10) - 2 // leaves two positions
	results, err := e.Answer(t.Context(), contract.Request{Soft: decodertest.Soft(1, frames, 32), Questions: questions(1)})
	require.NoError(t, err)
	require.NoError(t, results[0].Err)
	require.LessOrEqual(t, results[0].OutputTokens, 2)
}

func TestMaxTokensAndSampling(t *testing.T) {
	t.Parallel()
	e := setup(t, reference.Config{})
	ask := func(d contract.Decode) contract.Result {
		results, err := e.Answer(t.Context(), contract.Request{Soft: decodertest.Soft(9, 10, 32), Questions: questions(1), Decode: d})
		require.NoError(t, err)
		require.NoError(t, results[0].Err)
		return results[0]
	}
	require.Equal(t, 1, ask(contract.Decode{MaxTokens: 1, Temperature: 3, Seed: 4}).OutputTokens)
	require.LessOrEqual(t, ask(contract.Decode{MaxTokens: 100000}).OutputTokens, modeltest.Manifest().Prompt.MaxTokens)
	hot := contract.Decode{Temperature: 5, Seed: 1}
	first := ask(hot).Text
	require.Equal(t, first, ask(hot).Text, "a seed repeats itself")
	other := hot
	other.Seed = 2
	require.NotEqual(t, ask(hot).Text, ask(other).Text)
	greedy := ask(contract.Decode{})
	require.Equal(t, greedy.Text, ask(contract.Decode{Temperature: 1e-30, Seed: 3}).Text, "a vanishing temperature is greedy")
	require.Equal(t, greedy.Text, ask(contract.Decode{Temperature: 1, TopP: 1e-9, Seed: 3}).Text, "a vanishing top-p is greedy")
	require.Equal(t, greedy.Text, ask(contract.Decode{Temperature: 5, TopK: 1, Seed: 3}).Text, "one token is greedy")
	require.Equal(t, greedy.Text, ask(contract.Decode{TopK: 7, TopP: 0.5, Seed: 3}).Text, "without a temperature it is greedy")
	penalised := contract.Decode{RepetitionPenalty: 10}
	often := ask(penalised).Text
	require.NotEqual(t, greedy.Text, often)
	require.Equal(t, often, ask(penalised).Text, "it is repeatable")
}

func TestCancelInTheMiddleFreesTheBudget(t *testing.T) {
	t.Parallel()
	e := setup(t, reference.Config{MaxBatch: 3, Positions: 200})
	for i := range 20 {
		ctx, cancel := context.WithCancelCause(t.Context())
		tokens := 0
		_, err := e.Answer(ctx, contract.Request{Soft: decodertest.Soft(i, 60, 32), Questions: questions(5), OnToken: func(int, string) {
			if tokens++; tokens > i%7 {
				cancel(errors.New("stop"))
			}
		}})
		if err != nil {
			require.ErrorContains(t, err, "stop")
		}
		cancel(nil)
	}
	results, err := e.Answer(t.Context(), contract.Request{Soft: decodertest.Soft(1, 100, 32), Questions: questions(5)})
	require.NoError(t, err, "a leak of the budget would keep this waiting for ever")
	require.Len(t, results, 5)
}

func TestAWindowOfManyQuestionsDoesNotStarveAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := setup(t, reference.Config{MaxBatch: 2})
		bothCame, answered := make(chan struct{}), map[int]bool{}
		var group sync.WaitGroup
		group.Go(func() {
			_, err := e.Answer(t.Context(), contract.Request{
				Soft: decodertest.Soft(1, 30, 32), Questions: questions(40),
				OnToken: func(index int, _ string) { <-bothCame; answered[index] = true },
			})
			require.NoError(t, err)
		})
		synctest.Wait() // the first token waits
		group.Go(func() {
			_, err := e.Answer(t.Context(), contract.Request{
				Soft: decodertest.Soft(2, 30, 32), Questions: questions(1),
				OnToken: func(int, string) {
					require.Less(t, len(answered), 10, "questions of the first window before the second's turn")
				},
			})
			require.NoError(t, err)
		})
		synctest.Wait()
		close(bothCame)
		group.Wait()
		require.Len(t, answered, 40)
	})
}

// TestJobsShareTheEngine: a job of one question waits for no more than its turn beside a job of many windows.
func TestJobsShareTheEngine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := setup(t, reference.Config{MaxBatch: 2})
		allCame, begun := make(chan struct{}), map[[2]int]bool{}
		var group sync.WaitGroup
		for window := range 10 {
			group.Go(func() {
				_, err := e.Answer(t.Context(), contract.Request{
					Job: "large", Soft: decodertest.Soft(window, 30, 32), Questions: questions(8),
					OnToken: func(index int, _ string) { <-allCame; begun[[2]int{window, index}] = true },
				})
				require.NoError(t, err)
			})
		}
		synctest.Wait()
		group.Go(func() {
			_, err := e.Answer(t.Context(), contract.Request{
				Job: "small", Soft: decodertest.Soft(99, 30, 32), Questions: questions(2),
				OnToken: func(int, string) {
					require.Less(t, len(begun), 8, "answers of the large job before the small one's turn")
				},
			})
			require.NoError(t, err)
		})
		synctest.Wait()
		close(allCame)
		group.Wait()
		require.Len(t, begun, 80)
	})
}

// TestNothingIsHeldWhenIdle sends random requests that end in every way.
func TestNothingIsHeldWhenIdle(t *testing.T) {
	t.Parallel()
	e := setup(t, reference.Config{MaxBatch: 4, Positions: 300})
	var group sync.WaitGroup
	for worker := range 4 {
		group.Go(func() {
			r := rand.New(rand.NewPCG(uint64(worker), 5))
			for range 8 {
				ctx, cancel := context.WithCancelCause(t.Context())
				tokens, end := 0, r.IntN(40)
				_, err := e.Answer(ctx, contract.Request{
					Job: []string{"a", "b", "c"}[r.IntN(3)], Soft: decodertest.Soft(worker, 1+r.IntN(140), 32), Questions: questions(r.IntN(6)),
					Decode: contract.Decode{MaxTokens: r.IntN(12), Temperature: r.Float32(), Seed: r.Uint64()},
					OnToken: func(int, string) {
						if tokens++; tokens == end {
							cancel(errGone)
						}
					},
				})
				if err != nil {
					require.ErrorIs(t, err, errGone)
				}
				cancel(nil)
			}
		})
	}
	group.Wait()
	_, err := e.Answer(t.Context(), contract.Request{Soft: decodertest.Soft(1, 100, 32), Questions: questions(5)})
	require.NoError(t, err, "a leak of the budget would keep this waiting for ever")
	s := e.Stats()
	require.Positive(t, s.Steps)
	require.Zero(t, s.Used+s.Sequences+s.Promised, "%+v", s)
}

func TestAFormThatTheEngineCannotKeepIsRefused(t *testing.T) {
	t.Parallel()
	e := setup(t, reference.Config{})
	require.False(t, e.Constrains(contract.SchemaTags))
	_, err := e.Answer(t.Context(), contract.Request{Soft: decodertest.Soft(1, 10, 32), Questions: questions(1), Schema: contract.SchemaTags})
	require.ErrorIs(t, err, contract.ErrSchema)
}
