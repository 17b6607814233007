package llamacpp

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/decoder/prompt"
	"github.com/larkstream/larkstream/engine/decoder/tokenizer"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/native/llama"
	"github.com/larkstream/larkstream/engine/native/nativetest"
)

// llark is Llama-2's vocabulary with LLark's tokens.
func llark(t *testing.T) *vocabulary {
	t.Helper()
	packed, err := os.Open(filepath.Join("testdata", "vocab.gguf.gz"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, packed.Close()) })
	z, err := gzip.NewReader(packed)
	require.NoError(t, err)
	raw, err := io.ReadAll(z)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "vocab.gguf")
	require.NoError(t, os.WriteFile(path, raw, 0o600))
	return load(t, path)
}

// load reads the vocabulary of a GGUF.
func load(t *testing.T, path string) *vocabulary {
	t.Helper()
	lib, err := llama.Open(nativetest.Dir(t), deps().Log)
	require.NoError(t, err)
	m, err := lib.LoadModel(path, llama.ModelOptions{VocabOnly: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	v, err := newVocabulary(m)
	require.NoError(t, err)
	return v
}

// golden is what the reference tokenizers give; testdata/README.md says which.
type golden struct {
	Frames int `json:"frames"`
	Plain  []struct {
		Text    string `json:"text"`
		IDs     []int  `json:"ids"`
		Decoded string `json:"decoded"`
	} `json:"plain"`
	Prompts []struct {
		Question string `json:"question"`
		Trained  []int  `json:"trained"`
		Verbatim []int  `json:"verbatim"`
	} `json:"prompts"`
}

func readGolden(t *testing.T) golden {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "tokens.json"))
	require.NoError(t, err)
	var g golden
	require.NoError(t, json.Unmarshal(raw, &g))
	require.Greater(t, len(g.Plain), 70)
	require.Greater(t, len(g.Prompts), 10)
	return g
}

// TestTokensEqualTheReference compares with SentencePiece on Llama-2's vocabulary, there and back.
func TestTokensEqualTheReference(t *testing.T) {
	t.Parallel()
	v := llark(t)
	for _, c := range readGolden(t).Plain {
		ids, err := v.Plain(c.Text)
		require.NoError(t, err)
		require.Equal(t, c.IDs, ids, "%q", c.Text)
		text, stream := "", tokenizer.NewStream(v)
		for _, id := range c.IDs {
			part, err := stream.Push(id)
			require.NoError(t, err)
			text += part //nolint:perfsprint // few and short
		}
		require.Equal(t, c.Decoded, text+stream.Flush(), "%q", c.Text)
	}
}

// TestPromptsEqualTheReference compares LLark's whole prompt with Hugging Face's tokenizers: the slow one, with which LLark
// was trained, and the fast one, which leaves white space where it is.
func TestPromptsEqualTheReference(t *testing.T) {
	t.Parallel()
	v, g := llark(t), readGolden(t)
	m := model.Prompt{
		Prefix: "<s>A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, " +
			"detailed, and polite answers to the human's questions.\n\n### Human: <audio_start>",
		Suffix: "<audio_end>", Question: "\n{question}\n### Assistant:", Stop: []string{"###"}, MaxTokens: 8,
	}
	for _, c := range g.Prompts {
		for whitespace, want := range map[string][]int{model.Trained: c.Trained, model.Verbatim: c.Verbatim} {
			m.Whitespace = whitespace
			p, err := prompt.New(m, v)
			require.NoError(t, err)
			before, after := p.Prefix(), p.Before(g.Frames)
			require.Equal(t, want[:len(before)], before, "%s %q", whitespace, c.Question)
			ids, err := p.After(c.Question)
			require.NoError(t, err)
			require.Equal(t, want[after:], ids, "%s %q", whitespace, c.Question)
		}
	}
}

func TestSpecialTokensOfAFile(t *testing.T) {
	t.Parallel()
	v := llark(t)
	for name, want := range map[string]int{"<s>": 1, "</s>": 2, "<unk>": 0, "[PAD]": 32000, "<audio_start>": 32002, "<audio_end>": 32003} {
		id, size := v.SpecialAt(name + "x")
		require.Equal(t, []int{want, len(name)}, []int{id, size}, name)
		ids, err := v.Plain("a" + name + " b" + name)
		require.NoError(t, err)
		require.NotContains(t, ids, want, "the user's text is no special token")
		piece, err := v.Piece(want)
		require.NoError(t, err)
		require.Empty(t, piece)
	}
	require.Equal(t, []int{2, 32000}, v.Stops(), "the end, and padding")
	_, err := v.Piece(v.Size())
	require.Error(t, err)
	_, err = v.Piece(-1)
	require.Error(t, err)
	ids, err := v.Plain("a\xffb")
	require.NoError(t, err)
	want, err := v.Plain("a\uFFFDb")
	require.NoError(t, err)
	require.Equal(t, want, ids, "broken text does not reach the library")
}

// TestConstraint follows the grammar of tags by pieces of the vocabulary.
func TestConstraint(t *testing.T) {
	t.Parallel()
	v := llark(t)
	_, err := v.Constrain("poem")
	require.ErrorIs(t, err, contract.ErrSchema)
	c, err := v.Constrain(contract.SchemaTags)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	const answer = `{"tempo_bpm":120,"key":"G","mode":"minor","metre":"4/4","instruments":["piano"],"genre":null,"mood":null,"description":"Fast."}`
	scores := make([]float32, v.Size())
	require.NoError(t, c.Mask(scores))
	allowed := 0
	for id, s := range scores {
		if s == 0 {
			require.True(t, c.Allows(id))
			allowed++
		}
	}
	require.Less(t, allowed, 20)
	require.Positive(t, allowed)
	require.False(t, c.Allows(2), "it cannot end before it has begun")
	for rest := answer; rest != ""; {
		clear(scores)
		require.NoError(t, c.Mask(scores))
		best, longest := -1, ""
		for id, s := range scores {
			if s != 0 {
				continue
			}
			piece, err := v.Piece(id)
			require.NoError(t, err)
			if len(piece) > len(longest) && strings.HasPrefix(rest, string(piece)) {
				best, longest = id, string(piece)
			}
		}
		require.Positive(t, best, "after which %q comes", rest)
		require.NoError(t, c.Accept(best))
		rest = rest[len(longest):]
		require.Equal(t, rest == "", c.Allows(2), "the form is complete at its end only: %q", rest)
	}
	require.Error(t, c.Accept(100))
}
