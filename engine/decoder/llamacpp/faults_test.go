package llamacpp

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/decoder/decodertest"
	"github.com/larkstream/larkstream/engine/decoder/schedule"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/gguf"
	"github.com/larkstream/larkstream/engine/native"
	"github.com/larkstream/larkstream/engine/tags"
)

func TestLibrariesThatAreNotThere(t *testing.T) {
	t.Parallel()
	b := random(t)
	_, err := Open(b, Config{NativeDir: t.TempDir()}, deps())
	require.ErrorIs(t, err, native.ErrMissing)
	require.ErrorContains(t, err, "make native")
	_, err = Open(b, Config{}, Deps{})
	require.ErrorContains(t, err, "a log is needed")
}

func TestAFileThatTheManifestDoesNotDescribe(t *testing.T) {
	t.Parallel()
	b := random(t)
	for want, change := range map[string]func(*model.LLM){
		"llm.hidden is 36 in model.yaml, but the file has 32": func(l *model.LLM) { l.Hidden = 36 },
		"llm.vocab is 401":          func(l *model.LLM) { l.Vocab++ },
		"llm.layers is 3":           func(l *model.LLM) { l.Layers++ },
		"llm.heads is 2":            func(l *model.LLM) { l.Heads = 2 },
		"llm.kv_heads is 4":         func(l *model.LLM) { l.KVHeads = 4 },
		"trained for 512 positions": func(l *model.LLM) { l.Context = 1024 },
		"llm.ffn is 50":             func(l *model.LLM) { l.FFN = 50 },
		"llm.rope_base is 20000":    func(l *model.LLM) { l.RopeBase = 20000 },
		"llm.norm_eps is 0.001":     func(l *model.LLM) { l.NormEps = 1e-3 },
		"a budget of 511 positions": nil,
	} {
		broken, cfg := *b, exact(t)
		if change == nil {
			cfg.Positions = 511
		} else {
			change(&broken.LLM)
		}
		_, err := Open(&broken, cfg, deps())
		require.ErrorContains(t, err, want)
	}
}

func TestADamagedFile(t *testing.T) {
	t.Parallel()
	b := random(t)
	raw, err := os.ReadFile(b.LLMPath())
	require.NoError(t, err)
	cut := *b
	cut.Dir = t.TempDir()
	for _, size := range []int{0, 3, 100, 5000, len(raw) / 2, len(raw) - 1} {
		require.NoError(t, os.WriteFile(filepath.Join(cut.Dir, b.LLM.File), raw[:size], 0o600))
		_, err := Open(&cut, exact(t), deps())
		require.ErrorContains(t, err, "loading model", "%d bytes", size)
		require.ErrorContains(t, err, cut.Dir)
	}
	cut.LLM.File = "gone.gguf"
	_, err = Open(&cut, exact(t), deps())
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestATokenizerThatDoesNotMatch(t *testing.T) {
	t.Parallel()
	b := *random(t)
	b.Prompt.Prefix, b.Prompt.Suffix = "<s><music>", "</music>"
	_, err := Open(&b, exact(t), deps())
	require.ErrorContains(t, err, "<music> is not a token of the tokenizer")

	_, exported := pair(t, nil)
	other := *exported
	raw, err := os.ReadFile(other.TokenizerPath())
	require.NoError(t, err)
	other.Dir = t.TempDir()
	require.NoError(t, os.Link(exported.LLMPath(), other.LLMPath()))
	shorter := strings.Replace(string(raw), `,"é"]`, `]`, 1)
	require.Less(t, len(shorter), len(raw))
	require.NoError(t, os.WriteFile(other.TokenizerPath(), []byte(shorter), 0o600))
	_, err = Open(&other, exact(t), deps())
	require.ErrorContains(t, err, "do not belong together")
}

func TestBadRequests(t *testing.T) {
	t.Parallel()
	b := random(t)
	e := start(t, b, exact(t))
	results, err := e.Answer(t.Context(), contract.Request{Soft: decodertest.Soft(1, 20, 32), Questions: []contract.Question{
		{Text: strings.Repeat("word ", 5000)}, {Index: 1, Text: "Which key?"}, {Index: 2, Text: "a\xff\x00<s>"},
	}})
	require.NoError(t, err)
	require.ErrorIs(t, results[0].Err, contract.ErrPromptTooLong)
	require.NoError(t, results[1].Err)
	require.NoError(t, results[2].Err)
	results, err = e.Answer(t.Context(), contract.Request{Soft: decodertest.Soft(1, 512, 32), Questions: []contract.Question{{Text: "x"}}})
	require.NoError(t, err)
	require.ErrorIs(t, results[0].Err, contract.ErrPromptTooLong)
	_, err = e.Answer(t.Context(), contract.Request{Soft: decodertest.Soft(1, 5, 32), Questions: []contract.Question{{Text: "x"}}, Schema: "poem"})
	require.ErrorIs(t, err, contract.ErrSchema)
}

// TestScoresThatAreNoNumbers has a weight that is infinite: the questions fail, the engine goes on.
func TestScoresThatAreNoNumbers(t *testing.T) {
	t.Parallel()
	b := random(t)
	raw, err := os.ReadFile(b.LLMPath())
	require.NoError(t, err)
	f, err := gguf.Open(b.LLMPath())
	require.NoError(t, err)
	norm, err := f.F32(t.Context(), "output_norm.weight")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	good, err := gguf.Encode(nil, gguf.F32, norm)
	require.NoError(t, err)
	bad, err := gguf.Encode(nil, gguf.F32, append([]float32{float32(math.NaN())}, norm[1:]...))
	require.NoError(t, err)
	broken := *b
	broken.Dir = t.TempDir()
	text := strings.Replace(string(raw), string(good), string(bad), 1)
	require.NotEqual(t, string(raw), text)
	require.NoError(t, os.WriteFile(broken.LLMPath(), []byte(text), 0o600))
	e := start(t, &broken, exact(t))
	for range 2 {
		results, err := e.Answer(t.Context(), contract.Request{Soft: decodertest.Soft(1, 5, 32), Questions: []contract.Question{{Text: "x"}, {Index: 1, Text: "y"}}})
		require.NoError(t, err)
		require.ErrorContains(t, results[0].Err, "not finite")
		require.ErrorContains(t, results[1].Err, "not finite")
	}
}

// TestRowsBeyondTheRoom are a fault of the scheduler; they must not overrun the memory of others.
func TestRowsBeyondTheRoom(t *testing.T) {
	t.Parallel()
	backend, err := OpenBackend(random(t), exact(t), deps())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, backend.Close()) })
	require.NoError(t, backend.Open(0, schedule.None, 3))
	_, err = backend.Extend([]schedule.Rows{{Seq: 0, Tokens: []int{1, 2, 3, 4}}})
	require.ErrorContains(t, err, "with room up to 3")
	_, err = backend.Extend([]schedule.Rows{{Seq: 0, Tokens: []int{1 << 20}}})
	require.Error(t, err, "a token outside the vocabulary")
	require.NoError(t, backend.Close())
	require.NoError(t, backend.Close(), "closing twice is allowed")
}

// TestTagsAreHeldToTheirForm decodes random weights: only the grammar can make tags of them. Beside them run free answers,
// which it does not touch.
func TestTagsAreHeldToTheirForm(t *testing.T) {
	t.Parallel()
	b := random(t)
	b.Prompt.MaxTokens = 400
	b.LLM.Context = 512
	e := start(t, b, exact(t))
	require.True(t, e.Constrains(contract.SchemaTags))
	require.False(t, e.Constrains("poem"))
	free := contract.Request{Soft: decodertest.Soft(1, 10, 32), Questions: []contract.Question{{Text: "Which key?"}}, Decode: contract.Decode{MaxTokens: 20}}
	alone, err := e.Answer(t.Context(), free)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		beside, err := e.Answer(t.Context(), free)
		if err == nil && beside[0].Text != alone[0].Text {
			err = os.ErrInvalid
		}
		done <- err
	}()
	for _, d := range []contract.Decode{{}, {Temperature: 1, Seed: 7}, {Temperature: 3, TopP: 0.9, Seed: 8}, {Temperature: 0.7, TopK: 20, TopP: 0.8, RepetitionPenalty: 1.05, Seed: 9}} {
		results, err := e.Answer(t.Context(), contract.Request{
			Soft: decodertest.Soft(2, 10, 32), Questions: []contract.Question{{Text: "Tags."}}, Schema: contract.SchemaTags, Decode: d,
		})
		require.NoError(t, err)
		require.NoError(t, results[0].Err)
		if results[0].Finish == contract.FinishLength {
			require.True(t, strings.HasPrefix(results[0].Text, `{"tempo_bpm":`), results[0].Text)
			continue
		}
		_, err = tags.Parse([]byte(results[0].Text))
		require.NoError(t, err, results[0].Text)
		t.Logf("%d tokens: %s", results[0].OutputTokens, results[0].Text)
	}
	require.NoError(t, <-done)
}
