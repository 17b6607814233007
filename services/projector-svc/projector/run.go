package projector

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"time"

	"github.com/larkstream/larkstream/services/projector-svc/internal/handle"
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
		Name: telemetry.ServiceProjector, Summary: "turns audio embeddings into soft prompts", EnvPrefix: "LARK_PROJECTOR_", Args: args,
		Examples: []string{"KAFKA_BROKERS=kafka:9092 BLOB_URL=s3://lark LARK_MODEL_DIR=models/lark-nano projector-svc"},
	})
	if err != nil {
		return err
	}
	return Run(ctx, cfg)
}

// Run serves until ctx ends, then drains.
func Run(ctx context.Context, cfg Config) (err error) {
	tel, stop, err := telemetry.Start(ctx, cfg.Telemetry(telemetry.ServiceProjector))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, flush(ctx, stop)) }()
	bundle, err := model.LoadComplete(cfg.ModelDir)
	if err != nil {
		return err
	}
	layer, err := Open(bundle)
	if err != nil {
		return err
	}
	blobs, err := blob.Open(ctx, cfg.BlobURL.Reveal())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, blobs.Close()) }()
	tensors, err := cache.Open(ctx, cfg.RedisURL, blobs, cache.Deps{Log: tel.Log, Metrics: telemetry.NewCacheMetrics()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tensors.Close()) }()
	producer, err := kafka.NewProducer(cfg.kafka(), kafka.Deps{Log: tel.Log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, flush(ctx, producer.Close)) }()
	handler, err := handle.New(handle.Deps{Projector: layer, Cache: tensors, Bundle: bundle, Events: producer})
	if err != nil {
		return err
	}
	return cfg.serve(ctx, tel, producer, handler, bundle)
}

func (c *Config) serve(ctx context.Context, tel *telemetry.Telemetry, producer *kafka.Producer, handler *handle.Handler, bundle *model.Bundle) error {
	control, err := stage.NewControl(c.kafka(), stage.Deps{Log: tel.Log})
	if err != nil {
		return err
	}
	concurrency := c.Concurrency
	if concurrency == 0 {
		concurrency = 2 * runtime.NumCPU()
	}
	cost := windowMemory(bundle)
	runner, err := stage.New(stage.Config{
		Stage: handle.Stage, Topics: []string{event.TopicEmbeddings}, Concurrency: concurrency,
		MaxInFlightBytes: int64(concurrency) * cost, DrainTimeout: c.DrainTimeout,
	}, stage.Deps{
		Kafka: c.kafka(), Handle: handler.Handle, Producer: producer, Log: tel.Log, Control: control, Model: bundle.DisplayName(),
		Cost: func(event.Record) int64 { return cost },
	})
	if err != nil {
		return err
	}
	return service.Run(ctx, c.Common, telemetry.ServiceProjector, service.Version(), tel, tel.Log,
		service.Part{Name: "control", Run: control.Run, Ready: control.Ready},
		service.Part{Name: handle.Stage, Run: runner.Run, Ready: runner.Ready},
	)
}

// windowMemory is what one window takes: frames and soft prompt in float32, and as many bytes again for their stored forms.
func windowMemory(b *model.Bundle) int64 {
	frames := int64(math.Ceil(b.Encoder.SpanS * b.Encoder.FrameRateHz))
	return 2 * 4 * frames * int64(b.Projector.In+b.Projector.Out)
}

func (c *Config) kafka() kafka.Config {
	return kafka.Config{Brokers: c.KafkaBrokers, ClientID: telemetry.ServiceProjector}
}

// flush runs a last step that must outlive ctx, within a bound.
func flush(ctx context.Context, step func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	if err := step(ctx); err != nil {
		return fmt.Errorf("stopping projector: %w", err)
	}
	return nil
}
