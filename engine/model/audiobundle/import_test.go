package audiobundle_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/audiobundle"
	"github.com/larkstream/larkstream/engine/model/audiobundle/audiotest"
	"github.com/larkstream/larkstream/engine/model/gguf"
)

func quiet(int64, int64) {}

func TestPairsAndFoldersBecomeBundles(t *testing.T) {
	t.Parallel()
	m := audiotest.Load(t)
	for _, family := range audiotest.Families {
		for _, form := range []string{"gguf", "hf"} {
			cfg := audiotest.Config(family, form)
			cfg.Out = filepath.Join(t.TempDir(), "out")
			made, err := audiobundle.Import(t.Context(), cfg, quiet)
			require.NoError(t, err, "%s %s", family, form)
			b, err := model.LoadComplete(cfg.Out)
			require.NoError(t, err)
			require.Equal(t, made, b.Manifest)
			c := m.Cases[family]["short"]
			require.Equal(t, c.Prefix, b.Prompt.Prefix)
			require.Equal(t, c.Suffix, b.Prompt.Suffix+m.Question+b.Prompt.Question[len(model.Question):])
			require.Equal(t, 16000, b.Encoder.Rate())
		}
	}
}

// A folder says how its makers decode; what it leaves out has the defaults of transformers. Without the file, the family's settings stand.
func TestFoldersSayHowAnswersAreSampled(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		file      string // "": none
		want      model.Sampling
		maxTokens int
	}{
		{"", model.Sampling{Temperature: 0.7, TopK: 20, TopP: 0.8, RepetitionPenalty: 1.05}, 1024},
		{`{"eos_token_id": 402}`, model.Sampling{}, 1024},
		{`{"do_sample": true, "max_new_tokens": 77}`, model.Sampling{Temperature: 1, TopK: 50, TopP: 1}, 77},
		{
			`{"do_sample": true, "temperature": 0.25, "top_k": 5, "top_p": 0.5, "repetition_penalty": 1.5, "max_new_tokens": 999999}`,
			model.Sampling{Temperature: 0.25, TopK: 5, TopP: 0.5, RepetitionPenalty: 1.5},
			4096,
		},
		{`{"do_sample": false, "temperature": 0.25, "repetition_penalty": 1.5}`, model.Sampling{RepetitionPenalty: 1.5}, 1024},
	} {
		dir, path := filepath.Join(t.TempDir(), "model"), "generation_config.json"
		require.NoError(t, os.CopyFS(dir, os.DirFS(audiotest.Path("audioflamingo3", "hf"))))
		require.NoError(t, os.Remove(filepath.Join(dir, path)))
		if c.file != "" {
			require.NoError(t, os.WriteFile(filepath.Join(dir, path), []byte(c.file), 0o600))
		}
		cfg := audiobundle.ImportConfig{Folder: dir, AcceptLicence: true, Out: filepath.Join(t.TempDir(), "out")}
		_, err := audiobundle.Import(t.Context(), cfg, quiet)
		require.NoError(t, err, c.file)
		b, err := model.Load(cfg.Out)
		require.NoError(t, err)
		require.Equal(t, c.want, b.LLM.Sampling, c.file)
		require.Equal(t, min(c.maxTokens, b.LLM.Context), b.Prompt.MaxTokens, c.file)
	}
}

// A GGUF file's settings win over the family's one by one, and are part of the bundle's digest.
func TestPairsSayHowAnswersAreSampled(t *testing.T) {
	t.Parallel()
	digests := map[string]bool{}
	for _, c := range []struct {
		set  []gguf.KV
		want model.Sampling
	}{
		{nil, model.Sampling{Temperature: 0.7, TopK: 20, TopP: 0.8, RepetitionPenalty: 1.05}},
		{
			[]gguf.KV{{Key: "general.sampling.temp", Value: float32(0.5)}, {Key: "general.sampling.top_k", Value: int32(-1)}},
			model.Sampling{Temperature: 0.5, TopP: 0.8, RepetitionPenalty: 1.05},
		},
		{
			[]gguf.KV{{Key: "general.sampling.temp", Value: float32(0)}, {Key: "general.sampling.top_p", Value: float32(1)}, {Key: "general.sampling.penalty_repeat", Value: float32(1)}},
			model.Sampling{TopK: 20, TopP: 1, RepetitionPenalty: 1},
		},
	} {
		cfg := audiotest.Config("audioflamingo3", "gguf")
		cfg.LLM, cfg.Out = extended(t, cfg.LLM, c.set), filepath.Join(t.TempDir(), "out")
		_, err := audiobundle.Import(t.Context(), cfg, quiet)
		require.NoError(t, err)
		b, err := model.Load(cfg.Out)
		require.NoError(t, err)
		require.Equal(t, c.want, b.LLM.Sampling)
		digests[b.Digest] = true
	}
	require.Len(t, digests, 3)
}
