package handle

import (
	"context"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/modeltest"
	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/cache"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/stage"
	"github.com/larkstream/larkstream/shared/stage/stagetest"
	"github.com/larkstream/larkstream/shared/worker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type noEvents struct{}

func (noEvents) Emit(context.Context, event.Record) {}

// doubler writes each value twice and counts its runs.
type doubler struct {
	width int
	runs  int
	err   error
}

func (d *doubler) Width() int { return d.width }

func (d *doubler) Project(e tensor.Matrix) (tensor.Matrix, error) {
	d.runs++
	if d.err != nil {
		return tensor.Matrix{}, d.err
	}
	return tensor.Matrix{Rows: e.Rows, Cols: 2 * e.Cols, Data: append(e.Data, e.Data...)}, nil
}

type fixture struct {
	*Handler
	run       stage.Handler
	projector *doubler
	bundle    *model.Bundle
	store     *blob.Store
}

func setup(t *testing.T) *fixture {
	t.Helper()
	store, err := blob.Open(context.Background(), "mem://")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	f := &fixture{projector: &doubler{}, bundle: modeltest.Bundle(t), store: store}
	f.projector.width = 2 * f.bundle.Encoder.Width
	f.Handler, err = New(Deps{
		Step:      worker.Step{Stage: Stage, Bundle: f.bundle, Model: f.bundle.DisplayName(), Key: f.bundle.EmbeddingKey, Events: noEvents{}},
		Projector: f.projector, Cache: cache.NewBlob(store, cache.F32),
	})
	require.NoError(t, err)
	f.run = f.Handler.Handler()
	return f
}

func (f *fixture) ready() *eventpb.EmbeddingReady {
	window := hex.EncodeToString(make([]byte, 32))
	return &eventpb.EmbeddingReady{
		Task: &eventpb.Task{
			JobId: "job", Track: &eventpb.Track{Sha256: window}, Window: &eventpb.Window{Hash: window, BlobKey: event.PCMKey(window)},
			Questions: []*eventpb.Question{{Text: "What is the tempo?"}}, Cache: eventpb.Cache_CACHE_HIT,
			Timings: &eventpb.Timings{EncodeMs: 7},
		},
		Key: f.bundle.EmbeddingKey(window), Frames: 3, Width: 2,
	}
}

func (f *fixture) handle(t *testing.T, m *eventpb.EmbeddingReady) (proto.Message, error) {
	t.Helper()
	rec, err := event.Encode("encoder", m)
	require.NoError(t, err)
	out, err := stagetest.Handle(t.Context(), f.run, rec)
	if err != nil {
		require.Empty(t, out)
		return nil, err
	}
	require.Len(t, out, 1)
	msg, err := event.Decode(out[0])
	require.NoError(t, err)
	return msg, nil
}

func frames(rows, cols int) tensor.Matrix {
	return tensor.Matrix{Rows: rows, Cols: cols, Data: make([]float32, rows*cols)}
}

// TestValuesOfAnotherShapeAreMadeAgain: an embedding or a soft prompt that cannot be this window's is discarded.
func TestValuesOfAnotherShapeAreMadeAgain(t *testing.T) {
	t.Parallel()
	f := setup(t)
	m := f.ready()
	prompt := f.bundle.PromptKey(m.GetTask().GetWindow().GetHash())
	require.NoError(t, f.Cache.Put(t.Context(), m.GetKey(), frames(3, f.bundle.Encoder.Width)))
	require.NoError(t, f.Cache.Put(t.Context(), prompt, frames(2, f.projector.width)))
	got, err := f.handle(t, m)
	require.NoError(t, err)
	require.IsType(t, &eventpb.PromptReady{}, got)
	require.Equal(t, 1, f.projector.runs, "a soft prompt of other frames is no soft prompt")

	for _, bad := range []tensor.Matrix{frames(3, f.bundle.Encoder.Width+1), frames(4, f.bundle.Encoder.Width)} {
		require.NoError(t, f.Cache.Put(t.Context(), m.GetKey(), bad))
		require.NoError(t, f.store.Delete(t.Context(), prompt))
		got, err = f.handle(t, f.ready())
		require.NoError(t, err)
		require.IsType(t, &eventpb.WindowReady{}, got)
		_, err = f.Cache.Shape(t.Context(), m.GetKey(), cache.Shape{})
		require.ErrorIs(t, err, cache.ErrMiss)
	}
}

func TestPromptIsMadeOnce(t *testing.T) {
	t.Parallel()
	f := setup(t)
	m := f.ready()
	require.NoError(t, f.Cache.Put(t.Context(), m.GetKey(), frames(3, f.bundle.Encoder.Width)))
	for range 2 {
		got, err := f.handle(t, m)
		require.NoError(t, err)
		p := got.(*eventpb.PromptReady)
		require.Equal(t, f.bundle.PromptKey(m.GetTask().GetWindow().GetHash()), p.GetKey())
		require.Equal(t, []uint32{3, uint32(f.projector.width)}, []uint32{p.GetFrames(), p.GetWidth()})
		require.Equal(t, eventpb.Cache_CACHE_HIT, p.GetTask().GetCache())
		require.InDelta(t, 7, p.GetTask().GetTimings().GetEncodeMs(), 0)
		require.Positive(t, p.GetTask().GetTimings().GetProjectMs())
	}
	require.Equal(t, 1, f.projector.runs)
}

func TestEvictedEmbeddingGoesBack(t *testing.T) {
	t.Parallel()
	f := setup(t)
	got, err := f.handle(t, f.ready())
	require.NoError(t, err)
	w := got.(*eventpb.WindowReady)
	require.Equal(t, eventpb.Cache_CACHE_MISS, w.GetTask().GetCache())
	require.Zero(t, f.projector.runs)

	// The soft prompt alone is enough.
	key := f.bundle.PromptKey(w.GetTask().GetWindow().GetHash())
	require.NoError(t, f.Cache.Put(t.Context(), key, frames(3, f.projector.width)))
	got, err = f.handle(t, f.ready())
	require.NoError(t, err)
	require.IsType(t, &eventpb.PromptReady{}, got)
}

func TestFaults(t *testing.T) {
	t.Parallel()
	f := setup(t)
	other := f.ready()
	other.Key = "emb/v1/other@0123456789abcdef/f32/" + other.GetTask().GetWindow().GetHash()
	_, err := f.handle(t, other)
	require.ErrorContains(t, err, "not now", "another model's embedding waits for that model's stage")

	foreign := f.ready()
	foreign.Task.ModelDigest = hex.EncodeToString(make([]byte, 32))
	_, err = f.handle(t, foreign)
	require.ErrorContains(t, err, "not now")

	m := f.ready()
	require.NoError(t, f.Cache.Put(t.Context(), m.GetKey(), frames(3, f.bundle.Encoder.Width)))
	f.projector.err = errors.New("wrong width")
	_, err = f.handle(t, m)
	require.Equal(t, event.CodeModelMismatch, stage.PermanentCode(err), "%v", err)

	_, err = stagetest.Handle(t.Context(), f.run, event.Record{Value: []byte("x")})
	require.ErrorIs(t, err, event.ErrUndecodable)
	_, err = New(Deps{})
	require.ErrorContains(t, err, "a dependency is missing")
}
