package schedule_test

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/decoder/decodertest"
	"github.com/larkstream/larkstream/engine/decoder/prompt"
	"github.com/larkstream/larkstream/engine/decoder/reference"
	"github.com/larkstream/larkstream/engine/decoder/schedule"
	"github.com/larkstream/larkstream/engine/decoder/schedule/scheduletest"
	"github.com/larkstream/larkstream/engine/decoder/tokenizer"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/modeltest"
)

// byHand is the sum of the logarithms of softmax of each token among the scores before it. The last row is of the end: any of ends.
func byHand(rows [][]float32, tokens, ends []int) float64 {
	sum := 0.0
	for i, row := range rows {
		wanted := ends
		if i < len(tokens) {
			wanted = tokens[i : i+1]
		}
		whole, part := 0.0, 0.0
		for id, v := range row {
			whole += math.Exp(float64(v))
			if slices.Contains(wanted, id) {
				part += math.Exp(float64(v))
			}
		}
		sum += math.Log(part / whole)
	}
	return sum
}

func TestLikelihoodsAreSumsOfLogSoftmax(t *testing.T) {
	t.Parallel()
	for name, stops := range map[string][]string{"one stop token": {"</s>"}, "two": {"</s>", "<pad>"}, "a stop text": {"###"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := modeltest.Manifest()
			m.Prompt.Stop = stops
			b, err := model.Load(modeltest.Write(t, m))
			require.NoError(t, err)
			e, err := reference.Open(b, reference.Config{MaxBatch: 3})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, e.Close()) })
			backend, err := reference.OpenBackend(b, 0)
			require.NoError(t, err)
			tok, err := tokenizer.Open(b.TokenizerPath())
			require.NoError(t, err)
			template, err := prompt.New(b.Prompt, tok)
			require.NoError(t, err)

			soft := decodertest.Soft(3, 20, 32)
			req := contract.GivenRequest{Soft: soft, Given: []contract.Given{
				{Question: "the key", Answers: []string{"The key is F#.", "what", " the tempo is 120 "}}, {Question: "what tempo", Answers: []string{"120", "The key is F#."}},
			}}
			got, err := e.Likelihoods(t.Context(), req)
			require.NoError(t, err)
			require.Len(t, got, 2)
			for i, g := range req.Given {
				require.Len(t, got[i], len(g.Answers))
				for k, text := range g.Answers {
					after, err := template.After(g.Question)
					require.NoError(t, err)
					tokens, err := tok.Plain(text)
					require.NoError(t, err)
					rows := scheduletest.Scores(t, backend, scheduletest.Text{Prefix: template.Prefix(), Soft: soft.Data, After: after, Answer: tokens})
					if len(template.StopTokens()) == 0 {
						rows = rows[:len(tokens)]
					}
					require.NoError(t, got[i][k].Err)
					require.InDelta(t, byHand(rows, tokens, template.StopTokens()), got[i][k].LogProb, 1e-3, "%s: %s", g.Question, text)
					require.Equal(t, len(rows), got[i][k].Tokens)
					require.InDelta(t, got[i][k].LogProb/float64(len(rows)), got[i][k].PerToken(), 1e-12)
				}
			}
			require.EqualValues(t, 1, e.Stats().Prefixes)
			require.Zero(t, e.Stats().Used+e.Stats().Sequences+e.Stats().Promised)
		})
	}
}

// The chances of all single tokens and of ending at once are one together: what a likelihood counts is the model's own distribution.
func TestLikelihoodsAreChances(t *testing.T) {
	t.Parallel()
	m := modeltest.Manifest()
	m.Prompt.Stop = []string{"###"}
	b, err := model.Load(modeltest.Write(t, m))
	require.NoError(t, err)
	e, err := reference.Open(b, reference.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	words := []string{"the", "tempo", "is", "key", "120", "F#", "The", "drums", "what"}
	got, err := e.Likelihoods(t.Context(), contract.GivenRequest{Soft: decodertest.Soft(3, 20, 32), Given: []contract.Given{{Question: "the key", Answers: words}}})
	require.NoError(t, err)
	sum := 0.0
	for _, l := range got[0] {
		require.Negative(t, l.LogProb)
		require.Equal(t, 1, l.Tokens)
		sum += math.Exp(l.LogProb)
	}
	require.Less(t, sum, 1.0)
}

// Notes are taken before a text is read, and hold it to nothing.
func TestLikelihoodsOfABundleThatTakesNotes(t *testing.T) {
	t.Parallel()
	e := noting(t)
	soft := decodertest.Soft(2, 30, 32)
	answers, err := e.Answer(t.Context(), contract.Request{Soft: soft, Questions: questions(1)})
	require.NoError(t, err)
	texts := []string{answers[0].Text, "drums what 120", "The drums."}
	ask := func(texts ...string) []contract.Likelihood {
		got, err := e.Likelihoods(t.Context(), contract.GivenRequest{Soft: soft, Given: []contract.Given{{Question: questions(1)[0].Text, Answers: texts}}})
		require.NoError(t, err)
		return got[0]
	}
	together := ask(texts...)
	for i, text := range texts {
		require.NoError(t, together[i].Err)
		require.Negative(t, together[i].LogProb)
		require.InDelta(t, ask(text)[0].LogProb, together[i].LogProb, 1e-9, "alone and beside others")
	}
	require.Zero(t, e.Stats().Used+e.Stats().Sequences+e.Stats().Promised)
}

func TestTextsWithoutALikelihood(t *testing.T) {
	t.Parallel()
	e := setup(t, reference.Config{})
	ask := func(ctx context.Context, frames int, answers ...string) ([][]contract.Likelihood, error) {
		return e.Likelihoods(ctx, contract.GivenRequest{Soft: decodertest.Soft(1, frames, 32), Given: []contract.Given{{Question: "the key", Answers: answers}}})
	}
	got, err := ask(t.Context(), 60, "the", " \n", strings.Repeat("zz", 100), "key")
	require.NoError(t, err)
	require.NoError(t, got[0][0].Err)
	require.ErrorContains(t, got[0][1].Err, "it is empty")
	require.ErrorIs(t, got[0][2].Err, contract.ErrPromptTooLong)
	require.NoError(t, got[0][3].Err)
	require.Zero(t, got[0][2].LogProb)

	got, err = ask(t.Context(), 1000, "the")
	require.NoError(t, err)
	require.ErrorIs(t, got[0][0].Err, contract.ErrPromptTooLong)
	_, err = e.Likelihoods(t.Context(), contract.GivenRequest{Soft: decodertest.Soft(1, 5, 31)})
	require.ErrorContains(t, err, "checking the soft prompt")
	got, err = e.Likelihoods(t.Context(), contract.GivenRequest{Soft: decodertest.Soft(1, 5, 32), Given: []contract.Given{{Question: "the key"}}})
	require.NoError(t, err)
	require.Len(t, got, 1)

	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errGone)
	_, err = ask(ctx, 60, "the")
	require.ErrorIs(t, err, errGone)
	require.Zero(t, e.Stats().Used+e.Stats().Sequences+e.Stats().Promised)

	require.NoError(t, e.Close())
	_, err = ask(t.Context(), 60, "the")
	require.ErrorIs(t, err, contract.ErrClosed)
}

// TestALikelihoodFailsAlone: a text whose scores are broken costs the others nothing.
func TestALikelihoodFailsAlone(t *testing.T) {
	t.Parallel()
	e, r := record(t, nil)
	broken := &infinite{Backend: r.Backend}
	r.Backend = broken
	got, err := e.Likelihoods(t.Context(), contract.GivenRequest{Soft: decodertest.Soft(1, 5, 32), Given: []contract.Given{{Question: "the key", Answers: []string{"the", "key 120"}}}})
	require.NoError(t, err)
	require.ErrorContains(t, got[0][0].Err, "not finite")
	require.Zero(t, got[0][0].LogProb)
	require.NoError(t, got[0][1].Err)
	require.Empty(t, r.open)
}

// infinite breaks the scores that are asked for first.
type infinite struct {
	schedule.Backend
	done bool
}

func (b *infinite) Extend(rows []schedule.Rows) ([][]float32, error) {
	all, err := b.Backend.Extend(rows)
	for i := range all {
		if all[i] != nil && !b.done {
			all[i][0], b.done = float32(math.Inf(1)), true
		}
	}
	return all, err
}
