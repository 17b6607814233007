package reference

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/decoder/schedule"
	"github.com/larkstream/larkstream/engine/decoder/schedule/scheduletest"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/tensor"
)

// golden holds the trainer's outputs; docs/lark-nano.md section 9 describes the files.
type golden struct {
	Decoder []struct {
		Name      string `json:"name"`
		Frames    int    `json:"frames"`
		Question  string `json:"question"`
		Notes     []int  `json:"notes"` // what the trainer's greedy decoder noted
		PromptIDs []int  `json:"prompt_ids"`
		AnswerIDs []int  `json:"answer_ids"`
		Text      string `json:"text"`
	} `json:"decoder"`
}

func loadGolden(t *testing.T) (*model.Bundle, golden, *model.Safetensors) {
	t.Helper()
	dir := cmp.Or(os.Getenv("LARK_NANO_BUNDLE"), filepath.Join("..", "..", "..", "models", "lark-nano")) // the other is set by training/smoke.sh
	b, err := model.Load(dir)
	require.NoError(t, err)
	raw, err := os.ReadFile(filepath.Join(dir, "golden", "golden.json"))
	require.NoError(t, err)
	var g golden
	require.NoError(t, json.Unmarshal(raw, &g))
	require.NotEmpty(t, g.Decoder)
	values, err := model.OpenSafetensors(filepath.Join(dir, "golden", "golden.safetensors"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, values.Close()) })
	return b, g, values
}

// project applies the bundle's projector to frames [n, encoder width].
func project(t *testing.T, b *model.Bundle, frames []float32, n int) tensor.Matrix {
	t.Helper()
	file, err := model.OpenSafetensors(b.ProjectorPath())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, file.Close()) })
	weight, err := file.F32("model.mm_projector.weight", b.Projector.Out, b.Projector.In)
	require.NoError(t, err)
	bias, err := file.F32("model.mm_projector.bias", b.Projector.Out)
	require.NoError(t, err)
	out := make([]float32, n*b.Projector.Out)
	tensor.MatMulT(out, frames, weight, n, b.Projector.Out, b.Projector.In)
	tensor.AddBias(out, bias, n)
	return tensor.Matrix{Rows: n, Cols: b.Projector.Out, Data: out}
}

const unanswerable = "Who wrote this song?" // of the golden cases

// TestTheModelsOwnAnswerIsTheLikeliest: among what the model says of a clip, the likeliest answer to each question is the one that greedy decoding gives. A refusal
// competes only where greedy decoding refuses: the notes forbid it elsewhere, and a likelihood is held to no notes.
func TestTheModelsOwnAnswerIsTheLikeliest(t *testing.T) {
	t.Parallel()
	b, g, values := loadGolden(t)
	backend, _, prompt := partsOf(t, b)
	e := opened(t, b)
	var texts []string
	for _, c := range g.Decoder {
		texts = append(texts, c.Text)
	}
	for i, c := range g.Decoder {
		frames, err := values.F32(fmt.Sprintf("decoder.%d.frames", i), c.Frames, b.Encoder.Width)
		require.NoError(t, err)
		soft := project(t, b, frames, c.Frames)
		chances, err := e.Likelihoods(t.Context(), contract.GivenRequest{Soft: soft, Given: []contract.Given{{Question: c.Question, Answers: texts}}})
		require.NoError(t, err)
		own := chances[0][i]
		require.NoError(t, own.Err)
		for k, other := range chances[0] {
			require.NoError(t, other.Err)
			t.Logf("%s: %8.2f, %6.2f a token: %s", c.Name, other.LogProb, other.PerToken(), texts[k])
			if k != i && g.Decoder[k].Name != unanswerable {
				require.Greater(t, own.LogProb, other.LogProb)
				require.Greater(t, own.PerToken(), other.PerToken())
			}
		}
		rows := scheduletest.Scores(t, backend, scheduletest.Text{
			Prefix: prompt.Prefix(), Soft: soft.Data, After: c.PromptIDs, Answer: c.AnswerIDs[:len(c.AnswerIDs)-1],
		})
		require.Equal(t, len(rows), own.Tokens, "%s: the answer and its end", c.Name)
		require.InDelta(t, logSoftmax(rows, c.AnswerIDs), own.LogProb, 1e-3, c.Name)
	}
}

// opened is the engine of a bundle until the test ends.
func opened(t *testing.T, b *model.Bundle) *schedule.Engine {
	t.Helper()
	e, err := Open(b, Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

// logSoftmax is the sum of the logarithm of softmax of each id among the row of scores before it.
func logSoftmax(rows [][]float32, ids []int) float64 {
	sum := 0.0
	for i, row := range rows {
		whole := 0.0
		for _, v := range row {
			whole += math.Exp(float64(v))
		}
		sum += float64(row[ids[i]]) - math.Log(whole)
	}
	return sum
}

// TestLogitsAgreeWithTheTrainer feeds the trainer's prompts and greedy answers and compares the scores of every token.
func TestLogitsAgreeWithTheTrainer(t *testing.T) {
	t.Parallel()
	b, g, values := loadGolden(t)
	backend, _, prompt := partsOf(t, b)
	e := opened(t, b)
	for i, c := range g.Decoder {
		frames, err := values.F32(fmt.Sprintf("decoder.%d.frames", i), c.Frames, b.Encoder.Width)
		require.NoError(t, err)
		want, err := values.F32(fmt.Sprintf("decoder.%d.logits", i))
		require.NoError(t, err)
		soft := project(t, b, frames, c.Frames)
		after, err := prompt.After(c.Question)
		require.NoError(t, err)
		require.Equal(t, c.PromptIDs, slices.Concat(after[:1], c.Notes, after[1:]), c.Name)
		rows := slices.Collect(slices.Chunk(want, b.LLM.Vocab))
		got := scheduletest.Scores(t, backend, scheduletest.Text{
			Prefix: prompt.Prefix(), Soft: soft.Data, After: c.PromptIDs, Answer: c.AnswerIDs[:len(rows)-1],
		})
		worst := scheduletest.Difference(t, rows, got)
		require.Less(t, worst, 1e-3, "%s: largest difference of a logit", c.Name)

		results, err := e.Answer(t.Context(), contract.Request{
			Soft: soft, Questions: []contract.Question{{Text: c.Question}}, Decode: contract.Decode{MaxTokens: len(c.AnswerIDs)},
		})
		require.NoError(t, err)
		require.NoError(t, results[0].Err)
		require.Equal(t, c.Text, results[0].Text, c.Name)
		t.Logf("%s: largest difference %.1e, %q", c.Name, worst, results[0].Text)
	}
}
