package llamabundle

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/model/gguf"
)

// ggufFile writes a GGUF file with a table of embeddings [4, 8] and the given changes of its metadata; nil takes an entry away.
func ggufFile(t *testing.T, arch string, changes map[string]any) string {
	t.Helper()
	meta := map[string]any{
		"general.architecture": arch, arch + ".block_count": uint32(2), arch + ".embedding_length": uint32(8), arch + ".attention.head_count": uint32(2),
		arch + ".feed_forward_length": uint32(16), arch + ".context_length": uint32(64), arch + ".attention.layer_norm_rms_epsilon": float32(1e-6),
		"tokenizer.ggml.tokens": []string{"<unk>", "<s>", "", AudioStart}, "tokenizer.ggml.token_type": []int32{2, 3, 1, 3},
		"tokenizer.ggml.bos_token_id": uint32(1),
	}
	for key, v := range changes {
		meta[key] = v
	}
	var list []gguf.KV
	for key, v := range meta {
		if v != nil {
			list = append(list, gguf.KV{Key: key, Value: v})
		}
	}
	path := filepath.Join(t.TempDir(), "a.gguf")
	f, err := os.Create(path)
	require.NoError(t, err)
	tensors := []gguf.Tensor{{Name: "token_embd.weight", Type: gguf.F32, Shape: []int{4, 8}}}
	require.NoError(t, gguf.Stream(f, list, tensors, func(t gguf.Tensor, w io.Writer) error {
		_, err := w.Write(make([]byte, t.Bytes()))
		return err
	}))
	require.NoError(t, f.Close())
	return path
}

func look(t *testing.T, path string) (*vocab, error) {
	t.Helper()
	f, err := gguf.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	llm, err := Describe(f)
	if err != nil {
		return nil, err
	}
	require.Equal(t, 4, llm.Vocab)
	require.Equal(t, 2, llm.KVHeads, "as many as heads where the file says nothing")
	require.InDelta(t, 10000, llm.RopeBase, 0)
	require.InDelta(t, 1e-6, llm.NormEps, 0, "as it was written, not as float32")
	return vocabOf(f, llm.Vocab)
}

func TestAnyArchitectureIsTaken(t *testing.T) {
	t.Parallel()
	v, err := look(t, ggufFile(t, "mistral3", nil))
	require.NoError(t, err)
	require.Equal(t, "<s>", v.begin())
	require.False(t, v.audio())
	require.Equal(t, "[EMPTY_2]", v.tokens[2], "as llama.cpp calls it")
	v, err = look(t, ggufFile(t, "qwen2", map[string]any{"tokenizer.ggml.bos_token_id": nil}))
	require.NoError(t, err)
	require.Empty(t, v.begin())
	p := llark("", false, 100)
	require.NotContains(t, p.Prefix+p.Suffix, "audio_")
	require.Equal(t, 100, p.MaxTokens)
}

func TestAReadyFileNamesItsFaults(t *testing.T) {
	t.Parallel()
	for want, changes := range map[string]map[string]any{
		"have no llama.block_count":         {"llama.block_count": nil},
		"llama.context_length is no int":    {"llama.context_length": "many"},
		"is one of several parts":           {"split.count": uint32(3)},
		"[4 8], where [vocabulary, 9]":      {"llama.embedding_length": uint32(9)},
		"it has no tokenizer":               {"tokenizer.ggml.tokens": nil},
		"has 3 tokens, but its table of em": {"tokenizer.ggml.tokens": []string{"a", "b", "c"}},
		"tokens 0 and 2 are both \"a\"":     {"tokenizer.ggml.tokens": []string{"a", "b", "a", "c"}},
		"<audio_start> is of type 1":        {"tokenizer.ggml.token_type": []int32{2, 3, 1, 1}},
		"its first token is 4":              {"tokenizer.ggml.bos_token_id": uint32(4)},
	} {
		_, err := look(t, ggufFile(t, "llama", changes))
		require.ErrorContains(t, err, want)
	}
	path := ggufFile(t, "llama", nil)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(path, info.Size()-1))
	_, err = Import(t.Context(), ImportConfig{GGUF: path, Out: t.TempDir()}, func(int64, int64) {})
	require.ErrorContains(t, err, "it is cut short, fetch it again")
}
