package encodersvc

import (
	"context"
	"log/slog"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/encoder"
	"github.com/larkstream/larkstream/engine/encoder/jukebox/jukeboxtest"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/native/nativetest"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/cache"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/stage/stagetest"
	"github.com/larkstream/larkstream/shared/worker"
)

func TestJukeboxService(t *testing.T) { //nolint:paralleltest // telemetry is global
	rig := stagetest.New(t)
	svc := rig.Start(t, Command, jukeboxtest.Bundle(t))
	rig.Publish(t, window(t, rig, "job", 1))
	ready := stagetest.Of[*eventpb.EmbeddingReady](t, rig.Await(t, event.TopicEmbeddings, 1))
	require.Equal(t, uint32(10), ready[0].GetFrames())
	require.Equal(t, uint32(48), ready[0].GetWidth())
	require.InDelta(t, 1, svc.Metric(t, "lark_encoder_runs_total"), 0)
	require.NoError(t, svc.Stop())
}

func TestJukeboxServiceOnADevice(t *testing.T) { //nolint:paralleltest // telemetry is global
	// ggml's processor takes as many threads as Go. They wait for one another in loops: on a busy machine, two take minutes.
	t.Cleanup(func(before int) func() { return func() { runtime.GOMAXPROCS(before) } }(runtime.GOMAXPROCS(1)))
	rig := stagetest.New(t)
	svc := rig.Start(t, Command, jukeboxtest.Bundle(t), "--device", "ggml-cpu", "--native-dir", nativetest.Dir(t), "--concurrency", "2")
	for i := range 3 {
		rig.Publish(t, window(t, rig, "job", i))
	}
	for _, m := range stagetest.Of[*eventpb.EmbeddingReady](t, rig.Await(t, event.TopicEmbeddings, 3)) {
		require.Equal(t, uint32(10), m.GetFrames())
	}
	require.NoError(t, svc.Stop())
}

func TestReadinessTellsWhatIsOnTheDevice(t *testing.T) {
	t.Parallel()
	b, err := model.Read(jukeboxtest.Bundle(t))
	require.NoError(t, err)
	store, err := blob.Open(t.Context(), "mem://")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	w := &worker.Worker{Log: slog.New(slog.DiscardHandler), Bundle: b, Blobs: store, Cache: cache.NewBlob(store, cache.F32)}
	step := worker.Step{Stage: "encoder", Bundle: b, Model: b.DisplayName(), Events: noEvents{}}
	var told []string
	opened, err := open(t.Context(), func(reason string) { told = append(told, reason) },
		&Config{Device: encoder.DeviceGGMLCPU, NativeDir: nativetest.Dir(t)}, w, step)
	require.NoError(t, err)
	require.Equal(t, "the model is being loaded: 100 % of its weights are on the device", told[len(told)-1])
	require.NoError(t, opened.Close())
}

type noEvents struct{}

func (noEvents) Emit(context.Context, event.Record) {}
