package handle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/decoder/decodertest"
	"github.com/larkstream/larkstream/engine/decoder/testdecoder"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/modeltest"
	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/cache"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/stage"
	"github.com/larkstream/larkstream/shared/stage/stagetest"
	"github.com/larkstream/larkstream/shared/telemetry"
	"github.com/larkstream/larkstream/shared/worker"
)

// spans holds what all tests of the package have traced; each looks for its own trace.
var spans = tracetest.NewSpanRecorder()

func TestMain(m *testing.M) {
	otel.SetTracerProvider(trace.NewTracerProvider(trace.WithSpanProcessor(spans)))
	goleak.VerifyTestMain(m)
}

// watcher keeps the events that were emitted.
type watcher struct {
	mu     sync.Mutex
	events []*eventpb.Event
}

func (w *watcher) Emit(_ context.Context, rec event.Record) {
	msg, err := event.DecodeAs[*eventpb.Event](rec)
	if err != nil {
		panic(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, msg)
}

func (w *watcher) statuses() []string {
	var list []string
	for _, e := range w.events {
		if p := e.GetProgress(); p != nil {
			list = append(list, p.GetStatus())
		}
	}
	return list
}

type fixture struct {
	*Handler
	run    stage.Handler
	bundle *model.Bundle
	cache  cache.Cache
	watch  *watcher
}

// setup stores the soft prompt of window w in a cache and makes a handler with the given engine; nil means a test engine.
func setup(t *testing.T, eng contract.Engine) fixture {
	t.Helper()
	bundle := modeltest.Bundle(t)
	store, err := blob.Open(t.Context(), "mem://")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	c, err := cache.Open(t.Context(), "", store, cache.Deps{Log: slog.New(slog.DiscardHandler), Metrics: telemetry.NewCacheMetrics()})
	require.NoError(t, err)
	require.NoError(t, c.Put(t.Context(), bundle.PromptKey(hash), decodertest.Soft(1, 20, 32)))
	if eng == nil {
		eng = testdecoder.New(32, 0)
	}
	t.Cleanup(func() { require.NoError(t, eng.Close()) })
	f := fixture{bundle: bundle, cache: c, watch: &watcher{}}
	f.Handler, err = New(Deps{
		Step:   worker.Step{Stage: Stage, Bundle: bundle, Model: "tiny (test engine)", Key: bundle.PromptKey, Events: f.watch},
		Engine: eng, Cache: c, Metrics: telemetry.NewEngineMetrics(), EngineName: "test",
	})
	require.NoError(t, err)
	f.run = f.Handler.Handler()
	return f
}

var hash = strings.Repeat("ab", 32)

func (f fixture) prompt() *eventpb.PromptReady {
	return &eventpb.PromptReady{
		Key: f.bundle.PromptKey(hash), Frames: 20, Width: 32,
		Task: &eventpb.Task{
			JobId: "job-1", Track: &eventpb.Track{Sha256: strings.Repeat("cd", 32), DurationS: 60},
			Window:      &eventpb.Window{Index: 2, Hash: hash, BlobKey: event.PCMKey(hash), Span: &eventpb.Span{StartS: 30, EndS: 55}, HeardS: 25, Samples: 1102500},
			Questions:   []*eventpb.Question{{Index: 0, Text: "What key?"}, {Index: 3, Text: "How fast?"}},
			ModelDigest: f.bundle.Digest, CreatedUnixMs: time.Now().Add(-time.Minute).UnixMilli(),
			Cache: eventpb.Cache_CACHE_HIT, Timings: &eventpb.Timings{ChunkMs: 5, EncodeMs: 7},
		},
	}
}

func record(t *testing.T, msg proto.Message) event.Record {
	t.Helper()
	rec, err := event.Encode("projector", msg)
	require.NoError(t, err)
	return rec
}

func TestEveryQuestionGetsItsOutcome(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	out, err := stagetest.Handle(t.Context(), f.run, record(t, f.prompt()))
	require.NoError(t, err)
	require.Len(t, out, 2)
	answers := map[uint32]string{}
	for i, q := range f.prompt().GetTask().GetQuestions() {
		o, err := event.DecodeAs[*eventpb.Outcome](out[i])
		require.NoError(t, err)
		require.Equal(t, event.TopicAnswers, out[i].Topic)
		require.Equal(t, eventpb.State_STATE_ANSWERED, o.GetState())
		require.Equal(t, event.OutcomeID("job-1", q.GetIndex(), 2), o.GetOutcomeId())
		require.Equal(t, q.GetText(), o.GetQuestion().GetText())
		require.Equal(t, "tiny (test engine)", o.GetModel())
		require.Equal(t, f.bundle.Digest, o.GetModelDigest())
		require.Equal(t, eventpb.Cache_CACHE_HIT, o.GetCache())
		require.InDelta(t, 5, o.GetTimings().GetChunkMs(), 0)
		require.GreaterOrEqual(t, o.GetTimings().GetTotalMs(), 60000.0)
		require.EqualValues(t, 22, o.GetTokens().GetPrompt())
		require.Positive(t, o.GetTokens().GetOutput())
		answers[q.GetIndex()] = o.GetAnswer()
	}
	require.NotEqual(t, answers[0], answers[3])
	require.Equal(t, []string{"started", "done"}, f.watch.statuses())

	streamed, next := map[uint32]string{}, map[uint32]uint32{}
	for _, e := range f.watch.events {
		if d := e.GetToken(); d != nil {
			require.Equal(t, next[d.GetQuestionIndex()], d.GetSeq())
			require.EqualValues(t, 2, d.GetWindowIndex())
			next[d.GetQuestionIndex()]++
			streamed[d.GetQuestionIndex()] += d.GetText()
		}
	}
	require.Equal(t, answers, streamed)
}

func TestHandlingTwiceGivesTheSameOutcomes(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	first, err := stagetest.Handle(t.Context(), f.run, record(t, f.prompt()))
	require.NoError(t, err)
	second, err := stagetest.Handle(t.Context(), f.run, record(t, f.prompt()))
	require.NoError(t, err)
	for i := range first {
		a, err := event.DecodeAs[*eventpb.Outcome](first[i])
		require.NoError(t, err)
		b, err := event.DecodeAs[*eventpb.Outcome](second[i])
		require.NoError(t, err)
		require.Equal(t, a.GetOutcomeId(), b.GetOutcomeId())
		require.Equal(t, a.GetAnswer(), b.GetAnswer())
	}
}

func TestAnEvictedPromptGoesBackToBeEncoded(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	msg := f.prompt()
	msg.Task.Window.Hash = strings.Repeat("ef", 32)
	msg.Task.Window.BlobKey = event.PCMKey(msg.GetTask().GetWindow().GetHash())
	msg.Key = f.bundle.PromptKey(msg.GetTask().GetWindow().GetHash())
	out, err := stagetest.Handle(t.Context(), f.run, record(t, msg))
	require.NoError(t, err)
	require.Len(t, out, 1)
	require.Equal(t, event.TopicWindows, out[0].Topic)
	window, err := event.DecodeAs[*eventpb.WindowReady](out[0])
	require.NoError(t, err)
	require.True(t, proto.Equal(msg.GetTask(), window.GetTask()))
	require.Equal(t, []string{"retrying"}, f.watch.statuses())
}

func TestARecordForAnotherModelIsPutBack(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	other := f.prompt()
	other.Task.ModelDigest = strings.Repeat("0", 64)
	foreign := f.prompt()
	foreign.Task.ModelDigest = ""
	foreign.Key = "prompt/v1/other@0/f32/1/" + hash
	for _, msg := range []*eventpb.PromptReady{other, foreign} {
		rec := record(t, msg)
		_, err := stagetest.Handle(t.Context(), f.run, rec)
		require.Equal(t, stage.OtherModel(rec, f.Model), err)
	}
	anyModel := f.prompt()
	anyModel.Task.ModelDigest = ""
	_, err := stagetest.Handle(t.Context(), f.run, record(t, anyModel))
	require.NoError(t, err, "no digest means whichever model is deployed")
}

// TestSoftPromptsOfAnotherShapeAreMadeAgain: what cannot be this window's soft prompt is discarded, and the window encoded again.
func TestSoftPromptsOfAnotherShapeAreMadeAgain(t *testing.T) {
	t.Parallel()
	for name, soft := range map[string]tensor.Matrix{"frames": decodertest.Soft(1, 21, 32), "width": decodertest.Soft(1, 20, 31)} {
		f := setup(t, nil)
		key := f.bundle.PromptKey(hash)
		require.NoError(t, f.cache.Put(t.Context(), key, soft))
		out, err := stagetest.Handle(t.Context(), f.run, record(t, f.prompt()))
		require.NoError(t, err, name)
		require.Len(t, out, 1)
		require.Equal(t, event.TopicWindows, out[0].Topic, name)
		_, err = f.cache.Shape(t.Context(), key, cache.Shape{})
		require.ErrorIs(t, err, cache.ErrMiss, name)
	}
}

func TestRecordsOfAnotherKindAreUndecodable(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	_, err := stagetest.Handle(t.Context(), f.run, record(t, &eventpb.WindowReady{Task: f.prompt().GetTask()}))
	require.ErrorIs(t, err, event.ErrUndecodable)
}

// scripted is an engine with prepared results.
type scripted struct {
	contract.Engine
	answer func(ctx context.Context, req contract.Request) ([]contract.Result, error)
}

func (s scripted) Answer(ctx context.Context, req contract.Request) ([]contract.Result, error) {
	return s.answer(ctx, req)
}

func TestAQuestionFailsAlone(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", event.MaxAnswerBytes)
	f := setup(t, scripted{testdecoder.New(32, 0), func(context.Context, contract.Request) ([]contract.Result, error) {
		return []contract.Result{{Index: 0, Err: contract.ErrPromptTooLong, PromptTokens: 600}, {Index: 3, Text: long, Confidence: 0.7, Began: time.Now(), Ended: time.Now()}}, nil
	}})
	out, err := stagetest.Handle(t.Context(), f.run, record(t, f.prompt()))
	require.NoError(t, err)
	failed, err := event.DecodeAs[*eventpb.Outcome](out[0])
	require.NoError(t, err)
	require.Equal(t, eventpb.State_STATE_FAILED, failed.GetState())
	require.Equal(t, event.CodePromptTooLong, failed.GetError().GetCode())
	answered, err := event.DecodeAs[*eventpb.Outcome](out[1])
	require.NoError(t, err)
	require.InDelta(t, 0.7, answered.GetConfidence(), 1e-12)
	require.Len(t, answered.GetAnswer(), event.MaxAnswerBytes, "a boundless answer is cut")

	f = setup(t, scripted{testdecoder.New(32, 0), func(context.Context, contract.Request) ([]contract.Result, error) {
		return []contract.Result{{Index: 0, Err: errors.New("scores are not finite")}, {Index: 3, Text: "x"}}, nil
	}})
	out, err = stagetest.Handle(t.Context(), f.run, record(t, f.prompt()))
	require.NoError(t, err)
	failed, err = event.DecodeAs[*eventpb.Outcome](out[0])
	require.NoError(t, err)
	require.Equal(t, event.CodeEngineError, failed.GetError().GetCode())
}

func TestAnEngineErrorIsTriedAgainAndACancelIsNot(t *testing.T) {
	t.Parallel()
	broken := errors.New("out of memory")
	f := setup(t, scripted{testdecoder.New(32, 0), func(context.Context, contract.Request) ([]contract.Result, error) { return nil, broken }})
	_, err := stagetest.Handle(t.Context(), f.run, record(t, f.prompt()))
	require.ErrorIs(t, err, broken)
	require.Empty(t, stage.PermanentCode(err))

	f = setup(t, testdecoder.New(32, time.Hour))
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stage.ErrCancelled)
	_, err = f.Handler.answer(ctx, f.prompt().GetTask(), decodertest.Soft(1, 20, 32), nil)
	require.ErrorIs(t, err, stage.ErrCancelled)
}

func TestDecodeSettingsReachTheEngine(t *testing.T) {
	t.Parallel()
	var got contract.Decode
	f := setup(t, scripted{testdecoder.New(32, 0), func(_ context.Context, req contract.Request) ([]contract.Result, error) {
		got = req.Decode
		return make([]contract.Result, len(req.Questions)), nil
	}})
	msg := f.prompt()
	msg.Task.Decode = &eventpb.Decode{MaxTokens: 9, Temperature: new(float32(0.5)), TopP: 0.25, Seed: 7}
	_, err := stagetest.Handle(t.Context(), f.run, record(t, msg))
	require.NoError(t, err)
	require.Equal(t, contract.Decode{MaxTokens: 9, Temperature: 0.5, TopP: 0.25, Seed: 7}, got)
}

func TestNewRefusesMissingDependencies(t *testing.T) {
	t.Parallel()
	_, err := New(Deps{})
	require.Error(t, err)
}

func TestEachAnswerIsTraced(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	ctx, root := telemetry.Tracer().Start(t.Context(), "root")
	msg := f.prompt()
	msg.Task.Decode = &eventpb.Decode{Temperature: new(float32(0.5)), Seed: 7}
	out, err := stagetest.Handle(ctx, f.run, record(t, msg))
	require.NoError(t, err)
	root.End()
	outcome, err := event.DecodeAs[*eventpb.Outcome](out[0])
	require.NoError(t, err)
	require.Equal(t, root.SpanContext().TraceID().String(), outcome.GetTraceId())

	byName := map[string][]trace.ReadOnlySpan{}
	for _, s := range spans.Ended() {
		if s.SpanContext().TraceID() == root.SpanContext().TraceID() {
			byName[s.Name()] = append(byName[s.Name()], s)
		}
	}
	require.Len(t, byName[telemetry.SpanLoad], 1)
	require.Len(t, byName[telemetry.SpanAnswer+"tiny"], 2)
	require.Len(t, byName[telemetry.SpanPrefill], 2)
	require.Len(t, byName[telemetry.SpanGenerate], 2)
	for i, answer := range byName[telemetry.SpanAnswer+"tiny"] {
		require.Equal(t, root.SpanContext().SpanID(), answer.Parent().SpanID())
		require.Equal(t, answer.SpanContext().SpanID(), byName[telemetry.SpanPrefill][i].Parent().SpanID())
		require.Equal(t, answer.SpanContext().SpanID(), byName[telemetry.SpanGenerate][i].Parent().SpanID())
		got := attribute.NewSet(answer.Attributes()...)
		for key, want := range map[attribute.Key]attribute.Value{
			telemetry.AttrGenAIOperation: attribute.StringValue(telemetry.GenAIOperation), telemetry.AttrGenAIRequestModel: attribute.StringValue("tiny"),
			telemetry.AttrGenAIInputTokens: attribute.IntValue(22), telemetry.AttrGenAISeed: attribute.Int64Value(7),
			telemetry.AttrGenAIFinishReasons: attribute.StringSliceValue([]string{contract.FinishStop}),
		} {
			value, ok := got.Value(key)
			require.True(t, ok, key)
			require.Equal(t, want.String(), value.String(), key)
		}
	}
}

// TestTokensGoToWatchersOnly: nobody is sent nothing, and who comes in the middle of an answer is sent all of it.
func TestTokensGoToWatchersOnly(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	watched := false
	f.Watched = func(job string) bool {
		require.Equal(t, "job-1", job)
		return watched
	}
	_, err := stagetest.Handle(t.Context(), f.Handler.Handler(), record(t, f.prompt()))
	require.NoError(t, err)
	require.Equal(t, []string{"started", "done"}, f.watch.statuses(), "progress is told all the same")
	require.Len(t, f.watch.events, 2)

	onToken := f.tokens(t.Context(), f.prompt().GetTask())
	onToken(0, "It is ")
	onToken(3, "120 ")
	onToken(0, "in C")
	watched = true
	onToken(0, " minor.")
	onToken(0, " Or not.")
	var told []string
	for _, e := range f.watch.events[2:] {
		told = append(told, fmt.Sprint(e.GetToken().GetQuestionIndex(), e.GetToken().GetSeq(), e.GetToken().GetText()))
	}
	require.Equal(t, []string{"0 0It is in C minor.", "0 1 Or not."}, told)
}

// What a job leaves open is as the model's makers decode; tags are greedy unless the job says otherwise.
func TestTheMakersSettingsHoldWhereTheJobIsSilent(t *testing.T) {
	t.Parallel()
	f := setup(t, testdecoder.New(32, 0))
	f.bundle.LLM.Sampling = model.Sampling{Temperature: 0.7, TopK: 20, TopP: 0.8, RepetitionPenalty: 1.05}
	for _, c := range []struct {
		name   string
		job    *eventpb.Decode
		schema string
		want   contract.Decode
	}{
		{"silent", nil, "", contract.Decode{Temperature: 0.7, TopK: 20, TopP: 0.8, RepetitionPenalty: 1.05}},
		{"a limit and a seed", &eventpb.Decode{MaxTokens: 5, Seed: 3}, "", contract.Decode{MaxTokens: 5, Seed: 3, Temperature: 0.7, TopK: 20, TopP: 0.8, RepetitionPenalty: 1.05}},
		{"greedy", &eventpb.Decode{Temperature: new(float32(0)), RepetitionPenalty: 1}, "", contract.Decode{TopK: 20, TopP: 0.8, RepetitionPenalty: 1}},
		{
			"all its own", &eventpb.Decode{Temperature: new(float32(0.1)), TopK: 3, TopP: 0.2, RepetitionPenalty: 2}, "",
			contract.Decode{Temperature: 0.1, TopK: 3, TopP: 0.2, RepetitionPenalty: 2},
		},
		{"tags", nil, event.SchemaTags, contract.Decode{}},
		{"hot tags", &eventpb.Decode{Temperature: new(float32(0.5))}, event.SchemaTags, contract.Decode{Temperature: 0.5}},
	} {
		require.Equal(t, c.want, f.decodeOf(&eventpb.Task{Decode: c.job, ResponseSchema: c.schema}), c.name)
	}
}
