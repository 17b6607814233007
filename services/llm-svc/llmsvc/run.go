package llmsvc

import (
	"context"
	"math"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/services/llm-svc/internal/handle"
	"github.com/larkstream/larkstream/shared/config"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/host"
	"github.com/larkstream/larkstream/shared/telemetry"
	"github.com/larkstream/larkstream/shared/worker"
)

// Command parses args and the environment and runs the service until ctx ends.
func Command(ctx context.Context, args []string) error {
	cfg := newConfig()
	err := config.Load(&cfg, config.Options{
		Name: telemetry.ServiceLLM, Summary: "answers questions about windows from their soft prompts", EnvPrefix: "LARK_LLM_", Args: args,
		Examples: []string{
			"KAFKA_BROKERS=kafka:9092 BLOB_URL=s3://lark LARK_MODEL_DIR=models/lark-nano llm-svc",
			"llm-svc --max-batch 32 --concurrency 16",
		},
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
	w, err := worker.Open(ctx, on, cfg.Common, telemetry.ServiceLLM, model.PartLLM, model.PartTokenizer, model.PartNotes)
	if err != nil {
		return err
	}
	defer func() { err = w.Close(ctx, err) }()
	step := w.Step(handle.Stage, w.Bundle.PromptKey)
	step.Model = cfg.options(nil).ModelName(w.Bundle)
	return w.Serve(ctx, worker.Work{
		Step: step, Topic: event.TopicPrompts, Unordered: true, Concurrency: cfg.Concurrency, InFlight: 2 * cfg.Concurrency,
		RecordBytes: promptMemory(w.Bundle),
		Open: func(ctx context.Context, tell func(string)) (worker.Opened, error) {
			return open(ctx, tell, &cfg, w, step)
		},
	})
}

// promptMemory is the bytes that a record in hand costs at most: its soft prompt, which has no more rows than a window has frames or the model
// positions.
func promptMemory(b *model.Bundle) int64 {
	rows := min(int64(math.Ceil(b.Encoder.SpanS*b.Encoder.FrameRateHz)), int64(b.LLM.Context))
	return rows * int64(b.LLM.Hidden) * 4
}
