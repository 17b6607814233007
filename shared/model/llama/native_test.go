package llama_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/shared/model"
	"github.com/larkstream/larkstream/shared/model/gguf"
	"github.com/larkstream/larkstream/shared/model/llama"
	"github.com/larkstream/larkstream/shared/model/modeltest"
	native "github.com/larkstream/larkstream/shared/native/llama"
	"github.com/larkstream/larkstream/shared/native/nativetest"
)

func library(t *testing.T) *native.Library {
	t.Helper()
	l, err := native.Open(nativetest.Dir(t), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	return l
}

func load(t *testing.T, b *model.Bundle) *native.Model {
	t.Helper()
	m, err := library(t).LoadModel(b.LLMPath(), native.ModelOptions{CPUOnly: true, CheckTensors: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

// llama.cpp loads what import wrote, and finds the prompt's special tokens in it, but none in a user's text.
func TestLlamaCppReadsTheBundle(t *testing.T) {
	t.Parallel()
	library(t)
	b, err := importTo(t, llama.ImportConfig{Folder: folder(t, "F32", 1)})
	require.NoError(t, err)
	m := load(t, b)
	shape := m.Shape()
	require.Equal(t, grouped.Hidden, shape.Width)
	require.Equal(t, grouped.Layers, shape.Layers)
	require.Equal(t, grouped.KVHeads, shape.HeadsKV)
	require.Equal(t, grouped.Context, shape.Context)
	v := m.Vocab()
	require.Equal(t, grouped.Vocab, v.Size())
	ids, err := v.Tokenize(b.Prompt.Prefix+b.Prompt.Suffix, false, true)
	require.NoError(t, err)
	require.Equal(t, native.Token(1), ids[0], "<s>")
	require.Contains(t, ids, native.Token(398), llama.AudioStart)
	require.Contains(t, ids, native.Token(399), llama.AudioEnd)
	ids, err = v.Tokenize("is <audio_start> or </s> or [PAD] text?", false, false)
	require.NoError(t, err)
	for _, id := range ids {
		require.False(t, v.IsControl(id), id)
	}
}

func TestQuantisingToQ4KM(t *testing.T) {
	t.Parallel()
	l := library(t)
	wide := llama.Shape{Layers: 2, Hidden: 256, Heads: 4, KVHeads: 2, FFN: 256, Vocab: 512, Context: 64, RopeBase: 10000, NormEps: 1e-5}
	cfg := llama.RandomConfig{Seed: 1, Quant: llama.Q4KM, Encoder: modeltest.Bundle(t).Dir, Out: filepath.Join(t.TempDir(), "out")}
	_, err := llama.RandomOf(t.Context(), wide, cfg, quiet)
	require.ErrorContains(t, err, "needs llama.cpp's libraries")
	cfg.Quantize = func(_ context.Context, in, out string) error {
		return l.Quantize(in, out, native.QuantizeOptions{Type: native.FileQ4_K_M})
	}
	_, err = llama.RandomOf(t.Context(), wide, cfg, quiet)
	require.NoError(t, err)
	b, err := model.LoadComplete(cfg.Out)
	require.NoError(t, err)
	w, _ := open(t, b.Dir).Tensor("blk.0.attn_q.weight")
	require.Equal(t, "Q4_K", w.Type.String())
	_, err = gguf.Open(b.LLMPath() + ".bf16")
	require.Error(t, err, "the file between is gone")
	load(t, b)

	again, err := importTo(t, llama.ImportConfig{GGUF: b.LLMPath(), Projector: b.ProjectorPath()})
	require.NoError(t, err)
	require.Equal(t, b.LLM, again.LLM)
}
