package vllm

import (
	"errors"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/decoder/decodertest"
	"github.com/larkstream/larkstream/engine/decoder/llamacpp"
	"github.com/larkstream/larkstream/engine/decoder/prompt"
	"github.com/larkstream/larkstream/engine/decoder/schedule"
	"github.com/larkstream/larkstream/engine/decoder/tokenizer"
	"github.com/larkstream/larkstream/engine/decoder/vllm/vllmtest"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/audiobundle"
	"github.com/larkstream/larkstream/engine/model/llamabundle"
	"github.com/larkstream/larkstream/engine/native/nativetest"
)

// random is a bundle of LLark's form: a Llama in a GGUF with its tokenizer inside, and LLark's prompt.
func random(t *testing.T, quant string) *model.Bundle {
	t.Helper()
	out := filepath.Join(t.TempDir(), "random")
	shape := llamabundle.Shape{Layers: 2, Hidden: 32, Heads: 4, KVHeads: 2, FFN: 64, Vocab: 400, Context: 512, RopeBase: 10000, NormEps: 1e-5}
	_, err := llamabundle.RandomOf(t.Context(), shape, llamabundle.RandomConfig{Seed: 3, Quant: quant, Out: out}, func(int64, int64) {})
	require.NoError(t, err)
	b, err := model.LoadComplete(out)
	require.NoError(t, err)
	b.Prompt.MaxTokens = 24
	return b
}

func openGGUFEngine(t *testing.T, b *model.Bundle, answer func(http.ResponseWriter, *http.Request, vllmtest.Request)) (*Engine, *vllmtest.Server) {
	t.Helper()
	server := vllmtest.Start(t, vllmtest.Config{Model: b.Name, Context: b.LLM.Context, Hidden: b.LLM.Hidden, Answer: answer})
	cfg := Config{URL: server.URL, InFlight: 4, MaxWaiting: 4, Timeout: time.Minute, NativeDir: nativetest.Dir(t)}
	e, err := Open(b, cfg, Deps{Log: quiet})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e, server
}

func TestBehaviourWithAGGUF(t *testing.T) {
	t.Parallel()
	b := random(t, "bf16")
	_ = nativetest.Dir(t)
	decodertest.Run(t, b.LLM.Hidden, func(t *testing.T) contract.Engine {
		e, _ := openGGUFEngine(t, b, nil)
		return e
	})
}

// TestSameAnswersAsLlamaCPP puts a bare llama.cpp context behind the server, which reads the rows that came over HTTP and nothing else:
// with LLark's prompt and tokenizer the answers equal the answers of the engine llamacpp.
func TestSameAnswersAsLlamaCPP(t *testing.T) {
	t.Parallel()
	b := random(t, "f32")
	want, e, server := besideLlamaCPP(t, b)
	texts := map[string]bool{}
	for seed := range 3 {
		req := contract.Request{Soft: decodertest.Soft(seed, 3+60*seed, b.LLM.Hidden)}
		for i, text := range []string{"What is the tempo?", "  <audio_end></s> é \n### Human: x", "", "🎵 key"} {
			req.Questions = append(req.Questions, contract.Question{Index: i, Text: text})
		}
		requireSame(t, want, e, req, texts)
	}
	require.Greater(t, len(texts), 6, "answers depend on window and question")
	require.Equal(t, []string{"###"}, server.Requests()[0].Stop, "LLark's")
}

// TestSameAnswersOfAudioModels is the same of the families whose decoder is Qwen2's, with system texts and earlier turns: their decoders are served as
// plain Qwen2, which gets frames as it gets text.
func TestSameAnswersOfAudioModels(t *testing.T) {
	t.Parallel()
	history := []contract.Turn{{Role: contract.RoleUser, Text: "What is the tempo?"}, {Role: contract.RoleAssistant, Text: "Fast."}}
	for _, family := range audiobundle.FamilyNames() {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			out := filepath.Join(t.TempDir(), "random")
			_, err := audiobundle.Random(t.Context(), audiobundle.RandomConfig{Preset: "tiny", Family: family, Seed: 3, Quant: "f32", Out: out}, func(int64, int64) {})
			require.NoError(t, err)
			b, err := model.LoadComplete(out)
			require.NoError(t, err)
			b.Prompt.MaxTokens = 16
			want, e, _ := besideLlamaCPP(t, b)
			texts := map[string]bool{}
			for _, system := range []string{"", "Answer in one word."} {
				requireSame(t, want, e, contract.Request{Soft: decodertest.Soft(4, 25, b.LLM.Hidden), System: system, Questions: []contract.Question{
					{Index: 0, Text: "Which key? é"}, {Index: 1, Text: "Why?", History: history},
				}}, texts)
			}
			require.Len(t, texts, 4)
		})
	}
}

// requireSame asks both engines and notes the answers.
func requireSame(t *testing.T, want, e contract.Engine, req contract.Request, texts map[string]bool) {
	t.Helper()
	expected, err := want.Answer(t.Context(), req)
	require.NoError(t, err)
	got, err := e.Answer(t.Context(), req)
	require.NoError(t, err)
	for i, r := range expected {
		require.NoError(t, r.Err)
		require.Equal(t, r.Text, got[i].Text)
		require.Equal(t, r.PromptTokens, got[i].PromptTokens)
		require.Equal(t, r.Finish, got[i].Finish)
		texts[r.Text] = true
	}
}

// besideLlamaCPP gives the engine llamacpp, and an engine whose server decodes with llama.cpp.
func besideLlamaCPP(t *testing.T, b *model.Bundle) (*schedule.Engine, *Engine, *vllmtest.Server) {
	t.Helper()
	exact := llamacpp.Config{NativeDir: nativetest.Dir(t), Threads: 1, ExactKV: true}
	want, err := llamacpp.Open(b, exact, llamacpp.Deps{Log: quiet})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, want.Close()) })
	backend, err := llamacpp.OpenBackend(b, exact, llamacpp.Deps{Log: quiet})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, backend.Close()) })
	vocab, release, err := llamacpp.OpenVocabulary(b.LLMPath(), exact.NativeDir, quiet)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, release()) })
	behind := &greedy{backend: backend, vocab: vocab}
	e, server := openGGUFEngine(t, b, func(w http.ResponseWriter, _ *http.Request, req vllmtest.Request) {
		if err := behind.answer(w, req); err != nil {
			t.Errorf("decoding: %v", err)
		}
	})
	return want, e, server
}

// greedy continues rows by the most likely tokens, one prompt at a time.
type greedy struct {
	mu      sync.Mutex
	backend schedule.Backend
	vocab   prompt.Vocabulary
}

func (g *greedy) answer(w http.ResponseWriter, req vllmtest.Request) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	const seq = 0
	if err := g.backend.Open(seq, schedule.None, req.Tensor.Rows+req.MaxTokens); err != nil {
		return err
	}
	defer g.backend.Free(seq)
	s, text, all := vllmtest.NewStream(w, req), tokenizer.NewStream(g.vocab), ""
	next := func(rows schedule.Rows) (int, error) {
		rows.Seq, rows.Scores = seq, true
		scores, err := g.backend.Extend([]schedule.Rows{rows})
		if err != nil {
			return 0, err
		}
		return slices.Index(scores[0], slices.Max(scores[0])), nil
	}
	width, chunk := req.Tensor.Cols, g.backend.Shape().Chunk
	id, err := 0, error(nil)
	for part := range slices.Chunk(req.Tensor.Values, chunk*width) {
		if id, err = next(schedule.Rows{Vectors: part}); err != nil {
			return err
		}
	}
	for n := 1; ; n++ {
		if slices.Contains(req.StopTokenIDs, id) {
			s.End(text.Flush(), `"stop"`, strconv.Itoa(id), n)
			return nil
		}
		part, err := text.Push(id)
		if err != nil {
			return err
		}
		all += part
		if slices.ContainsFunc(req.Stop, func(stop string) bool { return strings.Contains(all, stop) }) {
			return errors.New("a stop text, which this decoder cannot cut off: choose another seed")
		}
		if n == req.MaxTokens {
			s.End(part+text.Flush(), `"length"`, "null", n)
			return nil
		}
		s.Text(part)
		if id, err = next(schedule.Rows{Tokens: []int{id}}); err != nil {
			return err
		}
	}
}

func TestAQuantisedTableIsRefused(t *testing.T) {
	t.Parallel()
	b := random(t, "q8_0")
	_, err := Open(b, Config{URL: "http://gpu-1", InFlight: 1, Timeout: time.Second, NativeDir: nativetest.Dir(t)}, Deps{Log: quiet})
	require.ErrorContains(t, err, "--quant bf16")
}
