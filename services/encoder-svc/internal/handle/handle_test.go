package handle

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/engine/audio"
	"github.com/larkstream/larkstream/engine/encoder"
	"github.com/larkstream/larkstream/engine/encoder/testencoder"
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

// sampleRate of the bundle's encoder.
const sampleRate = 44100

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// statuses keeps the progress that was emitted.
type statuses []string

func (s *statuses) Emit(_ context.Context, rec event.Record) {
	if m, err := event.DecodeAs[*eventpb.Event](rec); err == nil {
		*s = append(*s, m.GetProgress().GetStatus())
	}
}

// failing is an engine that returns an error, or frames of a width of its own.
type failing struct {
	err   error
	width int
}

func (f failing) Encode(context.Context, []int16) (tensor.Matrix, error) {
	return tensor.Matrix{Rows: 1, Cols: f.width, Data: make([]float32, f.width)}, f.err
}

func (failing) Close() error { return nil }

type fixture struct {
	*Handler
	run    stage.Handler
	store  *blob.Store
	engine *testencoder.Engine
	events *statuses
	bundle *model.Bundle
}

func setup(t *testing.T) *fixture {
	t.Helper()
	store, err := blob.Open(context.Background(), "mem://")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	b := modeltest.Bundle(t)
	f := &fixture{store: store, bundle: b, events: &statuses{}, engine: testencoder.New(b.Encoder.Width, b.Encoder.FrameRateHz, b.Encoder.Rate(), 0)}
	f.Handler, err = New(Deps{
		Step:   worker.Step{Stage: Stage, Bundle: b, Model: b.DisplayName(), Events: f.events},
		Engine: f.engine, EngineName: "test", Blobs: store, Cache: cache.NewBlob(store, cache.F32), Metrics: telemetry.NewEngineMetrics(),
	})
	require.NoError(t, err)
	f.run = f.Handler.Handler()
	return f
}

// window stores a second of PCM and returns the record of a job about it.
func (f *fixture) window(t *testing.T, job string) *eventpb.WindowReady {
	t.Helper()
	raw := make([]byte, 2*sampleRate)
	for i := range sampleRate {
		binary.LittleEndian.PutUint16(raw[2*i:], uint16(i%997))
	}
	hash := audio.WindowHash()
	hash.Write(raw)
	window := event.HexSum(hash)
	require.NoError(t, f.store.PutBytes(t.Context(), event.PCMKey(window), raw))
	return &eventpb.WindowReady{Task: &eventpb.Task{
		JobId: job, Track: &eventpb.Track{Sha256: hex.EncodeToString(make([]byte, 32)), DurationS: 1},
		Window:    &eventpb.Window{Hash: window, BlobKey: event.PCMKey(window), Span: &eventpb.Span{EndS: 1}, Samples: sampleRate},
		Questions: []*eventpb.Question{{Text: "What is the tempo?"}}, Cache: eventpb.Cache_CACHE_MISS,
	}}
}

func (f *fixture) handle(t *testing.T, m *eventpb.WindowReady) (event.Record, proto.Message, error) {
	t.Helper()
	rec, err := event.Encode("chunker", m)
	require.NoError(t, err)
	out, err := stagetest.Handle(t.Context(), f.run, rec)
	if err != nil {
		require.Empty(t, out)
		return event.Record{}, nil, err
	}
	require.Len(t, out, 1)
	msg, err := event.Decode(out[0])
	require.NoError(t, err)
	return out[0], msg, nil
}

func TestSecondJobOnTheSameWindowIsAHit(t *testing.T) {
	t.Parallel()
	f := setup(t)
	_, msg, err := f.handle(t, f.window(t, "first"))
	require.NoError(t, err)
	first := msg.(*eventpb.EmbeddingReady)
	require.Equal(t, eventpb.Cache_CACHE_MISS, first.GetTask().GetCache())
	require.Positive(t, first.GetTask().GetTimings().GetEncodeMs())
	stored, err := f.Cache.Get(t.Context(), first.GetKey(), cache.Shape{})
	require.NoError(t, err)
	require.Equal(t, []int{10, f.bundle.Encoder.Width}, []int{stored.Rows, stored.Cols})

	rec, msg, err := f.handle(t, f.window(t, "second"))
	require.NoError(t, err)
	second := msg.(*eventpb.EmbeddingReady)
	require.Equal(t, event.TopicEmbeddings, rec.Topic)
	require.Equal(t, eventpb.Cache_CACHE_HIT, second.GetTask().GetCache())
	require.Equal(t, "second", second.GetTask().GetJobId())
	require.Equal(t, first.GetKey(), second.GetKey())
	require.Equal(t, []uint32{first.GetFrames(), first.GetWidth()}, []uint32{second.GetFrames(), second.GetWidth()})
	require.EqualValues(t, 1, f.engine.Encoded())
	require.Equal(t, statuses{"started", "done", "skipped"}, *f.events)
}

// TestAnIsolatedTenantSharesNoEmbedding, neither before nor after others; everybody else shares.
func TestAnIsolatedTenantSharesNoEmbedding(t *testing.T) {
	t.Parallel()
	f := setup(t)
	key := f.bundle.EmbeddingKey(f.window(t, "job").GetTask().GetWindow().GetHash())
	for i, step := range []struct {
		tenant   string
		isolated bool
		key      string
		encoded  int64
	}{
		{"alone", true, key + "@alone", 1},
		{"open", false, key, 2},
		{"alone", true, key + "@alone", 2},
		{"other", false, key, 2},
		{"hermit", true, key + "@hermit", 3},
	} {
		rec, err := event.Encode("chunker", f.window(t, "job"))
		require.NoError(t, err)
		rec = event.OfTenant(rec, step.tenant)
		if step.isolated {
			rec = event.Isolated(rec)
		}
		out, err := stagetest.Handle(t.Context(), f.run, rec)
		require.NoError(t, err)
		m, err := event.DecodeAs[*eventpb.EmbeddingReady](out[0])
		require.NoError(t, err)
		require.Equal(t, step.key, m.GetKey(), i)
		require.Equal(t, step.encoded, int64(f.engine.Encoded()), i)
	}
}

// Without its PCM, or with PCM that is not what the hash says, a window goes back to be cut again.
func TestEvictedOrDamagedWindowGoesBackToTheChunker(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*fixture, string) error{
		"evicted":   func(f *fixture, key string) error { return f.store.Delete(t.Context(), key) },
		"cut short": func(f *fixture, key string) error { return f.store.PutBytes(t.Context(), key, make([]byte, 100)) },
		"too long": func(f *fixture, key string) error {
			return f.store.PutBytes(t.Context(), key, make([]byte, MaxPCM(f.bundle)+2))
		},
	} {
		f := setup(t)
		m := f.window(t, "job")
		require.NoError(t, spoil(f, m.GetTask().GetWindow().GetBlobKey()), name)
		rec, msg, err := f.handle(t, m)
		require.NoError(t, err, name)
		require.Equal(t, event.TopicJobs, rec.Topic, name)
		require.True(t, proto.Equal(m, msg), name)
		require.Zero(t, f.engine.Encoded(), name)
		there, err := f.store.Exists(t.Context(), m.GetTask().GetWindow().GetBlobKey())
		require.NoError(t, err, name)
		require.False(t, there, name)
	}
}

func TestFaultsOfTheEngine(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		engine failing
		code   string
	}{
		"too short":   {failing{err: fmt.Errorf("%w: 0.5 s", encoder.ErrTooShort)}, event.CodeAudioTooShort},
		"too long":    {failing{err: fmt.Errorf("%w: 26 s", encoder.ErrTooLong)}, event.CodePlanOutOfRange},
		"wrong width": {failing{width: 3}, event.CodeEngineError},
		"transient":   {failing{err: errors.New("out of memory")}, ""},
	} {
		f := setup(t)
		f.Engine = tc.engine
		m := f.window(t, "job")
		_, _, err := f.handle(t, m)
		require.Error(t, err, name)
		require.Equal(t, tc.code, stage.PermanentCode(err), "%s: %v", name, err)
		_, err = f.Cache.Shape(t.Context(), f.bundle.EmbeddingKey(m.GetTask().GetWindow().GetHash()), cache.Shape{})
		require.ErrorIs(t, err, cache.ErrMiss, "%s: nothing may be stored", name)
	}
}

func TestCancelEndsTheEngine(t *testing.T) {
	t.Parallel()
	f := setup(t)
	rec, err := event.Encode("chunker", f.window(t, "job"))
	require.NoError(t, err)
	ctx, cancel := context.WithCancelCause(t.Context())
	f.Engine = cancelling{f.engine, func() { cancel(stage.ErrCancelled) }}
	_, err = stagetest.Handle(ctx, f.run, rec)
	require.ErrorIs(t, err, stage.ErrCancelled)
	require.Empty(t, stage.PermanentCode(err))
}

// cancelling is cancelled as soon as it begins.
type cancelling struct {
	encoder.Engine
	cancel func()
}

func (c cancelling) Encode(ctx context.Context, pcm []int16) (tensor.Matrix, error) {
	c.cancel()
	<-ctx.Done()
	return tensor.Matrix{}, ctx.Err()
}

func TestForeignRecords(t *testing.T) {
	t.Parallel()
	f := setup(t)
	m := f.window(t, "job")
	m.Task.ModelDigest = hex.EncodeToString(make([]byte, 32))
	_, _, err := f.handle(t, m)
	require.ErrorContains(t, err, "not now")
	m.Task.ModelDigest = f.bundle.Digest
	_, _, err = f.handle(t, m)
	require.NoError(t, err)
	_, err = stagetest.Handle(t.Context(), f.run, event.Record{Value: []byte("x")})
	require.ErrorIs(t, err, event.ErrUndecodable)
	_, err = New(Deps{})
	require.ErrorContains(t, err, "a dependency is missing")
}
