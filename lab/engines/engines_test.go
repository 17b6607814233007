package engines

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/engine/audio/cut"
	"github.com/larkstream/larkstream/engine/audio/plan"
	"github.com/larkstream/larkstream/engine/decoder"
	"github.com/larkstream/larkstream/engine/model/llamabundle"
	"github.com/larkstream/larkstream/engine/native/nativetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var models = filepath.Join("..", "..", "models")

// TestAnExportedDecoderAnswersTheSame hears the demo track with lark-nano, its decoder once in plain Go and once exported to
// GGUF on llama.cpp.
func TestAnExportedDecoderAnswersTheSame(t *testing.T) {
	t.Setenv("LARK_NATIVE_DIR", nativetest.Dir(t))
	nano, out := filepath.Join(models, "lark-nano"), filepath.Join(t.TempDir(), "gguf")
	_, err := llamabundle.Export(t.Context(), llamabundle.ExportConfig{Model: nano, Quant: "f32", Out: out}, func(int64, int64) {})
	require.NoError(t, err)
	plain, err := Open(t.Context(), nano)
	require.NoError(t, err)
	defer func() { require.NoError(t, plain.Close()) }()
	native, err := Open(t.Context(), out)
	require.NoError(t, err)
	defer func() { require.NoError(t, native.Close()) }()

	questions := []string{
		"What is the tempo?", "Which key is this in?", "Which instruments do you hear?", "Describe the music, please!", "Who wrote this song?",
	}
	windows := 0
	_, err = plain.Cut(t.Context(), filepath.Join(models, "demo", "larksong.mp3"), plan.All, func(w cut.FileWindow) error {
		windows++
		prompt, err := plain.Prompt(t.Context(), w.PCM)
		require.NoError(t, err)
		want, err := plain.Answer(t.Context(), prompt, questions)
		require.NoError(t, err)
		got, err := native.Answer(t.Context(), prompt, questions)
		require.NoError(t, err)
		for i, q := range questions {
			require.NotEmpty(t, want[i].Text)
			require.Equal(t, want[i].Text, got[i].Text, q)
			require.Equal(t, want[i].OutputTokens, got[i].OutputTokens)
			t.Logf("%s %s", q, got[i].Text)
		}
		given := []decoder.Given{{Question: questions[0], Answers: []string{want[0].Text, want[1].Text, "The tempo is about 61 BPM."}}, {Question: questions[1], Answers: []string{want[1].Text}}}
		exact, err := plain.Likelihoods(t.Context(), prompt, given)
		require.NoError(t, err)
		told, err := native.Likelihoods(t.Context(), prompt, given)
		require.NoError(t, err)
		for i := range exact {
			for k := range exact[i] {
				require.Equal(t, exact[i][k].Tokens, told[i][k].Tokens)
				require.InDelta(t, exact[i][k].PerToken(), told[i][k].PerToken(), 0.05, "%s (llama.cpp keeps keys and values in half precision)", given[i].Answers[k])
			}
		}
		for k, other := range exact[0][1:] {
			require.Greater(t, exact[0][0].LogProb, other.LogProb, given[0].Answers[k+1])
		}
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, windows, 1)
}
