package reference

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/larkstream/larkstream/engine/model/gguf"
)

// ggufFile gives the tensors of a decoder of Qwen2's kind in a GGUF file by Hugging Face's names. Rows of queries and keys stand there in the order
// of Hugging Face's files, unlike in those of Llama.
type ggufFile struct{ *gguf.File }

func openGGUF(path string) (source, error) {
	f, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	if arch, _ := gguf.Value[string](f, "general.architecture"); arch != "qwen2" && arch != "qwen2vl" {
		return nil, errors.Join(fmt.Errorf("opening %s: its architecture is %q: only qwen2 is read from GGUF by this engine, take engine llamacpp", path, arch), f.Close())
	}
	return ggufFile{f}, nil
}

var ggufNames = strings.NewReplacer(
	"model.embed_tokens", "token_embd", "model.norm", "output_norm", "lm_head", "output", "model.layers.", "blk.",
	"input_layernorm", "attn_norm", "post_attention_layernorm", "ffn_norm", "self_attn.o_proj", "attn_output",
	"self_attn.q_proj", "attn_q", "self_attn.k_proj", "attn_k", "self_attn.v_proj", "attn_v",
	"mlp.gate_proj", "ffn_gate", "mlp.up_proj", "ffn_up", "mlp.down_proj", "ffn_down",
)

// Has implements source.
func (f ggufFile) Has(name string) bool { _, ok := f.Tensor(ggufNames.Replace(name)); return ok }

// F32 implements source.
func (f ggufFile) F32(name string, shape ...int) ([]float32, error) {
	own := ggufNames.Replace(name)
	t, ok := f.Tensor(own)
	if !ok {
		return nil, fmt.Errorf("reading %s: it has no tensor %q", f.Path(), own)
	}
	if !slices.Equal(t.Shape, shape) {
		return nil, fmt.Errorf("reading %s: tensor %q has shape %v, where %v is expected", f.Path(), own, t.Shape, shape)
	}
	return f.File.F32(context.Background(), own)
}
