package vllm

import (
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/decoder/decodertest"
	"github.com/larkstream/larkstream/engine/decoder/reference"
	"github.com/larkstream/larkstream/engine/decoder/vllm/vllmtest"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/modeltest"
	"github.com/larkstream/larkstream/engine/tags"
	"github.com/larkstream/larkstream/engine/tensor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// setup starts a server, and an engine before it with a random bundle.
func setup(t *testing.T, serve func(*vllmtest.Config), change func(*Config)) (*Engine, *vllmtest.Server) {
	t.Helper()
	b := modeltest.Bundle(t)
	sc := vllmtest.Config{Model: b.Name, Context: b.LLM.Context, Hidden: b.LLM.Hidden}
	serve(&sc)
	server := vllmtest.Start(t, sc)
	cfg := Config{URL: server.URL, InFlight: 8, MaxWaiting: 4, Timeout: time.Minute}
	change(&cfg)
	e, err := Open(b, cfg, Deps{Log: quiet})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e, server
}

func same(*vllmtest.Config) {}
func plain(*Config)         {}

func ask(questions ...string) contract.Request {
	req := contract.Request{Soft: decodertest.Soft(1, 20, 32)}
	for i, q := range questions {
		req.Questions = append(req.Questions, contract.Question{Index: i, Text: q})
	}
	return req
}

// answering serves an answer from fixed tokens.
func answering(tokens ...string) func(*vllmtest.Config) {
	return func(c *vllmtest.Config) {
		c.Answer = func(w http.ResponseWriter, _ *http.Request, req vllmtest.Request) {
			s := vllmtest.NewStream(w, req)
			for _, token := range tokens {
				if !s.Token(token) {
					return
				}
			}
			s.Stop("null")
		}
	}
}

func TestBehaviour(t *testing.T) {
	t.Parallel()
	decodertest.Run(t, 32, func(t *testing.T) contract.Engine {
		e, _ := setup(t, same, plain)
		return e
	})
}

// TestSameAnswersAsTheReference puts the plain-Go decoder behind the server, which is given nothing but the embeddings: the answers are
// those of the plain-Go engine, so the prompt was whole and in order.
func TestSameAnswersAsTheReference(t *testing.T) {
	t.Parallel()
	bundle := modeltest.Bundle(t)
	oracle, err := reference.Open(bundle, reference.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, oracle.Close()) })
	bare := modeltest.Manifest() // the same weights; nothing is put around the frames but the last token, which a decoder must be given
	bare.Prompt.Prefix, bare.Prompt.Suffix, bare.Prompt.Question = "", "", "{question}<a>"
	rows, err := model.Load(modeltest.Write(t, bare))
	require.NoError(t, err)
	behind, err := reference.Open(rows, reference.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, behind.Close()) })

	e, server := setup(t, func(c *vllmtest.Config) {
		c.Answer = func(w http.ResponseWriter, r *http.Request, req vllmtest.Request) { decode(t, behind, w, r, req) }
	}, plain)
	for seed := range 4 {
		req := contract.Request{Soft: decodertest.Soft(seed, 5+9*seed, 32), Decode: contract.Decode{MaxTokens: 6 * seed}}
		for i, text := range []string{"what is the tempo", "<s>é</s> <audio_end>", "", "what key?"} {
			req.Questions = append(req.Questions, contract.Question{Index: i, Text: text})
		}
		want, err := oracle.Answer(t.Context(), req)
		require.NoError(t, err)
		got, err := e.Answer(t.Context(), req)
		require.NoError(t, err)
		for i := range want {
			require.Equal(t, want[i].Text, got[i].Text)
			require.Equal(t, want[i].Finish, got[i].Finish)
			require.Equal(t, want[i].PromptTokens, got[i].PromptTokens)
			require.Equal(t, want[i].OutputTokens, got[i].OutputTokens)
		}
	}
	end, err := e.prompts.table.rows([]int{6})
	require.NoError(t, err)
	for _, r := range server.Requests() {
		require.Equal(t, end, r.Tensor.Raw[len(r.Tensor.Raw)-len(end):])
	}
}

// decode answers from the rows of a prompt. All rows but the last are given as frames.
func decode(t *testing.T, behind contract.Engine, w http.ResponseWriter, r *http.Request, req vllmtest.Request) {
	t.Helper()
	rows := req.Tensor.Rows - 1
	s := vllmtest.NewStream(w, req)
	results, err := behind.Answer(r.Context(), contract.Request{
		Soft:      tensor.Matrix{Rows: rows, Cols: 32, Data: req.Tensor.Values[:rows*32]},
		Questions: []contract.Question{{}}, Decode: contract.Decode{MaxTokens: req.MaxTokens},
		OnToken: func(_ int, text string) { s.Text(text) },
	})
	if err != nil {
		s.Fail(http.StatusInternalServerError, err.Error())
		return
	}
	tokens := results[0].OutputTokens
	if results[0].Finish == contract.FinishStop {
		tokens++
	}
	s.End("", strconv.Quote(results[0].Finish), "null", tokens)
}

func TestTheRequest(t *testing.T) {
	t.Parallel()
	e, server := setup(t, func(c *vllmtest.Config) { c.APIKey = "sesame" }, func(c *Config) { c.APIKey = "sesame" })
	req := ask("what is the key", "what is the tempo")
	_, err := e.Answer(t.Context(), req)
	require.NoError(t, err)
	for _, r := range server.Requests() {
		require.Zero(t, r.Temperature)
		require.InDelta(t, 1, r.TopP, 0)
		require.Zero(t, r.TopK)
		require.InDelta(t, 1, r.RepetitionPenalty, 0)
		require.Nil(t, r.Seed)
		require.Equal(t, 24, r.MaxTokens, "the bundle's limit")
		require.Equal(t, []int{2}, r.StopTokenIDs, "</s>")
		require.Empty(t, r.Stop)
		require.Nil(t, r.StructuredOutputs)
		require.Equal(t, "FloatStorage", r.Tensor.Storage, "as the bundle's embeddings")
	}
	seen := len(server.Requests())
	for range 2 {
		req.Decode = contract.Decode{MaxTokens: 7, Temperature: 0.5, TopP: 0.9, TopK: 20, RepetitionPenalty: 1.1, Seed: 3}
		_, err = e.Answer(t.Context(), req)
		require.NoError(t, err)
	}
	seeds := map[int64]int{}
	for _, r := range server.Requests()[seen:] {
		require.InDelta(t, 0.5, r.Temperature, 1e-6)
		require.InDelta(t, 0.9, r.TopP, 1e-6)
		require.Equal(t, 20, r.TopK)
		require.InDelta(t, 1.1, r.RepetitionPenalty, 1e-6)
		require.Equal(t, 7, r.MaxTokens)
		seeds[*r.Seed]++
	}
	require.Len(t, seeds, 2, "a seed for each question, the same again")
	for _, n := range seeds {
		require.Equal(t, 2, n)
	}
}

func TestAStopThatIsNoTokenIsSentAsText(t *testing.T) {
	t.Parallel()
	m := modeltest.Manifest()
	m.Prompt.Stop = []string{"###", "</s>"}
	b, err := model.Load(modeltest.Write(t, m))
	require.NoError(t, err)
	server := vllmtest.Start(t, vllmtest.Config{
		Model: "llark", Context: 160, Hidden: 32,
		Answer: func(w http.ResponseWriter, _ *http.Request, req vllmtest.Request) {
			s := vllmtest.NewStream(w, req)
			for _, token := range []string{" Jazz", ", ", "", "slow.", "\n", "\n"} {
				if !s.Token(token) {
					return
				}
			}
			s.Stop(`"###"`)
		},
	})
	e, err := Open(b, Config{URL: server.URL, Model: "llark", InFlight: 1, Timeout: time.Minute}, Deps{Log: quiet})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	results, err := e.Answer(t.Context(), ask("genre"))
	require.NoError(t, err)
	require.Equal(t, []string{"###"}, server.Requests()[0].Stop)
	require.Equal(t, []int{2}, server.Requests()[0].StopTokenIDs)
	require.Equal(t, "Jazz, slow.", results[0].Text)
	require.Equal(t, contract.FinishStop, results[0].Finish)
	require.Equal(t, 7, results[0].OutputTokens, "those of a stop text count")

	req := ask("genre")
	req.Decode.MaxTokens = 5
	results, err = e.Answer(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, "Jazz, slow.\n", results[0].Text, "white space that no stop text follows stays")
}

func TestTagsAreAskedForBySchema(t *testing.T) {
	t.Parallel()
	answer := tags.Tags{TempoBPM: 120, Key: tags.Keys()[0]}.String()
	e, server := setup(t, answering(answer), plain)
	require.True(t, e.Constrains(contract.SchemaTags))
	req := ask("tags")
	req.Schema = contract.SchemaTags
	results, err := e.Answer(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, answer, results[0].Text)
	require.JSONEq(t, string(tags.JSONSchema()), string(server.Requests()[0].StructuredOutputs.JSON))
	require.True(t, server.Requests()[0].StructuredOutputs.DisableAnyWhitespace)
}

func TestAPromptThatDoesNotFitFailsAlone(t *testing.T) {
	t.Parallel()
	e, server := setup(t, same, plain)
	results, err := e.Answer(t.Context(), ask("what", strings.Repeat("x ", 200), strings.Repeat("the ", 160-20-5-1), strings.Repeat("the ", 160-20-5)))
	require.NoError(t, err)
	require.NoError(t, results[0].Err)
	require.ErrorIs(t, results[1].Err, contract.ErrPromptTooLong)
	require.NoError(t, results[2].Err)
	require.Equal(t, 159, results[2].PromptTokens)
	require.Equal(t, 1, results[2].OutputTokens)
	require.ErrorIs(t, results[3].Err, contract.ErrPromptTooLong)
	require.Equal(t, 160, results[3].PromptTokens)
	require.Len(t, server.Requests(), 2)
}
