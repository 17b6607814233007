package decoder_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/decoder"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/audiobundle/audiotest"
	"github.com/larkstream/larkstream/engine/native/nativetest"
	"github.com/larkstream/larkstream/engine/tensor"
)

// softOf is the golden soft prompt of a short clip, of which the golden data hold every row.
func softOf(t *testing.T, family string) tensor.Matrix {
	t.Helper()
	rows, width := audiotest.Array[float32](t, family, "short", "projected.npy")
	return tensor.Matrix{Rows: len(rows) / width, Cols: width, Data: rows}
}

// Prompt, scores and greedy tokens are the reference's: in plain Go to a thousandth from files of any type, on llama.cpp with halves to a tenth.
func TestTracesAreTheReferences(t *testing.T) {
	t.Parallel()
	dir := nativetest.Dir(t)
	m := audiotest.Load(t)
	for _, family := range audiotest.Families {
		ids, _ := audiotest.Array[int32](t, family, "short", "prompt_ids.npy")
		greedy, _ := audiotest.Array[int32](t, family, "short", "greedy.npy")
		for _, form := range []string{"gguf", "hf"} {
			b := audiotest.Bundle(t, family, form)
			for _, exact := range []bool{true, false} {
				if form == "hf" && !exact {
					continue // the file is in bf16, in which llama.cpp rounds the other operand too
				}
				got, err := decoder.RunTrace(b, decoder.TraceConfig{
					Soft: softOf(t, family), Question: m.Question, Tokens: len(greedy), Exact: exact, NativeDir: dir,
				})
				require.NoError(t, err)
				require.Equal(t, ids, got.PromptIDs, "%s %s", family, form)
				tolerance := m.Tolerances["logits"]
				if !exact {
					tolerance = m.Tolerances["logits_float16"]
				}
				audiotest.Near(t, got.Logits, tolerance, family, "short", "logits.npy")
				require.Equal(t, greedy, got.Greedy, "%s %s, exact %v", family, form, exact)
			}
		}
	}
}

func TestTracesThatDoNotFitAreRefused(t *testing.T) {
	t.Parallel()
	b := audiotest.Bundle(t, "audioflamingo3", "gguf")
	cfg := decoder.TraceConfig{Soft: softOf(t, "audioflamingo3"), Question: "?", Tokens: 4096, NativeDir: nativetest.Dir(t)}
	_, err := decoder.RunTrace(b, cfg)
	require.ErrorIs(t, err, decoder.ErrPromptTooLong)
	b.Manifest.Prompt = model.Prompt{Prefix: b.Prompt.Prefix, Suffix: b.Prompt.Suffix, Question: b.Prompt.Question, Stop: b.Prompt.Stop, Placeholder: "<none>"}
	_, err = decoder.RunTrace(b, cfg)
	require.ErrorContains(t, err, `placeholder "<none>" is no token`)
}
