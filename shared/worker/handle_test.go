package worker_test

import (
	"context"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/engine/model/modeltest"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/stage"
	"github.com/larkstream/larkstream/shared/stage/stagetest"
	"github.com/larkstream/larkstream/shared/worker"
)

// watcher keeps what was emitted.
type watcher struct{ events []*eventpb.Event }

func (w *watcher) Emit(_ context.Context, rec event.Record) {
	e, err := event.DecodeAs[*eventpb.Event](rec)
	if err != nil {
		panic(err)
	}
	w.events = append(w.events, e)
}

var hash = strings.Repeat("ab", 32)

// newStep is the step of a stage that reads embeddings.
func newStep(t *testing.T) (worker.Step, *watcher) {
	t.Helper()
	b, w := modeltest.Bundle(t), &watcher{}
	s := worker.Step{Stage: "projector", Bundle: b, Model: "tiny (for a test)", Key: b.EmbeddingKey, Events: w}
	require.NoError(t, s.Validate())
	require.Error(t, worker.Step{}.Validate())
	return s, w
}

func embedding(s worker.Step) *eventpb.EmbeddingReady {
	return &eventpb.EmbeddingReady{
		Task: &eventpb.Task{
			JobId: "job-1", Track: &eventpb.Track{Sha256: hash}, Window: &eventpb.Window{Index: 2, Hash: hash, BlobKey: event.PCMKey(hash)},
			Questions: []*eventpb.Question{{Text: "What key?"}}, ModelDigest: s.Bundle.Digest,
		},
		Key: s.Bundle.EmbeddingKey(hash), Frames: 3, Width: 2,
	}
}

func record(t *testing.T, msg proto.Message) event.Record {
	t.Helper()
	rec, err := event.Encode("test", msg)
	require.NoError(t, err)
	return rec
}

func TestMessagesTravelOnTheirTopicOrOnTheOneTheyAreGiven(t *testing.T) {
	t.Parallel()
	s, _ := newStep(t)
	h := worker.Handle(s, func(_ context.Context, m *eventpb.EmbeddingReady) ([]proto.Message, error) {
		window := &eventpb.WindowReady{Task: m.GetTask()}
		return []proto.Message{window, worker.Outbound{Message: window, Topic: event.TopicJobs}}, nil
	})
	out, err := stagetest.Handle(t.Context(), h, record(t, embedding(s)))
	require.NoError(t, err)
	require.Len(t, out, 2)
	require.Equal(t, []string{event.TopicWindows, event.TopicJobs}, []string{out[0].Topic, out[1].Topic})
	for _, rec := range out {
		require.Equal(t, "/larkstream/projector", rec.Get(event.HeaderSource))
		m, err := event.DecodeAs[*eventpb.WindowReady](rec)
		require.NoError(t, err)
		require.True(t, proto.Equal(embedding(s).GetTask(), m.GetTask()))
	}
}

func TestRecordsOfOtherModelsArePutBack(t *testing.T) {
	t.Parallel()
	s, _ := newStep(t)
	calls := 0
	h := worker.Handle(s, func(context.Context, *eventpb.EmbeddingReady) ([]proto.Message, error) { calls++; return nil, nil })
	for name, change := range map[string]func(m *eventpb.EmbeddingReady){
		"digest": func(m *eventpb.EmbeddingReady) { m.Task.ModelDigest = hex.EncodeToString(make([]byte, 32)) },
		"key":    func(m *eventpb.EmbeddingReady) { m.Key = "emb/v1/other@0123456789abcdef/f32/" + hash },
		"key, and no digest": func(m *eventpb.EmbeddingReady) {
			m.Task.ModelDigest, m.Key = "", "emb/v1/other@0123456789abcdef/f32/"+hash
		},
	} {
		m := embedding(s)
		change(m)
		rec := record(t, m)
		_, err := stagetest.Handle(t.Context(), h, rec)
		require.Equal(t, stage.OtherModel(rec, s.Model), err, name)
		old := rec.With(event.HeaderPutBackSince, "2020-01-01T00:00:00Z").With(event.HeaderPutBacks, "1000")
		_, err = stagetest.Handle(t.Context(), h, old)
		require.Equal(t, event.CodeModelMismatch, stage.PermanentCode(err), name)
		require.ErrorContains(t, err, "this one serves tiny (for a test)", name)
	}
	require.Zero(t, calls)

	unnamed := embedding(s)
	unnamed.Task.ModelDigest = ""
	_, err := stagetest.Handle(t.Context(), h, record(t, unnamed))
	require.NoError(t, err)
	require.Equal(t, 1, calls, "a record without a digest is for whichever model there is")
}

// TestKeysOfIsolatedTenantsAreTheirOwn: a record of an isolated tenant names its tenant's key, and one that names the shared key is for no instance.
func TestKeysOfIsolatedTenantsAreTheirOwn(t *testing.T) {
	t.Parallel()
	s, _ := newStep(t)
	var keys []string
	h := worker.Handle(s, func(ctx context.Context, m *eventpb.EmbeddingReady) ([]proto.Message, error) {
		keys = append(keys, worker.Scoped(ctx, "key"))
		return nil, nil
	})
	shared, own := embedding(s), embedding(s)
	own.Key += "@acme"
	_, err := stagetest.Handle(t.Context(), h, event.OfTenant(record(t, shared), "acme"))
	require.NoError(t, err)
	_, err = stagetest.Handle(t.Context(), h, event.Isolated(event.OfTenant(record(t, own), "acme")))
	require.NoError(t, err)
	require.Equal(t, []string{"key", "key@acme"}, keys)
	for name, rec := range map[string]event.Record{
		"the shared key": event.Isolated(event.OfTenant(record(t, shared), "acme")), "another's key": event.Isolated(event.OfTenant(record(t, own), "other")),
		"not isolated": event.OfTenant(record(t, own), "acme"),
	} {
		_, err = stagetest.Handle(t.Context(), h, rec)
		require.Equal(t, stage.OtherModel(rec, s.Model), err, name)
	}
	_, err = stagetest.Handle(t.Context(), h, event.Isolated(record(t, own).With(event.HeaderTenant, "../other")))
	require.Equal(t, event.CodeInvalidRecord, stage.PermanentCode(err))
	require.NoError(t, blob.CheckKey(s.Bundle.EmbeddingKey(hash)+"@"+strings.Repeat("x", 63)), "the longest name fits into a key")
}

func TestAJobNamesItsModelToo(t *testing.T) {
	t.Parallel()
	s, _ := newStep(t)
	h := worker.Handle(s, func(context.Context, *eventpb.Job) ([]proto.Message, error) { return nil, nil })
	job := &eventpb.Job{
		JobId: "job-1", Audio: &eventpb.Audio{Sha256: hash, BlobKey: event.AudioKey(hash)}, Plan: eventpb.PlanMode_PLAN_MODE_AUTO,
		Questions: []*eventpb.Question{{Text: "What key?"}}, ModelDigest: s.Bundle.Digest,
	}
	_, err := stagetest.Handle(t.Context(), h, record(t, job))
	require.NoError(t, err)
	job.ModelDigest = hex.EncodeToString(make([]byte, 32))
	_, err = stagetest.Handle(t.Context(), h, record(t, job))
	require.ErrorContains(t, err, "not now")
}

func TestEachTypeFindsItsHandler(t *testing.T) {
	t.Parallel()
	s, _ := newStep(t)
	var got []string
	broken := errors.New("broken")
	h := worker.OneOf(
		worker.Handle(s, func(context.Context, *eventpb.WindowReady) ([]proto.Message, error) {
			got = append(got, "window")
			return nil, broken
		}),
		worker.Handle(s, func(context.Context, *eventpb.EmbeddingReady) ([]proto.Message, error) {
			got = append(got, "embedding")
			return nil, nil
		}))
	_, err := stagetest.Handle(t.Context(), h, record(t, embedding(s)))
	require.NoError(t, err)
	_, err = stagetest.Handle(t.Context(), h, record(t, &eventpb.WindowReady{Task: embedding(s).GetTask()}))
	require.Equal(t, broken, err)
	_, err = stagetest.Handle(t.Context(), h, record(t, &eventpb.Control{JobId: "x", Kind: "cancel"}))
	require.ErrorIs(t, err, event.ErrUndecodable)
	require.ErrorContains(t, err, event.TypeControl)
	_, err = stagetest.Handle(t.Context(), h, event.Record{Value: []byte("x")})
	require.ErrorIs(t, err, event.ErrUndecodable)
	require.Equal(t, []string{"embedding", "window"}, got)
}

func TestAMessageThatCannotBeEncodedIsAnError(t *testing.T) {
	t.Parallel()
	s, w := newStep(t)
	h := worker.Handle(s, func(context.Context, *eventpb.EmbeddingReady) ([]proto.Message, error) {
		return []proto.Message{&eventpb.PromptReady{}}, nil
	})
	out, err := stagetest.Handle(t.Context(), h, record(t, embedding(s)))
	require.ErrorContains(t, err, "encoding "+event.TypePromptReady)
	require.Empty(t, out)
	require.False(t, s.Tell(t.Context(), &eventpb.Event{}))
	require.Empty(t, w.events)
}

func TestWorkIsTimedAndTold(t *testing.T) {
	t.Parallel()
	s, w := newStep(t)
	task := embedding(s).GetTask()
	ms, err := s.Timed(t.Context(), task, func(done *eventpb.Progress) error {
		require.Len(t, w.events, 1)
		done.Windows = 7
		return nil
	})
	require.NoError(t, err)
	require.Len(t, w.events, 2)
	started, done := w.events[0].GetProgress(), w.events[1].GetProgress()
	require.Equal(t, []string{"projector", "started"}, []string{started.GetStage(), started.GetStatus()})
	require.Equal(t, []string{"projector", "done"}, []string{done.GetStage(), done.GetStatus()})
	require.EqualValues(t, 2, done.GetWindowIndex())
	require.EqualValues(t, 7, done.GetWindows())
	require.InDelta(t, ms, done.GetMs(), 0)
	require.Equal(t, "job-1", w.events[1].GetJobId())
	require.Positive(t, w.events[1].GetAtUnixMs())

	_, err = s.Timed(t.Context(), task, func(*eventpb.Progress) error { return errors.New("no") })
	require.EqualError(t, err, "no")
	require.Len(t, w.events, 3, "what fails is not done")
	worker.Timings(task).ProjectMs += 3
	require.InDelta(t, 3, task.GetTimings().GetProjectMs(), 0)
}
