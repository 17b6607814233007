package llamabundle_test

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/gguf"
	"github.com/larkstream/larkstream/engine/model/llamabundle"
	"github.com/larkstream/larkstream/engine/model/modeltest"
)

func quiet(int64, int64) {}

// grouped has three queries for each key.
var grouped = llamabundle.Shape{Layers: 3, Hidden: 96, Heads: 6, KVHeads: 2, FFN: 64, Vocab: 400, Context: 128, RopeBase: 5000, NormEps: 1e-6}

func open(t *testing.T, dir string) *gguf.File {
	t.Helper()
	f, err := gguf.Open(filepath.Join(dir, llamabundle.File))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return f
}

func values(t *testing.T, f *gguf.File, name string) []float32 {
	t.Helper()
	v, err := f.F32(t.Context(), name)
	require.NoError(t, err)
	return v
}

func TestRandomBundleIsCompleteAndMarked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var done, total int64
	m, err := llamabundle.Random(t.Context(), llamabundle.RandomConfig{Preset: "tiny", Seed: 7, Quant: "f32", Out: dir}, func(d, n int64) { done, total = d, n })
	require.NoError(t, err)
	require.Positive(t, total)
	require.Equal(t, total, done)
	b, err := model.LoadComplete(dir)
	require.NoError(t, err)
	require.Equal(t, m, b.Manifest)
	require.True(t, b.Random)
	require.Equal(t, "llama-2x64-random (random weights)", b.DisplayName())
	require.Equal(t, "llamacpp", b.LLM.Engine)
	require.Empty(t, b.LLM.Tokenizer)
	require.Equal(t, 64, b.Projector.Out)

	f := open(t, dir)
	tokens, err := gguf.Value[[]string](f, "tokenizer.ggml.tokens")
	require.NoError(t, err)
	require.Len(t, tokens, 512)
	require.Equal(t, []string{"[PAD]", "<audio_patch>", "<audio_start>", "<audio_end>"}, tokens[508:])
	require.Equal(t, "<0x0A>", tokens[13], "bytes are where Llama-2 has them")
	for _, w := range f.Tensors() {
		squares, all := 0.0, values(t, f, w.Name)
		for _, v := range all {
			squares += float64(v) * float64(v)
		}
		want := map[bool]float64{true: 1, false: 1 / math.Sqrt(float64(w.Shape[len(w.Shape)-1]))}[len(w.Shape) == 1 || w.Name == "token_embd.weight"]
		require.InEpsilon(t, want, math.Sqrt(squares/float64(len(all))), 0.1, w.Name)
	}
}

func TestRandomBundlesAreRepeatable(t *testing.T) {
	t.Parallel()
	encoder := modeltest.Bundle(t).Dir
	digest := func(seed uint64) string {
		dir := t.TempDir()
		_, err := llamabundle.RandomOf(t.Context(), grouped, llamabundle.RandomConfig{Seed: seed, Quant: "q8_0", Encoder: encoder, Out: dir}, quiet)
		require.NoError(t, err)
		b, err := model.Load(dir)
		require.NoError(t, err)
		return b.Digest
	}
	first := digest(1)
	require.Equal(t, first, digest(1))
	require.NotEqual(t, first, digest(2))
}

func TestQuantisationsHoldTheSameValues(t *testing.T) {
	t.Parallel()
	encoder := modeltest.Bundle(t).Dir
	file := func(quant string) *gguf.File {
		dir := t.TempDir()
		_, err := llamabundle.RandomOf(t.Context(), grouped, llamabundle.RandomConfig{Seed: 5, Quant: quant, Encoder: encoder, Out: dir}, quiet)
		require.NoError(t, err)
		return open(t, dir)
	}
	exact := file("f32")
	for quant, within := range map[string]float64{"f16": 1. / 2048, "bf16": 1. / 256, "q8_0": 1. / 200} {
		f := file(quant)
		for _, w := range exact.Tensors() {
			got, ok := f.Tensor(w.Name)
			require.True(t, ok)
			require.Equal(t, w.Shape, got.Shape)
			if len(w.Shape) == 1 {
				require.Equal(t, gguf.F32, got.Type, w.Name)
			}
			a, b := values(t, exact, w.Name), values(t, f, w.Name)
			largest, difference := 0.0, 0.0
			for i := range a {
				largest = max(largest, math.Abs(float64(a[i])))
				difference = max(difference, math.Abs(float64(a[i]-b[i])))
			}
			require.LessOrEqual(t, difference, within*largest, w.Name)
		}
	}
}

func TestRandomSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	_, err := llamabundle.Random(t.Context(), llamabundle.RandomConfig{Preset: "70b", Quant: "f32", Out: t.TempDir()}, quiet)
	require.ErrorContains(t, err, `preset "70b" is unknown: known are [7b tiny]`)
	_, err = llamabundle.Random(t.Context(), llamabundle.RandomConfig{Preset: "tiny", Quant: "q2_k", Out: t.TempDir()}, quiet)
	require.ErrorContains(t, err, `quantisation "q2_k"`)
	odd := grouped
	odd.KVHeads, odd.Vocab, odd.RopeBase = 4, 300, 0
	_, err = llamabundle.RandomOf(t.Context(), odd, llamabundle.RandomConfig{Quant: "f32", Out: t.TempDir()}, quiet)
	for _, want := range []string{"4 kv heads do not divide 6", "vocabulary of 300 is too small", "rope base 0"} {
		require.ErrorContains(t, err, want)
	}
	dir := t.TempDir()
	cfg := llamabundle.RandomConfig{Preset: "tiny", Quant: "f32", Out: dir}
	_, err = llamabundle.Random(t.Context(), cfg, quiet)
	require.NoError(t, err)
	_, err = llamabundle.Random(t.Context(), cfg, quiet)
	require.ErrorContains(t, err, "holds a bundle already")
}

func TestAnInterruptedRandomBundleContinues(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cfg := llamabundle.RandomConfig{Preset: "tiny", Seed: 7, Quant: "f32", Out: dir}
	_, err := llamabundle.Random(ctx, cfg, func(done, total int64) {
		if done > total/2 {
			cancel()
		}
	})
	require.ErrorIs(t, err, context.Canceled)
	_, err = model.LoadComplete(dir)
	require.ErrorContains(t, err, "encoder only")
	_, err = llamabundle.Random(t.Context(), cfg, quiet)
	require.NoError(t, err)
	_, err = model.LoadComplete(dir)
	require.NoError(t, err)
}

func TestExportKeepsWeightsTokenizerAndPrompt(t *testing.T) {
	t.Parallel()
	from, dir := modeltest.Bundle(t), filepath.Join(t.TempDir(), "out")
	_, err := llamabundle.Export(t.Context(), llamabundle.ExportConfig{Model: from.Dir, Quant: "f32", Out: dir}, quiet)
	require.NoError(t, err)
	b, err := model.LoadComplete(dir)
	require.NoError(t, err)
	require.Equal(t, from.Prompt, b.Prompt)
	require.Equal(t, from.LLM.TokenizerSHA256, b.LLM.TokenizerSHA256)
	require.Equal(t, from.EmbeddingKey("w"), b.EmbeddingKey("w"))
	require.Equal(t, from.PromptKey("w"), b.PromptKey("w"))
	require.True(t, b.Random)

	weights, err := model.OpenSafetensors(from.LLMPath())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, weights.Close()) })
	f := open(t, dir)
	for hf, name := range map[string]string{
		"model.embed_tokens.weight": "token_embd.weight", "lm_head.weight": "output.weight", "model.norm.weight": "output_norm.weight",
		"model.layers.1.self_attn.v_proj.weight": "blk.1.attn_v.weight", "model.layers.1.self_attn.o_proj.weight": "blk.1.attn_output.weight",
		"model.layers.0.mlp.gate_proj.weight": "blk.0.ffn_gate.weight", "model.layers.0.mlp.up_proj.weight": "blk.0.ffn_up.weight",
		"model.layers.0.mlp.down_proj.weight": "blk.0.ffn_down.weight", "model.layers.0.input_layernorm.weight": "blk.0.attn_norm.weight",
		"model.layers.0.post_attention_layernorm.weight": "blk.0.ffn_norm.weight",
	} {
		want, err := weights.F32(hf)
		require.NoError(t, err)
		require.Equal(t, want, values(t, f, name), name)
	}
	// Heads of 8 rows: row 4 of each, the partner of row 0, stands beside it.
	for hf, name := range map[string]string{"q_proj": "attn_q", "k_proj": "attn_k"} {
		want, err := weights.F32("model.layers.0.self_attn." + hf + ".weight")
		require.NoError(t, err)
		got := values(t, f, "blk.0."+name+".weight")
		for head := range len(want) / (8 * 32) {
			for i, row := range []int{0, 4, 1, 5, 2, 6, 3, 7} {
				require.Equal(t, want[(head*8+row)*32:][:32], got[(head*8+i)*32:][:32], "%s head %d row %d", name, head, i)
			}
		}
	}
	kinds, err := gguf.Value[[]int32](f, "tokenizer.ggml.token_type")
	require.NoError(t, err)
	require.Equal(t, []int32{3, 3, 6, 6}, kinds[5:9], "special tokens are no text")
	n, err := f.Int("llama.attention.head_count_kv")
	require.NoError(t, err)
	require.Equal(t, 2, n)
}

func TestExportSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	_, err := llamabundle.Export(t.Context(), llamabundle.ExportConfig{Model: t.TempDir(), Quant: "f32", Out: t.TempDir()}, quiet)
	require.ErrorIs(t, err, os.ErrNotExist)
	from := modeltest.Bundle(t)
	_, err = llamabundle.Export(t.Context(), llamabundle.ExportConfig{Model: from.Dir, Quant: "q1", Out: t.TempDir()}, quiet)
	require.ErrorContains(t, err, `"q1" is unknown`)
	_, err = llamabundle.Export(t.Context(), llamabundle.ExportConfig{Model: from.Dir, Quant: "f32", Out: from.Dir}, quiet)
	require.ErrorContains(t, err, "holds a bundle already")
}
