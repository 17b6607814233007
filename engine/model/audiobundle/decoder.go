package audiobundle

import (
	"fmt"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/gguf"
)

// weight is a tensor of a decoder of Qwen2's kind: its names in Hugging Face's files, behind the decoder's prefix, and in GGUF.
type weight struct {
	hf, name string
	shape    []int
}

const outputWeight = "output.weight"

// decoderWeights lists the tensors in the order of a GGUF file. Tied decoders have no output layer of their own.
func decoderWeights(l model.LLM, tied bool) []weight {
	all := []weight{
		{"model.embed_tokens.weight", "token_embd.weight", []int{l.Vocab, l.Hidden}},
		{"model.norm.weight", "output_norm.weight", []int{l.Hidden}},
	}
	if !tied {
		all = append(all, weight{"lm_head.weight", outputWeight, []int{l.Vocab, l.Hidden}})
	}
	kv := l.Hidden / l.Heads * l.KVHeads
	for i := range l.Layers {
		add := func(hf, name string, shape ...int) {
			all = append(all, weight{fmt.Sprintf("model.layers.%d.%s", i, hf), fmt.Sprintf("blk.%d.%s", i, name), shape})
		}
		add("input_layernorm.weight", "attn_norm.weight", l.Hidden)
		for _, p := range []struct {
			name string
			out  int
		}{{"q", l.Hidden}, {"k", kv}, {"v", kv}} {
			add("self_attn."+p.name+"_proj.weight", "attn_"+p.name+".weight", p.out, l.Hidden)
			add("self_attn."+p.name+"_proj.bias", "attn_"+p.name+".bias", p.out)
		}
		add("self_attn.o_proj.weight", "attn_output.weight", l.Hidden, l.Hidden)
		add("post_attention_layernorm.weight", "ffn_norm.weight", l.Hidden)
		add("mlp.gate_proj.weight", "ffn_gate.weight", l.FFN, l.Hidden)
		add("mlp.up_proj.weight", "ffn_up.weight", l.FFN, l.Hidden)
		add("mlp.down_proj.weight", "ffn_down.weight", l.Hidden, l.FFN)
	}
	return all
}

// decoderPieces are the tensors of a decoder whose matrices are written as quant; vectors are kept in F32, and so are matrices of rows that the
// blocks of a quantisation do not divide.
func decoderPieces(from source, prefixed func(hf string) string, l model.LLM, tied bool, quant gguf.Type) []piece {
	var pieces []piece
	for _, w := range decoderWeights(l, tied) {
		t := gguf.Tensor{Name: w.name, Type: gguf.F32, Shape: w.shape}
		if len(w.shape) > 1 && quant.Fits(w.shape[len(w.shape)-1]) {
			t.Type = quant
		}
		pieces = append(pieces, encoded(from, prefixed(w.hf), t))
	}
	return pieces
}

// Quantisations of matrices that are written here, as --quant names them, and the values of general.file_type for them (llama.h: llama_ftype).
var (
	quants    = map[string]gguf.Type{"f32": gguf.F32, "f16": gguf.F16, "bf16": gguf.BF16, "q8_0": gguf.Q8_0}
	fileTypes = map[gguf.Type]uint32{gguf.F32: 0, gguf.F16: 1, gguf.Q8_0: 7, gguf.BF16: 32}
)

// decoderMeta are the metadata of a decoder.
func decoderMeta(name string, l model.LLM, v vocabulary, quant gguf.Type) []gguf.KV {
	meta := []gguf.KV{
		{Key: "general.architecture", Value: "qwen2"},
		{Key: "general.type", Value: "model"},
		{Key: "general.name", Value: name},
		{Key: "general.file_type", Value: fileTypes[quant]},
		{Key: "general.quantization_version", Value: uint32(2)},
		{Key: "qwen2.block_count", Value: uint32(l.Layers)},
		{Key: "qwen2.context_length", Value: uint32(l.Context)},
		{Key: "qwen2.embedding_length", Value: uint32(l.Hidden)},
		{Key: "qwen2.feed_forward_length", Value: uint32(l.FFN)},
		{Key: "qwen2.attention.head_count", Value: uint32(l.Heads)},
		{Key: "qwen2.attention.head_count_kv", Value: uint32(l.KVHeads)},
		{Key: "qwen2.attention.layer_norm_rms_epsilon", Value: float32(l.NormEps)},
		{Key: "qwen2.rope.freq_base", Value: float32(l.RopeBase)},
	}
	return append(meta, v.meta()...)
}
