// Package reference is the reference decoder: a Llama forward pass in plain Go on engine/tensor, with batched decoding.
//
// Tensors are named as Hugging Face names them and computed as it computes them: y = x·Wᵀ, RMSNorm, rotary positions by halves, grouped
// key-value heads, SwiGLU, causal attention scaled by 1/sqrt(head width), all in float32. Decoders of Qwen2's kind, whose queries, keys and values
// have biases, are read from GGUF files too.
package reference

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/tensor"
)

// weights are the model's matrices, [out, in], and its sizes.
type weights struct {
	model.LLM
	head   int // width of one attention head
	kv     int // width of the keys of one position: KVHeads·head
	embed  []float32
	norm   []float32
	output []float32
	layers []layer
	rotary *tensor.Rotary
}

type layer struct {
	attnNorm, ffnNorm []float32
	qkv               []float32 // [Hidden+2·kv, Hidden]: queries, keys, values
	bias              []float32 // [Hidden+2·kv] of them, nil if there is none
	out               []float32 // [Hidden, Hidden]
	gateUp            []float32 // [2·FFN, Hidden]
	down              []float32 // [Hidden, FFN]
}

// loadWeights reads the decoder of a bundle and checks every shape and value.
func loadWeights(b *model.Bundle) (w *weights, err error) {
	file, err := open(b.LLMPath())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	l := b.LLM
	w = &weights{LLM: l, head: l.Hidden / l.Heads, kv: l.KVHeads * (l.Hidden / l.Heads)}
	read := reader{file: file}
	w.embed = read.tensor("model.embed_tokens.weight", l.Vocab, l.Hidden)
	w.norm = read.tensor("model.norm.weight", l.Hidden)
	w.output = w.embed
	if file.Has("lm_head.weight") {
		w.output = read.tensor("lm_head.weight", l.Vocab, l.Hidden)
	}
	for i := range l.Layers {
		w.layers = append(w.layers, read.layer(w, fmt.Sprintf("model.layers.%d.", i)))
	}
	if read.err != nil {
		return nil, read.err
	}
	w.rotary = tensor.NewRotary(w.head, l.Context, l.RopeBase)
	return w, nil
}

// source gives tensors by Hugging Face's names.
type source interface {
	Has(name string) bool
	// F32 reads a tensor and demands the given shape.
	F32(name string, shape ...int) ([]float32, error)
	Close() error
}

// open opens a safetensors or a GGUF file.
func open(path string) (source, error) {
	if filepath.Ext(path) == ".gguf" {
		return openGGUF(path)
	}
	file, err := model.OpenSafetensors(path)
	if err != nil {
		return nil, err
	}
	return safetensors{file}, nil
}

type safetensors struct{ *model.Safetensors }

// Has implements source.
func (s safetensors) Has(name string) bool { _, ok := s.Info(name); return ok }

// reader keeps the first error.
type reader struct {
	file source
	err  error
}

func (r *reader) tensor(name string, shape ...int) []float32 {
	if r.err != nil {
		return nil
	}
	v, err := r.file.F32(name, shape...)
	if err == nil && !tensor.Finite(v) {
		err = fmt.Errorf("reading weights: tensor %q holds NaN or infinity", name)
	}
	r.err = err
	return v
}

// biases are those of queries, keys and values, or nil.
func (r *reader) biases(w *weights, prefix string) []float32 {
	if !r.file.Has(prefix + "self_attn.q_proj.bias") {
		return nil
	}
	return slices.Concat(r.tensor(prefix+"self_attn.q_proj.bias", w.Hidden), r.tensor(prefix+"self_attn.k_proj.bias", w.kv),
		r.tensor(prefix+"self_attn.v_proj.bias", w.kv))
}

func (r *reader) layer(w *weights, prefix string) layer {
	linear := func(name string, out, in int) []float32 { return r.tensor(prefix+name+".weight", out, in) }
	return layer{
		attnNorm: r.tensor(prefix+"input_layernorm.weight", w.Hidden),
		ffnNorm:  r.tensor(prefix+"post_attention_layernorm.weight", w.Hidden),
		qkv: slices.Concat(linear("self_attn.q_proj", w.Hidden, w.Hidden), linear("self_attn.k_proj", w.kv, w.Hidden),
			linear("self_attn.v_proj", w.kv, w.Hidden)),
		bias:   r.biases(w, prefix),
		out:    linear("self_attn.o_proj", w.Hidden, w.Hidden),
		gateUp: slices.Concat(linear("mlp.gate_proj", w.FFN, w.Hidden), linear("mlp.up_proj", w.FFN, w.Hidden)),
		down:   linear("mlp.down_proj", w.Hidden, w.FFN),
	}
}
