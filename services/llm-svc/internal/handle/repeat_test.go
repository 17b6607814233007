package handle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/decoder/testdecoder"
	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/services/llm-svc/internal/answers"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/stage/stagetest"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// counting counts the questions that an engine is asked.
type counting struct {
	contract.Engine
	asked atomic.Int64
}

func (c *counting) Answer(ctx context.Context, req contract.Request) ([]contract.Result, error) {
	c.asked.Add(int64(len(req.Questions)))
	return c.Engine.Answer(ctx, req)
}

// kept is a fixture with an answer cache in store.
type kept struct {
	fixture
	engine *counting
}

func openStore(t *testing.T) *blob.Store {
	t.Helper()
	store, err := blob.Open(t.Context(), "mem://")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}

// setupKept makes a handler on the store, of another model or engine if these are named.
func setupKept(t *testing.T, store *blob.Store, model, engine string) kept {
	t.Helper()
	k := kept{engine: &counting{Engine: testdecoder.New(32, 0)}}
	k.fixture = setup(t, k.engine)
	if model == "" {
		model = k.bundle.Digest
	}
	var err error
	k.Answers, err = answers.New(answers.Deps{
		Store: store, Metrics: telemetry.NewCacheMetrics(), Log: slog.New(slog.DiscardHandler), Model: model, Engine: engine,
	})
	require.NoError(t, err)
	k.run = k.Handler.Handler()
	return k
}

// ask handles a record and returns its outcomes by question, and how many questions the engine was asked.
func (k kept) ask(t *testing.T, change func(*eventpb.PromptReady)) (map[uint32]*eventpb.Outcome, int64) {
	t.Helper()
	before, msg := k.engine.asked.Load(), k.prompt()
	change(msg)
	out, err := stagetest.Handle(t.Context(), k.run, record(t, msg))
	require.NoError(t, err)
	list := map[uint32]*eventpb.Outcome{}
	for _, rec := range out {
		o, err := event.DecodeAs[*eventpb.Outcome](rec)
		require.NoError(t, err)
		require.NotContains(t, list, o.GetQuestion().GetIndex())
		list[o.GetQuestion().GetIndex()] = o
	}
	require.Len(t, list, len(msg.GetTask().GetQuestions()))
	return list, k.engine.asked.Load() - before
}

func same(*eventpb.PromptReady) {}

// TestARepeatedQuestionIsNotDecodedAgain: neither decoder nor soft prompt is needed.
func TestARepeatedQuestionIsNotDecodedAgain(t *testing.T) {
	t.Parallel()
	k := setupKept(t, openStore(t), "", "test")
	first, asked := k.ask(t, same)
	require.EqualValues(t, 2, asked)
	told := len(k.watch.events)
	second, asked := k.ask(t, func(m *eventpb.PromptReady) {
		m.Task.JobId = "job-2"
		m.Frames = 21 // no such soft prompt: reading it would send the window back
	})
	require.Zero(t, asked)
	for i, a := range first {
		b := second[i]
		require.Equal(t, eventpb.Cache_CACHE_MISS, a.GetAnswerCache())
		require.Equal(t, eventpb.Cache_CACHE_HIT, b.GetAnswerCache())
		require.Equal(t, eventpb.State_STATE_ANSWERED, b.GetState())
		require.Equal(t, event.OutcomeID("job-2", i, 2), b.GetOutcomeId())
		require.Equal(t, a.GetAnswer(), b.GetAnswer())
		require.Equal(t, a.GetTokens().GetPrompt(), b.GetTokens().GetPrompt())
		require.Equal(t, a.GetTokens().GetOutput(), b.GetTokens().GetOutput())
		require.Equal(t, k.prompt().GetFrames(), a.GetTokens().GetAudio())
		require.Equal(t, a.GetTokens().GetAudio(), b.GetTokens().GetAudio())
		require.Equal(t, "stop", a.GetFinish())
		require.Equal(t, a.GetFinish(), b.GetFinish())
		require.Zero(t, b.GetTimings().GetDecodeMs())
		require.Zero(t, b.GetTimings().GetPrefillMs())
	}
	streamed := map[uint32]string{}
	for _, e := range k.watch.events[told:] {
		if d := e.GetToken(); d != nil {
			streamed[d.GetQuestionIndex()] += d.GetText()
		}
	}
	require.Equal(t, map[uint32]string{0: second[0].GetAnswer(), 3: second[3].GetAnswer()}, streamed, "watchers see the text all the same")
}

// TestWhatAnAnswerDependsOnIsItsKey: whatever differs is decoded, whatever does not matter is not.
func TestWhatAnAnswerDependsOnIsItsKey(t *testing.T) {
	t.Parallel()
	sampled := func(seed uint64) func(*eventpb.PromptReady) {
		return func(m *eventpb.PromptReady) {
			m.Task.Decode = &eventpb.Decode{Temperature: new(float32(0.5)), TopP: 0.9, Seed: seed}
		}
	}
	store := openStore(t)
	k := setupKept(t, store, "", "test")
	for _, step := range []struct {
		what   string
		change func(*eventpb.PromptReady)
		asked  int64
	}{
		{"the first time", same, 2},
		{"again", same, 0},
		{"one other question", func(m *eventpb.PromptReady) { m.Task.Questions[1].Text = "Which metre?" }, 1},
		{"greedy at another place", func(m *eventpb.PromptReady) { m.Task.Questions[0].Index = 7 }, 0},
		{"greedy with a seed", func(m *eventpb.PromptReady) { m.Task.Decode = &eventpb.Decode{Seed: 4, TopP: 0.5} }, 0},
		{"a limit of tokens", func(m *eventpb.PromptReady) { m.Task.Decode = &eventpb.Decode{MaxTokens: 3} }, 2},
		{"a seed", sampled(1), 2},
		{"the same seed", sampled(1), 0},
		{"the same seed at another place", func(m *eventpb.PromptReady) { sampled(1)(m); m.Task.Questions[0].Index = 7 }, 1},
		{"another seed", sampled(2), 2},
		{"no seed", sampled(0), 2},
		{"no seed again", sampled(0), 2},
	} {
		_, asked := k.ask(t, step.change)
		require.Equal(t, step.asked, asked, step.what)
	}
	for _, other := range []kept{setupKept(t, store, "another model", "test"), setupKept(t, store, "", "another engine")} {
		_, asked := other.ask(t, same)
		require.EqualValues(t, 2, asked)
	}
	unsampled, _ := k.ask(t, sampled(0))
	require.Equal(t, eventpb.Cache_CACHE_UNSPECIFIED, unsampled[0].GetAnswerCache())
}

// TestDamagedAnswersAreDecodedAgain: what is stored is never trusted.
func TestDamagedAnswersAreDecodedAgain(t *testing.T) {
	t.Parallel()
	store := openStore(t)
	var keys []string
	k := setupKept(t, store.Intercept(func(_ context.Context, op blob.Op, key string, do func() error) error {
		if op == blob.OpPut {
			keys = append(keys, key)
		}
		return do()
	}), "", "test")
	first, _ := k.ask(t, same)
	require.Len(t, keys, 2)
	good, err := store.GetBytes(t.Context(), keys[0], 1<<20)
	require.NoError(t, err)
	other, err := store.GetBytes(t.Context(), keys[1], 1<<20)
	require.NoError(t, err)
	flipped := append([]byte(nil), good...)
	flipped[len(flipped)-3] ^= 1
	for name, value := range map[string][]byte{
		"a bit": flipped, "another question's answer": other, "nothing": {}, "cut": good[:len(good)-1], "too large": make([]byte, 1<<20),
	} {
		require.NoError(t, store.PutBytes(t.Context(), keys[0], value), name)
		again, asked := k.ask(t, same)
		require.EqualValues(t, 1, asked, name)
		require.Equal(t, first[0].GetAnswer(), again[0].GetAnswer(), name)
		_, asked = k.ask(t, same)
		require.Zero(t, asked, "the good answer is stored again after %s", name)
	}
}

// TestAStoreThatFailsDoesNotFailAnswers: neither reading nor writing.
func TestAStoreThatFailsDoesNotFailAnswers(t *testing.T) {
	t.Parallel()
	k := setupKept(t, openStore(t).Intercept(func(context.Context, blob.Op, string, func() error) error {
		return errors.New("no route to host")
	}), "", "test")
	for range 2 {
		list, asked := k.ask(t, same)
		require.EqualValues(t, 2, asked)
		require.Equal(t, eventpb.State_STATE_ANSWERED, list[0].GetState())
	}
}

// TestAnswersOfASecondTryAreNotKept: they were sampled. Answers that failed are not kept either.
func TestAnswersOfASecondTryAreNotKept(t *testing.T) {
	t.Parallel()
	k := setupKept(t, openStore(t), "", "test")
	k.engine.Engine = scripted{testdecoder.New(32, 0), func(_ context.Context, req contract.Request) ([]contract.Result, error) {
		results := make([]contract.Result, len(req.Questions))
		for i := range results {
			results[i].Err = errors.New("scores are not finite")
		}
		return results, nil
	}}
	_, asked := k.ask(t, same)
	require.EqualValues(t, 2, asked)
	_, asked = k.ask(t, same)
	require.EqualValues(t, 2, asked)

	k.keep(t.Context(), k.prompt().GetTask(), make([]contract.Result, 2), []contract.Result{{Err: errForm}, {}})
	require.Contains(t, k.lookUp(t.Context(), k.prompt().GetTask()), uint32(3))
	require.NotContains(t, k.lookUp(t.Context(), k.prompt().GetTask()), uint32(0))
}

// What was said before a question reaches the engine and is part of the answer's key.
func TestHistoryReachesTheEngine(t *testing.T) {
	t.Parallel()
	k := setupKept(t, openStore(t), "", "test")
	said := func(turns ...*eventpb.Turn) func(*eventpb.PromptReady) {
		return func(m *eventpb.PromptReady) { m.Task.History = turns }
	}
	turn := func(role, text string) *eventpb.Turn { return &eventpb.Turn{Role: role, Text: text} }
	for _, step := range []struct {
		change func(*eventpb.PromptReady)
		asked  int64
	}{
		{same, 2},
		{said(turn("user", "a"), turn("assistant", "b")), 2},
		{said(turn("user", "a"), turn("assistant", "b")), 0},
		{said(turn("user", "a"), turn("assistant", "c")), 2},
		{said(turn("system", "s"), turn("user", "a"), turn("assistant", "b")), 2},
		{said(turn("system", "s")), 2},
		{same, 0},
	} {
		_, asked := k.ask(t, step.change)
		require.Equal(t, step.asked, asked)
	}
	task := k.prompt().GetTask()
	said(turn("system", "s"), turn("user", "a"), turn("assistant", "b"))(&eventpb.PromptReady{Task: task})
	req := k.request(t.Context(), task, tensor.Matrix{})
	require.Equal(t, "s", req.System)
	require.NotEmpty(t, req.Questions)
	for _, q := range req.Questions {
		require.Equal(t, []contract.Turn{{Role: "user", Text: "a"}, {Role: "assistant", Text: "b"}}, q.History)
	}
	require.Equal(t, event.CodeHistoryUnsupported, codeOf(fmt.Errorf("asking: %w", contract.ErrNoTurns)))
}
