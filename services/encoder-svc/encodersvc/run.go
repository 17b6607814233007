package encodersvc

import (
	"context"
	"math"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/services/encoder-svc/internal/handle"
	"github.com/larkstream/larkstream/shared/config"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/service"
	"github.com/larkstream/larkstream/shared/telemetry"
	"github.com/larkstream/larkstream/shared/worker"
)

// engineMemory is what lark-nano's encoder works with for 25 s. Jukebox's holds its own memory, for as many windows as it runs.
const engineMemory = 24 << 20

// Command parses args and the environment and runs the service until ctx ends.
func Command(ctx context.Context, args []string) error {
	var cfg Config
	err := config.Load(&cfg, config.Options{
		Name: telemetry.ServiceEncoder, Summary: "turns windows of audio into embeddings", EnvPrefix: "LARK_ENCODER_", Args: args,
		Examples: []string{"KAFKA_BROKERS=kafka:9092 BLOB_URL=s3://lark LARK_MODEL_DIR=models/lark-nano encoder-svc"},
	})
	if err != nil {
		return err
	}
	return Run(ctx, cfg)
}

// Run serves until ctx ends, then drains.
func Run(ctx context.Context, cfg Config) (err error) {
	w, err := worker.Open(ctx, cfg.Common, telemetry.ServiceEncoder, model.Read)
	if err != nil {
		return err
	}
	defer func() { err = w.Close(ctx, err) }()
	tensor.LogKernel(w.Log)
	engine := newLoading(&cfg, w.Bundle, w.Log)
	w.OnClose(engine.Close)
	handler, err := handle.New(handle.Deps{
		Engine: engine, EngineName: cfg.options(nil).EngineName(w.Bundle), Blobs: w.Blobs, Cache: w.Cache, Bundle: w.Bundle, Events: w.Producer,
		Metrics: telemetry.NewEngineMetrics(),
	})
	if err != nil {
		return err
	}
	return w.Serve(ctx, worker.Work{
		Stage: handle.Stage, Topic: event.TopicWindows, Handle: handler.Handle, Model: w.Bundle.DisplayName(),
		Concurrency: cfg.options(nil).Windows(w.Bundle), RecordBytes: windowMemory(w.Bundle),
		Parts: []service.Part{{Name: "engine", Run: engine.Run, Ready: engine.Ready}}, After: engine.opened,
	})
}

// windowMemory is what one window takes: its PCM as bytes and as samples, its frames in float32 and stored, and the engine's own
// intermediate values.
func windowMemory(b *model.Bundle) int64 {
	frames := int64(math.Ceil(b.Encoder.SpanS * b.Encoder.FrameRateHz))
	return 2*handle.MaxPCM + 2*4*frames*int64(b.Encoder.Width) + engineMemory
}
