package llama_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/native/llama"
	"github.com/larkstream/larkstream/engine/native/nativetest"
)

func open(t *testing.T) *llama.Library {
	t.Helper()
	l, err := llama.Bind(nativetest.Open(t))
	require.NoError(t, err)
	return l
}

// The tiny model of these tests.
const (
	width, layers, heads, hidden, trained = 64, 2, 4, 128, 512
)

// file writes GGUF version 3: header, metadata, tensor table, tensors of f32 aligned to 32 bytes.
type file struct {
	meta, table, data bytes.Buffer
	metas, tensors    uint64
	rnd               *rand.Rand
	embedding         []float32 // token_embd.weight, row by row
}

func put(b *bytes.Buffer, values ...any) {
	for _, v := range values {
		if s, ok := v.(string); ok {
			put(b, uint64(len(s)))
			b.WriteString(s)
			continue
		}
		_ = binary.Write(b, binary.LittleEndian, v)
	}
}

const (
	ggufU32, ggufI32, ggufF32, ggufBool, ggufString, ggufArray = uint32(4), uint32(5), uint32(6), uint32(7), uint32(8), uint32(9)
)

func (f *file) set(key string, kind uint32, values ...any) {
	f.metas++
	put(&f.meta, key, kind)
	put(&f.meta, values...)
}

func (f *file) array(key string, kind uint32, values []any) {
	f.set(key, ggufArray, append([]any{kind, uint64(len(values))}, values...)...)
}

func (f *file) tensor(name string, scale float64, dims ...uint64) []float32 {
	f.tensors++
	n := uint64(1)
	put(&f.table, name, uint32(len(dims)))
	for _, d := range dims {
		put(&f.table, d)
		n *= d
	}
	put(&f.table, uint32(0), uint64(f.data.Len()))
	values := make([]float32, n)
	for i := range values {
		values[i] = 1
		if scale > 0 {
			values[i] = float32(f.rnd.NormFloat64() * scale)
		}
	}
	put(&f.data, values)
	f.data.Write(make([]byte, (32-f.data.Len()%32)%32))
	return values
}

func (f *file) bytes() []byte {
	var b bytes.Buffer
	b.WriteString("GGUF")
	put(&b, uint32(3), f.tensors, f.metas)
	b.Write(f.meta.Bytes())
	b.Write(f.table.Bytes())
	b.Write(make([]byte, (32-b.Len()%32)%32))
	b.Write(f.data.Bytes())
	return b.Bytes()
}

// words is the vocabulary of the tiny model, a SentencePiece one with byte fallback.
func words() (texts []string, kinds []int32) {
	texts, kinds = []string{"<unk>", "<s>", "</s>"}, []int32{2, 3, 3}
	for i := range 256 {
		texts = append(texts, "<0x"+strconv.FormatUint(uint64(i)|256, 16)[1:]+">")
		texts[len(texts)-1] = "<0x" + string(bytes.ToUpper([]byte(texts[len(texts)-1][3:5]))) + ">"
		kinds = append(kinds, 6)
	}
	for _, w := range []string{"▁", "▁a", "b", "ab", "▁ab", "c", "{", "}", "\"", "<audio>"} {
		texts = append(texts, w)
		kinds = append(kinds, 1)
	}
	kinds[len(kinds)-1] = 3
	return texts, kinds
}

func tiny() *file {
	f := &file{rnd: rand.New(rand.NewPCG(1, 2))}
	f.set("general.architecture", ggufString, "llama")
	f.set("general.alignment", ggufU32, uint32(32))
	for key, v := range map[string]uint32{
		"context_length": trained, "embedding_length": width, "block_count": layers, "feed_forward_length": hidden,
		"attention.head_count": heads, "attention.head_count_kv": heads / 2, "rope.dimension_count": width / heads,
	} {
		f.set("llama."+key, ggufU32, v)
	}
	f.set("llama.attention.layer_norm_rms_epsilon", ggufF32, float32(1e-5))
	f.set("tokenizer.ggml.model", ggufString, "llama")
	texts, kinds := words()
	var tokens, scores, types []any
	for i, w := range texts {
		tokens, scores, types = append(tokens, w), append(scores, float32(-i)), append(types, kinds[i])
	}
	f.array("tokenizer.ggml.tokens", ggufString, tokens)
	f.array("tokenizer.ggml.scores", ggufF32, scores)
	f.array("tokenizer.ggml.token_type", ggufI32, types)
	f.set("tokenizer.ggml.bos_token_id", ggufU32, uint32(1))
	f.set("tokenizer.ggml.eos_token_id", ggufU32, uint32(2))

	scale := 1 / math.Sqrt(width)
	f.embedding = f.tensor("token_embd.weight", 1, width, uint64(len(texts)))
	f.tensor("output_norm.weight", 0, width)
	f.tensor("output.weight", scale, width, uint64(len(texts)))
	for i := range layers {
		p := "blk." + strconv.Itoa(i) + "."
		f.tensor(p+"attn_norm.weight", 0, width)
		f.tensor(p+"attn_q.weight", scale, width, width)
		f.tensor(p+"attn_k.weight", scale, width, width/2)
		f.tensor(p+"attn_v.weight", scale, width, width/2)
		f.tensor(p+"attn_output.weight", scale, width, width)
		f.tensor(p+"ffn_norm.weight", 0, width)
		f.tensor(p+"ffn_gate.weight", scale, width, hidden)
		f.tensor(p+"ffn_up.weight", scale, width, hidden)
		f.tensor(p+"ffn_down.weight", scale, hidden, width)
	}
	return f
}

func write(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tiny.gguf")
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return path
}

// model loads the tiny model and returns its embedding table.
func model(t *testing.T) (*llama.Model, []float32) {
	t.Helper()
	f := tiny()
	m, err := open(t).LoadModel(write(t, f.bytes()), llama.ModelOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m, f.embedding
}

func context(t *testing.T, m *llama.Model, o llama.ContextOptions) *llama.Context {
	t.Helper()
	o.Threads = 1 // more would spin waiting for one another, beside the other packages' tests
	x, err := m.NewContext(o)
	require.NoError(t, err)
	t.Cleanup(x.Close)
	return x
}
