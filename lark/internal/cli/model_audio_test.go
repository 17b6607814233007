package cli

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/model/audiobundle/audiotest"
	"github.com/larkstream/larkstream/engine/native/nativetest"
)

// The arrays that the command writes are the reference's, byte by byte where they hold ids.
func TestModelTraceWritesTheReferencesSteps(t *testing.T) {
	native := nativetest.Dir(t)
	t.Setenv("LARK_NATIVE_DIR", native)
	const family = "musicflamingo"
	dir := t.TempDir()
	bundle, out := filepath.Join(dir, "bundle"), filepath.Join(dir, "trace")
	args := []string{
		"model", "import", "audio-llm", "--llm", audiotest.Path(family, "gguf", "llm-f16.gguf"), "--mmproj", audiotest.Path(family, "gguf", "mmproj-f16.gguf"), "--out", bundle,
	}
	code, _, errs := run(t, args...)
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "--accept-licence")
	code, said, errs := run(t, append(args, "--accept-licence")...)
	require.Equal(t, exitOK, code, errs)
	require.Contains(t, said, "family: music-flamingo; licence: NVIDIA")

	m := audiotest.Load(t)
	code, said, errs = run(t, "model", "trace", "--model", bundle, "--precision", "f32", "--question", m.Question, "--out", out, audiotest.Path("clips", "short_44k.wav"))
	require.Equal(t, exitOK, code, errs)
	require.Contains(t, said, "1.80 s heard, 45 rows")
	for _, name := range []string{"prompt_ids.npy", "greedy.npy"} {
		want, err := os.ReadFile(audiotest.Path(family, "src44k", name))
		require.NoError(t, err)
		got, err := os.ReadFile(filepath.Join(out, name))
		require.NoError(t, err)
		require.Equal(t, want, got, name)
	}
	for _, name := range []string{"mel", "enc_pooled", "projected", "logits"} {
		require.FileExists(t, filepath.Join(out, name+".npy"))
	}
}

func TestModelAudioSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"import", "audio-llm"},
		{"import", "audio-llm", "--llm", "a", "--out", "b"},
		{"import", "audio-llm", "--llm", "a", "--mmproj", "b", "--hf", "c", "--out", "d"},
		{"import", "audio-llm", "--llm", "a", "--mmproj", "b", "--out", "d", "--quant", "f32"},
		{"random", "audio-llm"},
		{"trace", "x.wav"},
		{"trace", "--model", "m", "--question", "q", "--out", "o", "--tokens", "0", "x.wav"},
		{"trace", "--model", "m", "--question", "q", "--out", "o", "--precision", "f8", "x.wav"},
	} {
		code, _, errs := run(t, append([]string{"model"}, args...)...)
		require.Equal(t, exitUsage, code, errs)
	}
	out := filepath.Join(t.TempDir(), "tiny")
	code, said, errs := run(t, "model", "random", "audio-llm", "--family", "audio-flamingo-3", "--out", out)
	require.Equal(t, exitOK, code, errs)
	require.Contains(t, said, "audio-flamingo-3-tiny-random")
}
