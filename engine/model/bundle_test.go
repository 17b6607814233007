package model_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/internal/alloctest"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/modeltest"
)

func TestBundleLoads(t *testing.T) {
	t.Parallel()
	b := modeltest.Bundle(t)
	require.Equal(t, "tiny 0 (random weights)", b.DisplayName())
	require.Len(t, b.Digest, 64)
	require.Equal(t, "tiny-encoder", b.EncoderID)
	require.Equal(t, "emb/v1/tiny-encoder@"+b.Encoder.SHA256[:16]+"/f32/w1", b.EmbeddingKey("w1"))
	require.Equal(t, "prompt/v1/tiny-encoder@"+b.Encoder.SHA256[:16]+"/f32/"+b.Projector.SHA256[:16]+"/w1", b.PromptKey("w1"))
	for _, path := range []string{b.EncoderPath(), b.ProjectorPath(), b.LLMPath(), b.TokenizerPath()} {
		require.FileExists(t, path)
	}
}

func TestDigestFollowsTheParts(t *testing.T) {
	t.Parallel()
	first := modeltest.Bundle(t)
	require.Equal(t, first.Digest, modeltest.Bundle(t).Digest)
	for name, change := range map[string]func(*model.Manifest){
		"prompt":    func(m *model.Manifest) { m.Prompt.Question = "<q>{question} <a>" },
		"precision": func(m *model.Manifest) { m.Encoder.Precision = "bf16" },
		"weights":   func(m *model.Manifest) { m.LLM.FFN = 52 },
		"spaces":    func(m *model.Manifest) { m.Prompt.Whitespace = model.Trained },
		"no tokenizer file": func(m *model.Manifest) {
			m.LLM.Engine, m.LLM.Tokenizer = model.LlamaCPP, "" // the GGUF's own tokenizer
		},
	} {
		m := modeltest.Manifest()
		change(&m)
		b, err := model.Load(modeltest.Write(t, m))
		require.NoError(t, err)
		require.NotEqual(t, first.Digest, b.Digest, name)
	}
	m := modeltest.Manifest()
	m.Name, m.Quality = "renamed", map[string]any{"key": 0.5}
	m.Prompt.Whitespace = model.Verbatim
	b, err := model.Load(modeltest.Write(t, m))
	require.NoError(t, err)
	require.Equal(t, first.Digest, b.Digest, "a name changes no answer")
}

func TestDigestAndKeysFollowThePrecision(t *testing.T) {
	t.Parallel()
	m := modeltest.Manifest()
	m.Encoder.Engine = model.Jukebox
	b, err := model.Load(modeltest.Write(t, m))
	require.NoError(t, err)
	digest, key, prompt := b.Digest, b.EmbeddingKey("w"), b.PromptKey("w")
	for _, same := range []string{"", "f32"} {
		require.NoError(t, b.SetPrecision(same))
		require.Equal(t, []string{digest, key, prompt}, []string{b.Digest, b.EmbeddingKey("w"), b.PromptKey("w")})
	}
	require.NoError(t, b.SetPrecision("bf16"))
	require.NotEqual(t, digest, b.Digest)
	require.Equal(t, strings.Replace(key, "/f32/", "/bf16/", 1), b.EmbeddingKey("w"))
	require.NotEqual(t, prompt, b.PromptKey("w"))

	m.Encoder.Precision = "bf16" // a bundle that says so itself is the same
	said, err := model.Load(modeltest.Write(t, m))
	require.NoError(t, err)
	require.Equal(t, said.Digest, b.Digest)
	require.Equal(t, said.EmbeddingKey("w"), b.EmbeddingKey("w"))

	nano, err := model.Load(modeltest.Write(t, modeltest.Manifest()))
	require.NoError(t, err)
	require.ErrorContains(t, nano.SetPrecision("bf16"), `engine "nano" has f32 only`)
}

func TestDamagedBundlesNameTheFileAndTheRemedy(t *testing.T) {
	t.Parallel()
	_, err := model.Load(t.TempDir())
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "LARK_MODEL_DIR")

	dir := modeltest.Write(t, modeltest.Manifest())
	path := filepath.Join(dir, "llm.safetensors")
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString("x")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	_, err = model.Load(dir)
	require.ErrorContains(t, err, "llm.safetensors: its sha256 is")
	require.ErrorContains(t, err, "fetch the bundle again")

	require.NoError(t, os.Remove(path))
	_, err = model.Load(dir)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "incomplete")
}

// TestAServiceVerifiesWhatItUses: damage in a file is found by those who use it, and is no matter to the others.
func TestAServiceVerifiesWhatItUses(t *testing.T) {
	t.Parallel()
	dir := modeltest.Write(t, modeltest.Manifest())
	b, err := model.Read(dir)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(b.ProjectorPath(), []byte("not the projector"), 0o600))
	sizes := map[model.Part]int64{}
	for part, path := range map[model.Part]string{
		model.PartEncoder: b.EncoderPath(), model.PartLLM: b.LLMPath(), model.PartTokenizer: b.TokenizerPath(),
	} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		sizes[part] = info.Size()
		var last, all int64
		require.NoError(t, b.Verify(t.Context(), func(done, total int64) { last, all = done, total }, part))
		require.Equal(t, []int64{info.Size(), info.Size()}, []int64{last, all}, part)
	}
	var total int64
	require.NoError(t, b.Verify(t.Context(), func(_, n int64) { total = n }, model.PartLLM, model.PartTokenizer))
	require.Equal(t, sizes[model.PartLLM]+sizes[model.PartTokenizer], total)
	require.ErrorContains(t, b.Verify(t.Context(), func(int64, int64) {}, model.PartProjector), "projector.safetensors: its sha256 is")
	require.ErrorContains(t, b.Verify(t.Context(), func(int64, int64) {}), "projector.safetensors: its sha256 is", "no parts: all of them")

	ctx, cancel := context.WithCancel(t.Context())
	require.ErrorIs(t, b.Verify(ctx, func(int64, int64) { cancel() }, model.PartEncoder), context.Canceled)
}

func TestLoadingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := model.LoadCompleteContext(ctx, modeltest.Write(t, modeltest.Manifest()))
	require.ErrorIs(t, err, context.Canceled)
}

// TestFilesOfABundleAreRegular: a folder here; pipes and devices, which would block or never end, are refused by the same look.
func TestFilesOfABundleAreRegular(t *testing.T) {
	t.Parallel()
	b := modeltest.Bundle(t)
	require.NoError(t, os.Remove(b.LLMPath()))
	require.NoError(t, os.Symlink(os.DevNull, b.LLMPath()))
	_, err := model.Load(b.Dir)
	require.ErrorContains(t, err, "llm.safetensors is not a regular file")
	require.NoError(t, os.Remove(b.LLMPath()))
	require.NoError(t, os.Mkdir(b.LLMPath(), 0o700))
	_, err = model.Load(b.Dir)
	require.ErrorContains(t, err, "is not a regular file")
	_, err = model.OpenSafetensors(b.LLMPath())
	require.ErrorContains(t, err, "is not a regular file")

	manifest := filepath.Join(b.Dir, model.ManifestFile)
	require.NoError(t, os.Remove(manifest))
	require.NoError(t, os.Symlink("/dev/zero", manifest))
	_, err = model.Read(b.Dir)
	require.ErrorContains(t, err, "is not a regular file")
}

func TestManifestFaultsAreReportedTogether(t *testing.T) {
	t.Parallel()
	dir := modeltest.Write(t, modeltest.Manifest())
	path := filepath.Join(dir, model.ManifestFile)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	broken := strings.NewReplacer("file: llm.safetensors", "file: ../llm.safetensors", "kv_heads: 2", "kv_heads: 3", "{question}", "question", "width: 12", "width: -1", "max_tokens: 24", "max_tokens: 24\n    whitespace: some").Replace(string(text))
	require.NoError(t, os.WriteFile(path, []byte(broken), 0o600))
	_, err = model.Load(dir)
	for _, want := range []string{"inside the bundle", "3 kv_heads", "{question}", "encoder.width -1", "projector.in 12", "prompt.whitespace"} {
		require.ErrorContains(t, err, want)
	}

	require.NoError(t, os.WriteFile(path, append(text, "surprise: 1\n"...), 0o600))
	_, err = model.Load(dir)
	require.ErrorContains(t, err, "surprise")

	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("#", 2<<20)), 0o600))
	_, err = model.Load(dir)
	require.ErrorContains(t, err, "larger than")
}

// TestDigestsAreMadeTheSameWayForEver: stored embeddings and answers carry them.
func TestDigestsAreMadeTheSameWayForEver(t *testing.T) {
	t.Parallel()
	require.Equal(t, "081219793d86bf6e7a6ff59ae576dc939c9bb45ea77a1662f0161d6c4bfa3776", modeltest.Bundle(t).Digest)
	nano, err := model.Load(filepath.Join("..", "..", "models", "lark-nano"))
	require.NoError(t, err)
	require.Equal(t, "ba44fce8f7dab686f8c8270ccac3b03cbda4917e1952019092353cc83e28cf8e", nano.Digest)
}

func TestABundleMayHaveTheEncoderOnly(t *testing.T) {
	t.Parallel()
	m := modeltest.Manifest()
	m.Projector, m.LLM, m.Prompt = model.Projector{}, model.LLM{}, model.Prompt{}
	dir := modeltest.Write(t, modeltest.Manifest())
	require.NoError(t, m.Seal(dir))
	b, err := model.Load(dir)
	require.NoError(t, err)
	require.True(t, b.EncoderOnly())
	require.Len(t, b.Digest, 64)
	require.NotEqual(t, modeltest.Bundle(t).Digest, b.Digest)
	text, err := os.ReadFile(filepath.Join(dir, model.ManifestFile))
	require.NoError(t, err)
	for _, absent := range []string{"projector", "llm", "prompt"} {
		require.NotContains(t, string(text), absent)
	}
	_, err = model.LoadComplete(dir)
	require.ErrorContains(t, err, "has an encoder only")
	require.NoError(t, b.Require(model.PartEncoder))
	require.ErrorContains(t, b.Require(model.PartTokenizer), "has an encoder only")

	m.Projector = modeltest.Manifest().Projector
	require.ErrorContains(t, m.Seal(dir), "llm", "a part is not enough")
	m = modeltest.Manifest()
	m.Prompt = model.Prompt{}
	require.ErrorContains(t, m.Seal(dir), "prompt.revision")
}

func FuzzManifest(f *testing.F) {
	f.Add("format: larkstream.bundle/v1\nname: x\n")
	f.Add("encoder: {width: 3, config: {a: [1, 2]}}\nprompt: {stop: [a]}\n")
	f.Fuzz(func(t *testing.T, text string) {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, model.ManifestFile), []byte(text), 0o600))
		alloctest.Bound(t, len(text), 256<<10, 1000, func() {
			_, err := model.Load(dir) // no files there: it must fail, and must not crash
			require.Error(t, err)
		})
	})
}
