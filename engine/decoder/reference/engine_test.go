package reference

import (
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/decoder/decodertest"
	"github.com/larkstream/larkstream/engine/decoder/prompt"
	"github.com/larkstream/larkstream/engine/decoder/schedule"
	"github.com/larkstream/larkstream/engine/decoder/schedule/scheduletest"
	"github.com/larkstream/larkstream/engine/decoder/tokenizer"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/modeltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func setup(t *testing.T, cfg Config) *schedule.Engine {
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
			decodertest.Run(t, modeltest.Manifest().LLM.Hidden, func(t *testing.T) contract.Engine { return setup(t, cfg) })
		})
	}
}

func TestBackend(t *testing.T) {
	t.Parallel()
	scheduletest.Run(t, 0, func(t *testing.T) schedule.Backend {
		b, _, _ := parts(t)
		return b
	})
}

// parts are a backend on a random bundle, and the bundle's tokenizer and prompt.
func parts(t *testing.T) (*Backend, *tokenizer.Tokenizer, *prompt.Template) {
	t.Helper()
	return partsOf(t, modeltest.Bundle(t))
}

// partsOf are a backend on a bundle, and the bundle's tokenizer and prompt.
func partsOf(t *testing.T, b *model.Bundle) (*Backend, *tokenizer.Tokenizer, *prompt.Template) {
	t.Helper()
	backend, err := OpenBackend(b, 0)
	require.NoError(t, err)
	tok, err := tokenizer.Open(b.TokenizerPath())
	require.NoError(t, err)
	prompt, err := prompt.New(b.Prompt, tok)
	require.NoError(t, err)
	return backend, tok, prompt
}

func run(t *testing.T, b *Backend, tok *tokenizer.Tokenizer) *schedule.Engine {
	t.Helper()
	e, err := schedule.New(schedule.Config{Prompt: modeltest.Manifest().Prompt}, schedule.Deps{Backend: b, Vocabulary: tok})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

func TestGreedyEqualsTheOraclesChoice(t *testing.T) {
	t.Parallel()
	b, tok, prompt := parts(t)
	req := contract.Request{Soft: decodertest.Soft(5, 12, 32), Questions: []contract.Question{{Text: "what is the tempo"}}, Decode: contract.Decode{MaxTokens: 6}}
	results, err := run(t, b, tok).Answer(t.Context(), req)
	require.NoError(t, err)

	var x [][]float64
	push := func(ids ...int) {
		for _, id := range ids {
			x = append(x, wide(b.w.row(id), 32)...)
		}
	}
	push(prompt.Prefix()...)
	x = append(x, wide(req.Soft.Data, 32)...)
	after, err := prompt.After("what is the tempo")
	require.NoError(t, err)
	push(after...)
	require.Equal(t, len(x), results[0].PromptTokens)
	stop, _ := tok.SpecialAt("</s>")
	stream, tokens := tokenizer.NewStream(tok), 0
	var text strings.Builder
	for range 6 {
		fresh := make([][]float64, len(x))
		for i := range x {
			fresh[i] = append([]float64(nil), x[i]...)
		}
		logits := oracle(b.w, fresh)[len(x)-1]
		best := 0
		for i, v := range logits {
			if v > logits[best] {
				best = i
			}
		}
		if best == stop {
			break
		}
		part, err := stream.Push(best)
		require.NoError(t, err)
		text.WriteString(part)
		tokens++
		push(best)
	}
	require.Equal(t, text.String()+stream.Flush(), results[0].Text)
	require.Equal(t, tokens, results[0].OutputTokens)
}

func TestBrokenScoresFailTheQuestion(t *testing.T) {
	t.Parallel()
	b, tok, prompt := parts(t)
	after, err := prompt.After("the key")
	require.NoError(t, err)
	b.w.embed[after[len(after)-1]*32] = float32(math.Inf(1))
	results, err := run(t, b, tok).Answer(t.Context(), contract.Request{Soft: decodertest.Soft(1, 5, 32), Questions: []contract.Question{{Text: "a"}, {Text: "e"}}})
	require.NoError(t, err)
	require.ErrorContains(t, results[0].Err, "not finite")
	require.ErrorContains(t, results[1].Err, "not finite")
}

func TestOpenRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	_, err := Open(modeltest.Bundle(t), Config{Positions: 159})
	require.ErrorContains(t, err, "cannot hold one context of 160")

	m := modeltest.Manifest()
	m.LLM.Vocab++
	b, err := model.Load(modeltest.Write(t, m))
	require.NoError(t, err)
	_, err = Open(b, Config{})
	require.ErrorContains(t, err, "the tokenizer has")

	b = modeltest.Bundle(t)
	b.LLM.Tokenizer = filepath.Join("gone", "tokenizer.json")
	_, err = Open(b, Config{})
	require.ErrorContains(t, err, "opening tokenizer")
}
