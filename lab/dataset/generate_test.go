package dataset

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/lab/dataset/check"
	"github.com/larkstream/larkstream/lab/dataset/facts"
	"github.com/larkstream/larkstream/lab/dataset/llm"
	"github.com/larkstream/larkstream/lab/dataset/llm/fake"
	"github.com/larkstream/larkstream/lab/dataset/rules"
)

// labelled makes a set of clips with labels and annotations but without sound; the last one is missing.
func labelled(t testing.TB, n int) *Set {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "songs"), 0o750))
	clips, err := openLedger(filepath.Join(dir, "songs", clipsFile))
	require.NoError(t, err)
	notes, err := openLedger(filepath.Join(dir, "songs", stepAnnotate+".jsonl"))
	require.NoError(t, err)
	keys, drums := []string{"C major", "F# minor", "Bb major", "E minor"}, []bool{true, false}
	for i := range n + 1 {
		c := Clip{ID: fmt.Sprintf("songs/%06d", i), Dataset: "songs", Track: strconv.Itoa(i), Artist: strconv.Itoa(i / 3), Audio: "x.wav", Span: Span{0, 25}, Licence: "CC-BY-4.0"}
		c.Labels = facts.Labels{TempoBPM: 60 + float64(i%120), Key: keys[i%4], Metre: "4/4", Drums: &drums[i%2], Captions: []string{"A calm song that goes on and on."}}
		a := annotation{outcome: outcome{Clip: c.ID, State: stateDone}, Seconds: 25}
		if i == n {
			c.Missing, a.State = "the video was removed", stateMissing
		}
		require.NoError(t, clips.write(c))
		require.NoError(t, notes.write(a))
	}
	require.NoError(t, clips.close())
	require.NoError(t, notes.close())
	s, err := Open(dir)
	require.NoError(t, err)
	return s
}

func pairRows(t *testing.T, s *Set, step string) (out []pairRow) {
	t.Helper()
	for r, err := range rows[pairRow](s.path("songs", step+".jsonl")) {
		require.NoError(t, err)
		out = append(out, r)
	}
	return out
}

func TestGenerateByRules(t *testing.T) {
	t.Parallel()
	s := labelled(t, 20)
	cfg := GenerateConfig{Families: []string{rules.Understanding, rules.Captioning}, Seed: 3}
	got, err := Generate(t.Context(), s, cfg)
	require.NoError(t, err)
	require.Equal(t, Tally{Clips: 42, Missing: 2}, got.Tally)
	require.Empty(t, got.Reasons())
	require.Equal(t, 20*5+20, got.Accepted, "tempo, key, both, metre, drums; a caption")
	first := pairRows(t, s, "pairs.understanding.rules")
	require.Equal(t, stateMissing, first[20].State)

	got, err = Generate(t.Context(), s, cfg)
	require.NoError(t, err)
	require.Equal(t, 42, got.Kept)
	require.Equal(t, 20*6, got.Accepted, "what was kept counts")
	cfg.Anew = true
	_, err = Generate(t.Context(), s, cfg)
	require.NoError(t, err)
	require.Equal(t, first, pairRows(t, s, "pairs.understanding.rules"), "the seed fixes everything")
	_, err = Generate(t.Context(), s, GenerateConfig{Families: []string{"reasoning"}})
	require.ErrorContains(t, err, "--llm")
}

// asking starts a language model and returns what asks it.
func asking(t *testing.T, server *fake.Server) GenerateConfig {
	t.Helper()
	if server.Go == nil {
		server.Go = make(chan struct{})
	}
	h := httptest.NewServer(server)
	t.Cleanup(func() {
		h.CloseClientConnections()
		h.Close()
	})
	client := h.Client()
	t.Cleanup(client.CloseIdleConnections)
	return GenerateConfig{Families: []string{rules.Understanding}, RunOptions: RunOptions{Jobs: 1}, LLM: &LLMConfig{
		Config: llm.Config{URL: h.URL + "/v1", Model: "fake", MaxTokens: 1000, Tries: 2, Client: client}, Price: llm.Price{Input: 1, Output: 2},
	}}
}

func TestGenerateByLanguageModel(t *testing.T) {
	t.Parallel()
	kinds := []fake.Kind{fake.Well, fake.Fenced, fake.Lies, fake.WrongClip, fake.Leaks, fake.Refuses, fake.Prose, fake.Prose, fake.CutOff, fake.Well, fake.NotAList, fake.Empty}
	server := &fake.Server{Answers: func(n int, _ string) fake.Kind { return kinds[n%len(kinds)] }}
	s := labelled(t, 9)
	got, err := Generate(t.Context(), s, asking(t, server))
	require.NoError(t, err)
	r := pairRows(t, s, "pairs.understanding.llm")
	require.Len(t, r, 10)

	for i := range 2 { // well, and in a fence
		require.Equal(t, stateDone, r[i].State)
		require.Len(t, r[i].Pairs, 10)
		for _, p := range r[i].Pairs {
			require.Nil(t, p.Rejected, "%+v", p)
		}
	}
	require.JSONEq(t, `{"tempo_bpm":60,"key":"C major","metre":"4/4","drums":true,"captions":["A calm song that goes on and on."],"duration_in_seconds":25}`, string(r[0].Asked))
	require.NotEmpty(t, r[0].Replies[0].Text)
	var faults []string
	for _, p := range r[2].Pairs {
		require.NotNil(t, p.Rejected, "%+v", p.Pair)
		faults = append(faults, p.Rejected.Kind)
	}
	require.Equal(t, []string{check.Number, check.Chord, check.Instrument, check.Number}, faults)
	require.Equal(t, check.WrongClip, r[3].Pairs[1].Rejected.Kind)
	require.Equal(t, check.Leak, r[4].Pairs[0].Rejected.Kind)
	require.Contains(t, r[5].Reason, "refused the request")
	require.Contains(t, r[6].Reason, "not with a JSON list")
	require.Len(t, r[6].Replies, 2, "it was asked twice, and both replies are kept")
	require.Equal(t, stateDone, r[7].State, "cut off, then well")
	require.Len(t, r[7].Replies, 2)
	require.Contains(t, r[8].Reason, "empty")
	require.Equal(t, stateMissing, r[9].State)
	require.Equal(t, 3, got.Failed)
	require.Positive(t, got.Cost)
	require.Contains(t, got.Reasons(), check.WrongClip)

	// The settings tell with which words the model was asked.
	raw, err := os.ReadFile(s.path("songs", "pairs.understanding.llm.settings.json"))
	require.NoError(t, err)
	require.Contains(t, string(raw), "Never guess")
	require.Contains(t, string(raw), r[0].Prompt)

	// A retry asks again for the three that failed, and only for them.
	before := server.Requests.Load()
	server.Answers = nil
	cfg := asking(t, server)
	cfg.Retry = true
	got, err = Generate(t.Context(), s, cfg)
	require.NoError(t, err)
	require.Zero(t, got.Failed)
	require.Equal(t, before+3, server.Requests.Load())
}

func TestGenerateStopsAtItsBudget(t *testing.T) {
	t.Parallel()
	s, server := labelled(t, 200), &fake.Server{}
	cfg := asking(t, server)
	cfg.LLM.MaxCost = 0.02
	got, err := Generate(t.Context(), s, cfg)
	var spent *llm.BudgetError
	require.ErrorAs(t, err, &spent)
	require.LessOrEqual(t, got.Cost, 0.02)
	done := len(pairRows(t, s, "pairs.understanding.llm"))
	require.Positive(t, done)
	again, err := Generate(t.Context(), s, cfg)
	require.ErrorAs(t, err, &spent, "what was spent before counts")
	require.Equal(t, done, again.Kept)
	require.Less(t, again.Clips-again.Kept, 3)
	cfg.LLM.MaxCost = 0
	got, err = Generate(t.Context(), s, cfg)
	require.NoError(t, err)
	require.Equal(t, 201, got.Clips)
}

func TestGenerateEndsWhereItIsOfNoUse(t *testing.T) {
	t.Parallel()
	s := labelled(t, 30)
	cfg := asking(t, &fake.Server{Answers: func(int, string) fake.Kind { return fake.Forbidden }})
	_, err := Generate(t.Context(), s, cfg)
	require.ErrorContains(t, err, "check --llm, --model and LARK_LLM_KEY")
	require.Empty(t, pairRows(t, s, "pairs.understanding.llm"))

	cfg = asking(t, &fake.Server{Answers: func(int, string) fake.Kind { return fake.HangsUp }})
	cfg.LLM.Tries = 1
	_, err = Generate(t.Context(), s, cfg)
	var silent *llm.UnreachableError
	require.ErrorAs(t, err, &silent)
	require.Len(t, pairRows(t, s, "pairs.understanding.llm"), mostSilent-1, "an API that is gone ends the run")

	cfg.LLM.URL = "ftp://x"
	_, err = Generate(t.Context(), s, cfg)
	require.ErrorContains(t, err, "is no URL of a language model")
}

// Replies arrive in any order; rows are in that of the clips, and a stopped run goes on without asking again.
func TestGenerateKeepsTheOrderAndGoesOn(t *testing.T) {
	t.Parallel()
	s := labelled(t, 40)
	server := &fake.Server{Go: make(chan struct{})}
	server.Answers = func(n int, metadata string) fake.Kind {
		if n == 3 {
			close(server.Go) // the first waits while others are answered
		}
		if strings.Contains(metadata, `"tempo_bpm":60,`) {
			return fake.Waits
		}
		return fake.Well
	}
	cfg := asking(t, server)
	cfg.Jobs = 4
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	cfg.Progress = func(_ string, done int) {
		if done == 10 {
			cancel(stopped)
		}
	}
	_, err := Generate(ctx, s, cfg)
	require.ErrorIs(t, err, stopped)
	done := len(pairRows(t, s, "pairs.understanding.llm"))
	require.GreaterOrEqual(t, done, 10)
	cfg.Progress = nil
	before := server.Requests.Load()
	_, err = Generate(t.Context(), s, cfg)
	require.NoError(t, err)
	require.EqualValues(t, 40-done, server.Requests.Load()-before)
	for i, r := range pairRows(t, s, "pairs.understanding.llm") {
		require.Equal(t, fmt.Sprintf("songs/%06d", i), r.Clip)
	}
}

func TestPromptsOfOnesOwn(t *testing.T) {
	t.Parallel()
	dir := lay(t, map[string]string{
		"understanding.txt": "revision: 7\nAsk. {fields}\n", "understanding.songs.txt": "revision: 8\nAsk of songs. {fields}\n", "fields/default.txt": "- key: the key", "captioning.txt": "Ask.",
		"understanding.shots.json": `[{"metadata":{"key":"C major"},"pairs":[{"question":"Which key?","answer":"C major."}]}]`,
	})
	p, err := llm.OpenPrompts(dir)
	require.NoError(t, err)
	got, err := p.For(rules.Understanding, "songs")
	require.NoError(t, err)
	require.Equal(t, "Ask of songs. - key: the key", got.System)
	require.Equal(t, 8, got.Revision)
	messages, err := conversation(got, json.RawMessage(`{}`))
	require.NoError(t, err)
	require.Len(t, messages, 4)
	require.JSONEq(t, `[{"question":"Which key?","answer":"C major."}]`, messages[2].Content)
	other, err := p.For(rules.Understanding, "fma")
	require.NoError(t, err)
	require.NotEqual(t, got.Digest, other.Digest)
	_, err = p.For(rules.Captioning, "fma")
	require.ErrorContains(t, err, "want a line such as revision: 1")
	_, err = p.For("reasoning", "fma")
	require.ErrorContains(t, err, "hold none of reasoning.fma.txt, reasoning.txt")
	built, err := llm.OpenPrompts("")
	require.NoError(t, err)
	for _, family := range llm.Families() {
		for _, c := range Collections() {
			_, err := built.For(family, c)
			require.NoError(t, err)
		}
	}
}
