package llamabundle_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/gguf"
	"github.com/larkstream/larkstream/engine/model/llamabundle"
	"github.com/larkstream/larkstream/engine/model/modeltest"
	"github.com/larkstream/larkstream/engine/native/llama"
	"github.com/larkstream/larkstream/engine/native/nativetest"
)

func library(t *testing.T) *llama.Library {
	t.Helper()
	l, err := llama.Open(nativetest.Dir(t), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	return l
}

func load(t *testing.T, b *model.Bundle) *llama.Model {
	t.Helper()
	m, err := library(t).LoadModel(b.LLMPath(), llama.ModelOptions{CPUOnly: true, CheckTensors: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

// llama.cpp loads what import wrote, and finds the prompt's special tokens in it, but none in a user's text.
func TestLlamaCppReadsTheBundle(t *testing.T) {
	t.Parallel()
	library(t)
	b, err := importTo(t, llamabundle.ImportConfig{Folder: folder(t, "F32", 1)})
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
	require.Equal(t, llama.Token(1), ids[0], "<s>")
	require.Contains(t, ids, llama.Token(398), llamabundle.AudioStart)
	require.Contains(t, ids, llama.Token(399), llamabundle.AudioEnd)
	ids, err = v.Tokenize("is <audio_start> or </s> or [PAD] text?", false, false)
	require.NoError(t, err)
	for _, id := range ids {
		require.False(t, v.IsControl(id), id)
	}
}

func TestQuantisingToQ4KM(t *testing.T) {
	t.Parallel()
	l := library(t)
	wide := llamabundle.Shape{Layers: 2, Hidden: 256, Heads: 4, KVHeads: 2, FFN: 256, Vocab: 512, Context: 64, RopeBase: 10000, NormEps: 1e-5}
	cfg := llamabundle.RandomConfig{Seed: 1, Quant: llamabundle.Q4KM, Encoder: modeltest.Bundle(t).Dir, Out: filepath.Join(t.TempDir(), "out")}
	_, err := llamabundle.RandomOf(t.Context(), wide, cfg, quiet)
	require.ErrorContains(t, err, "needs llama.cpp's libraries")
	cfg.Quantize = func(_ context.Context, in, out string) error {
		return l.Quantize(in, out, llama.QuantizeOptions{Type: llama.FileQ4_K_M})
	}
	_, err = llamabundle.RandomOf(t.Context(), wide, cfg, quiet)
	require.NoError(t, err)
	b, err := model.LoadComplete(cfg.Out)
	require.NoError(t, err)
	w, _ := open(t, b.Dir).Tensor("blk.0.attn_q.weight")
	require.Equal(t, "Q4_K", w.Type.String())
	_, err = gguf.Open(b.LLMPath() + ".bf16")
	require.Error(t, err, "the file between is gone")
	load(t, b)

	again, err := importTo(t, llamabundle.ImportConfig{GGUF: b.LLMPath(), Projector: b.ProjectorPath()})
	require.NoError(t, err)
	require.Equal(t, b.LLM, again.LLM)
}
