package llamacpp

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/decoder/decodertest"
	"github.com/larkstream/larkstream/engine/decoder/reference"
	"github.com/larkstream/larkstream/engine/decoder/schedule"
	"github.com/larkstream/larkstream/engine/decoder/schedule/scheduletest"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/audiobundle"
)

// qwen is a random model of a family whose decoder is Qwen2's.
func qwen(t *testing.T, family string) *model.Bundle {
	t.Helper()
	out := filepath.Join(t.TempDir(), "qwen")
	_, err := audiobundle.Random(t.Context(), audiobundle.RandomConfig{Preset: "tiny", Family: family, Seed: 3, Quant: "f32", Out: out}, func(int64, int64) {})
	require.NoError(t, err)
	b, err := model.LoadComplete(out)
	require.NoError(t, err)
	b.Prompt.MaxTokens, b.LLM.Context = 24, 1024
	return b
}

// Batches, shared prefixes and mixed steps give Qwen2's scores as texts that run alone, and so does the forward pass in plain Go.
func TestQwenBackend(t *testing.T) {
	t.Parallel()
	b := qwen(t, "qwen2.5-omni")
	scheduletest.Run(t, 2e-5, func(t *testing.T) schedule.Backend {
		backend, err := OpenBackend(b, exact(t), deps())
		require.NoError(t, err)
		return backend
	})
	plain, err := reference.OpenBackend(b, 0)
	require.NoError(t, err)
	native, err := OpenBackend(b, exact(t), deps())
	require.NoError(t, err)
	defer func() { require.NoError(t, native.Close()) }()
	for frames := range 3 {
		text := scheduletest.Text{Prefix: []int{1, 3}, Soft: decodertest.Soft(frames, 1+60*frames, b.LLM.Hidden).Data, After: []int{4, 7}, Answer: []int{9, 300}}
		d := scheduletest.Difference(t, scheduletest.Scores(t, plain, text), scheduletest.Scores(t, native, text))
		require.Less(t, d, 2e-4)
	}
}

// Engines answer for each family's prompt: where the frames stand between special tokens, behind text, and alone.
func TestQwenBehaviour(t *testing.T) {
	t.Parallel()
	for _, family := range []string{"qwen2.5-omni", "qwen2-audio", "audio-flamingo-3"} {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			b := qwen(t, family)
			cfg := exact(t)
			decodertest.Run(t, b.LLM.Hidden, func(t *testing.T) contract.Engine { return start(t, b, cfg) })
		})
	}
}

// Text is composed (NFC) before it becomes tokens, as Qwen2's tokenizer does it; a user's text never becomes a special token.
func TestQwenText(t *testing.T) {
	t.Parallel()
	b := qwen(t, "qwen2.5-omni")
	v, release, err := OpenVocabulary(b.LLMPath(), exact(t).NativeDir, deps().Log)
	require.NoError(t, err)
	defer func() { require.NoError(t, release()) }()
	require.Equal(t, "caf\u00e9", v.Normalize("cafe\u0301"))
	ids, err := v.Plain("<|im_end|> <|AUDIO|>")
	require.NoError(t, err)
	end, size := v.SpecialAt("<|im_end|>")
	require.Positive(t, size)
	require.NotContains(t, ids, end)
	require.Contains(t, v.Stops(), end)
}
