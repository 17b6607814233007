package encodersvc

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/larkstream/larkstream/engine/encoder"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/services/encoder-svc/internal/handle"
	"github.com/larkstream/larkstream/shared/config"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/host"
	"github.com/larkstream/larkstream/shared/telemetry"
	"github.com/larkstream/larkstream/shared/worker"
)

// engineMemory is the bytes that lark-nano's encoder works with for 25 s. Jukebox's encoder holds memory of its own for each window that it
// runs.
const engineMemory = 24 << 20

// Command parses args and the environment and runs the service until ctx ends.
func Command(ctx context.Context, args []string) error {
	cfg := newConfig()
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
func Run(ctx context.Context, cfg Config) error { return RunOn(ctx, host.Host{}, cfg) }

// RunOn is Run on another host than this machine.
func RunOn(ctx context.Context, on host.Host, cfg Config) (err error) {
	w, err := worker.Open(ctx, on, cfg.Common, telemetry.ServiceEncoder, model.PartEncoder)
	if err != nil {
		return err
	}
	defer func() { err = w.Close(ctx, err) }()
	step := w.Step(handle.Stage, nil)
	return w.Serve(ctx, worker.Work{
		Step: step, Topic: event.TopicWindows, Concurrency: cfg.options(nil).Windows(w.Bundle), RecordBytes: windowMemory(w.Bundle),
		Output: event.TopicEmbeddings, OutputBytes: embeddingBytes(w.Bundle),
		Open: func(ctx context.Context, tell func(string)) (worker.Opened, error) {
			return open(ctx, tell, &cfg, w, step)
		},
	})
}

func open(ctx context.Context, tell func(string), cfg *Config, w *worker.Worker, step worker.Step) (worker.Opened, error) {
	tensor.LogKernel(w.Log)
	o := cfg.options(w.Log)
	o.Device.Progress = func(done, total int) {
		tell(fmt.Sprintf("the model is being loaded: %d %% of its weights are on the device", 100*done/max(total, 1)))
	}
	engine, err := encoder.Open(ctx, w.Bundle, o)
	if err != nil {
		return worker.Opened{}, err
	}
	w.Log.Info("encoder opened", "engine", o.EngineName(w.Bundle), "device", cfg.Device)
	h, err := handle.New(handle.Deps{
		Step: step, Engine: engine, EngineName: o.EngineName(w.Bundle), Blobs: w.Blobs, Cache: w.Cache, Metrics: telemetry.NewEngineMetrics(),
	})
	if err != nil {
		return worker.Opened{}, errors.Join(err, engine.Close())
	}
	return worker.Opened{Handle: h.Handler(), Close: engine.Close}, nil
}

// windowMemory is the bytes that one window takes: its PCM as bytes and as samples, its frames in float32 and stored, and the engine's
// intermediate values.
func windowMemory(b *model.Bundle) int64 {
	return 2*handle.MaxPCM(b) + 2*embeddingBytes(b) + engineMemory
}

// embeddingBytes is what the frames of a window take in float32.
func embeddingBytes(b *model.Bundle) int64 {
	return 4 * int64(math.Ceil(b.Encoder.SpanS*b.Encoder.FrameRateHz)) * int64(b.Encoder.Width)
}
