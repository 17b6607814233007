package handle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/engine/audio"
	"github.com/larkstream/larkstream/engine/audio/cut"
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

// events keeps what was emitted.
type events struct {
	mu   sync.Mutex
	recs []event.Record
}

func (e *events) Emit(_ context.Context, rec event.Record) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.recs = append(e.recs, rec)
}

func (e *events) statuses(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, rec := range e.recs {
		ev, err := event.DecodeAs[*eventpb.Event](rec)
		require.NoError(t, err)
		out = append(out, ev.GetProgress().GetStage()+" "+ev.GetProgress().GetStatus())
	}
	return out
}

type fixture struct {
	*Handler
	run    stage.Handler
	store  *blob.Store
	cache  cache.Cache
	events *events
	bundle *model.Bundle
}

func setup(t *testing.T) *fixture {
	t.Helper()
	store, err := blob.Open(context.Background(), "mem://")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	decoder, err := audio.NewDecoder(t.Context(), audio.Config{
		Limits: audio.Limits{FileBytes: 64 << 20, Duration: 10 * time.Minute, DecodedBytes: 1 << 30, Timeout: time.Minute},
	})
	require.NoError(t, err)
	f := &fixture{store: store, cache: cache.NewBlob(store, cache.F32), events: &events{}, bundle: modeltest.Bundle(t)}
	f.Handler, err = New(Deps{
		Step:   worker.Step{Stage: Stage, Bundle: f.bundle, Model: f.bundle.DisplayName(), Events: f.events},
		Cutter: cut.New(decoder, t.TempDir()), Blobs: store, Cache: f.cache,
		Limits: Limits{Answers: 12, Expansion: 10, FreeBytes: 1 << 20},
	})
	require.NoError(t, err)
	f.run = f.Handler.Handler()
	return f
}

// put stores an audio file and returns what a job says of it.
func (f *fixture) put(t *testing.T, data []byte) *eventpb.Audio {
	t.Helper()
	sum := sha256.Sum256(data)
	sha := hex.EncodeToString(sum[:])
	require.NoError(t, f.store.PutBytes(t.Context(), event.AudioKey(sha), data))
	return &eventpb.Audio{Sha256: sha, BlobKey: event.AudioKey(sha), SizeBytes: int64(len(data))}
}

func job(a *eventpb.Audio, mode eventpb.PlanMode, spans ...*eventpb.Span) *eventpb.Job {
	return &eventpb.Job{
		JobId: event.NewJobID(), Audio: a, Plan: mode, Spans: spans, CreatedUnixMs: time.Now().UnixMilli(),
		Questions: []*eventpb.Question{{Index: 0, Text: "What is the tempo?"}, {Index: 1, Text: "Which key?"}},
		Decode:    &eventpb.Decode{MaxTokens: 12}, ResponseSchema: event.SchemaTags,
	}
}

func (f *fixture) handle(t *testing.T, msg proto.Message) ([]proto.Message, error) {
	t.Helper()
	rec, err := event.Encode("gateway", msg)
	require.NoError(t, err)
	rec.Topic = event.TopicJobs
	recs, err := stagetest.Handle(t.Context(), f.run, rec)
	if err != nil {
		require.Empty(t, recs)
		return nil, err
	}
	var out []proto.Message
	for _, r := range recs {
		msg, err := event.Decode(r)
		require.NoError(t, err)
		out = append(out, msg)
	}
	return out, nil
}

// wav is a mono 16-bit file at 44.1 kHz whose tone changes every second, so that no two windows are alike.
func wav(seconds float64) []byte {
	n := int(seconds * 44100)
	var b bytes.Buffer
	b.WriteString("RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x44\xac\x00\x00\x88\x58\x01\x00\x02\x00\x10\x00data")
	_ = binary.Write(&b, binary.LittleEndian, uint32(2*n))
	for i := range n {
		hz := 200 + 10*float64(i/44100)
		_ = binary.Write(&b, binary.LittleEndian, int16(12000*math.Sin(2*math.Pi*hz*float64(i)/44100)))
	}
	return b.Bytes()
}

func TestJobBecomesPlanAndWindows(t *testing.T) {
	t.Parallel()
	f := setup(t)
	file := wav(60)
	j := job(f.put(t, file), eventpb.PlanMode_PLAN_MODE_ALL)
	out, err := f.handle(t, j)
	require.NoError(t, err)
	require.Len(t, out, 4)

	p := out[0].(*eventpb.JobPlan)
	require.Equal(t, j.GetJobId(), p.GetJobId())
	require.InDelta(t, 60, p.GetTrack().GetDurationS(), 1e-9)
	require.EqualValues(t, 2, p.GetQuestions())
	for i, want := range []struct{ start, end float64 }{{0, 25}, {25, 50}, {35, 60}} {
		task := out[i+1].(*eventpb.WindowReady).GetTask()
		w := task.GetWindow()
		require.True(t, proto.Equal(p.GetWindows()[i], w))
		require.Equal(t, []float64{want.start, want.end}, []float64{w.GetSpan().GetStartS(), w.GetSpan().GetEndS()})
		require.InDelta(t, 25, w.GetHeardS(), 1e-9)
		require.EqualValues(t, 25*44100, w.GetSamples())
		require.Equal(t, j.GetJobId(), task.GetJobId())
		require.Len(t, task.GetQuestions(), 2)
		require.Equal(t, eventpb.Cache_CACHE_MISS, task.GetCache())
		require.Equal(t, f.bundle.Digest, task.GetModelDigest())
		require.Equal(t, j.GetCreatedUnixMs(), task.GetCreatedUnixMs())
		require.EqualValues(t, 12, task.GetDecode().GetMaxTokens())
		require.Equal(t, event.SchemaTags, task.GetResponseSchema())

		pcm, err := f.store.GetBytes(t.Context(), w.GetBlobKey(), 1<<22)
		require.NoError(t, err)
		from := 44 + 2*int(44100*want.start)
		require.Equal(t, file[from:from+len(pcm)], pcm, "PCM of window %d", i)
		hash := audio.WindowHash()
		hash.Write(pcm)
		require.Equal(t, event.HexSum(hash), w.GetHash())
	}
	require.Equal(t, []string{"chunker started", "chunker done"}, f.events.statuses(t))
}

// embedding is one of the model's width.
func embedding(f *fixture, rows int) tensor.Matrix {
	return tensor.Matrix{Rows: rows, Cols: f.bundle.Encoder.Width, Data: make([]float32, rows*f.bundle.Encoder.Width)}
}

func TestKnownEmbeddingsSkipTheEncoder(t *testing.T) {
	t.Parallel()
	f := setup(t)
	j := job(f.put(t, wav(60)), eventpb.PlanMode_PLAN_MODE_ALL)
	out, err := f.handle(t, j)
	require.NoError(t, err)
	known := out[2].(*eventpb.WindowReady).GetTask().GetWindow().GetHash()
	require.NoError(t, f.cache.Put(t.Context(), f.bundle.EmbeddingKey(known), embedding(f, 3)))

	out, err = f.handle(t, job(j.GetAudio(), eventpb.PlanMode_PLAN_MODE_ALL))
	require.NoError(t, err)
	require.IsType(t, &eventpb.WindowReady{}, out[1])
	hit := out[2].(*eventpb.EmbeddingReady)
	require.Equal(t, eventpb.Cache_CACHE_HIT, hit.GetTask().GetCache())
	require.Equal(t, f.bundle.EmbeddingKey(known), hit.GetKey())
	require.Equal(t, []uint32{3, uint32(f.bundle.Encoder.Width)}, []uint32{hit.GetFrames(), hit.GetWidth()})
	require.Contains(t, f.events.statuses(t), "encoder skipped")
}

// A repeated question must not decode again: the audio may even be gone.
func TestStoredPlanReplacesDecoding(t *testing.T) {
	t.Parallel()
	f := setup(t)
	j := job(f.put(t, wav(3)), eventpb.PlanMode_PLAN_MODE_AUTO)
	first, err := f.handle(t, j)
	require.NoError(t, err)
	require.NoError(t, f.store.Delete(t.Context(), j.GetAudio().GetBlobKey()))

	again, err := f.handle(t, job(j.GetAudio(), eventpb.PlanMode_PLAN_MODE_AUTO))
	require.NoError(t, err)
	require.True(t, proto.Equal(first[1].(*eventpb.WindowReady).GetTask().GetWindow(), again[1].(*eventpb.WindowReady).GetTask().GetWindow()))

	// With the PCM swept as well, an embedding is enough.
	hash := again[1].(*eventpb.WindowReady).GetTask().GetWindow().GetHash()
	require.NoError(t, f.cache.Put(t.Context(), f.bundle.EmbeddingKey(hash), embedding(f, 1)))
	require.NoError(t, f.store.Delete(t.Context(), event.PCMKey(hash)))
	hit, err := f.handle(t, job(j.GetAudio(), eventpb.PlanMode_PLAN_MODE_AUTO))
	require.NoError(t, err)
	require.IsType(t, &eventpb.EmbeddingReady{}, hit[1])

	// With nothing left but the plan, the track would have to be decoded, and its file is gone.
	require.NoError(t, f.store.Delete(t.Context(), f.bundle.EmbeddingKey(hash)))
	requirePermanent(t, f, job(j.GetAudio(), eventpb.PlanMode_PLAN_MODE_AUTO), event.CodeAudioMissing)
}

// A damaged track is planned, with its faults in the plan, in the stored plan and in the windows; a strict job refuses it.
func TestDamageOfTheTrackIsTold(t *testing.T) {
	t.Parallel()
	f := setup(t)
	whole := wav(60)
	j := job(f.put(t, whole[:len(whole)/2]), eventpb.PlanMode_PLAN_MODE_ALL)
	for _, from := range []string{"the file", "the stored plan"} {
		out, err := f.handle(t, j)
		require.NoError(t, err, from)
		plan := out[0].(*eventpb.JobPlan)
		require.InDelta(t, 30, plan.GetTrack().GetDurationS(), 0.01, from)
		require.InDelta(t, 30, plan.GetTrack().GetMissingS(), 0.01, from)
		require.Len(t, plan.GetTrack().GetWarnings(), 1, from)
		require.Equal(t, "truncated", plan.GetTrack().GetWarnings()[0].GetCode(), from)
		require.InDelta(t, 30, plan.GetTrack().GetWarnings()[0].GetAtS(), 0.01, from)
		require.Empty(t, plan.GetWindows()[0].GetWarnings(), from)
		require.Equal(t, []string{"truncated"}, plan.GetWindows()[1].GetWarnings(), from)
		require.True(t, proto.Equal(plan.GetTrack(), out[1].(*eventpb.WindowReady).GetTask().GetTrack()), from)
	}
	j.Strict = true
	requirePermanent(t, f, j, event.CodeAudioDamaged)
	sound := job(f.put(t, whole), eventpb.PlanMode_PLAN_MODE_ALL)
	sound.Strict = true
	_, err := f.handle(t, sound)
	require.NoError(t, err)
}

func TestDamagedPlanIsMadeAgain(t *testing.T) {
	t.Parallel()
	f := setup(t)
	j := job(f.put(t, wav(3)), eventpb.PlanMode_PLAN_MODE_AUTO)
	want, err := f.handle(t, j)
	require.NoError(t, err)
	key := f.planKey(j.GetAudio().GetSha256(), jobRule(f, j))
	require.NoError(t, f.store.PutBytes(t.Context(), key, []byte("\xff\xff nonsense")))
	got, err := f.handle(t, j)
	require.NoError(t, err)
	require.True(t, proto.Equal(want[0], got[0]))
}

// A track that was decoded without ffmpeg is decoded again once ffmpeg is there: what its plan says of itself is no longer so.
func TestPlanIsMadeAnewWithFFmpeg(t *testing.T) {
	t.Parallel()
	f := setup(t)
	if !f.Cutter.ByFFmpeg() {
		t.Skip("ffmpeg is not installed")
	}
	bare, err := audio.NewDecoder(t.Context(), audio.Config{
		Limits: audio.Limits{FileBytes: 64 << 20, Duration: 10 * time.Minute, DecodedBytes: 1 << 30, Timeout: time.Minute}, FFmpeg: "none",
	})
	require.NoError(t, err)
	song, err := os.ReadFile("../../../../engine/audio/testdata/tone.mp3")
	require.NoError(t, err)
	j := job(f.put(t, song), eventpb.PlanMode_PLAN_MODE_ALL)
	planned := func() *eventpb.JobPlan {
		out, err := f.handle(t, j)
		require.NoError(t, err)
		return out[0].(*eventpb.JobPlan)
	}
	with := f.Cutter
	f.Cutter = cut.New(bare, t.TempDir())
	f.run = f.Handler.Handler()
	inGo := planned()
	require.Len(t, inGo.GetTrack().GetWarnings(), 1)
	require.Equal(t, string(audio.InexactStereo), inGo.GetTrack().GetWarnings()[0].GetCode())
	f.Cutter = with
	right := planned()
	require.Empty(t, right.GetTrack().GetWarnings())
	require.NotEqual(t, inGo.GetWindows()[0].GetHash(), right.GetWindows()[0].GetHash(), "other sound is another window")
	require.InDelta(t, inGo.GetTrack().GetDurationS(), right.GetTrack().GetDurationS(), 1e-9)
}

// An evicted window comes back from the encoder as it was sent, and leaves again with its PCM stored.
func TestEvictedWindowIsCutAgain(t *testing.T) {
	t.Parallel()
	f := setup(t)
	out, err := f.handle(t, job(f.put(t, wav(60)), eventpb.PlanMode_PLAN_MODE_ALL))
	require.NoError(t, err)
	lost := out[3].(*eventpb.WindowReady)
	key := lost.GetTask().GetWindow().GetBlobKey()
	pcm, err := f.store.GetBytes(t.Context(), key, 1<<22)
	require.NoError(t, err)
	require.NoError(t, f.store.Delete(t.Context(), key))

	again, err := f.handle(t, lost)
	require.NoError(t, err)
	require.Len(t, again, 1)
	require.True(t, proto.Equal(lost, again[0]))
	back, err := f.store.GetBytes(t.Context(), key, 1<<22)
	require.NoError(t, err)
	require.Equal(t, pcm, back)

	wrong := proto.Clone(lost).(*eventpb.WindowReady)
	wrong.Task.Window.Span.StartS--
	wrong.Task.Window.Span.EndS--
	requirePermanent(t, f, wrong, event.CodeInternal)
	require.NoError(t, f.store.Delete(t.Context(), event.AudioKey(lost.GetTask().GetTrack().GetSha256())))
	requirePermanent(t, f, lost, event.CodeAudioMissing)
}

func TestFaultsOfTheJob(t *testing.T) {
	t.Parallel()
	f := setup(t)
	good := f.put(t, wav(3))
	for name, tc := range map[string]struct {
		job  *eventpb.Job
		code string
	}{
		"no such audio": {job(&eventpb.Audio{
			Sha256: hex.EncodeToString(make([]byte, 32)), BlobKey: event.AudioKey(hex.EncodeToString(make([]byte, 32))),
		}, eventpb.PlanMode_PLAN_MODE_AUTO), event.CodeAudioMissing},
		"empty":        {job(f.put(t, nil), eventpb.PlanMode_PLAN_MODE_AUTO), event.CodeAudioEmpty},
		"text":         {job(f.put(t, []byte("once upon a time")), eventpb.PlanMode_PLAN_MODE_AUTO), event.CodeAudioUndecodable},
		"out of range": {job(good, eventpb.PlanMode_PLAN_MODE_EXPLICIT, &eventpb.Span{StartS: 2, EndS: 9}), event.CodePlanOutOfRange},
	} {
		t.Run(name, func(t *testing.T) { requirePermanent(t, f, tc.job, tc.code) })
	}
}

// A job may not ask for more answers than the limit: neither of a fresh file nor of one whose plan is stored.
func TestAnswersOfAJobAreBounded(t *testing.T) {
	t.Parallel()
	f := setup(t)
	file := f.put(t, wav(60)) // three windows
	for _, tc := range []struct {
		questions int
		code      string
	}{{5, event.CodePlanTooLarge}, {4, ""}, {5, event.CodePlanTooLarge}} {
		j := job(file, eventpb.PlanMode_PLAN_MODE_ALL)
		j.Questions = nil
		for i := range tc.questions {
			j.Questions = append(j.Questions, &eventpb.Question{Index: uint32(i), Text: "What is it?"})
		}
		if tc.code == "" {
			_, err := f.handle(t, j)
			require.NoError(t, err)
			continue
		}
		requirePermanent(t, f, j, tc.code)
	}
}

// A small file may not become a disk full of windows; windows of equal content take their room once.
func TestWindowsTakeRoomByTheSizeOfTheFile(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.Limits = Limits{Answers: 1000, Expansion: 1, FreeBytes: 3 * 44100 * 2}
	file := f.put(t, wav(3))
	var overlapping, same []*eventpb.Span
	for i := range 10 {
		overlapping = append(overlapping, &eventpb.Span{StartS: 0.1 * float64(i), EndS: 0.1*float64(i) + 2})
		same = append(same, &eventpb.Span{StartS: 0.5, EndS: 2.5})
	}
	for range 2 { // the windows that an attempt has stored are counted again in the next
		requirePermanent(t, f, job(file, eventpb.PlanMode_PLAN_MODE_EXPLICIT, overlapping...), event.CodeAudioExpands)
	}
	_, err := f.handle(t, job(file, eventpb.PlanMode_PLAN_MODE_EXPLICIT, same...))
	require.NoError(t, err)
	_, err = f.handle(t, job(file, eventpb.PlanMode_PLAN_MODE_EXPLICIT, overlapping[:2]...))
	require.NoError(t, err)
}

// What is stored under the name of a digest must have that digest, also the part of it that the decoder does not read.
func TestReplacedAudioIsMissing(t *testing.T) {
	t.Parallel()
	f := setup(t)
	good := f.put(t, wav(60))
	for name, other := range map[string][]byte{
		"another track": wav(3), "a byte more": append(wav(60), 0), "cut": wav(60)[:1<<20], "no audio": []byte("once upon a time"),
	} {
		require.NoError(t, f.store.PutBytes(t.Context(), good.GetBlobKey(), other))
		requirePermanent(t, f, job(good, eventpb.PlanMode_PLAN_MODE_AUTO), event.CodeAudioMissing)
		_, err := f.store.GetBytes(t.Context(), f.planKey(good.GetSha256(), jobRule(f, job(good, eventpb.PlanMode_PLAN_MODE_AUTO))), 1<<20)
		require.ErrorIs(t, err, blob.ErrNotFound, "%s: no plan is kept of it", name)
	}
	require.NoError(t, f.store.PutBytes(t.Context(), good.GetBlobKey(), wav(60)))
	_, err := f.handle(t, job(good, eventpb.PlanMode_PLAN_MODE_AUTO))
	require.NoError(t, err)
}

func TestOtherModelsJobIsPutBack(t *testing.T) {
	t.Parallel()
	f := setup(t)
	j := job(f.put(t, wav(3)), eventpb.PlanMode_PLAN_MODE_AUTO)
	j.ModelDigest = hex.EncodeToString(make([]byte, 32))
	_, err := f.handle(t, j)
	require.ErrorContains(t, err, "not now, again in 5s")
	j.ModelDigest = f.bundle.Digest
	_, err = f.handle(t, j)
	require.NoError(t, err)
}

func TestForeignRecordIsUndecodable(t *testing.T) {
	t.Parallel()
	f := setup(t)
	_, err := f.handle(t, &eventpb.Control{JobId: "x", Kind: "cancel"})
	require.ErrorIs(t, err, event.ErrUndecodable)
	_, err = stagetest.Handle(t.Context(), f.run, event.Record{Topic: event.TopicJobs, Value: []byte("x")})
	require.ErrorIs(t, err, event.ErrUndecodable)
	_, err = New(Deps{})
	require.ErrorContains(t, err, "a dependency is missing")
}
