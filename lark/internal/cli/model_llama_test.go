package cli

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/llamabundle"
)

func TestModelImportLlamaMakesABundle(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	from, random, to := filepath.Join(dir, "hf"), filepath.Join(dir, "random"), filepath.Join(dir, "to")
	shape, err := llamabundle.Preset("tiny")
	require.NoError(t, err)
	require.NoError(t, llamabundle.RandomFolder(t.Context(), llamabundle.FolderConfig{Shape: shape, Seed: 3, DType: "BF16", Width: 64, Shards: 2}, from))
	code, out, errs := run(t, "model", "random", "llama", "--preset", "tiny", "--seed", "3", "--out", random)
	require.Equal(t, exitOK, code, errs)
	require.Contains(t, out, "llama-2x64-random, sha256 ")
	code, out, errs = run(t, "model", "import", "llama", "--hf", from, "--encoder", random, "--name", "mine", "--out", to)
	require.Equal(t, exitOK, code, errs)
	require.Contains(t, out, "mine, sha256 ")
	require.Empty(t, errs, "no progress bar without a terminal")
	b, err := model.LoadComplete(to)
	require.NoError(t, err)
	require.True(t, b.Random, "its encoder is")
	require.Equal(t, "llamacpp", b.LLM.Engine)

	again := filepath.Join(dir, "again")
	code, _, errs = run(t, "model", "import", "llama", "--gguf", b.LLMPath(), "--projector", b.ProjectorPath(), "--encoder", to, "--out", again)
	require.Equal(t, exitOK, code, errs)
	c, err := model.LoadComplete(again)
	require.NoError(t, err)
	require.Equal(t, b.LLM, c.LLM)
}

func TestModelImportLlamaSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{}, {"--hf", "x"}, {"--hf", "x", "--gguf", "y", "--out", "z"}, {"--gguf", "y", "--out", "z", "--quant", "q8_0"},
	} {
		code, _, errs := run(t, append([]string{"model", "import", "llama"}, args...)...)
		require.Equal(t, exitUsage, code, errs)
	}
	code, _, errs := run(t, "model", "import", "llama", "--hf", t.TempDir(), "--out", t.TempDir())
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "has no config.json")
	code, _, errs = run(t, "model", "random", "llama", "--quant", "q5", "--out", t.TempDir())
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, `quantisation "q5" is unknown`)
	code, _, _ = run(t, "model", "random", "llama")
	require.Equal(t, exitUsage, code)
	code, _, _ = run(t, "model", "export", "gguf")
	require.Equal(t, exitUsage, code)
}

// Without llama.cpp's libraries q4_k_m is refused before anything is written.
func TestQuantisingNeedsTheLibraries(t *testing.T) {
	t.Setenv("LARK_NATIVE_DIR", t.TempDir())
	dir := filepath.Join(t.TempDir(), "out")
	code, _, errs := run(t, "model", "random", "llama", "--quant", "q4_k_m", "--out", dir)
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "preparing q4_k_m")
	require.Contains(t, errs, "make native")
	require.NoDirExists(t, dir)
}

func TestModelExportKeepsLarkNano(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "nano")
	code, out, errs := run(t, "model", "export", "gguf", "--model", "../../../models/lark-nano", "--out", dir)
	require.Equal(t, exitOK, code, errs)
	require.Contains(t, out, "lark-nano-gguf")
	b, err := model.LoadComplete(dir)
	require.NoError(t, err)
	nano, err := model.LoadComplete("../../../models/lark-nano")
	require.NoError(t, err)
	require.Equal(t, nano.Prompt, b.Prompt)
	require.Equal(t, nano.PromptKey("w"), b.PromptKey("w"))
	require.Equal(t, "tokenizer.json", b.LLM.Tokenizer)
}
