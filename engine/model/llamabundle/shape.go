// Package llamabundle makes bundles whose decoder is a GGUF file for llama.cpp: of the Hugging Face folder of a Llama-2-style
// model such as LLark's, of a GGUF file at hand, of the decoder of another bundle, or of random weights.
//
// GGUF's names and order of tensors, and the metadata, are what llama.cpp's loader expects (llama-arch.cpp) and its
// converter writes (convert_hf_to_gguf.py).
package llamabundle

import (
	"errors"
	"fmt"
	"math"

	"github.com/larkstream/larkstream/engine/model"
)

// Shape holds the sizes of a decoder, in the terms of Hugging Face's Llama configuration.
type Shape struct {
	Layers, Hidden, Heads, KVHeads, FFN, Vocab int
	// Context is the number of positions.
	Context int
	// RopeBase is the base of the rotary frequencies, NormEps the epsilon of RMSNorm.
	RopeBase, NormEps float64
	// Tied tells that the output layer is the table of embeddings.
	Tied bool
}

// Validate reports every size that is out of range or does not divide as it must.
func (s Shape) Validate() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	within := func(name string, v, high int) {
		check(v >= 1 && v <= high, "%s %d is not within 1 to %d", name, v, high)
	}
	within("layers", s.Layers, 1024)
	within("hidden", s.Hidden, 1<<16)
	within("heads", s.Heads, 1024)
	within("kv heads", s.KVHeads, s.Heads)
	within("ffn", s.FFN, 1<<18)
	within("vocab", s.Vocab, 1<<20)
	within("context", s.Context, 1<<20)
	check(s.Heads < 1 || s.Hidden%(2*s.Heads) == 0, "%d heads of an even width do not divide a width of %d", s.Heads, s.Hidden)
	check(s.KVHeads < 1 || s.Heads%s.KVHeads == 0, "%d kv heads do not divide %d heads", s.KVHeads, s.Heads)
	check(s.RopeBase >= 1 && !math.IsInf(s.RopeBase, 0), "rope base %v is out of range", s.RopeBase)
	check(s.NormEps > 0 && s.NormEps < 1, "norm epsilon %v is out of range", s.NormEps)
	return errors.Join(faults...)
}

// head is the width of one attention head.
func (s Shape) head() int { return s.Hidden / s.Heads }

func (s Shape) manifest() model.LLM {
	return model.LLM{
		Engine: model.LlamaCPP, File: File, Layers: s.Layers, Hidden: s.Hidden, Heads: s.Heads, KVHeads: s.KVHeads, FFN: s.FFN,
		Vocab: s.Vocab, RopeBase: s.RopeBase, NormEps: s.NormEps, Context: s.Context,
	}
}

// weight is a tensor of a decoder.
type weight struct {
	// hf is its name in Hugging Face's files, name that in GGUF.
	hf, name string
	shape    []int
	// heads is the number of heads of queries and keys, whose rows GGUF orders otherwise; 0 for others.
	heads int
}

func (w weight) elements() int64 {
	n := int64(1)
	for _, d := range w.shape {
		n *= int64(d)
	}
	return n
}

// weights lists the tensors in the order of a GGUF file.
func (s Shape) weights() []weight {
	all := []weight{
		{hf: "model.embed_tokens.weight", name: "token_embd.weight", shape: []int{s.Vocab, s.Hidden}},
		{hf: "model.norm.weight", name: "output_norm.weight", shape: []int{s.Hidden}},
	}
	if !s.Tied {
		all = append(all, weight{hf: "lm_head.weight", name: "output.weight", shape: []int{s.Vocab, s.Hidden}})
	}
	for i := range s.Layers {
		add := func(hf, name string, heads int, shape ...int) {
			all = append(all, weight{
				hf: fmt.Sprintf("model.layers.%d.%s.weight", i, hf), name: fmt.Sprintf("blk.%d.%s.weight", i, name), shape: shape, heads: heads,
			})
		}
		kv := s.KVHeads * s.head()
		add("input_layernorm", "attn_norm", 0, s.Hidden)
		add("self_attn.q_proj", "attn_q", s.Heads, s.Hidden, s.Hidden)
		add("self_attn.k_proj", "attn_k", s.KVHeads, kv, s.Hidden)
		add("self_attn.v_proj", "attn_v", 0, kv, s.Hidden)
		add("self_attn.o_proj", "attn_output", 0, s.Hidden, s.Hidden)
		add("post_attention_layernorm", "ffn_norm", 0, s.Hidden)
		add("mlp.gate_proj", "ffn_gate", 0, s.FFN, s.Hidden)
		add("mlp.up_proj", "ffn_up", 0, s.FFN, s.Hidden)
		add("mlp.down_proj", "ffn_down", 0, s.Hidden, s.FFN)
	}
	return all
}

// projectorWeights are the tensors of a projector from frames of the given width.
func projectorWeights(hidden, width int) []weight {
	return []weight{{hf: projectorWeight, shape: []int{hidden, width}}, {hf: projectorBias, shape: []int{hidden}}}
}
