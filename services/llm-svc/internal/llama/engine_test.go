package llama

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/services/llm-svc/internal/engine"
	"github.com/larkstream/larkstream/services/llm-svc/internal/engine/enginetest"
	"github.com/larkstream/larkstream/shared/model"
	"github.com/larkstream/larkstream/shared/model/modeltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func setup(t *testing.T, cfg Config) *Engine {
	t.Helper()
	e, err := Open(modeltest.Bundle(t), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

func TestBehaviour(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]Config{"default": {}, "one at a time": {MaxBatch: 1, Positions: 160}, "tight": {MaxBatch: 5, Positions: 200}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			enginetest.Run(t, modeltest.Manifest().LLM.Hidden, func(t *testing.T) engine.Engine { return setup(t, cfg) })
		})
	}
}

func questions(n int) []engine.Question {
	var list []engine.Question
	for i := range n {
		list = append(list, engine.Question{Index: i, Text: strings.Repeat("the key ", i%3+1)})
	}
	return list
}

func TestThePrefixIsComputedOncePerWindow(t *testing.T) {
	t.Parallel()
	e := setup(t, Config{})
	_, err := e.Answer(t.Context(), engine.Request{Soft: enginetest.Soft(1, 30, 32), Questions: questions(10)})
	require.NoError(t, err)
	require.EqualValues(t, 1, e.Stats().Prefixes)
	require.GreaterOrEqual(t, e.Stats().Widest, int64(4), "questions of one window decode together")
}

func TestQuestionsOfManyWindowsDecodeTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := setup(t, Config{MaxBatch: 8})
		submitted := make(chan struct{})
		var group sync.WaitGroup
		for i := range 8 {
			group.Go(func() {
				_, err := e.Answer(t.Context(), engine.Request{
					Soft: enginetest.Soft(i, 30, 32), Questions: questions(1),
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

func TestGreedyEqualsTheOraclesChoice(t *testing.T) {
	t.Parallel()
	e := setup(t, Config{})
	req := engine.Request{Soft: enginetest.Soft(5, 12, 32), Questions: []engine.Question{{Text: "what is the tempo"}}, Decode: engine.Decode{MaxTokens: 6}}
	results, err := e.Answer(t.Context(), req)
	require.NoError(t, err)

	var x [][]float64
	push := func(ids ...int) {
		for _, id := range ids {
			x = append(x, wide(e.w.row(id), 32)...)
		}
	}
	push(e.prompt.prefix...)
	x = append(x, wide(req.Soft.Data, 32)...)
	push(e.prompt.after(e.tok.Encode("what is the tempo"))...)
	require.Equal(t, len(x), results[0].PromptTokens)
	var ids []int
	for range 6 {
		fresh := make([][]float64, len(x))
		for i := range x {
			fresh[i] = append([]float64(nil), x[i]...)
		}
		logits := oracle(e.w, fresh)[len(x)-1]
		best := 0
		for i, v := range logits {
			if v > logits[best] {
				best = i
			}
		}
		if e.prompt.stop[best] {
			break
		}
		ids = append(ids, best)
		push(best)
	}
	want, err := e.tok.Decode(ids)
	require.NoError(t, err)
	require.Equal(t, want, results[0].Text)
	require.Equal(t, len(ids), results[0].OutputTokens)
}

func TestAPromptTooLongFailsAlone(t *testing.T) {
	t.Parallel()
	e := setup(t, Config{})
	results, err := e.Answer(t.Context(), engine.Request{Soft: enginetest.Soft(1, 60, 32), Questions: []engine.Question{
		{Index: 0, Text: "the key"}, {Index: 1, Text: strings.Repeat("zz", 5000)}, {Index: 2, Text: "tempo"},
	}})
	require.NoError(t, err)
	require.ErrorIs(t, results[1].Err, engine.ErrPromptTooLong)
	require.NoError(t, results[0].Err)
	require.NoError(t, results[2].Err)
	require.Positive(t, results[2].OutputTokens)

	results, err = e.Answer(t.Context(), engine.Request{Soft: enginetest.Soft(1, 1000, 32), Questions: questions(2)})
	require.NoError(t, err)
	require.ErrorIs(t, results[0].Err, engine.ErrPromptTooLong)
	require.ErrorIs(t, results[1].Err, engine.ErrPromptTooLong)
}

func TestTheAnswerEndsWithTheContext(t *testing.T) {
	t.Parallel()
	e := setup(t, Config{})
	base, err := e.Answer(t.Context(), engine.Request{Soft: enginetest.Soft(1, 10, 32), Questions: questions(1)})
	require.NoError(t, err)
	frames := 160 - (base[0].PromptTokens - 10) - 2 // leaves two positions
	results, err := e.Answer(t.Context(), engine.Request{Soft: enginetest.Soft(1, frames, 32), Questions: questions(1)})
	require.NoError(t, err)
	require.NoError(t, results[0].Err)
	require.LessOrEqual(t, results[0].OutputTokens, 2)
}

func TestMaxTokensAndSampling(t *testing.T) {
	t.Parallel()
	e := setup(t, Config{})
	ask := func(d engine.Decode) engine.Result {
		results, err := e.Answer(t.Context(), engine.Request{Soft: enginetest.Soft(9, 10, 32), Questions: questions(1), Decode: d})
		require.NoError(t, err)
		require.NoError(t, results[0].Err)
		return results[0]
	}
	require.Equal(t, 1, ask(engine.Decode{MaxTokens: 1, Temperature: 3, Seed: 4}).OutputTokens)
	require.LessOrEqual(t, ask(engine.Decode{MaxTokens: 100000}).OutputTokens, modeltest.Manifest().Prompt.MaxTokens)
	hot := engine.Decode{Temperature: 5, Seed: 1}
	first := ask(hot).Text
	require.Equal(t, first, ask(hot).Text, "a seed repeats itself")
	other := hot
	other.Seed = 2
	require.NotEqual(t, ask(hot).Text, ask(other).Text)
	greedy := ask(engine.Decode{})
	require.Equal(t, greedy.Text, ask(engine.Decode{Temperature: 1e-30, Seed: 3}).Text, "a vanishing temperature is greedy")
	require.Equal(t, greedy.Text, ask(engine.Decode{Temperature: 1, TopP: 1e-9, Seed: 3}).Text, "a vanishing top-p is greedy")
}

func TestBrokenScoresFailTheQuestion(t *testing.T) {
	t.Parallel()
	e := setup(t, Config{})
	e.w.embed[e.prompt.end[0]*32] = float32(math.Inf(1))
	results, err := e.Answer(t.Context(), engine.Request{Soft: enginetest.Soft(1, 5, 32), Questions: questions(2)})
	require.NoError(t, err)
	require.ErrorContains(t, results[0].Err, "not finite")
	require.ErrorContains(t, results[1].Err, "not finite")
}

func TestCancelInTheMiddleFreesTheBudget(t *testing.T) {
	t.Parallel()
	e := setup(t, Config{MaxBatch: 3, Positions: 200})
	for i := range 20 {
		ctx, cancel := context.WithCancelCause(t.Context())
		tokens := 0
		_, err := e.Answer(ctx, engine.Request{Soft: enginetest.Soft(i, 60, 32), Questions: questions(5), OnToken: func(int, string) {
			if tokens++; tokens > i%7 {
				cancel(errors.New("stop"))
			}
		}})
		if err != nil {
			require.ErrorContains(t, err, "stop")
		}
		cancel(nil)
	}
	results, err := e.Answer(t.Context(), engine.Request{Soft: enginetest.Soft(1, 100, 32), Questions: questions(5)})
	require.NoError(t, err, "a leak of the budget would keep this waiting for ever")
	require.Len(t, results, 5)
}

func TestOpenRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	_, err := Open(modeltest.Bundle(t), Config{Positions: 159})
	require.ErrorContains(t, err, "cannot hold one context of 160")

	m := modeltest.Manifest()
	m.Prompt.Stop = []string{"###"}
	b, err := model.Load(modeltest.Write(t, m))
	require.NoError(t, err)
	_, err = Open(b, Config{})
	require.ErrorContains(t, err, `"###" is not a special token`)

	m = modeltest.Manifest()
	m.LLM.Vocab++
	b, err = model.Load(modeltest.Write(t, m))
	require.NoError(t, err)
	_, err = Open(b, Config{})
	require.ErrorContains(t, err, "the tokenizer has")

	b = modeltest.Bundle(t)
	b.LLM.Tokenizer = filepath.Join("gone", "tokenizer.json")
	_, err = Open(b, Config{})
	require.ErrorContains(t, err, "opening tokenizer")
}

func TestAWindowOfManyQuestionsDoesNotStarveAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := setup(t, Config{MaxBatch: 2})
		bothCame, answered := make(chan struct{}), map[int]bool{}
		var group sync.WaitGroup
		group.Go(func() {
			_, err := e.Answer(t.Context(), engine.Request{
				Soft: enginetest.Soft(1, 30, 32), Questions: questions(40),
				OnToken: func(index int, _ string) { <-bothCame; answered[index] = true },
			})
			require.NoError(t, err)
		})
		synctest.Wait() // the first token waits
		group.Go(func() {
			_, err := e.Answer(t.Context(), engine.Request{
				Soft: enginetest.Soft(2, 30, 32), Questions: questions(1),
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
