package tags_test

import (
	"bytes"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/model/llamabundle"
	"github.com/larkstream/larkstream/engine/native/llama"
	"github.com/larkstream/larkstream/engine/native/nativetest"
	"github.com/larkstream/larkstream/engine/tags"
)

// TestLlamaCppHoldsATokenizerToTags gives llama.cpp's own reading of the grammar random scores: whatever it lets through is tags.
func TestLlamaCppHoldsATokenizerToTags(t *testing.T) {
	t.Parallel()
	lib, err := llama.Open(nativetest.Dir(t), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	dir := t.TempDir()
	made, err := llamabundle.Random(t.Context(), llamabundle.RandomConfig{Preset: "tiny", Seed: 1, Quant: "f32", Out: dir}, func(int64, int64) {})
	require.NoError(t, err)
	model, err := lib.LoadModel(filepath.Join(dir, made.LLM.File), llama.ModelOptions{CPUOnly: true, VocabOnly: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, model.Close()) }()
	grammar, err := model.Vocab().NewGrammar(tags.Grammar(), "root")
	require.NoError(t, err)
	defer grammar.Close()

	rng := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		text := bytes.ToValidUTF8(walk(t, rng, model.Vocab(), grammar), []byte("\uFFFD")) // as engines do
		_, err := tags.Parse(text)
		require.NoError(t, err, "%s", text)
		grammar.Reset()
	}
}

// walk takes random tokens that the grammar allows up to the end.
func walk(t *testing.T, rng *rand.Rand, vocab *llama.Vocab, grammar *llama.Grammar) []byte {
	t.Helper()
	var text []byte
	logits := make([]float32, vocab.Size())
	for range tags.MaxBytes {
		for i := range logits {
			logits[i] = float32(rng.NormFloat64())
		}
		require.NoError(t, grammar.Mask(logits))
		best := 0
		for i, v := range logits {
			if v > logits[best] {
				best = i
			}
		}
		if vocab.IsEnd(llama.Token(best)) {
			return text
		}
		require.NoError(t, grammar.Accept(llama.Token(best)))
		piece, err := vocab.Piece(llama.Token(best), false)
		require.NoError(t, err)
		text = append(text, piece...)
	}
	require.FailNow(t, "the grammar has no end", "%s", text)
	return nil
}
