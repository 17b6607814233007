package llm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/larkstream/larkstream/services/llm-svc/internal/handler"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/cache"
	"github.com/larkstream/larkstream/shared/config"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
	"github.com/larkstream/larkstream/shared/model"
	"github.com/larkstream/larkstream/shared/service"
	"github.com/larkstream/larkstream/shared/stage"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// flushTimeout bounds each last step after the service has stopped.
const flushTimeout = 5 * time.Second

// Command parses args and the environment and runs the service until ctx ends.
func Command(ctx context.Context, args []string) error {
	var cfg Config
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
func Run(ctx context.Context, cfg Config) (err error) {
	tel, stop, err := telemetry.Start(ctx, cfg.Telemetry(telemetry.ServiceLLM))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, flush(ctx, stop)) }()
	bundle, err := model.LoadComplete(cfg.ModelDir)
	if err != nil {
		return err
	}
	eng, err := cfg.open(bundle)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, eng.Close()) }()
	blobs, err := blob.Open(ctx, cfg.BlobURL.Reveal())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, blobs.Close()) }()
	prompts, err := cache.Open(ctx, cfg.RedisURL, blobs, cache.Deps{Log: tel.Log, Metrics: telemetry.NewCacheMetrics()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, prompts.Close()) }()
	producer, err := kafka.NewProducer(cfg.kafka(), kafka.Deps{Log: tel.Log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, flush(ctx, producer.Close)) }()
	h, err := handler.New(handler.Deps{
		Engine: eng, Cache: prompts, Bundle: bundle, Events: producer, Metrics: telemetry.NewEngineMetrics(),
		EngineName: cfg.engineName(bundle), Model: cfg.modelName(bundle), ModelWait: cfg.ModelWait,
	})
	if err != nil {
		return err
	}
	return cfg.serve(ctx, tel, producer, h, bundle)
}

func (c *Config) serve(ctx context.Context, tel *telemetry.Telemetry, producer *kafka.Producer, h *handler.Handler, b *model.Bundle) error {
	control, err := stage.NewControl(c.kafka(), stage.Deps{Log: tel.Log})
	if err != nil {
		return err
	}
	// A record in hand costs at most its soft prompt, which fills no more than the model's context.
	cost := int64(b.LLM.Context) * int64(b.LLM.Hidden) * 4
	runner, err := stage.New(stage.Config{
		Stage: handler.Stage, Topics: []string{event.TopicPrompts}, Concurrency: c.Concurrency,
		MaxInFlightBytes: int64(2*c.Concurrency) * cost, DrainTimeout: c.DrainTimeout,
	}, stage.Deps{
		Kafka: c.kafka(), Handle: h.Handle, Producer: producer, Log: tel.Log, Control: control, Model: c.modelName(b),
		Cost: func(event.Record) int64 { return cost },
	})
	if err != nil {
		return err
	}
	return service.Run(ctx, c.Common, telemetry.ServiceLLM, service.Version(), tel, tel.Log,
		service.Part{Name: "control", Run: control.Run, Ready: control.Ready},
		service.Part{Name: handler.Stage, Run: runner.Run, Ready: runner.Ready},
	)
}

func (c *Config) kafka() kafka.Config {
	return kafka.Config{Brokers: c.KafkaBrokers, ClientID: telemetry.ServiceLLM}
}

// flush runs a last step that must outlive ctx, within a bound.
func flush(ctx context.Context, step func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	if err := step(ctx); err != nil {
		return fmt.Errorf("stopping llm: %w", err)
	}
	return nil
}
