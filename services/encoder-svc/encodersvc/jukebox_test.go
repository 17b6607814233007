package encodersvc

import (
	"context"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/larkstream/larkstream/engine/encoder"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/jukeboxbundle"
	"github.com/larkstream/larkstream/engine/native/nativetest"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/stage/stagetest"
	"github.com/stretchr/testify/require"
)

// jukeboxBundle writes a bundle of random weights that hears 3 s.
func jukeboxBundle(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bundle")
	_, err := jukeboxbundle.RandomOf(t.Context(), jukeboxbundle.Config{
		Layers: 3, Heads: 2, Blocks: 16, Context: 1024, Width: 48, State: 12, MLP: 40,
		Bins: 64, CodeWidth: 64, ConvWidth: 32, Genres: 4, Artists: 5,
	}, jukeboxbundle.RandomConfig{Seed: 1, Out: dir}, func(int64, int64) {})
	require.NoError(t, err)
	return dir
}

func tone(samples int) []int16 {
	pcm := make([]int16, samples)
	for i := range pcm {
		pcm[i] = int16(8000 * math.Sin(float64(i)/15))
	}
	return pcm
}

func TestJukeboxService(t *testing.T) { //nolint:paralleltest // telemetry is global
	rig := stagetest.New(t)
	svc := rig.Start(t, Command, jukeboxBundle(t))
	rig.Publish(t, window(t, rig, "job", 1))
	ready := stagetest.Of[*eventpb.EmbeddingReady](t, rig.Await(t, event.TopicEmbeddings, 1))
	require.Equal(t, uint32(10), ready[0].GetFrames())
	require.Equal(t, uint32(48), ready[0].GetWidth())
	require.InDelta(t, 1, svc.Metric(t, "lark_encoder_runs_total"), 0)
	require.NoError(t, svc.Stop())
}

func TestLoadingReportsItsProgressAndIsReadyAtTheEnd(t *testing.T) {
	t.Parallel()
	b, err := model.Read(jukeboxBundle(t))
	require.NoError(t, err)
	l := newLoading(&Config{}, b, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, l.Ready(), "being loaded: 0 %")
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- l.Run(ctx) }()
	<-l.opened
	require.NoError(t, l.Ready(), "the stage runs when the model is there")
	_, err = l.Encode(ctx, tone(44100))
	require.NoError(t, err)
	cancel()
	require.NoError(t, <-ran)
	require.NoError(t, l.Close())
}

func TestLoadingEndsWithItsContextAndAtAWrongDigest(t *testing.T) {
	t.Parallel()
	dir := jukeboxBundle(t)
	b, err := model.Read(dir)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l := newLoading(&Config{}, b, slog.New(slog.DiscardHandler))
	require.NoError(t, l.Run(ctx))
	require.Error(t, l.Ready())
	_, err = l.Encode(ctx, nil)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, l.Close())

	f, err := os.OpenFile(b.EncoderPath(), os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte{1, 2, 3}, 100_000)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.ErrorContains(t, l.Run(t.Context()), "encoder.safetensors: its sha256 is")
}

func TestJukeboxServiceOnADevice(t *testing.T) { //nolint:paralleltest // telemetry is global
	rig := stagetest.New(t)
	svc := rig.Start(t, Command, jukeboxBundle(t), "--device", "ggml-cpu", "--native-dir", nativetest.Dir(t), "--concurrency", "2")
	for i := range 3 {
		rig.Publish(t, window(t, rig, "job", i))
	}
	for _, m := range stagetest.Of[*eventpb.EmbeddingReady](t, rig.Await(t, event.TopicEmbeddings, 3)) {
		require.Equal(t, uint32(10), m.GetFrames())
	}
	require.NoError(t, svc.Stop())
}

func TestLoadingTellsWhatIsOnTheDevice(t *testing.T) {
	t.Parallel()
	b, err := model.Read(jukeboxBundle(t))
	require.NoError(t, err)
	l := newLoading(&Config{Device: encoder.DeviceGGMLCPU, NativeDir: nativetest.Dir(t)}, b, slog.New(slog.DiscardHandler))
	l.uploaded.Store(30)
	require.ErrorContains(t, l.Ready(), "30 % of its weights are on the device")
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- l.Run(ctx) }()
	<-l.opened
	require.Equal(t, int64(100), l.uploaded.Load())
	cancel()
	require.NoError(t, <-ran)
	require.NoError(t, l.Close())
}
