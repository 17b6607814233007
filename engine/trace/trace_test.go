package trace_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/model/audiobundle/audiotest"
	"github.com/larkstream/larkstream/engine/native/nativetest"
	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/engine/trace"
)

// Every step of every golden case is the reference's, from pairs of GGUF files and from Hugging Face folders.
func TestEveryStepIsTheReferences(t *testing.T) {
	t.Parallel()
	dir := nativetest.Dir(t)
	m := audiotest.Load(t)
	for _, family := range audiotest.Families {
		for _, form := range []string{"gguf", "hf"} {
			t.Run(family+"/"+form, func(t *testing.T) {
				t.Parallel()
				b := audiotest.Bundle(t, family, form)
				clips := audiotest.Clips
				if form == "hf" { // the same numbers
					clips = []string{"short", "long"}
				}
				for _, clip := range clips {
					got, err := trace.Run(t.Context(), b, trace.Config{Precision: tensor.F32, Question: m.Question, Tokens: 16, NativeDir: dir}, audiotest.Samples(t, clip))
					require.NoError(t, err)
					mel := "mel30"
					if family == "qwen2_5_omni" {
						mel = "mel300"
					}
					if family != "qwen2_audio" || clip != "long" { // of which it hears the first window only
						audiotest.Near(t, got.Mel.Data, m.Tolerances["mel"], mel, clip+".npy")
					}
					audiotest.Near(t, got.Pooled.Data, m.Tolerances["enc_pooled"], family, clip, "enc_pooled.npy")
					audiotest.Near(t, got.Projected.Data, m.Tolerances["projected"], family, clip, "projected.npy")
					audiotest.Near(t, got.Logits, m.Tolerances["logits"], family, clip, "logits.npy")
					ids, _ := audiotest.Array[int32](t, family, clip, "prompt_ids.npy")
					require.Equal(t, ids, got.PromptIDs, clip)
					greedy, _ := audiotest.Array[int32](t, family, clip, "greedy.npy")
					require.Equal(t, greedy, got.Greedy, clip)
					require.Equal(t, []int{m.Cases[family][clip].Tokens, 80}, []int{got.Pooled.Rows, got.Pooled.Cols})
				}
			})
		}
	}
}
