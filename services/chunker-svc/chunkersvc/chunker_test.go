package chunkersvc_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/engine/audio"
	"github.com/larkstream/larkstream/engine/model/modeltest"
	"github.com/larkstream/larkstream/services/chunker-svc/chunkersvc"
	"github.com/larkstream/larkstream/shared/config/configtest"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/stage/stagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wav is a mono 16-bit file at 44.1 kHz.
func wav(seconds float64) []byte {
	n := int(seconds * 44100)
	var b bytes.Buffer
	b.WriteString("RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x44\xac\x00\x00\x88\x58\x01\x00\x02\x00\x10\x00data")
	_ = binary.Write(&b, binary.LittleEndian, uint32(2*n))
	for i := range n {
		_ = binary.Write(&b, binary.LittleEndian, int16(12000*math.Sin(float64(i)/20+float64(i/44100))))
	}
	return b.Bytes()
}

func submit(t *testing.T, rig *stagetest.Rig, data []byte, mode eventpb.PlanMode) *eventpb.Job {
	t.Helper()
	sum := sha256.Sum256(data)
	sha := hex.EncodeToString(sum[:])
	require.NoError(t, rig.Blobs.PutBytes(t.Context(), event.AudioKey(sha), data))
	job := &eventpb.Job{
		JobId: event.NewJobID(), Audio: &eventpb.Audio{Sha256: sha, BlobKey: event.AudioKey(sha)}, Plan: mode,
		Questions: []*eventpb.Question{{Text: "What is the tempo?"}}, CreatedUnixMs: time.Now().UnixMilli(),
	}
	rig.Publish(t, job)
	return job
}

// The service on a real broker: a good track, a bad one between, a record that is none, and the same track again.
func TestService(t *testing.T) { //nolint:paralleltest // telemetry is global
	rig := stagetest.New(t)
	modelDir := modeltest.Write(t, modeltest.Manifest())
	svc := rig.Start(t, chunkersvc.Command, modelDir)

	good := submit(t, rig, wav(60), eventpb.PlanMode_PLAN_MODE_ALL)
	bad := submit(t, rig, []byte("not audio at all"), eventpb.PlanMode_PLAN_MODE_AUTO)
	rig.PublishRecord(t, event.Record{Topic: event.TopicJobs, Key: "x", Value: []byte("\x00garbage")})

	windows := stagetest.Of[*eventpb.WindowReady](t, rig.Await(t, event.TopicWindows, 3))
	for _, w := range windows {
		require.Equal(t, good.GetJobId(), w.GetTask().GetJobId())
		there, err := rig.Blobs.Exists(t.Context(), w.GetTask().GetWindow().GetBlobKey())
		require.NoError(t, err)
		require.True(t, there)
	}
	answers := rig.Await(t, event.TopicAnswers, 3)
	plans := map[string]int{}
	for _, p := range stagetest.Of[*eventpb.JobPlan](t, answers) {
		plans[p.GetJobId()] = len(p.GetWindows())
	}
	require.Equal(t, map[string]int{good.GetJobId(): 3, bad.GetJobId(): 1}, plans)
	outcomes := stagetest.Of[*eventpb.Outcome](t, answers)
	require.Len(t, outcomes, 1)
	require.Equal(t, bad.GetJobId(), outcomes[0].GetJobId())
	require.Equal(t, event.CodeAudioUndecodable, outcomes[0].GetError().GetCode())
	rig.Await(t, event.TopicDead, 2)

	require.NoError(t, rig.Blobs.Delete(t.Context(), good.GetAudio().GetBlobKey()))
	rig.Publish(t, &eventpb.Job{
		JobId: event.NewJobID(), Audio: good.GetAudio(), Plan: good.GetPlan(), Questions: good.GetQuestions(),
	})
	rig.Await(t, event.TopicWindows, 6)
	// A record is counted after its outputs are written.
	require.Eventually(t, func() bool { return svc.Metric(t, "lark_stage_records_total") >= 4 }, time.Minute, 10*time.Millisecond)
	require.NoError(t, svc.Stop())
}

func TestConfig(t *testing.T) {
	t.Parallel()
	configtest.Complete(t, func() any { return &chunkersvc.Config{} }, "testdata/complete.yaml")
	cfg, err := chunkersvc.DefaultConfig()
	require.NoError(t, err)
	require.NoError(t, cfg.Validate())
	defaults := audio.DefaultConfig().Limits
	require.Equal(t, audio.Limits{
		FileBytes: cfg.Audio.MaxFileBytes, Duration: cfg.Audio.MaxDuration, DecodedBytes: cfg.Audio.MaxDecodedBytes, Timeout: cfg.Audio.Timeout,
	}, defaults)
	cfg.Concurrency, cfg.Audio.Timeout = -1, 0
	err = cfg.Validate()
	require.ErrorContains(t, err, "concurrency: -1 is below 0")
	require.ErrorContains(t, err, "must be above 0")
	require.Error(t, chunkersvc.Command(context.Background(), []string{"--no-such-flag"}))
	require.ErrorContains(t, chunkersvc.Run(context.Background(), chunkersvc.Config{Audio: cfg.Audio}), "model")
}
