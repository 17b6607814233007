// Package modeltest makes small complete bundles with random weights, for tests of everything that loads a bundle.
package modeltest

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/model"
)

// Pieces are the ordinary pieces of the tokenizer of a random bundle.
var Pieces = []string{"▁", "a", "e", "o", "t", "▁the", "▁tempo", "▁is", "▁key", "▁120", "▁F#", ".", "▁The", "▁drums", "what", "▁what", "é"}

// Manifest describes a bundle whose decoder has 2 layers, width 32, 4 heads over 2 key-value heads and 160 positions.
func Manifest() model.Manifest {
	return model.Manifest{
		Format: model.Format, Name: "tiny", Version: "0", Random: true, Licence: "Apache-2.0",
		Encoder: model.Encoder{
			Engine: "nano", File: "encoder.safetensors", Width: 12, FrameRateHz: 10.7666015625, SpanS: 25, ID: "tiny-encoder", Precision: "f32",
		},
		Projector: model.Projector{File: "projector.safetensors", In: 12, Out: 32},
		LLM: model.LLM{ //nolint:gosec // a tokenizer is no credential
			Engine: "reference", File: "llm.safetensors", Layers: 2, Hidden: 32, Heads: 4, KVHeads: 2, FFN: 48,
			Vocab: 7 + 256 + len(Pieces), RopeBase: 10000, NormEps: 1e-5, Context: 160, Tokenizer: "tokenizer.json",
		},
		Prompt: model.Prompt{
			Revision: "1", Prefix: "<s><audio_start>", Suffix: "<audio_end>", Question: "<q>{question}<a>", Stop: []string{"</s>"}, MaxTokens: 24,
		},
	}
}

// Write fills a new folder with random weights of the manifest's shapes (seeded, so equal in every run) and returns it.
func Write(tb testing.TB, m model.Manifest) string {
	tb.Helper()
	dir := tb.TempDir()
	r := rand.New(rand.NewPCG(11, 13)) //nolint:gosec // repeatable weights
	write := func(file string, tensors []model.Tensor) {
		require.NoError(tb, model.WriteSafetensors(filepath.Join(dir, file), tensors))
	}
	write(m.Encoder.File, []model.Tensor{Random(r, "mix.out.weight", m.Encoder.Width)})
	write(m.Projector.File, []model.Tensor{
		Random(r, "model.mm_projector.weight", m.Projector.Out, m.Projector.In), Random(r, "model.mm_projector.bias", m.Projector.Out),
	})
	write(m.LLM.File, Llama(r, m.LLM))
	if m.LLM.Tokenizer != "" {
		require.NoError(tb, os.WriteFile(filepath.Join(dir, m.LLM.Tokenizer), Tokenizer(tb), 0o600))
	}
	require.NoError(tb, m.Seal(dir))
	return dir
}

// Bundle is a written and loaded random bundle.
func Bundle(tb testing.TB) *model.Bundle {
	tb.Helper()
	b, err := model.Load(Write(tb, Manifest()))
	require.NoError(tb, err)
	return b
}

// Llama makes random weights under Hugging Face's names.
func Llama(r *rand.Rand, l model.LLM) []model.Tensor {
	head := l.Hidden / l.Heads
	tensors := []model.Tensor{
		Random(r, "model.embed_tokens.weight", l.Vocab, l.Hidden), Random(r, "model.norm.weight", l.Hidden),
		Random(r, "lm_head.weight", l.Vocab, l.Hidden),
	}
	for i := range l.Layers {
		layer := func(name string, shape ...int) {
			tensors = append(tensors, Random(r, fmt.Sprintf("model.layers.%d.%s.weight", i, name), shape...))
		}
		layer("self_attn.q_proj", l.Hidden, l.Hidden)
		layer("self_attn.k_proj", l.KVHeads*head, l.Hidden)
		layer("self_attn.v_proj", l.KVHeads*head, l.Hidden)
		layer("self_attn.o_proj", l.Hidden, l.Hidden)
		layer("mlp.gate_proj", l.FFN, l.Hidden)
		layer("mlp.up_proj", l.FFN, l.Hidden)
		layer("mlp.down_proj", l.Hidden, l.FFN)
		layer("input_layernorm", l.Hidden)
		layer("post_attention_layernorm", l.Hidden)
	}
	return tensors
}

// Random makes an F32 tensor: matrices of deviation 1/sqrt(inputs), vectors about 1.
func Random(r *rand.Rand, name string, shape ...int) model.Tensor {
	elements := 1
	for _, d := range shape {
		elements *= d
	}
	data := make([]float32, elements)
	for i := range data {
		data[i] = 1 + 0.1*float32(r.NormFloat64())
		if len(shape) > 1 {
			data[i] = float32(r.NormFloat64() / math.Sqrt(float64(shape[len(shape)-1])))
		}
	}
	return model.Tensor{Name: name, DType: "F32", Shape: shape, Data: data}
}

// Tokenizer is the tokenizer.json of a random bundle.
func Tokenizer(tb testing.TB) []byte {
	tb.Helper()
	special := []string{"<pad>", "<s>", "</s>", "<audio_start>", "<audio_end>", "<q>", "<a>"}
	vocab := append([]string(nil), special...)
	ids := map[string]int{}
	for i, name := range special {
		ids[name] = i
	}
	for b := range 256 {
		vocab = append(vocab, fmt.Sprintf("<0x%02X>", b))
	}
	raw, err := json.Marshal(map[string]any{"type": "greedy", "lowercase": true, "special": ids, "vocab": append(vocab, Pieces...)})
	require.NoError(tb, err)
	return raw
}
