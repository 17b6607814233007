package projectorsvc

import (
	"cmp"
	"context"
	"math"
	"runtime"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/projector"
	"github.com/larkstream/larkstream/services/projector-svc/internal/handle"
	"github.com/larkstream/larkstream/shared/config"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/host"
	"github.com/larkstream/larkstream/shared/telemetry"
	"github.com/larkstream/larkstream/shared/worker"
)

// Command parses args and the environment and runs the service until ctx ends.
func Command(ctx context.Context, args []string) error {
	var cfg Config
	err := config.Load(&cfg, config.Options{
		Name: telemetry.ServiceProjector, Summary: "turns audio embeddings into soft prompts", EnvPrefix: "LARK_PROJECTOR_", Args: args,
		Examples: []string{"KAFKA_BROKERS=kafka:9092 BLOB_URL=s3://lark LARK_MODEL_DIR=models/lark-nano projector-svc"},
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
	w, err := worker.Open(ctx, on, cfg.Common, telemetry.ServiceProjector, model.PartProjector)
	if err != nil {
		return err
	}
	defer func() { err = w.Close(ctx, err) }()
	step := w.Step(handle.Stage, w.Bundle.EmbeddingKey)
	return w.Serve(ctx, worker.Work{
		Step: step, Topic: event.TopicEmbeddings, Unordered: true, Concurrency: cmp.Or(cfg.Concurrency, 2*runtime.NumCPU()), RecordBytes: windowMemory(w.Bundle),
		Output: event.TopicPrompts, OutputBytes: frameBytes(w.Bundle) * int64(w.Bundle.Projector.Out),
		Open: func(context.Context, func(string)) (worker.Opened, error) { return open(w, step) },
	})
}

func open(w *worker.Worker, step worker.Step) (worker.Opened, error) {
	layer, err := projector.Open(w.Bundle)
	if err != nil {
		return worker.Opened{}, err
	}
	h, err := handle.New(handle.Deps{Step: step, Projector: layer, Cache: w.Cache})
	if err != nil {
		return worker.Opened{}, err
	}
	return worker.Opened{Handle: h.Handler()}, nil
}

// windowMemory is the bytes that one window takes: frames and soft prompt in float32, and as many bytes again for their stored forms.
func windowMemory(b *model.Bundle) int64 {
	return 2 * frameBytes(b) * int64(b.Projector.In+b.Projector.Out)
}

// frameBytes is what the frames of a window take in float32 for each number of a frame.
func frameBytes(b *model.Bundle) int64 {
	return 4 * int64(math.Ceil(b.Encoder.SpanS*b.Encoder.FrameRateHz))
}
