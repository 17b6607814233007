package encodersvc

import (
	"context"
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/engine/audio"
	"github.com/larkstream/larkstream/engine/model/modeltest"
	"github.com/larkstream/larkstream/shared/config/configtest"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/stage/stagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func window(t *testing.T, rig *stagetest.Rig, job string, track int) *eventpb.WindowReady {
	t.Helper()
	raw := make([]byte, 2*44100)
	for i := range raw {
		raw[i] = byte(i * (track + 3))
	}
	hash := audio.WindowHash()
	hash.Write(raw)
	name := event.HexSum(hash)
	require.NoError(t, rig.Blobs.PutBytes(t.Context(), event.PCMKey(name), raw))
	return &eventpb.WindowReady{Task: &eventpb.Task{
		JobId: job, Track: &eventpb.Track{Sha256: hex.EncodeToString(make([]byte, 32)), DurationS: 1},
		Window:    &eventpb.Window{Hash: name, BlobKey: event.PCMKey(name), Span: &eventpb.Span{EndS: 1}, Samples: 44100},
		Questions: []*eventpb.Question{{Text: "What is the tempo?"}}, Cache: eventpb.Cache_CACHE_MISS,
	}}
}

// Many jobs on a few tracks at the same time: each track is encoded once, every job gets its embedding. After a
// restart nothing is encoded at all.
func TestJobsOnOneTrackEncodeOnce(t *testing.T) { //nolint:paralleltest // telemetry is global
	const jobs, tracks = 40, 4
	rig := stagetest.New(t)
	modelDir := modeltest.Write(t, modeltest.Manifest())
	svc := rig.Start(t, Command, modelDir, "--engine", "test", "--test-delay", "20ms", "--concurrency", "8")
	for i := range jobs {
		rig.Publish(t, window(t, rig, fmt.Sprintf("job-%d", i), i%tracks))
	}
	ready := stagetest.Of[*eventpb.EmbeddingReady](t, rig.Await(t, event.TopicEmbeddings, jobs))
	seen, hits := map[string]bool{}, 0
	for _, m := range ready {
		seen[m.GetTask().GetJobId()] = true
		if m.GetTask().GetCache() == eventpb.Cache_CACHE_HIT {
			hits++
		}
	}
	require.Len(t, seen, jobs)
	require.Equal(t, jobs-tracks, hits)
	require.InDelta(t, tracks, svc.Metric(t, "lark_encoder_runs_total"), 0)
	require.NoError(t, svc.Stop())

	svc = rig.Start(t, Command, modelDir, "--engine", "test")
	rig.Publish(t, window(t, rig, "job-after", 0))
	ready = stagetest.Of[*eventpb.EmbeddingReady](t, rig.Await(t, event.TopicEmbeddings, jobs+1))
	require.Equal(t, eventpb.Cache_CACHE_HIT, ready[len(ready)-1].GetTask().GetCache())
	require.Zero(t, svc.Metric(t, "lark_encoder_runs_total"))
	require.NoError(t, svc.Stop())
}

func TestConfig(t *testing.T) {
	t.Parallel()
	configtest.Complete(t, func() any { return &Config{} }, "testdata/complete.yaml")
	cfg, err := DefaultConfig()
	require.NoError(t, err)
	require.NoError(t, cfg.Validate())
	cfg.Concurrency, cfg.Engine, cfg.TestDelay = -1, "none", -1
	for _, want := range []string{"concurrency: -1 is below 0", `engine: "none"`, "test_delay: -1ns"} {
		require.ErrorContains(t, cfg.Validate(), want)
	}
	require.Error(t, Command(context.Background(), []string{"--no-such-flag"}))
}
