package llamacpp

import (
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/decoder/decodertest"
	"github.com/larkstream/larkstream/engine/decoder/reference"
	"github.com/larkstream/larkstream/engine/decoder/schedule"
	"github.com/larkstream/larkstream/engine/decoder/schedule/scheduletest"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/llamabundle"
	"github.com/larkstream/larkstream/engine/model/modeltest"
	"github.com/larkstream/larkstream/engine/native/nativetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func deps() Deps { return Deps{Log: slog.New(slog.DiscardHandler)} }

// exact is a configuration for comparisons.
func exact(t *testing.T) Config {
	t.Helper()
	return Config{NativeDir: nativetest.Dir(t), Threads: 1, ExactKV: true}
}

// pair is a bundle of plain Go's with random weights in float32, and the same exported to GGUF.
func pair(t *testing.T, change func(*model.Manifest)) (plain, exported *model.Bundle) {
	t.Helper()
	m := modeltest.Manifest()
	if change != nil {
		change(&m)
	}
	dir := modeltest.Write(t, m)
	plain, err := model.Load(dir)
	require.NoError(t, err)
	return plain, export(t, dir)
}

func export(t *testing.T, dir string) *model.Bundle {
	t.Helper()
	out := filepath.Join(t.TempDir(), "gguf")
	_, err := llamabundle.Export(t.Context(), llamabundle.ExportConfig{Model: dir, Quant: "f32", Out: out}, func(int64, int64) {})
	require.NoError(t, err)
	b, err := model.LoadComplete(out)
	require.NoError(t, err)
	return b
}

// random is a bundle with a tokenizer in the GGUF and LLark's prompt.
func random(t *testing.T) *model.Bundle {
	t.Helper()
	out := filepath.Join(t.TempDir(), "random")
	shape := llamabundle.Shape{Layers: 2, Hidden: 32, Heads: 4, KVHeads: 2, FFN: 48, Vocab: 400, Context: 512, RopeBase: 10000, NormEps: 1e-5}
	_, err := llamabundle.RandomOf(t.Context(), shape, llamabundle.RandomConfig{Seed: 3, Quant: "f32", Out: out}, func(int64, int64) {})
	require.NoError(t, err)
	b, err := model.LoadComplete(out)
	require.NoError(t, err)
	b.Prompt.MaxTokens = 24
	return b
}

func start(t *testing.T, b *model.Bundle, cfg Config) *schedule.Engine {
	t.Helper()
	e, err := Open(b, cfg, deps())
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, e.Close())
		s := e.Stats()
		require.Zero(t, s.Used+s.Sequences+s.Promised, "%+v", s)
	})
	return e
}

func TestBehaviour(t *testing.T) {
	t.Parallel()
	_, exported := pair(t, nil)
	for name, b := range map[string]*model.Bundle{"its own tokenizer": random(t), "ours": exported} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := exact(t)
			decodertest.Run(t, b.LLM.Hidden, func(t *testing.T) contract.Engine { return start(t, b, cfg) })
		})
	}
}

// TestBatchesOfEverySize answers with the smallest and the largest ones, in equal words.
func TestBatchesOfEverySize(t *testing.T) {
	t.Parallel()
	b := random(t)
	req := contract.Request{Soft: decodertest.Soft(4, 30, b.LLM.Hidden), Decode: contract.Decode{MaxTokens: 6}}
	for i := range 5 {
		req.Questions = append(req.Questions, contract.Question{Index: i, Text: "Which key?"[i:]})
	}
	var want []contract.Result
	for _, cfg := range []Config{{}, {MaxBatch: 1, Chunk: 1, Positions: 512}, {MaxBatch: 3, Chunk: 7}, {MaxBatch: 255, Chunk: 512}} {
		size := exact(t)
		size.MaxBatch, size.Chunk, size.Positions = cfg.MaxBatch, cfg.Chunk, cfg.Positions
		got, err := start(t, b, size).Answer(t.Context(), req)
		require.NoError(t, err)
		if want == nil {
			want = got
		}
		for i := range want {
			require.Equal(t, want[i].Text, got[i].Text)
			require.Equal(t, want[i].OutputTokens, got[i].OutputTokens)
		}
	}
	size := exact(t)
	size.MaxBatch = 256
	_, err := Open(b, size, deps())
	require.ErrorContains(t, err, "max_batch 256 must be between 1 and 255")
}

func TestBackend(t *testing.T) {
	t.Parallel()
	b := random(t)
	cfg := exact(t)
	cfg.Positions = 2048
	scheduletest.Run(t, 2e-5, func(t *testing.T) schedule.Backend {
		backend, err := OpenBackend(b, cfg, deps())
		require.NoError(t, err)
		return backend
	})
}

// TestScoresEqualPlainGo compares with the reference engine on the same weights.
func TestScoresEqualPlainGo(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*model.LLM){
		"grouped queries": func(*model.LLM) {},
		"one key for all": func(l *model.LLM) { l.Heads, l.KVHeads = 4, 1 },
		"a key each":      func(l *model.LLM) { l.Heads, l.KVHeads, l.RopeBase, l.NormEps = 2, 2, 500000, 1e-6 },
		"wide and deep":   func(l *model.LLM) { l.Layers, l.Hidden, l.Heads, l.KVHeads, l.FFN = 5, 96, 6, 3, 200 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plain, exported := pair(t, func(m *model.Manifest) {
				change(&m.LLM)
				m.Projector.Out = m.LLM.Hidden
			})
			reference, err := reference.OpenBackend(plain, 0)
			require.NoError(t, err)
			native, err := OpenBackend(exported, exact(t), deps())
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, native.Close()) })
			for seed := range 3 {
				text := scheduletest.Text{
					Prefix: []int{1, 3}, Soft: decodertest.Soft(seed, 20+40*seed, plain.LLM.Hidden).Data,
					After: []int{4, 5, 260, 270, 6}, Answer: []int{265, 9, 100, 277, 7},
				}
				want, got := scheduletest.Scores(t, reference, text), scheduletest.Scores(t, native, text)
				d := scheduletest.Difference(t, want, got)
				require.Less(t, d, 1e-4)
				t.Logf("largest difference %.1e", d)
			}
			compareAnswers(t, plain, exported, decodertest.Soft(9, 30, plain.LLM.Hidden).Data)
		})
	}
}

// compareAnswers asks both engines the same questions about the same frames, greedily.
func compareAnswers(t *testing.T, plain, exported *model.Bundle, frames ...[]float32) {
	t.Helper()
	reference, err := reference.Open(plain, reference.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, reference.Close()) })
	native := start(t, exported, exact(t))
	for _, data := range frames {
		req := contract.Request{Questions: []contract.Question{{Text: "What is the tempo?"}, {Index: 1, Text: "the key"}, {Index: 2, Text: "é <s>"}}}
		req.Soft.Rows, req.Soft.Cols, req.Soft.Data = len(data)/plain.LLM.Hidden, plain.LLM.Hidden, data
		want, err := reference.Answer(t.Context(), req)
		require.NoError(t, err)
		got, err := native.Answer(t.Context(), req)
		require.NoError(t, err)
		for i := range want {
			require.NoError(t, got[i].Err)
			require.Equal(t, want[i].Text, got[i].Text)
			require.Equal(t, want[i].OutputTokens, got[i].OutputTokens)
			require.Equal(t, want[i].PromptTokens, got[i].PromptTokens)
			require.Equal(t, want[i].Finish, got[i].Finish)
		}
		given := contract.GivenRequest{Soft: req.Soft, Given: []contract.Given{{Question: "What is the tempo?", Answers: []string{"The tempo is 120.", "é", "the key"}}}}
		wanted, err := reference.Likelihoods(t.Context(), given)
		require.NoError(t, err)
		told, err := native.Likelihoods(t.Context(), given)
		require.NoError(t, err)
		for i := range wanted[0] {
			require.NoError(t, told[0][i].Err)
			require.InDelta(t, wanted[0][i].LogProb, told[0][i].LogProb, 1e-3)
			require.Equal(t, wanted[0][i].Tokens, told[0][i].Tokens)
		}
	}
}
